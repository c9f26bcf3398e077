"""One sentence about a search: the right passages are found, high enough."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pytest_llmops import recorder
from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.measurement import Json, Measurement, shorten
from pytest_llmops.metrics.retrieval import METRICS, Metric
from pytest_llmops.protocols import Hit, Hits

VERSION = "1"
LONG_NAMES = {"reciprocal_rank": "mrr", "average_precision": "map"}
MAX_RANK_LINES = 4
"""Relevant ids with a line of their own; the failure text has room for as many passages that stand in their place."""


def assert_retrieval(
    hits: Hits | Sequence[str],
    relevant: Collection[str] | Mapping[str, int],
    *,
    metric: str = "recall@5",
    at_least: float | None,
    label: str = "",
) -> Measurement:
    """Assert that a search finds the relevant passages.

    Args:
        hits: What the retriever returned, or only the ids, best first. No hits score 0.
        relevant: The ids that should be found, or id -> grade (1 and more is relevant).
        metric: ``hit_rate``, ``precision``, ``recall``, ``mrr``, ``map`` or ``ndcg``, from 0 to 1, with
            ``@k`` for the first k hits only.
        at_least: The bound; None on purpose: record only.
        label: Tells two measurements of one metric apart within a test.

    Returns:
        The measurement ``retrieval.<metric>``.

    Raises:
        MeasurementFailed: The value is below the bound; shows the rank of every relevant id, and what stands
            in its place.
        MeasurementErrored: It could not be scored: nothing is relevant, or an id is ranked twice.
        UnknownName: There is no such metric.
        UsageError: A bound, a cut or ids of the wrong form.

    >>> assert_retrieval(["a", "b"], ["b"], metric="mrr@5", at_least=0.5).value
    0.5
    """
    __tracebackhide__ = True
    name, function, k = _metric(metric)
    _check_bound(at_least)
    ids = _ids(hits)
    if isinstance(relevant, str) or not isinstance(relevant, Collection):
        raise UsageError(f"assert_retrieval: expected a list of relevant ids, got {_shown(relevant)}")
    ranks = _ranks(ids, relevant)
    detail: dict[str, Json] = {
        "actual": "\n".join(ids),
        "expected": list(ranks),
        "query": hits.query if isinstance(hits, Hits) else "",
        "ranks": ranks,
    }
    try:
        value = function(ids, relevant, k)
    except ValueError as error:
        failed = Measurement(
            name=f"retrieval.{name}", error=str(error), label=label, version=VERSION, detail=detail
        )
        return recorder.emit(failed)
    measurement = Measurement(
        name=f"retrieval.{name}",
        value=value,
        bound=at_least,
        label=label,
        reason=_reason(ranks, k, len(ids)),
        version=VERSION,
        detail=detail,
    )
    return recorder.emit(measurement, evidence=_evidence(hits, ids, ranks, k))


def _metric(text: str) -> tuple[str, Metric, int | None]:
    """Return the name as it is recorded, the function, and the cut."""
    __tracebackhide__ = True
    given, at, cut = text.strip().lower().partition("@")
    name = LONG_NAMES.get(given, given)
    if name not in METRICS:
        raise UnknownName("retrieval metric", given, [*METRICS, *LONG_NAMES])
    if not at:
        return name, METRICS[name], None
    if not (cut.isascii() and cut.isdecimal() and int(cut) > 0):
        raise UsageError(f"metric {text!r}: expected a whole number of at least 1 after @, like {name}@5")
    return f"{name}@{int(cut)}", METRICS[name], int(cut)


def _check_bound(at_least: object) -> None:
    __tracebackhide__ = True
    if at_least is None:
        return
    if isinstance(at_least, (int, float)) and not isinstance(at_least, bool) and 0 <= at_least <= 1:
        return
    raise UsageError(
        f"assert_retrieval: expected at_least from 0 to 1, or None to record only, got {at_least!r}"
    )


def _ids(hits: Hits | Sequence[str]) -> list[str]:
    __tracebackhide__ = True
    if isinstance(hits, Hits):
        return hits.ids
    if isinstance(hits, str) or not isinstance(hits, Sequence):
        raise UsageError(f"assert_retrieval: expected Hits or a list of ids, got {_shown(hits)}")
    ids = [one.id if isinstance(one, Hit) else one for one in hits]
    for one in ids:
        if not isinstance(one, str):
            raise UsageError(f"assert_retrieval: expected ids that are texts, got {_shown(one)}")
    return ids


def _shown(value: object) -> str:
    return f"{type(value).__name__} {shorten(repr(value), 60)}"


def _ranks(ids: Sequence[str], relevant: Collection[str] | Mapping[str, int]) -> dict[str, int | None]:
    """Return the rank of each relevant id, from 1; None where it was not found."""
    places: dict[str, int] = {}
    for rank, id_ in enumerate(ids, start=1):
        places.setdefault(id_, rank)
    graded = relevant.items() if isinstance(relevant, Mapping) else ((id_, 1) for id_ in relevant)
    return {id_: places.get(id_) for id_, grade in graded if not isinstance(grade, int) or grade > 0}


def _reason(ranks: Mapping[str, int | None], k: int | None, found: int) -> str:
    inside = sum(rank is not None and rank <= (k or found) for rank in ranks.values())
    place = f"the top {k}" if k else f"the {found} hits"
    return f"{inside} of {len(ranks)} relevant ids in {place}"


def _evidence(
    hits: Hits | Sequence[str], ids: Sequence[str], ranks: Mapping[str, int | None], k: int | None
) -> list[tuple[str, str]]:
    """Return the rank of every relevant id, the worst first, then what stands in the place of the missing."""
    worst = sorted(ranks, key=lambda id_: -(ranks[id_] or len(ids) + 1))
    lines = [("relevant", f"{id_}: {_place(ranks[id_], k, len(ids))}") for id_ in worst]
    if len(lines) > MAX_RANK_LINES:
        rest = ", ".join(text for _, text in lines[MAX_RANK_LINES - 1 :])
        lines = [*lines[: MAX_RANK_LINES - 1], ("relevant", rest)]
    texts = [one.text if isinstance(one, Hit) else "" for one in hits]
    for rank, (id_, text) in enumerate(zip(ids[:k], texts, strict=False), start=1):
        if id_ not in ranks:
            lines.append((f"rank {rank}", f"{id_}: {shorten(text, 120)}" if text else id_))
    return lines


def _place(rank: int | None, k: int | None, found: int) -> str:
    if rank is None:
        return f"not in top {k}" if k and found >= k else f"not among the {found} hits"
    return f"rank {rank}, not in top {k}" if k and rank > k else f"rank {rank}"
