"""The corrected pass rate against the package of its authors, and against simulated suites."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops.metrics.agreement import corrected_rate


def split(tp: int, fn: int, fp: int, tn: int) -> tuple[list[bool], list[bool]]:
    people = [True] * (tp + fn) + [False] * (fp + tn)
    return people, [True] * tp + [False] * fn + [True] * fp + [False] * tn


def test_equals_the_package_of_the_authors() -> None:
    """ppi_py 0.2.3, `ppi_mean_pointestimate` and `ppi_mean_ci` (alpha 0.1) at the same weight.

    Its interval is narrower by 2 %: it takes the normal quantile and the deviation of the population.
    """
    found = corrected_rate(*split(78, 2, 12, 8), passed=430, judged=500, confidence=0.9)
    assert found is not None
    # cov = (78 - 100 * .8 * .9) / 99, var = 9 / 99, and 1 + n/N = 1.2.
    assert found.weight == pytest.approx(6 / 9 / 1.2)
    assert found.rate == pytest.approx(0.77777778)
    assert (found.low, found.high) == pytest.approx((0.71880497, 0.83675059), abs=1.2e-3)
    assert (found.naive, found.labels, found.judged) == (0.86, 100, 500)


@pytest.mark.parametrize(("se", "sp", "width"), [(0.95, 0.7, 0.13), (0.9, 0.9, 0.13), (0.98, 0.4, 0.14)])
def test_the_interval_covers_the_truth_where_the_judges_own_does_not(
    se: float, sp: float, width: float
) -> None:
    draws, truth, suites = np.random.default_rng(5), 0.8, 200
    covered, own, widths = 0, 0, 0.0
    for _ in range(suites):
        people = draws.random(300) < truth
        judge = np.where(people, draws.random(300) < se, draws.random(300) >= sp)
        passed = int(judge[100:].sum())
        found = corrected_rate(people[:100].tolist(), judge[:100].tolist(), passed, 200)
        assert found is not None
        covered += found.low <= truth <= found.high
        half = 1.96 * np.sqrt(found.naive * (1 - found.naive) / 200)
        own += abs(found.naive - truth) <= half
        widths += found.high - found.low
    assert covered / suites >= 0.92
    assert own / suites < 0.9
    assert widths / suites == pytest.approx(width, abs=0.006)


def test_a_judge_that_knows_nothing_leaves_the_labels_alone() -> None:
    people = [True, True, True, False] * 25
    always = corrected_rate(people, [True] * 100, passed=500, judged=500)
    coin = corrected_rate(people, [False, True] * 50, passed=10, judged=500)
    assert always is not None
    assert coin is not None
    assert (always.rate, always.weight, always.naive) == (0.75, 0, 1)
    assert coin.weight == pytest.approx(0, abs=0.2)
    assert always.high - always.low == pytest.approx(2 * 1.9842 * np.sqrt(75 / 4 / 99 / 100), abs=1e-4)


def test_a_perfect_judge_is_believed() -> None:
    found = corrected_rate([True] * 70 + [False] * 30, [True] * 70 + [False] * 30, passed=8000, judged=10_000)
    assert found is not None
    assert found.weight == pytest.approx(1 / 1.01)
    assert found.rate == pytest.approx(0.799, abs=1e-3)
    assert found.high - found.low < 0.02


@pytest.mark.parametrize(
    ("people", "machine", "judged"),
    [
        ([], [], 9),
        ([True], [True], 9),
        ([True, False], [True, False], 0),
        ([True] * 50, [True, False] * 25, 9),
    ],
)
def test_what_cannot_be_corrected_is_not(people: list[bool], machine: list[bool], judged: int) -> None:
    assert corrected_rate(people, machine, 0, judged) is None


@pytest.mark.parametrize(
    "given",
    [
        ([True], [True, False], 1, 2),
        ([True, False], [True, False], 3, 2),
        ([True, False], [True, False], -1, 2),
    ],
)
def test_impossible_counts_are_refused(given: Any) -> None:
    with pytest.raises(ValueError, check=check_message):
        corrected_rate(*given)
    with pytest.raises(ValueError, check=check_message):
        corrected_rate([True, False], [True, False], 1, 2, confidence=95)


# Published table of Student's distribution: quantiles for degrees of freedom 1 to 9, by confidence.
QUANTILES = {
    0.2: (0.325, 0.289, 0.277, 0.271, 0.267, 0.265, 0.263, 0.262, 0.261),
    0.5: (1.000, 0.816, 0.765, 0.741, 0.727, 0.718, 0.711, 0.706, 0.703),
    0.95: (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262),
}


@pytest.mark.parametrize("labels", range(2, 11))
@pytest.mark.parametrize("confidence", QUANTILES)
def test_the_interval_of_few_labels_takes_the_quantile_of_one_degree_less(
    labels: int, confidence: float
) -> None:
    """A judge that passes everything says nothing: what is left is the interval of the labels alone."""
    people = [True] * (labels // 2) + [False] * (labels - labels // 2)
    found = corrected_rate(people, [True] * labels, passed=9, judged=9, confidence=confidence)
    assert found is not None
    mean = np.mean(people)
    half = QUANTILES[confidence][labels - 2] * np.std(people, ddof=1) / np.sqrt(labels)
    assert found.rate == mean
    assert found.low == pytest.approx(max(0, mean - half), rel=2e-3, abs=1e-3)
    assert found.high == pytest.approx(min(1, mean + half), rel=2e-3, abs=1e-3)
