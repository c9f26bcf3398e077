"""Measure the agreement of two raters: a judge and an annotator, or a judge and itself."""

import math
import operator
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple, SupportsFloat, TypeAlias, TypeVar

Label = TypeVar("Label", bound=Hashable)
Weights: TypeAlias = Literal["quadratic"]
Distance: TypeAlias = Callable[[Hashable, Hashable], float]


class Share(NamedTuple):
    """A number of hits among a total of items."""

    hits: int
    total: int

    @property
    def value(self) -> float | None:
        """The share, 0 to 1; None without items.

        >>> Share(3, 4).value, Share(0, 0).value
        (0.75, None)
        """
        if self.total:
            return self.hits / self.total
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The confusion counts of a judge against human labels.

    Attributes:
        tp: Items that annotators and judge pass.
        fn: Items that annotators pass and the judge fails.
        fp: Items that annotators fail and the judge passes.
        tn: Items that annotators and judge fail.
    """

    tp: int
    fn: int
    fp: int
    tn: int

    @property
    def tpr(self) -> Share:
        """Share of the items that annotators pass which the judge passes: its sensitivity."""
        return Share(self.tp, self.tp + self.fn)

    @property
    def precision(self) -> Share:
        """Share of the items that the judge passes which annotators pass."""
        return Share(self.tp, self.tp + self.fp)

    @property
    def tnr(self) -> Share:
        """Share of the items that annotators fail which the judge fails: its specificity, low for a lenient judge."""
        return Share(self.tn, self.tn + self.fp)


def accuracy(a: Sequence[Hashable], b: Sequence[Hashable]) -> float | None:
    """Return the share of items with the same label from both raters, 0 to 1; None without items.

    It is not evidence of agreement: if 80 % of the answers are good, a judge that always answers "good" reaches 0.8.

    Raises:
        ValueError: The lists differ in length, or a label is NaN.

    >>> accuracy(["yes", "no"], ["yes", "yes"])
    0.5
    """
    check_labels(a, b)
    if not a:
        return None
    equal_count = sum(x == y for x, y in zip(a, b, strict=True))
    return equal_count / len(a)


def confusion(a: Sequence[Label], b: Sequence[Label]) -> dict[tuple[Label, Label], int]:
    """Return how often each pair of labels ``(a's, b's)`` occurs, without pairs that do not occur.

    Raises:
        ValueError: The lists differ in length, or a label is NaN.

    >>> confusion([1, 1, 0], [1, 0, 0])
    {(1, 1): 1, (1, 0): 1, (0, 0): 1}
    """
    check_labels(a, b)
    return dict(Counter(zip(a, b, strict=True)))


def cohen_kappa(a: Sequence[Label], b: Sequence[Label], *, weights: Weights | None = None) -> float | None:
    """Return the agreement beyond chance: 1 is perfect, 0 is what independent raters reach, below 0 is worse.

    ``1 - D / E``, where D is the mean disagreement of the pairs and E the mean disagreement of randomly paired labels (Cohen 1960; with
    weights Cohen 1968). Different labels disagree by 1, or with ``weights="quadratic"`` by the square of their
    distance on the scale (scikit-learn only counts the values that occur, unless it gets the list of all labels).

    Args:
        a: Labels of the first rater.
        b: Labels of the second rater, for the same items in the same order.
        weights: ``quadratic`` for numbers; None for names.

    Returns:
        -1 to 1, or None if agreement cannot be distinguished from chance: without items, or if both raters gave the
        same label to every item. That is not a kappa of 1: nothing was tested.

    Raises:
        ValueError: The lists differ in length, a label is NaN, or with weights not a number.

    >>> round(cohen_kappa([1, 1, 0, 0], [1, 0, 0, 0]), 2)
    0.5
    >>> cohen_kappa([1, 1], [1, 1]) is None
    True
    """
    check_labels(a, b)
    positions = kappa_scale({*a, *b}, weights)
    distance: Distance = operator.ne
    if weights:
        distance = squared_distance(positions)
    counts_of_a = Counter(a)
    counts_of_b = Counter(b)
    label_pairs = product(counts_of_a, counts_of_b)
    by_chance = sum(counts_of_a[x] * counts_of_b[y] * distance(x, y) for x, y in label_pairs)
    if not by_chance:
        return None
    counts_of_pairs = confusion(a, b)
    observed = sum(count * distance(x, y) for (x, y), count in counts_of_pairs.items())
    return 1.0 - observed * len(a) / by_chance


def correlation(a: Sequence[Label], b: Sequence[Label]) -> float | None:
    """Return Spearman's correlation of two raters' numbers: -1 (reversed order) to 1 (the same order).

    It compares ranks; equal numbers share the mean of theirs. The level does not matter: a judge that gives every item
    two points more than the annotators reaches 1. Computed by scipy.

    Args:
        a: Numbers of the first rater.
        b: Numbers of the second rater, for the same items in the same order.

    Returns:
        None for fewer than two items, or if a rater gave every item the same label.

    Raises:
        ValueError: As `cohen_kappa`, or a label is not a number.

    >>> round(correlation([1, 2, 3, 4], [10, 30, 20, 40]), 6)
    0.8
    """
    check_labels(a, b)
    positions = label_places({*a, *b}, "correlations")
    x = [positions[label] for label in a]
    y = [positions[label] for label in b]
    distinct_count = min(len(set(x)), len(set(y)))
    if distinct_count < 2:  # noqa: PLR2004 -- an order needs two numbers
        return None
    from scipy.stats import spearmanr

    value = float(spearmanr(x, y).statistic)
    if math.isfinite(value):
        return max(-1.0, min(1.0, value))
    return None


def kappa_scale(labels: Collection[Label], weights: Weights | None) -> dict[Hashable, float]:
    """Return label -> its place on the scale that weights need; without weights all places are 0.

    Raises:
        ValueError: Unknown weights, or with weights a label that is not a number.

    >>> kappa_scale({4}, "quadratic"), kappa_scale({"b"}, None)
    ({4: 4.0}, {'b': 0.0})
    """
    if weights not in (None, "quadratic"):
        raise ValueError(f"agreement: expected weights None or 'quadratic', got {weights!r}")
    if weights:
        return label_places(labels, "quadratic weights")
    return dict.fromkeys(labels, 0.0)


def check_labels(a: Sequence[Hashable], b: Sequence[Hashable]) -> None:
    """Raise if two lists of labels do not belong together.

    Raises:
        ValueError: The lists differ in length, or a label is NaN.
    """
    if len(a) != len(b):
        raise ValueError(f"agreement: expected two labels for each item, got {len(a)} and {len(b)} labels")
    for index, label in enumerate([*a, *b]):
        if is_nan(label):
            raise ValueError(
                f"agreement: item {index % len(a)} has the label NaN; leave out the items without a score, in both lists"
            )


def judge_rates(people: Sequence[bool], judge: Sequence[bool]) -> Rates:
    """Return the confusion counts of a judge.

    Args:
        people: Whether human annotators pass each item.
        judge: Whether the judge passes it, in the same order.

    Raises:
        ValueError: The lists differ in length.

    >>> judge_rates([True, True, False, False], [True, False, False, False]).tnr
    Share(hits=2, total=2)
    """
    passed_by_people = [bool(label) for label in people]
    passed_by_judge = [bool(label) for label in judge]
    counts = confusion(passed_by_people, passed_by_judge)
    return Rates(
        tp=counts.get((True, True), 0),
        fn=counts.get((True, False), 0),
        fp=counts.get((False, True), 0),
        tn=counts.get((False, False), 0),
    )


def is_nan(label: object) -> bool:
    """Return whether a label is NaN, which equals nothing and would be counted as a class of its own.

    >>> is_nan(float("nan")), is_nan("nan")
    (True, False)
    """
    return bool(label != label)  # noqa: PLR0124 -- works for every type


def label_places(labels: Collection[Hashable], what: str) -> dict[Hashable, float]:
    """Return the place of each label on a scale: the number itself.

    Args:
        labels: The labels that occur.
        what: What needs the places, for the error ("quadratic weights").

    Raises:
        ValueError: A label is not a finite number.

    >>> label_places([1, 2], "ranks")
    {1: 1.0, 2: 2.0}
    """
    places: dict[Hashable, float] = {}
    # Sorted, so that every run reports the same wrong label.
    for label in sorted(labels, key=repr):
        place = math.nan
        if isinstance(label, SupportsFloat):
            try:
                place = float(label)
            except OverflowError:
                place = math.inf
        places[label] = place
        if not math.isfinite(place):
            raise ValueError(f"agreement: {what} need numbers, got {label!r}")
    return {label: places[label] for label in labels}


def squared_distance(positions: dict[Hashable, float]) -> Distance:
    """Return a function of two labels: the squared distance of their places, divided by the largest place.

    >>> squared_distance({"a": 0.0, "b": 2.0})("a", "b")
    1.0
    """
    # Between -1 and 1 no square overflows.
    largest = max(map(abs, positions.values()), default=0.0) or 1.0

    def distance(x: Hashable, y: Hashable) -> float:
        gap = positions[x] / largest - positions[y] / largest
        return gap**2

    return distance
