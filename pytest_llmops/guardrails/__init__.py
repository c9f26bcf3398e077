"""Detectors of personal data, secrets, attacks and refusals in texts: for tests, and for production code without pytest."""

from collections.abc import Iterable, Sequence

from pytest_llmops.guardrails.detectors import (
    attack_detector,
    classify_refusal,
    pii_detector,
    presidio_detector,
    secret_detector,
)
from pytest_llmops.guardrails.findings import Detector, Finding, RuleDetector, mask_findings, run_detectors
from pytest_llmops.guardrails.policies import gitleaks_detector, read_policy

__all__ = [
    "Detector",
    "Finding",
    "RuleDetector",
    "attack_detector",
    "classify_refusal",
    "gitleaks_detector",
    "mask",
    "pii_detector",
    "presidio_detector",
    "read_policy",
    "scan",
    "secret_detector",
]


def scan(text: str, detectors: Sequence[Detector] | None = None) -> list[Finding]:
    """Return what detectors find in a text, in order; None: personal data, secrets and attacks, by the built-in rules.

    Raises:
        DetectorError: A detector raised or returned no findings: then nothing is known of the text.
        UsageError: It is no text.

    >>> [(found.kind, found.start, found.end) for found in scan("Write to anna@example.com!")]
    [('email', 9, 25)]
    """
    built_in = (pii_detector(), secret_detector(), attack_detector())
    return run_detectors(text, built_in if detectors is None else detectors)


def mask(text: str, findings: Iterable[Finding] | None = None) -> str:
    """Return a text with masks in the places of findings; None: of personal data and secrets, by the built-in rules.

    Raises:
        UsageError: A finding does not lie within the text, or they are none: detectors go to `scan`, ``mask(text, scan(text, detectors))``.

    >>> mask("Write to anna@example.com!")
    'Write to [email]!'
    """
    if findings is None:
        found = scan(text, (pii_detector(), secret_detector()))
    else:
        found = findings
    return mask_findings(text, found)
