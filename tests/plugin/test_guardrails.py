"""What detectors find is in nothing that a run writes; the judged part of a policy needs --llm-judge."""

from __future__ import annotations

import pytest
from support.page import unpack_report
from support.project import Project

HIDDEN = ("anna@example.com", "4111 1111 1111 1111", "8.8.4.4", "q8w7e6r5t4z3u2i1o0")
TESTS = """
import pytest
from pytest_llmops import assert_no_pii, assert_no_secrets
from pytest_llmops.guardrails import RuleDetector, secret_detector

TEXT = 'Write to anna@example.com, card 4111 1111 1111 1111 from 8.8.4.4.'

@pytest.mark.parametrize("answer", [TEXT], ids=["text"])
def test_parametrized(answer, record_property):
    copy = answer
    print("captured", copy)
    record_property("said", copy)
    assert_no_pii(answer)

def test_literal():
    assert_no_pii("Write to anna@example.com, card 4111 1111 1111 1111 from 8.8.4.4.")

def test_secret():
    assert_no_secrets("token ghp_q8w7e6r5t4z3u2i1o0q8w7e6r5t4z3u2i1o0")

def test_caught():
    with pytest.raises(AssertionError):
        assert_no_pii(TEXT)
    assert TEXT == "something else"

def breaks(text):
    raise ValueError("no model")

def test_one_of_three_detectors_raises():
    text = TEXT + " token ghp_q8w7e6r5t4z3u2i1o0q8w7e6r5t4z3u2i1o0"
    assert_no_pii(text, detectors=[RuleDetector("mine", ("name",), breaks), secret_detector()])
"""


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_what_is_found_is_in_no_report(project: Project, workers: int) -> None:
    project.write(**{"test_pii.py": TESTS})
    result = project.run(
        "-l",
        "-rA",
        "-o",
        "junit_family=xunit1",
        "--llm-report=r.html",
        "--llm-report=r.md",
        "--junit-xml=r.xml",
        workers=workers,
    )
    assert result.outcomes == {"failed": 4, "errors": 1}
    written = {
        name: unpack_report(name, (project.path / name).read_bytes()).decode()
        for name in ("r.html", "r.md", "r.xml", "run-file.json")
    }
    for name, text in {**written, "terminal": result.text}.items():
        assert [hidden for hidden in HIDDEN if hidden in text] == [], name
        assert "[email]" in text or name == "r.md"


POLICY = "---\nkind: policy\n{}---\n- Never promise a refund.\n"
RULE = "forbid:\n  - {id: guarantee, pattern: guarantee}\n"
COMPLIES = """
from pytest_llmops import assert_complies

def test_answer():
    assert_complies("No refund.", policy="policies/support.md")
"""


def test_rules_in_plain_words_alone_need_a_judge(project: Project) -> None:
    project.write(**{"policies/support.md": POLICY.format(""), "test_policy.py": COMPLIES})
    assert project.run().outcomes == {"skipped": 1}


def test_the_judge_of_the_policy_is_called_with_llm_judge(project: Project) -> None:
    judge = """
from pytest_llmops.protocols import Verdict

class Judge:
    name, version, low, high, pass_at = "compliance", "1", 0.0, 1.0, 1.0

    def judge(self, answer, *, question="", reference=""):
        return Verdict(score=0.0, low=0.0, high=1.0, reason="promises", dimensions={"Never promise a refund.": 0.0})

def pytest_llmops_judges(config):
    return {str(config.rootpath / "policies" / "support.md"): Judge}
"""
    project.write(
        **{"policies/support.md": POLICY.format(RULE), "test_policy.py": COMPLIES, "conftest.py": judge}
    )
    assert project.run().outcomes == {"passed": 1}
    result = project.run("--llm-judge")
    assert result.outcomes == {"failed": 1}
    names = [measurement.name for measurement in result.records["test_answer"].measurements]
    assert names == ["guardrail.policy", "judge.compliance"]


def test_a_judge_without_a_verdict_is_no_compliance(project: Project) -> None:
    judge = """
class Judge:
    name, version, low, high = "compliance", "1", 0.0, 1.0

    def judge(self, answer, *, question="", reference=""):
        raise OSError("down")

def pytest_llmops_judges(config):
    return {str(config.rootpath / "policies" / "support.md"): Judge}
"""
    project.write(
        **{"policies/support.md": POLICY.format(""), "test_policy.py": COMPLIES, "conftest.py": judge}
    )
    result = project.run("--llm-judge")
    assert [measurement.status for measurement in result.records["test_answer"].measurements] == ["errored"]
