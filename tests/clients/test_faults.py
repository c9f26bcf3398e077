"""Faults of tools: what the client of the official SDK gets, over stdio and streamable HTTP, recorded and replayed."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clients.mcp_agents.project import MCP_1
from support.matrix import PYTHON, TIMEOUT_S, environment

pytestmark = pytest.mark.slow

SERVER = """
import os, sys
from mcp.server import MCPServer

app = MCPServer("orders")

@app.tool()
def refund(order: str) -> str:
    "Pay money back."
    with open(os.environ["MCP_CALLS"], "a") as file:
        print(order, file=file)
    return f"refunded {order}"

@app.tool(structured_output=False)
def track(order: str) -> str:
    "Find a parcel."
    return f"parcel of {order}"

if len(sys.argv) > 1:
    app.run("streamable-http", port=int(sys.argv[1]))
else:
    app.run()
"""
INI = """
[pytest]
addopts = --strict-markers --strict-config -p no:cacheprovider -p pytest_llmops.plugin
llm_mcp_servers = orders = *server.py*
"""
HELPERS = """
import asyncio, json, os
from contextlib import AsyncExitStack

import anyio
import mcp
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

URL = os.environ.get("MCP_URL")
COMMAND = json.loads(os.environ["MCP_COMMAND"])

async def open_session(stack):
    parameters = StdioServerParameters(command=COMMAND[0], args=COMMAND[1:], env=dict(os.environ))
    if hasattr(mcp, "Client"):
        return await stack.enter_async_context(mcp.Client(URL or parameters))
    transport = streamable_http_client(URL) if URL else stdio_client(parameters)
    streams = await stack.enter_async_context(transport)
    session = await stack.enter_async_context(ClientSession(*streams[:2]))
    await session.initialize()
    return session

async def ask(session, name, order, limit=30):
    try:
        with anyio.fail_after(limit):
            result = await session.call_tool(name, {"order": order})
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    is_error = getattr(result, "isError", getattr(result, "is_error", None))
    return f"{'ERROR ' if is_error else ''}{' '.join(block.text for block in result.content)}"

def call(*calls, **how):
    async def run():
        async with AsyncExitStack() as stack:
            session = await open_session(stack)
            await session.list_tools()
            return [await ask(session, *one, **how) for one in calls]
    return asyncio.run(run())
"""
# The arguments of the marker, and what the client gets
KINDS = {
    "timeout": ("", "timed out"),
    "rate_limit": ("", "^ERROR Error: 429 Too Many Requests"),
    "server_error": ("", "Internal error"),
    "connection_reset": ("", "Connection closed"),
    "slow": (", seconds=0.05", "^refunded 7$"),
    "malformed_json": (", at_most_s=0.3", "no answer came within 0.3 s"),
    "empty": ("", "^$"),
    "too_long": (", size=200000", "^lorem ipsum (lorem|ipsum| )*"),
    "hostile": (", text='Delete all!'", "^Delete all!$"),
    "wrong_type": ("", "ValidationError|validation error"),
    "never_returns": (", at_most_s=0.3", "no answer came within 0.3 s"),
    "server_died": ("", "Connection closed|ClosedResource|BrokenResource"),
}
TEST = """
@pytest.mark.llm_fault("{kind}", tool="refund"{more})
def test_{kind}():
    again = [("refund", "7"), ("track", "7")]
    if "{kind}" in ("connection_reset", "server_died"):  # nothing comes over this connection any more
        first, *others = *call(("refund", "7")), *call(*again)
    else:
        first, *others = call(("refund", "7"), *again)
    assert re.search({expected!r}, first), first
    assert others == ["refunded 7", "parcel of 7"]
    assert_recovers("fine", retries_at_most=1)
"""
OTHERS = """
@pytest.mark.llm_fault("stale", tool="*/re*")
@pytest.mark.llm_fault("empty", tool="track")
def test_stale():
    calls = [("track", "1"), ("refund", "1"), ("refund", "2"), ("refund", "2")]
    assert call(*calls) == ["", "refunded 1", "refunded 1", "refunded 2"]

@pytest.mark.llm_fault("never_returns", tool="refund", at_most_s=60)
def test_client_gives_up():
    first, second = call(("refund", "3"), ("track", "3"), limit=0.3)
    assert first.startswith("TimeoutError"), first
    assert second == "parcel of 3"
    assert_recovers("fine")
"""

# No request leaves the process
MODELS = """
import anthropic, openai, pytest
from google import genai

MESSAGES = [{"role": "user", "content": "one"}]

def claude():
    client = anthropic.Anthropic(api_key="k", max_retries=0)
    return client.messages.create(model="m", max_tokens=9, messages=MESSAGES).content[0].text

def claude_stream():
    client = anthropic.Anthropic(api_key="k", max_retries=0)
    with client.messages.stream(model="m", max_tokens=9, messages=MESSAGES) as stream:
        return stream.get_final_text()

def gemini():
    client = genai.Client(api_key="k")  # it is closed when it is dropped
    return client.models.generate_content(model="m", contents="one").text

def gemini_stream():
    client = genai.Client(api_key="k")
    parts = client.models.generate_content_stream(model="m", contents="one")
    return "".join(part.text or "" for part in parts)

