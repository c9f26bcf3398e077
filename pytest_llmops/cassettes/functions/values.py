"""Values of Python as JSON and back, for the arguments, results and errors of recorded functions.

JSON has no tuples, dates or classes, so such a value is written as an object with one member, whose name gives the type:
``{"$tuple": [1, 2]}``, ``{"$class": ["Order", {...}]}``. Nothing is unpickled, and a recording cannot name a class: only classes in
the return annotation of the function are made, and of them only those that hold data (see `holds_data`); only errors that the module of
the function or Python itself defines are raised.
"""

import base64
import contextlib
import dataclasses
import json
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pytest_llmops.measurement import shorten_text

PLAIN_TYPES = (str, int, float, bool, type(None))
MAX_DEPTH = 60
OS_ERROR_ARGS = 2  # of an error with a number and a text
MARK = "$"


class Unrecordable(ValueError):
    """A value that cannot be written as JSON; the message names it."""


def _write_datetime(value: datetime) -> str:
    """Return a date and time as ISO 8601, with the name of its time zone, if it has one: ``2026-01-02T03:04:00+01:00[Europe/Paris]``."""
    zone = getattr(value.tzinfo, "key", None)
    if isinstance(value.tzinfo, ZoneInfo) and zone:
        return f"{value.isoformat()}[{zone}]"
    return value.isoformat()


def _read_datetime(text: str) -> datetime:
    moment, _, zone = text.removesuffix("]").partition("[")
    read = datetime.fromisoformat(moment)
    if not zone:
        return read
    local = read.replace(tzinfo=ZoneInfo(zone))
    if local.utcoffset() != read.utcoffset():  # the second of two equal times, when the clocks go back
        return local.replace(fold=1)
    return local


# How a type of the standard library is written as a text, and read again
_TEXTS: Mapping[type, tuple[str, Callable[[Any], str], Callable[[str], Any]]] = {
    bytes: ("bytes", lambda value: base64.b64encode(value).decode(), base64.b64decode),
    bytearray: (
        "bytearray",
        lambda value: base64.b64encode(value).decode(),
        lambda text: bytearray(base64.b64decode(text)),
    ),
    datetime: ("datetime", _write_datetime, _read_datetime),
    date: ("date", date.isoformat, date.fromisoformat),
    time: ("time", time.isoformat, time.fromisoformat),
    timedelta: (
        "timedelta",
        lambda value: f"{value.days} {value.seconds} {value.microseconds}",
        lambda text: timedelta(*map(int, text.split())),
    ),
    Decimal: ("decimal", str, Decimal),
    UUID: ("uuid", str, UUID),
}
# How a collection is read again from the list of its items
_COLLECTIONS: Mapping[type, str] = {tuple: "tuple", set: "set", frozenset: "frozenset"}
_READERS: dict[str, Callable[[Any], Any]] = {name: read for name, _, read in _TEXTS.values()}
_MAKERS: dict[str, Callable[[Any], Any]] = {name: kind for kind, name in _COLLECTIONS.items()}


def find_classes(annotation: Any) -> dict[str, type]:
    """Return the classes of data that an annotation names, also in their own fields, by name.

    >>> from http import HTTPMethod
    >>> list(find_classes(list[HTTPMethod] | None))
    ['HTTPMethod']
    """
    found: dict[str, type] = {}
    _collect_classes(annotation, found)
    return found


def _collect_classes(annotation: Any, found: dict[str, type]) -> None:
    origin = typing.get_origin(annotation)  # of `Page[Order]` the class `Page`
    for part in (origin, *typing.get_args(annotation)):
        if part is not None:
            _collect_classes(part, found)
    if not isinstance(annotation, type) or annotation.__name__ in found:
        return
    if not holds_data(annotation):
        return
    found[annotation.__name__] = annotation
    if dataclasses.is_dataclass(annotation) or issubclass(annotation, tuple):
        for hint in read_hints(annotation).values():
            _collect_classes(hint, found)


def holds_data(kind: type) -> bool:
    """Return whether a class is an enum, a dataclass, a named tuple or a model of pydantic.

    An object of any other class, such as ``subprocess.Popen``, is never made from a recording, even if an annotation names the class.
    """
    is_named_tuple = issubclass(kind, tuple) and hasattr(kind, "_fields")
    return issubclass(kind, Enum) or dataclasses.is_dataclass(kind) or is_named_tuple or is_model(kind)


def read_return_hint(function: Any) -> Any:
    """Return the return annotation of a function; None if it cannot be evaluated. The annotations of its parameters need not be evaluable."""
    with contextlib.suppress(Exception):  # as in `read_hints`
        only_return = SimpleNamespace(__annotations__={"return": function.__annotations__.get("return")})
        return typing.get_type_hints(only_return, function.__globals__)["return"]
    return None


