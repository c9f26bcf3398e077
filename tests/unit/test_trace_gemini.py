from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from support.exchanges import SSE, exchange, sse

from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Message, ToolCall, ToolDefinition, Usage
from pytest_llmops.trace import read_call

BASE = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash"
URL, STREAM = f"{BASE}:generateContent", f"{BASE}:streamGenerateContent?alt=sse"
VERTEX = "https://europe-west1-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/google/models"
SCHEMA: Json = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}}
ASKED: dict[str, Any] = {
    "systemInstruction": {"role": "user", "parts": [{"text": "be kind"}]},
    "contents": [{"role": "user", "parts": [{"text": "weather?"}]}],
    "tools": [
        {"functionDeclarations": [{"name": "weather", "description": "of a city", "parameters": SCHEMA}]},
        {"googleSearch": {}},
    ],
}
USED = {
    "promptTokenCount": 100,
    "cachedContentTokenCount": 40,
    "toolUsePromptTokenCount": 5,
    "candidatesTokenCount": 10,
    "thoughtsTokenCount": 20,
    "totalTokenCount": 135,
}


def candidate(*parts: Any, finish: str | None = "STOP", index: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = {"index": index, "content": {"role": "model", "parts": [*parts]}}
    return made if finish is None else {**made, "finishReason": finish}


def answer(*candidates: Any, **more: Any) -> dict[str, Any]:
    return {"candidates": [*candidates], "modelVersion": "gemini-2.5-flash", **more}


THOUGHT = {"text": "hm", "thought": True}
CALL = {"functionCall": {"id": "c1", "name": "weather", "args": {"city": "Köln"}}, "thoughtSignature": "x"}
ANSWER = answer(candidate(THOUGHT, {"text": "I will look."}, CALL), usageMetadata=USED)
EVENTS = [
    answer(candidate(THOUGHT, finish=None), usageMetadata={"promptTokenCount": 100, "totalTokenCount": 100}),
    answer(candidate({"text": "I will "}, finish=None)),
    answer(candidate({"text": "look."}, CALL), usageMetadata=USED),
]


def test_a_reply() -> None:
    call = read_call(exchange(URL, ASKED, ANSWER))
    assert (call.provider, call.endpoint, call.model) == ("google", "generateContent", "gemini-2.5-flash")
    assert call.messages == (Message("system", "be kind"), Message("user", "weather?"))
    assert call.tools == (
        ToolDefinition(name="weather", description="of a city", parameters=SCHEMA),
        ToolDefinition(name="googleSearch"),
    )
    assert (call.output, call.thinking, call.finish_reason) == ("I will look.", "hm", "STOP")
    assert call.tool_calls == (ToolCall(name="weather", arguments='{"city": "Köln"}', id="c1"),)
    assert call.unread == ""


def test_thoughts_are_part_of_the_output_and_tools_of_the_input() -> None:
    call = read_call(exchange(URL, ASKED, ANSWER))
    assert call.usage == Usage(input_tokens=105, output_tokens=30, cached_tokens=40, reasoning_tokens=20)
    assert call.usage.total_tokens == USED["totalTokenCount"]
    # Published per million tokens: 0.3 in, 0.03 from the cache, 2.5 out.
    assert call.cost_usd == pytest.approx((65 * 0.3 + 40 * 0.03 + 30 * 2.5) / 1e6)


def test_a_stream_says_what_the_reply_says() -> None:
    live = read_call(exchange(STREAM, ASKED, sse(EVENTS), kind=SSE))
    assert live == replace(read_call(exchange(URL, ASKED, ANSWER)), streamed=True)


def test_a_stream_as_one_array() -> None:
    live = read_call(exchange(f"{BASE}:streamGenerateContent", ASKED, json.dumps(EVENTS, indent=1).encode()))
    assert live == replace(read_call(exchange(URL, ASKED, ANSWER)), streamed=True)


def test_a_stream_that_broke_off() -> None:
    call = read_call(exchange(STREAM, ASKED, sse(EVENTS[:2]), kind=SSE))
    assert (call.output, call.unread) == ("I will ", "the stream ended before its last event")


def test_a_blocked_prompt() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}}
    call = read_call(exchange(URL, ASKED, blocked))
    assert (call.output, call.finish_reason, call.unread) == ("", "SAFETY", "")


@pytest.mark.parametrize("wrap", [False, True])
def test_an_error(wrap: bool) -> None:
    error = {"error": {"code": 429, "message": "Resource exhausted", "status": "RESOURCE_EXHAUSTED"}}
    call = read_call(exchange(URL, ASKED, [error] if wrap else error, status=429))
    assert (call.output, call.unread, call.model) == ("Resource exhausted", "", "gemini-2.5-flash")


