"""Assert that an index is up to date, fast to search and fast to build."""

import math
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

from pytest_llmops import recorder
from pytest_llmops._util.framework_objects import is_retriever, search_any
from pytest_llmops.assertions._arguments import parse_threshold
from pytest_llmops.errors import UsageError, describe_exception, refuse
from pytest_llmops.measurement import Json, Measurement, format_amount, shorten_text
from pytest_llmops.protocols import Retriever
from pytest_llmops.retrievers import freshness
from pytest_llmops.retrievers.base import to_python_scalar
from pytest_llmops.retrievers.freshness import Documents, Freshness, Keys

__tracebackhide__ = True

VERSION = "1"
MAX_EVIDENCE_LINES = 4  # maximum number of documents or queries with their own line of evidence
MAX_DETAIL_IDS = 200  # maximum number of documents that the report lists by id

Clock = Callable[[], float]


def assert_index_fresh(
    index: Documents,
    source: Documents,
    *,
    at_most_age_s: float | None = None,
    at_most_missing: int | None = 0,
    at_most_outdated: int | None = 0,
    at_most_orphaned: int | None = 0,
    keys: Keys | None = None,
    now: float | None = None,
    label: str = "",
) -> tuple[Measurement, ...]:
    """Assert that an index holds what its source holds now.

    A document is outdated if it has other chunks, by their ids, where both sides are chunks; if its content
    differs, where both sides know it (texts, or fingerprints); else if the source was modified more than a second
    after the state that the index holds. A document of which both sides know nothing in common makes
    ``index.outdated`` an error.

    Args:
        index: A retriever in memory or of a store that can be listed, chunks, or a mapping of id to text,
            modification time or `pytest_llmops.retrievers.freshness.Stamp`.
        source: What it was built from: the same, or a folder of .md and .txt files, or a .jsonl file.
        at_most_age_s: Threshold for the age of the document that was indexed first (``indexed_at`` in the
            metadata; where the index does not say, that was modified first); None: record only, if it is known.
        at_most_missing: How many documents of the source may be missing in the index; None: record only.
        at_most_outdated: How many of the index may be older than in the source; None: record only.
        at_most_orphaned: How many of the index may no longer be in the source; None: record only.
        keys: Keys of the metadata that name a chunk's document, its fingerprint and times; left out:
            ``source``, ``fingerprint``, ``modified`` and ``indexed_at``.
        now: The time it is, in seconds since 1970; left out: by the clock of this machine.
        label: Distinguishes two indexes of a test.

    Returns:
        The measurements ``index.missing``, ``index.outdated``, ``index.orphaned`` and, if it is known or
        has a threshold, ``index.age``.

    Raises:
        MeasurementFailed: A measurement is above its threshold; names the documents.
        MeasurementErrored: None is, but a measurement is not known.
        UsageError: A side cannot be read, the source is empty, or a threshold or time has the wrong form.

    >>> measurements = assert_index_fresh({"a.md": "new"}, {"a.md": "new"})
    >>> [(measurement.name, measurement.value) for measurement in measurements]
    [('index.missing', 0.0), ('index.outdated', 0.0), ('index.orphaned', 0.0)]
    """
    thresholds = {"missing": at_most_missing, "outdated": at_most_outdated, "orphaned": at_most_orphaned}
    for name, threshold in thresholds.items():
        parse_threshold(
            "assert_index_fresh", f"at_most_{name}", threshold, "a number of documents", whole=True
        )
    parse_threshold("assert_index_fresh", "at_most_age_s", at_most_age_s, "seconds")
    wanted = freshness.document_states(source, keys=keys, what="source")
    refuse(not wanted, "assert_index_fresh: source: expected at least one document, got none")
    held = freshness.document_states(index, keys=keys, what="index")
    comparison = freshness.compare_states(held, wanted, now=time.time() if now is None else now)
    with recorder.soft():
        measurements = [
            _emit_document_count(comparison, name, threshold, label) for name, threshold in thresholds.items()
        ]
        if comparison.by or at_most_age_s is not None:
            measurements.append(_emit_index_age(comparison, at_most_age_s, label))
    return tuple(measurements)


