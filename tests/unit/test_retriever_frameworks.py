"""Retrievers over LangChain and LlamaIndex, with stand-ins that have their classes; `tests/stores` has the same with the real packages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message
from support.stand_in_modules import use_module

from pytest_llmops.errors import CorpusError, UsageError
from pytest_llmops.protocols import Chunk, Hit
from pytest_llmops.retrievers.langchain import LangChainRetriever
from pytest_llmops.retrievers.llamaindex import LlamaIndexRetriever


class Recorded:
    """Keeps its calls, and returns what it was given."""

    def __init__(self, found: Any = (), **members: Any) -> None:
        self.found = list(found)
        self.calls: list[tuple[Any, ...]] = []
        vars(self).update(members)

    def similarity_search(self, query: str, **options: Any) -> list[Any]:
        self.calls.append(("similarity_search", query, options))
        return self.found

    def invoke(self, query: str, **options: Any) -> list[Any]:
        self.calls.append(("invoke", query, options))
        return self.found

    def retrieve(self, query: str) -> list[Any]:
        self.calls.append(("retrieve", query))
        return self.found


class BaseRetriever(Recorded):
    pass


class VectorStoreRetriever(BaseRetriever):
    pass


class VectorStore(Recorded):
    pass


class BaseIndex(Recorded):
    """As an index of LlamaIndex: its retrievers share its calls."""

    def as_retriever(self, **options: Any) -> BaseRetriever:
        self.calls.append(("as_retriever", options))
        retriever = BaseRetriever(self.found)
        retriever.calls = self.calls
        return retriever


@pytest.fixture(autouse=True)
def frameworks(monkeypatch: pytest.MonkeyPatch) -> None:
    use_module(
        monkeypatch,
        "langchain_core.vectorstores",
        VectorStore=VectorStore,
        VectorStoreRetriever=VectorStoreRetriever,
    )
    use_module(monkeypatch, "langchain_core.retrievers", BaseRetriever=BaseRetriever)
    use_module(monkeypatch, "llama_index.core.retrievers", BaseRetriever=BaseRetriever)
    use_module(monkeypatch, "llama_index.core.indices.base", BaseIndex=BaseIndex)
    use_module(
        monkeypatch,
        "llama_index.core.vector_stores",
        FilterOperator=SimpleNamespace(IN="in"),
        MetadataFilter=lambda **given: given,
        MetadataFilters=lambda **given: given,
    )


def document(id_: Any, text: Any = "one", **metadata: Any) -> SimpleNamespace:
    return SimpleNamespace(id=id_, page_content=text, metadata=metadata)


DOCUMENTS = (document("a", page=1), document(2, None), document("c"))
HITS = [
    Hit(id="a", text="one", score=1.0, metadata={"page": 1}),
    Hit(id="2", text="", score=0.5, metadata={}),
    Hit(id="c", text="one", score=1 / 3, metadata={}),
]


def test_a_vector_store_of_langchain_is_searched_for_k_documents() -> None:
    store = VectorStore(DOCUMENTS)
    retriever = LangChainRetriever(store)
    assert (retriever.name, retriever.where, retriever.k) == ("VectorStore", "LangChain VectorStore", 4)
    assert retriever.documents is None
    assert retriever.retriever is store
    assert list(retriever.search("refunds")) == HITS
    assert list(retriever.search("refunds", 2)) == HITS[:2]
    assert list(retriever.search(" ")) == []
    assert store.calls == [
        ("similarity_search", "refunds", {"k": 4}),
        ("similarity_search", "refunds", {"k": 2}),
    ]
    assert LangChainRetriever(store, k=7, name="mine").k == 7
    assert LangChainRetriever(store, name="mine").name == "mine"


@pytest.mark.parametrize(("arguments", "k"), [({"k": "3"}, 3), ({}, 4)])
def test_the_retriever_of_a_langchain_store_finds_as_many_as_it_is_set_to(
    arguments: dict[str, Any], k: int
) -> None:
    given = VectorStoreRetriever(DOCUMENTS, search_kwargs=arguments)
    assert LangChainRetriever(given, k=7).k == 7
    retriever = LangChainRetriever(given)
    assert retriever.k == k
    assert list(retriever.search("refunds")) == HITS
    assert given.calls == [("invoke", "refunds", {"k": k})]


def test_all_that_another_retriever_of_langchain_returns_are_hits() -> None:
    given = BaseRetriever(DOCUMENTS)
    retriever = LangChainRetriever(given)
    assert retriever.k == 10_000
    assert list(retriever.search("refunds")) == HITS
    assert list(retriever.search("refunds", 1)) == HITS[:1]
    assert given.calls == [("invoke", "refunds", {})] * 2
    with pytest.raises(UsageError, check=check_message):
        retriever.search("refunds", filters={"page": 1})
    with pytest.raises(UsageError, check=check_message):
        LangChainRetriever(object())


def test_filters_for_langchain_are_translated_by_the_project() -> None:
    store = VectorStore(DOCUMENTS)
    given = VectorStoreRetriever(DOCUMENTS, search_kwargs={})

    def translate(filters: Any) -> list[Any]:
        return sorted(filters.items())

    filters: Any = {"page": 1, "lang": ["de", "en"]}
    translated = [("lang", ["de", "en"]), ("page", [1])]
    LangChainRetriever(store, translate=translate).search("refunds", filters=filters)
    LangChainRetriever(given, translate=translate).search("refunds", filters=filters)
    assert store.calls == [("similarity_search", "refunds", {"k": 4, "filter": translated})]
    assert given.calls == [("invoke", "refunds", {"k": 4, "filter": translated})]
    with pytest.raises(UsageError, check=check_message):
        LangChainRetriever(store).search("refunds", filters=filters)


def test_the_id_of_a_langchain_document_may_be_in_its_metadata() -> None:
    store = VectorStore([document("a", source=5)])
    assert LangChainRetriever(store, id_key="source").search("refunds").ids == ["5"]
    with pytest.raises(CorpusError, match="'key'", check=check_message):
        LangChainRetriever(store, id_key="key").search("refunds")
    store.found = [document(None, source=5)]
    with pytest.raises(CorpusError, match=r"Document\.id", check=check_message):
        LangChainRetriever(store).search("refunds")


def node(id_: str, text: Any = "one", **metadata: Any) -> SimpleNamespace:
    return SimpleNamespace(node_id=id_, get_content=lambda: text, metadata=metadata)


def scored(score: float | None, found: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(score=score, node=found)


NODES = (node("a", page=1), node("b", None))
NO_TEXTS = SimpleNamespace(docs={})


def test_an_index_of_llamaindex_is_searched_for_k_nodes() -> None:
    docstore = SimpleNamespace(docs={"a": NODES[0], "b": NODES[1]})
    index = BaseIndex([scored(0.75, NODES[0]), scored(0.25, NODES[1])], docstore=docstore)
    retriever = LlamaIndexRetriever(index)
    assert (retriever.name, retriever.where, retriever.k) == ("BaseIndex", "LlamaIndex BaseIndex", 2)
    assert (retriever.retriever, retriever.documents) == (index, 2)
    assert retriever.listing() == [
        Chunk(id="a", text="one", metadata={"page": 1}),
        Chunk(id="b", text="", metadata={}),
    ]
    hits = [
        Hit(id="a", text="one", score=0.75, metadata={"page": 1}),
        Hit(id="b", text="", score=0.25, metadata={}),
    ]
    assert list(retriever.search("refunds")) == hits
    assert list(retriever.search("refunds", 1)) == hits[:1]
    assert list(retriever.search(" ")) == []
    assert index.calls == [
        ("as_retriever", {"similarity_top_k": 2}),
        ("retrieve", "refunds"),
        ("as_retriever", {"similarity_top_k": 1}),
        ("retrieve", "refunds"),
    ]
    assert LlamaIndexRetriever(index, k=7).k == 7
    assert LlamaIndexRetriever(index, name="mine").where == "LlamaIndex mine"


def test_filters_for_an_index_of_llamaindex() -> None:
    index = BaseIndex([], docstore=NO_TEXTS)
    filters: Any = {"page": 1, "lang": ["de", "en"]}
    assert list(LlamaIndexRetriever(index).search("refunds", filters=filters)) == []
    wanted = [
        {"key": "page", "value": [1], "operator": "in"},
        {"key": "lang", "value": ["de", "en"], "operator": "in"},
    ]
    assert index.calls[0] == ("as_retriever", {"similarity_top_k": 2, "filters": {"filters": wanted}})


def test_a_retriever_of_llamaindex_has_its_own_limit_and_filters() -> None:
    given = BaseRetriever([scored(0.75, NODES[0]), scored(None, NODES[1])])
    retriever = LlamaIndexRetriever(given)
    assert (retriever.k, retriever.documents) == (10_000, None)
    hits = retriever.search("refunds")
    assert [(hit.id, hit.score) for hit in hits] == [("a", 1.0), ("b", 0.5)]
    assert given.calls == [("retrieve", "refunds")]
    assert retriever.search("refunds", 1).ids == ["a"]
    assert LlamaIndexRetriever(given, k=1).search("refunds").ids == ["a"]
    with pytest.raises(UsageError, check=check_message):
        retriever.search("refunds", filters={"page": 1})
    with pytest.raises(UsageError, check=check_message):
        retriever.listing()
    with pytest.raises(UsageError, check=check_message):
        LlamaIndexRetriever(object())


def test_an_index_of_llamaindex_without_texts_cannot_be_listed() -> None:
    retriever = LlamaIndexRetriever(BaseIndex([], docstore=NO_TEXTS))
    assert retriever.documents is None
    with pytest.raises(UsageError, check=check_message):
        retriever.listing()


def test_the_id_of_a_llamaindex_node_may_be_in_its_metadata() -> None:
    given = BaseRetriever([scored(0.75, node("a", source=5))])
    assert LlamaIndexRetriever(given, id_key="source").search("refunds").ids == ["5"]
    with pytest.raises(CorpusError, match="node a ", check=check_message):
        LlamaIndexRetriever(given, id_key="key").search("refunds")
