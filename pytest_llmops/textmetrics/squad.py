"""Exact match and token F1 as in the evaluation script of SQuAD, with several references."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmops.metrics import lexical
from pytest_llmops.textmetrics.arguments import list_references, require_text


def exact_match(actual: str, expected: str | Sequence[str]) -> float:
    """Return 1.0 if an answer has the words of a reference in its order, else 0.0, as SQuAD counts it.

    Lower case, ASCII punctuation and the articles a, an, the do not count. For equality to the character there
    is `pytest_llmops.assert_exact`. Beware of references without any other word ("A", "The"): an empty answer, or one
    of punctuation, equals them.

    Raises:
        ValueError: The answer or a reference is not a text, or there is no reference.

    Source: Rajpurkar et al., "SQuAD", EMNLP 2016, and its evaluation script.

    >>> exact_match("The 30 days.", ["a month", "30 days"]), exact_match("days 30", "30 days")
    (1.0, 0.0)
    >>> exact_match("", "A")
    1.0
    """
    got = lexical.squad_tokens(require_text(actual))
    return max(float(got == lexical.squad_tokens(reference)) for reference in list_references(expected))


def token_f1(actual: str, expected: str | Sequence[str]) -> float:
    """Return the F1 of shared words, 0 to 1, against the best of the references, as SQuAD counts it.

    See `pytest_llmops.metrics.lexical.token_f1`. As in `exact_match` an empty answer equals a reference of articles alone.

    Raises:
        ValueError: As in `exact_match`.

    >>> token_f1("30 days", ["a month", "30 days or so"])
    0.6666666666666666
    """
    text = require_text(actual)
    return max(lexical.token_f1(text, reference) for reference in list_references(expected))
