"""Finds what the modules of a project use of this package, without running or reading them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from pytest_llmops.harness.own_tests import is_ours

# Exactly these types are looked at: other objects may run code of their own when an attribute is read
_NAMED_TYPES = (FunctionType, ModuleType, type)
_FOREIGN_FOLDERS = frozenset({"site-packages", "dist-packages"})


def find_used_names(modules: Iterable[ModuleType], root: Path) -> set[str]:
    """Return what modules use of this package, and the modules of the project that they import.

    That is the name of each function, class and module of this package that they hold, of its module, and of its package
    (``Rubric``, ``pytest_llmops.judges.rubric``, ``pytest_llmops.judges``). A function that uses one of them, or imports from
    this package itself, adds all names and texts in its code: a name too many does no harm.

    Args:
        modules: Imported modules, such as those of tests.
        root: The project's folder. Modules elsewhere, and packages of an environment below it, are not followed.
    """
    names = set[str]()
    waiting = list(modules)
    visited = set[str]()
    while waiting:
        module = waiting.pop()
        if module.__name__ in visited:
            continue
        visited.add(module.__name__)
        values = {key: value for key, value in list(vars(module).items()) if type(value) in _NAMED_TYPES}
        ours = {key for key, value in values.items() if is_ours(_find_origin(value))}
        for key, value in values.items():
            origin = _find_origin(value)
            if key in ours:
                names.update((value.__name__, origin, origin.rpartition(".")[0]))
            elif origin == module.__name__:
                names.update(_iter_names_of_users(value, ours))
            elif origin in sys.modules and _lies_in_project(sys.modules[origin], root):
                waiting.append(sys.modules[origin])
    return names


def _find_origin(value: Any) -> str:
    """Return the name of a module, or of the module that defines a function or class."""
    if isinstance(value, ModuleType):
        return value.__name__
    return str(value.__module__)


def _lies_in_project(module: ModuleType, root: Path) -> bool:
    """Return whether the file of a module is in the project, and not in an environment below it."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return False
    path = Path(file)
    return path.is_relative_to(root) and _FOREIGN_FOLDERS.isdisjoint(path.parts)


def _iter_names_of_users(value: Any, ours: set[str]) -> Iterator[str]:
    """Yield the names and texts in a function, or in the functions of a class, that use or import this package.

    Args:
        value: The function or class.
        ours: The names under which its module holds something of this package.
    """
    functions = [value]
    if isinstance(value, type):
        functions = list(vars(value).values())
    for function in functions:
        if not isinstance(function, FunctionType):
            continue
        names = set(_iter_names(function.__code__))
        if not names.isdisjoint(ours) or any(map(is_ours, names)):
            yield from names


def _iter_names(code: CodeType) -> Iterator[str]:
    """Yield the names and texts in some code, and in the functions within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, str) and not is_ours(constant):
            yield constant
        elif isinstance(constant, CodeType):
            yield from _iter_names(constant)
