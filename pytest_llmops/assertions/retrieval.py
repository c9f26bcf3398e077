"""One sentence about a search, or about many: the right passages are found, high enough."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pytest_llmops import recorder
from pytest_llmops.cases.queries import Query, Ranking, collect_rankings, load_queries
from pytest_llmops.errors import LLMOpsError, UsageError
from pytest_llmops.measurement import Json, Measurement, format_amount, shorten_text
from pytest_llmops.metrics.ranking import Scores, bootstrap_interval, evaluate, parse_metric
from pytest_llmops.metrics.retrieval import METRICS
from pytest_llmops.protocols import Hit, Hits

if TYPE_CHECKING:
    from pytest_llmops.cases.queries import QuerySource, RankingSource

VERSION = "1"
MAX_RANK_LINES = 4
"""Relevant ids with a line of their own; the failure text has room for as many passages that stand in their place."""
MAX_WORST_QUERIES = 20
"""Queries of the worst scores that the report lists; a failure text has room for three or four."""
MAX_DETAIL_IDS = 50
"""Ids of queries that a list in the details holds."""
MAX_LISTED_IDS = 5
"""Relevant ids that the line of a query names."""
MAX_IRRELEVANT_HITS = 3
"""Passages in their place that it names."""
MAX_PASSAGE_CHARS = 40
"""Characters of each of them."""


def assert_retrieval(
    hits: Hits | Sequence[str] | RankingSource,
    relevant: Collection[str] | Mapping[str, int] | QuerySource,
    *,
    metric: str = "recall@5",
    at_least: float | None,
    label: str = "",
) -> Measurement:
    """Assert that a search finds the relevant passages; or that many searches do, in the mean.

    Args:
        hits: What the retriever returned for one query, or only the ids, best first. No hits score 0. For many
            queries: the retriever itself, which is asked for ``k`` hits each; a mapping query id -> ids (or
            id -> score); or the path of a run in TREC's format.
        relevant: The ids that should be found, or id -> grade (1 and more is relevant). For many queries: the
            path of a case file or of TREC's judgements, a list of cases or a mapping, see
            `pytest_llmops.cases.queries.load_queries`. A query that the run does not have scores 0; one to which nothing
            is relevant is not scored, and told.
        metric: ``hit_rate``, ``precision``, ``recall``, ``r_precision``, ``mrr``, ``map``, ``ndcg`` or
            ``bpref``, from 0 to 1, with ``@k`` for the first k hits only; as trec_eval counts them.
        at_least: The threshold, of many queries that of the mean; None on purpose: record only.
        label: Tells two measurements of one metric apart within a test.

    Returns:
        The measurement ``retrieval.<metric>``. Of many queries ``detail`` has the 95 % interval of the mean
        (bootstrap over the queries' families), how many were not scored, and the worst queries with their ranks.

    Raises:
        MeasurementFailed: The value is below the threshold; shows the rank of every relevant id, and what stands
            in its place; of many queries for the worst.
        MeasurementErrored: It could not be scored: nothing is relevant, an id is ranked twice, a search failed.
        UnknownName: There is no such metric.
        UsageError: A threshold, a cut, ids or cases of the wrong form; an id that the retriever's corpus does not
            have.

    >>> assert_retrieval(["a", "b"], ["b"], metric="mrr@5", at_least=0.5).value
    0.5
    >>> cases = [{"input": "one", "relevant": ["a"]}, {"input": "two", "relevant": ["b"]}]
    >>> assert_retrieval({"1": ["a", "b"], "2": ["a", "b"]}, cases, metric="mrr@5", at_least=0.7).value
    0.75
    """
    __tracebackhide__ = True
    name, k = parse_metric(metric)
    threshold = _parse_threshold(at_least)
    measured = partial(
        Measurement, name=f"retrieval.{name}{f'@{k}' if k else ''}", label=label, version=VERSION
    )
    if _is_query_set(hits, relevant):
        given, query_list = cast("RankingSource", hits), load_queries(cast("QuerySource", relevant))
        return _emit_mean_score(measured, given, query_list, (name, k), threshold)
    ids = _hit_ids(hits)
    if isinstance(relevant, str) or not isinstance(relevant, Collection):
        raise UsageError(
            f"assert_retrieval: expected a list of relevant ids, got {_describe_object(relevant)}"
        )
    wanted = cast("Collection[str] | Mapping[str, int]", relevant)
    ranks = _relevant_ranks(ids, wanted)
    detail: dict[str, Json] = {
        "actual": "\n".join(ids),
        "expected": list(ranks),
        "query": hits.query if isinstance(hits, Hits) else "",
        "ranks": ranks,
    }
    try:
        value = METRICS[name](ids, wanted, k)
    except ValueError as error:
        return recorder.emit(measured(error=str(error), detail=detail))
    measurement = measured(
        value=value, threshold=threshold, reason=_format_ranks_reason(ranks, k, len(ids)), detail=detail
    )
    texts = {hit.id: hit.text for hit in cast("Sequence[object]", hits) if isinstance(hit, Hit)}
    return recorder.emit(measurement, evidence=_rank_evidence(Ranking(ids, texts), ranks, k))


def _is_query_set(hits: object, relevant: object) -> bool:
    """Does this speak of many queries? A list of ids never does; a text does where it can be a run's path."""
    if isinstance(hits, (Mapping, Path)) or callable(getattr(hits, "search", None)):
        return True
    if not isinstance(hits, str):
        return False
    single_query = isinstance(relevant, Collection) and not isinstance(relevant, (str, Mapping))
    return not (single_query and all(isinstance(id_, str) for id_ in cast("Collection[object]", relevant)))


def _parse_threshold(at_least: object) -> float | None:
    __tracebackhide__ = True
    if at_least is None:
        return None
    if not isinstance(at_least, bool) and isinstance(at_least, Real) and 0 <= float(at_least) <= 1:
        return float(at_least)
    raise UsageError(
        f"assert_retrieval: expected at_least from 0 to 1, or None to record only, got {at_least!r}"
    )


def _hit_ids(hits: object) -> list[str]:
    __tracebackhide__ = True
    if isinstance(hits, Hits):
        return hits.ids
    if isinstance(hits, str) or not isinstance(hits, Sequence):
        raise UsageError(f"assert_retrieval: expected Hits or a list of ids, got {_describe_object(hits)}")
    ids = [hit.id if isinstance(hit, Hit) else hit for hit in hits]
    for hit in ids:
        if not isinstance(hit, str):
            raise UsageError(f"assert_retrieval: expected ids that are texts, got {_describe_object(hit)}")
    return ids


def _describe_object(value: object) -> str:
    return f"{type(value).__name__} {shorten_text(repr(value), 60)}"


def _relevant_ranks(
    ids: Sequence[str], relevant: Collection[str] | Mapping[str, int]
) -> dict[str, int | None]:
    """Return the rank of each relevant id, from 1; None where it was not found."""
    places: dict[str, int] = {}
    for rank, id_ in enumerate(ids, start=1):
        places.setdefault(id_, rank)
    graded = relevant.items() if isinstance(relevant, Mapping) else ((id_, 1) for id_ in relevant)
    return {
        id_: places.get(id_) for id_, grade in graded if not isinstance(grade, Integral) or int(grade) > 0
    }


def _format_ranks_reason(ranks: Mapping[str, int | None], k: int | None, hit_count: int) -> str:
    inside = sum(rank is not None and rank <= (k or hit_count) for rank in ranks.values())
    place = f"the top {k}" if k else f"the {hit_count} hits"
    return f"{inside} of {len(ranks)} relevant ids in {place}"


def _rank_evidence(ranking: Ranking, ranks: Mapping[str, int | None], k: int | None) -> list[tuple[str, str]]:
    """Return the rank of every relevant id, the worst first, then what stands in the place of the missing."""
    lines = [("relevant", text) for text in _describe_ranks(ranking, ranks, k)]
    if len(lines) > MAX_RANK_LINES:
        rest = ", ".join(text for _, text in lines[MAX_RANK_LINES - 1 :])
        lines = [*lines[: MAX_RANK_LINES - 1], ("relevant", rest)]
    return lines + [(f"rank {rank}", text) for rank, text in _irrelevant_hits(ranking, ranks, k)]


def _describe_ranks(ranking: Ranking, ranks: Mapping[str, int | None], k: int | None) -> list[str]:
    worst = sorted(ranks, key=lambda id_: -(ranks[id_] or len(ranking.ids) + 1))
    return [f"{id_}: {_describe_rank(ranks[id_], k, len(ranking.ids))}" for id_ in worst]


def _irrelevant_hits(
    ranking: Ranking, ranks: Mapping[str, int | None], k: int | None
) -> list[tuple[int, str]]:
    """Return what stands among the first k and is not relevant, with its rank."""
    return [
        (rank, f"{id_}: {shorten_text(text, 120)}" if (text := ranking.texts.get(id_, "")) else id_)
        for rank, id_ in enumerate(ranking.ids[:k], start=1)
        if id_ not in ranks
    ]


def _describe_rank(rank: int | None, k: int | None, hit_count: int) -> str:
    if rank is None:
        return f"not in top {k}" if k and hit_count >= k else f"not among the {hit_count} hits"
    return f"rank {rank}, not in top {k}" if k and rank > k else f"rank {rank}"


def _emit_mean_score(
    measured: partial[Measurement],
    given: RankingSource,
    query_list: Sequence[Query],
    metric: tuple[str, int | None],
    at_least: float | None,
) -> Measurement:
    __tracebackhide__ = True
    name, k = metric
    wanted = [
        judged_query
        for judged_query in query_list
        if any(grade > 0 for grade in judged_query.relevant.values())
    ]
    if not wanted:
        error = f"nothing is relevant to any of the {len(query_list):,} queries: there is nothing to find"
        return recorder.emit(measured(error=error))
    text = f"{name}@{k}" if k else name
    try:
        rankings = collect_rankings(given, wanted, k)
        ids = {query: ranking.ids for query, ranking in rankings.items()}
        scores = evaluate(
            ids, {judged_query.id: judged_query.relevant for judged_query in query_list}, [text]
        )
    except UsageError:
        raise
    except (LLMOpsError, ValueError) as error:
        return recorder.emit(measured(error=str(error), detail={"queries": len(query_list)}))
    by_id = {judged_query.id: judged_query for judged_query in query_list}
    values = dict(zip(scores.queries, scores.values[text].tolist(), strict=True))
    spread = bootstrap_interval(list(values.values()), [by_id[query].family or query for query in values])
    worst = sorted(values, key=lambda query: values[query])[:MAX_WORST_QUERIES]
    rows = [_query_detail(by_id[query], values[query], rankings) for query in worst]
    measurement = measured(
        value=scores.mean(text),
        threshold=at_least,
        reason=_format_mean_reason(scores, spread, k, len(query_list)),
        detail=_mean_score_detail(scores, spread, rows),
    )
    lines = [
        line for row in rows if cast("float", row["value"]) < 1 for line in _query_evidence(row, rankings, k)
    ]
    return recorder.emit(measurement, evidence=_unscored_evidence(scores) + lines)


def _query_detail(query: Query, value: float, rankings: Mapping[str, Ranking]) -> dict[str, Json]:
    ranks = _relevant_ranks(rankings[query.id].ids if query.id in rankings else (), query.relevant)
    return {"id": query.id, "query": shorten_text(query.text), "value": value, "ranks": ranks}


def _format_mean_reason(
    scores: Scores, spread: tuple[float, float] | None, k: int | None, query_count: int
) -> str:
    scored = len(scores.queries)
    parts = [f"mean of {scored:,} {'query' if scored == 1 else 'queries'}"]
    if spread is not None:
        parts[0] += f", 95 % interval {format_amount(spread[0], '1')} to {format_amount(spread[1], '1')}"
    if scores.unscored:
        parts.append(f"{len(scores.unscored):,} of {query_count:,} not scored: nothing is relevant to them")
    if scores.missing:
        parts.append(f"{len(scores.missing):,} not in the run count 0")
    short = int((scores.lengths < k).sum()) if k else 0
    if short:
        parts.append(f"{short:,} found fewer than {k} ids")
    if scores.unjudged:
        parts.append(f"{len(scores.unjudged):,} of the run are not among the cases")
    return "; ".join(parts)


def _mean_score_detail(
    scores: Scores, spread: tuple[float, float] | None, worst: Sequence[Mapping[str, Json]]
) -> dict[str, Json]:
    detail: dict[str, Json] = {"queries": len(scores.queries), "worst": list(worst)}
    if spread is not None:
        detail["interval"] = list(spread)
    for key, ids in (
        ("unscored", scores.unscored),
        ("missing", scores.missing),
        ("unjudged", scores.unjudged),
    ):
        if ids:
            detail[key] = {
                "count": len(ids),
                "ids": [shorten_text(query_id) for query_id in ids[:MAX_DETAIL_IDS]],
            }
    return detail


def _unscored_evidence(scores: Scores) -> list[tuple[str, str]]:
    gaps = (("not scored", scores.unscored), ("not in run", scores.missing))
    return [(label, _join_query_ids(ids)) for label, ids in gaps if ids]


def _join_query_ids(ids: Iterable[str]) -> str:
    names = [shorten_text(query_id, 40) for query_id in ids]
    rest = len(names) - MAX_LISTED_IDS
    return ", ".join(names[:MAX_LISTED_IDS]) + (f" and {rest:,} more" if rest > 0 else "")


def _query_evidence(
    row: Mapping[str, Json], rankings: Mapping[str, Ranking], k: int | None
) -> list[tuple[str, str]]:
    """The line of a query with the ranks of what it should find, and one of what stands there instead."""
    name = str(row["id"])
    ranking = rankings.get(name, Ranking([]))
    ranks = cast("Mapping[str, int | None]", row["ranks"])
    wanted = _describe_ranks(ranking, ranks, k)
    rest = f" and {len(wanted) - MAX_LISTED_IDS} more" if len(wanted) > MAX_LISTED_IDS else ""
    text = f' "{shorten_text(str(row["query"]), 60)}"' if row["query"] else ""
    value = format_amount(cast("float", row["value"]), "1")
    lines = [(name, f"{value}{text}; {', '.join(wanted[:MAX_LISTED_IDS])}{rest}")]
    instead = [
        f"rank {rank} {id_}{_truncate_passage(ranking.texts.get(id_, ''))}"
        for rank, id_ in enumerate(ranking.ids[:k], start=1)
        if id_ not in ranks
    ]
    return [*lines, ("instead", ", ".join(instead[:MAX_IRRELEVANT_HITS]))] if instead else lines


def _truncate_passage(text: str) -> str:
    more = "..." if len(text) > MAX_PASSAGE_CHARS else ""
    return f": {shorten_text(text[:MAX_PASSAGE_CHARS])}{more}" if text else ""
