"""The message of a missing recording: the nearest request, what differs, and the command that records it."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import shorten
from pytest_llmops.wire.body import unfold

WRAP = 76
SHORTLIST = 40
"""Requests that are laid out in the search for the nearest."""
SKETCH = 600
"""Characters of each end of a request by which those are chosen."""
MAX_DIFF = 14
MAX_LINES = 600
"""Lines that are compared, from the first that differs: the comparison grows with their square."""
MAX_WORDS = 4000
"""Words of a request, of its start and as many of its end, in the search for the nearest."""
MAX_HINT = 200_000
"""Characters of a request in the search for dates and the like."""

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
    lines = [f"no recording answers {_named(question)}", f"  cassette  {_quoted(place)}"]
    found = _nearest(question, recorded)
    if found is None:
        lines.append("  nearest   none: nothing is recorded here yet")
    else:
        name, request, old = found
        lines.append(f"  nearest   {shorten(name, 120)}")
        lines += _differences(request, question, old)
    lines.append(f"  record    {_quoted(command)}")
    return "\n".join(lines)


def exhausted(question: Question, asked: int, recorded: int, *, place: str, command: str) -> str:
    """Return the message for a question that was asked more often than it was recorded."""
    return "\n".join(
        [
            f"{_named(question)} was asked {asked} times, recorded {recorded}",
            f"  cassette  {_quoted(place)}",
            f"  record    {_quoted(command)}",
        ]
    )


def other_take(question: Question, take: str, takes: Iterable[str], *, place: str, command: str) -> str:
    """Return the message for a question that is recorded, but for other trials only."""
    return "\n".join(
        [
            f"{_named(question)} is not recorded for trial {take}",
            f"  cassette  {_quoted(place)}",
            f"  recorded  for trial {', '.join(sorted(takes, key=int)) or '(none)'}",
            f"  record    {_quoted(command)}",
        ]
    )


def _named(question: Question) -> str:
    return f"{shorten(question.method, 20)} {shorten(question.url, 120)} ({_asked(question)})"


def _quoted(text: str) -> str:
    return shorten(text, 2000)


def _asked(question: Question) -> str:
    model = question.json.get("model") if isinstance(question.json, dict) else None
    return f"model {shorten(str(model), 60)}" if model else f"{len(question.body):,} bytes"


def _nearest(
    question: Question, recorded: Iterable[tuple[str, Mapping[str, Any]]]
) -> tuple[str, Mapping[str, Any], bytes] | None:
    wanted = _words(readable(question.body))
    best: tuple[float, str, Mapping[str, Any], bytes] | None = None
    for name, request in _shortlist(question, recorded):
        try:
            old = unfold(request.get("body", {"text": ""}))
        except CassetteError:
            continue
        words = _words(readable(old))
        share = len(wanted & words) / (len(wanted | words) or 1)
        score = share + _same_address(question, request)
        if best is None or score > best[0]:
            best = (score, name, request, old)
    return best[1:] if best else None


def _same_address(question: Question, request: Mapping[str, Any]) -> int:
    return (request.get("url") == question.url) + (request.get("method") == question.method)


def _shortlist(
    question: Question, recorded: Iterable[tuple[str, Mapping[str, Any]]]
) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """The few that share the most words, in their order: laying out all of a large cassette would take seconds."""
    listed = list(recorded)
    if len(listed) <= SHORTLIST:
        return listed
    asked = " ".join(_texts(question.json)) if question.json is not None else readable(question.body)
    wanted = frozenset(_sketch(asked))
    scores = [_likeness(question, wanted, request) for _, request in listed]
    first = sorted(range(len(listed)), key=lambda n: -scores[n])[:SHORTLIST]
    return [listed[n] for n in sorted(first)]


def _likeness(question: Question, wanted: frozenset[str], request: Mapping[str, Any]) -> float:
    body = request.get("body", {"text": ""})
    words = _sketch(" ".join(_texts(body.get("json", body))))
    shared = len(
        wanted.intersection(words)
    )  # repeated words count against it: making a set of each costs more
    return shared / (len(wanted) + len(words) - shared or 1) + _same_address(question, request)


def _texts(value: Any) -> Iterator[str]:
    """The texts in parsed JSON, folded or not."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


