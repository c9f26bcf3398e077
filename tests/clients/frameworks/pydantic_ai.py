"""Pydantic-AI: the result of a run, and its messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clients.frameworks import kit
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from pytest_llmops.agents import Trajectory, read_trajectory

PACKAGES = ("pydantic-ai-slim",)


class State(BaseModel):
    """What an agent with a structured answer returns."""

    state: str


def get_order(order_id: str) -> str:
    """Return the state of an order; the model may try again."""
    try:
        return kit.get_order(order_id)
    except ValueError as error:
        raise ModelRetry(str(error)) from error


def make_agent(turns: Sequence[kit.Turn], **options: Any) -> Agent[None, Any]:
    """Return an agent with the tool ``get_order``."""
    rest = list(turns)

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        turn = rest.pop(0)
        parts: list[Any] = []
        if turn.text:
            parts.append(TextPart(turn.text))
        for call in turn.calls:
            parts.append(ToolCallPart(call.name, call.text or call.arguments, tool_call_id=call.id))
        usage = RequestUsage(input_tokens=kit.INPUT_TOKENS, output_tokens=kit.OUTPUT_TOKENS)
        return ModelResponse(parts=parts, usage=usage)

    return Agent(FunctionModel(answer), tools=[get_order], name="desk", **options)


def run(turns: Sequence[kit.Turn]) -> Trajectory:
    return read_trajectory(make_agent(turns).run_sync(kit.QUESTION))


def run_messages() -> Trajectory:
    return read_trajectory(make_agent(kit.LOOKUP).run_sync(kit.QUESTION).all_messages())


def run_structured() -> Trajectory:
    answer = kit.Turn(calls=(kit.ScriptedCall("final_result", {"state": "It was delivered."}, id="c9"),))
    agent = make_agent([kit.LOOKUP[0], answer], output_type=State)
    return read_trajectory(agent.run_sync(kit.QUESTION))


SCENARIOS: dict[str, kit.Scenario] = {
    "lookup": lambda: run(kit.LOOKUP),
    "messages": run_messages,
    "structured": run_structured,
    "failure": lambda: run(kit.FAILURE),
    "parallel": lambda: run(kit.PARALLEL),
    "invalid": lambda: run(kit.INVALID),
}
