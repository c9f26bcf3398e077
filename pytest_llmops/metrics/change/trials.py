"""A change between two runs of the same cases: the trials of both sides, the mean change and its standard error.

The set of cases is fixed: the question is whether these cases got worse, not whether unseen ones would. Whether a change is more than
chance is tested in `p_values`, how large it may be in `bounds`. Nothing heavy is imported until a function is called.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import NormalDist, fmean

# If at least this share of its scores is 0 or 1, a metric is treated as pass or fail
NEARLY_ALL = 0.9
POWER = 0.8


@dataclass(frozen=True, slots=True)
class TrialPair:
    """Scores of the trials of a case before and after a change, higher is better; neither is empty.

    Attributes:
        before: Trials of the baseline, session by session.
        after: Trials of the run, which is one session.
        sessions: How many trials each session of the baseline has; empty: all trials are of one.

    Raises:
        ValueError: A side has no trial, a score is not finite, or the sessions have another number of trials.

    >>> TrialPair((0.5, 1.0), (0.5,)).difference
    -0.25
    """

    before: tuple[float, ...]
    after: tuple[float, ...]
    sessions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        are_finite = all(map(math.isfinite, (*self.before, *self.after)))
        if not self.before or not self.after or not are_finite:
            raise ValueError(
                f"trials: expected at least one finite score on each side, got {self.before} and {self.after}"
            )
        if self.sessions and (min(self.sessions) < 1 or sum(self.sessions) != len(self.before)):
            raise ValueError(
                f"sessions: expected numbers above 0 that add up to {len(self.before)} trials, got {self.sessions}"
            )

    @property
    def difference(self) -> float:
        """Mean score after, minus mean score before."""
        return fmean(self.after) - fmean(self.before)

    def mirror(self) -> "TrialPair":
        """Return the pair with the better scores as the worse ones (1 - score): a rise becomes a drop."""
        before = tuple(1 - score for score in self.before)
        after = tuple(1 - score for score in self.after)
        return TrialPair(before, after, self.sessions)

    def join_sessions(self) -> "TrialPair":
        """Return the pair with one score for each session, the mean of its trials; the run is one session.

        >>> TrialPair((1.0, 0.0, 1.0), (0.5, 0.0), sessions=(2, 1)).join_sessions()
        TrialPair(before=(0.5, 1.0), after=(0.25,), sessions=())
        """
        ends = accumulate(self.sessions or (len(self.before),), initial=0)
        means = tuple(fmean(self.before[start:end]) for start, end in pairwise(ends))
        return TrialPair(means, (fmean(self.after),))


Trials = Mapping[str, TrialPair]  # the trials of a metric, by case


def mean_change(trials: Trials) -> float:
    """Return the mean change of a case: the mean of `TrialPair.difference`, in which all cases count the same.

    Raises:
        ValueError: No cases are given.

    >>> mean_change({"a": TrialPair((1.0,), (0.5,)), "b": TrialPair((0.0, 0.0), (0.0,))})
    -0.25
    """
    if not trials:
        raise ValueError("trials: expected at least one case, got none")
    return fmean(pair.difference for pair in trials.values())


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
    ends = sum(score in (0.0, 1.0) for score in scores)
    return ends / len(scores) >= NEARLY_ALL


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
