"""Agreement of two raters: a judge and a person, or a judge and itself."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Literal, SupportsFloat, TypeAlias, TypeVar

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
    _check(a, b)
    return sum(x == y for x, y in zip(a, b, strict=True)) / len(a) if a else None


def confusion(a: Sequence[Label], b: Sequence[Label]) -> dict[tuple[Label, Label], int]:
    """How often each pair of labels occurs, ``(a's, b's)``; pairs that do not occur are left out.

    Raises:
        ValueError: The lists differ in length, or a label is NaN.

    >>> confusion([1, 1, 0], [1, 0, 0])
    {(1, 1): 1, (1, 0): 1, (0, 0): 1}
    """
    _check(a, b)
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
    _check(a, b)
    if weights not in (None, "quadratic"):
        raise ValueError(f"agreement: expected weights None or 'quadratic', got {weights!r}")
    distance = _quadratic({*a, *b}, order) if weights else _nominal
    counts, first, second = confusion(a, b), Counter(a), Counter(b)
    by_chance = sum(first[x] * second[y] * distance(x, y) for x in first for y in second)
    if not by_chance:
        return None
    observed = sum(n * distance(x, y) for (x, y), n in counts.items())
    return 1.0 - observed * len(a) / by_chance


def _check(a: Sequence[Hashable], b: Sequence[Hashable]) -> None:
    if len(a) != len(b):
        raise ValueError(f"agreement: expected two labels for each item, got {len(a)} and {len(b)} labels")
    for index, label in enumerate([*a, *b]):
        if isinstance(label, float) and math.isnan(label):
            raise ValueError(
                f"agreement: item {index % len(a)} has the label NaN; leave out what was not scored, in both lists"
            )


def _nominal(x: Hashable, y: Hashable) -> float:
    return float(x != y)


def _quadratic(labels: set[Label], order: Sequence[Label] | None) -> Callable[[Hashable, Hashable], float]:
    places = _scale(labels) if order is None else _places(labels, order)
    # Only the ratio of distances counts: within -1 to 1 no square overflows.
    largest = max(map(abs, places.values()), default=0.0) or 1.0

    def distance(x: Hashable, y: Hashable) -> float:
        return (places[x] / largest - places[y] / largest) ** 2

    return distance


def _places(labels: set[Label], order: Sequence[Label]) -> dict[Hashable, float]:
    if len(set(order)) != len(order):
        raise ValueError(f"agreement: expected each label once in order, got {list(order)!r}")
    missing = sorted(repr(one) for one in labels - set(order))
    if missing:
        raise ValueError(f"agreement: expected labels out of {list(order)!r}, got {', '.join(missing)}")
    return {label: float(place) for place, label in enumerate(order)}


def _scale(labels: set[Label]) -> dict[Hashable, float]:
    places: dict[Hashable, float] = {}
    for label in labels:
        places[label] = place = _number(label)
        if not math.isfinite(place):
            raise ValueError(
                f"agreement: quadratic weights need numbers or order=[lowest, ..., highest], got {label!r}"
            )
    return places


def _number(label: object) -> float:
    try:
        return float(label) if isinstance(label, SupportsFloat) else math.nan
    except OverflowError:
        return math.inf
