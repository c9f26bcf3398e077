"""The base class of retrievers: it checks arguments and hits and measures latency; helpers check corpora and embed queries.

Subclasses, in memory or for a store, add the search itself.
"""

import importlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

from pytest_llmops import recorder
from pytest_llmops._util.arrays import Float32Array, as_rows, np, unit_rows
from pytest_llmops._util.text_files import canonical_json, json_kind
from pytest_llmops.errors import CorpusError, LLMOpsError, UsageError, describe_exception
from pytest_llmops.measurement import Json, shorten_text, to_builtins
from pytest_llmops.protocols import Chunk, Embedder, Hit, Hits

__tracebackhide__ = True

Scalar: TypeAlias = "str | int | float | bool"
# Metadata key -> allowed values; a passage matches if every key has one of its allowed values
Conditions: TypeAlias = Mapping[str, tuple[Scalar, ...]]

EMBED_BATCH_SIZE = 1024  # texts of one call to an embedder


class Searcher(ABC):
    """A search over passages. It checks arguments, measures latency, and turns exceptions of a store into `CorpusError`.

    Attributes:
        name: Name of the corpus, for errors and reports.
        k: Default number of hits of `search`.
        where: Name of the retriever in errors.
    """

    def __init__(self, *, k: int, name: str, where: str) -> None:
        self.k = validate_k(k)
        self.name = name
        self.where = where

    @property
    @abstractmethod
    def documents(self) -> int | None:
        """Number of passages; None if the store cannot tell."""

    def listing(self) -> list[Chunk]:
        """Return every passage, for checks of the index itself.

        Raises:
            UsageError: The store has no way to list them.
        """
        raise UsageError(
            f"{self.where}: cannot be listed; pass its documents as a mapping of id to text, modification time or Stamp"
        )

    def search(self, query: str, k: int | None = None, filters: Mapping[str, Json] | None = None) -> Hits:
        """Return at most ``k`` hits, best first. The latency covers the embedding of the query and the search.

        Args:
            query: A text; if it is empty or only punctuation, nothing is found.
            k: Number of hits; None: the retriever's ``k``.
            filters: Metadata that a hit must have: key -> a value, or a list of allowed values; see `matches_conditions`.

        Raises:
            UsageError: ``k`` is less than 1, the query is not a text, or a filter is invalid.
            CorpusError: The search fails, an id is found twice, or a score is not a number.
        """
        limit = self.k
        if k is not None:
            limit = validate_k(k)
        if not isinstance(query, str):
            raise UsageError(f"search: expected a text as query, got {json_kind(query)}")
        conditions = parse_filters(filters)
        started = time.perf_counter()
        try:
            hits = tuple(self._find_hits(query, limit, conditions))
        except LLMOpsError:
            raise
        except Exception as error:
            problem = shorten_text(describe_exception(error), 400)
            raise CorpusError(f"the search failed: {problem}", self.where) from error
        elapsed = time.perf_counter() - started
        _check_hits(hits, self.where)
        return Hits(hits, query=query, latency_s=elapsed)

    @abstractmethod
    def _find_hits(self, query: str, limit: int, conditions: Conditions) -> Iterable[Hit]:
        """Return at most ``limit`` hits, best first. It may raise anything: `search` turns it into a `CorpusError`."""


def _check_hits(hits: Sequence[Hit], where: str) -> None:
    """Check that every hit has a finite score and an id of its own."""
    seen: set[str] = set()
    for hit in hits:
        if not math.isfinite(hit.score):
            short_id = shorten_text(hit.id, 60)
            raise CorpusError(
                f"the score of {short_id!r}: expected a finite number, by which hits can be ordered, got {hit.score}; "
                "is its vector all zero, or NaN?",
                where,
            )
        if hit.id in seen:
            raise CorpusError(
                f"the id {shorten_text(hit.id, 60)!r} was found twice: expected a unique id for every passage; "
                "give the passages other ids, or name another field as id",
                where,
            )
        seen.add(hit.id)


