"""Is a judge right? What it says of answers that people have labelled, measured, kept and found again."""

from __future__ import annotations

from pytest_llmops.calibration.agreement import Disagreement, Figures, measure, unfit
from pytest_llmops.calibration.human_ceiling import People
from pytest_llmops.calibration.record import Calibration, Status, beside, records, standing, status, told
from pytest_llmops.calibration.rendering import evidence, facts, lines, summary
from pytest_llmops.calibration.requirements import Bars, Reached
from pytest_llmops.calibration.verdicts import Judged, ask, stored

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
