from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_llmops.errors import UsageError
from pytest_llmops.providers import embedding_cache
from pytest_llmops.providers.embedding_cache import CachedEmbedder, with_vector_cache
from pytest_llmops.providers.offline import HashingEmbedder, TfidfEmbedder
from pytest_llmops.providers.openai import OpenAIEmbedder
from pytest_llmops.registry import component_name
from pytest_llmops.testing import check_embedder

DIM = 64


class Counting:
    """A local embedder that says what it was asked."""

    cacheable: Any = True
    default_threshold = 0.5
    name = "counting: a/b"

    def __init__(self, version: str = "counting/1") -> None:
        self.version = version
        self.calls: list[list[str]] = []

    def embed(self, texts: Sequence[str]) -> Any:
        self.calls.append(list(texts))
        return HashingEmbedder(dim=DIM).embed(texts)


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    embedding_cache._memory.clear()
    yield
    embedding_cache._memory.clear()


def test_a_text_is_embedded_once() -> None:
    inner = Counting()
    embedder = with_vector_cache(inner)
    first = embedder.embed(["a", "b", "a"])
    again = embedder.embed(["b", "c", "a"])
    assert inner.calls == [["a", "b"], ["c"]]
    np.testing.assert_array_equal(first, HashingEmbedder(dim=DIM).embed(["a", "b", "a"]))
    np.testing.assert_array_equal(again, HashingEmbedder(dim=DIM).embed(["b", "c", "a"]))
    assert with_vector_cache(Counting()).embed(["a"]).tolist() == first[:1].tolist()


def test_it_is_the_embedder_in_all_else() -> None:
    inner = Counting()
    embedder: Any = with_vector_cache(inner)
    assert (embedder.version, embedder.name, embedder.default_threshold) == (
        "counting/1",
        "counting: a/b",
        0.5,
    )
    assert not hasattr(embedder, "embed_tokens")
    assert with_vector_cache(embedder) is embedder
    assert embedder.embed([]).shape == (0, DIM)
    check_embedder(embedder)


def test_one_without_a_name_has_the_name_of_its_type() -> None:
    class Nameless(Counting):
        name = ""

    embedder = CachedEmbedder(Nameless())
    assert component_name(embedder) == embedder.name == "Nameless"


@pytest.mark.parametrize("value", [False, None, "yes", 1])
def test_only_an_embedder_that_says_so_is_cached(value: Any) -> None:
    inner = Counting()
    inner.cacheable = value
    assert with_vector_cache(inner) is inner


@pytest.mark.parametrize("embedder", [TfidfEmbedder(), OpenAIEmbedder()])
def test_what_is_fitted_to_its_texts_or_asks_a_server_never_is(embedder: Any) -> None:
    assert with_vector_cache(embedder) is embedder


def test_vectors_belong_to_version_and_type() -> None:
    class Other(Counting):
        pass

    inners = [Counting("1"), Counting("2"), Other("1")]
    for inner in inners:
        with_vector_cache(inner).embed(["a"])
    assert [inner.calls for inner in inners] == [[["a"]]] * 3


def test_a_vector_that_was_handed_out_may_be_changed() -> None:
    embedder = with_vector_cache(Counting())
    rows = embedder.embed(["a"])
    rows *= 0
    assert embedder.embed(["a"]).any()


def test_the_one_used_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache._memory, "limit", 2 * DIM * 4)
    inner = Counting()
    embedder = with_vector_cache(inner)
    for texts in (["a"], ["b"], ["a"], ["c"], ["a"], ["b"]):
        embedder.embed(texts)
    assert inner.calls == [["a"], ["b"], ["c"], ["b"]]
    assert len(embedding_cache._memory) == 2


class Wrong(Counting):
    """Gives something else than vectors, once it has given some."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def embed(self, texts: Sequence[str]) -> Any:
        self.calls.append(list(texts))
        return super().embed(texts) if len(self.calls) == 1 else self.answer


@pytest.mark.parametrize("answer", [None, [[1.0]], np.zeros(3), np.zeros((1, 2, 3)), np.zeros((5, DIM))])
def test_a_wrong_answer_is_handed_on_as_it_is(answer: Any) -> None:
    inner = Wrong(answer)
    assert with_vector_cache(inner).embed(["a", "b"]).shape == (2, DIM)
    assert with_vector_cache(inner).embed(["a", "c"]) is answer
    assert inner.calls[-1] == ["a", "c"]


def test_nan_is_not_remembered() -> None:
    inner = Wrong(np.full((1, DIM), np.nan, dtype=np.float32))
    embedder = with_vector_cache(inner)
    embedder.embed(["a"])
    assert np.isnan(embedder.embed(["b"])).all()
    assert np.isnan(embedder.embed(["b"])).all()
    assert len([texts for texts in inner.calls if texts == ["b"]]) == 2


def test_a_text_instead_of_a_list_is_the_embedders_to_refuse() -> None:
    class Refusing(Counting):
        def embed(self, texts: Sequence[str]) -> Any:
            raise UsageError(f"expected a list, got {texts!r}")

    with pytest.raises(UsageError, match="expected a list, got 'refund'"):
        with_vector_cache(Refusing()).embed("refund")


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with_vector_cache(Counting()).embed(["a"])
    assert list(tmp_path.iterdir()) == []
