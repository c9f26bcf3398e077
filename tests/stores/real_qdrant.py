from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stores.kit import (
    CHUNKS,
    WORDS,
    Short,
    check_dimension,
    check_filters,
    check_fitted,
    check_listing,
    check_nothing_was_sent,
    check_search,
    vectors,
)

from pytest_llmops.errors import CorpusError, UnknownName, UsageError
from pytest_llmops.retrievers.qdrant import QdrantRetriever

qdrant = pytest.importorskip("qdrant_client")
models = pytest.importorskip("qdrant_client.models")


def fill(client: Any, name: str, distance: str = "Cosine") -> Any:
    params = models.VectorParams(size=WORDS.dim, distance=models.Distance(distance))
    client.create_collection(name, vectors_config=params)
    client.upsert(
        name,
        [
            models.PointStruct(
                id=number,
                vector=vector.tolist(),
                payload={"key": line.id, **({"text": line.text} if line.text else {}), **line.metadata},
            )
            for number, (line, vector) in enumerate(zip(CHUNKS, vectors(), strict=True), start=10)
        ],
    )
    return client


@pytest.fixture(scope="module")
def client() -> Any:
    return fill(qdrant.QdrantClient(":memory:"), "handbook")


@pytest.mark.parametrize("distance", ["Cosine", "Dot", "Euclid"])
def test_search(client: Any, distance: str) -> None:
    fill(client, f"by-{distance}", distance)
    check_search(QdrantRetriever(client, f"by-{distance}", embedder=WORDS, id_key="key"), distance.lower())


def test_manhattan_puts_the_nearest_first(client: Any) -> None:
    fill(client, "by-blocks", "Manhattan")
    hits = QdrantRetriever(client, "by-blocks", embedder=WORDS, id_key="key").search(
        "refunds within thirty days"
    )
    distance = float(abs(vectors()[0] - WORDS.embed(["refunds within thirty days"])[0]).sum())
    assert (hits.ids[0], hits[0].score) == ("refunds", pytest.approx(1 / (1 + distance), abs=1e-5))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_filters_and_listing(client: Any) -> None:
    retriever = QdrantRetriever(client, "handbook", embedder=WORDS, id_key="key")
    check_filters(retriever)
    check_filters(retriever, [{"page": [1.0, "x"]}, {"page": [True]}])
    check_listing(retriever)


def test_the_point_s_own_id_and_a_payload_of_langchain_s_form(client: Any) -> None:
    params = models.VectorParams(size=WORDS.dim, distance=models.Distance.COSINE)
    client.create_collection("points", vectors_config={"dense": params})
    uuid = "6c47b2a4-2a4c-4a6c-8f3e-0a1b2c3d4e5f"
    payloads = [(7, {"page_content": "A", "metadata": {"source": "a.md", "tags": ["x", "y"]}}), (uuid, None)]
    client.upsert(
        "points",
        [
            models.PointStruct(id=id_, vector={"dense": vector.tolist()}, payload=payload)
            for (id_, payload), vector in zip(payloads, vectors(), strict=False)
        ],
    )
    retriever = QdrantRetriever(
        client, "points", embedder=WORDS, text_key="page_content", vector_name="dense"
    )
    assert set(retriever.search("refunds").ids) == {"7", uuid}
    (hit,) = retriever.search("refunds", filters={"metadata.source": ["a.md", "b.md"], "metadata.tags": "y"})
    assert (hit.text, hit.metadata) == ("A", {"metadata": {"source": "a.md", "tags": ["x", "y"]}})
    with pytest.raises(UnknownName, match=r"unknown vector ''.*known are dense"):
        QdrantRetriever(client, "points", embedder=WORDS)
    with pytest.raises(UnknownName, match=r"unknown vector 'dens'.*did you mean 'dense'"):
        QdrantRetriever(client, "points", embedder=WORDS, vector_name="dens")
    with pytest.raises(CorpusError, match="has no id: expected the key 'key' in its payload, got"):
        QdrantRetriever(client, "points", embedder=WORDS, vector_name="dense", id_key="key").search("refunds")


def test_an_id_that_stands_twice(client: Any) -> None:
    retriever = QdrantRetriever(client, "handbook", embedder=WORDS, id_key="lang")
    with pytest.raises(CorpusError, match="the id 'en' was found twice: expected a unique id"):
        retriever.search("refunds")


def test_another_embedder(client: Any) -> None:
    check_dimension(QdrantRetriever(client, "handbook", embedder=Short()))
    check_fitted(lambda embedder: QdrantRetriever(client, "handbook", embedder=embedder))
    with pytest.raises(UsageError, match="expected a QdrantClient, got str"):
        QdrantRetriever("handbook", "handbook", embedder=WORDS)
    with pytest.raises(UnknownName, match=r"unknown Qdrant collection 'handbok'.*did you mean 'handbook'"):
        QdrantRetriever(client, "handbok", embedder=WORDS)


def test_a_collection_that_is_gone(client: Any) -> None:
    retriever = QdrantRetriever(fill(client, "going"), "going", embedder=WORDS)
    client.delete_collection("going")
    with pytest.raises(CorpusError, match=r"the search failed: ValueError: .*@ Qdrant collection 'going'"):
        retriever.search("refunds")


def test_on_disk_and_locked(tmp_path: Path) -> None:
    client = fill(qdrant.QdrantClient(path=str(tmp_path / "store")), "handbook")
    with pytest.raises(CorpusError, match=r"is locked: another client has it open: .*close the other client"):
        QdrantRetriever.open(tmp_path / "store", "handbook", embedder=WORDS)
    client.close()
    with pytest.raises(CorpusError, match=r"cannot be searched: .*closed"):
        QdrantRetriever(client, "handbook", embedder=WORDS)
    retriever = QdrantRetriever.open(tmp_path / "store", "handbook", embedder=WORDS, id_key="key", k=1)
    assert retriever.search("refunds").ids == ["refunds"]
    retriever.client.close()
    with pytest.raises(CorpusError, match=r"the search failed: RuntimeError: .*closed"):
        retriever.search("refunds")
    for _ in range(2):  # the first must not leave it locked
        with pytest.raises(UnknownName, match="unknown Qdrant collection 'handbok'"):
            QdrantRetriever.open(tmp_path / "store", "handbok", embedder=WORDS)
    with pytest.raises(CorpusError, match="no such file or folder: expected the folder of a Qdrant store"):
        QdrantRetriever.open(tmp_path / "none", "handbook", embedder=WORDS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="no such file or folder: expected a Qdrant store"):
        QdrantRetriever.open(tmp_path / "empty", "handbook", embedder=WORDS)
    (tmp_path / "store" / "meta.json").write_text("{", encoding="utf-8")
    with pytest.raises(CorpusError, match="cannot be opened as a Qdrant store"):
        QdrantRetriever.open(tmp_path / "store", "handbook", embedder=WORDS)
    assert list((tmp_path / "empty").iterdir()) == []


def test_nothing_was_sent() -> None:
    check_nothing_was_sent()
