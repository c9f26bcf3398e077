"""Compute BERTScore from the token vectors of two texts, arrays of shape ``(tokens, dim)``.

Each token is matched with the token of the other text whose vector is most similar; precision is the mean over the
tokens of the answer, recall the mean over the tokens of the reference, F1 their harmonic mean.

Source: Zhang et al., "BERTScore: Evaluating Text Generation with BERT", ICLR 2020, and its package ``bert-score``. As
there, tokens of weight 0 (``[CLS]`` and ``[SEP]``) are left out of the means, but other tokens may match them. Unlike
there, a score does not depend on the rest of a batch (its padding lifts negative cosines to 0), and two texts without
tokens are equal.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from pytest_llmops._util.arrays import ArrayLike, Float32Array, Float64Array, as_rows, np, unit_rows

Weights: TypeAlias = "Sequence[float] | Float64Array | None"  # None: equal weights

MAX_CELLS = 2**28  # product of the token counts of a pair: a few seconds
BLOCK_CELLS = 2**22  # cosines in memory at a time


class Score(NamedTuple):
    """Precision, recall and F1, at most 1; precision and recall may be negative, like a cosine."""

    precision: float
    recall: float
    f1: float


def build_idf(documents: Iterable[Iterable[str]]) -> Callable[[str], float]:
    """Return the inverse document frequency of any token: ``log((documents + 1) / (documents with the token + 1))``.

    The documents are usually the references of an evaluation.

    Raises:
        ValueError: No documents.

    >>> list(map(build_idf([["a", "b"], ["a"]]), ["a", "b", "c"]))
    [0.0, 0.4054651081081644, 1.0986122886681098]
    """
    counts: Counter[str] = Counter()
    total = 0
    for document in documents:
        total += 1
        counts.update(set(document))
    if not total:
        raise ValueError("expected at least one document to count tokens in, got none")

    def idf(token: str) -> float:
        return math.log((total + 1) / (counts[token] + 1))

    return idf


def score_pairs(
    pairs: Sequence[tuple[ArrayLike, ArrayLike]],
    weights: Sequence[tuple[Weights, Weights]] | None = None,
) -> list[Score]:
    """Return how well the tokens of an answer and of a reference match, for each pair.

    An array that is in several pairs is normalized once.

    Args:
        pairs: Pairs of the answer's token vectors, ``(n, dim)``, and the reference's, ``(m, dim)``, with a row for each
            token. Rows need no unit length.
        weights: For each pair the weights of the answer's tokens, ``(n,)``, and of the reference's, ``(m,)``: 0 or more,
            and not all 0; None: equal weights.

    Returns:
        For each pair precision, recall and F1. All are 1 if both sides have no tokens, and 0 if only one side has none.
        F1 is 0 unless precision and recall are positive.

    Raises:
        ValueError: Shapes that do not match, numbers that are not finite, or more than `MAX_CELLS` pairs of tokens, with
            the number of the pair, from 0.

    >>> score_pairs([([[1, 0], [0, 1]], [[1, 0]])])
    [Score(precision=0.5, recall=1.0, f1=0.6666666666666666)]
    """
    units: dict[int, tuple[object, Float32Array]] = {}
    results = []
    for number, (actual, expected) in enumerate(pairs):
        sides = []
        for name, rows in (("actual", actual), ("expected", expected)):
            if id(rows) not in units:
                # The object is stored too, so that its id is not reused.
                unit_vectors = _unit_vectors(rows, f"pair {number}, {name}")
                units[id(rows)] = (rows, unit_vectors)
            sides.append(units[id(rows)][1])
        pair_weights: tuple[Weights, Weights] = (None, None)
        if weights is not None:
            pair_weights = weights[number]
        left, right = sides
        _check_sizes(left, right, number)
        results.append(_match_score(left, right, *pair_weights))
    return results


def _check_sizes(actual: Float32Array, expected: Float32Array, number: int) -> None:
    """Raise unless the vectors of a pair have the same length and are not too many; a side without tokens is fine."""
    if not len(actual) or not len(expected):
        return
    if actual.shape[1] != expected.shape[1]:
        raise ValueError(
            f"pair {number}: expected vectors of one length, got shapes {actual.shape} and {expected.shape}; "
            "vectors of two models cannot be compared"
        )
    if len(actual) * len(expected) > MAX_CELLS:
        counts = f"{len(actual):,} and {len(expected):,} tokens"
        raise ValueError(f"pair {number}: {counts} are too many to match; compare the parts that matter")


def _match_score(
    actual: Float32Array, expected: Float32Array, actual_weights: Weights, expected_weights: Weights
) -> Score:
    """Return the score of one pair; the rows have unit length."""
    if not len(actual) or not len(expected):
        same = float(len(actual) == len(expected))
        return Score(same, same, same)
    of_actual, of_expected = best_cosines(actual, expected)
    # Rounding may lift the cosine of equal tokens above 1
    precision = min(1.0, float(np.average(of_actual, weights=actual_weights)))
    recall = min(1.0, float(np.average(of_expected, weights=expected_weights)))
    f1 = 0.0
    if precision > 0 and recall > 0:
        f1 = 2 * precision * recall / (precision + recall)
    return Score(precision, recall, f1)


def best_cosines(actual: Float32Array, expected: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return for each token its highest cosine with a token of the other side: first for ``actual``, then ``expected``.

    Both sides must have tokens, with vectors of unit length. The cosines are computed in blocks, to limit the memory.
    """
    step = max(1, BLOCK_CELLS // len(expected))
    if len(actual) <= step:
        cosines = actual @ expected.T
        return cosines.max(axis=1), cosines.max(axis=0)
    rows = []
    best = np.full(len(expected), -np.inf, dtype=np.float32)
    for start in range(0, len(actual), step):
        cosines = actual[start : start + step] @ expected.T
        rows.append(cosines.max(axis=1))
        np.maximum(best, cosines.max(axis=0), out=best)
    return np.concatenate(rows), best


def _unit_vectors(rows: ArrayLike, name: str) -> Float32Array:
    """Return the rows with unit length; ``name`` is for errors."""
    if np.array_equal(rows, []):  # no tokens
        return np.zeros((0, 0), dtype=np.float32)
    array = as_rows(rows, name=name)
    if len(array):
        array = unit_rows(array)
    return array.astype(np.float32)
