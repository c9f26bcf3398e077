"""`FaissRetriever` over stand-ins with the calls of FAISS; `tests/stores` has the same with the real package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.messages import check_message
from support.stand_in_modules import Plane, refused, use_module

from pytest_llmops.errors import CorpusError, UsageError
from pytest_llmops.protocols import Chunk, Hit
from pytest_llmops.retrievers.faiss import FaissRetriever


class Index:
    """As an index of FAISS: finds `found`, and pads with -1."""

    d = 2
    metric_type = 0

    def __init__(self, total: int = 3, found: Sequence[tuple[float, int]] = ()) -> None:
        self.ntotal = total
        self.found = found or [(0.75, 1), (0.5, 0), (0.25, 2)]
        self.searches: list[tuple[list[list[float]], int]] = []

    def search(self, vectors: Any, count: int) -> tuple[Any, Any]:
        self.searches.append((vectors.tolist(), count))
        padded = [*self.found, *[(0.0, -1)] * count][:count]
        return np.array([[value for value, _ in padded]]), np.array([[number for _, number in padded]])


class Lists:
    """As the inverted lists of an IVF index."""

    def __init__(self, *lists: Sequence[int]) -> None:
        self.lists = lists
        self.nlist = len(lists)

    def list_size(self, number: int) -> int:
        return len(self.lists[number])

    def get_ids(self, number: int) -> Sequence[int]:
        assert self.lists[number], "FAISS has no pointer to an empty list"
        return self.lists[number]


def use_faiss(monkeypatch: pytest.MonkeyPatch, lists: Lists | None = None, **members: Any) -> None:
    ivf = SimpleNamespace(invlists=lists)
    use_module(
        monkeypatch,
        "faiss",
        Index=Index,
        try_extract_index_ivf=lambda _: ivf if lists else None,
        extract_index_ivf=lambda _: ivf,
        rev_swig_ptr=lambda ids, size: np.array(ids[:size]),
        vector_to_array=np.array,
        **members,
    )


IDS = ["a", "b", "c"]


def test_faiss_finds_passages_by_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    use_faiss(monkeypatch)
    index = Index()
    pages = [{"page": 1}, {"page": 2}, {"page": 1}]
    retriever = FaissRetriever(index, iter(IDS), ["one", "two", "three"], embedder=Plane(), metadata=pages)  # type: ignore[arg-type]
    assert (retriever.name, retriever.where, retriever.k, retriever.documents) == ("", "FAISS index", 5, 3)
    assert retriever.listing() == list(retriever.chunks)
    assert retriever.listing()[2] == Chunk(id="c", text="three", metadata={"page": 1})
    assert list(retriever.search("0 2", 2)) == [
        Hit(id="b", text="two", score=0.75, metadata={"page": 2}),
        Hit(id="a", text="one", score=0.5, metadata={"page": 1}),
    ]
    assert retriever.search("0 2").ids == ["b", "a", "c"]
    assert retriever.search("0 2", 1, filters={"page": 1}).ids == ["a"]
    assert retriever.search("0 2", 2, filters={"page": 1}).ids == ["a", "c"]
    assert index.searches == [([[0.0, 1.0]], count) for count in (2, 3, 3, 3)]
    assert list(retriever.search("0 0")) == []
    assert len(index.searches) == 4
    with pytest.raises(CorpusError, check=check_message):
        retriever.search("1 0 0")


def test_numbers_that_pad_the_result_of_faiss_are_no_hits(monkeypatch: pytest.MonkeyPatch) -> None:
    use_faiss(monkeypatch)
    index = Index(found=[(0.75, -1), (0.5, 0)])
    retriever = FaissRetriever(index, IDS, embedder=Plane(), name="mine")
    assert (retriever.name, retriever.where) == ("mine", "FAISS index 'mine'")
    assert list(retriever.search("1 0")) == [Hit(id="a", text="", score=0.5)]


def test_a_faiss_distance_becomes_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    use_faiss(monkeypatch)
    index = Index(found=[(0.0, 0), (3.0, 1)])
    index.metric_type = 1
    hits = FaissRetriever(index, IDS, embedder=Plane(), k=2).search("1 0")
    assert [(hit.id, hit.score) for hit in hits] == [("a", 1.0), ("b", 0.25)]


def test_a_faiss_index_that_has_grown_needs_a_new_retriever(monkeypatch: pytest.MonkeyPatch) -> None:
    use_faiss(monkeypatch)
    index = Index()
    retriever = FaissRetriever(index, IDS, embedder=Plane())
    index.ntotal = 4
    with pytest.raises(CorpusError, check=check_message):
        retriever.search("1 0")


def test_numbers_of_a_faiss_id_map_are_mapped_to_places(monkeypatch: pytest.MonkeyPatch) -> None:
    use_faiss(monkeypatch)
    index = Index(found=[(0.75, 20), (0.5, 10)])
    index.id_map = [10, 20, 30]  # type: ignore[attr-defined]
    assert FaissRetriever(index, IDS, embedder=Plane()).search("1 0").ids == ["b", "a"]
    index.id_map = [10, 20, 20]  # type: ignore[attr-defined]
    with pytest.raises(CorpusError, check=check_message):
        FaissRetriever(index, IDS, embedder=Plane())


def test_numbers_in_the_lists_of_a_faiss_index_are_places(monkeypatch: pytest.MonkeyPatch) -> None:
    use_faiss(monkeypatch, Lists([2], [], [0, 1]))
    assert FaissRetriever(Index(), IDS, embedder=Plane()).search("1 0").ids == ["b", "a", "c"]
    for wrong in (Lists([7], [0, 1]), Lists([1], [0])):
        use_faiss(monkeypatch, wrong)
        with pytest.raises(CorpusError, check=check_message):
            FaissRetriever(Index(), IDS, embedder=Plane())


def test_an_index_that_is_not_of_faiss_has_no_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    use_faiss(monkeypatch, Lists([7]))
    other = SimpleNamespace(search=Index().search, ntotal=3, d=2, metric_type=0)
    assert FaissRetriever(other, IDS, embedder=Plane()).search("1 0").ids == ["b", "a", "c"]


@pytest.mark.parametrize(
    "given",
    [
        {"ids": IDS[:2]},
        {"ids": []},
        {"ids": "abc"},
        {"ids": b"abc"},
        {"ids": {"a": 1, "b": 2, "c": 3}},
        {"ids": None},
        {"ids": ["a", "b", "a"]},
        {"texts": ["one"]},
        {"texts": "one"},
        {"metadata": [{}] * 4},
    ],
)
def test_faiss_needs_one_id_and_text_for_each_vector(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_faiss(monkeypatch)
    with pytest.raises(CorpusError, check=check_message):
        FaissRetriever(Index(), **{"ids": IDS, "embedder": Plane(), **given})


@pytest.mark.parametrize("wrong", [SimpleNamespace(ntotal=1), SimpleNamespace(search=len), None])
def test_an_object_without_a_call_of_faiss_is_not_an_index(wrong: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        FaissRetriever(wrong, ["a"], embedder=Plane())


def test_a_faiss_index_is_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths: list[str] = []

    def read_index(path: str) -> Index:
        paths.append(path)
        return Index()

    use_faiss(monkeypatch, read_index=read_index)
    place = tmp_path / "index.faiss"
    with pytest.raises(CorpusError, check=check_message):
        FaissRetriever.open(place, IDS, embedder=Plane())
    assert paths == []
    place.touch()
    retriever = FaissRetriever.open(place, IDS, ["one", "two", "three"], embedder=Plane(), k=2)
    assert (retriever.k, retriever.chunks[1], paths) == (2, Chunk(id="b", text="two"), [str(place)])
    use_faiss(monkeypatch, read_index=refused)
    with pytest.raises(CorpusError, match="the store is gone", check=check_message):
        FaissRetriever.open(place, IDS, embedder=Plane())
