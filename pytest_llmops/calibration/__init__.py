"""Calibration: how far a judge agrees with human labels, measured, recorded and looked up."""

from __future__ import annotations

from pytest_llmops.calibration.agreement import (
    AgreementFigures,
    Disagreement,
    HumanAgreement,
    measure_agreement,
    why_invalid_labels,
)
from pytest_llmops.calibration.record import (
    Calibration,
    CalibrationStatus,
    describe,
    format_status,
    load_records,
    status,
)
from pytest_llmops.calibration.rendering import (
    figures_to_json,
    format_confusion_table,
    format_evidence,
    format_missed_requirements,
)
from pytest_llmops.calibration.requirements import AgreementRequirements, RequirementResult
from pytest_llmops.calibration.verdicts import JudgedAnswers, judge_labelled_answers, read_stored_verdicts

__all__ = [
    "AgreementFigures",
    "AgreementRequirements",
    "Calibration",
    "CalibrationStatus",
    "Disagreement",
    "HumanAgreement",
    "JudgedAnswers",
    "RequirementResult",
    "describe",
    "figures_to_json",
    "format_confusion_table",
    "format_evidence",
    "format_missed_requirements",
    "format_status",
    "judge_labelled_answers",
    "load_records",
    "measure_agreement",
    "read_stored_verdicts",
    "status",
    "why_invalid_labels",
]
