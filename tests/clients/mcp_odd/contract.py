"""The private names of the SDK that are patched, and what the SDK does with a process: run with each major."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from types import ModuleType
from typing import Any

import anyio
import pytest
from anyio.abc import Process
from mcp.client import stdio, streamable_http
from mcp.os.posix.utilities import terminate_posix_process_tree

from pytest_llmops.cassettes import current_tape
from pytest_llmops.cassettes.mcp import patches
from pytest_llmops.cassettes.mcp.session import McpSession
from pytest_llmops.cassettes.mcp.stdio import NO_PROCESS, RecordedProcess


def list_parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_the_patched_names_have_the_known_arguments() -> None:
    assert stdio.__name__ == patches.STDIO_MODULE
    assert streamable_http.__name__ == patches.HTTP_MODULE
    start = getattr(stdio, patches.START_NAME)
    assert inspect.iscoroutinefunction(start)
    assert list_parameters(start) == ["command", "args", "env", "errlog", "cwd"]
    transport = streamable_http.StreamableHTTPTransport
    parts = [
        "self",
        "client",
        "write_stream_reader",
        "read_stream_writer",
        "write_stream",
        "start_get_stream",
        "tg",
    ]
    assert list_parameters(transport.post_writer) == parts
    assert list_parameters(transport.handle_get_stream) == ["self", "client", "read_stream_writer"]
    assert transport("http://127.0.0.1/mcp").url == "http://127.0.0.1/mcp"


def test_the_stand_in_is_a_process_that_ends_as_one() -> None:
    async def run() -> None:
        process = RecordedProcess(McpSession(lambda _: "a", "a"), _refuse)
        assert isinstance(process, Process)
        assert _read_status(process) is None
        assert process.pid == NO_PROCESS
        assert process.stderr is None
        await process.stdin.aclose()
        assert _read_status(process) == 0
        assert await process.wait() == 0
        with pytest.raises(anyio.EndOfStream):
            await process.stdout.receive()
        with pytest.raises(anyio.ClosedResourceError):
            await process.stdin.send(b"{}\n")
        await process.aclose()

    asyncio.run(run())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_no_signal_reaches_a_process(backend: str) -> None:
    """The SDK ends a server that does not end by itself with signals to its process group: never to ours."""
    targets: list[int] = []
    is_watching = [True]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("os.kill", "os.killpg") and is_watching:
            targets.append(arguments[0])

    async def run() -> None:
        process = RecordedProcess(McpSession(lambda _: "a", "a"), _refuse)
        await terminate_posix_process_tree(process, 0.1)
        process.kill()
        assert process.returncode is not None
        await process.aclose()

    sys.addaudithook(watch)
    try:
        anyio.run(run, backend=backend)
    finally:
        is_watching.clear()
    assert set(targets) <= {NO_PROCESS}
    with pytest.raises(ProcessLookupError):
        os.kill(NO_PROCESS, 0)


@pytest.mark.llm_cassette
@pytest.mark.parametrize("name", [patches.STDIO_MODULE, patches.HTTP_MODULE])
def test_a_version_without_the_names_is_noted(name: str) -> None:
    make = {patches.STDIO_MODULE: patches._patch_stdio, patches.HTTP_MODULE: patches._patch_http}[name]
    assert list(make(ModuleType(name))) == []
    tape = current_tape()
    assert tape is not None
    (note,) = tape.report.notes
    assert note.startswith(f"MCP servers are not recorded: {name} of this version of mcp has no ")


async def _refuse() -> Any:
    raise AssertionError("a server was started")


def _read_status(process: RecordedProcess) -> int | None:
    return process.returncode
