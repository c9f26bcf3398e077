from __future__ import annotations

import json
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
from support.exchanges import AWS, chunks, converse_stream, exchange

from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Message, ToolCall, ToolDefinition, Usage
from pytest_llmops.trace import read_call
from pytest_llmops.wire.aws_event_stream import Frame, pack_frames

BASE = "https://bedrock-runtime.us-east-1.amazonaws.com/model"
CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
SCHEMA: Json = {"type": "object", "properties": {"city": {"type": "string"}}}
ASKED: dict[str, Any] = {
    "system": [{"text": "be kind"}, {"cachePoint": {"type": "default"}}],
    "messages": [{"role": "user", "content": [{"text": "weather?"}]}],
    "toolConfig": {
        "tools": [
            {"toolSpec": {"name": "weather", "description": "of a city", "inputSchema": {"json": SCHEMA}}},
            {"cachePoint": {"type": "default"}},
            {"systemTool": {"name": "nova_grounding"}},
        ]
    },
}
USED = {
    "inputTokens": 3,
    "outputTokens": 50,
    "totalTokens": 1253,
    "cacheReadInputTokens": 1000,
    "cacheWriteInputTokens": 200,
}
ANSWER: dict[str, Any] = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "let me see", "signature": "s"}}},
                {"text": "I will look."},
                {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Köln"}}},
            ],
        }
    },
    "stopReason": "tool_use",
    "usage": USED,
    "metrics": {"latencyMs": 5},
}
EVENTS: list[dict[str, Any]] = [
    {"messageStart": {"role": "assistant"}},
    {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "let me "}}}},
    {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "see"}}}},
    {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "s"}}}},
    {"contentBlockStop": {"contentBlockIndex": 0}},
    {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"text": "I will "}}},
    {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"text": "look."}}},
    {"contentBlockStop": {"contentBlockIndex": 1}},
    {
        "contentBlockStart": {
            "contentBlockIndex": 2,
            "start": {"toolUse": {"toolUseId": "t1", "name": "weather"}},
        }
    },
    {"contentBlockDelta": {"contentBlockIndex": 2, "delta": {"toolUse": {"input": '{"city":'}}}},
    {"contentBlockDelta": {"contentBlockIndex": 2, "delta": {"toolUse": {"input": '"Köln"}'}}}},
    {"contentBlockStop": {"contentBlockIndex": 2}},
    {"messageStop": {"stopReason": "tool_use"}},
    {"metadata": {"usage": USED, "metrics": {"latencyMs": 5}}},
]


def url(model: str, what: str) -> str:
    return f"{BASE}/{model.replace(':', '%3A')}/{what}"


def test_converse() -> None:
    call = read_call(exchange(url(CLAUDE, "converse"), ASKED, ANSWER))
    assert (call.provider, call.endpoint, call.model) == ("bedrock", "converse", CLAUDE)
    assert call.messages == (Message("system", "be kind\n[cachePoint]"), Message("user", "weather?"))
    assert call.tools == (
        ToolDefinition(name="weather", description="of a city", parameters=SCHEMA),
        ToolDefinition(name="nova_grounding"),
    )
    assert (call.output, call.thinking, call.finish_reason) == ("I will look.", "let me see", "tool_use")
    assert call.tool_calls == (ToolCall(name="weather", arguments='{"city": "Köln"}', id="t1"),)
    assert call.usage == Usage(
        input_tokens=1203, output_tokens=50, cached_tokens=1000, cache_write_tokens=200
    )
    assert call.usage.total_tokens == USED["totalTokens"]
    assert call.unread == ""


def test_the_price_knows_the_cache() -> None:
    call = read_call(exchange(url(CLAUDE, "converse"), ASKED, ANSWER))
    # Published per million tokens: 3 in, 0.3 read from the cache, 3.75 written to it, 15 out.
    assert call.cost_usd == pytest.approx((3 * 3 + 1000 * 0.3 + 200 * 3.75 + 50 * 15) / 1e6)
    profile = f"arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2F{CLAUDE.replace(':', '%3A')}"
    by_name = read_call(exchange(f"{BASE}/{profile}/converse", ASKED, ANSWER))
    assert by_name.model.endswith(f"inference-profile/{CLAUDE}")
    assert by_name.cost_usd == call.cost_usd


def test_a_stream_says_what_converse_says() -> None:
    live = read_call(exchange(url(CLAUDE, "converse-stream"), ASKED, converse_stream(EVENTS), kind=AWS))
    assert live == replace(read_call(exchange(url(CLAUDE, "converse"), ASKED, ANSWER)), streamed=True)


