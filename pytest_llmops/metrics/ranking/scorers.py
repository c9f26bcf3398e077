"""Found ids as arrays, and every metric over them: no loop over queries.

How sure a mean over queries is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy import float64, int64
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class RelevanceTable:
    """The judged ids that were found, by query and place (from 0), and what there is to find.

    Attributes:
        rows: ``(found,)``: the query of each, from 0, rising.
        places: ``(found,)``: its place, rising within a query.
        grades: ``(found,)``.
        level: The lowest grade that is relevant.
        lengths: ``(queries,)``: how many ids are ranked.
        wanted: ``(queries,)``: how many ids are relevant, found or not; at least 1.
        refused: ``(queries,)``: how many are judged not relevant.
        ideal_rows: ``(graded,)``: the query of every id of a grade above 0, found or not.
        ideal_places: ``(graded,)``: its place in the best possible ranking.
        ideals: ``(graded,)``: its grade.
    """

    rows: NDArray[int64]
    places: NDArray[int64]
    grades: NDArray[int64]
    level: int
    lengths: NDArray[int64]
    wanted: NDArray[int64]
    refused: NDArray[int64]
    ideal_rows: NDArray[int64]
    ideal_places: NDArray[int64]
    ideals: NDArray[int64]

    def hits(self, k: int | None) -> NDArray[Any]:
        """Which of the found are relevant and among the first k."""
        good: NDArray[Any] = self.grades >= self.level
        return good if k is None else good & (self.places < k)

    def added(self, which: NDArray[Any], weights: NDArray[Any] | None = None) -> NDArray[float64]:
        """The sum of the chosen by query."""
        import numpy as np

        kept = None if weights is None else weights[which]
        return np.bincount(self.rows[which], weights=kept, minlength=len(self.wanted)).astype(np.float64)

    def so_far(self, which: NDArray[Any]) -> NDArray[int64]:
        """How many of the chosen stand at or before each of the found, within its query."""
        import numpy as np

        total = np.cumsum(which)
        per_row = np.bincount(self.rows[which], minlength=len(self.wanted))
        earlier: NDArray[int64] = total - (np.cumsum(per_row) - per_row)[self.rows]
        return earlier


def _score_hit_rate(table: RelevanceTable, k: int | None) -> NDArray[float64]:
    return (table.added(table.hits(k)) > 0).astype(float)


def _score_precision(table: RelevanceTable, k: int | None) -> NDArray[float64]:
    import numpy as np

    return table.added(table.hits(k)) / (np.maximum(table.lengths, 1) if k is None else k)


def _score_recall(table: RelevanceTable, k: int | None) -> NDArray[float64]:
    return table.added(table.hits(k)) / table.wanted


def _score_r_precision(table: RelevanceTable, k: int | None) -> NDArray[float64]:
    return table.added(table.hits(k) & (table.places < table.wanted[table.rows])) / table.wanted


def _score_mrr(table: RelevanceTable, k: int | None) -> NDArray[float64]:
    hits = table.hits(k)
    return table.added(hits & (table.so_far(hits) == 1), 1.0 / (table.places + 1))


def _score_map(table: RelevanceTable, k: int | None) -> NDArray[float64]:
    hits = table.hits(k)
    return table.added(hits, table.so_far(hits) / (table.places + 1)) / table.wanted


def _score_ndcg(table: RelevanceTable, k: int | None) -> NDArray[float64]:
    import numpy as np

    limit = np.iinfo(np.int64).max if k is None else k
    gained = table.added(
        (table.grades > 0) & (table.places < limit), table.grades / np.log2(table.places + 2.0)
    )
    kept = table.ideal_places < limit
    gains = (table.ideals / np.log2(table.ideal_places + 2.0))[kept]
    best = np.bincount(table.ideal_rows[kept], weights=gains, minlength=len(table.wanted))
    return np.minimum(gained / best, 1.0)


def _score_bpref(table: RelevanceTable, k: int | None) -> NDArray[float64]:
    import numpy as np

    hits = table.hits(k)
    wanted, refused = table.wanted[table.rows], table.refused[table.rows]
    bad = table.so_far((table.grades >= 0) & (table.grades < table.level))
    lost = np.minimum(bad, wanted) / np.maximum(np.minimum(refused, wanted), 1)
    return table.added(hits, 1.0 - lost) / table.wanted


SCORERS: dict[str, Callable[[RelevanceTable, int | None], NDArray[float64]]] = {
    "hit_rate": _score_hit_rate,
    "precision": _score_precision,
    "recall": _score_recall,
    "r_precision": _score_r_precision,
    "mrr": _score_mrr,
    "map": _score_map,
    "ndcg": _score_ndcg,
    "bpref": _score_bpref,
}
"""By the names a user writes; the same as those of a single query."""


RESAMPLES = 2000
MAX_DRAWN_CELLS = 2_000_000
"""Numbers drawn at once, so that many queries do not take much memory."""


def bootstrap_interval(
    values: ArrayLike, groups: Sequence[str] | None = None, *, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Return the interval of a mean by the bootstrap over groups: the same numbers give the same interval.

    Args:
        values: ``(n,)`` numbers.
        groups: The group of each; None: each is its own. Members of a group (paraphrases of one question) are
            drawn together, as they are not independent.
        confidence: Share of resampled means within the interval.
        seed: Of the draws.

    Returns:
        Lower and upper end; None where nothing can be told: there are fewer than two groups, or all values
        are equal.

    Raises:
        ValueError: The values are no list of finite numbers, the groups are not as many, or the confidence is
            not between 0 and 1.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile interval).

    >>> low, high = bootstrap_interval([0.0, 1.0] * 50)
    >>> 0.38 < low < 0.42 and 0.58 < high < 0.62
    True
    """
    import numpy as np

    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise ValueError(f"values: expected a list of finite numbers, got {values!r:.80}")
    if groups is not None and len(groups) != len(numbers):
        raise ValueError(f"groups: expected one for each of {len(numbers)} values, got {len(groups)}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence!r}")
    names = groups if groups is not None else [str(place) for place in range(len(numbers))]
    known = {name: place for place, name in enumerate(dict.fromkeys(names))}
    if len(known) < 2 or numbers.min() == numbers.max():  # noqa: PLR2004 -- one group has no spread
        return None
    number = np.array([known[name] for name in names])
    sums, sizes = np.bincount(number, weights=numbers), np.bincount(number)
    draws = np.random.default_rng(seed)
    means: list[float] = []
    block = max(1, MAX_DRAWN_CELLS // len(known))
    for start in range(0, RESAMPLES, block):
        drawn = draws.integers(len(known), size=(min(block, RESAMPLES - start), len(known)))
        means += (sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)).tolist()
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
