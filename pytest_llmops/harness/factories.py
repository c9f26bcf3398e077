"""Judges, embedders, models and retrievers from hooks, each built once per run.

Knows pytest's items by their attributes only.
"""

from __future__ import annotations

import threading
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from pytest_llmops import registry
from pytest_llmops.settings import Settings

Factory: TypeAlias = Callable[[], object]


@dataclass(slots=True)
class _RunCache:
    """Factories and components of a run in this process.

    Attributes:
        factories: By kind and the implementations of the hook that a test sees.
        components: By kind, name and factory; built-in components by the settings instead of a factory.
    """

    factories: dict[tuple[object, ...], Mapping[str, Factory]] = field(default_factory=dict)
    components: dict[tuple[str, str, object], object] = field(default_factory=dict)


_runs: WeakKeyDictionary[Any, _RunCache] = WeakKeyDictionary()
_lock = threading.RLock()
"""Judges of a test may look up their model in several threads; a factory may look up another component."""


def hook_factories(item: Any, kind: str) -> Mapping[str, Factory]:
    """Return the factories of a kind from the hooks that a test sees, by name; the nearest conftest wins.

    The hook is called once for all tests that see the same implementations: a factory made in it (a lambda, a
    partial) is a new object at each call, and would be called again for each test.
    """
    hook = getattr(item.ihook, f"pytest_llmops_{kind}s")
    with _lock:
        cache = _cache_of_run(item).factories
        key = (kind, *hook.get_hookimpls())
        if key not in cache:
            cache[key] = dict(ChainMap(*hook(config=item.config)))
        return cache[key]


def build_component(item: Any, kind: str, name: str, factory: Factory | None, settings: Settings) -> object:
    """Return the component that a factory makes, once per run; without a factory the built-in component.

    Raises:
        UnknownName: Nothing of that name is built in.
        UsageError: Its argument is wrong.
    """
    __tracebackhide__ = True
    key = (kind, name, factory or settings)
    with _lock:
        cache = _cache_of_run(item).components
        if key not in cache:
            cache[key] = factory() if factory else registry.load_builtin(kind, name)
        return cache[key]


def _cache_of_run(item: Any) -> _RunCache:
    return _runs.setdefault(item.config, _RunCache())
