"""Read the spans, log records and rows of an export: JSON lines, or one document of any size.

A document is parsed by `json.JSONDecoder.raw_decode` in a buffer that moves over the file. An object or list that does not fit into
the buffer is opened: its bracket is skipped, and the values inside are parsed one by one; commas and colons between them are skipped,
not checked. ijson would be one more dependency, is not faster, and cannot continue after a broken line.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_llmops._util.json_values import as_mapping
from pytest_llmops._util.text_files import BadFile
from pytest_llmops.errors import UsageError

# Keys of lists that hold spans, log records or rows, directly or in further such lists
LISTS = (
    "resourceSpans",
    "resource_spans",
    "scopeSpans",
    "scope_spans",
    "spans",
    "data",
    "observations",
    "runs",
    "resourceLogs",
    "resource_logs",
    "scopeLogs",
    "scope_logs",
    "logRecords",
    "log_records",
)
CHUNK = 1 << 20  # characters that are read at once
MAX_OBJECT = 1 << 23  # characters of an object that is parsed as a whole
MAX_OPEN = 20  # nested brackets that may be opened

_decode = json.JSONDecoder().raw_decode
_SEPARATORS = re.compile(r"[ \t\r\n,:]*")
# The beginning of such a list
_LIST = re.compile(rf'"(?:{"|".join(LISTS)})"[ \t\r\n]*:[ \t\r\n]*\[')


def read_records(path: Path, counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield the spans, log records and rows of a file.

    If the first line is a JSON value, the file is read as JSON lines: a broken line is counted in ``counts`` and skipped. Else it is
    read as one document.

    Raises:
        UsageError: The file cannot be read, or the document is broken.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
            lines = iter(lambda: file.readline(2 * MAX_OBJECT), "")
            for number, line in enumerate(lines, start=1):
                try:
                    yield from list(_scan_records(_read_nothing, line))
                except BadFile as error:
                    if number == 1:
                        yield from _scan_records(file.read, line)  # reads the rest of the file, too
                    else:
                        place = f"line {number:,} of {path.name}"
                        counts[f"{place}: {error.what}"] += 1
    except (BadFile, OSError) as error:
        why = getattr(error, "strerror", error)
        raise UsageError(f"{path}: {why}") from None


def _read_nothing(_: int) -> str:
    """Read no more text: in JSON lines, a value ends with its line."""
    return ""


def _scan_records(read: Callable[[int], str], text: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a text; ``read(n)`` returns the next n characters of the file, "" at its end.

    The docstring of the module describes how.

    Raises:
        BadFile: The JSON is broken or cut; gives the place.
    """
    open_brackets = ""  # opened and not closed yet: "{[{"
    position = 0  # in the text
    offset = 0  # where the text begins in the file
    while True:
        position = _SEPARATORS.match(text, position).end()  # type: ignore[union-attr]  # may be empty
        records, end, problem = _decode_records(text, position)
        # A value that is cut by the end of the buffer fails near that end, inside a word, or is read there, as a number without its last digits. Only for a cut string does the decoder
        # report the beginning ("Unterminated string").
        is_at_end = end > len(text) - 16
        is_cut = is_at_end or problem.startswith("Unterminated")
        rest = len(text) - position
        if is_cut and rest < MAX_OBJECT:
            more = read(max(CHUNK, rest))
            if more:
                text = text[position:] + more
                offset += position
                position = 0
                continue
        if not problem:
            yield from records
            position = end
            continue
        mark = text[position : position + 1]
        if not mark and not open_brackets:
            return
        if open_brackets[-1:] + mark in ("[]", "{}"):
            open_brackets = open_brackets[:-1]
        elif is_cut and len(open_brackets) < MAX_OPEN and _opens_list(text, position):
            open_brackets += mark
        else:
            what = problem.removesuffix(" starting at")
            place = offset + end + 1
            raise BadFile(f"broken or cut JSON at character {place:,}: {what}")
        position += 1


def _decode_records(text: str, position: int) -> tuple[list[dict[str, Any]], int, str]:
    """Decode the JSON value at a position; return its records, the position after it, and "".

    Without a valid value, return no records, the position of the error, and its description.
    """
    try:
        value, end = _decode(text, position)
        return _list_records(value), end, ""
    except (ValueError, RecursionError) as error:
        problem = getattr(error, "msg", "nested too deeply, or a number too long")
        return [], getattr(error, "pos", position), problem


def _opens_list(text: str, position: int) -> bool:
    """Return whether a list begins at a position, or an object with one of our `LISTS` somewhere after it."""
    if text.startswith("{", position):
        return _LIST.search(text, position) is not None
    return text.startswith("[", position)


def _list_records(value: object) -> list[dict[str, Any]]:
    """Return the spans, log records and rows in a value; an object without any of our `LISTS` is one itself."""
    if isinstance(value, list):
        items = value
    else:
        fields_of_value = as_mapping(value)
        items = []
        for key in LISTS:
            inner = fields_of_value.get(key)
            if isinstance(inner, list):
                items += inner
        if not items and isinstance(value, dict):
            return [value]
    return [record for item in items for record in _list_records(item)]


def slice_items(text: str) -> list[tuple[Any, str]]:
    """Return (item, its JSON text) for the items of a JSON list; an empty list if the text is not a complete JSON list.

    The text is the key of a cache: slicing it out is faster than writing the item as JSON again.
    """
    items = list[tuple[Any, str]]()
    if not text.startswith("["):
        return items
    start = _SEPARATORS.match(text, 1).end()  # type: ignore[union-attr]  # may be empty
    with suppress(ValueError, RecursionError, IndexError):
        while text[start] != "]":
            item, end = _decode(text, start)
            items.append((item, text[start:end]))
            start = _SEPARATORS.match(text, end).end()  # type: ignore[union-attr]
    if text[start:].strip() == "]":
        return items
    return []
