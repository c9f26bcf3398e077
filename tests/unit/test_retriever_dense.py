from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops.errors import CorpusError, UsageError
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Chunk, Hit, Hits, Retriever
from pytest_llmops.providers.offline import HashingEmbedder
from pytest_llmops.retrievers.bm25 import InMemoryRetriever
from pytest_llmops.retrievers.dense import DenseRetriever
from pytest_llmops.retrievers.hybrid import HybridRetriever


def chunk(id_: str, text: str, **metadata: Json) -> Chunk:
    return Chunk(id=id_, text=text, metadata=metadata)


class Plane:
    """A text is its two numbers: the cosine can be worked out by hand."""

    version = "plane/1"

    def __init__(self) -> None:
        self.calls: list[str] = []

    def embed(self, texts: Sequence[str]) -> Any:
        self.calls.extend(texts)
        return np.array([[float(part) for part in text.split()] for text in texts], dtype=np.float32)


PLANE = (
    chunk("east", "1 0", side="right", tags=["x", "y"]),
    chunk("north", "0 2", side="none"),
    chunk("north-east", "3 3", side="right"),
    chunk("west", "-1 0", side="left"),
    chunk("nowhere", "0 0", side="none"),
)


def plane(**options: Any) -> DenseRetriever:
    return DenseRetriever(PLANE, **{"embedder": Plane(), **options})


def test_it_is_a_retriever() -> None:
    retriever = plane(name="compass")
    assert isinstance(retriever, Retriever)
    assert (retriever.name, retriever.k, retriever.documents) == ("compass", 5, 5)
    assert retriever.chunks == tuple(retriever.listing()) == PLANE


def test_the_score_is_the_cosine() -> None:
    hits = plane().search("2 0")
    assert [(hit.id, hit.score) for hit in hits] == [
        ("east", 1.0),
        ("north-east", pytest.approx(math.sqrt(0.5), abs=1e-7)),
        ("north", 0.0),
        ("west", -1.0),
    ]
    assert hits[0] == Hit(id="east", text="1 0", score=1.0, metadata={"side": "right", "tags": ["x", "y"]})
    assert type(hits[0].score) is float
    assert hits.query == "2 0"


def test_a_text_or_query_without_direction_is_not_found_and_finds_nothing() -> None:
    assert "nowhere" not in plane().search("1 1").ids
    assert plane().search("0 0").ids == []


def test_k_and_filters() -> None:
    retriever = plane(k=2)
    assert retriever.search("1 0").ids == ["east", "north-east"]
    assert retriever.search("1 0", 1).ids == ["east"]
    assert retriever.search("1 0", 99).ids == ["east", "north-east", "north", "west"]
    assert retriever.search("1 0", filters={"side": ["none", "left"]}).ids == ["north", "west"]
    assert retriever.search("1 0", 1, {"tags": "y"}).ids == ["east"]
    assert retriever.search("1 0", filters={"side": "up"}).ids == []
    with pytest.raises(UsageError, check=check_message):
        retriever.search("1 0", 0)
    with pytest.raises(UsageError, match="filters: side"):
        retriever.search("1 0", filters={"side": None})


@pytest.mark.slow
def test_equal_texts_tie_and_keep_the_order_of_the_corpus() -> None:
    texts = ["refunds take thirty days", "shipping takes three days"]
    corpus = [chunk(str(number), texts[number % 2], odd=number % 2) for number in range(1003, 0, -1)]
    hits = DenseRetriever(corpus, embedder=HashingEmbedder(dim=509), k=1003).search("thirty days of refunds")
    wanted = [passage.id for passage in corpus if passage.text == texts[0]] + [
        passage.id for passage in corpus if passage.text == texts[1]
    ]
    assert hits.ids == wanted
    assert len({hit.score for hit in hits}) == 2
    few = DenseRetriever(corpus, embedder=HashingEmbedder(dim=509)).search("thirty days of refunds")
    assert few.ids == wanted[:5]
    assert (
        DenseRetriever(corpus, embedder=HashingEmbedder(dim=509)).search("thirty", 7, {"odd": 0}).ids
        == [case.id for case in corpus if case.metadata["odd"] == 0][:7]
    )


def test_a_title_is_embedded_too() -> None:
    embedder = Plane()
    DenseRetriever([chunk("a", "1", title="0")], embedder=embedder)
    assert embedder.calls == ["0\n1"]


def test_by_name_and_the_default_settings() -> None:
    corpus = [chunk("refunds", "Refunds take 30 days."), chunk("ship", "Shipping takes three days.")]
    retriever = DenseRetriever(corpus, embedder="hashing")
    assert retriever.search("How long do refunds take?", 1).ids == ["refunds"]
    assert retriever.search("?!").ids == []


