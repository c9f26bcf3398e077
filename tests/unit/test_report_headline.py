"""The headline of a run: its word and sentence in each state, which word beats which, and numbers that agree with each other."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest
from support.page import read_data
from support.report_states import (
    CASES,
    STATES,
    amber_run,
    build_record,
    comparisons_run,
    fail_run,
    green_run,
    red_run,
    unchanged_run,
)

from pytest_llmops.baselines.baseline import Baseline, summarize_test
from pytest_llmops.baselines.conclusion import Reference, conclude
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.reports.changed_cases import count_kinds, list_cases
from pytest_llmops.reports.commands import complete_command
from pytest_llmops.reports.headline import build_headline
from pytest_llmops.reports.html import render_html
from pytest_llmops.reports.terminal import build_section
from pytest_llmops.results.run import Run, TestRecord, decide_exit_status
from pytest_llmops.results.shares import ShareVerdict
from pytest_llmops.results.verdict import CaseChange, SuiteEdit, Verdict

WORDS = {
    "red": "RED",
    "amber": "AMBER",
    "broken": "AMBER",
    "green": "GREEN",
    "green-unchanged": "GREEN",
    "fail": "FAIL",
    "error-judge": "ERROR",
    "error-missing-tests": "ERROR",
    "error-collection": "ERROR",
    "pass-no-baseline": "PASS",
    "pass-small-baseline": "PASS",
    "partial": "PASS",
}


MOVED = r"(\d+) cases? worse, (\d+) better"
CHANGED = r"(\d+) of (\d+) answers? changed"
PASSED = r"(\d+) of (\d+) tests passed"


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_each_state_has_its_word_and_one_next_step(state: str) -> None:
    headline = build_headline(STATES[state]())
    assert headline.word == WORDS[state]
    assert not headline.sentence.endswith(".")
    assert headline.next_step.count("\n") == 0
    assert headline.next_step.endswith(":") == bool(headline.command)
    if headline.word in ("RED", "AMBER"):
        assert "tests passed" not in headline.second_line  # beside a bad verdict it reads as a contradiction


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_terminal_and_page_have_its_word_and_sentence(state: str) -> None:
    """As Markdown, JUnit and annotations, see test_golden_markdown."""
    run = STATES[state]()
    headline = build_headline(run)
    page = render_html(run)
    title = re.search("<title>(.*)</title>", page)
    assert title is not None
    assert unescape(title[1]).startswith(headline.title.removesuffix("."))
    shown = read_data(page)["headline"]
    assert (shown["word"], shown["sentence"], shown["next"]) == (
        headline.word,
        headline.sentence,
        headline.next_step,
    )
    section = build_section(run, width=0)
    assert section.word == headline.word
    assert f"{headline.word:<10}{headline.sentence}." in [line.text for line in section.lines]


@pytest.mark.slow
def test_the_numbers_are_in_the_second_line_of_these_states() -> None:
    """Else the next test would compare nothing."""
    lines = {name: build_headline(make()).second_line for name, make in STATES.items()}
    found = {
        pattern: [name for name, line in lines.items() if re.search(pattern, line)]
        for pattern in (MOVED, CHANGED, PASSED)
    }
    assert found == {
        MOVED: ["amber", "green", "error-judge", "error-missing-tests", "pass-small-baseline", "partial"],
        CHANGED: ["red", "amber", "green", "broken", "error-missing-tests", "pass-small-baseline", "partial"],
        PASSED: ["fail", "error-judge", "error-missing-tests"],
    }


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_numbers_agree_with_each_other(state: str) -> None:
    """What the second line counts is what the list of cases has, and changed answers are the sum of the kinds that have them."""
    run = STATES[state]()
    cases = list_cases(run)
    kinds = count_kinds(cases)
    line = build_headline(run, cases).second_line
    moved = re.search(MOVED, line)
    if moved:
        assert [int(number) for number in moved.groups()] == [kinds["worse"], kinds["better"]]
    changed = re.search(CHANGED, line)
    gate = run.find_verdict("baseline")
    if changed:
        assert gate is not None
        with_other_answer = [case for case in cases if case.change and case.change.answer_changed]
        assert int(changed[1]) == len(with_other_answer) == gate.changed_answers
        assert int(changed[2]) == gate.answers
        same_answer = [
            case for case in cases if case.kind in ("worse", "better") and case not in with_other_answer
        ]
        assert (
            len(with_other_answer) + len(same_answer) == kinds["worse"] + kinds["better"] + kinds["changed"]
        )
    passed = re.search(PASSED, line)
    if passed:
        assert int(passed[1]) == run.count("passed")


def test_means_of_a_metric_follow_from_its_cases() -> None:
    run = red_run()
    gate = run.find_verdict("baseline")
    assert gate is not None
    metric = next(metric for metric in gate.metrics if metric.name == "text.contains")
    gains = [
        score.gain for change in gate.changes for score in change.scores if score.name == "text.contains"
    ]
    assert sum(gains) / metric.cases == pytest.approx(metric.change)
    assert metric.after - metric.before == pytest.approx(metric.change)
    assert metric.lower is not None
    assert metric.upper is not None
    assert metric.lower <= metric.change <= metric.upper


def _with_verdict(run: Run, verdict: Verdict) -> Run:
    return replace(run, verdicts=(*run.verdicts, verdict))


BROKEN = Verdict(
    kind="guardrail",
    status="fail",
    subject="attacks test_attacks",
    decides=True,
    shares=(
        ShareVerdict(name="attacks blocked", status="broken", count=4, total=24, share=0.17, limit=0.6, look_at=("a", "b")),
    ),
)  # fmt: skip


def test_a_failed_test_beats_a_verdict_which_stays_as_a_sentence() -> None:
    run = red_run()
    first, *others = run.records
    failed = replace(run, records=(replace(first, outcome="failed", message="no"), *others))
    headline = build_headline(failed)
    assert headline.title == "FAIL: 1 of 40 tests failed."
    assert headline.also.startswith(
        "Against the baseline: RED, the suite got worse by 17.5 points (text.contains)"
    )
    assert headline.next_step == "Fix it and run it again:"


def test_a_broken_limit_is_red_and_names_the_share() -> None:
    headline = build_headline(_with_verdict(green_run(), BROKEN))
    assert (
        headline.title == "RED: A limit is broken: attacks blocked, 4 of 24 (17 %), required at least 60 %."
    )
    assert "GREEN" in headline.also
    assert headline.next_step == "Read the 2 cases that it names."


def test_a_limit_that_is_not_proved_is_an_error_and_says_what_to_add() -> None:
    share = replace(BROKEN.shares[0], status="not proved", needed=12)
    headline = build_headline(_with_verdict(green_run(), replace(BROKEN, status="unproven", shares=(share,))))
    assert headline.word == "ERROR"
    assert headline.sentence.startswith("A limit is not proved: attacks blocked")
    assert headline.next_step == "Add about 12 families of cases."


def test_an_undecided_comparison_does_not_change_the_word() -> None:
    undecided = Verdict(
        kind="comparison", status="undecided", subject="prompt v2", baseline="v1", sentence="?"
    )
    assert build_headline(_with_verdict(green_run(), undecided)).word == "GREEN"


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_the_word_agrees_with_the_exit_status(state: str) -> None:
    run = STATES[state]()
    status = decide_exit_status(run, 2 if state == "error-collection" else None)
    assert bool(status) == (WORDS[state] in ("RED", "FAIL", "ERROR"))


def test_strict_fails_what_is_undecided_and_says_so() -> None:
    run = amber_run()
    strict = replace(run, meta={**run.meta, "settings": {"strict": True}})
    assert build_headline(run).merge == "Your call, the build passes"
    assert build_headline(strict).merge == "Do not merge, the build fails (--llm-strict)"


def test_tests_of_pytest_alone_count_in_what_passed() -> None:
    headline = build_headline(fail_run(), others={"passed": 10, "failed": 1})
    assert headline.sentence == "3 of 51 tests failed"


@pytest.mark.slow
def test_tests_with_scores_that_no_baseline_has_are_counted_beside_the_verdict() -> None:
    assert "848 new tests are not judged yet" in build_headline(comparisons_run(6)).facts
    plain = replace(green_run(), meta={**green_run().meta, "other_tests": {"passed": 848}})
    assert "compared" not in build_headline(plain).second_line


def test_a_share_that_is_broken_is_never_called_not_proved() -> None:
    shares = (BROKEN.shares[0], ShareVerdict(name="harmless refused", status="no score"))
    verdict = replace(BROKEN, status="unscored", shares=shares)
    headline = build_headline(_with_verdict(green_run(), verdict))
    assert (headline.word, headline.sentence[:18]) == ("RED", "A limit is broken:")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("meta", "word"),
    [
        ({"other_tests": {"failed": 1}}, "FAIL"),
        ({"other_tests": {"errored": 1}}, "ERROR"),
        ({"collection_errors": [{"module": "a.py"}]}, "ERROR"),
    ],
)
def test_what_only_pytest_counts_fails_a_merged_run_too(meta: dict[str, Json], word: str) -> None:
    run = replace(green_run(), meta={**green_run().meta, **meta})
    headline = build_headline(run)
    assert headline.word == word
    assert "GREEN" in headline.also
    assert headline.next_step.endswith(":") == bool(headline.command)
    assert decide_exit_status(run) == 1


def test_a_test_that_is_gone_is_said_beside_green() -> None:
    run = unchanged_run()
    gate = replace(run.verdicts[0], changes=(CaseChange(nodeid="t", kind="removed"),))
    assert "1 test of the baseline did not run" in build_headline(replace(run, verdicts=(gate,))).facts


def test_failed_tests_without_a_model_are_named() -> None:
    meta: dict[str, Json] = {"other_tests": {"failed": 1}, "other_failures": ["test_plain.py::test_sum"]}
    run = replace(green_run(), meta={**green_run().meta, **meta})
    assert build_headline(run).why == "Among them tests without a model: test_plain.py::test_sum"


def test_what_failed_and_fell_is_counted_once() -> None:
    run = red_run()
    records = tuple(replace(record, outcome="failed") for record in run.records)
    headline = build_headline(replace(run, records=records))
    assert headline.word == "FAIL"
    assert "worse" not in headline.second_line
    assert "RED" in headline.also


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "advice"),
    [
        (SuiteEdit(kind="request", name="messages[0]"), "Read the 9 cases that got worse, and fix the prompt."),
        (SuiteEdit(kind="request", name="messages[3] (tool)"), "Read the 9 cases that got worse, and fix the request."),
        (SuiteEdit(kind="answers"), "Read the 9 cases that got worse: the model, its server or the judge answered differently, without an edit."),
        (SuiteEdit(kind="model", before="a", after="b"), "Read the 9 cases that got worse, then keep the model of the baseline or adapt the prompt."),
        (SuiteEdit(kind="unknown"), "Read the 9 cases that got worse, and fix the change."),
    ],
)  # fmt: skip
def test_only_what_was_edited_is_to_be_fixed(edit: SuiteEdit, advice: str) -> None:
    run = red_run()
    gate = replace(run.verdicts[0], edits=(edit,))
    assert build_headline(replace(run, verdicts=(gate,))).next_step == advice


def test_a_gate_that_a_run_without_scores_has_is_not_forgotten() -> None:
    gate = Verdict(
        kind="baseline",
        sentence="No verdict: 1 of 40 tests of the baseline ran",
        next_step="Run all:",
        next_command="pytest",
    )
    run = Run(records=(TestRecord(nodeid="t", facts={"a": 1}),), verdicts=(gate,))
    assert build_headline(run).sentence == "1 of 1 test passed. No verdict: 1 of 40 tests of the baseline ran"


def test_a_run_without_anything_measured_has_no_word_for_good() -> None:
    headline = build_headline(Run(records=(TestRecord(nodeid="t"),)))
    assert headline.title == "NONE: No test called a model or measured anything."


def test_only_options_that_decide_what_is_asked_are_copied() -> None:
    command = 'pytest tests -k "a b" --llm-judge --llm-prompt=support=v2 --llm-report=r.html --llm-accept why'
    assert complete_command("pytest", command) == "pytest --llm-judge --llm-prompt=support=v2"
    assert complete_command("pytest --llm-trials=5", "pytest --llm-trials=3") == "pytest --llm-trials=5"
    assert complete_command("pytest", "pytest --llm-prompt answer=v1 tests --llm-model m") == (
        "pytest --llm-prompt=answer=v1 --llm-model=m"
    )
    assert complete_command("llmops init", command) == "llmops init"
    assert complete_command("pytest", 'pytest "unclosed') == "pytest"


def test_the_judge_that_nobody_checked_is_the_caution() -> None:
    run = Run(records=(build_record(CASES[0]),))
    assert build_headline(run).caution == "the judge helpful was never checked against human labels"


def test_a_judge_that_is_not_reliable_is_no_basis_for_a_baseline() -> None:
    """Both reasons are named, and the run is not offered as a first baseline."""
    texts: dict[str, Json] = {
        "calibration": {"status": "below its thresholds", "text": "below its thresholds: kappa 0.10"},
        "canaries": {"status": "unfit", "text": "unfit: it passes 30 of 41 canaries (role-persona)"},
    }
    score = Measurement(
        name="judge.tone", value=1.0, version="1", detail={"judge": {"name": "tone"}, **texts}
    )
    headline = build_headline(Run(records=(TestRecord(nodeid="t", measurements=(score,)),)))
    assert headline.caution == (
        "the judge tone accepted 30 of 41 bad answers, and does not agree well enough with human labels (kappa 0.10)"
    )
    assert headline.next_step.startswith("Do not accept these scores")
    assert headline.command == "llmops docs calibration"
    trusted = build_headline(Run(records=(build_record(CASES[0]),)))
    assert trusted.command == 'pytest --llm-accept "first baseline"'


def test_a_broken_case_is_named_first_and_run_again_by_a_command() -> None:
    """A reader of twenty checks, one of them broken, says which after ten seconds."""
    run = STATES["broken"]()
    headline = build_headline(run)
    assert (
        headline.title == "AMBER: 1 case broke (test_answer[gift-card-expiry]): passed 3 of 3, fails 3 of 3."
    )
    assert headline.next_step.startswith("Read what broke. Run the broken case again ")
    assert headline.next_step.endswith("if it fails again, it is your change:")
    assert headline.command == "pytest --llm-again"
    first = list_cases(run)[0]
    assert (first.id, first.broke) == ("gift-card-expiry", True)


def test_green_with_a_broken_case_begins_with_the_case() -> None:
    """Of 200 checks one that broke excludes no verdict on the mean, and must not hide behind it."""
    passing = [make_check(f"case{number}", (1.0,) * 3) for number in range(200)]
    broken = [make_check("case0", (0.0,) * 3), *passing[1:]]
    tests = {record.nodeid: summarize_test(record) for record in passing}
    run = conclude(Run(records=tuple(broken)), Reference(name="b.json", baseline=Baseline(tests=tests)))
    headline = build_headline(run)
    assert headline.title == (
        "GREEN: 1 case broke (test_case0): passed 3 of 3, fails 3 of 3; on average, a drop of 5 points or more is ruled out."
    )
    assert headline.merge == "The build passes, safe to merge once you have read what broke"
    assert headline.command == "pytest --llm-again"


def test_three_broken_cases_are_red_and_the_mean_is_not_blamed() -> None:
    passing = [make_check(f"case{number}", (1.0,) * 3) for number in range(200)]
    broken = [make_check(f"case{number}", (0.0,) * 3) for number in range(3)]
    tests = {record.nodeid: summarize_test(record) for record in passing}
    run = conclude(
        Run(records=(*broken, *passing[3:])), Reference(name="b.json", baseline=Baseline(tests=tests))
    )
    headline = build_headline(run)
    assert headline.title.startswith("RED: 3 cases broke, none mended (test_case0, test_case1, test_case2)")
    assert "no test failed, but 3 cases broke" in headline.facts
    assert headline.command == ""


def make_check(name: str, scores: tuple[float, ...]) -> TestRecord:
    measured = Measurement(name="exact", value=sum(scores) / len(scores), samples=scores)
    return TestRecord(nodeid=f"t.py::test_{name}", outcome="passed", measurements=(measured,))


def test_a_run_whose_acceptance_was_refused_does_not_say_that_the_build_passes() -> None:
    run = STATES["green"]()
    refused = replace(run, meta={**run.meta, "not_accepted": True})
    assert "The build passes" in build_headline(run).second_line
    assert build_headline(refused).merge == "Not accepted"