def _emit_document_count(comparison: Freshness, name: str, threshold: int | None, label: str) -> Measurement:
    given: Collection[str] = getattr(comparison, name) or ()
    ids = list(given)
    measured = partial(
        Measurement,
        name=f"index.{name}",
        unit="count",
        better="lower",
        threshold=threshold,
        label=label,
        version=VERSION,
        detail={"documents": comparison.documents, name: ids[:MAX_DETAIL_IDS]},
    )
    if name == "outdated" and comparison.unknown:
        unknown_ids = ", ".join(
            shorten_text(document, 60) for document in comparison.unknown[:MAX_EVIDENCE_LINES]
        )
        return recorder.emit(
            measured(
                error=f"{len(comparison.unknown)} of {comparison.documents} documents have neither a content nor a time on both sides "
                f"({unknown_ids}): keep a fingerprint or a modification time in the index"
            )
        )
    reason = f"{len(ids)} of {comparison.documents} documents are {name}"
    if name == "orphaned":
        reason = f"{len(ids)} of {comparison.held} documents of the index are not in the source"
    why = comparison.outdated or {}
    texts = [f"{document}: {why[document]}" if name == "outdated" else document for document in ids]
    if len(texts) > MAX_EVIDENCE_LINES:
        rest = ", ".join(shorten_text(text, 60) for text in texts[MAX_EVIDENCE_LINES - 1 :])
        texts = [*texts[: MAX_EVIDENCE_LINES - 1], rest]
    return recorder.emit(measured(value=len(ids), reason=reason), evidence=[(name, text) for text in texts])


def _emit_index_age(comparison: Freshness, threshold: float | None, label: str) -> Measurement:
    measured = partial(
        Measurement,
        name="index.age",
        unit="s",
        better="lower",
        threshold=threshold,
        label=label,
        version=VERSION,
    )
    if comparison.age_s is None:
        return recorder.emit(
            measured(
                error="the index does not say when its documents were indexed (indexed_at) or modified (modified)"
            )
        )
    reason = f"{shorten_text(comparison.oldest, 60)} was {comparison.by} {format_amount(comparison.age_s, 's')} ago, before all others"
    detail: dict[str, Json] = {"oldest": comparison.oldest, "by": comparison.by}
    return recorder.emit(measured(value=comparison.age_s, reason=reason, detail=detail))


def assert_search_latency(
    retriever: Retriever,
    queries: Iterable[str],
    *,
    at_most_s: float | None,
    quantile: float = 0.95,
    k: int | None = None,
    label: str = "",
    clock: Clock = time.perf_counter,
) -> Measurement:
    """Assert that a share of searches is fast enough.

    Each query is searched once, after the first was searched once unmeasured (it may load a model or an
    index). The latency of a search is what the retriever reports (``Hits.latency_s``), or if it reports
    none, what the clock says.

    Args:
        retriever: Anything with ``search(query)``, ``retrieve`` or ``invoke``, or a function.
        queries: At least one; as many as the quantile has to rest on.
        at_most_s: The threshold in seconds; None: record only.
        quantile: The share of searches that the value covers, above 0 to 1: the least latency that this
            share does not exceed, which is always a measured latency (nearest rank).
        k: How many hits to ask for; left out: as many as the retriever returns by itself.
        label: Distinguishes two measurements of a test.
        clock: Seconds that only go forward.

    Returns:
        The measurement ``retrieval.latency`` in seconds; ``detail`` has the median, the mean and the slowest.

    Raises:
        MeasurementFailed: The value is above the threshold; names the slowest queries.
        MeasurementErrored: A search raised, or reported an invalid latency.
        UsageError: No query, or a threshold or quantile of the wrong form.

    >>> from pytest_llmops.protocols import Hits
    >>> class Fixed:
    ...     def search(self, query, k=None): return Hits(query=query, latency_s=len(query) / 100)
    >>> assert_search_latency(Fixed(), ["one", "three"], at_most_s=0.1, quantile=0.5).value
    0.03
    """
    parse_threshold("assert_search_latency", "at_most_s", at_most_s, "seconds")
    share: object = to_python_scalar(quantile)
    if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0 < share <= 1:
        raise UsageError(f"assert_search_latency: expected quantile above 0 and at most 1, got {quantile!r}")
    query_list = _parse_queries(retriever, queries)
    measured = partial(
        Measurement,
        name="retrieval.latency",
        unit="s",
        better="lower",
        threshold=at_most_s,
        label=label,
        version=f"{VERSION}/q{share:g}",
    )
    taken: list[tuple[float, str]] = []
    for query in (query_list[0], *query_list):
        try:
            seconds: object = to_python_scalar(_measure_search(retriever, query, k, clock))
        except Exception as error:  # noqa: BLE001 -- whatever a user's retriever raises: not measured, not slow
            text = f"the search for {shorten_text(query, 60)!r} failed: {describe_exception(error)}"
            return recorder.emit(measured(error=text), cause=error)
        if not isinstance(seconds, (int, float)) or not (math.isfinite(seconds) and seconds >= 0):
            text = f"the search for {shorten_text(query, 60)!r} reported a latency of {seconds!r}, expected seconds"
            return recorder.emit(measured(error=text))
        taken.append((float(seconds), query))
    return _emit_search_latency(measured, taken[1:], share)


