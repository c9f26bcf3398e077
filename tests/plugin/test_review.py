"""From a test that leaves cases to a person, over the reports, to labels that a judge is held against."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

import pytest
from support.messages import check_message
from support.page import read_data
from support.project import Project

from pytest_llmops import cli
from pytest_llmops.judges import read_labels
from pytest_llmops.production.review_queue import read_queue

TESTS = """
import pytest
from pytest_llmops import assert_judge_score
from pytest_llmops.judges.panel import Panel
from pytest_llmops.protocols import Verdict

class Counts:
    name, low, high, pass_at = "counts", 1, 10, 5

    def __init__(self, weight):
        self.version, self.weight = f"w{weight}", weight

    def judge(self, answer, *, question="", reference=""):
        return Verdict(score=min(10, max(1, len(answer) // self.weight)))

@pytest.mark.cases("cases.jsonl")
def test_answer(case):
    panel = Panel([Counts(1), Counts(4)])
    assert_judge_score(case.input * 2, judge=panel, question=case.input, reference=case.reference, review_below=0.7)
"""
CASES = [
    {"id": "short", "input": "ab", "reference": "x"},
    {"id": "middle", "input": "abcdef", "reference": "y"},
    {"id": "torn", "input": "abcdefgh", "reference": "z"},
    {"id": "long", "input": "abcdefgh" * 5, "reference": "=1"},
]


def test_cases_for_a_person_are_listed_exported_and_taken_back(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write(**{"test_a.py": TESTS, "cases.jsonl": "".join(f"{json.dumps(case)}\n" for case in CASES)})
    result = project.run(
        "-v", "--llm-judge", "--junitxml=junit.xml", "--llm-report=report.html", "-k", "not short"
    )
    assert result.outcomes == {"passed": 3}
    line = result.line("middle (0.22), torn (0.33)")
    assert "2 cases" in line
    check_message(line)
    assert read_data((project.path / "report.html").read_text(encoding="utf-8"))["review"]
    values = sorted(
        str(item.get("value"))
        for item in ET.parse(project.path / "junit.xml").iter("property")
        if item.get("name") == "llm.review"
    )
    assert [re.findall(r"[\d.]+", value) for value in values] == [
        ["10", "3", "0.22", "0.7"],
        ["10", "4", "0.33", "0.7"],
    ]
    check_message(values)
    listed = json.loads((project.path / "run-file.json").read_text(encoding="utf-8"))["review"]
    assert [case["case"] for case in listed] == ["middle", "torn"]
    monkeypatch.chdir(project.path)
    monkeypatch.setattr("pytest_llmops.cli.command_line.GROUPS", ("cases", "judge"))
    assert cli.main(["judge", "export-labels", "run-file.json", "--out", "labels.jsonl"]) == 0
    entries = {entry.input: entry.id for entry in read_queue("labels.jsonl")}
    assert entries.keys() == {"abcdef", "abcdefgh"}
    label = ["--label", entries["abcdef"], "pass", "--rater", "anna"]
    capsys.readouterr()
    assert cli.main(["cases", "review", "--queue", "labels.jsonl", *label]) == 0
    check_message(capsys.readouterr().out)
    labels = read_labels(project.path / "labels.jsonl")
    assert [
        (row.answer, row.question, row.reference, row.family, dict(row.opinion.human))
        for row in labels.labelled
    ] == [("abcdef" * 2, "abcdef", "y", "middle", {"anna": True})]
