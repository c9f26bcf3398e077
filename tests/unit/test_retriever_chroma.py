"""`ChromaRetriever` over stand-ins with the calls of Chroma; `tests/stores` has the same with the real package."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message
from support.stand_in_modules import Plane, refused, use_module

from pytest_llmops.errors import CorpusError, UnknownName, UsageError
from pytest_llmops.protocols import Chunk, Hit
from pytest_llmops.retrievers import chroma
from pytest_llmops.retrievers.chroma import ChromaRetriever, _build_where_clause, _find_space


class Collection:
    """As a collection of Chroma."""

    def __init__(self, name: str = "docs", vectors: Sequence[Sequence[float]] | None = ((1.0, 0.0),)) -> None:
        self.name = name
        self.configuration_json = {"hnsw": {"space": "cosine"}}
        self.metadata: Mapping[str, Any] | None = None
        self.vectors = vectors
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.rows: list[tuple[str, str | None, Mapping[str, Any] | None]] = [
            ("a", "one", {"page": 1}),
            ("b", None, None),
        ]
        self.page: dict[str, Any] = {
            "ids": [["a", "b"]],
            "documents": [["one", None]],
            "metadatas": [[{"page": 1}, None]],
            "distances": [[0.25, 0.5]],
            "uris": [[None, "b.png"]],
        }

    def count(self) -> int:
        return len(self.rows)

    def get(self, *, limit: int, include: list[str], offset: int = 0) -> dict[str, Any]:
        self.calls.append(("get", {"limit": limit, "offset": offset, "include": include}))
        if include == ["embeddings"]:
            return {"embeddings": self.vectors}
        rows = self.rows[offset : offset + limit]
        return {
            "ids": [row[0] for row in rows],
            "documents": [row[1] for row in rows],
            "metadatas": [row[2] for row in rows],
        }

    def query(self, **arguments: Any) -> dict[str, Any]:
        self.calls.append(("query", arguments))
        return self.page


INCLUDE = ["documents", "metadatas", "distances", "uris"]


def test_chroma_finds_by_a_vector_of_the_embedder() -> None:
    collection = Collection()
    retriever = ChromaRetriever(collection, embedder=Plane())
    assert (retriever.name, retriever.k, retriever.space, retriever.documents) == ("docs", 5, "cosine", 2)
    hits = retriever.search("0 2", 3)
    assert list(hits) == [
        Hit(id="a", text="one", score=0.75, metadata={"page": 1}),
        Hit(id="b", text="", score=0.5, metadata={"uri": "b.png"}),
    ]
    assert list(hits[0].metadata) == ["page"]
    width, query = collection.calls
    assert width == ("get", {"limit": 1, "offset": 0, "include": ["embeddings"]})
    (vector,) = query[1].pop("query_embeddings")
    assert vector.tolist() == [0.0, 1.0]
    assert query == ("query", {"n_results": 3, "include": INCLUDE})
    assert list(retriever.search("0 0")) == []
    assert len(collection.calls) == 2


def test_chroma_finds_by_a_text_without_an_embedder() -> None:
    collection = Collection()
    retriever = ChromaRetriever(collection, k=2, name="mine")
    assert (retriever.name, retriever.where, retriever.k) == ("mine", "Chroma collection 'mine'", 2)
    assert retriever.search("refunds", filters={"page": 1}).ids == ["a", "b"]
    assert collection.calls == [
        (
            "query",
            {"query_texts": ["refunds"], "n_results": 2, "include": INCLUDE, "where": {"page": {"$in": [1]}}},
        )
    ]
    assert list(retriever.search(" ")) == []
    assert len(collection.calls) == 1
    collection._embedding_function = None  # type: ignore[attr-defined]
    assert list(retriever.search(" ")) == []
    with pytest.raises(UsageError, check=check_message):
        retriever.search("refunds")


def test_a_result_of_chroma_with_columns_of_other_lengths_is_an_error() -> None:
    collection = Collection()
    collection.page["uris"] = [[None]]
    with pytest.raises(CorpusError):
        ChromaRetriever(collection).search("refunds")


@pytest.mark.parametrize("vectors", [None, [], [(1.0, 0.0, 0.0)]])
def test_a_query_vector_has_the_length_of_chromas_vectors_if_there_are_any(vectors: Any) -> None:
    retriever = ChromaRetriever(Collection(vectors=vectors), embedder=Plane())
    assert retriever.search("1 0 0").ids == ["a", "b"]


def test_a_query_vector_of_another_length_than_chromas_is_refused() -> None:
    with pytest.raises(CorpusError, check=check_message):
        ChromaRetriever(Collection(), embedder=Plane()).search("1 0 0")


def test_the_length_of_chromas_vectors_is_read_once() -> None:
    collection = Collection()
    retriever = ChromaRetriever(collection, embedder=Plane())
    retriever.search("1 0")
    retriever.search("1 0")
    assert [name for name, _ in collection.calls] == ["get", "query", "query"]


def test_chroma_is_listed_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chroma, "PAGE_SIZE", 2)
    collection = Collection()
    collection.rows.append(("c", "three", {}))
    assert ChromaRetriever(collection).listing() == [
        Chunk(id="a", text="one", metadata={"page": 1}),
        Chunk(id="b", text="", metadata={}),
        Chunk(id="c", text="three", metadata={}),
    ]
    include = ["documents", "metadatas"]
    assert collection.calls == [
        ("get", {"limit": 2, "offset": 0, "include": include}),
        ("get", {"limit": 2, "offset": 2, "include": include}),
    ]


@pytest.mark.parametrize(
    ("broken", "call"), [("count", lambda store: store.documents), ("get", lambda store: store.listing())]
)
def test_a_chroma_store_that_does_not_answer_is_an_error_of_the_corpus(
    broken: str, call: Callable[[ChromaRetriever], object]
) -> None:
    collection = Collection()
    retriever = ChromaRetriever(collection)
    setattr(collection, broken, refused)
    with pytest.raises(CorpusError, check=check_message):
        call(retriever)


@pytest.mark.parametrize("missing", ["query", "get", "count"])
def test_an_object_without_a_call_of_chroma_is_not_a_collection(missing: str) -> None:
    collection = Collection()
    setattr(collection, missing, None)
    with pytest.raises(UsageError, check=check_message):
        ChromaRetriever(collection)


@pytest.mark.parametrize(
    ("configuration", "metadata", "space"),
    [
        ({"hnsw": {"space": "ip"}, "spann": {"space": "l2"}}, {"hnsw:space": "cosine"}, "ip"),
        ({"hnsw": None, "spann": {"space": "ip"}}, None, "ip"),
        ({"hnsw": {}}, {"hnsw:space": "cosine"}, "cosine"),
        (None, None, "l2"),
    ],
)
def test_the_space_of_a_chroma_collection(configuration: Any, metadata: Any, space: str) -> None:
    assert _find_space(SimpleNamespace(configuration_json=configuration, metadata=metadata)) == space


def test_a_chroma_collection_without_a_configuration_has_the_default_space() -> None:
    assert _find_space(object()) == "l2"


def test_conditions_in_chromas_words() -> None:
    assert _build_where_clause({"page": (1, 2)}) == {"page": {"$in": [1, 2]}}
    assert _build_where_clause({"page": (1, "two", 3), "lang": ("de",)}) == {
        "$and": [
            {"$or": [{"page": {"$in": [1, 3]}}, {"page": {"$in": ["two"]}}]},
            {"lang": {"$in": ["de"]}},
        ]
    }


def make_chroma_folder(tmp_path: Path) -> Path:
    sqlite3.connect(tmp_path / "chroma.sqlite3").close()
    return tmp_path


def chroma_client(entries: Sequence[Any], opened: Any) -> Any:
    return SimpleNamespace(list_collections=lambda: list(entries), get_collection=opened)


def test_a_chroma_store_on_disk_is_opened_by_the_name_of_a_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_chroma_folder(tmp_path)
    paths = []

    def client(path: str) -> Any:
        paths.append(path)
        return chroma_client(["other", SimpleNamespace(name="docs")], Collection)

    use_module(monkeypatch, "chromadb", PersistentClient=client)
    embedder = Plane()
    retriever = ChromaRetriever.open(place, "docs", embedder=embedder, k=3)
    assert (retriever.name, retriever.k, retriever.embedder, paths) == ("docs", 3, embedder, [str(place)])
    assert ChromaRetriever.open(place, "other").k == 5
    with pytest.raises(UnknownName, check=check_message) as caught:
        ChromaRetriever.open(place, "dogs")
    assert "docs" in str(caught.value)


def test_a_chroma_store_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_module(monkeypatch, "chromadb", PersistentClient=refused)
    with pytest.raises(CorpusError, check=check_message):
        ChromaRetriever.open(tmp_path / "none", "docs")
    with pytest.raises(CorpusError, check=check_message):
        ChromaRetriever.open(tmp_path, "docs")
    place = make_chroma_folder(tmp_path)
    with pytest.raises(CorpusError, match="the store is gone", check=check_message):
        ChromaRetriever.open(place, "docs")


def test_a_chroma_store_that_is_locked_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_chroma_folder(tmp_path)
    monkeypatch.setattr(chroma, "LOCK_TIMEOUT_S", 0)
    use_module(monkeypatch, "chromadb", PersistentClient=refused)
    other = sqlite3.connect(place / "chroma.sqlite3")
    try:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CorpusError, match="locked", check=check_message):
            ChromaRetriever.open(place, "docs")
    finally:
        other.close()


def test_any_other_error_of_chromas_database_is_left_to_chroma(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chroma.sqlite3").write_bytes(b"not a database" * 100)
    use_module(monkeypatch, "chromadb", PersistentClient=lambda **_: chroma_client(["docs"], Collection))
    assert ChromaRetriever.open(tmp_path, "docs").name == "docs"
