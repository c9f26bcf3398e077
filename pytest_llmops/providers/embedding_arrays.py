"""Helpers of embedders: clean the texts for a tokenizer, and scale the vectors to unit length."""

from collections.abc import Sequence

from pytest_llmops._util.arrays import Float32Array, np
from pytest_llmops.errors import UsageError


def clean_texts(texts: Sequence[str]) -> list[str]:
    """Return texts with "?" for lone surrogates, which tokenizers refuse, as they have no UTF-8 form.

    Raises:
        UsageError: A single text is given instead of a list.
    """
    if isinstance(texts, str):
        raise UsageError(f"embed: expected a list of texts, got the text {texts[:40]!r}; put it into a list")
    return [text.encode("utf-8", "replace").decode("utf-8") for text in texts]


def scale_to_unit(rows: Float32Array) -> Float32Array:
    """Return rows scaled to unit length; a row of zeros stays as it is."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Float32Array = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return unit
