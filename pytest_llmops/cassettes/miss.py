"""The message of a missing recording: the nearest request, what differs, and the command that records it."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.wire.body import unfold_body

WRAP_WIDTH = 76
MAX_SHORTLIST = 40
"""Requests that are laid out in the search for the nearest."""
EDGE_CHARACTERS = 600
"""Characters of each end of a request by which those are chosen."""
MAX_DIFF = 14
MAX_LINES = 600
"""Lines that are compared, from the first that differs: the comparison grows with their square."""
MAX_WORDS = 4000
"""Words of a request, of its start and as many of its end, in the search for the nearest."""
MAX_HINT = 200_000
"""Characters of a request in the search for dates and the like."""

_VOLATILE_PATTERNS = (
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


def describe_missing_request(
    question: Question, recorded: Iterable[tuple[str, Mapping[str, Any]]], *, place: str, command: str
) -> str:
    """Return the message for a question that nothing recorded answers.

    Args:
        question: What was asked.
        recorded: ``(name, request as stored)`` of what could have been meant.
        place: The cassette.
        command: What records it.
    """
    lines = [f"no recording answers {_format_request(question)}", f"  cassette  {_truncate_text(place)}"]
    nearest = _find_nearest_request(question, recorded)
    if nearest is None:
        lines.append("  nearest   none: nothing is recorded here yet")
    else:
        name, request, old = nearest
        lines.append(f"  nearest   {shorten_text(name, 120)}")
        lines += _format_differences(request, question, old)
    lines.append(f"  record    {_truncate_text(command)}")
    return "\n".join(lines)


def describe_exhausted_request(
    question: Question, requested: int, recorded: int, *, place: str, command: str
) -> str:
    """Return the message for a question that was asked more often than it was recorded."""
    return "\n".join(
        [
            f"{_format_request(question)} was asked {requested} times, recorded {recorded}",
            f"  cassette  {_truncate_text(place)}",
            f"  record    {_truncate_text(command)}",
        ]
    )


def describe_other_take(
    question: Question, take: str, takes: Iterable[str], *, place: str, command: str
) -> str:
    """Return the message for a question that is recorded, but for other trials only."""
    return "\n".join(
        [
            f"{_format_request(question)} is not recorded for trial {take}",
            f"  cassette  {_truncate_text(place)}",
            f"  recorded  for trial {', '.join(sorted(takes, key=int)) or '(none)'}",
            f"  record    {_truncate_text(command)}",
        ]
    )


def _format_request(question: Question) -> str:
    return f"{shorten_text(question.method, 20)} {shorten_text(question.url, 120)} ({_asked(question)})"


def _truncate_text(text: str) -> str:
    return shorten_text(text, 2000)


def _asked(question: Question) -> str:
    model = question.json.get("model") if isinstance(question.json, dict) else None
    return f"model {shorten_text(str(model), 60)}" if model else f"{len(question.body):,} bytes"


def _find_nearest_request(
    question: Question, recorded: Iterable[tuple[str, Mapping[str, Any]]]
) -> tuple[str, Mapping[str, Any], bytes] | None:
    wanted = _word_set(format_body(question.body))
    best: tuple[float, str, Mapping[str, Any], bytes] | None = None
    for name, request in _shortlist_requests(question, recorded):
        try:
            old = unfold_body(request.get("body", {"text": ""}))
        except CassetteError:
            continue
        words = _word_set(format_body(old))
        share = len(wanted & words) / (len(wanted | words) or 1)
        score = share + _address_score(question, request)
        if best is None or score > best[0]:
            best = (score, name, request, old)
    return best[1:] if best else None


def _address_score(question: Question, request: Mapping[str, Any]) -> int:
    return (request.get("url") == question.url) + (request.get("method") == question.method)


def _shortlist_requests(
    question: Question, recorded: Iterable[tuple[str, Mapping[str, Any]]]
) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """The few that share the most words, in their order: laying out all of a large cassette would take seconds."""
    requests = list(recorded)
    if len(requests) <= MAX_SHORTLIST:
        return requests
    text = (
        " ".join(_iterate_texts(question.json)) if question.json is not None else format_body(question.body)
    )
    wanted = frozenset(_edge_words(text))
    scores = [_word_similarity(question, wanted, request) for _, request in requests]
    first = sorted(range(len(requests)), key=lambda n: -scores[n])[:MAX_SHORTLIST]
    return [requests[n] for n in sorted(first)]


def _word_similarity(question: Question, wanted: frozenset[str], request: Mapping[str, Any]) -> float:
    body = request.get("body", {"text": ""})
    words = _edge_words(" ".join(_iterate_texts(body.get("json", body))))
    shared = len(
        wanted.intersection(words)
    )  # repeated words count against it: making a set of each costs more
    return shared / (len(wanted) + len(words) - shared or 1) + _address_score(question, request)


def _iterate_texts(value: Any) -> Iterator[str]:
    """The texts in parsed JSON, folded or not."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _iterate_texts(item)


