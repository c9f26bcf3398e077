"""Response objects of the real SDKs, as an application gets them, where assertions take an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anthropic.types
import numpy as np
import openai.types.chat
import openai.types.responses
import pytest
from langchain_core.messages import AIMessage
from support.containing_nli import ContainingNli

from pytest_llmops import assert_grounded, assert_schema, assert_semantic
from pytest_llmops._util.framework_objects import read_answer


class Same:
    """An embedder to which all texts are the same."""

    version = "same/1"

    def embed(self, texts: Sequence[str]) -> Any:
        return np.ones((len(texts), 1), dtype=np.float32)


JSON = '{"answer": "Refunds take 5 days."}'
CHAT = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
RESPONSE = {
    "id": "r",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
}


def chat(text: str | None) -> Any:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return openai.types.chat.ChatCompletion.model_validate({**CHAT, "choices": [choice]})


def responses(text: str) -> Any:
    part = {"type": "output_text", "text": text, "annotations": []}
    reasoning = {"type": "reasoning", "id": "x", "summary": []}
    output = {"type": "message", "id": "o", "role": "assistant", "status": "completed", "content": [part]}
    return openai.types.responses.Response.model_validate({**RESPONSE, "output": [reasoning, output]})


def message(*blocks: dict[str, Any]) -> Any:
    return anthropic.types.Message.model_validate(
        {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "stop_reason": "end_turn",
            "content": list(blocks),
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
    )


THINKING = {"type": "thinking", "thinking": "hm", "signature": "s"}
TOOL = {"type": "tool_use", "id": "t", "name": "look_up", "input": {}}


@pytest.mark.parametrize(
    "answer",
    [
        chat(JSON),
        responses(JSON),
        message(THINKING, {"type": "text", "text": JSON[:9]}, {"type": "text", "text": JSON[9:]}, TOOL),
        AIMessage(JSON),
        AIMessage([{"type": "text", "text": JSON}]),
    ],
)
def test_a_response_is_an_answer(answer: Any) -> None:
    assert read_answer(answer) == JSON
    assert assert_schema(answer, {"required": ["answer"]}).detail["actual"] == JSON
    assert assert_semantic(answer, JSON, at_least=0.9, embedder=Same()).detail["actual"] == JSON
    assert assert_grounded(answer, [JSON], nli=ContainingNli(), at_least=1.0).detail["actual"] == JSON


def test_a_response_that_only_calls_a_tool_has_no_text() -> None:
    assert (read_answer(chat(None)), read_answer(message(TOOL))) == (None, None)