def read_hints(thing: Any) -> dict[str, Any]:
    """Return the annotations of a function or class; an empty dict if they cannot be evaluated."""
    try:
        return typing.get_type_hints(thing)
    except Exception:  # noqa: BLE001 -- names that only a type checker imports, or anything else in them
        return {}


def encode(value: Any, classes: Mapping[str, type] | None = None, depth: int = 0) -> Any:
    """Return a value as JSON.

    Args:
        value: The value.
        classes: The classes that may be made again, by name; None: the value is never made again, so any class will do.
        depth: How deep the value is nested.

    Raises:
        Unrecordable: The value, or a part of it, has no form in JSON from which it could be made again.

    >>> encode((1, Decimal("2.50")))
    {'$tuple': [1, {'$decimal': '2.50'}]}
    """
    kind = type(value)
    if kind in PLAIN_TYPES:
        return value
    if depth > MAX_DEPTH:
        raise Unrecordable(f"a value that is nested deeper than {MAX_DEPTH} levels")
    if kind is list:
        return [encode(item, classes, depth + 1) for item in value]
    if kind is dict:
        return _encode_dict(value, classes, depth)
    if kind in _TEXTS:
        name, write, _ = _TEXTS[kind]
        return {f"{MARK}{name}": write(value)}
    if kind in _COLLECTIONS:
        items = [encode(item, classes, depth + 1) for item in value]
        if kind is not tuple:  # the order of a set differs from run to run
            items.sort(key=_sort_key)
        return {f"{MARK}{_COLLECTIONS[kind]}": items}
    if isinstance(value, Path):
        return {f"{MARK}path": str(value)}
    return _encode_object(value, classes, depth)


def _sort_key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _encode_dict(value: dict[Any, Any], classes: Mapping[str, type] | None, depth: int) -> Any:
    """Return a dict as JSON; as pairs, if a key is not a string, or looks like the mark of another type."""
    is_plain = all(type(key) is str for key in value) and not any(key.startswith(MARK) for key in value)
    if is_plain:
        return {key: encode(item, classes, depth + 1) for key, item in value.items()}
    pairs = [
        [encode(key, classes, depth + 1), encode(item, classes, depth + 1)] for key, item in value.items()
    ]
    return {f"{MARK}dict": pairs}


def _encode_object(value: Any, classes: Mapping[str, type] | None, depth: int) -> Any:
    """Return an object of a class as JSON: an enum, a dataclass, a named tuple, or a model of pydantic."""
    kind = type(value)
    if isinstance(value, Enum):
        content = encode(value.value, classes, depth + 1)
    elif dataclasses.is_dataclass(kind):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(kind)}
        content = _encode_dict(fields, classes, depth)
    elif isinstance(value, tuple) and hasattr(kind, "_fields"):
        content = [encode(item, classes, depth + 1) for item in value]
    elif is_model(kind):
        content = value.model_dump(mode="json", by_alias=True)
    else:
        raise Unrecordable(f"an object of the class {name_class(kind)}")
    if classes is not None and classes.get(kind.__name__) is not kind:
        raise Unrecordable(
            f"an object of the class {name_class(kind)}, which the return annotation does not name"
        )
    return {f"{MARK}class": [kind.__name__, content]}


def is_model(kind: type) -> bool:
    """Return whether a class is a model of pydantic, which is not imported for that."""
    return hasattr(kind, "model_dump") and hasattr(kind, "model_validate")


def name_class(kind: type) -> str:
    """Return the name of a class with its module, short enough for a message."""
    return shorten_text(f"{kind.__module__}.{kind.__qualname__}", 120)


def decode(value: Any, classes: Mapping[str, type]) -> Any:
    """Return the value that was written as JSON.

    Args:
        value: The JSON.
        classes: The classes that may be made, by name.

    Raises:
        ValueError: It was not written by `encode`, or names another class.
    """
    if isinstance(value, list):
        return [decode(item, classes) for item in value]
    if not isinstance(value, dict):
        return value
    mark = next(iter(value), "")
    if len(value) != 1 or not mark.startswith(MARK):
        return {key: decode(item, classes) for key, item in value.items()}
    return _decode_marked(mark.removeprefix(MARK), value[mark], classes)


def _decode_marked(name: str, content: Any, classes: Mapping[str, type]) -> Any:
    """Return a value of a type that JSON does not have."""
    if name in _READERS and isinstance(content, str):
        return _READERS[name](content)
    if name in _MAKERS and isinstance(content, list):
        return _MAKERS[name](decode(item, classes) for item in content)
    if name == "path" and isinstance(content, str):
        return Path(content)
    if name == "dict":
        return {decode(key, classes): decode(item, classes) for key, item in content}
    if name == "class":
        kind_name, fields = content
        return _make_object(kind_name, fields, classes)
    raise ValueError(f"unknown type {shorten_text(name, 40)!r}")


