"""Read runs of Strands: a result, an agent, its messages (in the form of Bedrock), or the result of several agents."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_llmops.agents.sources.fields import (
    format_value,
    get_class_name,
    get_field,
    get_items,
    get_number,
    get_text,
    sum_counts,
)
from pytest_llmops.agents.trajectory import (
    MAX_DEPTH,
    Step,
    ToolUse,
    Trajectory,
    TrajectoryBuilder,
    make_tool_use,
)
from pytest_llmops.protocols import ROLES
from pytest_llmops.recorder import shorten_masked

_TRANSFER = "handoff_to_agent"


def read(source: object) -> Trajectory | None:
    """Return the trajectory of a run; None if the value is not one.

    The result of an agent holds the results of its model and its tools, but not the agent's input: that is in the
    agent and its messages. Strands replaces arguments that are not JSON by an empty object.
    """
    if isinstance(source, (list, tuple)):
        return _read_messages(source)
    agents = get_field(source, "results")
    if isinstance(agents, Mapping):
        return _read_agents(source, agents)
    if get_field(source, "metrics") is not None:
        return _read_result(source)
    entries = get_field(source, "messages")
    if not isinstance(entries, (list, tuple)):
        return None
    return _name_agent(_read_messages(entries), get_text(source, "name"))


def _read_messages(entries: Sequence[object]) -> Trajectory:
    builder = TrajectoryBuilder()
    for number, entry in enumerate(entries, start=1):
        _add_message(builder, entry, number)
    return builder.build()


def _add_message(
    builder: TrajectoryBuilder, entry: object, number: int, latency_s: float | None = None
) -> None:
    role = get_text(entry, "role")
    if role not in ROLES or role == "tool":
        builder.add_problem(f"message {number}: expected a message of Strands, got {get_class_name(entry)}")
        return
    blocks = get_items(entry, "content")
    results = [result for block in blocks if (result := get_field(block, "toolResult")) is not None]
    for result in results:
        text = _format_blocks(get_items(result, "content"))
        is_error = get_text(result, "status") == "error"
        builder.add_result(get_text(result, "toolUseId"), text, is_error=is_error)
    text = _format_blocks(blocks)
    if role != "assistant":
        if text or not results:
            builder.add_message("user", text)
        return
    usage = get_field(get_field(entry, "metadata"), "usage")
    if latency_s is None:
        latency_s = _read_latency(entry)
    calls = [_read_call(call) for block in blocks if (call := get_field(block, "toolUse")) is not None]
    builder.add_answer(
        text, calls, tokens=sum_counts(usage, "inputTokens", "outputTokens"), latency_s=latency_s
    )


def _read_latency(entry: object) -> float | None:
    """Return how long the model took, in seconds. The source has milliseconds, and 0 if they are not known."""
    latency_ms = get_number(get_field(get_field(entry, "metadata"), "metrics"), "latencyMs")
    if not latency_ms:
        return None
    return latency_ms / 1000


def _read_call(call: object) -> ToolUse:
    return make_tool_use(get_text(call, "name"), get_field(call, "input"), id=get_text(call, "toolUseId"))


def _format_blocks(blocks: Sequence[object]) -> str:
    """Return the texts and the JSON of blocks, a line each; other blocks are named by their kind."""
    lines = []
    for block in blocks:
        text = get_field(block, "text")
        value = get_field(block, "json")
        if isinstance(text, str):
            lines.append(text)
        elif value is not None:
            lines.append(format_value(value))
        elif isinstance(block, Mapping) and not {"toolUse", "toolResult", "reasoningContent"} & set(block):
            lines.append(f"[{str(next(iter(block), 'part'))[:40]}]")
    return "\n".join(lines)


def _read_result(source: object) -> Trajectory:
    """Return the content of the traces of a result: the message of each call of the model, and of each tool."""
    builder = TrajectoryBuilder()
    latencies: dict[str, float] = {}
    for number, cycle in enumerate(get_items(get_field(source, "metrics"), "traces"), start=1):
        for trace in get_items(cycle, "children"):
            message = get_field(trace, "message")
            if message is None:
                continue
            latency_s = _read_duration(trace)
            call_id = get_text(get_field(trace, "metadata"), "toolUseId")
            if call_id and latency_s is not None:
                latencies[call_id] = latency_s
            _add_message(builder, message, number, latency_s)
    trajectory = builder.build()
    if not trajectory.steps and get_field(source, "message") is not None:
        _add_message(builder, get_field(source, "message"), 1)
        trajectory = builder.build()
    return replace(trajectory, steps=tuple(_add_latencies(step, latencies) for step in trajectory.steps))


def _read_duration(trace: object) -> float | None:
    start, end = get_number(trace, "start_time"), get_number(trace, "end_time")
    if start is None or end is None or end < start:
        return None
    return end - start


def _add_latencies(step: Step, latencies: Mapping[str, float]) -> Step:
    calls = [replace(call, latency_s=latencies.get(call.id)) for call in step.tool_calls]
    return replace(step, tool_calls=tuple(calls))


def _read_agents(source: object, agents: Mapping[object, object], depth: int = 0) -> Trajectory:
    """Return the trajectory of several agents: those that were handed over to hang on the call, the others follow each other."""
    nodes = [*get_items(source, "node_history"), *get_items(source, "execution_order")]
    order = dict.fromkeys([*(get_text(node, "node_id") for node in nodes), *agents])
    trajectories = {str(name): _read_node(agents[name], str(name), depth) for name in order if name in agents}
    heights = dict.fromkeys(trajectories, 0)
    names = list(trajectories)
    first: list[Trajectory] = []
    for place in range(len(names) - 1, -1, -1):
        name = names[place]
        callers = [
            caller for caller in names[:place] if _find_transfer(trajectories[caller], name) is not None
        ]
        if callers and heights[name] < MAX_DEPTH:
            caller = callers[-1]
            trajectories[caller] = _hang_agent(trajectories[caller], name, trajectories[name])
            heights[caller] = max(heights[caller], heights[name] + 1)
        else:
            first.insert(0, trajectories[name])
    if len(first) == 1:
        return first[0]
    return Trajectory(
        steps=tuple(step for trajectory in first for step in trajectory.steps),
        problems=tuple(problem for trajectory in first for problem in trajectory.problems),
        notes=tuple(note for trajectory in first for note in trajectory.notes),
    )


def _read_node(node: object, name: str, depth: int) -> Trajectory:
    """Return the trajectory of an agent, or of several that count as one."""
    result = get_field(node, "result")
    inner = get_field(result, "results")
    if isinstance(inner, Mapping) and depth < MAX_DEPTH:
        return replace(_read_agents(result, inner, depth + 1), agent=name)
    if get_field(result, "metrics") is None:
        problem = f"the agent {name[:80]!r} has no result: {get_class_name(result)}"
        if isinstance(result, Exception):
            problem = f"the agent {name[:80]!r} failed: {shorten_masked(repr(result), 200)}"
        return Trajectory(agent=name, problems=(problem,))
    return _name_agent(_read_result(result), name)


def _name_agent(trajectory: Trajectory, name: str) -> Trajectory:
    """Return a trajectory with the name of its agent at each of the agent's messages."""
    steps = [replace(step, agent=name) if step.role == "assistant" else step for step in trajectory.steps]
    return replace(trajectory, steps=tuple(steps), agent=name)


def _find_transfer(trajectory: Trajectory, name: str) -> tuple[int, int] | None:
    """Return the place of the step and of its call that hands over to an agent; None if there is none."""
    for place, step in enumerate(trajectory.steps):
        for number, call in enumerate(step.tool_calls):
            target = get_text(call.arguments, "agent_name")
            if call.name == _TRANSFER and target == name and call.started is None:
                return place, number
    return None


def _hang_agent(trajectory: Trajectory, name: str, started: Trajectory) -> Trajectory:
    """Return a trajectory with another one hung on the call that handed over to it.

    An agent of Strands goes on after the call, and the other one starts when it has ended. So the step with the call becomes
    its last one: the answer is then the answer of the last agent.
    """
    place_and_number = _find_transfer(trajectory, name)
    if place_and_number is None:
        return trajectory
    place, number = place_and_number
    calls = list(trajectory.steps[place].tool_calls)
    calls[number] = replace(calls[number], started=started)
    step = replace(trajectory.steps[place], tool_calls=tuple(calls))
    others = trajectory.steps[:place] + trajectory.steps[place + 1 :]
    return replace(trajectory, steps=(*others, step))
