from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from support.server import (
    chat_answer,
    chat_events,
    embedding_answer,
    responses_answer,
    responses_events,
    stream,
)

from pytest_llmops.protocols import Call, Message, ToolCall, Usage
from pytest_llmops.recorder import Exchange
from pytest_llmops.trace import CallLog, read_call

BASE = "https://api.openai.com/v1"
ASKED = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
}


def exchange(tail: str, request: object, answer: object, **more: Any) -> Exchange:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    chat = Exchange(
        method="POST",
        url=BASE + tail,
        request=request,
        status=200,
        content_type="application/json",
        body=body,
        latency_s=0.5,
        ttft_s=None,
        replayed=True,
        purpose="app",
    )
    return replace(chat, **more)


def streamed(tail: str, request: object, events: list[Any], *, end: str = "\n\n", **more: Any) -> Exchange:
    body = b"".join(stream(events, end=end).chunks)
    return exchange(tail, request, body, content_type="text/event-stream; charset=utf-8", ttft_s=0.1, **more)


def test_chat() -> None:
    call = read_call(exchange("/chat/completions", ASKED, chat_answer("hi", model="gpt-4o-mini-2024-07-18")))
    assert call.cost_usd is not None
    assert replace(call, cost_usd=None) == Call(
        provider="openai",
        endpoint="chat",
        model="gpt-4o-mini-2024-07-18",
        messages=(Message("system", "s"), Message("user", "u")),
        output="hi",
        finish_reason="stop",
        usage=Usage(input_tokens=7, output_tokens=3),
        latency_s=0.5,
        replayed=True,
        status=200,
    )


def test_chat_stream_says_what_the_call_without_a_stream_says() -> None:
    plain = read_call(exchange("/chat/completions", ASKED, chat_answer("one two ", model="gpt-4o-mini")))
    live = read_call(streamed("/chat/completions", ASKED, chat_events("one two", model="gpt-4o-mini")))
    assert live == replace(plain, streamed=True, ttft_s=0.1)


@pytest.mark.parametrize(
    ("url", "request_body"),
    [
        (
            "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent",
            {"contents": [{"role": {}, "parts": [{"text": "hi"}]}]},
        ),
    ],
)
def test_a_role_that_is_no_text_is_the_users(url: str, request_body: dict[str, Any]) -> None:
    call = read_call(replace(exchange("", request_body, {}), url=url))
    assert call.messages == (Message("user", "hi"),)


def test_a_delta_whose_type_is_no_text_is_left_out() -> None:
    event = {"type": "content_block_delta", "delta": {"type": [], "text": "hi"}}
    call = replace(streamed("", {}, [event]), url="https://api.anthropic.com/v1/messages")
    assert read_call(call).output == ""


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r"])
def test_line_ends_of_streams(end: str) -> None:
    assert (
        read_call(streamed("/chat/completions", ASKED, chat_events("one two"), end=end)).output == "one two "
    )


def test_a_stream_may_hold_line_separators_in_its_text() -> None:
    odd = "a\u2028b\x85c\x0bd"
    event = json.dumps({"choices": [{"index": 0, "delta": {"content": odd}}]}, ensure_ascii=False)
    assert read_call(streamed("/chat/completions", ASKED, [event, "[DONE]"])).output == odd


def test_of_several_answers_in_a_stream_the_first_is_the_output() -> None:
    events = [{"choices": [{"index": n, "delta": {"content": f"answer {n}"}}]} for n in (0, 1, 0, 1)]
    assert read_call(streamed("/chat/completions", ASKED, events)).output == "answer 0answer 0"


def test_a_refusal_is_the_output() -> None:
    refused = chat_answer("", refusal="I will not")
    assert read_call(exchange("/chat/completions", ASKED, refused)).output == "I will not"
    events = [{"choices": [{"index": 0, "delta": {"refusal": part}}]} for part in ("I ", "won't")]
    assert read_call(streamed("/chat/completions", ASKED, events)).output == "I won't"


