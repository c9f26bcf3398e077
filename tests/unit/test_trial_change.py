"""Statistics of a change, against scipy and the formulas of their sources."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pytest_llmops.metrics.change import trials as trial_change
from pytest_llmops.metrics.change.trials import TrialPair


def single_trials(before: list[float], after: list[float]) -> dict[str, TrialPair]:
    return {
        str(case): TrialPair((old,), (new,))
        for case, (old, new) in enumerate(zip(before, after, strict=True))
    }


def test_one_trial_each_is_scipys_exact_paired_permutation_test() -> None:
    rng = np.random.default_rng(3)
    before, after = rng.integers(0, 5, 14) / 4, rng.integers(0, 4, 14) / 4
    trials = single_trials(before.tolist(), after.tolist())
    null = trial_change.draw_null_changes([trials], draws=99_999)[0]
    exact = stats.permutation_test(
        (after, before),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        alternative="less",
        n_resamples=np.inf,
        vectorized=True,
    )
    ours = trial_change.drop_p_value(trial_change.mean_change(trials), null)
    assert ours == pytest.approx(exact.pvalue, abs=4 * math.sqrt(0.25 / 99_999))


def test_a_single_case_is_scipys_exact_test_of_two_independent_samples() -> None:
    before, after = (0.9, 0.8, 1.0, 0.7, 0.95, 0.85), (0.6, 0.5, 0.8)
    trials = {"a": TrialPair(before, after)}
    null = trial_change.draw_null_changes([trials], draws=99_999)[0]
    exact = stats.permutation_test(
        (after, before), lambda x, y: np.mean(x) - np.mean(y), alternative="less", n_resamples=np.inf
    )
    ours = trial_change.drop_p_value(trial_change.mean_change(trials), null)
    assert ours == pytest.approx(exact.pvalue, abs=4 * math.sqrt(0.25 / 99_999))


def test_listed_and_shuffled_subsets_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    trials = {str(case): TrialPair(tuple(rng.random(6)), tuple(rng.random(3) - 0.1)) for case in range(12)}
    listed = trial_change.draw_null_changes([trials], draws=40_000)[0]
    monkeypatch.setattr(trial_change, "MAX_SUBSETS", 0)
    shuffled = trial_change.draw_null_changes([trials], draws=40_000)[0]
    assert stats.ks_2samp(listed, shuffled).pvalue > 0.001


def test_one_trial_each_has_scipys_paired_t_interval() -> None:
    before, after = [0.5, 0.75, 1.0, 0.25, 0.5], [0.5, 0.5, 1.0, 0.0, 0.75]
    trials = single_trials(before, after)
    error = trial_change.estimate_change_error(trials)
    assert error is not None
    expected = stats.ttest_rel(after, before).confidence_interval(0.90)
    assert error.lower_end(trial_change.mean_change(trials), 0.95) == pytest.approx(expected.low)


def test_repeated_trials_have_the_error_of_a_two_way_anova() -> None:
    # The residual mean square of cases by arms with replication, by hand from scipy's one-way tables.
    trials = {
        "a": TrialPair((0.0, 0.5, 1.0), (0.5, 0.5)),
        "b": TrialPair((1.0, 1.0, 0.5), (0.0, 1.0)),
    }
    groups = [side for pair in trials.values() for side in (pair.before, pair.after)]
    squares = sum(np.var(group) * len(group) for group in groups)
    freedom = sum(len(group) - 1 for group in groups)
    expected = math.sqrt(squares / freedom * 2 * (1 / 3 + 1 / 2)) / 2
    error = trial_change.estimate_change_error(trials)
    assert error is not None
    assert error.freedom == freedom
    assert error.standard_error == pytest.approx(expected)


def test_detectable_drop_is_found_in_eight_of_ten_simulated_runs() -> None:
    rng = np.random.default_rng(11)
    error = trial_change.ChangeError(0.02, 10_000)
    drop = error.detectable_drop(0.05)
    estimates = rng.normal(-drop, 0.02, 20_000)
    result = np.mean(estimates <= -stats.norm.ppf(0.95) * 0.02)
    assert result == pytest.approx(0.8, abs=0.012)


def test_joint_p_values_control_the_family_and_spare_correlated_metrics() -> None:
    rng = np.random.default_rng(13)
    alarms = 0
    for build in range(200):
        shared = rng.random((12, 2))
        metrics = []
        for _ in range(4):
            noise = rng.normal(0, 0.05, (12, 2))
            metrics.append(single_trials(*(shared + noise).T.tolist()))
        null = trial_change.draw_null_changes(metrics, draws=499, seed=build)
        joint = trial_change.joint_drop_p_values(list(map(trial_change.mean_change, metrics)), null)
        alarms += min(joint) <= 0.05
    # Binomial: 200 builds at 5 % give more than 19 in under 0.5 % of the cases.
    assert alarms <= 19
    assert alarms >= 2


def test_a_metric_without_spread_raises_no_alarm_and_hides_none() -> None:
    flat = single_trials([1.0] * 12, [1.0] * 12)
    worse = single_trials([1.0] * 12, [0.0] * 12)
    null = trial_change.draw_null_changes([flat, worse])
    joint = trial_change.joint_drop_p_values([0.0, -1.0], null)
    assert joint[0] == 1.0
    assert joint[1] < 0.01
    assert trial_change.joint_drop_p_values([0.0], null[:1]) == [1.0]


@pytest.mark.parametrize("scores", [((), (1.0,)), ((1.0,), ()), ((math.nan,), (1.0,)), ((1.0,), (math.inf,))])
def test_trials_without_scores_are_refused(scores: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="expected at least one finite score on each side"):
        TrialPair(*scores)


def test_no_cases_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one case"):
        trial_change.mean_change({})
