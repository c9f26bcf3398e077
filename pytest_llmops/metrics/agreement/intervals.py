"""Compute bootstrap intervals of Cohen's kappa."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from pytest_llmops._util.lazy_numpy import Float64Array, NDArray, np
from pytest_llmops.metrics.agreement.two_raters import Weights, check_labels, judge_rates, kappa_scale

_Kappas: TypeAlias = "Callable[[Float64Array], Float64Array]"
Label = TypeVar("Label", bound=Hashable)
RESAMPLES = 2000
MAX_DRAWN_CELLS = 2_000_000  # numbers drawn at a time, to limit the memory for many items
ROUNDING = 1e-12


def kappa_interval(
    a: Sequence[Label],
    b: Sequence[Label],
    *,
    weights: Weights | None = None,
    groups: Sequence[str] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Return the bootstrap interval of Cohen's kappa; the same labels give the same interval.

    Kappa exceeds the lower end for ``confidence=0.9`` with 95 % confidence. A resample with a single label says
    nothing about agreement and counts as a kappa of 0: if a class is rare, the lower end is low, as it should be. If
    the raters agree on every item of two common classes, the interval is a point, as no disagreement can be drawn;
    have at least 50 items.

    Args:
        a: Labels of the first rater.
        b: Labels of the second rater, for the same items in the same order.
        weights: As in `cohen_kappa`.
        groups: The group of each item; None: each item is a group. Items of a group (answers to paraphrases of a
            question) are drawn together, as they are not independent.
        confidence: Share of resampled kappas within the interval.
        seed: Seed of the draws.

    Returns:
        Lower and upper end, -1 to 1; None if there is no kappa, or only a single group.

    Raises:
        ValueError: As `cohen_kappa`; another number of groups than items; a confidence that is not between 0 and 1.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile interval).

    >>> low, high = kappa_interval([1] * 50 + [0] * 50, [1] * 40 + [0] * 50 + [1] * 10)
    >>> 0.4 < low < 0.5 and 0.7 < high < 0.8
    True
    """
    check_labels(a, b)
    if not 0 < confidence < 1:
        raise ValueError(f"agreement: expected a confidence between 0 and 1, got {confidence}")
    if groups is not None and len(groups) != len(a):
        raise ValueError(f"agreement: expected a group for each of {len(a)} items, got {len(groups)}")
    # In order of occurrence: the order of a set, and so the draws, would differ between processes.
    positions = kappa_scale(list(dict.fromkeys([*a, *b])), weights)
    if len(positions) < 2 or (groups is not None and len(set(groups)) < 2):  # noqa: PLR2004 -- no kappa, no spread
        return None
    numbers = {label: number for number, label in enumerate(positions)}
    pairs = np.array([numbers[x] * len(positions) + numbers[y] for x, y in zip(a, b, strict=True)])
    cells, cell = np.unique(pairs, return_inverse=True)
    first, second = np.divmod(cells, len(positions))
    kinds, often = _group_kinds(cell, len(cells), groups)
    points = _place_labels(np.array(list(positions.values())), weights)
    kappa_of_counts = _kappas_of_counts(points, first, second)
    draws = np.random.default_rng(seed)
    kappas: list[Float64Array] = []
    block = max(1, MAX_DRAWN_CELLS // max(len(often), len(cells), len(positions)))
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        drawn = draws.multinomial(int(often.sum()), often / often.sum(), size=size)
        kappas.append(kappa_of_counts(drawn.astype(np.float64) if kinds is None else drawn @ kinds))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(kappas), [tail, 1 - tail])
    return float(low), float(high)


def _group_kinds(
    cell: NDArray[np.intp], width: int, groups: Sequence[str] | None
) -> tuple[Float64Array | None, NDArray[np.intp]]:
    """Return the distinct label counts of groups and how many groups have them; None: each pair of labels is a kind.

    Drawing a kind as often as it occurs equals drawing its groups.
    """
    if groups is None or len(set(groups)) == len(groups):
        return None, np.bincount(cell, minlength=width)
    known = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    table = np.zeros((len(known), width))
    np.add.at(table, (np.array([known[name] for name in groups]), cell), 1)
    return np.unique(table, axis=0, return_counts=True)


def _kappas_of_counts(points: Float64Array, first: NDArray[np.intp], second: NDArray[np.intp]) -> _Kappas:
    """Return a function from counts of label pairs to kappas: disagreement is the squared distance of two points.

    The points of names are the unit vectors: all of them are equally far from each other.
    """
    x, y = points[first], points[second]
    apart, lengths = ((x - y) ** 2).sum(axis=1), (x**2 + y**2).sum(axis=1)

    def kappas(counts: Float64Array) -> Float64Array:
        size = counts.sum(axis=1)
        by_chance = size * (counts @ lengths) - 2 * ((counts @ x) * (counts @ y)).sum(axis=1)
        # If all labels are the same the sums cancel only up to rounding.
        known = by_chance > np.square(size) * ROUNDING
        return np.where(known, 1 - counts @ apart * size / np.where(known, by_chance, 1.0), 0.0)

    return kappas


def _place_labels(positions: Float64Array, weights: Weights | None) -> Float64Array:
    if not weights:
        return np.eye(len(positions))
    halved = positions / 2  # the width of a scale may be more than a float holds
    unit = (halved - halved.min()) / (halved.max() - halved.min())
    centred: Float64Array = (unit - unit.mean())[:, None]
    return centred


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
