"""Look up the ranks of judged ids, in the only loop over queries, and build the table that metrics are computed from."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, repeat
from math import isfinite
from numbers import Integral, Real
from typing import Any, TypeAlias

from pytest_llmops._util.arrays import NDArray, is_ordered, np
from pytest_llmops.metrics.ranking.scorers import RelevanceTable

Ranking: TypeAlias = "Sequence[str] | Mapping[str, float]"
Relevant: TypeAlias = "Collection[str] | Mapping[str, int]"

ABSENT = 2**62  # the place of an id that is not ranked
_FIRST_PLACES = tuple(range(1000))
_WHOLE_TYPES = {int, bool}
_USUAL_RANKING_TYPES = {list, tuple}  # types of rankings that certainly have an order


@dataclass(slots=True)
class JudgedRanks:
    """Grade and place of every judged id of every query.

    Attributes:
        queries: The ids of the queries.
        lengths: For each query the number of ranked ids.
        counts: For each query the number of its judged ids.
        places: The places (from 0, or `ABSENT`) of all judged ids, the first query first.
        grades: Their grades, in the same order.
        missing: The queries that are not in the run.
    """

    queries: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    grades: list[int] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def look_up_judged(
    run: Mapping[str, Ranking],
    relevant: Mapping[str, Relevant],
    *,
    level: int,
    complete: bool,
    depth: int | None,
) -> JudgedRanks:
    """Return the ranks of the judged ids; a query missing in the run has an empty ranking, or is left out.

    Raises:
        ValueError: As in `evaluate`.
    """
    for name, mapping in (("run", run), ("relevant", relevant)):
        _check_query_mapping(mapping, name)
    ranks = JudgedRanks()
    for query, judged in relevant.items():
        grades = _parse_grades(query, judged)
        ranking = run.get(query)
        if ranking is None:
            if query in run:
                raise ValueError(f"query {query!r}: expected ranked ids, or id -> score, got None")
            ranks.missing.append(query)
            if not complete and has_relevant(judged, level):
                continue
            ranking = ()
        # The exact type first: isinstance with the abstract type is slower than the rest of a look-up.
        if type(ranking) is dict or isinstance(ranking, Mapping):
            places = _places_by_score(query, ranking, grades)
        else:
            places = _places_in_ranking(query, ranking, grades)
        # 1 never equals "1": a ranking of ids that are not texts must not silently score 0.
        _check_text_ids(query, ranking, "the ranking")
        limit = len(ranking)
        if depth is not None:
            limit = min(depth, limit)
        ranks.queries.append(query)
        ranks.lengths.append(limit)
        ranks.counts.append(len(grades))
        ranks.places += places
        ranks.grades += grades.values()
    if depth is not None:
        ranks.places = [place if place < depth else ABSENT for place in ranks.places]
    return ranks


def _check_query_mapping(given: object, name: str) -> None:
    if not isinstance(given, Mapping):
        raise ValueError(f"{name}: expected a mapping of queries, got {given!r:.80}")
    for query in given:
        if not isinstance(query, str):
            raise ValueError(f"{name}: expected ids of queries that are texts, got {query!r}")


def has_relevant(relevant: Relevant, level: int) -> bool:
    """Return whether an id has a grade of at least ``level``."""
    if isinstance(relevant, Mapping):
        return any(grade >= level for grade in relevant.values())
    # Without grades all are of grade 1
    return len(relevant) > 0 and level <= 1


def _parse_grades(query: str, relevant: Relevant) -> Mapping[str, int]:
    """Return id -> grade of a query; relevant ids without grades have the grade 1. ``query`` is for errors."""
    if isinstance(relevant, str):
        raise ValueError(
            f"query {query!r}: expected relevant ids, got the text {relevant!r}; write [{relevant!r}]"
        )
    if not isinstance(relevant, Collection):
        raise ValueError(f"query {query!r}: expected relevant ids, or id -> grade, got {relevant!r:.80}")
    _check_text_ids(query, relevant, "relevant")
    if type(relevant) is not dict and not isinstance(relevant, Mapping):
        return dict.fromkeys(relevant, 1)
    if {*map(type, relevant.values())} - _WHOLE_TYPES:
        for id_, grade in relevant.items():
            if not isinstance(grade, Integral):
                raise ValueError(f"query {query!r}: grade of {id_!r}: expected a whole number, got {grade!r}")
        return {id_: int(grade) for id_, grade in relevant.items()}
    return relevant


def _check_text_ids(query: str, ids: Iterable[Any], where: str) -> None:
    """Raise unless all ids are texts."""
    try:
        # The fastest way to check that all ids are texts.
        "".join(ids)
    except TypeError:
        # There is one: otherwise the texts could have been joined
        odd = next(id_ for id_ in ids if not isinstance(id_, str))
        raise ValueError(f"query {query!r}: {where}: expected ids that are texts, got {odd!r}") from None


def _places_in_ranking(query: str, ids: Sequence[str], wanted: Iterable[str]) -> list[int]:
    """Return the places of the wanted ids in a ranking, or `ABSENT`; raise if the ranking is not a list of unique ids."""
    if isinstance(ids, str):
        raise ValueError(f"query {query!r}: expected ranked ids, got the text {ids!r}")
    if type(ids) not in _USUAL_RANKING_TYPES and not is_ordered(ids):
        raise ValueError(f"query {query!r}: expected ranked ids, or id -> score, got {ids!r:.80}")
    numbers: Iterable[int] = _FIRST_PLACES
    if len(ids) > len(_FIRST_PLACES):
        numbers = count()
    try:
        places = dict(zip(ids, numbers, strict=False))
    except TypeError:
        _check_text_ids(query, ids, "the ranking")
        raise  # pragma: no cover -- every text can be a key
    if len(places) != len(ids):
        repeated, _ = Counter(ids).most_common(1)[0]
        raise ValueError(f"query {query!r}: the ranking holds {repeated!r} twice")
    return [*map(places.get, wanted, repeat(ABSENT))]


def _places_by_score(query: str, scores: Mapping[str, float], wanted: Iterable[str]) -> list[int]:
    """Return the places of the wanted ids, or `ABSENT`, in a ranking that is given as id -> score.

    The place is the number of higher scores, for which only the scores are sorted. If a wanted id has the same score as
    another id, the ids are ranked instead.
    """
    try:
        ascending = sorted(scores.values())
        is_finite = isfinite(sum(ascending))
    except TypeError:
        is_finite = False
    if not is_finite:
        # The sum shows NaN and infinity faster than a check of each score; it may also overflow.
        _check_ranking_scores(scores, f"query {query!r}: ")
    places = []
    for score in map(scores.get, wanted):
        if score is None:
            places.append(ABSENT)
            continue
        place = bisect_right(ascending, score)
        if place > 1 and ascending[place - 2] == score:
            # A tie is decided by the ids.
            return _places_in_ranking(query, rank_by_score(scores), wanted)
        places.append(len(ascending) - place)
    return places


def rank_by_score(scores: Mapping[str, float]) -> list[str]:
    """Return ids sorted by score, the highest first; in a tie the greater id first, as in trec_eval.

    Raises:
        ValueError: A score is not a finite number, or an id is not a text.

    >>> rank_by_score({"a": 1.0, "c": 2.0, "b": 1.0})
    ['c', 'b', 'a']
    """
    _check_ranking_scores(scores)
    pairs = [(score, name) for name, score in scores.items()]
    pairs.sort(reverse=True)
    return [name for _, name in pairs]


def _check_ranking_scores(scores: Mapping[str, object], where: str = "") -> None:
    for name, score in scores.items():
        if not isinstance(score, (int, float, Real)) or not isfinite(score):
            raise ValueError(f"{where}score of {name!r}: expected a finite number, got {score!r}")
        if not isinstance(name, str):
            raise ValueError(f"{where}expected ids that are texts, got {name!r}")


def build_relevance_table(ranks: JudgedRanks, level: int) -> "tuple[RelevanceTable, NDArray[Any]]":
    """Return the table of the queries with relevant ids, and a mask over all queries that selects these."""
    n = len(ranks.queries)
    counts = np.fromiter(ranks.counts, np.int64, n)
    rows = np.repeat(np.arange(n), counts)
    grades = np.fromiter(ranks.grades, np.int64, len(ranks.grades))
    places = np.fromiter(ranks.places, np.int64, len(ranks.places))
    wanted = np.bincount(rows[grades >= level], minlength=n)
    scored: NDArray[Any] = wanted > 0
    # Queries without relevant ids are dropped, and the others numbered consecutively.
    number = np.cumsum(scored) - 1
    in_scored = scored[rows]
    rows = number[rows[in_scored]]
    grades = grades[in_scored]
    places = places[in_scored]
    ranked = np.flatnonzero(places != ABSENT)
    by_row_and_place = np.lexsort((places[ranked], rows[ranked]))
    order = ranked[by_row_and_place]
    good = np.flatnonzero(grades > 0)
    by_row_and_grade = np.lexsort((-grades[good], rows[good]))
    best = good[by_row_and_grade]
    good_counts = np.bincount(rows[good], minlength=int(scored.sum()))
    first_good = np.cumsum(good_counts) - good_counts
    # 0, 1, 2 ... for each query
    ideal_places = np.arange(len(good)) - np.repeat(first_good, good_counts)
    lengths = np.fromiter(ranks.lengths, np.int64, n)
    table = RelevanceTable(
        rows=rows[order],
        places=places[order],
        grades=grades[order],
        level=level,
        lengths=lengths[scored],
        wanted=wanted[scored],
        ideal_rows=rows[best],
        ideal_places=ideal_places,
        ideals=grades[best],
    )
    return table, scored
