"""Dense retriever in memory: exact cosine similarity, with the same hits on every machine."""

from collections.abc import Iterable, Sequence

from pytest_llmops._util.lazy_numpy import Float32Array, np
from pytest_llmops._util.text_files import fingerprint_parts, json_kind
from pytest_llmops.errors import CorpusError, UnknownName, UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import Chunk, Embedder, Hit
from pytest_llmops.retrievers.base import (
    Conditions,
    Searcher,
    check_corpus,
    chunk_content,
    chunk_to_hit,
    embed_query,
    embed_unit_vectors,
    matches_conditions,
    resolve_embedder,
    searchable_text,
)

__tracebackhide__ = True


class DenseRetriever(Searcher):
    """Cosine similarity of the query's vector with every chunk's: exact, so it can be the reference for stores.

    A search returns the ``k`` most similar chunks; scores are from -1 to 1. Equal scores keep the order of the corpus,
    and equal texts have equal scores. A chunk whose vector is all zero (with ``hashing``: without a letter or digit)
    is never found; such a query has no hits.

    Attributes:
        name: Name of the corpus, for the report.
        k: Default number of hits of `search`.
        embedder: The embedder of chunks and queries.

    >>> class Letters:
    ...     version = "letters/1"
    ...     def embed(self, texts):
    ...         import numpy as np
    ...         return np.array([[text.count("a"), text.count("b")] for text in texts], dtype=np.float32)
    >>> found = DenseRetriever([Chunk(id="1", text="ab"), Chunk(id="2", text="b")], embedder=Letters()).search("bbb")
    >>> [(hit.id, round(hit.score, 3)) for hit in found]
    [('2', 1.0), ('1', 0.707)]
    """

    def __init__(
        self, chunks: Iterable[Chunk], *, embedder: Embedder | str, k: int = 5, name: str = ""
    ) -> None:
        """Embed the chunks; a title in a chunk's metadata is embedded along with its text.

        Args:
            chunks: The corpus.
            embedder: An embedder or its name: ``hashing``, ``minilm`` ... ``tfidf`` is an error: it fits itself to the
                texts of a call, so a query could not be compared with the chunks.
            k: Default number of hits of `search`.
            name: Name of the corpus, for errors and reports.

        Raises:
            CorpusError: There is no chunk, or two have the same id.
            UsageError: ``k`` is less than 1, or the embedder cannot be used or returns no vectors.
        """
        super().__init__(k=k, name=name, where=name or "DenseRetriever")
        self.embedder = resolve_embedder(embedder, self.where)
        corpus = check_corpus(chunks, self.where)
        self._replace_corpus(corpus, self._embed_chunks(corpus))

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The corpus, in its order."""
        return self._chunks

    @property
    def documents(self) -> int:
        """Number of chunks."""
        return len(self._chunks)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._rows.shape[1])

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the corpus, its order, and the version of the embedder."""
        return fingerprint_parts(self.embedder.version, *map(chunk_content, self._chunks))

    def listing(self) -> list[Chunk]:
        """Return the chunks, in their order."""
        return list(self._chunks)

    def add(self, chunks: Iterable[Chunk]) -> None:
        """Add chunks at the end; only they are embedded.

        Raises:
            UsageError: It is not an iterable of chunks.
            CorpusError: An id exists already, or is repeated; nothing is added then.
        """
        given = check_corpus(chunks, self.where, empty=True)
        if not given:
            return
        known = [chunk.id for chunk in given if chunk.id in self._places]
        if known:
            raise CorpusError(
                f"the id {shorten_text(known[0], 60)!r} exists already: expected new ids; `update` replaces a chunk",
                self.where,
            )
        rows = np.concatenate([self._rows, self._check_length(self._embed_chunks(given))])
        self._replace_corpus((*self._chunks, *given), rows)

    def remove(self, ids: Iterable[str]) -> None:
        """Remove chunks by their ids.

        Raises:
            UsageError: It is not an iterable of ids.
            UnknownName: There is no chunk of that id; nothing is removed then.
            CorpusError: Nothing would be left.
        """
        if not isinstance(ids, Iterable):
            raise UsageError(f"{self.where}: expected the ids of chunks, got {json_kind(ids)}")
        removed = {ids} if isinstance(ids, str) else set(ids)
        for id_ in sorted(removed, key=str):
            self._find_place(id_)
        kept = [place for place, chunk in enumerate(self._chunks) if chunk.id not in removed]
        if not kept:
            raise CorpusError("nothing would be left: expected at least one chunk to stay", self.where)
        self._replace_corpus(tuple(self._chunks[place] for place in kept), self._rows[kept])

    def update(self, chunks: Iterable[Chunk]) -> None:
        """Replace chunks by those of the same id, which keep their place; only changed texts are embedded.

        Raises:
            UnknownName: There is no chunk of that id; nothing is replaced then.
            CorpusError: An id is repeated.
        """
        given = check_corpus(chunks, self.where, empty=True)
        if not given:
            return
        places = {self._find_place(chunk.id): chunk for chunk in given}
        changed = {
            place: chunk
            for place, chunk in places.items()
            if searchable_text(chunk) != searchable_text(self._chunks[place])
        }
        rows = self._rows
        if changed:
            rows = rows.copy()
            rows[list(changed)] = self._check_length(self._embed_chunks(tuple(changed.values())))
        self._replace_corpus(
            tuple(places.get(place, chunk) for place, chunk in enumerate(self._chunks)), rows
        )

    def _replace_corpus(self, chunks: tuple[Chunk, ...], rows: Float32Array) -> None:
        # Replace corpus and vectors together.
        self._chunks = chunks
        self._rows = rows
        self._directed = rows.any(axis=1)
        self._places = {chunk.id: place for place, chunk in enumerate(chunks)}

    def _find_place(self, id_: object) -> int:
        if id_ not in self._places:
            raise UnknownName("chunk", str(id_), self._places, where=self.where)
        return self._places[str(id_)]

    def _embed_chunks(self, chunks: Sequence[Chunk]) -> Float32Array:
        return embed_unit_vectors(self.embedder, [searchable_text(chunk) for chunk in chunks], self.where)

    def _check_length(self, rows: Float32Array) -> Float32Array:
        if rows.shape[1] != self.dim:
            raise UsageError(
                f"{self.where}: expected vectors of {self.dim} numbers, as the others have, got {rows.shape[1]} "
                f"from the embedder {self.embedder.version}; build the retriever again"
            )
        return rows

    def _find_hits(self, query: str, limit: int, conditions: Conditions) -> list[Hit]:
        vector = embed_query(self.embedder, query, self.where, self.dim)
        if vector is None:
            return []
        places = np.array(
            [
                place
                for place in np.flatnonzero(self._directed)
                if not conditions or matches_conditions(self._chunks[place].metadata, conditions)
            ],
            dtype=np.intp,
        )
        # Row by row: in a matrix product, equal rows get different last digits.
        exact = (self._rows[places].astype(np.float64) * vector).sum(axis=1)
        scores = np.clip(exact, -1.0, 1.0)
        best = np.argsort(-scores, kind="stable")[:limit]
        return [chunk_to_hit(self._chunks[places[index]], float(scores[index])) for index in best]
