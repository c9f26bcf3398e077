"""A trajectory in a few lines of text: who did what, with which result, tokens and latency."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

from pytest_llmops.agents.argument_values import format_value
from pytest_llmops.agents.trajectory import Step, ToolUse, Trajectory
from pytest_llmops.measurement import format_amount
from pytest_llmops.recorder import shorten_masked

MAX_LINES = 25
MAX_CALL_CHARS = 110
MAX_RESULT_CHARS = 50
MAX_TEXT_CHARS = 120
MAX_SHOWN_ARGUMENTS = 12
MAX_PROBLEMS = 3
MAX_DEPTH = 4  # agents within agents that are indented


def format_trajectory(trajectory: Trajectory, *, max_lines: int = MAX_LINES) -> list[tuple[str, str]]:
    """Return a line for each message and tool call: its label, which has the number of a call and the role, and its text.

    Of a long trajectory the middle is left out. Messages of started agents are indented; they follow the message whose call started them.

    Args:
        trajectory: The agent's steps.
        max_lines: How many lines are returned.

    >>> use = ToolUse(name="get_order", arguments={"order_id": "B-77"}, result="delivered")
    >>> step = Step(role="assistant", tool_calls=(use,), tokens=120)
    >>> format_trajectory(Trajectory(steps=(step,)))
    [('1 assistant', "get_order(order_id='B-77') -> delivered  (120 tokens)")]
    """
    lines = list(_iterate_lines(trajectory, count(1), 0))
    for label, sentences in (("problem", trajectory.all_problems), ("note", trajectory.all_notes)):
        for sentence in sentences[:MAX_PROBLEMS]:
            lines.append((label, partial(shorten_masked, sentence, MAX_TEXT_CHARS)))
        if len(sentences) > MAX_PROBLEMS:
            lines.append((label, partial(str, f"and {len(sentences) - MAX_PROBLEMS:,} more")))
    left_out = 0
    if len(lines) > max_lines:
        tail = max_lines // 3
        left_out = len(lines) - (max_lines - 1)
        del lines[max_lines - 1 - tail : len(lines) - tail]
        lines.insert(max_lines - 1 - tail, ("...", lambda: f"{left_out:,} lines are left out"))
    return [(label, write()) for label, write in lines]


def _iterate_lines(
    trajectory: Trajectory, numbers: Iterator[int], depth: int
) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield the label of each line, and a function that writes its text: of 1,000 lines few are shown.

    Args:
        trajectory: The agent's steps.
        numbers: The numbers of the calls that follow, as agents are nested.
        depth: How many agents are around this one.
    """
    indent = "  " * min(depth, MAX_DEPTH)
    for step in trajectory.steps:
        role: str = step.role
        if step.role == "assistant" and (step.agent or trajectory.agent):
            role = shorten_masked(step.agent or trajectory.agent, 20)
        if step.text or not step.tool_calls:
            yield f"  {role}", partial(_format_message, step, indent)
        facts = _format_facts(step)
        for use in step.tool_calls:
            yield f"{next(numbers)} {role}", partial(_format_result, use, indent, facts)
            facts = ""
        for use in step.tool_calls:
            if use.started is not None:
                yield from _iterate_lines(use.started, numbers, depth + 1)


def _format_message(step: Step, indent: str) -> str:
    """Return the text of a message; without calls its tokens and latency follow."""
    text = indent + (shorten_masked(step.text, MAX_TEXT_CHARS) or "(no text)")
    if step.tool_calls:
        # The facts are in the line of its first call.
        return text
    return text + _format_facts(step)


def _format_result(use: ToolUse, indent: str, facts: str) -> str:
    """Return a call with its result and how long the tool took; ``facts`` of its message follow."""
    text = indent + format_call(use)
    if use.result is not None:
        arrow = "->"
        if use.is_error:
            arrow = "-> error:"
        text += f" {arrow} {shorten_masked(use.result, MAX_RESULT_CHARS) or '(empty)'}"
    elif use.is_error:
        text += " -> error"
    if use.latency_s is not None:
        text += f" in {format_amount(use.latency_s, 's')}"
    return text + facts


def _format_facts(step: Step) -> str:
    """Return the tokens and the latency of a message, in brackets; "" if neither is known."""
    facts = []
    if step.tokens is not None:
        facts.append(format_amount(step.tokens, "tokens"))
    if step.latency_s is not None:
        facts.append(format_amount(step.latency_s, "s"))
    if not facts:
        return ""
    return f"  ({', '.join(facts)})"


def format_call(use: ToolUse, limit: int = MAX_CALL_CHARS) -> str:
    """Return a call as Python writes it, shortened: ``refund(order_id='B-77')``.

    >>> format_call(ToolUse(name="refund", arguments={"order_id": "B-77"}))
    "refund(order_id='B-77')"
    """
    name = shorten_masked(use.name, 60)
    if use.arguments is None:
        return shorten_masked(f"{name}({use.text})", limit)
    parts: list[str] = []
    for key, value in use.arguments.items():
        if len(parts) == MAX_SHOWN_ARGUMENTS:
            parts.append("...")
            break
        parts.append(f"{shorten_masked(key, 40)}={format_value(value)}")
    return shorten_masked(f"{name}({', '.join(parts)})", limit)
