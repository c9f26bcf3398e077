"""How good a ranking of ids is, against the ids that are relevant: the definitions of trec_eval.

A ranking is a list of ids, best first. ``relevant`` is either the relevant ids or a mapping id -> grade;
a grade of 1 and more is relevant, 0 is judged not relevant, less and left out is not judged. Only `ndcg` tells
higher grades from lower ones, only `bpref` tells the judged from the others.
All results are from 0 (worst) to 1. ``k`` cuts the ranking; None takes all of it.

Source: trec_eval (NIST), measures ``success``, ``P``, ``recall``, ``Rprec``, ``recip_rank``, ``map``/``map_cut``,
``ndcg``/``ndcg_cut`` and ``bpref``. A system that returns fewer than k ids is still measured at k, as there.
Many queries at once are scored by `pytest_llmops.metrics.ranking`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Integral
from typing import TypeAlias

Relevant: TypeAlias = Collection[str] | Mapping[str, int]
Metric: TypeAlias = Callable[[Sequence[str], Relevant, int | None], float]


def hit_rate(ranking: Sequence[str], relevant: Relevant, k: int | None = None) -> float:
    """Whether there is a relevant id among the first k: 1 or 0; the mean over queries is the hit rate.

    Raises:
        ValueError: Nothing is relevant, an id stands twice in the ranking or is no text, the ranking has no order
            (a set), a grade is no whole number, or k none of at least 1.

    >>> hit_rate(["a", "b"], ["b"], 1), hit_rate(["a", "b"], ["b"], 2), hit_rate([], ["b"], 2)
    (0.0, 1.0, 0.0)
    """
    return float(any(gain > 0 for gain in _ranked_grades(ranking, relevant, k)))


def precision(ranking: Sequence[str], relevant: Relevant, k: int | None = None) -> float:
    """Share of relevant ids among the first k; of an empty ranking 0.

    Divided by k also where the ranking is shorter.

    Raises:
        ValueError: As in `hit_rate`.

    >>> precision(["a", "b"], ["b"], 2), precision(["a", "b"], ["b"], 4)
    (0.5, 0.25)
    """
    gains = _ranked_grades(ranking, relevant, k)
    return _count_relevant(gains) / int(k or len(gains) or 1)


def recall(ranking: Sequence[str], relevant: Relevant, k: int | None = None) -> float:
    """Share of the relevant ids that stand among the first k.

    Raises:
        ValueError: As in `hit_rate`.

    >>> recall(["a", "b", "c"], ["c", "a", "x", "y"], 2)
    0.25
    """
    return _count_relevant(_ranked_grades(ranking, relevant, k)) / len(_relevant_grades(relevant))


def r_precision(ranking: Sequence[str], relevant: Relevant, k: int | None = None) -> float:
    """Precision at R, where R is the number of relevant ids: there precision and recall are the same.

    With a cut only ids among the first k count; it is still divided by R.

    Raises:
        ValueError: As in `hit_rate`.

    >>> r_precision(["a", "x", "b"], ["a", "b"]), r_precision(["x", "a"], ["a", "b", "c"], 1)
    (0.5, 0.0)
    """
    wanted = len(_relevant_grades(relevant))
    return _count_relevant(_ranked_grades(ranking, relevant, k)[:wanted]) / wanted


def reciprocal_rank(ranking: Sequence[str], relevant: Relevant, k: int | None = None) -> float:
    """1 / rank of the first relevant id, 0 if there is none among the first k; the mean over queries is MRR.

    Raises:
        ValueError: As in `hit_rate`.

    >>> reciprocal_rank(["a", "b"], ["b"]), reciprocal_rank(["a", "b"], ["b"], 1)
    (0.5, 0.0)
    """
    gains = _ranked_grades(ranking, relevant, k)
    return next((1 / rank for rank, gain in enumerate(gains, start=1) if gain > 0), 0.0)


def average_precision(ranking: Sequence[str], relevant: Relevant, k: int | None = None) -> float:
    """Mean over **all** relevant ids of the precision at their ranks; the mean over queries is MAP.

    A relevant id that is not among the first k counts as precision 0.

    Raises:
        ValueError: As in `hit_rate`.

    >>> average_precision(["a", "x", "b"], ["a", "b"])
    0.8333333333333333
    """
    ranks = [rank for rank, gain in enumerate(_ranked_grades(ranking, relevant, k), start=1) if gain > 0]
    return math.fsum(nth / rank for nth, rank in enumerate(ranks, start=1)) / len(_relevant_grades(relevant))


def ndcg(ranking: Sequence[str], relevant: Relevant, k: int | None = None) -> float:
    """Discounted gain of the first k, as a share of what the best possible ranking gains.

    The gain of an id is its grade (1 where there are no grades), divided by log2(rank + 1) (Järvelin and
    Kekäläinen 2002 with the discount of trec_eval; not 2^grade - 1).

    Raises:
        ValueError: As in `hit_rate`.

    >>> ndcg(["a", "b"], {"a": 1, "b": 1}), round(ndcg(["a", "b"], {"a": 1, "b": 3}), 4)
    (1.0, 0.7967)
    """
    gained = _discounted_gain(_ranked_grades(ranking, relevant, k))
    best = _discounted_gain(sorted(_relevant_grades(relevant).values(), reverse=True)[:k])
    return min(1.0, gained / best)


def bpref(ranking: Sequence[str], relevant: Relevant, k: int | None = None) -> float:
    """How rarely an id that is judged not relevant stands above a relevant one; what nobody judged is skipped.

    Made for judgements with holes: an id without a grade is no evidence. Without a single grade of 0 it is the
    recall (Buckley and Voorhees 2004, in the form of trec_eval since its version 8).

    Raises:
        ValueError: As in `hit_rate`.

    >>> bpref(["unknown", "a", "bad", "b"], {"a": 1, "b": 1, "bad": 0, "worse": 0})
    0.75
    """
    # Ids that nobody judged are kept apart from those of grade 0.
    gains = _ranked_grades(ranking, relevant, k, unjudged=-1)
    wanted = len(_relevant_grades(relevant))
    grades = relevant.values() if isinstance(relevant, Mapping) else ()
    most = min(sum(int(grade) == 0 for grade in grades), wanted)
    preferred, bad = 0.0, 0
    for gain in gains:
        if gain > 0:
            preferred += 1 - min(bad, wanted) / most if bad else 1
        bad += gain == 0
    return preferred / wanted


METRICS: dict[str, Metric] = {
    "hit_rate": hit_rate,
    "precision": precision,
    "recall": recall,
    "r_precision": r_precision,
    "mrr": reciprocal_rank,
    "map": average_precision,
    "ndcg": ndcg,
    "bpref": bpref,
}
"""By the names a user writes ("ndcg@10"); of a single query, mrr is its reciprocal rank, map its average precision."""


def _discounted_gain(gains: Sequence[int]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1) if gain > 0)


def _count_relevant(gains: Sequence[int]) -> int:
    return sum(gain > 0 for gain in gains)


def _ranked_grades(
    ranking: Sequence[str], relevant: Relevant, k: int | None, *, unjudged: int = 0
) -> list[int]:
    """Return the grades of the first k ids, after checking everything that was given."""
    if k is not None and (not _is_whole_number(k) or k < 1):
        raise ValueError(f"k: expected a whole number of at least 1, or None, got {k!r}")
    if not _is_ordered(ranking):
        raise ValueError(f"the ranking: expected a list of ids, best first, got {ranking!r:.80}")
    grades: Mapping[str, int] = _relevant_grades(relevant)
    if isinstance(relevant, Mapping):
        grades = relevant
    seen: set[str] = set()
    for id_ in ranking:
        _check_id(id_, "the ranking")
        if id_ in seen:
            raise ValueError(f"the ranking holds {id_!r} twice: every id can be ranked once")
        seen.add(id_)
    return [int(grades.get(id_, unjudged)) for id_ in ranking[:k]]


def _is_whole_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral)


def _is_ordered(ranking: object) -> bool:
    # A set has no first place. An array is no Sequence by name, but has an order.
    if isinstance(ranking, Sequence):
        return not isinstance(ranking, str)
    return bool(getattr(ranking, "ndim", 0) == 1)


def _relevant_grades(relevant: Relevant) -> dict[str, int]:
    if isinstance(relevant, str):
        raise ValueError(f"relevant: expected ids, got the text {relevant!r}; write [{relevant!r}]")
    if not isinstance(relevant, Collection):
        raise ValueError(f"relevant: expected ids, or id -> grade, got {relevant!r:.80}")
    grades = relevant if isinstance(relevant, Mapping) else dict.fromkeys(relevant, 1)
    for id_, grade in grades.items():
        _check_id(id_, "relevant")
        if not isinstance(grade, Integral):
            raise ValueError(f"grade of {id_!r}: expected a whole number, got {grade!r}")
    kept = {id_: int(grade) for id_, grade in grades.items() if grade > 0}
    if not kept:
        msg = "no relevant ids are given: there is nothing to find"
        raise ValueError(msg)
    return kept


def _check_id(id_: object, where: str) -> None:
    # 1 and "1" are never equal: such a ranking would silently score 0.
    if not isinstance(id_, str):
        raise ValueError(f"{where}: expected ids that are texts, got {id_!r}")
