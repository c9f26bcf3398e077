"""Repeated tool calls and loops of an agent that does not get on."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from pytest_llmops.agents.matching import make_call_key
from pytest_llmops.agents.trajectory import ToolUse
from pytest_llmops.agents.trajectory_text import format_call

MAX_LOOP_LENGTH = 3
MIN_LOOPS = 3  # rounds of several calls from which they are a loop
MAX_LISTED = 4


@dataclass(frozen=True, slots=True)
class Loop:
    """Calls that an agent made several times, one round after the other.

    Attributes:
        start: Index of the first call.
        length: Calls of a round.
        rounds: How often they were made.
    """

    start: int
    length: int
    rounds: int

    @property
    def end(self) -> int:
        """Index after the last call."""
        return self.start + self.length * self.rounds


def count_repeats(calls: Sequence[ToolUse]) -> int:
    """Return how often the most repeated call came again; 0 if none did. Calls are equal if name and arguments are.

    >>> calls = [ToolUse(name="search", arguments={"q": q}) for q in "aba"]
    >>> count_repeats(calls), count_repeats([])
    (1, 0)
    """
    counts: dict[Hashable, int] = {}
    for key in map(make_call_key, calls):
        counts[key] = counts.get(key, 0) + 1
    return max(counts.values(), default=1) - 1


def find_loops(keys: Sequence[Hashable]) -> list[Loop]:
    """Return runs of the same call (from two), and of two or three calls in turn (from three rounds), in their order.

    >>> find_loops("xaaab"), find_loops("ababab")
    ([Loop(start=1, length=1, rounds=3)], [Loop(start=0, length=2, rounds=3)])
    """
    loops = []
    start = 0
    while start < len(keys):
        loop = _find_loop_at(keys, start)
        if loop is None:
            start += 1
            continue
        loops.append(loop)
        start = loop.end
    return loops


def _find_loop_at(keys: Sequence[Hashable], start: int) -> Loop | None:
    """Return the loop with the most calls that begins with a call, of several the shortest; None if it begins none."""
    largest = None
    for length in range(1, MAX_LOOP_LENGTH + 1):
        end = start + length
        while end < len(keys) and keys[end] == keys[end - length]:
            end += 1
        rounds = (end - start) // length
        is_loop = rounds >= MIN_LOOPS or (length == 1 and rounds > 1)
        if is_loop and (largest is None or length * rounds > largest.end - start):
            largest = Loop(start, length, rounds)
    return largest


def describe_loops(calls: Sequence[ToolUse]) -> list[str]:
    """Return a sentence for each of the largest loops: ``search(q='x') 5 times: steps 2 to 6``."""
    loops = sorted(find_loops(list(map(make_call_key, calls))), key=lambda loop: loop.start - loop.end)
    lines = []
    for loop in loops[:MAX_LISTED]:
        names = [format_call(use, 60) for use in calls[loop.start : loop.start + loop.length]]
        lines.append(
            f"{', then '.join(names)}, {loop.rounds:,} times: steps {loop.start + 1:,} to {loop.end:,}"
        )
    if len(loops) > MAX_LISTED:
        lines.append(f"and {len(loops) - MAX_LISTED:,} more")
    return lines
