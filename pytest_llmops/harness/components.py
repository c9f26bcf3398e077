"""Makes judges, embedders, models and retrievers, each once per run: from the hooks that a test sees, and the built-in ones.

A *kind* is ``judge``, ``embedder``, ``model`` or ``retriever``. A *factory* is a function of a project's hook that makes one.

Knows pytest's items by their attributes only.
"""

import threading
from collections import ChainMap
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from pytest_llmops import registry
from pytest_llmops.errors import UsageError
from pytest_llmops.settings import Settings

Factory: TypeAlias = Callable[[], object]

# Factories by run (pytest's configuration); within a run by kind and the implementations of the hook that a test sees
_factories: WeakKeyDictionary[Any, dict[tuple[object, ...], Mapping[str, Factory]]] = WeakKeyDictionary()
# Components by run; within a run by kind, name, factory and folder. A built-in one has the settings in place of a factory
_components: WeakKeyDictionary[Any, dict[tuple[str, str, object, object], object]] = WeakKeyDictionary()
# Judges of a test may look up their model in several threads; a factory may look up another component
_lock = threading.RLock()


def hook_factories(item: Any, kind: str) -> Mapping[str, Factory]:
    """Return the factories of a kind from the hooks that a test sees, by name; the nearest conftest wins.

    The hook is called once for all tests that see the same implementations of it. Otherwise a factory that it creates (a lambda, a
    partial) would be another object for each test, and the component would be made again.
    """
    hook = getattr(item.ihook, f"pytest_llmops_{kind}s")
    with _lock:
        cache = _factories.setdefault(item.config, {})
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
    # The path of a judge file is searched from the test upwards.
    folder = None
    if registry.is_judge_file(kind, name):
        folder = item.path.parent
    key = (kind, name, factory or settings, folder)
    with _lock:
        cache = _components.setdefault(item.config, {})
        if key not in cache:
            if factory:
                cache[key] = factory()
            else:
                cache[key] = registry.load_builtin(kind, name)
        return cache[key]


def choose_model_name(
    name: str, known: Collection[str], settings: Settings, candidate: str = "", *, where: str = ""
) -> str:
    """Return the name under which to load a model; only ``app`` and ``judge`` may become another name.

    They become the configured model (``--llm-model``, ``--llm-judge-model``) if the hook ``pytest_llmops_models`` has a model of
    that name. ``app`` becomes ``app:gpt-5`` in a test that was made for the model gpt-5 of the server.

    Args:
        name: The name that is looked up.
        known: The names of models that the hook returns.
        settings: The run's.
        candidate: The model that the test was made for; "": it has none of its own.
        where: The test, for errors.

    Raises:
        UsageError: ``judge`` would be the model of ``--llm-model``, but only the hook knows that one.
    """
    app_model = settings.single_model
    if name == "app":
        model = candidate or app_model
        if model in known:
            return model
        if candidate:
            return f"app:{candidate}"
        return name
    if name != "judge" or name in known:
        return name
    if settings.judge_model in known:
        return settings.judge_model
    if not settings.judge_model and app_model in known:
        raise UsageError(
            f"{where}: expected the judges' model (--llm-judge-model=NAME, or 'judge' in pytest_llmops_models), "
            f"got none: {app_model!r} of --llm-model is a model of that hook, and the judges' server does not know its name"
        )
    return name
