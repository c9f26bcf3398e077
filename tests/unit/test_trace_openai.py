from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.exchanges import SSE, exchange, sse

from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Message, ToolCall, ToolDefinition, Usage
from pytest_llmops.trace import read_call

CHAT = "https://api.openai.com/v1/chat/completions"
RESPONSES = "https://api.openai.com/v1/responses"
SCHEMA: Json = {"type": "object", "properties": {"city": {"type": "string"}}}
ASKED: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
CUT = "the stream ended before its last event"


def answer(message: Any, *, finish: str = "stop", **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "choices": [{"index": 0, "message": message, "finish_reason": finish}], **more}


def delta(piece: Any, *, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "choices": [{"index": 0, "delta": piece, "finish_reason": finish}], **more}


def test_definitions_of_tools() -> None:
    tools = [
        {
            "type": "function",
            "function": {"name": "weather", "description": "of a city", "parameters": SCHEMA},
        },
        {"type": "custom", "custom": {"name": "run"}},
        {"type": "web_search"},
    ]
    legacy = [{"name": "old", "parameters": SCHEMA}]
    call = read_call(exchange(CHAT, {**ASKED, "tools": tools, "functions": legacy}, answer({"content": "x"})))
    assert call.tools == (
        ToolDefinition(name="weather", description="of a city", parameters=SCHEMA),
        ToolDefinition(name="run"),
        ToolDefinition(name="web_search"),
        ToolDefinition(name="old", parameters=SCHEMA),
    )


def test_the_schema_of_a_tool_that_cannot_be_kept_is_named() -> None:
    deep: Any = {}
    for _ in range(200):
        deep = {"items": deep}
    tools = [
        {"type": "function", "function": {"name": name, "parameters": schema}}
        for name, schema in (("deep", deep), ("odd", {"minimum": float("nan")}), ("plain", SCHEMA))
    ]
    call = read_call(exchange(CHAT, {**ASKED, "tools": tools}, answer({"content": "x"})))
    assert call.unread == "the parameters of the tool deep; the parameters of the tool odd"
    assert call.tools[2].parameters == SCHEMA
    assert call.from_wire(call.to_wire()) == call


def test_a_conversation_with_tools() -> None:
    messages = [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "sun"},
        {"role": "developer", "content": "d"},
    ]
    assert read_call(exchange(CHAT, {"messages": messages}, answer({"content": "x"}))).messages == (
        Message("assistant", "[tool call weather {}]"),
        Message("tool", "sun"),
        Message("developer", "d"),
    )


def test_calls_of_other_kinds() -> None:
    custom = {"id": "c1", "type": "custom", "custom": {"name": "run", "input": "print(1)"}}
    message = {"content": None, "tool_calls": [custom], "function_call": {"name": "old", "arguments": "{}"}}
    assert read_call(exchange(CHAT, ASKED, answer(message))).tool_calls == (
        ToolCall(name="run", arguments="print(1)", id="c1"),
        ToolCall(name="old", arguments="{}"),
    )
    pieces = [delta({"function_call": {"name": "old", "arguments": part}}) for part in ("{", "}")]
    pieces[1]["choices"][0]["delta"]["function_call"].pop("name")
    live = read_call(
        exchange(CHAT, ASKED, sse([*pieces, delta({}, finish="function_call"), "[DONE]"]), kind=SSE)
    )
    assert live.tool_calls == (ToolCall(name="old", arguments="{}"),)


