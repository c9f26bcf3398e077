"""@pytest.mark.llm_robust: each case again with its input changed, and how many keep the verdict."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.messages import check_message
from support.page import read_data
from support.project import Project
from support.reports import gate_of

SUITE = """
import pytest
from pytest_llmops import assert_contains

def answer(question):
    return "45 days" if "return" in question else "I do not know"

@pytest.mark.cases("cases.jsonl")
@pytest.mark.llm_robust("case", "paraphrase")
def test_answer(case):
    assert_contains(answer(case.input), case["fact"])
"""
CASES: list[dict[str, Any]] = [
    {"id": "a", "input": "Can I return it?", "fact": "45", "paraphrases": ["May I return it?", "May it go back?"]},
    {"id": "b", "input": "I want a return of order 4512", "fact": "45"},
]  # fmt: skip


def write(project: Project, suite: str = SUITE, cases: list[dict[str, Any]] = CASES) -> None:
    project.write(**{"test_a.py": suite, "cases.jsonl": "\n".join(map(json.dumps, cases))})


def test_each_case_runs_unchanged_and_changed(project: Project, workers: int) -> None:
    write(project)
    result = project.run(workers=workers)
    outcomes = {name: record.outcome for name, record in result.records.items()}
    assert outcomes == {
        "test_answer[a]": "passed",
        "test_answer[a~case]": "failed",
        "test_answer[a~paraphrase]": "passed",
        "test_answer[a~paraphrase-2]": "failed",
        "test_answer[b]": "passed",
        "test_answer[b~case]": "passed" if "return" in str(result.records["test_answer[b~case]"].fact("case")["input"]) else "failed",
        "test_answer[b~paraphrase]": "skipped",
    }  # fmt: skip
    kept = {
        (name, score.name): score.value
        for name, record in result.records.items()
        for score in record.measurements
        if score.name.startswith("robust.")
    }
    assert kept["test_answer[a~paraphrase]", "robust.paraphrase"] == 1
    assert kept["test_answer[a~paraphrase-2]", "robust.paraphrase"] == 0
    assert len(kept) == 4
    verdicts = {variant.subject.removeprefix("input "): variant for variant in result.run.verdicts}
    # Of two inputs that keep the verdict in 95 % one is lost in every tenth run: that proves nothing
    expected = "right answers kept: 1 of 2 (50 %), required at least 95 %: undecided"
    assert verdicts["paraphrase"].sentence == expected
    assert verdicts["paraphrase"].status == "undecided"
    assert (verdicts["paraphrase"].next_step, verdicts["paraphrase"].advice[0]) == (
        "To decide, add about 2 changed inputs",
        "95 % interval 1 to 99 %",
    )
    row = result.line("Other wording: right answers kept").split()
    assert row[-6:] == ["1", "of", "2", "≥", "95", "%", "undecided"][-6:]


def test_a_failure_shows_both_inputs_and_both_answers(project: Project) -> None:
    write(project)
    result = project.run("--llm-report=r.html", "-v")
    text = result.text[result.text.index("the unchanged input") :]
    failures, summary = text.split("LLM regression", 1)
    for part in ("Can I return it?", "45 days", "May it go back?", "I do not know"):
        assert part in failures
        assert part in summary
    page = json.dumps(read_data((project.path / "r.html").read_text(encoding="utf-8")))
    assert "changed answer, failed" in page


def test_a_run_without_the_unchanged_test_says_nothing_of_it(project: Project) -> None:
    write(project)
    result = project.run("-k", "paraphrase")
    assert result.run.verdicts == ()
    assert result.outcomes == {"passed": 1, "failed": 1, "skipped": 1}


def test_what_fails_unchanged_too_keeps_its_verdict(project: Project) -> None:
    write(project, SUITE.replace('if "return" in question', "if False"))
    (case, paraphrase) = project.run().run.verdicts
    assert "2 of 2" in case.sentence
    assert "2 of 2" in paraphrase.sentence
    assert paraphrase.shares[0].needed == 70


def test_the_answer_can_be_what_must_stay_equal(project: Project) -> None:
    suite = SUITE.replace('"case", "paraphrase"', '"paraphrase", equal="answer"').replace(
        '"45 days" if', '"45 days, " + question if'
    )
    write(
        project,
        suite,
        [{"id": "a", "input": "return?", "fact": "45", "paraphrases": ["a return?", "Return? return?"]}],
    )
    result = project.run()
    assert result.outcomes == {"passed": 3}
    (variant,) = result.run.verdicts
    assert variant.sentence.startswith("same answers kept: 0 of 2 (0 %)")
    assert variant.status == "worse"
    assert "a return?" in " ".join(variant.advice)


def test_what_must_stay_equal_can_be_the_value_of_a_function(project: Project) -> None:
    suite = SUITE.replace('"case", "paraphrase"', '"paraphrase", equal="answer"').replace(
        "    assert_contains(answer(case.input)",
        "    assert_contains((case.input + answer(case.input)).partition('45')[1], '45', at_least=None)\n"
        "    assert_contains(case.input + answer(case.input) + '45'",
    )
    paraphrases = ["Is a return possible?", "May it go back?"]
    write(project, suite, [{"id": "a", "input": "return?", "fact": "45", "paraphrases": paraphrases}])
    result = project.run()
    assert result.outcomes == {"passed": 3}
    (variant,) = result.run.verdicts
    assert variant.sentence.startswith("same answers kept: 1 of 2")


def test_answers_that_are_not_known_are_not_equal(project: Project) -> None:
    suite = SUITE.replace('"case", "paraphrase"', '"paraphrase", equal="answer"').replace(
        "assert_contains(answer(case.input), case[", "assert answer(case.input) and (case["
    )
    write(project, suite, [{"id": "a", "input": "return?", "fact": "45", "paraphrases": ["a return?"]}])
    (variant,) = project.run().run.verdicts
    assert (variant.status, variant.sentence) == (
        "error",
        "same answers kept: no score for 1 changed input",
    )


def test_what_errs_is_no_lost_verdict(project: Project) -> None:
    raising = SUITE.replace(
        "    assert_contains",
        "    assert_contains(None, 'x') if case.robust['value'] == 'paraphrase' else None\n    assert_contains",
    )
    write(project, raising)
    variants = {variant.subject.removeprefix("input "): variant for variant in project.run().run.verdicts}
    assert variants["paraphrase"].status == "error"
    assert variants["paraphrase"].sentence == "right answers kept: no score for 2 changed inputs"


def test_plain_assertions_and_prompt_versions_work_too(project: Project) -> None:
    suite = """
