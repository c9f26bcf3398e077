"""Retriever over a Qdrant collection."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llmops.errors import CorpusError, UnknownName, UsageError, describe_exception, format_name_list
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import Chunk, Embedder, Hit
from pytest_llmops.retrievers.base import (
    Conditions,
    Scalar,
    Searcher,
    chunk_to_hit,
    embed_query,
    import_optional,
    plain_metadata,
    require_existing_path,
    resolve_embedder,
    similarity_from_distance,
)

__tracebackhide__ = True

PAGE_SIZE = 1000  # points of a request when all are listed


class QdrantRetriever(Searcher):
    """A Qdrant collection: each point is a passage, with text and metadata in its payload.

    Scores are Qdrant's own for the distances ``Cosine`` and ``Dot``, and 1 / (1 + distance) for ``Euclid`` and
    ``Manhattan``. A point without a text (an image, a table) is a hit with an empty text. Qdrant itself
    applies filters; a key may be a path ("metadata.source").

    Attributes:
        client: The client, as it was given.
        collection: Name of the collection.
    """

    def __init__(
        self,
        client: Any,
        collection: str,
        *,
        embedder: Embedder | str,
        k: int = 5,
        text_key: str = "text",
        id_key: str = "",
        vector_name: str = "",
    ) -> None:
        """Wrap a collection of a client that you opened, in memory, on disk or of a server.

        Args:
            client: A ``qdrant_client.QdrantClient``.
            collection: Name of the collection.
            embedder: Embedder of queries: the same as the collection was filled with.
            k: Default number of hits of `search`.
            text_key: Key of the text in the payload ("page_content" if LangChain filled it).
            id_key: Key of the id in the payload; default: the point's own id, a number or UUID as text.
            vector_name: Name of the vector to search by, if points have several.

        Raises:
            UsageError: It is not a client, ``k`` is less than 1, or the embedder cannot be used.
            UnknownName: The client has no such collection, or the collection has no such vector.
            CorpusError: The store does not answer.
        """
        for method in ("query_points", "get_collection", "scroll"):
            if not callable(getattr(client, method, None)):
                raise UsageError(f"QdrantRetriever: expected a QdrantClient, got {type(client).__name__}")
        super().__init__(k=k, name=collection, where=f"Qdrant collection {shorten_text(collection, 60)!r}")
        self.client = client
        self.collection = collection
        self.embedder = resolve_embedder(embedder, self.where)
        self._text_key = text_key
        self._id_key = id_key
        self._vector_name = vector_name
        try:
            names = [entry.name for entry in client.get_collections().collections]
            params = None
            if collection in names:
                params = client.get_collection(collection).config.params
        except Exception as error:
            problem = shorten_text(describe_exception(error), 400)
            raise CorpusError(f"cannot be searched: {problem}", self.where) from error
        if params is None:
            raise UnknownName("Qdrant collection", collection, names)
        self._vector = _find_vector_params(params.vectors, vector_name, self.where)

    @classmethod
    def open(cls, path: str | Path, collection: str, **options: Any) -> "QdrantRetriever":
        """Open a collection of a store on disk (Qdrant's local mode); the options are the same as for the constructor.

        The store stays locked until ``retriever.client.close()``.

        Raises:
            CorpusError: The path has no store, another client has opened the store, or it cannot be opened.
            UnknownName: The store has no such collection; the error lists its collections.
            UsageError: The package is not installed, or as for the constructor.
        """
        qdrant = import_optional("qdrant_client", "qdrant-client", "QdrantRetriever")
        place = require_existing_path(path, "the folder of a Qdrant store")
        require_existing_path(place / "meta.json", "a Qdrant store")
        try:
            client = qdrant.QdrantClient(path=str(place))
        except Exception as error:
            what = "cannot be opened as a Qdrant store"
            step = "build the index again"
            if "already accessed" in str(error):
                what = "is locked: another client has it open"
                step = "close the other client, or pass it"
            problem = shorten_text(describe_exception(error), 400)
            raise CorpusError(f"{what}: {problem}; {step}", place) from error
        try:
            return cls(client, collection, **options)
        except BaseException:
            client.close()
            raise

    @property
    def documents(self) -> int:
        """Number of points in the collection."""
        return int(self.client.count(self.collection).count)

    def listing(self) -> list[Chunk]:
        """Return every point, in the store's order."""
        return [self._point_to_chunk(point) for point in self._iterate_points()]

    def _iterate_points(self) -> Iterator[Any]:
        """Yield all points, a page at a time; after the last page Qdrant returns no further offset."""
        offset: Any = None
        while True:
            page, offset = self.client.scroll(
                self.collection, limit=PAGE_SIZE, offset=offset, with_payload=True
            )
            yield from page
            if offset is None:
                return

    def _find_hits(self, query: str, limit: int, conditions: Conditions) -> list[Hit]:
        """Query the collection and convert distances to scores."""
        vector = embed_query(self.embedder, query, self.where, int(self._vector.size))
        if vector is None:
            return []
        query_filter = None
        if conditions:
            query_filter = _build_query_filter(conditions)
        response = self.client.query_points(
            self.collection,
            query=vector.tolist(),
            using=self._vector_name or None,
            query_filter=query_filter,
            limit=limit,
            with_payload=True,
        )
        distance = self._vector.distance
        space = str(getattr(distance, "value", distance)).lower()
        hits = []
        for point in response.points:
            if space in ("cosine", "dot"):
                score = float(point.score)
            else:
                score = similarity_from_distance(point.score, space)
            hits.append(chunk_to_hit(self._point_to_chunk(point), score))
        return hits

    def _point_to_chunk(self, point: Any) -> Chunk:
        """Return a point as a chunk; raise a `CorpusError` if ``id_key`` was given and its payload has no such key."""
        payload: Mapping[str, Any] = point.payload or {}
        id_ = point.id
        if self._id_key:
            id_ = payload.get(self._id_key)
        if id_ is None:
            keys = format_name_list(payload)
            raise CorpusError(
                f"the point {point.id} has no id: expected the key {self._id_key!r} in its payload, got {keys}; "
                "fill it, or leave id_key out",
                self.where,
            )
        used_keys = (self._text_key, self._id_key)
        rest = {key: value for key, value in payload.items() if key not in used_keys}
        text = payload.get(self._text_key) or ""
        return Chunk(id=str(id_), text=str(text), metadata=plain_metadata(rest))


def _find_vector_params(vectors: Any, name: str, where: str) -> Any:
    """Return the parameters (size and distance) of the vector to search by.

    ``vectors`` is a mapping if the vectors of the collection have names, else the parameters of the only vector.
    """
    named: Mapping[str, Any] = {}
    if isinstance(vectors, Mapping):
        named = vectors
    if name or named:
        if name not in named:
            raise UnknownName("vector", name, named, where=f"vector_name of {where}")
        return named[name]
    if vectors is None or not hasattr(vectors, "size"):
        raise CorpusError("expected a collection of dense vectors, got none", where)
    return vectors


def _build_query_filter(conditions: Conditions) -> Any:
    """Convert conditions to a Qdrant filter: all keys must match (``must``), each by one of its values (``should``)."""
    models = import_optional("qdrant_client.models", "qdrant-client", "QdrantRetriever")

    def build_condition(key: str, value: Scalar) -> Any:
        if isinstance(value, (str, bool)):
            return models.FieldCondition(key=key, match=models.MatchValue(value=value))
        # Numbers are compared by a range, as a match would distinguish 1 from 1.0.
        return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))

    clauses = []
    for key, values in conditions.items():
        options = [build_condition(key, value) for value in values]
        clauses.append(models.Filter(should=options))
    return models.Filter(must=clauses)