def test_calls_of_a_stream_without_numbers() -> None:
    parts = [
        {"id": "a", "function": {"name": "one", "arguments": "{}"}},
        {"id": "b", "function": {"name": "two", "arguments": '{"x"'}},
        {"function": {"arguments": ":1}"}},
    ]
    events = [delta({"tool_calls": [part]}) for part in parts]
    call = read_call(exchange(CHAT, ASKED, sse([*events, "[DONE]"]), kind=SSE))
    assert [(tool_call.id, tool_call.name, tool_call.arguments) for tool_call in call.tool_calls] == [
        ("a", "one", "{}"),
        ("b", "two", '{"x":1}'),
    ]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_thinking(key: str) -> None:
    plain = read_call(exchange(CHAT, ASKED, answer({"content": "yes", key: "hm m"})))
    events = [
        delta({key: "hm"}),
        delta({key: " m"}),
        delta({"content": "yes"}),
        delta({}, finish="stop"),
        "[DONE]",
    ]
    assert (plain.output, plain.thinking) == ("yes", "hm m")
    assert read_call(exchange(CHAT, ASKED, sse(events), kind=SSE)) == replace(plain, streamed=True)


def test_thinking_of_mistral_is_a_part_of_the_content() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    url = "https://api.mistral.ai/v1/chat/completions"
    plain = read_call(exchange(url, ASKED, answer({"content": [thinking, {"type": "text", "text": "yes"}]})))
    events = [delta({"content": [thinking]}), delta({"content": "yes"}, finish="stop"), "[DONE]"]
    assert (plain.provider, plain.output, plain.thinking) == ("mistral", "yes", "hm")
    assert read_call(exchange(url, ASKED, sse(events), kind=SSE)) == replace(plain, streamed=True)


def test_words_of_a_sound_are_the_output() -> None:
    message = {"content": None, "audio": {"id": "a", "data": "AA==", "transcript": "good day"}}
    used = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"audio_tokens": 80},
        "completion_tokens_details": {"audio_tokens": 40},
    }
    call = read_call(exchange(CHAT, ASKED, {**answer(message, usage=used), "model": "gpt-audio"}))
    assert call.output == "good day"
    # Published per million tokens: 2.5 and 10 for text; sound is dearer.
    assert call.cost_usd is not None
    assert call.cost_usd > (100 * 2.5 + 50 * 10) / 1e6
    events = [delta({"audio": {"transcript": part}}) for part in ("good ", "day")]
    assert read_call(exchange(CHAT, ASKED, sse([*events, "[DONE]"]), kind=SSE)).output == "good day"


def test_more_answers_are_named_streamed_or_not() -> None:
    choices = [{"index": n, "message": {"content": str(n)}, "finish_reason": "stop"} for n in range(3)]
    plain = read_call(exchange(CHAT, ASKED, {"model": "gpt-4o", "choices": choices}))
    events = [
        {"choices": [{"index": n, "delta": {"content": str(n)}, "finish_reason": "stop"}]}
        for n in (0, 1, 2, 1)
    ]
    live = read_call(exchange(CHAT, ASKED, sse([*events, "[DONE]"]), kind=SSE))
    assert (plain.output, plain.unread) == (live.output, live.unread) == ("0", "2 more answers")


@pytest.mark.parametrize(
    ("events", "unread"),
    [
        ([delta({"content": "a"})], CUT),
        ([delta({"content": "a"}), "[DONE]"], ""),
        ([delta({"content": "a"}, finish="stop")], ""),
        ([delta({"content": "a"}), '{"choices": ['], CUT),
        (
            [delta({"content": "a"}), "oops", delta({}, finish="stop"), "[DONE]"],
            "1 event that is not a JSON object",
        ),
        ([], "an empty stream"),
    ],
)
def test_the_end_of_a_stream(events: list[Any], unread: str) -> None:
    assert read_call(exchange(CHAT, ASKED, sse(events), kind=SSE)).unread == unread


def test_an_error_of_a_gateway_within_an_answer() -> None:
    failed = {"index": 0, "error": {"code": 502, "message": "upstream broke"}, "finish_reason": "error"}
    call = read_call(exchange(CHAT, ASKED, {"choices": [failed]}))
    assert (call.output, call.finish_reason) == ("upstream broke", "error")


