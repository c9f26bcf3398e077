"""The instructions of CONTRIBUTING.md, followed to the letter in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pytest_llmops.results.run import Run

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"^```(?:python|text)\n(# (?:new file: |in pytest_llmops/).*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
NEW_FILE = re.compile(r"# new file: (\S+)")
ADDED_LINE = re.compile(r"# in (\S+), below: (.+)")
TESTS = """
import pytest
from pytest_llmops import assert_short


@pytest.mark.llm_ticket("SHOP-12")
def test_short():
    assert_short("Within 30 days.", at_most_words=3)


@pytest.mark.llm_ticket(number="SHOP-13")
def test_long():
    assert_short("Within 30 days of the delivery.", at_most_words=3)


@pytest.mark.llm_ticket
def test_without_a_number():
    assert_short("Yes.", at_most_words=3)
"""
CALL = """
from pytest_llmops.recorder import Exchange
from pytest_llmops.trace import read_call

call = read_call(Exchange(
    method="POST", url="https://llm.acme.example/v1/speak", request={"engine": "a-1", "say": "Hello?"}, status=200,
    content_type="application/json", body=b'{"said": "Hello.", "counts": {"read": 3, "written": 2}}',
    latency_s=None, ttft_s=None, replayed=False, purpose="app",
))
print(call.provider, call.endpoint, call.model, call.messages[0].content, call.output, call.usage.total_tokens, call.unread)
"""


def test_each_folder_of_tests_is_run_by_one_of_two_targets() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    by_default = settings["tool"]["pytest"]["ini_options"]["testpaths"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^test-clients: .*\n\t.* worksteal (.*)$", makefile, re.MULTILINE)
    assert recipe
    folders = {path.relative_to(ROOT).parts[1] for path in (ROOT / "tests").rglob("test_*.py")}
    assert sorted([*by_default, *recipe[1].split()]) == [f"tests/{folder}" for folder in sorted(folders)]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package in which the instructions are followed."""
    folder = tmp_path_factory.mktemp("scratch")
    shutil.copytree(
        ROOT / "pytest_llmops", folder / "pytest_llmops", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", folder)
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    assert len(blocks) == 8
    for place, code in blocks:
        follow_instruction(folder, place, code)
    return folder


def follow_instruction(folder: Path, place: str, code: str) -> None:
    """Write a new file, or add lines to one below the line that the instruction names."""
    new_file = NEW_FILE.fullmatch(place)
    if new_file is not None:
        path = folder / new_file[1]
        assert not path.exists()
        path.write_text(code, encoding="utf-8")
        return
    added = ADDED_LINE.fullmatch(place)
    assert added is not None, place
    path = folder / added[1]
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    (number,) = [number for number, line in enumerate(lines) if line.strip().startswith(added[2])]
    lines.insert(number + 1, code)
    path.write_text("".join(lines), encoding="utf-8")


def run_in(folder: Path, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        command, cwd=cwd or folder, env=environ, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.slow
def test_an_assertion_a_report_and_a_marker_are_there(scratch: Path, tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(TESTS, encoding="utf-8")
    done = run_in(
        scratch, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers",
        "--llm-report=run.outcomes", "--llm-report=run.json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert (tmp_path / "run.outcomes").read_text(encoding="utf-8").splitlines() == [
        "failed test_a.py::test_long",
        "passed test_a.py::test_short",
        "errored test_a.py::test_without_a_number",
    ]
    run = Run.from_json((tmp_path / "run.json").read_text(encoding="utf-8"))
    tickets = {record.nodeid: record.facts.get("ticket") for record in run.records}
    assert tickets["test_a.py::test_short"] == "SHOP-12"
    assert tickets["test_a.py::test_long"] == "SHOP-13"
    assert "llm_ticket: expected the number of a ticket as a text" in done.stdout


@pytest.mark.slow
def test_the_marker_is_listed(scratch: Path, tmp_path: Path) -> None:
    done = run_in(scratch, sys.executable, "-m", "pytest", "--markers", cwd=tmp_path)
    assert "@pytest.mark.llm_ticket(number): the ticket that the test is about" in done.stdout


@pytest.mark.slow
def test_a_wire_format_is_read(scratch: Path, tmp_path: Path) -> None:
    done = run_in(scratch, sys.executable, "-c", CALL, cwd=tmp_path)
    assert done.stdout == "acme speak a-1 Hello? Hello. 5 \n", done.stderr


@pytest.mark.slow
def test_no_contract_has_to_change(scratch: Path) -> None:
    done = run_in(scratch, str(Path(sys.executable).with_name("lint-imports")), "--no-cache")
    assert done.returncode == 0, done.stdout