def test_parts_of_a_message() -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:"}}, {}]
    call = read_call(exchange("/chat/completions", {"messages": [{"role": "user", "content": parts}]}, {}))
    assert call.messages == (Message("user", "look\n[image_url]\n[part]"),)


def test_tool_calls() -> None:
    function = {"name": "search", "arguments": '{"q": 1}'}
    answer = chat_answer("", tool_calls=[{"id": "c1", "type": "function", "function": function}])
    expected = (ToolCall(name="search", arguments='{"q": 1}', id="c1"),)
    assert read_call(exchange("/chat/completions", ASKED, answer)).tool_calls == expected


def test_tool_calls_of_a_stream_are_put_together() -> None:
    def delta(index: int, **function: str) -> dict[str, Any]:
        part = {"index": index, "function": function, **({"id": f"c{index}"} if "name" in function else {})}
        return {"choices": [{"index": 0, "delta": {"tool_calls": [part]}}]}

    events = [
        delta(0, name="a", arguments='{"x"'),
        delta(1, name="b", arguments="{}"),
        delta(0, arguments=": 1}"),
    ]
    assert read_call(streamed("/chat/completions", ASKED, events)).tool_calls == (
        ToolCall(name="a", arguments='{"x": 1}', id="c0"),
        ToolCall(name="b", arguments="{}", id="c1"),
    )


def test_responses() -> None:
    request = {"model": "gpt-4o", "instructions": "be kind", "input": "hello"}
    call = read_call(exchange("/responses", request, responses_answer("hi", model="gpt-4o")))
    assert call.messages == (Message("system", "be kind"), Message("user", "hello"))
    assert (call.endpoint, call.output, call.finish_reason) == ("responses", "hi", "completed")
    assert call.usage == Usage(input_tokens=7, output_tokens=3, cached_tokens=2, reasoning_tokens=1)


def test_responses_input_items_and_tools() -> None:
    request = {
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
            {"type": "function_call", "name": "w", "arguments": "{}", "call_id": "c"},
            {"type": "function_call_output", "call_id": "c", "output": "sunny"},
        ]
    }
    item = {"type": "function_call", "name": "w", "arguments": "{}", "call_id": "c1"}
    call = read_call(exchange("/responses", request, responses_answer("", output=[item])))
    assert call.messages == (
        Message("user", "weather?"),
        Message("assistant", "[tool call w {}]"),
        Message("tool", "sunny"),
    )
    assert call.tool_calls == (ToolCall(name="w", arguments="{}", id="c1"),)


def test_responses_stream() -> None:
    call = read_call(streamed("/responses", {"input": "x"}, responses_events("one two")))
    assert (call.output, call.streamed, call.usage.total_tokens) == ("one two", True, 10)
    cut = read_call(streamed("/responses", {"input": "x"}, responses_events("one two")[:-1]))
    assert (cut.output, cut.unread) == ("one two ", "the stream ended before its last event")


def test_an_incomplete_response_says_why() -> None:
    answer = responses_answer("hi", status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert read_call(exchange("/responses", {}, answer)).finish_reason == "max_output_tokens"


def test_embeddings() -> None:
    request = {"model": "text-embedding-3-small", "input": ["a", "b"]}
    call = read_call(exchange("/embeddings", request, embedding_answer(request)))
    assert (call.endpoint, call.output) == ("embeddings", "2 vectors")
    assert call.messages == (Message("user", "a"), Message("user", "b"))
    assert read_call(exchange("/embeddings", {"input": "a"}, {})).messages == (Message("user", "a"),)


@pytest.mark.parametrize("error", [{"message": "no such model"}, "no such model"])
def test_an_error_is_the_output(error: object) -> None:
    call = read_call(exchange("/chat/completions", ASKED, {"error": error}, status=404))
    assert (call.output, call.status, call.cost_usd) == ("no such model", 404, None)
    assert read_call(streamed("/chat/completions", ASKED, [{"error": error}])).output == "no such model"


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.openai.com/v1/chat/completions", "openai"),
        ("https://x.openai.azure.com/openai/deployments/d/chat/completions", "azure"),
        ("https://evilopenai.com/v1/chat/completions", "openai-compatible"),
        ("http://loopback/v1/chat/completions", "openai-compatible"),
        ("https://api.anthropic.com/v1/messages", "anthropic"),
        ("https://gateway.example/v1/messages", "anthropic-compatible"),
        ("https://gateway.example/v1/letters", "unknown"),
    ],
)
def test_provider(url: str, provider: str) -> None:
    assert read_call(replace(exchange("/x", ASKED, {}), url=url)).provider == provider


