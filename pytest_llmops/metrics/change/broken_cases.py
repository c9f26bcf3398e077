"""Cases that broke: every trial of the run is below every trial of the baseline. How likely does only chance do that?

Take the cases whose trials *can* be split into "all of one side below all of the other". If nothing changed, each of them is split just
so with the probability 1 / C(k0 + k1, k1), whatever its pass rate: 1 in 20 with three trials on both sides. So the number of cases that
broke follows from the number of cases that can. Flaky cases make more cases that can, and so raise the bar.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from pytest_llmops._util.arrays import np
from pytest_llmops.metrics.change.trials import TrialPair, Trials

GAP = 0.25  # a case broke if its mean fell at least so far
ROUNDING = 1e-9
# Trials of a case that are run again in another session: as many as prove it if all of them fail, but at most these
MOST_AGAIN = 6
# Trials of a session hang together: where an answer flips as a whole, ten of them show no more than one. So for what two sessions prove
# together, at most these of the baseline and of the first run count.
COUNTED_TRIALS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenCases:
    """The cases of a metric that broke.

    Attributes:
        broke: Their names, in the order of the trials.
        mended: How many cases rose as clearly, if both sides had as many trials; a number with a fraction.
        possible: Numbers of trials (before, after) of each case that could have broken or mended, whatever the labels.
        chance: The probability that as many break if nothing changed; 1 if none broke.
    """

    broke: tuple[str, ...] = ()
    mended: float = 0.0
    possible: tuple[tuple[int, int], ...] = ()
    chance: float = 1.0

    @property
    def none_mended(self) -> bool:
        """Whether no case rose as clearly, rounded to whole cases."""
        return self.mended < 0.5  # noqa: PLR2004 -- half a case


def find_broken_cases(trials: Trials) -> BrokenCases:
    """Return the cases that broke, and the odds of chance.

    >>> always = TrialPair((1.0, 1.0, 1.0), (1.0, 1.0, 1.0))
    >>> find_broken_cases({"late": TrialPair((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), "other": always})
    BrokenCases(broke=('late',), mended=0.0, possible=((3, 3),), chance=0.05)
    """
    broke = [case for case, pair in trials.items() if is_below(pair.after, pair.before)]
    mended = math.fsum(map(_share_mended, trials.values()))
    possible = [(len(pair.before), len(pair.after)) for pair in trials.values() if _can_be_split(pair)]
    odds = [split_odds(*shape) for shape in possible]
    return BrokenCases(
        broke=tuple(broke),
        mended=mended,
        possible=tuple(possible),
        chance=chance_of_at_least(len(broke), odds),
    )


def split_odds(before: int, after: int) -> float:
    """Return the probability that chance puts all trials of a run below all of the baseline, if they can be split so.

    >>> split_odds(3, 3), split_odds(1, 1)
    (0.05, 0.5)
    """
    return 1 / math.comb(before + after, after)


def is_below(lower: Collection[float], upper: Collection[float]) -> bool:
    """Return whether all scores are below all others, and on average by `GAP` or more."""
    if max(lower) >= min(upper) - ROUNDING:
        return False
    return fmean(upper) - fmean(lower) >= GAP - ROUNDING


def _can_be_split(pair: TrialPair) -> bool:
    """Return whether some labels would make a case broken: its lowest trials, as many as the run has, are below all others."""
    pooled = sorted((*pair.before, *pair.after))
    size = len(pair.after)
    return is_below(pooled[:size], pooled[size:])


def _share_mended(pair: TrialPair) -> float:
    """Return how clearly a case rose: the share of choices of as many trials of both sides in which all of one are above the other.

    With ten trials against three it would be too rare that all ten are below, so three of the ten are looked at, whichever they are.
    """
    if fmean(pair.after) - fmean(pair.before) <= 0:
        return 0.0
    count = min(len(pair.before), len(pair.after))
    if len(pair.before) >= len(pair.after):
        lower = [score for score in pair.before if score < min(pair.after) - ROUNDING]
        upper: Collection[float] = pair.after
        choices = math.comb(len(pair.before), count)
        clear = math.comb(len(lower), count)
    else:
        lower = list(pair.before)
        upper = [score for score in pair.after if score > max(pair.before) + ROUNDING]
        choices = math.comb(len(pair.after), count)
        clear = math.comb(len(upper), count)
    if not clear or not is_below(lower, upper):
        return 0.0
    return clear / choices


def chance_of_at_least(count: int, odds: Iterable[float]) -> float:
    """Return the probability that at least ``count`` of independent events happen, from the odds of each (Poisson-binomial).

    >>> chance_of_at_least(0, []), round(chance_of_at_least(2, [0.5, 0.5]), 12)
    (1.0, 0.25)
    """
    if count <= 0:
        return 1.0
    # reached[n]: the probability of n events so far; the last entry means "count or more"
    reached = np.zeros(count + 1)
    reached[0] = 1.0
    for chance in odds:
        moved = reached * chance
        certain = moved[-1]
        reached -= moved
        reached[1:] += moved[:-1]
        reached[-1] += certain
    return float(reached[-1])


def confirm_broken_cases(
    earlier: Mapping[str, TrialPair],
    again: Mapping[str, tuple[float, ...]],
    possible: Iterable[tuple[int, int]],
) -> BrokenCases:
    """Return the broken cases that failed again in another session, and the odds that chance does all of it.

    Args:
        earlier: The cases that broke, with the trials of the baseline and of the run in which they broke.
        again: Scores of their trials in the other session. A case without any is not confirmed.
        possible: `BrokenCases.possible` of the earlier run.

    >>> late = TrialPair((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    >>> round(confirm_broken_cases({"late": late}, {"late": (0.0,) * 4}, [(3, 3)]).chance, 4)
    0.0083
    """
    broke = []
    further = 0
    for case, pair in earlier.items():
        scores = again.get(case, ())
        if scores and is_below((*pair.after, *scores), pair.before):
            broke.append(case)
            further = max(further, len(scores))
    possible = tuple(possible)
    chance = chance_of_at_least(len(broke), _odds_of_both(possible, further))
    return BrokenCases(broke=tuple(broke), possible=possible, chance=chance)


def _odds_of_both(possible: Iterable[tuple[int, int]], further: int) -> list[float]:
    """Return the odds that a case breaks by chance in the run and in a later session of ``further`` trials, for each case that can."""
    odds = []
    for before, after in possible:
        counted = min(before, COUNTED_TRIALS), min(after, COUNTED_TRIALS) + further
        odds.append(split_odds(*counted))
    return odds


def plan_trials_again(broken: BrokenCases, level: float) -> int:
    """Return how many trials in another session prove that the cases broke if all fail again; 0: no number does.

    At least as many as the run had, and at most `MOST_AGAIN` if the run had no more.

    >>> plan_trials_again(BrokenCases(broke=("late",), possible=((3, 3),)), 0.01)
    4
    >>> plan_trials_again(BrokenCases(broke=("late",), possible=((3, 3),) * 11), 0.01)
    0
    """
    least = max((after for _, after in broken.possible), default=1)
    most = max(least, MOST_AGAIN)
    for further in range(least, most + 1):
        if chance_of_at_least(len(broken.broke), _odds_of_both(broken.possible, further)) <= level:
            return further
    return 0
