"""Laws of the gate's statistics: exact, whatever the names and the order of the cases are."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import scale_examples
from support.suites import Sides, judge_sides

from pytest_llmops.metrics.change import trials as trial_change
from pytest_llmops.metrics.change.bounds import bound_range, lower_bound
from pytest_llmops.metrics.change.p_values import compare_cases, drop_p_value, exchange_trials
from pytest_llmops.metrics.change.trials import TrialPair

LEVELS = st.integers(0, 4).map(lambda level: level / 4)
SIDES = st.lists(LEVELS, min_size=1, max_size=4).map(tuple)
FEW_TRIALS = st.lists(LEVELS, min_size=1, max_size=3).map(tuple)
TRIALS = st.dictionaries(
    st.text(min_size=1, max_size=3), st.builds(TrialPair, SIDES, SIDES), min_size=1, max_size=6
)


def count_all_exchanges(trials: list[TrialPair]) -> float:
    """Return the share of all ways to exchange the trials within cases whose change is lower; equal ones count half."""
    changes_by_case = []
    for pair in trials:
        pooled = [Fraction(score) for score in (*pair.before, *pair.after)]
        size = len(pair.after)
        changes = []
        for chosen in itertools.combinations(range(len(pooled)), size):
            after = sum(pooled[place] for place in chosen)
            changes.append(after / size - (sum(pooled) - after) / len(pair.before))
        changes_by_case.append(changes)
    measured = sum(
        sum(map(Fraction, pair.after)) / len(pair.after) - sum(map(Fraction, pair.before)) / len(pair.before)
        for pair in trials
    )
    sums = [sum(changes) for changes in itertools.product(*changes_by_case)]
    ranks = [1.0 if change < measured else 0.5 * (change == measured) for change in sums]
    return sum(ranks) / len(ranks)


@given(st.lists(st.builds(TrialPair, FEW_TRIALS, FEW_TRIALS), min_size=1, max_size=3))
@scale_examples(0.5)
def test_the_p_value_is_the_share_of_all_exchanges(trials: list[TrialPair]) -> None:
    named = {str(number): pair for number, pair in enumerate(trials)}
    assert exchange_trials(named) == pytest.approx(count_all_exchanges(trials), abs=1e-12)


@pytest.mark.slow
@given(
    st.lists(st.tuples(*[st.lists(LEVELS, min_size=3, max_size=3)] * 2), min_size=10, max_size=14), st.data()
)
@scale_examples(0.2)
def test_names_and_order_of_the_cases_do_not_matter(
    cases: list[tuple[list[float], list[float]]], data: st.DataObject
) -> None:
    names = [f"case {number}" for number in range(len(cases))]
    others = data.draw(st.lists(st.text("abé0 ", min_size=1, max_size=4), min_size=len(cases), max_size=len(cases), unique=True))  # fmt: skip
    before: Sides = dict(zip(names, cases, strict=True))
    shuffled: Sides = dict(zip(others, data.draw(st.permutations(cases)), strict=True))
    there, here = judge_sides(before), judge_sides(shuffled)
    assert (there.status, there.trials_again, len(there.broken)) == (here.status, here.trials_again, len(here.broken))  # fmt: skip
    assert there.broken_chance == pytest.approx(here.broken_chance, abs=1e-12)
    for metric, other in zip(there.metrics, here.metrics, strict=True):
        for field in ("change", "p_value", "lower", "upper", "detectable"):
            assert getattr(metric, field) == pytest.approx(getattr(other, field), abs=1e-9)


@pytest.mark.slow
@given(TRIALS)
def test_swapping_the_sides_turns_the_change_around(trials: dict[str, TrialPair]) -> None:
    swapped = {case: TrialPair(pair.after, pair.before) for case, pair in trials.items()}
    assert abs(trial_change.mean_change(trials) + trial_change.mean_change(swapped)) < 1e-12
    assert exchange_trials(trials) + exchange_trials(swapped) == pytest.approx(1)
    assert drop_p_value(trials) + drop_p_value(swapped) >= 1 - 1e-9  # never both a drop and a rise
    errors = [trial_change.estimate_change_error(side) for side in (trials, swapped)]
    assert (errors[0] is None) == (errors[1] is None)
    if errors[0] is not None and errors[1] is not None:
        assert abs(errors[0].standard_error - errors[1].standard_error) < 1e-12


@pytest.mark.slow
@given(TRIALS, st.floats(0, 1))
def test_lower_scores_after_never_raise_the_change(trials: dict[str, TrialPair], loss: float) -> None:
    worse = {
        case: TrialPair(pair.before, tuple(score - loss for score in pair.after))
        for case, pair in trials.items()
    }
    assert trial_change.mean_change(worse) <= trial_change.mean_change(trials) + 1e-12


@pytest.mark.slow
@given(TRIALS)
def test_the_change_is_within_its_likely_range_and_never_ruled_out(trials: dict[str, TrialPair]) -> None:
    likely = bound_range(trials, 0.05)
    if likely is None:
        assert len(trials) < 2
        return
    change = trial_change.mean_change(trials)
    assert likely[0] <= change + 1e-12
    assert likely[1] >= change - 1e-12
    lower = lower_bound(trials, 0.05)
    assert lower is not None
    assert lower <= likely[0]


@pytest.mark.slow
@given(st.integers(0, 10_000))
@scale_examples(0.5)
def test_nothing_changed_is_red_no_more_often_than_alpha(seed: int) -> None:
    rng = np.random.default_rng(seed)
    alarms = 0
    for _ in range(60):
        scores = rng.integers(0, 5, (4, 5)) / 4
        trials = {str(n): TrialPair(tuple(row[:3]), tuple(row[3:])) for n, row in enumerate(scores.tolist())}
        alarms += exchange_trials(trials) <= 0.05
        assert drop_p_value(trials) == max(exchange_trials(trials), compare_cases(trials))
    # Of 60 builds at 5 %, twelve or more have a probability of 4e-5.
    assert alarms < 12
