"""Functions by their path, as in ``shop.orders.find_order``, without importing their module."""

import contextlib
import inspect
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any

from pytest_llmops.errors import UsageError, find_closest_name, format_name_list
from pytest_llmops.measurement import shorten_text

# Attributes in which tools of frameworks hold their function
INNER_FUNCTIONS = ("func", "coroutine", "function", "fn", "__wrapped__", "fget")
MAX_SEARCHED = 300  # objects in a tool that are searched for its function


@dataclass(frozen=True, slots=True)
class FunctionChoice:
    """A function that a test, or the project, has named.

    Attributes:
        path: Its module, and its name there: ``shop.db.Orders.insert``.
        ignore: Parameters that do not count: a session of a database, the context of a run.
    """

    path: str
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundFunction:
    """A function at its path.

    Attributes:
        function: The function.
        drops_first: Whether its first argument is ``self`` or ``cls``.
    """

    function: FunctionType
    drops_first: bool


def read_choice(text: str) -> FunctionChoice:
    """Return a function as it is named, in the form that `parse_tool_function` has checked.

    >>> read_choice("shop.orders.find_order ignore=ctx, db").ignore
    ('ctx', 'db')
    """
    path, _, ignored = text.partition("ignore=")
    names = [name.strip() for name in ignored.split(",")]
    return FunctionChoice(path.strip(), tuple(name for name in names if name))


def find_modules(choices: Sequence[FunctionChoice], where: str) -> dict[str, list[FunctionChoice]]:
    """Return the functions by the name of their module. No module is imported.

    Raises:
        UsageError: A path is given twice, or its module does not exist.
    """
    by_module: dict[str, list[FunctionChoice]] = {}
    seen = set[str]()
    for choice in choices:
        if choice.path in seen:
            raise UsageError(f"{where}: expected each function once, got {choice.path} twice")
        seen.add(choice.path)
        by_module.setdefault(_find_module(choice.path, where), []).append(choice)
    return by_module


def _find_module(path: str, where: str) -> str:
    """Return the longest part of a path that is a module.

    The search goes down from the package, as an import would, but executes nothing: a module may read the environment when it is
    imported, which a fixture of the test sets.

    Raises:
        UsageError: There is none.
    """
    parts = path.split(".")
    folders: Sequence[str] | None = None
    found = ""
    for end in range(1, len(parts)):
        name = ".".join(parts[:end])
        module = sys.modules.get(name)
        if module is not None:
            folders = getattr(module, "__path__", None)
        else:
            spec = _find_spec(name, folders)
            if spec is None:
                break
            folders = spec.submodule_search_locations
        found = name
        if folders is None:
            break
    if found:
        return found
    known = {name for name in sys.modules if "." not in name and not name.startswith("_")}
    near = find_closest_name(parts[0], known)
    hint = f"; did you mean {near!r}?" if near else ""
    raise UsageError(f"{where}: tool {path}: no module {parts[0]!r} can be imported here{hint}")


def _find_spec(name: str, folders: Sequence[str] | None) -> Any:
    """Return how a module would be imported; None: it would not."""
    for finder in sys.meta_path:
        spec = finder.find_spec(name, folders)
        if spec is not None:
            return spec
    return None


def find_function(module: Any, path: str, where: str) -> FoundFunction:
    """Return the function of a path in its module.

    Raises:
        UsageError: The name does not exist, or is not a function of Python.
    """
    names = path.removeprefix(f"{module.__name__}.").split(".")
    place = module.__name__
    owner: Any = module
    target: Any = module
    for name in names:
        owner = target
        try:
            # From a class the stored attribute, not the result of an access: it shows whether it is a method
            target = inspect.getattr_static(owner, name) if isinstance(owner, type) else getattr(owner, name)
        except AttributeError:
            raise _unknown_name(owner, place, name, path, where) from None
        place = f"{place}.{name}"
    is_method = isinstance(owner, type)
    if is_method and names[-1] not in vars(owner):
        home = next(base for base in owner.__mro__ if names[-1] in vars(base))
        better = f"{home.__module__}.{home.__qualname__}.{names[-1]}"
        raise UsageError(
            f"{where}: tool {path}: the method is inherited; name it where it is defined: {better}"
        )
    drops_first = is_method and not isinstance(target, staticmethod)
    if isinstance(target, MethodType):
        drops_first = True
    if isinstance(target, (classmethod, staticmethod, MethodType)):
        target = target.__func__
    if not isinstance(target, FunctionType):
        inside = _find_inside(target, module.__name__, ".".join(names))
        if inside is None:
            raise _no_function(target, path, where)
        return FoundFunction(inside, drops_first=False)
    return FoundFunction(target, drops_first)


def _find_inside(tool: Any, module: str, name: str) -> FunctionType | None:
    """Return the function of the same name that a tool object of a framework holds; None: there is none.

    A decorator such as ``function_tool`` of openai-agents hides it in attributes, and in the closures of functions there.
    """
    if hasattr(tool, "cache_clear"):  # a cached function is not called each time: the user has to know
        return None
    waiting = [tool]
    seen = set[int]()
    while waiting and len(seen) < MAX_SEARCHED:
        value = waiting.pop(0)
        if id(value) in seen or isinstance(value, type):
            continue
        seen.add(id(value))
        if isinstance(value, FunctionType):
            if (value.__module__, value.__qualname__) == (module, name):
                return value
            waiting += _list_closure(value)
        waiting += [inner for inner in getattr(value, "__dict__", {}).values() if callable(inner)]
    return None


def _list_closure(function: FunctionType) -> list[Any]:
    """Return the callable values in the closure of a function."""
    found = []
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # an empty cell
            found.append(cell.cell_contents)
    return [value for value in found if callable(value)]


def _unknown_name(owner: Any, place: str, name: str, path: str, where: str) -> UsageError:
    """Return the error for a name that does not exist."""
    known = _list_names(owner)
    near = find_closest_name(name, known)
    if near:
        hint = f"did you mean {place}.{near}?"
    else:
        hint = f"there are {format_name_list(shorten_text(other, 60) for other in known)}"
    return UsageError(f"{where}: tool {path}: {place} has no {name!r}; {hint}")


def _list_names(owner: Any) -> list[str]:
    """Return the public names of a module or class that are functions or classes."""
    names: Iterable[str] = vars(owner) if hasattr(owner, "__dict__") else dir(owner)
    return [
        name
        for name in names
        if not name.startswith("_") and callable(inspect.getattr_static(owner, name, None))
    ]


def _no_function(target: Any, path: str, where: str) -> UsageError:
    """Return the error for a target that is not a Python function: a tool object of a framework, a class, a function written in C."""
    kind = shorten_text(type(target).__name__, 60)
    inner = [
        f"{path}.{name}"
        for name in INNER_FUNCTIONS
        if isinstance(getattr(target, name, None), (FunctionType, MethodType))
    ]
    if inner:
        hint = f"its function is {inner[0]}"
        if hasattr(target, "cache_clear"):
            hint += f"; call {path}.cache_clear() before each test, because a result that another test cached makes no call"
    elif isinstance(target, type):
        hint = f"name a method of it: {path}.METHOD"
    else:
        hint = "name the function itself: define it without the decorator, and make the tool of it in another line"
    return UsageError(f"{where}: tool {path}: expected a function written in Python, got a {kind}; {hint}")
