"""Retriever over a Chroma collection."""

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from pytest_llmops.errors import CorpusError, UnknownName, UsageError, describe_exception
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Chunk, Embedder, Hit
from pytest_llmops.retrievers.base import (
    Conditions,
    Searcher,
    embed_query,
    import_optional,
    plain_metadata,
    require_existing_path,
    resolve_embedder,
    similarity_from_distance,
)

__tracebackhide__ = True

T = TypeVar("T")

PAGE_SIZE = 1000  # passages of a request when all are listed
LOCK_TIMEOUT_S = 1.0  # how long to wait until another process releases its lock


class ChromaRetriever(Searcher):
    """A Chroma collection, with its ids, documents and metadata unchanged.

    Scores are 1 - distance for the spaces ``cosine`` and ``ip``, and 1 / (1 + distance) for ``l2``. A record without a
    document (an image, a table) is a hit with an empty text; its URI, if any, is in its metadata as ``uri``. A query
    whose vector is all zero has no hits.

    Attributes:
        collection: The collection, as it was given.
        space: The collection's space: ``l2``, ``cosine`` or ``ip``.
    """

    def __init__(
        self, collection: Any, *, embedder: Embedder | str | None = None, k: int = 5, name: str = ""
    ) -> None:
        """Wrap a collection that you opened.

        Args:
            collection: A ``chromadb`` collection, of any client.
            embedder: Embedder of queries: the same as the collection was filled with. Left out: the collection's
                own embedding function; its default one loads a model from the network at first use.
            k: Default number of hits of `search`.
            name: For errors and reports; default: the collection's.

        Raises:
            UsageError: It is not a collection, ``k`` is less than 1, or the embedder cannot be used.
        """
        for method in ("query", "get", "count"):
            if not callable(getattr(collection, method, None)):
                raise UsageError(
                    f"ChromaRetriever: expected a chromadb collection, got {type(collection).__name__}"
                )
        title = name or str(collection.name)
        super().__init__(k=k, name=title, where=f"Chroma collection {shorten_text(title, 60)!r}")
        self.collection = collection
        self.embedder: Embedder | None = None
        if embedder is not None:
            self.embedder = resolve_embedder(embedder, self.where)
        self.space = _find_space(collection)
        self._width: int | None = None

    @classmethod
    def open(
        cls, path: str | Path, collection: str, *, embedder: Embedder | str | None = None, k: int = 5
    ) -> "ChromaRetriever":
        """Open a collection of a store on disk, by a client with Chroma's default settings.

        Raises:
            CorpusError: The path has no store, another process has locked the store, or it cannot be opened.
            UnknownName: The store has no such collection; the error lists its collections.
            UsageError: The package is not installed, or as for the constructor.
        """
        chromadb = import_optional("chromadb", "chromadb", "ChromaRetriever")
        place = require_existing_path(path, "the folder of a Chroma store")
        _refuse_locked(require_existing_path(place / "chroma.sqlite3", "a Chroma store"))
        try:
            client = chromadb.PersistentClient(path=str(place))
            entries = client.list_collections()
            names = [str(getattr(entry, "name", entry)) for entry in entries]
            opened = None
            if collection in names:
                opened = client.get_collection(collection)
        except Exception as error:
            problem = shorten_text(describe_exception(error), 400)
            raise CorpusError(
                f"cannot be opened as a Chroma store: {problem}; if it is open elsewhere, close it or pass "
                "the collection itself",
                place,
            ) from error
        if opened is None:
            raise UnknownName("Chroma collection", collection, names, where=str(place))
        return cls(opened, embedder=embedder, k=k)

    @property
    def documents(self) -> int:
        """Number of records in the collection.

        Raises:
            CorpusError: The store does not answer, as after the collection was deleted.
        """
        return int(self._call_store(self.collection.count))

    def listing(self) -> list[Chunk]:
        """Return every record, in the store's order.

        Raises:
            CorpusError: The store does not answer.
        """
        chunks: list[Chunk] = []
        while True:
            page = self._call_store(
                self.collection.get, limit=PAGE_SIZE, offset=len(chunks), include=["documents", "metadatas"]
            )
            ids = page["ids"]
            for id_, text, metadata in zip(ids, page["documents"], page["metadatas"], strict=True):
                chunks.append(Chunk(id=id_, text=text or "", metadata=plain_metadata(metadata)))
            if len(ids) < PAGE_SIZE:
                return chunks

    def _call_store(self, method: Callable[..., T], **arguments: Any) -> T:
        """Call a method of the collection; any exception becomes a `CorpusError`."""
        try:
            return method(**arguments)
        except Exception as error:
            problem = shorten_text(describe_exception(error), 400)
            raise CorpusError(
                f"cannot be searched: {problem}; open the collection again", self.where
            ) from error

    def _find_hits(self, query: str, limit: int, conditions: Conditions) -> list[Hit]:
        """Query the collection; each column of its result is a list with one item, for our single query."""
        query_arguments = self._query_arguments(query)
        if query_arguments is None:
            return []
        include = ["documents", "metadatas", "distances", "uris"]
        if conditions:
            query_arguments["where"] = _build_where_clause(conditions)
        page = self.collection.query(**query_arguments, n_results=limit, include=include)
        columns = [page[name][0] for name in ("ids", "documents", "metadatas", "distances", "uris")]
        hits = []
        for id_, text, metadata, distance, uri in zip(*columns, strict=True):
            stored = dict(metadata or {})
            if uri:
                stored["uri"] = uri
            score = similarity_from_distance(distance, self.space)
            stored_metadata = plain_metadata(stored)
            hits.append(Hit(id=id_, text=text or "", score=score, metadata=stored_metadata))
        return hits

    def _query_arguments(self, query: str) -> dict[str, Any] | None:
        """Return the query as a vector, or as a text for the collection's own embedding function; None if nothing can be found."""
        if self.embedder is None:
            if not query.strip():
                return None
            if getattr(self.collection, "_embedding_function", True) is None:
                raise UsageError(
                    f"{self.where}: expected an embedder, as the collection has no embedding function; pass "
                    "embedder=, the same as it was filled with"
                )
            return {"query_texts": [query]}
        vector = embed_query(self.embedder, query, self.where, self._vector_length())
        if vector is None:
            return None
        return {"query_embeddings": [vector]}

    def _vector_length(self) -> int | None:
        """Return the length of the stored vectors, which is read only once; None for an empty collection."""
        if self._width is None:
            vectors = self.collection.get(limit=1, include=["embeddings"])["embeddings"]
            if vectors is not None and len(vectors):
                self._width = len(vectors[0])
        return self._width


