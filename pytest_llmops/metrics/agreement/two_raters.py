"""Agreement of two raters: a judge and a person, or a judge and itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from typing import Literal, TypeAlias, TypeVar

from pytest_llmops.metrics.agreement.distances import is_nan, label_places, nominal_distance, squared_distance

Label = TypeVar("Label", bound=Hashable)
Weights: TypeAlias = Literal["quadratic"]


def accuracy(a: Sequence[Hashable], b: Sequence[Hashable]) -> float | None:
    """Share of items both raters give the same label: 0 to 1; None without items.

    It flatters: where 80 % of the answers are good, a judge that always says "good" reaches 0.8.

    Raises:
        ValueError: The lists differ in length, or a label is NaN.

    >>> accuracy(["yes", "no"], ["yes", "yes"])
    0.5
    """
    check_labels(a, b)
    return sum(x == y for x, y in zip(a, b, strict=True)) / len(a) if a else None


def confusion(a: Sequence[Label], b: Sequence[Label]) -> dict[tuple[Label, Label], int]:
    """How often each pair of labels occurs, ``(a's, b's)``; pairs that do not occur are left out.

    Raises:
        ValueError: The lists differ in length, or a label is NaN.

    >>> confusion([1, 1, 0], [1, 0, 0])
    {(1, 1): 1, (1, 0): 1, (0, 0): 1}
    """
    check_labels(a, b)
    return dict(Counter(zip(a, b, strict=True)))


def cohen_kappa(
    a: Sequence[Label],
    b: Sequence[Label],
    *,
    weights: Weights | None = None,
    order: Sequence[Label] | None = None,
) -> float | None:
    """Agreement beyond chance: 1 is perfect, 0 is what two independent raters reach, below 0 is worse.

    ``1 - D / E``, where D is the mean disagreement of the pairs and E what it would be if the labels of
    ``b`` were dealt out at random (Cohen 1960; with weights Cohen 1968). Without weights any two unlike
    labels disagree by 1; with ``weights="quadratic"`` by the square of their distance. That distance is
    the one on the scale, also where a value of the scale occurs nowhere (scikit-learn counts places
    among the values that occur, unless it is told all of them).

    Args:
        a: Labels of one rater.
        b: Labels of the other, for the same items in the same order.
        weights: ``quadratic`` for ordered labels; None for names.
        order: All labels from lowest to highest: distances are then places in it. Needed for quadratic
            weights if the labels are no numbers.

    Returns:
        -1 to 1, or None where chance cannot be told from agreement: there are no items, or both raters
        gave one and the same label to every item. That is no agreement of 1: nothing was tested.

    Raises:
        ValueError: The lists differ in length, a label is NaN, is not in ``order`` or has no place on a scale.

    >>> round(cohen_kappa([1, 1, 0, 0], [1, 0, 0, 0]), 2)
    0.5
    >>> cohen_kappa([1, 1], [1, 1]) is None
    True
    """
    check_labels(a, b)
    positions = kappa_scale({*a, *b}, weights, order)
    distance = squared_distance(positions) if weights else nominal_distance
    counts, first, second = confusion(a, b), Counter(a), Counter(b)
    by_chance = sum(first[x] * second[y] * distance(x, y) for x in first for y in second)
    if not by_chance:
        return None
    observed = sum(n * distance(x, y) for (x, y), n in counts.items())
    return 1.0 - observed * len(a) / by_chance


def spearman(a: Sequence[Label], b: Sequence[Label], *, order: Sequence[Label] | None = None) -> float | None:
    """How far two raters put the items into the same order: -1 (reversed) to 1 (the same).

    The correlation of the ranks; equal labels share the mean of their ranks (Spearman 1904, as scipy's
    ``spearmanr``). It knows no level: a judge that gives everybody two points more than people do has 1.

    Args:
        a: Labels of one rater.
        b: Labels of the other, for the same items in the same order.
        order: All labels from lowest to highest, if they are no numbers.

    Returns:
        None where there is no order to compare: fewer than two items, or a rater gave all the same label.

    Raises:
        ValueError: As `cohen_kappa`.

    >>> round(spearman([1, 2, 3, 4], [10, 30, 20, 40]), 6)
    0.8
    """
    check_labels(a, b)
    import numpy as np

    positions = label_places({*a, *b}, order, "ranks")
    ranks = []
    for labels in (a, b):
        _, where, counts = np.unique(
            [positions[rank] for rank in labels], return_inverse=True, return_counts=True
        )
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[where])
    spread = [rank - rank.mean() if len(rank) else rank for rank in ranks]
    length = float(np.sqrt((spread[0] ** 2).sum() * (spread[1] ** 2).sum()))
    return max(-1.0, min(1.0, float((spread[0] * spread[1]).sum()) / length)) if length else None


def kappa_scale(
    labels: Collection[Label], weights: Weights | None, order: Sequence[Label] | None
) -> dict[Hashable, float]:
    """Return where labels lie for the weights of a kappa; names lie anywhere.

    Raises:
        ValueError: No such weights, or a label has no place on a scale.

    >>> kappa_scale({"b"}, "quadratic", ["a", "b"])
    {'b': 1.0}
    """
    if weights not in (None, "quadratic"):
        raise ValueError(f"agreement: expected weights None or 'quadratic', got {weights!r}")
    return label_places(labels, order, "quadratic weights") if weights else dict.fromkeys(labels, 0.0)


def check_labels(a: Sequence[Hashable], b: Sequence[Hashable]) -> None:
    """Refuse labels that do not belong together.

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
