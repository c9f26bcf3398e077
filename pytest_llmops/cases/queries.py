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
from pytest_llmops.errors import LLMOpsError, UsageError, closest, told
from pytest_llmops.measurement import Json, shorten
from pytest_llmops.metrics.ranking import ranked
from pytest_llmops.protocols import Hit

if TYPE_CHECKING:
    from pytest_llmops.protocols import Retriever

CASE_FILES = (".jsonl", ".yaml", ".yml", ".csv")
KEY = "relevant"
"""Of a case: the ids that should be found."""
TOLD = 3
"""Culprits that an error names."""
MAX_NEAR = 5_000
"""Ids of a corpus among which the nearest to a misspelt one is looked for."""

Asked: TypeAlias = (
    "str | Path | Iterable[Case | Mapping[str, Json]] | Mapping[str, Collection[str] | Mapping[str, int]]"
)
Answered: TypeAlias = (
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
class Ranked:
    """The ids found for a query, best first, and the text of each where it is known."""

    ids: list[str]
    texts: Mapping[str, str] = field(default_factory=dict)


def queries(given: Asked) -> tuple[Query, ...]:
    """Return queries out of a case file, judgements of TREC, a list of cases, or a mapping.

    Args:
        given: The path of a case file (.jsonl, .yaml, .yml, .csv), whose cases have the query as ``input`` and
            the ids under ``relevant`` (a list, or id -> grade; in CSV parted by ``;`` or ``|``); the path of
            any other file: judgements in TREC's format; a list of `Case` or of mappings with these keys; or a
            mapping query -> ids.

    Raises:
        CaseError: A file that cannot be used, with file and line.
        UsageError: There is no query, no query has the key ``relevant``, or a value has the wrong form.

    >>> queries([{"input": "How long do refunds take?", "relevant": ["refunds.md"]}])[0].relevant
    {'refunds.md': 1}
    """
    __tracebackhide__ = True
    if isinstance(given, (str, Path)):
        found = _from_file(Path(given))
    elif isinstance(given, Mapping):
        found = [
            Query(id=str(key), text=str(key), relevant=_grades(str(key), one)) for key, one in given.items()
        ]
    elif isinstance(given, Iterable):
        found = _from_cases(given)
    else:
        raise UsageError(f"cases: expected a path, a list of cases or a mapping, got {type(given).__name__}")
    if not found:
        raise UsageError("cases: expected at least one query, got none")
    return tuple(found)


def _from_file(path: Path) -> list[Query]:
    if path.suffix.lower() in CASE_FILES:
        return _from_cases(load_cases(path), where=f" @ {path}", split=path.suffix.lower() == ".csv")
    return [Query(id=query, relevant=grades) for query, grades in read_qrels(path).items()]


def _from_cases(given: Iterable[object], *, where: str = "", split: bool = False) -> list[Query]:
    found: dict[str, Query] = {}
    told_any = False
    for number, one in enumerate(given, start=1):
        row = _row(one, number)
        name = str(row["id"])
        text = row.get("input")
        if not isinstance(text, str) or not text.strip():
            raise UsageError(
                f"case {shorten(name, 60)}: input: expected the text of a query, got {_kind(text)}{where}"
            )
        if name in found:
            raise UsageError(f"case {shorten(name, 60)}: the id stands twice{where}")
        wanted = row.get(KEY)
        told_any = told_any or KEY in row
        if split and isinstance(wanted, str):
            wanted = [part.strip() for part in re.split("[;|]", wanted) if part.strip()]
        grades = {} if wanted is None else _grades(f"case {name}", wanted, where)
        found[name] = Query(id=name, text=text, relevant=grades, family=str(row.get("family") or ""))
    if found and not told_any:
        raise UsageError(
            f"cases: expected the key {KEY!r} with the ids that should be found, no case has it{where}"
        )
    return list(found.values())


def _row(one: object, number: int) -> Mapping[str, Json]:
    if isinstance(one, Case):
        return {**one.data, "id": one.id, "input": one.input, "family": one.family}
    if not isinstance(one, Mapping):
        raise UsageError(
            f"cases: expected a case or a mapping with input and {KEY}, got {_kind(one)} as number {number}"
        )
    return {"id": str(number), **one}


def _grades(where: str, wanted: object, end: str = "") -> dict[str, int]:
    place = f"{shorten(where, 60)}: {KEY}"
    if isinstance(wanted, str) or not isinstance(wanted, Collection):
        raise UsageError(f"{place}: expected a list of ids, or id -> grade, got {_kind(wanted)}{end}")
    grades = wanted if isinstance(wanted, Mapping) else dict.fromkeys(map(_hashable, wanted), 1)
    for id_, grade in grades.items():
        if not isinstance(id_, str):
            raise UsageError(f"{place}: expected ids that are texts, got {_kind(id_)}{end}")
        if not isinstance(grade, Integral):
            raise UsageError(
                f"{place}: grade of {shorten(id_, 60)!r}: expected a whole number, got {grade!r}{end}"
            )
    return {str(id_): int(grade) for id_, grade in grades.items()}


def _hashable(value: object) -> object:
    return (
        value
        if isinstance(value, str)
        else shorten(repr(value), 60)
        if isinstance(value, (list, dict))
        else value
    )


def _kind(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {shorten(repr(value), 60)}"


def answers(given: Answered, asked: Sequence[Query], k: int | None) -> dict[str, Ranked]:
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
        _check_known(retriever, asked)
        return {one.id: _searched(retriever, one, k) for one in asked}
    run = read_run(given) if isinstance(given, (str, Path)) else given
    if not isinstance(run, Mapping):
        raise UsageError(f"expected a retriever, a run or its path, got {_kind(given)}")
    found = {str(query): _ranked(str(query), ranking) for query, ranking in run.items()}
    if not any(one.id in found for one in asked):
        ids = f"the run has {_some(found)}, the cases have {_some(one.id for one in asked)}"
        raise UsageError(f"not one of the {len(asked):,} queries is in the run: {ids}")
    return found


def _searched(retriever: Retriever, query: Query, k: int | None) -> Ranked:
    where = f"query {shorten(query.id, 60)}"
    if not query.text:
        raise UsageError(f"{where}: there is no text to search for; judgements alone need a run")
    try:
        hits = retriever.search(query.text, k) if k is not None else retriever.search(query.text)
    except UsageError:
        raise
    except Exception as error:
        raise LLMOpsError(f"{where}: the search failed: {told(error)}") from error
    return _ranked(query.id, hits)


def _ranked(query: str, ranking: object) -> Ranked:
    where = f"query {shorten(query, 60)}"
    if isinstance(ranking, Mapping):
        try:
            return Ranked(ranked(ranking))
        except ValueError as error:
            raise LLMOpsError(f"{where}: {error}") from None
    if isinstance(ranking, str) or not isinstance(ranking, Sequence):
        raise LLMOpsError(f"{where}: expected hits, got {_kind(ranking)}")
    texts = {one.id: one.text for one in ranking if isinstance(one, Hit) and isinstance(one.text, str)}
    ids = [one.id if isinstance(one, Hit) else one for one in ranking]
    for one in ids:
        if not isinstance(one, str):
            raise LLMOpsError(f"{where}: expected ids that are texts, got {_kind(one)}")
    return Ranked(ids, texts)


def _check_known(retriever: object, asked: Sequence[Query]) -> None:
    """Refuse ids that cannot be found, as the corpus does not have them: they would only lower every score."""
    known = _corpus(retriever)
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
    shown = []
    for query_id, id_ in strays[:TOLD]:
        near = closest(id_, islice(known, MAX_NEAR))
        hint = f" (did you mean {shorten(near, 60)!r}?)" if near else ""
        shown.append(f"{shorten(id_, 60)!r} of query {shorten(query_id, 60)}{hint}")
    rest = f" and {len(strays) - TOLD:,} more" if len(strays) > TOLD else ""
    raise UsageError(
        f"relevant ids that the corpus of {len(known):,} passages does not have: {', '.join(shown)}{rest}; "
        "correct the cases, or rebuild the index"
    )


def _corpus(retriever: object) -> Collection[str] | None:
    """The ids of a retriever's passages, where it says them: by ``chunks``, ``documents`` or ``listing()``."""
    for name in ("chunks", "documents"):
        found = getattr(retriever, name, None)
        if isinstance(found, Mapping):
            return set(map(str, found))
        if isinstance(found, Collection) and not isinstance(found, (str, bytes)):
            ids = {getattr(one, "id", one) for one in found}
            if ids and all(isinstance(one, str) for one in ids):
                return cast("set[str]", ids)
    return _listed(retriever)


def _listed(retriever: object) -> Collection[str] | None:
    listing = getattr(retriever, "listing", None)
    if not callable(listing):
        return None
    try:
        found = {getattr(one, "id", one) for one in listing()}
    except UsageError:
        # It has the method, but this store cannot be listed: then nobody knows what is in it.
        return None
    except Exception as error:
        raise LLMOpsError(
            f"the passages of {type(retriever).__name__} cannot be listed: {told(error)}"
        ) from error
    return cast("set[str]", found) if found and all(isinstance(one, str) for one in found) else None


def _some(ids: Iterable[str]) -> str:
    return ", ".join(repr(shorten(one, 40)) for one in islice(ids, TOLD))
