"""Split streams into events and join them again: server-sent events, lines of JSON, AWS frames."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmops._util.json_values import (
    as_mapping,
    as_text,
    first_mapping,
    get_mapping,
    get_mappings,
    get_text,
    join_texts,
    parse_json,
)
from pytest_llmops.wire.aws_event_stream import FRAME_OVERHEAD, unpack_frames

EVENT_END = "\n\n"
CRLF = "\r\n"
SSE_STARTS = ("data:", "event:", "id:", "retry:", ":")


def stream_content_type(body: bytes) -> str:
    r"""Return the content type of an event stream, found from its content; "" for any other body.

    >>> stream_content_type(b": ping\n\nid: 1\ndata: {}\n\n"), stream_content_type(b'{"data": 1}')
    ('text/event-stream', '')
    """
    if unpack_frames(body):
        return "application/vnd.amazon.eventstream"
    lines = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").splitlines()
    has_data = any(line.startswith("data:") for line in lines)
    has_only_fields = all(line.startswith(SSE_STARTS) for line in lines if line)
    if has_data and has_only_fields:
        return "text/event-stream"
    return ""


@dataclass(frozen=True, slots=True)
class SplitStream:
    r"""The events of a text stream without what ends them; all line ends in them are ``\n``."""

    events: list[str]
    newline: str  # line end in the original text
    end: str  # what ends an event: an empty line, or for lines of JSON a line end
    last: str  # the same for the last event; empty if the stream breaks off

    def encode_events(self) -> list[bytes]:
        """Return the original bytes of each event, including what ends it."""
        texts = [event + self.end for event in self.events[:-1]]
        if self.events:
            texts.append(self.events[-1] + self.last)
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
            return None  # mixed line ends could not be restored
        newline = CRLF
        text = text.replace(CRLF, "\n")
    if end not in text:
        return None
    events = text.split(end)
    last_end = end
    if events[-1]:
        last_end = ""
    else:
        events.pop()
    if end == "\n" and not _are_json_lines(events):
        return None
    return SplitStream(events, newline, end, last_end)


def _are_json_lines(lines: list[str]) -> bool:
    """Return whether there are several lines, and each looks like a JSON object."""
    if len(lines) <= 1:
        return False
    return all(line.startswith("{") and line.endswith("}") for line in lines)


SHORTENED_MARK = "…"  # start of an event without the prefix and suffix that it shares with others
_PUNCTUATION = '"{}[],'
MIN_SHARED = 24
MIN_EVENTS = 3
MAX_CANDIDATES = 40


def find_shared_affixes(events: list[str]) -> tuple[str, str] | None:
    """Return the prefix and suffix that most events share; None without a shared prefix. The suffix may be empty.

    Both are cut at punctuation, so that two words that begin with the same letters are not cut apart. The candidates
    are what neighbouring events share.
    """
    prefixes = []
    for first, second in itertools.pairwise(events):
        size = count_shared_start(first, second)
        prefixes.append(first[:size])
    start = _choose_prefix(events, prefixes)
    if not start:
        return None
    rests = [event[len(start) :] for event in events if event.startswith(start)]
    suffixes = []
    for first, second in itertools.pairwise(rests):
        size = count_shared_start(first[::-1], second[::-1])
        suffixes.append(first[len(first) - size :])
    return start, _choose_suffix(rests, suffixes)


def count_shared_start(a: Sequence[str], b: Sequence[str]) -> int:
    """Return how many characters two texts share at their start, or how many lines two lists share.

    >>> count_shared_start("stone", "stop")
    3
    """
    for number, (item, other) in enumerate(zip(a, b, strict=False)):
        if item != other:
            return number
    return min(len(a), len(b))


def _choose_prefix(events: list[str], candidates: list[str]) -> str:
    """Return the best prefix out of the candidates, or ""."""
    prefixes = {_trim_end(prefix) for prefix in candidates}
    return _choose_affix(events, prefixes, str.startswith, MIN_SHARED)


def _choose_suffix(events: list[str], candidates: list[str]) -> str:
    """Return the best suffix out of the candidates, or ""."""
    suffixes = {_trim_start(suffix) for suffix in candidates}
    return _choose_affix(events, suffixes, str.endswith, 1)


def _choose_affix(
    events: list[str], affixes: Iterable[str], fits: Callable[[str, str], bool], fewest_chars: int
) -> str:
    """Return the longest affix that at least half of the events share.

    If there is none, return the affix that saves the most characters; "" if fewer than `MIN_EVENTS` share any.

    Args:
        events: The events.
        affixes: The candidates.
        fits: `str.startswith` or `str.endswith`.
        fewest_chars: Minimum length of an affix.
    """
    longest_first = sorted(affixes, key=lambda affix: (-len(affix), affix))
    best = ""
    best_saving = (-1, "")
    for affix in longest_first[:MAX_CANDIDATES]:
        if len(affix) < fewest_chars:
            continue
        count = sum(fits(event, affix) for event in events)
        if count < MIN_EVENTS:
            continue
        if 2 * count >= len(events):
            return affix
        saving = (len(affix) * count, affix)
        if saving > best_saving:
            best = affix
            best_saving = saving
    return best


def _trim_end(text: str) -> str:
    """Return a text up to and including its last punctuation mark; "" if it has none."""
    last = max(map(text.rfind, _PUNCTUATION))
    return text[: last + 1]


def _trim_start(text: str) -> str:
    """Return a text from its first punctuation mark on; "" if it has none."""
    places = [place for place in map(text.find, _PUNCTUATION) if place >= 0]
    if places:
        return text[min(places) :]
    return ""


def strip_shared_affixes(events: list[str], start: str, end: str) -> list[str | list[str]]:
    """Return the events without the affixes they share, marked by a leading `SHORTENED_MARK`.

    An event that starts with this mark by itself becomes a list of its lines, so that it is not mistaken for a
    shortened one.
    """
    affix_chars = len(start) + len(end)
    shortened_events: list[str | list[str]] = []
    for event in events:
        if len(event) >= affix_chars and event.startswith(start) and event.endswith(end):
            inner = event[len(start) : len(event) - len(end)]
            shortened_events.append(f"{SHORTENED_MARK}{inner}")
        elif event.startswith(SHORTENED_MARK):
            shortened_events.append(event.split("\n"))
        else:
            shortened_events.append(event)
    return shortened_events


def unpack_aws_frames(body: bytes) -> list[Any] | None:
    """Return the frames of an AWS event stream, or None for any other body."""
    # The first bytes rule out most bodies: the lengths of the frame and of its headers must fit.
    length = int.from_bytes(body[:4], "big")
    headers = int.from_bytes(body[4:8], "big")
    if headers + FRAME_OVERHEAD <= length <= len(body):
        return unpack_frames(body)
    return None


def _event_data(event: str) -> Iterator[str]:
    """Yield the content of the data lines of a server-sent event; a line of JSON is yielded as it is."""
    if event.startswith("{"):
        yield event
        return
    for line in event.split("\n"):
        if line.startswith("data:"):
            yield line[5:]


def stream_text(events: Iterable[str]) -> str:
    """Return the text of the answer in a stream.

    The events may come from OpenAI's chat completions or Responses, of Anthropic, Gemini, Ollama or Bedrock.

    >>> stream_text(['data: {"choices":[{"delta":{"content":"hi"}}]}', "data: [DONE]"])
    'hi'
    """
    return "".join(_event_text(data) for event in events for data in _event_data(event))


def _event_text(data: str) -> str:
    """Return the part of an answer in an event, in whichever of the vendors' forms it is; "" for other events."""
    event = as_mapping(parse_json(data))
    texts = []
    if event.get("type") in (None, "response.output_text.delta", "content_block_delta"):
        delta = event.get("delta")
        texts.append(as_text(delta) or get_text(as_mapping(delta), "text"))
    choice = get_mapping(first_mapping(event.get("choices")), "delta")
    texts.append(get_text(choice, "content"))
    candidate = get_mapping(first_mapping(event.get("candidates")), "content")
    texts.append(join_texts(get_mappings(candidate, "parts")))
    texts.append(get_text(get_mapping(event, "message"), "content"))
    texts.append(get_text(event, "response"))
    return "".join(texts)
