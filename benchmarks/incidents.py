"""Runs of agents recorded on the wire and by instrumentations at once: which cassettes of traces replay to the same trajectory?

`make .venv/incidents/.ready && python -m benchmarks.incidents [INSTRUMENTATION ...]`. 50 runs each (`benchmarks.incident_runs`);
Langfuse wraps OpenAI's SDK only: 30 runs. A run is recorded by pytest with a cassette, and its spans are written as OTLP JSON.
`llmops cases from-traces --cassette` makes a case of it, which is accepted; then the same agent runs offline on the case's trace.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import line
from benchmarks.incident_model import ModelServer
from benchmarks.incident_runs import list_runs, name_order

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv" / "incidents" / "bin" / "python"
INSTRUMENTATIONS = ("openinference", "traceloop", "genai", "langfuse")
OPENAI_ONLY = ("langfuse",)
SHARE = 0.9
MAX_REASON = 160
RECORD = """
import json, os
from dataclasses import asdict
from pathlib import Path
import pytest
from benchmarks import incident_runs, incident_tracing

@pytest.mark.llm_cassette
@pytest.mark.parametrize(("scenario", "way"), json.loads(os.environ["RUNS"]))
def test_record(scenario, way):
    with incident_tracing.run_span(scenario):
        trajectory = incident_runs.run_agents(scenario, way, os.environ["MODEL_SERVER"])
    Path(f"wire-{scenario}-{way}.json").write_text(json.dumps(asdict(trajectory)))
"""
REPLAY = """
import json, os
from dataclasses import asdict
from pathlib import Path
import pytest
from benchmarks import incident_runs

@pytest.mark.cases("cases/feedback.jsonl")
def test_replay(case):
    question = case.input if isinstance(case.input, str) else next(
        message["content"] for message in case.input if message["role"] == "user")
    scenario, _, way = question.partition(": ")[0].partition("/")
    trajectory = incident_runs.run_agents(scenario, way, os.environ["MODEL_SERVER"])
    Path(f"trace-{scenario}-{way}.json").write_text(json.dumps(asdict(trajectory)))
"""
CONFTEST = """
import os
from pathlib import Path
from benchmarks import incident_tracing

def pytest_configure():
    if os.environ.get("INSTRUMENTATION"):
        incident_tracing.start(os.environ["INSTRUMENTATION"])

def pytest_unconfigure():
    if os.environ.get("INSTRUMENTATION"):
        incident_tracing.write_traces(Path("traces.json"))
"""


def run_pytest(folder: Path, mode: str, **more: str) -> str:
    """The output of pytest in the environment of the instrumentations."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        **more,
    }
    options = [f"--llm-record={mode}", "-q", "-rfE", "--tb=short", "-n0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [str(PYTHON), "-m", "pytest", *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def record(folder: Path, instrumentation: str, runs: list[tuple[str, str]]) -> str:
    """Record the runs on the wire and by an instrumentation."""
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_record.py").write_text(RECORD)
    with ModelServer() as server:
        return run_pytest(
            folder, "new", INSTRUMENTATION=instrumentation, RUNS=json.dumps(runs), MODEL_SERVER=server.url
        )


def run_command(folder: Path, *arguments: str) -> str:
    """The output of a command of the package."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest_llmops", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def make_cases(folder: Path) -> str:
    """Make a case of each run, with its trace; returns what the command printed."""
    printed = run_command(folder, "cases", "from-traces", "../recorded/traces.json", "--cassette")
    listed = run_command(folder, "cases", "review", "--list", "--json")
    accepted = set()
    for entry in json.loads(listed):
        order, _, _ = json.dumps(entry["input"], ensure_ascii=False).partition(": ")
        if order not in accepted:
            accepted.add(order)
            run_command(folder, "cases", "review", "--accept", entry["id"])
    return printed


def measure(instrumentation: str) -> Iterator[str]:
    """Lines: how many of the runs replay from their traces, and why the others do not."""
    runs = list_runs()
    if instrumentation in OPENAI_ONLY:
        runs = [(scenario, way) for scenario, way in runs if not way.startswith("claude")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output = record(folder / "recorded", instrumentation, runs)
        replayed = folder / "replayed"
        replayed.mkdir()
        (replayed / "conftest.py").write_text("")
        printed = make_cases(replayed)
        (replayed / "test_replay.py").write_text(REPLAY)
        output += run_pytest(replayed, "none", MODEL_SERVER="http://127.0.0.1:9")
        reasons: Counter[str] = Counter()
        equal = 0
        for scenario, way in runs:
            wire = read_trajectory(folder / "recorded" / f"wire-{scenario}-{way}.json")
            traced = read_trajectory(replayed / f"trace-{scenario}-{way}.json")
            if wire is None:
                reasons[f"{name_order(scenario, way)}: not recorded"] += 1
            elif traced == wire:
                equal += 1
            else:
                reasons[f"{name_order(scenario, way)}: {find_reason(output, scenario, way, traced)}"] += 1
        what = f"{instrumentation}: of {len(runs)} runs, replayed from the trace to the same trajectory"
        yield line("incidents", what, equal, SHARE * len(runs), at_least=True)
        for text in printed.splitlines():
            yield f"          from-traces: {text}"
        for reason in reasons:
            yield f"          {reason}"
        if os.environ.get("KEEP"):
            Path(os.environ["KEEP"]).write_text(output)


def read_trajectory(path: Path) -> Any:
    if path.exists():
        return json.loads(path.read_text())
    return None


def find_reason(output: str, scenario: str, way: str, traced: object) -> str:
    """Why a run did not replay: the first line of its failure."""
    if traced is not None:
        return "another trajectory"
    mark = re.escape(f"{scenario}/{way}")
    match = re.search(rf"^(?:FAILED|ERROR) .*?- (.*{mark}.*|.*)$", output, re.MULTILINE)
    if match is None:
        return "no case"
    return match[1][:MAX_REASON]


def lines() -> Iterator[str]:
    for instrumentation in sys.argv[1:] or INSTRUMENTATIONS:
        yield from measure(instrumentation)


if __name__ == "__main__":
    for text in lines():
        print(text, flush=True)
