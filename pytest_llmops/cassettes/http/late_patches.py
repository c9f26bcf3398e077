"""Patches of modules that may be imported later: nothing is imported for them."""

import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

from pytest_llmops.cassettes.http.patching import Patch


class LatePatches:
    """Patches of modules: applied at once to those that are imported, and to each other one right after its import.

    Nothing is imported for them.

    Args:
        makers: For the name of a module, a function that returns its patches.
    """

    def __init__(self, makers: Mapping[str, Callable[[ModuleType], Iterable[Patch]]]) -> None:
        self._makers = makers
        self._finder = _Finder(self._patch)
        self._applied: list[Patch] = []

    def apply(self) -> None:
        """Patch the modules that are imported, and wait for the others."""
        for name in self._makers:
            module = sys.modules.get(name)
            if module is None:
                self._finder.names.add(name)
            else:
                self._patch(module)
        if self._finder.names:
            sys.meta_path.insert(0, self._finder)

    def restore_attribute(self) -> None:
        """Undo the patches, and patch nothing any more."""
        self._finder.names.clear()
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        while self._applied:
            self._applied.pop().restore_attribute()

    def _patch(self, module: ModuleType) -> None:
        """Apply the patches of a module."""
        self._finder.names.discard(module.__name__)
        for patch in self._makers[module.__name__](module):
            patch.apply()
            self._applied.append(patch)


class _Finder(MetaPathFinder):
    """Finds nothing itself; calls a function with each named module once it is loaded.

    Args:
        loaded: The function.
    """

    def __init__(self, loaded: Callable[[ModuleType], None]) -> None:
        self.names: set[str] = set()
        self._loaded = loaded

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return the spec that the other finders have for a named module, with a loader that calls the function."""
        del path, target
        if fullname not in self.names:
            return None
        self.names.discard(fullname)  # the other finders are asked, and not this one again
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self.names.add(fullname)  # that a module is searched does not mean that it is loaded
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Loader(cast("Loader", spec.loader), self._loaded)
        return spec


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
        """Return what else the module's own loader has: its source, its files, whether it is a package."""
        if name == "_real":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self._real, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return what the module's own loader creates."""
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module."""
        module.__loader__ = self._real
        if module.__spec__ is not None:
            module.__spec__.loader = self._real
        self._real.exec_module(module)
        self._loaded(module)