def test_a_stream_cut_at_any_byte_is_named() -> None:
    whole = converse_stream(EVENTS)
    unread = []
    for end in range(0, len(whole), 7):
        call = read_call(exchange(url(CLAUDE, "converse-stream"), ASKED, whole[:end], kind=AWS))
        unread.append(call.unread)
        assert "I will look.".startswith(call.output)
    assert [reason for reason, _ in groupby(unread)] == [
        "an empty stream",
        "a reply that is not an event stream",
        "the stream ended before its last event",
    ]


def test_an_exception_in_a_stream_is_the_output() -> None:
    headers = {":message-type": "exception", ":exception-type": "throttlingException"}
    body = converse_stream(EVENTS[:6]) + pack_frames(
        [Frame(headers, json.dumps({"message": "Too many"}).encode())]
    )
    call = read_call(exchange(url(CLAUDE, "converse-stream"), ASKED, body, kind=AWS))
    assert (call.output, call.unread) == ("Too many", "")
    bare = pack_frames([Frame({":message-type": "error", ":error-code": "500", ":error-message": "broken"})])
    assert read_call(exchange(url(CLAUDE, "converse-stream"), ASKED, bare, kind=AWS)).output == "broken"


def test_an_error() -> None:
    call = read_call(exchange(url(CLAUDE, "converse"), ASKED, {"message": "not authorised"}, status=403))
    assert (call.output, call.unread, call.model, call.cost_usd) == ("not authorised", "", CLAUDE, None)


def test_blocks_of_a_conversation() -> None:
    request = {
        "messages": [
            {"role": "user", "content": [{"image": {"format": "png"}}, {"text": "see"}]},
            {"role": "assistant", "content": ANSWER["output"]["message"]["content"]},
            {
                "role": "user",
                "content": [
                    {
                        "toolResult": {
                            "toolUseId": "t1",
                            "content": [{"json": {"sun": True}}, {"text": "warm"}],
                        }
                    },
                    {"guardContent": {"text": {"text": "and?"}}},
                ],
            },
        ]
    }
    assert read_call(exchange(url(CLAUDE, "converse"), request, ANSWER)).messages == (
        Message("user", "[image]\nsee"),
        Message("assistant", '[reasoningContent]\nI will look.\n[tool call weather {"city": "Köln"}]'),
        Message("tool", '{"sun": true}\nwarm'),
        Message("user", "and?"),
    )


def test_citations_are_part_of_the_answer() -> None:
    content = [{"citationsContent": {"content": [{"text": "as said"}], "citations": []}}]
    answer = {"output": {"message": {"content": content}}, "stopReason": "end_turn"}
    assert read_call(exchange(url(CLAUDE, "converse"), ASKED, answer)).output == "as said"


def test_a_longer_kept_cache_costs_more() -> None:
    details = [{"ttl": "1h", "inputTokens": 200}, {"ttl": "5m", "inputTokens": 0}]
    model = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    short, long = (
        read_call(exchange(url(model, "converse"), ASKED, {**ANSWER, "usage": used})).cost_usd
        for used in (USED, {**USED, "cacheDetails": details})
    )
    assert short is not None
    assert long is not None
    assert long > short


INVOKED: list[tuple[str, dict[str, Any], dict[str, Any], str, Usage]] = [
    (
        "us.meta.llama3-3-70b-instruct-v1:0",
        {"prompt": "hi"},
        {"generation": "yes", "prompt_token_count": 2, "generation_token_count": 3, "stop_reason": "stop"},
        "stop",
        Usage(input_tokens=2, output_tokens=3),
    ),
    (
        "mistral.mistral-7b-instruct-v0:2",
        {"prompt": "hi"},
        {"outputs": [{"text": "yes", "stop_reason": "stop"}]},
        "stop",
        Usage(),
    ),
    (
        "anthropic.claude-3-haiku-20240307-v1:0",
        {"anthropic_version": "bedrock-2023-05-31", "messages": [{"role": "user", "content": "hi"}]},
        {"model": "claude-3-haiku-20240307", "content": [{"type": "text", "text": "yes"}], "stop_reason": "end_turn",
         "usage": {"input_tokens": 2, "output_tokens": 3}},
        "end_turn",
        Usage(input_tokens=2, output_tokens=3),
    ),
    (
        "us.amazon.nova-lite-v1:0",
        {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
        {"output": {"message": {"content": [{"text": "yes"}]}}, "stopReason": "end_turn",
         "usage": {"inputTokens": 2, "outputTokens": 3}},
        "end_turn",
        Usage(input_tokens=2, output_tokens=3),
    ),
    (
        "openai.gpt-oss-20b-1:0",
        {"messages": [{"role": "user", "content": "hi"}]},
        {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}],
         "usage": {"prompt_tokens": 2, "completion_tokens": 3}},
        "stop",
        Usage(input_tokens=2, output_tokens=3),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "sent_body", "answered", "finish", "usage"), INVOKED, ids=[entry[0] for entry in INVOKED]
)
def test_invoke(
    model: str, sent_body: dict[str, Any], answered: dict[str, Any], finish: str, usage: Usage
) -> None:
    call = read_call(exchange(url(model, "invoke"), sent_body, answered))
    assert (call.provider, call.endpoint, call.model) == ("bedrock", "invoke", model)
    assert call.messages == (Message("user", "hi"),)
    assert (call.output, call.finish_reason, call.usage, call.unread) == ("yes", finish, usage, "")


