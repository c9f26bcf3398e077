"""What the ports promise of embedders, and what a cosine is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support.messages import check_message

from pytest_llmops.metrics.vectors import cosine
from pytest_llmops.protocols import Embedder
from pytest_llmops.providers.offline import HashingEmbedder, TfidfEmbedder
from pytest_llmops.testing.conformance import TEXTS, check_embedder

EMBEDDERS: dict[str, Embedder] = {
    "tfidf": TfidfEmbedder(),
    "hashing": HashingEmbedder(),
    "hashing-64": HashingEmbedder(dim=64),
}


@pytest.mark.parametrize("name", EMBEDDERS)
def test_the_built_in_embedders_keep_the_contract(name: str) -> None:
    check_embedder(EMBEDDERS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", EMBEDDERS)
@given(texts=st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_any_texts_give_unit_rows_or_zeros_and_are_like_themselves(name: str, texts: list[str]) -> None:
    rows = EMBEDDERS[name].embed(texts)
    assert rows.dtype == np.float32
    assert len(rows) == len(texts)
    assert np.isfinite(rows).all()
    has_words = [any(char.isalnum() for char in text) for text in texts]
    lengths = np.linalg.norm(rows, axis=1)
    assert all(
        length == pytest.approx(1, abs=1e-5)
        for length, words in zip(lengths, has_words, strict=True)
        if words
    )
    np.testing.assert_allclose(
        cosine(rows, rows).diagonal(), [1.0 if row.any() else 0.0 for row in rows], atol=1e-6
    )


def test_tfidf_similarity_never_leaves_0_to_1() -> None:
    result = cosine(TfidfEmbedder().embed(TEXTS), TfidfEmbedder().embed(TEXTS))
    assert result.min() >= 0
    assert result.max() <= 1


matrices = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.just(3)),
    elements=st.floats(allow_nan=False, allow_infinity=False),
)


@pytest.mark.slow
@given(a=matrices, b=matrices)
def test_cosine_is_symmetric_and_from_minus_1_to_1(a: Any, b: Any) -> None:
    result = cosine(a, b)
    assert result.shape == (len(a), len(b))
    assert np.isfinite(result).all()
    assert (np.abs(result) <= 1).all()
    np.testing.assert_allclose(result, cosine(b, a).T, atol=1e-12)


@given(a=matrices)
def test_a_vector_is_like_itself_and_unlike_its_opposite(a: Any) -> None:
    wanted = a.any(axis=1).astype(float)
    np.testing.assert_allclose(cosine(a, a).diagonal(), wanted, atol=1e-12)
    np.testing.assert_allclose(cosine(a, -a).diagonal(), -wanted, atol=1e-12)


class Wrong:
    """Breaks one promise."""

    version = "wrong/1"
    default_threshold: float | None = 0.5

    def __init__(self, change: Callable[[Any, Sequence[str]], Any]) -> None:
        self.change = change

    def embed(self, texts: Sequence[str]) -> Any:
        return self.change(HashingEmbedder().embed(texts), texts)


counter = iter(range(1000))


@pytest.mark.parametrize(
    "change",
    [
        lambda rows, _texts: rows.astype(np.float64),
        lambda rows, _texts: rows[:-1],
        lambda rows, _texts: rows * 2,
        lambda rows, _texts: rows * np.float32("nan"),
        lambda rows, _texts: np.ones_like(rows) / np.float32(64),
        lambda rows, _texts: np.roll(rows, next(counter), axis=1),
        lambda rows, texts: np.roll(rows, len(texts), axis=1),
        lambda rows, texts: rows if texts else np.zeros(0, dtype=np.float32),
    ],
)
def test_the_kit_finds_a_broken_promise(change: Callable[[Any, Sequence[str]], Any]) -> None:
    with pytest.raises(AssertionError, check=check_message):
        check_embedder(Wrong(change))


def test_the_kit_looks_at_version_and_threshold() -> None:
    embedder = Wrong(lambda rows, _texts: rows)
    check_embedder(embedder)
    embedder.default_threshold = 80
    with pytest.raises(AssertionError, check=check_message):
        check_embedder(embedder)
    embedder.version = ""
    with pytest.raises(AssertionError, match="version: expected a text"):
        check_embedder(embedder)
