"""Whether an index is up to date: its documents against those of the source it was built from.

Both sides become the same thing, id -> `Stamp`, and are compared by what they both know of a document:
its content, else the time it was last modified.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pytest_llmops._util.text_files import BadFile, fingerprint_parts, read_text
from pytest_llmops.errors import CorpusError, LLMOpsError, UsageError, describe_exception
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import Chunk
from pytest_llmops.retrievers.base import Searcher, to_python_scalar
from pytest_llmops.retrievers.bm25 import TEXT_SUFFIXES, load_corpus

Time: TypeAlias = "float | int | str | dt.datetime"
"""Seconds since 1970, an aware datetime, or one as ISO 8601 text."""

SLACK_S = 1.0
"""Some file systems and stores keep whole seconds only."""
MAX_FUTURE_S = 86_400.0
"""Clocks differ; a time further ahead than a day is one in milliseconds, or wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What is known of a document's state; whatever is not known is left out.

    Attributes:
        fingerprint: Of its content; any text that changes with it.
        modified: When the source was last modified.
        indexed: When it was written into the index.
    """

    fingerprint: str = ""
    modified: Time | None = None
    indexed: Time | None = None


Documents: TypeAlias = (
    "Searcher | str | Path | Iterable[Chunk] | Mapping[str, str | float | dt.datetime | Stamp]"
)
"""A retriever that can be listed, a folder or .jsonl file, chunks, or id -> text, modification time or Stamp."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of a chunk's metadata that say where it is from.

    Attributes:
        document: Id of the document that the chunk was cut from; a chunk without it is a document itself.
        fingerprint: The document's fingerprint; without it a chunk that is a document has that of its text.
        modified: When the document was last modified.
        indexed: When it was written into the index.
    """

    document: str = "source"
    fingerprint: str = "fingerprint"
    modified: str = "modified"
    indexed: str = "indexed_at"


@dataclass(frozen=True, slots=True)
class DocumentState:
    """A document on one side: what was found for it.

    Attributes:
        fingerprints: Of its content.
        modified: In seconds since 1970, and so is ``indexed``.
        chunks: Ids of the chunks that it was cut into; empty for a document that is given as a whole.
    """

    fingerprints: frozenset[str] = frozenset()
    modified: float | None = None
    indexed: float | None = None
    chunks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Freshness:
    """How an index stands to its source; ids in the source's order, or the index's.

    Attributes:
        documents: How many the source has.
        held: How many the index has.
        missing: In the source, not in the index.
        outdated: id -> why the index holds an older state of it.
        orphaned: In the index, no longer in the source.
        unknown: On both sides, with nothing that both know of it.
        oldest: The document that was indexed first, or if the index does not say, modified first.
        age_s: How long ago that was; None where the index says neither.
        by: What the age was told from: ``indexed``, ``modified`` or nothing.
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
    r"""Return the fingerprint that texts have here; line ends do not count.

    >>> content_fingerprint("a\r\nb") == content_fingerprint("a\nb")
    True
    """
    return fingerprint_parts(text.replace("\r\n", "\n").replace("\r", "\n"))


def document_states(
    given: Documents, *, keys: Keys | None = None, what: str = "documents"
) -> dict[str, DocumentState]:
    """Return the documents of one side, id -> state, in their order.

    A folder has its .md and .txt files, hidden ones left out, each by the path below the folder, with content
    and time of modification; a .jsonl file its lines. Chunks that name the same document in their metadata are
    put together: the oldest of their times counts.

    Raises:
        UsageError: It is nothing of that kind, cannot be listed, or holds a time that is none.
        CorpusError: A file or folder cannot be read, a store cannot be asked, or an id stands twice.

    >>> document_states({"a.md": 1_700_000_000})["a.md"].modified
    1700000000.0
    """
    __tracebackhide__ = True
    keys = keys or Keys()
    if isinstance(given, Mapping):
        stamped: dict[str, DocumentState] = {}
        for id_, value in given.items():
            stamped[str(id_)] = _value_state(value, f"{what}: {shorten_text(str(id_), 60)}")
        return stamped
    if isinstance(given, (str, Path)):
        place = Path(given)
        return (
            dict(_read_folder_states(place))
            if place.is_dir()
            else _states_of_chunks(load_corpus(place), keys, what)
        )
    if callable(getattr(given, "listing", None)):
        return _states_of_chunks(_list_chunks(given), keys, what)
    if isinstance(given, Iterable):
        return _states_of_chunks(tuple(given), keys, what)
    raise UsageError(
        f"{what}: expected a retriever, a folder, chunks or a mapping of id to text, time or Stamp, got {type(given).__name__}"
    )


