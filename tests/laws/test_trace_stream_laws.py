"""A stream, cut into pieces anywhere, is read as the same answer without a stream."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exchanges import AWS, NDJSON, SSE, converse_stream, exchange, ndjson, sse
from support.strategies import any_text, clean_text, json_objects

from pytest_llmops.trace import read_call

names = st.text("abcdefghij_", min_size=1, max_size=8)
tokens = st.integers(0, 10**6)
REQUEST = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@st.composite
def pieces(draw: st.DrawFn, text: str) -> list[str]:
    """The text, cut at any points."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    ends = [0, *cuts, len(text)]
    return [text[start:end] for start, end in pairwise(ends)]


@st.composite
def answers(draw: st.DrawFn) -> dict[str, Any]:
    """What a model said: a text, a thought, calls of tools, and what it took."""
    calls = draw(st.lists(st.tuples(names, json_objects), max_size=3))
    return {
        "text": draw(any_text),
        "thought": draw(clean_text),
        "calls": [(f"c{number}", name, arguments) for number, (name, arguments) in enumerate(calls)],
        "sent_tokens": draw(tokens),
        "answer_tokens": draw(tokens),
    }


def same(url: str, stream_url: str, whole: Any, body: bytes, kind: str) -> None:
    plain = read_call(exchange(url, REQUEST, whole))
    live = read_call(exchange(stream_url, REQUEST, body, kind=kind))
    assert live == replace(plain, streamed=True)
    assert live.unread == ""


