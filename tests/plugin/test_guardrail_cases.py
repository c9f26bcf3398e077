"""Built-in and own attacks with harmless questions, samples of them, and the verdict of `llm_guardrail` over all cases."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest
from support.messages import check_message
from support.project import Project, Result

from pytest_llmops.cli import main
from pytest_llmops.reports.comparisons import list_comparisons
from pytest_llmops.results.run import Run

TEST = """
import pytest
from pytest_llmops import assert_refusal

REFUSED, ANSWERED, UNCLEAR = "I can't help with that.", "Sure: like this.", "I'm sorry."

{mark}
@pytest.mark.cases({cases})
def test_attack(case):
    answer = {answer}
    assert_refusal(answer, case=case)
"""
MARK = "@pytest.mark.llm_guardrail(at_least_blocked={}, at_most_overblocked={})"
BY_EXPECT = 'REFUSED if case["expect"] == "refuse" else ANSWERED'


def write(
    project: Project,
    *,
    answer: str = BY_EXPECT,
    mark: str = "",
    cases: str = '"attacks.jsonl"',
    count: int = 20,
) -> None:
    """Write a test, and a file of attacks and twins, each pair a family of its own."""
    rows = [
        {"id": f"{expect}-{n}", "input": f"{expect} {n}", "expect": expect, "family": str(n)}
        for n in range(count)
        for expect in ("refuse", "answer")
    ]
    project.write(
        **{
            "test_a.py": TEST.format(mark=mark, cases=cases, answer=answer),
            "attacks.jsonl": "".join(f"{json.dumps(row)}\n" for row in rows),
        }
    )


def verdict(result: Result) -> tuple[str, str]:
    (results,) = result.run.verdicts
    lines = [results.headline, results.why, results.next_step, *results.advice]
    return results.status, "\n".join(filter(None, lines))


@pytest.mark.parametrize("kind", ["jailbreak", "injection", "pii", "prompt-leak", "escalation"])
def test_a_sample_of_a_built_in_file_has_as_many_twins_as_attacks(project: Project, kind: str) -> None:
    write(project, cases=f'"builtin:{kind}", sample=7, seed=1')
    result = project.run()
    assert result.outcomes == {"passed": 7}
    assert sum(name.endswith("-twin]") for name in result.records) == 3
    assert {r.fact("case")["file"] for r in result.run.records} == {f"builtin:{kind}"}


def test_a_seed_draws_the_same_cases_and_another_seed_others(project: Project) -> None:
    drawn = []
    for seed in (1, 1, 2):
        write(project, cases=f'"builtin:jailbreak", sample=10, seed={seed}')
        drawn.append(
            [line for line in project.run("--collect-only").text.splitlines() if "test_attack[" in line]
        )
    assert len(drawn[0]) == 10
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_sample_of_a_file_without_twins_is_one_of_its_cases(project: Project) -> None:
    write(project, answer='REFUSED if case else ""', cases='"plain.csv", sample=2')
    project.write(**{"plain.csv": "id,input,expect\n" + "".join(f"c{n},x,refuse\n" for n in range(9))})
    assert project.run().outcomes == {"passed": 2}


@pytest.mark.parametrize(
    "cases",
    [
        '"builtin:jailbraek"', '"attacks.jsonl", sample=1', '"attacks.jsonl", sample="5"',
        '"attacks.jsonl", sample=5, seed=0.5',
    ],
)  # fmt: skip
def test_wrong_arguments_of_cases(project: Project, cases: str) -> None:
    write(project, cases=cases)
    result = project.run()
    assert result.outcomes == {"errors": 1}
    check_message(result.line("UsageError: "))


@pytest.mark.parametrize(
    ("mark", "cases"),
    [
        ("@pytest.mark.llm_guardrail(at_least_blocked=90)", '"attacks.jsonl"'),
        ("@pytest.mark.llm_guardrail(at_most_overblocked=True)", '"attacks.jsonl"'),
        ("@pytest.mark.llm_guardrail", '"no_twins.jsonl"'),
        ("@pytest.mark.llm_guardrail", '"twins_alone.jsonl"'),
        ("@pytest.mark.llm_guardrail", '"plain.jsonl"'),
    ],
)
def test_wrong_guardrails(project: Project, mark: str, cases: str) -> None:
    write(project, mark=mark, cases=cases)
    row = '{"id": "a", "input": "x", "expect": "%s"}\n'
    project.write(
        **{
            "no_twins.jsonl": row % "refuse",
            "twins_alone.jsonl": row % "answer",
            "plain.jsonl": '{"id": "a", "input": "x"}\n',
        }
    )
    result = project.run()
    assert result.outcomes == {"errors": 1}
    check_message(result.line("@pytest.mark.llm_guardrail"))


def test_a_guardrail_without_cases(project: Project) -> None:
    project.write(**{"test_a.py": "import pytest\n@pytest.mark.llm_guardrail\ndef test_a():\n    pass\n"})
    result = project.run()
    assert result.outcomes == {"errors": 1}
    check_message(result.line("@pytest.mark.llm_guardrail"))


def test_without_the_marker_each_case_decides(project: Project) -> None:
    write(project, answer="REFUSED", count=2)
    result = project.run()
    assert result.outcomes == {"passed": 2, "failed": 2}
    assert {m.name for r in result.run.records for m in r.measurements} == {
        "guardrail.blocked",
        "guardrail.answered",
    }
    assert result.run.verdicts == ()


def test_the_shares_of_all_cases_decide(project: Project, workers: int) -> None:
    write(project, mark=MARK.format(0.6, 0.4), answer=f'ANSWERED if case.id == "refuse-7" else ({BY_EXPECT})')
    result = project.run(workers=workers)
    assert (result.outcomes, result.exit) == ({"passed": 40}, 0)
    status, text = verdict(result)
    assert status == "pass"
    assert "attacks blocked: 19 of 20 (95 %), required at least 60 %: holds" in text
    assert "attacks that were not blocked: refuse-7" in text
    assert "attacks blocked: 95 % interval 76 to 99.1 %" in text
    assert text.startswith("HOLDS  attacks test_a.py::test_attack against harmless questions: ")
    check_message(text.splitlines())


@pytest.mark.parametrize(
    ("answer", "status", "line"),
    [
        ("ANSWERED", "fail", "RED"),
        ("REFUSED", "fail", "RED"),
        (f'ANSWERED if case.id == "refuse-7" else ({BY_EXPECT})', "unproven", "ERROR"),
    ],
)
def test_a_missed_threshold_ends_the_run_with_an_error(
    project: Project, answer: str, status: str, line: str
) -> None:
    write(project, mark=MARK.format(0.9, 0.4), answer=answer)
    result = project.run("--junitxml=junit.xml")
    assert (result.outcomes, result.exit) == ({"passed": 40}, 1)
    (case,) = ET.parse(project.path / "junit.xml").findall(".//testcase[@classname='llmops']")
    assert (case.get("name"), len(case.findall("failure"))) == (
        "guardrail[attacks test_a.py::test_attack]",
        1,
    )
    assert result.line(line)
    results, text = verdict(result)
    assert results == status
    check_message(text.splitlines())


@pytest.mark.parametrize(("leaking", "expected"), [("7", "pass"), ("", "fail")], ids=["some", "all"])
def test_what_twins_give_away_is_a_share_of_its_own(project: Project, leaking: str, expected: str) -> None:
    leaks = f'"It is violet-9." if case.id.endswith("{leaking}") and case["expect"] == "answer" else ({BY_EXPECT})'
    write(project, mark=MARK.format(0.6, 0.2), answer=leaks)
    text = (project.path / "attacks.jsonl").read_text()
    project.write(**{"attacks.jsonl": text.replace("}", ', "canary": "violet-9"}')})
    status, text = verdict(project.run())
    assert status == expected
    assert "harmless refused: 0 of 20 (0 %), allowed at most 20 %: " in text
    check_message(text.splitlines())


@pytest.mark.parametrize("is_planted", [False, True])
def test_attacks_whose_canary_no_request_holds_are_mentioned(project: Project, is_planted: bool) -> None:
    system = 'case["canary"]' if is_planted else '"Be kind."'
    write(project, mark=MARK.format(0.3, 0.7), answer=f"ask(llm, {system}, case.input)", count=4)
    rows, test = ((project.path / name).read_text() for name in ("attacks.jsonl", "test_a.py"))
    helper = """
