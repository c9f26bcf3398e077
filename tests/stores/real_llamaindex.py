from __future__ import annotations

from typing import Any

import pytest
from stores.kit import CHUNKS, QUERIES, WORDS, check_filters, check_nothing_was_sent, exact
from support.containing_nli import ContainingNli

from pytest_llmops import assert_grounded, assert_retrieval
from pytest_llmops.errors import CorpusError, UsageError
from pytest_llmops.protocols import Retriever
from pytest_llmops.retrievers.llamaindex import LlamaIndexRetriever

core = pytest.importorskip("llama_index.core")
schema = pytest.importorskip("llama_index.core.schema")
retrievers = pytest.importorskip("llama_index.core.retrievers")

TEXTS = [line for line in CHUNKS if line.text]
"""LlamaIndex leaves nodes without a text out of an index of texts."""


class Own(core.embeddings.BaseEmbedding):  # type: ignore[misc, name-defined]
    def _get_query_embedding(self, query: str) -> list[float]:
        return list(map(float, WORDS.embed([query])[0]))

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_query_embedding(text)


def node(chunk: Any) -> Any:
    keys = list(chunk.metadata)
    return schema.TextNode(
        id_=chunk.id, text=chunk.text, metadata=dict(chunk.metadata), excluded_embed_metadata_keys=keys
    )


@pytest.fixture(scope="module")
def index() -> Any:
    return core.VectorStoreIndex([node(text) for text in TEXTS], embed_model=Own())


def ranked(query: str) -> list[tuple[str, float]]:
    return [(line.id, cosine) for line, cosine in exact(query) if line.text]


def test_an_index(index: Any) -> None:
    retriever = LlamaIndexRetriever(index)
    assert isinstance(retriever, Retriever)
    assert (retriever.k, retriever.name, retriever.documents) == (2, "VectorStoreIndex", len(TEXTS))
    for query in QUERIES:
        hits = retriever.search(query, 9)
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in ranked(query)], abs=1e-5)
        assert hits.ids[0] == ranked(query)[0][0]
        assert len(retriever.search(query)) == 2
    chunk = TEXTS[0]
    (hit,) = retriever.search(QUERIES[0], 1)
    assert (hit.id, hit.text, hit.metadata) == (chunk.id, chunk.text, dict(chunk.metadata))
    assert retriever.search(" ").ids == []
    assert retriever.listing() == TEXTS


def test_filters(index: Any) -> None:
    retriever = LlamaIndexRetriever(index)
    check_filters(retriever, [{"lang": "en"}, {"lang": ["de", "fr"]}, {"page": [1, 3], "lang": "en"}])


def test_a_retriever_is_called_as_it_is(index: Any) -> None:
    retriever = LlamaIndexRetriever(index.as_retriever(similarity_top_k=3))
    assert len(retriever.search(QUERIES[0])) == 3
    assert retriever.search(QUERIES[0], 1).ids == ["refunds"]
    assert retriever.documents is None
    with pytest.raises(UsageError, match="accepts no filters, as it has its own: build it with filters="):
        retriever.search("refunds", filters={"lang": "en"})
    with pytest.raises(UsageError, match="cannot be listed; pass its documents as a mapping"):
        retriever.listing()


def test_nodes_of_any_kind_and_without_scores() -> None:
    class Fixed(retrievers.BaseRetriever):  # type: ignore[misc, name-defined]
        def _retrieve(self, query: Any) -> list[Any]:
            if query.query_str == "broken":
                raise ConnectionError("no route")
            picture = schema.ImageNode(id_="photo", image_path="shop/photo.png", metadata={"key": "p"})
            return [
                schema.NodeWithScore(node=picture, score=None),
                schema.NodeWithScore(node=node(TEXTS[0]), score=3.0),
            ]

    retriever = LlamaIndexRetriever(Fixed())
    hits = retriever.search("q")
    assert [(hit.id, hit.text, hit.score) for hit in hits] == [
        ("photo", "", 1.0),
        ("refunds", TEXTS[0].text, 0.5),
    ]
    assert hits[0].metadata == {"key": "p"}
    with pytest.raises(
        CorpusError, match=r"the search failed: ConnectionError: no route \(.*@ LlamaIndex Fixed"
    ):
        retriever.search("broken")
    with pytest.raises(
        CorpusError, match="the node refunds has no id: expected the key 'key' in its metadata"
    ):
        LlamaIndexRetriever(Fixed(), id_key="key").search("q")


def test_what_is_no_retriever() -> None:
    with pytest.raises(UsageError, match=r"expected a retriever or index of llama_index.core, got list"):
        LlamaIndexRetriever([])


def test_assertions_take_nodes_and_raw_retrievers(index: Any) -> None:
    cases = [{"input": query, "relevant": [ranked(query)[0][0]]} for query in QUERIES]
    assert assert_retrieval(index.as_retriever(), cases, metric="mrr@1", at_least=1.0).value == 1.0
    nodes = index.as_retriever(similarity_top_k=9).retrieve(QUERIES[0])
    for passages in (nodes, [node.node for node in nodes]):
        assert (
            assert_retrieval(passages, [ranked(QUERIES[0])[0][0]], metric="mrr@1", at_least=1.0).value == 1.0
        )
        assert assert_grounded(TEXTS[0].text, passages, nli=ContainingNli(), at_least=1.0).value == 1.0
    image = schema.ImageNode(id_="image", image_url="https://example.org/a.png")
    assert assert_retrieval([image, *nodes], ["image"], metric="mrr@1", at_least=1.0).value == 1.0
    assert assert_grounded(TEXTS[0].text, [image, *nodes], nli=ContainingNli(), at_least=1.0).value == 1.0


def test_nothing_was_sent() -> None:
    check_nothing_was_sent()
