"""Compare an index with the source it was built from, to find missing, outdated and orphaned documents.

Both sides are read as id -> `DocumentState`. A document is compared by its content if both sides know it, else by the time of its
last modification.
"""

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pytest_llmops._util.text_files import fingerprint_parts, locate_errors
from pytest_llmops._util.user_files import find_path
from pytest_llmops.errors import CorpusError, LLMOpsError, UsageError, describe_exception
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import Chunk
from pytest_llmops.retrievers.base import Searcher, to_python_scalar
from pytest_llmops.retrievers.bm25 import iter_text_files, load_corpus

__tracebackhide__ = True

# Seconds since 1970, a datetime with its time zone, or such a datetime as ISO 8601 text
Time: TypeAlias = "float | int | str | dt.datetime"

SLACK_S = 1.0  # some file systems and stores have only whole seconds
MAX_FUTURE_S = 86_400.0  # clocks differ; a time more than a day ahead is in milliseconds, or wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """The known state of a document; unknown fields are left out.

    Attributes:
        fingerprint: Any text that changes with the content.
        modified: Time of the source's last modification.
        indexed: Time when the document was written into the index.
    """

    fingerprint: str = ""
    modified: "Time | None" = None
    indexed: "Time | None" = None


# A retriever that can list its passages, a folder or .jsonl file, chunks, or a mapping of id to text, modification time or Stamp
Documents: TypeAlias = (
    "Searcher | str | Path | Iterable[Chunk] | Mapping[str, str | float | dt.datetime | Stamp]"
)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys under which the metadata of a chunk describes its document.

    Attributes:
        document: Key of the id of the document; a chunk without this key is a document itself.
        fingerprint: Key of the fingerprint of the document. Without it, the fingerprint of a chunk that is a document is made
            from its text.
        modified: Key of the time when the document was last modified.
        indexed: Key of the time when it was written into the index.
    """

    document: str = "source"
    fingerprint: str = "fingerprint"
    modified: str = "modified"
    indexed: str = "indexed_at"


@dataclass(frozen=True, slots=True)
class DocumentState:
    """The state of a document in the index or in the source.

    Attributes:
        fingerprints: Fingerprints of its content, one for each chunk; empty: not known.
        modified: Time of the last modification, in seconds since 1970; None: not known.
        indexed: Time of indexing, in seconds since 1970; None: not known.
        chunks: Ids of its chunks; empty if it was not divided into chunks.
    """

    fingerprints: frozenset[str] = frozenset()
    modified: float | None = None
    indexed: float | None = None
    chunks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Freshness:
    """The differences between an index and its source. Ids are in the order of the source; orphaned ones in the order of the index.

    Attributes:
        documents: Number of documents in the source.
        held: Number of documents in the index.
        missing: Documents in the source that are not in the index.
        outdated: Document id -> why the index is not up to date.
        orphaned: Documents in the index that are not in the source.
        unknown: Documents in both that cannot be compared: no property is known on both sides.
        oldest: The document that was indexed first, or modified first if the index has no times of indexing.
        age_s: Age of that document; None if the index has no times.
        by: The time that the age is computed from: ``indexed``, ``modified`` or empty.
    """

    documents: int
    held: int
    missing: tuple[str, ...] = ()
    outdated: Mapping[str, str] | None = None
    orphaned: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    oldest: str = ""
    age_s: float | None = None
    by: str = ""


def content_fingerprint(text: str) -> str:
    r"""Return the fingerprint of a text; line ends do not count.

    >>> content_fingerprint("a\r\nb") == content_fingerprint("a\nb")
    True
    """
    return fingerprint_parts(text.replace("\r\n", "\n").replace("\r", "\n"))


def document_states(
    given: Documents, *, keys: Keys | None = None, what: str = "documents"
) -> dict[str, DocumentState]:
    """Return the documents of an index or a source as id -> state, in their order.

    The documents of a folder are its .md and .txt files except hidden files, with the path below the folder as id;
    the documents of a .jsonl file are its lines. Chunks with the same document in their metadata are merged into one state, with
    their oldest times.

    Args:
        given: The index or the source.
        keys: Where the metadata of chunks describes their document.
        what: Begins the messages of errors.

    Raises:
        UsageError: It has no documents, cannot be listed, or has an invalid time.
        CorpusError: A file or folder cannot be read, a store does not answer, or an id is repeated.

    >>> document_states({"a.md": 1_700_000_000})["a.md"].modified
    1700000000.0
    """
    keys = keys or Keys()
    if isinstance(given, Mapping):
        states: dict[str, DocumentState] = {}
        for id_, value in given.items():  # not a comprehension, whose frame would be in users' tracebacks
            document = str(id_)
            where = f"{what}: {shorten_text(document, 60)}"
            states[document] = _value_state(value, where)
        return states
    if isinstance(given, (str, Path)):
        with locate_errors(CorpusError, given):
            place = find_path(given)
        if not place.is_dir():
            return _states_of_chunks(load_corpus(place), keys, what)
        states = {}
        for name, path, text in iter_text_files(place):
            fingerprints = frozenset({content_fingerprint(text)})
            states[name] = DocumentState(fingerprints, path.stat().st_mtime)
        return states
    if callable(getattr(given, "listing", None)):
        return _states_of_chunks(_list_chunks(given), keys, what)
    if isinstance(given, Iterable):
        return _states_of_chunks(tuple(given), keys, what)
    raise UsageError(
        f"{what}: expected a retriever, a folder, chunks or a mapping of id to text, time or Stamp, got {type(given).__name__}"
    )


