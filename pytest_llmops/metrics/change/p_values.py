"""The probability that only chance moves a mean as far as measured, counted exactly: nothing is drawn, so no seed, name or order counts.

Two tests ask about the same change, and a change is proved only if both say so:

- *The trials*: if nothing changed, it does not matter which trials of a case are called "before" and which "after". All ways to
  exchange them are counted. That is exact if the trials are independent of each other. Trials of one run may hang together.
- *The cases*: is the mean larger than the differences between the cases explain (paired t)? This holds however the trials of a case
  hang together, and sees less.

If the baseline has trials of several sessions (days), whole sessions are exchanged instead. If they have as many trials as the run, the
second test is not needed.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from statistics import fmean, stdev

from pytest_llmops._util.arrays import Float64Array, np
from pytest_llmops.metrics.change.trials import Trials

# Scores that are not multiples of 1/n up to this n are rounded to steps of 1/n, only for the exchange of trials. It stays exact:
# the test is about the mean of the rounded scores. p moves by .004 on average.
MOST_STEPS = 100
# Cases with other numbers of trials need a common denominator of their means. If the sum could then have more values than these, the
# weights of the cases are rounded.
MOST_PLACES = 1_000_000
MOST_COUNTED = (
    60  # trials of a case, on both sides together: the number of choices among them fits into 64 bits
)
SHARE_WITH_SESSIONS = 0.9
ROUNDING = 1e-9  # limits are met by "at or below", whatever the last digits say
_STORED_DIGITS = 1e-6  # a stored 0.333333 is one of three steps
_NEGLIGIBLE = (
    1e-18  # probabilities below it, far below any limit, are dropped from the ends of a distribution
)
_SHORT = 256  # distributions up to this length are multiplied directly, which is faster than by FFT
_SLOT_BITS = 64


@dataclass(frozen=True, slots=True)
class _Distribution:
    """Probabilities of whole numbers: ``probabilities[i]`` belongs to ``first + i``."""

    first: int
    probabilities: Float64Array

    def add(self, other: "_Distribution") -> "_Distribution":
        """Return the distribution of the sum of two independent numbers."""
        left, right = self.probabilities, other.probabilities
        if min(len(left), len(right)) <= _SHORT:
            product = np.convolve(left, right)
        else:
            length = len(left) + len(right) - 1
            size = 1 << (length - 1).bit_length()
            spectrum = np.fft.rfft(left, size) * np.fft.rfft(right, size)
            product = np.maximum(np.fft.irfft(spectrum, size)[:length], 0.0)
        return _Distribution(self.first + other.first, product).trim()

    def trim(self) -> "_Distribution":
        """Return the distribution without the ends whose probabilities are negligible."""
        likely = np.flatnonzero(self.probabilities > _NEGLIGIBLE)
        start, end = int(likely[0]), int(likely[-1]) + 1
        return _Distribution(self.first + start, self.probabilities[start:end])

    def stretch(self, factor: int) -> "_Distribution":
        """Return the distribution of the number times a factor."""
        if factor == 1:
            return self
        wide = np.zeros((len(self.probabilities) - 1) * factor + 1)
        wide[::factor] = self.probabilities
        return _Distribution(self.first * factor, wide)

    def share_below(self, number: int) -> float:
        """Return the probability of less than a number, plus half the probability of the number itself."""
        place = number - self.first
        if place < 0:
            return 0.0
        below = float(self.probabilities[:place].sum())
        at = 0.0
        if place < len(self.probabilities):
            at = float(self.probabilities[place])
        return min(below + at / 2, 1.0)


def drop_p_value(trials: Trials) -> float:
    """Return the one-sided p-value of a drop: the larger of the two tests' (see the module).

    It is .5 or more if the mean did not fall. With fewer than two cases only several sessions can prove anything: otherwise it is 1.

    Raises:
        ValueError: No cases are given.

    >>> from pytest_llmops.metrics.change.trials import TrialPair
    >>> same = {f"case {number}": TrialPair((1.0,) * 3, (1.0,) * 3) for number in range(19)}
    >>> round(drop_p_value({**same, "late": TrialPair((1.0,) * 3, (0.0,) * 3)}), 3)
    0.165
    """
    if has_sessions(trials):
        p_value = exchange_sessions(trials)
        if _are_sessions_alike(trials):
            return p_value
        return max(p_value, compare_cases(trials))
    return max(exchange_trials(trials), compare_cases(trials))


def change_p_value(trials: Trials) -> float:
    """Return the two-sided p-value of a change, twice the smaller p-value of a drop and of a rise; at most 1.

    >>> from pytest_llmops.metrics.change.trials import TrialPair
    >>> change_p_value({"a": TrialPair((0.0,), (0.0,)), "b": TrialPair((1.0,), (1.0,))})
    1.0
    """
    rising = {case: pair.mirror() for case, pair in trials.items()}
    return min(1.0, 2 * min(drop_p_value(trials), drop_p_value(rising)))


def has_sessions(trials: Trials) -> bool:
    """Return whether the baseline has trials of two or more sessions, of nine in ten cases or more.

    A new case has one session. Exchanging it with the run is as exact, but the mean of few such cases would prove little.
    """
    several = sum(len(pair.sessions) > 1 for pair in trials.values())
    return several >= len(trials) * SHARE_WITH_SESSIONS - ROUNDING


def _are_sessions_alike(trials: Trials) -> bool:
    """Return whether all sessions have as many trials as the run. Means of ten trials and of one are not to be exchanged."""
    return all(set(pair.sessions or (len(pair.before),)) == {len(pair.after)} for pair in trials.values())


def exchange_trials(trials: Trials) -> float:
    """Return the share of all ways to exchange trials within cases that make the mean drop further; a drop as large counts half.

    Cases with other numbers of trials are weighted as in the mean change.

    Raises:
        ValueError: No cases are given.

    Source: Pesarin and Salmaso, "Permutation Tests for Complex Data", 2010, chapter 1; half of the ties: Lancaster, "Significance
    tests in discrete distributions", 1961.

    >>> from pytest_llmops.metrics.change.trials import TrialPair
    >>> exchange_trials({"late": TrialPair((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))})
    0.025
    """
    if not trials:
        raise ValueError("trials: expected at least one case, got none")
    steps = _choose_steps(trials)
    # Cases that have the same scores have the same distribution, which is made once.
    alike: Counter[tuple[tuple[int, ...], int]] = Counter()
    sums: Counter[tuple[int, int]] = Counter()  # by numbers of trials: the values of the run
    spans: Counter[tuple[int, int]] = Counter()
    for pair in trials.values():
        before = [round(score * steps) for score in pair.before]
        after = [round(score * steps) for score in pair.after]
        lowest = min(*before, *after)
        pooled = sorted(score - lowest for score in (*before, *after))
        if not pooled[-1]:  # nothing to exchange
            continue
        shape = len(before), len(after)
        sums[shape] += sum(after) - lowest * len(after)
        spans[shape] += sum(pooled[-len(after) :])
        alike[tuple(pooled), len(after)] += 1
    weights = _weigh_shapes(spans)
    measured = sum(weights[shape] * reached for shape, reached in sums.items())
    parts: dict[int, list[_Distribution]] = {}
    for (pooled_scores, size), count in alike.items():
        weight = weights[len(pooled_scores) - size, size]
        parts.setdefault(weight, []).extend([_spread_sums(pooled_scores, size)] * count)
    stretched = [_add_all(part).stretch(weight) for weight, part in parts.items()]
    return _add_all(stretched).share_below(measured)


def share_at_least(measured: int, parts: Iterable[Sequence[int]]) -> float:
    """Return the probability that the sum of one number of each part is above ``measured``; a sum that equals it counts half.

    Args:
        measured: The sum that was measured.
        parts: The numbers that are possible in each part; all of a part are equally likely.

    >>> share_at_least(2, [(0, 1), (0, 1)]), share_at_least(0, [])
    (0.125, 0.5)
    """
    distributions = []
    for numbers in parts:
        values = np.asarray(numbers)
        first = int(values.min())
        counts = np.bincount(values - first)
        distributions.append(_Distribution(first, counts / counts.sum()))
    return max(1 - _add_all(distributions).share_below(measured), 0.0)


def exchange_sessions(trials: Trials) -> float:
    """Return the same as `exchange_trials` for whole sessions: the trials of a session become their mean.

    That is exact however much the trials of a session have in common. The run is one more session.
    """
    return exchange_trials({case: pair.join_sessions() for case, pair in trials.items()})


def compare_cases(trials: Trials) -> float:
    """Return the p-value of a drop from the differences between cases (paired t); 1 with fewer than two cases.

    Without any spread it is 0 if the mean fell, else 1.

    >>> from pytest_llmops.metrics.change.trials import TrialPair
    >>> compare_cases({"a": TrialPair((1.0,), (0.5,)), "b": TrialPair((1.0,), (0.5,))})
    0.0
    """
    differences = [pair.difference for pair in trials.values()]
    count = len(differences)
    if count < 2:  # noqa: PLR2004 -- a single difference has no spread
        return 1.0
    mean = fmean(differences)
    spread = stdev(differences)
    if spread <= ROUNDING:
        return 0.0 if mean < -ROUNDING else 1.0
    from scipy.special import stdtr

    return float(stdtr(count - 1, mean / (spread / math.sqrt(count))))


def _choose_steps(trials: Trials) -> float:
    """Return the number of steps of a point to count in: at most `MOST_STEPS` in the widest case, as scores may be seconds or lengths."""
    sides = [(*pair.before, *pair.after) for pair in trials.values()]
    steps = find_steps(score for scores in sides for score in scores)
    widest = max(max(scores) - min(scores) for scores in sides)
    if widest * steps > MOST_STEPS:
        return MOST_STEPS / widest
    return steps


def find_steps(scores: Iterable[float]) -> int:
    """Return the smallest number of steps of a point of which all scores are multiples; `MOST_STEPS` if there is none.

    >>> find_steps([0.0, 1.0]), find_steps([0.25, 0.5]), find_steps([0.333333, 1.0]), find_steps([0.1234])
    (1, 4, 3, 100)
    """
    values = np.unique(np.asarray(list(scores)))
    for steps in range(1, MOST_STEPS):
        scaled = values * steps
        if np.abs(scaled - np.rint(scaled)).max() <= _STORED_DIGITS * steps:
            return steps
    return MOST_STEPS


def _weigh_shapes(spans: Mapping[tuple[int, int], int]) -> dict[tuple[int, int], int]:
    """Return by how much a step more after the change moves the mean of a case, for each pair of numbers of trials.

    The weights are whole numbers with the right proportions, as far as their distribution then has at most `MOST_PLACES` places; else
    they are rounded. A mean in which a case weighs a little more is tested as exactly.

    Args:
        spans: For each pair of numbers of trials, how many places the sums of all its cases span together.
    """
    exact = {shape: Fraction(1, shape[0]) + Fraction(1, shape[1]) for shape in spans}
    parts = math.lcm(*(weight.denominator for weight in exact.values()))
    places = math.fsum(span * exact[shape] for shape, span in spans.items())
    if len(spans) > 1 and places > 0:
        parts = min(parts, max(1, int(MOST_PLACES / places)))
    rounded = {shape: max(1, round(weight * parts)) for shape, weight in exact.items()}
    divisor = math.gcd(*rounded.values())
    return {shape: weight // divisor for shape, weight in rounded.items()}


@lru_cache(maxsize=4096)
def _spread_sums(pooled: tuple[int, ...], size: int) -> _Distribution:
    """Return the distribution of the sum of ``size`` of the whole numbers, if all choices are equally likely.

    ``ways[k]`` counts the choices of ``k`` numbers by their sum. It is one large integer with a slot of 64 bits for each sum, so that a
    shift adds a number to all sums at once, and an addition joins all counts (Kronecker substitution). The counts are exact.
    """
    if len(pooled) > MOST_COUNTED:
        return _approximate_sums(pooled, size)
    ways = [1] + [0] * size
    for number in pooled:
        for chosen in range(size, 0, -1):
            ways[chosen] += ways[chosen - 1] << (_SLOT_BITS * number)
    largest = sum(pooled[-size:])
    data = ways[size].to_bytes((largest + 1) * _SLOT_BITS // 8, "little")
    counts = np.frombuffer(data, dtype="<u8")
    return _Distribution(0, counts / math.comb(len(pooled), size)).trim()


def _approximate_sums(pooled: tuple[int, ...], size: int) -> _Distribution:
    """Return the normal distribution with the mean and variance of such a sum, in whole numbers: so many trials are too many to count."""
    from scipy.special import ndtr

    count = len(pooled)
    mean = fmean(pooled)
    variance = fmean((number - mean) ** 2 for number in pooled) * size * (count - size) / (count - 1)
    edges = np.arange(sum(pooled[:size]), sum(pooled[-size:]) + 2) - 0.5
    cumulated = ndtr((edges - mean * size) / math.sqrt(variance))
    probabilities = np.diff(cumulated)
    return _Distribution(sum(pooled[:size]), probabilities / probabilities.sum()).trim()


def _add_all(parts: Sequence[_Distribution]) -> _Distribution:
    """Return the distribution of the sum of independent numbers, joined in pairs. Of no numbers: the distribution of 0."""
    remaining = list(parts) or [_Distribution(0, np.ones(1))]
    while len(remaining) > 1:
        pairs = zip(remaining[::2], remaining[1::2], strict=False)
        joined = [left.add(right) for left, right in pairs]
        if len(remaining) % 2:
            joined.append(remaining[-1])
        remaining = joined
    return remaining[0]
