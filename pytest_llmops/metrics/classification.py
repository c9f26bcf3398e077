"""Evaluate and choose the threshold of a binary classifier: precision, recall, ROC AUC, average precision.

An item, typically a pair of texts with a similarity score, should pass if it is ``same``, and should not if it is
``different``. All functions of scores and labels raise `ValueError` in the same cases as `distinct_cuts`.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops._util.arrays import Float64Array, NDArray, np

Rule: TypeAlias = Literal["balanced", "recall", "precision", "false passes"]
RULES: tuple[Rule, ...] = ("balanced", "recall", "precision", "false passes")
MAX_DIGITS = 12
UPPER_END_STEPS = 10**6
MAX_TRIALS = 10**12  # up to which `count_needed` searches


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The outcome of a threshold: the items with a score of at least ``at_least`` pass.

    Attributes:
        same_passed: Items that pass and should (true positives).
        same: Items that should pass.
        different_passed: Items that pass and should not (false positives).
        different: Items that should not pass.
    """

    at_least: float
    same_passed: int
    same: int
    different_passed: int
    different: int

    @property
    def recall(self) -> float:
        """Among the items that should pass, the share that passes; there is at least one."""
        return self.same_passed / self.same

    @property
    def false_passes(self) -> float:
        """Among the items that should not pass, the share that passes; there is at least one."""
        return self.different_passed / self.different

    @property
    def precision(self) -> float:
        """Among the items that pass, the share that should; 1 if nothing passes."""
        passed = self.same_passed + self.different_passed
        if passed:
            return self.same_passed / passed
        return 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        if total:
            return 2 * self.precision * self.recall / total
        return 0.0

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the recall of both classes: 0.5 is chance, whatever their sizes."""
        return (self.recall + 1 - self.false_passes) / 2


def distinct_cuts(scores: Sequence[float], same: Sequence[bool]) -> list[Cut]:
    """Return the cuts at each distinct score, from the highest to the lowest.

    Args:
        scores: Finite numbers; higher scores are more similar.
        same: Whether each item should pass; both classes must occur.

    Raises:
        ValueError: Different lengths, a single class, NaN or infinity.

    >>> [(cut.at_least, cut.recall, cut.precision) for cut in distinct_cuts([0.9, 0.4, 0.6], [True, True, False])]
    [(0.9, 0.5, 1.0), (0.6, 0.5, 0.5), (0.4, 1.0, 0.6666666666666666)]
    """
    values, wanted = _check_scores_and_labels(scores, same)
    order = np.argsort(-values, kind="stable")
    values = values[order]
    wanted = wanted[order]
    # The last index of each distinct score
    before_changes = np.flatnonzero(np.diff(values))
    last = np.append(before_changes, len(values) - 1)
    passed = np.cumsum(wanted)[last]
    total = int(wanted.sum())
    cuts = []
    for index, same_passed in zip(last, passed, strict=True):
        cut = Cut(
            at_least=float(values[index]),
            same_passed=int(same_passed),
            same=total,
            different_passed=int(index + 1 - same_passed),
            different=len(values) - total,
        )
        cuts.append(cut)
    return cuts


def cut_at(scores: Sequence[float], same: Sequence[bool], at_least: float) -> Cut:
    """Return the outcome of a threshold.

    >>> cut_at([0.9, 0.4, 0.6], [True, True, False], 0.5).balanced_accuracy
    0.25
    """
    values, wanted = _check_scores_and_labels(scores, same)
    passed = values >= at_least
    same_passed = int((passed & wanted).sum())
    different_passed = int((passed & ~wanted).sum())
    same_count = int(wanted.sum())
    return Cut(
        at_least=at_least,
        same_passed=same_passed,
        same=same_count,
        different_passed=different_passed,
        different=len(wanted) - same_count,
    )


def choose_cut(
    scores: Sequence[float], same: Sequence[bool], *, rule: Rule = "balanced", share: float = 0.0
) -> Cut | None:
    """Return the cut that a rule selects. Its threshold is rounded to as few digits as pass the same items.

    Args:
        scores: As in `distinct_cuts`.
        same: As in `distinct_cuts`.
        rule: ``balanced``: the highest balanced accuracy; among equal ones, the highest recall.
            ``recall``: the highest threshold with a recall of at least ``share``.
            ``precision``: the lowest threshold with a precision of at least ``share``.
            ``false passes``: the lowest threshold that passes at most this ``share`` of the items that should not pass.
        share: 0 to 1, for the last three rules.

    Returns:
        The cut; None if even the highest score breaks the rule.

    Raises:
        ValueError: As `distinct_cuts`; an unknown rule, or a share outside 0 to 1.

    >>> choose_cut([0.9, 0.4, 0.6, 0.1], [True, True, False, False], rule="false passes", share=0.5).at_least
    0.25
    """
    if rule not in RULES:
        rules = ", ".join(RULES)
        raise ValueError(f"curves: expected a rule out of {rules}, got {ascii(rule)[:80]}")
    if not 0 <= share <= 1:
        raise ValueError(f"curves: expected a share from 0 to 1, got {share!r}")
    candidates = distinct_cuts(scores, same)
    best = _select_cut(candidates, rule, share)
    if best is None:
        return None
    if best + 1 < len(candidates):
        below = candidates[best + 1].at_least
    else:
        below = -math.inf
    return cut_at(scores, same, _short_threshold(below, candidates[best].at_least))


def _select_cut(cuts: Sequence[Cut], rule: Rule, share: float) -> int | None:
    """Return the index of the cut that a rule selects; None if all cuts break the rule.

    The cuts are sorted from the highest threshold to the lowest, so a higher index has at least the same recall.
    """
    indexes = range(len(cuts))
    if rule == "balanced":
        return max(indexes, key=lambda index: (cuts[index].balanced_accuracy, index))
    if rule == "recall":
        # There is always one: at the last cut everything passes, with a recall of 1
        return next(index for index in indexes if cuts[index].recall >= share)
    if rule == "precision":
        allowed = [index for index in indexes if cuts[index].precision >= share]
    else:
        allowed = [index for index in indexes if cuts[index].false_passes <= share]
    return max(allowed, default=None)


def roc_auc(scores: Sequence[float], same: Sequence[bool]) -> float:
    """Return the area under the ROC curve, by scikit-learn.

    It is how often an item that should pass scores higher than an item that should not; equal scores count half.

    >>> roc_auc([0.9, 0.4, 0.6], [True, True, False])
    0.5
    """
    values, wanted = _check_scores_and_labels(scores, same)
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(wanted, values))


def average_precision(scores: Sequence[float], same: Sequence[bool]) -> float:
    """Return the mean precision over the steps of the recall, by scikit-learn.

    >>> average_precision([0.9, 0.4, 0.6], [True, True, False])
    0.8333333333333333
    """
    values, wanted = _check_scores_and_labels(scores, same)
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(wanted, values))


Z_SQUARE = 1.959964**2  # of wilson_interval


def wilson_interval(hits: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (JASA 22, 1927), within 0 to 1; (0, 1) without trials.

    Raises:
        ValueError: More hits than trials, or a negative number.

    >>> tuple(round(end, 3) for end in wilson_interval(0, 10))
    (0.0, 0.278)
    """
    if not 0 <= hits <= count:
        raise ValueError(f"curves: expected from 0 to {count} hits, as many as there are trials, got {hits}")
    if not count:
        return 0.0, 1.0
    share = hits / count
    # Not `scipy.stats.binomtest`: its import needs more time than the whole start of a run that needs one interval.
    square = z * z
    scale = 1 + square / count
    centre = (share + square / (2 * count)) / scale
    spread = square / (4 * count**2)
    variance = share * (1 - share) / count + spread
    half = z / scale * math.sqrt(variance)
    low = centre - half
    high = centre + half
    # At the ends the sums cancel only up to rounding
    if not hits:
        low = 0.0
    if hits == count:
        high = 1.0
    return low, high


