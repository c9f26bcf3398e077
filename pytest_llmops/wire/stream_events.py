"""Streams cut into their events, and put together again: server-sent events, lines of JSON, frames of AWS."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

EVENT_END = "\n\n"
CRLF = "\r\n"
SSE_STARTS = ("data:", "event:", "id:", "retry:", ":")
FRAME_PRELUDE_BYTES = 12
"""Bytes before the headers of a frame."""


@dataclass(frozen=True, slots=True)
class SplitStream:
    r"""A text stream in its events, without their ends; line ends are all ``\n`` here."""

    events: list[str]
    newline: str
    end: str
    last: str
    """The end of the last event, which may be missing."""

    def pieces(self) -> list[bytes]:
        """Return the bytes of each event, with its end."""
        texts = [f"{event}{self.end}" for event in self.events[:-1]]
        texts += [f"{event}{self.last}" for event in self.events[-1:]]
        return [text.replace("\n", self.newline).encode("utf-8", "surrogatepass") for text in texts]


def split_stream(text: str) -> SplitStream | None:
    r"""Cut a text into events; None if it is no stream.

    >>> split_stream("data: a\n\ndata: b\n\n").events
    ['data: a', 'data: b']
    >>> split_stream('{"a":1}\n{"b":2}\n').events
    ['{"a":1}', '{"b":2}']
    """
    if text.startswith(SSE_STARTS):
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
    stream = (
        SplitStream([*events, rest], newline, end, "") if rest else SplitStream(events, newline, end, end)
    )
    return stream if end == EVENT_END or _are_objects(stream.events) else None


def _are_objects(lines: list[str]) -> bool:
    return len(lines) > 1 and all(line.startswith("{") and line.endswith("}") for line in lines)


SHORTENED_MARK = "…"
"""In front of an event of which only the middle is written: what it shares with others stands beside."""
MIN_SHARED = 24
MIN_EVENTS = 3
MAX_CANDIDATES = 40


def find_shared_affixes(events: list[str]) -> tuple[str, str] | None:
    """Return with what most events begin and end; None if that is not worth a word.

    Both end at punctuation: two words that happen to begin alike share nothing.
    """
    start = _best_affix(events, [_common_prefix(a, b) for a, b in itertools.pairwise(events)], str.startswith)
    if not start:
        return None
    rests = [event[len(start) :] for event in events if event.startswith(start)]
    endings = [_common_prefix(a[::-1], b[::-1])[::-1] for a, b in itertools.pairwise(rests)]
    return start, _best_affix(rests, endings, str.endswith)


def _common_prefix(a: str, b: str) -> str:
    pairs = zip(a, b, strict=False)
    return a[: next((n for n, (char, other) in enumerate(pairs) if char != other), min(len(a), len(b)))]


def _best_affix(events: list[str], candidates: list[str], fits: Callable[[str, str], bool]) -> str:
    start = fits is str.startswith
    affixes = {_trim_to_punctuation(affix, start=start) for affix in candidates}
    counts = {
        affix: sum(fits(event, affix) for event in events)
        for affix in sorted(affixes, key=lambda text: (-len(text), text))[:MAX_CANDIDATES]
        if len(affix) >= (MIN_SHARED if start else 1)
    }
    enough = [affix for affix, count in counts.items() if count >= MIN_EVENTS]
    # The longest that half of them share; else what saves most.
    half = next((affix for affix in enough if 2 * counts[affix] >= len(events)), None)
    return half or max(enough, key=lambda affix: (len(affix) * counts[affix], affix), default="")


def _trim_to_punctuation(text: str, *, start: bool) -> str:
    marks = '"{}[],'
    if start:
        return text[: max(map(text.rfind, marks)) + 1]
    places = [place for place in map(text.find, marks) if place >= 0]
    return text[min(places) :] if places else ""


def strip_shared_affixes(events: list[str], start: str, end: str) -> list[str | list[str]]:
    """Return events without what they share; one that only looks so is a list."""
    affix_chars = len(start) + len(end)
    shortened_events: list[str | list[str]] = []
    for event in events:
        if len(event) >= affix_chars and event.startswith(start) and event.endswith(end):
            shortened_events.append(f"{SHORTENED_MARK}{event[len(start) : len(event) - len(end)]}")
        else:
            shortened_events.append(event.split("\n") if event.startswith(SHORTENED_MARK) else event)
    return shortened_events


def unpack_aws_frames(body: bytes) -> list[Any] | None:
    """Return the frames of an AWS event stream; None if it is none. Others are told by their first bytes."""
    if not looks_like_frame(body):
        return None
    from pytest_llmops.wire.aws_event_stream import unpack_frames

    return unpack_frames(body)


def looks_like_frame(body: bytes) -> bool:
    """Say whether the first bytes could be a frame's: its length and that of its headers fit."""
    length, headers = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
    return FRAME_PRELUDE_BYTES + 4 <= length <= len(body) and headers <= length - FRAME_PRELUDE_BYTES - 4


def event_data(event: str) -> Iterator[str]:
    """Give what an event carries: each of its data lines, or the event itself where it is a line of JSON."""
    if event.startswith("{"):
        yield event
        return
    for line in event.split("\n"):
        if line.startswith("data:"):
            yield line[5:]


def stream_text(events: Iterable[str]) -> str:
    """Return the text that a stream of chat, Responses, Anthropic, Gemini, Ollama or Bedrock events adds up to.

    >>> stream_text(['data: {"choices":[{"delta":{"content":"hi"}}]}', "data: [DONE]"])
    'hi'
    """
    return "".join(piece for event in events for data in event_data(event) for piece in _event_texts(data))


def _event_texts(data: str) -> Iterator[str]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(value, dict):
        return
    if value.get("type") in (None, "response.output_text.delta", "content_block_delta"):
        delta = value.get("delta")
        yield from _only_texts(delta if isinstance(delta, str) else _get_key(delta, "text"))
    for choice in _only_objects(value.get("choices"))[:1]:
        yield from _only_texts(_get_key(choice.get("delta"), "content"))
    for choice in _only_objects(value.get("candidates"))[:1]:
        for part in _only_objects(_get_key(choice.get("content"), "parts")):
            yield from _only_texts(part.get("text"))
    yield from _only_texts(_get_key(value.get("message"), "content"), value.get("response"))


def _get_key(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None


def _only_texts(*values: object) -> Iterator[str]:
    yield from (value for value in values if isinstance(value, str))


def _only_objects(value: object) -> list[dict[str, Any]]:
    return [element for element in value if isinstance(element, dict)] if isinstance(value, list) else []
