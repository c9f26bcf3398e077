"""The form of a run file, checked before anything is made of it: a damaged one is told with its place.

Keys that are not known are left alone: a newer version of the same schema may have written them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from pytest_llmops._util.text_files import json_kind
from pytest_llmops.errors import UsageError, WireError, format_name_list
from pytest_llmops.measurement import shorten_text, to_builtins

Check = Callable[[object, str], None]

FORMAT_NAME = "the JSON of --llm-report=run.json"


class InvalidRunFile(ValueError):
    """A value of another form than its key has; the text says place, expected and got."""


def _invalid_value(place: str, expected: str, got: object) -> InvalidRunFile:
    return InvalidRunFile(f"{place}: expected {expected}, got {_describe_json_value(got)}")


def _describe_json_value(value: object) -> str:
    if value is None or isinstance(value, (list, dict)):
        return json_kind(value)
    return f"{json_kind(value)}: {shorten_text(json.dumps(value), 60)}"


def parse_run_file(text: str, schema: str, outcomes: Sequence[str], *, where: str) -> dict[str, Any]:
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
        return _parse_document(text, schema, outcomes, where)
    except RecursionError:
        raise UsageError(f"{where}: expected {FORMAT_NAME}, got one that is nested too deeply") from None
    except InvalidRunFile as error:
        raise UsageError(
            f"{where}: damaged: {error}; write the run again, or take it from version control"
        ) from None


def _parse_document(text: str, schema: str, outcomes: Sequence[str], where: str) -> dict[str, Any]:
    try:
        data = json.loads(text, parse_constant=_reject_constant)
    except ValueError as error:
        raise UsageError(f"{where}: expected {FORMAT_NAME}, got no JSON: {error}") from None
    schema_name = data.get("schema") if isinstance(data, dict) else None
    if schema_name != schema:
        raise UsageError(
            f"{where}: expected schema {schema!r}, got {shorten_text(repr(schema_name), 80)}; write the run again with this version"
        )
    records = data.get("records", [])
    _list_check(lambda record, place: _check_record(record, place, outcomes))(records, "records")
    meta, notes = data.get("meta", {}), data.get("notes", [])
    _check_object(meta, "meta")
    _list_check(_check_string)(notes, "notes")
    return {"records": records, "meta": meta, "notes": notes}


def _reject_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def locate_record(record: object, place: str) -> str:
    """Return the place of a record with the test's name, where it has one.

    >>> locate_record({"nodeid": "a.py::test"}, "records[3]")
    'records[3] (a.py::test)'
    """
    name = record.get("nodeid") if isinstance(record, dict) else None
    return f"{place} ({shorten_text(name, 200)})" if isinstance(name, str) else place


def _check_record(value: object, place: str, outcomes: Sequence[str]) -> None:
    place = locate_record(value, place)
    _check_keys(value, place, {"nodeid": _check_string}, required="nodeid")
    _check_keys(
        value,
        place,
        {
            "outcome": _choice_check(outcomes),
            "duration_s": _check_number,
            "message": _check_string,
            "measurements": _list_check(_check_measurement),
            "calls": _list_check(_check_call),
            "facts": _check_object,
            "raised": _list_check(_check_string),
        },
    )


def _check_keys(value: object, place: str, keys: Mapping[str, Check], *, required: str = "") -> None:
    if not isinstance(value, dict):
        raise _invalid_value(place, "an object with keys", value)
    if required and required not in value:
        raise InvalidRunFile(f"{place}: expected the key {required}, got {format_name_list(map(str, value))}")
    for key, check in keys.items():
        if key in value:
            check(value[key], f"{place}: {key}" if place.endswith(")") else f"{place}.{key}")


def _list_check(check: Check) -> Check:
    def checked(value: object, place: str) -> None:
        if not isinstance(value, list):
            raise _invalid_value(place, "a list", value)
        for number, item in enumerate(value):
            check(item, f"{place}[{number}]")

    return checked


def _choice_check(allowed: Sequence[str]) -> Check:
    def checked(value: object, place: str) -> None:
        if value not in allowed:
            raise _invalid_value(place, f"one of {', '.join(allowed)}", value)

    return checked


def _check_string(value: object, place: str) -> None:
    if not isinstance(value, str):
        raise _invalid_value(place, "a text", value)


def _check_bool(value: object, place: str) -> None:
    if not isinstance(value, bool):
        raise _invalid_value(place, "true or false", value)


def _check_number(value: object, place: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
        raise _invalid_value(place, "a finite number", value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _check_optional_number(value: object, place: str) -> None:
    if value is not None:
        _check_number(value, place)


def _check_optional_int(value: object, place: str) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise _invalid_value(place, "a whole number or null", value)


def _check_object(value: object, place: str) -> None:
    _check_keys(value, place, {})
    _check_json_value(value, place)


def _check_json_value(value: object, place: str) -> None:
    """What JSON can hold, and can be written again: 1e999 is read as infinity."""
    try:
        to_builtins(value, where=place)
    except WireError as error:
        raise InvalidRunFile(str(error)) from None


def _check_measurement(value: object, place: str) -> None:
    # Its constructor checks the rest.
    _check_keys(value, place, {"name": _check_string}, required="name")


_MESSAGE_CHECKS: Mapping[str, Check] = {"role": _check_string, "content": _check_string}
_TOOL_CALL_CHECKS: Mapping[str, Check] = {
    "name": _check_string,
    "arguments": _check_string,
    "id": _check_string,
}
_TOOL_CHECKS: Mapping[str, Check] = {
    "name": _check_string,
    "description": _check_string,
    "parameters": _check_json_value,
}
_TOKEN_COUNTS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


def _check_message(value: object, place: str) -> None:
    _check_keys(value, place, _MESSAGE_CHECKS, required="role")
    _check_keys(value, place, {}, required="content")


def _check_tool_call(value: object, place: str) -> None:
    _check_keys(value, place, _TOOL_CALL_CHECKS, required="name")


def _check_tool(value: object, place: str) -> None:
    _check_keys(value, place, _TOOL_CHECKS, required="name")


def _check_usage(value: object, place: str) -> None:
    _check_keys(value, place, dict.fromkeys(_TOKEN_COUNTS, _check_optional_int))


_CALL_CHECKS: Mapping[str, Check] = {
    **dict.fromkeys(
        ("provider", "endpoint", "model", "purpose", "output", "thinking", "finish_reason", "unread"),
        _check_string,
    ),
    **dict.fromkeys(("cost_usd", "latency_s", "ttft_s"), _check_optional_number),
    **dict.fromkeys(("replayed", "streamed"), _check_bool),
    "status": _check_optional_int,
    "messages": _list_check(_check_message),
    "tools": _list_check(_check_tool),
    "tool_calls": _list_check(_check_tool_call),
    "usage": _check_usage,
}


def _check_call(value: object, place: str) -> None:
    _check_keys(value, place, _CALL_CHECKS)
