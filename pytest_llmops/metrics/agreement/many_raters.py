"""Measure the agreement of any number of raters: Krippendorff's alpha."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Literal, TypeAlias, get_args

from pytest_llmops._util.lazy_numpy import Float64Array, np
from pytest_llmops.metrics.agreement.two_raters import is_nan, label_places

Level: TypeAlias = Literal["nominal", "ordinal", "interval"]
Ratings: TypeAlias = Sequence[Sequence[Hashable]]
LEVELS: tuple[Level, ...] = get_args(Level)


def krippendorff_alpha(ratings: Ratings, *, level: Level = "nominal") -> float | None:
    """Return the agreement beyond chance of any number of raters, who may have skipped items.

    ``1 - D / E``, where D is the mean disagreement of two labels of the same item and E that of any two labels
    (Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011). Two different labels disagree by 1 (nominal),
    by the square of the number of labels between them (ordinal), or by the square of their distance (interval).
    Items with fewer than two labels do not count.

    Args:
        ratings: A row for each item, with a label of each rater or None. Who gave which label does not matter.
        level: Names; numbers as ranks; or numbers with equal steps.

    Returns:
        At most 1, 0 at chance; None if no item has two labels or all labels are the same.

    Raises:
        ValueError: Unknown level, or a label that is NaN, or not a number above ``nominal``.

    >>> round(krippendorff_alpha([["a", "a"], ["b", "b"], ["a", "b"], ["b", None]]), 3)
    0.444
    """
    if level not in LEVELS:
        raise ValueError(f"agreement: expected a level out of {', '.join(LEVELS)}, got {level!r}")
    rows = [row for row in _given_labels(ratings) if len(row) > 1]
    labels = list({label: None for row in rows for label in row})
    if len(labels) < 2:  # noqa: PLR2004 -- with a single label chance agrees as well
        return None
    counts = _count_labels(rows, labels)
    sizes = counts.sum(axis=1, keepdims=True)
    totals = counts.sum(axis=0)
    if level == "nominal":
        distance = 1.0 - np.eye(len(labels))
    else:
        known = label_places(labels, f"{level} labels")
        distance = _label_distances(np.array([known[label] for label in labels]), totals, level)
    # Pairs of labels within an item, weighted so that an item counts by its number of labels.
    within = float((((counts / (sizes - 1)) @ distance) * counts).sum())
    expected = float(totals @ distance @ totals) / (float(totals.sum()) - 1)
    return 1.0 - within / expected if expected else None


def _given_labels(ratings: Ratings) -> list[list[Hashable]]:
    rows = [[label for label in row if label is not None] for row in ratings]
    for index, row in enumerate(rows):
        if any(is_nan(label) for label in row):
            raise ValueError(f"agreement: item {index} has the label NaN; None is a label left out")
    return rows


def _count_labels(rows: Sequence[Sequence[Hashable]], labels: Sequence[Hashable]) -> Float64Array:
    columns = {label: place for place, label in enumerate(labels)}
    counts = np.zeros((len(rows), len(labels)))
    for index, row in enumerate(rows):
        for label, n in Counter(row).items():
            counts[index, columns[label]] = n
    return counts


def _label_distances(positions: Float64Array, totals: Float64Array, level: Level) -> Float64Array:
    if level == "ordinal":
        # The rank of a label among all ratings; equal labels share their mean rank.
        by_place = np.argsort(positions)
        middles = np.empty(len(positions))
        middles[by_place] = np.cumsum(totals[by_place]) - totals[by_place] / 2
        positions = middles
    positions = positions / (np.abs(positions).max() or 1.0)
    distance: Float64Array = (positions[:, None] - positions[None, :]) ** 2
    return distance