def _list_chunks(retriever: object) -> Sequence[Chunk]:
    __tracebackhide__ = True
    try:
        return tuple(retriever.listing())  # type: ignore[attr-defined]  # asked for by the caller
    except LLMOpsError:
        raise
    except Exception as error:
        where = str(getattr(retriever, "where", type(retriever).__name__))
        raise CorpusError(
            f"cannot be listed: {shorten_text(describe_exception(error), 400)}", where
        ) from error


def _read_folder_states(folder: Path) -> Iterator[tuple[str, DocumentState]]:
    __tracebackhide__ = True
    paths = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    for name in sorted(paths, key=lambda path: path.as_posix()):
        if name.suffix.lower() not in TEXT_SUFFIXES or any(part.startswith(".") for part in name.parts):
            continue
        try:
            text = read_text(paths[name])
        except BadFile as error:
            raise CorpusError(error.what, paths[name], error.line) from None
        yield (
            name.as_posix(),
            DocumentState(frozenset({content_fingerprint(text)}), paths[name].stat().st_mtime),
        )


def _states_of_chunks(chunks: Sequence[Chunk], keys: Keys, what: str) -> dict[str, DocumentState]:
    __tracebackhide__ = True
    states_by_id: dict[str, list[DocumentState]] = {}
    whole: set[str] = set()
    for chunk in chunks:
        if not isinstance(chunk, Chunk):
            raise UsageError(
                f"{what}: expected chunks, got {type(chunk).__name__}: wrap it as Chunk(id=, text=)"
            )
        named = chunk.metadata.get(keys.document)
        id_ = chunk.id if named is None else str(named)
        if id_ in states_by_id and (named is None or id_ in whole):
            raise CorpusError(
                f"the document {shorten_text(id_, 60)!r} stands twice: expected an id for each", what
            )
        if named is None:
            whole.add(id_)
        states_by_id.setdefault(id_, []).append(
            _chunk_state(chunk, keys, f"{what}: {shorten_text(id_, 60)}", whole=named is None)
        )
    return {id_: _merge_states(parts) for id_, parts in states_by_id.items()}


def _chunk_state(chunk: Chunk, keys: Keys, where: str, *, whole: bool) -> DocumentState:
    __tracebackhide__ = True
    held = chunk.metadata.get(keys.fingerprint)
    mark = str(held) if held is not None else content_fingerprint(chunk.text) if whole and chunk.text else ""
    return DocumentState(
        frozenset({mark} if mark else ()),
        _parse_time(chunk.metadata.get(keys.modified), f"{where}: {keys.modified}"),
        _parse_time(chunk.metadata.get(keys.indexed), f"{where}: {keys.indexed}"),
        frozenset() if whole else frozenset({chunk.id}),
    )


def _merge_states(parts: Sequence[DocumentState]) -> DocumentState:
    # A document is known by a fingerprint only if each of its chunks has one.
    marked = all(state.fingerprints for state in parts)
    return DocumentState(
        frozenset().union(*(state.fingerprints for state in parts)) if marked else frozenset(),
        min((state.modified for state in parts if state.modified is not None), default=None),
        min((state.indexed for state in parts if state.indexed is not None), default=None),
        frozenset().union(*(state.chunks for state in parts)),
    )


def _value_state(value: object, where: str) -> DocumentState:
    __tracebackhide__ = True
    if isinstance(value, Stamp):
        return DocumentState(
            frozenset({value.fingerprint} if value.fingerprint else ()),
            _parse_time(value.modified, where),
            _parse_time(value.indexed, where),
        )
    if isinstance(value, Chunk):
        return _chunk_state(value, Keys(), where, whole=True)
    if isinstance(value, str):
        return DocumentState(frozenset({content_fingerprint(value)}))
    return DocumentState(modified=_parse_time(value, where))


