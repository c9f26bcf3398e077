from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from support.bertscore import score_pair
from support.messages import check_message

from pytest_llmops.metrics import bertscore as module
from pytest_llmops.metrics.bertscore import MAX_CELLS, Score, build_idf, score_pairs

# Precision, recall and F1 that `bert_score.utils.greedy_cos_idf` of bert-score 0.3.13 gives for the arrays of
# `sample`: without weights, and with them.
REFERENCE = [
    ((0.768409, 0.551079, 0.641846), (0.785076, 0.674084, 0.725359)),
    ((0.686471, 0.731772, 0.708398), (0.654921, 0.736660, 0.693390)),
    ((0.437597, 0.367501, 0.399497), (0.437597, 0.346998, 0.387067)),
    ((0.494256, 0.572685, 0.530588), (0.443236, 0.610808, 0.513702)),
]


def sample() -> list[tuple[Any, Any, Any, Any]]:
    """Four pairs of arrays with their weights, always the same."""
    rng = np.random.default_rng(20261124)
    result = []
    for n, m in ((3, 5), (6, 6), (1, 4), (9, 4)):
        actual = rng.normal(size=(n, 8)).astype("float32") + np.float32(0.7)
        expected = rng.normal(size=(m, 8)).astype("float32") + np.float32(0.7)
        weights = rng.uniform(size=n), rng.uniform(size=m)
        weights[0][0] = 0 if n > 1 else 1
        weights[1][-1] = 0
        result.append((actual, expected, *weights))
    return result


@pytest.mark.parametrize(("arrays", "reference"), list(zip(sample(), REFERENCE, strict=True)))
def test_the_figures_of_bert_score(arrays: tuple[Any, ...], reference: tuple[Any, Any]) -> None:
    actual, expected, actual_weights, expected_weights = arrays
    assert score_pair(actual, expected) == pytest.approx(reference[0], abs=2e-6)
    weighed = score_pair(actual, expected, actual_weights=actual_weights, expected_weights=expected_weights)
    assert weighed == pytest.approx(reference[1], abs=2e-6)


def test_many_pairs_are_scored_as_each_alone() -> None:
    pairs = [(actual, expected) for actual, expected, _, _ in sample()]
    assert score_pairs([*pairs, *pairs]) == [score_pair(*pair) for pair in [*pairs, *pairs]]
    assert score_pairs([]) == []


def test_a_large_pair_is_compared_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [score_pair(actual, expected) for actual, expected, _, _ in sample()]
    monkeypatch.setattr(module, "BLOCK_CELLS", 7)
    assert [score_pair(actual, expected) for actual, expected, _, _ in sample()] == [
        pytest.approx(entry, abs=1e-6) for entry in whole
    ]


def test_too_large_a_pair_is_refused() -> None:
    tokens = math.isqrt(MAX_CELLS) + 1
    rows = np.ones((tokens, 1), dtype=np.float32)
    with pytest.raises(ValueError, check=check_message):
        score_pair(rows, rows)


def test_the_worked_example_by_hand() -> None:
    # Cosines: of the first token 1 and 0.6, of the second 0 and 0.8.
    pair = score_pair([[1, 0], [0, 2]], [[3.0, 0.0], [0.6, 0.8]])
    assert pair.precision == pytest.approx((1 + 0.8) / 2)
    assert pair.recall == pytest.approx((1 + 0.8) / 2)
    weighed = score_pair([[1, 0], [0, 2]], [[3.0, 0.0], [0.6, 0.8]], actual_weights=[3, 1])
    assert weighed.precision == pytest.approx((3 * 1 + 0.8) / 4)
    assert weighed.f1 == pytest.approx(2 * 0.95 * 0.9 / (0.95 + 0.9))


def test_a_token_without_weight_can_still_be_matched() -> None:
    pair = score_pair([[1, 0]], [[0, 1], [1, 0]], expected_weights=[1, 0])
    assert pair == Score(1.0, 0.0, 0.0)


def test_texts_without_tokens() -> None:
    assert score_pair([], []) == score_pair(np.zeros((0, 3)), np.zeros((0, 3))) == Score(1.0, 1.0, 1.0)
    assert score_pair([], [[1.0]]) == score_pair([[1.0]], []) == Score(0.0, 0.0, 0.0)


def test_opposite_vectors_have_no_f1() -> None:
    assert score_pair([[1, 0]], [[-1, 0]]) == Score(-1.0, -1.0, 0.0)
    assert score_pair([[0, 0]], [[1, 0]]) == Score(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        ([[1.0]], [[1.0, 2.0]]),
        ([1.0], [[1.0]]),
        ([[1.0]], [[math.nan]]),
        ([["a"]], [[1.0]]),
        ([[1.0], [1.0, 2.0]], [[1.0]]),
    ],
)
def test_what_cannot_be_scored_says_why(actual: Any, expected: Any) -> None:
    with pytest.raises(ValueError, check=check_message):
        score_pair(actual, expected)


def test_idf_counts_documents() -> None:
    idf = build_idf([["a", "a", "b"], ["a"], ["a", "c"]])
    assert list(map(idf, ["b", "c", "z", "a"])) == [math.log(2), math.log(2), math.log(4), 0.0]
    with pytest.raises(ValueError, check=check_message):
        build_idf([])
