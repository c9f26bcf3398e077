"""`pytest --llm-record=fork` over planted fixes of known effect: does the bound cover the true pass rate, and where does each trial fork?

`python -m benchmarks.incident_fixes [RUNS]`. Each incident is a bad run of four steps, recorded on the wire from a scripted model on this
machine, and a fix that changes the request of one step. From there on, the model lets the run pass with a planted probability of 0.5
to 1.0. In every fourth incident the application itself varies: half of its trials apply the fix one step later, with another rate.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from statistics import fmean
from typing import Any, Self

import pytest

from benchmarks.figures import line
from pytest_llmops.results.fork import ForkResult, bound_rate
from pytest_llmops.results.run import Run

RUNS, TRIALS, STEPS, SEED = 400, 10, 4, 42
RATES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
COVERED = 0.95
SUITE = """
import json, os, random, urllib.request
from pathlib import Path
import pytest

INCIDENTS = json.loads(Path(__file__).with_name("incidents.json").read_text())
COIN = random.Random(7)

def ask(text):
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    with urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": "application/json"})) as response:
        return json.loads(response.read())["choices"][0]["message"]["content"]

@pytest.mark.llm_cassette
@pytest.mark.parametrize("number", range(len(INCIDENTS)))
def test_incident(number):
    incident = INCIDENTS[number]
    fixed_step = incident["step"]
    if incident["varies"] and COIN.random() < 0.5:
        fixed_step += 1
    said = "start"
    for step in range(1, STEPS + 1):
        rule = "old"
        if os.environ["FIXED"] == "yes" and step == fixed_step:
            rule = "fixed"
        said = ask(f"{number} {step} {rule} {said}")
    assert said.endswith("good"), said
""".replace("STEPS", str(STEPS))


@dataclass(frozen=True)
class Incident:
    """A planted incident: the step that the fix changes, and how often the run passes after it.

    Attributes:
        later_rate: How often it passes if the fix is applied one step later.
        varies: Whether half of the trials apply it one step later.
    """

    step: int
    rate: float
    later_rate: float
    varies: bool

    @property
    def true_rate(self) -> float:
        """How often a trial passes."""
        if self.varies:
            return (self.rate + self.later_rate) / 2
        return self.rate


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Model
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = self.server.choose(request["messages"][-1]["content"])
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        reply = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name of the standard library
        """Say nothing."""


class Model(ThreadingHTTPServer):
    """Answers a step with what was said before, and decides by chance at the fixed one whether the run will be good."""

    daemon_threads = True
    answered = 0

    def __init__(self, incidents: list[Incident]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._incidents = incidents
        self._chance = random.Random(SEED)
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def choose(self, text: str) -> str:
        number, step, rule, *said = text.split()
        with self._lock:
            self.answered += 1
            noise = self._chance.randrange(1_000_000)
            chance = self._chance.random()
        state = said[-1]
        if rule == "fixed":
            incident = self._incidents[int(number)]
            rate = incident.rate if int(step) == incident.step else incident.later_rate
            state = "good" if chance < rate else "bad"
        elif state == "start":
            state = "bad"
        return f"{noise} {state}"


def plant_incidents(count: int) -> list[Incident]:
    """Return incidents of all rates and steps."""
    chance = random.Random(SEED)
    incidents = []
    for number in range(count):
        varies = number % 4 == 3
        step = chance.randint(1, STEPS - varies)
        incidents.append(Incident(step, chance.choice(RATES), chance.choice(RATES), varies))
    return incidents


def run_pytest(folder: Path, fixed: str, *options: str, tests: Sequence[str] = ()) -> tuple[Run, str]:
    """Return the run of the suite, and what it printed."""
    os.environ["FIXED"] = fixed
    report = folder / "run.json"
    printed = StringIO()
    with redirect_stdout(printed):
        pytest.main(
            [*(tests or [str(folder)]), "-q", "-p", "no:cacheprovider", f"--rootdir={folder}", f"--llm-report={report}", "--tb=no", *options]
        )  # fmt: skip
    return Run.from_json(report.read_text(encoding="utf-8")), printed.getvalue()


def fork_incidents(incidents: list[Incident]) -> tuple[list[ForkResult], dict[str, int]]:
    """Record the bad runs, fork them, and replay the forks; return the results, and how many calls each run made."""
    with tempfile.TemporaryDirectory() as name, Model(incidents) as model:
        folder = Path(name)
        (folder / "test_incidents.py").write_text(SUITE, encoding="utf-8")
        (folder / "incidents.json").write_text(json.dumps([asdict(incident) for incident in incidents]))
        os.environ |= {"OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "x"}
        calls = {}
        run_pytest(folder, "no", "--llm-record=new")
        calls["record"] = model.answered
        run, text = run_pytest(folder, "yes", "--llm-record=fork", f"--llm-trials={TRIALS}")
        calls["fork"] = model.answered - calls["record"]
        results = [ForkResult.from_wire(record.fact("fork")) for record in run.records]
        if len(results) != len(incidents):
            raise SystemExit(text)
        # A trial that varies by the application's own chance is no replay of another one
        steady = [number for number, incident in enumerate(incidents) if not incident.varies]
        names = [f"{folder}/test_incidents.py::test_incident[{number}]" for number in steady]
        again, _ = run_pytest(folder, "yes", "--llm-record=fork", f"--llm-trials={TRIALS}", tests=names)
        calls["fork again"] = model.answered - calls["record"] - calls["fork"]
        before = [results[number].passed for number in steady]
        after = [ForkResult.from_wire(record.fact("fork")).passed for record in again.records]
        calls["other results"] = sum(first != second for first, second in zip(before, after, strict=True))
    return results, calls


def measure(incidents: list[Incident], results: list[ForkResult]) -> Iterator[str]:
    """Compare the bounds and the steps with what was planted."""
    covered = both = right_step = 0
    lower_gaps = []
    widths = []
    for incident, result in zip(incidents, results, strict=True):
        lowest, highest = bound_rate(result.passed, result.scored)
        covered += lowest <= incident.true_rate if result.passed else incident.true_rate <= highest
        both += lowest <= incident.true_rate <= highest
        lower_gaps.append(incident.true_rate - lowest)
        widths.append(highest - lowest)
        steps = range(incident.step, incident.step + 1 + incident.varies)
        right_step += {result.first_step, result.last_step} <= set(steps)
    count = len(results)
    yield line("fixes", f"bound that is shown covers the true rate, share of {count} incidents", covered / count, COVERED, at_least=True)  # fmt: skip
    yield line("fixes", "step of the fork is the planted one, share", right_step / count, 1.0, at_least=True)
    yield (
        f"fixes     both bounds together cover it in {both / count:.1%} (90 % is nominal); the lower bound is {fmean(lower_gaps):.2f} below the "
        f"true rate on average, the two are {fmean(widths):.2f} apart ({TRIALS} trials)"
    )


def lines(count: int = RUNS) -> Iterator[str]:
    """Yield the figures."""
    incidents = plant_incidents(count)
    before: dict[str, Any] = dict(os.environ)
    try:
        results, calls = fork_incidents(incidents)
    finally:
        os.environ.clear()
        os.environ.update(before)
    yield from measure(incidents, results)
    steady = sum(not incident.varies for incident in incidents)
    yield (
        f"fixes     calls: {calls['record']:,} to record {count} bad runs, {calls['fork']:,} to fork them, {calls['fork again']:,} to fork the "
        f"{steady} again whose application does not vary ({calls['other results']} of them with another result)"
    )


if __name__ == "__main__":
    for text in lines(*map(int, sys.argv[1:2])):
        print(text)
