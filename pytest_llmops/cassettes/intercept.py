"""The one place that knows vcrpy: its patches ask the current tape, and are in place while there is one.

vcrpy's ``CassettePatcherBuilder`` is not a documented API: the version is pinned, and a
contract test holds what is used here. Matching, storage and errors are ours.
"""

from __future__ import annotations

import contextlib
import gzip
import http
import http.client
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

from pytest_llmops.cassettes import tape as tapes
from pytest_llmops.cassettes.exchange import Live, replayed
from pytest_llmops.cassettes.patches import Patch, network, steady
from pytest_llmops.cassettes.question import Question
from pytest_llmops.cassettes.tape import Answer, Tape, current
from pytest_llmops.cassettes.transports import async_hook, sync_hook
from pytest_llmops.errors import CassetteMiss

_started: ContextVar[float] = ContextVar("pytest_llmops_started", default=0.0)
_QUESTION, _ANSWER = "_llmops_question", "_llmops_answer"
"""On a request of vcrpy: the question it is (its body may be gone once it was sent), and the answer taken for it."""


class _Interception:
    """All patches: built once, in place while a tape is in use."""

    def __init__(self) -> None:
        import vcr.patch

        built = list(vcr.patch.CassettePatcherBuilder(Hub()).build())
        self._removers = [one for one in built if not hasattr(one, "attribute")]
        self._patches = [*_settled(), *(_as_patch(one) for one in built if hasattr(one, "attribute"))]
        # vcrpy takes all its patches away while a connection is made, for all threads at once, and two
        # threads that do so leave them off for good. What it is needed for, `_settled` has taken care of.
        self._patches.append(Patch(vcr.patch, "force_reset", partial(_this, contextlib.nullcontext)))
        self._patches += [*_hooks(), *network()]
        self._in_place = False

    def use(self, *, used: bool) -> None:
        """Put all in place, or take all away."""
        if used == self._in_place:
            return
        self._in_place = used
        if used:
            for one in self._patches:
                one.put()
            return
        for one in reversed(self._patches):
            one.take_away()
        for remover in self._removers:  # pooled connections of theirs must not answer the next test
            remover.__exit__(None, None, None)
            remover._connection_pool_to_connections.clear()  # noqa: SLF001 -- else every pool lives to the end


def _settled() -> Iterator[Patch]:
    found: list[tuple[Any, str]] = [(http.client, "HTTPSConnection")]
    httplib2 = sys.modules.get("httplib2")
    if httplib2 is not None:
        found += [(httplib2, "HTTPConnectionWithTimeout"), (httplib2, "HTTPSConnectionWithTimeout")]
    for module, name in found:
        yield Patch(getattr(module, name), "__init__", steady)


def _as_patch(one: Any) -> Patch:
    return Patch(one.getter(), one.attribute, partial(_this, one.new))


def _this(replacement: Any, _: Any) -> Any:
    return replacement


def _hooks() -> Iterator[Patch]:
    for name in ("httpx", "httpx2"):
        with contextlib.suppress(ImportError):
            module = sys.modules.get(name) or __import__(name)
            yield Patch(module.HTTPTransport, "handle_request", partial(sync_hook, module))
            yield Patch(module.AsyncHTTPTransport, "handle_async_request", partial(async_hook, module))


_entered: _Interception | None = None


def enter() -> None:
    """Intercept HTTP from now on, whenever a tape is in use; the second call does nothing."""
    global _entered  # noqa: PLW0603 -- patches are a fact of the process
    if _entered is not None:
        return
    _entered = _Interception()
    tapes.on_change.append(_entered.use)
    if current() is not None:
        _entered.use(used=True)


def leave() -> None:
    """Take the patches away for good."""
    global _entered
    if _entered is not None:
        gone, _entered = _entered, None
        tapes.on_change.remove(gone.use)
        gone.use(used=False)


