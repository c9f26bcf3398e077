"""Compute every ranking metric by arrays over all queries, and the bootstrap interval of a mean over queries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmops._util.arrays import ArrayLike, Float64Array, Int64Array, NDArray, np
from pytest_llmops._util.resampling import iterate_blocks, percentile_interval


@dataclass(frozen=True, slots=True)
class RelevanceTable:
    """The judged ids that are ranked, by query and place (from 0), and the best possible rankings.

    Attributes:
        rows: ``(ranked,)``: the number of the query of each id, ascending.
        places: ``(ranked,)``: its place, ascending within a query.
        grades: ``(ranked,)``: its grade.
        level: The lowest relevant grade.
        lengths: ``(queries,)``: how many ids are ranked.
        wanted: ``(queries,)``: how many ids are relevant, ranked or not; at least 1.
        ideal_rows: ``(graded,)``: the query of every id with a grade above 0, ranked or not.
        ideal_places: ``(graded,)``: its place in the best possible ranking.
        ideals: ``(graded,)``: its grade.
    """

    rows: Int64Array
    places: Int64Array
    grades: Int64Array
    level: int
    lengths: Int64Array
    wanted: Int64Array
    ideal_rows: Int64Array
    ideal_places: Int64Array
    ideals: Int64Array

    def hits(self, k: int | None) -> "NDArray[Any]":
        """Return a mask of the ranked ids that are relevant and among the first k."""
        good: NDArray[Any] = self.grades >= self.level
        if k is None:
            return good
        return good & (self.places < k)

    def sum_by_query(self, which: "NDArray[Any]", weights: "NDArray[Any] | None" = None) -> Float64Array:
        """Return for each query the number of masked ids, or the sum of their weights."""
        if weights is None:
            chosen = None
        else:
            chosen = weights[which]
        sums = np.bincount(self.rows[which], weights=chosen, minlength=len(self.wanted))
        return sums.astype(np.float64)

    def count_so_far(self, which: "NDArray[Any]") -> Int64Array:
        """Return for each ranked id the number of masked ids at or before its place in the query."""
        total = np.cumsum(which)
        per_row = np.bincount(self.rows[which], minlength=len(self.wanted))
        before_row = np.cumsum(per_row) - per_row
        earlier: Int64Array = total - before_row[self.rows]
        return earlier


def _score_ndcg(table: RelevanceTable, k: int | None) -> Float64Array:
    """Return for each query its discounted gain over the first k places, divided by the best possible one.

    The table only has queries with relevant ids, so the divisor is above 0.
    """
    if k is None:
        limit = np.iinfo(np.int64).max
    else:
        limit = k
    gains = table.grades / np.log2(table.places + 2.0)
    counts = (table.grades > 0) & (table.places < limit)
    gained = table.sum_by_query(counts, gains)
    in_top = table.ideal_places < limit
    all_ideal_gains = table.ideals / np.log2(table.ideal_places + 2.0)
    ideal_gains = all_ideal_gains[in_top]
    best = np.bincount(table.ideal_rows[in_top], weights=ideal_gains, minlength=len(table.wanted))
    return np.minimum(gained / best, 1.0)


def _score_hit_rate(table: RelevanceTable, k: int | None) -> Float64Array:
    hits = table.sum_by_query(table.hits(k))
    return (hits > 0).astype(float)


def _score_precision(table: RelevanceTable, k: int | None) -> Float64Array:
    hits = table.sum_by_query(table.hits(k))
    if k is None:
        return hits / np.maximum(table.lengths, 1)
    return hits / k


def _score_recall(table: RelevanceTable, k: int | None) -> Float64Array:
    return table.sum_by_query(table.hits(k)) / table.wanted


def _score_r_precision(table: RelevanceTable, k: int | None) -> Float64Array:
    """Return for each query the precision among its first R ids, where R is the number of relevant ids."""
    among_first = table.places < table.wanted[table.rows]
    return table.sum_by_query(table.hits(k) & among_first) / table.wanted


def _score_reciprocal_rank(table: RelevanceTable, k: int | None) -> Float64Array:
    hits = table.hits(k)
    first_hits = hits & (table.count_so_far(hits) == 1)
    return table.sum_by_query(first_hits, 1.0 / (table.places + 1))


def _score_average_precision(table: RelevanceTable, k: int | None) -> Float64Array:
    hits = table.hits(k)
    precisions = table.count_so_far(hits) / (table.places + 1)
    return table.sum_by_query(hits, precisions) / table.wanted


# By the names that users write, the same as for a single query
SCORERS: dict[str, Callable[[RelevanceTable, int | None], Float64Array]] = {
    "hit_rate": _score_hit_rate,
    "precision": _score_precision,
    "recall": _score_recall,
    "r_precision": _score_r_precision,
    "mrr": _score_reciprocal_rank,
    "map": _score_average_precision,
    "ndcg": _score_ndcg,
}


def bootstrap_interval(
    values: ArrayLike, groups: Sequence[str] | None = None, *, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Return the bootstrap interval of a mean, with groups of values drawn together. The same numbers give the same one.

    Args:
        values: ``(n,)`` numbers.
        groups: The group of each value. None: each value is a group. Members of a group (paraphrases of a question)
            are drawn together, as they are not independent.
        confidence: Share of resampled means within the interval.
        seed: Seed of the draws.

    Returns:
        Lower and upper end. None with fewer than two groups, or if all values are equal.

    Raises:
        ValueError: The values are not a list of finite numbers, there are not as many groups as values, or the
            confidence is not between 0 and 1.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile interval).

    >>> low, high = bootstrap_interval([0.0, 1.0] * 50)
    >>> 0.38 < low < 0.42 and 0.58 < high < 0.62
    True
    """
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
    if groups is not None:
        names = groups
    else:
        names = [str(index) for index in range(len(numbers))]
    index_of = {name: index for index, name in enumerate(dict.fromkeys(names))}
    count = len(index_of)
    if count < 2 or numbers.min() == numbers.max():  # noqa: PLR2004 -- a single group has no spread
        return None
    group_indexes = np.array([index_of[name] for name in names])
    sums = np.bincount(group_indexes, weights=numbers)
    sizes = np.bincount(group_indexes)
    generator = np.random.default_rng(seed)
    means: list[float] = []
    # `scipy.stats.bootstrap` resamples values, not groups of them
    for block in iterate_blocks(count):
        drawn = generator.integers(count, size=(block, count))
        resampled = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
        means += resampled.tolist()
    return percentile_interval(means, confidence)
