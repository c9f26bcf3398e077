"""Measure the agreement of two raters: a judge and an annotator, or a judge and itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from typing import Literal, TypeAlias, TypeVar

from pytest_llmops._util.arrays import mean_ranks
from pytest_llmops.metrics.agreement.distances import (
    is_nan,
    label_places,
    nominal_distance,
    squared_distance,
)

Label = TypeVar("Label", bound=Hashable)
Weights: TypeAlias = Literal["quadratic"]


def accuracy(a: Sequence[Hashable], b: Sequence[Hashable]) -> float | None:
    """Return the share of items with the same label from both raters, 0 to 1; None without items.

    It is no evidence of agreement: if 80 % of the answers are good, a judge that always says "good" reaches 0.8.

    Raises:
        ValueError: The lists differ in length, or a label is NaN.

    >>> accuracy(["yes", "no"], ["yes", "yes"])
    0.5
    """
    check_labels(a, b)
    return sum(x == y for x, y in zip(a, b, strict=True)) / len(a) if a else None


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

    ``1 - D / E``, where D is the mean disagreement of the pairs and E that of randomly paired labels (Cohen 1960; with
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
    distance = squared_distance(positions) if weights else nominal_distance
    counts, first, second = confusion(a, b), Counter(a), Counter(b)
    by_chance = sum(first[x] * second[y] * distance(x, y) for x in first for y in second)
    if not by_chance:
        return None
    observed = sum(n * distance(x, y) for (x, y), n in counts.items())
    return 1.0 - observed * len(a) / by_chance


def spearman(a: Sequence[Label], b: Sequence[Label]) -> float | None:
    """Return the rank correlation of two raters: -1 (reversed order) to 1 (the same order).

    Equal labels share the mean of their ranks (Spearman 1904, as scipy's ``spearmanr``). The level does not matter: a
    judge that gives every item two points more than the annotators reaches 1.

    Args:
        a: Numbers of the first rater.
        b: Numbers of the second rater, for the same items in the same order.

    Returns:
        None for fewer than two items, or if a rater gave every item the same label.

    Raises:
        ValueError: As `cohen_kappa`.

    >>> round(spearman([1, 2, 3, 4], [10, 30, 20, 40]), 6)
    0.8
    """
    check_labels(a, b)
    import numpy as np

    positions = label_places({*a, *b}, "ranks")
    # The mean of the ranks 1 to n, whatever the ties.
    x, y = (mean_ranks([positions[label] for label in labels]) - (len(a) + 1) / 2 for labels in (a, b))
    length = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return max(-1.0, min(1.0, float((x * y).sum()) / length)) if length else None


def kappa_scale(labels: Collection[Label], weights: Weights | None) -> dict[Hashable, float]:
    """Return the places of labels for the weights of a kappa; without weights all are 0.

    Raises:
        ValueError: Unknown weights, or with weights a label that is not a number.

    >>> kappa_scale({4}, "quadratic"), kappa_scale({"b"}, None)
    ({4: 4.0}, {'b': 0.0})
    """
    if weights not in (None, "quadratic"):
        raise ValueError(f"agreement: expected weights None or 'quadratic', got {weights!r}")
    return label_places(labels, "quadratic weights") if weights else dict.fromkeys(labels, 0.0)


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
                f"agreement: item {index % len(a)} has the label NaN; leave out what was not scored, in both lists"
            )
