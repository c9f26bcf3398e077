"""assert_trajectory: references, limits of steps, repeats, tokens and cost, and what a failure says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_llmops import (
    MeasurementErrored,
    MeasurementFailed,
    assert_tokens,
    assert_tool_calls,
    assert_trajectory,
    call,
    collect,
    soft,
)
from pytest_llmops.agents import Step, ToolUse, Trajectory
from pytest_llmops.errors import UsageError
from pytest_llmops.protocols import Call, Message


def use(name: str, **arguments: Any) -> ToolUse:
    return ToolUse(name=name, arguments=arguments)


def make(*turns: list[ToolUse], tokens: int | None = None, cost_usd: float | None = None) -> Trajectory:
    steps = [
        Step(role="assistant", tool_calls=tuple(turn), tokens=tokens, cost_usd=cost_usd) for turn in turns
    ]
    return Trajectory(steps=(Step(role="user", text="Refund B-77, please."), *steps))


LOOKUP, REFUND, SEARCH = (
    use("get_order", order_id="B-77"),
    use("refund", order_id="B-77"),
    use("search", q="x"),
)
TRAJECTORY = make([LOOKUP], [REFUND], tokens=100, cost_usd=0.01)


def fail(source: object, *arguments: Any, **options: Any) -> list[str]:
    with pytest.raises(MeasurementFailed) as error:
        assert_trajectory(source, *arguments, **options)
    return str(error.value).splitlines()


def measure(source: object, *arguments: Any, **options: Any) -> dict[str, float | None]:
    with collect() as measurements:
        assert_trajectory(source, *arguments, **options)
    return {measurement.name: measurement.value for measurement in measurements}


def test_what_is_measured_and_only_recorded() -> None:
    expected = {
        "trajectory.steps": 2,
        "trajectory.repeats": 0,
        "trajectory.tokens": 200,
        "trajectory.cost": 0.02,
    }
    assert measure(TRAJECTORY) == expected
    assert measure(TRAJECTORY, ["get_order", "refund"]) == {"trajectory.match": 1, **expected}
    assert measure(make([LOOKUP])) == {"trajectory.steps": 1, "trajectory.repeats": 0}
    measurements = assert_trajectory(TRAJECTORY, at_most_steps=2)
    assert [measurement.status for measurement in measurements] == [
        "passed",
        "recorded",
        "recorded",
        "recorded",
    ]
    assert "trajectory" in measurements[0].detail


def test_the_difference_is_told_step_by_step() -> None:
    lines = fail(make([LOOKUP], [SEARCH], [REFUND]), ["get_order", "get_order", "refund"])
    assert lines[:3] == [
        "trajectory.match: 1 of 3 expected calls missing; 1 of 3 calls not expected",
        "  step 2        expected get_order, got search(q='x')",
        "    user        Refund B-77, please.",
    ]


def test_limits_and_what_exceeds_them() -> None:
    trajectory = make([LOOKUP], *[[SEARCH]] * 5, tokens=100, cost_usd=0.01)
    options: dict[str, Any] = {
        "at_most_steps": 6,
        "at_most_repeats": 4,
        "at_most_tokens": 600,
        "at_most_usd": 0.06,
    }
    assert {item.status for item in assert_trajectory(trajectory, **options)} == {"passed"}
    lines = fail(trajectory, at_most_steps=5, at_most_repeats=1, at_most_tokens=599, at_most_usd=0.05)
    assert lines[:3] == [
        "trajectory.steps 6 > 5",
        "  loop          search(q='x'), 5 times: steps 2 to 6",
        "  note          trajectory.steps counts turns of the model; the numbers below, and steps elsewhere, count tool calls",
    ]
    for line in (
        "trajectory.repeats 4 > 1",
        "trajectory.tokens 600 tokens > 599 tokens",
        "trajectory.cost $0.06 > $0.05",
    ):
        assert f"  {line}" in lines
    assert sum("Refund B-77" in line for line in lines) == 1


def test_the_trajectory_is_shown_once() -> None:
    lines = fail(TRAJECTORY, ["search"], at_most_steps=1)
    assert sum("Refund B-77" in line for line in lines) == 1
    assert "  trajectory.steps 2 > 1" in lines


def test_a_limit_of_what_is_not_known_could_not_be_scored() -> None:
    with pytest.raises(
        MeasurementErrored,
        match=r"trajectory.tokens gave no score: the source does not have the tokens",
    ):
        assert_trajectory(make([LOOKUP]), at_most_tokens=10)
    with pytest.raises(
        MeasurementErrored, match=r"trajectory.match gave no score: the source has no message"
    ):
        assert_trajectory([], ["refund"])
    with pytest.raises(
        MeasurementErrored, match=r"trajectory.steps gave no score: the source has no message"
    ):
        assert_trajectory(Trajectory(), at_most_steps=3)


def test_calls_without_a_price_are_named_with_their_model_and_not_scored() -> None:
    priced = Call(
        endpoint="chat", model="m-known", messages=(Message("user", "hi"),), output="ho", cost_usd=0.01
    )
    unpriced = replace(priced, model="m-own", cost_usd=None)
    with pytest.raises(
        MeasurementErrored,
        match=r"trajectory.cost gave no score: 1 of 2 calls without a known price \(m-own\): limit at_most_tokens, or install pytest-llmops",
    ):
        assert_trajectory([priced, unpriced], at_most_usd=5)
    with pytest.raises(
        MeasurementErrored, match=r"2 of 2 calls without a count of its tokens \(m-known, m-own\)"
    ):
        assert_trajectory([priced, unpriced], at_most_tokens=5)


def test_steps_that_may_be_missing_could_not_be_scored() -> None:
    trajectory = replace(TRAJECTORY, problems=("call 3 could not be read",))
    reason = "gave no score: calls of the agent may be missing: call 3 could not be read"
    with pytest.raises(MeasurementErrored) as error:
        assert_trajectory(trajectory, ["get_order", "refund"], at_most_steps=2)
    lines = str(error.value).splitlines()
    assert lines[0].startswith(f"trajectory.match {reason}")
    assert f"  trajectory.steps {reason}" in lines
    assert "  2 assistant   refund(order_id='B-77')" in [line.partition("  (")[0] for line in lines]
    for limit in (None, 5):
        with pytest.raises(MeasurementErrored, match=reason):
            assert_trajectory(trajectory, at_most_repeats=limit)
    # More steps would not help.
    lines = fail(trajectory, ["get_order", "search", "refund"], at_most_steps=1)
    assert "  trajectory.steps 2 > 1" in lines
    with pytest.raises(UsageError, match="the reference was not read completely: call 3 could not be read"):
        assert_trajectory(TRAJECTORY, trajectory)


def test_forbidden_calls_alone() -> None:
    assert measure(TRAJECTORY, never=["delete_*"])["trajectory.match"] == 1
    assert fail(TRAJECTORY, never=["ref*"])[0] == "trajectory.match: forbidden: refund(order_id='B-77')"


def test_a_reference_trajectory_by_its_arguments() -> None:
    messages = [
        {
            "role": "assistant",
            "tool_calls": [{"function": {"name": "get_order", "arguments": '{"order_id": "B-77"}'}}],
        },
        {"role": "assistant", "content": "Done."},
    ]
    assert measure(make([LOOKUP]), messages)["trajectory.match"] == 1
    more, other = (
        make([use("get_order", order_id="B-77", full=True)]),
        make([use("get_order", order_id="B-78")]),
    )
    less = make([use("get_order")])
    verdicts = {}
    for mode in ("exact", "ignore", "subset", "superset"):
        trajectories = (make([LOOKUP]), more, less, other)
        verdicts[mode] = [
            measure(item, messages, arguments=mode)["trajectory.match"] for item in trajectories
        ]
    assert verdicts == {
        "exact": [1, 0, 0, 0],
        "ignore": [1, 1, 1, 1],
        "subset": [1, 0, 1, 0],
        "superset": [1, 1, 0, 0],
    }
    assert measure(make([SEARCH]), make([use("s*", q="x")]))["trajectory.match"] == 0


def test_the_turns_of_a_reference() -> None:
    reference = make([LOOKUP, SEARCH], [REFUND])
    assert measure(make([SEARCH, LOOKUP], [REFUND]), reference, order="turns")["trajectory.match"] == 1
    assert measure(make([LOOKUP], [SEARCH], [REFUND]), reference, order="turns")["trajectory.match"] == 0
    assert measure(make([LOOKUP], [SEARCH], [REFUND]), reference)["trajectory.match"] == 1


def test_started_agents_count() -> None:
    billing = make([LOOKUP], [LOOKUP], tokens=10)
    handed = ToolUse(name="transfer", arguments={}, started=billing)
    values = measure(make([handed], tokens=10))
    assert (values["trajectory.steps"], values["trajectory.repeats"], values["trajectory.tokens"]) == (
        3,
        1,
        30,
    )


@pytest.mark.parametrize(
    ("expected", "options", "problem"),
    [
        (["refund"], {"arguments": "subset"}, "arguments='subset' is for a reference trajectory, got calls"),
        (
            ["refund"],
            {"arguments": "equal"},
            "expected arguments to be one of 'exact', 'ignore', 'subset', 'superset'",
        ),
        ([{"name": "a", "arguements": {}}], {}, "unknown key 'arguements': known are args, arguments, name"),
        (["b", {"nam": "a"}], {}, "got {'nam': 'a'}: unknown key 'nam'"),
        (
            [{"role": "user", "content": "Hi"}],
            {},
            "the reference has no message of an agent; [] expects no call",
        ),
        (3, {}, "expected calls or a reference; the reference: expected the fixture llm_calls"),
        (["refund"], {"at_most_steps": -1}, "at_most_steps"),
        (["refund"], {"never": ["refund"]}, "is expected, and forbidden by never"),
        (
            make([ToolUse(name="refund", text="{x", problem="not JSON")]),
            {},
            "the reference calls refund with arguments that",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(expected: Any, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError) as error:
        assert_trajectory(TRAJECTORY, expected, **options)
    assert str(error.value).startswith("assert_trajectory: ")
    assert problem in str(error.value)


def test_in_a_soft_block_with_other_assertions() -> None:
    with pytest.raises(MeasurementFailed) as error, soft():
        assert_trajectory(TRAJECTORY, at_most_steps=1)
        assert_tool_calls(TRAJECTORY, [call("refund"), call("get_order")])
        assert_tokens([], at_most_tokens=None)
    assert str(error.value).startswith("3 of 9 checks failed\n1. trajectory.steps 2 > 1")
