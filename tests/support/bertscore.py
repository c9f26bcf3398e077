from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmops.metrics.bertscore import Score, Weights, score_pairs

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def score_pair(
    actual: ArrayLike,
    expected: ArrayLike,
    *,
    actual_weights: Weights = None,
    expected_weights: Weights = None,
) -> Score:
    """Return the score of a single pair."""
    return score_pairs([(actual, expected)], [(actual_weights, expected_weights)])[0]
