"""Listing the tools of an MCP server, without a server, the SDK and a process: all are stand-ins."""

from __future__ import annotations

import importlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import anyio
import pytest
from support.messages import check_message

from pytest_llmops.agents.mcp_servers import McpServer, list_server_tools, parse_command
from pytest_llmops.errors import UsageError

listing: Any = importlib.import_module("pytest_llmops.agents.mcp_listing")
servers: Any = importlib.import_module("pytest_llmops.agents.mcp_servers")


class Tool:
    def __init__(self, name: str) -> None:
        self.name = name

    def model_dump(self, **how: Any) -> dict[str, Any]:
        assert how == {"mode": "json", "by_alias": True, "exclude_none": True}
        return {"name": self.name}


class Session:
    """Lists tools in pages; the cursor of each is the number of the next."""

    def __init__(self, pages: int, cursor: str = "next_cursor") -> None:
        self.pages = pages
        self.cursor = cursor
        self.asked: list[Any] = []

    async def list_tools(self, params: Any) -> Any:
        self.asked.append(params)
        number = len(self.asked)
        following = str(number) if number < self.pages else None
        return SimpleNamespace(tools=[Tool(f"tool_{number}")], **{self.cursor: following})


def list_tools(monkeypatch: pytest.MonkeyPatch, session: Session) -> Any:
    @asynccontextmanager
    async def connect(request: Any) -> AsyncIterator[Any]:
        assert request == {"timeout_s": 20}
        yield session

    monkeypatch.setattr(listing, "_connect", connect)
    monkeypatch.setattr(listing, "_make_params", lambda cursor: f"from {cursor}")
    return anyio.run(listing._list_tools, {"timeout_s": 20})


