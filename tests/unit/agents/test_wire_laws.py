"""Laws of the dialogs of a test: however calls of several agents interleave, each result reaches its call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exchanges import exchange

from pytest_llmops.agents import read_trajectory
from pytest_llmops.agents.dialogs import sort_calls
from pytest_llmops.protocols import Call, Message, ToolCall
from pytest_llmops.trace import CallLog


def make_dialog(number: int, steps: list[list[str]], *, ids: bool, prompt: str) -> list[Call]:
    """The calls of an agent: in each step but the last it calls these tools."""
    history = [Message("system", "s"), Message("user", f"{prompt} {number}")]
    calls = []
    for step, names in enumerate(steps):
        uses = []
        for index, name in enumerate(names):
            call_id = f"{number}-{step}-{index}" if ids else ""
            uses.append(
                ToolCall(name=name, id=call_id, arguments=json.dumps({"step": [number, step, index]}))
            )
        calls.append(Call(endpoint="chat", messages=tuple(history), tool_calls=tuple(uses), status=200))
        lines = [f"[tool call {use.name} {use.arguments}]" for use in uses]
        history.append(Message("assistant", "\n".join(lines), tool_calls=tuple(uses)))
        for use in uses:
            history.append(Message("tool", f"of {use.arguments}", call_id=use.id, tool_name=use.name))
    calls.append(Call(endpoint="chat", messages=tuple(history), output=f"done {number}", status=200))
    return calls


STEPS = st.lists(st.lists(st.sampled_from(["get", "put"]), min_size=1, max_size=3), max_size=4)


@pytest.mark.slow
@given(st.lists(STEPS, min_size=1, max_size=4), st.randoms(use_true_random=False), st.booleans())
def test_interleaved_dialogs(dialogs: list[list[list[str]]], random: Any, ids: bool) -> None:
    queues = [make_dialog(number, steps, ids=ids, prompt="Task") for number, steps in enumerate(dialogs)]
    waiting = [list(queue) for queue in queues]
    calls = []
    while any(waiting):
        queue = random.choice([queue for queue in waiting if queue])
        calls.append(queue.pop(0))
    found = sort_calls([(number, call, True) for number, call in enumerate(calls, start=1)])
    assert sorted(len(dialog.turns) for dialog in found) == sorted(len(queue) for queue in queues)
    trajectory = read_trajectory(calls)
    assert trajectory.problems == ()
    assert trajectory.turns == len(calls)
    assert len(trajectory.tool_calls) == sum(len(names) for steps in dialogs for names in steps)
    assert all(call.result == f"of {call.text}" for call in trajectory.tool_calls)


WORDS = [
    "user",
    "assistant",
    "tool",
    "system",
    "tool_use",
    "tool_result",
    "text",
    "function_call",
    "function_call_output",
    "x",
]
KEYS = [
    "role",
    "content",
    "tool_calls",
    "tool_call_id",
    "tool_use_id",
    "type",
    "text",
    "id",
    "call_id",
    "name",
    "input",
    "function",
    "arguments",
]
VALUES = st.recursive(
    st.none() | st.integers() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
URLS = [
    "https://api.openai.com/v1/chat/completions",
    "https://api.openai.com/v1/responses",
    "https://api.anthropic.com/v1/messages",
]


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from(URLS), st.lists(VALUES, max_size=4), VALUES, VALUES), max_size=4))
def test_reading_bodies_never_fails(bodies: list[Any]) -> None:
    exchanges = []
    for url, messages, message, output in bodies:
        reply = {"choices": [{"message": message}], "output": output, "content": output}
        exchanges.append(exchange(url, {"messages": messages, "input": messages}, reply))
    read_trajectory(CallLog(exchanges)).to_wire()