def _sketch(text: str) -> list[str]:
    """The words of a text's start and end, where a prompt and a question stand."""
    if len(text) <= 2 * SKETCH:
        return text.split()
    return text[:SKETCH].split() + text[-SKETCH:].split()


def _words(text: str) -> frozenset[str]:
    return frozenset(_ends(text))


def _ends(text: str) -> list[str]:
    words = text.split()
    return words if len(words) <= 2 * MAX_WORDS else words[:MAX_WORDS] + words[-MAX_WORDS:]


def readable(body: bytes) -> str:
    r"""Return a body as lines to compare: JSON laid out, its long strings wrapped.

    >>> readable(b'{"model": "m", "n": 1}')
    'model: m\nn: 1'
    """
    text = body.decode("utf-8", "backslashreplace")
    try:
        return "\n".join(_flat(json.loads(text), ""))
    except (ValueError, RecursionError):
        return "\n".join(_wrapped(text))


def _flat(value: Any, path: str) -> list[str]:
    if isinstance(value, dict) and value:
        return [
            line for key, one in value.items() for line in _flat(one, f"{path}.{key}" if path else str(key))
        ]
    if isinstance(value, list) and value:
        return [line for number, one in enumerate(value) for line in _flat(one, f"{path}[{number}]")]
    if isinstance(value, str):
        first, *rest = _wrapped(value)
        return [f"{path}: {first}", *(f"  {part}" for part in rest)]
    return [f"{path}: {json.dumps(value)}"]


def _wrapped(text: str) -> list[str]:
    """Cut into lines of about `WRAP` characters, at spaces where there are any; nothing is left out."""
    found = []
    for line in text.split("\n"):
        start = 0
        while len(line) - start > WRAP:
            space = line.rfind(" ", start + WRAP // 2, start + WRAP)
            end = space + 1 if space >= 0 else start + WRAP
            found.append(line[start:end])
            start = end
        found.append(line[start:])
    return found


def _differences(request: Mapping[str, Any], question: Question, old: bytes) -> list[str]:
    lines = []
    method, url = str(request.get("method")), str(request.get("url"))
    if (method, url) != (question.method, question.url):
        lines.append(f"  address   recorded {shorten(method, 20)} {shorten(url, 120)}")
    changed = _changed(readable(old).split("\n"), readable(question.body).split("\n"))
    lines += [f"    {sign} {shorten(text, WRAP + 40)}" for sign, text in changed[:MAX_DIFF]]
    if len(changed) > MAX_DIFF:
        lines.append(f"    and {len(changed) - MAX_DIFF} more lines differ")
    kind = _volatile(old.decode("utf-8", "replace"), question.body.decode("utf-8", "replace"))
    if kind:
        lines.append(
            f"  hint      only {kind} differs: make it the same in every run (freeze it, or pass it in)"
        )
    return lines


def _changed(old: Sequence[str], new: Sequence[str]) -> list[tuple[str, str]]:
    """What was taken out and put in, line by line; what both start and end with is not compared."""
    start = next(
        (n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
    )
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    left, right = old[start : len(old) - end], new[start : len(new) - end]
    rest = [("-", text) for text in left[MAX_LINES:]] + [("+", text) for text in right[MAX_LINES:]]
    left, right = left[:MAX_LINES], right[:MAX_LINES]
    found: list[tuple[str, str]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if kind != "equal":
            found += [("-", text) for text in left[a:b]] + [("+", text) for text in right[c:d]]
    return found + rest


def _volatile(old: str, new: str) -> str:
    if old == new or max(len(old), len(new)) > MAX_HINT:
        return ""
    for name, pattern in _VOLATILE:
        if pattern.sub("*", old) == pattern.sub("*", new):
            return name
    return ""
