"""BERTScore: how well the tokens of two texts can be matched by their vectors in context.

Each token is matched greedily with the token of the other text whose vector is nearest; precision is the mean
over the tokens of the answer, recall the mean over those of the reference, F1 their harmonic mean. Pure maths
over arrays of shape ``(tokens, dim)``; which model they come from decides what a score means.

Source: Zhang et al., "BERTScore: Evaluating Text Generation with BERT", ICLR 2020, and its package
``bert-score``. As there, a token of weight 0 (``[CLS]`` and ``[SEP]``) takes no part in the means, yet others
may be matched with it. Unlike there, no score depends on what else stands in a batch (its padding lifts
negative cosines to 0), and two texts without tokens are equal.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy import float32, float64
    from numpy.typing import ArrayLike, NDArray

MATRIX_NDIM = 2
MAX_CELLS = 2**28
"""Tokens times tokens of a pair: a few seconds."""
BLOCK_CELLS = 2**22
"""Of which so many are held at a time."""


class Score(NamedTuple):
    """Precision, recall and F1; at most 1. A cosine can be negative, and so can the first two."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Idf:
    """How rare each token is: ``log((documents + 1) / (documents with it + 1))``, 0 for one in all of them.

    Attributes:
        weights: Of the tokens that occur.
        unseen: Of all others.

    >>> build_idf([["a", "b"], ["a"]]).of(["a", "b", "c"])
    [0.0, 0.4054651081081644, 1.0986122886681098]
    """

    weights: Mapping[str, float]
    unseen: float

    def of(self, tokens: Iterable[str]) -> list[float]:
        """Return the weights of tokens, in their order."""
        return [self.weights.get(token, self.unseen) for token in tokens]


def build_idf(documents: Iterable[Iterable[str]]) -> Idf:
    """Return the weights that the tokens of documents (the references of an evaluation) have.

    Raises:
        ValueError: There are no documents.
    """
    counts: Counter[str] = Counter()
    total = 0
    for document in documents:
        total += 1
        counts.update(set(document))
    if not total:
        raise ValueError("expected at least one document to count tokens in, got none")
    return Idf(
        {token: math.log((total + 1) / (count + 1)) for token, count in counts.items()}, math.log(total + 1)
    )


def score_pair(
    actual: ArrayLike,
    expected: ArrayLike,
    *,
    actual_weights: ArrayLike | None = None,
    expected_weights: ArrayLike | None = None,
) -> Score:
    """Return how well the tokens of an answer and of a reference match.

    Args:
        actual: ``(n, dim)``, a row for each token of the answer; rows need no unit length.
        expected: ``(m, dim)``, those of the reference.
        actual_weights: ``(n,)``, 0 or more; left out, each token counts the same.
        expected_weights: ``(m,)``, likewise.

    Returns:
        Precision, recall and F1. If one side has no tokens, all are 1 if neither has, else 0. F1 is 0 where
        precision or recall is not positive.

    Raises:
        ValueError: Shapes that do not fit, no finite numbers, tokens whose weights are all 0, or more than
            `MAX_CELLS` tokens times tokens.

    >>> score_pair([[1, 0], [0, 1]], [[1, 0]])
    Score(precision=0.5, recall=1.0, f1=0.6666666666666666)
    """
    return score_pairs([(actual, expected)], [(actual_weights, expected_weights)])[0]


