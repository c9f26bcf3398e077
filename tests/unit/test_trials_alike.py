"""Error rates where the trials of a run hang together, on seeded builds: each limit is one that the trials' test alone, or no rule, breaks."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_llmops.metrics.change.bounds import lower_bound
from pytest_llmops.metrics.change.p_values import drop_p_value, exchange_trials
from pytest_llmops.metrics.change.trials import TrialPair

LEVEL = 0.05
CASES = 20
HALF = 0.5
"""Share of the variance of a trial that all trials of a case in one run have in common."""
NOISE = 0.12


def draw_run(rng: np.random.Generator, means: np.ndarray, trials: int, alike: float) -> np.ndarray:
    """Return scores in ten steps, cases by trials, of one run."""
    common = rng.normal(0, NOISE * np.sqrt(alike), (len(means), 1))
    own = rng.normal(0, NOISE * np.sqrt(1 - alike), (len(means), trials))
    return np.round(np.clip(means[:, None] + common + own, 0, 1), 1)


def draw_build(
    rng: np.random.Generator, sessions: tuple[int, ...], after: int, alike: float, drop: float = 0.0
) -> dict[str, TrialPair]:
    """Return a suite whose baseline has several sessions, and whose run is lower by a drop in all cases."""
    means = rng.uniform(0.4, 0.8, CASES)
    before = np.hstack([draw_run(rng, means, count, alike) for count in sessions])
    run = draw_run(rng, means - drop, after, alike)
    sides = zip(before.tolist(), run.tolist(), strict=True)
    return {str(case): TrialPair(tuple(old), tuple(new), sessions) for case, (old, new) in enumerate(sides)}


@pytest.mark.slow
def test_trials_that_are_alike_prove_a_drop_no_more_often_than_others() -> None:
    rng = np.random.default_rng(36)
    builds = [draw_build(rng, (5,), 5, HALF) for _ in range(400)]
    assert np.mean([exchange_trials(trials) <= LEVEL for trials in builds]) >= 0.12
    assert np.mean([drop_p_value(trials) <= LEVEL for trials in builds]) <= 0.09


@pytest.mark.slow
def test_three_sessions_keep_the_level_and_find_five_points() -> None:
    rng = np.random.default_rng(37)
    alike = [draw_build(rng, (3, 3, 3), 3, HALF) for _ in range(300)]
    assert np.mean([exchange_trials(trials) <= LEVEL for trials in alike]) >= 0.10
    assert np.mean([drop_p_value(trials) <= LEVEL for trials in alike]) <= 0.08
    worse = [draw_build(rng, (3, 3, 3), 3, 0.0, drop=0.05) for _ in range(200)]
    assert np.mean([drop_p_value(trials) <= LEVEL for trials in worse]) >= 0.75


@pytest.mark.slow
@pytest.mark.parametrize(("cases", "before", "after"), [(20, 10, 3), (60, 10, 1)])
def test_a_quiet_baseline_does_not_vouch_for_a_run_in_which_one_answer_in_twenty_is_worthless(
    cases: int, before: int, after: int
) -> None:
    rng = np.random.default_rng([cases, after])
    green = []
    for _ in range(400):
        old = rng.normal(0.9, 0.01, (cases, before))
        new = np.where(rng.random((cases, after)) < 0.05 / 0.9, 0.0, rng.normal(0.9, 0.01, (cases, after)))
        sides = zip(old.tolist(), new.tolist(), strict=True)
        trials = {str(case): TrialPair(tuple(a), tuple(b)) for case, (a, b) in enumerate(sides)}
        lower = lower_bound(trials, LEVEL)
        green.append(lower is not None and lower > -0.05)
    assert np.mean(green) <= 0.06
