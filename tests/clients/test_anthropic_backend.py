"""The Anthropic backend where its SDK is installed: in the environment of the clients, by itself and under pytest."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from clients.beside import OURS, Runner, Shelf
from clients.projects import INI
from support.batch_servers import AnthropicBatchServer
from support.matrix import PYTHON, environment, missing
from support.server import Reply, Seen, StubServer, json_reply

from pytest_llmops.results.run import Run

HERE = Path(__file__).parent
TIMEOUT_S = 120


def _run(folder: Path, *args: str, status: int = 0, **more: str) -> str:
    reason = missing()
    if reason and os.environ.get("LLMOPS_REQUIRE_CLIENTS"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    done = subprocess.run(
        [str(PYTHON), "-m", "pytest", *args],
        cwd=folder,
        env={**environment(folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **more},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == status, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def test_what_needs_the_real_sdks(tmp_path: Path) -> None:
    """In one process: the SDKs take longer to load than the tests to run."""
    scripts = [str(HERE / f"real_{name}.py") for name in ("anthropic", "responses", "outcomes")]
    output = _run(tmp_path, "-c", str(HERE / "real.ini"), f"--rootdir={HERE}", "-rp", *scripts)
    assert all(f"{Path(script).name}::test_" in output for script in scripts)
    assert " skipped" not in output


TESTS = """
from pytest_llmops import assert_judge_score

def test_answer(llm, judge):
    answer = llm.complete("What is the capital?").text
    assert_judge_score(answer, judge=judge, question="What is the capital?", reference="Paris", at_least=7)
"""


class Claude(StubServer):
    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        nonce = re.search(r"<data-([0-9a-f]{32})>", seen.body.decode())
        dimensions = {"accuracy": 9, "fluency": 9, "relevance": 9}
        text = "Paris."
        if nonce is not None:
            text = json.dumps({"nonce": nonce[1], "reason": "right", "dimensions": dimensions})
        return json_reply(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": seen.json["model"],
                "content": [{"type": "text", "text": text}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 7, "output_tokens": 3},
            }
        )


def test_models_are_named_on_the_command_line_recorded_by_a_worker_and_replayed(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nllm_model = anthropic:claude-app\nfilterwarnings = error\n", encoding="utf-8"
    )
    report = tmp_path / "run.json"
    worker = ("-n", "1", "-p", "xdist.plugin")
    common = ("-p", "pytest_llmops.plugin", "--llm-judge", "--llm-judge-model=anthropic:claude-judge")
    with Claude() as server:
        url = server.url
        _run(tmp_path, *common, "--llm-record=new", "--llm-max-calls=2", *worker, ANTHROPIC_BASE_URL=url)
        assert [first.json["model"] for first in server.seen] == ["claude-app", "claude-judge"]
    # The server of --llm-base-url is OpenAI-compatible and has no part in it.
    other = "--llm-base-url=http://127.0.0.1:9/v1"
    _run(tmp_path, *common, other, f"--llm-report={report}", ANTHROPIC_BASE_URL=url)
    (record,) = Run.from_json(report.read_text(encoding="utf-8")).records
    assert record.outcome == "passed"
    assert [(first.model, first.purpose, first.replayed) for first in record.calls] == [
        ("claude-app", "app", True),
        ("claude-judge", "judge", True),
    ]
    assert record.facts["judge"]["model"] == "claude-judge"  # type: ignore[call-overload, index]


BATCHED = """
import anthropic, os, pytest

@pytest.mark.llm_cassette
@pytest.mark.parametrize("i", range(3))
def test_answer(i):
    with anthropic.Anthropic(base_url=os.environ["STUB"], api_key="k", max_retries=0) as client:
        messages = [{"role": "user", "content": f"question {i}"}]
        reply = client.beta.messages.create(model="c", max_tokens=9, messages=messages, betas=["own-beta"])
    assert reply.content[0].text == f"echo of question {i}"
"""


SMALL_BATCHES = """
from pytest_llmops.harness.ahead import batches

batches.MIN_REQUESTS = 2
"""


def test_the_calls_of_its_sdk_go_through_message_batches(runner: Runner, tmp_path: Path) -> None:
    with AnthropicBatchServer() as server:
        project = Shelf(tmp_path, server.url, runner)
        project.write(**{"test_a.py": BATCHED, "conftest.py": SMALL_BATCHES, "pytest.ini": INI})
        runs = [project.run("--llm-record=batch", plugins=(OURS,)) for _ in range(3)]
        assert [ran.exit for ran in runs] == [75, 75, 0]
        assert all("msgbatch_1" in ran.text for ran in runs[:2])
        assert "3 passed" in runs[2].text
        assert (len(server.batches), server.live) == (1, [])
        assert {seen.headers["anthropic-beta"] for seen in server.seen} == {"own-beta"}
    assert "3 passed" in project.run(plugins=(OURS,)).text
