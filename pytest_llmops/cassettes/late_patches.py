"""Patches of modules that may be imported later: nothing is imported for them."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast
from weakref import WeakSet

from pytest_llmops.cassettes.patch import Patch

# Each module that was patched once, by its name: one that was imported again stays in use together with the first
_seen_modules: dict[str, WeakSet[ModuleType]] = {}


class LatePatches:
    """Patches of modules: applied at once to those that are imported, and to each other one right after its import.

    A module that is imported again, or reloaded, is patched again. Nothing is imported for the patches.

    Args:
        makers: For the name of a module, a function that returns its patches.
    """

    def __init__(self, makers: Mapping[str, Callable[[ModuleType], Iterable[Patch]]]) -> None:
        self._makers = makers
        self._finder = _Finder(frozenset(makers), self._patch)
        self._applied: list[Patch] = []

    def apply(self) -> None:
        """Patch the modules that are imported, and wait for the others."""
        for name in self._makers:
            modules = set(_seen_modules.get(name, ()))
            current = sys.modules.get(name)
            if isinstance(current, ModuleType):
                modules.add(current)
            for module in modules:
                self._patch(name, module)
        sys.meta_path.insert(0, self._finder)

    def restore_attribute(self) -> None:
        """Undo the patches, and patch nothing any more."""
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        while self._applied:
            self._applied.pop().restore_attribute()

    def _patch(self, name: str, module: ModuleType) -> None:
        """Apply the patches of a module."""
        _seen_modules.setdefault(name, WeakSet()).add(module)
        for patch in self._makers[name](module):
            patch.apply()
            self._applied.append(patch)


class _Finder(MetaPathFinder):
    """Finds nothing itself; calls a function with each named module once it is loaded.

    Args:
        names: The names of the modules.
        loaded: The function; called with the name and the module.
    """

    def __init__(self, names: frozenset[str], loaded: Callable[[str, ModuleType], None]) -> None:
        self._names = names
        self._loaded = loaded

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec that the finders after this one have for a named module, with a loader that calls the function."""
        if fullname not in self._names or self not in sys.meta_path:
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(fullname, path, target)
            if spec is None:
                continue
            if hasattr(spec.loader, "exec_module"):
                spec.loader = _Loader(cast("Loader", spec.loader), partial(self._loaded, fullname))
            return spec
        return None


class _Loader(Loader):
    """Loads a module as its own loader does, and calls a function then.

    Args:
        real: The module's own loader, which it has again once it is loaded.
        loaded: The function.
    """

    def __init__(self, real: Loader, loaded: Callable[[ModuleType], None]) -> None:
        self._real = real
        self._loaded = loaded

    def __getattr__(self, name: str) -> Any:
        """Return other attributes of the module's own loader: its source, its files, whether it is a package."""
        if name == "_real":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self._real, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return the module that its own loader creates."""
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module."""
        module.__loader__ = self._real
        if module.__spec__ is not None:
            module.__spec__.loader = self._real
        self._real.exec_module(module)
        self._loaded(module)
