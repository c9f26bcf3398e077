"""Annotations of GitHub, code quality of GitLab and OpenMetrics: what they say of a run."""

from __future__ import annotations

import json

from support.reports import make_gate
from support.sample_run import fixed_run

from pytest_llmops.reports.ci_formats import format_annotations
from pytest_llmops.reports.formats import render_report
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import CaseChange

PROMPT = {"prompt": {"path": "prompts/greet/v2.md"}}


def compared_run(status: str) -> Run:
    records = (
        TestRecord(nodeid="tests/test_a.py::test_b", facts=PROMPT, place="tests/test_a.py:3"),
        TestRecord(nodeid="tests/test_a.py::test_c", outcome="failed", message="100 % wrong: a, b", place="tests/helpers.py:41"),
        TestRecord(nodeid="tests/test_a.py::test_d", outcome="errored"),
    )  # fmt: skip
    changes = (CaseChange(nodeid="tests/test_a.py::test_b", kind="regressed", why="lower"),)
    return Run(records=records, meta={"root": "shop/"}, verdicts=(make_gate(status=status, changes=changes),))


def test_annotations_stand_at_the_changed_prompt_else_at_the_line_that_failed() -> None:
    assert list(format_annotations(compared_run("RED"), {"prompts/greet/v2.md": 7})) == [
        "::error file=shop/prompts/greet/v2.md,line=7,title=worse%3A tests/test_a.py%3A%3Atest_b::lower",
        "::error file=shop/tests/helpers.py,line=41,title=failed%3A tests/test_a.py%3A%3Atest_c::100 %25 wrong: a, b",
        "::error file=shop/tests/test_a.py,line=1,title=errored%3A tests/test_a.py%3A%3Atest_d::errored",
    ]
    first, *_ = format_annotations(compared_run("AMBER"), {"prompts/other.md": 7})
    assert first.startswith("::warning file=shop/tests/test_a.py,line=3,")
    first, *_ = format_annotations(compared_run("GREEN"), {})
    assert first.startswith("::error file=shop/tests/helpers.py,line=41,title=failed")


def test_ten_annotations_at_most_the_last_of_which_says_how_many_more() -> None:
    records = tuple(
        TestRecord(nodeid=f"test_a.py::test_b[{number}]", outcome="failed") for number in range(11)
    )
    ten = list(format_annotations(Run(records=records[:10]), {}))
    assert [line.startswith("::error ") for line in ten] == [True] * 10
    *nine, last = format_annotations(Run(records=records), {})
    assert nine == ten[:9]
    assert last == "::notice title=LLM regression::and 2 more: see the summary of the job"


def test_code_quality_has_an_entry_a_test_with_a_fingerprint_that_stays() -> None:
    red, amber = (
        json.loads(render_report(compared_run(status), "codequality")) for status in ("RED", "AMBER")
    )
    assert [(issue["check_name"], issue["severity"], issue["location"]) for issue in red] == [
        ("llm-worse", "major", {"path": "shop/tests/test_a.py", "lines": {"begin": 3}}),
        ("llm-failed", "major", {"path": "shop/tests/helpers.py", "lines": {"begin": 41}}),
        ("llm-errored", "major", {"path": "shop/tests/test_a.py", "lines": {"begin": 1}}),
    ]
    assert red[1]["description"] == "failed: tests/test_a.py::test_c: 100 % wrong: a, b"
    assert [issue["severity"] for issue in amber] == ["minor", "major", "major"]
    assert [issue["fingerprint"] for issue in red] == [issue["fingerprint"] for issue in amber]
    assert len({issue["fingerprint"] for issue in red}) == 3


def test_metrics_are_rounded_and_leave_out_what_is_not_known() -> None:
    lines = render_report(fixed_run(), "metrics").splitlines()
    assert 'llm_tests{outcome="failed"} 2' in lines
    assert 'llm_mean{metric="judge.quality",version="quality-1",unit="1",better="higher"} 0.667' in lines
    assert 'llm_cost_usd{kind="all_live"} 0.0029' in lines
    empty = render_report(Run(), "metrics")
    assert "llm_cost_usd{" not in empty
    assert 'llm_tests{outcome="passed"} 0' in empty
