from __future__ import annotations

import datetime as dt
import shutil
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
from pytest_llmops.retrievers.lancedb import LanceRetriever

lancedb = pytest.importorskip("lancedb")
pa = pytest.importorskip("pyarrow")


def rows() -> list[dict[str, Any]]:
    return [
        {"id": one.id, "text": one.text or None, **one.metadata, "vector": vector.tolist()}
        for one, vector in zip(CHUNKS, vectors(), strict=True)
    ]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return lancedb.connect(str(tmp_path_factory.mktemp("lance")))


@pytest.fixture(scope="module")
def table(database: Any) -> Any:
    return database.create_table("handbook", data=rows())


@pytest.mark.parametrize("distance", ["l2", "cosine", "dot"])
def test_search(table: Any, distance: Any) -> None:
    retriever = LanceRetriever(table, embedder=WORDS, distance=distance)
    assert retriever.name == "handbook"
    check_search(retriever, distance)


def test_filters_and_listing(table: Any) -> None:
    retriever = LanceRetriever(table, embedder=WORDS)
    check_filters(retriever)
    check_listing(retriever)


def test_filters_by_type(database: Any) -> None:
    data = [
        {"id": 7, "tags": ["x", "y's"], "file": {"name": "a.md"}, "weight": 1.5, "vector": [1.0] + [0.0] * 9},
        {"id": 8, "tags": ["z"], "file": {"name": "b.md"}, "weight": 2.0, "vector": [0.0, 1.0] + [0.0] * 8},
    ]
    found = database.create_table("types", data=data)

    class Ten:
        version = "ten/1"

        def embed(self, texts: Any) -> Any:
            import numpy as np

            return np.eye(10, dtype=np.float32)[: len(texts)]

    retriever = LanceRetriever(found, embedder=Ten(), text_column="")
    assert retriever.search("?", filters={"tags": ["y's", "none"]}).ids == ["7"]
    assert retriever.search("?", filters={"file.name": "b.md"}).ids == ["8"]
    assert retriever.search("?", filters={"weight": 2}).ids == ["8"]
    assert retriever.search("?", filters={"id": 7.0}).ids == ["7"]
    assert retriever.search("?")[0].metadata == {
        "tags": ["x", "y's"],
        "file": {"name": "a.md"},
        "weight": 1.5,
    }
    for filters, said in (
        ({"lang": "de"}, r"expected one of the columns file, id, tags, vector, weight, got 'lang'"),
        ({"tag": "x"}, r"got 'tag'; did you mean 'tags'"),
        ({"file.size": 3}, r"expected one of the columns name, got 'file.size'"),
        ({"id": "x"}, r"filters: id: expected a value of the column's type int64, got 'x'"),
        ({"id": True}, r"expected a value of the column's type int64, got True"),
        ({"id": 1.5}, r"expected a value of the column's type int64, got 1.5"),
        ({"file": "x"}, r"expected a value of the column's type struct"),
    ):
        with pytest.raises(UsageError, match=said):
            retriever.search("?", filters=filters)


def test_columns_of_other_kinds(database: Any) -> None:
    when = dt.datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 -- as the store gives it back
    data = [
        {"key": "a", "at": when, "image": b"\x89PNG", "vector": vectors()[0].tolist(), "thumb": [0.5, 0.5]}
    ]
    schema = pa.schema(
        [
            ("key", pa.string()),
            ("at", pa.timestamp("us")),
            ("image", pa.binary()),
            ("vector", pa.list_(pa.float32(), WORDS.dim)),
            ("thumb", pa.list_(pa.float32(), 2)),
        ]
    )
    found = database.create_table("media", data=data, schema=schema)
    with pytest.raises(UsageError, match=r"expected one column of vectors, got thumb, vector; name it"):
        LanceRetriever(found, embedder=WORDS, id_column="key", text_column="")
    with pytest.raises(UnknownName, match=r"unknown column 'vectr'.*did you mean 'vector'"):
        LanceRetriever(found, embedder=WORDS, id_column="key", text_column="", vector_column="vectr")
    with pytest.raises(UnknownName, match=r"unknown column 'id' \(id_column of LanceDB table 'media'\)"):
        LanceRetriever(found, embedder=WORDS)
    retriever = LanceRetriever(found, embedder=WORDS, id_column="key", text_column="", vector_column="vector")
    (hit,) = retriever.search("refunds")
    assert (hit.id, hit.text) == ("a", "")
    assert hit.metadata == {"at": "2026-01-02T03:04:05", "image": "(4 bytes)"}