def validate_k(k: object) -> int:
    """Return a number of hits as an int, if it is a whole number of at least 1 (a NumPy integer, too).

    Raises:
        UsageError: It is not.

    >>> validate_k(3)
    3
    """
    number: object = to_python_scalar(k)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise UsageError(f"k: expected a whole number of at least 1, got {k!r}")
    return number


def parse_filters(filters: Mapping[str, Json] | None) -> dict[str, tuple[Scalar, ...]]:
    """Return filters as key -> allowed values; without filters all passages match.

    Raises:
        UsageError: It is not a mapping, or a value is not a text, a number, true or false, or a list of those. Operators of
            a store ("$gt") are not supported.

    >>> parse_filters({"lang": "de", "year": [2025, 2026]})
    {'lang': ('de',), 'year': (2025, 2026)}
    """
    if filters is None:
        return {}
    if not isinstance(filters, Mapping):
        raise UsageError(f"filters: expected a mapping of key to value, got {json_kind(filters)}")
    parsed: dict[str, tuple[Scalar, ...]] = {}
    for key, value in cast("Mapping[object, Json]", filters).items():
        if not isinstance(key, str) or not key:
            raise UsageError(f"filters: expected a name as key, got {shorten_text(repr(key), 60)}")
        parsed[key] = _parse_filter_values(key, value)
    return parsed


def _parse_filter_values(key: str, given: object) -> tuple[Scalar, ...]:
    """Return the allowed values of a filter: a single value, or the values of a list or set (sorted, so that the order is fixed)."""
    values: list[object] = [given]
    if isinstance(given, (list, tuple)):
        values = list(given)
    elif isinstance(given, (set, frozenset)):
        values = sorted(given, key=repr)
    values = [to_python_scalar(value) for value in values]
    for value in values:
        is_finite = not isinstance(value, float) or math.isfinite(value)
        if not isinstance(value, (str, int, float)) or not is_finite:
            value_text = shorten_text(repr(value), 60)
            short_key = shorten_text(key, 60)
            raise UsageError(
                f"filters: {short_key}: expected a text, a number, true or false, or a list of those, "
                f"got {value_text}; a store's own operators can be used on the store itself"
            )
    if not values:
        raise UsageError(f"filters: {shorten_text(key, 60)}: expected at least one value, got an empty list")
    return cast("tuple[Scalar, ...]", tuple(values))


