"""The tools of real MCP servers, listed by the official SDK: pages, banners, servers that die or never answer, none left running."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.matrix import PYTHON
from support.messages import check_message
from support.project import MODEL_VARIABLES, Project
from support.server import StubServer

from pytest_llmops import cli
from pytest_llmops.agents.mcp_servers import McpServer, list_server_tools, parse_command
from pytest_llmops.errors import UsageError

ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]
RPC = """
import json, os, sys

def make_tool(name):
    return {"name": name, "description": "", "inputSchema": {"type": "object"}}

def answer(request):
    method = request["method"]
    if method == "initialize":
        version = request["params"]["protocolVersion"]
        info = {"name": "orders", "version": "1"}
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        if (request.get("params") or {}).get("cursor") == "second":
            return {"tools": [make_tool("track")]}
        return {"tools": [make_tool("refund")], "nextCursor": "second"}
    return None

def reply(request):
    result = answer(request)
    if result is None:
        return {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "unknown"}}
    return {"jsonrpc": "2.0", "id": request["id"], "result": result}
"""
SERVER = """
with open("started.txt", "a") as file:
    print(os.getpid(), file=file)
print("Welcome to the orders server!", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if "id" in request:
        print(json.dumps(reply(request)), flush=True)
"""
SILENT = """
import os, sys
with open("started.txt", "a") as file:
    print(os.getpid(), file=file)
print("waiting for the database", file=sys.stderr, flush=True)
sys.stdin.read()
"""
DYING = """
import sys
sys.exit("ORDERS_DB is not set")
"""
SDK_SERVER = """
from mcp.server import MCPServer

app = MCPServer("orders")

@app.tool()
def refund(order_id: str, amount: float = 0.0) -> str:
    "Pay money back."
    return "done"

app.run()
"""
SUITE = """
import pytest

@pytest.mark.llm_tools(command="python server.py")
def test_a(llm_tools):
    assert llm_tools.names == ["refund", "track"]

@pytest.mark.llm_tools(command=["python", "server.py"], catalogues={"money": "ref*"})
def test_b(llm_tools):
    assert llm_tools.names == ["refund"]
"""


@pytest.fixture(autouse=True)
def sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the listing run in the environment that has the SDK."""
    if not PYTHON.exists():
        pytest.skip(f"the environment with the SDK is not there: {PYTHON}")
    monkeypatch.setattr(sys, "executable", str(PYTHON))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    for name in MODEL_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with StubServer() as server:
        yield Project(pytester, server)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command of the console in an empty folder: its status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def call(*argv: str) -> tuple[int, str, str]:
        status = cli.main(argv)
        out, err = capsys.readouterr()
        return status, out, err

    return call


def list_names(folder: Path, code: str, timeout_s: float = 30.0) -> list[Any]:
    (folder / "server.py").write_text(code, encoding="utf-8")
    server = McpServer(command=parse_command("python server.py", "here"))
    return [tool["name"] for tool in list_server_tools(server, "here", folder, timeout_s)]


def is_running(folder: Path) -> bool:
    """Return whether a server that was started still runs."""
    for pid in (folder / "started.txt").read_text().split():
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            continue
        return True
    return False


def test_a_server_is_started_once_for_all_tests_and_ended(project: Project) -> None:
    project.write(**{"server.py": RPC + SERVER, "test_a.py": SUITE})
    done = project.run()
    assert done.outcomes == {"passed": 2}
    assert len((project.path / "started.txt").read_text().split()) == 1
    assert not is_running(project.path)


def test_the_schema_of_a_server_of_the_sdk_is_its_own(tmp_path: Path) -> None:
    assert list_names(tmp_path, SDK_SERVER) == ["refund"]


def test_a_server_that_never_answers_is_ended(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"did not answer within 0\.5 s", check=check_message) as caught:
        list_names(tmp_path, SILENT, timeout_s=0.5)
    if (tmp_path / "started.txt").exists():  # a slow machine may not have started it in time
        assert not is_running(tmp_path)
        assert "waiting for the database" in str(caught.value) or "start it by itself" in str(caught.value)


def test_a_server_that_dies_gives_its_last_lines(project: Project) -> None:
    project.write(**{"server.py": DYING, "test_a.py": SUITE})
    done = project.run()
    assert done.outcomes == {"errors": 2}
    assert "its standard error ends:" in done.text
    assert "ORDERS_DB is not set" in done.text


def test_a_command_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    server = McpServer(command=("no-such-server",))
    with pytest.raises(UsageError, match="No such file or directory", check=check_message):
        list_server_tools(server, "here", tmp_path)


def test_a_server_without_tools_is_an_error(run: Run, tmp_path: Path) -> None:
    code = RPC.replace('[make_tool("refund")], "nextCursor": "second"', "[]") + SERVER
    (tmp_path / "server.py").write_text(code, encoding="utf-8")
    status, _, err = run("tools", "list", "python server.py", "--output", "tools.json")
    assert status == 2
    assert "expected at least one tool, got none" in err
    assert not (tmp_path / "tools.json").exists()


@pytest.fixture
def http_server() -> Iterator[tuple[str, list[str]]]:
    """A server at a URL, and the keys that it was called with."""
    scope: dict[str, Any] = {}
    exec(RPC, scope)
    keys = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            keys.append(self.headers.get("x-key", ""))
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            body = b""
            self.send_response(202 if "id" not in request else 200)
            if "id" in request:
                body = json.dumps(scope["reply"](request)).encode()
                self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.send_response(405)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/mcp", keys
        server.shutdown()
        thread.join()


def test_a_url_that_does_not_answer_names_the_header(run: Run) -> None:
    status, _, err = run("tools", "list", "http://127.0.0.1:1/mcp")
    assert status == 2
    assert "check the URL; a server that needs a key gets it by --header 'NAME: VALUE'" in err


def test_the_tools_of_a_url_are_written_into_a_file(
    run: Run, tmp_path: Path, http_server: tuple[str, list[str]]
) -> None:
    url, keys = http_server
    status, out, err = run("tools", "list", url, "--header", "X-Key: sesame", "--output", "tools.json")
    assert (status, err) == (0, "")
    assert out == "tools.json: 2 tools\n"
    document = json.loads((tmp_path / "tools.json").read_text())
    assert [tool["name"] for tool in document["tools"]] == ["refund", "track"]
    assert set(keys) == {"sesame"}