import pytest

@pytest.mark.cases("cases.jsonl")
@pytest.mark.llm_robust("case", seed=4)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_answer(case, version):
    assert "4512" in case.input or version == "v1" or case.input[0] == "C"
"""
    write(project, suite)
    result = project.run()
    assert result.outcomes == {"passed": 8}
    (variant,) = result.run.verdicts
    assert "4 of 4" in variant.sentence


def test_recordings_of_a_changed_input_are_its_own(project: Project) -> None:
    suite = SUITE.replace("def test_answer(case):", "def test_answer(case, llm):").replace(
        "answer(case.input)", "llm.complete(case.input).text"
    )
    write(
        project,
        suite.replace(
            'assert_contains(llm.complete(case.input).text, case["fact"])',
            "assert llm.complete(case.input).text",
        ),
    )
    project.record()
    recorded = project.cassettes()
    assert sum("a-case" in name or "a~case" in name for name in recorded) == 1
    result = project.run()
    assert result.outcomes == {"passed": 6, "skipped": 1}
    assert project.cassettes() == recorded


def test_the_gate_has_the_rate_and_sees_a_drop(project: Project) -> None:
    cases = [{"id": f"c{n}", "input": f"Can I return order {n} today?", "fact": "45"} for n in range(25)]
    write(project, SUITE.replace(', "paraphrase"', "").replace("in question", "in question.lower()"), cases)
    project.run("--llm-accept", "first")
    write(project, SUITE.replace(', "paraphrase"', ""), cases)
    result = project.run()
    rates = {metric.name: metric for metric in gate_of(result.run).metrics}
    assert rates["robust.case"].status == "RED"
    assert rates["robust.case"].before == 1


def test_two_tests_of_the_same_inputs_have_a_line_each(project: Project) -> None:
    cases = [{"id": f"c{n}", "input": "return?", "fact": "45", "paraphrases": ["It"]} for n in range(7)]
    suite = SUITE.replace('"case", ', "")
    other = suite.partition("@")[2].replace("test_answer", "test_b").replace("answer(case.input)", "'45'")
    write(project, f"{suite}\n@{other}", cases)
    variants = project.run().run.verdicts
    assert [(variant.status, variant.subject, variant.shares[0].counted) for variant in variants] == [
        ("worse", "input paraphrase of test_a.py::test_answer", "0 of 7"),
        ("undecided", "input paraphrase of test_a.py::test_b", "7 of 7"),
    ]
    assert (len(variants[0].advice), variants[0].advice[-1]) == (7, "and 2 more")


@pytest.mark.parametrize(
    "marker",
    ['"typo"', "", '"typos", "typos"', '"typos", seed="x"', '"typos", equal="text"', '"typos", equal=len', '"typos", sed=1', '["typos"]'],
)  # fmt: skip
def test_a_wrong_marker_is_reported_with_its_test(project: Project, marker: str) -> None:
    write(project, SUITE.replace('"case", "paraphrase"', marker))
    result = project.run()
    assert set(result.outcomes) == {"errors"}
    check_message(result.line("UsageError: ").partition("UsageError: ")[2])


def test_a_transformation_of_no_use_is_an_error_and_the_others_are_run(project: Project) -> None:
    write(project, SUITE.replace('"case"', '"distractor", "order"'))
    result = project.run()
    assert result.outcomes == {"passed": 3, "failed": 1, "skipped": 3, "errors": 2}
    for name in ("distractor", "order"):
        assert result.records[f"test_answer[a~{name}]"].outcome == "errored"
        check_message(result.records[f"test_answer[a~{name}]"].message)
    assert {variant.subject for variant in result.run.verdicts} == {
        "input distractor",
        "input order",
        "input paraphrase",
    }


def test_a_test_without_cases_is_an_error(project: Project) -> None:
    write(project, "import pytest\n\n@pytest.mark.llm_robust('typos')\ndef test_a(): pass\n")
    result = project.run()
    assert result.outcomes == {"errors": 1}
    check_message(result.line("UsageError: ").partition("UsageError: ")[2])


def test_a_class_may_be_marked(project: Project) -> None:
    suite = """
import pytest

@pytest.mark.llm_robust("case")
class TestShop:
    @pytest.mark.cases("cases.jsonl")
    def test_answer(self, case):
        assert case.input

    def test_other(self):
        pass
"""
    write(project, suite)
    assert project.run().outcomes == {"passed": 5}
