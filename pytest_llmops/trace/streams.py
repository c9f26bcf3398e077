"""Bodies as the objects they hold: JSON, server-sent events, lines of JSON, event streams of AWS."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from pytest_llmops.measurement import shorten_text
from pytest_llmops.trace.fields import JsonObject, as_mapping, as_text, parse_json
from pytest_llmops.wire import aws_event_stream

CUT_STREAM = "the stream ended before its last event"
_LINE_END = re.compile(r"\r\n|\r|\n")
"""Of a stream: `str.splitlines` would also cut at line separators inside a JSON text."""
_SSE_STARTS = (b"data:", b"event:", b":", b"id:", b"retry:")
_WHITESPACE = b" \t\r\n\xef\xbb\xbf\x1e"
MAX_TYPE_CHARS = 60


@dataclass(slots=True)
class ReplyBody:
    """What a body holds.

    Attributes:
        events: The objects of a stream, or the one reply.
        streamed: Whether it came as a stream.
        ended: Whether the stream said that it is over (``[DONE]``).
        unread: What could not be read of it; empty: all was.
        array: Whether the stream is one JSON array.
    """

    events: list[JsonObject]
    streamed: bool = False
    ended: bool = False
    unread: str = ""
    array: bool = False


def read_body(content_type: str, body: bytes) -> ReplyBody:
    """Return the objects of a body; its form is what the content type says, or what it starts with."""
    kind, reader = _find_body_reader(content_type)
    if reader is not None:
        return reader(body)
    start = body.lstrip(_WHITESPACE)[:6]
    if start[:1] in (b"{", b"["):
        return _read_json_body(body)
    # A server that states no type, or a wrong one, or a recording whose headers were masked.
    if start.startswith(_SSE_STARTS):
        return _read_sse(body)
    return ReplyBody([], unread=_why_unreadable(kind) if body else "an empty reply")


@lru_cache(maxsize=64)
def _find_body_reader(content_type: str) -> tuple[str, Callable[[bytes], ReplyBody] | None]:
    kind = content_type.partition(";")[0].strip().lower()
    return kind, next(
        (reader for names, reader in _BODY_READERS if any(name in kind for name in names)), None
    )


def _why_unreadable(kind: str) -> str:
    if "json" in kind:
        return "a reply that is no JSON"
    return (
        f"a reply of content type {shorten_text(kind, MAX_TYPE_CHARS)}"
        if kind
        else "a reply of no known form"
    )


def _read_json_body(body: bytes) -> ReplyBody:
    value = parse_json(body)
    if isinstance(value, dict):
        return ReplyBody([value])
    if isinstance(value, list):
        # A stream as one array, each element an event (Gemini without server-sent events).
        events: list[JsonObject] = [element for element in value if isinstance(element, dict)]
        if len(events) == len(value):
            return ReplyBody(events, streamed=True, array=True)
        return ReplyBody([], unread="a reply that is no JSON object")
    if b"\n" in body.strip():
        lines = _read_json_lines(body)
        if lines.events:
            return lines
    if body.lstrip(_WHITESPACE)[:1] == b"[":
        return _read_cut_array(body.decode("utf-8", "replace"))
    return ReplyBody([], unread="a reply that is no JSON")


def _read_cut_array(body: str) -> ReplyBody:
    """The whole elements of an array that broke off."""
    decoder, events, at = json.JSONDecoder(), list[JsonObject](), body.index("[") + 1
    while True:
        start = body.find("{", at)
        if start < 0 or body[at:start].strip(" \t\r\n,"):
            break
        try:
            element, at = decoder.raw_decode(body, start)
        except (ValueError, RecursionError):
            break
        events.append(as_mapping(element))
    return (
        ReplyBody(events, streamed=True, unread=CUT_STREAM, array=True)
        if events
        else ReplyBody([], unread="a reply that is no JSON")
    )


def _read_json_lines(body: bytes) -> ReplyBody:
    lines = body.decode("utf-8", "replace").strip("\ufeff \t\r\n").split("\n")
    return _collect_events(
        [_parse_object(line.strip("\x1e \t\r")) for line in lines if line.strip()], streamed=True
    )


def _read_sse(body: bytes) -> ReplyBody:
    events: list[JsonObject | None] = []
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
                events.append(_parse_object(data[0]))
            else:
                events += _parse_sse_data(data)
            data = []
    return _collect_events(events, streamed=True, ended=ended)


def _parse_sse_data(data: list[str]) -> list[JsonObject | None]:
    """The object of an event; some servers put no empty line between two."""
    event = _parse_object("\n".join(data))
    if event is not None:
        return [event]
    return [_parse_object(line) for line in data if line.strip() and line.strip() != "[DONE]"]


def _parse_object(line: str) -> JsonObject | None:
    value = parse_json(line)
    return value if isinstance(value, dict) else None


def _collect_events(objects: list[JsonObject | None], *, streamed: bool, ended: bool = False) -> ReplyBody:
    events = [event for event in objects if event is not None]
    lost = len(objects) - len(events)
    if not lost:
        return ReplyBody(events, streamed, ended, "" if objects else "an empty stream")
    if lost == 1 and objects[-1] is None and not ended:
        return ReplyBody(events, streamed, ended, CUT_STREAM)
    problem = "1 event that is no JSON object" if lost == 1 else f"{lost} events that are no JSON objects"
    return ReplyBody(events, streamed, ended, problem)


def _read_aws_frames(body: bytes) -> ReplyBody:
    frames, size = aws_event_stream.unpack_leading_frames(body)
    events = [_unwrap_aws_frame(frame) for frame in frames]
    reply_body = _collect_events(events, streamed=True)
    if size < len(body):
        reply_body.unread = CUT_STREAM if frames else "a reply that is no event stream"
    return reply_body


def _unwrap_aws_frame(frame: aws_event_stream.Frame) -> JsonObject | None:
    """The event of a frame under its name; what a model of another vendor streamed is unwrapped."""
    inner = _parse_object(frame.payload.decode("utf-8", "replace"))
    kind = as_text(frame.headers.get(":message-type"))
    if kind in ("exception", "error"):
        name = as_text(frame.headers.get(":exception-type")) or as_text(frame.headers.get(":error-code"))
        message = as_text(frame.headers.get(":error-message")) or as_text(as_mapping(inner).get("message"))
        return {"error": {"type": name, "message": message or name}}
    if inner is None:
        return None
    if frame.headers.get(":event-type") != "chunk":
        return {as_text(frame.headers.get(":event-type")): inner}
    try:
        return _parse_object(base64.b64decode(as_text(inner.get("bytes"))).decode("utf-8", "replace"))
    except (binascii.Error, ValueError):
        return None


def _read_grpc(body: bytes) -> ReplyBody:
    return ReplyBody([], unread=f"gRPC, {len(body):,} bytes")


_BODY_READERS: tuple[tuple[tuple[str, ...], Callable[[bytes], ReplyBody]], ...] = (
    (("text/event-stream",), _read_sse),
    (("vnd.amazon.eventstream",), _read_aws_frames),
    (("application/grpc",), _read_grpc),
    (("ndjson", "jsonl", "stream+json", "json-lines", "jsonlines", "json-seq"), _read_json_lines),
)