def _parse_time(value: object, where: str) -> float | None:
    """Return a time in seconds since 1970; None: there is none."""
    __tracebackhide__ = True
    value = to_python_scalar(value)
    if value is None:
        return None
    expected = "expected seconds since 1970, or a date and time with its zone, like 2026-01-31T12:00:00+00:00"
    if isinstance(value, str):
        text = value
        try:
            value = dt.datetime.fromisoformat(text)
        except ValueError:
            raise UsageError(f"{where}: {expected}, got {shorten_text(text, 60)!r}") from None
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise UsageError(f"{where}: {expected}, got {value.isoformat()} without a zone")
        return value.timestamp()
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or value < 0
    ):
        raise UsageError(f"{where}: {expected}, got {shorten_text(repr(value), 60)}")
    return float(value)


def compare_states(
    index: Mapping[str, DocumentState], source: Mapping[str, DocumentState], *, now: float
) -> Freshness:
    """Compare an index with its source.

    A document is outdated if it has other chunks, by their ids, where both sides are chunks; if the contents
    differ, where both sides know a fingerprint; else if the index's time of modification (or else of indexing) is more than a second older than the source's.

    Raises:
        UsageError: A time of the index lies more than a day ahead of ``now``.

    >>> found = compare_states(document_states({"a": "old"}), document_states({"a": "new", "b": "x"}), now=0.0)
    >>> found.missing, dict(found.outdated)
    (('b',), {'a': 'the content differs'})
    """
    __tracebackhide__ = True
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
    return Freshness(
        documents=len(source),
        held=len(index),
        missing=tuple(id_ for id_ in source if id_ not in index),
        outdated=outdated,
        orphaned=tuple(id_ for id_ in index if id_ not in source),
        unknown=tuple(unknown),
        oldest=oldest,
        age_s=age,
        by=by,
    )


def _why_outdated(held: DocumentState, wanted: DocumentState) -> str | None:
    """Why the index is behind; empty: it is not; None: it cannot be told."""
    # As many, of which none is the same: ids that are made anew at every cut.
    telling = held.chunks & wanted.chunks or len(held.chunks) != len(wanted.chunks)
    if held.chunks and wanted.chunks and telling and held.chunks != wanted.chunks:
        return _describe_chunk_difference(held.chunks, wanted.chunks)
    if held.fingerprints and wanted.fingerprints:
        return "" if held.fingerprints == wanted.fingerprints else "the content differs"
    since = held.modified if held.modified is not None else held.indexed
    if since is None or wanted.modified is None:
        return None
    late = wanted.modified - since
    return f"modified {late:,.0f} s after the state in the index" if late > SLACK_S else ""


def _describe_chunk_difference(held: frozenset[str], wanted: frozenset[str]) -> str:
    """Return how the chunks of a document differ."""
    gone, extra = sorted(wanted - held), sorted(held - wanted)
    parts = []
    if gone:
        parts.append(
            f"{len(gone):,} of {len(wanted):,} chunks are not in the index ({shorten_text(gone[0], 60)})"
        )
    if extra:
        parts.append(f"{len(extra):,} of the index are not in the source ({shorten_text(extra[0], 60)})")
    return ", ".join(parts)


def _find_oldest(index: Mapping[str, DocumentState], now: float) -> tuple[str, float | None, str]:
    __tracebackhide__ = True
    for by in ("indexed", "modified"):
        times = {id_: time for id_, state in index.items() if (time := getattr(state, by)) is not None}
        for id_, time in times.items():
            if time > now + MAX_FUTURE_S:
                raise UsageError(
                    f"{shorten_text(id_, 60)}: expected a time that has passed, got one {time - now:,.0f} s ahead; is it in milliseconds?"
                )
        if times:
            oldest = min(times, key=lambda id_: times[id_])
            return oldest, max(0.0, now - times[oldest]), by
    return "", None, ""
