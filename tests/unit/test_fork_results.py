"""The result of --llm-record=fork: its bounds, its words, and what becomes of trials without a verdict."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from pytest_llmops.harness.fork_trials import is_forked_trial, summarize_fork
from pytest_llmops.reports.ci_formats import junit_properties
from pytest_llmops.reports.html import build_page, render_html
from pytest_llmops.reports.markdown import render_markdown
from pytest_llmops.reports.terminal import build_section
from pytest_llmops.results.fork import ForkResult, bound_rate, list_fork_lines
from pytest_llmops.results.run import Run, TestRecord


@given(count=st.integers(1, 60), data=st.data())
def test_the_bounds_are_those_of_clopper_and_pearson(count: int, data: st.DataObject) -> None:
    passed = data.draw(st.integers(0, count))
    lowest, highest = bound_rate(passed, count)
    assert 0 <= lowest <= passed / count <= highest <= 1
    # At the lower bound as many passes have a probability of 5 %, at the upper one as few; rounding makes it a little less.
    if passed:
        assert binom.sf(passed - 1, count, lowest) == pytest.approx(0.05, abs=1e-4)
    if passed < count:
        assert binom.cdf(passed, count, highest) == pytest.approx(0.05, abs=1e-4)


def make_trial(
    outcome: str = "passed", *, stage: str = "live", step: int = 2, phases: int = 3, **call: Any
) -> list[Any]:
    """Return the reports of a trial with one call of the application."""
    call = {"status": 200, **call}
    fact = {"stage": stage, "step": step, "change": "messages[0]"}
    kind = "BudgetReached" if outcome == "unscored" else ""
    phases_of_pytest = ("setup", "call", "teardown")
    reports = [
        SimpleNamespace(when=when, llmops={}, failed=False, skipped=False) for when in phases_of_pytest
    ]
    reports[1].llmops = {"calls": [call], "kind": kind}
    reports[2].llmops = {"facts": {"fork": fact}}
    if phases < len(reports):
        return [reports[0], reports[2]]
    return reports


def summarize(*trials: tuple[str, list[Any]], planned: int = 0) -> ForkResult:
    reports = [trial for _, trial in trials]
    outcomes = [outcome for outcome, _ in trials]
    result = summarize_fork(reports, outcomes, planned or len(trials))
    assert result is not None
    return result


def test_a_failure_of_the_server_is_no_failure_of_the_fix() -> None:
    result = summarize(
        ("passed", make_trial(step=3)),
        ("failed", make_trial(step=5)),
        ("failed", make_trial(status=503)),
        ("failed", make_trial(status=None)),
        ("failed", make_trial(status=503, replayed=True)),
        ("unscored", make_trial("unscored")),
        ("failed", make_trial(phases=2)),
        planned=8,
    )
    assert (result.passed, result.failed, result.first_step, result.last_step) == (1, 2, 2, 5)
    assert result.reasons == (
        "the last call got status 503",
        "the last call got no answer",
        "BudgetReached",
        "its set-up failed",
        "not run, as the trial before it ended the test",
    )
    assert "passed in 1 of 3 runs from steps 2 to 5 on" in result.sentence
    assert "5 of 8 runs have no verdict and count neither way" in result.sentence
    assert result.sentence.endswith("and 2 more")


def test_an_expected_failure_is_a_failure_and_a_skip_is_none() -> None:
    trials = {name: make_trial() for name in ("xfailed", "xpassed", "strict", "skipped", "torn")}
    trials["xfailed"][1].skipped = True
    for name in ("xfailed", "xpassed"):
        trials[name][1].wasxfail = "the incident"
    trials["strict"][1].longrepr = "[XPASS(strict)] the incident"
    trials["skipped"][1].skipped = True
    trials["torn"][2].failed = True
    outcomes = {"xfailed": "passed", "xpassed": "passed"}
    result = summarize(*((outcomes.get(name, "failed"), trial) for name, trial in trials.items()))
    assert (result.passed, result.failed) == (2, 1)
    assert result.reasons == ("skipped", "its tear-down failed")


def test_a_trial_that_did_not_fork_says_nothing_of_the_fix() -> None:
    trials = [("passed", make_trial()), *[("failed", make_trial(stage="prefix", step=0))] * 2]
    result = summarize(*trials)
    assert (result.passed, result.failed, result.stage) == (1, 0, "live")
    assert result.sentence.endswith(
        "2 of 3 runs have no verdict and count neither way: no request changed, the recorded run was replayed"
    )


def test_without_a_verdict_there_is_no_rate() -> None:
    result = summarize(("unscored", make_trial("unscored")))
    assert result.sentence == (
        "none of 1 run from step 2 on has a verdict; 1 of 1 run has no verdict and count neither way: BudgetReached"
    )


def test_a_trial_that_left_the_recorded_run_makes_the_test_a_forked_one() -> None:
    stages = ("prefix", "new", "live", "forked")
    trials = [make_trial(stage=stage) for stage in stages]
    assert [is_forked_trial(trial) for trial in trials] == [False, False, True, True]
    assert summarize(*[("passed", trial) for trial in trials]).stage == "live"
    assert summarize(*[("passed", trial) for trial in trials[:2]]).stage == "prefix"


def test_three_reasons_are_named_whole() -> None:
    result = ForkResult(stage="live", planned=3, asked=3, reasons=("a", "b", "c"))
    assert result.sentence.endswith("count neither way: a, b, c")


def test_only_measurements_were_asked() -> None:
    result = summarize(("failed", make_trial(stage="prefix", step=0, purpose="judge")))
    assert result.sentence.endswith("only judges were called; it fails as it did")


def test_the_result_survives_the_run_file_and_hostile_values() -> None:
    result = summarize(("passed", make_trial()))
    assert ForkResult.from_wire(result.to_wire()) == result
    for wire in (
        {"stage": 3, "passed": "x", "reasons": "y"},
        {"stage": "live", "passed": -1, "failed": 10**9},
    ):
        assert ForkResult.from_wire(wire).sentence


def test_the_unchanged_tests_of_a_run_are_one_line() -> None:
    records = [TestRecord(nodeid=name, facts={"fork": {"stage": "prefix", "passed": 1}}) for name in "ab"]
    records.append(TestRecord(nodeid="c", facts={"fork": summarize(("passed", make_trial())).to_wire()}))
    (name, sentence), (nobody, rest) = list_fork_lines(records)
    assert (name, nobody) == ("c", "")
    assert sentence.endswith("; what changed: messages[0]")
    assert rest.startswith("2 tests were replayed without a changed request")


def test_a_skipped_test_has_no_result() -> None:
    skipped = [SimpleNamespace(when="setup", llmops={"facts": {}})]
    assert summarize_fork([skipped], ["failed"], 10) is None


def test_every_report_has_the_sentence() -> None:
    result = ForkResult(stage="live", passed=9, failed=1, planned=10, asked=10, first_step=4, last_step=4)
    hostile = "t.py::test_<b>[\x1b[31m]"
    records = (TestRecord(nodeid=hostile, outcome="failed", facts={"fork": result.to_wire()}),)
    run = Run(records=records)
    words = "passed in 9 of 10 runs from step 4 on (true rate at least 60 %, 95 % confidence)"
    assert words in "\n".join(line.text for line in build_section(run, width=0).lines)
    assert words in render_markdown(run)
    page = render_html(run)
    assert (
        json.dumps(build_page(run)).count(words) == 2
    )  # in the tab of the run, and among the facts of the case
    assert dict(junit_properties(records[0]))["llm.fork"] == words
    for text in (page, render_markdown(run), "".join(line.text for line in build_section(run).lines)):
        assert "\x1b" not in text
    assert "test_<b>" not in page
