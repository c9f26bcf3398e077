"""Read the spans, log records and rows of an export: JSON lines, or one document of any size.

A document is parsed by `json.JSONDecoder.raw_decode` in a buffer that moves over the file: an object that does not fit is
opened, and its parts are parsed. ijson would be one more dependency, is no faster, and cannot go on behind a broken line.
Commas and colons of what is opened are skipped, not checked.
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

# Keys of the lists that lead to spans, log records and rows
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
MAX_OBJECT = 1 << 23  # characters of an object
MAX_OPEN = 20  # brackets that are open

_decode = json.JSONDecoder().raw_decode
_SEPARATORS = re.compile(r"[ \t\r\n,:]*")
_LIST = re.compile(rf'"(?:{"|".join(LISTS)})"[ \t\r\n]*:[ \t\r\n]*\[')


def read_records(path: Path, counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield the spans, log records and rows of a file: JSON lines, or a document if its first line is not a JSON value."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
            lines = iter(lambda: file.readline(2 * MAX_OBJECT), "")
            for number, line in enumerate(lines, start=1):
                try:
                    yield from list(_scan_records(_read_nothing, line))
                except BadFile as error:
                    if number == 1:
                        yield from _scan_records(file.read, line)
                    else:
                        place = f"line {number:,} of {path.name}"
                        counts[f"{place}: {error.what}"] += 1
    except (BadFile, OSError) as error:
        why = getattr(error, "strerror", error)
        raise UsageError(f"{path}: {why}; nothing was written") from None


def _read_nothing(_: int) -> str:
    return ""


def _scan_records(read: Callable[[int], str], text: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a text that ``read`` continues; see the docstring of the module.

    Raises:
        BadFile: The JSON is broken or cut; gives the place.
    """
    open_brackets = ""
    position = 0
    offset = 0  # of the text in the file
    while True:
        position = _SEPARATORS.match(text, position).end()  # type: ignore[union-attr]  # may be empty
        records, end, problem = _decode_records(text, position)
        # What the end of the text cuts fails there, within a word or a number; only a text fails at its beginning.
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
    """Return the records of the JSON value at a place, the place behind it, and "" or why there is no such value."""
    try:
        value, end = _decode(text, position)
        return _list_records(value), end, ""
    except (ValueError, RecursionError) as error:
        problem = getattr(error, "msg", "nested too deeply, or a number too long")
        return [], getattr(error, "pos", position), problem


def _opens_list(text: str, position: int) -> bool:
    """Return whether a list begins at a place, or an object in which one of our lists begins."""
    if text.startswith("{", position):
        return _LIST.search(text, position) is not None
    return text.startswith("[", position)


def _list_records(value: object) -> list[dict[str, Any]]:
    """Return the spans, log records and rows of a value; an object without lists of ours is one."""
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
    """Return the items of a list, each with its JSON, the key of a cache: to write it anew would take longer than to read it."""
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
