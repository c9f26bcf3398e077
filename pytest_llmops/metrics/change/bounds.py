"""The likely range of a mean change, and how large a drop it rules out.

A drop is ruled out only if four bounds exclude it, as each is wrong somewhere:

- *by cases*: the spread of the differences between cases (t interval), corrected for skewness. It holds however the trials of a case
  hang together.
- *by trials*: the spread of trials within cases, each side with its own. A quiet baseline does not vouch for the run.
- *by number*: a run of N good trials cannot exclude that one trial in N / 3 fails. 59 trials exclude one in 20 at 5 %.
- *by failures* (scores of 0 and 1 only): so few failures would be rare if the run failed more often (binomial).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from pytest_llmops.metrics.change.trials import TrialPair, Trials, passes_or_fails, pool_noise

ROUNDING = 1e-9
SKEW_FACTOR = (
    2.0  # Johnson's correction counts twice: once, near the ceiling, lets 6 to 9 % through instead of 5
)
MIN_CASES = 2


@dataclass(frozen=True, slots=True)
class Side:
    """The baseline or the run of a metric.

    Attributes:
        mean: Mean score over the cases.
        trials: How many trials there are in all cases.
        variance: Variance of the mean, from the spread of the side's own trials within cases; of a side with single trials, its part
            of the spread of the differences between cases.
    """

    mean: float
    trials: int
    variance: float


def lower_bound(trials: Trials, level: float) -> float | None:
    """Return the largest change that is ruled out: the true change is above it, with an error of ``level``; None with fewer than two cases.

    Args:
        trials: The trials of a metric; scores are from 0 to 1, higher is better.
        level: Such as .05.

    Sources: Johnson, "Modified t Tests and Confidence Intervals for Asymmetrical Populations", 1978; Agresti and Caffo, "Simple and
    Effective Confidence Intervals for Proportions", 2000; Clopper and Pearson, 1934.

    >>> passed = {str(number): TrialPair((1.0,) * 3, (1.0,) * 3) for number in range(20)}
    >>> round(lower_bound(passed, 0.05), 3)
    -0.049
    """
    likely = bound_range(trials, level)
    if likely is None:
        return None
    return rule_out(trials, level, likely)


def rule_out(trials: Trials, level: float, likely: tuple[float, float]) -> float:
    """Return the same as `lower_bound`, from the likely range that `bound_range` returned."""
    bounds = [likely[0]]
    run = sum(len(pair.after) for pair in trials.values())
    bounds.append(-_unseen_share(run, level))
    if passes_or_fails(trials.values()):
        bounds.append(_bound_failures(list(trials.values()), run, level))
    return min(bounds)


def bound_range(trials: Trials, level: float) -> tuple[float, float] | None:
    """Return the likely range of the change, from the spread of only cases and trials; None with fewer than two cases.

    The true change is below the lower end, or above the upper one, with an error of ``level`` each. Unlike `lower_bound` it states nothing
    about rare answers that these trials did not meet.
    """
    if len(trials) < MIN_CASES:
        return None
    differences = [pair.difference for pair in trials.values()]
    falls = [-difference for difference in differences]
    spread = _spread_within_cases(trials, level)
    lower = min(_bound_by_cases(differences, level), fmean(differences) - spread.down)
    upper = max(-_bound_by_cases(falls, level), fmean(differences) + spread.up)
    return lower, upper


def needed_trials(level: float, margin: float) -> int:
    """Return how many trials a run needs so that a failure rate of ``margin`` can be ruled out at all; 0 for a margin of 1 or more.

    >>> needed_trials(0.05, 0.05), needed_trials(0.025, 0.05)
    (59, 72)
    """
    if margin >= 1:
        return 0
    return math.ceil(math.log(level) / math.log(1 - margin) - ROUNDING)


def _unseen_share(trials: int, level: float) -> float:
    """Return the largest share of bad trials that so many good ones leave possible; the inverse of `needed_trials`."""
    return float(1 - level ** (1 / trials))


def _bound_by_cases(differences: Sequence[float], level: float) -> float:
    """Return the lower end of the t interval of the differences; lower still if these are skewed downwards."""
    count = len(differences)
    quantile = _t_quantile(level, count - 1)
    skewness = max(-_skewness(differences), 0.0)
    skewed = SKEW_FACTOR * skewness * (1 + 2 * quantile**2) / (6 * math.sqrt(count))
    return fmean(differences) - (quantile + skewed) * math.sqrt(_variance_of_mean(differences))


@dataclass(frozen=True, slots=True)
class _Width:
    """How far the change may be from the measured one, down and up."""

    down: float
    up: float


def _spread_within_cases(trials: Trials, level: float) -> _Width:
    """Return the width of the interval whose spread is the spread of the trials within cases, each side with its own."""
    pairs = list(trials.values())
    old, new = measure_sides(trials)
    cases = len(pairs)
    further_old = sum(len(pair.before) - 1 for pair in pairs)
    further_new = sum(len(pair.after) - 1 for pair in pairs)
    if not passes_or_fails(pairs):
        quantile = _t_quantile(level, max(further_new, cases - 1))
        width = quantile * math.sqrt(old.variance + new.variance)
        return _Width(width, width)
    quantile = _t_quantile(level, max(further_old + further_new, cases - 1))
    unseen = unseen_variance(old.trials) + unseen_variance(new.trials)
    width = quantile * math.sqrt(old.variance + new.variance + unseen)
    return _Width(width + centre_offset(old, new), width + centre_offset(new, old))


def centre_offset(old: Side, new: Side) -> float:
    """Return by how much one more passed and one more failed trial on each side lower the change; at least 0 (Agresti and Caffo)."""
    before = (1 - 2 * old.mean) / (old.trials + 2)
    after = (1 - 2 * new.mean) / (new.trials + 2)
    return max(before - after, 0.0)


def unseen_variance(trials: float) -> float:
    """Return the variance of a pass rate that one more passed and one more failed trial add.

    Without it 36 trials that all passed would have no spread, and exclude that one in 20 fails.
    """
    return (trials + 1) / (trials + 2) ** 3


def _bound_failures(pairs: Sequence[TrialPair], run: int, level: float) -> float:
    """Return how much more often than the baseline the run fails at most, as a negative change (Clopper and Pearson)."""
    from scipy.special import betaincinv

    failed_before = 1 - fmean(fmean(pair.before) for pair in pairs)
    failures = math.fsum(1 - score for pair in pairs for score in pair.after)
    passes = run - failures
    if passes <= ROUNDING:
        return failed_before - 1
    most = float(betaincinv(failures + 1, passes, 1 - level))
    return failed_before - most


def measure_sides(trials: Trials) -> tuple[Side, Side]:
    """Return the baseline and the run with the spread of their own trials; at least one case.

    If a side has only single trials, the spread of the differences between cases is divided among both by their numbers of trials.
    """
    pairs = list(trials.values())
    scores = [[pair.before for pair in pairs], [pair.after for pair in pairs]]
    noises = [pool_noise([TrialPair(trials, trials) for trials in side]) for side in scores]
    totals = [sum(map(len, side)) for side in scores]
    means = [fmean(map(fmean, side)) for side in scores]
    variances = []
    for side, noise, total in zip(scores, noises, totals, strict=True):
        if None in noises:
            share = 1 / total / sum(1 / count for count in totals)
            variances.append(paired_variance(trials) * share)
        elif noise is not None:
            inverse_counts = sum(1 / len(own) for own in side)
            variances.append(noise.standard_error**2 * inverse_counts / len(side) ** 2)
    old, new = (Side(*values) for values in zip(means, totals, variances, strict=True))
    return old, new


def paired_variance(trials: Trials) -> float:
    """Return the variance of the mean change from the differences between cases; 0 with fewer than two cases."""
    return _variance_of_mean([pair.difference for pair in trials.values()])


def _variance_of_mean(values: Sequence[float]) -> float:
    count = len(values)
    if count < MIN_CASES:
        return 0.0
    mean = fmean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (count - 1) / count


def _skewness(values: Sequence[float]) -> float:
    """Return the skewness of values: the third moment by the cube of the standard deviation; 0 without a spread."""
    mean = fmean(values)
    spread = math.sqrt(fmean((value - mean) ** 2 for value in values))
    if spread <= ROUNDING:
        return 0.0
    third: float = fmean((value - mean) ** 3 for value in values)
    return third / spread**3


def _t_quantile(level: float, freedom: int) -> float:
    """Return the value that Student's t exceeds with the probability ``level``."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - level))
