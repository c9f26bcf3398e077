"""`ScriptedConversation`: the messages of a scripted user and an agent turn by turn, and the tools that the agent called."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_llmops._util.framework_objects import read_answer
from pytest_llmops.agents.sources import read_trajectory
from pytest_llmops.agents.trajectory import Step, ToolUse, Trajectory
from pytest_llmops.recorder import shorten_masked

MAX_QUOTED = 300  # characters of a message in a failure
MAX_CALLS_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A message of the user, and the agent's reaction to it.

    Attributes:
        label: ``turn 2``, by the number in the script; ``turn 2.3`` if it is sent for the third time. A label of assertions.
        user: The message of the user.
        reply: The agent's answer as text.
        result: The return value of the agent function.
        trajectory: The steps of this turn, with the user's message.
        knows_tools: Whether the tools that the agent called are known.
    """

    label: str
    user: str
    reply: str
    result: object = field(default=None, repr=False, compare=False)
    trajectory: Trajectory = field(default_factory=Trajectory, repr=False)
    knows_tools: bool = field(default=True, repr=False)

    @property
    def tool_calls(self) -> list[ToolUse]:
        """The tools that the agent called in this turn, in order."""
        return self.trajectory.tool_calls


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedConversation(Sequence[Turn]):
    """A conversation that has ended: its turns in order.

    Attributes:
        turns: The turns that took place.
        skipped: Numbers of the script's turns that were skipped, as their ``when`` did not hold.
    """

    turns: tuple[Turn, ...] = ()
    skipped: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.turns)

    def __getitem__(self, index: Any) -> Any:
        return self.turns[index]

    @property
    def trajectory(self) -> Trajectory:
        """All steps of the conversation, as one trajectory."""
        trajectories = [turn.trajectory for turn in self.turns]
        agents = [trajectory.agent for trajectory in trajectories if trajectory.agent]
        tokens = [trajectory.tokens for trajectory in trajectories if trajectory.tokens is not None]
        prices = [trajectory.cost_usd for trajectory in trajectories if trajectory.cost_usd is not None]
        has_tokens = bool(tokens) and len(tokens) == len(trajectories)
        has_prices = bool(prices) and len(prices) == len(trajectories)
        return Trajectory(
            steps=tuple(step for trajectory in trajectories for step in trajectory.steps),
            agent=next(iter(agents), ""),
            problems=tuple(problem for trajectory in trajectories for problem in trajectory.problems),
            notes=tuple(note for trajectory in trajectories for note in trajectory.notes),
            total_tokens=sum(tokens) if has_tokens else None,
            total_cost_usd=math.fsum(prices) if has_prices else None,
        )


def read_reply(result: object) -> tuple[str | None, Trajectory | None]:
    """Return the text of the return value of an agent function, and its trajectory.

    The text is None if the agent gave no answer. The trajectory is None if the result is only a text or a message.

    Raises:
        UsageError: The result is neither a text, nor an answer of an SDK, nor a source of a trajectory.

    >>> read_reply("30 days")
    ('30 days', None)
    """
    answer = read_answer(result)
    if answer is None or isinstance(answer, str):
        return answer, None
    trajectory = read_trajectory(result)
    return trajectory.answer or None, trajectory


def find_interrupt(result: object) -> str:
    """Return the question to a person in the return value of an agent, shortened; "" if it has none.

    LangGraph (``__interrupt__``), openai-agents (``interruptions``) and Pydantic-AI (``DeferredToolRequests``) are known.

    >>> find_interrupt({"messages": [], "__interrupt__": ["refund B-77?"]})
    "['refund B-77?']"
    """
    request: object = None
    if isinstance(result, Mapping):
        request = result.get("__interrupt__")
    else:
        for name in ("interruptions", "interrupts"):
            request = request or getattr(result, name, None)
        output = getattr(result, "output", None)
        if type(output).__name__ == "DeferredToolRequests":
            request = output
    if not request:
        return ""
    return shorten_masked(repr(request), MAX_QUOTED)