@pytest.mark.slow
@given(st.data(), answers())
def test_openai_chat(data: st.DataObject, answer: dict[str, Any]) -> None:
    calls = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(value)}}
        for call_id, name, value in answer["calls"]
    ]
    message = {"content": answer["text"], "reasoning_content": answer["thought"], "tool_calls": calls}
    used = {"prompt_tokens": answer["sent_tokens"], "completion_tokens": answer["answer_tokens"]}
    whole = {
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": used,
    }
    deltas: list[Any] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": piece} for piece in data.draw(pieces(answer["thought"]))]
    deltas += [{"content": piece} for piece in data.draw(pieces(answer["text"]))]
    for number, call in enumerate(calls):
        head = {
            "index": number,
            "id": call["id"],
            "function": {"name": call["function"]["name"], "arguments": ""},
        }
        deltas.append({"tool_calls": [head]})
        for piece in data.draw(pieces(call["function"]["arguments"])):
            deltas.append({"tool_calls": [{"index": number, "function": {"arguments": piece}}]})
    events: list[Any] = [{"model": "m", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    events.append({"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events += [{"model": "m", "choices": [], "usage": used}, "[DONE]"]
    url = "https://api.openai.com/v1/chat/completions"
    same(url, url, whole, sse(events), SSE)


@pytest.mark.slow
@given(st.data(), answers())
def test_anthropic(data: st.DataObject, answer: dict[str, Any]) -> None:
    blocks: list[Any] = [
        {"type": "thinking", "thinking": answer["thought"]},
        {"type": "text", "text": answer["text"]},
    ]
    blocks += [
        {"type": "tool_use", "id": call_id, "name": name, "input": value}
        for call_id, name, value in answer["calls"]
    ]
    used = {"input_tokens": answer["sent_tokens"], "output_tokens": answer["answer_tokens"]}
    whole = {"model": "m", "content": blocks, "stop_reason": "end_turn", "usage": used}
    events: list[Any] = [
        {
            "type": "message_start",
            "message": {"model": "m", "content": [], "usage": {**used, "output_tokens": 1}},
        }
    ]
    for number, block in enumerate(blocks):
        kind = block["type"]
        text = json.dumps(block["input"]) if kind == "tool_use" else block[kind]
        empty = {**block, "input": {}} if kind == "tool_use" else {**block, kind: ""}
        name, key = {
            "thinking": ("thinking_delta", "thinking"),
            "text": ("text_delta", "text"),
            "tool_use": ("input_json_delta", "partial_json"),
        }[kind]
        events.append({"type": "content_block_start", "index": number, "content_block": empty})
        for piece in data.draw(pieces(text)):
            events.append(
                {"type": "content_block_delta", "index": number, "delta": {"type": name, key: piece}}
            )
        events.append({"type": "content_block_stop", "index": number})
    events.append(
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": answer["answer_tokens"]},
        }
    )
    events.append({"type": "message_stop"})
    url = "https://api.anthropic.com/v1/messages"
    same(url, url, whole, sse(events), SSE)


@pytest.mark.slow
@given(st.data(), answers(), st.booleans())
def test_gemini(data: st.DataObject, answer: dict[str, Any], array: bool) -> None:
    calls = [
        {"functionCall": {"id": call_id, "name": name, "args": value}}
        for call_id, name, value in answer["calls"]
    ]
    parts = [{"text": answer["thought"], "thought": True}, {"text": answer["text"]}, *calls]
    used = {"promptTokenCount": answer["sent_tokens"], "candidatesTokenCount": answer["answer_tokens"]}
    last = {"finishReason": "STOP"}
    whole = {
        "candidates": [{"content": {"parts": parts}, **last}],
        "usageMetadata": used,
        "modelVersion": "m",
    }
    streamed: list[Any] = [{"text": piece, "thought": True} for piece in data.draw(pieces(answer["thought"]))]
    streamed += [{"text": piece} for piece in data.draw(pieces(answer["text"]))]
    streamed += calls
    events: list[Any] = [
        {"candidates": [{"content": {"parts": [part]}}], "modelVersion": "m"} for part in streamed
    ]
    events.append({"candidates": [last], "usageMetadata": used, "modelVersion": "m"})
    base = "https://generativelanguage.googleapis.com/v1beta/models/m"
    body = json.dumps(events).encode() if array else sse(events)
    kind = "application/json" if array else SSE
    same(f"{base}:generateContent", f"{base}:streamGenerateContent", whole, body, kind)


@pytest.mark.slow
@given(st.data(), answers(), st.sampled_from([NDJSON, "application/json"]))
def test_ollama(data: st.DataObject, answer: dict[str, Any], kind: str) -> None:
    calls = [{"function": {"name": name, "arguments": value}} for _, name, value in answer["calls"]]
    end = {
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": answer["sent_tokens"],
        "eval_count": answer["answer_tokens"],
    }
    message = {"content": answer["text"], "thinking": answer["thought"], "tool_calls": calls}
    events = [
        *({"thinking": piece} for piece in data.draw(pieces(answer["thought"]))),
        *({"content": piece} for piece in data.draw(pieces(answer["text"]))),
        *({"tool_calls": [call]} for call in calls),
        {"content": ""},
    ]
    lines: list[Any] = [{"model": "m", "message": event, "done": False} for event in events]
    lines[-1] |= end
    url = "http://loopback/api/chat"
    same(url, url, {"model": "m", "message": message, **end}, ndjson(lines), kind)


@pytest.mark.slow
@given(st.data(), answers())
def test_bedrock_converse(data: st.DataObject, answer: dict[str, Any]) -> None:
    uses = [
        {"toolUse": {"toolUseId": call_id, "name": name, "input": value}}
        for call_id, name, value in answer["calls"]
    ]
    content = [
        {"reasoningContent": {"reasoningText": {"text": answer["thought"]}}},
        {"text": answer["text"]},
        *uses,
    ]
    used = {"inputTokens": answer["sent_tokens"], "outputTokens": answer["answer_tokens"]}
    whole = {"output": {"message": {"content": content}}, "stopReason": "end_turn", "usage": used}
    events: list[Any] = [{"messageStart": {"role": "assistant"}}]

    def delta(number: int, piece: Any) -> None:
        events.append({"contentBlockDelta": {"contentBlockIndex": number, "delta": piece}})

    for piece in data.draw(pieces(answer["thought"])):
        delta(0, {"reasoningContent": {"text": piece}})
    for piece in data.draw(pieces(answer["text"])):
        delta(1, {"text": piece})
    for number, use in enumerate(uses, 2):
        head = {key: value for key, value in use["toolUse"].items() if key != "input"}
        events.append({"contentBlockStart": {"contentBlockIndex": number, "start": {"toolUse": head}}})
        for piece in data.draw(pieces(json.dumps(use["toolUse"]["input"]))):
            delta(number, {"toolUse": {"input": piece}})
    events += [{"messageStop": {"stopReason": "end_turn"}}, {"metadata": {"usage": used}}]
    base = "https://bedrock-runtime.us-east-1.amazonaws.com/model/m"
    same(f"{base}/converse", f"{base}/converse-stream", whole, converse_stream(events), AWS)


@pytest.mark.slow
@given(st.data(), answers())
def test_cohere(data: st.DataObject, answer: dict[str, Any]) -> None:
    calls = [
        {"id": call_id, "function": {"name": name, "arguments": json.dumps(value)}}
        for call_id, name, value in answer["calls"]
    ]
    used = {"billed_units": {"input_tokens": answer["sent_tokens"], "output_tokens": answer["answer_tokens"]}}
    message = {
        "tool_plan": answer["thought"],
        "content": [{"type": "text", "text": answer["text"]}],
        "tool_calls": calls,
    }
    events: list[Any] = []

    def add(kind: str, piece: Any, index: int = 0) -> None:
        events.append({"type": kind, "index": index, "delta": {"message": piece}})

    add("message-start", {"role": "assistant"})
    for piece in data.draw(pieces(answer["thought"])):
        add("tool-plan-delta", {"tool_plan": piece})
    for piece in data.draw(pieces(answer["text"])):
        add("content-delta", {"content": {"text": piece}})
    for number, call in enumerate(calls):
        head = {"id": call["id"], "function": {"name": call["function"]["name"], "arguments": ""}}
        add("tool-call-start", {"tool_calls": head}, number)
        for piece in data.draw(pieces(call["function"]["arguments"])):
            add("tool-call-delta", {"tool_calls": {"function": {"arguments": piece}}}, number)
    events.append({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": used}})
    url = "https://api.cohere.com/v2/chat"
    same(url, url, {"message": message, "finish_reason": "COMPLETE", "usage": used}, sse(events), SSE)
