"""llm_adopt with the real tools: their suites as they are, recorded once, replayed without a server, and compared by the gate."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.matrix import PYTHON, environment, missing
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

from pytest_llmops.adopted import TOOLS, load_tool
from pytest_llmops.results.run import Run, TestRecord

pytestmark = pytest.mark.slow
SUITES = Path(__file__).parent / "suites"
TIMEOUT_S = 300


class Graders(StubServer):
    """Answers as the application and as each tool's judge; all judges give the same grade."""

    grade = 0.9

    def answer(self, seen: Seen) -> Reply:
        super().answer(seen)
        body = seen.json
        text = str(body["messages"][-1]["content"])
        name = body.get("response_format", {}).get("json_schema", {}).get("name", "")
        reply: dict[str, Any] = {}
        if body["model"] == "app-1":
            return json_reply(chat_answer("Yes, you can.", model="app-1"))
        if body.get("tools"):
            arguments = json.dumps({"reason": "It is right.", "pass": True, "score": self.grade})
            function = {"name": body["tools"][0]["function"]["name"], "arguments": arguments}
            call = {"id": "call_1", "type": "function", "function": function}
            return json_reply(chat_answer("", model="gpt-4.1", tool_calls=[call]))
        if text.startswith("Grade"):
            return json_reply(chat_answer(str(self.grade), model="gpt-4.1"))
        replies = {
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
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Done]]:
    """The suites recorded and accepted, replayed by two workers without a server, and recorded again from a worse server."""
    reason = missing() or _missing_tools()
    if reason and os.environ.get("LLMOPS_REQUIRE_CLIENTS"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("adopted")
    for path in SUITES.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    with Graders() as good:
        recorded = _run(folder, good, "--llm-record=new", "--llm-accept=first")
    replayed = _run(folder, good, "-n2")
    with Graders() as worse:
        worse.grade = 0.4
        dropped = _run(folder, worse, "--llm-record=all")
    yield {"recorded": recorded, "replayed": replayed, "dropped": dropped}


def _missing_tools() -> str:
    """Return which tools the clients' environment lacks; empty: none."""
    code = (
        "import sys, importlib.util; print(*[n for n in sys.argv[1:] if importlib.util.find_spec(n) is None])"
    )
    names = [load_tool(name).distribution.replace("-", "_") for name in TOOLS]
    done = subprocess.run([str(PYTHON), "-c", code, *names], capture_output=True, text=True, check=True)
    lacking = done.stdout.strip()
    return lacking and f"the environment of the clients has no {lacking}: {PYTHON} (make test makes it)"


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


