"""Cases that broke: named first, RED at once from three on, and certain where the same answer has another score."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from scipy import stats
from support.suites import CHECK, judge_records, judge_sides, make_record, passing

from pytest_llmops.metrics.change.broken_cases import (
    BrokenCases,
    chance_of_at_least,
    confirm_broken_cases,
    find_broken_cases,
    plan_trials_again,
)
from pytest_llmops.metrics.change.trials import TrialPair
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
    wavering = TrialPair((0.0,) * 3 + (1.0,) * 7, ALL)
    assert find_broken_cases({"a": wavering}).mended == ("a",)


@pytest.mark.parametrize("flaky", [0, 3])
def test_as_many_trials_as_are_planned_confirm_and_one_fewer_does_not(flaky: int) -> None:
    broken = BrokenCases(broke=("late",), possible=((3, 3),) * (1 + flaky))
    count = plan_trials_again(broken, 0.01)
    chances = [
        confirm_broken_cases(
            {"late": TrialPair(ALL, NONE)}, {"late": (0.0,) * trials}, broken.possible
        ).chance
        for trials in (count, count - 1)
    ]
    assert chances[0] <= 0.01 < chances[1]


@pytest.mark.parametrize("again", [(), (0.0, 0.0, 0.0, 1.0)])
def test_a_case_that_does_not_fail_in_every_trial_again_is_not_confirmed(again: tuple[float, ...]) -> None:
    confirmed = confirm_broken_cases({"late": TrialPair(ALL, NONE)}, {"late": again}, [(3, 3)])
    assert (confirmed.broke, confirmed.chance) == ((), 1.0)
