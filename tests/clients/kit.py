"""What the scripts of the clients share: the scenarios that are the same for all of them, and plain results.

A script has ``ROWS``: for each client its scenarios by name, each a function of the server's address that
returns what the application gets to see. ``plain: raw`` is one of two under the column ``plain``.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

KEY = "credential-of-the-client"
COLUMNS = (
    "plain",
    "stream",
    "left early",
    "first token",
    "async",
    "async stream",
    "concurrent",
    "threads",
    "repeats",
    "tools",
    "structured",
    "embeddings",
    "error",
    "retry",
    "compressed",
    "large",
    "binary",
    "form",
    "redirect",
)
TOOL = "look_up"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}

Scenario = Callable[[str], object]
Ask = Callable[[str, str], object]
AsyncAsk = Callable[[str, str], Awaitable[object]]


class Phase:
    """What the process is here for."""

    server = True
    """Whether there is one."""


def plain(value: Any) -> Any:
    """A result as JSON can hold it."""
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": len(value), "sha": hashlib.sha256(value).hexdigest()[:16]}
    if isinstance(value, str) and len(value) > 2_000:
        return {"text": len(value), "sha": hashlib.sha256(value.encode()).hexdigest()[:16]}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    return value if value is None or isinstance(value, (str, int, float, bool)) else repr(value)


def received(url: str, name: str) -> None:
    """Tell the server, past every recorder, that the first event has come."""
    if not Phase.server:
        return
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 80)) as connection:
        connection.sendall(
            f"GET /received/{name} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n".encode()
        )
        while connection.recv(4096):
            pass


def error(call: Callable[[], object]) -> object:
    """What an application sees of an error."""
    try:
        call()
    except Exception as caught:  # noqa: BLE001 -- every client has its own
        status = getattr(caught, "status_code", getattr(caught, "code", None))
        # Cohere's text holds the headers too, of which a recording keeps a few.
        text = getattr(caught, "body", None) or format_error(caught)
        return [type(caught).__name__, status if isinstance(status, int) else str(status), text]
    return "no error"


def format_error(caught: BaseException) -> str:
    """The text of an error, without what differs from run to run."""
    text = str(caught)
    return "loopback".join(text.split(_address(text))) if "127.0.0.1:" in text else text


def _address(text: str) -> str:
    start = text.index("127.0.0.1:")
    end = start + len("127.0.0.1:")
    while end < len(text) and text[end].isdigit():
        end += 1
    return text[start:end]


def row(ask: Ask, name: str, *, packed: bool = True) -> dict[str, Scenario]:
    """The scenarios of every client that answers a question with a text."""

    def threads(url: str) -> object:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda n: ask(url, f"{name} thread {n}"), range(8)))

    def crossing(url: str) -> object:
        texts = [f"first of two {name} threads", f"second of two {name} threads", f"{name} third"]
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(lambda text: ask(url, text), texts))

    scenarios: dict[str, Scenario] = {
        "plain": lambda url: ask(url, f"{name} one two"),
        "repeats": lambda url: [ask(url, f"{name} again") for _ in range(3)],
        "error": lambda url: error(lambda: ask(url, f"missing {name}")),
        "retry": lambda url: ask(url, f"limited {name}"),
        "large": lambda url: ask(url, f"{name} " + "large " * 20_000),
        "threads": threads,
        "concurrent: threads": crossing,
    }
    if packed:
        scenarios["compressed: gzip"] = lambda url: ask(f"{url}/~gzip", f"{name} packed")
        scenarios["compressed: deflate"] = lambda url: ask(f"{url}/~deflate", f"{name} packed")
    return scenarios


def async_row(
    ask: AsyncAsk, name: str, run: Callable[[Coroutine[Any, Any, object]], Any] = asyncio.run
) -> dict[str, Scenario]:
    """The scenarios of every client that can be awaited."""

    async def gather(url: str, *texts: str) -> list[object]:
        return await asyncio.gather(*(ask(url, text) for text in texts))

    def crossing(url: str) -> object:
        texts = [f"first of two {name}", f"second of two {name}", f"{name} async third"]
        return run(gather(url, *texts))

    def repeats(url: str) -> object:
        return sorted(map(str, run(gather(url, *[f"{name} async again"] * 4))))

    async def awaited(url: str, text: str) -> object:
        return await ask(url, text)

    return {
        "async": lambda url: run(awaited(url, f"{name} async")),
        "concurrent: gather": crossing,
        "repeats: gather": repeats,
    }
