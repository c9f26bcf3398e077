"""What a run leaves for a pull request: Markdown, the summary of a job, annotations, and reports where something is wrong."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message
from support.project import Project, Result

from pytest_llmops.harness.terminal import OTHER_ANNOTATOR

FILES = {
    "prompts/greet/v1.md": "---\nvariables: [name]\n---\nSay hello\nto {{ name }}.\n",
    "cases.jsonl": '{"id": "ann", "input": "Ann"}\n{"id": "bob", "input": "Bob"}\n',
    "test_greet.py": """import pytest
from pytest_llmops import assert_contains

@pytest.mark.prompt("greet")
@pytest.mark.cases("cases.jsonl")
def test_greet(prompt, case, llm):
    answer = llm.complete(prompt.render(name=case.input)).text
    assert_contains(answer, "hello", label="greeting")
    assert_contains(answer, "Ann")
""",
    "test_plain.py": """from helpers import check
from pytest_llmops import assert_score

def test_helper():
    check("a")

def test_library():
    assert_score(lambda actual, expected: 1 / 0, "a", "b", at_least=0.5, name="own")

def test_passes():
    assert True
""",
    "helpers.py": """from pytest_llmops import assert_contains

def check(text):
    assert_contains(text, "b")
""",
}


@pytest.fixture
def recorded(project: Project) -> Project:
    project.write(**FILES)
    project.record()
    return project


def git(project: Project, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=project.path, check=True, capture_output=True)


def commands(result: Result) -> list[str]:
    return sorted(line for line in result.text.splitlines() if line.startswith("::"))


@pytest.mark.parametrize("workers", [0], indirect=True, ids=["n0"])
def test_the_summary_of_the_job_is_appended_to(
    recorded: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("from another step\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    result = recorded.run("--llm-report=r.md", workers=workers)
    text = summary.read_text(encoding="utf-8")
    assert text == f"from another step\n\n{(recorded.path / 'r.md').read_text(encoding='utf-8')}"
    assert text.splitlines()[2] == "## 🔴 FAIL: 2 of 5 tests failed"
    assert "pytest" in text.partition("```sh\n")[2]
    row = "| `bob`<br>`text.contains` **0.00**, needs ≥ 1.00 | `Bob`<br>Expected: `Ann` |"
    assert row in text.replace("\N{NO-BREAK SPACE}", " ")
    assert ", r.md\n" in result.text
    assert result.exit == 1
    recorded.run("-o", "llm_github=off")
    recorded.run("test_plain.py::test_passes")
    assert summary.read_text(encoding="utf-8") == text


def test_a_summary_that_cannot_be_written_changes_nothing_else(
    recorded: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(recorded.path))
    result = recorded.run("-k", "ann")
    check_message(result.line("cannot be written"))
    assert (result.exit, result.outcomes) == (0, {"passed": 1})


def test_annotations_stand_at_the_case_else_at_the_users_line(
    recorded: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert commands(recorded.run()) == []
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = recorded.run("-qq")
    *cases, headline = commands(result)
    assert headline.startswith("::error title=FAIL%3A 2 of 5 tests failed::Do not merge, the build fails: ")
    assert [line.partition("::")[2].partition("::")[0] for line in cases] == [
        "error file=cases.jsonl,line=2,title=bob failed",
        "error file=helpers.py,line=4,title=test_helper failed",
        "error file=test_plain.py,line=8,title=test_library has no score",
    ]
    assert cases[0].endswith(
        '::Question: Bob. Expected: Ann. Now: echo of Say hello to Bob. Why: missing: "Ann". '
        "(text.contains 0.00, needs ≥ 1.00) [LLM-THRESHOLD]"
    )
    assert result.records["test_greet[ann]"].place == "test_greet.py:4"
    assert commands(recorded.run("-o", "llm_github=off")) == []


def test_annotations_stand_at_a_prompt_that_the_pull_request_changes(
    recorded: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without a file of cases
    one_by_one = FILES["test_greet.py"].replace(
        'mark.cases("cases.jsonl")', 'mark.parametrize("name", ["Ann", "Bob"])'
    )
    one_by_one = one_by_one.replace("prompt, case, llm", "prompt, name, llm").replace("case.input", "name")
    recorded.write(**{"test_greet.py": one_by_one})
    top = recorded.path
    shop = recorded.path = top / "shop"
    shop.mkdir()
    for path in [path for path in top.iterdir() if path != shop]:
        path.rename(shop / path.name)
    monkeypatch.chdir(shop)
    git(recorded, "init", "-q", "-b", "main", "..")
    git(recorded, "add", ".")
    git(recorded, "commit", "-q", "-m", "start")
    git(recorded, "checkout", "-q", "-b", "change")
    recorded.write(
        **{
            "prompts/greet/v1.md": FILES["prompts/greet/v1.md"].replace("to {{", "for {{"),
            "test_plain.py": "\n",
        }
    )
    git(recorded, "commit", "-qam", "change")
    recorded.record()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_BASE_REF", "main")
    # Only the merge commit and its parents were fetched.
    line, _ = commands(recorded.run())
    assert line.startswith(f"::error file={shop.name}/prompts/greet/v1.md,line=5,title=Bob failed::")
    git(recorded, "update-ref", "refs/remotes/origin/main", "main")
    git(recorded, "commit", "-q", "--allow-empty", "-m", "another")
    assert commands(recorded.run())[0] == line
    monkeypatch.setenv("GITHUB_BASE_REF", "../no such branch")
    elsewhere, _ = commands(recorded.run())
    assert elsewhere.startswith(f"::error file={shop.name}/test_greet.py,line=9,")
    assert recorded.run("--llm-report=r.json").run.meta["root"] == f"{shop.name}/"


def test_another_annotator_is_left_to_its_work(recorded: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    recorded.write(**{f"{OTHER_ANNOTATOR}.py": ""})
    monkeypatch.syspath_prepend(str(recorded.path))
    assert commands(recorded.run("-p", OTHER_ANNOTATOR)) == []


def test_no_terminal_no_test_and_no_case_still_leave_reports(
    recorded: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert recorded.bare("-p", "no:terminal", "--llm-report=a.md", "--llm-report=metrics:a.json").exit == 1
    assert (recorded.path / "a.md").read_text(encoding="utf-8").startswith("## 🔴 FAIL: ")
    recorded.write(**{"cases.jsonl": "", "test_plain.py": "def test_plain(): pass\n"})
    recorded.bare("--llm-report=b.md", "--llm-report=metrics:b.txt", "test_plain.py")
    assert (recorded.path / "b.md").read_text(encoding="utf-8").startswith("## ⚪ NONE: ")
    assert 'llm_tests{outcome="passed"} 0' in (recorded.path / "b.txt").read_text(encoding="utf-8")
    assert recorded.bare("--llm-report=c.md", "test_greet.py").exit != 0
    assert (recorded.path / "c.md").exists()


@pytest.mark.parametrize(
    "targets", [("a.md", "./a.md"), ("a.json", "metrics:a.json"), ("a.xml",), ("codequalty:a.json",)]
)
def test_reports_that_cannot_be_told_apart_are_refused_before_the_run(
    recorded: Project, targets: tuple[str, ...]
) -> None:
    result = recorded.bare(*(f"--llm-report={target}" for target in targets))
    assert result.exit == pytest.ExitCode.USAGE_ERROR
    check_message(result.line("--llm-report"))
    assert not list(recorded.path.glob("a.*"))


def test_a_full_disk_takes_no_verdict_and_no_older_report(
    recorded: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.run("--llm-report=r.md")
    before = (recorded.path / "r.md").read_bytes()
    real = os.open

    def full(path: Any, *arguments: Any, **more: Any) -> int:
        if ".r.md." in str(path):
            raise OSError(28, "No space left on device", str(path))
        return real(path, *arguments, **more)

    monkeypatch.setattr(os, "open", full)
    result = recorded.run("--llm-report=r.md", "--llm-report=codequality:q.json")
    check_message(result.line("report r.md").partition(".r.md.")[0])
    assert "FAIL      2 of 5 tests failed." in result.text
    assert result.exit == 1
    assert (recorded.path / "r.md").read_bytes() == before
    assert len(json.loads((recorded.path / "q.json").read_text(encoding="utf-8"))) == 3
