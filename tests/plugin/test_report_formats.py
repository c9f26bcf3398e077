"""A project's own format of reports, in its conftest."""

from __future__ import annotations

import pytest
from support.messages import check_message
from support.project import Project

CONFTEST = """
from pytest_llmops.reports.formats import ReportFormat


def render_names(run):
    return "".join(f"{record.nodeid} {record.outcome}\\n" for record in run.records)


def pytest_llmops_reports(config):
    return [ReportFormat(kind="names", suffix=".names", render=render_names)]
"""
TEST = """
from pytest_llmops import assert_contains

def test_a():
    assert_contains("a b", "a")

def test_b():
    assert_contains("a b", "c")
"""


def test_a_report_in_a_format_of_the_project(project: Project) -> None:
    project.write(**{"conftest.py": CONFTEST, "test_a.py": TEST})
    result = project.run("--llm-report=run.names", "--llm-report=names:out.txt")
    assert result.outcomes == {"passed": 1, "failed": 1}
    expected = "test_a.py::test_a passed\ntest_a.py::test_b failed\n"
    assert (project.path / "run.names").read_text(encoding="utf-8") == expected
    assert (project.path / "out.txt").read_text(encoding="utf-8") == expected


def test_the_format_is_named_where_a_report_has_an_unknown_one(project: Project) -> None:
    project.write(**{"conftest.py": CONFTEST, "test_a.py": TEST})
    result = project.bare("--llm-report=run.csv")
    assert result.exit == pytest.ExitCode.USAGE_ERROR
    check_message(result.line("--llm-report"))


def test_a_format_that_raises_fails_the_run_and_the_other_reports_are_written(project: Project) -> None:
    returned = 'return "".join('
    assert returned in CONFTEST
    broken = CONFTEST.replace(returned, 'raise KeyError("tone")\n    return "".join(')
    project.write(**{"conftest.py": broken, "test_a.py": TEST})
    result = project.run("--llm-report=run.names", "--llm-report=run.md", "-k", "test_a")
    assert result.exit == pytest.ExitCode.TESTS_FAILED
    check_message(result.line("report run.names"))
    assert (project.path / "run.md").exists()
