"""Statistics of a change between two runs of the same cases, from the scores of their single trials.

The case set is fixed: the question is whether these cases got worse, not whether unseen ones would. Labels (before,
after) are permuted within each case, which is exact for any number of trials and any scores. Nothing heavy is imported
until a function is called.
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
# Up to this many ways to split the trials of a case, all
# of them are listed; above, each draw shuffles the trials
MAX_SUBSETS = 20_000
# Share of scores of 0 or 1 from which on a metric counts as passed or failed
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
    """Return the mean over the cases of the difference of their means; each case counts the same.

    Raises:
        ValueError: There are no cases.

    >>> mean_change({"a": TrialPair((1.0,), (0.5,)), "b": TrialPair((0.0, 0.0), (0.0,))})
    -0.25
    """
    if not trials:
        raise ValueError("trials: expected at least one case, got none")
    return fmean(pair.difference for pair in trials.values())


def draw_null_changes(metrics: Sequence[Trials], *, draws: int = DRAWS, seed: int = 0) -> Float64Array:
    """Return mean changes under "nothing changed": the labels before and after are permuted within each case.

    Args:
        metrics: The trials of each metric. A draw splits the trials of a case alike for all metrics with the same
            number of trials in it, so that their changes stay as dependent as they are.
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
            sums = _draw_subset_sums(pooled, after, draws, generator)
            weight = 1 / before + 1 / after
            differences = sums * weight - totals / before
            changes[indexes] += differences / case_counts[indexes]
    return changes


def _group_by_shape(metrics: Sequence[Trials], case: str) -> dict[tuple[int, int], list[int]]:
    """Return the indexes of the metrics with a case, by its number of trials before and after."""
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
    """Return sums of random subsets of the columns, the same columns for every row."""
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
    """Return all subsets as columns of zeros and ones."""
    all_subsets = list(combinations(range(width), size))
    members = np.array(all_subsets, dtype=np.intp)
    subsets = np.zeros((width, len(members)))
    subsets[members.T, np.arange(len(members))] = 1.0
    return subsets


def drop_p_value(change: float, null_changes: Float64Array) -> float:
    """Return the one-sided p-value of a drop: the share of draws at or below the change, which counts as one draw.

    >>> import numpy as np
    >>> drop_p_value(-0.5, np.array([-0.5, 0.0, 0.5]))
    0.5
    """
    as_low = (null_changes <= change + ROUNDING).sum()
    return float((1 + as_low) / (1 + len(null_changes)))


def joint_drop_p_values(changes: Sequence[float], null_changes: Float64Array) -> list[float]:
    """Return p-values of drops in several metrics that hold together: any false alarm among them has the p-value.

    Each change is held against the largest drop of any metric in a draw, in standard deviations of its metric. Adding
    metrics that follow each other costs little power.

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
    """Return p-values of changes up or down: twice the smaller of `joint_drop_p_values` on either side.

    >>> import numpy as np
    >>> joint_change_p_values([1.0], np.array([[-1.0, 0.0, 0.0]]))
    [0.5]
    """
    drops = joint_drop_p_values(changes, null_changes)
    rises = joint_drop_p_values([-change for change in changes], -null_changes)
    smaller = [min(drop, rise) for drop, rise in zip(drops, rises, strict=True)]
    return [min(1.0, 2 * p_value) for p_value in smaller]


def mcnemar_p_value(fixed: int, broken: int) -> float:
    """Return how likely so uneven changes of a yes or no are if either way is as likely: the exact test, two-sided.

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
    """Return p-values that hold together (Holm): any false alarm among those below a level has at most that probability.

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
    """Return of each family ``status``, ``change``, ``interval`` (95 %; may be empty), ``before``, ``after`` and ``cases``.

    The status is ``better`` or ``worse`` (a change of at least the floor is proved), ``equivalent`` (the interval lies within the
    margin) or ``undecided``. The p-values of all families hold together.

    Args:
        families: The trials of each family; the cases of one may be those of another.
        is_quality: Higher is better. Otherwise it is similarity, and a drop says ``changed``.
        alpha: Probability of a proved change in any family if nothing changed.
        floor: The smallest change that is proved.
        margin: The largest change that counts as none.

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
    """Return both ends of the interval of a change; empty if too few trials or cases give one."""
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
        offset: By how much more the lower end of the change lies below it.
        growth: By how much a drop raises the squared error, times the drop: rare failures that get more frequent vary more.
    """

    standard_error: float
    freedom: int
    offset: float = 0.0
    growth: float = 0.0

    def lower_end(self, change: float, level: float) -> float:
        """Return the lower end of the one-sided interval of a change: above it with probability ``level``."""
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
        # The drop whose own squared error it is: drop = size * sqrt(error ** 2 + growth * drop)
        half = size**2 * self.growth / 2
        return half + math.hypot(half, size * self.standard_error)


def estimate_change_error(
    trials: Trials, *, trials_before: int = 0, trials_after: int = 0
) -> ChangeError | None:
    """Return the standard error of `mean_change`; None if too few trials or cases give it.

    With repeated trials it is pooled from the spread within cases, as the cases are fixed; with a single trial on
    each side, or hardly a case with more, from the spread of the differences (paired t), which holds the spread between
    cases too.

    Args:
        trials: The trials of a metric.
        trials_before: Plan with this many trials of each case before the change; 0: those that there are.
        trials_after: The same after the change.

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
    """Return the standard deviation of a trial within its case; None: hardly a case has a second trial.

    It is pooled over all cases and both sides, by their degrees of freedom: a case of a single trial takes that of the
    others. A single repeated case does not tell the noise of all others.

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
    mean = fmean(values)
    return math.fsum((value - mean) ** 2 for value in values)
