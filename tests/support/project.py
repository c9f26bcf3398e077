"""A project of a user's, in a folder of its own, and pytest run over it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_llmops.results.run import Run, TestRecord
from support.server import StubServer

INI = """
[pytest]
llm_model = stub-1
llm_base_url = http://127.0.0.1:1/v1
addopts = --strict-markers --strict-config -p no:hypothesispytest -p no:platformdirs -p no:anyio
filterwarnings = error
"""
PROGRAM = """
import json, os, sys, urllib.request

def ask(text):
    body = json.dumps({"model": "stub-1", "messages": [{"role": "user", "content": text}]}).encode()
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return json.loads(response.read())["choices"][0]["message"]["content"]
"""
"""A program that a test starts: `ask` answers a question by the standard library alone."""
MODEL_VARIABLES = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "LLMOPS_MODEL",
    "LLMOPS_JUDGE_MODEL",
    "CI",
    "PYTEST_ADDOPTS",
)


@dataclass(frozen=True)
class Result:
    """What a run of pytest gave."""

    outcomes: dict[str, int]
    text: str
    exit: int
    run: Run

    @property
    def records(self) -> dict[str, TestRecord]:
        """The records by the test's name without its file."""
        return {record.nodeid.partition("::")[2]: record for record in self.run.records}

    def line(self, value: str) -> str:
        """Return the first line of the output that holds a value, without pytest's margin."""
        lines = [line for line in self.text.splitlines() if value in line]
        assert lines, f"no line holds {value!r}:\n{self.text}"
        return lines[0].removeprefix("E ").strip()


class Project:
    """Files of a user, a stub of a model server, and pytest."""

    def __init__(self, pytester: pytest.Pytester, server: StubServer) -> None:
        self.pytester = pytester
        self.server = server
        self.path: Path = pytester.path
        self.write(**{"pytest.ini": INI})

    def write(self, **files: str) -> None:
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def run(self, *args: str, workers: int = 0) -> Result:
        """Run pytest, with its records in a run file."""
        report = self.path / "run-file.json"
        report.unlink(missing_ok=True)
        more = ["-n", str(workers)] if workers else []
        done = self.pytester.runpytest_inprocess(f"--llm-report={report}", *more, *args)
        text = "\n".join([*done.outlines, *done.errlines])
        run = Run.from_json(report.read_text(encoding="utf-8")) if report.exists() else Run()
        ended = any(re.search(r" in \d+\.\d+s\b", line) for line in done.outlines[-3:])
        counted = done.parseoutcomes() if ended and "no tests ran" not in text else {}
        counted.pop("deselected", None)
        return Result(counted, text, int(done.ret), run)

    def bare(self, *args: str) -> Result:
        """Run pytest without a run file."""
        done = self.pytester.runpytest_inprocess(*args)
        return Result({}, "\n".join([*done.outlines, *done.errlines]), int(done.ret), Run())

    def record(self, *args: str, mode: str = "new", workers: int = 0) -> Result:
        """Run pytest live, against the stub server."""
        return self.run(
            f"--llm-record={mode}", f"--llm-base-url={self.server.url}/v1", *args, workers=workers
        )

    def cassettes(self) -> dict[str, bytes]:
        """The cassette files by their place in the project."""
        paths = sorted(self.path.rglob("cassettes/**/*"))
        return {path.relative_to(self.path).as_posix(): path.read_bytes() for path in paths if path.is_file()}