USAGES: list[tuple[str, dict[str, Any], Usage]] = [
    (
        "xai",  # counts its reasoning beside the answer
        {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135, "completion_tokens_details": {"reasoning_tokens": 94}},
        Usage(input_tokens=32, output_tokens=103, reasoning_tokens=94),
    ),
    (
        "openai",
        {"prompt_tokens": 32, "completion_tokens": 103, "total_tokens": 135, "completion_tokens_details": {"reasoning_tokens": 94}},
        Usage(input_tokens=32, output_tokens=103, reasoning_tokens=94),
    ),
    (
        "deepseek",
        {"prompt_tokens": 30, "completion_tokens": 5, "prompt_cache_hit_tokens": 20, "prompt_cache_miss_tokens": 10},
        Usage(input_tokens=30, output_tokens=5, cached_tokens=20),
    ),
    ("together", {"prompt_tokens": 30, "completion_tokens": 5, "cached_tokens": 0}, Usage(input_tokens=30, output_tokens=5, cached_tokens=0)),
    (
        "openrouter",
        {"prompt_tokens": 30, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 6}},
        Usage(input_tokens=30, output_tokens=5, cached_tokens=4, cache_write_tokens=6),
    ),
    ("floats", {"prompt_tokens": 30.0, "completion_tokens": 5.5}, Usage(input_tokens=30)),
    ("absurd", {"prompt_tokens": 10**400, "completion_tokens": -1}, Usage()),
]  # fmt: skip


@pytest.mark.parametrize(("who", "wire", "usage"), USAGES, ids=[entry[0] for entry in USAGES])
def test_usage(who: str, wire: dict[str, Any], usage: Usage) -> None:
    assert read_call(exchange(CHAT, ASKED, answer({"content": "x"}, usage=wire))).usage == usage


def test_usage_of_a_stream_of_groq() -> None:
    end = delta({}, finish="stop", x_groq={"id": "r", "usage": {"prompt_tokens": 7, "completion_tokens": 3}})
    call = read_call(
        exchange("https://api.groq.com/openai/v1/chat/completions", ASKED, sse([end, "[DONE]"]), kind=SSE)
    )
    assert (call.provider, call.usage.total_tokens) == ("groq", 10)


@pytest.mark.parametrize(
    ("cost", "expected"), [(0.0123, 0.0123), (0, 0.0), ("x", None), (True, None), (1e300, None)]
)
def test_openrouter_says_what_it_cost(cost: object, expected: float | None) -> None:
    used = {"prompt_tokens": 1, "completion_tokens": 1, "cost": cost}
    wire = {**answer({"content": "x"}, usage=used), "model": "no/such-model"}
    assert (
        read_call(exchange("https://openrouter.ai/api/v1/chat/completions", ASKED, wire)).cost_usd == expected
    )
    assert read_call(exchange("https://other.example/v1/chat/completions", ASKED, wire)).cost_usd is None


def test_completions() -> None:
    url = "https://api.openai.com/v1/completions"
    wire = {"model": "davinci-002", "choices": [{"index": 0, "text": "one two", "finish_reason": "length"}]}
    plain = read_call(exchange(url, {"model": "davinci-002", "prompt": "p"}, wire))
    assert (plain.endpoint, plain.output, plain.finish_reason) == ("completions", "one two", "length")
    assert plain.messages == (Message("user", "p"),)
    events = [
        {"model": "davinci-002", "choices": [{"index": 0, "text": text, "finish_reason": end}]}
        for text, end in (("one ", None), ("two", "length"))
    ]
    live = read_call(
        exchange(url, {"model": "davinci-002", "prompt": "p"}, sse([*events, "[DONE]"]), kind=SSE)
    )
    assert live == replace(plain, streamed=True)


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2, 3], ["[3 tokens]"]),
        ([[1, 2], [3]], ["[2 tokens]", "[1 tokens]"]),
        ([{"type": "image_url"}, {"type": "text", "text": "a"}], ["[image_url]", "a"]),
        ([], []),
        (None, []),
    ],
)
def test_texts_to_embed(given: object, texts: list[str]) -> None:
    call = read_call(exchange("https://api.openai.com/v1/embeddings", {"input": given}, {"data": []}))
    assert [message.content for message in call.messages] == texts