def test_anything_else_is_named_by_its_path() -> None:
    call = read_call(exchange("/letters", {"model": "m"}, {"content": "x"}))
    assert (call.endpoint, call.model, call.output, call.messages) == ("/v1/letters", "m", "", ())
    assert call.unread == "the endpoint /v1/letters"


def test_a_local_call_has_no_price() -> None:
    chat = exchange("/chat/completions", ASKED, chat_answer("hi", model="gpt-4o-mini"))
    assert read_call(replace(chat, url="http://loopback/v1/chat/completions")).cost_usd is None


@pytest.mark.parametrize(
    "url", ["", "http://[", "http://[::1/x", "nonsense", "http://h:port/chat/completions"]
)
def test_an_odd_address_raises_nothing(url: str) -> None:
    assert isinstance(read_call(replace(exchange("/x", ASKED, {}), url=url)), Call)


WRONG: list[Any] = [None, True, 5, -1, 1.5, "text", [], [1], [None], {}, {"a": 1}, [[]], [{}], "\ud800"]
CHAT: dict[str, Any] = {
    "model": "m",
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}},
    "choices": [
        {
            "finish_reason": "stop",
            "message": {
                "content": "t",
                "tool_calls": [{"id": "i", "function": {"name": "n", "arguments": "{}"}}],
            },
            "delta": {"content": "t", "tool_calls": [{"index": 0, "function": {"name": "n"}}]},
        }
    ],
}


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, entry in inner for place in places(entry, (*at, key)))]


def put(value: Any, place: tuple[Any, ...], wrong: Any) -> Any:
    if not place:
        return wrong
    made = dict(value) if isinstance(value, dict) else list(value)
    made[place[0]] = put(value[place[0]], place[1:], wrong)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("tail", ["/chat/completions", "/responses", "/embeddings", "/messages"])
def test_hostile_shapes_raise_nothing_and_pass_the_wire(tail: str) -> None:
    answers = [
        CHAT,
        responses_answer("t", output=[{"type": "function_call", "name": "n"}]),
        responses_answer("t"),
    ]
    for whole in answers:
        for place in places(whole):
            for wrong in WRONG:
                hostile = put(whole, place, wrong)
                for given_exchange in (
                    exchange(tail, hostile, hostile),
                    streamed(tail, hostile, [json.dumps(hostile)]),
                ):
                    call = read_call(given_exchange)
                    assert Call.from_wire(call.to_wire()).endpoint == call.endpoint


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"{", b"[" * 100_000, b'{"model": 1' + b"0" * 5000 + b"}", b"NaN"]
)
@pytest.mark.parametrize("kind", ["application/json", "Text/Event-Stream"])
def test_hostile_bytes_raise_nothing(body: bytes, kind: str) -> None:
    assert read_call(exchange("/chat/completions", ASKED, body, content_type=kind)).output == ""
    stream_body = b"data: " + body + b"\n\n"
    assert read_call(exchange("/chat/completions", ASKED, stream_body, content_type=kind)).output == ""


def test_call_log_reads_when_somebody_looks() -> None:
    log = CallLog([exchange("/chat/completions", ASKED, chat_answer("a")), exchange("/responses", {}, {})])
    assert len(log) == 2
    assert log[0].output == "a"
    assert [call.endpoint for call in log[0:2]] == ["chat", "responses"]
    assert log[-1].endpoint == "responses"
    assert repr(log) == "CallLog(['chat stub-1', 'responses '])"
    assert log[0] is log[-2] is next(iter(log))  # a call is read once
