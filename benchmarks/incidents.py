"""Runs of agents recorded on the wire and by instrumentations at once: which cassettes of traces replay to the same trajectory?

`make .venv/incidents/.ready && python -m benchmarks.incidents [INSTRUMENTATION ...]`. 50 runs each (`benchmarks.incident_runs`);
Langfuse wraps OpenAI's SDK only: 30 runs. A run is recorded by pytest with a cassette, and its spans are written as OTLP JSON.
`llmops cases from-traces --cassette` makes a case of it, which is accepted; then the same agent runs offline on the case's trace.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import line
from benchmarks.incident_model import ModelServer
from benchmarks.incident_runs import find_run, list_runs
from pytest_llmops import cli

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv" / "incidents" / "bin" / "python"
INSTRUMENTATIONS = ("openinference", "traceloop", "genai", "langfuse")
OPENAI_ONLY = ("langfuse",)
SHARE = 0.9
MAX_REASON = 300
MAX_NOTES = 5
OTHER_TRAJECTORY = "another trajectory"
NO_SERVER = "http://127.0.0.1:9"
Run = tuple[str, str]
RECORD = """
import json, os
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
import pytest
from benchmarks import incident_runs, incident_tracing

@pytest.mark.llm_cassette
@pytest.mark.parametrize(("scenario", "way"), json.loads(os.environ["RUNS"]))
def test_record(scenario, way):
    with incident_tracing.run_span(scenario) if os.environ["AGENT_SPAN"] else nullcontext():
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
    scenario, _, way = incident_runs.find_run(case.input).partition("/")
    changed = " Be brief." if os.environ.get("CHANGED") else ""
    try:
        trajectory = incident_runs.run_agents(scenario, way, os.environ["MODEL_SERVER"], changed)
    except BaseException as error:
        Path(f"miss-{scenario}-{way}.txt").write_text(str(error))
        raise
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


def record(folder: Path, instrumentation: str, runs: Sequence[Run], **more: str) -> str:
    """Record the runs on the wire and by an instrumentation."""
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_record.py").write_text(RECORD)
    with ModelServer() as server:
        more |= {"RUNS": json.dumps(runs), "MODEL_SERVER": server.url}
        return run_pytest(folder, "new", INSTRUMENTATION=instrumentation, **more)


def run_command(folder: Path, *arguments: str) -> str:
    """What a command of the package prints."""
    printed = io.StringIO()
    with contextlib.chdir(folder), redirect_stdout(printed), redirect_stderr(printed):
        cli.main(list(arguments))
    return printed.getvalue()


def make_cases(folder: Path) -> str:
    """Make a case of each run, with its trace; returns what the command printed."""
    printed = run_command(folder, "cases", "from-traces", "../recorded/traces.json", "--cassette")
    listed = run_command(folder, "cases", "review", "--list", "--json")
    accepted = set()
    for entry in json.loads(listed):
        order = find_run(entry["input"])
        if order not in accepted:
            accepted.add(order)
            run_command(folder, "cases", "review", "--accept", entry["id"], "--reference", entry["output"])
    return printed


@dataclass(frozen=True)
class Setting:
    """How runs are traced.

    Attributes:
        instrumentation: One of `INSTRUMENTATIONS`.
        title: What the lines call it.
        environment: Variables of the instrumentation.
        share: Share of the runs that must replay.
    """

    instrumentation: str
    title: str
    environment: Mapping[str, str] = field(default_factory=dict)
    share: float = SHARE


def measure(setting: Setting) -> Iterator[str]:
    """Lines: how many of the runs replay from their traces, and why the others do not; then the control."""
    runs = list_runs()
    if setting.instrumentation in OPENAI_ONLY:
        runs = [(scenario, way) for scenario, way in runs if not way.startswith("claude")]
    with tempfile.TemporaryDirectory() as name:
        wire = Path(name, "recorded")
        record(wire, setting.instrumentation, runs, **{"AGENT_SPAN": "1", **setting.environment})
        replayed = Path(name, "replayed")
        replayed.mkdir()
        printed = make_cases(replayed)
        (replayed / "test_replay.py").write_text(REPLAY)
        run_pytest(replayed, "none", MODEL_SERVER=NO_SERVER)
        notes = list(compare(runs, wire, replayed))
        what = f"{setting.title}: of {len(runs)} runs, replayed from the trace to the same trajectory"
        yield line("incidents", what, len(runs) - len(notes), setting.share * len(runs), at_least=True)
        others = sum(note.endswith(OTHER_TRAJECTORY) for note in notes)
        yield line("incidents", f"{setting.title}: replayed to another trajectory", others, 0)
        yield from notes[:MAX_NOTES]
        missing = Counter(re.findall(r"lacks: (.*)", printed))
        for what, count in missing.most_common(MAX_NOTES):
            yield f"          {count} tapes lack {what[:MAX_REASON]}"
        for path in replayed.glob("trace-*.json"):
            path.unlink()
        run_pytest(replayed, "none", MODEL_SERVER=NO_SERVER, CHANGED="1")
        finished = len(list(replayed.glob("trace-*.json")))
        yield line("incidents", f"{setting.title}: replayed with another system prompt", finished, 0)


def compare(runs: Sequence[Run], wire: Path, replayed: Path) -> Iterator[str]:
    """Yield why a run did not replay, for each that did not."""
    for scenario, way in runs:
        recorded = read_trajectory(wire / f"wire-{scenario}-{way}.json")
        traced = read_trajectory(replayed / f"trace-{scenario}-{way}.json")
        if recorded is None:
            yield f"          {scenario}/{way}: not recorded"
        elif traced is None:
            yield f"          {scenario}/{way}: {find_reason(replayed / f'miss-{scenario}-{way}.txt')}"
        elif traced != recorded:
            yield f"          {scenario}/{way}: {OTHER_TRAJECTORY}"


def read_trajectory(path: Path) -> Any:
    if path.exists():
        return json.loads(path.read_text())
    return None


def find_reason(miss: Path) -> str:
    """Why a run did not replay: what its test wrote about the miss."""
    if not miss.exists():
        return "no case"
    text = miss.read_text()
    _, _, nearest = text.partition("nearest")
    return " ".join((nearest or text).split())[:MAX_REASON]


def list_settings() -> Iterator[Setting]:
    """Each instrumentation; then one whose calls have a trace each, and one whose attributes are cut."""
    for instrumentation in sys.argv[1:] or INSTRUMENTATIONS:
        yield Setting(instrumentation, instrumentation)
    if not sys.argv[1:]:
        apart = {"AGENT_SPAN": ""}
        yield Setting("openinference", "openinference, a trace for each call", apart)
        cut = {"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "90"}
        yield Setting("openinference", "openinference, texts cut at 90 characters", cut, share=0)


def lines() -> Iterator[str]:
    for setting in list_settings():
        yield from measure(setting)


if __name__ == "__main__":
    for text in lines():
        print(text, flush=True)
