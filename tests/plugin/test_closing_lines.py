"""Our section at the end of a run: the verdict, the reports and the next step, the same in every mode; a line for coding agents."""

from __future__ import annotations

import re

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

@pytest.mark.parametrize("case", range(60))
def test_answer(case):
    drop = 0.2 if STATE == "red" and case % 2 else 0
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
# Of each state: the verdict, a code in the output, and the command after the next step
ENDS: dict[str, tuple[str, str, str]] = {
    "green": ("GREEN     ", "", ""),
    "missed": ("ERROR     1 of 62 tests has no recording.", "[LLM-MISS]", "pytest test_a.py::test_text --llm-record=new"),
    "failed": ("FAIL      1 of 62 tests failed.", "[LLM-THRESHOLD]", "pytest test_a.py::test_text"),
    "error": ("ERROR     1 of 62 tests ended with an error.", "[LLM-CASE]", "pytest test_a.py::test_wrong"),
    "red": ("RED       The suite got worse by ", "", ""),
}  # fmt: skip


@pytest.fixture
def states(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with a baseline, whose next run ends as the variable STATE says."""
    monkeypatch.setenv("STATE", "green")
    project.write(**{"test_a.py": STATES})
    assert project.run("--llm-accept=first").exit == 0
    return project


def read_section(result: Result) -> tuple[str, list[str]]:
    """Return the title and the lines of our section, which is directly above pytest's last line."""
    *lines, last = result.text.rstrip().splitlines()
    assert re.search(r" in \d+\.\d+s", last)
    starts = [place for place, line in enumerate(lines) if "= LLM regression: " in line]
    return lines[starts[-1]].strip("= "), lines[starts[-1] + 1 :]


@pytest.mark.parametrize("state", ENDS)
def test_the_section_ends_with_verdict_report_and_next_step(
    states: Project, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setenv("STATE", state)
    result = states.run()
    assert result.exit == (state != "green")
    expected, code, command = ENDS[state]
    title, lines = read_section(result)
    assert title == f"LLM regression: {expected.split()[0]}"
    (place,) = [place for place, line in enumerate(lines) if line.startswith(expected)]
    report = f"report    {states.path}/run-file.json"
    assert report in lines[place:]
    assert code in result.text
    after = lines[lines.index(report) + 1 :]
    if command:
        assert after[0].startswith("next      ")
        assert after[1:] == [f"          {command}"]
    # -q has only the verdict, the verdict against the baseline below another headline, and the next step.
    quiet = states.run("-q").text.splitlines()
    quiet = [line for line in quiet if not line.strip().startswith("Against the baseline: ")]
    assert quiet[-len(after) - 2 : -1] == [lines[place], *after]


def test_it_is_the_same_with_workers_and_not_there_if_silence_is_asked_for(
    states: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE", "missed")
    assert read_section(states.run(workers=2)) == read_section(states.run())
    for flag in ("-qq", "--no-summary"):
        assert "next  " not in states.run(flag).text


def test_more_cases_are_in_the_report_that_was_written_or_with_v(
    states: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE", "red")
    assert states.bare().text.count("\nworse     ") == 3
    assert "\nand 27 more worse: -v\n" in states.bare().text
    assert "\nand 27 more worse: -v, or page.html\n" in states.bare("--llm-report=page.html").text
    assert states.bare("-vv").text.count("\nworse     ") == 30


def test_the_summary_of_a_job_is_named_where_there_is_one(
    states: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE", "red")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(states.path / "summary.md"))
    assert "\nand 27 more worse: see the summary of the job\n" in states.bare("-o", "llm_github=auto").text


def test_the_next_command_can_be_copied_in_a_folder_of_the_project(
    states: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE", "failed")
    (states.path / "folder").mkdir()
    monkeypatch.chdir(states.path / "folder")
    assert "          pytest ../test_a.py::test_text" in states.bare("../test_a.py").text.splitlines()


def test_a_coding_agent_is_told_where_help_is_if_the_run_is_red(
    states: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE", "missed")
    assert "agents    " not in states.run().text
    monkeypatch.setenv("AI_AGENT", "1")
    hint = " ".join(states.run().text.partition("agents    ")[2].split())
    assert hint.startswith(f"read {find_skill()} before you change a test")
    assert f"this run as JSON: {states.path}/run-file.json " in hint
    assert "--llm-report=run.json" in states.bare("-q").text
    monkeypatch.setenv("STATE", "green")
    assert "agents    " not in states.run().text
