"""Read the JSON objects in the body of a reply: plain JSON, server-sent events, lines of JSON, AWS event streams."""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_mappings, as_text, get_text, parse_json
from pytest_llmops.measurement import shorten_text
from pytest_llmops.wire import aws_event_stream

CUT_STREAM = "the stream ended before its last event"
# `str.splitlines` is not used, as it also splits at line separators inside a JSON text
_LINE_END = re.compile(r"\r\n|\r|\n")
_SSE_STARTS = (b"data:", b"event:", b":", b"id:", b"retry:")
# Also a byte order mark, and the record separator of json-seq
_WHITESPACE = b" \t\r\n\xef\xbb\xbf\x1e"
MAX_TYPE_CHARS = 60


@dataclass(slots=True)
class ReplyBody:
    """The objects in a body.

    Attributes:
        events: The objects of a stream; for other bodies, the reply as the only one.
        streamed: Whether it is a stream.
        ended: Whether the stream has an explicit end (``[DONE]``).
        unread: A note on what could not be read; empty: everything was read.
        array: Whether the stream is a JSON array.
    """

    events: list[JsonObject]
    streamed: bool = False
    ended: bool = False
    unread: str = ""
    array: bool = False


def read_body(content_type: str, body: bytes) -> ReplyBody:
    """Return the objects in a body. The content type decides how it is read; if that is not known, its first bytes."""
    kind = content_type.partition(";")[0].strip().lower()
    for name, reader in _BODY_READERS.items():
        if name in kind:
            return reader(body)
    start = body.lstrip(_WHITESPACE)[:6]
    if start[:1] in (b"{", b"["):
        return _read_json_body(body)
    # The content type may be missing or wrong, or masked in a recording.
    if start.startswith(_SSE_STARTS):
        return _read_sse(body)
    if not body:
        return ReplyBody([], unread="an empty reply")
    if "json" in kind:
        return ReplyBody([], unread="a reply that is not JSON")
    if kind:
        return ReplyBody([], unread=f"a reply of content type {shorten_text(kind, MAX_TYPE_CHARS)}")
    return ReplyBody([], unread="a reply of unknown type")


def _read_json_body(body: bytes) -> ReplyBody:
    """Read a JSON object, an array of events, or, if it is neither, lines of JSON."""
    value = parse_json(body)
    if isinstance(value, dict):
        return ReplyBody([value])
    if isinstance(value, list):
        # A stream in an array of events (Gemini without server-sent events).
        events = as_mappings(value)
        if len(events) == len(value):
            return ReplyBody(events, streamed=True, array=True)
        return ReplyBody([], unread="a reply that is not a JSON object")
    if b"\n" in body.strip():
        lines = _read_json_lines(body)
        if lines.events:
            return lines
    return ReplyBody([], unread="a reply that is not JSON")


def _read_json_lines(body: bytes) -> ReplyBody:
    text = body.decode("utf-8", "replace").strip("\ufeff \t\r\n")
    lines = [line.strip("\x1e \t\r") for line in text.split("\n") if line.strip()]
    return _collect_events([_parse_object(line) for line in lines])


def _read_sse(body: bytes) -> ReplyBody:
    """Read server-sent events: the ``data:`` lines up to an empty line are one event; "[DONE]" ends the stream."""
    events: list[JsonObject | None] = []
    ended = False
    data: list[str] = []
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")
    for line in [*_LINE_END.split(text), ""]:  # the last event may lack its empty line
        if line.startswith("data:"):
            data.append(line[5:])
        elif not line and data:
            if data[-1].strip() == "[DONE]":
                ended = True
                data.pop()
            whole = _parse_object("\n".join(data))
            if whole is not None or len(data) == 1:
                events.append(whole)
            else:
                # Some servers put no empty line between two events.
                events += [_parse_object(text) for text in data if text.strip() not in ("", "[DONE]")]
            data = []
    return _collect_events(events, ended=ended)


def _parse_object(text: str) -> JsonObject | None:
    value = parse_json(text)
    if isinstance(value, dict):
        return value
    return None


def _collect_events(objects: list[JsonObject | None], *, ended: bool = False) -> ReplyBody:
    """Return the body of a stream; an event that is None could not be read. If only the last one is, the stream was cut."""
    events = [event for event in objects if event is not None]
    unread_count = len(objects) - len(events)
    if not objects:
        unread = "an empty stream"
    elif not unread_count:
        unread = ""
    elif unread_count == 1 and objects[-1] is None and not ended:
        unread = CUT_STREAM
    elif unread_count == 1:
        unread = "1 event that is not a JSON object"
    else:
        unread = f"{unread_count} events that are not JSON objects"
    return ReplyBody(events, streamed=True, ended=ended, unread=unread)


def _read_aws_frames(body: bytes) -> ReplyBody:
    """Read the frames of an AWS event stream, as far as they are complete."""
    frames, read_bytes = aws_event_stream.unpack_leading_frames(body)
    reply = _collect_events([_unwrap_aws_frame(frame) for frame in frames])
    if read_bytes < len(body):
        if frames:
            reply.unread = CUT_STREAM
        else:
            reply.unread = "a reply that is not an event stream"
    return reply


def _unwrap_aws_frame(frame: aws_event_stream.Frame) -> JsonObject | None:
    """Return {name: event} for a frame of converse; for a chunk of Bedrock's ``invoke``, the event that it holds in base64.

    An error becomes {"error": {"type": ..., "message": ...}}; a frame that cannot be read is None.
    """
    headers = {name: as_text(value) for name, value in frame.headers.items()}
    event = _parse_object(frame.payload.decode("utf-8", "replace"))
    if headers.get(":message-type") in ("exception", "error"):
        name = headers.get(":exception-type") or headers.get(":error-code", "")
        message = headers.get(":error-message") or get_text(as_mapping(event), "message") or name
        return {"error": {"type": name, "message": message}}
    if event is None:
        return None
    kind = headers.get(":event-type", "")
    if kind != "chunk":
        return {kind: event}
    try:
        chunk = base64.b64decode(get_text(event, "bytes"))
    except (binascii.Error, ValueError):
        return None
    return _parse_object(chunk.decode("utf-8", "replace"))


def _describe_grpc(body: bytes) -> ReplyBody:
    return ReplyBody([], unread=f"gRPC, {len(body):,} bytes")


# Part of a content type -> reader of such bodies
_BODY_READERS: dict[str, Callable[[bytes], ReplyBody]] = {
    "text/event-stream": _read_sse,
    "vnd.amazon.eventstream": _read_aws_frames,
    "application/grpc": _describe_grpc,
    "ndjson": _read_json_lines,
    "jsonl": _read_json_lines,
    "stream+json": _read_json_lines,
    "json-lines": _read_json_lines,
    "jsonlines": _read_json_lines,
    "json-seq": _read_json_lines,
}
