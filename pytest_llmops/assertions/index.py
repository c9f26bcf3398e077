"""Assert that an index is up to date."""

import time
from collections.abc import Sequence
from functools import partial

from pytest_llmops import recorder
from pytest_llmops.assertions._arguments import parse_threshold
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, Measurement, format_amount, shorten_text
from pytest_llmops.retrievers import freshness
from pytest_llmops.retrievers.freshness import Documents, Freshness, Keys

__tracebackhide__ = True

VERSION = "1"
MAX_EVIDENCE_LINES = 4  # maximum number of documents or queries with their own line of evidence
MAX_DETAIL_IDS = 200  # maximum number of documents that the report lists by id


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
    """Assert that an index holds the current content of its source.

    A document is outdated by the best information that both sides have: different chunk ids if both have chunks,
    otherwise different content if both have texts or fingerprints, otherwise a modification time in the source more
    than a second later than in the index. If both sides have no such information in common, ``index.outdated`` is an
    error.

    Args:
        index: A retriever in memory or of a store that can be listed, chunks, or a mapping from id to text,
            modification time or `pytest_llmops.retrievers.freshness.Stamp`.
        source: The source of the index: anything that ``index`` may be, a folder of .md and .txt files, or a .jsonl
            file.
        at_most_age_s: Threshold of the age, in seconds, of the document that was indexed first (``indexed_at`` in the
            metadata, otherwise the modification time). None: record only, if the age is known.
        at_most_missing: Number of documents of the source that may be missing in the index. None: record only.
        at_most_outdated: Number of documents of the index that may be older than in the source. None: record only.
        at_most_orphaned: Number of documents of the index that may no longer be in the source. None: record only.
        keys: Keys of the metadata for the document, fingerprint and times of a chunk. Left out: ``source``,
            ``fingerprint``, ``modified`` and ``indexed_at``.
        now: The current time, in seconds since 1970. Left out: the clock of this machine.
        label: Distinguishes two indexes of one test.

    Returns:
        The measurements ``index.missing``, ``index.outdated``, ``index.orphaned`` and, if it is known or has a
        threshold, ``index.age``.

    Raises:
        MeasurementFailed: A measurement is above its threshold. The message names the documents.
        MeasurementErrored: All known measurements are within their thresholds, but one is not known.
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
    if not wanted:
        raise UsageError("assert_index_fresh: source: expected at least one document, got none")
    held = freshness.document_states(index, keys=keys, what="index")
    if now is None:
        now = time.time()
    comparison = freshness.compare_states(held, wanted, now=now)
    with recorder.soft():
        missing = _emit_missing(comparison, at_most_missing, label)
        outdated = _emit_outdated(comparison, at_most_outdated, label)
        orphaned = _emit_orphaned(comparison, at_most_orphaned, label)
        measurements = [missing, outdated, orphaned]
        # ``by`` is "indexed" or "modified", whichever time the age is counted from; empty if no age is known.
        if comparison.by or at_most_age_s is not None:
            age = _emit_index_age(comparison, at_most_age_s, label)
            measurements.append(age)
    return tuple(measurements)


def _emit_missing(comparison: Freshness, threshold: int | None, label: str) -> Measurement:
    measured = _count_documents(comparison, "missing", comparison.missing, threshold, label)
    count = len(comparison.missing)
    reason = f"{count} of {comparison.documents} documents are missing"
    evidence = _list_documents("missing", comparison.missing)
    return recorder.emit(measured(value=count, reason=reason), evidence=evidence)


def _emit_outdated(comparison: Freshness, threshold: int | None, label: str) -> Measurement:
    """Emit the number of outdated documents; an error if some cannot be compared."""
    outdated = comparison.outdated or {}
    measured = _count_documents(comparison, "outdated", list(outdated), threshold, label)
    if comparison.unknown:
        listed = comparison.unknown[:MAX_EVIDENCE_LINES]
        ids = ", ".join(shorten_text(document, 60) for document in listed)
        count = f"{len(comparison.unknown)} of {comparison.documents} documents"
        error = (
            f"{count} have neither a content nor a time on both sides "
            f"({ids}): keep a fingerprint or a modification time in the index"
        )
        return recorder.emit(measured(error=error))
    reason = f"{len(outdated)} of {comparison.documents} documents are outdated"
    lines = [f"{document}: {why}" for document, why in outdated.items()]
    evidence = _list_documents("outdated", lines)
    measurement = measured(value=len(outdated), reason=reason)
    return recorder.emit(measurement, evidence=evidence)


def _emit_orphaned(comparison: Freshness, threshold: int | None, label: str) -> Measurement:
    measured = _count_documents(comparison, "orphaned", comparison.orphaned, threshold, label)
    count = len(comparison.orphaned)
    reason = f"{count} of {comparison.held} documents of the index are not in the source"
    evidence = _list_documents("orphaned", comparison.orphaned)
    return recorder.emit(measured(value=count, reason=reason), evidence=evidence)


def _count_documents(
    comparison: Freshness, name: str, ids: Sequence[str], threshold: int | None, label: str
) -> partial[Measurement]:
    """Return a function that makes the measurement ``index.<name>`` of its value, with the ids in the detail."""
    listed_ids = list(ids[:MAX_DETAIL_IDS])
    detail: dict[str, Json] = {"documents": comparison.documents, name: listed_ids}
    return partial(
        Measurement,
        name=f"index.{name}",
        unit="count",
        better="lower",
        threshold=threshold,
        label=label,
        version=VERSION,
        detail=detail,
    )


def _list_documents(name: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return a line of evidence for each document; if there are too many, the last line lists the rest."""
    if len(texts) > MAX_EVIDENCE_LINES:
        own_lines = texts[: MAX_EVIDENCE_LINES - 1]
        others = texts[MAX_EVIDENCE_LINES - 1 :]
        rest = ", ".join(shorten_text(text, 60) for text in others)
        texts = [*own_lines, rest]
    return [(name, text) for text in texts]


def _emit_index_age(comparison: Freshness, threshold: float | None, label: str) -> Measurement:
    """Emit the age of the oldest document of the index; an error if no age is known."""
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
        error = "the index does not say when its documents were indexed (indexed_at) or modified (modified)"
        return recorder.emit(measured(error=error))
    oldest = shorten_text(comparison.oldest, 60)
    age = format_amount(comparison.age_s, "s")
    reason = f"{oldest} was {comparison.by} {age} ago, before all others"
    detail: dict[str, Json] = {"oldest": comparison.oldest, "by": comparison.by}
    return recorder.emit(measured(value=comparison.age_s, reason=reason, detail=detail))
