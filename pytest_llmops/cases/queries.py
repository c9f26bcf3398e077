"""Load queries with their relevant documents, and collect rankings from a retriever or a run."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from pytest_llmops._util.framework_objects import is_retriever, read_hits, search_any
from pytest_llmops.cases.files import Case, load_cases
from pytest_llmops.cases.row_files import CASE_SUFFIXES
from pytest_llmops.cases.trec import read_qrels, read_run
from pytest_llmops.errors import LLMOpsError, UsageError, describe_exception, find_closest_name
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.metrics.ranking import rank_by_score
from pytest_llmops.protocols import Hit

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llmops.protocols import Retriever

RELEVANT_KEY = "relevant"
MAX_NAMED = 3  # wrong ids that an error names
MAX_SUGGESTION_POOL = 5_000  # ids of a corpus that are compared with a misspelt id, for a suggestion

QuerySource: TypeAlias = (
    "str | Path | Iterable[Case | Mapping[str, Json]] | Mapping[str, Collection[str] | Mapping[str, int]]"
)
RankingSource: TypeAlias = "Retriever | Callable[..., object] | Mapping[str, Sequence[str] | Sequence[Hit] | Mapping[str, float]] | str | Path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query.

    Attributes:
        text: The query itself; empty if only its id is known, as in judgements of TREC.
        relevant: Document id -> grade; empty if no document is known to be relevant: the query cannot be scored.
        family: Queries of the same family are not independent.
    """

    id: str
    text: str = ""
    relevant: Mapping[str, int] = field(default_factory=dict)
    family: str = ""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The ids retrieved for a query, best first, and their known texts."""

    ids: list[str]
    texts: Mapping[str, str] = field(default_factory=dict)


def load_queries(given: QuerySource) -> tuple[Query, ...]:
    """Return queries from a case file, judgements of TREC, a list of cases, or a mapping.

    Args:
        given: The path of a case file (.jsonl, .yaml, .yml, .csv), whose cases have the query as ``input`` and
            the ids under ``relevant`` (a list, or id -> grade; in CSV separated by ``;`` or ``|``); the path of
            any other file: judgements in TREC's format; a list of `Case` or of mappings with these keys; or a
            mapping query -> ids.

    Raises:
        CaseError: A file cannot be used; with file and line.
        UsageError: No query is given, no query has the key ``relevant``, or a value has the wrong form.

    >>> load_queries([{"input": "How long do refunds take?", "relevant": ["refunds.md"]}])[0].relevant
    {'refunds.md': 1}
    """
    __tracebackhide__ = True
    if isinstance(given, (str, Path)):
        queries = _read_queries(given)
    elif isinstance(given, Mapping):
        queries = []
        for key, wanted in given.items():
            text = str(key)
            grades = _parse_grades(text, wanted)
            queries.append(Query(id=text, text=text, relevant=grades))
    elif isinstance(given, Iterable):
        queries = _queries_from_cases(given)
    else:
        raise UsageError(f"cases: expected a path, a list of cases or a mapping, got {type(given).__name__}")
    if not queries:
        raise UsageError("cases: expected at least one query, got none")
    return tuple(queries)


def _read_queries(path: str | Path) -> list[Query]:
    """Read the queries of a case file, or of judgements of TREC."""
    suffix = Path(path).suffix.lower()
    if suffix in CASE_SUFFIXES and suffix != ".tsv":  # judgements of BEIR have this suffix
        cases = load_cases(path)
        return _queries_from_cases(cases, where=f" @ {path}", split=suffix == ".csv")
    return [Query(id=query, relevant=grades) for query, grades in read_qrels(path).items()]


def _queries_from_cases(cases: Iterable[object], *, where: str = "", split: bool = False) -> list[Query]:
    """Return the queries of cases; with ``split``, the relevant ids are a text, as in CSV."""
    queries: dict[str, Query] = {}
    has_relevant = False
    for number, case in enumerate(cases, start=1):
        row = _read_case_row(case, number)
        has_relevant = has_relevant or RELEVANT_KEY in row
        query = _parse_query(row, where, split=split)
        if query.id in queries:
            id_text = shorten_text(query.id, 60)
            raise UsageError(f"case {id_text}: the id occurs twice{where}")
        queries[query.id] = query
    if queries and not has_relevant:
        raise UsageError(
            f"cases: expected the key {RELEVANT_KEY!r} with the ids that should be found, no case has it{where}"
        )
    return list(queries.values())


def _read_case_row(case: object, number: int) -> Mapping[str, Json]:
    """Return the keys and values of a case or mapping; the number of a mapping is its id if it has none."""
    if isinstance(case, Case):
        return {**case.data, "id": case.id, "input": case.input, "family": case.family}
    if isinstance(case, Mapping):
        return {"id": str(number), **case}
    got = f"{_describe_value(case)} as number {number}"
    raise UsageError(f"cases: expected a case or a mapping with input and {RELEVANT_KEY}, got {got}")


def _parse_query(row: Mapping[str, Json], where: str, *, split: bool) -> Query:
    """Return the query of a row; ``where`` (" @ file" or "") ends the messages of errors.

    With ``split``, the relevant ids are one text that is split at ``;`` and ``|``.
    """
    case_id = str(row["id"])
    text = row.get("input")
    if not isinstance(text, str) or not text.strip():
        place = f"case {shorten_text(case_id, 60)}: input"
        got = _describe_value(text)
        raise UsageError(f"{place}: expected the text of a query, got {got}{where}")
    wanted = row.get(RELEVANT_KEY)
    if split and isinstance(wanted, str):
        parts = [part.strip() for part in re.split("[;|]", wanted)]
        wanted = [part for part in parts if part]
    grades = {}
    if wanted is not None:
        grades = _parse_grades(f"case {case_id}", wanted, where)
    family = str(row.get("family") or "")
    return Query(id=case_id, text=text, relevant=grades, family=family)


def _parse_grades(where: str, wanted: object, end: str = "") -> dict[str, int]:
    """Return id -> grade from a mapping, or from a list of ids, which all get the grade 1.

    ``where`` and ``end`` are the beginning and the end of the messages of errors.
    """
    place = f"{shorten_text(where, 60)}: {RELEVANT_KEY}"
    if isinstance(wanted, str) or not isinstance(wanted, Collection):
        got = _describe_value(wanted)
        raise UsageError(f"{place}: expected a list of ids, or id -> grade, got {got}{end}")
    if isinstance(wanted, Mapping):
        pairs = list(wanted.items())
    else:
        pairs = [(id_, 1) for id_ in wanted]
    grades = {}
    for id_, grade in pairs:
        if not isinstance(id_, str):
            got = _describe_value(id_)
            raise UsageError(f"{place}: expected ids that are texts, got {got}{end}")
        if not isinstance(grade, Integral):
            id_text = shorten_text(id_, 60)
            raise UsageError(f"{place}: grade of {id_text!r}: expected a whole number, got {grade!r}{end}")
        grades[str(id_)] = int(grade)
    return grades


def _describe_value(value: object) -> str:
    if value is None:
        return "nothing"
    excerpt = shorten_text(repr(value), 60)
    return f"{type(value).__name__} {excerpt}"


def collect_rankings(given: RankingSource, queries: Sequence[Query], k: int | None) -> dict[str, Ranking]:
    """Return the ranking of each query, from searches of a retriever or from a run.

    Args:
        given: A retriever or a function, which searches ``k`` hits for each query (None: as many as it returns by
            itself); a mapping from the query's id to ids, hits or id -> score; or the path of a run in TREC's format.
        queries: The queries.
        k: The cutoff of the metric.

    Raises:
        LLMOpsError: A search failed, or returned something other than hits: nothing can be scored.
        UsageError: A query has no text, the retriever's corpus lacks a relevant id, or the run has none of the queries.
    """
    __tracebackhide__ = True
    if is_retriever(given):
        _check_relevant_ids(given, queries)
        return {query.id: _search_query(given, query, k) for query in queries}
    run: object = given
    if isinstance(given, (str, Path)):
        run = read_run(given)
    if not isinstance(run, Mapping):
        raise UsageError(f"expected a retriever, a run or its path, got {_describe_value(given)}")
    rankings = {}
    for id_, ranking in run.items():
        query_id = str(id_)
        rankings[query_id] = _to_ranking(query_id, ranking)
    if not any(query.id in rankings for query in queries):
        in_cases = _list_first_ids(query.id for query in queries)
        in_run = _list_first_ids(rankings)
        raise UsageError(
            f"none of the {len(queries):,} queries is in the run: the run has {in_run}, the cases have {in_cases}"
        )
    return rankings


def _list_first_ids(ids: Iterable[str]) -> str:
    first_ids = [shorten_text(id_, 40) for id_ in islice(ids, MAX_NAMED)]
    return ", ".join(map(repr, first_ids))


def _search_query(retriever: object, query: Query, k: int | None) -> Ranking:
    """Return the ranking of one search; any error of the retriever becomes an `LLMOpsError` that names the query."""
    where = f"query {shorten_text(query.id, 60)}"
    if not query.text:
        raise UsageError(f"{where} has no text; with judgements only, pass a TREC run")
    try:
        hits = search_any(retriever, query.text, k)
    except UsageError:
        raise
    except Exception as error:
        raise LLMOpsError(f"{where}: the search failed: {describe_exception(error)}") from error
    return _to_ranking(query.id, hits)


def _to_ranking(query: str, ranking: object) -> Ranking:
    """Return a ranking from hits, ids, or id -> score."""
    where = f"query {shorten_text(query, 60)}"
    try:
        if isinstance(ranking, Mapping):
            return Ranking(rank_by_score(ranking))
        if isinstance(ranking, Sequence) and not isinstance(ranking, str):
            return parse_ranking(ranking)
    except ValueError as error:
        raise LLMOpsError(f"{where}: {error}") from None
    raise LLMOpsError(f"{where}: expected hits, got {_describe_value(ranking)}")


def parse_ranking(hits: Sequence[object]) -> Ranking:
    """Return the ids and texts of hits, documents, nodes or ids, best first.

    Raises:
        ValueError: One of them has no id, or an id that is not a text.

    >>> parse_ranking([Hit(id="a", text="x", score=1.0), "b"])
    Ranking(ids=['a', 'b'], texts={'a': 'x'})
    """
    ids: list[str] = []
    texts: dict[str, str] = {}
    for hit, given in zip(read_hits(hits), hits, strict=True):  # a given id or `Hit` comes back as it is
        id_: object = hit
        if isinstance(hit, Hit):
            id_ = hit.id
        if not isinstance(id_, str):
            raise ValueError(f"expected ids that are texts, got {_describe_value(id_)}")
        if not id_ and hit is not given:
            raise ValueError(
                f"a {type(given).__name__} has no id: expected its id, or the key id in its metadata; add documents "
                "with ids, or name another key: LangChainRetriever(retriever, id_key=...)"
            )
        ids.append(id_)
        if isinstance(hit, Hit) and isinstance(hit.text, str):
            texts[id_] = hit.text
    return Ranking(ids, texts)


def _check_relevant_ids(retriever: object, queries: Sequence[Query]) -> None:
    """Check that the corpus has the relevant ids: ids that cannot be found would only lower every score."""
    known = _find_corpus_ids(retriever)
    if known is None:
        return
    strays = []
    for query in queries:
        for id_, grade in query.relevant.items():
            if grade > 0 and id_ not in known:
                strays.append((query.id, id_))
    if not strays:
        return
    culprits = []
    for query_id, id_ in strays[:MAX_NAMED]:
        hint = ""
        suggestion = find_closest_name(id_, islice(known, MAX_SUGGESTION_POOL))
        if suggestion:
            hint = f" (did you mean {shorten_text(suggestion, 60)!r}?)"
        id_text = shorten_text(id_, 60)
        query_text = shorten_text(query_id, 60)
        culprits.append(f"{id_text!r} of query {query_text}{hint}")
    rest = ""
    if len(strays) > MAX_NAMED:
        rest = f" and {len(strays) - MAX_NAMED:,} more"
    names = ", ".join(culprits) + rest
    raise UsageError(
        f"relevant ids that the corpus of {len(known):,} passages does not have: {names}; "
        "correct the cases, or rebuild the index"
    )


def _find_corpus_ids(retriever: object) -> Collection[str] | None:
    """Return the ids of all passages of a retriever, or None if it cannot list them.

    Its ``chunks`` or ``documents`` are read first, then its ``listing()``.
    """
    for name in ("chunks", "documents"):
        passages = getattr(retriever, name, None)
        if isinstance(passages, Mapping):
            return set(map(str, passages))
        if isinstance(passages, Collection):
            ids = _passage_ids(passages)
            if ids:
                return ids
    listing = getattr(retriever, "listing", None)
    if not callable(listing):
        return None
    try:
        return _passage_ids(listing())
    except UsageError:
        return None  # this store cannot be listed
    except Exception as error:
        store = type(retriever).__name__
        raise LLMOpsError(f"the passages of {store} cannot be listed: {describe_exception(error)}") from error


def _passage_ids(passages: Iterable[object]) -> Collection[str] | None:
    """Return the ids of passages (objects with an ``id``, or the ids themselves); None if there are none, or not all are texts."""
    if isinstance(passages, (str, bytes)):
        return None
    ids = {getattr(passage, "id", passage) for passage in passages}
    if ids and all(isinstance(id_, str) for id_ in ids):
        return cast("set[str]", ids)
    return None
