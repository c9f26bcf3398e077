"""Dense retriever in memory: exact cosine similarity, with the same hits on every machine."""

from collections.abc import Iterable

from pytest_llmops._util.arrays import Float32Array, np
from pytest_llmops._util.text_files import fingerprint_parts
from pytest_llmops.protocols import Chunk, Embedder, Hit
from pytest_llmops.retrievers.base import (
    Conditions,
    CorpusSearcher,
    chunk_content,
    chunk_to_hit,
    embed_query,
    embed_unit_vectors,
    matches_conditions,
    resolve_embedder,
    searchable_text,
)

__tracebackhide__ = True


class DenseRetriever(CorpusSearcher):
    """Compare the vector of the query with the vector of every chunk by cosine similarity; exact, so it can be the reference for stores.

    A search returns the ``k`` most similar chunks; scores are from -1 to 1. Equal scores keep the order of the corpus,
    and equal texts have equal scores. A chunk whose vector is all zero (with ``hashing``: without a letter or digit)
    is never found; such a query has no hits.

    Attributes:
        name: Name of the corpus, for the report.
        k: Default number of hits of `search`.
        embedder: The embedder of chunks and queries.
        chunks: The corpus, in its order.

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
            CorpusError: No chunk is given, or two have the same id.
            UsageError: ``k`` is less than 1, or the embedder cannot be used or returns no vectors.
        """
        super().__init__(chunks, k=k, name=name, where=name or "DenseRetriever")
        self.embedder = resolve_embedder(embedder, self.where)
        texts = [searchable_text(chunk) for chunk in self.chunks]
        self._rows: Float32Array = embed_unit_vectors(self.embedder, texts, self.where)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the corpus, its order, and the version of the embedder."""
        return fingerprint_parts(self.embedder.version, *map(chunk_content, self.chunks))

    def _find_hits(self, query: str, limit: int, conditions: Conditions) -> list[Hit]:
        """Return the most similar chunks; those with a zero vector are left out."""
        vector = embed_query(self.embedder, query, self.where, self._rows.shape[1])
        if vector is None:
            return []
        places = np.flatnonzero(self._rows.any(axis=1))
        if conditions:
            is_match = [matches_conditions(self.chunks[place].metadata, conditions) for place in places]
            places = places[np.array(is_match, dtype=bool)]
        # Not a matrix product, in which equal rows get different last digits.
        products = self._rows[places].astype(np.float64) * vector
        scores = np.clip(products.sum(axis=1), -1.0, 1.0)
        best = np.argsort(-scores, kind="stable")[:limit]
        hits = []
        for index in best:
            chunk = self.chunks[places[index]]
            hits.append(chunk_to_hit(chunk, float(scores[index])))
        return hits
