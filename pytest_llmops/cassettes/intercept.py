"""The one place that knows vcrpy: its patches are entered once per process and ask the current tape.

vcrpy's ``CassettePatcherBuilder`` is not a documented API: the version is pinned, and a
contract test holds what is used here. Matching, storage and errors are ours.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
import time
from contextvars import ContextVar
from typing import Any

from pytest_llmops.cassettes.exchange import Live, replayed
from pytest_llmops.cassettes.tape import Answer, Tape, current
from pytest_llmops.cassettes.transports import async_hook, sync_hook
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.hosts import is_loopback

_entered: contextlib.ExitStack | None = None
_started: ContextVar[float] = ContextVar("pytest_llmops_started", default=0.0)


def enter() -> None:
    """Put the patches in place, once per process; they pass everything through while no tape is in use."""
    global _entered  # noqa: PLW0603 -- patches are a fact of the process
    if _entered is not None:
        return
    from vcr.patch import CassettePatcherBuilder

    stack = contextlib.ExitStack()
    try:
        for patcher in CassettePatcherBuilder(Hub()).build():
            stack.enter_context(patcher)
        stack.callback(_guard_sockets())
    except BaseException:
        stack.close()
        raise
    _entered = stack


def leave() -> None:
    """Take the patches away."""
    global _entered
    if _entered is not None:
        stack, _entered = _entered, None
        stack.close()


class Hub:
    """What vcrpy takes for a cassette: it forwards to the current tape.

    The stubs of requests, urllib3, http.client, aiohttp, botocore, httplib2 and tornado call the
    methods below; httpx and httpx2 get our own hooks through ``custom_patches``.
    """

    _path = "pytest-llmops"
    write_protected = False
    skip_patchers = ("httpx", "httpx2")

    @property
    def custom_patches(self) -> tuple[tuple[Any, str, Any], ...]:
        """Our own hooks, for those of the two modules that are installed."""
        found: list[tuple[Any, str, Any]] = []
        for name in ("httpx", "httpx2"):
            with contextlib.suppress(ImportError):
                module = sys.modules.get(name) or __import__(name)
                sync, asynchronous = module.HTTPTransport, module.AsyncHTTPTransport
                found.append((sync, "handle_request", sync_hook(module, sync.handle_request)))
                hook = async_hook(module, asynchronous.handle_async_request)
                found.append((asynchronous, "handle_async_request", hook))
        return tuple(found)

    def filter_request(self, request: Any) -> Any:
        """Return the request: nothing is left out."""
        return request

    def can_play_response_for(self, request: Any) -> bool:
        """Say whether a recording answers; miss if it must and none does."""
        tape = _tape_for(request)
        if tape is None:
            return False
        _started.set(time.perf_counter())
        return tape.can_replay(_question(tape, request))

    def play_response(self, request: Any) -> dict[str, Any]:
        """Return the recorded answer in vcrpy's form."""
        tape = _tape_for(request)
        if tape is None:
            raise CassetteMiss(
                "the cassette was closed while a request was on its way; await or join it in the test"
            )
        question = _question(tape, request)
        answer = tape.claim(question)
        if answer is None:
            raise CassetteMiss(
                f"{question.method} {question.url}: another thread took the last recorded answer"
            )
        replayed(question, answer)
        return {
            "status": {"code": answer.status, "message": _reason(answer.status)},
            "headers": {name: [value] for name, value in answer.headers.items()},
            "body": {"string": answer.body},
        }

    def append(self, request: Any, response: dict[str, Any]) -> None:
        """Keep a live answer."""
        tape = _tape_for(request)
        if tape is None:
            return
        headers = {
            name.lower(): values[0] if isinstance(values, list) else values
            for name, values in response["headers"].items()
        }
        live = Live(tape, _question(tape, request), _started.get() or time.perf_counter())
        live.finish(response["status"]["code"], headers, _decoded(headers, response["body"]["string"]))

    def find_requests_with_most_matches(self, request: Any) -> list[Any]:
        """Return nothing: a miss is described by the tape."""
        del request
        return []


def _tape_for(request: Any) -> Tape | None:
    tape = current()
    return None if tape is None or tape.passes(request.host or "") else tape


def _question(tape: Tape, request: Any) -> Any:
    headers = {name.lower(): _text(value) for name, value in request.headers.items()}
    return tape.ask(request.method, request.uri, headers, _body(request))


def _text(value: Any) -> str:
    value = value[0] if isinstance(value, (list, tuple)) and value else value
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _body(request: Any) -> bytes:
    body = request.body
    if body is None:
        return b""
    if isinstance(body, (bytes, bytearray)):
        return bytes(body)
    if hasattr(body, "read"):
        return bytes(body.read())
    if isinstance(body, dict):
        import json

        return json.dumps(body).encode()
    with contextlib.suppress(TypeError):
        return b"".join(part.encode() if isinstance(part, str) else part for part in body)
    return repr(body).encode()


def _decoded(headers: dict[str, str], raw: bytes) -> bytes:
    encoding = headers.pop("content-encoding", "")
    if not encoding:
        return raw
    import httpx2

    return httpx2.Response(200, headers={"content-encoding": encoding}, content=raw).content


def _reason(status: int) -> str:
    import http

    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


def _guard_sockets() -> Any:
    """Close sockets and name look-ups to the outside while a tape only replays; returns what undoes it."""
    connect, connect_ex, look_up = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _refuse(self.family, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        _refuse(self.family, address)
        return connect_ex(self, address)

    def guarded_look_up(host: Any, *rest: Any, **more: Any) -> Any:
        _refuse(socket.AF_INET, (host, 0))
        return look_up(host, *rest, **more)

    def undo() -> None:
        socket.socket.connect, socket.socket.connect_ex = connect, connect_ex  # type: ignore[method-assign]
        socket.getaddrinfo = look_up

    socket.socket.connect, socket.socket.connect_ex = guarded_connect, guarded_connect_ex  # type: ignore[assignment, method-assign]
    socket.getaddrinfo = guarded_look_up
    return undo


def _refuse(family: int, address: Any) -> None:
    tape = current()
    if tape is None or tape.mode != "none" or family not in (socket.AF_INET, socket.AF_INET6):
        return
    host = address[0] if isinstance(address, tuple) and address else address
    host = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if not host or not isinstance(host, str) or tape.passes(host) or is_loopback(host) or _is_any(host):
        return
    text = (
        f"the network is closed while recordings answer: a connection to {host} was refused\n"
        f"  cassette  {tape.path.name}\n  allow it  ini llm_allow_hosts, or run with --llm-record=new"
    )
    tape.counts.missed += 1
    tape.misses.append(text)
    raise CassetteMiss(text)


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


__all__ = ["Answer", "Hub", "enter", "leave"]
