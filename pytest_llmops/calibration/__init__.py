"""Is a judge right? What it says of answers that people have labelled, measured, kept and found again."""

from __future__ import annotations

from pytest_llmops.calibration.bars import Bars, Reached
from pytest_llmops.calibration.figures import Disagreement, Figures, measure, unfit
from pytest_llmops.calibration.judging import Judged, ask, stored
from pytest_llmops.calibration.people import People
from pytest_llmops.calibration.picture import draw
from pytest_llmops.calibration.record import Calibration, Status, beside, records, standing, status, told
from pytest_llmops.calibration.telling import evidence, facts, lines, summary

__all__ = [
    "Bars",
    "Calibration",
    "Disagreement",
    "Figures",
    "Judged",
    "People",
    "Reached",
    "Status",
    "ask",
    "beside",
    "draw",
    "evidence",
    "facts",
    "lines",
    "measure",
    "records",
    "standing",
    "status",
    "stored",
    "summary",
    "told",
    "unfit",
]
