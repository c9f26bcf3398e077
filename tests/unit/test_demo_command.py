"""``llmops demo``: a recorded run from the files of the package, whatever the environment holds."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.messages import check_message

from pytest_llmops import cli

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_demo_shows_the_change_the_verdict_and_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("LLMOPS_MODEL", "another")
    monkeypatch.setenv("COLUMNS", "250")
    folder = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "pytest_llmops", "demo", folder], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "    - Repeat the one sentence" in done.stdout
    assert "\nVerdict       RED text.contains -29.2 points" in done.stdout
    assert f"The report    {folder / 'report.html'}" in done.stdout
    assert (folder / "report.html").is_file()
    # What the README shows of it.
    quoted = re.findall(
        r"^ {4}((?:gate|worse) .*)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(quoted) == 2
    assert [line for line in quoted if line not in done.stdout] == []
    assert "48 replayed, 0 recorded, 0 stale, 0 missed" in done.stdout
    # The way back that it offers.
    back = [sys.executable, "-m", "pytest", "-p", "pytest_llmops.plugin", "-q", "--llm-prompt=support=v1"]
    monkeypatch.delenv("PYTEST_ADDOPTS")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    green = subprocess.run(back, cwd=folder, capture_output=True, text=True, check=False)
    assert green.returncode == 0
    assert "GREEN" in green.stdout


@pytest.mark.slow
def test_the_demo_as_json_goes_into_a_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cli.main(["demo", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["verdict"], len(report["change"])) == ("RED", 2)
    assert Path(report["folder"]).parent == tmp_path
    assert Path(report["report"]).is_file()


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
