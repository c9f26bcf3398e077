"""Scoring stored outputs again: what a run's judge said, what another says, and what that changes. No I/O."""

from __future__ import annotations

from pytest_llmops.results.rejudging.judged_outputs import Found, Output, outputs
from pytest_llmops.results.rejudging.rendering import lines
from pytest_llmops.results.rejudging.rescored_run import (
    AtLeast,
    Judged,
    Stamp,
    rejudged,
    replace_threshold,
    threshold_of,
)
from pytest_llmops.results.rejudging.score_changes import Change, Score, Summary, changes, score_of, summary

__all__ = [
    "AtLeast",
    "Change",
    "Found",
    "Judged",
    "Output",
    "Score",
    "Stamp",
    "Summary",
    "changes",
    "lines",
    "outputs",
    "rejudged",
    "replace_threshold",
    "score_of",
    "summary",
    "threshold_of",
]