def _edge_words(text: str) -> list[str]:
    """The words of a text's start and end, where a prompt and a question stand."""
    if len(text) <= 2 * EDGE_CHARACTERS:
        return text.split()
    return text[:EDGE_CHARACTERS].split() + text[-EDGE_CHARACTERS:].split()


def _word_set(text: str) -> frozenset[str]:
    return frozenset(_ends(text))


def _ends(text: str) -> list[str]:
    words = text.split()
    return words if len(words) <= 2 * MAX_WORDS else words[:MAX_WORDS] + words[-MAX_WORDS:]


def format_body(body: bytes) -> str:
    r"""Return a body as lines to compare: JSON laid out, its long strings wrapped.

    >>> format_body(b'{"model": "m", "n": 1}')
    'model: m\nn: 1'
    """
    text = body.decode("utf-8", "backslashreplace")
    try:
        return "\n".join(_flatten_json(json.loads(text), ""))
    except (ValueError, RecursionError):
        return "\n".join(_wrap_text(text))


def _flatten_json(value: Any, path: str) -> list[str]:
    if isinstance(value, dict) and value:
        return [
            line
            for key, item in value.items()
            for line in _flatten_json(item, f"{path}.{key}" if path else str(key))
        ]
    if isinstance(value, list) and value:
        return [
            line for number, item in enumerate(value) for line in _flatten_json(item, f"{path}[{number}]")
        ]
    if isinstance(value, str):
        first, *rest = _wrap_text(value)
        return [f"{path}: {first}", *(f"  {part}" for part in rest)]
    return [f"{path}: {json.dumps(value)}"]


def _wrap_text(text: str) -> list[str]:
    """Cut into lines of about `WRAP_WIDTH` characters, at spaces where there are any; nothing is left out."""
    lines = []
    for line in text.split("\n"):
        start = 0
        while len(line) - start > WRAP_WIDTH:
            space = line.rfind(" ", start + WRAP_WIDTH // 2, start + WRAP_WIDTH)
            end = space + 1 if space >= 0 else start + WRAP_WIDTH
            lines.append(line[start:end])
            start = end
        lines.append(line[start:])
    return lines


def _format_differences(request: Mapping[str, Any], question: Question, old: bytes) -> list[str]:
    lines = []
    method, url = str(request.get("method")), str(request.get("url"))
    if (method, url) != (question.method, question.url):
        lines.append(f"  address   recorded {shorten_text(method, 20)} {shorten_text(url, 120)}")
    changed = _diff_lines(format_body(old).split("\n"), format_body(question.body).split("\n"))
    lines += [f"    {sign} {shorten_text(text, WRAP_WIDTH + 40)}" for sign, text in changed[:MAX_DIFF]]
    if len(changed) > MAX_DIFF:
        lines.append(f"    and {len(changed) - MAX_DIFF} more lines differ")
    kind = _find_volatile_kind(old.decode("utf-8", "replace"), question.body.decode("utf-8", "replace"))
    if kind:
        lines.append(
            f"  hint      only {kind} differs: make it the same in every run (freeze it, or pass it in)"
        )
    return lines


def _diff_lines(old: Sequence[str], new: Sequence[str]) -> list[tuple[str, str]]:
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
    changes: list[tuple[str, str]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if kind != "equal":
            changes += [("-", text) for text in left[a:b]] + [("+", text) for text in right[c:d]]
    return changes + rest


def _find_volatile_kind(old: str, new: str) -> str:
    if old == new or max(len(old), len(new)) > MAX_HINT:
        return ""
    for name, pattern in _VOLATILE_PATTERNS:
        if pattern.sub("*", old) == pattern.sub("*", new):
            return name
    return ""