def test_more_candidates_are_named() -> None:
    both = answer(candidate({"text": "a"}), candidate({"text": "b"}, index=1))
    plain = read_call(exchange(URL, ASKED, both))
    live = read_call(
        exchange(STREAM, ASKED, sse([answer(candidate) for candidate in both["candidates"]]), kind=SSE)
    )
    assert (plain.output, plain.unread) == (live.output, live.unread) == ("a", "1 more answer")


def test_parts_of_a_conversation() -> None:
    request = {
        "system_instruction": {"parts": {"text": "s"}},
        "contents": [
            {"role": "user", "parts": [{"inlineData": {"mimeType": "image/png"}}, {"text": "see"}]},
            {"role": "model", "parts": [CALL]},
            {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"sun": True}}}]},
        ],
        "cachedContent": "cachedContents/1",
    }
    call = read_call(exchange(URL, request, ANSWER))
    assert call.messages == (
        Message("system", "s"),
        Message("user", "[inlineData]\nsee"),
        Message("assistant", '[tool call weather {"city": "Köln"}]'),
        Message("tool", '{"sun": true}'),
    )
    assert call.unread == "messages kept by the server (cachedContent)"


def test_a_model_that_answers_with_code_and_a_picture() -> None:
    parts = [{"executableCode": {"code": "1"}}, {"text": "done"}, {"inlineData": {"data": "x"}}]
    assert (
        read_call(exchange(URL, ASKED, answer(candidate(*parts)))).output
        == "[executableCode]done[inlineData]"
    )


def test_a_call_whose_arguments_came_in_pieces_is_named() -> None:
    piece = {
        "functionCall": {"name": "weather", "partialArgs": [{"jsonPath": "$.city"}], "willContinue": True}
    }
    assert read_call(exchange(URL, ASKED, answer(candidate(piece)))).unread.startswith(
        "arguments of a tool call"
    )


def test_embeddings() -> None:
    call = read_call(
        exchange(
            f"{BASE}:embedContent", {"content": {"parts": [{"text": "a"}]}}, {"embedding": {"values": [1]}}
        )
    )
    assert (call.endpoint, call.output, call.messages) == ("embeddings", "1 vectors", (Message("user", "a"),))
    request = {
        "requests": [
            {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": text}]}} for text in "ab"
        ]
    }
    several = read_call(
        exchange(f"{BASE}:batchEmbedContents", request, {"embeddings": [{"values": [1]}] * 2})
    )
    assert (several.output, several.model) == ("2 vectors", "gemini-embedding-001")
    assert several.messages == (Message("user", "a"), Message("user", "b"))


def test_vertex() -> None:
    call = read_call(exchange(f"{VERTEX}/gemini-2.5-flash:generateContent", ASKED, ANSWER))
    assert (call.provider, call.model, call.cost_usd is None) == ("vertex", "gemini-2.5-flash", False)
    answered = {"predictions": [{"embeddings": {"values": [1], "statistics": {"token_count": 3}}}] * 2}
    request = {"instances": [{"content": "a"}, {"content": "b"}]}
    vectors = read_call(exchange(f"{VERTEX}/text-embedding-005:predict", request, answered))
    assert (vectors.output, vectors.usage.input_tokens, vectors.model) == (
        "2 vectors",
        6,
        "text-embedding-005",
    )
    assert vectors.messages == (Message("user", "a"), Message("user", "b"))


def test_a_prediction_of_something_else_is_named() -> None:
    call = read_call(
        exchange(f"{VERTEX}/imagen-4:predict", {"instances": [{"prompt": "a"}]}, {"predictions": [{"x": 1}]})
    )
    assert call.unread == "a reply of unknown shape"


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("http://loopback/v1beta/models/gemini-2.5-flash:generateContent", "google-compatible"),
        (
            "https://aiplatform.googleapis.com/v1/publishers/google/models/gemini-2.5-flash:generateContent",
            "vertex",
        ),
        ("https://aiplatform.us.rep.googleapis.com/v1/publishers/google/models/m:generateContent", "vertex"),
    ],
)
def test_where_it_is_answered(url: str, provider: str) -> None:
    call = read_call(exchange(url, ASKED, ANSWER))
    assert (call.provider, call.output) == (provider, "I will look.")


def test_counting_tokens_is_no_call_of_a_model() -> None:
    call = read_call(exchange(f"{BASE}:countTokens", ASKED, {"totalTokens": 5}))
    assert (call.provider, call.unread) == (
        "google",
        "the endpoint /v1beta/models/gemini-2.5-flash:countTokens",
    )
