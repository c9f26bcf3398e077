"""Read runs of CrewAI: the output of a crew, a task or an agent."""

from collections.abc import Sequence
from dataclasses import replace

from pytest_llmops.agents.sources import messages
from pytest_llmops.agents.sources.fields import get_class_name, get_count, get_field, get_items, get_text
from pytest_llmops.agents.trajectory import Step, ToolUse, Trajectory

# How a model without function calling writes the arguments of a call
_WRITTEN_CALL = "Action Input:"


def read(source: object) -> Trajectory | None:
    """Return the trajectory of an output; None if the value is not one.

    The tasks of a crew follow each other; each message has the role of its agent. Work that is delegated to a coworker is a call
    with a result. Models without function calling write their calls as text, which is not read and becomes a problem.
    """
    outputs: Sequence[object] = [source]
    if isinstance(source, (list, tuple)):
        outputs = source
    elif get_field(source, "tasks_output") is not None:
        outputs = get_items(source, "tasks_output")
    if not any(_is_output(output) for output in outputs):
        return None
    steps: list[Step] = []
    problems: list[str] = []
    notes: list[str] = []
    for number, output in enumerate(outputs, start=1):
        trajectory = _read_output(output, number)
        steps += trajectory.steps
        problems += trajectory.problems
        notes += trajectory.notes
    agents = {step.agent for step in steps}
    agent = ""
    if len(agents) == 1:
        agent = steps[0].agent
    return Trajectory(
        steps=tuple(steps),
        agent=agent,
        problems=tuple(problems),
        notes=tuple(notes),
        total_tokens=_read_tokens(source),
    )


def _is_output(output: object) -> bool:
    return isinstance(get_field(output, "messages"), (list, tuple)) or bool(get_text(output, "raw"))


def _read_output(output: object, number: int) -> Trajectory:
    """Return the trajectory of a task, or of an agent without one; without messages it is the answer."""
    agent = get_text(output, "agent") or get_text(output, "agent_role")
    entries = get_items(output, "messages")
    answer = get_text(output, "raw")
    trajectory = Trajectory()
    if not entries and not answer:
        problem = f"task {number}: expected an output of CrewAI, got {get_class_name(output)}"
        return Trajectory(problems=(problem,))
    if entries:
        trajectory = messages.read(entries) or Trajectory(problems=(f"task {number} has no messages",))
    steps = [replace(step, agent=agent) for step in trajectory.steps]
    if answer and trajectory.answer != answer:
        steps.append(Step(role="assistant", text=answer, agent=agent))
    if any(step.role == "assistant" and _WRITTEN_CALL in step.text for step in steps):
        problem = f"task {number}: the model wrote its calls as text ({_WRITTEN_CALL!r}), which is not read"
        trajectory = replace(trajectory, problems=(*trajectory.problems, problem))
    failures = list(get_items(output, "tool_failures"))
    steps = [replace(step, tool_calls=_mark_failures(step.tool_calls, failures)) for step in steps]
    return replace(trajectory, steps=tuple(steps))


def _mark_failures(calls: Sequence[ToolUse], failures: list[object]) -> tuple[ToolUse, ...]:
    """Return calls, of which those that a failure is recorded for are errors; each failure counts once."""
    marked = []
    for call in calls:
        failure = _find_failure(call, failures)
        if failure is not None:
            failures.remove(failure)
            call = replace(call, is_error=True)  # noqa: PLW2901 -- the same call, with its failure
        marked.append(call)
    return tuple(marked)


def _find_failure(call: ToolUse, failures: Sequence[object]) -> object | None:
    for failure in failures:
        arguments = get_field(failure, "tool_args")
        if get_text(failure, "tool_name") == call.name and arguments in (call.arguments, call.text):
            return failure
    return None


def _read_tokens(source: object) -> int | None:
    for key in ("token_usage", "usage_metrics"):
        tokens = get_count(get_field(source, key), "total_tokens")
        if tokens:
            return tokens
    return None