METRICS = {"inputTokenCount": 2, "outputTokenCount": 3, "invocationLatency": 1, "firstByteLatency": 1}
STREAMED: list[tuple[str, dict[str, Any], list[dict[str, Any]]]] = [
    (
        "meta.llama3-8b-instruct-v1:0",
        {"prompt": "hi"},
        [
            {"generation": "y", "prompt_token_count": 2, "stop_reason": None},
            {"generation": "es", "generation_token_count": 3, "stop_reason": "stop",
             "amazon-bedrock-invocationMetrics": METRICS},
        ],
    ),
    (
        "mistral.mistral-7b-instruct-v0:2",
        {"prompt": "hi"},
        [
            {"outputs": [{"text": "y", "stop_reason": None}]},
            {"outputs": [{"text": "es", "stop_reason": "stop"}], "amazon-bedrock-invocationMetrics": METRICS},
        ],
    ),
    (
        "amazon.nova-lite-v1:0",
        {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
        [
            {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "y"}}},
            {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "es"}}},
            {"messageStop": {"stopReason": "end_turn"}},
            {"metadata": {"usage": {"inputTokens": 2, "outputTokens": 3}}},
        ],
    ),
    (
        "anthropic.claude-3-haiku-20240307-v1:0",
        {"anthropic_version": "bedrock-2023-05-31", "messages": [{"role": "user", "content": "hi"}]},
        [
            {"type": "message_start", "message": {"usage": {"input_tokens": 2, "output_tokens": 1}}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "yes"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
            {"type": "message_stop", "amazon-bedrock-invocationMetrics": METRICS},
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("model", "sent_body", "events"), STREAMED, ids=[entry[0] for entry in STREAMED])
def test_invoke_with_a_stream(model: str, sent_body: dict[str, Any], events: list[dict[str, Any]]) -> None:
    where = url(model, "invoke-with-response-stream")
    call = read_call(exchange(where, sent_body, chunks(events), kind=AWS))
    assert (call.endpoint, call.output, call.streamed, call.unread) == ("invoke", "yes", True, "")
    assert call.usage == Usage(input_tokens=2, output_tokens=3)
    cut = read_call(exchange(where, sent_body, chunks(events[:-1]), kind=AWS))
    assert cut.unread == "the stream ended before its last event"


@pytest.mark.parametrize(
    ("model", "sent_body", "answered", "endpoint", "output"),
    [
        ("amazon.titan-embed-text-v2:0", {"inputText": "a"}, {"embedding": [1.0], "inputTextTokenCount": 3}, "embeddings", "1 vectors"),
        ("amazon.nova-2-multimodal-embeddings-v1:0", {"singleEmbeddingParams": {"text": {"value": "a"}}}, {"embeddings": [{"embedding": [1.0]}]}, "embeddings", "1 vectors"),
        ("cohere.embed-v4:0", {"texts": ["a"], "input_type": "search_query"}, {"embeddings": {"float": [[1.0]]}}, "embeddings", "1 vectors"),
        ("cohere.rerank-v3-5:0", {"query": "a", "documents": []}, {"results": [{"index": 0, "relevance_score": 0.5}]}, "rerank", "0: 0.5"),
    ],
)  # fmt: skip
def test_vectors_and_ranks(model: str, sent_body: Any, answered: Any, endpoint: str, output: str) -> None:
    call = read_call(exchange(url(model, "invoke"), sent_body, answered))
    assert (call.endpoint, call.output, call.unread) == (endpoint, output, "")
    assert call.messages == (Message("user", "a"),)


def test_a_model_of_another_shape_is_named() -> None:
    call = read_call(exchange(url("stability.sd3-large-v1:0", "invoke"), {"prompt": "a"}, {"images": ["x"]}))
    assert (call.output, call.unread) == ("", "a reply of unknown shape")


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "bedrock"),
        ("vpce-1-2.bedrock-runtime.eu-west-1.vpce.amazonaws.com", "bedrock"),
        ("loopback", "bedrock-compatible"),
        ("bedrock-runtime.evil.example", "bedrock-compatible"),
    ],
)
def test_where_it_is_answered(host: str, provider: str) -> None:
    call = read_call(exchange(f"https://{host}/model/{CLAUDE}/converse", ASKED, ANSWER))
    assert (call.provider, call.output) == (provider, "I will look.")
