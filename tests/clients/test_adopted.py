"""llm_adopt with the real tools: their suites as they are, recorded once, replayed without a server, and compared by the gate."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.matrix import PYTHON, environment, missing
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

from pytest_llmops.adopted import load_tool
from pytest_llmops.measurement import Measurement
from pytest_llmops.results.run import Run, TestRecord

pytestmark = pytest.mark.slow
SUITES = Path(__file__).parent / "suites"
TIMEOUT_S = 300
METRICS = {
    "deepeval": "deepeval.correctness",
    "langsmith": "langsmith.correctness",
    "openevals": "openevals.correctness",
    "pydantic-evals": "pydantic_evals.llmjudge",
}
"""What each suite measures 20 times, by the tool."""


class Graders(StubServer):
    """Answers as the application and as each tool's judge; all judges give the same grade."""

    grade = 0.9

    def answer(self, seen: Seen) -> Reply:
        super().answer(seen)
        body = seen.json
        text = str(body["messages"][-1]["content"])
        name = body.get("response_format", {}).get("json_schema", {}).get("name", "")
        if body["model"] == "app-1":
            return json_reply(chat_answer("Yes, you can.", model="app-1"))
        if body.get("tools"):
            arguments = json.dumps({"reason": "It is right.", "pass": True, "score": self.grade})
            function = {"name": body["tools"][0]["function"]["name"], "arguments": arguments}
            call = {"id": "call_1", "type": "function", "function": function}
            return json_reply(chat_answer("", model="gpt-4.1", tool_calls=[call]))
        if text.startswith("Grade"):
            return json_reply(chat_answer(str(self.grade), model="gpt-4.1"))
        replies: dict[str, dict[str, Any]] = {
            "Steps": {"steps": ["Compare the facts."]},
            "Statements": {"statements": ["Yes, you can."]},
            "Verdicts": {"verdicts": [{"verdict": "yes", "reason": None}]},
            "AnswerRelevancyScoreReason": {"reason": "It is an answer."},
            "score": {"reasoning": "It is right.", "score": self.grade},
        }
        reply = replies.get(name, {"score": self.grade * 10, "reason": "It is right."})
        return json_reply(chat_answer(json.dumps(reply), model="gpt-4.1"))