def test_moderation() -> None:
    results = [
        {"flagged": True, "categories": {"violence": True, "hate": False, "harassment": True}},
        {"flagged": False, "categories": {"violence": False}},
    ]
    wire = {"id": "m", "model": "omni-moderation-latest", "results": results}
    call = read_call(exchange("https://api.openai.com/v1/moderations", {"input": ["a", "b"]}, wire))
    assert (call.endpoint, call.model) == ("moderations", "omni-moderation-latest")
    assert call.output == "flagged: violence, harassment\nnot flagged"
    assert call.messages == (Message("user", "a"), Message("user", "b"))


OUTPUT: list[dict[str, Any]] = [
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
    {"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "query": "q"}},
    {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
    {"type": "custom_tool_call", "call_id": "c2", "name": "run", "input": "1"},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "yes"}]},
]
RESPONSE = {"model": "gpt-5", "status": "completed", "error": None, "output": OUTPUT}


def test_items_of_a_response() -> None:
    tools = [
        {"type": "function", "name": "weather", "description": "of a city", "parameters": SCHEMA},
        {"type": "web_search"},
        {"type": "mcp", "server_label": "docs"},
    ]
    call = read_call(
        exchange(RESPONSES, {"input": "hi", "tools": tools, "previous_response_id": "r"}, RESPONSE)
    )
    assert [tool.name for tool in call.tools] == ["weather", "web_search", "docs"]
    assert (call.output, call.thinking) == ("yes", "hm")
    assert call.tool_calls == (
        ToolCall(name="web_search", arguments='{"type": "search", "query": "q"}', id="ws_1"),
        ToolCall(name="weather", arguments="{}", id="c1"),
        ToolCall(name="run", arguments="1", id="c2"),
    )
    assert call.unread == "messages kept by the server (previous_response_id)"


def test_a_conversation_of_items() -> None:
    messages = read_call(
        exchange(RESPONSES, {"input": [{"role": "user", "content": "hi"}, *OUTPUT]}, RESPONSE)
    ).messages
    assert [(message.role, message.content) for message in messages] == [
        ("user", "hi"),
        ("assistant", "[reasoning]"),
        ("assistant", '[tool call web_search {"type": "search", "query": "q"}]'),
        ("assistant", "[tool call weather {}]"),
        ("assistant", "[tool call run 1]"),
        ("assistant", "yes"),
    ]


def test_a_stream_of_items_whose_last_event_holds_none_of_them() -> None:
    events = [
        {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": []}},
        *(
            {"type": "response.output_item.done", "output_index": n, "item": entry}
            for n, entry in enumerate(OUTPUT)
        ),
        {"type": "response.completed", "response": {**RESPONSE, "output": []}},
    ]
    plain = read_call(exchange(RESPONSES, {"input": "hi"}, RESPONSE))
    assert read_call(exchange(RESPONSES, {"input": "hi"}, sse(events), kind=SSE)) == replace(
        plain, streamed=True
    )
    cut = read_call(exchange(RESPONSES, {"input": "hi"}, sse(events[:-1]), kind=SSE))
    assert (cut.output, len(cut.tool_calls), cut.unread) == ("yes", 3, CUT)


def test_a_response_that_failed() -> None:
    error = {"code": "server_error", "message": "it broke"}
    events = [{"type": "response.failed", "response": {"status": "failed", "error": error, "output": []}}]
    call = read_call(exchange(RESPONSES, {"input": "hi"}, sse(events), kind=SSE))
    assert (call.output, call.finish_reason, call.unread) == ("it broke", "failed", "")
    lines = read_call(
        exchange(RESPONSES, {"input": "hi"}, sse([{"type": "error", "message": "too long"}]), kind=SSE)
    )
    assert (lines.output, lines.unread) == ("too long", "")