@pytest.mark.parametrize("cursor", ["next_cursor", "nextCursor"])
def test_the_tools_of_all_pages_are_listed(cursor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(3, cursor)
    assert list_tools(monkeypatch, session) == [{"name": "tool_1"}, {"name": "tool_2"}, {"name": "tool_3"}]
    assert session.asked == [None, "from 1", "from 2"]


def test_a_list_without_an_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_PAGES", 3)
    assert len(list_tools(monkeypatch, Session(3))) == 3
    session = Session(4)
    with pytest.raises(ValueError, check=check_message):
        list_tools(monkeypatch, session)
    assert len(session.asked) == 3


def test_an_error_is_described_by_the_first_of_its_group() -> None:
    assert listing._describe(ValueError("a")) == "ValueError: a"
    inner = BaseExceptionGroup("b", [KeyError("c"), ValueError("d")])
    assert listing._describe(BaseExceptionGroup("a", [inner])) == "KeyError: 'c'"
    assert listing._describe(ExceptionGroup("a", [TimeoutError("b")])) == "time-out"


def run_program(monkeypatch: pytest.MonkeyPatch, list_all: Callable[[Any], Any]) -> Any:
    """The answer of the program; `logging` stays as it is."""
    output = io.StringIO()
    disabled: list[str] = []
    monkeypatch.setattr(listing, "sys", SimpleNamespace(stdin=io.StringIO('{"url": "a"}'), stdout=output))
    monkeypatch.setattr(listing, "logging", SimpleNamespace(disable=lambda: disabled.append("disabled")))
    monkeypatch.setattr(listing, "_list_tools", list_all)
    listing.main()
    assert disabled == ["disabled"]
    assert output.getvalue().endswith("}\n")
    return json.loads(output.getvalue())


def test_the_program_writes_the_tools_or_the_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    async def give(request: Any) -> Any:
        return [request]

    async def fail(_: Any) -> Any:
        raise SystemExit("over")

    monkeypatch.setitem(sys.modules, "mcp", ModuleType("mcp"))
    assert run_program(monkeypatch, give) == {"tools": [{"url": "a"}]}
    assert run_program(monkeypatch, fail) == {"problem": "SystemExit: over"}
    monkeypatch.setitem(sys.modules, "mcp", None)
    assert run_program(monkeypatch, give) == {"problem": "no SDK"}
    assert logging.root.manager.disable == logging.NOTSET


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The SDK, version 1: it notes what is asked of it."""
    did: list[Any] = []

    @asynccontextmanager
    async def enter(name: str, given: Any) -> AsyncIterator[Any]:
        did.append(name)
        try:
            yield given
        finally:
            did.append(f"end of {name}")

    class ClientSession:
        def __init__(self, read: Any, write: Any) -> None:
            assert (read, write) == ("read", "write")
            self.inner: Any = enter("session", self)

        async def __aenter__(self) -> Any:
            return await self.inner.__aenter__()

        async def __aexit__(self, *error: object) -> Any:
            return await self.inner.__aexit__(*error)

        async def initialize(self) -> None:
            did.append("initialize")

    module: Any = ModuleType("mcp")
    http: Any = ModuleType("mcp.client.streamable_http")
    clients: Any = ModuleType("mcp.shared._httpx_utils")
    types: Any = ModuleType("mcp.types")
    module.did, module.enter = did, enter
    module.StdioServerParameters = lambda **given: given
    module.ClientSession = ClientSession
    module.types = types
    types.PaginatedRequestParams = lambda **given: given

    def stdio_client(server: Any) -> Any:
        did.append(server)
        return enter("process", ("read", "write"))

    def streamable_http_client(url: str, **more: Any) -> Any:
        did.append((url, more))
        return enter("connection", ("read", "write", "more"))

    module.stdio_client = stdio_client
    http.streamable_http_client = streamable_http_client
    clients.create_mcp_http_client = lambda headers: enter(f"client with {headers}", "a client")
    for each in (module, http, clients, types):
        monkeypatch.setitem(sys.modules, each.__name__, each)
    for name in ("mcp.client", "mcp.shared"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    return module


async def connect(request: Any) -> None:
    async with listing._connect(request) as session:
        sys.modules["mcp"].did.append(session)


COMMAND = {"command": ["orders", "a", "b"], "url": "", "headers": {}, "folder": "/x"}


def test_a_command_is_started_with_the_first_version_of_the_sdk(sdk: Any) -> None:
    anyio.run(connect, COMMAND)
    session = sdk.did.pop(4)
    assert type(session) is sdk.ClientSession
    assert sdk.did == [
        {"command": "orders", "args": ["a", "b"], "env": dict(os.environ), "cwd": "/x"},
        *("process", "session", "initialize", "end of session", "end of process"),
    ]
    assert listing._make_params("5") == {"cursor": "5"}


def test_a_command_is_started_with_the_second_version_of_the_sdk(sdk: Any) -> None:
    sdk.Client = lambda transport: sdk.enter(
        f"client of {type(transport).__name__}", SimpleNamespace(session=7)
    )
    anyio.run(connect, COMMAND)
    assert sdk.did[1:] == [
        "client of _AsyncGeneratorContextManager",
        7,
        "end of client of _AsyncGeneratorContextManager",
    ]


def test_a_url_is_reached_with_its_headers(sdk: Any) -> None:
    anyio.run(connect, {"command": [], "url": "http://a", "headers": {}})
    assert sdk.did[0] == ("http://a", {})
    assert sdk.did[1:4] == ["connection", "session", "initialize"]
    sdk.did.clear()
    anyio.run(connect, {"command": [], "url": "http://a", "headers": {"b": "c"}})
    assert sdk.did[:3] == ["client with {'b': 'c'}", ("http://a", {"http_client": "a client"}), "connection"]
    assert sdk.did[-1] == "end of client with {'b': 'c'}"


# The caller of the program


def list_all(
    monkeypatch: pytest.MonkeyPatch, server: McpServer, answer: dict[str, Any], error: bytes = b""
) -> tuple[Any, Any]:
    """The tools of a server, and how the program was called."""
    calls: list[Any] = []

    def run_listing(request: Any, stderr: Any, timeout_s: float) -> dict[str, Any]:
        calls.append((request, timeout_s))
        stderr.write(error)
        return answer

    monkeypatch.setattr(servers, "_run_listing", run_listing)
    tools = list_server_tools(server, "here", Path("/x"), 2.0)
    return tools, calls[0]


def test_the_tools_of_a_command_and_of_a_url_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    for program, started in [("python", sys.executable), ("python3", sys.executable), ("orders", "orders")]:
        tools, call = list_all(monkeypatch, McpServer((program, "python")), {"tools": [{"name": "a"}]})
        assert tools == [{"name": "a"}]
        assert call == (
            {
                "command": [started, "python"],
                "url": "",
                "headers": {},
                "folder": str(Path("/x")),
                "timeout_s": 2.0,
            },
            17.0,
        )
    _, (request, _) = list_all(monkeypatch, McpServer(url="http://a", headers={"b": "c"}), {"tools": []})
    assert (request["command"], request["url"], request["headers"]) == ([], "http://a", {"b": "c"})


@pytest.mark.parametrize(
    ("server", "problem", "error"),
    [
        (McpServer(("orders", "a b")), "no SDK", b""),
        (McpServer(("orders", "a b")), "time-out", b""),
        (McpServer(("orders", "a b")), "ValueError: a", b"first\n\nlast\n"),
        (McpServer(url="http://a"), "ValueError: a", b""),
        (McpServer(url="http://a"), "ValueError: a", b"last\n"),
    ],
)
def test_a_problem_of_the_list_is_an_error(
    server: McpServer, problem: str, error: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, check=check_message):
        list_all(monkeypatch, server, {"problem": problem}, error)


@pytest.mark.parametrize("command", ["", [], "serve 'a"])
def test_an_empty_command_is_an_error(command: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        parse_command(command, "here")
    assert parse_command(["a", "b c"], "here") == ("a", "b c")


class Process:
    """The process of the program."""

    def __init__(self, output: bytes | None, *, ends: bool) -> None:
        self.output = output
        self.ends = ends  # after a signal
        self.returncode = 4
        self.did: list[Any] = []

    def communicate(self, given: bytes, timeout: float) -> tuple[bytes, None]:
        self.did.append((json.loads(given), timeout))
        if self.output is None:
            raise subprocess.TimeoutExpired("a", timeout)
        return self.output, None

    def poll(self) -> int | None:
        return None if self.output is None else 0

    def send_signal(self, number: int) -> None:
        self.did.append(number)

    def wait(self, timeout: float | None = None) -> int:
        self.did.append(("wait", timeout))
        if timeout is not None and not self.ends:
            raise subprocess.TimeoutExpired("a", timeout)
        return 0

    def kill(self) -> None:
        self.did.append("kill")


def run_listing(monkeypatch: pytest.MonkeyPatch, process: Process) -> Any:
    def start(program: Any, **how: Any) -> Process:
        assert program == [sys.executable, "-P", "-m", "pytest_llmops.agents.mcp_listing"]
        assert how == {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": "a file"}
        return process

    monkeypatch.setattr(servers, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": start}))
    return servers._run_listing({"a": 1}, "a file", 9.0)


def test_the_program_gets_the_request_and_its_answer_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(b'{"tools": []}', ends=True)
    assert run_listing(monkeypatch, process) == {"tools": []}
    assert process.did == [({"a": 1}, 9.0)]
    answer = run_listing(monkeypatch, Process(b"", ends=True))
    assert list(answer) == ["problem"]
    check_message(answer["problem"])


def test_a_program_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    for ends in (True, False):
        process = Process(None, ends=ends)
        assert run_listing(monkeypatch, process) == {"problem": "time-out"}
        assert process.did[1:] == [signal.SIGINT, ("wait", 15.0), "kill", ("wait", None)]


def test_the_last_lines_of_standard_error_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"".join(b"line %d  \n\n" % number for number in range(20))
    assert servers._read_last_lines(io.BytesIO(text)) == [f"line {number}" for number in range(12, 20)]
    assert servers._read_last_lines(io.BytesIO(b"")) == []
    monkeypatch.setattr(servers, "MAX_STDERR_BYTES", 6)
    assert servers._read_last_lines(io.BytesIO(b"first\n\xff last\n")) == [" last"]
