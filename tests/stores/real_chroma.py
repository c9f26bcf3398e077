from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stores.kit import (
    CHUNKS,
    QUERIES,
    SEEN,
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
from pytest_llmops.retrievers.chroma import ChromaRetriever

chromadb = pytest.importorskip("chromadb")

LOCK = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("CREATE TABLE held(id)")
held.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


def fill(client: Any, name: str, **options: Any) -> Any:
    collection = client.create_collection(name, **{"embedding_function": None, **options})
    collection.add(
        ids=[chunk.id for chunk in CHUNKS],
        embeddings=vectors(),
        documents=[chunk.text or None for chunk in CHUNKS],
        metadatas=[dict(chunk.metadata) for chunk in CHUNKS],
    )
    return collection


@pytest.fixture(scope="module")
def client() -> Any:
    return chromadb.EphemeralClient()


@pytest.mark.parametrize("space", ["cosine", "ip", "l2"])
def test_search(client: Any, space: str) -> None:
    collection = fill(client, f"by-{space}", configuration={"hnsw": {"space": space}})
    retriever = ChromaRetriever(collection, embedder=WORDS)
    assert (retriever.space, retriever.name) == (space, f"by-{space}")
    check_search(retriever, {"ip": "dot"}.get(space, space))
    check_listing(retriever)


def test_filters(client: Any) -> None:
    retriever = ChromaRetriever(fill(client, "filtered"), embedder=WORDS)
    check_filters(retriever)
    check_filters(retriever, [{"page": [1, "x", True]}, {"lang": ["en", 3], "page": [1, 2]}])


def test_the_collection_s_own_embedding_function(client: Any) -> None:
    class Own(chromadb.EmbeddingFunction):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            pass

        @staticmethod
        def name() -> str:
            return "own"

        def __call__(self, input: Any) -> Any:  # noqa: A002 -- Chroma's name
            return list(WORDS.embed(list(input)))

    own = client.create_collection(
        "own", embedding_function=Own(), configuration={"hnsw": {"space": "cosine"}}
    )
    own.add(ids=list(SEEN), documents=list(SEEN.values()))
    retriever = ChromaRetriever(own, k=1)
    assert [retriever.search(query).ids for query in QUERIES] == [
        ["refunds"],
        ["picture"],
        ["rückgabe"],
        ["warranty"],
    ]
    assert retriever.search(" \n").ids == []
    with pytest.raises(
        UsageError, match="'bare': expected an embedder, as the collection has no embedding function"
    ):
        ChromaRetriever(fill(client, "bare")).search("refunds")


def test_a_record_with_a_uri_and_no_metadata(client: Any) -> None:
    collection = client.create_collection("images", embedding_function=None)
    collection.add(ids=["photo"], embeddings=vectors()[:1], uris=["s3://shop/photo.png"])
    (hit,) = ChromaRetriever(collection, embedder=WORDS).search("refunds")
    assert (hit.id, hit.text, hit.metadata) == ("photo", "", {"uri": "s3://shop/photo.png"})


def test_another_embedder(client: Any) -> None:
    collection = fill(client, "other")
    check_dimension(ChromaRetriever(collection, embedder=Short()))
    check_fitted(lambda embedder: ChromaRetriever(collection, embedder=embedder))


def test_an_empty_collection(client: Any) -> None:
    retriever = ChromaRetriever(client.create_collection("empty", embedding_function=None), embedder=WORDS)
    assert (retriever.search("refunds").ids, retriever.documents, retriever.listing()) == ([], 0, [])


def test_a_collection_that_is_gone(client: Any) -> None:
    retriever = ChromaRetriever(fill(client, "going"), embedder=WORDS)
    client.delete_collection("going")
    with pytest.raises(CorpusError, match=r"the search failed: NotFoundError: .*@ Chroma collection 'going'"):
        retriever.search("refunds")
    for read in (lambda: retriever.documents, retriever.listing):
        with pytest.raises(
            CorpusError, match=r"cannot be searched: NotFoundError: .*@ Chroma collection 'going'"
        ):
            read()


def test_many_records_are_listed_page_by_page(client: Any) -> None:
    collection = client.create_collection("many", embedding_function=None)
    ids = [f"n{number:04}" for number in range(2000)]
    collection.add(ids=ids, embeddings=[[1.0, number] for number in range(2000)])
    assert sorted(case.id for case in ChromaRetriever(collection, embedder=WORDS).listing()) == ids


def test_on_disk(tmp_path: Path) -> None:
    fill(chromadb.PersistentClient(path=str(tmp_path / "store")), "handbook")
    retriever = ChromaRetriever.open(tmp_path / "store", "handbook", embedder=WORDS, k=1)
    assert retriever.search("refunds").ids == ["refunds"]
    with pytest.raises(UnknownName, match=r"unknown Chroma collection 'handbok'.*did you mean 'handbook'"):
        ChromaRetriever.open(tmp_path / "store", "handbok")
    with pytest.raises(
        CorpusError, match="no such file or folder: expected the folder of a Chroma store; build"
    ):
        ChromaRetriever.open(tmp_path / "none", "handbook")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="no such file or folder: expected a Chroma store"):
        ChromaRetriever.open(tmp_path / "empty", "handbook")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "store"]
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_damaged_store_and_one_open_otherwise(tmp_path: Path) -> None:
    (tmp_path / "chroma.sqlite3").write_bytes(b"garbage" * 1000)
    with pytest.raises(CorpusError, match=r"cannot be opened as a Chroma store: .*not a database"):
        ChromaRetriever.open(tmp_path, "handbook")
    settings = chromadb.config.Settings(anonymized_telemetry=False, allow_reset=True)
    client = chromadb.PersistentClient(path=str(tmp_path / "store"), settings=settings)
    client.list_collections()
    with pytest.raises(CorpusError, match=r"different settings.*close it or pass the collection itself"):
        ChromaRetriever.open(tmp_path / "store", "handbook")


def test_a_locked_store(tmp_path: Path) -> None:
    (tmp_path / "chroma.sqlite3").touch()
    command = [sys.executable, "-S", "-c", LOCK, str(tmp_path / "chroma.sqlite3")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(CorpusError, match="is locked: another process writes to it") as caught:
            ChromaRetriever.open(tmp_path, "handbook", embedder=WORDS)
        holder.stdin.close()
    assert str(caught.value).endswith(f"wait for it, or end it @ {tmp_path}")


def test_what_is_no_collection() -> None:
    with pytest.raises(UsageError, match="expected a chromadb collection, got str"):
        ChromaRetriever("handbook")


def test_nothing_was_sent() -> None:
    check_nothing_was_sent()
