"""A program that lists the tools of an MCP server by the official SDK `mcp`, version 1 or 2, and ends the server.

It runs in a process of its own: the SDK and its event loop stay out of the process of the tests. It reads what to do as JSON from its
standard input, and writes one line of JSON to its standard output: ``{"tools": [...]}`` or ``{"problem": "..."}``. The standard error of
the server goes to the standard error of this process.
"""

import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

NO_SDK = "no SDK"  # the problem if `mcp` is not installed
TIME_OUT = "time-out"  # the problem if the server does not answer in time
MAX_PAGES = 1_000  # a server that always gives a further page is not followed for ever


def main() -> None:
    """Read the request, list the tools, and write them, or what went wrong."""
    request = json.loads(sys.stdin.read())
    logging.disable()  # the SDK logs each line of a server that is not JSON; standard error is for the server
    try:
        import anyio
        import mcp  # noqa: F401 -- only whether it is there
    except ModuleNotFoundError:
        _write({"problem": NO_SDK})
        return
    try:
        tools = anyio.run(_list_tools, request)
    except BaseException as error:  # noqa: BLE001 -- whatever the SDK raises is the answer
        _write({"problem": _describe(error)})
        return
    _write({"tools": tools})


def _write(answer: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")


def _describe(error: BaseException) -> str:
    """Return what went wrong; of a group of exceptions, the first that is not a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return TIME_OUT
    return f"{type(error).__name__}: {error}"


async def _list_tools(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tools of all pages of the server's list.

    Raises:
        TimeoutError: The server did not answer in time.
        ValueError: Its list has no end.
    """
    import anyio

    tools: list[dict[str, Any]] = []
    with anyio.fail_after(request["timeout_s"]):
        async with _connect(request) as session:
            params = None
            for _ in range(MAX_PAGES):
                page = await session.list_tools(params=params)
                tools += [
                    tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in page.tools
                ]
                cursor = _read_cursor(page)
                if not cursor:
                    return tools
                params = _make_params(cursor)
    raise ValueError(f"the list of tools has more than {MAX_PAGES:,} pages")


def _read_cursor(page: Any) -> Any:
    if hasattr(page, "next_cursor"):
        return page.next_cursor
    return page.nextCursor  # version 1 of the SDK


def _make_params(cursor: str) -> Any:
    from mcp import types

    return types.PaginatedRequestParams(cursor=cursor)


@asynccontextmanager
async def _connect(request: Mapping[str, Any]) -> AsyncIterator[Any]:
    """Start the server, or connect to its URL, and yield a session with it; at the end its process is ended."""
    import mcp

    async with AsyncExitStack() as stack:
        transport: Any
        if request["url"]:
            transport = await _open_url(request["url"], request["headers"], stack)
        else:
            command, *args = request["command"]
            server = mcp.StdioServerParameters(
                command=command, args=args, env=dict(os.environ), cwd=request["folder"]
            )
            transport = mcp.stdio_client(server)
        if hasattr(mcp, "Client"):  # version 2: agrees with the server on a version of the protocol
            client = await stack.enter_async_context(mcp.Client(transport))
            yield client.session
            return
        read, write, *_ = await stack.enter_async_context(transport)
        session = await stack.enter_async_context(mcp.ClientSession(read, write))
        await session.initialize()
        yield session


async def _open_url(url: str, headers: Mapping[str, str], stack: AsyncExitStack) -> Any:
    """Return the transport to a server that is reached by Streamable HTTP."""
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import (
        create_mcp_http_client,
    )  # the client of the SDK's own version, with its time-outs

    if not headers:
        return streamable_http_client(url)
    client = await stack.enter_async_context(create_mcp_http_client(headers=dict(headers)))
    return streamable_http_client(url, http_client=client)


if __name__ == "__main__":
    main()
