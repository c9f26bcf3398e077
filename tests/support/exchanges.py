"""What went over the wire, made by hand, for the readers of the trace."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_llmops.recorder import Exchange
from pytest_llmops.wire.aws_event_stream import Frame, pack_frames

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
AWS = "application/vnd.amazon.eventstream"


def exchange(
    url: str, request: object, answer: object, *, kind: str = "application/json", status: int | None = 200
) -> Exchange:
    """A call whose answer is JSON, unless it is bytes already."""
    return Exchange(
        method="POST",
        url=url,
        request=request,
        status=status,
        content_type=kind,
        body=answer if isinstance(answer, bytes) else json.dumps(answer).encode(),
        latency_s=0.5,
        ttft_s=None,
        replayed=True,
        purpose="app",
    )


def sse(events: Iterable[Any]) -> bytes:
    """Server-sent events, each under the name that its type is."""
    return b"".join(_event(event) for event in events)


def _event(event: Any) -> bytes:
    head = f"event: {event['type']}\n" if isinstance(event, dict) and "type" in event else ""
    return f"{head}data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()


def ndjson(events: Iterable[Any]) -> bytes:
    """A line of JSON each."""
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def converse_stream(events: Iterable[Mapping[str, Any]]) -> bytes:
    """Frames of Bedrock, each named by the one key of its event."""
    return pack_frames(_frame(name, payload) for event in events for name, payload in event.items())


def chunks(events: Iterable[Any]) -> bytes:
    """Frames of Bedrock around the events of another vendor."""
    return pack_frames(
        _frame("chunk", {"bytes": base64.b64encode(json.dumps(event).encode()).decode()}) for event in events
    )


def _frame(name: str, payload: Any) -> Frame:
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return Frame(headers, json.dumps(payload).encode())
