"""Addresses of MCP servers whose messages are recorded: the HTTP recorder ignores their requests."""

import json
from urllib.parse import urlsplit

from pytest_llmops._util.json_values import as_mapping, parse_json

UNREACHABLE = -32000  # a code of JSON-RPC for errors of an implementation

_urls: set[str] = set()
_failed: set[str] = set()  # addresses to which a connection has failed


def add_address(url: str) -> None:
    """Note that an address is one of an MCP server, from now on."""
    _urls.add(_without_query(url))


def is_tool_address(url: str) -> bool:
    """Return whether an address is one of an MCP server."""
    return bool(_urls) and _without_query(url) in _urls


def note_failure(url: str) -> None:
    """Note that a request to an address has failed, as no connection could be made or it broke."""
    _failed.add(_without_query(url))


def take_failure(url: str) -> bool:
    """Return whether a request to an address has failed since the last call of this function."""
    has_failed = _without_query(url) in _failed
    _failed.discard(_without_query(url))
    return has_failed


def is_tool_host(host: str) -> bool:
    """Return whether an MCP server is at a host."""
    return any(urlsplit(url).hostname == host for url in _urls)


def answer_unreachable(method: str, body: bytes, why: str) -> tuple[int, bytes]:
    """Return the status and the body of an answer for a server that cannot be reached, by which its client goes on.

    A request gets an error, for which the session gives the recorded answer; a stream of the server is not offered.

    Args:
        method: The method of the HTTP request.
        body: Its body, a message of MCP.
        why: What went wrong.
    """
    if method == "GET":
        return 405, b""
    request = as_mapping(parse_json(body))
    if "id" not in request or "method" not in request:
        return 202, b""
    error = {"code": UNREACHABLE, "message": f"the server cannot be reached: {why}"}
    return 200, json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode()


def _without_query(url: str) -> str:
    """Return an address without its query, and without the slash at its end, which servers add by a redirect."""
    return url.partition("?")[0].rstrip("/")
