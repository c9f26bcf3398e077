"""claude-agent-sdk: the messages of a query, whose command line is a stand-in that speaks its protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from claude_agent_sdk import ClaudeAgentOptions, Transport, query
from clients.frameworks import kit

from pytest_llmops.agents import Trajectory, read_trajectory

PACKAGES = ("claude-agent-sdk",)
START_BILLING = kit.ScriptedCall("Task", {"subagent_type": "billing", "prompt": "Refund B-77."})


class ScriptedTransport(Transport):
    """Answers the SDK's first request, and then sends messages as the command line does."""

    def __init__(self, messages: Sequence[dict[str, Any]]) -> None:
        self.messages = messages
        self.requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def connect(self) -> None:
        """Do nothing: no process is started."""

    async def write(self, data: str) -> None:
        request = json.loads(data)
        if request["type"] == "control_request":
            self.requests.put_nowait(request)

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        request = await self.requests.get()
        answer = {"subtype": "success", "request_id": request["request_id"], "response": {}}
        yield {"type": "control_response", "response": answer}
        for message in self.messages:
            yield message

    async def close(self) -> None:
        """Do nothing: there is nothing to end."""

    def is_ready(self) -> bool:
        return True

    async def end_input(self) -> None:
        """Do nothing: the messages do not depend on it."""


def make_answer(turn: kit.Turn, number: int, parent: str | None) -> list[dict[str, Any]]:
    """Return an answer as the command line sends it: a message for each block, all with one id."""
    blocks: list[dict[str, Any]] = []
    if turn.text:
        blocks.append({"type": "text", "text": turn.text})
    for call in turn.calls:
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments})
    usage = {"input_tokens": kit.INPUT_TOKENS, "output_tokens": 1}
    shared = {"id": f"msg_{number}", "model": "scripted", "role": "assistant", "usage": usage}
    return [
        {"type": "assistant", "message": {**shared, "content": [block]}, "parent_tool_use_id": parent}
        for block in blocks
    ]


def make_result(call: kit.ScriptedCall, parent: str | None) -> dict[str, Any]:
    """Return the result of a call, of which the tools of the kit know what it is."""
    tools = {"get_order": kit.get_order, "refund": kit.refund}
    content, is_error = "done", False
    if call.name in tools:
        try:
            content = tools[call.name](**call.arguments)
        except ValueError as error:
            content, is_error = str(error), True
    block = {"type": "tool_result", "tool_use_id": call.id, "content": content, "is_error": is_error}
    return {"type": "user", "message": {"role": "user", "content": [block]}, "parent_tool_use_id": parent}


def make_run(turns: Sequence[kit.Turn], parent: str | None = None, offset: int = 0) -> list[dict[str, Any]]:
    """Return the messages of an agent without the totals; an agent that it starts runs before its call has a result."""
    messages = []
    for number, turn in enumerate(turns, start=offset):
        messages += make_answer(turn, number, parent)
        for call in turn.calls:
            if call.name == "Task":
                messages += make_run(kit.REFUND, parent=call.id, offset=10)
            messages.append(make_result(call, parent))
    return messages


def make_totals(turn_count: int) -> dict[str, Any]:
    """Return the message at the end of a run."""
    usage = {
        "input_tokens": kit.INPUT_TOKENS * turn_count,
        "output_tokens": kit.OUTPUT_TOKENS * turn_count,
        "cache_read_input_tokens": 0,
    }
    return {
        "type": "result", "subtype": "success", "duration_ms": 9, "duration_api_ms": 8, "is_error": False,
        "num_turns": turn_count, "session_id": "s1", "total_cost_usd": kit.COST_USD, "usage": usage, "result": "",
    }  # fmt: skip


def run(turns: Sequence[kit.Turn], turn_count: int = 2) -> Trajectory:
    start = {"type": "system", "subtype": "init", "session_id": "s1"}
    messages = [start, *make_run(turns), make_totals(turn_count)]

    async def run_query() -> list[object]:
        transport = ScriptedTransport(messages)
        return [
            message
            async for message in query(prompt=kit.QUESTION, options=ClaudeAgentOptions(), transport=transport)
        ]

    return read_trajectory(asyncio.run(run_query()))


SCENARIOS: dict[str, kit.Scenario] = {
    "lookup": lambda: run(kit.LOOKUP),
    "failure": lambda: run(kit.FAILURE),
    "parallel": lambda: run(kit.PARALLEL),
    "handoff": lambda: run([kit.Turn(calls=(START_BILLING,)), kit.Turn("Refunded.")], turn_count=4),
}
