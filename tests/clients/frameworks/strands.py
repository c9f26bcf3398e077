"""Strands: the result of an agent, the agent, its messages, and the result of a swarm."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from clients.frameworks import kit
from strands import Agent, tool
from strands.models.model import Model
from strands.multiagent import Swarm

from pytest_llmops.agents import Trajectory, read_trajectory

PACKAGES = ("strands-agents",)
TRANSFER = kit.Turn(
    calls=(kit.ScriptedCall("handoff_to_agent", {"agent_name": "billing", "message": "Refund B-77."}),)
)


class ScriptedModel(Model):
    """Answers with one turn after another."""

    def __init__(self, turns: Sequence[kit.Turn]) -> None:
        self.turns = list(turns)

    def update_config(self, **options: Any) -> None:
        """Do nothing: there is nothing to set."""

    def get_config(self) -> dict[str, Any]:
        return {}

    def structured_output(self, *_args: Any, **_options: Any) -> Any:
        raise NotImplementedError

    async def stream(self, *_args: Any, **_options: Any) -> AsyncIterator[Any]:
        turn = self.turns.pop(0)
        yield {"messageStart": {"role": "assistant"}}
        if turn.text:
            yield {"contentBlockStart": {"start": {}}}
            yield {"contentBlockDelta": {"delta": {"text": turn.text}}}
            yield {"contentBlockStop": {}}
        for call in turn.calls:
            arguments = call.text or json.dumps(call.arguments)
            yield {"contentBlockStart": {"start": {"toolUse": {"name": call.name, "toolUseId": call.id}}}}
            yield {"contentBlockDelta": {"delta": {"toolUse": {"input": arguments}}}}
            yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "tool_use" if turn.calls else "end_turn"}}
        usage = {
            "inputTokens": kit.INPUT_TOKENS,
            "outputTokens": kit.OUTPUT_TOKENS,
            "totalTokens": kit.TOKENS_OF_A_TURN,
        }
        yield {"metadata": {"usage": usage, "metrics": {"latencyMs": 3}}}


def make_agent(turns: Sequence[kit.Turn], name: str = "desk", function: Any = kit.get_order) -> Agent:
    return Agent(model=ScriptedModel(turns), tools=[tool(function)], name=name, callback_handler=None)


def run(turns: Sequence[kit.Turn]) -> Trajectory:
    return read_trajectory(make_agent(turns)(kit.QUESTION))


def run_agent() -> Trajectory:
    agent = make_agent(kit.LOOKUP)
    agent(kit.QUESTION)
    return read_trajectory(agent)


def run_messages() -> Trajectory:
    agent = make_agent(kit.LOOKUP)
    agent(kit.QUESTION)
    return read_trajectory(agent.messages)


def run_handoff() -> Trajectory:
    desk = make_agent([TRANSFER, kit.Turn("I handed over.")])
    billing = make_agent(kit.REFUND, "billing", kit.refund)
    return read_trajectory(Swarm([desk, billing])(kit.QUESTION))


SCENARIOS: dict[str, kit.Scenario] = {
    "lookup": lambda: run(kit.LOOKUP),
    "agent": run_agent,
    "messages": run_messages,
    "failure": lambda: run(kit.FAILURE),
    "parallel": lambda: run(kit.PARALLEL),
    "invalid": lambda: run(kit.INVALID),
    "handoff": run_handoff,
}
