from __future__ import annotations

import json

import pytest

from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Call, Message, ToolCall, ToolDefinition, Usage

FULL = Call(
    provider="anthropic",
    model="m",
    messages=(Message("user", "hi"),),
    tools=(ToolDefinition(name="t", description="d", parameters={"type": "object", "required": ["a"]}),),
    output="o",
    thinking="hm",
    tool_calls=(ToolCall(name="t", arguments="{}", id="1"),),
    usage=Usage(input_tokens=0, cache_write_tokens=3),
    unread="a part",
)


def test_a_call_comes_back() -> None:
    assert Call.from_wire(json.loads(json.dumps(FULL.to_wire()))) == FULL


def test_counts_that_nobody_stated_are_left_out() -> None:
    assert FULL.to_wire()["usage"] == {"input_tokens": 0, "cache_write_tokens": 3}
    assert "usage" not in Call(usage=Usage()).to_wire()


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        (
            {"input_tokens": 1, "output_tokens": None, "cached_tokens": None, "reasoning_tokens": 2},
            Usage(input_tokens=1, reasoning_tokens=2),
        ),
        ({"input_tokens": 1, "of_a_newer_version": 5}, Usage(input_tokens=1)),
    ],
)
def test_counts_of_another_version(usage: Json, read: Usage) -> None:
    assert Call.from_wire({"model": "m", "usage": usage}) == Call(model="m", usage=read)


def test_a_call_of_an_older_version_was_read_whole() -> None:
    old = Call.from_wire(
        {"provider": "openai", "endpoint": "chat", "messages": [{"role": "user", "content": "x"}]}
    )
    assert (old.tools, old.thinking, old.unread) == ((), "", "")
