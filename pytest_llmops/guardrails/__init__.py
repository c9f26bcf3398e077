"""Detectors of personal data, secrets, attacks and refusals in texts: for tests, and for production code without pytest."""

from pytest_llmops.guardrails.classifiers import classifier_detector
from pytest_llmops.guardrails.detectors import (
    attack_detector,
    classify_refusal,
    pii_detector,
    presidio_detector,
    secret_detector,
)
from pytest_llmops.guardrails.findings import Detector, Finding, RuleDetector
from pytest_llmops.guardrails.policies import gitleaks_detector, read_policy
from pytest_llmops.guardrails.scanning import mask, scan

__all__ = [
    "Detector",
    "Finding",
    "RuleDetector",
    "attack_detector",
    "classifier_detector",
    "classify_refusal",
    "gitleaks_detector",
    "mask",
    "pii_detector",
    "presidio_detector",
    "read_policy",
    "scan",
    "secret_detector",
]