@dataclass(frozen=True)
class Done:
    """A run of pytest over all suites."""

    status: int
    text: str
    run: Run
    asked: int

    def records(self, tool: str) -> dict[str, TestRecord]:
        """Return the tests of a tool's suite by their names."""
        file = f"suite_{tool.replace('-', '_')}.py::"
        return {
            record.nodeid.removeprefix(file): record
            for record in self.run.records
            if record.nodeid.startswith(file)
        }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """The suites recorded and accepted, replayed without a server, and recorded again from a worse server."""
    reason = missing() or _missing_tools()
    if reason and os.environ.get("LLMOPS_REQUIRE_CLIENTS"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("adopted")
    for path in SUITES.iterdir():
        shutil.copy(path, folder / path.name.removesuffix(".txt"))
    with Graders() as good:
        recorded = _run(folder, good, "--llm-record=new", "--llm-accept=first")
    # In one process: two workers would import the tools again, and tests/plugin/test_adoption.py runs an adopted tool in two.
    replayed = _run(folder, good)
    with Graders() as worse:
        worse.grade = 0.4
        dropped = _run(folder, worse, "--llm-record=all")
    return {"recorded": recorded, "replayed": replayed, "dropped": dropped}


def _missing_tools() -> str:
    """Return which tools the clients' environment lacks; empty: none."""
    code = (
        "import sys, importlib.util; print(*[n for n in sys.argv[1:] if importlib.util.find_spec(n) is None])"
    )
    names = [name.replace("-", "_") for name in METRICS]
    done = subprocess.run([str(PYTHON), "-c", code, *names], capture_output=True, text=True, check=True)
    lacking = done.stdout.strip()
    return (
        lacking and f"the environment of the clients has no {lacking}: {PYTHON} (make test-clients makes it)"
    )


def _run(folder: Path, server: StubServer, *args: str) -> Done:
    """Run pytest over all suites, with the plugins that the tools install."""
    report = folder / "run.json"
    report.unlink(missing_ok=True)
    more = {
        "OPENAI_BASE_URL": f"{server.url}/v1",
        "OPENAI_API_KEY": "sk-none",
        "LANGSMITH_TEST_TRACKING": "false",
        "DEEPEVAL_TELEMETRY_OPT_OUT": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "LLMOPS_REPORTED": str(report),
    }
    plugins = ("pytest_llmops.plugin", "deepeval.plugins.plugin", "langsmith.pytest_plugin", "xdist.plugin")
    loaded = [part for plugin in plugins for part in ("-p", plugin)]
    done = subprocess.run(
        [str(PYTHON), "-m", "pytest", *loaded, f"--llm-report={report}", *args],
        cwd=folder,
        env={**environment(folder), **more},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    text = f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    assert report.exists(), text
    return Done(done.returncode, text, Run.from_json(report.read_text(encoding="utf-8")), server.count)


@pytest.mark.parametrize("tool", METRICS)
def test_a_suite_is_recorded_and_replayed_as_it_is(tool: str, runs: dict[str, Done]) -> None:
    recorded, replayed = runs["recorded"], runs["replayed"]
    assert recorded.status == 0, recorded.text
    assert replayed.status == 0, replayed.text
    assert not [note for note in recorded.run.notes if "adopt" in note or "measured nothing" in note]
    assert recorded.asked == replayed.asked
    before, after = recorded.records(tool), replayed.records(tool)
    assert list(before) == list(after)
    scored = [record for name, record in before.items() if name.startswith("test_many[")]
    assert len(scored) == 20
    for record in scored:
        (first, *_) = record.measurements
        assert (first.name, first.value, first.status) == (METRICS[tool], 0.9, "recorded")
        assert first.reason
        assert after[record.nodeid.partition("::")[2]].measurements == record.measurements
    calls = [call for record in after.values() for call in record.calls]
    assert all(call.replayed for call in calls)
    assert {call.purpose for call in calls if call.model == "gpt-4.1"} == {"judge"}
    assert {call.purpose for call in calls if call.model == "app-1"} == {"app"}


def test_the_gate_is_green_on_the_replay_and_red_on_a_drop(runs: dict[str, Done]) -> None:
    green = runs["replayed"].run.find_verdict("baseline")
    red = runs["dropped"].run.find_verdict("baseline")
    assert green is not None
    assert red is not None
    assert (green.status, red.status) == ("GREEN", "RED"), f"{runs['replayed'].text}\n{runs['dropped'].text}"
    assert runs["dropped"].status == 1
    assert all(record.outcome == "passed" for record in runs["dropped"].run.records)
    changes = [change for change in red.changes if change.kind == "regressed"]
    worse = {score.name.partition(" [")[0] for change in changes for score in change.scores}
    assert worse == set(METRICS.values())


def test_deepeval_metrics_have_direction_threshold_and_judge(runs: dict[str, Done]) -> None:
    records = runs["replayed"].records("deepeval")
    by_name: dict[str, list[Measurement]] = {}
    for measurement in records["test_directions"].measurements:
        by_name.setdefault(measurement.name, []).append(measurement)
    (relevancy,) = by_name["deepeval.answer_relevancy"]
    lengths = by_name["deepeval.length"]  # asserted in both ways of deepeval, with and without an event loop
    assert [(length.better, length.value) for length in lengths] == [("lower", 0.13)] * 2
    assert (relevancy.better, relevancy.version, relevancy.label) == ("higher", "gpt-4.1", "tent")
    assert (relevancy.detail["tool_threshold"], relevancy.detail["tool_passed"]) == (0.5, True)
    assert [score.name for score in records["test_measured_by_hand"].measurements] == [
        "deepeval.answer_relevancy"
    ]
    (correct,) = records["test_many[0]"].measurements
    assert correct.version.startswith("gpt-4.1, criteria ")


def test_langsmith_scores_have_all_forms_of_feedback(runs: dict[str, Done]) -> None:
    scores = runs["replayed"].records("langsmith")["test_other_forms[30 days]"].measurements
    assert [(score.name, score.value, score.better) for score in scores] == [
        ("langsmith.polite", 1.0, "higher"),
        ("langsmith.edit_distance", 0.0, "lower"),
        ("langsmith.similarity", 0.8, "higher"),
    ]


def test_pydantic_evals_has_scores_and_assertions_of_each_case(runs: dict[str, Done]) -> None:
    records = runs["replayed"].records("pydantic-evals")
    assert records["test_many"].measurements == ()
    names = [(score.name, score.value) for score in records["test_many[3 days]"].measurements]
    assert names == [
        ("pydantic_evals.llmjudge", 0.9),
        ("pydantic_evals.short", 1.0),
        ("pydantic_evals.isinstance", 1.0),
    ]


@pytest.mark.parametrize("tool", METRICS)
def test_the_newest_tested_version_is_the_installed_one(tool: str, runs: dict[str, Done]) -> None:
    assert runs["recorded"].status == 0
    code = "import sys, importlib.metadata; print(importlib.metadata.version(sys.argv[1]))"
    command = [str(PYTHON), "-c", code, load_tool(tool).distribution]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == load_tool(tool).tested[1]
