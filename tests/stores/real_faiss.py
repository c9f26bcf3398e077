from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
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

from pytest_llmops.errors import CorpusError, UsageError
from pytest_llmops.retrievers.faiss import FaissRetriever

faiss = pytest.importorskip("faiss")

IDS = [chunk.id for chunk in CHUNKS]
TEXTS = [chunk.text for chunk in CHUNKS]
METADATA = [chunk.metadata for chunk in CHUNKS]


def flat(kind: str = "Flat", metric: int = faiss.METRIC_INNER_PRODUCT) -> Any:
    index = faiss.index_factory(WORDS.dim, kind, metric)
    index.add(vectors())
    return index


def numbered() -> Any:
    index = faiss.IndexIDMap(faiss.IndexFlatIP(WORDS.dim))
    index.add_with_ids(vectors(), np.array([700, 3, 0, 50, 1]))
    return index


def wrapped(index: Any, **options: Any) -> FaissRetriever:
    return FaissRetriever(index, IDS, TEXTS, **{"embedder": WORDS, "metadata": METADATA, **options})


@pytest.mark.parametrize(
    ("make", "space"),
    [
        (flat, "dot"),
        (lambda: flat(metric=faiss.METRIC_L2), "l2"),
        (lambda: flat("HNSW8,Flat", faiss.METRIC_L2), "l2"),
        (numbered, "dot"),
    ],
    ids=["inner product", "L2", "HNSW", "id map"],
)
def test_search_filters_and_listing(make: Any, space: str) -> None:
    retriever = wrapped(make())
    check_search(retriever, space)
    check_filters(retriever)
    check_listing(retriever)


def test_texts_and_metadata_can_be_left_out() -> None:
    (hit,) = FaissRetriever(flat(), IDS, embedder=WORDS, k=1).search("refunds")
    assert (hit.id, hit.text, hit.metadata) == ("refunds", "", {})


def test_lists_that_do_not_match() -> None:
    for given, text in (
        ((IDS[:4], TEXTS), "expected ids for the 5 vectors of the index, one each, got 4"),
        ((IDS, TEXTS[:2]), "expected texts for the 5 vectors of the index, one each, got 2"),
        (("abcde", TEXTS), "expected ids for the 5 vectors of the index, one each, got a text"),
        (([*IDS[:4], "refunds"], TEXTS), "duplicate id 'refunds' @ FAISS index 'shop'"),
    ):
        with pytest.raises(CorpusError, match=text):
            FaissRetriever(flat(), *given, embedder=WORDS, name="shop")
    with pytest.raises(CorpusError, match="the corpus is empty"):
        FaissRetriever(faiss.IndexFlatIP(3), [], embedder=WORDS)


def test_an_index_that_grew() -> None:
    index = flat()
    retriever = wrapped(index)
    index.add(vectors()[:1])
    with pytest.raises(
        CorpusError, match="expected the 5 vectors the retriever was made for, got 6; make it again"
    ):
        retriever.search("refunds")


def test_another_embedder() -> None:
    check_dimension(wrapped(flat(), embedder=Short()))
    check_fitted(lambda embedder: wrapped(flat(), embedder=embedder))
    with pytest.raises(UsageError, match="expected a faiss index, got list"):
        wrapped([])


def inverted(kind: str, numbers: list[int] | None) -> Any:
    index = faiss.index_factory(WORDS.dim, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors())
    if numbers is None:
        index.add(vectors())
    else:
        index.add_with_ids(vectors(), np.array(numbers))
    return index


@pytest.mark.parametrize("kind", ["IVF2,Flat", "PCA3,IVF2,Flat"])
def test_numbers_of_inverted_lists_that_are_no_places(kind: str) -> None:
    for numbers in ([700, 3, 0, 50, 1], [1, 2, 3, 4, 5], [0, 0, 1, 2, 3]):
        with pytest.raises(CorpusError, match=r"numbers of its own .*expected 0 to 4.*faiss\.IndexIDMap"):
            wrapped(inverted(kind, numbers))
    with pytest.raises(
        CorpusError, match="expected a number of its own for each of 5 vectors, got 4 numbers"
    ):
        index = faiss.IndexIDMap(faiss.IndexFlatIP(WORDS.dim))
        index.add_with_ids(vectors(), np.array([7, 7, 1, 2, 3]))
        wrapped(index)


@pytest.mark.parametrize("numbers", [None, [0, 1, 2, 3, 4]], ids=["added", "numbered"])
def test_inverted_lists(numbers: list[int] | None) -> None:
    index = inverted("IVF2,Flat", numbers)
    index.nprobe = 2
    check_search(wrapped(index), "dot")


def test_numbers_that_are_the_places_of_the_ids() -> None:
    index = inverted("IVF1,Flat", [4, 3, 2, 1, 0])
    retriever = FaissRetriever(index, IDS[::-1], TEXTS[::-1], embedder=WORDS, metadata=METADATA[::-1])
    check_search(retriever, "dot")


def test_columns_may_be_arrays() -> None:
    ids, texts, metadata = (cast("Any", np.array(column)) for column in (IDS, TEXTS, METADATA))
    check_search(FaissRetriever(flat(), ids, texts, embedder=WORDS, metadata=metadata), "dot")
    nothing: Any = None
    for ids, texts, text in (
        (nothing, TEXTS, "expected ids .*got null"),
        (IDS, nothing, "expected texts .*got null"),
    ):
        with pytest.raises(CorpusError, match=text):
            FaissRetriever(flat(), ids, texts, embedder=WORDS)


def test_on_disk(tmp_path: Path) -> None:
    faiss.write_index(numbered(), str(tmp_path / "shop.faiss"))
    retriever = FaissRetriever.open(tmp_path / "shop.faiss", IDS, TEXTS, embedder=WORDS, metadata=METADATA)
    check_search(retriever, "dot")
    with pytest.raises(CorpusError, match="no such file or folder: expected the file of a FAISS index"):
        FaissRetriever.open(tmp_path / "none", IDS, embedder=WORDS)
    (tmp_path / "bad.faiss").write_bytes(b"garbage garbage")
    with pytest.raises(CorpusError, match=r"cannot be read as a FAISS index: RuntimeError.*write it again"):
        FaissRetriever.open(tmp_path / "bad.faiss", IDS, embedder=WORDS)


def test_nothing_was_sent() -> None:
    check_nothing_was_sent()