def to_python_scalar(value: Any) -> Any:
    """Return a NumPy scalar as a Python object, and anything else unchanged."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    return value


def matches_conditions(metadata: Mapping[str, Json], conditions: Conditions) -> bool:
    """Return whether a passage's metadata matches all conditions.

    A key may be a path into nested metadata ("file.name"). A list in the metadata matches if any of its elements does. ``1`` equals
    ``1.0``, and neither equals ``True``. A missing key does not match.

    >>> matches_conditions({"tags": ["new", "de"], "page": 3}, {"tags": ("de", "en"), "page": (3.0,)})
    True
    >>> matches_conditions({"page": 1}, {"page": (True,)})
    False
    """
    for key, values in conditions.items():
        stored = _find_metadata_value(metadata, key)
        elements = [stored]
        if isinstance(stored, (list, tuple)):
            elements = list(stored)
        if not any(_are_equal(element, value) for element in elements for value in values):
            return False
    return True


def _are_equal(element: Json, value: Scalar) -> bool:
    return element == value and isinstance(element, bool) == isinstance(value, bool)


def _find_metadata_value(metadata: Mapping[str, Json], key: str) -> Json:
    """Return the value under a key, or under a path such as "file.name"; None without it."""
    if key in metadata:
        return metadata[key]
    first, dot, rest = key.partition(".")
    inner = metadata.get(first)
    if dot and isinstance(inner, Mapping):
        return _find_metadata_value(inner, rest)
    return None


def resolve_embedder(given: Embedder | str, where: str) -> Embedder:
    """Return an embedder, given by name or as an object, after a check that its vectors can be stored and compared later.

    Raises:
        UnknownName: No embedder has that name.
        UsageError: It is not an embedder, or vectors from two of its calls cannot be compared.

    >>> class Fitted:
    ...     version, across_calls = "fitted/1", False
    ...     def embed(self, texts): ...
    >>> resolve_embedder(Fitted(), "the index")
    Traceback (most recent call last):
    pytest_llmops.errors.UsageError: the index: expected an embedder whose vectors can be stored, got fitted/1, ...
    """
    candidate: object = given
    if isinstance(given, str):
        candidate = recorder.find_component("embedder", given)
    if not callable(getattr(candidate, "embed", None)) or not hasattr(candidate, "version"):
        raise UsageError(
            f"{where}: expected an embedder, an object with embed(texts) and a version, got {type(candidate).__name__}"
        )
    embedder = cast("Embedder", candidate)
    if not getattr(embedder, "across_calls", True):
        raise UsageError(
            f"{where}: expected an embedder whose vectors can be stored, got {embedder.version}, which fits itself to the "
            "texts of one call, so that a query cannot be compared with earlier vectors; use "
            "'hashing', 'minilm' or an embedding model"
        )
    return embedder


def embed_unit_vectors(embedder: Embedder, texts: Sequence[str], where: str) -> Float32Array:
    """Return ``(len(texts), dim)`` float32 vectors, each of unit length or all zero.

    Exceptions of the embedder are not caught.

    Raises:
        UsageError: The embedder returned a wrong number of rows, NaN, or rows of different lengths.
    """
    parts: list[Float32Array] = []
    for start in range(0, len(texts), EMBED_BATCH_SIZE):
        batch = list(texts[start : start + EMBED_BATCH_SIZE])
        try:
            rows = as_rows(embedder.embed(batch), count=len(batch), name="vectors")
        except ValueError as error:
            raise UsageError(f"{where}: the embedder {embedder.version} gave bad {error}") from None
        if len(rows):
            rows = unit_rows(rows)
        parts.append(rows.astype(np.float32))
    widths = {part.shape[1] for part in parts}
    if len(widths) > 1:
        lengths = sorted(widths)
        raise UsageError(
            f"{where}: the embedder {embedder.version} gave vectors of {lengths} numbers: expected one length"
        )
    if parts:
        return np.concatenate(parts)
    return np.zeros((0, 0), dtype=np.float32)


def embed_query(embedder: Embedder, query: str, where: str, dim: int | None = None) -> "Float32Array | None":
    """Return the vector of a query; None if it is all zero, so that nothing can be similar.

    Raises:
        CorpusError: It has not ``dim`` numbers, as the vectors of the index have.
        UsageError: The embedder returned no vector.
    """
    vector: Float32Array
    (vector,) = embed_unit_vectors(embedder, [query], where)
    if dim is not None and len(vector) != dim:
        raise CorpusError(
            f"expected a query vector of {dim} numbers, as the index has them, got {len(vector)} from the embedder "
            f"{embedder.version}; search with the embedder that the index was built with, or build it again",
            where,
        )
    if vector.any():
        return vector
    return None


def similarity_from_distance(distance: float, space: str) -> float:
    """Convert a distance to a similarity, of which higher is better; the order of hits stays the same.

    ``cosine``, ``ip`` and ``dot``: 1 - distance, which is the cosine or the dot product. Any other space (``l2``,
    ``manhattan`` ...): 1 / (1 + distance), from 1 (equal) down to 0.

    >>> similarity_from_distance(0.25, "cosine"), similarity_from_distance(3.0, "l2")
    (0.75, 0.25)
    """
    if space in ("cosine", "ip", "dot"):
        return 1.0 - float(distance)
    return 1.0 / (1.0 + float(distance))


def plain_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Json]:
    """Return the metadata of a store as JSON values: times as ISO text, bytes as their number, NaN as null, other objects as text.

    >>> plain_metadata({"page": 3, "image": b"%PNG"})
    {'page': 3, 'image': '(4 bytes)'}
    """
    return {str(key): _plain_value(value) for key, value in (metadata or {}).items()}


def _plain_value(value: Any) -> Json:
    """Return a value as JSON has it; see `plain_metadata`."""
    if isinstance(value, Mapping):
        return {str(key): _plain_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_value(item) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"({len(value):,} bytes)"
    try:
        return to_builtins(value)
    except LLMOpsError:
        if isinstance(value, float):
            return None
        if hasattr(value, "isoformat"):
            return str(value.isoformat())
        return shorten_text(str(value))


def import_optional(name: str, install: str, feature: str) -> Any:
    """Import an optional package.

    Raises:
        UsageError: It is not installed; the error gives the install command.

    >>> import_optional("no_such_package", "no-such-package", "NoRetriever")
    Traceback (most recent call last):
    pytest_llmops.errors.UsageError: NoRetriever needs the package 'no-such-package', which is not installed: pip install no-such-package
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing_package, _, _ = (error.name or "").partition(".")
        wanted_package, _, _ = name.partition(".")
        if missing_package != wanted_package:  # the package is there, but something that it imports is not
            raise
        raise UsageError(
            f"{feature} needs the package {install!r}, which is not installed: pip install {install}"
        ) from None


