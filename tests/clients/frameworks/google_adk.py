"""google-adk: the events of a run, and its session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from clients.frameworks import kit
from google.adk.agents import LlmAgent
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_response import LlmResponse
from google.adk.runners import InMemoryRunner
from google.genai import types

from pytest_llmops.agents import Trajectory, read_trajectory

PACKAGES = ("google-adk",)
TRANSFER = kit.Turn(calls=(kit.ScriptedCall("transfer_to_agent", {"agent_name": "billing"}),))


class ScriptedModel(BaseLlm):
    """Answers with one turn after another."""

    turns: list[Any]

    async def generate_content_async(self, *_args: Any, **_options: Any) -> AsyncGenerator[LlmResponse, None]:
        turn = self.turns.pop(0)
        parts = [types.Part(text=turn.text)] if turn.text else []
        for call in turn.calls:
            arguments = types.FunctionCall(id=call.id, name=call.name, args=call.arguments)
            parts.append(types.Part(function_call=arguments))
        usage = types.GenerateContentResponseUsageMetadata(
            prompt_token_count=kit.INPUT_TOKENS,
            candidates_token_count=kit.OUTPUT_TOKENS,
            total_token_count=kit.TOKENS_OF_A_TURN,
        )
        yield LlmResponse(content=types.Content(role="model", parts=parts), usage_metadata=usage)


def get_order(order_id: str) -> dict[str, str]:
    """Return the state of an order, or an error as ADK's guide has it."""
    try:
        return {"result": kit.get_order(order_id)}
    except ValueError as error:
        return {"error": str(error)}


def make_agent(
    turns: Sequence[kit.Turn], name: str = "desk", tool: Callable[..., Any] = get_order, **options: Any
) -> LlmAgent:
    return LlmAgent(
        name=name, model=ScriptedModel(model="scripted", turns=list(turns)), tools=[tool], **options
    )


async def run_agent(agent: LlmAgent, *, whole_session: bool = False) -> object:
    """Return the events of a run, or the session that holds them and the question."""
    runner = InMemoryRunner(agent=agent, app_name="shop")
    session = await runner.session_service.create_session(app_name="shop", user_id="u")
    question = types.Content(role="user", parts=[types.Part(text=kit.QUESTION)])
    events = [
        event async for event in runner.run_async(user_id="u", session_id=session.id, new_message=question)
    ]
    if not whole_session:
        return events
    return await runner.session_service.get_session(app_name="shop", user_id="u", session_id=session.id)


def run(turns: Sequence[kit.Turn]) -> Trajectory:
    return read_trajectory(asyncio.run(run_agent(make_agent(turns), whole_session=True)))


def run_events() -> Trajectory:
    return read_trajectory(asyncio.run(run_agent(make_agent(kit.LOOKUP))))


def run_handoff() -> Trajectory:
    billing = make_agent(kit.REFUND, "billing", kit.refund, description="Pays back")
    desk = make_agent([TRANSFER], sub_agents=[billing])
    return read_trajectory(asyncio.run(run_agent(desk, whole_session=True)))


def run_started() -> Trajectory:
    billing = make_agent(kit.REFUND, "billing", kit.refund, description="Pays back", mode="single_turn")
    call = kit.ScriptedCall("billing", {"request": "Refund B-77."})
    desk = make_agent([kit.Turn(calls=(call,)), kit.Turn("Refunded.")], sub_agents=[billing])
    return read_trajectory(asyncio.run(run_agent(desk, whole_session=True)))


SCENARIOS: dict[str, kit.Scenario] = {
    "lookup": lambda: run(kit.LOOKUP),
    "events": run_events,
    "failure": lambda: run(kit.FAILURE),
    "parallel": lambda: run(kit.PARALLEL),
    "handoff": run_handoff,
    "started": run_started,
}
