from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.exchanges import SSE, exchange, sse

from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Message, ToolCall, ToolDefinition, Usage
from pytest_llmops.trace import read_call

BASE = "https://api.cohere.com"
SCHEMA: Json = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": SCHEMA}}
ASKED: dict[str, Any] = {
    "model": "command-r",
    "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "weather?"}],
    "tools": [TOOL],
}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Köln"}'}}
USED = {
    "billed_units": {"input_tokens": 20.0, "output_tokens": 5.0},
    "tokens": {"input_tokens": 900.0, "output_tokens": 30.0},
    "cached_tokens": 8.0,
}
ANSWER: dict[str, Any] = {
    "id": "1",
    "message": {
        "role": "assistant",
        "tool_plan": "I will look.",
        "tool_calls": [CALL],
        "content": [{"type": "text", "text": "One moment."}],
    },
    "finish_reason": "TOOL_CALL",
    "usage": USED,
}


def event(kind: str, message: Any, index: int = 0) -> dict[str, Any]:
    return {"type": kind, "index": index, "delta": {"message": message}}


EVENTS: list[Any] = [
    event("message-start", {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}),
    event("tool-plan-delta", {"tool_plan": "I will "}),
    event("tool-plan-delta", {"tool_plan": "look."}),
    event("content-start", {"content": {"type": "text", "text": ""}}),
    event("content-delta", {"content": {"text": "One "}}),
    event("content-delta", {"content": {"text": "moment."}}),
    {"type": "content-end", "index": 0},
    event("tool-call-start", {"tool_calls": {"id": "c1", "function": {"name": "weather", "arguments": ""}}}),
    event("tool-call-delta", {"tool_calls": {"function": {"arguments": '{"city":'}}}),
    event("tool-call-delta", {"tool_calls": {"function": {"arguments": '"Köln"}'}}}),
    {"type": "tool-call-end", "index": 0},
    {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": USED}},
]


def test_chat() -> None:
    call = read_call(exchange(f"{BASE}/v2/chat", ASKED, ANSWER))
    assert (call.provider, call.endpoint, call.model) == ("cohere", "chat", "command-r")
    assert call.messages == (Message("system", "be kind"), Message("user", "weather?"))
    assert call.tools == (ToolDefinition(name="weather", description="of a city", parameters=SCHEMA),)
    assert (call.output, call.thinking, call.finish_reason) == ("One moment.", "I will look.", "TOOL_CALL")
    assert call.tool_calls == (ToolCall(name="weather", arguments='{"city":"Köln"}', id="c1"),)
    assert call.usage == Usage(input_tokens=20, output_tokens=5, cached_tokens=8)
    assert call.unread == ""
    assert call.cost_usd is not None


def test_a_stream_says_what_chat_says() -> None:
    live = read_call(exchange(f"{BASE}/v2/chat", ASKED, sse(EVENTS), kind=SSE))
    assert live == replace(read_call(exchange(f"{BASE}/v2/chat", ASKED, ANSWER)), streamed=True)


@pytest.mark.parametrize("end", range(1, len(EVENTS)))
def test_a_stream_that_broke_off(end: int) -> None:
    call = read_call(exchange(f"{BASE}/v2/chat", ASKED, sse(EVENTS[:end]), kind=SSE))
    assert call.unread == "the stream ended before its last event"
    assert "One moment.".startswith(call.output)


def test_tokens_where_nothing_is_billed() -> None:
    answer = {**ANSWER, "usage": {"tokens": USED["tokens"]}}
    assert read_call(exchange(f"{BASE}/v2/chat", ASKED, answer)).usage == Usage(
        input_tokens=900, output_tokens=30
    )


def test_a_model_that_shows_its_thoughts() -> None:
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}]
    answer = {"message": {"role": "assistant", "content": content}, "finish_reason": "COMPLETE"}
    call = read_call(exchange(f"{BASE}/v2/chat", ASKED, answer))
    assert (call.output, call.thinking) == ("yes", "hm")


