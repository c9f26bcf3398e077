"""Bodies as readable lines (a JSON value per line, long texts wrapped), and their comparison line by line."""

import difflib
import json
import re
from collections.abc import Sequence
from typing import Any

from pytest_llmops.wire.stream_events import count_shared_start

WRAP_WIDTH = 76
# Maximum number of lines to compare, from the first that differs: the time grows with the square of their number
MAX_LINES = 600
MAX_HINT = 200_000  # longest request, in characters, that is searched for dates and the like

NUMBER = "a number"
_VOLATILE_PATTERNS = (
    ("a UUID", re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)),
    (
        "a date or time",
        re.compile(
            r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?|\b\d{1,2}:\d\d(?::\d\d)?\b"
        ),
    ),
    ("a path", re.compile(r"(?:[A-Za-z]:)?(?:[/\\][\w.+-]+){2,}")),
    (NUMBER, re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.IGNORECASE)),
)


def format_body(body: bytes) -> str:
    r"""Return a body as lines to compare: a JSON value per line, long strings wrapped.

    >>> format_body(b'{"model": "m", "n": 1}')
    'model: m\nn: 1'
    """
    text = body.decode("utf-8", "backslashreplace")
    try:
        lines = _flatten_json(json.loads(text), "")
    except (ValueError, RecursionError):
        lines = _wrap_text(text)
    return "\n".join(lines)


def _flatten_json(value: Any, path: str) -> list[str]:
    """Return a line for each value in parsed JSON, as in ``messages[0].role: user``."""
    lines: list[str] = []
    if isinstance(value, dict) and value:
        prefix = ""
        if path:
            prefix = f"{path}."
        for key, item in value.items():
            lines += _flatten_json(item, f"{prefix}{key}")
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            lines += _flatten_json(item, f"{path}[{number}]")
    elif isinstance(value, str):
        first, *rest = _wrap_text(value)
        lines.append(f"{path}: {first}")
        lines += [f"  {part}" for part in rest]
    else:
        lines.append(f"{path}: {json.dumps(value)}")
    return lines


def _wrap_text(text: str) -> list[str]:
    """Split a text into lines of about `WRAP_WIDTH` characters, at spaces where possible; no character is dropped."""
    lines = []
    for line in text.split("\n"):
        start = 0
        while len(line) - start > WRAP_WIDTH:
            end = start + WRAP_WIDTH
            space = line.rfind(" ", start + WRAP_WIDTH // 2, end)
            if space >= 0:
                end = space + 1
            lines.append(line[start:end])
            start = end
        lines.append(line[start:])
    return lines


def diff_lines(old: Sequence[str], new: Sequence[str]) -> list[tuple[str, str]]:
    """Return the removed and added lines as pairs of a sign (``-`` or ``+``) and the line."""
    start = count_shared_start(old, new)
    end = count_shared_start(old[start:][::-1], new[start:][::-1])
    left = old[start : len(old) - end]
    right = new[start : len(new) - end]
    matcher = difflib.SequenceMatcher(None, left[:MAX_LINES], right[:MAX_LINES], autojunk=False)
    changes: list[tuple[str, str]] = []
    for kind, left_start, left_end, right_start, right_end in matcher.get_opcodes():
        if kind != "equal":
            changes += [("-", text) for text in left[left_start:left_end]]
            changes += [("+", text) for text in right[right_start:right_end]]
    changes += [("-", text) for text in left[MAX_LINES:]]
    changes += [("+", text) for text in right[MAX_LINES:]]
    return changes


def find_volatile_part(before: str, after: str) -> str:
    """Return the kind of the only part in which two bodies differ (``a UUID``, ``a UUID and a date or time``), or "".

    >>> find_volatile_part("at 10:15, id 3", "at 11:40, id 3")
    'a date or time'
    """
    if before == after or max(len(before), len(after)) > MAX_HINT:
        return ""
    for kind, pattern in _VOLATILE_PATTERNS:
        if pattern.sub("*", before) == pattern.sub("*", after):
            return kind
    kinds = []
    for kind, pattern in _VOLATILE_PATTERNS:
        if kind == NUMBER:
            continue
        if pattern.findall(before) != pattern.findall(after):
            kinds.append(kind)
        before = pattern.sub("*", before)
        after = pattern.sub("*", after)
    return " and ".join(kinds) if before == after else ""
