"""The form of a run file, checked before anything is made of it: a damaged one is told with its place.

Keys that are not known are left alone: a newer version of the same schema may have written them.

Long texts of a run file, stored once: where one stands again, a reference stands instead.

A test's answer is in its call, in the detail of each of its measurements and in their evidence; its system
prompt is that of a hundred other tests. The document's ``texts`` hold such a text once, and ``{"$text": 3}``
means the fourth of them. A mapping of somebody's own that looks like a reference is written with one ``$``
more. A document without ``texts`` holds no references at all.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

from pytest_llmops._util.text_files import kind
from pytest_llmops.errors import UsageError, WireError, listing
from pytest_llmops.measurement import Json, plain, shorten

REFERENCE = "$text"
MIN_CHARS = 80
"""Shorter texts are repeated: a person reads them where they stand."""
INLINE = frozenset({"nodeid"})
"""Keys whose texts always stand where they are: what people search for."""

_LIKE = re.compile(r"\$+text")
_ESCAPED = re.compile(r"\$\$+text")
_ON_LINES = re.compile(r'\{\n *"\$text": (\d+)\n *\}')

Place: TypeAlias = "tuple[Place, str | int] | None"


class BadReference(ValueError):
    """A reference that leads nowhere: where it stands, what was expected and what is there."""

    def __init__(self, place: Place, expected: str, got: str) -> None:
        self.place = where(place)
        super().__init__(f"{self.place}: expected {expected}, got {got}")


def share(value: Json) -> tuple[Json, list[str]]:
    """Return a value with references for its long texts that occur twice, and these texts.

    Without such texts the value is returned as it is, and no texts: then it holds no references, whatever
    it looks like.

    >>> share(["short", "short"])
    (['short', 'short'], [])
    >>> share(["x" * 80, {"again": "x" * 80}])[0]
    [{'$text': 0}, {'again': {'$text': 0}}]
    """
    counts: Counter[str] = Counter()
    _count(value, counts)
    texts = [text for text, times in counts.items() if times > 1]
    if not texts:
        return value, []
    return _shared(value, {text: number for number, text in enumerate(texts)}), texts


def _count(value: Json, counts: Counter[str]) -> None:
    if isinstance(value, str):
        if len(value) >= MIN_CHARS:
            counts[value] += 1
    elif isinstance(value, Mapping):
        for key, one in value.items():
            if key not in INLINE or not isinstance(one, str):
                _count(one, counts)
    elif isinstance(value, Sequence):
        for one in value:
            _count(one, counts)


def _shared(value: Json, numbers: Mapping[str, int]) -> Json:
    if isinstance(value, str):
        number = numbers.get(value)
        return value if number is None else {REFERENCE: number}
    if isinstance(value, Mapping):
        like = len(value) == 1 and _LIKE.fullmatch(next(iter(value)))
        return {
            f"${key}" if like else key: one
            if key in INLINE and isinstance(one, str)
            else _shared(one, numbers)
            for key, one in value.items()
        }
    if isinstance(value, Sequence):
        return [_shared(one, numbers) for one in value]
    return value


def restore(value: object, texts: Sequence[str], place: Place = None) -> object:
    """Return what `share` was given.

    Args:
        value: With references.
        texts: What they refer to.
        place: Where the value stands, for the error.

    Raises:
        BadReference: A reference is no number, or there is no text of that number.

    >>> restore([{"$text": 0}, {"$$text": 0}], ["hello"])
    ['hello', {'$text': 0}]
    """
    if isinstance(value, dict):
        only = next(iter(value)) if len(value) == 1 else ""
        if only == REFERENCE:
            return _text_of(value[only], texts, place)
        if _ESCAPED.fullmatch(only):
            return {only[1:]: restore(value[only], texts, (place, only))}
        return {key: restore(one, texts, (place, key)) for key, one in value.items()}
    if isinstance(value, list):
        return [restore(one, texts, (place, number)) for number, one in enumerate(value)]
    return value


def _text_of(number: object, texts: Sequence[str], place: Place) -> str:
    if isinstance(number, bool) or not isinstance(number, int):
        raise BadReference(place, "the number of a text", f"{{{REFERENCE!r}: {shorten(repr(number), 60)}}}")
    if not 0 <= number < len(texts):
        raise BadReference(place, f"the number of one of {len(texts):,} texts, from 0", f"{number}")
    return texts[number]


def where(place: Place) -> str:
    """Return a place in words: keys after dots, numbers in brackets.

    >>> where(((((None, "records"), 3), "calls"), 0))
    'records[3].calls[0]'
    """
    parts: list[str | int] = []
    while place is not None:
        place, part = place
        parts.append(part)
    words = (f"[{part}]" if isinstance(part, int) else f".{shorten(part, 60)}" for part in reversed(parts))
    return "".join(words).removeprefix(".")


def on_one_line(text: str) -> str:
    r"""Return indented JSON with each reference on one line: no text of JSON holds a line end, so none is touched.

    >>> on_one_line('[\n {\n  "$text": 3\n }\n]')
    '[\n {"$text": 3}\n]'
    """
    return _ON_LINES.sub(rf'{{"{REFERENCE}": \1}}', text)


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
    """Return the document of a run file: references replaced by their texts, each record of the right form.

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
    except (BadForm, BadReference) as error:
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
    if "texts" in data:
        _list_of(_text)(data["texts"], "texts")
        records = restore(records, data["texts"], (None, "records"))
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