def _emit_search_latency(
    measured: Callable[..., Measurement], taken: Sequence[tuple[float, str]], quantile: float
) -> Measurement:
    slowest = sorted(taken, key=lambda pair: -pair[0])
    ordered = [seconds for seconds, _ in slowest[::-1]]
    value = _nearest_rank(ordered, quantile)
    detail: dict[str, Json] = {
        "queries": len(ordered),
        "quantile": quantile,
        "median": _nearest_rank(ordered, 0.5),
        "mean": math.fsum(ordered) / len(ordered),
        "slowest": ordered[-1],
    }
    reason = f"{quantile:.3g} of {len(ordered)} searches took at most {format_amount(value, 's')}"
    evidence = [
        ("slow", f"{format_amount(seconds, 's')}: {shorten_text(query, 120)}") for seconds, query in slowest
    ]
    return recorder.emit(
        measured(value=value, reason=reason, detail=detail), evidence=evidence[:MAX_EVIDENCE_LINES]
    )


def _measure_search(retriever: Retriever, query: str, k: int | None, clock: Clock) -> object:
    started = clock()
    hits = search_any(retriever, query, k)
    elapsed = clock() - started
    reported = getattr(hits, "latency_s", None)
    return elapsed if reported is None else reported


def _nearest_rank(ordered: Sequence[float], share: float) -> float:
    # Return the nearest rank: the least value that at least this share does not exceed.
    # Slack for shares like 0.95 of 20, which is 19.000000000000004 in floats.
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


def assert_reindex_time(
    build: Callable[[], object], *, at_most_s: float | None, label: str = "", clock: Clock = time.perf_counter
) -> Measurement:
    """Assert that an index is built fast enough.

    Args:
        build: Builds the index once, without arguments; what it returns is not looked at.
        at_most_s: The threshold in seconds; None: record only.
        label: Distinguishes two measurements of a test.
        clock: Seconds that only go forward.

    Returns:
        The measurement ``index.reindex`` in seconds.

    Raises:
        MeasurementFailed: It took longer.
        MeasurementErrored: It raised; its exception is the cause.
        UsageError: It is not a function, or the threshold is not a number of seconds.

    >>> ticks = iter([10.0, 12.5])
    >>> assert_reindex_time(lambda: None, at_most_s=3, clock=lambda: next(ticks)).value
    2.5
    """
    parse_threshold("assert_reindex_time", "at_most_s", at_most_s, "seconds")
    refuse(
        not callable(build),
        f"assert_reindex_time: expected a function that builds the index, got {type(build).__name__}",
    )
    measured = partial(
        Measurement,
        name="index.reindex",
        unit="s",
        better="lower",
        threshold=at_most_s,
        label=label,
        version=VERSION,
    )
    started = clock()
    try:
        build()
    except Exception as error:  # noqa: BLE001 -- whatever it raises: not measured, not slow
        return recorder.emit(
            measured(error=f"building the index raised {describe_exception(error)}"), cause=error
        )
    return recorder.emit(measured(value=clock() - started))


def _parse_queries(retriever: object, queries: Iterable[str]) -> list[str]:
    refuse(
        not is_retriever(retriever),
        f"assert_search_latency: expected a retriever with search(query, k), got {type(retriever).__name__}",
    )
    refuse(
        isinstance(queries, str) or not isinstance(queries, Iterable),
        f"assert_search_latency: expected a list of queries, got {type(queries).__name__}",
    )
    query_list = list(queries)
    for query in query_list:
        refuse(
            not isinstance(query, str),
            f"assert_search_latency: expected queries that are texts, got {type(query).__name__}",
        )
    refuse(not query_list, "assert_search_latency: expected at least one query, got none")
    return query_list
