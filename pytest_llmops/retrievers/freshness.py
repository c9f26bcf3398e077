"""Compare an index with the source it was built from: missing, outdated and orphaned documents.

Both sides are read as id -> `DocumentState`, and compared by what both know of a document: its content, else the time
of its last modification.
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

# Seconds since 1970, an aware datetime, or one as ISO 8601 text
Time: TypeAlias = "float | int | str | dt.datetime"

SLACK_S = 1.0  # some file systems and stores have only whole seconds
MAX_FUTURE_S = 86_400.0  # clocks differ; a time more than a day ahead is in milliseconds, or wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """The known state of a document; leave out what is unknown.

    Attributes:
        fingerprint: Any text that changes with the content.
        modified: Time of the source's last modification.
        indexed: Time when the document was written into the index.
    """

    fingerprint: str = ""
    modified: "Time | None" = None
    indexed: "Time | None" = None


# A retriever that can be listed, a folder or .jsonl file, chunks, or id -> text, modification time or Stamp
Documents: TypeAlias = (
    "Searcher | str | Path | Iterable[Chunk] | Mapping[str, str | float | dt.datetime | Stamp]"
)


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of a chunk's metadata that describe its document.

    Attributes:
        document: Id of the chunk's document; a chunk without this key is a document itself.
        fingerprint: Fingerprint of the document; by default, of the text of a chunk that is a document.
        modified: Time of the document's last modification.
        indexed: Time when it was written into the index.
    """

    document: str = "source"
    fingerprint: str = "fingerprint"
    modified: str = "modified"
    indexed: str = "indexed_at"


@dataclass(frozen=True, slots=True)
class DocumentState:
    """The state of a document in the index or in the source.

    Attributes:
        fingerprints: Fingerprints of its content.
        modified: Seconds since 1970, as is ``indexed``.
        chunks: Ids of the document's chunks; empty for a whole document.
    """

    fingerprints: frozenset[str] = frozenset()
    modified: float | None = None
    indexed: float | None = None
    chunks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Freshness:
    """The differences between an index and its source; ids in the order of the source, or of the index.

    Attributes:
        documents: Number of documents in the source.
        held: Number of documents in the index.
        missing: Documents in the source, not in the index.
        outdated: Document id -> why its state in the index is older.
        orphaned: Documents in the index, not in the source.
        unknown: Documents in both that share no property to compare.
        oldest: The document that was indexed first, or modified first if the index has no times of indexing.
        age_s: Age of that document; None if the index has no times.
        by: Basis of the age: ``indexed``, ``modified`` or empty.
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
    those of a .jsonl file are its lines. Chunks with the same document in their metadata are merged: the oldest of
    their times counts.

    Raises:
        UsageError: It has no documents, cannot be listed, or has an invalid time.
        CorpusError: A file or folder cannot be read, a store does not answer, or an id is repeated.

    >>> document_states({"a.md": 1_700_000_000})["a.md"].modified
    1700000000.0
    """
    keys = keys or Keys()
    if isinstance(given, Mapping):
        states: dict[str, DocumentState] = {}
        for id_, value in given.items():  # the frame of a comprehension would be in users' tracebacks
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
    try:
        return tuple(retriever.listing())  # type: ignore[attr-defined]  # checked by the caller
    except LLMOpsError:
        raise
    except Exception as error:
        problem = shorten_text(describe_exception(error), 400)
        where = str(getattr(retriever, "where", type(retriever).__name__))
        raise CorpusError(f"cannot be listed: {problem}", where) from error


def _states_of_chunks(chunks: Sequence[Chunk], keys: Keys, what: str) -> dict[str, DocumentState]:
    states_by_id: dict[str, list[DocumentState]] = {}
    whole: set[str] = set()
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
        if id_ in states_by_id and (is_whole or id_ in whole):
            raise CorpusError(
                f"the document {shorten_text(id_, 60)!r} stands twice: expected a unique id for each", what
            )
        if is_whole:
            whole.add(id_)
        where = f"{what}: {shorten_text(id_, 60)}"
        state = _chunk_state(chunk, keys, where, whole=is_whole)
        states_by_id.setdefault(id_, []).append(state)
    return {id_: _merge_states(parts) for id_, parts in states_by_id.items()}


def _chunk_state(chunk: Chunk, keys: Keys, where: str, *, whole: bool) -> DocumentState:
    """Return the state of a document as a chunk has it; with ``whole``, the chunk is the document."""
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
    """Return the state of a document from those of its chunks; the oldest of their times count."""
    fingerprints: frozenset[str] = frozenset()
    # They identify the content only if every chunk has one.
    if all(state.fingerprints for state in parts):
        fingerprints = fingerprints.union(*(state.fingerprints for state in parts))
    modified_times = [state.modified for state in parts if state.modified is not None]
    indexed_times = [state.indexed for state in parts if state.indexed is not None]
    chunk_ids: frozenset[str] = frozenset().union(*(state.chunks for state in parts))
    oldest_modified = min(modified_times, default=None)
    oldest_indexed = min(indexed_times, default=None)
    return DocumentState(fingerprints, oldest_modified, oldest_indexed, chunk_ids)


def _value_state(value: object, where: str) -> DocumentState:
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
    """Return a time in seconds since 1970; None for no time."""
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

    A document is outdated if the ids of its chunks differ; if its fingerprints differ; or, without fingerprints, if it
    was modified (or else indexed) in the index more than a second before the last modification in the source.

    Raises:
        UsageError: A time of the index is more than a day after ``now``.


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
    """Return why the index is outdated; empty if it is not; None if that is unknown."""
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
    """Return whether the ids of the chunks prove a difference.

    The same number of chunks without a common id proves none: the ids are made anew each time the document is chunked.
    """
    if not held or not wanted or held == wanted:
        return False
    return bool(held & wanted) or len(held) != len(wanted)


def _describe_chunk_difference(held: frozenset[str], wanted: frozenset[str]) -> str:
    """Return how the chunks of a document differ."""
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
    """Return the oldest document of an index, its age, and the time that the age is by; without times all empty."""
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