def _make_object(name: str, content: Any, classes: Mapping[str, type]) -> Any:
    """Return an object of one of the classes."""
    kind: Any = classes.get(name)
    if kind is None:
        known = ", ".join(sorted(classes)) or "none"
        raise ValueError(
            f"a result of the class {shorten_text(name, 60)!r}, and the return annotation names {known}"
        )
    if issubclass(kind, Enum):
        return kind(decode(content, classes))
    if is_model(kind):
        return kind.model_validate(content)
    arguments = decode(content, classes)
    if dataclasses.is_dataclass(kind):
        return _make_dataclass(kind, arguments)
    return kind(*arguments)


def _make_dataclass(kind: Any, arguments: dict[str, Any]) -> Any:
    """Return an object of a dataclass. Fields that `__init__` does not take are set after it, also if it is frozen."""
    later = {field.name for field in dataclasses.fields(kind) if not field.init}
    made = kind(**{name: value for name, value in arguments.items() if name not in later})
    for name in later & arguments.keys():
        object.__setattr__(made, name, arguments[name])
    return made


def encode_result(value: Any, classes: Mapping[str, type]) -> Any:
    """Return a result as JSON, after making sure that it can be made again.

    Raises:
        Unrecordable: It cannot.
    """
    written = encode(value, classes)
    try:
        again = encode(decode(json.loads(json.dumps(written)), classes), classes)
    except Exception as error:  # noqa: BLE001 -- of the classes of the project
        text = shorten_text(f"{type(error).__name__}: {error}", 200)
        raise Unrecordable(f"{name_class(type(value))}, which cannot be rebuilt ({text})") from None
    if json.dumps(again, sort_keys=True) != json.dumps(written, sort_keys=True):
        raise Unrecordable(f"{name_class(type(value))}, which changes when it is rebuilt")
    return written


def encode_error(error: Exception, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return an exception as JSON, after making sure that it can be raised again.

    Args:
        error: The exception.
        namespace: The names of the module of the function.

    Raises:
        Unrecordable: It cannot.
    """
    kind = type(error)
    if _find_error(kind.__name__, namespace) is not kind:
        raise Unrecordable(
            f"the exception {name_class(kind)}, which the module of the function does not have by its name"
        )
    written = describe_error(error) | {"args": encode(_list_arguments(error), {})}
    attributes = _encode_attributes(error)
    if attributes:
        written["attributes"] = attributes
    again = decode_error(written, namespace)
    if type(again) is not kind or str(again) != str(error):
        raise Unrecordable(f"the exception {name_class(kind)}, which changes when it is rebuilt")
    return written


def describe_error(error: Exception) -> dict[str, Any]:
    """Return an exception as JSON with which another one is compared; it need not be such that it can be raised again."""
    texts = [str(argument) for argument in error.args]
    return {"type": type(error).__name__, "args": texts, "message": str(error)}


def _list_arguments(error: Exception) -> list[Any]:
    """Return the arguments that make an exception: its args, and for an `OSError` also its files, which its args do not have."""
    if not isinstance(error, OSError) or error.filename is None or len(error.args) != OS_ERROR_ARGS:
        return list(error.args)
    arguments = [*error.args, error.filename]
    if error.filename2 is not None:
        arguments += [None, error.filename2]
    return arguments


def _encode_attributes(error: Exception) -> dict[str, Any]:
    """Return the attributes of an exception that are texts, numbers, booleans or None. Others hold requests and headers, so secrets too."""
    return {name: value for name, value in vars(error).items() if type(value) in PLAIN_TYPES}


def decode_error(written: Mapping[str, Any], namespace: Mapping[str, Any]) -> Exception:
    """Return a recorded exception.

    Raises:
        ValueError: Neither the module nor Python has an exception of the name, or it cannot be made.
    """
    name = str(written.get("type"))
    kind = _find_error(name, namespace)
    if kind is None:
        raise ValueError(
            f"the exception {shorten_text(name, 60)!r}, which the module of the function does not have"
        )
    arguments = decode(written.get("args", []), {})
    error = _make_error(kind, arguments, str(written.get("message")))
    vars(error).update(decode(written.get("attributes", {}), {}))
    return error


def _make_error(kind: type[Exception], arguments: list[Any], message: str) -> Exception:
    """Return an exception of a class; without `__init__`, if `__init__` has other arguments than the class keeps."""
    with contextlib.suppress(Exception):
        error = kind(*arguments)
        if str(error) == message:
            return error
    error = kind.__new__(kind, *arguments)
    error.args = tuple(arguments)
    return error


def _find_error(name: str, namespace: Mapping[str, Any]) -> type[Exception] | None:
    """Return the exception of a name that a module or Python itself has; None: there is none."""
    import builtins

    for found in (namespace.get(name), getattr(builtins, name, None)):
        if isinstance(found, type) and issubclass(found, Exception) and found.__name__ == name:
            return found
    return None
