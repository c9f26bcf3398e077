"""Which expected calls are paired with which calls made, in each order, and in trees of agents."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from pytest_llmops.agents import Step, ToolUse, Trajectory, call, started
from pytest_llmops.agents.call_requirements import CallCheck, check_calls, parse_requirements
from pytest_llmops.agents.repeats import count_repeats


def make(*turns: str, agent: str = "") -> Trajectory:
    """A trajectory with a call for each letter, and a turn for each text."""
    steps = [
        Step(role="assistant", tool_calls=tuple(ToolUse(name=name, arguments={}) for name in turn))
        for turn in turns
    ]
    return Trajectory(steps=tuple(steps), agent=agent)


def check(expected: Any, trajectory: Trajectory, **rules: Any) -> CallCheck:
    given = {"order": "strict", "extra": "forbid", "missing": "forbid", "never": (), **rules}
    return check_calls(parse_requirements("check", expected, threshold=None, **given), trajectory)


@pytest.mark.parametrize(
    ("expected", "turns", "strict", "by_turn", "any_order"),
    [
        ("ab", ["a", "b"], True, True, True),
        ("ab", ["ab"], True, True, True),
        ("ab", ["ba"], False, True, True),
        ("ab", ["b", "a"], False, False, True),
        ("abc", ["ba", "c"], False, True, True),
        ("abc", ["a", "cb"], False, True, True),
        ("abc", ["c", "ab"], False, False, True),
        ("aab", ["ba", "a"], False, False, True),
        ("ab", ["a"], False, False, False),
        ("a", ["aa"], False, False, False),
        ("", ["a"], False, False, False),
        ("a", [], False, False, False),
        ("", [], True, True, True),
    ],
)
def test_the_order_of_a_flat_list(
    expected: str, turns: list[str], strict: bool, by_turn: bool, any_order: bool
) -> None:
    trajectory = make(*turns)
    verdicts = [check([*expected], trajectory, order=order).passes for order in ("strict", "turns", "any")]
    assert verdicts == [strict, by_turn, any_order]


@pytest.mark.parametrize(
    ("expected", "turns", "passes", "pairs"),
    [
        ([["a", "b"]], ["ba"], True, 2),
        ([["a", "b"]], ["a", "b"], False, 1),
        (["a", ["b", "c"]], ["a", "cb"], True, 3),
        ([["a", "b"]], ["abc"], False, 2),
        ([["a"], ["b", "c"]], ["bc", "a"], False, 2),
    ],
)
def test_lists_for_each_turn(expected: Any, turns: list[str], passes: bool, pairs: int) -> None:
    result = check(expected, make(*turns), order="turns")
    assert (result.passes, len(result.comparison.pairs)) == (passes, pairs)


def test_a_hint_where_only_the_turns_differ() -> None:
    result = check([["a", "b"]], make("a", "b"), order="turns")
    assert (
        "hint",
        "the same calls in other turns: a list of calls without lists for each turn would pass",
    ) in (result.describe())


def test_extra_and_missing_calls_that_are_allowed() -> None:
    trajectory = make("x", "ab", "y")
    assert check(["a", "y"], trajectory, extra="allow").passes
    assert not check(["y", "a"], trajectory, extra="allow").passes
    assert check(["y", "a"], trajectory, extra="allow", order="any").passes
    assert check([*"xzaby"], trajectory, missing="allow").passes
    assert not check([*"xaby"], make("a", "x"), missing="allow").passes
    result = check([*"xz"], trajectory, extra="allow", missing="allow", never=["b"])
    assert (result.passes, result.summary) == (False, "forbidden: b()")
    assert (result.comparison.recall, result.comparison.precision) == (0.5, 0.25)


def test_a_call_is_paired_so_that_most_are() -> None:
    uses = (ToolUse(name="f", arguments={"x": 1}), ToolUse(name="f", arguments={"x": 2}))
    trajectory = Trajectory(steps=(Step(role="assistant", tool_calls=uses),))
    assert check([call("f"), call("f", x=1)], trajectory, order="any").passes
    assert check([call("f"), call("f", x=1)], trajectory, order="turns").passes
    assert not check([call("f"), call("f", x=1)], trajectory).passes


def test_one_of_two_calls_that_are_one_object_is_not_expected() -> None:
    use = ToolUse(name="a", arguments={})
    trajectory = Trajectory(steps=(Step(role="assistant", tool_calls=(use, use)),))
    assert check(["a"], trajectory).detail["unexpected"] == [2]


def hand_over() -> Trajectory:
    billing = make("l", "r", agent="billing")
    uses = (ToolUse(name="transfer_to_billing", arguments={}, started=billing),)
    steps = (Step(role="assistant", tool_calls=uses), *make("m").steps)
    return Trajectory(steps=steps, agent="support")


def test_the_calls_of_a_started_agent_are_calls_of_the_trajectory() -> None:
    assert check(["transfer_to_billing", "l", "r", "m"], hand_over()).passes
    assert check(["r"], hand_over(), extra="allow").passes
    assert not check([], hand_over(), extra="allow", never=["r"]).passes


def test_a_started_agent_is_one_call_if_it_is_expected() -> None:
    assert check([started("billing", ["l", "r"]), "m"], hand_over()).passes
    assert check([started("bill*"), "m"], hand_over()).passes
    assert not check([started("billing", ["r"]), "m"], hand_over()).passes
    assert check([started("billing", ["r"]), "m"], hand_over(), extra="allow").passes
    assert not check([started("billing", ["r", "l"]), "m"], hand_over()).passes
    assert check([started("billing", ["r", "l"]), "m"], hand_over(), order="any").passes
    assert not check([started("sales"), "m"], hand_over()).passes
    assert check(
        ["transfer_to_billing", started("sales"), "m"], hand_over(), missing="allow", extra="allow"
    ).passes


def test_the_lines_about_a_started_agent_have_the_numbers_of_the_trajectory() -> None:
    result = check([started("billing", ["r"]), "n"], hand_over())
    lines = result.describe()
    assert lines[:3] == [
        ("step 1", "started billing: 1 of 2 calls not expected"),
        ("step 1", "billing, step 1: not expected: l()"),
        ("step 4", "expected n, got m()"),
    ]
    assert ("4 support", "m()") in lines


def test_a_hint_where_only_the_order_in_a_started_agent_differs() -> None:
    hint = (
        "the same calls in another order: order='any' would pass; do that only if the order does not matter"
    )
    assert ("step 1", f"billing: {hint}") in check(
        [started("billing", ["r", "l"]), "m"], hand_over()
    ).describe()


@pytest.mark.parametrize(
    ("expected", "trajectory", "hint"),
    [
        (started("transfer_to_billing"), hand_over(), "started: billing (by the tool transfer_to_billing)"),
        (
            started("billing"),
            make("t", "l"),
            "in place of started('billing') expect the tool that hands over",
        ),
        ("billing", hand_over(), "billing is the agent that the tool transfer_to_billing started"),
        (started("billing", ["x"]), hand_over(), ""),
        (started("billing"), make(""), ""),
        ("sales", hand_over(), ""),
    ],
)
def test_a_hint_where_the_name_of_an_agent_and_of_its_tool_are_confused(
    expected: Any, trajectory: Trajectory, hint: str
) -> None:
    result = check([expected], trajectory)
    hints = [text for label, text in result.describe() if label == "hint"]
    assert not result.passes
    assert (len(hints), hint in "".join(hints)) == (int(bool(hint)), True)


def test_calls_whose_arguments_have_no_key_are_not_equal() -> None:
    # As a trajectory that is built by hand may have them
    uses = [ToolUse(name="f", arguments={"at": date(2026, 1, day)}) for day in (1, 2)]  # type: ignore[dict-item]
    trajectory = Trajectory(steps=(Step(role="assistant", tool_calls=tuple(uses)),))
    expected = call("f", at=lambda value: value.day == 1)
    result = check([expected, expected], trajectory, order="any")
    assert len(result.comparison.pairs) == 1
    assert count_repeats(uses) == 0


def test_an_agent_without_a_name_has_that_of_the_call() -> None:
    use = ToolUse(name="research", arguments={}, started=make("a"))
    trajectory = Trajectory(steps=(Step(role="assistant", tool_calls=(use,)),))
    assert check([started("research", ["a"])], trajectory).passes
