"""Verdicts: their levels, what fails a run, and that every report shows one of any kind."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from typing import get_args

import pytest
from support.page import read_data
from support.report_states import STATES, comparisons_run
from support.reports import make_gate
from support.sample_run import fixed_run

from pytest_llmops.baselines.conclusion import Reference, conclude
from pytest_llmops.reports.ci_formats import format_annotations
from pytest_llmops.reports.formats import render_report
from pytest_llmops.reports.terminal import build_section
from pytest_llmops.results.broken_case import BrokenCase
from pytest_llmops.results.run import Run, TestRecord, decide_exit_status
from pytest_llmops.results.shares import ShareVerdict
from pytest_llmops.results.verdict import (
    STATUS_LEVELS,
    CaseChange,
    EditKind,
    MetricVerdict,
    SuiteEdit,
    Verdict,
)

PASSED = TestRecord(nodeid="test_a.py::test_a", place="test_a.py:3")
# A kind that no report knows.
SPEED = Verdict(
    kind="speed",
    subject="answers of v2",
    baseline="v1",
    status="fail",
    decides=True,
    sentence="900 ms slower",
    advice=("look at the network",),
    place="test_speed.py:7",
    metrics=(MetricVerdict(name="latency", status="worse", change=-0.9),),
    changes=(CaseChange(nodeid="test_a.py::test_b", kind="improved"),),
    unchanged=2,
)


def test_the_schema_knows_every_status() -> None:
    schema = json.loads((files("pytest_llmops.results") / "run.schema.json").read_text(encoding="utf-8"))
    properties = schema["properties"]["verdicts"]["items"]["properties"]
    assert set(properties["status"]["enum"]) == set(STATUS_LEVELS)
    assert set(properties) == set(Verdict.__dataclass_fields__)
    assert set(properties["shares"]["items"]["properties"]) == set(ShareVerdict.__dataclass_fields__)
    assert set(properties["broken"]["items"]["properties"]) == set(BrokenCase.__dataclass_fields__)
    assert set(properties["edits"]["items"]["properties"]) == set(SuiteEdit.__dataclass_fields__)
    assert set(properties["edits"]["items"]["properties"]["kind"]["enum"]) == set(get_args(EditKind))


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_a_run_file_keeps_each_state(state: str) -> None:
    run = STATES[state]()
    assert Run.from_json(run.to_json()) == run


@pytest.mark.slow
def test_a_run_file_keeps_comparisons() -> None:
    run = comparisons_run(20)
    assert Run.from_json(run.to_json()) == run


@pytest.mark.parametrize(
    ("status", "lenient", "strict"),
    [("RED", True, True), ("ERROR", True, True), ("AMBER", False, True), ("GREEN", False, False), ("NONE", False, False)],
)  # fmt: skip
def test_only_a_verdict_that_decides_fails_a_run(status: str, lenient: bool, strict: bool) -> None:
    verdict = make_gate(status=status)
    assert (verdict.fails(strict=False), verdict.fails(strict=True)) == (lenient, strict)
    assert not replace(verdict, decides=False).fails(strict=True)


@pytest.mark.parametrize("is_strict", [False, True])
def test_the_exit_status_is_that_of_pytest_else_the_verdicts_decide(is_strict: bool) -> None:
    meta = {"settings": {"strict": is_strict}}
    amber = Run(records=(PASSED,), meta=meta, verdicts=(make_gate(status="AMBER"),))
    assert decide_exit_status(amber) == is_strict
    assert decide_exit_status(amber, 0) == is_strict
    assert decide_exit_status(amber, 5) == 5
    failed = replace(amber, verdicts=(), records=(replace(PASSED, outcome="failed"),))
    assert (decide_exit_status(failed), decide_exit_status(failed, 0)) == (1, 0)


def test_a_run_file_keeps_a_verdict_of_any_kind() -> None:
    run = Run(records=(PASSED,), verdicts=(SPEED, make_gate(status="GREEN")))
    assert Run.from_json(run.to_json()).verdicts == run.verdicts
    assert run.find_verdict("speed") == SPEED
    assert run.find_verdict("guardrail") is None


@pytest.mark.parametrize("kind", ["html", "markdown", "junit", "codequality", "metrics"])
def test_every_report_shows_a_verdict_of_any_kind(kind: str) -> None:
    text = render_report(replace(fixed_run(), verdicts=(SPEED,)), kind)
    if kind == "html":
        text = json.dumps(read_data(text))
    assert "answers of v2" in text
    if kind != "metrics":
        assert "900 ms slower" in text


def test_terminal_and_annotations_show_a_verdict_of_any_kind() -> None:
    run = replace(fixed_run(), verdicts=(SPEED,))
    headline = "FAIL  answers of v2 against v1: 900 ms slower [LLM-GUARDRAIL]"
    assert f"speed     {headline}" in [line.text for line in build_section(run, width=120).lines]
    (leading,) = format_annotations(Run(records=(PASSED,), verdicts=(SPEED,)), {})
    assert leading.startswith(
        "::error file=test_speed.py,line=7,title=RED%3A answers of v2 against v1%3A 900 ms slower::Do not merge"
    )


def test_telemetry_has_an_event_of_each_verdict() -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")
    from pytest_llmops.reports.otlp import build_telemetry

    run = Run(records=(PASSED,), meta={"created": "2026-01-31T12:00:00+00:00"}, verdicts=(SPEED,))
    _, (event,) = build_telemetry(run)
    assert event.log_record.event_name == "llmops.verdict"
    assert event.log_record.attributes == {
        "llmops.verdict.kind": "speed",
        "llmops.verdict.subject": "answers of v2",
        "llmops.verdict.status": "fail",
        "llmops.verdict.decides": True,
        "llmops.verdict.sentence": "answers of v2 against v1: 900 ms slower",
    }


def test_a_baseline_that_cannot_be_read_is_an_error_and_tells_nothing_of_sentinels() -> None:
    sentinel = replace(PASSED, facts={"sentinel": True})
    run = Run(records=(sentinel,), meta={"settings": {"record": "verify"}})
    (verdict,) = conclude(run, Reference(name="b.json", problem="b.json: damaged")).verdicts
    assert (verdict.kind, verdict.status, verdict.sentence) == (
        "baseline",
        "ERROR",
        "Not compared: the baseline b.json cannot be read",
    )
    assert verdict.why == "b.json: damaged"
    (alone,) = conclude(run).verdicts
    assert (alone.kind, alone.status, alone.decides) == ("sentinel", "unknown", False)
