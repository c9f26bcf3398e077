"""What a client asks odd servers: each scenario gives all that the client has seen, in JSON."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

SERVER = str(Path(__file__).with_name("server.py"))
IS_V1 = hasattr(types.JSONRPCMessage, "model_validate")
OUT = Path(os.environ["ODD_OUT"])
URLS = json.loads(os.environ.get("ODD_URLS", "{}"))
PYTHON = os.environ["ODD_PYTHON"]  # not there on replay
TRANSPORT = ["stdio"]  # the last one counts
Seen = list[Any]


def show(value: Any) -> Any:
    """Return what a client has got, as JSON."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, BaseException):
        if isinstance(value, BaseExceptionGroup):
            return [show(error) for error in value.exceptions]
        return f"{type(value).__name__}: {value}"
    return value


@asynccontextmanager
async def open_streams(mode: str, *args: str) -> AsyncIterator[Any]:
    if TRANSPORT[-1] == "http":
        async with streamable_http_client(URLS[mode]) as streams:
            yield streams[:2]
        return
    env = {"ODD_STARTED": os.environ["ODD_STARTED"]} if "ODD_STARTED" in os.environ else None
    parameters = StdioServerParameters(command=PYTHON, args=[SERVER, mode, *args], env=env)
    async with stdio_client(parameters) as streams:
        yield streams


@asynccontextmanager
async def open_session(mode: str, *args: str, **callbacks: Any) -> AsyncIterator[Any]:
    async with open_streams(mode, *args) as streams, ClientSession(*streams, **callbacks) as session:
        await session.initialize()
        yield session


async def call(session: Any, name: str, *, seconds: float = 10, **arguments: Any) -> Any:
    """Return the result of a call, or its error."""
    limit: Any = timedelta(seconds=seconds) if IS_V1 else seconds
    try:
        return show(await session.call_tool(name, arguments, read_timeout_seconds=limit))
    except Exception as error:  # noqa: BLE001 -- whatever the client sees
        return show(error)


async def tools() -> Seen:
    async with open_session("plain") as session:
        names = [tool.name for tool in (await session.list_tools()).tools]
        seen: Seen = [names]
        for name in ("odd_texts", "binary", "structured", "fail", "unknown", "log"):
            seen.append(await call(session, name))
        seen.append(await call(session, "surrogate", seconds=0.3))  # the SDK refuses the line, and waits
        seen.append(await call(session, "add", x=1))
        seen.append(await call(session, "add", x=1))
        seen.append(await asyncio.gather(*(call(session, "add", x=number) for number in (5, 5, 6))))
        seen[-1] = sorted(json.dumps(result) for result in seen[-1])
        return seen


async def progress() -> Seen:
    seen: Seen = []

    async def note(*values: Any) -> None:
        seen.append(values)

    async with open_session("plain") as session:
        for _ in range(2):
            result = await session.call_tool("progress", {}, progress_callback=note)
            seen.append(show(result))
        return seen


async def questions() -> Seen:
    """The server asks the client."""
    seen: Seen = []

    async def sample(_: Any, params: Any) -> Any:
        text = params.messages[0].content.text
        seen.append(f"asked {text}")
        async with httpx.AsyncClient() as client:  # a call of a model while the tool waits
            body = {"model": "m", "messages": [{"role": "user", "content": text}]}
            answer = await client.post(f"{os.environ['ODD_MODEL']}/v1/chat/completions", json=body)
        reply = answer.json()["choices"][0]["message"]["content"]
        content = types.TextContent(type="text", text=f"{reply} to {text}")
        return types.CreateMessageResult(role="assistant", content=content, model="m")

    async def elicit(_: Any, params: Any) -> Any:
        seen.append(f"asked {params.message}")
        return types.ElicitResult(action="accept", content={"a": 1})

    async def list_roots(_: Any) -> Any:
        seen.append("asked for roots")
        return types.ListRootsResult(roots=[])

    callbacks = {
        "sampling_callback": sample,
        "elicitation_callback": elicit,
        "list_roots_callback": list_roots,
    }
    async with open_session("plain", **callbacks) as session:
        seen.append(await call(session, "ask", questions=["one", "two"]))
        seen.append(await call(session, "elicit"))
        seen.append(await call(session, "roots"))
    async with open_session("plain") as session:  # without callbacks
        seen.append(await call(session, "ask", questions=["three"]))
    return seen


async def changing() -> Seen:
    notices: Seen = []

    async def note(message: Any) -> None:
        notices.append(type(getattr(message, "root", message)).__name__)

    async with open_session("changing", message_handler=note) as session:
        seen: Seen = []
        for _ in range(2):
            seen.append([tool.name for tool in (await session.list_tools()).tools])
            seen.append(await call(session, "add"))
        seen.append([tool.name for tool in (await session.list_tools()).tools])
        return [*seen, notices]


