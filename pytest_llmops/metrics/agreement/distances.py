"""Place labels on a scale, and measure the distance of two labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable
from typing import SupportsFloat, TypeAlias

Distance: TypeAlias = Callable[[Hashable, Hashable], float]


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
    # Sorted, so that every run reports the same wrong label.
    for label in sorted(labels, key=repr):
        if not math.isfinite(label_as_number(label, math.nan)):
            raise ValueError(f"agreement: {what} need numbers, got {label!r}")
    return {label: label_as_number(label, math.nan) for label in labels}


def nominal_distance(x: Hashable, y: Hashable) -> float:
    """Return 1.0 for two different names, 0.0 for the same.

    >>> nominal_distance("a", "b")
    1.0
    """
    return float(x != y)


def squared_distance(positions: dict[Hashable, float]) -> Distance:
    """Return the squared distance of labels by their places, scaled by the largest place.

    >>> squared_distance({"a": 0.0, "b": 2.0})("a", "b")
    1.0
    """
    # Between -1 and 1 no square overflows.
    largest = max(map(abs, positions.values()), default=0.0) or 1.0

    def distance(x: Hashable, y: Hashable) -> float:
        return (positions[x] / largest - positions[y] / largest) ** 2

    return distance


def label_as_number(label: object, otherwise: float) -> float:
    """Return a label as a float (infinity if it is too large), or ``otherwise`` if it is not a number.

    >>> label_as_number(2, 0.0), label_as_number("2", 0.0)
    (2.0, 0.0)
    """
    try:
        return float(label) if isinstance(label, SupportsFloat) else otherwise
    except OverflowError:
        return math.inf
