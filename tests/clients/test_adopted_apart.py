"""llm_adopt with the real Phoenix, MLflow and ragas, which have an environment of their own: 0.9 GB (`nox -s adopted`)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from clients.test_adopted import Done
from support.matrix import environment
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

from pytest_llmops.adopted import load_tool
from pytest_llmops.results.run import Run

pytestmark = pytest.mark.slow
PYTHON = os.environ.get("LLMOPS_ADOPTED_PYTHON", "")
SUITES = Path(__file__).parent / "suites_apart"
TIMEOUT_S = 200
UNREACHABLE = "http://127.0.0.1:9"
PLUGINS = ("pytest_llmops.plugin", "phoenix.client.pytest.plugin", "mlflow.pytest.plugin", "xdist.plugin")
# Of each tool the metric that its judge gives, with its value from the good and from the worse judge
METRICS = {
    "phoenix": ("phoenix.correctness", 0.9, 0.4),
    "mlflow": ("mlflow.polite", 1.0, 0.0),
    "ragas": ("ragas.correctness", 0.9, 0.4),
}


class Judges(StubServer):
    """Answers as the application and as each tool's judge."""

    is_good = True

    def answer(self, seen: Seen) -> Reply:
        super().answer(seen)
        body = seen.json
        if body["model"] == "app-1":
            return json_reply(chat_answer("Yes, you can.", model="app-1"))
        text = json.dumps(body["messages"])
        replies: dict[str, dict[str, Any]] = {
            "NumericResponseModel": {"reason": "It is right.", "value": 0.9 if self.is_good else 0.4},
            "StatementGeneratorOutput": {"statements": ["You can."]},
            "NLIStatementOutput": {
                "statements": [{"statement": "You can.", "reason": "It says so.", "verdict": 1}]
            },
            "DiscreteResponseModel": {"reason": "It is friendly.", "value": "warm"},
            "guideline": {"rationale": "It is friendly.", "result": "yes" if self.is_good else "no"},
        }
        reply = {"label": "right" if self.is_good else "partly", "explanation": "It is right."}
        for name, listed in replies.items():
            if name in text:
                reply = listed
        return json_reply(chat_answer(json.dumps(reply), model="gpt-4.1"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """The suites recorded and accepted, replayed by two workers without any server, and recorded again from a worse judge."""
    if not PYTHON:
        pytest.skip(
            "LLMOPS_ADOPTED_PYTHON names no Python that has phoenix, mlflow and ragas (nox -s adopted)"
        )
    folder = tmp_path_factory.mktemp("adopted")
    for path in SUITES.iterdir():
        shutil.copy(path, folder / path.name.removesuffix(".txt"))
    files = (folder / "mlruns").as_uri()
    with Judges() as good:
        recorded = _run(folder, good, files, "--llm-record=new", "--llm-accept=first")
    replayed = _run(folder, good, UNREACHABLE, "-n2")
    with Judges() as worse:
        worse.is_good = False
        dropped = _run(folder, worse, files, "--llm-record=all")
    return {"recorded": recorded, "replayed": replayed, "dropped": dropped}


def _run(folder: Path, server: StubServer, tracking: str, *args: str) -> Done:
    """Run pytest over all suites, with the plugins of the tools."""
    report = folder / "run.json"
    report.unlink(missing_ok=True)
    more = {
        "OPENAI_BASE_URL": f"{server.url}/v1",
        "OPENAI_API_KEY": "sk-none",
        "MLFLOW_TRACKING_URI": tracking,
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "PHOENIX_ENDPOINT": UNREACHABLE,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    loaded = [part for plugin in PLUGINS for part in ("-p", plugin)]
    done = subprocess.run(
        [PYTHON, "-m", "pytest", *loaded, f"--llm-report={report}", *args],
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
    assert recorded.run.notes == replayed.run.notes == ()
    assert recorded.asked == replayed.asked
    before, after = recorded.records(tool), replayed.records(tool)
    assert sorted(before) == sorted(after)  # MLflow scores rows side by side
    metric, value, _ = METRICS[tool]
    scores = [
        score
        for name, record in after.items()
        if name.startswith("test_many")
        for score in record.measurements
    ]
    judged = [score for score in scores if score.name == metric]
    assert [(score.value, score.status) for score in judged] == [(value, "recorded")] * 20
    assert all(score.reason and "gpt-4.1" in score.version for score in judged)
    calls = [call for record in after.values() for call in record.calls]
    assert all(call.replayed for call in calls)
    assert {call.purpose for call in calls if call.model == "gpt-4.1"} == {"judge"}
    assert {call.purpose for call in calls if call.model == "app-1"} == {"app"}


def test_the_gate_is_not_red_on_the_replay_and_red_on_a_drop(runs: dict[str, Done]) -> None:
    same = runs["replayed"].run.find_verdict("baseline")
    red = runs["dropped"].run.find_verdict("baseline")
    assert same is not None
    assert red is not None
    # Of metrics that ask no model there are too few cases for GREEN
    assert (same.status, red.status) == ("NONE", "RED"), f"{runs['replayed'].text}\n{runs['dropped'].text}"
    assert "regressed" not in {change.kind for change in same.changes}
    scores = [score for change in red.changes if change.kind == "regressed" for score in change.scores]
    worse = {score.name.partition(" [")[0] for score in scores if score.gain < 0}
    assert worse == {"phoenix.invented", *(metric for metric, _, _ in METRICS.values())}


def test_phoenix_has_what_tests_log_and_the_evaluators_of_the_marker(runs: dict[str, Done]) -> None:
    records = runs["replayed"].records("phoenix")
    many = next(record for name, record in records.items() if name.startswith("test_many"))
    assert [(score.name, score.value, score.better) for score in many.measurements] == [
        ("phoenix.correctness", 0.9, "higher"),
        ("phoenix.length", 0.13, "higher"),
        ("phoenix.invented", 0.0, "lower"),
    ]
    # A category that is not a verdict is not a score
    logged = [(score.name, score.value) for score in records["test_logged"].measurements]
    assert logged == [("phoenix.exact", 1.0), ("phoenix.polite", 1.0)]
    (unmarked,) = records["test_unmarked"].measurements
    assert (unmarked.name, unmarked.label, unmarked.version) == (
        "phoenix.correctness",
        "Can I return it?",
        "gpt-4.1",
    )


def test_mlflow_has_a_case_for_each_row_and_the_verdict_of_a_scorer(runs: dict[str, Done]) -> None:
    records = runs["replayed"].records("mlflow")
    assert records["test_many"].measurements == ()
    row = records["test_many[I bought it 3 days ago. Can I return it?]"].measurements
    assert sorted((score.name, score.value) for score in row) == [
        ("mlflow.polite", 1.0),
        ("mlflow.tone", 1.0),
    ]
    by_hand = [(score.name, score.value) for score in records["test_by_hand"].measurements]
    assert by_hand == [("mlflow.polite", 1.0), ("mlflow.length", 0.13)]


def test_ragas_has_newer_and_older_metrics_with_their_scales(runs: dict[str, Done]) -> None:
    records = runs["replayed"].records("ragas")
    newer = [(score.name, score.value, score.label) for score in records["test_newer_metrics"].measurements]
    assert newer == [("ragas.faithfulness", 1.0, "q"), ("ragas.help", 0.75, "")]
    for test in ("test_batch", "test_experiment"):
        rows = {name: records[f"{test}[{name}]"].measurements for name in ("yes", "no")}
        assert {name: [score.value for score in scores] for name, scores in rows.items()} == {
            "yes": [1.0],
            "no": [0.0],
        }
    older = [records[f"test_older_metrics[{question}]"].measurements for question in ("yes?", "no?")]
    assert [[score.value for score in scores] for scores in older] == [[1.0], [0.0]]


@pytest.mark.parametrize("tool", METRICS)
def test_the_newest_tested_version_is_the_one_that_is_installed(tool: str, runs: dict[str, Done]) -> None:
    assert runs["recorded"].status == 0
    code = "import sys; from pytest_llmops.adopted import load_tool; print(load_tool(sys.argv[1]).find_version())"
    done = subprocess.run([PYTHON, "-c", code, tool], capture_output=True, text=True, check=True)
    oldest, newest = load_tool(tool).tested
    assert done.stdout.strip() in (oldest, newest)
