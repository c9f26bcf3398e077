"""Read the reply of a model, as ``llm.complete`` returns it."""

from pytest_llmops.agents.trajectory import Trajectory, TrajectoryBuilder, make_tool_use
from pytest_llmops.protocols import Completion


def read(source: Completion) -> Trajectory:
    """Return the trajectory of a single reply.

    >>> read(Completion(text="Hello")).answer
    'Hello'
    """
    tools = [make_tool_use(tool.name, tool.arguments, id=tool.id) for tool in source.tool_calls]
    builder = TrajectoryBuilder()
    builder.add_answer(
        source.text or source.refusal,
        tools,
        tokens=source.usage.total_tokens,
        cost_usd=source.cost_usd,
        latency_s=source.latency_s,
    )
    return builder.build()
