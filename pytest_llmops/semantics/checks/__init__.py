"""Checks for differences of meaning that an embedding does not see."""

from pytest_llmops.semantics.checks.alignment import Alarm, Comparison
from pytest_llmops.semantics.checks.comparison import (
    CHECKS,
    VERSION,
    compare,
    resolve_check_names,
)
from pytest_llmops.semantics.checks.sentence import split_bounded_sentences, split_sentences

__all__ = [
    "CHECKS",
    "VERSION",
    "Alarm",
    "Comparison",
    "compare",
    "resolve_check_names",
    "split_bounded_sentences",
    "split_sentences",
]
