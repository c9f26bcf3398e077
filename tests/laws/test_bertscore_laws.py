"""What holds for the token vectors of any two texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support.bertscore import score_pair

numbers = st.floats(-10, 10, width=32).filter(lambda number: number == 0 or abs(number) > 1e-3)
rows = st.integers(1, 6).flatmap(lambda n: arrays.arrays(np.float32, (n, 4), elements=numbers))
Rows = Any


@pytest.mark.slow
@given(first=rows, second=rows)
def test_the_other_way_round_precision_is_recall(first: Rows, second: Rows) -> None:
    there, back = score_pair(first, second), score_pair(second, first)
    assert there.precision == pytest.approx(back.recall, abs=1e-6)
    assert there.f1 == pytest.approx(back.f1, abs=1e-6)


@pytest.mark.slow
@given(first=rows, second=rows)
def test_the_range_and_the_types(first: Rows, second: Rows) -> None:
    pair = score_pair(first, second)
    assert [type(value) for value in pair] == [float] * 3
    assert all(-1.000_001 <= value <= 1 for value in pair)
    assert pair.f1 >= 0


@pytest.mark.slow
@given(rows_=rows)
def test_a_text_matches_itself(rows_: Rows) -> None:
    text = rows_[np.abs(rows_).sum(axis=1) > 0]
    assert score_pair(text, text) == pytest.approx((1, 1, 1), abs=1e-5)


@pytest.mark.slow
@given(first=rows, second=rows, factor=st.floats(0.125, 8))
def test_neither_length_nor_order_nor_repetition_of_tokens_counts(
    first: Rows, second: Rows, factor: float
) -> None:
    pair = score_pair(first, second)
    changed = score_pair(np.concatenate([first, first])[::-1] * np.float32(factor), second[::-1])
    assert changed == pytest.approx(pair, abs=1e-5)


@pytest.mark.slow
@given(first=rows, second=rows)
def test_equal_weights_are_none(first: Rows, second: Rows) -> None:
    weights = {"actual_weights": [2.5] * len(first), "expected_weights": [0.5] * len(second)}
    assert score_pair(first, second, **weights) == pytest.approx(score_pair(first, second), abs=1e-6)
