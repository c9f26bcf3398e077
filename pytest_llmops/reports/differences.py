"""How two answers differ, for the reports: see `pytest_llmops._util.differences`, which assertions use too."""

from pytest_llmops._util.differences import (
    ELLIPSIS,
    LEAST_UNCHANGED,
    MAX_WORDS,
    MIN_SHARE,
    SHOWN_BEFORE,
    Edit,
    cut_answers,
    cut_at_word,
    diff_answers,
    join_lines,
)

__all__ = [
    "ELLIPSIS",
    "LEAST_UNCHANGED",
    "MAX_WORDS",
    "MIN_SHARE",
    "SHOWN_BEFORE",
    "Edit",
    "cut_answers",
    "cut_at_word",
    "diff_answers",
    "join_lines",
]
