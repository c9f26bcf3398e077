"""Split streams into events and join them again: server-sent events, lines of JSON, AWS frames."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmops._util.json_values import (
    as_mapping,
    as_mappings,
    as_text,
    first_mapping,
    join_texts,
    parse_json,
)
from pytest_llmops.wire.aws_event_stream import FRAME_OVERHEAD, unpack_frames

EVENT_END = "\n\n"
CRLF = "\r\n"
SSE_STARTS = ("data:", "event:", "id:", "retry:", ":")


def stream_content_type(body: bytes) -> str:
    r"""Return the content type of an event stream by its frames, or "" for any other body.

    >>> stream_content_type(b": ping\n\nid: 1\ndata: {}\n\n"), stream_content_type(b'{"data": 1}')
    ('text/event-stream', '')
    """
    if unpack_frames(body):
        return "application/vnd.amazon.eventstream"
    lines = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").splitlines()
    fields = [line.startswith(SSE_STARTS) for line in lines if line]
    if any(line.startswith("data:") for line in lines) and all(fields):
        return "text/event-stream"
    return ""


@dataclass(frozen=True, slots=True)
class SplitStream:
    r"""The events of a text stream without their ends; all line ends are ``\n``."""

    events: list[str]
    newline: str
    end: str
    last: str  # end of the last event; empty if it is missing

    def encode_events(self) -> list[bytes]:
        """Return the bytes of each event, with its end."""
        texts = [f"{event}{self.end}" for event in self.events[:-1]]
        texts += [f"{event}{self.last}" for event in self.events[-1:]]
        return [text.replace("\n", self.newline).encode("utf-8", "surrogatepass") for text in texts]


def split_stream(text: str) -> SplitStream | None:
    r"""Split a text into events; return None if it is not a stream.

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
        newline = CRLF
        text = text.replace(CRLF, "\n")
    if end not in text:
        return None
    *events, rest = text.split(end)
    if rest:
        events += [rest]
    if end == "\n" and not (
        len(events) > 1 and all(event.startswith("{") and event.endswith("}") for event in events)
    ):
        return None
    return SplitStream(events, newline, end, "" if rest else end)


SHORTENED_MARK = "…"  # start of an event without the prefix and suffix that it shares with others
MIN_SHARED = 24
MIN_EVENTS = 3
MAX_CANDIDATES = 40


def find_shared_affixes(events: list[str]) -> tuple[str, str] | None:
    """Return the prefix and suffix that most events share; None if they save nothing.

    Both are cut at punctuation, so that words with the same first letters share nothing.
    """
    start = _best_affix(
        events, [a[: count_shared_start(a, b)] for a, b in itertools.pairwise(events)], str.startswith
    )
    if not start:
        return None
    rests = [event[len(start) :] for event in events if event.startswith(start)]
    sizes = [count_shared_start(a[::-1], b[::-1]) for a, b in itertools.pairwise(rests)]
    return start, _best_affix(
        rests, [rest[len(rest) - size :] for rest, size in zip(rests, sizes, strict=False)], str.endswith
    )


def count_shared_start(a: Sequence[str], b: Sequence[str]) -> int:
    """Return how many characters (or lines) at their start two texts (or lists of lines) share.

    >>> count_shared_start("stone", "stop")
    3
    """
    return next(
        (n for n, (item, other) in enumerate(zip(a, b, strict=False)) if item != other), min(len(a), len(b))
    )


def _best_affix(events: list[str], candidates: list[str], fits: Callable[[str, str], bool]) -> str:
    start = fits is str.startswith
    affixes = {_trim_to_punctuation(affix, start=start) for affix in candidates}
    counts = {
        affix: sum(fits(event, affix) for event in events)
        for affix in sorted(affixes, key=lambda text: (-len(text), text))[:MAX_CANDIDATES]
        if len(affix) >= (MIN_SHARED if start else 1)
    }
    enough = [affix for affix, count in counts.items() if count >= MIN_EVENTS]
    # The longest affix that half of the events share, else the affix that saves most.
    half = next((affix for affix in enough if 2 * counts[affix] >= len(events)), None)
    return half or max(enough, key=lambda affix: (len(affix) * counts[affix], affix), default="")


def _trim_to_punctuation(text: str, *, start: bool) -> str:
    marks = '"{}[],'
    if start:
        return text[: max(map(text.rfind, marks)) + 1]
    places = [place for place in map(text.find, marks) if place >= 0]
    if places:
        return text[min(places) :]
    return ""


def strip_shared_affixes(events: list[str], start: str, end: str) -> list[str | list[str]]:
    """Return events without their shared affixes; any other event that starts with the mark becomes a list."""
    affix_chars = len(start) + len(end)
    shortened_events: list[str | list[str]] = []
    for event in events:
        if len(event) >= affix_chars and event.startswith(start) and event.endswith(end):
            shortened_events.append(f"{SHORTENED_MARK}{event[len(start) : len(event) - len(end)]}")
        else:
            shortened_events.append(event.split("\n") if event.startswith(SHORTENED_MARK) else event)
    return shortened_events


def unpack_aws_frames(body: bytes) -> list[Any] | None:
    """Return the frames of an AWS event stream, or None for any other body."""
    # The first bytes alone rule out most bodies: the lengths of the frame and of its headers must fit.
    length = int.from_bytes(body[:4], "big")
    headers = int.from_bytes(body[4:8], "big")
    if headers + FRAME_OVERHEAD <= length <= len(body):
        return unpack_frames(body)
    return None


def _event_data(event: str) -> Iterator[str]:
    """Yield the data lines of a server-sent event, or a line of JSON as it is."""
    if event.startswith("{"):
        yield event
        return
    for line in event.split("\n"):
        if line.startswith("data:"):
            yield line[5:]


def stream_text(events: Iterable[str]) -> str:
    """Return the answer in a stream of chat, Responses, Anthropic, Gemini, Ollama or Bedrock events.

    >>> stream_text(['data: {"choices":[{"delta":{"content":"hi"}}]}', "data: [DONE]"])
    'hi'
    """
    return "".join(_event_text(data) for event in events for data in _event_data(event))


def _event_text(data: str) -> str:
    event = as_mapping(parse_json(data))
    is_text_delta = event.get("type") in (None, "response.output_text.delta", "content_block_delta")
    if is_text_delta:
        delta = event.get("delta")
    else:
        delta = None
    choice = as_mapping(first_mapping(event.get("choices")).get("delta"))
    candidate = as_mapping(first_mapping(event.get("candidates")).get("content"))
    return "".join(
        (
            as_text(delta) or as_text(as_mapping(delta).get("text")),
            as_text(choice.get("content")),
            join_texts(as_mappings(candidate.get("parts"))),
            as_text(as_mapping(event.get("message")).get("content")),
            as_text(event.get("response")),
        )
    )
