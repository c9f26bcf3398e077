"""Read recorded calls of a test, as ``llm_calls`` has them."""

from collections.abc import Sequence

from pytest_llmops.agents.trajectory import ToolUse, Trajectory, TrajectoryBuilder, make_tool_use
from pytest_llmops.protocols import Call, ToolCall, is_error_status


def read(source: Sequence[Call]) -> Trajectory | None:
    """Return the trajectory of the application's calls: the messages that are new in each request, and the reply."""
    builder = TrajectoryBuilder()
    seen = 0
    for call in source:
        if call.purpose != "app" or is_error_status(call.status):
            continue
        for message in call.messages[seen:]:
            if message.role == "tool":
                builder.add_result("", message.content)
            elif message.role != "assistant":
                builder.add_message(message.role, message.content)
        seen = len(call.messages)
        tools = [_read_tool(tool) for tool in call.tool_calls]
        tokens = call.usage.total_tokens
        builder.add_answer(
            call.output, tools, tokens=tokens, cost_usd=call.cost_usd, latency_s=call.latency_s
        )
    return builder.build()


def _read_tool(tool: ToolCall) -> ToolUse:
    return make_tool_use(tool.name, tool.arguments, id=tool.id)
