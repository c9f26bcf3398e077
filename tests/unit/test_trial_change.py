"""Statistics of a change, against scipy, published figures and the formulas of their sources."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from pytest_llmops.metrics.change import trials as trial_change
from pytest_llmops.metrics.change.bounds import lower_bound, needed_trials
from pytest_llmops.metrics.change.p_values import (
    _weigh_shapes,
    change_p_value,
    compare_cases,
    drop_p_value,
    exchange_sessions,
    exchange_trials,
    find_steps,
)
from pytest_llmops.metrics.change.trials import TrialPair

ALL, NONE = (1.0,) * 3, (0.0,) * 3


def single_trials(before: Sequence[float], after: Sequence[float]) -> dict[str, TrialPair]:
    return {
        str(case): TrialPair((old,), (new,))
        for case, (old, new) in enumerate(zip(before, after, strict=True))
    }


def count_half_of_ties(null: np.ndarray, measured: float) -> float:
    """Return the share of a null distribution below the measured value, ties by half."""
    return float(np.mean(null < measured - 1e-12) + np.mean(np.abs(null - measured) <= 1e-12) / 2)


@pytest.mark.parametrize("place", [0, 7, 19])
@pytest.mark.parametrize("name", ["a", "zzz", "é 0"])
def test_three_of_three_to_none_has_the_same_p_value_wherever_it_stands(place: int, name: str) -> None:
    cases = [(f"case {number}", TrialPair(ALL, ALL)) for number in range(20)]
    cases[place] = (name, TrialPair(ALL, NONE))
    assert exchange_trials(dict(cases)) == pytest.approx(0.025)
    assert drop_p_value(dict(cases)) == pytest.approx(stats.t.sf(1, 19))


def test_one_trial_each_is_scipys_exact_paired_permutation_test() -> None:
    rng = np.random.default_rng(3)
    before, after = rng.integers(0, 5, 14) / 4, rng.integers(0, 4, 14) / 4
    exact = stats.permutation_test(
        (after, before),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        alternative="less",
        n_resamples=np.inf,
        vectorized=True,
    )
    expected = count_half_of_ties(exact.null_distribution, exact.statistic)
    assert exchange_trials(single_trials(before.tolist(), after.tolist())) == pytest.approx(expected)


def test_a_single_case_is_scipys_exact_test_of_two_independent_samples() -> None:
    before, after = (0.9, 0.8, 1.0, 0.7, 0.95, 0.85), (0.6, 0.5, 0.8)
    exact = stats.permutation_test(
        (after, before), lambda x, y: np.mean(x) - np.mean(y), alternative="less", n_resamples=np.inf
    )
    expected = count_half_of_ties(exact.null_distribution, exact.statistic)
    assert exchange_trials({"a": TrialPair(before, after)}) == pytest.approx(expected)


@pytest.mark.parametrize(("passed", "trials"), [((3, 0), (3, 3)), ((9, 1), (10, 3)), ((2, 2), (5, 4))])
def test_a_single_check_is_hypergeometric(passed: tuple[int, int], trials: tuple[int, int]) -> None:
    before, after = (
        (1.0,) * good + (0.0,) * (count - good) for good, count in zip(passed, trials, strict=True)
    )
    null = stats.hypergeom(sum(trials), sum(passed), trials[1])
    expected = null.cdf(passed[1]) - null.pmf(passed[1]) / 2
    assert exchange_trials({"a": TrialPair(before, after)}) == pytest.approx(expected)


@pytest.mark.parametrize(("fell", "rose"), [(4, 0), (5, 1), (3, 3)])
def test_single_checks_are_the_sign_test(fell: int, rose: int) -> None:
    before = [1.0] * fell + [0.0] * rose + [1.0] * 10
    after = [0.0] * fell + [1.0] * rose + [1.0] * 10
    null = stats.binom(fell + rose, 0.5)
    trials = single_trials(before, after)
    assert exchange_trials(trials) == pytest.approx(null.cdf(rose) - null.pmf(rose) / 2)
    two_sided = 2 * max(null.cdf(rose) - null.pmf(rose) / 2, compare_cases(trials))
    assert change_p_value(trials) == pytest.approx(min(two_sided, 1))


def test_fishers_count_for_darwins_maize() -> None:
    # Fisher, "The Design of Experiments", 1935, section 21: of 32,768 signs 863 give a sum of 314 or more, 28 of them just 314
    eighths = (49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48)
    trials = single_trials(eighths, [0.0] * 15)
    assert sum(eighths) == 314
    assert exchange_trials(trials) == pytest.approx((863 - 28 / 2) / 32_768)


@pytest.mark.slow
def test_cases_with_other_numbers_of_trials_have_equal_weights() -> None:
    rng = np.random.default_rng(8)
    trials = {
        str(case): TrialPair(tuple(map(float, rng.integers(0, 2, old))), tuple(map(float, rng.integers(0, 2, new))))
        for case, (old, new) in enumerate([(10, 3), (3, 1), (5, 5), (7, 2)] * 3)
    }  # fmt: skip
    null = np.zeros(40_000)
    for pair in trials.values():
        pooled = rng.permuted(np.tile([*pair.before, *pair.after], (len(null), 1)), axis=1)
        size = len(pair.after)
        null += pooled[:, :size].mean(axis=1) - pooled[:, size:].mean(axis=1)
    drawn = count_half_of_ties(null, sum(pair.difference for pair in trials.values()))
    assert exchange_trials(trials) == pytest.approx(drawn, abs=4 * math.sqrt(0.25 / len(null)))


def test_the_cases_are_scipys_paired_t_test() -> None:
    before, after = [0.5, 0.75, 1.0, 0.25, 0.5], [0.5, 0.5, 1.0, 0.0, 0.25]
    expected = stats.ttest_rel(after, before, alternative="less").pvalue
    assert compare_cases(single_trials(before, after)) == pytest.approx(expected)
    assert compare_cases(single_trials([0.5], [0.0])) == 1
    assert drop_p_value(single_trials([1.0] * 12, [0.5] * 12)) == pytest.approx(0.5**13)
    assert drop_p_value(single_trials([1.0] * 12, [1.0] * 12)) == 1


def test_scores_without_a_grid_are_tested_in_hundredths() -> None:
    drawn = np.random.default_rng(6).random((5, 4))
    p_values = []
    for scores in (drawn, np.round(drawn, 2)):
        trials = {
            str(case): TrialPair(tuple(row[:2]), tuple(row[2:])) for case, row in enumerate(scores.tolist())
        }
        p_values.append(exchange_trials(trials))
    assert find_steps(drawn.ravel()) == 100
    assert p_values[0] == p_values[1]


def test_scores_of_any_size_are_counted_in_steps_of_their_range() -> None:
    drawn = np.random.default_rng(6).random((5, 4)).round(2)
    drawn[0] = (0.0, 1.0, 0.0, 1.0)
    p_values = []
    for scale in (1, 1e6):
        rows = (drawn * scale).tolist()
        trials = {str(case): TrialPair(tuple(row[:2]), tuple(row[2:])) for case, row in enumerate(rows)}
        p_values.append(exchange_trials(trials))
    assert p_values[0] == pytest.approx(p_values[1])


def test_sessions_are_exchanged_as_a_whole() -> None:
    trials = {str(case): TrialPair((0.9, 0.8, 0.7, 0.6), (0.5, 0.4), sessions=(2, 2)) for case in range(4)}
    # Of three sessions the run is the lowest: one in three for a case, and half of one in 81 for four
    assert exchange_sessions(trials) == pytest.approx(1 / 3**4 / 2)
    assert drop_p_value(trials) == exchange_sessions(trials)  # the spread of the cases is not asked
    one = {"late": TrialPair((0.9, 0.8, 0.7, 0.6), (0.5, 0.4), sessions=(4,))}
    assert drop_p_value(one) == 1


@pytest.mark.parametrize("sessions", [(2,), (3, 1), (0, 3)])
def test_sessions_that_do_not_fit_the_trials_are_refused(sessions: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected numbers above 0 that add up to 3 trials"):
        TrialPair((1.0,) * 3, (1.0,), sessions=sessions)


@pytest.mark.parametrize(
    ("cases", "trials", "is_excluded"), [(58, 1, False), (59, 1, True), (20, 3, True), (19, 3, False)]
)
def test_a_drop_of_five_points_takes_59_good_answers(cases: int, trials: int, is_excluded: bool) -> None:
    good = {str(case): TrialPair((1.0,) * 10, (1.0,) * trials) for case in range(cases)}
    lower = lower_bound(good, 0.05)
    assert lower is not None
    assert (lower > -0.05) == is_excluded


@pytest.mark.parametrize("level", [0.05, 0.025, 0.01])
def test_as_many_good_answers_are_needed_as_the_binomial_says(level: float) -> None:
    count = needed_trials(level, 0.05)
    assert stats.binom.cdf(0, count, 0.05) <= level < stats.binom.cdf(0, count - 1, 0.05)


def test_failures_of_the_run_are_bounded_by_the_binomial() -> None:
    trials = single_trials([1.0] * 400, [0.0] * 6 + [1.0] * 394)
    exact = stats.binomtest(6, 400).proportion_ci(0.9, method="exact").high
    lower = lower_bound(trials, 0.05)
    assert lower is not None
    assert lower <= -exact + 1e-9


def test_two_cases_are_needed_for_a_bound() -> None:
    assert lower_bound({"a": TrialPair(ALL, ALL)}, 0.05) is None


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


@pytest.mark.parametrize("scores", [((), (1.0,)), ((1.0,), ()), ((math.nan,), (1.0,)), ((1.0,), (math.inf,))])
def test_trials_without_scores_are_refused(scores: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="expected at least one finite score on each side"):
        TrialPair(*scores)


def test_no_cases_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one case"):
        trial_change.mean_change({})


def test_hundreds_of_trials_of_a_case_are_approximated() -> None:
    rng = np.random.default_rng(4)
    before, after = (rng.random(700) < share for share in (0.9, 0.87))
    pair = TrialPair(tuple(map(float, before)), tuple(map(float, after)))
    passed = int(before.sum() + after.sum())
    hypergeometric = stats.hypergeom(1400, passed, 700)
    exact = hypergeometric.cdf(after.sum() - 1) + hypergeometric.pmf(after.sum()) / 2
    assert exchange_trials({"a": pair}) == pytest.approx(exact, abs=1e-3)
    graded = [TrialPair(tuple(rng.random(200)), tuple(rng.random(2000))) for _ in range(3)]
    assert 0 < exchange_trials(dict(zip("abc", graded, strict=True))) < 1


@pytest.mark.slow
def test_trials_without_a_score_here_and_there_take_no_finer_grid_than_can_be_counted() -> None:
    rng = np.random.default_rng(5)
    trials = {}
    for case in range(300):
        old, new = rng.integers(3, 11), rng.integers(3, 8)
        trials[str(case)] = TrialPair(tuple(rng.random(old)), tuple(rng.random(new)))
    weights = _weigh_shapes({(len(pair.before), len(pair.after)): 2_000 for pair in trials.values()})
    assert sum(2_000 * weight for weight in weights.values()) < 1_100_000
    for (trials_before, trials_after), weight in weights.items():
        exact = (1 / trials_before + 1 / trials_after) / (1 / 10 + 1 / 7)
        assert weight / weights[10, 7] == pytest.approx(exact, rel=0.1)
    assert 0 < drop_p_value(trials) < 1


def test_sessions_of_another_size_than_the_run_take_the_cases_too() -> None:
    differences = (0.3, -0.2, 0.1, 0.05)
    pairs = {
        str(case): TrialPair((0.5 + difference,) * 4 + (0.5,), (0.4,), sessions=(4, 1))
        for case, difference in enumerate(differences)
    }
    assert drop_p_value(pairs) == max(exchange_sessions(pairs), compare_cases(pairs))
    alike = {case: TrialPair(pair.before[:2], pair.after, sessions=(1, 1)) for case, pair in pairs.items()}
    assert drop_p_value(alike) == exchange_sessions(alike)