def _list_chunks(retriever: object) -> Sequence[Chunk]:
    """Return all passages of a retriever; an exception of its store becomes a `CorpusError`."""
    try:
        return tuple(retriever.listing())  # type: ignore[attr-defined]  # checked by the caller
    except LLMOpsError:
        raise
    except Exception as error:
        problem = shorten_text(describe_exception(error), 400)
        where = str(getattr(retriever, "where", type(retriever).__name__))
        raise CorpusError(f"cannot be listed: {problem}", where) from error


def _states_of_chunks(chunks: Sequence[Chunk], keys: Keys, what: str) -> dict[str, DocumentState]:
    """Return document id -> state; the states of the chunks of a document are merged.

    Raises:
        CorpusError: A chunk that is a document itself has the id of another document.
    """
    states_by_id: dict[str, list[DocumentState]] = {}
    whole_documents: set[str] = set()  # ids of chunks that are documents themselves
    for chunk in chunks:
        if not isinstance(chunk, Chunk):
            raise UsageError(
                f"{what}: expected chunks, got {type(chunk).__name__}: wrap it as Chunk(id=, text=)"
            )
        document = chunk.metadata.get(keys.document)
        is_whole = document is None
        id_ = chunk.id
        if document is not None:
            id_ = str(document)
        if id_ in states_by_id and (is_whole or id_ in whole_documents):
            raise CorpusError(
                f"the document {shorten_text(id_, 60)!r} occurs twice: expected a unique id for each", what
            )
        if is_whole:
            whole_documents.add(id_)
        where = f"{what}: {shorten_text(id_, 60)}"
        state = _chunk_state(chunk, keys, where, whole=is_whole)
        states_by_id.setdefault(id_, []).append(state)
    return {id_: _merge_states(parts) for id_, parts in states_by_id.items()}


def _chunk_state(chunk: Chunk, keys: Keys, where: str, *, whole: bool) -> DocumentState:
    """Return the state of a document that the metadata of a chunk gives; ``whole``: the chunk is the document itself."""
    fingerprints: frozenset[str] = frozenset()
    given = chunk.metadata.get(keys.fingerprint)
    if given is not None:
        fingerprints = _known_fingerprint(str(given))
    elif whole and chunk.text:
        fingerprints = frozenset({content_fingerprint(chunk.text)})
    chunk_ids = frozenset({chunk.id})
    if whole:
        chunk_ids = frozenset()
    modified = _parse_time(chunk.metadata.get(keys.modified), f"{where}: {keys.modified}")
    indexed = _parse_time(chunk.metadata.get(keys.indexed), f"{where}: {keys.indexed}")
    return DocumentState(fingerprints, modified, indexed, chunk_ids)


def _known_fingerprint(fingerprint: str) -> frozenset[str]:
    if not fingerprint:
        return frozenset()
    return frozenset({fingerprint})


def _merge_states(parts: Sequence[DocumentState]) -> DocumentState:
    """Merge the states of the chunks of a document into one, with the oldest of their times."""
    fingerprints: frozenset[str] = frozenset()
    # Fingerprints identify the whole content only if every chunk has one.
    if all(state.fingerprints for state in parts):
        fingerprints = fingerprints.union(*(state.fingerprints for state in parts))
    modified_times = [state.modified for state in parts if state.modified is not None]
    indexed_times = [state.indexed for state in parts if state.indexed is not None]
    chunk_ids: frozenset[str] = frozenset().union(*(state.chunks for state in parts))
    oldest_modified = min(modified_times, default=None)
    oldest_indexed = min(indexed_times, default=None)
    return DocumentState(fingerprints, oldest_modified, oldest_indexed, chunk_ids)


def _value_state(value: object, where: str) -> DocumentState:
    """Return the state for a value of a mapping: a `Stamp`, a chunk, a text, or a time of modification (but not as a text)."""
    if isinstance(value, Stamp):
        return DocumentState(
            _known_fingerprint(value.fingerprint),
            _parse_time(value.modified, where),
            _parse_time(value.indexed, where),
        )
    if isinstance(value, Chunk):
        return _chunk_state(value, Keys(), where, whole=True)
    if isinstance(value, str):
        return DocumentState(frozenset({content_fingerprint(value)}))
    return DocumentState(modified=_parse_time(value, where))


