"""`ProjectImports`: which tests use a package, themselves, by their fixtures, or by the project's modules that they import.

Knows pytest's items by their attributes only.
"""

from __future__ import annotations

import functools
import sys
import sysconfig
from collections.abc import Iterator
from types import CodeType, ModuleType
from typing import Any

INSTALLED_FOLDERS = ("site-packages", "dist-packages")


class ProjectImports:
    """The imports of the modules of a project; each module is read once."""

    def __init__(self) -> None:
        self._owners: dict[int, frozenset[str]] = {}  # by the ``id()`` of a module
        self._uses: dict[tuple[int, str], bool] = {}  # by the ``id()`` of a module, and a package

    def uses(self, item: Any, package: str) -> bool:
        """Return whether a test uses a package; the package itself is not imported.

        True if the module of the test or of one of its fixtures imports it, directly or through other modules of the project, or if
        the test function does so in its body.

        Args:
            item: pytest's item.
            package: The name by which the package is imported, such as ``deepeval`` or ``langsmith.testing``.
        """
        function = getattr(item, "function", None)
        if package in _list_imports(getattr(function, "__code__", None)):
            return True
        return any(self._module_uses(module, package) for module in _iter_modules(item))

    def _module_uses(self, start: ModuleType, package: str) -> bool:
        """Return whether a module uses a package, directly or through other modules of the project; each answer is kept."""
        key = (id(start), package)
        if key not in self._uses:
            seen: set[int] = set()
            self._uses[key] = self._search_package(start, package, seen)
            if not self._uses[key]:  # then none of the modules that were searched does
                self._uses.update(dict.fromkeys(((module, package) for module in seen), False))
        return self._uses[key]

    def _search_package(self, start: ModuleType, package: str, seen: set[int]) -> bool:
        """Search the modules of the project that a module imports for a package; add those that were searched to `seen`."""
        waiting = [start]
        while waiting:
            module = waiting.pop()
            if id(module) in seen or not _is_of_project(module):
                continue
            known = self._uses.get((id(module), package))
            if known:
                return True
            seen.add(id(module))
            if known is None:
                for owner in self._read_owners(module):
                    if is_part_of(owner, package):
                        return True
                    imported = sys.modules.get(owner)
                    if imported is not None:
                        waiting.append(imported)
        return False

    def _read_owners(self, module: ModuleType) -> frozenset[str]:
        """Return the names of the modules that a module imports, or from which it imports something."""
        if id(module) not in self._owners:
            values = list(vars(module).values())
            self._owners[id(module)] = frozenset(filter(None, map(_find_owner, values)))
        return self._owners[id(module)]


def is_part_of(module: str, package: str) -> bool:
    """Return whether a module is a package, or is in it.

    >>> is_part_of("deepeval.metrics", "deepeval"), is_part_of("deepevaluator", "deepeval")
    (True, False)
    """
    return module == package or module.startswith(f"{package}.")


def _iter_modules(item: Any) -> Iterator[ModuleType]:
    """Yield the module of a test, and those that define its fixtures."""
    module = getattr(item, "module", None)
    if isinstance(module, ModuleType):
        yield module
    info = getattr(item, "_fixtureinfo", None)
    for fixturedefs in getattr(info, "name2fixturedefs", {}).values():
        for fixturedef in fixturedefs:
            module = sys.modules.get(getattr(fixturedef.func, "__module__", ""))
            if module is not None:
                yield module


def _find_owner(value: object) -> str:
    """Return the name of the module that a value is, or was defined in; for an instance the module of its class."""
    if isinstance(value, ModuleType):
        return value.__name__
    try:
        owner = getattr(value, "__module__", "")
    except Exception:  # noqa: BLE001 -- a proxy of the project may raise anything
        return ""
    if isinstance(owner, str):
        return owner
    return ""


def _is_of_project(module: ModuleType) -> bool:
    """Return whether a module is a file that is not installed."""
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and _is_project_file(file)


@functools.cache
def _is_project_file(file: str) -> bool:
    """Return whether a file is neither Python's own nor installed."""
    if file.startswith(sysconfig.get_path("stdlib")):
        return False
    return not any(folder in file for folder in INSTALLED_FOLDERS)


def _list_imports(code: CodeType | None) -> set[str]:
    """Return the names of modules that a function imports in its body (and other names that it uses)."""
    if code is None:
        return set()
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _list_imports(constant)
    return names | {name.partition(".")[0] for name in names}
