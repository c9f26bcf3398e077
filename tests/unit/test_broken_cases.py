"""Cases that broke: named first, RED at once from three on, and certain where the same answer has another score."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from scipy import stats
from support.suites import CHECK, judge_records, judge_sides, make_record, passing

from pytest_llmops.measurement import Measurement
from pytest_llmops.metrics.change.broken_cases import (
    BrokenCases,
    chance_of_at_least,
    confirm_broken_cases,
    find_broken_cases,
    plan_trials_again,
)
from pytest_llmops.metrics.change.trials import TrialPair
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import Verdict

ALL, NONE = (1.0,) * 3, (0.0,) * 3
BROKE, MENDED = (ALL, NONE), (NONE, ALL)
RECORDED = {"recordings": ["aa", "bb", "cc"]}


def break_checks(cases: int, broken: int, *, mended: int = 0) -> Verdict:
    """Return the verdict on checks with three trials on both sides, of which the first broke, the next mended, and the others pass."""
    sides = passing(cases)
    names = list(sides)
    sides |= dict.fromkeys(names[:broken], BROKE)
    sides |= dict.fromkeys(names[broken : broken + mended], MENDED)
    return judge_sides(sides)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cases", "broken", "status"),
    [
        (20, 1, "AMBER"),
        (20, 2, "AMBER"),
        (20, 3, "RED"),
        (5, 1, "AMBER"),
        (5, 2, "AMBER"),
        (5, 3, "RED"),
        (200, 1, "GREEN"),
        (200, 2, "GREEN"),
        (200, 3, "RED"),
    ],
)
def test_checks_that_broke_are_named_and_three_are_red(cases: int, broken: int, status: str) -> None:
    verdict = break_checks(cases, broken)
    assert verdict.status == status
    assert [case.nodeid for case in verdict.broken] == [f"test_a.py::test_a[case {n}]" for n in range(broken)]
    assert verdict.broken_chance == pytest.approx(0.05**broken)
    noun, verb = ("case", "fails") if broken == 1 else ("cases", "fail")
    assert f"{broken} {noun} broke" in verdict.sentence
    assert f"passed 3 of 3, {verb} 3 of 3" in verdict.sentence
    assert (verdict.next_command == "pytest --llm-again") == (status != "RED")
    assert bool(verdict.trials_again) == (status != "RED")
    assert Verdict.from_wire(json.loads(json.dumps(verdict.to_wire()))) == verdict


def test_a_case_that_mended_forbids_red_at_once() -> None:
    verdict = break_checks(30, 3, mended=1)
    assert (verdict.status, len(verdict.broken)) == ("AMBER", 3)
    assert verdict.broken_chance == pytest.approx(chance_of_at_least(3, [0.05] * 4))


def test_flaky_cases_raise_the_bar() -> None:
    fell, rose = (
        ((1.0, 0.0, 1.0), (0.0, 1.0, 0.0)),
        ((0.0, 1.0, 0.0), (1.0, 0.0, 1.0)),
    )  # chance could split their six trials
    sides = passing(30) | {f"case {n}": (fell, rose)[n % 2] for n in range(3, 15)}
    sides |= {f"case {n}": BROKE for n in range(3)}
    verdict = judge_sides(sides)
    assert len(verdict.broken) == 3
    assert verdict.broken_chance == pytest.approx(float(stats.binom.sf(2, 15, 0.05)))
    assert verdict.status == "AMBER"


@pytest.mark.parametrize(
    ("cases", "broken", "is_red"), [(20, 3, True), (30, 3, True), (31, 3, False), (31, 4, True)]
)
def test_of_graded_scores_one_case_in_ten_has_to_break(cases: int, broken: int, is_red: bool) -> None:
    sides = {f"case {n}": ((0.8, 0.82, 0.84), (0.81, 0.83, 0.82)) for n in range(cases)}
    sides |= {f"case {n}": ((0.8, 0.82, 0.84), (0.5, 0.52, 0.54)) for n in range(broken)}
    verdict = judge_sides(sides, "judge.quality")
    assert len(verdict.broken) == broken
    assert (verdict.status == "RED") == is_red
    assert verdict.broken[0].describe() == "fell from 0.82 to 0.52"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((0.8, 0.82, 0.84), (0.6, 0.62, 0.59)),  # less than 25 points
        ((1.0, 1.0, 1.0), (0.0, 0.0, 1.0)),  # a trial still passes
        ((1.0, 0.0, 1.0), (0.0, 0.0, 0.0)),  # a trial failed before
    ],
)
def test_what_is_not_clearly_below_did_not_break(before: Sequence[float], after: Sequence[float]) -> None:
    assert judge_sides(passing(19) | {"late": (before, after)}).broken == ()


@pytest.mark.parametrize("broken", [1, 3, 6])
def test_single_trials_are_not_called_broken(broken: int) -> None:
    sides = passing(40, 1, 1) | {f"case {n}": ((1.0,), (0.0,)) for n in range(broken)}
    verdict = judge_sides(sides)
    assert verdict.broken == ()
    assert "broke" not in verdict.sentence


@pytest.mark.parametrize(("before", "after"), [(1, 1), (3, 1), (3, 3)])
@pytest.mark.parametrize("cases", [3, 25])
def test_the_same_answer_with_another_score_is_red_and_names_the_code(
    cases: int, before: int, after: int
) -> None:
    names = [f"case {number}" for number in range(cases)]
    facts = [{"recordings": RECORDED["recordings"][:count]} for count in (before, after)]
    old = [make_record(name, {CHECK: (1.0,) * before}, facts=facts[0]) for name in names]
    new = [make_record(name, {CHECK: (float(name != "case 1"),) * after}, facts=facts[1]) for name in names]
    verdict = judge_records(old, new)
    assert (verdict.status, verdict.trials_again, verdict.next_command) == ("RED", 0, "")
    assert [case.name for case in verdict.broken] == ["test_a[case 1]"]
    assert verdict.broken[0].same_answer
    assert (
        verdict.sentence
        == "1 case broke (test_a[case 1]): the same answer has another score now, so your code changed"
    )


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_metric_that_is_measured_twice_and_unscored_once_is_left_out(side: str) -> None:
    """Its trials have no mean, so there is no pair of scores to show; another metric of the test still names the code."""
    scored = Measurement(name="score.q", value=1.0)
    unscored = Measurement(name="score.q", error="no verdict")
    facts = {"recordings": ["aa"]}

    def record(case: int, score: float, second: Measurement, other: float) -> TestRecord:
        measured = (replace(scored, value=score), second, Measurement(name="score.r", value=other))
        return TestRecord(nodeid=f"t.py::test_{case}", measurements=measured, facts=facts)

    second = {"before": scored, "after": scored} | {side: unscored}
    old = [record(case, 1.0, second["before"], 1.0) for case in range(25)]
    new = [record(case, 0.75 if case < 2 else 1.0, second["after"], float(case > 0)) for case in range(25)]
    verdict = judge_records(old, new)
    assert [(case.name, case.metric) for case in verdict.broken] == [("test_0", "score.r")]


def test_passed_trials_come_first_whatever_recording_failed() -> None:
    """A test that replays its failed trial alone repeats the baseline: the share of passed trials does not say which one failed."""
    old = [TestRecord(nodeid=f"t.py::test_{n}", facts={"recordings": ["aa", "bb", "cc"], "trials": {"n": 3, "passed": 2, "failed": 1}}) for n in range(25)]  # fmt: skip
    new = [TestRecord(nodeid=f"t.py::test_{n}", facts={"recordings": ["aa"], "trials": {"n": 1, "failed": 1}}) for n in range(25)]  # fmt: skip
    verdict = judge_records(old, new)
    assert (verdict.status, verdict.broken) == ("GREEN", ())
    assert verdict.sentence.startswith("Nothing changed")


def test_cases_with_the_same_answer_are_counted_apart_from_others() -> None:
    old = [make_record(str(n), {CHECK: ALL}, facts=RECORDED) for n in range(25)]
    facts = {"recordings": ["xx", "yy", "zz"]}
    new = [
        make_record(str(n), {CHECK: NONE if n < 3 else ALL}, facts=RECORDED if n == 2 else facts)
        for n in range(25)
    ]
    verdict = judge_records(old, new)
    assert verdict.status == "RED"
    assert verdict.sentence == (
        "1 case broke (test_a[2]): the same answer has another score now, so your code changed; "
        "2 other cases broke (test_a[0], test_a[1]): passed 3 of 3, fail 3 of 3"
    )


@pytest.mark.parametrize(
    ("cases", "mended", "status", "rest"),
    [(50, 10, "GREEN", "on average, a drop"), (7, 6, "NONE", "too few cases for a verdict")],
)
def test_what_no_other_session_can_prove_promises_nothing(
    cases: int, mended: int, status: str, rest: str
) -> None:
    verdict = break_checks(cases, 1, mended=mended)
    assert (verdict.status, verdict.trials_again) == (status, 0)
    assert verdict.sentence.startswith(f"1 case broke (test_a[case 0]): passed 3 of 3, fails 3 of 3; {rest}")
    assert verdict.why.startswith("If nothing had changed, chance would do this in 1 of ")
    assert verdict.why.endswith(
        ". Running this case again would not settle it, because other cases also vary or the baseline has few trials. "
        "Read its answers and decide"
    )
    assert "--llm-again" not in verdict.next_command
    assert "it is your change" not in verdict.next_step


@pytest.mark.parametrize(
    ("cases", "changed", "measured", "needed"),
    [
        (20, 20, "-5.0 points", "about 59 new answers, this run has 20"),
        (40, 10, "-2.5 points", "about 14 new answers, this run has 10"),
    ],
)
def test_too_few_new_answers_are_said_beside_what_was_measured(
    cases: int, changed: int, measured: str, needed: str
) -> None:
    old = [make_record(str(n), {CHECK: (1.0,)}, facts={"recordings": ["aa"]}) for n in range(cases)]
    new = [
        make_record(str(n), {CHECK: (float(n > 0),)}, facts={"recordings": ["zz" if n < changed else "aa"]})
        for n in range(cases)
    ]
    verdict = judge_records(old, new)
    assert verdict.status == "AMBER"
    assert verdict.why.startswith(
        f"Measured: {measured}; with {cases} cases the true change may be anything from -"
    )
    assert verdict.why.endswith(f"; ruling a drop out needs {needed}")


def test_another_answer_is_not_the_code() -> None:
    old = [make_record(str(n), {CHECK: (1.0,)}, facts={"recordings": ["aa"]}) for n in range(25)]
    new = [
        make_record(str(n), {CHECK: (float(n > 0),)}, facts={"recordings": ["aa" if n else "zz"]})
        for n in range(25)
    ]
    assert judge_records(old, new).broken == ()


def test_the_odds_are_those_of_the_poisson_binomial() -> None:
    assert chance_of_at_least(4, [0.05] * 30) == pytest.approx(float(stats.binom.sf(3, 30, 0.05)))
    odds = [0.5, 0.25, 0.05, 0.05, 1 / 286]
    exact = getattr(stats, "poisson_binom", None)
    if exact is None:
        pytest.skip("scipy before 1.15 has no Poisson-binomial distribution")
    for count in range(7):
        assert chance_of_at_least(count, odds) == pytest.approx(float(exact.sf(count - 1, odds)), abs=1e-12)


def test_the_odds_of_a_case_follow_from_its_numbers_of_trials() -> None:
    trials = {f"{old}+{new}": TrialPair((1.0,) * old, (0.0,) * new) for old, new in ((3, 3), (5, 3), (10, 1))}
    broken = find_broken_cases(trials)
    assert broken.broke == tuple(trials)
    assert broken.chance == pytest.approx(1 / 20 / 56 / 11)


def test_ten_trials_before_mend_no_more_rarely_than_three() -> None:
    wavering = TrialPair((1.0,) + (0.0,) * 9, ALL)
    assert find_broken_cases({"a": wavering}).none_mended is False


@pytest.mark.parametrize(("names", "flaky"), [(("late",), 0), (("late", "early"), 12)])
def test_as_many_trials_as_are_planned_confirm_and_one_fewer_does_not(
    names: tuple[str, ...], flaky: int
) -> None:
    broken = BrokenCases(broke=names, possible=((3, 3),) * (len(names) + flaky))
    count = plan_trials_again(broken, 0.01)
    earlier = dict.fromkeys(names, TrialPair(ALL, NONE))
    chances = [
        confirm_broken_cases(earlier, dict.fromkeys(names, (0.0,) * trials), broken.possible).chance
        for trials in (count, count - 1)
    ]
    assert chances[0] <= 0.01 < chances[1]


@pytest.mark.parametrize("again", [(), (0.0, 0.0, 0.0, 1.0)])
def test_a_case_that_does_not_fail_in_every_trial_again_is_not_confirmed(again: tuple[float, ...]) -> None:
    confirmed = confirm_broken_cases({"late": TrialPair(ALL, NONE)}, {"late": again}, [(3, 3)])
    assert (confirmed.broke, confirmed.chance) == ((), 1.0)


def test_that_a_case_mended_does_not_depend_on_the_order_of_its_trials() -> None:
    """The share of passed trials is stored passes first."""
    trials = (0.0,) * 8 + (1.0,) * 2
    shares = {
        find_broken_cases({"a": TrialPair(order, (1.0,) * 3)}).mended for order in (trials, trials[::-1])
    }
    assert shares == {math.comb(8, 3) / math.comb(10, 3)}
    fewer = TrialPair((0.0, 0.0, 0.0), trials)  # more trials now than before
    assert find_broken_cases({"a": fewer}).mended == 0.0
    assert find_broken_cases({"a": TrialPair((0.0, 0.0), trials[:6] + (1.0,) * 4)}).mended == pytest.approx(
        math.comb(4, 2) / math.comb(10, 2)
    )
