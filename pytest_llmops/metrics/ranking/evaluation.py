"""Score the rankings of one query or of many with the metrics of trec_eval, by arrays over all queries.

Relevance is given as the relevant ids, or id -> grade. Grades of at least ``level`` are relevant, lower grades down to 0 are judged not
relevant, negative or missing grades are not judged.

Only the ranks of judged ids become arrays, so ten thousand queries of a hundred hits are scored in the time of looking
them up.

Source: trec_eval (NIST), measures ``success``, ``P``, ``recall``, ``Rprec``, ``recip_rank``, ``map``/``map_cut``,
and ``ndcg``/``ndcg_cut``, with its options ``-c`` (`evaluate`'s default), ``-l`` (``level``) and
``-M`` (``depth``). Unlike trec_eval, which scores a query without relevant ids as 0, such a query is not scored here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

from pytest_llmops._util.arrays import Float64Array, Int64Array, is_whole_number
from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.metrics.ranking.ranks import (
    Ranking,
    Relevant,
    build_relevance_table,
    has_relevant,
    look_up_judged,
)
from pytest_llmops.metrics.ranking.scorers import SCORERS

__tracebackhide__ = True

ALIASES = {
    "reciprocal_rank": "mrr",
    "average_precision": "map",
    "rprec": "r_precision",
    "success": "hit_rate",
}


def parse_metric(text: str) -> tuple[str, int | None]:
    """Return the recorded name of a metric and its cut (None: no cut).

    Raises:
        UnknownName: Unknown metric.
        UsageError: Not a text, or the cut is not a whole number of at least 1.

    >>> parse_metric("nDCG@10"), parse_metric("reciprocal_rank")
    (('ndcg', 10), ('mrr', None))
    """
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The scores of many queries.

    Attributes:
        queries: The ids of the scored queries, in the order of the judgements.
        values: By requested metric a float64 array ``(len(queries),)`` of scores from 0 to 1.
        lengths: ``(len(queries),)`` int64: the number of ranked ids of each query.
        unscored: Queries without relevant ids. They have no score.
        missing: Queries with relevant ids that are not in the run. They score 0 or are left out.
        unjudged: Queries of the run without judgements. Left out.
    """

    queries: tuple[str, ...]
    values: Mapping[str, Float64Array]
    lengths: Int64Array
    unscored: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()

    def mean(self, metric: str) -> float | None:
        """Return the mean over the scored queries. None without scored queries.

        >>> evaluate({"q": ["a"]}, {"q": ["a", "b"]}, ["recall@5"]).mean("recall@5")
        0.5
        """
        values = self.values[metric]
        if len(values):
            return float(values.mean())
        return None


def evaluate(
    run: Mapping[str, Ranking],
    relevant: Mapping[str, Relevant],
    metrics: Sequence[str],
    *,
    level: int = 1,
    complete: bool = True,
    depth: int | None = None,
) -> Scores:
    """Return the scores of a run of queries.

    Args:
        run: Query -> ids, best first. Or query -> (id -> score), which is sorted by `rank_by_score`.
        relevant: Query -> the relevant ids, or id -> grade.
        metrics: ``hit_rate``, ``precision``, ``recall``, ``r_precision``, ``mrr``, ``map`` or ``ndcg``,
            with ``@k`` for the first k only.
        level: The lowest relevant grade. `ndcg` counts all grades above 0.
        complete: Whether queries missing in the run score 0. False: they are left out.
        depth: Cut all rankings to this length.

    Raises:
        ValueError: An id is ranked twice or is not a text, a grade is not a whole number, a score is not finite, a
            ranking has no order (a set) or is None. Names the query. The run or the judgements are not a mapping, or
            the id of a query is not a text.
        UnknownName: Unknown metric.
        UsageError: A malformed cut, or a single metric instead of a list.

    >>> scores = evaluate({"q1": ["a", "b"], "q2": {"c": 0.5, "d": 0.9}}, {"q1": ["b"], "q2": {"d": 1}}, ["mrr"])
    >>> scores.values["mrr"].tolist()
    [0.5, 1.0]
    """
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise UsageError(f"metrics: expected a list like ['ndcg@10'], got {metrics!r}")
    requested = {text: parse_metric(text) for text in metrics}
    if not _is_place(level) or (depth is not None and not _is_place(depth)):
        raise ValueError(
            f"level and depth: expected whole numbers of at least 1, got {level!r} and {depth!r}"
        )
    judged_ranks = look_up_judged(run, relevant, level=level, complete=complete, depth=depth)
    table, scored = build_relevance_table(judged_ranks, level)
    values = {}
    for text, (name, k) in requested.items():
        score = SCORERS[name]
        values[text] = score(table, k)
    missing = [query for query in judged_ranks.missing if has_relevant(relevant[query], level)]
    unjudged = [query for query in run if query not in relevant]
    scored_queries = tuple(compress(judged_ranks.queries, scored))
    unscored_queries = tuple(compress(judged_ranks.queries, ~scored))
    return Scores(
        queries=scored_queries,
        values=values,
        lengths=table.lengths,
        unscored=unscored_queries,
        missing=tuple(missing),
        unjudged=tuple(unjudged),
    )


def _is_place(value: object) -> bool:
    return is_whole_number(value) and value >= 1  # type: ignore[operator]  # a number is not narrowed by the call
