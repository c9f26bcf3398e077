from __future__ import annotations

from typing import Any

import pytest
from support.exchanges import exchange

from pytest_llmops.trace import read_call, streams

URL = "https://api.openai.com/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "m", "messages": []}
CUT = "the stream ended before its last event"


@pytest.mark.parametrize(
    ("kind", "body", "events"),
    [
        ("application/json", b'{"a": 1}', [{"a": 1}]),
        ("application/problem+json", b'{"a": 1}', [{"a": 1}]),
        ("**REDACTED**", b' \n{"a": 1}', [{"a": 1}]),
        ("", b'\xef\xbb\xbf{"a": 1}', [{"a": 1}]),
        ("", b'data: {"a": 1}\n\n', [{"a": 1}]),
        ("", b": hello\n\ndata: [DONE]\n\n", []),
        ("text/event-stream", b'data: {"a":\ndata: 1}\n\n', [{"a": 1}]),
        ("text/event-stream", b'data:{"a": 1}\ndata:{"b": 2}\n\n', [{"a": 1}, {"b": 2}]),
        ("text/event-stream", b'\xef\xbb\xbfdata: {"a": 1}\r\n\r\n', [{"a": 1}]),
        ("text/event-stream", b'id: 1\rdata: {"a": 1}\r\rretry: 5\r\r', [{"a": 1}]),
        ("text/event-stream", b'data: {"a": 1}', [{"a": 1}]),
        ("application/x-ndjson", b'{"a": 1}\r\n\n{"b": 2}', [{"a": 1}, {"b": 2}]),
        ("application/json-seq", b'\x1e{"a": 1}\n\x1e{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        ("application/json", b'{"a": 1}\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        ("application/json", b'[{"a": 1},\n{"b": 2}]', [{"a": 1}, {"b": 2}]),
    ],
)
def test_objects_of_a_body(kind: str, body: bytes, events: list[Any]) -> None:
    result = streams.read_body(kind, body)
    assert (result.events, result.unread) == (events, "" if events else "an empty stream")


@pytest.mark.parametrize(
    ("kind", "body", "unread"),
    [
        ("application/json", b"", "an empty reply"),
        ("application/json", b"{", "a reply that is not JSON"),
        ("application/json", b"oops", "a reply that is not JSON"),
        ("application/json", b"null", "a reply that is not JSON"),
        ("application/json", b"[1, 2]", "a reply that is not a JSON object"),
        ("application/json", b'[{"a"', "a reply that is not JSON"),
        ("text/html; charset=utf-8", b"<html>", "a reply of content type text/html"),
        ("image/png", b"\x89PNG", "a reply of content type image/png"),
        ("x" * 500, b"?", "a reply of content type " + "x" * 60 + "... (+440 chars)"),
        ("", b"\x00", "a reply of unknown type"),
        ("application/grpc+proto", b"\x00\x00", "gRPC, 2 bytes"),
        ("text/event-stream", b"", "an empty stream"),
        ("text/event-stream", b'data: {"a": 1}\n\ndata: {"b', CUT),
        ("text/event-stream", b"data: x\n\ndata: y\n\n", "2 events that are not JSON objects"),
        ("application/x-ndjson", b'{"a": 1}\n{"b', CUT),
        ("application/vnd.amazon.eventstream", b"oops", "a reply that is not an event stream"),
        ("application/vnd.amazon.eventstream", b"", "an empty stream"),
    ],
)
def test_what_cannot_be_read_is_named(kind: str, body: bytes, unread: str) -> None:
    assert streams.read_body(kind, body).unread == unread
    assert unread in read_call(exchange(URL, ASKED, body, kind=kind)).unread


@pytest.mark.parametrize(
    ("request_", "answer", "status", "unread"),
    [
        (ASKED, {"choices": [{}]}, 200, ""),
        (ASKED, {"choices": []}, 200, "a reply of unknown shape"),
        (ASKED, {"object": "list"}, 200, "a reply of unknown shape"),
        (ASKED, b"", None, "no answer came"),
        (ASKED, b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n', None, "the answer broke off"),
        (ASKED, {"error": {"message": "no"}}, 500, ""),
        (ASKED, {"detail": "no"}, 404, ""),
        (ASKED, b"<html>", 502, "a reply that is not JSON"),
        (None, {"choices": [{}]}, 200, "a request that is not JSON"),
        ([1], {"choices": [{}]}, 200, "a request that is not a JSON object"),
        (None, b"", 200, "an empty reply; a request that is not JSON"),
    ],
)
def test_what_a_call_says_of_it(request_: object, answer: object, status: int | None, unread: str) -> None:
    assert read_call(exchange(URL, request_, answer, status=status)).unread == unread


@pytest.mark.parametrize(
    ("wire", "output"),
    [
        ({"error": "no"}, "no"),
        ({"error": {"message": "no"}}, "no"),
        ({"error": {"code": 5}}, '{"code": 5}'),
        ({"message": "no"}, "no"),
        ({"Message": "no"}, "no"),
        ({"detail": "no"}, "no"),
        ({"detail": [{"msg": "no"}]}, '[{"msg": "no"}]'),
        ({"type": "error", "error": {"type": "x", "message": "no"}}, "no"),
        ({"object": "error", "message": "no"}, "no"),
    ],
)
def test_errors_of_all_vendors(wire: dict[str, Any], output: str) -> None:
    assert read_call(exchange(URL, ASKED, wire, status=400)).output == output
