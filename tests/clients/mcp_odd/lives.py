"""Connections that outlive a test, a trial or a block. Each test notes what the server has added up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

import pytest_llmops
from pytest_llmops.cassettes import current_tape

SERVER = str(Path(__file__).with_name("server.py"))


@asynccontextmanager
async def connect() -> AsyncIterator[ClientSession]:
    env = {"ODD_STARTED": os.environ["ODD_STARTED"]}
    parameters = StdioServerParameters(command=os.environ["ODD_PYTHON"], args=[SERVER, "plain"], env=env)
    async with stdio_client(parameters) as streams, ClientSession(*streams) as session:
        await session.initialize()
        yield session


async def add(session: ClientSession, x: int) -> None:
    result: Any = await session.call_tool("add", {"x": x})
    note(result.content[0].text)


def note(text: str) -> None:
    test = os.environ["PYTEST_CURRENT_TEST"].partition("::")[2].split()[0]
    with Path(os.environ["ODD_NOTES"]).open("a", encoding="utf-8") as file:
        print(test, text, file=file)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def wide(anyio_backend: str) -> AsyncIterator[ClientSession]:
    async with connect() as session:
        yield session


@pytest.mark.anyio
@pytest.mark.llm_cassette
async def test_first(wide: ClientSession) -> None:
    await add(wide, 1)
    await add(wide, 1)


@pytest.mark.anyio
@pytest.mark.llm_cassette
async def test_second(wide: ClientSession) -> None:
    await add(wide, 1)


@pytest.mark.anyio
@pytest.mark.llm_cassette
@pytest.mark.llm_trials(2)
async def test_trials(wide: ClientSession) -> None:
    await add(wide, 1)


if os.environ.get("ODD_NEW_TEST"):

    @pytest.mark.anyio
    @pytest.mark.llm_cassette
    async def test_new(wide: ClientSession) -> None:
        await add(wide, 100)


@pytest.mark.llm_cassette
def test_own() -> None:
    async def run() -> None:
        async with connect() as session:
            await add(session, 7)

    asyncio.run(run())


@pytest.mark.llm_cassette
def test_block() -> None:
    async def run() -> None:
        with pytest_llmops.use_cassette("block"):
            async with connect() as session:
                await add(session, 8)

    asyncio.run(run())


@pytest.mark.llm_cassette
def test_no_connection() -> None:
    """A server that is not up is no answer: nothing is recorded, so the next run asks again."""
    tape = current_tape()
    assert tape is not None

    async def run() -> None:
        url = "http://127.0.0.1:9/mcp"
        async with streamable_http_client(url) as streams, ClientSession(*streams[:2]) as session:
            await session.initialize()

    if tape.mode == "none":
        return
    with pytest.raises(ExceptionGroup):
        asyncio.run(run())
    assert "is the server up?" in str(tape.report.notes)
    assert not tape.player.given.counts
