"""Where to cut a score that should tell two kinds of things apart: precision, recall and the area under curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from numpy import bool_, float64
    from numpy.typing import NDArray

Rule: TypeAlias = Literal["balanced", "recall", "precision", "false passes"]
RULES: tuple[Rule, ...] = ("balanced", "recall", "precision", "false passes")
MAX_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What happens if everything passes that scores at least ``at_least``.

    Attributes:
        same_passed: Of those that should pass, how many do (true positives).
        same: How many should pass.
        different_passed: Of those that should not pass, how many do (false positives).
        different: How many should not pass.
    """

    at_least: float
    same_passed: int
    same: int
    different_passed: int
    different: int

    @property
    def recall(self) -> float:
        """Share of those that should pass, and do."""
        return self.same_passed / self.same

    @property
    def false_passes(self) -> float:
        """Share of those that should not pass, and do."""
        return self.different_passed / self.different

    @property
    def precision(self) -> float:
        """Share of those that pass, and should; 1 where nothing passes."""
        passed = self.same_passed + self.different_passed
        return self.same_passed / passed if passed else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the shares that are right of either kind: 0.5 is chance, however many there are of each."""
        return (self.recall + 1 - self.false_passes) / 2


def distinct_cuts(scores: Sequence[float], same: Sequence[bool]) -> list[Cut]:
    """Return the cuts that differ in what passes, from the one where least passes to the one where all does.

    Args:
        scores: Finite numbers; a higher one is more alike.
        same: For each, whether it should pass; at least one of either kind.

    Raises:
        ValueError: Unlike lengths, one kind only, NaN or infinity.

    >>> [(one.at_least, one.recall, one.precision) for one in distinct_cuts([0.9, 0.4, 0.6], [True, True, False])]
    [(0.9, 0.5, 1.0), (0.6, 0.5, 0.5), (0.4, 1.0, 0.6666666666666666)]
    """
    import numpy as np

    values, wanted = _check_scores_and_labels(scores, same)
    order = np.argsort(-values, kind="stable")
    values, wanted = values[order], wanted[order]
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    passed = np.cumsum(wanted)[last]
    total = int(wanted.sum())
    return [
        Cut(
            at_least=float(values[index]),
            same_passed=int(right),
            same=total,
            different_passed=int(index + 1 - right),
            different=len(values) - total,
        )
        for index, right in zip(last, passed, strict=True)
    ]


def cut_at(scores: Sequence[float], same: Sequence[bool], at_least: float) -> Cut:
    """Return what happens at one cut.

    Raises:
        ValueError: As `distinct_cuts`.

    >>> cut_at([0.9, 0.4, 0.6], [True, True, False], 0.5).balanced_accuracy
    0.25
    """
    values, wanted = _check_scores_and_labels(scores, same)
    passed = values >= at_least
    return Cut(
        at_least=at_least,
        same_passed=int((passed & wanted).sum()),
        same=int(wanted.sum()),
        different_passed=int((passed & ~wanted).sum()),
        different=int((~wanted).sum()),
    )


def choose_cut(
    scores: Sequence[float], same: Sequence[bool], *, rule: Rule = "balanced", share: float = 0.0
) -> Cut | None:
    """Return the cut that a rule picks, at a short number that lets the same things pass.

    Args:
        scores: As in `distinct_cuts`.
        same: As in `distinct_cuts`.
        rule: ``balanced``: the highest balanced accuracy, of several the one with the higher recall.
            ``recall``: the highest cut that at least a ``share`` of those that should pass reaches.
            ``precision``: the lowest at which at least a ``share`` of what passes should.
            ``false passes``: the lowest that at most a ``share`` of those that should not pass reaches.
        share: 0 to 1, for the last three.

    Returns:
        The cut; None if there is none, as everything of the highest score would break the rule.

    Raises:
        ValueError: As `distinct_cuts`; no such rule, or a share that is none.

    >>> choose_cut([0.9, 0.4, 0.6, 0.1], [True, True, False, False], rule="false passes", share=0.5).at_least
    0.25
    """
    if rule not in RULES:
        raise ValueError(f"curves: expected a rule out of {', '.join(RULES)}, got {ascii(rule)[:80]}")
    if not 0 <= share <= 1:
        raise ValueError(f"curves: expected a share from 0 to 1, got {share!r}")
    candidates = distinct_cuts(scores, same)
    if rule == "balanced":
        best = max(range(len(candidates)), key=lambda n: (candidates[n].balanced_accuracy, n))
    elif rule == "recall":
        best = next(n for n, cut in enumerate(candidates) if cut.recall >= share)
    else:
        good = [
            n
            for n, cut in enumerate(candidates)
            if (cut.precision >= share if rule == "precision" else cut.false_passes <= share)
        ]
        if not good:
            return None
        best = good[-1]
    below = candidates[best + 1].at_least if best + 1 < len(candidates) else -math.inf
    return cut_at(scores, same, _short_threshold(below, candidates[best].at_least))


def roc_auc(scores: Sequence[float], same: Sequence[bool]) -> float:
    """How often one that should pass scores higher than one that should not: 0.5 is chance, 1 always.

    Equal scores count half. The area under the ROC curve, as scikit-learn's ``roc_auc_score``.

    Raises:
        ValueError: As `distinct_cuts`.

    >>> roc_auc([0.9, 0.4, 0.6], [True, True, False])
    0.5
    """
    import numpy as np

    values, wanted = _check_scores_and_labels(scores, same)
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    positives = int(wanted.sum())
    negatives = len(values) - positives
    above = float(mean_rank[where][wanted].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def average_precision(scores: Sequence[float], same: Sequence[bool]) -> float:
    """Mean of the precision over the steps of the recall, 0 to 1: scikit-learn's ``average_precision_score``.

    Raises:
        ValueError: As `distinct_cuts`.

    >>> average_precision([0.9, 0.4, 0.6], [True, True, False])
    0.8333333333333333
    """
    before, total = 0.0, 0.0
    for cut in distinct_cuts(scores, same):
        total += (cut.recall - before) * cut.precision
        before = cut.recall
    return total


def wilson_interval(hits: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Interval of a share at 95 %, as Wilson gives it (JASA 22, 1927): never outside 0 to 1; (0, 1) for no trials.

    Raises:
        ValueError: More hits than trials, or a negative number of either.

    >>> tuple(round(one, 3) for one in wilson_interval(0, 10))
    (0.0, 0.278)
    """
    if not 0 <= hits <= count:
        raise ValueError(f"curves: expected from 0 to {count} hits, as many as there are trials, got {hits}")
    if not count:
        return 0.0, 1.0
    share, square = hits / count, z * z
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = z / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    # At the ends the sums cancel but for their last digit.
    return (0.0 if not hits else centre - half), (1.0 if hits == count else centre + half)


def _check_scores_and_labels(
    scores: Sequence[float], same: Sequence[bool]
) -> tuple[NDArray[float64], NDArray[bool_]]:
    import numpy as np

    values, wanted = np.asarray(scores, dtype=np.float64), np.asarray(same, dtype=np.bool_)
    if values.ndim != 1 or values.shape != wanted.shape:
        raise ValueError(f"curves: expected as many scores as labels, got {values.shape} and {wanted.shape}")
    if not np.isfinite(values).all():
        raise ValueError("curves: expected finite scores, got NaN or infinity")
    if not wanted.any() or wanted.all():
        kind = "that should not pass" if len(wanted) and wanted.all() else "that should pass"
        raise ValueError(f"curves: expected some {kind}, got none of {len(wanted)}")
    return values, wanted


def _short_threshold(below: float, top: float) -> float:
    """A number of few digits in the gap above ``below`` and up to ``top``, near its middle."""
    if math.isinf(below):  # everything passes: so it does a little lower
        return math.floor(top * 100) / 100
    middle = (below + top) / 2
    for digits in range(2, MAX_DIGITS):
        number = round(middle, digits)
        if below < number <= top:
            return number
    return top
