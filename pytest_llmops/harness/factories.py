"""Judges, embedders, models and retrievers that the hooks give by name, each built once.

Knows pytest's items by their attributes only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from pytest_llmops import registry
from pytest_llmops.settings import Settings

Factory: TypeAlias = Callable[[], object]


@dataclass(slots=True)
class _RunCache:
    """Of one run in this process.

    Attributes:
        factories: By kind and the implementations of the hook that a test sees.
        things: By kind, name and factory; what is built in by the settings instead.
    """

    factories: dict[tuple[object, ...], Mapping[str, Factory]] = field(default_factory=dict)
    things: dict[tuple[str, str, object], object] = field(default_factory=dict)


_runs: WeakKeyDictionary[Any, _RunCache] = WeakKeyDictionary()
_lock = threading.RLock()
"""Judges of one test may look up their model in several threads; a factory may look up something itself."""


def hook_factories(item: Any, kind: str) -> Mapping[str, Factory]:
    """Return what the hooks that a test sees have of a kind, by name: the nearest conftest's comes first.

    The hook is called once for all tests that see the same implementations: a factory made in it (a lambda, a partial)
    is another one at each call, and would be called for each test again.
    """
    hook = getattr(item.ihook, f"pytest_llmops_{kind}s")
    with _lock:
        cache = _cache_of_run(item).factories
        place = (kind, *hook.get_hookimpls())
        if place not in cache:
            results = hook(config=item.config)
            cache[place] = {name: factory for named in reversed(results) for name, factory in named.items()}
        return cache[place]


def build_component(item: Any, kind: str, name: str, factory: Factory | None, settings: Settings) -> object:
    """Return what a factory makes, made once in a run; without a factory what is built in under that name.

    Raises:
        UnknownName: Nothing of that name is built in.
        UsageError: Its argument is wrong.
    """
    __tracebackhide__ = True
    place = (kind, name, factory or settings)
    with _lock:
        cache = _cache_of_run(item).things
        if place not in cache:
            cache[place] = factory() if factory else registry.load_builtin(kind, name)
        return cache[place]


def _cache_of_run(item: Any) -> _RunCache:
    return _runs.setdefault(item.config, _RunCache())
