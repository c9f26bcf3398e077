"""The message of a missing recording: the nearest request, what differs, and the command that records it."""

from __future__ import annotations

import difflib
import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_llmops.cassettes.question import Question
from pytest_llmops.cassettes.wire import unfold
from pytest_llmops.measurement import shorten

WRAP = 76
MAX_DIFF = 14
MAX_LINES = 4000
MAX_WORDS = 4000
"""Words of a request that are compared; the rest is left out of the search for the nearest."""

_VOLATILE = (
    ("a UUID", re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)),
    (
        "a date or time",
        re.compile(
            r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?|\b\d{1,2}:\d\d(?::\d\d)?\b"
        ),
    ),
    ("a path", re.compile(r"(?:[A-Za-z]:)?(?:[/\\][\w.+-]+){2,}")),
    ("a number", re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.IGNORECASE)),
)


def describe(
    question: Question, recorded: Iterable[tuple[str, Mapping[str, Any]]], *, place: str, command: str
) -> str:
    """Return the message for a question that nothing recorded answers.

    Args:
        question: What was asked.
        recorded: ``(name, request as stored)`` of what could have been meant.
        place: The cassette.
        command: What records it.
    """
    lines = [
        f"no recording answers {question.method} {shorten(question.url, 120)} ({_asked(question)})",
        f"  cassette  {place}",
    ]
    found = _nearest(question, recorded)
    if found is None:
        lines.append("  nearest   none: nothing is recorded here yet")
    else:
        name, request, old = found
        lines.append(f"  nearest   {shorten(name, 120)}")
        lines += _differences(request, question, old)
    lines.append(f"  record    {command}")
    return "\n".join(lines)


def exhausted(question: Question, asked: int, recorded: int, *, place: str, command: str) -> str:
    """Return the message for a question that was asked more often than it was recorded."""
    return "\n".join(
        [
            f"{question.method} {shorten(question.url, 120)} ({_asked(question)}) was asked {asked} times, recorded {recorded}",
            f"  cassette  {place}",
            f"  record    {command}",
        ]
    )


def _asked(question: Question) -> str:
    model = question.json.get("model") if isinstance(question.json, dict) else None
    return f"model {shorten(str(model), 60)}" if model else f"{len(question.body):,} bytes"


def _nearest(
    question: Question, recorded: Iterable[tuple[str, Mapping[str, Any]]]
) -> tuple[str, Mapping[str, Any], str] | None:
    wanted = _words(readable(question.body))
    best: tuple[float, str, Mapping[str, Any], str] | None = None
    for name, request in recorded:
        old = readable(unfold(request.get("body", {"text": ""})))
        words = _words(old)
        share = len(wanted & words) / (len(wanted | words) or 1)
        score = share + (request.get("url") == question.url)
        if best is None or score > best[0]:
            best = (score, name, request, old)
    return best[1:] if best else None


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split()[:MAX_WORDS])


def readable(body: bytes) -> str:
    r"""Return a body as lines to compare: JSON laid out, its long strings wrapped.

    >>> readable(b'{"model": "m", "n": 1}')
    'model: m\nn: 1'
    """
    text = body.decode("utf-8", "backslashreplace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return "\n".join(_flat(value, ""))


def _flat(value: Any, path: str) -> list[str]:
    if isinstance(value, dict) and value:
        return [
            line for key, one in value.items() for line in _flat(one, f"{path}.{key}" if path else str(key))
        ]
    if isinstance(value, list) and value:
        return [line for number, one in enumerate(value) for line in _flat(one, f"{path}[{number}]")]
    if isinstance(value, str):
        wrapped = [part for line in value.split("\n") for part in textwrap.wrap(line, WRAP) or [""]]
        return [f"{path}: {part}" if number == 0 else f"  {part}" for number, part in enumerate(wrapped)]
    return [f"{path}: {json.dumps(value)}"]


def _differences(request: Mapping[str, Any], question: Question, old: str) -> list[str]:
    lines = []
    if request.get("url") != question.url or request.get("method") != question.method:
        lines.append(f"  address   recorded {request.get('method')} {shorten(str(request.get('url')), 120)}")
    new = readable(question.body)
    changed = _changed(old.splitlines()[:MAX_LINES], new.splitlines()[:MAX_LINES])
    lines += [f"    {line[0]} {shorten(line[1:], WRAP + 40)}" for line in changed[:MAX_DIFF]]
    if len(changed) > MAX_DIFF:
        lines.append(f"    and {len(changed) - MAX_DIFF} more lines differ")
    kind = _volatile(old, new)
    if kind:
        lines.append(
            f"  hint      only {kind} differs: make it the same in every run (freeze it, or pass it in)"
        )
    return lines


def _changed(old: list[str], new: list[str]) -> list[str]:
    listed = difflib.unified_diff(old, new, n=0, lineterm="")
    return [line for line in listed if line[:1] in ("-", "+") and line[:3] not in ("---", "+++")]


def _volatile(old: str, new: str) -> str:
    for name, pattern in _VOLATILE:
        if old != new and pattern.sub("*", old) == pattern.sub("*", new):
            return name
    return ""
