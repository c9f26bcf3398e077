"""Evaluate and choose the threshold of a binary classifier: precision, recall, ROC AUC, average precision; confidence in an answer.

A confidence comes from log-probabilities, from repeated answers or from the answer's own words. What cannot be read is a
`ValueError`, never a confidence of 0.

Functions of scores and labels raise `ValueError` as `distinct_cuts` does.
"""

import math
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from statistics import fmean
from typing import Literal, TypeAlias

from pytest_llmops._util.arrays import Float64Array, NDArray, np
from pytest_llmops.errors import refuse
from pytest_llmops.measurement import shorten_text

Rule: TypeAlias = Literal["balanced", "recall", "precision", "false passes"]
RULES: tuple[Rule, ...] = ("balanced", "recall", "precision", "false passes")
MAX_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The outcome of a threshold: every item with a score of at least ``at_least`` passes.

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
        """Share of the items that should pass which pass."""
        return self.same_passed / self.same

    @property
    def false_passes(self) -> float:
        """Share of the items that should not pass which pass."""
        return self.different_passed / self.different

    @property
    def precision(self) -> float:
        """Share of the items that pass which should; 1 if nothing passes."""
        passed = self.same_passed + self.different_passed
        return self.same_passed / passed if passed else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

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
    """Return the outcome of a threshold.

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
    """Return the cut that a rule selects, at a threshold of few digits that passes the same items.

    Args:
        scores: As in `distinct_cuts`.
        same: As in `distinct_cuts`.
        rule: ``balanced``: the highest balanced accuracy, in a tie with the higher recall.
            ``recall``: the highest cut with a recall of at least ``share``.
            ``precision``: the lowest cut with a precision of at least ``share``.
            ``false passes``: the lowest cut that passes at most a ``share`` of the items that should not pass.
        share: 0 to 1, for the last three rules.

    Returns:
        The cut; None if even the highest score breaks the rule.

    Raises:
        ValueError: As `distinct_cuts`; an unknown rule, or a share outside 0 to 1.

    >>> choose_cut([0.9, 0.4, 0.6, 0.1], [True, True, False, False], rule="false passes", share=0.5).at_least
    0.25
    """
    refuse(
        rule not in RULES,
        ValueError(f"curves: expected a rule out of {', '.join(RULES)}, got {ascii(rule)[:80]}"),
    )
    refuse(not 0 <= share <= 1, ValueError(f"curves: expected a share from 0 to 1, got {share!r}"))
    candidates = distinct_cuts(scores, same)
    indexes = range(len(candidates))
    best: int | None
    if rule == "balanced":
        best = max(indexes, key=lambda index: (candidates[index].balanced_accuracy, index))
    elif rule == "recall":
        best = next(index for index in indexes if candidates[index].recall >= share)
    elif rule == "precision":
        best = max((index for index in indexes if candidates[index].precision >= share), default=None)
    else:
        best = max((index for index in indexes if candidates[index].false_passes <= share), default=None)
    if best is None:
        return None
    below = candidates[best + 1].at_least if best + 1 < len(candidates) else -math.inf
    return cut_at(scores, same, _short_threshold(below, candidates[best].at_least))


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


def wilson_interval(hits: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (JASA 22, 1927), within 0 to 1; (0, 1) without trials.

    Raises:
        ValueError: More hits than trials, or a negative number.

    >>> tuple(round(end, 3) for end in wilson_interval(0, 10))
    (0.0, 0.278)
    """
    refuse(
        not 0 <= hits <= count,
        ValueError(f"curves: expected from 0 to {count} hits, as many as there are trials, got {hits}"),
    )
    if not count:
        return 0.0, 1.0
    share, square = hits / count, z * z
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = z / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    # At the ends the sums cancel only up to rounding.
    return (0.0 if not hits else centre - half), (1.0 if hits == count else centre + half)


