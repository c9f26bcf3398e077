"""The metrics of trec_eval for a single query, as plain loops: what `pytest_llmops.metrics.ranking` is compared with.

A ranking is a list of ids, best first. ``relevant`` is a collection of relevant ids or a mapping id -> grade: grades
of at least 1 are relevant, 0 is judged not relevant, lower or missing grades are not judged. Only `ndcg` distinguishes
higher grades. All results are from 0 (worst) to 1. ``k`` cuts the ranking;
None: no cut. Every metric raises `ValueError` as `hit_rate` does.

Source: trec_eval (NIST), measures ``success``, ``P``, ``recall``, ``Rprec``, ``recip_rank``, ``map``/``map_cut``,
``ndcg``/``ndcg_cut``. A ranking of fewer than k ids is still measured at k, as there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Integral
from typing import TypeAlias

from pytest_llmops._util.arrays import is_ordered, is_whole_number

Relevant: TypeAlias = Collection[str] | Mapping[str, int]
Metric: TypeAlias = Callable[[Sequence[str], Relevant, int | None], float]


def hit_rate(ranking: Sequence[str], relevant: Relevant, k: int | None = None) -> float:
    """Return 1 if a relevant id is among the first k, else 0; the mean over queries is the hit rate.

    Raises:
        ValueError: Nothing is relevant, an id is ranked twice or is not a text, the ranking has no order (a set), a
            grade is not a whole number, or k is not a whole number of at least 1.

    >>> hit_rate(["a", "b"], ["b"], 1), hit_rate(["a", "b"], ["b"], 2), hit_rate([], ["b"], 2)
    (0.0, 1.0, 0.0)
    """
    return float(any(gain > 0 for gain in _ranked_grades(ranking, relevant, k)))


def precision(ranking: Sequence[str], relevant: Relevant, k: int | None = None) -> float:
    """Return the share of relevant ids among the first k, divided by k also if the ranking is shorter.

    >>> precision(["a", "b"], ["b"], 2), precision(["a", "b"], ["b"], 4)
    (0.5, 0.25)
    """
    gains = _ranked_grades(ranking, relevant, k)
    return _count_relevant(gains) / int(k or len(gains) or 1)


def recall(ranking: Sequence[str], relevant: Relevant, k: int | None = None) -> float:
    """Return the share of the relevant ids that are among the first k.

    >>> recall(["a", "b", "c"], ["c", "a", "x", "y"], 2)
    0.25
    """
    return _count_relevant(_ranked_grades(ranking, relevant, k)) / len(_relevant_grades(relevant))


def r_precision(ranking: Sequence[str], relevant: Relevant, k: int | None = None) -> float:
    """Return the precision at R, the number of relevant ids, where it equals the recall.

    With a cut only the first k ids count, still divided by R.

    >>> r_precision(["a", "x", "b"], ["a", "b"]), r_precision(["x", "a"], ["a", "b", "c"], 1)
    (0.5, 0.0)
    """
    wanted = len(_relevant_grades(relevant))
    return _count_relevant(_ranked_grades(ranking, relevant, k)[:wanted]) / wanted


def reciprocal_rank(ranking: Sequence[str], relevant: Relevant, k: int | None = None) -> float:
    """Return 1 / rank of the first relevant id, 0 without a relevant id among the first k; the mean over queries is MRR.

    >>> reciprocal_rank(["a", "b"], ["b"]), reciprocal_rank(["a", "b"], ["b"], 1)
    (0.5, 0.0)
    """
    gains = _ranked_grades(ranking, relevant, k)
    return next((1 / rank for rank, gain in enumerate(gains, start=1) if gain > 0), 0.0)


def average_precision(ranking: Sequence[str], relevant: Relevant, k: int | None = None) -> float:
    """Return the mean over **all** relevant ids of the precision at their ranks; the mean over queries is MAP.

    A relevant id that is not among the first k counts as precision 0.

    >>> average_precision(["a", "x", "b"], ["a", "b"])
    0.8333333333333333
    """
    ranks = [rank for rank, gain in enumerate(_ranked_grades(ranking, relevant, k), start=1) if gain > 0]
    return math.fsum(nth / rank for nth, rank in enumerate(ranks, start=1)) / len(_relevant_grades(relevant))


def ndcg(ranking: Sequence[str], relevant: Relevant, k: int | None = None) -> float:
    """Return the discounted gain of the first k as a share of that of the best possible ranking.

    The gain of an id is its grade (1 without grades), divided by log2(rank + 1) (Järvelin and Kekäläinen 2002 with
    the discount of trec_eval; not 2^grade - 1).

    >>> ndcg(["a", "b"], {"a": 1, "b": 1}), round(ndcg(["a", "b"], {"a": 1, "b": 3}), 4)
    (1.0, 0.7967)
    """
    gained = _discounted_gain(_ranked_grades(ranking, relevant, k))
    best = _discounted_gain(sorted(_relevant_grades(relevant).values(), reverse=True)[:k])
    return min(1.0, gained / best)


# By the names that users write ("ndcg@10"); for a single query mrr is the reciprocal rank, map the average
# precision
METRICS: dict[str, Metric] = {
    "hit_rate": hit_rate,
    "precision": precision,
    "recall": recall,
    "r_precision": r_precision,
    "mrr": reciprocal_rank,
    "map": average_precision,
    "ndcg": ndcg,
}


def _discounted_gain(gains: Sequence[int]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1) if gain > 0)


def _count_relevant(gains: Sequence[int]) -> int:
    return sum(gain > 0 for gain in gains)


def _ranked_grades(ranking: Sequence[str], relevant: Relevant, k: int | None) -> list[int]:
    """Validate the arguments of a metric and return the grades of the first k ids."""
    if k is not None and (not is_whole_number(k) or k < 1):
        raise ValueError(f"k: expected a whole number of at least 1, or None, got {k!r}")
    if isinstance(ranking, str) or not is_ordered(ranking):
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
    return [int(grades.get(id_, 0)) for id_ in ranking[:k]]


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
    positive = {id_: int(grade) for id_, grade in grades.items() if grade > 0}
    if not positive:
        raise ValueError("no relevant ids are given: there is nothing to find")
    return positive


def _check_id(id_: object, where: str) -> None:
    # 1 never equals "1": such a ranking would silently score 0.
    if not isinstance(id_, str):
        raise ValueError(f"{where}: expected ids that are texts, got {id_!r}")
