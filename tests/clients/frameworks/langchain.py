"""LangChain and LangGraph: the state of an agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clients.frameworks import kit
from langchain.agents import create_agent
from langchain.tools import ToolRuntime, tool
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import ToolException
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from pytest_llmops.agents import Trajectory, read_trajectory

PACKAGES = ("langchain", "langgraph")


class ScriptedModel(BaseChatModel):
    """Answers with one turn after another."""

    turns: list[Any]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, *_tools: Any, **_options: Any) -> ScriptedModel:
        return self

    def _generate(self, *_args: Any, **_options: Any) -> ChatResult:
        turn = self.turns.pop(0)
        calls = [
            {"name": call.name, "args": call.arguments, "id": call.id} for call in turn.calls if not call.text
        ]
        invalid = [
            {"name": call.name, "args": call.text, "id": call.id, "error": "not JSON"}
            for call in turn.calls
            if call.text
        ]
        usage = {
            "input_tokens": kit.INPUT_TOKENS,
            "output_tokens": kit.OUTPUT_TOKENS,
            "total_tokens": kit.TOKENS_OF_A_TURN,
        }
        message = AIMessage(turn.text, tool_calls=calls, invalid_tool_calls=invalid, usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])


@tool
def get_order(order_id: str) -> str:
    """Return the state of an order."""
    try:
        return kit.get_order(order_id)
    except ValueError as error:
        raise ToolException(str(error)) from error


get_order.handle_tool_error = True


@tool
def refund(order_id: str) -> str:
    """Pay an order back."""
    return kit.refund(order_id)


@tool
def transfer_to_billing(runtime: ToolRuntime) -> Command[Any]:
    """Hand over to the billing agent, as LangGraph's guide does it."""
    answer = ToolMessage(
        "Transferred to billing", name="transfer_to_billing", tool_call_id=runtime.tool_call_id
    )
    messages = [runtime.state["messages"][-1], answer]
    return Command(goto="billing", graph=Command.PARENT, update={"messages": messages})


def make_agent(turns: Sequence[kit.Turn], name: str = "desk", tools: Sequence[Any] = (get_order,)) -> Any:
    return create_agent(ScriptedModel(turns=list(turns)), list(tools), name=name)


def run(turns: Sequence[kit.Turn]) -> Trajectory:
    return read_trajectory(make_agent(turns).invoke({"messages": [HumanMessage(kit.QUESTION)]}))


def run_messages() -> Trajectory:
    state = make_agent(kit.LOOKUP).invoke({"messages": [HumanMessage(kit.QUESTION)]})
    return read_trajectory(state["messages"])


def run_handoff() -> Trajectory:
    graph = StateGraph(MessagesState)
    transfer = kit.Turn(calls=(kit.ScriptedCall("transfer_to_billing"),))
    graph.add_node("desk", make_agent([transfer], tools=[transfer_to_billing]), destinations=("billing",))
    graph.add_node("billing", make_agent(kit.REFUND, "billing", [refund]))
    graph.add_edge(START, "desk")
    return read_trajectory(graph.compile().invoke({"messages": [HumanMessage(kit.QUESTION)]}))


SCENARIOS: dict[str, kit.Scenario] = {
    "lookup": lambda: run(kit.LOOKUP),
    "messages": run_messages,
    "failure": lambda: run(kit.FAILURE),
    "parallel": lambda: run(kit.PARALLEL),
    "invalid": lambda: run(kit.INVALID),
    "handoff": run_handoff,
}