def _refuse_locked(database: Path) -> None:
    """Raise a `CorpusError` if another process has locked the store, as Chroma would wait for ever.

    Any other error of the database is left to Chroma.
    """
    import sqlite3

    address = f"{database.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=LOCK_TIMEOUT_S)) as connection:
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise CorpusError(
                f"is locked: another process writes to it ({error}); wait for it, or end it", database.parent
            ) from error


def _find_space(collection: Any) -> str:
    """Return the space of a collection, from its configuration or, in older versions, its metadata; Chroma's default is ``l2``."""
    configuration = getattr(collection, "configuration_json", None) or {}
    for index in ("hnsw", "spann"):
        space = (configuration.get(index) or {}).get("space")
        if space:
            return str(space)
    # Collections of older versions have no configuration.
    metadata = getattr(collection, "metadata", None) or {}
    return str(metadata.get("hnsw:space", "l2"))


def _build_where_clause(conditions: Conditions) -> Mapping[str, Json]:
    """Convert conditions, at least one, to Chroma's ``where``.

    Chroma allows only values of one type in a list, and only one key in a mapping; hence ``$or`` and ``$and``.
    """
    clauses: list[Mapping[str, Json]] = []
    for key, values in conditions.items():
        by_type: dict[type, list[Json]] = {}
        for value in values:
            by_type.setdefault(type(value), []).append(value)
        options: list[Mapping[str, Json]] = [{key: {"$in": group}} for group in by_type.values()]
        clause = options[0]
        if len(options) > 1:
            clause = {"$or": options}
        clauses.append(clause)
    if len(clauses) > 1:
        return {"$and": clauses}
    return clauses[0]
