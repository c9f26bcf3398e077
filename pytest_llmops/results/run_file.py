"""The form of a run file, checked before anything is made of it: a damaged one is told with its place.

Keys that are not known are left alone: a newer version of the same schema may have written them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from pytest_llmops._util.text_files import kind
from pytest_llmops.errors import UsageError, WireError, listing
from pytest_llmops.measurement import plain, shorten

Check = Callable[[object, str], None]

KIND = "the JSON of --llm-report=run.json"


class BadForm(ValueError):
    """A value of another form than its key has; the text says place, expected and got."""


def _bad(place: str, expected: str, got: object) -> BadForm:
    return BadForm(f"{place}: expected {expected}, got {_shown(got)}")


def _shown(value: object) -> str:
    if value is None or isinstance(value, (list, dict)):
        return kind(value)
    return f"{kind(value)}: {shorten(json.dumps(value), 60)}"


def document(text: str, schema: str, outcomes: Sequence[str], *, where: str) -> dict[str, Any]:
    """Return the document of a run file: each record of the right form.

    Args:
        text: The file's.
        schema: What it has to say of itself.
        outcomes: What an outcome may be.
        where: What the text is, for the error.

    Raises:
        UsageError: It is no JSON, no run file, one of a newer major version, or damaged: with file, record and key,
            and what was expected and got.
    """
    try:
        return _document(text, schema, outcomes, where)
    except RecursionError:
        raise UsageError(f"{where}: expected {KIND}, got one that is nested too deeply") from None
    except BadForm as error:
        raise UsageError(
            f"{where}: damaged: {error}; write the run again, or take it from version control"
        ) from None


def _document(text: str, schema: str, outcomes: Sequence[str], where: str) -> dict[str, Any]:
    try:
        data = json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise UsageError(f"{where}: expected {KIND}, got no JSON: {error}") from None
    found = data.get("schema") if isinstance(data, dict) else None
    if found != schema:
        raise UsageError(
            f"{where}: expected schema {schema!r}, got {shorten(repr(found), 80)}; write the run again with this version"
        )
    records = data.get("records", [])
    _list_of(lambda one, place: _record(one, place, outcomes))(records, "records")
    meta, notes = data.get("meta", {}), data.get("notes", [])
    _object(meta, "meta")
    _list_of(_text)(notes, "notes")
    return {"records": records, "meta": meta, "notes": notes}


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def named(record: object, place: str) -> str:
    """Return the place of a record with the test's name, where it has one.

    >>> named({"nodeid": "a.py::test"}, "records[3]")
    'records[3] (a.py::test)'
    """
    name = record.get("nodeid") if isinstance(record, dict) else None
    return f"{place} ({shorten(name, 200)})" if isinstance(name, str) else place


def _record(value: object, place: str, outcomes: Sequence[str]) -> None:
    place = named(value, place)
    _mapping(value, place, {"nodeid": _text}, required="nodeid")
    _mapping(
        value,
        place,
        {
            "outcome": _one_of(outcomes),
            "duration_s": _number,
            "message": _text,
            "measurements": _list_of(_measurement),
            "calls": _list_of(_call),
            "facts": _object,
            "raised": _list_of(_text),
        },
    )


def _mapping(value: object, place: str, keys: Mapping[str, Check], *, required: str = "") -> None:
    if not isinstance(value, dict):
        raise _bad(place, "an object with keys", value)
    if required and required not in value:
        raise BadForm(f"{place}: expected the key {required}, got {listing(map(str, value))}")
    for key, check in keys.items():
        if key in value:
            check(value[key], f"{place}: {key}" if place.endswith(")") else f"{place}.{key}")


def _list_of(check: Check) -> Check:
    def checked(value: object, place: str) -> None:
        if not isinstance(value, list):
            raise _bad(place, "a list", value)
        for number, one in enumerate(value):
            check(one, f"{place}[{number}]")

    return checked


def _one_of(allowed: Sequence[str]) -> Check:
    def checked(value: object, place: str) -> None:
        if value not in allowed:
            raise _bad(place, f"one of {', '.join(allowed)}", value)

    return checked


def _text(value: object, place: str) -> None:
    if not isinstance(value, str):
        raise _bad(place, "a text", value)


def _switch(value: object, place: str) -> None:
    if not isinstance(value, bool):
        raise _bad(place, "true or false", value)


def _number(value: object, place: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
        raise _bad(place, "a finite number", value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _number_or_none(value: object, place: str) -> None:
    if value is not None:
        _number(value, place)


def _whole_or_none(value: object, place: str) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise _bad(place, "a whole number or null", value)


def _object(value: object, place: str) -> None:
    _mapping(value, place, {})
    _any(value, place)


def _any(value: object, place: str) -> None:
    """What JSON can hold, and can be written again: 1e999 is read as infinity."""
    try:
        plain(value, where=place)
    except WireError as error:
        raise BadForm(str(error)) from None


def _measurement(value: object, place: str) -> None:
    # Its constructor checks the rest.
    _mapping(value, place, {"name": _text}, required="name")


_MESSAGE: Mapping[str, Check] = {"role": _text, "content": _text}
_TOOL_CALL: Mapping[str, Check] = {"name": _text, "arguments": _text, "id": _text}
_TOOL: Mapping[str, Check] = {"name": _text, "description": _text, "parameters": _any}
_COUNTS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


def _message(value: object, place: str) -> None:
    _mapping(value, place, _MESSAGE, required="role")
    _mapping(value, place, {}, required="content")


def _tool_call(value: object, place: str) -> None:
    _mapping(value, place, _TOOL_CALL, required="name")


def _tool(value: object, place: str) -> None:
    _mapping(value, place, _TOOL, required="name")


def _usage(value: object, place: str) -> None:
    _mapping(value, place, dict.fromkeys(_COUNTS, _whole_or_none))


_CALL: Mapping[str, Check] = {
    **dict.fromkeys(
        ("provider", "endpoint", "model", "purpose", "output", "thinking", "finish_reason", "unread"), _text
    ),
    **dict.fromkeys(("cost_usd", "latency_s", "ttft_s"), _number_or_none),
    **dict.fromkeys(("replayed", "streamed"), _switch),
    "status": _whole_or_none,
    "messages": _list_of(_message),
    "tools": _list_of(_tool),
    "tool_calls": _list_of(_tool_call),
    "usage": _usage,
}


def _call(value: object, place: str) -> None:
    _mapping(value, place, _CALL)
