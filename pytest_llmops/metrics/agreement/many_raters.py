"""Agreement of any number of raters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from pytest_llmops.metrics.agreement.distances import is_nan, label_places

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

Level: TypeAlias = Literal["nominal", "ordinal", "interval"]
Ratings: TypeAlias = Sequence[Sequence[Hashable]]
LEVELS: tuple[Level, ...] = get_args(Level)


def krippendorff_alpha(
    ratings: Ratings, *, level: Level = "nominal", order: Sequence[Hashable] | None = None
) -> float | None:
    """Agreement beyond chance of any number of raters, each of whom may have left items out.

    ``1 - D / E``, where D is the mean disagreement of two labels of one item and E that of any two labels
    (Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011). Two unlike labels disagree by 1
    (nominal), by the square of how many labels lie between them (ordinal), or by the square of their
    distance (interval). An item with fewer than two labels does not count.

    Args:
        ratings: One row an item, with one label a rater; None where that rater left it out. Only which
            labels an item has counts, not who gave them.
        level: What the labels are: names, ranks, or numbers with equal steps.
        order: All labels from lowest to highest; needed above ``nominal`` if they are no numbers.

    Returns:
        At most 1, 0 at chance; None where nothing can be told: no item has two labels, or all labels are
        the same.

    Raises:
        ValueError: No such level, a label is NaN, is not in ``order`` or has no place on a scale.

    >>> round(krippendorff_alpha([["a", "a"], ["b", "b"], ["a", "b"], ["b", None]]), 3)
    0.444
    """
    if level not in LEVELS:
        raise ValueError(f"agreement: expected a level out of {', '.join(LEVELS)}, got {level!r}")
    rows = [row for row in _given_labels(ratings) if len(row) > 1]
    labels = list({label: None for row in rows for label in row})
    if len(labels) < 2:  # noqa: PLR2004 -- one label only: chance would agree as well
        return None
    import numpy as np

    counts = _count_labels(rows, labels)
    sizes = counts.sum(axis=1, keepdims=True)
    totals = counts.sum(axis=0)
    if level == "nominal":
        distance = 1.0 - np.eye(len(labels))
    else:
        known = label_places(labels, order, f"{level} labels")
        distance = _label_distances(np.array([known[label] for label in labels]), totals, level)
    # Pairs of labels within an item, each weighted so that an item counts by its number of labels.
    within = float((((counts / (sizes - 1)) @ distance) * counts).sum())
    expected = float(totals @ distance @ totals) / (float(totals.sum()) - 1)
    return 1.0 - within / expected if expected else None


def fleiss_kappa(ratings: Ratings) -> float | None:
    """Agreement beyond chance of the same number of raters on every item, by names: at most 1, 0 at chance.

    Raters may differ from item to item (Fleiss 1971). Of two raters it is Scott's pi, not Cohen's kappa.

    Args:
        ratings: One row an item, with as many labels in each; who gave which does not count.

    Returns:
        None without items, or where all labels are the same.

    Raises:
        ValueError: An item has fewer than two labels, or more or fewer than the first; a label is None or NaN.

    >>> round(fleiss_kappa([["a", "a", "a"], ["b", "b", "a"], ["b", "b", "b"]]), 3)
    0.55
    """
    rows = _given_labels(ratings)
    raters = len(ratings[0]) if ratings else 0
    for index, row in enumerate(rows):
        if len(row) != raters or raters < 2:  # noqa: PLR2004 -- a rater cannot agree alone
            wanted = f"{max(raters, 2)} labels, as many for each"
            raise ValueError(
                f"agreement: item {index}: expected {wanted}, got {len(row)}; krippendorff_alpha takes gaps"
            )
    labels = list({label: None for row in rows for label in row})
    if len(labels) < 2:  # noqa: PLR2004 -- one label only: chance would agree as well
        return None
    counts = _count_labels(rows, labels)
    observed = float((counts * (counts - 1)).sum()) / (len(rows) * raters * (raters - 1))
    chance = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    return (observed - chance) / (1 - chance)


def _given_labels(ratings: Ratings) -> list[list[Hashable]]:
    rows = [[label for label in row if label is not None] for row in ratings]
    for index, row in enumerate(rows):
        if any(is_nan(label) for label in row):
            raise ValueError(f"agreement: item {index} has the label NaN; None is a label left out")
    return rows


def _count_labels(rows: Sequence[Sequence[Hashable]], labels: Sequence[Hashable]) -> NDArray[float64]:
    import numpy as np

    columns = {label: place for place, label in enumerate(labels)}
    counts = np.zeros((len(rows), len(labels)))
    for index, row in enumerate(rows):
        for label, n in Counter(row).items():
            counts[index, columns[label]] = n
    return counts


def _label_distances(positions: NDArray[float64], totals: NDArray[float64], level: Level) -> NDArray[float64]:
    import numpy as np

    if level == "ordinal":
        # The rank of a label among all labels given, equal ones in the middle of their run.
        by_place = np.argsort(positions)
        middles = np.empty(len(positions))
        middles[by_place] = np.cumsum(totals[by_place]) - totals[by_place] / 2
        positions = middles
    positions = positions / (np.abs(positions).max() or 1.0)
    distance: NDArray[float64] = (positions[:, None] - positions[None, :]) ** 2
    return distance
