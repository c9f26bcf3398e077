"""Odd servers of MCP with both majors of the SDK: what a client sees is the same while recording and on replay, without a server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from clients.mcp_agents import project
from support.matrix import PYTHON, environment
from support.server import StubServer

HERE = Path(__file__).parent / "mcp_odd"
HTTP_MODES = ("plain", "changing", "notices", "pages", "version")
SECRET = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD"
TIMEOUT_S = 120


@dataclass
class Bench:
    """A project with tests that ask odd servers."""

    folder: Path
    major: int

    def run(self, file: str, out: str, *args: str, **variables: str) -> tuple[str, list[str]]:
        """Run the tests of a file; return the output, and which servers were started."""
        results = self.folder / out
        results.mkdir(exist_ok=True)
        started = self.folder / "started"
        started.unlink(missing_ok=True)
        path = environment(self.folder)
        if self.major == 1:
            path["PYTHONPATH"] = os.pathsep.join((str(project.MCP_1), path["PYTHONPATH"]))
        own = {"ODD_OUT": str(results), "ODD_STARTED": str(started), "ODD_NOTES": str(results / "notes.txt")}
        plugins = ("-p", "pytest_llmops.plugin", "-p", "anyio.pytest_plugin", "-p", "no:cacheprovider")
        done = subprocess.run(
            [str(PYTHON), "-m", "pytest", "-q", *plugins, *args, file],
            cwd=self.folder,
            env={**path, **own, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **variables},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
        servers = started.read_text(encoding="utf-8").split() if started.exists() else []
        return done.stdout, servers

    def read(self, out: str) -> dict[str, Any]:
        """Return what the client has seen, by the name of the scenario."""
        files = sorted((self.folder / out).glob("*.json"))
        return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}

    def read_notes(self, out: str) -> list[str]:
        return (self.folder / out / "notes.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture(params=[1, 2])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    reason = project.explain_missing()
    if reason and os.environ.get("LLMOPS_REQUIRE_CLIENTS"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    shutil.copy(HERE / "server.py", tmp_path)
    shutil.copy(HERE / "scenarios.py", tmp_path / "test_scenarios.py")
    shutil.copy(HERE / "lives.py", tmp_path / "test_lives.py")
    shutil.copy(HERE / "contract.py", tmp_path / "test_contract.py")
    return Bench(tmp_path, request.param)


@contextmanager
def serve(folder: Path, mode: str) -> Iterator[str]:
    """Run a server at a port; return its address."""
    file = folder / f"port-{mode}"
    command = [sys.executable, str(HERE / "server.py"), mode, f"--port-file={file}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield f"http://127.0.0.1:{file.read_text(encoding='utf-8')}/mcp"
    finally:
        process.terminate()
        process.communicate()


def mask(seen: Any) -> Any:
    """Return what a client saw, as a recording shows it: without a secret and with the folder for a placeholder."""
    text = json.dumps(seen).replace("Bearer abcdefghijklmnop1234567890", "Bearer [secret]")
    # a server that has ended is noticed at the next call, not before
    return json.loads(text.replace("ClosedResourceError: ", "McpError: Connection closed"))


def test_a_client_sees_the_same_on_replay(bench: Bench) -> None:
    with ExitStack() as stack:
        urls = {mode: stack.enter_context(serve(bench.folder, mode)) for mode in HTTP_MODES}
        model = stack.enter_context(StubServer())
        urls_and_model = {"ODD_URLS": json.dumps(urls), "ODD_MODEL": model.url}
        python = {**urls_and_model, "ODD_PYTHON": sys.executable, "ODD_LIVE": "1"}
        # The contract with the SDK is checked in the same run: its import costs most.
        _, servers = bench.run(
            "test_scenarios.py", "recorded", "test_contract.py", "--llm-record=new", **python
        )
    assert servers
    replay = {**urls_and_model, "ODD_PYTHON": f"/no/such/folder/{Path(sys.executable).name}"}
    _, servers = bench.run("test_scenarios.py", "replayed", **replay)
    assert servers == []
    recorded, replayed = bench.read("recorded"), bench.read("replayed")
    assert len(recorded) > 25
    assert replayed == {name: mask(seen) for name, seen in recorded.items()}
    assert "FileNotFoundError" in str(recorded["stdio-no_command"])
    assert recorded["stdio-changing"][0] != recorded["stdio-changing"][2]
    assert recorded["stdio-hangs"][-2] is True
    assert "Connection closed" in str(recorded["stdio-dies_during"][1])
    texts = "".join(file.read_text(encoding="utf-8") for file in bench.folder.rglob("cassettes/**/*.json"))
    assert SECRET not in texts
    assert "sk-a-b-c" not in texts
    assert str(bench.folder) not in texts
    assert "--api-key [secret]#2" in texts


def test_a_connection_may_outlive_a_test(bench: Bench) -> None:
    live, gone = {"ODD_PYTHON": sys.executable}, {"ODD_PYTHON": f"/no/such/{Path(sys.executable).name}"}
    _, servers = bench.run("test_lives.py", "recorded", "--llm-record=new", **live)
    assert servers == ["plain"] * 3
    notes = bench.read_notes("recorded")
    expected = [
        "test_first 1",
        "test_first 2",
        "test_second 3",
        "test_trials 4",
        "test_trials 5",
        "test_own 7",
        "test_block 8",
    ]
    assert notes == expected
    _, servers = bench.run("test_lives.py", "replayed", **gone)
    assert servers == []
    assert bench.read_notes("replayed") == notes
    if bench.major == 1:
        return  # what follows is about the relations of tests: no SDK takes part in it
    # A test is added: the connection, which is replayed, gets its server late
    _, servers = bench.run("test_lives.py", "added", "--llm-record=new", ODD_NEW_TEST="1", **live)
    assert servers == ["plain"]
    assert sorted(bench.read_notes("added")) == sorted([*expected, "test_new 100"])
    _, servers = bench.run("test_lives.py", "again", "-p", "xdist", "-n", "2", ODD_NEW_TEST="1", **gone)
    assert servers == []
    assert sorted(bench.read_notes("again")) == sorted(bench.read_notes("added"))


@pytest.mark.parametrize("bench", [2], indirect=True)
def test_no_tool_is_called_in_silent_runs(bench: Bench) -> None:
    live = {"ODD_PYTHON": sys.executable}
    text, servers = bench.run("test_lives.py", "recorded", "--llm-record=new", "--llm-concurrency=4", **live)
    assert servers == ["plain"] * 3
    assert "6 passed" in text
    assert bench.read_notes("recorded")[-1] == "test_block 8"
