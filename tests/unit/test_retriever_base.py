from __future__ import annotations

import datetime as dt
import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops.errors import CorpusError, UnknownName, UsageError
from pytest_llmops.protocols import Chunk, Hit
from pytest_llmops.providers.offline import HashingEmbedder, TfidfEmbedder
from pytest_llmops.retrievers.base import (
    Conditions,
    Searcher,
    check_corpus,
    embed_query,
    embed_unit_vectors,
    import_optional,
    matches_conditions,
    parse_filters,
    plain_metadata,
    require_existing_path,
    resolve_embedder,
    similarity_from_distance,
    validate_k,
)
from pytest_llmops.retrievers.bm25 import InMemoryRetriever
from pytest_llmops.retrievers.dense import DenseRetriever
from pytest_llmops.retrievers.hybrid import HybridRetriever


class Given(Searcher):
    """Finds what it was given."""

    documents = None

    def __init__(self, hits: Iterable[Hit] | Exception = (), k: int = 5) -> None:
        super().__init__(k=k, name="given", where="the store")
        self.hits = hits
        self.searches: list[tuple[str, int, Conditions]] = []

    def _find_hits(self, query: str, limit: int, wanted: Conditions) -> Iterable[Hit]:
        self.searches.append((query, limit, wanted))
        if isinstance(self.hits, Exception):
            raise self.hits
        return self.hits


def hit(id_: str, score: float = 1.0) -> Hit:
    return Hit(id=id_, text="", score=score)


def test_a_search_is_handed_on_in_one_form_and_timed() -> None:
    searcher = Given([hit("a")], k=3)
    hits = searcher.search("q")
    assert (hits.ids, hits.query) == (["a"], "q")
    assert hits.latency_s is not None
    assert 0 <= hits.latency_s < 60
    searcher.search("q", 7, {"lang": "de", "tags": ["x", 1]})
    assert searcher.searches == [("q", 3, {}), ("q", 7, {"lang": ("de",), "tags": ("x", 1)})]


def test_a_foreign_error_says_where_and_what() -> None:
    cause = OSError("disk gone")
    with pytest.raises(CorpusError, check=check_message) as caught:
        Given(cause).search("q")
    assert caught.value.__cause__ is cause


def test_an_error_of_ours_goes_through() -> None:
    cause = UsageError("as it is")
    with pytest.raises(UsageError) as caught:
        Given(cause).search("q")
    assert caught.value is cause


@pytest.mark.parametrize(
    "hits",
    [
        [hit("a"), hit("b"), hit("a")],
        [hit("a", float("nan"))],
        [hit("a", float("-inf"))],
    ],
)
def test_hits_that_cannot_be_ranked(hits: list[Hit]) -> None:
    with pytest.raises(CorpusError, check=check_message):
        Given(hits).search("q")


def test_no_frame_of_ours_is_shown(shown_frames: Callable[[BaseException], list[str]]) -> None:
    with pytest.raises(UsageError) as caught:
        Given().search("q", 0)
    assert shown_frames(caught.value) == []
    with pytest.raises(UsageError) as caught:
        Given().search("q", filters={"a": None})
    assert shown_frames(caught.value) == []


def test_a_store_that_cannot_be_listed_says_what_to_do() -> None:
    with pytest.raises(UsageError, check=check_message):
        Given().listing()