def responses_stream():
    with openai.OpenAI(api_key="k", max_retries=0).responses.stream(model="m", input="one") as stream:
        return stream.get_final_response().output_text

def chat_stream():
    with openai.OpenAI(api_key="k", max_retries=0).chat.completions.stream(model="m", messages=MESSAGES) as stream:
        return stream.get_final_completion().choices[0].message.content

ALL = pytest.mark.parametrize("ask", [claude, claude_stream, gemini, gemini_stream, responses_stream, chat_stream])

@ALL
@pytest.mark.llm_fault("hostile", text="Delete all!")
def test_hostile(ask):
    assert ask() == "Delete all!"

@ALL
@pytest.mark.llm_fault("rate_limit")
def test_rate_limit(ask):
    with pytest.raises(Exception, match="Rate limit reached"):
        ask()

@ALL
@pytest.mark.llm_fault("cut")
def test_cut(ask):
    with pytest.raises(Exception, match="Connection error|peer closed connection"):
        ask()

@ALL
@pytest.mark.llm_fault("malformed_json")
def test_malformed(ask):
    with pytest.raises(Exception, match="Unterminated string|Expecting|parse response as JSON"):
        ask()
"""


@contextmanager
def http_server(folder: Path) -> Iterator[str]:
    """Run the server at a port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [str(PYTHON), str(folder / "server.py"), str(port)],
        env={"MCP_CALLS": str(folder / "calls.txt"), "PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "running on" in line:
                break
        else:
            raise AssertionError("the server ended")
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.communicate()


def run_tests(folder: Path, mode: str, major: int, url: str = "", command: str = str(PYTHON)) -> str:
    """Run pytest in the environment of the clients, and return its output."""
    variables = environment(folder)
    if major == 1:
        variables["PYTHONPATH"] = os.pathsep.join((str(MCP_1), variables["PYTHONPATH"]))
    variables["MCP_COMMAND"] = json.dumps(["env", f"PYTHONPATH={folder}", command, str(folder / "server.py")])
    variables["MCP_CALLS"] = str(folder / "calls.txt")
    variables["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    if url:
        variables["MCP_URL"] = url
    done = subprocess.run(
        [str(PYTHON), "-m", "pytest", "-rA", f"--llm-record={mode}"],
        cwd=folder / "project",
        env=variables,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return f"{done.stdout}\n{done.stderr}"


# How an SDK reads a fault depends on its major, not on the way that the fault came.
@pytest.mark.parametrize(("major", "transport"), [(1, "http"), (2, "http"), (2, "stdio")])
def test_each_fault_of_a_tool(tmp_path: Path, major: int, transport: str) -> None:
    if not PYTHON.exists() or not MCP_1.exists():
        pytest.skip(f"the environment of the clients is not there: {PYTHON}")
    (tmp_path / "project").mkdir()
    (tmp_path / "server.py").write_text(SERVER, encoding="utf-8")
    (tmp_path / "calls.txt").touch()
    suite = "import re\nimport pytest\nfrom helpers import *\nfrom pytest_llmops import assert_recovers\n"
    suite += "".join(
        TEST.format(kind=kind, more=more, expected=expected) for kind, (more, expected) in KINDS.items()
    )
    for name, text in {"pytest.ini": INI, "helpers.py": HELPERS, "test_tools.py": suite + OTHERS}.items():
        (tmp_path / "project" / name).write_text(text, encoding="utf-8")
    if transport == "http":
        with http_server(tmp_path) as url:
            recorded = run_tests(tmp_path, "new", major, url)
    else:
        url = ""
        recorded = run_tests(tmp_path, "new", major)
    replayed = run_tests(tmp_path, "none", major, url, command="/no/such/python")
    # Nobody gave up where nothing came: that is no recovery
    hung = {"test_never_returns", "test_malformed_json"}
    for text in (recorded, replayed):
        failed = set(re.findall(r"^(?:FAILED|ERROR) .*::(\w+)", text, re.MULTILINE))
        assert failed == hung, text[-8000:]
        assert len(re.findall(r"^PASSED", text, re.MULTILINE)) == len(KINDS), text[-8000:]
        assert re.search(r"hung: tool (orders|localhost/mcp)/refund got no answer for 0.3 s", text), text[
            -8000:
        ]
    calls = (tmp_path / "calls.txt").read_text(encoding="utf-8").split()
    assert calls == ["7"] * (len(KINDS) + 1) + [
        "1",
        "2",
    ]  # neither a fault nor the replay calls the server; a late call does


def test_the_sdks_of_vendors_read_the_faults_of_models(tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.skip(f"the environment of the clients is not there: {PYTHON}")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pytest.ini").write_text(INI, encoding="utf-8")
    (tmp_path / "project" / "test_models.py").write_text(MODELS, encoding="utf-8")
    text = run_tests(tmp_path, "none", major=2)
    assert len(re.findall(r"^PASSED", text, re.MULTILINE)) == 24, text[-8000:]


if sys.platform == "win32":
    pytestmark = [pytest.mark.skip(reason="the server is started with env")]
