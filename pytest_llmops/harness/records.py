"""Make the record of a phase (set-up, call or tear-down) from pytest's report and the measurements.

A *payload* is the dictionary ``report.llmops``. It is attached in the process of the test; the controller reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_llmops.redaction.pytest_reports import mask_report
from pytest_llmops.results.run import TestRecord

if TYPE_CHECKING:
    from pytest_llmops.harness.item import Harness


def report_outcome(report: Any, payload: Mapping[str, Any]) -> Any:
    """Return a report's outcome in our terms: a test without a score is ``errored``, not ``failed``."""
    if report.failed:
        if report.when == "call" and payload.get("outcome") != "errored":
            return "failed"
        return "errored"
    if hasattr(report, "wasxfail"):
        if report.skipped:
            return "xfailed"
        return "xpassed"
    if report.outcome in ("passed", "skipped"):
        return report.outcome
    return "errored"


def report_message(report: Any) -> str:
    """Return the text of a failure, or the reason of a skip, without the traceback."""
    if report.passed:
        return ""
    if hasattr(report, "wasxfail"):
        return str(report.wasxfail)
    longrepr = report.longrepr
    if isinstance(longrepr, tuple):
        return str(longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(longrepr, "reprcrash", None)
    if crash is not None:
        return str(crash.message)
    return str(longrepr or "")


def build_record(report: Any, payload: Mapping[str, Any]) -> TestRecord:
    """Return the record of a phase of a test; a report without a payload of ours has an empty one."""
    wire = {key: payload[key] for key in ("measurements", "calls", "facts") if key in payload}
    if report.failed or hasattr(
        report, "wasxfail"
    ):  # a skip raises an exception too, which is of no interest
        wire["raised"] = payload.get("raised", [])
    if report.failed and report.when != "call":
        wire["facts"] = {**wire.get("facts", {}), "failed_outside": report.when}
    wire["nodeid"] = report.nodeid
    wire["outcome"] = report_outcome(report, payload)
    wire["duration_s"] = report.duration
    wire["message"] = report_message(report)
    return TestRecord.from_wire(wire)


def attach_payload(harness: Harness, report: Any, error: BaseException | None) -> None:
    """Attach the measurements of a phase to its report, with secrets masked. At the end of a test attach its JUnit properties too.

    The harness keeps the record of all phases so far.
    """
    report.llmops = harness.build_payload(report.when, error)
    mask_report(report, harness.mask_secrets)
    record = build_record(report, report.llmops)
    if harness.record is None:
        harness.record = record
    else:
        harness.record = harness.record.add(record)
    if report.when == "teardown" and harness.settings.junit_properties:
        from pytest_llmops.reports.ci_formats import junit_properties

        report.user_properties.extend(junit_properties(harness.record))
