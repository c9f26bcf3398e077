from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.exchanges import SSE, exchange, sse

from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Message, ToolCall, ToolDefinition, Usage
from pytest_llmops.trace import read_call

URL = "https://api.anthropic.com/v1/messages"
SCHEMA: Json = {"type": "object", "properties": {"city": {"type": "string"}}}
ASKED: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 100,
    "system": [{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": "weather?"}],
    "tools": [
        {"name": "weather", "description": "of a city", "input_schema": SCHEMA},
        {"type": "web_search_20250305", "name": "web_search"},
    ],
}
ANSWER: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [
        {"type": "thinking", "thinking": "let me see", "signature": "s"},
        {"type": "text", "text": "I will look."},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Köln", "days": 2}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 3,
        "cache_read_input_tokens": 1000,
        "cache_creation_input_tokens": 200,
        "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 20},
    },
}
EVENTS: list[Any] = [
    {
        "type": "message_start",
        "message": {
            **ANSWER,
            "content": [],
            "stop_reason": None,
            "usage": {**ANSWER["usage"], "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "let me "}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "see"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "I will "}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "look."}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
    },
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": ""}},
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "input_json_delta", "partial_json": '{"city":"Köln",'},
    },
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "input_json_delta", "partial_json": '"days":2}'},
    },
    {"type": "content_block_stop", "index": 2},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 50, "cache_read_input_tokens": None},
    },
    {"type": "message_stop"},
]


def test_a_message() -> None:
    call = read_call(exchange(URL, ASKED, ANSWER))
    assert (call.provider, call.endpoint, call.model) == (
        "anthropic",
        "messages",
        "claude-sonnet-4-5-20250929",
    )
    assert call.messages == (Message("system", "be kind"), Message("user", "weather?"))
    assert call.tools == (
        ToolDefinition(name="weather", description="of a city", parameters=SCHEMA),
        ToolDefinition(name="web_search"),
    )
    assert (call.output, call.thinking) == ("I will look.", "let me see")
    assert call.tool_calls == (
        ToolCall(name="weather", arguments='{"city": "Köln", "days": 2}', id="toolu_1"),
    )
    assert (call.finish_reason, call.unread, call.streamed) == ("tool_use", "", False)


def test_what_the_cache_gave_and_took_is_part_of_the_input() -> None:
    used = read_call(exchange(URL, ASKED, ANSWER)).usage
    assert used == Usage(
        input_tokens=1203, output_tokens=50, cached_tokens=1000, cache_write_tokens=200, reasoning_tokens=20
    )


def test_the_price_knows_the_cache() -> None:
    call = read_call(exchange(URL, ASKED, ANSWER))
    # Published per million tokens: 3 in, 0.3 read from the cache, 3.75 written to it, 15 out.
    assert call.cost_usd == pytest.approx((3 * 3 + 1000 * 0.3 + 200 * 3.75 + 50 * 15) / 1e6)
    kept = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 200}
    longer = read_call(exchange(URL, ASKED, {**ANSWER, "usage": {**ANSWER["usage"], "cache_creation": kept}}))
    # Written for an hour: 6.
    assert longer.cost_usd == pytest.approx((3 * 3 + 1000 * 0.3 + 200 * 6 + 50 * 15) / 1e6)


def test_a_stream_says_what_the_message_says() -> None:
    live = read_call(exchange(URL, {**ASKED, "stream": True}, sse(EVENTS), kind=SSE))
    assert live == replace(read_call(exchange(URL, ASKED, ANSWER)), streamed=True)


@pytest.mark.parametrize("end", range(1, len(EVENTS)))
def test_a_stream_that_broke_off_is_named_and_keeps_what_came(end: int) -> None:
    call = read_call(exchange(URL, ASKED, sse(EVENTS[:end]), kind=SSE))
    assert call.unread == "the stream ended before its last event"
    assert "I will look.".startswith(call.output)
    assert "let me see".startswith(call.thinking)
    assert call.usage.input_tokens == 1203


def test_an_error_in_the_middle_of_a_stream_is_the_output() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    call = read_call(exchange(URL, ASKED, sse([*EVENTS[:5], error]), kind=SSE))
    assert (call.output, call.unread, call.thinking) == ("Overloaded", "", "let me see")


def test_an_error() -> None:
    error = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
    call = read_call(exchange(URL, ASKED, error, status=401))
    assert (call.output, call.status, call.cost_usd, call.unread) == ("invalid x-api-key", 401, None, "")
    assert call.model == "claude-sonnet-4-5"


def test_blocks_of_a_conversation() -> None:
    request = {
        "system": "s",
        "messages": [
            {"role": "user", "content": [{"type": "image", "source": {}}, {"type": "text", "text": "see"}]},
            {"role": "assistant", "content": ANSWER["content"]},
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "content": [{"type": "text", "text": "sun"}],
                    },
                    {"type": "tool_result", "tool_use_id": "toolu_2", "content": "rain"},
                    {"type": "text", "text": "and?"},
                ],
            },
        ],
    }
    assert read_call(exchange(URL, request, ANSWER)).messages == (
        Message("system", "s"),
        Message("user", "[image]\nsee"),
        Message("assistant", '[thinking]\nI will look.\n[tool call weather {"city": "Köln", "days": 2}]'),
        Message("tool", "sun"),
        Message("tool", "rain"),
        Message("user", "and?"),
    )


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://openrouter.ai/api/v1/messages", "openrouter"),
        ("https://api.deepseek.com/anthropic/v1/messages", "deepseek"),
        ("https://x.services.ai.azure.com/anthropic/v1/messages", "azure"),
        ("https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict", "vertex"),
        ("http://loopback/v1/messages", "anthropic-compatible"),
    ],
)  # fmt: skip
def test_others_who_speak_it(url: str, provider: str) -> None:
    call = read_call(exchange(url, ASKED, sse(EVENTS), kind=SSE))
    assert (call.provider, call.endpoint, call.output) == (provider, "messages", "I will look.")


@pytest.mark.parametrize("url", ["https://api.openai.com/v1/threads/t/messages", URL + "/count_tokens"])
def test_what_only_looks_like_it(url: str) -> None:
    assert read_call(exchange(url, ASKED, ANSWER)).unread.startswith("the endpoint /v1/")
