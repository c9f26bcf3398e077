"""Annotations of GitHub, code quality of GitLab and OpenMetrics: what they say of a run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from support.report_states import STATES
from support.reports import make_gate
from support.sample_run import fixed_run

from pytest_llmops.reports.ci_formats import format_annotations
from pytest_llmops.reports.findings import find_place
from pytest_llmops.reports.formats import render_report
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.shares import ShareVerdict
from pytest_llmops.results.verdict import CaseChange, ScoreChange, Verdict

PROMPT = {"prompt": {"path": "prompts/greet/v2.md"}}


def compared_run(status: str) -> Run:
    records = (
        TestRecord(nodeid="tests/test_a.py::test_b", facts=PROMPT, place="tests/test_a.py:3"),
        TestRecord(nodeid="tests/test_a.py::test_c", outcome="failed", message="100 % wrong: a, b [LLM-THRESHOLD]", place="tests/helpers.py:41"),
        TestRecord(nodeid="tests/test_a.py::test_d", outcome="errored"),
    )  # fmt: skip
    scores = (ScoreChange(name="m", before=1.0, after=0.5),)
    changes = (
        CaseChange(
            nodeid="tests/test_a.py::test_b", kind="regressed", scores=scores, before_output="Hi!", after_output="No\nhello"
        ),
    )  # fmt: skip
    gate = make_gate(status=status, sentence="s", changes=changes)
    return Run(records=records, meta={"root": "shop/"}, verdicts=(gate,))


def test_annotations_show_the_case_at_the_changed_prompt_else_at_the_line_that_failed() -> None:
    first, second, *cases = format_annotations(compared_run("RED"), {"prompts/greet/v2.md": 7})
    assert first.startswith(
        "::error title=FAIL%3A 1 of 3 tests failed::Do not merge, the build fails: 1 of 3 tests passed; besides the failed "
    )
    assert second == "::error title=Against the baseline%3A RED::s. [LLM-RED]"
    assert cases == [
        "::error file=shop/tests/test_a.py,line=1,title=test_d ended with an error::",
        "::error file=shop/tests/helpers.py,line=41,title=test_c failed::Why: 100 %25 wrong: a, b. [LLM-THRESHOLD]",
        "::error file=shop/prompts/greet/v2.md,line=7,title=test_b got worse::Before: Hi! Now: No hello. (m 1.00 → 0.50)",
    ]
    *_, last = format_annotations(compared_run("AMBER"), {"prompts/other.md": 7})
    assert last.startswith("::warning file=shop/tests/test_a.py,line=3,title=test_b got worse::")
    *_, last = format_annotations(compared_run("GREEN"), {})
    assert last.startswith("::error file=shop/tests/helpers.py,line=41,title=test_c failed::")


def test_a_case_of_a_file_is_shown_at_its_line() -> None:
    _, first, *_ = format_annotations(STATES["red"](), {"prompts/support/answer/v2.md": 7})
    assert first.startswith(
        "::error file=cases.csv,line=3,title=boots-worn got worse::Question: I wore my boots"
    )
    builtin = TestRecord(
        nodeid="t.py::a", place="t.py:3", facts={"case": {"file": "builtin:attacks"}, **PROMPT}
    )
    assert find_place(builtin, {"prompts/greet/v2.md": 7}) == ("prompts/greet/v2.md", 7)
    assert find_place(builtin, {}) == ("t.py", 3)
    assert find_place(TestRecord(nodeid="t.py::a"), {}) == ("t.py", 1)


@pytest.mark.slow
def test_the_headline_has_what_follows_and_its_code() -> None:
    (first, *_) = format_annotations(STATES["amber"](), {})
    assert first == (
        "::warning title=AMBER%3A Not decided%3A a drop of 5 points or more is still possible (text.contains)::"
        "Your call, the build passes: 3 cases worse, 2 better; 27 of 40 answers changed; no test failed. "
        "Read the 3 cases that got worse; where an answer is right in other words, loosen its check. "
        "To decide, add about 100 cases; more trials would not help. [LLM-UNDECIDED]"
    )
    for state in ("green", "green-unchanged", "pass-no-baseline"):
        assert list(format_annotations(STATES[state](), {})) == []


def test_a_red_run_that_is_accepted_has_warnings() -> None:
    run = STATES["red"]()
    accepted = replace(run, verdicts=(replace(run.verdicts[0], decides=False),))
    lines = list(format_annotations(accepted, {}))
    assert [line.partition(" ")[0] for line in lines] == ["::warning"] * 10


def test_a_cause_of_many_cases_is_one_annotation_and_an_entry_for_each_case() -> None:
    run = STATES["error-judge"]()
    _, line = format_annotations(run, {})
    assert (
        line
        == "::error file=cases.csv,line=3,title=boots-worn and 7 more have no score::Why: no answer within 30 s."
    )
    entries = json.loads(render_report(run, "codequality"))
    assert [entry["check_name"] for entry in entries] == ["llm-ERROR"] + ["llm-no-score"] * 8
    _, line = format_annotations(STATES["error-collection"](), {})
    assert line.startswith(
        "::error file=shop/policy.py,line=12,title=tests/test_shop.py and 1 more could not be loaded::"
    )


def test_ten_annotations_at_most_the_last_of_which_says_how_many_more() -> None:
    records = tuple(
        TestRecord(nodeid=f"test_a.py::test_b[{number}]", outcome="failed") for number in range(10)
    )
    ten = list(format_annotations(Run(records=records[:9]), {}))
    assert [line.startswith("::error ") for line in ten] == [True] * 10
    *nine, last = format_annotations(Run(records=records), {})
    assert nine[1:] == ten[1:9]
    assert last == "::notice title=LLM regression::and 2 more: see the summary of the job"


def test_code_quality_has_an_entry_a_test_with_a_fingerprint_that_stays() -> None:
    red, amber = (
        json.loads(render_report(compared_run(status), "codequality")) for status in ("RED", "AMBER")
    )
    assert [(issue["check_name"], issue["severity"], issue["location"]) for issue in red[1:]] == [
        ("llm-error", "major", {"path": "shop/tests/test_a.py", "lines": {"begin": 1}}),
        ("llm-failed", "major", {"path": "shop/tests/helpers.py", "lines": {"begin": 41}}),
        ("llm-worse", "major", {"path": "shop/tests/test_a.py", "lines": {"begin": 3}}),
    ]
    assert red[0]["description"] == "Against the baseline: RED. s. [LLM-RED]"
    assert red[2]["description"] == "test_c failed. Why: 100 % wrong: a, b. [LLM-THRESHOLD]"
    assert [issue["severity"] for issue in amber] == ["major", "major", "minor"]
    assert [issue["fingerprint"] for issue in red[1:]] == [issue["fingerprint"] for issue in amber]
    assert len({issue["fingerprint"] for issue in red}) == 4


def test_code_quality_has_an_entry_of_a_verdict_that_fails_the_run() -> None:
    first, *_ = json.loads(render_report(STATES["red"](), "codequality"))
    assert first["description"].startswith("RED: The suite got worse by 17.5 points (text.contains)")
    assert ". Do not merge, the build fails: " in first["description"]
    assert first["location"] == {"path": "cases.csv", "lines": {"begin": 2}}
    (entry,) = json.loads(
        render_report(Run(verdicts=(make_gate(status="ERROR", sentence="s"),)), "codequality")
    )
    assert entry["location"]["path"] == "conftest.py"
    fail = json.loads(render_report(STATES["fail"](), "codequality"))
    assert [entry["check_name"] for entry in fail] == ["llm-failed"] * 2


def test_a_verdict_with_a_place_is_shown_there() -> None:
    speed = Verdict(
        kind="speed", status="fail", decides=True, subject="answers of v2", baseline="v1", sentence="900 ms slower", place="t.py:7"
    )  # fmt: skip
    passed = TestRecord(nodeid="t.py::a")
    (line,) = format_annotations(Run(records=(passed,), verdicts=(speed,)), {})
    assert line == (
        "::error file=t.py,line=7,title=RED%3A answers of v2 against v1%3A 900 ms slower::"
        "Do not merge, the build fails: no test failed. [LLM-GUARDRAIL]"
    )


def test_a_guardrail_that_the_headline_names_is_said_once_and_others_by_their_word() -> None:
    share = ShareVerdict(
        name="attacks blocked",
        status="broken",
        count=10,
        total=24,
        share=0.45,
        low=0.25,
        high=0.66,
        limit=0.6,
    )
    broken = Verdict(
        kind="guardrail",
        status="fail",
        decides=True,
        subject="attacks f",
        baseline="limit",
        shares=(share,),
        place="t.py:7",
    )
    unscored = Verdict(
        kind="guardrail",
        status="unscored",
        decides=True,
        subject="attacks g",
        baseline="limit",
        place="t.py:9",
    )
    run = Run(records=(TestRecord(nodeid="t.py::a"),), verdicts=(unscored, broken))
    first, second = format_annotations(run, {})
    assert first.startswith("::error file=t.py,line=7,title=RED%3A A limit is broken%3A ")
    assert second.startswith("::error file=t.py,line=9,title=attacks g%3A no score::")


def test_metrics_are_rounded_and_leave_out_what_is_not_known() -> None:
    lines = render_report(fixed_run(), "metrics").splitlines()
    assert 'llm_tests{outcome="failed"} 2' in lines
    assert 'llm_mean{metric="judge.quality",version="quality-1",unit="1",better="higher"} 0.667' in lines
    assert 'llm_cost_usd{kind="all_live"} 0.0029' in lines
    empty = render_report(Run(), "metrics")
    assert "llm_cost_usd{" not in empty
    assert 'llm_tests{outcome="passed"} 0' in empty
