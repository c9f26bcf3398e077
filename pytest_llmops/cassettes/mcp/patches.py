"""Patches of the official SDK for MCP: the two places that all of its clients pass, in version 1 and 2.

Neither is a documented API; a contract test holds both against the supported versions.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from types import ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pytest_llmops.cassettes import tool_addresses
from pytest_llmops.cassettes.active_tape import current_tape
from pytest_llmops.cassettes.late_patches import LatePatches
from pytest_llmops.cassettes.mcp import server_names
from pytest_llmops.cassettes.mcp.messages import Message
from pytest_llmops.cassettes.mcp.session import McpSession
from pytest_llmops.cassettes.patch import Patch

if TYPE_CHECKING:
    from pytest_llmops.cassettes.mcp.streamable_http import HttpLink

STDIO_MODULE = "mcp.client.stdio"
HTTP_MODULE = "mcp.client.streamable_http"
START_NAME = "_create_platform_compatible_process"
HTTP_METHODS = ("post_writer", "handle_get_stream")


def mcp_patches() -> LatePatches:
    """Return the patches of the SDK, which is not imported for them."""
    return LatePatches({STDIO_MODULE: _patch_stdio, HTTP_MODULE: _patch_http})


def _patch_stdio(module: ModuleType) -> Iterator[Patch]:
    """Yield the patch of the function that starts a server."""
    if not hasattr(module, START_NAME):
        _note_unsupported(module, START_NAME)
        return
    yield Patch(module, START_NAME, _wrap_start)


def _patch_http(module: ModuleType) -> Iterator[Patch]:
    """Yield the patches of the class that speaks to a server at an address."""
    transport = getattr(module, "StreamableHTTPTransport", None)
    for name in HTTP_METHODS:
        if not hasattr(transport, name):
            _note_unsupported(module, name)
            return
    yield Patch(transport, HTTP_METHODS[0], _wrap_post_writer)
    yield Patch(transport, HTTP_METHODS[1], _wrap_get_stream)


def _note_unsupported(module: ModuleType, name: str) -> None:
    """Note in the report of the test that this version of the SDK cannot be recorded."""
    tape = current_tape()
    if tape is not None and tape.uses_tools():
        tape.note_once(
            f"MCP servers are not recorded: {module.__name__} of this version of mcp has no {name}; update pytest-llmops"
        )


def _wrap_start(real: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the function that starts a server: while a tape is in use, a replacement is returned."""

    @functools.wraps(real)
    async def start(
        command: str,
        args: Sequence[str],
        env: Mapping[str, str] | None = None,
        *rest: Any,
        **more: Any,
    ) -> Any:
        tape = current_tape()
        if tape is None or not tape.uses_tools():
            return await real(command, args, env, *rest, **more)
        from pytest_llmops.cassettes.mcp.stdio import RecordedProcess

        folder = _find_folder(rest, more)
        session = McpSession(
            lambda names: server_names.name_command(command, args, names),
            server_names.describe_process(command, args, folder),
        )
        process = RecordedProcess(session, lambda: real(command, args, env, *rest, **more))
        await session.start(process.start_now)
        return process

    return start


def _find_folder(rest: Sequence[Any], more: Mapping[str, Any]) -> str | PurePath | None:
    """Return the working folder among the arguments of the function that starts a server: the fifth, or a keyword."""
    if len(rest) > 1:
        folder: str | PurePath | None = rest[1]
        return folder
    return more.get("cwd")


def _make_message(message: Message) -> Any:
    """Return a message of the SDK, of version 1 or 2, from JSON."""
    from mcp import types
    from mcp.shared.message import SessionMessage

    if hasattr(types.JSONRPCMessage, "model_validate"):  # version 1; both may be on the path
        return SessionMessage(types.JSONRPCMessage.model_validate(message))
    from mcp_types import jsonrpc_message_adapter

    return SessionMessage(jsonrpc_message_adapter.validate_python(message, by_name=False))


# The connection of each transport that is in use
_links: "WeakKeyDictionary[Any, HttpLink]" = WeakKeyDictionary()


def _find_link(transport: Any) -> "HttpLink":
    """Return the connection of a transport."""
    from pytest_llmops.cassettes.mcp.streamable_http import HttpLink

    link = _links.get(transport)
    if link is None:
        url = str(transport.url)
        tool_addresses.add_address(url)
        session = McpSession(lambda names: server_names.name_url(url, names), url)
        link = HttpLink(session, _make_message)
        _links[transport] = link
    return link


def _wrap_post_writer(real: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the method that sends the client's messages."""

    @functools.wraps(real)
    async def post_writer(self: Any, client: Any, *parts: Any) -> Any:
        tape = current_tape()
        if tape is None or not tape.uses_tools():
            return await real(self, client, *parts)
        from pytest_llmops.cassettes.mcp.streamable_http import FromClient, ToClient

        reader, writer, write_stream, start_get_stream, group = parts
        link = _find_link(self)
        link.open(writer, group.start_soon)
        streams = (FromClient(reader, link), ToClient(writer, link), write_stream)
        try:
            return await real(self, client, *streams, start_get_stream, group)
        finally:
            if tool_addresses.take_failure(str(self.url)):
                link.session.abandon()
            link.session.end(by_server=False)

    return post_writer


def _wrap_get_stream(real: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the method that receives messages that the server sends without a request."""

    @functools.wraps(real)
    async def handle_get_stream(self: Any, client: Any, writer: Any) -> Any:
        link = _links.get(self)
        if link is None:
            return await real(self, client, writer)
        from pytest_llmops.cassettes.mcp.streamable_http import ToClient

        return await real(self, client, ToClient(writer, link))

    return handle_get_stream
