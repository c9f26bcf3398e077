from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.exchanges import NDJSON, exchange, ndjson

from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Message, ToolCall, ToolDefinition, Usage
from pytest_llmops.trace import read_call

BASE = "http://loopback/api"
SCHEMA: Json = {"type": "object", "properties": {"city": {"type": "string"}}}
ASKED: dict[str, Any] = {
    "model": "qwen3",
    "messages": [
        {"role": "user", "content": "see", "images": ["aGk="]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "x"}}}]},
        {"role": "tool", "tool_name": "weather", "content": "sun"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {"name": "weather", "description": "of a city", "parameters": SCHEMA},
        }
    ],
}
CALL = {"function": {"name": "weather", "arguments": {"city": "Köln"}}}
END = {"done": True, "done_reason": "stop", "prompt_eval_count": 12, "eval_count": 5, "total_duration": 1}
MESSAGE = {"role": "assistant", "content": "I look.", "thinking": "hm", "tool_calls": [CALL]}
ANSWER = {"model": "qwen3:8b", "message": MESSAGE, **END}


def piece(**message: Any) -> dict[str, Any]:
    return {"model": "qwen3:8b", "message": {"role": "assistant", "content": "", **message}, "done": False}


EVENTS = [
    piece(thinking="h"),
    piece(thinking="m"),
    piece(content="I "),
    piece(content="look."),
    piece(tool_calls=[CALL]),
    {**piece(), **END},
]


def test_chat() -> None:
    call = read_call(exchange(f"{BASE}/chat", ASKED, ANSWER))
    assert (call.provider, call.endpoint, call.model) == ("ollama", "chat", "qwen3:8b")
    assert call.messages == (
        Message("user", "see\n[image: unknown type, 2 bytes]"),
        Message("assistant", '[tool call weather {"city": "x"}]'),
        Message("tool", "sun"),
    )
    assert call.tools == (ToolDefinition(name="weather", description="of a city", parameters=SCHEMA),)
    assert (call.output, call.thinking, call.finish_reason) == ("I look.", "hm", "stop")
    assert call.tool_calls == (ToolCall(name="weather", arguments='{"city": "Köln"}'),)
    assert call.usage == Usage(input_tokens=12, output_tokens=5)
    assert (call.cost_usd, call.unread) == (None, "")


@pytest.mark.parametrize("kind", [NDJSON, "application/json", ""])
def test_a_stream_says_what_chat_says(kind: str) -> None:
    live = read_call(exchange(f"{BASE}/chat", ASKED, ndjson(EVENTS), kind=kind))
    assert live == replace(read_call(exchange(f"{BASE}/chat", ASKED, ANSWER)), streamed=True)


@pytest.mark.parametrize("end", range(1, len(EVENTS)))
def test_a_stream_that_broke_off(end: int) -> None:
    call = read_call(exchange(f"{BASE}/chat", ASKED, ndjson(EVENTS[:end]), kind=NDJSON))
    assert call.unread == "the stream ended before its last event"
    assert "I look.".startswith(call.output)


def test_a_line_that_was_cut() -> None:
    call = read_call(exchange(f"{BASE}/chat", ASKED, ndjson(EVENTS)[:-9], kind=NDJSON))
    assert (call.output, call.unread) == ("I look.", "the stream ended before its last event")


def test_generate() -> None:
    request = {"model": "m", "system": "s", "prompt": "p", "images": ["aGk="]}
    whole = read_call(
        exchange(f"{BASE}/generate", request, {"model": "m", "response": "one two", "thinking": "hm", **END})
    )
    assert whole.messages == (Message("system", "s"), Message("user", "p\n[image: unknown type, 2 bytes]"))
    assert (whole.endpoint, whole.output, whole.thinking) == ("generate", "one two", "hm")
    events = [
        {"model": "m", "response": "", "thinking": "hm", "done": False},
        {"model": "m", "response": "one ", "done": False},
        {"model": "m", "response": "two", "done": False},
        {"model": "m", "response": "", **END},
    ]
    live = read_call(exchange(f"{BASE}/generate", request, ndjson(events), kind=NDJSON))
    assert live == replace(whole, streamed=True)


def test_errors() -> None:
    call = read_call(exchange(f"{BASE}/chat", ASKED, {"error": "model not found"}, status=404))
    assert (call.output, call.unread, call.model) == ("model not found", "", "qwen3")
    live = read_call(exchange(f"{BASE}/chat", ASKED, ndjson([EVENTS[2], {"error": "it broke"}]), kind=NDJSON))
    assert (live.output, live.unread) == ("it broke", "")


@pytest.mark.parametrize(
    ("tail", "sent_body", "answered"),
    [
        ("embed", {"input": "a"}, {"embeddings": [[1.0]], "prompt_eval_count": 3}),
        ("embed", {"input": ["a"]}, {"embeddings": [[1.0]], "prompt_eval_count": 3}),
        ("embeddings", {"prompt": "a"}, {"embedding": [1.0], "prompt_eval_count": 3}),
    ],
)
def test_vectors(tail: str, sent_body: dict[str, Any], answered: dict[str, Any]) -> None:
    call = read_call(exchange(f"{BASE}/{tail}", {"model": "nomic", **sent_body}, answered))
    assert (call.provider, call.endpoint, call.output) == ("ollama", "embeddings", "1 vectors")
    assert (call.messages, call.usage.input_tokens) == ((Message("user", "a"),), 3)


def test_an_application_s_own_address_is_not_taken_for_ollama_s() -> None:
    call = read_call(exchange("https://shop.example/api/chat", {"text": "hi"}, {"message": "hello"}))
    assert (call.provider, call.endpoint, call.unread) == ("unknown", "/api/chat", "the endpoint /api/chat")
