"""Scoring stored outputs again: what a run's judge said, what another says, and what that changes. No I/O."""

from __future__ import annotations

from pytest_llmops.rejudging.changes import Change, Score, Summary, changes, score_of, summary
from pytest_llmops.rejudging.outputs import Found, Output, outputs
from pytest_llmops.rejudging.rewriting import Bound, Judged, Stamp, bound_of, rebounded, rejudged
from pytest_llmops.rejudging.telling import lines

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
