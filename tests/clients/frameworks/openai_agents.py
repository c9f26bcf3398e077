"""openai-agents: `RunResult` and `RunResultStreaming`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from agents import (
    Agent,
    MaxTurnsExceeded,
    Model,
    ModelResponse,
    Runner,
    Usage,
    function_tool,
    set_tracing_disabled,
)
from clients.frameworks import kit
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

from pytest_llmops.agents import Trajectory, read_trajectory

PACKAGES = ("openai-agents",)
TRANSFER = kit.Turn(calls=(kit.ScriptedCall("transfer_to_billing"),))

set_tracing_disabled(True)


class ScriptedModel(Model):
    """Answers with one turn after another."""

    def __init__(self, turns: Sequence[kit.Turn]) -> None:
        self.turns = list(turns)

    async def get_response(self, *_args: Any, **_options: Any) -> ModelResponse:
        usage = Usage(
            requests=1,
            input_tokens=kit.INPUT_TOKENS,
            output_tokens=kit.OUTPUT_TOKENS,
            total_tokens=kit.TOKENS_OF_A_TURN,
        )
        return ModelResponse(output=self._make_output(), usage=usage, response_id=None)

    async def stream_response(self, *_args: Any, **_options: Any) -> AsyncIterator[Any]:
        usage = {
            "input_tokens": kit.INPUT_TOKENS,
            "output_tokens": kit.OUTPUT_TOKENS,
            "total_tokens": kit.TOKENS_OF_A_TURN,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        }
        response = Response.model_validate(
            {
                "id": "r1",
                "created_at": 0,
                "model": "scripted",
                "object": "response",
                "output": self._make_output(),
                "parallel_tool_calls": True,
                "tool_choice": "auto",
                "tools": [],
                "usage": usage,
            }
        )
        yield ResponseCompletedEvent(response=response, sequence_number=0, type="response.completed")

    def _make_output(self) -> list[Any]:
        turn = self.turns.pop(0)
        output: list[Any] = []
        if turn.text:
            text = ResponseOutputText(text=turn.text, type="output_text", annotations=[])
            message = ResponseOutputMessage(
                id="__fake_id__", content=[text], role="assistant", status="completed", type="message"
            )
            output.append(message)
        for call in turn.calls:
            arguments = call.text or json.dumps(call.arguments)
            output.append(
                ResponseFunctionToolCall(
                    id="__fake_id__",
                    call_id=call.id,
                    name=call.name,
                    arguments=arguments,
                    type="function_call",
                )
            )
        return output


def make_agent(turns: Sequence[kit.Turn], **fields: Any) -> Agent[Any]:
    """Return an agent with the tool ``get_order``."""
    tools = [function_tool(kit.get_order)]
    return Agent(**{"name": "desk", "model": ScriptedModel(turns), "tools": tools, **fields})


def run(turns: Sequence[kit.Turn]) -> Trajectory:
    return read_trajectory(Runner.run_sync(make_agent(turns), kit.QUESTION))


def run_streamed() -> Trajectory:
    async def run_agent() -> object:
        result = Runner.run_streamed(make_agent(kit.LOOKUP), kit.QUESTION)
        async for _ in result.stream_events():
            pass
        return result

    return read_trajectory(asyncio.run(run_agent()))


def run_handoff() -> Trajectory:
    billing = make_agent(kit.REFUND, name="billing", tools=[function_tool(kit.refund)])
    desk = make_agent([TRANSFER], handoffs=[billing])
    return read_trajectory(Runner.run_sync(desk, kit.QUESTION))


def run_stopped() -> Trajectory:
    """Read a run that ended with an error, which the error has."""
    try:
        Runner.run_sync(make_agent(kit.LOOKUP), kit.QUESTION, max_turns=1)
    except MaxTurnsExceeded as error:
        return read_trajectory(error.run_data)
    raise AssertionError("the run did not end with an error")


SCENARIOS: dict[str, kit.Scenario] = {
    "lookup": lambda: run(kit.LOOKUP),
    "streamed": run_streamed,
    "stopped": run_stopped,
    "failure": lambda: run(kit.FAILURE),
    "parallel": lambda: run(kit.PARALLEL),
    "invalid": lambda: run(kit.INVALID),
    "handoff": run_handoff,
}