def exact_upper_end(failures: int, count: int, alpha: float = 0.05) -> float:
    """Return the exact one-sided upper end of a share of failures, in steps of 1e-6 (Clopper and Pearson, Biometrika 26, 1934).

    >>> exact_upper_end(0, 299), exact_upper_end(1, 299), exact_upper_end(3, 3)
    (0.00997, 0.015767, 1.0)
    """
    return (
        bisect_left(range(10**6), -alpha, lo=1, key=lambda step: -_cdf(failures, count, step / 10**6)) / 10**6
    )


def count_needed(failures: int, at_most: float, alpha: float = 0.05) -> int:
    """Return the least number of trials, with so many failures, that prove a share of at most ``at_most``, above 0 and below 1.

    >>> count_needed(0, 0.05), count_needed(0, 0.01), count_needed(1, 0.01)
    (59, 299, 473)
    """
    return bisect_left(range(10**12), -alpha, lo=failures, key=lambda count: -_cdf(failures, count, at_most))


def _cdf(most: int, count: int, share: float) -> float:
    # Return the probability of at most so many failures among independent trials with this share of failures.
    return math.fsum(
        math.exp(
            math.lgamma(count + 1)
            - math.lgamma(failures + 1)
            - math.lgamma(count - failures + 1)
            + failures * math.log(share)
            + (count - failures) * math.log1p(-share)
        )
        for failures in range(most + 1)
    )


def _check_scores_and_labels(
    scores: Sequence[float], same: Sequence[bool]
) -> "tuple[Float64Array, NDArray[np.bool_]]":
    values, wanted = np.asarray(scores, dtype=np.float64), np.asarray(same, dtype=np.bool_)
    refuse(
        values.ndim != 1 or values.shape != wanted.shape,
        ValueError(f"curves: expected as many scores as labels, got {values.shape} and {wanted.shape}"),
    )
    refuse(not np.isfinite(values).all(), ValueError("curves: expected finite scores, got NaN or infinity"))
    if not wanted.any() or wanted.all():
        kind = "that should not pass" if len(wanted) and wanted.all() else "that should pass"
        raise ValueError(f"curves: expected some {kind}, got none of {len(wanted)}")
    return values, wanted


def _short_threshold(below: float, top: float) -> float:
    # Return a number of few digits above ``below`` and up to ``top``, near their middle.
    if math.isinf(below):  # everything passes, also at a lower threshold
        return math.floor(top * 100) / 100
    middle = (below + top) / 2
    for digits in range(2, MAX_DIGITS):
        number = round(middle, digits)
        if below < number <= top:
            return number
    return top


# Only their order matters to a threshold that is chosen on data
STATED_WORDS: Mapping[str, float] = {
    "very high": 0.95, "high": 0.85, "medium": 0.6, "low": 0.3, "very low": 0.1
}  # fmt: skip
BINS, LIKELY = (
    10,
    1e-3,
)  # a sum of 1 is no sum over a vocabulary if the least of its few tokens is as likely as this


def logprob_confidence(logprobs: Sequence[float] | Mapping[str, float], choice: str = "") -> float:
    """Return the probability of an answer by the model's own log-probabilities, from 0 to 1.

    Args:
        logprobs: Of the tokens of the answer: the geometric mean of their probabilities. Or of the alternatives to one token
            (``top_logprobs``), by token: the probability of ``choice``. ``-inf`` is a probability of 0.
        choice: One of the alternatives; white space around it does not count, letter case does.

    Raises:
        ValueError: There are none, one is missing or above 0, ``choice`` is not among them, or they were renormalized to
            a sum of 1: what else the model might have said is no longer in them.

    >>> round(logprob_confidence([-0.1, -0.3]), 3), round(logprob_confidence({" yes": -0.2, "no": -2.0}, "yes"), 3)
    (0.819, 0.819)
    """
    numbers: Sequence[object] = [*(logprobs.values() if isinstance(logprobs, Mapping) else logprobs)]
    got = shorten_text(repr(logprobs))
    refuse(
        not numbers or not all(isinstance(number, (int, float)) and number <= 0 for number in numbers),
        ValueError(f"log-probabilities: expected numbers of at most 0, got {got}"),
    )
    if not isinstance(logprobs, Mapping):
        return math.exp(fmean(logprobs))
    chances = {token: math.exp(number) for token, number in logprobs.items()}
    refuse(
        math.isclose(math.fsum(chances.values()), 1) and min(chances.values()) > LIKELY,
        ValueError(
            f"log-probabilities: expected the model's own, got some that were renormalized to a sum of 1: {got}"
        ),
    )
    same = [chances[token] for token in chances if token.strip() == choice.strip()]
    refuse(not same, ValueError(f"log-probabilities: no {choice!r} in {got}"))
    return min(math.fsum(same), 1.0)


