from __future__ import annotations

from typing import Any

import pytest
from stores.kit import CAPTIONS, CHUNKS, FILTERS, QUERIES, WORDS, check_filters, check_nothing_was_sent, exact
from support.containing_nli import ContainingNli

from pytest_llmops import assert_context_relevance, assert_grounded, assert_retrieval
from pytest_llmops.errors import CorpusError, UsageError
from pytest_llmops.protocols import Retriever
from pytest_llmops.retrievers.langchain import LangChainRetriever

core = pytest.importorskip("langchain_core")
documents = pytest.importorskip("langchain_core.documents")
embeddings = pytest.importorskip("langchain_core.embeddings")
retrievers = pytest.importorskip("langchain_core.retrievers")
stores = pytest.importorskip("langchain_core.vectorstores")


class Own(embeddings.Embeddings):  # type: ignore[misc, name-defined]
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return list(map(float, WORDS.embed([text or CAPTIONS["picture"]])[0]))


def store() -> Any:
    in_memory_vector_store = stores.InMemoryVectorStore(Own())
    in_memory_vector_store.add_documents(
        [
            documents.Document(
                id=chunk.id, page_content=chunk.text, metadata={"key": chunk.id, **chunk.metadata}
            )
            for chunk in CHUNKS
        ]
    )
    return in_memory_vector_store


def ranked(query: str) -> list[str]:
    return [case.id for case, _ in exact(query)]


def translate(wanted: Any) -> Any:
    return lambda document: all(document.metadata.get(key) in values for key, values in wanted.items())


def test_a_vector_store() -> None:
    retriever = LangChainRetriever(store())
    assert isinstance(retriever, Retriever)
    assert (retriever.k, retriever.name, retriever.documents) == (4, "InMemoryVectorStore", None)
    for query in QUERIES:
        hits = retriever.search(query, 9)
        assert hits.ids[0] == ranked(query)[0]
        assert sorted(hits.ids) == sorted(ranked(query))
        assert [hit.score for hit in hits] == [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
        assert len(retriever.search(query)) == 4
    chunk = CHUNKS[0]
    (hit,) = retriever.search(QUERIES[0], 1)
    assert (hit.text, hit.metadata) == (chunk.text, {"key": chunk.id, **chunk.metadata})
    assert retriever.search(QUERIES[1], 1)[0].text == ""
    assert retriever.search(" ").ids == []


def test_the_retriever_of_a_store_keeps_its_own_k() -> None:
    retriever = LangChainRetriever(store().as_retriever(search_kwargs={"k": 2}), id_key="key")
    assert (retriever.k, len(retriever.search(QUERIES[0])), len(retriever.search(QUERIES[0], 3))) == (2, 2, 3)
    assert LangChainRetriever(store().as_retriever(), k=3).k == 3


@pytest.mark.parametrize("of_store", [True, False])
def test_filters(of_store: bool) -> None:
    given = store() if of_store else store().as_retriever()
    check_filters(LangChainRetriever(given, translate=translate), FILTERS[:4])
    with pytest.raises(
        UsageError, match="filters cannot be translated, as every vector store has another form"
    ):
        LangChainRetriever(given).search("refunds", filters={"lang": "en"})


def test_any_other_retriever_is_not_cut() -> None:
    class Fixed(retrievers.BaseRetriever):  # type: ignore[misc, name-defined]
        answers: list[Any]

        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Any]:  # noqa: ARG002 -- LangChain's name
            if query == "broken":
                raise ConnectionError("no route")
            return self.answers

    lang_chain_retriever = LangChainRetriever(
        Fixed(answers=[documents.Document(id=str(n), page_content=f"text {n}") for n in range(40)])
    )
    assert lang_chain_retriever.search("q").ids == [str(n) for n in range(40)]
    assert lang_chain_retriever.search("q", 3).ids == ["0", "1", "2"]
    with pytest.raises(UsageError, match="accepts no filters: search without, or wrap the vector store"):
        lang_chain_retriever.search("q", filters={"lang": "en"})
    with pytest.raises(
        CorpusError, match=r"the search failed: ConnectionError: no route \(.*@ LangChain Fixed"
    ):
        lang_chain_retriever.search("broken")
    nameless = Fixed(answers=[documents.Document(page_content="x", metadata={"source": "a"})])
    with pytest.raises(
        CorpusError, match=r"a document has no id: expected Document.id, its metadata has source"
    ):
        LangChainRetriever(nameless).search("q")
    assert LangChainRetriever(nameless, id_key="source").search("q").ids == ["a"]
    with pytest.raises(CorpusError, match="expected the key 'path' in its metadata"):
        LangChainRetriever(nameless, id_key="path").search("q")
    with pytest.raises(
        UsageError, match="LangChain Fixed: cannot be listed; pass its documents as a mapping"
    ):
        lang_chain_retriever.listing()


def test_what_is_no_retriever() -> None:
    with pytest.raises(UsageError, match="expected a retriever or vector store of langchain_core, got list"):
        LangChainRetriever([])


def test_assertions_take_documents_and_raw_retrievers() -> None:
    cases = [{"input": query, "relevant": [ranked(query)[0]]} for query in QUERIES]
    for given in (store(), store().as_retriever(), lambda query: store().similarity_search_with_score(query)):
        assert assert_retrieval(given, cases, metric="mrr@1", at_least=1.0).value == 1.0
    retrieved = store().as_retriever().invoke(QUERIES[0])
    assert assert_retrieval(retrieved, [ranked(QUERIES[0])[0]], metric="mrr@1", at_least=1.0).value == 1.0
    assert assert_grounded(CHUNKS[0].text, retrieved, nli=ContainingNli(), at_least=1.0).value == 1.0
    relevance = assert_context_relevance(QUERIES[0], retrieved, at_least=None, embedder=WORDS)
    assert relevance.value is not None
    nameless = [documents.Document(page_content="x", metadata={"source": "a"})]
    with pytest.raises(UsageError, match="assert_retrieval: a Document has no id"):
        assert_retrieval(nameless, ["a"], at_least=None)


def test_nothing_was_sent() -> None:
    check_nothing_was_sent()
