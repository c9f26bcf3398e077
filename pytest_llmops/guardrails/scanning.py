"""Scan a text with several detectors, by default with the built-in ones, and mask their findings."""

from collections.abc import Iterable, Sequence

from pytest_llmops.guardrails.detectors import attack_detector, pii_detector, secret_detector
from pytest_llmops.guardrails.findings import Detector, Finding, mask_findings, run_detectors


def scan(text: str, detectors: Sequence[Detector] | None = None) -> list[Finding]:
    """Return the findings of detectors in a text, by their start.

    Without detectors the built-in rules find personal data, secrets and attacks.

    Raises:
        DetectorError: A detector raised, or returned something else than findings: then nothing is known of the text.
        UsageError: It is not a text.

    >>> [(finding.kind, finding.start, finding.end) for finding in scan("Write to anna@example.com!")]
    [('email', 9, 25)]
    """
    if detectors is None:
        detectors = (pii_detector(), secret_detector(), attack_detector())
    return run_detectors(text, detectors)


def mask(text: str, findings: Iterable[Finding] | None = None) -> str:
    """Return a text in which findings are replaced by their masks.

    Without findings, personal data and secrets are masked, as the built-in rules find them. For other detectors write
    ``mask(text, scan(text, detectors))``.

    Raises:
        UsageError: A finding does not lie within the text, or is not a `Finding`.

    >>> mask("Write to anna@example.com!")
    'Write to [email]!'
    """
    if findings is None:
        findings = scan(text, (pii_detector(), secret_detector()))
    return mask_findings(text, findings)
