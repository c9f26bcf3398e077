"""The last lines of a run: the verdict, the reports and the next command, the same in every mode; and a line for coding agents."""

from __future__ import annotations

import re
import shlex

import pytest
from support.project import Project, Result

from pytest_llmops._util.documentation import find_skill

STATES = """
import os
import pytest
from pytest_llmops import assert_contains, assert_score
from pytest_llmops.cases import load_cases

STATE = os.environ["STATE"]

def quality(actual, expected=None):
    return float(actual)

@pytest.mark.parametrize("case", range(24))
def test_answer(case):
    drop = 0.3 if STATE == "red" and case % 2 else 0
    assert_score(quality, str(0.9 - case % 5 / 50 - drop), at_least=None)

def test_text(llm):
    if STATE == "missed":
        llm.complete("a new question")
    expected = "Paris" if STATE == "failed" else ""
    assert_contains("echo", expected or "echo")

def test_wrong(llm):
    if STATE == "error":
        load_cases("misspelt.csv")
"""
# Of each state: the beginning of the verdict, a code in the output, and the last line
ENDS: dict[str, tuple[str, str, list[str]]] = {
    "green": ("PASS  26 passed", "", []),
    "missed": ("ERROR  1 error", "[LLM-MISS]", ["llm: next: pytest test_a.py::test_text --llm-record=new"]),
    "failed": ("FAIL  1 failed", "[LLM-THRESHOLD]", ["llm: next: pytest test_a.py::test_text"]),
    "error": ("ERROR  1 error", "[LLM-CASE]", ["llm: next: pytest test_a.py::test_wrong"]),
    "red": ("RED  26 passed; RED", "[LLM-RED]", ["llm: next: pytest 'test_a.py::test_answer[11]'"]),
}


@pytest.fixture
def states(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with a baseline, whose next run ends as the variable STATE says."""
    monkeypatch.setenv("STATE", "green")
    project.write(**{"test_a.py": STATES})
    assert project.run("--llm-accept=first").exit == 0
    return project


def closing_lines(result: Result) -> list[str]:
    """Return the lines of ours at the end of the output, directly above pytest's last line."""
    *lines, last = result.text.rstrip().splitlines()
    assert re.search(r" in \d+\.\d+s", last)
    closing: list[str] = []
    while lines and lines[-1].startswith("llm: "):
        closing.insert(0, lines.pop())
    return closing


@pytest.mark.parametrize("state", ENDS)
def test_the_last_lines_are_verdict_report_and_next_command(
    states: Project, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setenv("STATE", state)
    result = states.run()
    assert result.exit == (state != "green")
    expected, code, command = ENDS[state]
    verdict, *following = closing_lines(result)
    assert verdict.startswith(f"llm: {expected}")
    assert following == [f"llm: report: {states.path}/run-file.json", *command]
    assert code in result.text
    # -q has lines of its own before them: what settles an open verdict, and the first note.
    assert closing_lines(states.run("-q"))[-len(following) - 1 :] == [verdict, *following]


def test_they_are_the_same_with_workers_and_not_there_if_silence_is_asked_for(
    states: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE", "missed")
    assert closing_lines(states.run(workers=2)) == closing_lines(states.run())
    for flag in ("-qq", "--no-summary"):
        assert "llm: next" not in states.run(flag).text


def test_the_next_command_after_red_writes_a_report_if_there_is_none(
    states: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE", "red")
    (line,) = [line for line in states.bare("-k", "answer or text").text.splitlines() if "llm: next" in line]
    assert shlex.split(line.removeprefix("llm: next: pytest ")) == [
        "--llm-report=report.html",
        "-k",
        "answer or text",
    ]


def test_the_next_command_records_nothing_again(states: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE", "red")
    ini = (states.path / "pytest.ini").read_text(encoding="utf-8")
    states.write(**{"pytest.ini": ini.replace("http://127.0.0.1:1/", f"{states.server.url}/")})
    recording = ("--llm-record", "all", "--llm-max-calls=5", "-k", "answer or text")
    (line,) = [line for line in states.bare(*recording).text.splitlines() if "llm: next" in line]
    assert shlex.split(line.removeprefix("llm: next: ")) == [
        "pytest",
        "--llm-report=report.html",
        "-k",
        "answer or text",
    ]


def test_the_next_command_can_be_copied_in_a_folder_of_the_project(
    states: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE", "failed")
    (states.path / "folder").mkdir()
    monkeypatch.chdir(states.path / "folder")
    assert "llm: next: pytest ../test_a.py::test_text" in states.bare("../test_a.py").text.splitlines()


def test_a_coding_agent_is_told_where_help_is_if_the_run_is_red(
    states: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE", "missed")
    assert "coding agents" not in states.run().text
    monkeypatch.setenv("AI_AGENT", "1")
    hint, verdict, *_ = closing_lines(states.run())
    assert str(find_skill()) in hint
    assert hint.endswith(f"this run as JSON: {states.path}/run-file.json")
    assert verdict.startswith("llm: ERROR")
    assert "--llm-report=run.json" in states.bare("-q").text
    monkeypatch.setenv("STATE", "green")
    assert "coding agents" not in states.run().text
