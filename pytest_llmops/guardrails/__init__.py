"""Detectors of personal data, secrets, attacks and refusals in texts: for tests, and for production code without pytest."""

from pytest_llmops.guardrails.findings import Detector, Finding
from pytest_llmops.guardrails.refusals import classify_refusal

__all__ = ["Detector", "Finding", "classify_refusal"]