def require_existing_path(path: str | Path, holds: str) -> Path:
    """Return the path of a store after a check that it exists, as many clients would create an empty store.

    Raises:
        CorpusError: The path does not exist.
    """
    place = Path(path)
    if not place.exists():
        raise CorpusError(f"no such file or folder: expected {holds}; build the index first", place)
    return place


def check_corpus(chunks: Iterable[Chunk], where: str) -> tuple[Chunk, ...]:
    """Return chunks as a tuple, after a check of their types and ids.

    Raises:
        UsageError: It is not an iterable of chunks.
        CorpusError: No chunks are given, an item is not a chunk, or an id is repeated.
    """
    if isinstance(chunks, (str, bytes, Mapping)) or not isinstance(chunks, Iterable):
        raise UsageError(
            f"{where}: expected chunks, a list or any iterable of Chunk, got {json_kind(chunks)}"
        )
    given = tuple(chunks)
    if not given:
        raise CorpusError("the corpus is empty: expected at least one chunk", where)
    seen: set[str] = set()
    for chunk in given:
        if not isinstance(chunk, Chunk):
            raise CorpusError(f"expected chunks, got {json_kind(chunk)}: wrap it as Chunk(id=, text=)", where)
        if chunk.id in seen:
            raise CorpusError(f"duplicate id {shorten_text(chunk.id, 60)!r}", where)
        seen.add(chunk.id)
    return given


def chunk_content(chunk: Chunk) -> str:
    """Return id, text and metadata of a chunk as one JSON text, of which fingerprints are made."""
    metadata = to_builtins(chunk.metadata, where=f"metadata of chunk {chunk.id}")
    return canonical_json([chunk.id, chunk.text, metadata])


def searchable_text(chunk: Chunk) -> str:
    """Return the text of a chunk that is indexed: its text, after the title in its metadata if there is one."""
    title = chunk.metadata.get("title", "")
    if isinstance(title, str) and title:
        return f"{title}\n{chunk.text}"
    return chunk.text


def chunk_to_hit(chunk: Chunk, score: float) -> Hit:
    """Return a chunk as a hit."""
    return Hit(id=chunk.id, text=chunk.text, score=score, metadata=chunk.metadata)


class CorpusSearcher(Searcher):
    """A search over chunks in memory.

    Attributes:
        chunks: The corpus, in its order.
    """

    def __init__(self, chunks: Iterable[Chunk], *, k: int, name: str, where: str) -> None:
        super().__init__(k=k, name=name, where=where)
        self.chunks = check_corpus(chunks, where)

    @property
    def documents(self) -> int:
        """Number of chunks."""
        return len(self.chunks)

    def listing(self) -> list[Chunk]:
        """Return the chunks, in their order."""
        return list(self.chunks)
