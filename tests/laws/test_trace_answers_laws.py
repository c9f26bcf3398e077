"""What `encode_answer` writes, `read_call` reads: the same answer, in every format, streamed or not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exchanges import exchange
from support.strategies import clean_text, json_objects, scale_examples

from pytest_llmops.protocols import Call, ToolCall, Usage
from pytest_llmops.trace import read_call
from pytest_llmops.trace.answers import TracedAnswer, encode_answer

BEDROCK = "https://bedrock-runtime.us-east-1.amazonaws.com/model"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash"
CHAT_REASONS = ("stop", "length", "tool_calls", "content_filter")
CLAUDE_REASONS = ("end_turn", "max_tokens", "tool_use", "refusal", "stop_sequence")
GEMINI_REASONS = ("STOP", "MAX_TOKENS", "SAFETY", "OTHER")


class Form(NamedTuple):
    """A wire format: what of an answer it keeps."""

    url: str
    request: dict[str, Any]
    reasons: tuple[str, ...]
    lost: tuple[str, ...] = ()  # token counts that it does not have
    makes_ids: bool = True
    keeps_spelling: bool = False  # of arguments


CHAT = Form(
    "https://api.openai.com/v1/chat/completions", {"model": "m", "messages": []}, CHAT_REASONS,
    keeps_spelling=True,
)  # fmt: skip
RESPONSES = Form(
    "https://api.openai.com/v1/responses", {"model": "m", "input": "hi"}, ("completed", "max_output_tokens"),
    keeps_spelling=True,
)  # fmt: skip
CLAUDE = Form("https://api.anthropic.com/v1/messages", {"model": "m", "messages": []}, CLAUDE_REASONS)
GEMINI = Form(
    f"{GOOGLE}:generateContent", {"contents": []}, GEMINI_REASONS, ("cache_write_tokens",), makes_ids=False
)
OLLAMA = Form(
    "http://127.0.0.1:11434/api/chat", {"model": "m", "messages": [], "stream": False}, ("stop", "length"),
    ("cached_tokens", "cache_write_tokens", "reasoning_tokens"), makes_ids=False,
)  # fmt: skip
CONVERSE = Form(f"{BEDROCK}/m/converse", {"messages": []}, CLAUDE_REASONS[:3], ("reasoning_tokens",))
INVOKE = CLAUDE._replace(
    url=f"{BEDROCK}/anthropic.claude-v1/invoke", request={"messages": [], "anthropic_version": "v"}
)
ALL_COUNTS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
FORMS = [
    CHAT,
    CHAT._replace(request={**CHAT.request, "stream": True, "stream_options": {"include_usage": True}}),
    CHAT._replace(request={**CHAT.request, "stream": True}, lost=ALL_COUNTS),
    CHAT._replace(url="http://127.0.0.1:8080/v1/chat/completions"),
    RESPONSES,
    RESPONSES._replace(request={**RESPONSES.request, "stream": True}),
    CLAUDE,
    CLAUDE._replace(request={**CLAUDE.request, "stream": True}),
    GEMINI,
    GEMINI._replace(url=f"{GOOGLE}:streamGenerateContent?alt=sse"),
    GEMINI._replace(url=f"{GOOGLE}:streamGenerateContent"),
    OLLAMA,
    OLLAMA._replace(request={"model": "m", "messages": []}),
    CONVERSE,
    CONVERSE._replace(url=f"{BEDROCK}/m/converse-stream"),
    INVOKE,
    INVOKE._replace(url=f"{INVOKE.url}-with-response-stream"),
]

names = st.text("abcXYZ_-09", min_size=1, max_size=12)
long_texts = st.builds(" ".join, st.lists(clean_text, max_size=30))
tool_calls = st.builds(
    ToolCall,
    name=names,
    arguments=st.one_of(st.just(""), json_objects.map(json.dumps)),
    id=st.one_of(st.just(""), names),
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Counts as providers give them: the parts are parts of the totals."""
    parts = [draw(st.none() | st.integers(0, 1000)) for _ in range(3)]
    if draw(st.booleans()):
        return Usage()
    cached, written, reasoning = parts
    return Usage(
        input_tokens=(cached or 0) + (written or 0) + draw(st.integers(0, 1000)),
        output_tokens=(reasoning or 0) + draw(st.integers(0, 1000)),
        cached_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
    )


def read_back(form: Form, answer: TracedAnswer) -> Call:
    encoded = encode_answer(form.url, form.request, answer)
    assert encode_answer(form.url, form.request, answer).body == encoded.body
    kind = encoded.headers["content-type"]
    return read_call(exchange(form.url, form.request, encoded.body, kind=kind, status=encoded.status))


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.url.rpartition("/")[2])
@scale_examples(1)
@given(data=st.data())
def test_the_readers_read_the_answer_that_was_written(form: Form, data: st.DataObject) -> None:
    answer = TracedAnswer(
        text=data.draw(clean_text | long_texts),
        tool_calls=tuple(data.draw(st.lists(tool_calls, max_size=3))),
        finish_reason=data.draw(st.sampled_from(form.reasons)),
        usage=data.draw(usages()),
        model="m-2026",
    )
    call = read_back(form, answer)
    assert call.unread == ""
    assert call.output == answer.text
    assert call.finish_reason == answer.finish_reason
    assert call.usage == replace(answer.usage, **dict.fromkeys(form.lost))
    assert call.model == ("m-2026" if "bedrock" not in form.url else call.model)
    assert len(call.tool_calls) == len(answer.tool_calls)
    for got, given_call in zip(call.tool_calls, answer.tool_calls, strict=True):
        assert got.name == given_call.name
        if form.keeps_spelling:
            assert got.arguments == given_call.arguments
        else:
            assert json.loads(got.arguments) == json.loads(given_call.arguments or "{}")
        if given_call.id or not form.makes_ids:
            assert got.id == given_call.id
        else:
            assert got.id
