"""Canaries that no judge may pass: the built-in set, the run against a judge, and its record."""

from __future__ import annotations

from pytest_llmops.calibration.canaries.canary_run import (
    CanaryOutcome,
    CanaryRun,
    canary_run_to_json,
    format_canary_summary,
    run_canaries,
)
from pytest_llmops.calibration.canaries.cases import (
    Canary,
    built_in_canaries,
    fingerprint_canaries,
    read_canaries,
)
from pytest_llmops.calibration.canaries.record import CanaryRecord, describe_canary_record

__all__ = [
    "Canary",
    "CanaryOutcome",
    "CanaryRecord",
    "CanaryRun",
    "built_in_canaries",
    "canary_run_to_json",
    "describe_canary_record",
    "fingerprint_canaries",
    "format_canary_summary",
    "read_canaries",
    "run_canaries",
]
