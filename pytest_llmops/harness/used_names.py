"""Finds the names of this package that tests use, by the names in their code, without running or reading it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from pytest_llmops.harness.own_tests import is_ours

# Exactly these types are looked at: other objects may run code of their own when an attribute is read
_NAMED_TYPES = (FunctionType, ModuleType, type)
_METHODS = (classmethod, staticmethod, MethodType)
_FOREIGN_FOLDERS = frozenset({"site-packages", "dist-packages"})
_MAX_MEMBERS = 1_000  # members of a list or dict that are looked at


def find_used_names(starts: Iterable[Any], root: Path) -> set[str]:
    """Return the names of this package that tests use, also through functions and classes of the project.

    That is the name of each function, class and module of this package that their code names, of its module, and of its package
    (``Rubric``, ``pytest_llmops.judges.rubric``, ``pytest_llmops.judges``). A function that uses one of them, or imports from
    this package itself, adds all names and texts in its code: a name too many does no harm.

    Args:
        starts: The functions of tests and fixtures, the classes of tests, and the values of their parameters.
        root: The project's folder. Code elsewhere, and code of an environment below it, is not followed.
    """
    names = set[str]()
    waiting = list(starts)
    visited = dict[int, Any]()  # the objects are kept, so that no other gets the id of one of them
    while waiting:
        value = waiting.pop()
        if id(value) in visited:
            continue
        visited[id(value)] = value
        if _is_part_of_ours(value):
            origin = _find_origin(value)
            names.update((value.__name__, origin, origin.rpartition(".")[0]))
        elif type(value) is FunctionType:
            used = set(_iter_names(value.__code__))
            values = list(_iter_values_of_function(value, used, root))
            if any(map(is_ours, used)) or any(map(_is_part_of_ours, values)):
                names.update(used)
            waiting.extend(values)
        else:
            waiting.extend(_iter_parts(value, root))
    return names


def _is_part_of_ours(value: Any) -> bool:
    """Return whether a value is a function, class or module of this package."""
    return type(value) in _NAMED_TYPES and is_ours(_find_origin(value))


def _find_origin(value: Any) -> str:
    """Return the name of a module, or of the module that defines a function or class."""
    if isinstance(value, ModuleType):
        return value.__name__
    return str(value.__module__)


@lru_cache(maxsize=1_000)
def _lies_in_project(file: str, root: Path) -> bool:
    """Return whether a file is in the project, and not in an environment below it."""
    path = Path(file)
    return path.is_relative_to(root) and _FOREIGN_FOLDERS.isdisjoint(path.parts)


def _is_module_of_project(name: str, root: Path) -> bool:
    """Return whether a module is imported from a file of the project."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return isinstance(file, str) and _lies_in_project(file, root)


def _iter_values_of_function(function: FunctionType, used: set[str], root: Path) -> Iterator[Any]:
    """Yield the objects that any function wraps or keeps, as `mock.patch` keeps a test, and the objects that a function of the project names.

    Args:
        function: The function.
        used: The names in its code.
        root: The project's folder.
    """
    yield from vars(function).values()  # `__wrapped__` is one of them
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # nothing is assigned to it yet
            yield cell.cell_contents
    if _lies_in_project(function.__code__.co_filename, root):
        yield from _iter_named_values(function.__globals__, used, root)


def _iter_named_values(namespace: dict[str, Any], used: set[str], root: Path) -> Iterator[Any]:
    """Yield the values of names in a module, and of the same names in the modules of the project among them."""
    waiting = [namespace]
    visited = set[str]()
    while waiting:
        namespace = waiting.pop()
        values = [namespace[name] for name in used if name in namespace]
        yield from values
        for value in values:
            if type(value) is not ModuleType or value.__name__ in visited:
                continue
            visited.add(value.__name__)
            if _is_module_of_project(value.__name__, root):
                waiting.append(vars(value))


def _iter_parts(value: Any, root: Path) -> Iterator[Any]:
    """Yield the functions of a class of the project, those that an object holds, and the class of the object.

    Functions whose name begins with ``test`` are left out: they are tests, which may not run.
    """
    if type(value) is type:
        for base in value.__mro__:
            if _is_module_of_project(_find_origin(base), root):
                yield from (part for name, part in vars(base).items() if not name.startswith("test"))
    elif type(value) in _METHODS:
        yield value.__func__
    elif type(value) is property:
        yield value.fget
    elif type(value) is partial:
        yield from (value.func, *value.args, *value.keywords.values())
    elif type(value) is dict:
        yield from _iter_members(value.values())
    elif type(value) in (list, tuple):
        yield from _iter_members(value)
    else:
        yield type(value)


def _iter_members(members: Iterable[Any]) -> Iterator[Any]:
    """Yield the functions and classes in a list or dict, such as a table of checks. One of data has none."""
    for member in islice(members, _MAX_MEMBERS):
        if type(member) in (FunctionType, type, partial):
            yield member


def _iter_names(code: CodeType) -> Iterator[str]:
    """Yield the names and texts in some code, and in the functions within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, str) and not is_ours(constant):
            yield constant
        elif isinstance(constant, CodeType):
            yield from _iter_names(constant)
