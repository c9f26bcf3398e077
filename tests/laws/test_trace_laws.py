"""Whatever comes over the wire is read as a call that passes the wire between processes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exchanges import chunks, converse_stream
from support.strategies import any_text, json_values, scale_examples

from pytest_llmops.protocols import Call
from pytest_llmops.recorder import Exchange
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.trace import read_call

FIELDS = [
    "choices", "message", "delta", "content", "tool_calls", "function", "arguments", "name", "id", "index", "usage",
    "prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens", "input_tokens", "output",
    "output_tokens", "type", "text", "refusal", "status", "incomplete_details", "reason", "finish_reason", "model",
    "error", "messages", "input", "instructions", "role", "response", "data", "embedding", "tools", "parameters",
    "thinking", "reasoning", "audio", "function_call", "results", "categories", "flagged", "prompt", "item",
    # Anthropic
    "content_block", "partial_json", "system", "input_schema", "cache_creation", "cache_read_input_tokens",
    # Gemini
    "candidates", "parts", "functionCall", "functionDeclarations", "functionResponse", "args", "contents",
    "systemInstruction", "usageMetadata", "promptTokenCount", "promptFeedback", "requests", "embeddings",
    "predictions", "instances", "thought",
    # Bedrock
    "toolUse", "toolResult", "toolConfig", "toolSpec", "inputSchema", "json", "reasoningContent", "reasoningText",
    "contentBlockStart", "contentBlockDelta", "contentBlockIndex", "messageStop", "metadata", "start", "bytes",
    "guardContent", "citationsContent", "outputs", "generations", "completions", "generation", "outputText",
    "cacheDetails", "singleEmbeddingParams", "inputText", "amazon-bedrock-invocationMetrics",
    # Cohere and Ollama
    "tool_plan", "billed_units", "tokens", "meta", "chat_history", "tool_results", "documents", "event_type", "done",
    "is_finished", "texts", "images", "query", "relevance_score", "prompt_eval_count", "done_reason", "parameter_definitions",
]  # fmt: skip
WORDS = [
    "message", "output_text", "refusal", "function_call", "response.completed", "user", "system", "gpt-4o", "text",
    "response.output_item.done", "response.output_text.delta", "reasoning", "message_start", "content_block_start",
    "content_block_delta", "text_delta", "input_json_delta", "message_delta", "message_stop", "tool_use", "tool_result",
    "thinking", "error", "message-start", "content-delta", "tool-call-start", "tool-call-delta", "message-end",
    "stream-end", "text-generation", "web_search_call", "function_call_output",
]  # fmt: skip
leaves = st.one_of(json_values, st.sampled_from(WORDS), any_text)
shaped = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5)
    ),
    max_leaves=8,
)
BEDROCK = "https://bedrock-runtime.us-east-1.amazonaws.com/model"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash"
VERTEX = "https://aiplatform.googleapis.com/v1/projects/p/locations/l/publishers"
PLACES = [
    *(
        f"https://api.openai.com/v1/{tail}"
        for tail in ("chat/completions", "completions", "responses", "embeddings", "moderations", "x")
    ),
    "https://api.anthropic.com/v1/messages",
    *(
        f"{GOOGLE}:{method}"
        for method in ("generateContent", "streamGenerateContent", "embedContent", "batchEmbedContents", "countTokens")
    ),
    f"{VERTEX}/google/models/text-embedding-005:predict",
    f"{VERTEX}/anthropic/models/claude:rawPredict",
    *(
        f"{BEDROCK}/{model}/{what}"
        for model in ("anthropic.claude-v2", "amazon.titan", "amazon.titan-embed", "amazon.nova", "cohere.command", "cohere.embed", "x")
        for what in ("converse", "converse-stream", "invoke", "invoke-with-response-stream")
    ),
    *(
        f"https://api.cohere.com/{tail}"
        for tail in ("v2/chat", "v2/embed", "v2/rerank")
    ),
    *(f"http://loopback/api/{tail}" for tail in ("chat", "generate", "embed", "embeddings")),
]  # fmt: skip
urls = st.one_of(
    st.sampled_from(PLACES),
    any_text,
    any_text.map(lambda text: f"https://{text}/chat/completions"),
    any_text.map(lambda text: f"{BEDROCK}/{text}/invoke"),
    any_text.map(lambda text: f"https://{text}.openai.azure.com/openai/deployments/{text}/chat/completions"),
)
kinds = st.sampled_from(
    [
        "application/json",
        "text/event-stream",
        "text/event-stream; charset=utf-8",
        "application/x-ndjson",
        "application/vnd.amazon.eventstream",
        "application/grpc",
        "",
        "x",
    ]
)


def passes(request: Any, url: str, kind: str, body: bytes, status: int | None = 200) -> None:
    call = read_call(
        Exchange(
            method="POST",
            url=url,
            request=request,
            status=status,
            content_type=kind,
            body=body,
            latency_s=None,
            ttft_s=None,
            replayed=False,
            purpose="app",
        )
    )
    wire = call.to_wire()
    assert json.loads(json.dumps(wire, ensure_ascii=False, allow_nan=False).encode()) == wire
    again = Call.from_wire(wire)
    assert again.usage == call.usage
    assert len(again.messages) == len(call.messages)
    assert len(again.tools) == len(call.tools)
    assert again.unread == call.unread
    run = Run(records=(TestRecord(nodeid="t", calls=(again,)),))
    assert Run.from_json(run.to_json()) == run


objects = st.dictionaries(st.sampled_from(FIELDS), shaped, max_size=4)
statuses = st.sampled_from([200, 429, None])


@pytest.mark.slow
@given(shaped, shaped, urls, kinds, statuses)
def test_any_json(request: Any, reply: Any, url: str, kind: str, status: int | None) -> None:
    passes(request, url, kind, json.dumps(reply).encode(), status)


@pytest.mark.slow
@given(objects, objects, urls)
def test_any_objects(request: Any, reply: Any, url: str) -> None:
    passes(request, url, "application/json", json.dumps(reply).encode())
    passes({"model": "m", **request}, url, "application/json", json.dumps([reply, request]).encode())


@pytest.mark.slow
@given(objects, st.lists(objects, max_size=4), urls)
def test_any_lines(request: Any, events: list[Any], url: str) -> None:
    passes(
        {"model": "m", **request},
        url,
        "application/x-ndjson",
        b"".join(json.dumps(event).encode() + b"\n" for event in events),
    )


@pytest.mark.slow
@given(objects, st.lists(objects, max_size=4), st.sampled_from(PLACES))
def test_any_frames(request: Any, events: list[Any], url: str) -> None:
    named = [{name: entry} for event in events for name, entry in event.items()]
    for body in (chunks(events), converse_stream(named)):
        passes(request, url, "application/vnd.amazon.eventstream", body)
        passes(request, url, "application/vnd.amazon.eventstream", body[:-5])


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES, ids=range(len(PLACES)))
@scale_examples(0.15)
@given(objects, objects, statuses)
def test_nothing_of_anybody_s_shape_raises(place: str, request: Any, reply: Any, status: int | None) -> None:
    passes(request, place, "application/json", json.dumps(reply).encode(), status)
    passes(request, place, "text/event-stream", f"data: {json.dumps(reply)}\n\n".encode())


@pytest.mark.slow
@pytest.mark.parametrize("depth", [50, 150, 450, 900, 50_000])
@pytest.mark.parametrize("key", ["messages", "tools", "parameters", "content", "args", "input"])
def test_no_depth_raises(key: str, depth: int) -> None:
    # The deepest that the JSON reader of this Python takes is somewhere among these.
    deep = b'{"%s": [' % key.encode() * depth + b"]}" * depth
    try:
        request = json.loads(deep)
    except RecursionError:
        request = None
    for place in PLACES:
        passes(request, place, "application/json", deep)


@pytest.mark.slow
@given(shaped, st.lists(shaped, max_size=4), urls, st.sampled_from(["\n\n", "\r\n\r\n", "\n"]))
def test_any_stream(request: Any, events: list[Any], url: str, end: str) -> None:
    body = "".join(f"data: {json.dumps(event)}{end}" for event in events)
    passes(request, url, "text/event-stream", body.encode())


@pytest.mark.slow
@given(shaped, st.binary(max_size=100), urls, kinds)
def test_any_bytes(request: Any, body: bytes, url: str, kind: str) -> None:
    passes(request, url, kind, body)
    passes(request, url, kind, b"data: " + body)
