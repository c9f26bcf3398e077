"""Scoring stored outputs again: what a run's judge said, what another says, and what that changes. No I/O."""

from __future__ import annotations

from pytest_llmops.results.rejudging.judged_outputs import Found, Output, outputs
from pytest_llmops.results.rejudging.rendering import lines
from pytest_llmops.results.rejudging.rescored_run import Bound, Judged, Stamp, bound_of, rebounded, rejudged
from pytest_llmops.results.rejudging.score_changes import Change, Score, Summary, changes, score_of, summary

__all__ = [
    "Bound",
    "Change",
    "Found",
    "Judged",
    "Output",
    "Score",
    "Stamp",
    "Summary",
    "bound_of",
    "changes",
    "lines",
    "outputs",
    "rebounded",
    "rejudged",
    "score_of",
    "summary",
]
