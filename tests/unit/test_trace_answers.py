"""Answers of traces in the wire formats: words, ids, and what a format cannot hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.exchanges import exchange

from pytest_llmops.protocols import ToolCall
from pytest_llmops.trace import read_call
from pytest_llmops.trace.answers import TracedAnswer, UnsupportedFormat, encode_answer

CHAT = "https://api.openai.com/v1/chat/completions"
RESPONSES = "https://api.openai.com/v1/responses"
CLAUDE = "https://api.anthropic.com/v1/messages"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent"
CALL = ToolCall(name="get_order", arguments='{"id": "A-1"}')
ASKS: dict[str, dict[str, Any]] = {
    CHAT: {"model": "m", "messages": []},
    RESPONSES: {"model": "m", "input": "hi"},
    CLAUDE: {"model": "m", "messages": []},
    GEMINI: {"contents": []},
}


def reason(url: str, finish_reason: str, *calls: ToolCall) -> str:
    answer = TracedAnswer(text="x", finish_reason=finish_reason, tool_calls=calls)
    encoded = encode_answer(url, ASKS[url], answer)
    return read_call(exchange(url, ASKS[url], encoded.body)).finish_reason


def test_the_finish_reason_has_the_words_of_the_format() -> None:
    found = {
        url: [reason(url, word) for word in ("end_turn", "MAX_TOKENS", "refusal", "eos", "")] for url in ASKS
    }
    assert found == {
        CHAT: ["stop", "length", "content_filter", "stop", "stop"],
        RESPONSES: ["completed", "max_output_tokens", "content_filter", "completed", "completed"],
        CLAUDE: ["end_turn", "max_tokens", "refusal", "end_turn", "end_turn"],
        GEMINI: ["STOP", "MAX_TOKENS", "SAFETY", "STOP", "STOP"],
    }


def test_an_answer_that_calls_tools_stopped_for_them() -> None:
    assert [reason(url, "", CALL) for url in ASKS] == ["tool_calls", "completed", "tool_use", "STOP"]
    assert reason(CHAT, "STOP", CALL) == "tool_calls"
    assert reason(CHAT, "stop", CALL) == "stop"  # OpenAI says so where the request names the tool
    assert reason(CLAUDE, "tool_call", CALL) == "tool_use"


def test_two_equal_answers_in_a_conversation_have_different_ids() -> None:
    def ids(messages: list[dict[str, Any]]) -> set[str]:
        request = {"model": "m", "messages": messages}
        body = json.loads(encode_answer(CHAT, request, TracedAnswer(tool_calls=(CALL, CALL))).body)
        return {body["id"], *(call["id"] for call in body["choices"][0]["message"]["tool_calls"])}

    first, second = ids([]), ids([{"role": "user", "content": "again"}])
    assert len(first | second) == 6


def test_the_first_part_of_a_chat_stream_has_no_text_if_there_are_only_calls() -> None:
    for text, content in (("", None), ("x", "")):
        answer = TracedAnswer(text=text, tool_calls=(CALL,))
        encoded = encode_answer(CHAT, {**ASKS[CHAT], "stream": True}, answer)
        first = json.loads(encoded.body.split(b"\n\n")[0].removeprefix(b"data: "))
        assert first["choices"] == [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": content, "refusal": None},
                "logprobs": None,
                "finish_reason": None,
            }
        ]


def test_a_model_that_the_trace_does_not_name_is_the_one_that_was_asked() -> None:
    for url, request in ASKS.items():
        encoded = encode_answer(url, request, TracedAnswer(text="x"))
        assert read_call(exchange(url, request, encoded.body)).model == request.get(
            "model", "gemini-2.5-flash"
        )


def test_tokens_that_the_trace_does_not_hold_are_not_made_up() -> None:
    assert "usage" not in json.loads(encode_answer(CHAT, ASKS[CHAT], TracedAnswer(text="x")).body)
    usage = json.loads(encode_answer(CLAUDE, ASKS[CLAUDE], TracedAnswer(text="x")).body)["usage"]
    assert usage == {"input_tokens": None, "output_tokens": None}


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_custom_tool_gets_its_text(is_streamed: bool) -> None:
    call = ToolCall(name="run", arguments="print('hi')", id="c1")
    for url, tool in (
        (CHAT, {"type": "custom", "custom": {"name": "run"}}),
        (RESPONSES, {"type": "custom", "name": "run"}),
    ):
        request = {**ASKS[url], "tools": [tool], "stream": is_streamed}
        encoded = encode_answer(url, request, TracedAnswer(tool_calls=(call,)))
        assert b'"input":' in encoded.body
        assert b"arguments" not in encoded.body
        read = read_call(exchange(url, request, encoded.body, kind=encoded.headers["content-type"]))
        assert read.tool_calls == (call,)


@pytest.mark.parametrize(
    ("url", "request_body", "answer", "why"),
    [
        ("https://api.cohere.com/v2/chat", {"model": "m"}, TracedAnswer(), "/v2/chat: an answer of a trace"),
        ("https://api.openai.com/v1/embeddings", {"model": "m"}, TracedAnswer(), "cannot be written"),
        ("https://example.com/anything", {}, TracedAnswer(), "possible are OpenAI's"),
        (CHAT, {"model": "m", "n": 2}, TracedAnswer(), "wants 2 answers (n), a trace has one"),
        (GEMINI, {"generationConfig": {"candidateCount": 2}}, TracedAnswer(), "2 answers (candidateCount)"),
        (CHAT, {"model": "m", "functions": []}, TracedAnswer(tool_calls=(CALL,)), "functions; expected tools"),
        (CLAUDE, {"model": "m"}, TracedAnswer(tool_calls=(ToolCall(name="f", arguments='{"a'),)), "of the tool call f: expected a JSON object, got"),
        (CLAUDE, {"model": "m", "stream": True}, TracedAnswer(tool_calls=(ToolCall(name="f", arguments="[1]"),)), "expected a JSON object"),
        (GEMINI, {}, TracedAnswer(tool_calls=(ToolCall(name="f", arguments='{"a": NaN}'),)), "expected a JSON object"),
        (RESPONSES, {"model": "m", "tools": [{"type": "web_search"}]}, TracedAnswer(tool_calls=(ToolCall(name="web_search"),)), "web_search, a tool of the server"),
        (CLAUDE, {"model": "m", "tools": [{"type": "web_search_20250305", "name": "web_search"}]}, TracedAnswer(tool_calls=(ToolCall(name="web_search"),)), "does not hold whole"),
    ],
)  # fmt: skip
def test_what_a_format_cannot_hold_is_refused(
    url: str, request_body: dict[str, Any], answer: TracedAnswer, why: str
) -> None:
    with pytest.raises(UnsupportedFormat) as caught:
        encode_answer(url, request_body, answer)
    assert why in str(caught.value)


def test_text_and_calls_come_together_in_order() -> None:
    answer = TracedAnswer(text="I look. " * 20, tool_calls=(CALL, CALL))
    for url, request in ASKS.items():
        read = read_call(exchange(url, request, encode_answer(url, request, answer).body))
        assert read.output == answer.text
        assert [call.name for call in read.tool_calls] == ["get_order", "get_order"]
