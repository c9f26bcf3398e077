"""A trajectory in a few lines, and the loops in it."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmops.agents import Step, ToolUse, Trajectory
from pytest_llmops.agents.repeats import count_repeats, describe_loops, find_loops
from pytest_llmops.agents.trajectory_text import format_call, format_trajectory


def use(name: str, **arguments: Any) -> ToolUse:
    return ToolUse(name=name, arguments=arguments)


def loops(keys: str) -> list[tuple[int, int, int]]:
    return [(loop.start, loop.length, loop.rounds) for loop in find_loops(keys)]


def test_who_did_what_with_which_result_tokens_and_latency() -> None:
    inner = Trajectory(steps=(Step(role="assistant", text="No.", latency_s=0.25),), agent="billing")
    calls = (
        ToolUse(name="find", arguments={"q": "a"}, result="x" * 80, latency_s=0.5),
        ToolUse(name="ask", arguments={}, result="timeout", is_error=True, started=inner),
        ToolUse(name="ask", text="{broken", problem="not JSON", is_error=True),
        ToolUse(name="log", arguments={}, result=""),
    )
    steps = (
        Step(role="system", text="Be brief.\nVery."),
        Step(role="assistant", text="One moment.", tool_calls=calls, tokens=1_200, latency_s=2.0),
        Step(role="assistant"),
    )
    trajectory = Trajectory(steps=steps, problems=("a result is lost",))
    assert format_trajectory(trajectory) == [
        ("  system", "Be brief.\\nVery."),
        ("  assistant", "One moment."),
        ("1 assistant", f"find(q='a') -> {'x' * 50}... (+30 chars) in 0.50 s  (1,200 tokens, 2.00 s)"),
        ("2 assistant", "ask() -> error: timeout"),
        ("3 assistant", "ask({broken) -> error"),
        ("4 assistant", "log() -> (empty)"),
        ("  billing", "  No.  (0.25 s)"),
        ("  assistant", "(no text)"),
        ("problem", "a result is lost"),
    ]


def test_of_a_long_trajectory_the_middle_is_left_out() -> None:
    steps = tuple(Step(role="assistant", tool_calls=(use("find", n=number),)) for number in range(1_000))
    lines = format_trajectory(Trajectory(steps=steps))
    assert len(lines) == 25
    assert lines[16] == ("...", "976 lines are left out")
    assert lines[-1] == ("1000 assistant", "find(n=999)")
    assert format_trajectory(Trajectory()) == []


def test_problems_and_notes_that_are_left_out_are_counted() -> None:
    problems = tuple(f"problem {number}" for number in range(5))
    notes = tuple(f"note {number}" for number in range(1_004))
    lines = format_trajectory(Trajectory(problems=problems, notes=notes))
    assert lines[2:5] == [("problem", "problem 2"), ("problem", "and 2 more"), ("note", "note 0")]
    assert lines[-1] == ("note", "and 1,001 more")


@pytest.mark.slow
def test_a_call_with_many_or_long_arguments_is_short() -> None:
    many = ToolUse(name="f", arguments={f"key{number}": [1] * 10_000 for number in range(1_000)})
    assert len(format_call(many)) < 140
    assert len(format_call(ToolUse(name="f" * 1_000, text="x" * 1_000_000, problem="p"))) < 140


def test_loops_of_one_to_three_calls() -> None:
    assert loops("xaaay") == [(1, 1, 3)]
    assert loops("xaay") == [(1, 1, 2)]
    assert loops("ababab") == [(0, 2, 3)]
    assert loops("abab") == []
    assert loops("xabcabcabcab") == [(1, 3, 3)]
    assert loops("aabaabaab") == [(0, 3, 3)]
    assert loops("abcdabcdabcd") == []
    assert loops("") == []


def test_loops_are_named_with_their_steps_the_largest_first() -> None:
    calls = [use("a"), *[use("search", q="x")] * 5, *[use("f"), use("g")] * 4]
    assert describe_loops(calls) == [
        "f(), then g(), 4 times: steps 7 to 14",
        "search(q='x'), 5 times: steps 2 to 6",
    ]
    many = [use(str(number // 2)) for number in range(20)]
    assert describe_loops(many)[-1] == "and 6 more"


def test_repeats_are_counted_by_name_and_arguments() -> None:
    calls = [use("a", n=1), use("a", n=2), use("a", n=1.0), use("b", n=1), use("a", n=True), use("a", n=1)]
    assert count_repeats(calls) == 2
    broken = [ToolUse(name="a", text=text, problem="not JSON") for text in ("{x", "{y", "{x")]
    assert count_repeats(broken) == 1