def select_new_steps(steps: Sequence[Step], known: Sequence[Step]) -> Sequence[Step]:
    """Return the steps of this turn: those after the known ones, if the source has the conversation so far, else all.

    A history that the agent shortened has at least the last known step, with a message of the user after it. An agent that was handed over
    to may be a tree in one result and, as part of the history, a flat list in the next: the order of all steps counts, not their place.
    """
    keys = _identify_steps(steps)
    known_keys = _identify_steps(known)
    new_steps = steps
    if keys[: len(known_keys)] == known_keys:
        new_steps = _drop_first(steps, len(known_keys))
    else:
        for place in range(1, len(steps)):
            if steps[place].role == "user" and _identify_steps([steps[place - 1]])[-1] == known_keys[-1]:
                new_steps = steps[place:]
    if not any(step.role == "assistant" for step in new_steps):
        return steps
    return new_steps


def _identify_steps(steps: Sequence[Step]) -> list[object]:
    """Return the part of each step that it has in common with its repetition in a history, also for steps of started agents."""
    return [
        (step.role, step.text, [call.name for call in step.tool_calls])
        for step in Trajectory(steps=tuple(steps)).walk()
    ]


def _drop_first(steps: Sequence[Step], count: int) -> Sequence[Step]:
    """Return the steps after the first ``count`` of all; an agent that was handed over to before goes on as if it were the first."""
    for place, step in enumerate(steps):
        if not count:
            return steps[place:]
        size = len(_identify_steps([step]))
        if count < size:
            inner = [child for call in step.tool_calls if call.started for child in call.started.steps]
            return [*_drop_first(inner, count - 1), *steps[place + 1 :]]
        count -= size
    return ()


def build_turn_trajectory(
    user: str, reply: str, trajectory: Trajectory, known: Trajectory, *, keeps_instructions: bool
) -> Trajectory:
    """Return the trajectory of a turn.

    Args:
        user: The message of the user.
        reply: The answer to the user.
        trajectory: The agent's steps, in this turn or in the whole conversation.
        known: The content of the same source before this turn.
        keeps_instructions: Whether messages of the system are kept; each request of a stateless agent has them again.

    Returns:
        Messages of the system, the user's message, then the agent's steps; the last one has the reply as its text.
    """
    new_steps = select_new_steps(trajectory.steps, known.steps)
    instructions = [step for step in new_steps if keeps_instructions and step.role in ("system", "developer")]
    steps = [step for step in new_steps if step.role == "assistant"]
    if not steps or _has_only_calls(steps[-1]):
        steps.append(Step(role="assistant", text=reply))
    elif trajectory.answer != reply:
        steps[-1] = replace(steps[-1], text=reply)
    turn = replace(trajectory, steps=(*instructions, Step(role="user", text=user), *steps))
    if tuple(new_steps) == trajectory.steps:
        return turn
    # The source has the whole conversation: so are its totals, and it has the problems of earlier turns again.
    return replace(
        turn,
        problems=tuple(problem for problem in trajectory.problems if problem not in known.problems),
        notes=tuple(note for note in trajectory.notes if note not in known.notes),
        total_tokens=None,
        total_cost_usd=None,
    )


def _has_only_calls(step: Step) -> bool:
    """Return whether a step only calls tools, none of which handed over to an agent that answered."""
    if not step.tool_calls or step.text:
        return False
    return all(call.started is None for call in step.tool_calls)


def describe_turns(turns: Sequence[Turn]) -> list[tuple[str, str]]:
    """Return ``(label, text)`` lines about turns for a failure: the messages, and the tools that were called."""
    lines = []
    for turn in turns:
        lines.append((turn.label, f"user: {shorten_masked(turn.user, MAX_QUOTED)}"))
        calls = [shorten_masked(str(call), MAX_QUOTED) for call in turn.tool_calls]
        lines += [("", f"called: {call}") for call in calls[:MAX_CALLS_SHOWN]]
        if len(calls) > MAX_CALLS_SHOWN:
            lines.append(("", f"and {len(calls) - MAX_CALLS_SHOWN} more calls"))
        lines.append(("", f"agent: {shorten_masked(turn.reply, MAX_QUOTED) or '(an empty text)'}"))
    return lines
