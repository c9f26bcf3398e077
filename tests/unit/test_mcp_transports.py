"""The transports of MCP, without processes and sockets: the server is a stand-in with streams in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from signal import SIGINT, Signals
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from support.messages import check_message
from support.tapes import taped

from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.mcp import session as session_module
from pytest_llmops.cassettes.mcp import stdio
from pytest_llmops.cassettes.mcp.messages import Message, parse_message, to_line
from pytest_llmops.cassettes.mcp.session import McpSession, Turn
from pytest_llmops.cassettes.mcp.stdio import NO_PROCESS, RecordedProcess
from pytest_llmops.settings import Settings

HELLO: Message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"capabilities": {}}}
READY: Message = {"jsonrpc": "2.0", "method": "notifications/initialized"}
WELCOME: Message = {"jsonrpc": "2.0", "id": 0, "result": {"serverInfo": {}}}
LOG: Message = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "a"}}


def make_call(number: int, name: str = "add") -> Message:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": name, "arguments": {}}}


def make_answer(number: int, text: str = "done") -> Message:
    return {"jsonrpc": "2.0", "id": number, "result": {"text": text}}


def use(folder: Path, mode: RecordMode, **settings: Any) -> Any:
    return taped(folder / "a.json", mode, settings=Settings(**settings))


def line(message: Message) -> bytes:
    return to_line(message)


class Server:
    """Stands in for the process of a server, which answers each request at once."""

    def __init__(self, answers: dict[str, list[bytes]] | None = None) -> None:
        self.out, self.stdout = anyio.create_memory_object_stream[bytes](100)
        self.stdin = SimpleNamespace(send=self._send, aclose=self._close_input)
        self.stderr: Any = "the errors"
        self.pid = 77
        self.returncode: int | None = None
        self.did: list[Any] = []
        self.answers = answers or {}
        self.is_closed = False
        self._process = "the process of the loop"

    async def _send(self, data: bytes) -> None:
        if self.is_closed:
            raise BrokenPipeError
        self.did.append(data)
        message = parse_message(data)
        if message is None:
            return
        name = message["method"]
        if name == "tools/call":
            name = message["params"]["name"]
        for given in self.answers.get(name, []):
            self.out.send_nowait(given)

    async def _close_input(self) -> None:
        self.did.append("input closed")

    async def wait(self) -> int:
        self.did.append("wait")
        if self.returncode is None:
            self.returncode = 3
        return self.returncode

    def kill(self) -> None:
        self.did.append("kill")

    def terminate(self) -> None:
        self.did.append("terminate")

    def send_signal(self, signal: Signals) -> None:
        self.did.append(signal)

    async def aclose(self) -> None:
        self.did.append("closed")


ANSWERS = {
    "initialize": [b"Welcome!\n" + line(WELCOME)],
    "add": [line(LOG)[:10], line(LOG)[10:] + line(make_answer(1))],
    "other": [line(make_answer(2, "other"))],
}


CLIENTS: list[Client] = []


class Client:
    """A client of a recorded process."""

    def __init__(self, answers: dict[str, list[bytes]] | None = None) -> None:
        self.server = Server(answers)
        self.starts: list[bool] = []
        self.problem: OSError | None = None
        self.process = RecordedProcess(McpSession(lambda _: "orders", "orders"), self._start)
        CLIENTS.append(self)

    async def _start(self) -> Any:
        self.starts.append(active_tape.starts_tool_server())
        if self.problem is not None:
            raise self.problem
        return self.server

    def close(self) -> None:
        """Close the streams in memory, which warn otherwise."""
        output: Any = self.process.stdout
        for stream in (output._put, output._local, self.server.out, self.server.stdout):
            stream.close()

    async def send(self, *given: Message) -> None:
        for message in given:
            await self.process.stdin.send(line(message))

    async def read(self, count: int = 1) -> bytes:
        """So many pieces of the output."""
        return b"".join([await self.process.stdout.receive() for _ in range(count)])


def run(task: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        try:
            with anyio.fail_after(20):
                await task()
        finally:
            while CLIENTS:
                CLIENTS.pop().close()

    asyncio.run(limited())


def replace_anyio(monkeypatch: pytest.MonkeyPatch, **functions: Any) -> None:
    """Replace functions of anyio in the module of the transport only."""
    monkeypatch.setattr(stdio, "anyio", SimpleNamespace(**{**vars(anyio), **functions}))


def record(folder: Path) -> None:
    async def task() -> None:
        client = Client(ANSWERS)
        await client.send(HELLO)
        assert await client.read() == b"Welcome!\n" + line(WELCOME)
        await client.send(READY, make_call(1))
        assert await client.read() == line(LOG) + line(make_answer(1))
        assert client.server.did == [line(HELLO), line(READY), line(make_call(1))]
        assert client.starts == [True]
        await client.process.aclose()
        assert client.server.did[3:] == ["closed"]

    with use(folder, "all") as tape:
        run(task)
    assert tape.counts.recorded == 2


def test_a_session_is_recorded_and_replayed_without_the_server(tmp_path: Path) -> None:
    async def replay() -> None:
        client = Client()
        process = client.process
        await client.send(HELLO)
        assert await client.read() == line(WELCOME)
        await client.send(READY)
        await process.stdin.send(line(make_call(5))[:20])
        await process.stdin.send(line(make_call(5))[20:])
        assert await client.read(2) == line(LOG) + line(make_answer(5))
        assert (process.pid, process.returncode, process.stderr) == (NO_PROCESS, None, None)
        assert process._process is None
        await process.stdin.send(b"hello\n")
        await process.stdin.aclose()
        assert process.returncode == 0
        assert await process.wait() == 0
        with pytest.raises(anyio.EndOfStream):
            await process.stdout.receive()
        with pytest.raises(anyio.ClosedResourceError):
            await client.send(READY)
        await process.aclose()
        assert client.starts == []

    record(tmp_path)
    with use(tmp_path, "none") as tape:
        run(replay)
    assert tape.counts.replayed == 2


@pytest.mark.parametrize(
    ("act", "did"),
    [
        (lambda process: process.kill(), "kill"),
        (lambda process: process.terminate(), "terminate"),
        (lambda process: process.send_signal(SIGINT), SIGINT),
    ],
)
def test_a_signal_goes_to_the_server_or_ends_its_replacement(
    act: Callable[[RecordedProcess], None], did: Any, tmp_path: Path
) -> None:
    async def task() -> None:
        client = Client()
        act(client.process)
        assert client.process.returncode == 1
        assert await client.process.wait() == 1
        client.process.end(0)
        assert client.process.returncode == 1
        with pytest.raises(anyio.EndOfStream):
            await client.read()
        client = Client()
        process: Any = client.process
        await process.start_now()
        assert client.starts == [True]
        act(process)
        assert client.server.did == [did]
        assert (process.pid, process.returncode, process.stderr) == (77, None, "the errors")
        assert process._process == "the process of the loop"
        assert await process.wait() == 3
        assert process.returncode == 3
        await process.stdin.send(b"hello\n")
        await process.stdin.aclose()
        assert client.server.did[1:] == ["wait", b"hello\n", "input closed"]
        await process.stdout.aclose()
        with pytest.raises(anyio.BrokenResourceError):
            client.server.out.send_nowait(b"")

    with use(tmp_path, "all"):
        run(task)


def test_a_server_that_starts_late_gets_the_greeting_first(tmp_path: Path) -> None:
    async def task() -> None:
        client = Client(
            {
                **ANSWERS,
                "initialize": [b"Welcome!\n" + line(LOG) + line(make_answer(9)), line(WELCOME)],
                "new": [line(make_answer(1))],
            }
        )
        await client.send(HELLO, READY)
        assert await client.read() == line(WELCOME)
        tape.tools.note_live_model_call("0")
        async with anyio.create_task_group() as group:
            group.start_soon(client.send, make_call(1, "new"))
            assert await client.read() == line(make_answer(1))
        await client.send(make_call(2, "other"))
        assert await client.read() == line(make_answer(2, "other"))
        assert client.starts == [True]
        assert client.server.did == [
            line(HELLO),
            line(READY),
            line(make_call(1, "new")),
            line(make_call(2, "other")),
        ]

    record(tmp_path)
    with use(tmp_path, "new") as tape:
        run(task)


def test_a_server_that_ends_before_it_is_greeted_ends_the_greeting(tmp_path: Path) -> None:
    async def task() -> None:
        client = Client()
        await client.send(HELLO)
        assert await client.read() == line(WELCOME)
        tape.tools.note_live_model_call("0")
        client.server.out.close()
        async with anyio.create_task_group() as group:
            group.start_soon(client.send, make_call(1, "new"))
            with pytest.raises(anyio.EndOfStream):
                await client.read()

    record(tmp_path)
    with use(tmp_path, "new") as tape:
        run(task)


def test_a_server_that_cannot_be_started_late_is_an_error_of_the_call(tmp_path: Path) -> None:
    async def task() -> None:
        client = Client()
        client.problem = FileNotFoundError(2, "No such file", "orders")
        await client.send(HELLO)
        answer = json.loads(await client.read())
        assert answer["id"] == 0
        check_message(answer["error"]["message"])
        assert client.server.did == []

    with use(tmp_path, "all") as tape:
        run(task)
    assert len(tape.report.misses) == 1


def test_the_end_of_the_server_ends_the_output_of_its_client(tmp_path: Path) -> None:
    async def task() -> None:
        client = Client()
        await client.send(make_call(1))
        client.server.out.send_nowait(b"one line\n")
        assert await client.read() == b"one line\n"
        client.server.out.close()
        with pytest.raises(anyio.EndOfStream):
            await client.read()
        assert client.server.did == [line(make_call(1)), "wait"]

    async def replay() -> None:
        client = Client()
        await client.send(make_call(1))
        assert client.process.returncode == 1
        with pytest.raises(anyio.EndOfStream):
            await client.read()
        assert client.starts == []

    with use(tmp_path, "all"):
        run(task)
    with use(tmp_path, "none"):
        run(replay)


def test_a_compared_server_that_ends_leaves_its_client_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "COMPARE_GRACE_S", 600.0)

    async def task() -> None:
        client = Client({"initialize": [line({**WELCOME, "result": {"serverInfo": {"name": "new"}}})]})
        await client.send(HELLO)
        assert await client.read() == line(WELCOME)
        await client.send(make_call(4))
        client.server.out.close()
        assert await client.read() == line(make_answer(4))
        client.server.is_closed = True
        await client.send(READY, make_call(5))
        assert client.server.did == [line(HELLO), line(make_call(4)), "wait"]

    record(tmp_path)
    with use(tmp_path, "none", tools="compare") as tape:
        run(task)
    assert tape.counts.drifted == 2


def test_a_compared_server_that_hears_nothing_any_more_is_no_error(tmp_path: Path) -> None:
    async def task() -> None:
        client = Client()
        client.server.is_closed = True
        await client.send(HELLO)
        client.server.out.close()
        assert await client.read() == line(WELCOME)

    async def fail() -> None:
        client = Client()
        client.server.is_closed = True
        with pytest.raises(BrokenPipeError):
            await client.send(HELLO)

    record(tmp_path)
    with use(tmp_path, "none", tools="compare"):
        run(task)
    with use(tmp_path, "all"):
        run(fail)


def test_a_compared_server_that_does_not_answer_leaves_its_client_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def task() -> None:
        client = Client()
        await client.send(HELLO)
        assert await client.read() == line(WELCOME)
        client.server.out.send_nowait(line(WELCOME) + line(LOG))
        assert await client.read() == line(LOG)

    record(tmp_path)
    monkeypatch.setattr(session_module, "COMPARE_GRACE_S", 0.0)
    with use(tmp_path, "none", tools="compare"):
        run(task)


def test_late_answers_come_when_they_are_due_and_only_while_they_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    late: dict[Any, Message | None] = {1: make_answer(1), 2: make_answer(2), 3: None}

    async def task() -> None:
        client = Client()
        session: Any = SimpleNamespace(
            is_waiting=late.__contains__, take_late_answer=late.pop, receive_from_client=None
        )
        client.process.session = session
        output: Any = client.process.stdout
        replace_anyio(monkeypatch, current_time=lambda: now[0])
        for seconds, number in [(5.0, 1), (7.0, 2), (5.0, 3), (0.0, 4)]:
            output.put_later(seconds, number)
        assert output._late == [(105.0, 1), (107.0, 2), (105.0, 3), (100.0, 4)]
        now[0] = 104.9
        output._release_late()
        assert output._late == [(105.0, 1), (107.0, 2), (105.0, 3)]
        now[0] = 105.0
        assert await client.read() == line(make_answer(1))
        assert output._late == [(107.0, 2)]
        assert late == {2: make_answer(2)}
        replace_anyio(monkeypatch)
        output._late = [(0.0, 2)]
        assert await output._receive_local() == b""
        assert await client.read() == line(make_answer(2))

    run(task)


def test_the_status_of_a_server_is_unknown_while_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def task() -> None:
        server: Any = Client().server
        assert await stdio._find_status(server) == 3
        server = Client().server
        server.wait = anyio.sleep_forever
        assert await stdio._find_status(server) is None

    monkeypatch.setattr(stdio, "END_GRACE_S", 0.0)
    run(task)


def test_a_turn_is_carried_out_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def task() -> None:
        client = Client()
        replace_anyio(monkeypatch, sleep=sleep)
        turn = Turn(
            to_client=[make_answer(1), LOG], lines=[b"no JSON"], to_server=[HELLO], wait_s=2.5, ends=True
        )
        await client.process.follow(turn, b"the line\n")
        assert await client.read(3) == line(make_answer(1)) + line(LOG) + b"no JSON\n"
        assert client.server.did == [b"the line\n", "kill"]
        assert slept == [2.5]
        assert client.process.session.has_server is True

    run(task)