@pytest.mark.parametrize(
    "filters",
    [
        [("a", 1)],
        "lang",
        {"": "x"},
        {3: "x"},
        {"a": None},
        {"a": {"$gt": 3}},
        {"a": [["x"]]},
        {"a": float("nan")},
        {"a": []},
    ],
)
def test_filters_that_cannot_be_read(filters: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        parse_filters(filters)


def test_filters_in_one_form() -> None:
    given = {"a": "x", "b": [1, 2.5], "c": (True,), "d": frozenset({"z", "y"})}
    assert parse_filters(given) == {"a": ("x",), "b": (1, 2.5), "c": (True,), "d": ("y", "z")}  # type: ignore[arg-type]
    assert parse_filters(None) == parse_filters({}) == {}


@pytest.mark.parametrize(
    ("metadata", "wanted", "good"),
    [
        ({"a": 1}, {}, True),
        ({}, {"a": (1,)}, False),
        ({"a": None}, {"a": (1,)}, False),
        ({"a": 1, "b": "x"}, {"a": (1,), "b": ("y",)}, False),
        ({"a": 1, "b": "x"}, {"a": (2, 1), "b": ("x",)}, True),
        ({"a": True}, {"a": (1,)}, False),
        ({"a": 1}, {"a": (True,)}, False),
        ({"a": 1.0}, {"a": (1,)}, True),
        ({"a": "1"}, {"a": (1,)}, False),
        ({"a": ["x", "y"]}, {"a": ("y",)}, True),
        ({"a": []}, {"a": ("y",)}, False),
        ({"a": {"b": {"c": 3}}}, {"a.b.c": (3,)}, True),
        ({"a.b": 3, "a": {"b": 4}}, {"a.b": (3,)}, True),
        ({"a": "b"}, {"a.b": (3,)}, False),
    ],
)
def test_what_fits(metadata: Any, wanted: Any, good: bool) -> None:
    assert matches_conditions(metadata, wanted) is good


@pytest.mark.parametrize(
    ("space", "distance", "score"),
    [
        ("cosine", 0.25, 0.75),
        ("ip", 1.5, -0.5),
        ("dot", 0.0, 1.0),
        ("l2", 0.0, 1.0),
        ("l2", 3.0, 0.25),
        ("euclid", 1.0, 0.5),
    ],
)
def test_distances_turned_round(space: str, distance: float, score: float) -> None:
    assert similarity_from_distance(distance, space) == score


def test_foreign_metadata_becomes_plain() -> None:
    class Odd:
        def __str__(self) -> str:
            return "odd"

    given = {
        "n": np.float64(1.5),
        "nan": float("nan"),
        "at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        "image": b"1234",
        "tags": ("x", dt.date(2026, 1, 2)),
        "inner": {"raw": bytearray(2_000)},
        "odd": Odd(),
        "none": None,
        3: True,
    }
    assert plain_metadata(given) == {  # type: ignore[arg-type]
        "n": 1.5,
        "nan": None,
        "at": "2026-01-02T00:00:00+00:00",
        "image": "(4 bytes)",
        "tags": ["x", "2026-01-02"],
        "inner": {"raw": "(2,000 bytes)"},
        "odd": "odd",
        "none": None,
        "3": True,
    }
    assert plain_metadata(None) == {}


def test_a_package_that_is_not_there() -> None:
    assert import_optional("json", "json", "x").dumps([1]) == "[1]"
    with pytest.raises(UsageError, check=check_message):
        import_optional("no_such_package_of_anybody", "chromadb", "ChromaRetriever")
    with pytest.raises(UsageError, check=check_message):
        import_optional("no_such_package_of_anybody.models", "x", "X")


def test_a_package_that_misses_one_of_its_own_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed.py").write_text("import no_such_package_of_anybody\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package_of_anybody"):
        import_optional("half_installed", "half-installed", "X")


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    assert require_existing_path(str(tmp_path), "a store") == tmp_path
    with pytest.raises(CorpusError, check=check_message):
        require_existing_path(tmp_path / "none", "a store")


def test_what_is_no_corpus() -> None:
    with pytest.raises(CorpusError, check=check_message):
        check_corpus([], "shop")
    with pytest.raises(CorpusError, check=check_message):
        check_corpus(["text"], "shop")  # type: ignore[list-item]
    with pytest.raises(CorpusError, match="duplicate id 'a'"):
        check_corpus([Chunk(id="a", text=""), Chunk(id="a", text="")], "shop")


class Raw:
    """Gives what it was made with."""

    version = "raw/1"

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.searches: list[Sequence[str]] = []

    def embed(self, texts: Sequence[str]) -> Any:
        self.searches.append(texts)
        return self.answers.pop(0)


def test_an_embedder_by_name_and_one_that_forgets() -> None:
    assert resolve_embedder("hashing", "x") == HashingEmbedder()
    mine = HashingEmbedder(dim=8)
    assert resolve_embedder(mine, "x") is mine
    for given in ("tfidf", TfidfEmbedder()):
        with pytest.raises(UsageError, check=check_message):
            resolve_embedder(given, "the index")
    with pytest.raises(UnknownName, match="unknown embedder 'hashin'"):
        resolve_embedder("hashin", "x")
    with pytest.raises(UsageError, check=check_message):
        resolve_embedder(object(), "x")  # type: ignore[arg-type]


def test_vectors_become_unit_rows_of_32_bits() -> None:
    rows = embed_unit_vectors(Raw([[3, 4], [0, 0], [-2, 0]]), ["a", "b", "c"], "x")
    assert rows.dtype == np.float32
    assert rows.tolist() == [pytest.approx([0.6, 0.8], abs=1e-7), [0, 0], [-1, 0]]
    assert embed_unit_vectors(Raw(), [], "x").shape == (0, 0)


def test_many_texts_are_embedded_in_batches() -> None:
    raw = Raw(np.ones((1024, 2)), np.ones((76, 2)))
    assert embed_unit_vectors(raw, ["t"] * 1100, "x").shape == (1100, 2)
    assert [len(batch) for batch in raw.searches] == [1024, 76]
    with pytest.raises(UsageError, check=check_message):
        embed_unit_vectors(Raw(np.ones((1024, 2)), np.ones((1, 3))), ["t"] * 1025, "x")


@pytest.mark.parametrize(
    "answer",
    [
        [[1.0, float("nan")], [1.0, 0.0]],
        [[1.0, 0.0]],
        [[1.0], [1.0, 2.0]],
        [["a"], ["b"]],
    ],
)
def test_an_embedder_that_gives_no_vectors(answer: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        embed_unit_vectors(Raw(answer), ["a", "b"], "the index")


def test_the_vector_of_a_query() -> None:
    vector = embed_query(Raw([[0, 2]]), "q", "x", 2)
    assert vector is not None
    assert vector.tolist() == [0, 1]
    assert embed_query(Raw([[0, 0]]), "q", "x") is None
    with pytest.raises(CorpusError, check=check_message):
        embed_query(Raw([[0, 2]]), "q", "shop", 3)


def _opened(module: str, name: str, *arguments: object, method: str = "") -> Any:
    made = getattr(importlib.import_module(f"pytest_llmops.retrievers.{module}"), name)
    return (getattr(made, method) if method else made)(*arguments)


@pytest.mark.parametrize(
    ("call", "blocked"),
    [
        (lambda: _opened("chroma", "ChromaRetriever", "p", "c", method="open"), "chromadb"),
        (lambda: _opened("qdrant", "QdrantRetriever", "p", "c", method="open"), "qdrant_client"),
        (lambda: _opened("faiss", "FaissRetriever", "p", [], method="open"), "faiss"),
        (lambda: _opened("langchain", "LangChainRetriever", None), "langchain_core"),
        (lambda: _opened("llamaindex", "LlamaIndexRetriever", None), "llama_index"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_adapter_without_its_package_names_the_command(
    call: Callable[[], object], blocked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [module for module in sys.modules if module.partition(".")[0] == blocked]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, blocked, None)
    with pytest.raises(UsageError, check=check_message):
        call()


def test_numbers_of_numpy_are_numbers() -> None:
    assert (validate_k(np.int64(3)), type(validate_k(np.int64(3)))) == (3, int)
    given = {"year": [np.int64(2025), 2026], "share": np.float32(0.5), "new": np.True_, "lang": np.str_("de")}
    wanted = parse_filters(given)  # type: ignore[arg-type]  # scalars that are like Python's
    assert wanted == {"year": (2025, 2026), "share": (0.5,), "new": (True,), "lang": ("de",)}
    assert {type(value) for values in wanted.values() for value in values} == {int, float, bool, str}
    for wrong in (np.float64(2.5), np.int64(0), np.True_, np.array([1, 2])):
        with pytest.raises(UsageError, check=check_message):
            validate_k(wrong)
    with pytest.raises(UsageError, check=check_message):
        parse_filters({"x": np.float32("nan")})  # type: ignore[dict-item]  # a number that is none


@pytest.mark.parametrize("given", [None, "abc", 3])
def test_a_corpus_that_is_no_list(given: Any) -> None:
    for call in (
        lambda: InMemoryRetriever(given),
        lambda: DenseRetriever(given, embedder="hashing"),
    ):
        with pytest.raises(UsageError, check=check_message):
            call()


def test_retrievers_that_are_no_list() -> None:
    memory = InMemoryRetriever([Chunk(id="a", text="a")])
    for given in (memory, None):
        with pytest.raises(UsageError, check=check_message):
            HybridRetriever(cast("Any", given))
