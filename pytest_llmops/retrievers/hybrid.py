"""Several retrievers as one: their rankings are fused."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pytest_llmops._util.text_files import fingerprint_parts, json_kind
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Chunk, Hit, Retriever
from pytest_llmops.retrievers.base import Conditions, Searcher, validate_k

RANK_CONSTANT = 60
"""Of reciprocal rank fusion: the paper's value, by which the first few ranks weigh about the same."""


class HybridRetriever(Searcher):
    """Reciprocal rank fusion, of BM25 and a dense retriever for instance.

    The score of a passage is the sum of 1 / (60 + rank) over the retrievers that found it, rank from 1
    (Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
    methods", SIGIR 2009). Scores of unlike scales thus need no weights. Equal scores keep the order in which
    the passages were first found, retriever by retriever. Text and metadata are those of the first that found it.

    Attributes:
        retrievers: What is fused.
        depth: How many hits each is asked for.

    >>> class Fixed:
    ...     def __init__(self, *ids): self.ids = ids
    ...     def search(self, query, k=None): return [Hit(id=one, text=one, score=1.0) for one in self.ids[:k]]
    >>> HybridRetriever([Fixed("a", "b"), Fixed("b", "c")]).search("?").ids
    ['b', 'a', 'c']
    """

    def __init__(
        self, retrievers: Sequence[Retriever], *, k: int = 5, depth: int = 100, name: str = ""
    ) -> None:
        """Fuse the retrievers.

        Args:
            retrievers: At least two; any object with ``search(query, k)``. With filters each has to take them.
            k: Default number of hits of `search`.
            depth: How many hits each retriever is asked for, or ``k`` if that is more.
            name: Of the corpus, for errors and reports.

        Raises:
            UsageError: There are fewer than two retrievers, one is none, or ``k`` or ``depth`` is less than 1.
        """
        __tracebackhide__ = True
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
        if len(self.retrievers) < 2:  # noqa: PLR2004 -- one ranking is fused already
            raise UsageError(f"{self.where}: expected at least two retrievers, got {len(self.retrievers)}")

    @property
    def documents(self) -> int | None:
        """How many passages the largest holds; None if one does not say."""
        counts = [getattr(one, "documents", None) for one in self.retrievers]
        known = [one for one in counts if isinstance(one, int)]
        return max(known) if len(known) == len(counts) else None

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the fingerprints of the retrievers, in their order; empty if one has none."""
        parts = [str(getattr(retriever, "fingerprint", "")) for retriever in self.retrievers]
        return fingerprint_parts(*parts) if all(parts) else ""

    def listing(self) -> list[Chunk]:
        """Return the passages that any of the retrievers holds, each once.

        Raises:
            UsageError: One of them cannot be listed.
        """
        __tracebackhide__ = True
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
        filters: dict[str, Json] = {key: list(values) for key, values in conditions.items()}
        scores: dict[str, float] = {}
        hits: dict[str, Hit] = {}
        for retriever in self.retrievers:
            for rank, hit in enumerate(
                self._search_retriever(retriever, query, max(limit, self.depth), filters), start=1
            ):
                scores[hit.id] = scores.get(hit.id, 0.0) + 1.0 / (RANK_CONSTANT + rank)
                hits.setdefault(hit.id, hit)
        order = sorted(scores, key=lambda id_: -scores[id_])[:limit]
        return [replace(hits[id_], score=scores[id_]) for id_ in order]

    def _search_retriever(
        self, one: Retriever, query: str, depth: int, filters: dict[str, Json]
    ) -> Sequence[Hit]:
        __tracebackhide__ = True
        if not filters:
            return one.search(query, depth)
        if "filters" not in inspect.signature(one.search).parameters:
            raise UsageError(
                f"{self.where}: {type(one).__name__} takes no filters: search without, or wrap it"
            )
        return one.search(query, depth, filters=filters)  # type: ignore[call-arg]  # asked for just above
