"""Queries with what is relevant to each, and what was found for them: from files, lists, a retriever or a run."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from pytest_llmops.cases.files import Case, load_cases
from pytest_llmops.cases.trec import read_qrels, read_run
from pytest_llmops.errors import LLMOpsError, UsageError, describe_exception, find_closest_name
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.metrics.ranking import rank_by_score
from pytest_llmops.protocols import Hit

if TYPE_CHECKING:
    from pytest_llmops.protocols import Retriever

CASE_FILES = (".jsonl", ".yaml", ".yml", ".csv")
RELEVANT_KEY = "relevant"
"""Of a case: the ids that should be found."""
MAX_NAMED = 3
"""Culprits that an error names."""
MAX_SUGGESTION_POOL = 5_000
"""Ids of a corpus among which the nearest to a misspelt one is looked for."""

QuerySource: TypeAlias = (
    "str | Path | Iterable[Case | Mapping[str, Json]] | Mapping[str, Collection[str] | Mapping[str, int]]"
)
RankingSource: TypeAlias = (
    "Retriever | Mapping[str, Sequence[str] | Sequence[Hit] | Mapping[str, float]] | str | Path"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query.

    Attributes:
        text: What is searched for; empty where only the id is known (judgements of TREC).
        relevant: Id -> grade; empty: nothing is known to be relevant, and the query cannot be scored.
        family: Queries of one family are not independent.
    """

    id: str
    text: str = ""
    relevant: Mapping[str, int] = field(default_factory=dict)
    family: str = ""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The ids found for a query, best first, and the text of each where it is known."""

    ids: list[str]
    texts: Mapping[str, str] = field(default_factory=dict)


def load_queries(given: QuerySource) -> tuple[Query, ...]:
    """Return queries out of a case file, judgements of TREC, a list of cases, or a mapping.

    Args:
        given: The path of a case file (.jsonl, .yaml, .yml, .csv), whose cases have the query as ``input`` and
            the ids under ``relevant`` (a list, or id -> grade; in CSV parted by ``;`` or ``|``); the path of
            any other file: judgements in TREC's format; a list of `Case` or of mappings with these keys; or a
            mapping query -> ids.

    Raises:
        CaseError: A file that cannot be used, with file and line.
        UsageError: There is no query, no query has the key ``relevant``, or a value has the wrong form.

    >>> load_queries([{"input": "How long do refunds take?", "relevant": ["refunds.md"]}])[0].relevant
    {'refunds.md': 1}
    """
    __tracebackhide__ = True
    if isinstance(given, (str, Path)):
        parsed = _read_queries(Path(given))
    elif isinstance(given, Mapping):
        parsed = [
            Query(id=str(key), text=str(key), relevant=_parse_grades(str(key), wanted))
            for key, wanted in given.items()
        ]
    elif isinstance(given, Iterable):
        parsed = _queries_from_cases(given)
    else:
        raise UsageError(f"cases: expected a path, a list of cases or a mapping, got {type(given).__name__}")
    if not parsed:
        raise UsageError("cases: expected at least one query, got none")
    return tuple(parsed)


def _read_queries(path: Path) -> list[Query]:
    if path.suffix.lower() in CASE_FILES:
        return _queries_from_cases(load_cases(path), where=f" @ {path}", split=path.suffix.lower() == ".csv")
    return [Query(id=query, relevant=grades) for query, grades in read_qrels(path).items()]


def _queries_from_cases(cases: Iterable[object], *, where: str = "", split: bool = False) -> list[Query]:
    by_id: dict[str, Query] = {}
    has_relevant = False
    for number, case in enumerate(cases, start=1):
        row = _case_row(case, number)
        case_id = str(row["id"])
        text = row.get("input")
        if not isinstance(text, str) or not text.strip():
            raise UsageError(
                f"case {shorten_text(case_id, 60)}: input: expected the text of a query, got {_describe_value(text)}{where}"
            )
        if case_id in by_id:
            raise UsageError(f"case {shorten_text(case_id, 60)}: the id stands twice{where}")
        wanted = row.get(RELEVANT_KEY)
        has_relevant = has_relevant or RELEVANT_KEY in row
        if split and isinstance(wanted, str):
            wanted = [part.strip() for part in re.split("[;|]", wanted) if part.strip()]
        grades = {} if wanted is None else _parse_grades(f"case {case_id}", wanted, where)
        by_id[case_id] = Query(id=case_id, text=text, relevant=grades, family=str(row.get("family") or ""))
    if by_id and not has_relevant:
        raise UsageError(
            f"cases: expected the key {RELEVANT_KEY!r} with the ids that should be found, no case has it{where}"
        )
    return list(by_id.values())


def _case_row(case: object, number: int) -> Mapping[str, Json]:
    if isinstance(case, Case):
        return {**case.data, "id": case.id, "input": case.input, "family": case.family}
    if not isinstance(case, Mapping):
        raise UsageError(
            f"cases: expected a case or a mapping with input and {RELEVANT_KEY}, got {_describe_value(case)} as number {number}"
        )
    return {"id": str(number), **case}


def _parse_grades(where: str, wanted: object, end: str = "") -> dict[str, int]:
    place = f"{shorten_text(where, 60)}: {RELEVANT_KEY}"
    if isinstance(wanted, str) or not isinstance(wanted, Collection):
        raise UsageError(
            f"{place}: expected a list of ids, or id -> grade, got {_describe_value(wanted)}{end}"
        )
    grades = wanted if isinstance(wanted, Mapping) else dict.fromkeys(map(_to_hashable, wanted), 1)
    for id_, grade in grades.items():
        if not isinstance(id_, str):
            raise UsageError(f"{place}: expected ids that are texts, got {_describe_value(id_)}{end}")
        if not isinstance(grade, Integral):
            raise UsageError(
                f"{place}: grade of {shorten_text(id_, 60)!r}: expected a whole number, got {grade!r}{end}"
            )
    return {str(id_): int(grade) for id_, grade in grades.items()}


def _to_hashable(value: object) -> object:
    return (
        value
        if isinstance(value, str)
        else shorten_text(repr(value), 60)
        if isinstance(value, (list, dict))
        else value
    )


def _describe_value(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {shorten_text(repr(value), 60)}"


def collect_rankings(given: RankingSource, asked: Sequence[Query], k: int | None) -> dict[str, Ranking]:
    """Return what was found for each query: by asking a retriever, or out of a run.

    Args:
        given: A retriever, which is asked for ``k`` hits a query (None: for as many as it gives by itself);
            query id -> ids, `Hit` objects or id -> score; or the path of a run in TREC's format.
        asked: The queries.
        k: The cut of the metric.

    Raises:
        LLMOpsError: A search failed, or gave no hits but something else: nothing can be scored.
        UsageError: A query without a text, an id that the retriever's corpus does not have, or a run in which
            not one of the queries is.
    """
    __tracebackhide__ = True
    if callable(getattr(given, "search", None)):
        retriever = cast("Retriever", given)
        _check_relevant_ids(retriever, asked)
        return {one.id: _search_query(retriever, one, k) for one in asked}
    run = read_run(given) if isinstance(given, (str, Path)) else given
    if not isinstance(run, Mapping):
        raise UsageError(f"expected a retriever, a run or its path, got {_describe_value(given)}")
    rankings = {str(query): _to_ranking(str(query), ranking) for query, ranking in run.items()}
    if not any(one.id in rankings for one in asked):
        ids = f"the run has {_join_first_ids(rankings)}, the cases have {_join_first_ids(one.id for one in asked)}"
        raise UsageError(f"not one of the {len(asked):,} queries is in the run: {ids}")
    return rankings


def _search_query(retriever: Retriever, query: Query, k: int | None) -> Ranking:
    where = f"query {shorten_text(query.id, 60)}"
    if not query.text:
        raise UsageError(f"{where}: there is no text to search for; judgements alone need a run")
    try:
        hits = retriever.search(query.text, k) if k is not None else retriever.search(query.text)
    except UsageError:
        raise
    except Exception as error:
        raise LLMOpsError(f"{where}: the search failed: {describe_exception(error)}") from error
    return _to_ranking(query.id, hits)


def _to_ranking(query: str, ranking: object) -> Ranking:
    where = f"query {shorten_text(query, 60)}"
    if isinstance(ranking, Mapping):
        try:
            return Ranking(rank_by_score(ranking))
        except ValueError as error:
            raise LLMOpsError(f"{where}: {error}") from None
    if isinstance(ranking, str) or not isinstance(ranking, Sequence):
        raise LLMOpsError(f"{where}: expected hits, got {_describe_value(ranking)}")
    texts = {hit.id: hit.text for hit in ranking if isinstance(hit, Hit) and isinstance(hit.text, str)}
    ids = [hit.id if isinstance(hit, Hit) else hit for hit in ranking]
    for hit in ids:
        if not isinstance(hit, str):
            raise LLMOpsError(f"{where}: expected ids that are texts, got {_describe_value(hit)}")
    return Ranking(ids, texts)


def _check_relevant_ids(retriever: object, asked: Sequence[Query]) -> None:
    """Refuse ids that cannot be found, as the corpus does not have them: they would only lower every score."""
    known = _find_corpus_ids(retriever)
    if known is None:
        return
    strays = [
        (query.id, id_)
        for query in asked
        for id_, grade in query.relevant.items()
        if grade > 0 and id_ not in known
    ]
    if not strays:
        return
    culprits = []
    for query_id, id_ in strays[:MAX_NAMED]:
        suggestion = find_closest_name(id_, islice(known, MAX_SUGGESTION_POOL))
        hint = f" (did you mean {shorten_text(suggestion, 60)!r}?)" if suggestion else ""
        culprits.append(f"{shorten_text(id_, 60)!r} of query {shorten_text(query_id, 60)}{hint}")
    rest = f" and {len(strays) - MAX_NAMED:,} more" if len(strays) > MAX_NAMED else ""
    raise UsageError(
        f"relevant ids that the corpus of {len(known):,} passages does not have: {', '.join(culprits)}{rest}; "
        "correct the cases, or rebuild the index"
    )


def _find_corpus_ids(retriever: object) -> Collection[str] | None:
    """The ids of a retriever's passages, where it says them: by ``chunks``, ``documents`` or ``listing()``."""
    for name in ("chunks", "documents"):
        passages = getattr(retriever, name, None)
        if isinstance(passages, Mapping):
            return set(map(str, passages))
        if isinstance(passages, Collection) and not isinstance(passages, (str, bytes)):
            ids = {getattr(passage, "id", passage) for passage in passages}
            if ids and all(isinstance(passage, str) for passage in ids):
                return cast("set[str]", ids)
    return _list_corpus_ids(retriever)


def _list_corpus_ids(retriever: object) -> Collection[str] | None:
    listing = getattr(retriever, "listing", None)
    if not callable(listing):
        return None
    try:
        ids = {getattr(passage, "id", passage) for passage in listing()}
    except UsageError:
        # It has the method, but this store cannot be listed: then nobody knows what is in it.
        return None
    except Exception as error:
        raise LLMOpsError(
            f"the passages of {type(retriever).__name__} cannot be listed: {describe_exception(error)}"
        ) from error
    return cast("set[str]", ids) if ids and all(isinstance(passage, str) for passage in ids) else None


def _join_first_ids(ids: Iterable[str]) -> str:
    return ", ".join(repr(shorten_text(id_, 40)) for id_ in islice(ids, MAX_NAMED))
