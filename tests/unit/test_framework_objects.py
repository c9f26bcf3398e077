"""Objects of frameworks, by stand-ins with their attributes; tests/clients and tests/stores have the real classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from support.containing_nli import ContainingNli
from support.messages import check_message

from pytest_llmops import (
    MeasurementErrored,
    assert_context_relevance,
    assert_grounded,
    assert_retrieval,
    assert_schema,
    assert_semantic,
)
from pytest_llmops._util.framework_objects import is_retriever, read_answer, read_hits, search_any
from pytest_llmops.errors import UsageError
from pytest_llmops.protocols import Chunk, Completion, Hit, Hits, Message

pytestmark = pytest.mark.usefixtures("alone")

TEXT = "Refunds take 5 days."


@dataclass
class Document:
    """As of LangChain."""

    page_content: str
    id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass
class Node:
    """As of LlamaIndex."""

    node_id: str
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)

    def get_content(self) -> str:
        return self.text


def scored(node: Node, score: float | None = None) -> SimpleNamespace:
    return SimpleNamespace(node=node, score=score, metadata=node.metadata, get_content=node.get_content)


def chat(content: str | None) -> SimpleNamespace:
    return SimpleNamespace(
        choices=[SimpleNamespace(message=SimpleNamespace(role="assistant", content=content))]
    )


def responses(text: str) -> SimpleNamespace:
    return SimpleNamespace(output=[SimpleNamespace(type="message")], output_text=text)


def message(*texts: str) -> SimpleNamespace:
    thinking = SimpleNamespace(type="thinking", thinking="hm")
    blocks = [thinking, *(SimpleNamespace(type="text", text=text) for text in texts)]
    return SimpleNamespace(role="assistant", type="message", content=blocks)


ANSWERS = {
    "text": TEXT,
    "completion": Completion(text=TEXT),
    "chat completion": chat(TEXT),
    "message of a chat completion": chat(TEXT).choices[0].message,
    "responses": responses(TEXT),
    "anthropic": message("Refunds take ", "5 days."),
    "langchain": SimpleNamespace(type="ai", content=TEXT),
    "langchain blocks": SimpleNamespace(
        type="ai", content=[{"type": "text", "text": TEXT}, {"type": "tool_use"}]
    ),
    "own message": Message("assistant", TEXT),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_answers_of_every_kind_are_texts(answer: object) -> None:
    assert read_answer(answer) == TEXT
    assert assert_semantic(answer, TEXT, at_least=0.9).detail["actual"] == TEXT
    assert assert_grounded(answer, [TEXT], nli=ContainingNli(), at_least=1.0).detail["actual"] == TEXT


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (chat('{"a": 1}'), '{"a": 1}'),
        (responses('{"a": 1}'), '{"a": 1}'),
        (message('{"a": 1}'), '{"a": 1}'),
        (Completion(text="[]"), "[]"),
    ],
)
def test_a_schema_reads_responses_too(answer: object, text: str) -> None:
    assert assert_schema(answer, {"type": ["object", "array"]}).detail["actual"] == text


@pytest.mark.parametrize("answer", [chat(None), message()])
def test_a_response_with_tool_calls_only_has_no_score(answer: object) -> None:
    assert read_answer(answer) is None
    with pytest.raises(MeasurementErrored):
        assert_semantic(answer, TEXT, at_least=0.5)
    with pytest.raises(MeasurementErrored):
        assert_grounded(answer, [TEXT], nli=ContainingNli(), at_least=0.5)
    with pytest.raises(MeasurementErrored):
        assert_schema(answer, {})


@pytest.mark.parametrize(
    "value", [None, 7, {"content": "x"}, ["x"], MagicMock(), SimpleNamespace(content="x")]
)
def test_other_objects_stay_what_they_are(value: object) -> None:
    assert read_answer(value) is value


PASSAGES: dict[str, Any] = {
    "hit": Hit(id="a", text=TEXT, score=1.0),
    "chunk": Chunk(id="a", text=TEXT),
    "document": Document(TEXT, id="a"),
    "document with its id in the metadata": Document(TEXT, metadata={"id": "a"}),
    "document with a score": (Document(TEXT, id="a"), 0.25),
    "node": Node("a", TEXT),
    "node with a score": scored(Node("a", TEXT), 0.5),
    "node without a score": scored(Node("a", TEXT)),
}


@pytest.mark.parametrize("passage", PASSAGES.values(), ids=PASSAGES)
def test_passages_of_every_kind_are_hits(passage: Any) -> None:
    (hit,) = read_hits([passage])
    assert isinstance(hit, Hit)
    assert (hit.id, hit.text) == ("a", TEXT)
    assert assert_retrieval([passage], ["a"], at_least=1.0).value == 1.0
    assert assert_grounded(TEXT, [passage], nli=ContainingNli(), at_least=1.0).value == 1.0
    assert (
        assert_context_relevance("Do refunds take 5 days?", [passage], at_least=None).detail["covered"] == 1.0
    )


def test_scores_are_their_own_or_one_by_rank() -> None:
    hits = read_hits(
        [Document("x", id="a"), (Document("y", id="b"), 0.25), scored(Node("c", "z"), 0.1), Node("d", "")]
    )
    assert [hit.score for hit in hits if isinstance(hit, Hit)] == [1.0, 0.25, 0.1, 0.25]


def test_a_hit_may_have_no_text() -> None:
    image = Hit(id="image.png", score=1.0)
    nothing: Any = None
    passages = Hits((image, Hit(id="b", text=nothing, score=0.5), Hit(id="a", text=TEXT, score=0.1)))
    assert assert_retrieval(passages, ["image.png"], metric="mrr", at_least=1.0).value == 1.0
    assert assert_grounded(TEXT, passages, nli=ContainingNli(), at_least=1.0).value == 1.0
    (hit,) = read_hits([Node("image.png", nothing)])
    assert isinstance(hit, Hit)
    assert (hit.id, hit.text) == ("image.png", "")


def test_a_document_without_an_id_cannot_be_ranked() -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_retrieval([Document(TEXT, metadata={"source": "a.md"})], ["a"], at_least=None)
    with pytest.raises(MeasurementErrored, match="query 1: a Document has no id"):
        assert_retrieval(lambda _: [Document(TEXT)], CASES, at_least=None)
    assert assert_grounded(TEXT, [Document(TEXT)], nli=ContainingNli(), at_least=1.0).value == 1.0


CASES: list[Any] = [{"input": "How long do refunds take?", "relevant": ["a"]}]
FOUND = [Document("We sell tea.", id="b"), Document(TEXT, id="a"), Document("We ship.", id="c")]


class LangChainRetriever:
    def invoke(self, query: str, config: object = None, **options: object) -> list[Document]:
        assert (query, config, options) == (CASES[0]["input"], None, {})
        return FOUND


class LangChainStore:
    def search(self, query: str, search_type: str, **options: object) -> list[Document]:
        raise AssertionError((query, search_type, options))

    def similarity_search(self, query: str, k: int = 4, **options: object) -> list[Document]:
        assert (query, options) == (CASES[0]["input"], {})
        return FOUND[:k]


class LlamaIndexRetriever:
    def retrieve(self, query: str) -> list[Any]:
        assert query == CASES[0]["input"]
        return [scored(Node(document.id or "", document.page_content)) for document in FOUND]


class OwnStore:
    def search(self, query: str, number: int) -> Hits:
        assert query == CASES[0]["input"]
        return Hits(tuple(Hit(id=document.id or "", score=1.0) for document in FOUND[:number]))


class OneArgument:
    def search(self, query: str) -> list[str]:
        assert query == CASES[0]["input"]
        return ["b", "a", "c"]


def find(query: str) -> list[Document]:
    return LangChainRetriever().invoke(query)


RETRIEVERS = [LangChainRetriever(), LangChainStore(), LlamaIndexRetriever(), OwnStore(), OneArgument(), find]


@pytest.mark.parametrize(
    "retriever", RETRIEVERS, ids=lambda retriever: getattr(retriever, "__name__", type(retriever).__name__)
)
def test_retrievers_of_every_kind_are_searched(retriever: Any) -> None:
    assert is_retriever(retriever)
    assert assert_retrieval(retriever, CASES, metric="mrr@2", at_least=0.5).value == 0.5


def test_a_number_is_passed_where_it_is_taken() -> None:
    assert search_any(lambda query, k: [query, k], "q", 3) == ["q", 3]
    assert search_any(lambda query, flag=False: [query, flag], "q", 3) == ["q", False]
    assert search_any(MagicMock(search=lambda query, limit: [query, limit]), "q", 3) == ["q", 3]
    assert search_any(OneArgument(), CASES[0]["input"], 3) == ["b", "a", "c"]


@pytest.mark.parametrize("value", ["run.trec", ["a"], {"q": ["a"]}, Hits(), Document, None, 7])
def test_what_is_no_retriever(value: object) -> None:
    assert not is_retriever(value)