def test_a_conversation_with_tools_and_documents() -> None:
    request = {
        "messages": [
            {"role": "assistant", "tool_plan": "I will look.", "tool_calls": [CALL]},
            {
                "role": "tool",
                "tool_call_id": "c1",
                "content": [{"type": "document", "document": {"data": "sun"}}],
            },
        ],
        "documents": ["a", {"data": {}}],
    }
    call = read_call(exchange(f"{BASE}/v2/chat", request, ANSWER))
    assert call.messages == (
        Message("assistant", 'I will look.\n[tool call weather {"city":"Köln"}]'),
        Message("tool", '{"type": "document", "document": {"data": "sun"}}'),
    )
    assert call.unread == "2 documents given with the messages"


def test_an_error() -> None:
    call = read_call(
        exchange(f"{BASE}/v2/chat", ASKED, {"id": "1", "message": "invalid api token"}, status=401)
    )
    assert (call.output, call.unread, call.status) == ("invalid api token", "", 401)
    end = {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "it broke"}}
    assert (
        read_call(exchange(f"{BASE}/v2/chat", ASKED, sse([*EVENTS[:5], end]), kind=SSE)).output == "it broke"
    )


def test_the_first_chat_is_not_read() -> None:
    call = read_call(exchange(f"{BASE}/v1/chat", {"model": "command-r", "message": "hi"}, {"text": "hello"}))
    assert (call.provider, call.messages, call.output) == ("cohere", (), "")
    assert call.unread


@pytest.mark.parametrize(
    ("version", "embeddings"), [("v1", [[1.0], [2.0]]), ("v2", {"int8": [[1], [2]], "float": [[1.0], [2.0]]})]
)
def test_embed(version: str, embeddings: Any) -> None:
    answer = {"embeddings": embeddings, "meta": {"billed_units": {"input_tokens": 4}}}
    call = read_call(
        exchange(f"{BASE}/{version}/embed", {"model": "embed-v4.0", "texts": ["a", "b"]}, answer)
    )
    assert (call.endpoint, call.output, call.usage.input_tokens) == ("embeddings", "2 vectors", 4)
    assert call.messages == (Message("user", "a"), Message("user", "b"))


def test_embed_of_pictures_and_mixed_inputs() -> None:
    request = {"images": ["data:"], "inputs": [{"content": [{"type": "text", "text": "a"}]}]}
    call = read_call(exchange(f"{BASE}/v2/embed", request, {"embeddings": {"float": [[1.0]] * 2}}))
    assert call.messages == (Message("user", "a"), Message("user", "[image]"))


def test_rerank() -> None:
    request = {"model": "rerank-v3.5", "query": "capital?", "documents": ["a", {"text": "b"}, {"title": "c"}]}
    answer = {
        "results": [{"index": 1, "relevance_score": 0.75}, {"index": 0, "relevance_score": 0.5}],
        "meta": {"billed_units": {"search_units": 1}},
    }
    call = read_call(exchange(f"{BASE}/v2/rerank", request, answer))
    assert (call.endpoint, call.output, call.usage) == ("rerank", "1: 0.75\n0: 0.5", Usage())
    assert [message.content for message in call.messages] == ["capital?", "a", "b", '{"title": "c"}']


def test_rerank_of_others() -> None:
    answer = {
        "data": [{"index": 0, "relevance_score": 0.5}],
        "model": "rerank-2",
        "usage": {"total_tokens": 9},
    }
    call = read_call(
        exchange("https://api.voyageai.com/v1/rerank", {"query": "q", "documents": ["a"]}, answer)
    )
    assert (call.provider, call.output, call.usage.input_tokens) == ("voyageai", "0: 0.5", 9)


def test_a_wrong_score_is_no_number() -> None:
    answer = {"results": [{"index": None, "relevance_score": "high"}, {"index": 10**400}]}
    assert read_call(exchange(f"{BASE}/v2/rerank", {"query": "q"}, answer)).output == "?: ?\n?: ?"
