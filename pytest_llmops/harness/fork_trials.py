"""The trials of a test with ``--llm-record=fork``: which of them left the recorded run, where, and how they ended.

Knows pytest's reports by their attributes only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_llmops.results.fork import FACT, NEW, PREFIX, ForkResult

APP_PURPOSE = "app"
UNCHANGED = "no request changed, the recorded run was replayed"


def is_forked_trial(reports: Iterable[Any]) -> bool:
    """Return whether a trial left the recorded run; not if it was not changed, or if nothing of its test is recorded."""
    return _read_fact(reports).get("stage", PREFIX) not in (PREFIX, NEW)


def summarize_fork(
    trials: Sequence[Sequence[Any]], outcomes: Sequence[str], planned: int
) -> ForkResult | None:
    """Return the result of a test from its trials; None if it is not replayed: it was skipped, or its marker lets it call live.

    Some trials count neither as passed nor as failed: those that were skipped, those that failed after an answer that shows nothing about
    the application (a limit of the server, its failure, a broken connection), and those that did not fork while others did, as
    they only repeat the recorded run. An expected failure (``xfail``) counts as a failure.

    Args:
        trials: The reports of each trial.
        outcomes: How each trial ended: ``passed``, ``failed`` or ``unscored``.
        planned: How many trials were to run.
    """
    if not any(map(_read_fact, trials)):
        return None
    passed = failed = asked = 0
    reasons = []
    steps = []
    change = ""
    facts = [_read_fact(reports) for reports in trials]
    stages = [fact.get("stage", PREFIX) for fact in facts]
    stage = _choose_stage(stages)
    for reports, fact, merged in zip(trials, facts, outcomes, strict=True):
        outcome = _read_outcome(reports, merged)
        if fact.get("step"):
            steps.append(fact["step"])
        change = change or fact.get("change", "")
        calls = _list_calls(reports)
        asked += any(not call.get("replayed") for call in calls)
        reason = _why_unscored(reports, calls, outcome)
        if not reason and stage not in (PREFIX, NEW) and fact.get("stage", PREFIX) == PREFIX:
            reason = UNCHANGED
        if reason:
            reasons.append(reason)
        elif outcome == "passed":
            passed += 1
        else:
            failed += 1
    reasons += ["not run, as the trial before it ended the test"] * (planned - len(trials))
    return ForkResult(
        stage=stage,
        passed=passed,
        failed=failed,
        planned=planned,
        asked=asked,
        first_step=min(steps, default=0),
        last_step=max(steps, default=0),
        change=change,
        reasons=tuple(reasons),
    )


def _read_outcome(reports: Iterable[Any], outcome: str) -> str:
    """Return how the code of a trial ended: an expected failure (``xfail``) is ``failed``."""
    for report in reports:
        if hasattr(report, "wasxfail"):
            return "failed" if report.skipped else "passed"
        if str(getattr(report, "longrepr", "")).startswith("[XPASS(strict)]"):
            return "passed"
        if report.skipped:
            return "skipped"
    return outcome


def _choose_stage(stages: Sequence[str]) -> str:
    """Return the stage of a test: the stage of the first trial that left the recorded run, else of the first trial."""
    forked = [stage for stage in stages if stage not in (PREFIX, NEW)]
    return next(iter([*forked, *stages]), PREFIX)


def _read_fact(reports: Iterable[Any]) -> Mapping[str, Any]:
    """Return the facts of a trial's tape about its fork. Empty: the trial had no tape."""
    for report in reports:
        fact = getattr(report, "llmops", {}).get("facts", {}).get(FACT)
        if fact:
            return dict(fact)
    return {}


def _list_calls(reports: Iterable[Any]) -> list[Mapping[str, Any]]:
    return [call for report in reports for call in getattr(report, "llmops", {}).get("calls", ())]


def _why_unscored(reports: Sequence[Any], calls: Sequence[Mapping[str, Any]], outcome: str) -> str:
    """Return why a trial counts neither as passed nor as failed; "" if it counts."""
    if outcome == "passed":
        return ""
    if outcome == "skipped":
        return "skipped"
    if outcome == "unscored":
        kinds = (getattr(report, "llmops", {}).get("kind", "") for report in reports)
        return next(filter(None, kinds), "no score")
    if not any(report.when == "call" for report in reports):
        return "its set-up failed"
    if any(report.failed and report.when == "teardown" for report in reports):
        return "its tear-down failed"
    live = [call for call in calls if call.get("purpose", APP_PURPOSE) == APP_PURPOSE]
    if not live or live[-1].get("replayed"):
        return ""
    from pytest_llmops.cassettes import Answer

    status = live[-1].get("status")
    if status is None:
        return "the last call got no answer"
    if not Answer(status, {}, b"").is_reproducible:
        return f"the last call got status {status}"
    return ""
