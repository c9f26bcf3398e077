"""Streams cut into their events, and put together again: server-sent events, lines of JSON, frames of AWS."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

EVENT_END = "\n\n"
CRLF = "\r\n"
STARTS = ("data:", "event:", "id:", "retry:", ":")
FRAME_HEAD = 12
"""Bytes before the headers of a frame."""


@dataclass(frozen=True, slots=True)
class Cut:
    r"""A text stream in its events, without their ends; line ends are all ``\n`` here."""

    events: list[str]
    newline: str
    end: str
    last: str
    """The end of the last event, which may be missing."""

    def pieces(self) -> list[bytes]:
        """Return the bytes of each event, with its end."""
        texts = [f"{one}{self.end}" for one in self.events[:-1]]
        texts += [f"{one}{self.last}" for one in self.events[-1:]]
        return [text.replace("\n", self.newline).encode("utf-8", "surrogatepass") for text in texts]


def cut(text: str) -> Cut | None:
    r"""Cut a text into events; None if it is no stream.

    >>> cut("data: a\n\ndata: b\n\n").events
    ['data: a', 'data: b']
    >>> cut('{"a":1}\n{"b":2}\n').events
    ['{"a":1}', '{"b":2}']
    """
    if text.startswith(STARTS):
        end = EVENT_END
    elif text.startswith("{") and "}" in text:
        end = "\n"
    else:
        return None
    newline = "\n"
    if "\r" in text:
        if not text.count(CRLF) == text.count("\n") == text.count("\r"):
            return None
        newline, text = CRLF, text.replace(CRLF, "\n")
    if end not in text:
        return None
    *events, rest = text.split(end)
    made = Cut([*events, rest], newline, end, "") if rest else Cut(events, newline, end, end)
    return made if end == EVENT_END or _are_objects(made.events) else None


def _are_objects(lines: list[str]) -> bool:
    return len(lines) > 1 and all(one.startswith("{") and one.endswith("}") for one in lines)


MARK = "…"
"""In front of an event of which only the middle is written: what it shares with others stands beside."""
MIN_SHARED = 24
MIN_EVENTS = 3
MAX_TRIED = 40


def shared(events: list[str]) -> tuple[str, str] | None:
    """Return with what most events begin and end; None if that is not worth a word.

    Both end at punctuation: two words that happen to begin alike share nothing.
    """
    start = _widest(events, [_alike(a, b) for a, b in itertools.pairwise(events)], str.startswith)
    if not start:
        return None
    rests = [one[len(start) :] for one in events if one.startswith(start)]
    turned = [_alike(a[::-1], b[::-1])[::-1] for a, b in itertools.pairwise(rests)]
    return start, _widest(rests, turned, str.endswith)


def _alike(a: str, b: str) -> str:
    both = zip(a, b, strict=False)
    return a[: next((n for n, (one, other) in enumerate(both) if one != other), min(len(a), len(b)))]


def _widest(events: list[str], candidates: list[str], fits: Callable[[str, str], bool]) -> str:
    start = fits is str.startswith
    tried = {_at_punctuation(one, start=start) for one in candidates}
    counts = {
        one: sum(fits(event, one) for event in events)
        for one in sorted(tried, key=lambda text: (-len(text), text))[:MAX_TRIED]
        if len(one) >= (MIN_SHARED if start else 1)
    }
    enough = [one for one, count in counts.items() if count >= MIN_EVENTS]
    # The longest that half of them share; else what saves most.
    half = next((one for one in enough if 2 * counts[one] >= len(events)), None)
    return half or max(enough, key=lambda one: (len(one) * counts[one], one), default="")


def _at_punctuation(text: str, *, start: bool) -> str:
    marks = '"{}[],'
    if start:
        return text[: max(map(text.rfind, marks)) + 1]
    places = [place for place in map(text.find, marks) if place >= 0]
    return text[min(places) :] if places else ""


def shortened(events: list[str], start: str, end: str) -> list[str | list[str]]:
    """Return events without what they share; one that only looks so is a list."""
    least = len(start) + len(end)
    made: list[str | list[str]] = []
    for one in events:
        if len(one) >= least and one.startswith(start) and one.endswith(end):
            made.append(f"{MARK}{one[len(start) : len(one) - len(end)]}")
        else:
            made.append(one.split("\n") if one.startswith(MARK) else one)
    return made


def frames(body: bytes) -> list[Any] | None:
    """Return the frames of an AWS event stream; None if it is none. Others are told by their first bytes."""
    if not looks_framed(body):
        return None
    from pytest_llmops.wire.aws_event_stream import unpack

    return unpack(body)


def looks_framed(body: bytes) -> bool:
    """Say whether the first bytes could be a frame's: its length and that of its headers fit."""
    length, headers = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
    return FRAME_HEAD + 4 <= length <= len(body) and headers <= length - FRAME_HEAD - 4


def data_of(event: str) -> Iterator[str]:
    """Give what an event carries: each of its data lines, or the event itself where it is a line of JSON."""
    if event.startswith("{"):
        yield event
        return
    for line in event.split("\n"):
        if line.startswith("data:"):
            yield line[5:]


def says(listed: Iterable[str]) -> str:
    """Return the text that a stream of chat, Responses, Anthropic, Gemini, Ollama or Bedrock events adds up to.

    >>> says(['data: {"choices":[{"delta":{"content":"hi"}}]}', "data: [DONE]"])
    'hi'
    """
    return "".join(piece for event in listed for data in data_of(event) for piece in _said(data))


def _said(data: str) -> Iterator[str]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(value, dict):
        return
    if value.get("type") in (None, "response.output_text.delta", "content_block_delta"):
        delta = value.get("delta")
        yield from _texts(delta if isinstance(delta, str) else _of(delta, "text"))
    for one in _listed(value.get("choices"))[:1]:
        yield from _texts(_of(one.get("delta"), "content"))
    for one in _listed(value.get("candidates"))[:1]:
        for part in _listed(_of(one.get("content"), "parts")):
            yield from _texts(part.get("text"))
    yield from _texts(_of(value.get("message"), "content"), value.get("response"))


def _of(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None


def _texts(*found: object) -> Iterator[str]:
    yield from (one for one in found if isinstance(one, str))


def _listed(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
