"""Retriever over a LangChain retriever or vector store."""

from collections.abc import Callable, Mapping
from typing import Any

from pytest_llmops.errors import CorpusError, UsageError, format_name_list
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Hit
from pytest_llmops.retrievers.base import Conditions, Searcher, import_optional, plain_metadata

__tracebackhide__ = True

DEFAULT_K = 4  # default number of documents of LangChain's vector stores
UNLIMITED_K = (
    10_000  # for other retrievers, which decide themselves how many documents they return: all are hits
)


class LangChainRetriever(Searcher):
    """Any LangChain retriever or vector store, searched as in the application.

    The score of a hit is 1 / rank, as in LangChain the scores of a store may be similarities or distances. A document without a text
    is a hit with an empty text.

    Attributes:
        retriever: The retriever or store, as it was given.
    """

    def __init__(
        self,
        retriever: Any,
        *,
        k: int | None = None,
        name: str = "",
        id_key: str = "",
        translate: Callable[[Mapping[str, Json]], Any] | None = None,
    ) -> None:
        """Wrap a retriever or a vector store.

        Args:
            retriever: A ``BaseRetriever`` or ``VectorStore`` of ``langchain_core``.
            k: Default number of hits of `search`; default: the number that the
                retriever is set to return. Only a vector store, and its retriever, can return more than that.
            name: For errors and reports; default: the name of its class.
            id_key: Key of the id in the metadata of a document; default: ``Document.id``.
            translate: Converts filters (key -> list of values) to the ``filter`` argument of the store; without it, filters
                are an error, as every store has another form.

        Raises:
            UsageError: It is neither a retriever nor a store, ``k`` is less than 1, or the package is not installed.
        """
        stores = import_optional("langchain_core.vectorstores", "langchain-core", "LangChainRetriever")
        retrievers = import_optional("langchain_core.retrievers", "langchain-core", "LangChainRetriever")
        self._is_store = isinstance(retriever, stores.VectorStore)
        self._is_store_retriever = isinstance(retriever, stores.VectorStoreRetriever)
        if not self._is_store and not isinstance(retriever, retrievers.BaseRetriever):
            raise UsageError(
                f"LangChainRetriever: expected a retriever or vector store of langchain_core, got {type(retriever).__name__}"
            )
        title = name or type(retriever).__name__
        if k is None and self._is_store:
            k = DEFAULT_K
        elif k is None and self._is_store_retriever:
            k = int(retriever.search_kwargs.get("k", DEFAULT_K))
        elif k is None:
            k = UNLIMITED_K
        super().__init__(k=k, name=title, where=f"LangChain {title}")
        self.retriever = retriever
        self._id_key = id_key
        self._translate = translate

    @property
    def documents(self) -> int | None:
        """None: LangChain cannot count documents."""
        return None

    def _find_hits(self, query: str, limit: int, conditions: Conditions) -> list[Hit]:
        """Search; a retriever without a store accepts neither a number of documents nor filters."""
        filters = self._filter_arguments(conditions)
        if not query.strip():
            return []
        if self._is_store:
            documents = self.retriever.similarity_search(query, k=limit, **filters)
        elif self._is_store_retriever:
            documents = self.retriever.invoke(query, k=limit, **filters)
        else:
            documents = self.retriever.invoke(query)
        hits = []
        for rank, document in enumerate(documents[:limit], start=1):
            id_ = self._document_id(document)
            text = document.page_content or ""
            metadata = plain_metadata(document.metadata)
            hits.append(Hit(id=id_, text=text, score=1.0 / rank, metadata=metadata))
        return hits

    def _filter_arguments(self, conditions: Conditions) -> dict[str, Any]:
        """Return {"filter": ...} for the store, or {} without conditions."""
        if not conditions:
            return {}
        if not (self._is_store or self._is_store_retriever):
            raise UsageError(
                f"{self.where}: accepts no filters: search without, or wrap the vector store behind it"
            )
        if self._translate is None:
            raise UsageError(
                f"{self.where}: filters cannot be translated, as every vector store has another form: pass translate=, a "
                "function from {key: [values]} to the store's filter"
            )
        filters = {key: list(values) for key, values in conditions.items()}
        return {"filter": self._translate(filters)}

    def _document_id(self, document: Any) -> str:
        """Return the id of a document, from its metadata if ``id_key`` was given; raise a `CorpusError` without one."""
        if self._id_key:
            id_ = document.metadata.get(self._id_key)
            expected = f"the key {self._id_key!r} in its metadata"
        else:
            id_ = document.id
            expected = "Document.id"
        if id_ is None:
            keys = format_name_list(document.metadata)
            raise CorpusError(
                f"a document has no id: expected {expected}, its metadata has {keys}; add documents "
                "with ids, or name a key of the metadata by id_key",
                self.where,
            )
        return str(id_)
