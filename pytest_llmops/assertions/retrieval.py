"""Assert that a retriever ranks the relevant passages high enough, for a query or for many."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any, cast

from pytest_llmops import recorder
from pytest_llmops._util.framework_objects import is_retriever
from pytest_llmops.assertions._arguments import describe_value, parse_share_threshold
from pytest_llmops.cases.queries import (
    Query,
    QuerySource,
    Ranking,
    RankingSource,
    collect_rankings,
    load_queries,
    parse_ranking,
)
from pytest_llmops.errors import LLMOpsError, UsageError
from pytest_llmops.measurement import Json, Measurement, format_amount, shorten_text
from pytest_llmops.metrics.ranking import Scores, bootstrap_interval, evaluate, parse_metric
from pytest_llmops.protocols import Hits

__tracebackhide__ = True

VERSION = "1"
# Maximum number of relevant ids with their own line; a failure text has room for as many irrelevant hits
MAX_RANK_LINES = 4
# Maximum number of queries in the report, the worst first; a failure text has room for three or four
MAX_WORST_QUERIES = 20
MAX_DETAIL_IDS = 50  # maximum number of query ids in a list of the detail
MAX_LISTED_IDS = 5  # maximum number of ids in a line of the failure text
MAX_IRRELEVANT_HITS = 3  # maximum number of irrelevant hits in the line of a query
MAX_PASSAGE_CHARS = 40  # maximum length of each of them


def assert_retrieval(
    hits: "Hits | Sequence[Any] | RankingSource",
    relevant: "Collection[str] | Mapping[str, int] | QuerySource",
    *,
    metric: str = "recall@5",
    at_least: float | None,
    label: str = "",
) -> Measurement:
    """Assert that a search finds the relevant passages, or that many searches do so on average.

    Args:
        hits: The retriever's result for a query, best first: hits, documents of LangChain, nodes of LlamaIndex, or only
            ids. An empty result scores 0. For many queries: the retriever itself (with ``search``, ``retrieve`` or
            ``invoke``, or a function), which is called with ``k`` if it accepts ``k``, a mapping from query id to ids
            (or id -> score), or the path of a run in TREC's format.
        relevant: The ids that should be found, or id -> grade (1 and more is relevant). For many queries: the path of a
            case file or of TREC's judgements, a list of cases or a mapping
            (`pytest_llmops.cases.queries.load_queries`). A query that the run lacks scores 0. A query without relevant
            ids is reported and gets no score.
        metric: ``hit_rate``, ``precision``, ``recall``, ``r_precision``, ``mrr``, ``map`` or ``ndcg``, from 0 to 1, as
            trec_eval computes them. ``@k`` limits it to the first k hits.
        at_least: The threshold of the value, or of the mean over many queries. None: record only.
        label: Distinguishes several uses of one metric in a test.

    Returns:
        The measurement ``retrieval.<metric>``, 0 to 1. For many queries ``detail`` has the 95 % interval of the mean
        (bootstrap over the queries' families), the number of queries without a score, and the worst queries with their
        ranks.

    Raises:
        MeasurementFailed: The value is below the threshold. The message shows the rank of every relevant id, and the
            irrelevant hits that were found instead. For many queries it shows the worst ones.
        MeasurementErrored: Nothing is relevant, an id is ranked twice, or a search failed.
        UnknownName: The metric does not exist.
        UsageError: A threshold, a cut, ids or cases have the wrong form, or the retriever's corpus lacks an id.

    >>> assert_retrieval(["a", "b"], ["b"], metric="mrr@5", at_least=0.5).value
    0.5
    >>> cases = [{"input": "one", "relevant": ["a"]}, {"input": "two", "relevant": ["b"]}]
    >>> assert_retrieval({"1": ["a", "b"], "2": ["a", "b"]}, cases, metric="mrr@5", at_least=0.7).value
    0.75
    """
    name, k = parse_metric(metric)
    if k:
        text = f"{name}@{k}"
    else:
        text = name
    threshold = parse_share_threshold("assert_retrieval", at_least)
    measured = partial(Measurement, name=f"retrieval.{text}", label=label, version=VERSION)
    if _is_query_set(hits, relevant):
        given = cast("RankingSource", hits)
        query_list = load_queries(cast("QuerySource", relevant))
        return _emit_mean_score(measured, given, query_list, metric=text, k=k, at_least=threshold)
    ranking = _read_ranking(hits)
    ids = ranking.ids
    if isinstance(relevant, str) or not isinstance(relevant, Collection):
        raise UsageError(f"assert_retrieval: expected a list of relevant ids, got {describe_value(relevant)}")
    wanted = cast("Collection[str] | Mapping[str, int]", relevant)
    ranks = _relevant_ranks(ids, wanted)
    query = ""
    if isinstance(hits, Hits):
        query = hits.query
    ranking_text = "\n".join(ids)
    detail: dict[str, Json] = {
        "actual": ranking_text,
        "expected": list(ranks),
        "query": query,
        "ranks": ranks,
    }
    try:
        # A single query, whose id is ""
        scores = evaluate({"": ids}, {"": wanted}, [text])
        value = scores.mean(text)
    except ValueError as error:
        return recorder.emit(measured(error=str(error).removeprefix("query '': "), detail=detail))
    if value is None:
        problem = "no relevant ids are given: there is nothing to find"
        return recorder.emit(measured(error=problem, detail=detail))
    if k:
        last_rank = k
        place = f"the top {k}"
    else:
        last_rank = len(ids)
        place = f"the {len(ids)} hits"
    found_ranks = [rank for rank in ranks.values() if rank is not None]
    inside = sum(rank <= last_rank for rank in found_ranks)
    reason = f"{inside} of {len(ranks)} relevant ids in {place}"
    measurement = measured(value=value, threshold=threshold, reason=reason, detail=detail)
    return recorder.emit(measurement, evidence=_rank_evidence(ranking, ranks, k))


def _is_query_set(hits: object, relevant: object) -> bool:
    """Return whether the arguments are for many queries, and not for one.

    A mapping, path or retriever is for many; a list of hits never is. A text is the path of a run, unless ``relevant`` is
    a list of ids: then it is a mistake, which is reported as one.
    """
    if isinstance(hits, (Mapping, Path)) or is_retriever(hits):
        return True
    if not isinstance(hits, str):
        return False
    if isinstance(relevant, (str, Mapping)) or not isinstance(relevant, Collection):
        return True
    return not all(isinstance(id_, str) for id_ in relevant)


def _read_ranking(hits: object) -> Ranking:
    """Return the hits of a single query as a ranking; raise a `UsageError` if they are not a list of hits or ids."""
    if isinstance(hits, str) or not isinstance(hits, Sequence):
        raise UsageError(f"assert_retrieval: expected Hits or a list of ids, got {describe_value(hits)}")
    try:
        return parse_ranking(hits)
    except ValueError as error:
        raise UsageError(f"assert_retrieval: {error}") from None


def _relevant_ranks(
    ids: Sequence[str], relevant: Collection[str] | Mapping[str, int]
) -> dict[str, int | None]:
    """Return the rank of each relevant id, from 1; None if it was not found. Ids with a grade of 0 are left out."""
    places: dict[str, int] = {}
    for rank, id_ in enumerate(ids, start=1):
        places.setdefault(id_, rank)
    if not isinstance(relevant, Mapping):
        return {id_: places.get(id_) for id_ in relevant}
    ranks = {}
    for id_, grade in relevant.items():
        if not isinstance(grade, Integral) or int(grade) > 0:
            ranks[id_] = places.get(id_)
    return ranks


def _rank_evidence(ranking: Ranking, ranks: Mapping[str, int | None], k: int | None) -> list[tuple[str, str]]:
    """Return the rank of every relevant id, the worst first, then the irrelevant hits among the first k."""
    lines = [("relevant", text) for text in _describe_ranks(ranking, ranks, k)]
    if len(lines) > MAX_RANK_LINES:
        own_lines = lines[: MAX_RANK_LINES - 1]
        rest = [text for _, text in lines[MAX_RANK_LINES - 1 :]]
        lines = [*own_lines, ("relevant", ", ".join(rest))]
    for rank, id_, passage in _iter_irrelevant_hits(ranking, ranks, k):
        text = id_
        if passage:
            text += f": {shorten_text(passage, 120)}"
        lines.append((f"rank {rank}", text))
    return lines


def _iter_irrelevant_hits(
    ranking: Ranking, ranks: Mapping[str, int | None], k: int | None
) -> Iterator[tuple[int, str, str]]:
    """Yield the hits among the first k that are not relevant, as (rank, id, passage); the passage may be empty."""
    for rank, id_ in enumerate(ranking.ids[:k], start=1):
        if id_ not in ranks:
            yield rank, id_, ranking.texts.get(id_, "")


def _describe_ranks(ranking: Ranking, ranks: Mapping[str, int | None], k: int | None) -> list[str]:
    """Return a text for each relevant id, the worst rank first: ``a: rank 7, not in top 5``."""
    count = len(ranking.ids)
    texts = []
    for id_ in sorted(ranks, key=lambda id_: -(ranks[id_] or count + 1)):
        rank = ranks[id_]
        if rank is None:
            if k and count >= k:
                place = f"not in top {k}"
            else:
                place = f"not among the {count} hits"
        elif k and rank > k:
            place = f"rank {rank}, not in top {k}"
        else:
            place = f"rank {rank}"
        texts.append(f"{id_}: {place}")
    return texts


def _emit_mean_score(
    measured: partial[Measurement],
    given: RankingSource,
    query_list: Sequence[Query],
    *,
    metric: str,
    k: int | None,
    at_least: float | None,
) -> Measurement:
    """Run the queries that have relevant ids, and emit the mean of their values; an error if a search fails.

    Args:
        measured: The measurement before its value.
        given: The retriever, or its rankings.
        query_list: All queries.
        metric: With its cut: ``recall@5``.
        k: The cut; None: all hits count.
        at_least: The threshold; None: record only.
    """
    answerable = []
    for query in query_list:
        if any(grade > 0 for grade in query.relevant.values()):
            answerable.append(query)
    if not answerable:
        error = f"nothing is relevant to any of the {len(query_list):,} queries: there is nothing to find"
        return recorder.emit(measured(error=error))
    by_id = {query.id: query for query in query_list}
    try:
        rankings = collect_rankings(given, answerable, k)
        ids = {query_id: ranking.ids for query_id, ranking in rankings.items()}
        relevant = {query_id: query.relevant for query_id, query in by_id.items()}
        scores = evaluate(ids, relevant, [metric])
    except UsageError:
        raise
    except (LLMOpsError, ValueError) as error:
        return recorder.emit(measured(error=str(error), detail={"queries": len(query_list)}))
    scores_of_queries = scores.values[metric].tolist()
    values = dict(zip(scores.queries, scores_of_queries, strict=True))
    families = [by_id[query_id].family or query_id for query_id in values]
    spread = bootstrap_interval(list(values.values()), families)
    evidence = []
    if scores.unscored:
        evidence.append(("not scored", _join_ids(scores.unscored)))
    if scores.missing:
        evidence.append(("not in run", _join_ids(scores.missing)))
    rows: list[dict[str, Json]] = []
    worst_first = sorted(values, key=lambda query_id: values[query_id])
    for query_id in worst_first[:MAX_WORST_QUERIES]:
        query = by_id[query_id]
        ranking = rankings.get(query_id, Ranking([]))
        ranks = _relevant_ranks(ranking.ids, query.relevant)
        value = values[query_id]
        text = shorten_text(query.text)
        rows.append({"id": query_id, "query": text, "value": value, "ranks": ranks})
        if value < 1:
            evidence += _query_evidence(query, value, ranking, ranks, k)
    reason = _format_mean_reason(scores, spread, k, len(query_list))
    detail = _mean_score_detail(scores, spread, rows)
    measurement = measured(
        value=scores.mean(metric),
        threshold=at_least,
        reason=reason,
        detail=detail,
    )
    return recorder.emit(measurement, evidence=evidence)


def _join_ids(query_ids: Sequence[str]) -> str:
    """Return the first query ids in a line, each shortened, and how many more there are."""
    return _join_names([shorten_text(query_id, 40) for query_id in query_ids])


def _join_names(names: Sequence[str]) -> str:
    """Return the first names in a line, and how many more there are."""
    text = ", ".join(names[:MAX_LISTED_IDS])
    rest = len(names) - MAX_LISTED_IDS
    if rest > 0:
        text += f" and {rest:,} more"
    return text


def _format_mean_reason(
    scores: Scores, spread: tuple[float, float] | None, k: int | None, query_count: int
) -> str:
    """Return the description of the mean, with its interval, and which queries are special and why."""
    scored = len(scores.queries)
    noun = "queries"
    if scored == 1:
        noun = "query"
    mean = f"mean of {scored:,} {noun}"
    if spread is not None:
        low = format_amount(spread[0], "1")
        high = format_amount(spread[1], "1")
        mean += f", 95 % interval {low} to {high}"
    parts = [mean]
    if scores.unscored:
        unscored = f"{len(scores.unscored):,} of {query_count:,}"
        parts.append(f"{unscored} not scored: nothing is relevant to them")
    if scores.missing:
        parts.append(f"{len(scores.missing):,} not in the run count 0")
    too_short = 0
    if k:
        too_short = int((scores.lengths < k).sum())
    if too_short:
        parts.append(f"{too_short:,} found fewer than {k} ids")
    if scores.unjudged:
        parts.append(f"{len(scores.unjudged):,} of the run are not among the cases")
    return "; ".join(parts)


def _mean_score_detail(
    scores: Scores, spread: tuple[float, float] | None, worst: Sequence[Mapping[str, Json]]
) -> dict[str, Json]:
    """Return the number of queries, the worst of them, the interval, and the ids that were not scored or not found."""
    detail: dict[str, Json] = {"queries": len(scores.queries), "worst": list(worst)}
    if spread is not None:
        detail["interval"] = list(spread)
    for key in ("unscored", "missing", "unjudged"):
        query_ids = getattr(scores, key)
        if query_ids:
            listed = [shorten_text(query_id) for query_id in query_ids[:MAX_DETAIL_IDS]]
            detail[key] = {"count": len(query_ids), "ids": listed}
    return detail


def _query_evidence(
    query: Query, value: float, ranking: Ranking, ranks: Mapping[str, int | None], k: int | None
) -> list[tuple[str, str]]:
    """Return a line with the ranks of a query's relevant ids, and a line with the irrelevant hits."""
    value_line = format_amount(value, "1")
    if query.text:
        value_line += f' "{shorten_text(query.text, 60)}"'
    relevant = _join_names(_describe_ranks(ranking, ranks, k))
    lines = [(query.id, f"{value_line}; {relevant}")]
    instead = []
    for rank, id_, passage in islice(_iter_irrelevant_hits(ranking, ranks, k), MAX_IRRELEVANT_HITS):
        text = f"rank {rank} {id_}"
        if passage:
            text += f": {shorten_text(passage[:MAX_PASSAGE_CHARS])}"
        if len(passage) > MAX_PASSAGE_CHARS:
            text += "..."
        instead.append(text)
    if instead:
        lines.append(("instead", ", ".join(instead)))
    return lines
