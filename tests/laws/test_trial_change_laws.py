"""Laws of the gate's statistics."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.metrics.change import trials as trial_change
from pytest_llmops.metrics.change.trials import TrialPair

LEVELS = st.integers(0, 4).map(lambda level: level / 4)
SIDES = st.lists(LEVELS, min_size=1, max_size=4).map(tuple)
TRIALS = st.dictionaries(
    st.text(min_size=1, max_size=3), st.builds(TrialPair, SIDES, SIDES), min_size=1, max_size=6
)


def p_value(trials: dict[str, TrialPair], draws: int = 499) -> float:
    null = trial_change.draw_null_changes([trials], draws=draws)[0]
    return trial_change.drop_p_value(trial_change.mean_change(trials), null)


@given(TRIALS)
def test_swapping_the_sides_turns_the_change_around(trials: dict[str, TrialPair]) -> None:
    swapped = {case: TrialPair(pair.after, pair.before) for case, pair in trials.items()}
    assert abs(trial_change.mean_change(trials) + trial_change.mean_change(swapped)) < 1e-12
    errors = [trial_change.estimate_change_error(side) for side in (trials, swapped)]
    assert (errors[0] is None) == (errors[1] is None)
    if errors[0] is not None and errors[1] is not None:
        assert abs(errors[0].standard_error - errors[1].standard_error) < 1e-12


@given(TRIALS)
def test_a_drop_and_a_rise_are_not_both_proved(trials: dict[str, TrialPair]) -> None:
    swapped = {case: TrialPair(pair.after, pair.before) for case, pair in trials.items()}
    assert p_value(trials) + p_value(swapped) > 0.8


@given(TRIALS, st.floats(0, 1))
def test_lower_scores_after_never_raise_the_change(trials: dict[str, TrialPair], loss: float) -> None:
    worse = {
        case: TrialPair(pair.before, tuple(score - loss for score in pair.after))
        for case, pair in trials.items()
    }
    assert trial_change.mean_change(worse) <= trial_change.mean_change(trials) + 1e-12


@given(st.integers(0, 10_000))
def test_nothing_changed_is_red_no_more_often_than_alpha(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p_values = [
        p_value(
            {
                str(case): TrialPair(*(tuple(map(float, rng.integers(0, 5, size) / 4)) for size in (3, 2)))
                for case in range(4)
            },
            draws=199,
        )
        for _ in range(60)
    ]
    # Of 60 builds at 5 %, twelve or more have a probability of 4e-5.
    assert sum(p <= 0.05 for p in p_values) < 12


@given(TRIALS, st.integers(0, 100))
def test_the_same_seed_gives_the_same_draws(trials: dict[str, TrialPair], seed: int) -> None:
    first, second = (trial_change.draw_null_changes([trials], draws=20, seed=seed) for _ in range(2))
    assert (first == second).all()
