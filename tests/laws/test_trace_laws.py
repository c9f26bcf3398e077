"""Whatever comes over the wire is read as a call that passes the wire between processes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.strategies import any_text, json_values, laws

from pytest_llmops.protocols import Call
from pytest_llmops.recorder import Exchange
from pytest_llmops.trace import read

FIELDS = [
    "choices", "message", "delta", "content", "tool_calls", "function", "arguments", "name", "id", "index", "usage",
    "prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens", "input_tokens", "output",
    "output_tokens", "type", "text", "refusal", "status", "incomplete_details", "reason", "finish_reason", "model",
    "error", "messages", "input", "instructions", "role", "response", "data", "embedding",
]  # fmt: skip
WORDS = [
    "message",
    "output_text",
    "refusal",
    "function_call",
    "response.completed",
    "user",
    "system",
    "gpt-4o",
]
leaves = st.one_of(json_values, st.sampled_from(WORDS), any_text)
shaped = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5)
    ),
    max_leaves=20,
)
urls = st.one_of(
    st.sampled_from(
        [f"https://api.openai.com/v1/{tail}" for tail in ("chat/completions", "responses", "embeddings", "x")]
    ),
    any_text,
    any_text.map(lambda text: f"https://{text}/chat/completions"),
)
kinds = st.sampled_from(
    ["application/json", "text/event-stream", "text/event-stream; charset=utf-8", "", "x"]
)


def passes(request: Any, url: str, kind: str, body: bytes) -> None:
    call = read(
        Exchange(
            method="POST",
            url=url,
            request=request,
            status=200,
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


@laws
@given(shaped, shaped, urls, kinds)
def test_any_json(request: Any, reply: Any, url: str, kind: str) -> None:
    passes(request, url, kind, json.dumps(reply).encode())


@laws
@given(shaped, st.lists(shaped, max_size=4), urls, st.sampled_from(["\n\n", "\r\n\r\n", "\n"]))
def test_any_stream(request: Any, events: list[Any], url: str, end: str) -> None:
    body = "".join(f"data: {json.dumps(one)}{end}" for one in events)
    passes(request, url, "text/event-stream", body.encode())


@laws
@given(shaped, st.binary(max_size=100), urls, kinds)
def test_any_bytes(request: Any, body: bytes, url: str, kind: str) -> None:
    passes(request, url, kind, body)
    passes(request, url, kind, b"data: " + body)
