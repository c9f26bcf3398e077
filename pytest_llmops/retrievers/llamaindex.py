"""Retriever over a LlamaIndex retriever or index."""

from typing import Any

from pytest_llmops.errors import CorpusError, UsageError, format_name_list
from pytest_llmops.protocols import Chunk, Hit
from pytest_llmops.retrievers.base import Conditions, Searcher, chunk_to_hit, import_optional, plain_metadata

__tracebackhide__ = True

DEFAULT_K = 2  # default number of nodes of a LlamaIndex index
UNLIMITED_K = 10_000  # for retrievers, which decide themselves how many nodes they return: all are hits


class LlamaIndexRetriever(Searcher):
    """Any LlamaIndex retriever or index, searched as in the application.

    Scores are LlamaIndex's own if every node has one, else 1 / rank. A node without a text (an image, a table) is a
    hit with an empty text. Filters need an index; a retriever has its own filters.

    Attributes:
        retriever: The retriever or index, as it was given.
    """

    def __init__(self, retriever: Any, *, k: int | None = None, name: str = "", id_key: str = "") -> None:
        """Wrap a retriever or an index.

        Args:
            retriever: A ``BaseRetriever`` or an index (``VectorStoreIndex`` ...) of ``llama_index.core``.
            k: Default number of hits of `search`; default: as many as LlamaIndex
                returns by itself. Only an index can return more.
            name: For errors and reports; default: the name of its class.
            id_key: Key of the id in a node's metadata; default: ``node_id``.

        Raises:
            UsageError: It is neither a retriever nor an index, ``k`` is less than 1, or the package is not installed.
        """
        retrievers = import_optional("llama_index.core.retrievers", "llama-index-core", "LlamaIndexRetriever")
        indices = import_optional("llama_index.core.indices.base", "llama-index-core", "LlamaIndexRetriever")
        self._is_index = isinstance(retriever, indices.BaseIndex)
        if not self._is_index and not isinstance(retriever, retrievers.BaseRetriever):
            raise UsageError(
                f"LlamaIndexRetriever: expected a retriever or index of llama_index.core, got {type(retriever).__name__}"
            )
        title = name or type(retriever).__name__
        if k is None and self._is_index:
            k = DEFAULT_K
        elif k is None:
            k = UNLIMITED_K
        super().__init__(k=k, name=title, where=f"LlamaIndex {title}")
        self.retriever = retriever
        self._id_key = id_key

    @property
    def documents(self) -> int | None:
        """Number of nodes in the index's document store; None if it has none."""
        return len(self._stored_nodes()) or None

    def listing(self) -> list[Chunk]:
        """Return every node in the index's document store, in its order.

        Raises:
            UsageError: There are none: it is a retriever, or the texts are in the vector store.
        """
        nodes = self._stored_nodes()
        if nodes:
            return [self._node_to_chunk(node) for node in nodes]
        return super().listing()

    def _stored_nodes(self) -> list[Any]:
        if self._is_index:
            return list(self.retriever.docstore.docs.values())
        return []

    def _find_hits(self, query: str, limit: int, conditions: Conditions) -> list[Hit]:
        """Search the retriever, or a retriever of the index that is made for this number of hits and these filters."""
        if conditions and not self._is_index:
            raise UsageError(
                f"{self.where}: accepts no filters, as it has its own: build it with filters=, or wrap the index"
            )
        if not query.strip():
            return []
        retriever = self.retriever
        if self._is_index:
            retriever = retriever.as_retriever(similarity_top_k=limit, **_filter_options(conditions))
        nodes = retriever.retrieve(query)
        have_scores = all(scored_node.score is not None for scored_node in nodes)
        hits = []
        for rank, scored_node in enumerate(nodes[:limit], start=1):
            score = 1.0 / rank
            if have_scores:
                score = float(scored_node.score)
            hits.append(chunk_to_hit(self._node_to_chunk(scored_node.node), score))
        return hits

    def _node_to_chunk(self, node: Any) -> Chunk:
        """Return a node as a chunk; raise a `CorpusError` if ``id_key`` was given and the node has no such metadata."""
        id_ = node.node_id
        if self._id_key:
            id_ = node.metadata.get(self._id_key)
        if id_ is None:
            keys = format_name_list(node.metadata)
            raise CorpusError(
                f"the node {node.node_id} has no id: expected the key {self._id_key!r} in its metadata, which has "
                f"{keys}; fill it, or leave id_key out",
                self.where,
            )
        text = node.get_content() or ""
        return Chunk(id=str(id_), text=text, metadata=plain_metadata(node.metadata))


def _filter_options(conditions: Conditions) -> dict[str, Any]:
    """Return {"filters": ...} for ``as_retriever`` of an index, or {} without conditions."""
    if not conditions:
        return {}
    stores = import_optional("llama_index.core.vector_stores", "llama-index-core", "LlamaIndexRetriever")
    filters = []
    for key, values in conditions.items():
        is_in = stores.FilterOperator.IN
        filters.append(stores.MetadataFilter(key=key, value=list(values), operator=is_in))
    return {"filters": stores.MetadataFilters(filters=filters)}
