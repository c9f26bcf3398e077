"""Compute bootstrap intervals of Cohen's kappa."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeAlias, TypeVar

from pytest_llmops._util.arrays import Float64Array, NDArray, np
from pytest_llmops._util.resampling import iterate_blocks, percentile_interval
from pytest_llmops.metrics.agreement.two_raters import Weights, check_labels, kappa_scale

_Kappas: TypeAlias = "Callable[[Float64Array], Float64Array]"
Label = TypeVar("Label", bound=Hashable)
ROUNDING = 1e-12


def kappa_interval(
    a: Sequence[Label],
    b: Sequence[Label],
    *,
    weights: Weights | None = None,
    groups: Sequence[str] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Return the bootstrap interval of Cohen's kappa; the same labels give the same interval.

    With ``confidence=0.9`` the kappa exceeds the lower end with 95 % confidence. A resample with a single label shows
    no agreement and counts as a kappa of 0, so the lower end is low if a class is rare. If the raters agree on all
    items of two common classes, the interval is a point, since no disagreement can be drawn; use at least 50 items.

    Args:
        a: Labels of the first rater.
        b: Labels of the second rater, for the same items in the same order.
        weights: As in `cohen_kappa`.
        groups: The group of each item; None: each item is a group. Items of a group (answers to paraphrases of a
            question) are drawn together, as they are not independent.
        confidence: Share of resampled kappas within the interval.
        seed: Seed of the draws.

    Returns:
        Lower and upper end, -1 to 1; None without a kappa, or with a single group.

    Raises:
        ValueError: As `cohen_kappa`; another number of groups than items; a confidence that is not between 0 and 1.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile interval).

    >>> low, high = kappa_interval([1] * 50 + [0] * 50, [1] * 40 + [0] * 50 + [1] * 10)
    >>> 0.4 < low < 0.5 and 0.7 < high < 0.8
    True
    """
    check_labels(a, b)
    if not 0 < confidence < 1:
        raise ValueError(f"agreement: expected a confidence between 0 and 1, got {confidence}")
    if groups is not None and len(groups) != len(a):
        raise ValueError(f"agreement: expected a group for each of {len(a)} items, got {len(groups)}")
    # In order of occurrence: the order of a set, and so the draws, would differ between processes
    labels = dict.fromkeys([*a, *b])
    positions = kappa_scale(list(labels), weights)
    if len(positions) < 2:  # noqa: PLR2004 -- kappa needs two labels
        return None
    if groups is not None and len(set(groups)) < 2:  # noqa: PLR2004 -- a single group has no spread
        return None
    # Each distinct pair of labels is a cell of the table of both raters
    numbers = {label: number for number, label in enumerate(positions)}
    size = len(numbers)
    first = np.array([numbers[label] for label in a])
    second = np.array([numbers[label] for label in b])
    cells, cell_of_item = np.unique(first * size + second, return_inverse=True)
    first_of_cell, second_of_cell = np.divmod(cells, size)
    places = np.array(list(positions.values()))
    points = _place_labels(places, weights)
    kappa_of_counts = _kappas_of_counts(points[first_of_cell], points[second_of_cell])

    # `scipy.stats.bootstrap` draws items: slower than counts of cells by the number of items, and it knows no groups
    kinds, often = _group_kinds(cell_of_item, len(cells), groups)
    total = int(often.sum())
    generator = np.random.default_rng(seed)
    kappas: list[Float64Array] = []
    width = max(len(often), len(cells), len(positions))
    for count in iterate_blocks(width):
        drawn = generator.multinomial(total, often / total, size=count)
        if kinds is None:
            counts = drawn.astype(np.float64)
        else:
            counts = drawn @ kinds
        kappas.append(kappa_of_counts(counts))
    return percentile_interval(np.concatenate(kappas), confidence)


def _group_kinds(
    cell: NDArray[np.intp], width: int, groups: Sequence[str] | None
) -> tuple[Float64Array | None, NDArray[np.intp]]:
    """Return the kinds of groups, and how many groups are of each kind.

    Groups of a kind have the same counts of label pairs, so that drawing a kind as often as it occurs equals drawing its
    groups. If every item is a group, a kind is a pair of labels and None is returned for the kinds.

    Args:
        cell: For each item the number of its pair of labels.
        width: How many different pairs there are.
        groups: The group of each item; None: each item is a group.

    Returns:
        An array (kinds, pairs) with the counts, or None, and the number of groups of each kind.
    """
    if groups is None or len(set(groups)) == len(groups):
        return None, np.bincount(cell, minlength=width)
    distinct_groups = dict.fromkeys(groups)
    row_of_group = {name: row for row, name in enumerate(distinct_groups)}
    rows = np.array([row_of_group[name] for name in groups])
    table = np.zeros((len(row_of_group), width))
    np.add.at(table, (rows, cell), 1)
    return np.unique(table, axis=0, return_counts=True)


def _kappas_of_counts(x: Float64Array, y: Float64Array) -> _Kappas:
    """Return a function that computes the kappa of each row of an array (resamples, label pairs) of counts.

    Two labels disagree by the squared distance of their points, see `_place_labels`.

    Args:
        x: For each pair of labels the point of the first.
        y: For each pair of labels the point of the second.
    """
    apart = ((x - y) ** 2).sum(axis=1)
    lengths = (x**2 + y**2).sum(axis=1)

    def kappas(counts: Float64Array) -> Float64Array:
        size = counts.sum(axis=1)
        # The sum over all pairs of items of |x - y|^2 is that of |x|^2 + |y|^2 - 2 x y, without a table of all pairs
        sums_of_x = counts @ x
        sums_of_y = counts @ y
        products = (sums_of_x * sums_of_y).sum(axis=1)
        by_chance = size * (counts @ lengths) - 2 * products
        observed = counts @ apart * size
        # If all labels are the same the sums cancel only up to rounding
        known = by_chance > np.square(size) * ROUNDING
        divisor = np.where(known, by_chance, 1.0)
        return np.where(known, 1 - observed / divisor, 0.0)

    return kappas


def _place_labels(positions: Float64Array, weights: Weights | None) -> Float64Array:
    """Return a point for each label, as rows.

    With weights the points lie on a line. Without them they are unit vectors, which are equally far from each other.
    """
    if not weights:
        return np.eye(len(positions))
    halved = positions / 2  # the width of a scale may be more than a float holds
    lowest = halved.min()
    unit = (halved - lowest) / (halved.max() - lowest)
    centred: Float64Array = unit - unit.mean()
    return centred.reshape(-1, 1)
