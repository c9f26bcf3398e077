"""How good many rankings are at once: the definitions of trec_eval, scored by array over all queries.

The single query is in `pytest_llmops.metrics.retrieval`, in plain Python; a law test holds both together.
Queries are told apart by their id. What is relevant to them is given as there: ids, or id -> grade. A grade
of ``level`` and more is relevant, less (but not below 0) is judged not relevant, below 0 and left out is not
judged.

Only judged ids that were found decide, so that is all that becomes an array: ten thousand queries of a
hundred hits each are scored in the time it takes to look them up.

Source: trec_eval (NIST), measures ``success``, ``P``, ``recall``, ``Rprec``, ``recip_rank``, ``map``/``map_cut``,
``ndcg``/``ndcg_cut`` and ``bpref``, with its options ``-c`` (`evaluate`'s default), ``-l`` (``level``) and
``-M`` (``depth``). One thing differs: trec_eval counts a query without a relevant id as 0, here it is not scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from numbers import Integral
from typing import TYPE_CHECKING

from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.metrics.ranking.ranks import (
    Ranking,
    Relevant,
    build_relevance_table,
    has_relevant,
    look_up_judged,
    rank_by_score,
)
from pytest_llmops.metrics.ranking.scorers import SCORERS, bootstrap_interval

if TYPE_CHECKING:
    from numpy import float64, int64
    from numpy.typing import NDArray

__all__ = [
    "ALIASES",
    "SCORERS",
    "Ranking",
    "Relevant",
    "Scores",
    "bootstrap_interval",
    "evaluate",
    "parse_metric",
    "rank_by_score",
]

ALIASES = {
    "reciprocal_rank": "mrr",
    "average_precision": "map",
    "rprec": "r_precision",
    "success": "hit_rate",
}
"""Other names of a metric."""


def parse_metric(text: str) -> tuple[str, int | None]:
    """Return the name of a metric as it is recorded, and its cut (None: no cut).

    Raises:
        UnknownName: There is no such metric.
        UsageError: It is no text, or the cut is no whole number of at least 1.

    >>> parse_metric("nDCG@10"), parse_metric("reciprocal_rank")
    (('ndcg', 10), ('mrr', None))
    """
    __tracebackhide__ = True
    if not isinstance(text, str):
        raise UsageError(f"metric: expected a name like 'ndcg@10', got {text!r}")
    written, at, cut = text.strip().lower().partition("@")
    name = ALIASES.get(written, written)
    if name not in SCORERS:
        raise UnknownName("retrieval metric", written, [*SCORERS, *ALIASES])
    if not at:
        return name, None
    if not (cut.isascii() and cut.isdecimal() and int(cut) > 0):
        raise UsageError(f"metric {text!r}: expected a whole number of at least 1 after @, like {name}@5")
    return name, int(cut)


def _is_whole(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The scores of many queries.

    Attributes:
        queries: The ids of those that were scored, in the order of the judgements.
        values: By metric, as it was asked for, an ``(len(queries),)`` float64 array of numbers from 0 to 1.
        lengths: ``(len(queries),)`` int64: how many ids each of them ranks.
        unscored: Queries to which nothing is relevant: they have no score, which is not 0.
        missing: Queries with something to find that the run does not have; their score is 0, or they are
            left out.
        unjudged: Queries of the run of which nothing is known; left out.
    """

    queries: tuple[str, ...]
    values: Mapping[str, NDArray[float64]]
    lengths: NDArray[int64]
    unscored: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()

    def mean(self, metric: str) -> float | None:
        """Return the mean over the scored queries; None if there is none.

        >>> evaluate({"q": ["a"]}, {"q": ["a", "b"]}, ["recall@5"]).mean("recall@5")
        0.5
        """
        values = self.values[metric]
        return float(values.mean()) if len(values) else None


def evaluate(
    run: Mapping[str, Ranking],
    relevant: Mapping[str, Relevant],
    metrics: Sequence[str],
    *,
    level: int = 1,
    complete: bool = True,
    depth: int | None = None,
) -> Scores:
    """Score a run against what is relevant, query by query.

    Args:
        run: Query -> ids, best first; or query -> (id -> score), which `rank_by_score` puts into trec_eval's order.
        relevant: Query -> the relevant ids, or id -> grade. No query: no scores.
        metrics: ``hit_rate``, ``precision``, ``recall``, ``r_precision``, ``mrr``, ``map``, ``ndcg`` or
            ``bpref``, with ``@k`` for the first k only. bpref needs ids that are judged not relevant (a
            grade of 0): without them it is the recall.
        level: The lowest grade that is relevant; `ndcg` counts all grades above 0.
        complete: A query the run does not have scores 0; False: it is left out.
        depth: Only that many of each ranking exist.

    Raises:
        ValueError: An id stands twice in a ranking, is no text, a grade is no whole number or a score no
            finite one, a ranking has no order (a set) or is None; names the query. The run or the judgements
            are no mapping, or the id of a query is no text.
        UnknownName: There is no such metric.
        UsageError: A cut of the wrong form, or one metric instead of a list of them.

    >>> scores = evaluate({"q1": ["a", "b"], "q2": {"c": 0.5, "d": 0.9}}, {"q1": ["b"], "q2": {"d": 1}}, ["mrr"])
    >>> scores.values["mrr"].tolist()
    [0.5, 1.0]
    """
    __tracebackhide__ = True
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise UsageError(f"metrics: expected a list like ['ndcg@10'], got {metrics!r}")
    requested = {one: parse_metric(one) for one in metrics}
    for one in (level, 1 if depth is None else depth):
        if not _is_whole(one) or one < 1:
            raise ValueError(
                f"level and depth: expected whole numbers of at least 1, got {level!r} and {depth!r}"
            )
    judged_ranks = look_up_judged(run, relevant, level=level, complete=complete, depth=depth)
    found_ids, scored = build_relevance_table(judged_ranks, level)
    return Scores(
        queries=tuple(compress(judged_ranks.queries, scored)),
        values={text: SCORERS[name](found_ids, k) for text, (name, k) in requested.items()},
        lengths=found_ids.lengths,
        unscored=tuple(compress(judged_ranks.queries, ~scored)),
        missing=tuple(query for query in judged_ranks.missing if has_relevant(relevant[query], level)),
        unjudged=tuple(query for query in run if query not in relevant),
    )
