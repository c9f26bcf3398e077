"""MCP servers at an address, and the patches of the SDK: the SDK, its streams and its messages are stand-ins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Self

import anyio
import pytest
from support.messages import check_message
from support.tapes import taped

from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes import tool_addresses
from pytest_llmops.cassettes.mcp import patches, streamable_http
from pytest_llmops.cassettes.mcp.messages import Message, parse_message
from pytest_llmops.cassettes.mcp.session import McpSession, Turn
from pytest_llmops.cassettes.mcp.stdio import RecordedProcess
from pytest_llmops.cassettes.mcp.streamable_http import FromClient, HttpLink, ToClient
from pytest_llmops.cassettes.tool_questions import encode_json
from pytest_llmops.settings import Settings

HELLO: Message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"capabilities": {}}}
READY: Message = {"jsonrpc": "2.0", "method": "notifications/initialized"}
WELCOME: Message = {"jsonrpc": "2.0", "id": 0, "result": {"serverInfo": {}}}
LOG: Message = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "a"}}


def make_call(number: int, name: str = "add") -> Message:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": name, "arguments": {}}}


def make_answer(number: int, text: str = "done") -> Message:
    return {"jsonrpc": "2.0", "id": number, "result": {"text": text}}


class SdkMessage:
    """A message as the SDK has it."""

    def __init__(self, content: Message) -> None:
        self.content = content
        self.message = self

    def model_dump_json(self, *, by_alias: bool, exclude_unset: bool) -> str:
        assert by_alias
        assert exclude_unset
        return encode_json(self.content).decode()


class Stream:
    """A stream of the SDK."""

    def __init__(self, *waiting: Message) -> None:
        self.waiting = [SdkMessage(message) for message in waiting]
        self.sent: list[Any] = []
        self.did: list[Any] = []
        self.name = "a stream"

    async def __aenter__(self) -> Self:
        self.did.append("entered")
        return self

    async def __aexit__(self, *error: object) -> bool:
        self.did.append(error)
        return True

    async def __anext__(self) -> SdkMessage:
        if not self.waiting:
            raise StopAsyncIteration
        return self.waiting.pop(0)

    async def send(self, item: Any) -> None:
        self.sent.append(item)

    async def aclose(self) -> None:
        self.did.append("closed")

    def take(self) -> list[Any]:
        sent, self.sent = self.sent, []
        return [item.content if isinstance(item, SdkMessage) else item for item in sent]


class Connection:
    """A client, a server and the link between them."""

    def __init__(self, *said: Message) -> None:
        self.reader, self.writer = Stream(*said), Stream()
        self.link: Any = HttpLink(McpSession(lambda _: "orders", "orders"), SdkMessage)
        self.tasks: list[Any] = []
        self.link.open(self.writer, lambda *task: self.tasks.append(task))
        self.from_client = FromClient(self.reader, self.link)
        self.to_client = ToClient(self.writer, self.link)

    async def hear(self) -> list[Message]:
        """The messages that go to the server."""
        return [message.content async for message in self.from_client]

    async def hear_next(self) -> Message:
        message = await anext(self.from_client)
        content: Message = message.content
        return content

    async def answer(self, message: Message) -> list[Message]:
        """Let the server send a message; what its client gets."""
        await self.to_client.send(SdkMessage(message))
        return self.writer.take()


def use(folder: Path, mode: RecordMode, **settings: Any) -> Any:
    return taped(folder / "a.json", mode, settings=Settings(**settings))


def run(task: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        with anyio.fail_after(20):
            await task()

    asyncio.run(limited())


def record(folder: Path) -> None:
    async def task() -> None:
        one = Connection(HELLO, READY, make_call(1))
        assert await one.hear_next() == HELLO
        assert await one.answer(WELCOME) == [WELCOME]
        assert await one.hear() == [READY, make_call(1)]
        assert await one.answer(LOG) == [LOG]
        assert await one.answer(make_answer(1)) == [make_answer(1)]
        problem = ValueError("a")
        await one.to_client.send(problem)
        assert one.writer.take() == [problem]

    with use(folder, "all") as tape:
        run(task)
    assert tape.counts.recorded == 2


def test_a_session_is_recorded_and_replayed_without_a_request(tmp_path: Path) -> None:
    async def replay() -> None:
        one = Connection(HELLO, READY, make_call(4))
        assert await one.hear() == []
        assert one.writer.take() == [WELCOME, LOG, make_answer(4)]

    record(tmp_path)
    with use(tmp_path, "none") as tape:
        run(replay)
    assert tape.counts.replayed == 2


def test_streams_pass_on_what_they_do_not_change() -> None:
    async def task() -> None:
        one = Connection()
        for wrapped, inner in [(one.from_client, one.reader), (one.to_client, one.writer)]:
            error = ValueError()
            assert await wrapped.__aenter__() is wrapped
            assert await wrapped.__aexit__(ValueError, error, None) is True
            assert inner.did == ["entered", (ValueError, error, None)]
            assert wrapped.name == "a stream"

    run(task)


def test_a_server_that_is_called_late_gets_the_greeting_first(tmp_path: Path) -> None:
    async def task() -> None:
        one = Connection(HELLO, READY, make_call(1, "new"), make_call(2, "other"))
        one.reader.waiting, later = one.reader.waiting[:2], one.reader.waiting[2:]
        assert await one.hear() == []
        assert one.writer.take() == [WELCOME]
        tape.tools.note_live_model_call("0")
        one.reader.waiting = later
        assert await one.hear_next() == HELLO
        assert one.link.is_greeting
        heard: list[Message] = []

        async def hear() -> None:
            heard.extend([await one.hear_next() for _ in range(3)])

        async with anyio.create_task_group() as group:
            group.start_soon(hear)
            await anyio.lowlevel.checkpoint()
            assert await one.answer(LOG) == [LOG]
            assert await one.answer(make_answer(9)) == [make_answer(9)]
            await anyio.lowlevel.checkpoint()
            assert heard == []
            assert await one.answer(WELCOME) == []
        assert heard == [READY, make_call(1, "new"), make_call(2, "other")]
        assert not one.link.is_greeting
        assert await one.answer(make_answer(1)) == [make_answer(1)]
        assert one.link.make_greeting(make_call(3)) == []

    record(tmp_path)
    with use(tmp_path, "new") as tape:
        run(task)


def test_a_server_without_a_recorded_greeting_gets_none() -> None:
    link = Connection().link
    assert link.make_greeting(make_call(1)) == []
    assert link.session.has_server is True
    link = Connection().link
    link.session.greeting = [HELLO, READY]
    assert link.make_greeting(HELLO) == []
    assert link.is_greeting is False
    assert link.is_greeting_answer(WELCOME) is False


def test_compared_answers_are_given_as_they_were_recorded(tmp_path: Path) -> None:
    async def task() -> None:
        one = Connection(make_call(6))
        assert await one.hear() == [make_call(6)]
        ((function, seconds, number),) = one.tasks
        assert (function, number) == (one.link._send_later, 6)
        assert seconds >= 4.0
        assert await one.answer(make_answer(6, "other")) == [make_answer(6)]
        await function(0.0, 6)
        assert one.writer.take() == []
        one.link.session._late[7] = lambda: make_answer(7)
        await function(0.0, 7)
        assert one.writer.take() == [make_answer(7)]

    record(tmp_path)
    with use(tmp_path, "none", tools="compare") as tape:
        run(task)
    assert tape.counts.drifted == 1


def test_a_turn_is_carried_out_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def task() -> None:
        one = Connection()
        await one.link.follow(Turn(to_client=[LOG], lines=[b"no JSON"], wait_s=2.5, later=[(1.0, 5)]))
        log, problem = one.writer.take()
        assert log == LOG
        assert type(problem) is ValueError
        check_message(problem)
        assert one.writer.did == []
        assert one.tasks == [(one.link._send_later, 1.0, 5)]
        await one.link.follow(Turn(ends=True))
        assert one.writer.did == ["closed"]
        assert slept == [2.5, 0.0]
        one.link._start_task = None
        await one.link.follow(Turn(later=[(1.0, 6)]))
        assert len(one.tasks) == 1

    monkeypatch.setattr(
        streamable_http, "anyio", SimpleNamespace(**{**vars(anyio), "sleep": sleep, "Event": anyio.Event})
    )
    run(task)


# The patches of the SDK


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tool_addresses, "_urls", set())
    monkeypatch.setattr(tool_addresses, "_failed", set())
    monkeypatch.setattr(patches, "_make_message", SdkMessage)
    yield
    patches._links.clear()


def test_a_version_of_the_sdk_without_the_patched_places_is_noted(tmp_path: Path) -> None:
    old: Any = ModuleType("mcp.client.old")
    half: Any = ModuleType("mcp.client.half")
    half.StreamableHTTPTransport = type("Transport", (), {"post_writer": None})
    assert list(patches._patch_stdio(old)) == []
    with use(tmp_path, "all", tools="off") as tape:
        assert list(patches._patch_stdio(old)) == []
    assert tape.report.notes == []
    with use(tmp_path, "all") as tape:
        assert list(patches._patch_stdio(old)) == []
        assert list(patches._patch_http(old)) == []
        assert list(patches._patch_http(half)) == []
    assert len(tape.report.notes) == 3
    check_message(tape.report.notes)
    old._create_platform_compatible_process = None
    half.StreamableHTTPTransport.handle_get_stream = None
    assert [(patch.target, patch.name) for patch in patches._patch_stdio(old)] == [
        (old, "_create_platform_compatible_process")
    ]
    assert [(patch.target, patch.name) for patch in patches._patch_http(half)] == [
        (half.StreamableHTTPTransport, "post_writer"),
        (half.StreamableHTTPTransport, "handle_get_stream"),
    ]


def test_a_started_server_is_replaced_only_while_a_tape_is_in_use(tmp_path: Path) -> None:
    started: list[Any] = []

    async def real(*given: Any, **more: Any) -> Any:
        started.append((given, more))
        return "a process"

    start = patches._wrap_start(real)
    assert vars(start)["__wrapped__"] is real

    async def task() -> None:
        assert await start("orders", ["a"], None, "errors", cwd="x") == "a process"
        with use(tmp_path, "all", tools="off"):
            assert await start("orders", ["a"]) == "a process"
        with use(tmp_path, "all"):
            process: Any = await start("orders", ["a"], {"b": "c"}, "errors", "x")
        assert type(process).__name__ == RecordedProcess.__name__
        assert process.real == "a process"
        assert process.session._identity == "orders\na\nx"
        assert process.session._name({}) == "orders a"
        process.real = None
        await process.stdout.aclose()

    run(task)
    assert started == [
        (("orders", ["a"], None, "errors"), {"cwd": "x"}),
        (("orders", ["a"], None), {}),
        (("orders", ["a"], {"b": "c"}, "errors", "x"), {}),
    ]


def test_the_folder_of_a_server_is_the_fifth_argument_or_a_keyword() -> None:
    assert patches._find_folder((), {}) is None
    assert patches._find_folder(("errors",), {"cwd": "x"}) == "x"
    assert patches._find_folder(("errors", "y"), {}) == "y"


class Transport:
    """The class of the SDK that speaks to a server at an address."""

    def __init__(self) -> None:
        self.url = "http://127.0.0.1:8931/mcp?key=1"
        self.did: list[Any] = []
        self.fails = False

    async def post_writer(self, *given: Any) -> str:
        self.did.append(given)
        if self.fails:
            tool_addresses.note_failure(self.url)
            reader = given[1]
            async for _ in reader:
                self.did.append("message")
            raise ValueError("no connection")
        return "written"

    async def handle_get_stream(self, *given: Any) -> str:
        self.did.append(given)
        return "read"


def test_the_streams_of_a_connection_are_wrapped_while_a_tape_is_in_use(
    tmp_path: Path, addresses: None
) -> None:
    del addresses
    write = patches._wrap_post_writer(Transport.post_writer)
    read = patches._wrap_get_stream(Transport.handle_get_stream)
    group = SimpleNamespace(start_soon="start a task")

    async def task() -> None:
        transport = Transport()
        streams = (Stream(), Stream(), "write stream")
        assert await write(transport, "client", *streams, "get", group) == "written"
        with use(tmp_path, "all", tools="off"):
            assert await write(transport, "client", *streams, "get", group) == "written"
        assert await read(transport, "client", streams[1]) == "read"
        plain = ("client", *streams, "get", group)
        assert transport.did == [plain, plain, ("client", streams[1])]
        assert not tool_addresses.is_tool_address(transport.url)

        transport.did.clear()
        with use(tmp_path, "all"):
            assert await write(transport, "client", *streams, "get", group) == "written"
        ((client, reader, writer, *rest),) = transport.did
        assert (client, rest) == ("client", ["write stream", "get", group])
        assert (type(reader), reader._inner) == (FromClient, streams[0])
        assert (type(writer), writer._inner) == (ToClient, streams[1])
        link = patches._links[transport]
        assert reader._link is writer._link is link
        assert (link._to_client, link._start_task) == (streams[1], "start a task")
        assert (link.session._identity, link.session._name({})) == (transport.url, "localhost/mcp")
        assert link.session._is_over
        assert tool_addresses.is_tool_address("http://127.0.0.1:8931/mcp")
        assert tool_addresses.is_tool_host("127.0.0.1")
        assert not tool_addresses.is_tool_host("127.0.0.2")
        assert patches._find_link(transport) is link

        transport.did.clear()
        assert await read(transport, "client", streams[1]) == "read"
        ((client, writer),) = transport.did
        assert (client, type(writer), writer._inner, writer._link) == ("client", ToClient, streams[1], link)

    run(task)


def test_a_call_whose_connection_fails_is_not_recorded(tmp_path: Path, addresses: None) -> None:
    del addresses
    write = patches._wrap_post_writer(Transport.post_writer)
    group = SimpleNamespace(start_soon=None)

    async def task() -> None:
        transport = Transport()
        transport.fails = True
        with use(tmp_path, "all") as tape, pytest.raises(ValueError, match="no connection"):
            await write(transport, "client", Stream(make_call(1)), Stream(), None, None, group)
        assert transport.did[1:] == ["message"]
        assert tape.counts.recorded == 0
        assert not (tmp_path / "a.json").exists()
        assert not tool_addresses.take_failure(transport.url)

    run(task)


def test_an_unreachable_server_is_an_error_by_which_its_client_goes_on() -> None:
    call = encode_json(make_call(3))
    assert tool_addresses.answer_unreachable("GET", b"", "down") == (405, b"")
    assert tool_addresses.answer_unreachable("POST", encode_json(READY), "down") == (202, b"")
    assert tool_addresses.answer_unreachable("POST", encode_json(make_answer(1)), "down") == (202, b"")
    assert tool_addresses.answer_unreachable("POST", b"[", "down") == (202, b"")
    status, body = tool_addresses.answer_unreachable("POST", call, "down")
    answer = parse_message(body)
    assert answer is not None
    check_message(answer["error"].pop("message"))
    assert (status, answer) == (200, {"jsonrpc": "2.0", "id": 3, "error": {"code": -32000}})


def test_addresses_are_compared_without_their_query_and_last_slash(addresses: None) -> None:
    del addresses
    assert not tool_addresses.is_tool_address("http://a/mcp")
    tool_addresses.add_address("http://a/mcp/?key=1")
    assert tool_addresses.is_tool_address("http://a/mcp?key=2")
    assert not tool_addresses.is_tool_address("http://a/other")
    assert not tool_addresses.take_failure("http://a/mcp")
    tool_addresses.note_failure("http://a/mcp?x")
    assert tool_addresses.take_failure("http://a/mcp/")
    assert not tool_addresses.take_failure("http://a/mcp/")
