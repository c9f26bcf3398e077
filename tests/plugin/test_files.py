"""`assert_files` in tests: what a user sees, with trials, a baseline and workers."""

from __future__ import annotations

import pytest
from support.page import read_texts
from support.project import Project

TESTS = """
import os
import pytest
from pytest_llmops import assert_files, watch_folder

def run_agent(folder, text):
    (folder.path / "price.py").write_text(text)
    (folder.path / "notes.md").write_text("\\x1b[31m::error::stray " + os.environ["SHOP_API_KEY"])

@pytest.fixture
def folder(tmp_path):
    (tmp_path / "price.py").write_text("price = 1\\n")
    return watch_folder(tmp_path)

def test_right(folder):
    run_agent(folder, "price = 2\\n")
    assert_files(folder, changed="price.py", created="notes.md")

def test_stray(folder):
    run_agent(folder, "price = 2\\n")
    assert_files(folder, changed="price.py")

def test_nothing_done(folder):
    assert_files(folder, changed="price.py")

def test_not_read(folder):
    folder._limits = type(folder._limits)(time_limit_s=60, max_files=1, max_bytes=100)
    run_agent(folder, "price = 2\\n")
    assert_files(folder, changed="price.py", created="notes.md")
"""
SECRET = "sk-of-the-shop-1234567890abcdef"


def test_a_plain_test_fails_with_the_diff_and_is_in_the_reports(
    project: Project, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_API_KEY", SECRET)
    project.write(**{"test_a.py": TESTS})
    result = project.run("--llm-report=report.html", workers=workers)
    assert result.outcomes == {"passed": 1, "failed": 2, "errors": 1}
    for line in (
        "files: 1 change not expected",
        "unexpected   created notes.md",
        r"diff         +\x1b[31m::error::stray",
        'missing   changed "price.py": price.py is as it was',
        "files gave no score: ",
    ):
        assert line in result.text
    statuses = {name: record.measurements[0].status for name, record in result.records.items()}
    assert statuses == {
        "test_right": "passed",
        "test_stray": "failed",
        "test_nothing_done": "failed",
        "test_not_read": "errored",
    }
    page = read_texts((project.path / "report.html").read_text(encoding="utf-8"))
    assert "created notes.md" in page
    assert "::error::stray" in page
    stored = (project.path / "run-file.json").read_text(encoding="utf-8")
    assert not any(SECRET in text for text in (result.text, page, stored))


FLAKY = """
import pytest
from pytest_llmops import assert_files, watch_folder

runs = []

@pytest.mark.llm_trials(3, pass_at_least=2)
def test_agent(tmp_path):
    runs.append(list(tmp_path.iterdir()))
    assert runs[-1] == []
    (tmp_path / "price.py").write_text("price = 1")
    folder = watch_folder(tmp_path)
    (tmp_path / ("price.py" if len(runs) != {bad} else "prices.py")).write_text("price = 2")
    assert_files(folder, changed="price.py")
"""


def test_trials_have_a_folder_each_and_a_sample_each(project: Project) -> None:
    project.write(**{"test_a.py": FLAKY.format(bad=0)})
    assert project.run("--llm-accept=first").outcomes == {"passed": 1}
    project.write(**{"test_a.py": FLAKY.format(bad=2)})
    result = project.run()
    (measurement,) = result.records["test_agent"].measurements
    assert (measurement.name, measurement.samples, measurement.version) == ("files", (1.0, 0.0, 1.0), "1")
    assert result.outcomes == {"passed": 1}