async def notices() -> Seen:
    async with open_session("notices") as session:
        seen = [[tool.name for tool in (await session.list_tools()).tools] for _ in range(2)]
        return [*seen, await call(session, "add")]


async def pages() -> Seen:
    async with open_session("pages") as session:
        seen: Seen = []
        cursor: str | None = None
        while True:
            if IS_V1:
                page = await session.list_tools(cursor)
            else:
                page = await session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
            seen += [tool.name for tool in page.tools]
            cursor = page.nextCursor if IS_V1 else page.next_cursor
            if not cursor:
                return seen


async def banner() -> Seen:
    async with open_session("banner") as session:
        return [await call(session, "add")]


async def version() -> Seen:
    try:
        async with open_session("version") as session:
            return [await call(session, "add")]
    except BaseExceptionGroup as errors:
        return [show(errors)]
    except Exception as error:  # noqa: BLE001 -- whatever the client sees
        return [show(error)]


async def dies_at_once() -> Seen:
    try:
        with anyio.fail_after(15):
            async with open_session("dies_at_once") as session:
                return [await call(session, "add")]
    except BaseExceptionGroup as errors:
        return [show(errors)]
    except Exception as error:  # noqa: BLE001 -- whatever the client sees
        return [show(error)]


async def dies_during() -> Seen:
    async with open_session("plain") as session:
        seen = [await call(session, "add")]
        with anyio.move_on_after(10):
            seen.append(await call(session, "die"))
        return seen


async def dies_between() -> Seen:
    seen: Seen = []
    async with open_session("dies_between") as session:
        await session.list_tools()  # otherwise the SDK asks for them after the first call
        seen.append(await call(session, "add"))
        await anyio.sleep(0.3)
        with anyio.move_on_after(10):
            seen.append(await call(session, "add"))
    return seen


async def hangs() -> Seen:
    async with open_session("plain") as session:
        seen = [await call(session, "hang", seconds=0.2)]
        seen.append(await call(session, "add"))
        with anyio.move_on_after(0.2) as scope:
            await call(session, "hang", n=2)
        seen.append(scope.cancelled_caught)
        seen.append(await call(session, "add"))
        return seen


async def no_command() -> Seen:
    parameters = StdioServerParameters(command="no-such-command-of-mcp", args=["x"])
    try:
        async with stdio_client(parameters) as (reader, writer), ClientSession(reader, writer) as session:
            await session.initialize()
    except BaseExceptionGroup as errors:
        return [show(errors)]
    except Exception as error:  # noqa: BLE001 -- whatever the client sees
        return [show(error)]
    return ["no error"]


async def two_clients() -> Seen:
    async with open_session("plain") as first, open_session("plain") as second:
        return [
            await call(first, "add", x=1),
            await call(second, "add", x=1),
            await call(first, "add", x=10),
            await call(second, "add", x=20),
            await call(second, "add", x=1),
        ]


async def labels() -> Seen:
    first_args, second_args = ("--api-key", "sk-a-b-c"), ("--api-key", "other")
    async with open_session("plain", *first_args) as first, open_session("plain", *second_args) as second:
        return [
            await call(second, "add", x=1),
            await call(first, "add", x=100),
            await call(second, "add", x=1),
            await call(first, "add", x=1),
        ]


async def big() -> Seen:
    async with open_session("plain") as session:
        size = 900_000 if TRANSPORT[-1] == "http" else 5_000_000  # the SDK reads no longer event
        result = await session.call_tool("big", {"size": size})
        return [len(result.content[0].text)]


async def secrets() -> Seen:
    async with open_session("plain") as session:
        result = await call(session, "whoami", token="sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD")
        return [type(result).__name__]


HTTP = [
    "tools",
    "progress",
    "questions",
    "changing",
    "notices",
    "pages",
    "version",
    "hangs",
    "two_clients",
    "big",
]
STDIO = [
    *HTTP,
    "banner",
    "dies_at_once",
    "dies_during",
    "dies_between",
    "no_command",
    "labels",
    "secrets",
]


def save(name: str, seen: Seen) -> None:
    (OUT / f"{name}.json").write_text(json.dumps(seen), encoding="utf-8")


@pytest.mark.llm_cassette
@pytest.mark.parametrize(
    ("transport", "name"), [*(("stdio", name) for name in STDIO), *(("http", name) for name in HTTP)]
)
def test_scenario(transport: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "TRANSPORT", [transport])
    save(f"{transport}-{name}", asyncio.run(globals()[name]()))


@pytest.mark.llm_cassette
def test_trio() -> None:
    save("trio", anyio.run(progress, backend="trio"))


@pytest.mark.llm_cassette
def test_thread() -> None:
    seen: list[Seen] = []
    thread = threading.Thread(target=lambda: seen.append(asyncio.run(progress())))
    thread.start()
    thread.join()
    save("thread", seen)


def test_unmarked() -> None:
    """Without the marker nothing is recorded, so it is not run on replay."""
    if os.environ.get("ODD_LIVE"):
        assert asyncio.run(progress())
