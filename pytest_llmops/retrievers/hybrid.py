"""Hybrid retriever: fuses the rankings of several retrievers."""

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pytest_llmops._util.text_files import fingerprint_parts, json_kind
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Chunk, Hit, Retriever
from pytest_llmops.retrievers.base import Conditions, Searcher, validate_k

__tracebackhide__ = True

# The constant of the paper on reciprocal rank fusion; as it is large, the first few ranks have nearly the same weight
RANK_CONSTANT = 60


class HybridRetriever(Searcher):
    """Fuse the rankings of several retrievers, for instance BM25 and a dense one, by reciprocal rank fusion.

    The score of a passage is the sum of 1 / (60 + rank) over the retrievers that found it, rank from 1
    (Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
    methods", SIGIR 2009), so scores of different scales need no weights. Equal scores keep the order in which
    the passages were first found, retriever by retriever. Text and metadata come from the first retriever that
    found the passage.

    Attributes:
        retrievers: The retrievers.
        depth: Number of hits from each retriever.

    >>> class Fixed:
    ...     def __init__(self, *ids): self.ids = ids
    ...     def search(self, query, k=None): return [Hit(id=id_, text=id_, score=1.0) for id_ in self.ids[:k]]
    >>> HybridRetriever([Fixed("a", "b"), Fixed("b", "c")]).search("?").ids
    ['b', 'a', 'c']
    """

    def __init__(
        self, retrievers: Sequence[Retriever], *, k: int = 5, depth: int = 100, name: str = ""
    ) -> None:
        """Fuse the retrievers.

        Args:
            retrievers: At least two; any object with ``search(query, k)``; for filters, also ``filters=``.
            k: Default number of hits of `search`.
            depth: Number of hits from each retriever, or ``k`` if that is more.
            name: Name of the corpus, for errors and reports.

        Raises:
            UsageError: There are fewer than two retrievers, an object has no ``search``, or ``k`` or ``depth`` is less than 1.
        """
        super().__init__(k=k, name=name, where=name or "HybridRetriever")
        if not isinstance(retrievers, Iterable):
            raise UsageError(
                f"{self.where}: expected a list of at least two retrievers, got {json_kind(retrievers)}"
            )
        self.retrievers = tuple(retrievers)
        self.depth = validate_k(depth)
        for retriever in self.retrievers:
            if not callable(getattr(retriever, "search", None)):
                raise UsageError(
                    f"{self.where}: expected retrievers with search(query, k), got {type(retriever).__name__}"
                )
        # One ranking cannot be fused.
        if not self.retrievers[1:]:
            raise UsageError(f"{self.where}: expected at least two retrievers, got {len(self.retrievers)}")

    @property
    def documents(self) -> int | None:
        """Number of passages of the largest retriever; None if a retriever cannot tell its number."""
        counts = [getattr(retriever, "documents", None) for retriever in self.retrievers]
        known = [count for count in counts if isinstance(count, int)]
        if len(known) == len(counts):
            return max(known)
        return None

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the fingerprints of the retrievers, in their order; empty if a retriever has none."""
        parts = [str(getattr(retriever, "fingerprint", "")) for retriever in self.retrievers]
        if all(parts):
            return fingerprint_parts(*parts)
        return ""

    def listing(self) -> list[Chunk]:
        """Return the passages of all retrievers without duplicates.

        Raises:
            UsageError: A retriever cannot be listed.
        """
        chunks: dict[str, Chunk] = {}
        for retriever in self.retrievers:
            list_chunks = getattr(retriever, "listing", None)
            if not callable(list_chunks):
                raise UsageError(
                    f"{self.where}: {type(retriever).__name__} cannot be listed: it has no listing()"
                )
            for chunk in list_chunks():
                chunks.setdefault(chunk.id, chunk)
        return list(chunks.values())

    def _find_hits(self, query: str, limit: int, conditions: Conditions) -> list[Hit]:
        """Search all retrievers and add up the scores; the stable sort keeps equal scores in the order of first occurrence."""
        filters: dict[str, Json] = {key: list(values) for key, values in conditions.items()}
        scores: dict[str, float] = {}
        hits: dict[str, Hit] = {}
        depth = max(limit, self.depth)
        for retriever in self.retrievers:
            ranking = self._search_retriever(retriever, query, depth, filters)
            for rank, hit in enumerate(ranking, start=1):
                score = 1.0 / (RANK_CONSTANT + rank)
                scores[hit.id] = scores.get(hit.id, 0.0) + score
                hits.setdefault(hit.id, hit)
        best = sorted(scores, key=lambda id_: -scores[id_])[:limit]
        return [replace(hits[id_], score=scores[id_]) for id_ in best]

    def _search_retriever(
        self, retriever: Retriever, query: str, depth: int, filters: dict[str, Json]
    ) -> Sequence[Hit]:
        """Search one retriever; filters are only passed on if there are any, as not every retriever accepts them."""
        if not filters:
            return retriever.search(query, depth)
        if "filters" not in inspect.signature(retriever.search).parameters:
            raise UsageError(
                f"{self.where}: {type(retriever).__name__} accepts no filters: search without, or wrap it"
            )
        return retriever.search(query, depth, filters=filters)  # type: ignore[call-arg]  # checked above
