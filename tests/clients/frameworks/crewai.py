"""CrewAI: the output of a crew, and of one agent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from clients.frameworks import kit
from crewai import Agent, Crew, Task
from crewai.llms.base_llm import BaseLLM
from crewai.tools import tool

from pytest_llmops.agents import Trajectory, read_trajectory

PACKAGES = ("crewai",)


class ScriptedModel(BaseLLM):
    """Answers with one turn after another."""

    turns: list[Any]

    def supports_function_calling(self) -> bool:
        return True

    def call(self, *_args: Any, **_options: Any) -> Any:
        turn = self.turns.pop(0)
        usage = {
            "prompt_tokens": kit.INPUT_TOKENS,
            "completion_tokens": kit.OUTPUT_TOKENS,
            "total_tokens": kit.TOKENS_OF_A_TURN,
        }
        self._track_token_usage_internal(usage)
        if not turn.calls:
            return turn.text
        return [make_call(call) for call in turn.calls]


def make_call(call: kit.ScriptedCall) -> Any:
    """Return a call as the openai SDK has it."""
    function = SimpleNamespace(name=call.name, arguments=call.text or json.dumps(call.arguments))
    return SimpleNamespace(id=call.id, type="function", function=function)


get_order = tool("get_order")(kit.get_order)
refund = tool("refund")(kit.refund)


def make_agent(turns: Sequence[kit.Turn], role: str = "desk", function: Any = get_order) -> Agent:
    model = ScriptedModel(model="scripted", turns=list(turns))
    return Agent(role=role, goal="help", backstory="A shop.", llm=model, tools=[function])


def make_task(agent: Agent, description: str = kit.QUESTION) -> Task:
    return Task(description=description, expected_output="A sentence.", agent=agent)


def run(turns: Sequence[kit.Turn]) -> Trajectory:
    agent = make_agent(turns)
    return read_trajectory(Crew(agents=[agent], tasks=[make_task(agent)]).kickoff())


def run_agent() -> Trajectory:
    return read_trajectory(make_agent(kit.LOOKUP).kickoff(kit.QUESTION))


def run_tasks() -> Trajectory:
    desk = make_agent(kit.LOOKUP)
    billing = make_agent(kit.REFUND, "billing", refund)
    tasks = [make_task(desk), make_task(billing, "Refund B-77.")]
    return read_trajectory(Crew(agents=[desk, billing], tasks=tasks).kickoff())


SCENARIOS: dict[str, kit.Scenario] = {
    "lookup": lambda: run(kit.LOOKUP),
    "agent": run_agent,
    "tasks": run_tasks,
    "failure": lambda: run(kit.FAILURE),
    "parallel": lambda: run(kit.PARALLEL),
    "invalid": lambda: run(kit.INVALID),
}
