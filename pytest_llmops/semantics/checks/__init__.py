"""Checks for differences of meaning that an embedding does not see."""

from pytest_llmops.semantics.checks.comparison import (
    CHECKS,
    VERSION,
    compare,
    resolve_check_names,
)
from pytest_llmops.semantics.checks.kinds import Alarm, Comparison
from pytest_llmops.semantics.checks.sentence_splitter import split_bounded_sentences, split_sentences

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
