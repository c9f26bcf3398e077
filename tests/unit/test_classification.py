from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops.metrics import classification

SCORES = [
    0.9,
    0.8,
    0.7,
    0.6,
    0.55,
    0.54,
    0.53,
    0.52,
    0.51,
    0.505,
    0.4,
    0.39,
    0.38,
    0.37,
    0.36,
    0.35,
    0.34,
    0.33,
    0.3,
    0.1,
]
"""The twenty instances of figure 3 of Fawcett, "An introduction to ROC analysis" (2006)."""
SAME = [mark == "p" for mark in "ppnpppnnpnpnpnnnpnpn"]


def test_the_worked_example_of_fawcett() -> None:
    rates = {
        cut.at_least: (cut.false_passes, cut.recall) for cut in classification.distinct_cuts(SCORES, SAME)
    }
    # Figure 3 of the paper marks these points of the curve with their scores.
    assert rates[0.9] == (0.0, 0.1)
    assert rates[0.8] == (0.0, 0.2)
    assert rates[0.54] == (0.1, 0.5)
    assert rates[0.505] == (0.4, 0.6)
    assert rates[0.1] == (1.0, 1.0)
    # "the classifier's accuracy is best at 0.54: 70 %": five of ten positives, nine of ten negatives.
    best = classification.choose_cut(SCORES, SAME)
    assert best is not None
    assert (best.same_passed, best.different_passed, best.balanced_accuracy) == (5, 1, 0.7)
    assert 0.53 < best.at_least <= 0.54


def test_areas_equal_a_count_of_all_pairs() -> None:
    won = sum(
        a > b
        for a, p in zip(SCORES, SAME, strict=True)
        if p
        for b, q in zip(SCORES, SAME, strict=True)
        if not q
    )
    assert classification.roc_auc(SCORES, SAME) == pytest.approx(won / 100)


@pytest.mark.slow
@pytest.mark.parametrize("digits", [1, 2, 8])
def test_equals_scikit_learn(digits: int) -> None:
    from sklearn import metrics

    rng = np.random.default_rng(5)
    same = rng.random(300) < 0.4
    scores = np.round(rng.normal(size=300) + same, digits)
    assert classification.roc_auc(scores.tolist(), same.tolist()) == pytest.approx(
        metrics.roc_auc_score(same, scores)
    )
    wanted = metrics.average_precision_score(same, scores)
    assert classification.average_precision(scores.tolist(), same.tolist()) == pytest.approx(wanted)
    points = classification.distinct_cuts(scores.tolist(), same.tolist())[::-1]
    precision, recall, at_least = metrics.precision_recall_curve(same, scores)
    np.testing.assert_allclose([point.at_least for point in points], at_least)
    np.testing.assert_allclose([point.precision for point in points], precision[:-1])
    np.testing.assert_allclose([point.recall for point in points], recall[:-1])
    for point in points[:: max(1, len(points) // 7)]:
        passed = scores >= point.at_least
        assert point.f1 == pytest.approx(metrics.f1_score(same, passed))
        assert point.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(same, passed))
        assert classification.cut_at(scores.tolist(), same.tolist(), point.at_least) == point


@pytest.mark.parametrize(
    ("rule", "share", "passed"),
    [
        ("recall", 0.1, (1, 0)),
        ("recall", 0.6, (6, 3)),
        ("recall", 1.0, (10, 9)),
        ("precision", 1.0, (2, 0)),
        ("precision", 0.8, (5, 1)),
        ("precision", 0.0, (10, 10)),
        ("false passes", 0.0, (2, 0)),
        ("false passes", 0.1, (5, 1)),
        ("false passes", 1.0, (10, 10)),
    ],
)
def test_rules(rule: Any, share: float, passed: tuple[int, int]) -> None:
    cut_point = classification.choose_cut(SCORES, SAME, rule=rule, share=share)
    assert cut_point is not None
    assert (cut_point.same_passed, cut_point.different_passed) == passed


def test_no_cut_keeps_the_rule_where_the_highest_score_breaks_it() -> None:
    assert classification.choose_cut([0.9, 0.1], [False, True], rule="precision", share=0.6) is None
    assert classification.choose_cut([0.9, 0.1], [False, True], rule="false passes", share=0.0) is None


def test_of_equally_good_cuts_the_one_that_lets_more_of_the_same_pass() -> None:
    cut_point = classification.choose_cut([0.9, 0.8, 0.5, 0.4], [True, False, True, False])
    assert cut_point is not None
    assert (cut_point.same_passed, cut_point.different_passed) == (2, 1)


@pytest.mark.parametrize(
    ("low", "high", "cut"),
    [(0.2, 0.6, 0.4), (0.501, 0.502, 0.502), (0.5, 0.5 + 1e-9, 0.500000001), (0.0, 1.0, 0.5)],
)
def test_the_proposed_number_is_short_and_between(low: float, high: float, cut: float) -> None:
    cut_point = classification.choose_cut([high, low], [True, False])
    assert cut_point is not None
    assert low < cut_point.at_least <= high
    assert cut_point.at_least == pytest.approx(cut, abs=5e-4 if high - low < 0.1 else 1e-9)
    assert len(f"{cut_point.at_least:.12g}") <= 12


def test_where_all_shall_pass_the_cut_is_below_the_lowest() -> None:
    cut_point = classification.choose_cut([0.7356, 0.9], [True, False], rule="recall", share=1.0)
    assert cut_point is not None
    assert cut_point.at_least == 0.73


def test_figures_at_the_ends() -> None:
    none = classification.cut_at([0.1, 0.2], [True, False], 0.5)
    assert (none.precision, none.recall, none.f1, none.balanced_accuracy) == (1.0, 0.0, 0.0, 0.5)
    worst = classification.cut_at([0.1, 0.6], [True, False], 0.5)
    assert (worst.precision, worst.f1, worst.balanced_accuracy) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "ask",
    [
        classification.distinct_cuts,
        classification.roc_auc,
        classification.average_precision,
        classification.choose_cut,
    ],
)
@pytest.mark.parametrize(
    ("scores", "same"),
    [
        ([0.1], [True, False]),
        ([0.1, 0.2], [True, True]),
        ([0.1, 0.2], [False, False]),
        ([], []),
        ([0.1, float("nan")], [True, False]),
        ([0.1, float("inf")], [True, False]),
        ([[0.1, 0.2]], [[True, False]]),
    ],
)
def test_what_is_no_labelled_score_is_refused(ask: Any, scores: Any, same: Any) -> None:
    with pytest.raises(ValueError, check=check_message):
        ask(scores, same)


# Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3.
@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_as_published(hits: int, count: int, low: float, high: float) -> None:
    np.testing.assert_allclose(classification.wilson_interval(hits, count), (low, high), atol=5e-5)
    np.testing.assert_allclose(
        classification.wilson_interval(count - hits, count), (1 - high, 1 - low), atol=5e-5
    )


def test_wilson_without_trials_knows_nothing() -> None:
    assert classification.wilson_interval(0, 0) == (0.0, 1.0)
