"""Estimate the pass rate of human annotators from a few of their labels and many verdicts of a judge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmops.metrics.agreement.two_raters import judge_rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """A pass rate, corrected for the observed errors of a judge.

    Attributes:
        rate: The estimated pass rate of annotators, 0 to 1.
        low: Lower end of its interval.
        high: Upper end of its interval.
        naive: The uncorrected pass rate of the judge.
        weight: Weight of the judge's verdicts, 0 (labels alone) to 1.
        labels: Number of items with a human label.
        judged: Number of items that only the judge saw.
    """

    rate: float
    low: float
    high: float
    naive: float
    weight: float
    labels: int
    judged: int


def corrected_rate(
    people: Sequence[bool], judge: Sequence[bool], passed: int, judged: int, *, confidence: float = 0.95
) -> Corrected | None:
    """Return the share of items that annotators would pass, if only a judge has seen most of the items.

    The pass rate of a lenient judge is too high, and its interval gets narrower and more wrong with every verdict.
    The labelled items correct it: ``mean(y) + w (F - f)``, where y are the human labels, f and F the judge's pass
    rates of the labelled and of the other items, and w makes the interval narrowest:
    ``cov(y, f) / ((1 + n/N) var(f))``, within 0 to 1. The variance is ``w² var(F)/N + var(y - w f)/n``, the quantile
    Student's with n - 1 degrees of freedom. Both sets must be drawn from the same items: labels of selected hard
    cases correct nothing.

    Args:
        people: Whether annotators pass each labelled item.
        judge: Whether the judge passes the same items, in the same order.
        passed: Number of items without a label that the judge passes.
        judged: Number of items without a label.
        confidence: Confidence of the interval. With 30 labels a nominal 95 % are 90 to 92 %; have at least 50.

    Returns:
        The rate with its interval, both within 0 to 1. None if nothing can be corrected: fewer than two labels, no
        other items, or the same label for every item (use `wilson_interval` for such a share).

    Raises:
        ValueError: The lists differ in length; more passed than judged, or fewer than 0.

    Source: Angelopoulos, Duchi and Zrnic, "PPI++: Efficient Prediction-Powered Inference", arXiv 2311.01453.

    >>> corrected = corrected_rate([True] * 80 + [False] * 20, [True] * 90 + [False] * 10, passed=450, judged=500)
    >>> round(corrected.rate, 2), round(corrected.naive, 2)
    (0.8, 0.9)
    """
    if not 0 <= passed <= judged:
        raise ValueError(f"corrected_rate: expected 0 to {judged} items that passed, got {passed}")
    if not 0 < confidence < 1:
        raise ValueError(f"corrected_rate: expected a confidence between 0 and 1, got {confidence}")
    observed = judge_rates(people, judge)
    n = len(people)
    y, f = sum(map(bool, people)), sum(map(bool, judge))
    if n < 2 or not judged or y in (0, n):  # noqa: PLR2004 -- a single label has no variance
        return None
    mean_y, mean_f, mean_other = y / n, f / n, passed / judged
    var_y = (y - n * mean_y**2) / (n - 1)
    var_f = (f - n * mean_f**2) / (n - 1)
    cov = (observed.tp - n * mean_y * mean_f) / (n - 1)
    weight = min(1.0, max(0.0, cov / ((1 + n / judged) * var_f))) if f not in (0, n) else 0.0
    rate = mean_y + weight * (mean_other - mean_f)
    rest = max(0.0, var_y - 2 * weight * cov + weight**2 * var_f)
    error = math.sqrt(weight**2 * mean_other * (1 - mean_other) / judged + rest / n)
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * error  # Student's quantile
    return Corrected(
        rate=_clamp_share(rate),
        low=_clamp_share(rate - half),
        high=_clamp_share(rate + half),
        naive=mean_other,
        weight=weight,
        labels=n,
        judged=judged,
    )


def _clamp_share(value: float) -> float:
    return min(1.0, max(0.0, value))
