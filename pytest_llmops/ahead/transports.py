"""Send a request of httpx or httpx2 through connections of our own.

The client of the test cannot be used: an asynchronous one belongs to an event loop that has ended, and another is closed by
the test's tear-down. What is copied of it is private to httpcore, and covered by a contract test.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pytest_llmops.cassettes.http.live_response import STREAM_CONTENT_TYPES, TIMING_DIGITS, limit_silence
from pytest_llmops.cassettes.response import Answer
from pytest_llmops.wire.content_encoding import decode_body
from pytest_llmops.wire.untrusted_documents import DocumentError

KEPT_POOLS = 32
"""Idle pools of connections that stay open: a client that each test creates anew over TLS has a pool of its own."""
_OWN_STATE = (
    "_connections", "_requests", "_optional_thread_lock", "_network_backend", "_max_connections",
    "_max_keepalive_connections",
)  # fmt: skip
"""Attributes of a pool that are not copied."""
_BACKENDS = frozenset({"AutoBackend", "SyncBackend"})
_DROPPED_HEADERS = frozenset({"content-length", "content-encoding", "transfer-encoding"})


def why_not_copied(module: Any, transport: Any) -> str:
    """Return why requests of a transport cannot be sent without it, or ""."""
    if type(transport) not in (module.HTTPTransport, module.AsyncHTTPTransport):
        return f"its client has a transport of its own ({type(transport).__name__})"
    pool = transport._pool  # noqa: SLF001 -- the only place of the configuration
    if type(pool).__module__.partition(".")[0] not in ("httpcore", "httpcore2"):
        return f"its client has connections of its own ({type(pool).__name__})"
    backend = type(pool._network_backend).__name__  # noqa: SLF001 -- as above
    return "" if backend in _BACKENDS else f"its client has a network of its own ({backend})"


@dataclass(slots=True)
class _Pool:
    pool: Any
    like: Any
    """The pool that it is like: alive, as it is recognized by the identity of its SSL context."""
    in_use: int = 0


@dataclass(slots=True)
class Connections:
    """Pools of connections, one for each configuration of a client.

    Args:
        width: Maximum number of connections of a pool.
    """

    width: int
    _pools: OrderedDict[tuple[Any, ...], _Pool] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, transport: Any, request: Any) -> Answer:
        """Send a request of httpx, whose body has been read, and return the whole answer.

        Raises:
            Exception: What httpcore raises: no connection, a time-out, a cut answer.
        """
        like = transport._pool  # noqa: SLF001 -- as above
        core = sys.modules[type(like).__module__.partition(".")[0]]
        url, timeouts = request.url, request.extensions.get("timeout", {})
        limits = {**timeouts, "read": limit_silence(timeouts.get("read"))}
        raw = core.Request(
            method=request.method,
            url=core.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.content,
            extensions={"timeout": limits},
        )
        started, first, chunks = time.perf_counter(), None, []
        with self._use_pool(core, like, url.scheme) as pool:
            response = pool.handle_request(raw)
            try:
                for chunk in response.stream:
                    first = first or time.perf_counter()
                    chunks.append(chunk)
            finally:
                response.close()
        took = time.perf_counter() - started
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
        }
        kind, ttft = headers.get("content-type", "").lower(), None
        if first is not None and any(name in kind for name in STREAM_CONTENT_TYPES):
            ttft = round(first - started, TIMING_DIGITS)
        return _make_answer(response.status, headers, b"".join(chunks), round(took, TIMING_DIGITS), ttft)

    @contextmanager
    def _use_pool(self, core: Any, like: Any, scheme: str) -> Iterator[Any]:
        config = vars(like)
        context = id(config.get("_ssl_context")) if scheme == "https" or "_proxy_url" in config else 0
        shown = [repr(config.get(name)) for name in ("_uds", "_local_address", "_http2", "_socket_options")]
        key = (core.__name__, type(like).__name__, context, id(like) if "_proxy_url" in config else 0, *shown)
        with self._lock:
            held = self._pools.get(key)
            if held is None:
                held = self._pools[key] = _Pool(self._copy_pool(core, like), like)
            self._pools.move_to_end(key)
            held.in_use += 1
        try:
            yield held.pool
        finally:
            with self._lock:
                held.in_use -= 1
                idle = [key for key, other in self._pools.items() if not other.in_use]
                closed = [self._pools.pop(key) for key in idle[: max(0, len(idle) - KEPT_POOLS)]]
            for other in closed:
                other.pool.close()

    def _copy_pool(self, core: Any, like: Any) -> Any:
        """Return a synchronous pool with the TLS context, proxy and addresses of another."""
        kind = getattr(core, type(like).__name__.removeprefix("Async"))
        own = core.ConnectionPool(max_connections=self.width, max_keepalive_connections=self.width)
        pool = kind.__new__(kind)
        vars(pool).update(vars(like) | {name: vars(own)[name] for name in _OWN_STATE})
        return pool

    def close(self) -> None:
        """Close all connections."""
        for held in self._pools.values():
            held.pool.close()
        self._pools.clear()


def _make_answer(
    status: int, headers: dict[str, str], body: bytes, latency_s: float, ttft_s: float | None
) -> Answer:
    encoding = headers.get("content-encoding", "")
    kept = {name: value for name, value in headers.items() if name not in _DROPPED_HEADERS}
    try:
        body = decode_body(body, encoding, certain=True)
    except DocumentError:
        kept["content-encoding"] = encoding
    return Answer(status, kept, body, latency_s, ttft_s)