def _parse_time(value: object, where: str) -> float | None:
    """Return a time in seconds since 1970; None for None.

    Raises:
        UsageError: It is not a time, or a datetime without a time zone.
    """
    value = to_python_scalar(value)
    if value is None:
        return None
    expected = "expected seconds since 1970, or a date and time with its zone, like 2026-01-31T12:00:00+00:00"
    if isinstance(value, str):
        text = value
        try:
            value = dt.datetime.fromisoformat(text)
        except ValueError:
            short_text = shorten_text(text, 60)
            raise UsageError(f"{where}: {expected}, got {short_text!r}") from None
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise UsageError(f"{where}: {expected}, got {value.isoformat()} without a zone")
        return value.timestamp()
    seconds = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    if not math.isfinite(seconds) or seconds < 0:
        given = shorten_text(repr(value), 60)
        raise UsageError(f"{where}: {expected}, got {given}")
    return seconds


def compare_states(
    index: Mapping[str, DocumentState], source: Mapping[str, DocumentState], *, now: float
) -> Freshness:
    """Compare an index with its source.

    A document is outdated if the ids of its chunks differ (see `_are_chunks_outdated`); or if its fingerprints differ; or, without
    fingerprints on both sides, if its time of modification in the index (else of indexing) is more than a second before the one in
    the source.

    Raises:
        UsageError: A time of the index is more than a day after ``now``.

    >>> index = {"a": DocumentState(frozenset({"old"}))}
    >>> source = {"a": DocumentState(frozenset({"new"})), "b": DocumentState()}
    >>> freshness = compare_states(index, source, now=0.0)
    >>> freshness.missing, freshness.outdated
    (('b',), {'a': 'the content differs'})
    """
    outdated: dict[str, str] = {}
    unknown: list[str] = []
    for id_, wanted in source.items():
        if id_ not in index:
            continue
        why = _why_outdated(index[id_], wanted)
        if why is None:
            unknown.append(id_)
        elif why:
            outdated[id_] = why
    oldest, age, by = _find_oldest(index, now)
    missing = tuple(id_ for id_ in source if id_ not in index)
    orphaned = tuple(id_ for id_ in index if id_ not in source)
    return Freshness(
        documents=len(source),
        held=len(index),
        missing=missing,
        outdated=outdated,
        orphaned=orphaned,
        unknown=tuple(unknown),
        oldest=oldest,
        age_s=age,
        by=by,
    )


def _why_outdated(held: DocumentState, wanted: DocumentState) -> str | None:
    """Return why a document in the index is outdated; "" if it is up to date; None if they cannot be compared."""
    if _are_chunks_outdated(held.chunks, wanted.chunks):
        return _describe_chunk_difference(held.chunks, wanted.chunks)
    if held.fingerprints and wanted.fingerprints:
        if held.fingerprints == wanted.fingerprints:
            return ""
        return "the content differs"
    since = held.modified
    if since is None:
        since = held.indexed
    if since is None or wanted.modified is None:
        return None
    late = wanted.modified - since
    if late > SLACK_S:
        return f"modified {late:,.0f} s after the state in the index"
    return ""


def _are_chunks_outdated(held: frozenset[str], wanted: frozenset[str]) -> bool:
    """Return whether the ids of the chunks prove that the document in the index is outdated.

    If both sides have the same number of chunks, but no id in common, nothing is proved: some tools generate new ids each time they
    divide a document into chunks.
    """
    if not held or not wanted or held == wanted:
        return False
    return bool(held & wanted) or len(held) != len(wanted)


def _describe_chunk_difference(held: frozenset[str], wanted: frozenset[str]) -> str:
    """Describe how the chunks of a document differ, with an example of each side."""
    missing = sorted(wanted - held)
    extra = sorted(held - wanted)
    parts = []
    if missing:
        example = shorten_text(missing[0], 60)
        count = f"{len(missing):,} of {len(wanted):,}"
        parts.append(f"{count} chunks are not in the index ({example})")
    if extra:
        example = shorten_text(extra[0], 60)
        parts.append(f"{len(extra):,} of the index are not in the source ({example})")
    return ", ".join(parts)


def _find_oldest(index: Mapping[str, DocumentState], now: float) -> tuple[str, float | None, str]:
    """Return (oldest document of an index, its age in seconds, "indexed" or "modified"); ("", None, "") without any times.

    Raises:
        UsageError: A time is more than a day in the future.
    """
    for by in ("indexed", "modified"):
        times = {}
        for id_, state in index.items():
            time = getattr(state, by)
            if time is not None:
                times[id_] = time
        for id_, time in times.items():
            if time > now + MAX_FUTURE_S:
                short_id = shorten_text(id_, 60)
                ahead = f"{time - now:,.0f} s"
                raise UsageError(
                    f"{short_id}: expected a time in the past, got {ahead} in the future; is it in milliseconds?"
                )
        if times:
            oldest = min(times, key=lambda id_: times[id_])
            return oldest, max(0.0, now - times[oldest]), by
    return "", None, ""