def exact_upper_end(failures: int, count: int, alpha: float = 0.05) -> float:
    """Return the exact upper end of the one-sided interval of a share of failures, rounded up to a multiple of 1e-6.

    The true share is below it with a probability of 1 - alpha. Source: Clopper and Pearson, Biometrika 26, 1934.

    >>> exact_upper_end(0, 299), exact_upper_end(1, 299), exact_upper_end(3, 3)
    (0.00997, 0.015767, 1.0)
    """
    if failures >= count:
        return 1.0
    from scipy.special import bdtri

    # The share of failures at which so few of them have the probability alpha
    share = float(bdtri(failures, count, alpha))
    return math.ceil(share * UPPER_END_STEPS) / UPPER_END_STEPS


def count_needed(failures: int, at_most: float, alpha: float = 0.05) -> int:
    """Return how many trials are needed to prove that the share of failures is at most ``at_most``.

    Args:
        failures: How many of these trials fail.
        at_most: The share to prove, above 0 and below 1.
        alpha: The probability of an error.

    >>> count_needed(0, 0.05), count_needed(0, 0.01), count_needed(1, 0.01)
    (59, 299, 473)
    """
    from scipy.special import bdtr

    def rejection(count: int) -> float:
        """Return minus the probability of at most these failures: it rises with the trials, as bisection needs it."""
        return -float(bdtr(failures, count, at_most))

    return bisect_left(range(MAX_TRIALS), -alpha, lo=failures, key=rejection)


def _check_scores_and_labels(
    scores: Sequence[float], same: Sequence[bool]
) -> "tuple[Float64Array, NDArray[np.bool_]]":
    """Return scores and labels as arrays; raise unless the scores are finite and both classes occur."""
    values = np.asarray(scores, dtype=np.float64)
    wanted = np.asarray(same, dtype=np.bool_)
    if values.ndim != 1 or values.shape != wanted.shape:
        raise ValueError(f"curves: expected as many scores as labels, got {values.shape} and {wanted.shape}")
    if not np.isfinite(values).all():
        raise ValueError("curves: expected finite scores, got NaN or infinity")
    if not wanted.any():
        raise ValueError(f"curves: expected some that should pass, got none of {len(wanted)}")
    if wanted.all():
        raise ValueError(f"curves: expected some that should not pass, got none of {len(wanted)}")
    return values, wanted


def _short_threshold(below: float, top: float) -> float:
    """Return a number with few digits that is above ``below``, at most ``top``, and near their middle.

    With ``below`` as minus infinity it is ``top``, rounded down to two digits.
    """
    if math.isinf(below):  # everything passes, also at a lower threshold
        return math.floor(top * 100) / 100
    middle = (below + top) / 2
    for digits in range(2, MAX_DIGITS):
        number = round(middle, digits)
        if below < number <= top:
            return number
    return top