def test_ids_that_are_missing_or_stand_twice(database: Any) -> None:
    twice = database.create_table("twice", data=[*rows(), rows()[0]])
    with pytest.raises(CorpusError, match=r"the id 'refunds' was found twice.*@ LanceDB table 'twice'"):
        LanceRetriever(twice, embedder=WORDS).search("refunds")
    none = database.create_table("none", data=[{**rows()[0], "id": None}, *rows()[1:]])
    with pytest.raises(CorpusError, match="a row has no id: expected an id in every row of the column 'id'"):
        LanceRetriever(none, embedder=WORDS).search("refunds")


def test_the_table_s_own_embedding_function(database: Any, table: Any) -> None:
    registry = lancedb.embeddings.get_registry()

    @registry.register("words-of-the-test")
    class Own(lancedb.embeddings.TextEmbeddingFunction):  # type: ignore[misc, name-defined]
        def ndims(self) -> int:
            return WORDS.dim

        def generate_embeddings(self, texts: Any) -> Any:
            return list(WORDS.embed(list(texts)))

    own = registry.get("words-of-the-test").create()

    class Passage(lancedb.pydantic.LanceModel):  # type: ignore[misc, name-defined]
        id: str
        text: str = own.SourceField()
        vector: lancedb.pydantic.Vector(WORDS.dim) = own.VectorField()  # type: ignore[valid-type]

    found = database.create_table("own", schema=Passage)
    found.add([{"id": key, "text": text} for key, text in SEEN.items()])
    retriever = LanceRetriever(found, k=1)
    assert [retriever.search(query).ids for query in QUERIES[:2]] == [["refunds"], ["picture"]]
    assert retriever.search(" ").ids == []
    with pytest.raises(
        UsageError, match="expected an embedder, as the table has no embedding function for 'vector'"
    ):
        LanceRetriever(table).search("refunds")


def test_another_embedder(table: Any) -> None:
    check_dimension(LanceRetriever(table, embedder=Short()))
    check_fitted(lambda one: LanceRetriever(table, embedder=one))
    with pytest.raises(UsageError, match="expected distance to be l2, cosine or dot, got 'l3'"):
        LanceRetriever(table, embedder=WORDS, distance="l3")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="expected a lancedb table, got str"):
        LanceRetriever("handbook", embedder=WORDS)


def test_on_disk(tmp_path: Path) -> None:
    lancedb.connect(str(tmp_path / "store")).create_table("handbook", data=rows())
    retriever = LanceRetriever.open(tmp_path / "store", "handbook", embedder=WORDS, k=1)
    assert retriever.search("refunds").ids == ["refunds"]
    with pytest.raises(UnknownName, match=r"unknown LanceDB table 'handbok'.*did you mean 'handbook'"):
        LanceRetriever.open(tmp_path / "store", "handbok")
    with pytest.raises(
        CorpusError, match="no such file or folder: expected the folder of a LanceDB database"
    ):
        LanceRetriever.open(tmp_path / "none", "handbook")
    assert [one.name for one in tmp_path.iterdir()] == ["store"]
    shutil.rmtree(tmp_path / "store" / "handbook.lance" / "data")
    with pytest.raises(CorpusError, match=r"the search failed: .*[Nn]ot found"):
        retriever.search("refunds")
    shutil.rmtree(tmp_path / "store" / "handbook.lance" / "_versions")
    with pytest.raises(CorpusError, match="the table 'handbook' cannot be opened: "):
        LanceRetriever.open(tmp_path / "store", "handbook", embedder=WORDS)


def test_nothing_was_sent() -> None:
    check_nothing_was_sent()
