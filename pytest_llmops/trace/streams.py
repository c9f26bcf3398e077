"""Bodies as the objects they hold: JSON, server-sent events, lines of JSON, event streams of AWS."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from pytest_llmops.measurement import shorten
from pytest_llmops.trace.fields import Wire, mapping, parsed, text
from pytest_llmops.wire import aws_event_stream

CUT = "the stream ended before its last event"
_LINE_END = re.compile(r"\r\n|\r|\n")
"""Of a stream: `str.splitlines` would also cut at line separators inside a JSON text."""
_SSE_STARTS = (b"data:", b"event:", b":", b"id:", b"retry:")
_WHITE = b" \t\r\n\xef\xbb\xbf\x1e"
MAX_KIND = 60


@dataclass(slots=True)
class Body:
    """What a body holds.

    Attributes:
        events: The objects of a stream, or the one reply.
        streamed: Whether it came as a stream.
        ended: Whether the stream said that it is over (``[DONE]``).
        unread: What could not be read of it; empty: all was.
        array: Whether the stream is one JSON array.
    """

    events: list[Wire]
    streamed: bool = False
    ended: bool = False
    unread: str = ""
    array: bool = False


def read(content_type: str, body: bytes) -> Body:
    """Return the objects of a body; its form is what the content type says, or what it starts with."""
    kind, how = _form(content_type)
    if how is not None:
        return how(body)
    start = body.lstrip(_WHITE)[:6]
    if start[:1] in (b"{", b"["):
        return _json(body)
    # A server that states no type, or a wrong one, or a recording whose headers were masked.
    if start.startswith(_SSE_STARTS):
        return _sse(body)
    return Body([], unread=_unreadable(kind) if body else "an empty reply")


@lru_cache(maxsize=64)
def _form(content_type: str) -> tuple[str, Callable[[bytes], Body] | None]:
    kind = content_type.partition(";")[0].strip().lower()
    return kind, next((how for names, how in _FORMS if any(name in kind for name in names)), None)


def _unreadable(kind: str) -> str:
    if "json" in kind:
        return "a reply that is no JSON"
    return f"a reply of content type {shorten(kind, MAX_KIND)}" if kind else "a reply of no known form"


def _json(body: bytes) -> Body:
    value = parsed(body)
    if isinstance(value, dict):
        return Body([value])
    if isinstance(value, list):
        # A stream as one array, each element an event (Gemini without server-sent events).
        events: list[Wire] = [one for one in value if isinstance(one, dict)]
        if len(events) == len(value):
            return Body(events, streamed=True, array=True)
        return Body([], unread="a reply that is no JSON object")
    if b"\n" in body.strip():
        lines = _lines(body)
        if lines.events:
            return lines
    if body.lstrip(_WHITE)[:1] == b"[":
        return _array(body.decode("utf-8", "replace"))
    return Body([], unread="a reply that is no JSON")


def _array(body: str) -> Body:
    """The whole elements of an array that broke off."""
    decoder, events, at = json.JSONDecoder(), list[Wire](), body.index("[") + 1
    while True:
        start = body.find("{", at)
        if start < 0 or body[at:start].strip(" \t\r\n,"):
            break
        try:
            one, at = decoder.raw_decode(body, start)
        except (ValueError, RecursionError):
            break
        events.append(mapping(one))
    return (
        Body(events, streamed=True, unread=CUT, array=True)
        if events
        else Body([], unread="a reply that is no JSON")
    )


def _lines(body: bytes) -> Body:
    lines = body.decode("utf-8", "replace").strip("\ufeff \t\r\n").split("\n")
    return _told([_object(line.strip("\x1e \t\r")) for line in lines if line.strip()], streamed=True)


def _sse(body: bytes) -> Body:
    events: list[Wire | None] = []
    ended = False
    data: list[str] = []
    for line in [*_LINE_END.split(body.decode("utf-8", "replace").removeprefix("\ufeff")), ""]:
        if line.startswith("data:"):
            data.append(line[5:])
        elif not line and data:
            if data[-1].strip() == "[DONE]":
                ended = True
                data.pop()
            if len(data) == 1:
                events.append(_object(data[0]))
            else:
                events += _event(data)
            data = []
    return _told(events, streamed=True, ended=ended)


def _event(data: list[str]) -> list[Wire | None]:
    """The object of an event; some servers put no empty line between two."""
    whole = _object("\n".join(data))
    if whole is not None:
        return [whole]
    return [_object(one) for one in data if one.strip() and one.strip() != "[DONE]"]


def _object(line: str) -> Wire | None:
    value = parsed(line)
    return value if isinstance(value, dict) else None


def _told(found: list[Wire | None], *, streamed: bool, ended: bool = False) -> Body:
    events = [one for one in found if one is not None]
    lost = len(found) - len(events)
    if not lost:
        return Body(events, streamed, ended, "" if found else "an empty stream")
    if lost == 1 and found[-1] is None and not ended:
        return Body(events, streamed, ended, CUT)
    words = "1 event that is no JSON object" if lost == 1 else f"{lost} events that are no JSON objects"
    return Body(events, streamed, ended, words)


def _frames(body: bytes) -> Body:
    frames, used = aws_event_stream.leading(body)
    found = [_framed(frame) for frame in frames]
    made = _told(found, streamed=True)
    if used < len(body):
        made.unread = CUT if frames else "a reply that is no event stream"
    return made


def _framed(frame: aws_event_stream.Frame) -> Wire | None:
    """The event of a frame under its name; what a model of another vendor streamed is unwrapped."""
    inner = _object(frame.payload.decode("utf-8", "replace"))
    kind = text(frame.headers.get(":message-type"))
    if kind in ("exception", "error"):
        name = text(frame.headers.get(":exception-type")) or text(frame.headers.get(":error-code"))
        said = text(frame.headers.get(":error-message")) or text(mapping(inner).get("message"))
        return {"error": {"type": name, "message": said or name}}
    if inner is None:
        return None
    if frame.headers.get(":event-type") != "chunk":
        return {text(frame.headers.get(":event-type")): inner}
    try:
        return _object(base64.b64decode(text(inner.get("bytes"))).decode("utf-8", "replace"))
    except (binascii.Error, ValueError):
        return None


def _grpc(body: bytes) -> Body:
    return Body([], unread=f"gRPC, {len(body):,} bytes")


_FORMS: tuple[tuple[tuple[str, ...], Callable[[bytes], Body]], ...] = (
    (("text/event-stream",), _sse),
    (("vnd.amazon.eventstream",), _frames),
    (("application/grpc",), _grpc),
    (("ndjson", "jsonl", "stream+json", "json-lines", "jsonlines", "json-seq"), _lines),
)