def test_an_embedder_that_fits_itself_to_one_call_is_refused() -> None:
    with pytest.raises(UsageError, check=check_message):
        DenseRetriever(PLANE, embedder="tfidf", name="handbook")


def test_what_cannot_be_a_corpus() -> None:
    with pytest.raises(CorpusError, check=check_message):
        DenseRetriever([], embedder=Plane())
    with pytest.raises(CorpusError, match="duplicate id 'east' @ DenseRetriever"):
        DenseRetriever([*PLANE, PLANE[0]], embedder=Plane())
    with pytest.raises(UsageError, check=check_message):
        DenseRetriever([chunk("a", "nan 1")], embedder=Plane())


def test_the_fingerprint_is_of_corpus_and_embedder() -> None:
    first = plane().fingerprint
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert plane(k=9, name="x").fingerprint == first
    other = Plane()
    other.version = "plane/2"
    assert plane(embedder=other).fingerprint != first
    assert DenseRetriever(PLANE[::-1], embedder=Plane()).fingerprint != first


def test_a_query_of_another_dimension() -> None:
    with pytest.raises(CorpusError, check=check_message):
        plane(name="compass").search("1 2 3")


class Fixed:
    """Ranks as it was told."""

    fingerprint = "f"

    def __init__(self, *ids: str) -> None:
        self.ids = ids
        self.calls: list[int | None] = []

    def search(self, query: str, k: int | None = None) -> Hits:
        self.calls.append(k)
        return Hits(tuple(Hit(id=id_, text=f"{id_} of {query}", score=9.0) for id_ in self.ids[:k]))


def test_reciprocal_ranks_are_fused() -> None:
    first, second = Fixed("a", "b", "c"), Fixed("c", "a", "d")
    hits = HybridRetriever([first, second], k=3).search("q")
    # Cormack, Clarke and Buettcher, 2009: the sum of 1 / (60 + rank).
    assert hits.ids == ["a", "c", "b"]
    assert [hit.score for hit in hits] == pytest.approx([1 / 61 + 1 / 62, 1 / 63 + 1 / 61, 1 / 62])
    assert hits[0].text == "a of q"
    assert first.calls == second.calls == [100]


def test_equal_sums_keep_the_order_in_which_they_were_found() -> None:
    assert HybridRetriever([Fixed("a", "b"), Fixed("b", "a")]).search("q").ids == ["a", "b"]
    assert HybridRetriever([Fixed("x"), Fixed("y"), Fixed("z")]).search("q").ids == ["x", "y", "z"]


def test_a_passage_is_as_the_first_that_found_it_has_it() -> None:
    first = InMemoryRetriever([chunk("a", "word of the first", of=1), chunk("b", "other")])
    second = InMemoryRetriever([chunk("a", "word of the second", of=2)])
    (hit,) = HybridRetriever([first, second]).search("word")
    assert (hit.text, hit.metadata) == ("word of the first", {"of": 1})


def test_words_and_vectors_together() -> None:
    corpus = [
        chunk("refunds", "Refunds are paid within 30 days.", lang="en"),
        chunk("refunding", "Refunding policy", lang="en"),
        chunk("erstattung", "Refunds auf Deutsch", lang="de"),
    ]
    dense = DenseRetriever(corpus, embedder="hashing")
    hybrid = HybridRetriever([InMemoryRetriever(corpus), dense], depth=2)
    assert hybrid.search("refunds", 1).ids == ["erstattung"]
    assert set(hybrid.search("refunds", filters={"lang": "en"}).ids) == {"refunds", "refunding"}
    assert hybrid.documents == 3
    assert hybrid.listing() == corpus
    assert re.fullmatch("[0-9a-f]{16}", hybrid.fingerprint)
    other = HybridRetriever([InMemoryRetriever(corpus), DenseRetriever(corpus[:2], embedder="hashing")])
    assert hybrid.fingerprint != other.fingerprint


def test_what_a_hybrid_cannot_be_made_of() -> None:
    with pytest.raises(UsageError, check=check_message):
        HybridRetriever([Fixed("a")])
    with pytest.raises(UsageError, check=check_message):
        HybridRetriever([Fixed("a"), "b"])  # type: ignore[list-item]
    with pytest.raises(UsageError, check=check_message):
        HybridRetriever([Fixed("a"), Fixed("b")], depth=0)
    plain = HybridRetriever([Fixed("a"), Fixed("b")], name="both")
    with pytest.raises(UsageError, check=check_message):
        plain.search("q", filters={"lang": "en"})
    with pytest.raises(UsageError, check=check_message):
        plain.listing()
    assert plain.documents is None
    assert HybridRetriever([Fixed("a"), InMemoryRetriever([chunk("a", "x")])]).documents is None
