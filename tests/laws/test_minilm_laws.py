"""What holds of all-MiniLM-L6-v2, whatever the texts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import scale_examples

from pytest_llmops.providers import minilm
from pytest_llmops.providers.minilm import MiniLMEmbedder

pytest.importorskip("tokenizers")
several = st.lists(st.text(max_size=30), min_size=1, max_size=4)


@pytest.mark.slow
@scale_examples(0.25)
@given(texts=several)
def test_rows_are_of_unit_length_exactly_where_there_are_tokens(texts: list[str]) -> None:
    rows = MiniLMEmbedder().embed(texts)
    tokens = MiniLMEmbedder().embed_tokens(texts)
    assert rows.dtype == np.float32
    lengths = np.linalg.norm(rows, axis=1)
    for length, result in zip(lengths, tokens, strict=True):
        assert length == pytest.approx(1.0 if result.tokens else 0.0, abs=1e-5)
        assert result.vectors.shape == (len(result.tokens), minilm.DIM)
        np.testing.assert_allclose(np.linalg.norm(result.vectors, axis=1), 1, atol=1e-5)


@pytest.mark.slow
@scale_examples(0.12)
@given(texts=several, data=st.data())
def test_company_and_order_do_not_count(texts: list[str], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(texts))))
    rows = MiniLMEmbedder().embed(texts)
    np.testing.assert_allclose(MiniLMEmbedder().embed([texts[n] for n in order]), rows[order], atol=1e-5)
    np.testing.assert_allclose(MiniLMEmbedder().embed(texts[:1])[0], rows[0], atol=1e-5)


@scale_examples(0.12)
@given(text=st.text(alphabet=st.characters(max_codepoint=0x17F), min_size=1, max_size=30))
def test_case_does_not_count_where_it_has_two_forms(text: str) -> None:
    lower, upper = text.lower(), text.upper()
    if upper.lower() == lower:  # "ß" and the dotted "I" have others
        vectors = MiniLMEmbedder().embed([lower, upper])
        np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)