def agreement_confidence(answers: Sequence[str]) -> float:
    """Return the share of several answers to one question that are the most usual one; white space and case do not count.

    Raises:
        ValueError: There are fewer than two, or one is no text.

    >>> agreement_confidence(["Yes", "yes ", "No", "Yes"])
    0.75
    """
    refuse(
        len(answers) < 2 or not all(isinstance(text, str) for text in answers),  # noqa: PLR2004 -- to agree
        ValueError(f"answers: expected at least two texts, got {shorten_text(repr(answers))}"),
    )
    plain = [" ".join(text.casefold().split()) for text in answers]
    return max(map(plain.count, plain)) / len(plain)


def stated_confidence(text: str, words: Mapping[str, float] = STATED_WORDS) -> float:
    """Return the confidence that an answer states: ``Confidence: 0.85``, ``85 % sure``, ``confidence 8/10``, ``high confidence``.

    Args:
        text: The answer.
        words: Numbers from 0 to 1 by lower-case word.

    Raises:
        ValueError: It states none, several that differ, or a number above 1 without ``%``, ``/10`` or ``/100``.

    >>> stated_confidence("45 days. (Confidence: 85 %)"), stated_confidence("I have low confidence in this.")
    (0.85, 0.3)
    """
    value = (
        r"(?:\b(\d{1,3}(?:\.\d{1,9})?)\s?(%|/\s?100?\b)?|\b("
        + "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
        + r")\b)"
    )
    stated = {
        words[word.casefold()] if word else float(number) / int(unit.strip("/ ").replace("%", "100") or 1)
        for pattern in (
            rf"\bconfidence(?:\s(?:level|score|is|of|about)){{0,3}}\s?[:=]?\s{{0,3}}{value}",
            rf"{value}\s(?:confidence|confident|sure|certain)\b",
        )
        for number, unit, word in re.findall(pattern, text, re.IGNORECASE)
    }
    refuse(
        len(stated) != 1 or max(stated) > 1,
        ValueError(
            f"stated confidence: expected one number from 0 to 1, or with %, /10 or /100, got {', '.join(map(str, sorted(stated))) or 'none'}"
        ),
    )
    return stated.pop()


def coverage_curve(confidences: Sequence[float], correct: Sequence[bool]) -> list[tuple[float, int, int]]:
    """Return for each distinct confidence, the highest first, how many answers have at least that, and how many are right.

    >>> coverage_curve([0.9, 0.5, 0.9], [True, False, False])
    [(0.9, 2, 1), (0.5, 3, 1)]
    """
    pairs = sorted(zip(confidences, correct, strict=True), reverse=True)
    rights = list(accumulate(int(right) for _, right in pairs))
    return [  # no threshold can cut between equal confidences
        (level, place, rights[place - 1])
        for place, (level, _) in enumerate(pairs, start=1)
        if place == len(pairs) or pairs[place][0] < level
    ]


def reliability_bins(confidences: Sequence[float], correct: Sequence[bool]) -> list[list[float]]:
    """Return ``[mean confidence, share that is right, answers]`` of each of ten equal ranges of the confidence that has answers.

    >>> reliability_bins([0.75, 0.25, 0.25], [True, True, False])
    [[0.25, 0.5, 2], [0.75, 1.0, 1]]
    """
    pairs = sorted(zip(confidences, map(float, correct), strict=True))
    return [
        [*map(fmean, zip(*listed, strict=True)), len(listed)]
        for _, group in groupby(pairs, lambda pair: min(int(pair[0] * BINS), BINS - 1))
        for listed in [[*group]]
    ]
