"""Is a judge fit for its work? Canaries that no judge may pass, and what is kept of how it did."""

from __future__ import annotations

from pytest_llmops.calibration.canaries.cases import Canary, canaries, read_canaries, set_of
from pytest_llmops.calibration.canaries.probe_run import Outcome, Probe, facts, probe, summary
from pytest_llmops.calibration.canaries.record import Fitness, standing

__all__ = [
    "Canary",
    "Fitness",
    "Outcome",
    "Probe",
    "canaries",
    "facts",
    "probe",
    "read_canaries",
    "set_of",
    "standing",
    "summary",
]