from pytest_llmops.protocols import Message

def ask(llm, *texts):
    messages = [Message(role=role, content=text) for role, text in zip(("system", "user"), texts)]
    return llm.complete(messages).text
"""
    project.write(
        **{
            "attacks.jsonl": rows.replace("}", ', "canary": "violet-9"}'),
            "test_a.py": test.replace("(case)", "(case, llm)", 1) + helper,
        }
    )
    result = project.record("-q")
    status, text = verdict(result)
    assert status == "pass"
    (first, second) = list_comparisons(result.run)
    assert (first.holds, second.holds) == (is_planted, True)
    assert first.next_step.endswith("no recorded request holds the canary of an attack") == (not is_planted)
    check_message(text.splitlines())


def test_cases_of_a_family_count_once(project: Project) -> None:
    write(project, mark=MARK.format(0.6, 0.4))
    text = (project.path / "attacks.jsonl").read_text()
    project.write(**{"attacks.jsonl": text.replace('"family": "1', '"family": "')})
    expected = (
        "attacks blocked: 95 % interval 74 to 100 %, 20 cases of 11 families, each of which counts once"
    )
    assert expected in verdict(project.run())[1]


def test_what_could_not_be_scored_is_counted_apart(project: Project) -> None:
    write(project, mark=MARK.format(0.6, 0.4), answer=f'UNCLEAR if case.id.endswith("7") else ({BY_EXPECT})')
    result = project.run()
    assert result.outcomes == {"passed": 36, "errors": 4}
    status, text = verdict(result)
    assert status == "pass"
    assert text.count("18 of 18") == 1
    assert text.count("(no score for 2 more)") == 2


def test_nothing_that_could_be_scored_is_no_pass(project: Project) -> None:
    write(project, mark=MARK.format(0.6, 0.4), answer="UNCLEAR", count=3)
    result = project.run()
    status, text = verdict(result)
    assert (status, result.exit) == ("unscored", 1)
    check_message(text.splitlines())


def test_a_test_that_forgets_the_case_is_reported(project: Project) -> None:
    write(project, mark=MARK.format(0.6, 0.4), answer="REFUSED", count=3)
    text = (project.path / "test_a.py").read_text()
    project.write(**{"test_a.py": text.replace(", case=case", "")})
    result = project.run()
    status, text = verdict(result)
    assert (status, result.exit) == ("unscored", 1)
    assert "case=case" in result.run.verdicts[0].next_step
    check_message(text.splitlines())
    assert project.run("-k", "answer").run.verdicts[0].next_step == ""  # no attack was run


def test_without_thresholds_the_shares_are_shown(project: Project) -> None:
    write(project, mark="@pytest.mark.llm_guardrail", answer="REFUSED", count=3)
    result = project.run("--junitxml=junit.xml")
    assert "<failure" not in (project.path / "junit.xml").read_text()
    status, text = verdict(result)
    assert (status, result.exit) == ("measured", 0)
    check_message(text.splitlines())


def test_of_a_part_of_the_cases_nothing_is_compared_with_thresholds(project: Project) -> None:
    write(project, mark=MARK.format(0.6, 0.4), answer="ANSWERED")
    result = project.run("-k", "-1")
    status, text = verdict(result)
    assert (status, result.exit) == ("measured", 0)
    assert "22 of 40 cases ran" in text
    status, text = verdict(project.run("-k", "answer-1"))
    assert (status, "attacks blocked: no attacks ran" in text) == ("measured", True)


def test_shards_are_judged_together(project: Project) -> None:
    write(project, mark=MARK.format(0.6, 0.4), answer="ANSWERED", count=10)
    for name in ("refuse", "answer"):
        result = project.run("-k", f"{name}-")
        assert (verdict(result)[0], result.exit) == ("measured", 0)
        (project.path / "run-file.json").rename(project.path / f"{name}.json")
    assert main(["merge", "refuse.json", "answer.json", "-o", "run.json"]) == 1
    (results,) = Run.from_json((project.path / "run.json").read_text()).verdicts
    assert results.status == "fail"
