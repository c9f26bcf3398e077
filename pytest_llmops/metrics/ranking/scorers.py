"""Found ids as arrays, and every metric over them: no loop over queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy import float64, int64
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Table:
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


def _hit_rate(table: Table, k: int | None) -> NDArray[float64]:
    return (table.added(table.hits(k)) > 0).astype(float)


def _precision(table: Table, k: int | None) -> NDArray[float64]:
    import numpy as np

    return table.added(table.hits(k)) / (np.maximum(table.lengths, 1) if k is None else k)


def _recall(table: Table, k: int | None) -> NDArray[float64]:
    return table.added(table.hits(k)) / table.wanted


def _r_precision(table: Table, k: int | None) -> NDArray[float64]:
    return table.added(table.hits(k) & (table.places < table.wanted[table.rows])) / table.wanted


def _mrr(table: Table, k: int | None) -> NDArray[float64]:
    hits = table.hits(k)
    return table.added(hits & (table.so_far(hits) == 1), 1.0 / (table.places + 1))


def _map(table: Table, k: int | None) -> NDArray[float64]:
    hits = table.hits(k)
    return table.added(hits, table.so_far(hits) / (table.places + 1)) / table.wanted


def _ndcg(table: Table, k: int | None) -> NDArray[float64]:
    import numpy as np

    limit = np.iinfo(np.int64).max if k is None else k
    gained = table.added(
        (table.grades > 0) & (table.places < limit), table.grades / np.log2(table.places + 2.0)
    )
    kept = table.ideal_places < limit
    gains = (table.ideals / np.log2(table.ideal_places + 2.0))[kept]
    best = np.bincount(table.ideal_rows[kept], weights=gains, minlength=len(table.wanted))
    return np.minimum(gained / best, 1.0)


def _bpref(table: Table, k: int | None) -> NDArray[float64]:
    import numpy as np

    hits = table.hits(k)
    wanted, refused = table.wanted[table.rows], table.refused[table.rows]
    bad = table.so_far((table.grades >= 0) & (table.grades < table.level))
    lost = np.minimum(bad, wanted) / np.maximum(np.minimum(refused, wanted), 1)
    return table.added(hits, 1.0 - lost) / table.wanted


SCORERS: dict[str, Callable[[Table, int | None], NDArray[float64]]] = {
    "hit_rate": _hit_rate,
    "precision": _precision,
    "recall": _recall,
    "r_precision": _r_precision,
    "mrr": _mrr,
    "map": _map,
    "ndcg": _ndcg,
    "bpref": _bpref,
}
"""By the names a user writes; the same as those of a single query."""