class Hub:
    """What vcrpy takes for a cassette: it forwards to the current tape.

    The stubs of requests, urllib3, http.client, aiohttp, botocore, httplib2 and tornado call the
    methods below; httpx and httpx2 get our own hooks.
    """

    _path = "pytest-llmops"
    write_protected = False
    skip_patchers = ("httpx", "httpx2")
    custom_patches = ()

    def filter_request(self, request: Any) -> Any:
        """Return the request: nothing is left out."""
        return request

    def can_play_response_for(self, request: Any) -> bool:
        """Say whether a recording answers, and take its answer; miss if it must and none does."""
        if hasattr(request, _ANSWER):
            return True
        tape = _tape_for(request)
        if tape is None:
            return False
        _started.set(time.perf_counter())
        # Taken now: until it is played, another thread could have taken the last one.
        answer = tape.claim(_question(tape, request))
        if answer is not None:
            setattr(request, _ANSWER, answer)
        return answer is not None

    def play_response(self, request: Any) -> dict[str, Any]:
        """Return the recorded answer in vcrpy's form."""
        if not self.can_play_response_for(request):  # the target of a redirect is played unasked
            raise CassetteMiss(
                f"{request.method} {request.host} was redirected to while a recording was replayed, and is not"
                " recorded: record all again with --llm-record=all"
            )
        answer: Answer = getattr(request, _ANSWER)
        replayed(getattr(request, _QUESTION), answer)
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
        headers = {name.lower(): _text(value) for name, value in response["headers"].items()}
        live = Live(tape, _question(tape, request), _started.get() or time.perf_counter())
        body = response["body"].get("string") or b""
        live.finish(response["status"]["code"], headers, _decoded(headers, body))

    def find_requests_with_most_matches(self, request: Any) -> list[Any]:
        """Return nothing: a miss is described by the tape."""
        del request
        return []


def _tape_for(request: Any) -> Tape | None:
    tape = current()
    return None if tape is None or tape.passes(request.host or "") else tape


def _question(tape: Tape, request: Any) -> Question:
    known: Question | None = getattr(request, _QUESTION, None)
    if known is not None:
        return known
    headers = {name.lower(): _text(value) for name, value in request.headers.items()}
    question = tape.ask(request.method, request.uri, headers, _body(request))
    setattr(request, _QUESTION, question)
    return question


def _text(value: Any) -> str:
    value = value[0] if isinstance(value, (list, tuple)) and value else value
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _body(request: Any) -> bytes:
    """The body as bytes; of aiohttp, which hands over what the caller gave, as JSON of it."""
    body = request.body
    if body is None:
        return b""
    if hasattr(body, "read"):
        return _bytes(body.read())
    if isinstance(body, Iterator):
        return b"".join(map(_bytes, body))
    if isinstance(body, (str, bytes, bytearray, memoryview)):
        return _bytes(body)
    import json

    try:
        return json.dumps(body, default=_part).encode()
    except (TypeError, ValueError):  # keys that JSON does not have, or a value that holds itself
        return repr(body).encode()


def _bytes(part: Any) -> bytes:
    if isinstance(part, str):
        return part.encode("utf-8", "surrogatepass")
    return bytes(part) if isinstance(part, (bytes, bytearray, memoryview)) else repr(part).encode()


def _part(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("latin-1")
    # aiohttp's FormData: (options, headers, value) of each field.
    fields = getattr(value, "_fields", None)
    if isinstance(fields, list):
        return [[dict(options), content] for options, _, content in fields]
    if hasattr(value, "read") and hasattr(value, "seek"):
        content = value.read()
        value.seek(0)
        return content
    return repr(value)


def _decoded(headers: dict[str, str], raw: bytes) -> bytes:
    """The body without its compression; urllib3 and aiohttp have undone it, but left the header."""
    encoding = headers.pop("content-encoding", "").lower()
    unpack = _UNPACK.get(encoding)
    if unpack is None or not raw:
        return raw
    try:
        return unpack(raw)
    except (OSError, EOFError, ValueError, zlib.error):
        return raw


def _by_the_client(raw: bytes) -> bytes:
    import httpx2

    if not raw.startswith(ZSTD_MAGIC):
        raise ValueError
    try:
        return httpx2.Response(200, headers={"content-encoding": "zstd"}, content=raw).content
    except httpx2.DecodingError:
        raise ValueError from None


ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "x-gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": _by_the_client,
}
"""Strict ones: a body that was unpacked already must not pass for a packed one."""


def _reason(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


__all__ = ["Answer", "Hub", "enter", "leave"]
