"""``llmops demo``: a recorded run from the files of the package, whatever the environment holds."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.chromium import BROWSER
from support.messages import check_message
from support.pictures import check_pictures
from support.terminal_picture import draw_terminal, read_picture, wrap_lines

from pytest_llmops import cli
from pytest_llmops.results.run import Run
from pytest_llmops.results.verdict import Verdict

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs/demo.svg"


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo's tests as the demo says, with this plugin only; the run file is named by the prompt's version."""
    report = f"--llm-report={arguments[-1].rpartition('=')[2]}.json"
    command = [sys.executable, "-m", "pytest", "-p", "pytest_llmops.plugin", report, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_demo_shows_the_change_the_verdict_and_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("LLMOPS_MODEL", "another")
    monkeypatch.setenv("COLUMNS", "80")
    folder = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "pytest_llmops", "demo", folder], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "report.html").is_file()
    assert done.stdout.count("\n  now     Please write to help@quarrymoss.example") == 3

    # The picture in the README is of this run.
    stable = done.stdout.replace(str(folder), "/tmp/llmops-demo")
    last = " 40 passed in 2.50s ".center(80, "=")
    stable = re.sub(r"^=+ 40 passed in [\d.]+s =+$", last, stable, flags=re.MULTILINE)
    _, run, _ = re.split(r"^(?==+ test session starts)|(?<=passed in 2\.50s) =+$", stable, flags=re.MULTILINE)
    assert len(wrap_lines(run)) <= 40
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        PICTURE.write_text(draw_terminal(stable), encoding="utf-8")
    assert read_picture(PICTURE.read_text(encoding="utf-8")) == wrap_lines(stable)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "/main/docs/demo.svg)" in readme

    # The way out that it offers, and the way back.
    monkeypatch.delenv("PYTEST_ADDOPTS")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (offered,) = re.findall(r"^\$ pytest (-q --llm-prompt\S+)$", done.stdout, re.MULTILINE)
    mended = run_pytest(folder, *offered.split())
    assert "AMBER     1 case broke (test_answer[order-sold-out])" in mended.stdout
    assert mended.returncode == 0
    back = run_pytest(folder, "-q", "--llm-prompt=support=v1")
    assert back.returncode == 0
    assert "GREEN     Nothing changed" in back.stdout
    if BROWSER:
        check_pictures(request.getfixturevalue("tab"), folder)


def test_the_demo_as_json_goes_into_a_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed_to = []

    def pretend_to_run(command: list[str], *, cwd: Path, stdout: int, **_: object) -> object:
        printed_to.append(stdout)
        run = Run(verdicts=(Verdict(kind="baseline", status="RED"),))
        (cwd / "run.json").write_text(run.to_json(), encoding="utf-8")
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", pretend_to_run)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cli.main(["demo", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["verdict"], len(report["change"])) == ("RED", 1)
    folder = Path(report["folder"])
    assert folder.parent == tmp_path
    assert (folder / "prompts/support/v1.md").is_file()
    assert Path(report["report"]) == folder / "report.html"
    assert printed_to == [subprocess.PIPE]  # what pytest prints is not among the JSON


def test_the_demo_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    for taken in (".", "file"):
        assert cli.main(["demo", taken]) == 2
        check_message(capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_demo_that_cannot_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert cli.main(["demo", str(tmp_path / "demo")]) == 1
    check_message(capsys.readouterr().err)