def score_pairs(
    pairs: Sequence[tuple[ArrayLike, ArrayLike]],
    weights: Sequence[tuple[ArrayLike | None, ArrayLike | None]] | None = None,
) -> list[Score]:
    """Return the score of each pair of ``(n, dim)`` and ``(m, dim)`` arrays, as `score_pair` does for one.

    An array that stands in several pairs is checked and brought to unit length once.

    Raises:
        ValueError: As in `score_pair`; names the pair, counted from 0. Or not as many weights as pairs.
    """
    if weights is not None and len(weights) != len(pairs):
        raise ValueError(f"expected weights for each of {len(pairs)} pairs, got {len(weights)}")
    units: dict[int, tuple[object, NDArray[float32]]] = {}
    results = []
    for number, (actual, expected) in enumerate(pairs):
        sides = []
        for name, rows in (("actual", actual), ("expected", expected)):
            if id(rows) not in units:
                # With the object itself, so that its id stays its own.
                units[id(rows)] = rows, _unit_vectors(rows, f"pair {number}, {name}")
            sides.append(units[id(rows)][1])
        pair_weights = weights[number] if weights is not None else (None, None)
        shares = [
            _normalize_weights(side_weights, len(rows), f"pair {number}, weights of {name}")
            for side_weights, rows, name in zip(pair_weights, sides, ("actual", "expected"), strict=True)
        ]
        results.append(_match_score(sides[0], sides[1], shares[0], shares[1], number))
    return results


def _match_score(
    actual: NDArray[float32],
    expected: NDArray[float32],
    actual_shares: NDArray[float64],
    expected_shares: NDArray[float64],
    number: int,
) -> Score:
    if not len(actual_shares) or not len(expected_shares):
        same = float(len(actual_shares) == len(expected_shares))
        return Score(same, same, same)
    if actual.shape[1] != expected.shape[1]:
        raise ValueError(
            f"pair {number}: expected vectors of one length, got shapes {actual.shape} and {expected.shape}; "
            "those of two models cannot be compared"
        )
    if len(actual) * len(expected) > MAX_CELLS:
        raise ValueError(
            f"pair {number}: {len(actual):,} and {len(expected):,} tokens are too many to match; compare the parts "
            "that matter"
        )
    of_actual, of_expected = _best_cosines(actual, expected)
    # Rounding takes the cosine of equal tokens a little above 1.
    precision = min(1.0, float(of_actual @ actual_shares))
    recall = min(1.0, float(of_expected @ expected_shares))
    both = precision > 0 and recall > 0
    return Score(precision, recall, 2 * precision * recall / (precision + recall) if both else 0.0)


def _best_cosines(
    actual: NDArray[float32], expected: NDArray[float32]
) -> tuple[NDArray[float32], NDArray[float32]]:
    """Return the highest cosine of each token with any of the other side."""
    import numpy as np

    step = max(1, BLOCK_CELLS // len(expected))
    if len(actual) <= step:
        cosines = actual @ expected.T
        return cosines.max(axis=1), cosines.max(axis=0)
    rows, best = [], np.full(len(expected), -np.inf, dtype=np.float32)
    for start in range(0, len(actual), step):
        cosines = actual[start : start + step] @ expected.T
        rows.append(cosines.max(axis=1))
        np.maximum(best, cosines.max(axis=0), out=best)
    return np.concatenate(rows), best


def _unit_vectors(rows: ArrayLike, name: str) -> NDArray[float32]:
    import numpy as np

    try:
        array = np.asarray(rows, dtype=np.float32)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected numbers of shape (tokens, dim), got something else") from None
    if array.ndim == 1 and not array.size:
        return array.reshape(0, 0)
    if array.ndim != MATRIX_NDIM:
        raise ValueError(f"{name}: expected an array of shape (tokens, dim), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    unit: NDArray[float32] = np.divide(array, lengths, out=np.zeros_like(array), where=lengths > 0)
    return unit


def _normalize_weights(weights: ArrayLike | None, count: int, name: str) -> NDArray[float64]:
    """Return weights that sum to 1; none at all if there is no token."""
    import numpy as np

    if weights is None:
        return np.full(count, 1 / max(count, 1))
    array = np.asarray(weights, dtype=np.float64)
    if array.shape != (count,):
        raise ValueError(f"{name}: expected one for each of {count} tokens, got shape {array.shape}")
    if not (np.isfinite(array) & (array >= 0)).all():
        raise ValueError(f"{name}: expected finite numbers of at least 0")
    if count and not array.sum():
        raise ValueError(f"{name}: expected a token that counts, got {count} of weight 0")
    shares: NDArray[float64] = array / array.sum() if count else array
    return shares
