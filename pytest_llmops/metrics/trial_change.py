"""Statistics of a change between two runs of the same cases, from the scores of their single trials.

The set of cases is fixed: the question is whether these cases got worse, not whether unseen ones would. So the test is
a permutation test within the cases: if nothing changed, it does not matter which trials of a case are called "before"
and which "after". That is exact for any number of trials and any scores. Nothing heavy is imported until a function is
called.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from statistics import NormalDist, fmean
from typing import Any

from pytest_llmops._util.arrays import Float64Array, np

DRAWS = 9_999
# If the trials of a case can be split in at most this many ways, all splits are listed; otherwise each draw shuffles
MAX_SUBSETS = 20_000
# If at least this share of its scores is 0 or 1, a metric is treated as pass or fail
NEARLY_ALL = 0.9
ROUNDING = 1e-9  # sums of the same trials in another order differ by less: they are ties
POWER = 0.8


@dataclass(frozen=True, slots=True)
class TrialPair:
    """Scores of the trials of a case before and after a change, higher is better; neither is empty.

    Raises:
        ValueError: A side has no trial, or a score is not finite.

    >>> TrialPair((0.5, 1.0), (0.5,)).difference
    -0.25
    """

    before: tuple[float, ...]
    after: tuple[float, ...]

    def __post_init__(self) -> None:
        are_finite = all(map(math.isfinite, (*self.before, *self.after)))
        if not self.before or not self.after or not are_finite:
            raise ValueError(
                f"trials: expected at least one finite score on each side, got {self.before} and {self.after}"
            )

    @property
    def difference(self) -> float:
        """Mean score after, minus mean score before."""
        return fmean(self.after) - fmean(self.before)


Trials = Mapping[str, TrialPair]  # the trials of a metric, by case


def mean_change(trials: Trials) -> float:
    """Return the mean change of a case: the mean of `TrialPair.difference`, in which all cases count the same.

    Raises:
        ValueError: There are no cases.

    >>> mean_change({"a": TrialPair((1.0,), (0.5,)), "b": TrialPair((0.0, 0.0), (0.0,))})
    -0.25
    """
    if not trials:
        raise ValueError("trials: expected at least one case, got none")
    return fmean(pair.difference for pair in trials.values())


def draw_null_changes(metrics: Sequence[Trials], *, draws: int = DRAWS, seed: int = 0) -> Float64Array:
    """Return random mean changes as they occur if nothing changed.

    Each draw splits the trials of every case at random into "before" and "after".

    Args:
        metrics: The trials of each metric. A draw splits a case in the same way for all metrics that have the same
            number of trials of it, so that the metrics stay as dependent on each other as they are.
        draws: Number of draws.
        seed: Seed of the draws: the same seed and trials give the same changes.

    Returns:
        An array of metrics by draws.

    Source: Pesarin and Salmaso, "Permutation Tests for Complex Data", 2010, chapters 1 and 4.

    >>> draw_null_changes([{"a": TrialPair((1.0,), (1.0,))}], draws=3).tolist()
    [[0.0, 0.0, 0.0]]
    """
    # `scipy.stats.permutation_test` has one statistic of all samples: it cannot permute within cases, and all metrics alike
    changes = np.zeros((len(metrics), draws))
    case_counts = np.array([[len(trials)] for trials in metrics])
    generator = np.random.default_rng(seed)
    for case in sorted(set().union(*metrics)):
        for (before, after), indexes in sorted(_group_by_shape(metrics, case).items()):
            pairs = [metrics[index][case] for index in indexes]
            pooled = np.array([(*pair.before, *pair.after) for pair in pairs])
            totals = pooled.sum(axis=1, keepdims=True)
            sums_after = _draw_subset_sums(pooled, after, draws, generator)
            # The mean after minus the mean before, whose sum is the total minus the sum after
            weight = 1 / before + 1 / after
            differences = sums_after * weight - totals / before
            changes[indexes] += differences / case_counts[indexes]
    return changes


def _group_by_shape(metrics: Sequence[Trials], case: str) -> dict[tuple[int, int], list[int]]:
    """Return (trials before, trials after) -> indexes of the metrics with that many trials of a case.

    Metrics without the case are left out.
    """
    by_shape: dict[tuple[int, int], list[int]] = {}
    for index, trials in enumerate(metrics):
        pair = trials.get(case)
        if pair is not None:
            shape = (len(pair.before), len(pair.after))
            by_shape.setdefault(shape, []).append(index)
    return by_shape


def _draw_subset_sums(
    pooled: Float64Array, size: int, draws: int, generator: np.random.Generator
) -> Float64Array:
    """Return an array (rows, draws) of sums of ``size`` random columns; a draw uses the same columns for all rows."""
    width = pooled.shape[1]
    if math.comb(width, size) <= MAX_SUBSETS:
        subsets = _list_subsets(width, size)
        sums_of_all = pooled @ subsets
        drawn = generator.integers(0, subsets.shape[1], size=draws)
        return sums_of_all[:, drawn]
    columns = np.tile(np.arange(width), (draws, 1))
    chosen = generator.permuted(columns, axis=1)[:, :size]
    sums: Float64Array = pooled[:, chosen].sum(axis=2)
    return sums


@lru_cache(maxsize=64)
def _list_subsets(width: int, size: int) -> Float64Array:
    """Return all subsets of ``size`` out of ``width`` items, as the columns of an array of zeros and ones."""
    all_subsets = list(combinations(range(width), size))
    members = np.array(all_subsets, dtype=np.intp)
    subsets = np.zeros((width, len(members)))
    subsets[members.T, np.arange(len(members))] = 1.0
    return subsets


def drop_p_value(change: float, null_changes: Float64Array) -> float:
    """Return the one-sided p-value of a drop: the share of draws that are as low as the change, or lower.

    The change itself counts as one of the draws, so the p-value is never 0.

    >>> import numpy as np
    >>> drop_p_value(-0.5, np.array([-0.5, 0.0, 0.5]))
    0.5
    """
    as_low = (null_changes <= change + ROUNDING).sum()
    return float((1 + as_low) / (1 + len(null_changes)))


def joint_drop_p_values(changes: Sequence[float], null_changes: Float64Array) -> list[float]:
    """Return p-values of drops in several metrics, adjusted for their number.

    If all metrics with p-values below a level raise an alarm, the probability of any false alarm is at most that level.
    To this end a metric's change is compared with the largest drop of any metric in each draw, both in standard
    deviations. Additional metrics that are strongly correlated cost little power.

    Args:
        changes: The change of each metric.
        null_changes: What `draw_null_changes` returns for the same metrics.

    Source: Westfall and Young, "Resampling-Based Multiple Testing", 1993 (single-step max-T).

    >>> import numpy as np
    >>> joint_drop_p_values([-1.0, 0.0], np.array([[-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    [0.5, 1.0]
    """
    spread = null_changes.std(axis=1)
    # A metric without any spread cannot have changed: it raises no alarm, and no threshold for the others.
    varied = spread > ROUNDING
    if not varied.any():
        return [1.0] * len(changes)
    standardized = null_changes[varied] / spread[varied, None]
    lowest = standardized.min(axis=0)
    p_values = [1.0] * len(changes)
    for index in np.flatnonzero(varied).tolist():
        standardized_change = changes[index] / spread[index]
        p_values[index] = drop_p_value(standardized_change, lowest)
    return p_values


def joint_change_p_values(changes: Sequence[float], null_changes: Float64Array) -> list[float]:
    """Return two-sided p-values of changes: twice the smaller p-value of a drop and of a rise.

    Like those of `joint_drop_p_values` they are adjusted for the number of metrics; the arguments are the same.

    >>> import numpy as np
    >>> joint_change_p_values([1.0], np.array([[-1.0, 0.0, 0.0]]))
    [0.5]
    """
    drops = joint_drop_p_values(changes, null_changes)
    rises = joint_drop_p_values([-change for change in changes], -null_changes)
    smaller = [min(drop, rise) for drop, rise in zip(drops, rises, strict=True)]
    return [min(1.0, 2 * p_value) for p_value in smaller]


def mcnemar_p_value(fixed: int, broken: int) -> float:
    """Return the two-sided p-value of McNemar's exact test, for cases that pass or fail.

    It is the probability that ``fixed`` and ``broken`` differ at least this much if a change in either direction is
    equally likely.

    Args:
        fixed: How many cases changed from fail to pass.
        broken: How many cases changed from pass to fail.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions", 1947.

    >>> mcnemar_p_value(0, 6), mcnemar_p_value(3, 3)
    (0.03125, 1.0)
    """
    changed = fixed + broken
    if not changed:
        return 1.0
    from scipy.special import bdtr

    one_sided = float(bdtr(min(fixed, broken), changed, 0.5))
    return min(1.0, 2 * one_sided)


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """Return p-values that are adjusted for their number (Holm), in the same order.

    If all below a level raise an alarm, the probability of any false alarm is at most that level.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.

    >>> adjust_p_values([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    # scipy only has `false_discovery_control`, which limits the share of false alarms, not their probability
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        scaled = (len(p_values) - rank) * p_values[index]
        highest = max(highest, min(1.0, scaled))
        adjusted[index] = highest
    return adjusted


def compare_families(
    families: Mapping[str, Trials],
    *,
    is_quality: bool = True,
    alpha: float = 0.05,
    floor: float = 0.02,
    margin: float = 0.05,
) -> dict[str, dict[str, Any]]:
    """Return for each family a mapping of its figures.

    The keys are ``status``, ``change``, ``interval`` (of the change, with 1 - alpha; empty if unknown), ``before`` and
    ``after`` (mean scores) and ``cases`` (their number). The status is ``better`` or ``worse`` (the change is
    significant and not below the floor), ``equivalent`` (the interval lies within the margin) or ``undecided``. The
    p-values are adjusted for the number of families.

    Args:
        families: The trials of each family; a case may be in several families.
        is_quality: Whether a higher score is better. If not, the scores are similarities: a significant drop has the
            status ``changed``, and a rise has no status of its own.
        alpha: The probability of a significant change in any family if nothing changed.
        floor: A smaller change is never ``better``, ``worse`` or ``changed``.
        margin: Changes up to this size count as no change.

    >>> compare_families({"all": {"a": TrialPair((0.9, 0.9), (0.9, 0.9))}})["all"]["status"]
    'equivalent'
    """
    nulls = draw_null_changes(list(families.values()))
    compared = {}
    changes = [mean_change(trials) for trials in families.values()]
    p_values = joint_change_p_values(changes, nulls)
    for (name, trials), change, p_value in zip(families.items(), changes, p_values, strict=True):
        status = "undecided"
        interval = _change_interval(trials, change, alpha)
        if interval and -margin < interval[0] and interval[1] < margin:
            status = "equivalent"
        if p_value <= alpha and abs(change) >= floor:
            if not is_quality and change < 0:
                status = "changed"
            elif is_quality and change > 0:
                status = "better"
            elif is_quality:
                status = "worse"
        means_before = [fmean(pair.before) for pair in trials.values()]
        means_after = [fmean(pair.after) for pair in trials.values()]
        compared[name] = {
            "status": status,
            "change": change,
            "interval": interval,
            "before": fmean(means_before),
            "after": fmean(means_after),
            "cases": len(trials),
        }
    return compared


def _change_interval(trials: Trials, change: float, alpha: float) -> list[float]:
    """Return lower and upper end of the interval of a change; [] if there are too few trials or cases for one."""
    error = estimate_change_error(trials)
    if error is None:
        return []
    level = 1 - alpha / 2
    lower = error.lower_end(change, level)
    upper = -error.lower_end(-change, level)
    return [lower, upper]


@dataclass(frozen=True, slots=True)
class ChangeError:
    """Standard error of a mean change.

    Attributes:
        freedom: Its degrees of freedom.
        offset: An amount by which the lower end is lowered further.
        growth: How much a drop of 1 would raise the squared error: if rare failures become more frequent, scores vary
            more.
    """

    standard_error: float
    freedom: int
    offset: float = 0.0
    growth: float = 0.0

    def lower_end(self, change: float, level: float) -> float:
        """Return the lower end of the one-sided interval: the true change is above it with probability ``level``."""
        from scipy.special import stdtrit

        quantile = float(stdtrit(self.freedom, level))
        return change - self.offset - quantile * self.standard_error

    def detectable_drop(self, alpha: float, power: float = POWER) -> float:
        """Return the drop that a one-sided test at level ``alpha`` finds with probability ``power``.

        >>> round(ChangeError(0.02, 100).detectable_drop(0.05), 3)
        0.05
        """
        normal = NormalDist()
        size = normal.inv_cdf(1 - alpha) + normal.inv_cdf(power)
        # The error depends on the drop itself. This solves drop = size * sqrt(error ** 2 + growth * drop) for drop
        half = size**2 * self.growth / 2
        return half + math.hypot(half, size * self.standard_error)


def estimate_change_error(
    trials: Trials, *, trials_before: int = 0, trials_after: int = 0
) -> ChangeError | None:
    """Return the standard error of `mean_change`; None if there are too few trials or cases.

    If enough cases have repeated trials, it is computed from the spread within cases, since the cases are fixed.
    Otherwise it is computed from the spread of the cases' differences (paired t), which includes the spread between
    cases and so is larger.

    Args:
        trials: The trials of a metric.
        trials_before: For planning: the error with this many trials of each case before the change; 0: as many as
            there are. Where the error comes from the spread of the cases' differences, 0 means a single trial.
        trials_after: The same for the trials after the change.

    >>> estimate_change_error({"a": TrialPair((1.0,), (1.0,))}) is None
    True
    >>> estimate_change_error({"a": TrialPair((0.0, 1.0), (0.0, 1.0))}).freedom
    2
    """
    pairs = list(trials.values())
    count = len(trials)
    befores = [trials_before or len(pair.before) for pair in pairs]
    afters = [trials_after or len(pair.after) for pair in pairs]
    growth = 0.0
    if pairs and passes_or_fails(pairs):
        # p (1 - p) grows by 2 p - 1 times the drop of p
        pass_rate = fmean(fmean(pair.after) for pair in pairs)
        growth = max(2 * pass_rate - 1, 0.0) / sum(afters)
    noise = pool_noise(pairs)
    if noise is not None:
        # The variance of the mean difference, in variances of a trial
        counts = zip(befores, afters, strict=True)
        variance = sum(1 / before + 1 / after for before, after in counts)
        standard_error = noise.standard_error * math.sqrt(variance) / count
        return ChangeError(standard_error, noise.freedom, growth=growth)
    if count < 2:  # noqa: PLR2004 -- a single difference has no spread
        return None
    spread = _sum_of_squares([pair.difference for pair in pairs]) / (count - 1)
    # A difference of single trials has two variances of a trial
    planned = (1 / (trials_before or 1) + 1 / (trials_after or 1)) / 2
    standard_error = math.sqrt(spread / count * planned)
    return ChangeError(standard_error, count - 1, growth=growth)


def passes_or_fails(pairs: Iterable[TrialPair]) -> bool:
    """Return whether nearly all scores are 0 or 1.

    >>> passes_or_fails([TrialPair((0.0, 1.0), (0.5,))]), passes_or_fails([TrialPair((0.0,), (1.0,))])
    (False, True)
    """
    scores = [score for pair in pairs for score in (*pair.before, *pair.after)]
    return fmean(score in (0.0, 1.0) for score in scores) >= NEARLY_ALL


def pool_noise(pairs: Sequence[TrialPair]) -> ChangeError | None:
    """Return the standard deviation of a trial within its case; None if there are too few repeated trials.

    It is pooled over all cases and both sides, weighted by their degrees of freedom, and applies to cases with a single
    trial too. At least as many degrees of freedom as cases are required: one repeated case does not show the noise of
    all others.

    >>> round(pool_noise([TrialPair((0.0, 1.0), (0.5,))]).standard_error, 3), pool_noise([TrialPair((1.0,), (1.0,))])
    (0.707, None)
    """
    sides = [side for pair in pairs for side in (pair.before, pair.after)]
    freedom = sum(len(side) - 1 for side in sides)
    if not pairs or freedom < len(pairs):
        return None
    squares = math.fsum(map(_sum_of_squares, sides))
    return ChangeError(math.sqrt(squares / freedom), freedom)


def _sum_of_squares(values: Sequence[float]) -> float:
    """Return the sum of the squared distances from the mean."""
    mean = fmean(values)
    return math.fsum((value - mean) ** 2 for value in values)
