"""`QdrantRetriever` over stand-ins with the calls of Qdrant; `tests/stores` has the same with the real package."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message
from support.stand_in_modules import Plane, refused, use_module

from pytest_llmops.errors import CorpusError, UnknownName, UsageError
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Chunk, Hit
from pytest_llmops.retrievers.qdrant import QdrantRetriever, _build_query_filter, _find_vector_params

VECTOR = SimpleNamespace(size=2, distance=SimpleNamespace(value="Cosine"))


def point(id_: Any, score: float, payload: Any) -> SimpleNamespace:
    return SimpleNamespace(id=id_, score=score, payload=payload)


class Qdrant:
    """As `qdrant_client.QdrantClient`."""

    def __init__(self, vectors: Any = VECTOR) -> None:
        self.vectors = vectors
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.closed = 0
        self.points = [point(1, 0.75, {"text": "one", "page": 1, "key": "k1"}), point(2, 0.5, None)]

    def get_collections(self) -> Any:
        return SimpleNamespace(collections=[SimpleNamespace(name="other"), SimpleNamespace(name="docs")])

    def get_collection(self, name: str) -> Any:
        assert name == "docs"
        return SimpleNamespace(config=SimpleNamespace(params=SimpleNamespace(vectors=self.vectors)))

    def count(self, name: str) -> Any:
        assert name == "docs"
        return SimpleNamespace(count=len(self.points))

    def scroll(self, name: str, **arguments: Any) -> tuple[list[Any], Any]:
        self.calls.append((name, arguments))
        offset = arguments["offset"] or 0
        following = offset + 1 if offset + 1 < len(self.points) else None
        return self.points[offset : offset + 1], following

    def query_points(self, name: str, **arguments: Any) -> Any:
        self.calls.append((name, arguments))
        return SimpleNamespace(points=self.points)

    def close(self) -> None:
        self.closed += 1


def test_qdrant_finds_by_a_vector_and_keeps_its_scores() -> None:
    client = Qdrant()
    retriever = QdrantRetriever(client, "docs", embedder=Plane())
    assert (retriever.name, retriever.k, retriever.documents) == ("docs", 5, 2)
    assert list(retriever.search("0 2", 3)) == [
        Hit(id="1", text="one", score=0.75, metadata={"page": 1, "key": "k1"}),
        Hit(id="2", text="", score=0.5, metadata={}),
    ]
    arguments = {"using": None, "query_filter": None, "limit": 3, "with_payload": True}
    assert client.calls == [("docs", {"query": [0.0, 1.0], **arguments})]
    assert list(retriever.search("0 0")) == []
    assert len(client.calls) == 1
    with pytest.raises(CorpusError, check=check_message):
        retriever.search("1 0 0")


@pytest.mark.parametrize(
    ("distance", "scores"),
    [("Dot", [3.0, 0.0]), ("Euclid", [0.25, 1.0]), ("Manhattan", [0.25, 1.0])],
)
def test_a_qdrant_distance_becomes_a_score(distance: str, scores: list[float]) -> None:
    client = Qdrant({"title": SimpleNamespace(size=2, distance=distance)})
    client.points = [point("x", 3.0, {"body": "one"}), point("y", 0.0, {})]
    retriever = QdrantRetriever(client, "docs", embedder=Plane(), text_key="body", vector_name="title", k=2)
    hits = retriever.search("1 0")
    assert [hit.score for hit in hits] == scores
    assert (hits[0].text, hits[0].metadata) == ("one", {})
    assert (client.calls[0][1]["using"], client.calls[0][1]["limit"]) == ("title", 2)


def test_qdrant_is_listed_page_by_page() -> None:
    client = Qdrant()
    retriever = QdrantRetriever(client, "docs", embedder=Plane())
    assert retriever.listing() == [
        Chunk(id="1", text="one", metadata={"page": 1, "key": "k1"}),
        Chunk(id="2", text="", metadata={}),
    ]
    page = {"limit": 1000, "with_payload": True}
    assert client.calls == [("docs", {"offset": None, **page}), ("docs", {"offset": 1, **page})]


def test_the_id_of_a_qdrant_point_may_be_in_its_payload() -> None:
    client = Qdrant()
    retriever = QdrantRetriever(client, "docs", embedder=Plane(), id_key="key")
    client.points.pop()
    assert list(retriever.search("1 0")) == [Hit(id="k1", text="one", score=0.75, metadata={"page": 1})]
    client.points = [point(7, 1.0, {"text": "one", "page": 1})]
    with pytest.raises(CorpusError, match="point 7 ", check=check_message):
        retriever.search("1 0")


@pytest.mark.parametrize("missing", ["query_points", "get_collection", "scroll"])
def test_an_object_without_a_call_of_qdrant_is_not_a_client(missing: str) -> None:
    client = Qdrant()
    setattr(client, missing, None)
    with pytest.raises(UsageError, check=check_message):
        QdrantRetriever(client, "docs", embedder=Plane())


def test_a_qdrant_store_without_the_collection_or_an_answer() -> None:
    client = Qdrant()
    with pytest.raises(UnknownName, check=check_message):
        QdrantRetriever(client, "dogs", embedder=Plane())
    client.get_collection = refused  # type: ignore[method-assign]
    with pytest.raises(CorpusError, match="the store is gone", check=check_message):
        QdrantRetriever(client, "docs", embedder=Plane())


def test_the_vector_of_a_qdrant_collection() -> None:
    named = {"title": VECTOR}
    assert _find_vector_params(VECTOR, "", "docs") is VECTOR
    assert _find_vector_params(named, "title", "docs") is VECTOR
    for vectors, name in ((named, ""), (named, "body"), (VECTOR, "title")):
        with pytest.raises(UnknownName, check=check_message):
            _find_vector_params(vectors, name, "docs")
    for sparse in (None, {}, object()):
        with pytest.raises(CorpusError, check=check_message):
            _find_vector_params(sparse, "", "docs")


def test_conditions_in_qdrants_words(monkeypatch: pytest.MonkeyPatch) -> None:
    use_module(
        monkeypatch,
        "qdrant_client.models",
        FieldCondition=lambda **given: ("field", given),
        MatchValue=lambda **given: ("match", given),
        Range=lambda **given: ("range", given),
        Filter=lambda **given: ("filter", given),
    )
    conditions = {"lang": ("de", True), "page": (1,)}
    words = ("field", {"key": "lang", "match": ("match", {"value": "de"})})
    truth = ("field", {"key": "lang", "match": ("match", {"value": True})})
    number = ("field", {"key": "page", "range": ("range", {"gte": 1, "lte": 1})})
    expected = (
        "filter",
        {"must": [("filter", {"should": [words, truth]}), ("filter", {"should": [number]})]},
    )
    assert _build_query_filter(conditions) == expected
    client = Qdrant()
    filters: dict[str, Json] = {"lang": ["de", True], "page": 1}
    QdrantRetriever(client, "docs", embedder=Plane()).search("1 0", filters=filters)
    assert client.calls[0][1]["query_filter"] == expected


def test_a_qdrant_store_on_disk_is_opened_and_closed_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients: list[tuple[Qdrant, str]] = []

    def open_client(path: str) -> Qdrant:
        clients.append((Qdrant(), path))
        return clients[-1][0]

    use_module(monkeypatch, "qdrant_client", QdrantClient=open_client)
    with pytest.raises(CorpusError, check=check_message):
        QdrantRetriever.open(tmp_path / "none", "docs", embedder=Plane())
    with pytest.raises(CorpusError, check=check_message):
        QdrantRetriever.open(tmp_path, "docs", embedder=Plane())
    assert clients == []
    (tmp_path / "meta.json").touch()
    retriever = QdrantRetriever.open(tmp_path, "docs", embedder=Plane(), k=3)
    client, path = clients[0]
    assert (retriever.client, retriever.collection, retriever.k, path) == (client, "docs", 3, str(tmp_path))
    assert client.closed == 0
    with pytest.raises(UnknownName):
        QdrantRetriever.open(tmp_path, "dogs", embedder=Plane())
    assert clients[1][0].closed == 1


@pytest.mark.parametrize("text", ["Storage is already accessed by another instance", "bad JSON"])
def test_a_qdrant_store_that_cannot_be_opened(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: str) -> None:
        raise RuntimeError(text)

    (tmp_path / "meta.json").touch()
    use_module(monkeypatch, "qdrant_client", QdrantClient=fail)
    with pytest.raises(CorpusError, match=text, check=check_message):
        QdrantRetriever.open(tmp_path, "docs", embedder=Plane())
