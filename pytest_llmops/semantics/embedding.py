"""Embed texts and compare their vectors."""

from collections.abc import Sequence

from pytest_llmops._util.arrays import as_rows
from pytest_llmops._util.lazy_numpy import Float64Array
from pytest_llmops.errors import LLMOpsError
from pytest_llmops.metrics.vectors import cosine
from pytest_llmops.protocols import Embedder


def embed_rows(texts: Sequence[str], embedder: Embedder) -> Float64Array:
    """Return the vectors of texts as the rows of an array; all texts are embedded in a single call.

    Raises:
        LLMOpsError: The embedder gave no usable vectors.
        Exception: Whatever the embedder raises.
    """
    vectors = embedder.embed(list(texts))
    try:
        return as_rows(vectors, count=len(texts))
    except ValueError as error:
        raise LLMOpsError(str(error)) from None


def cosines_with_first(rows: Float64Array) -> list[float]:
    """Return the cosine of the first row with each other row, 0 (unlike, or opposite) to 1."""
    return [max(0.0, float(value)) for value in cosine(rows[:1], rows[1:])[0]]
