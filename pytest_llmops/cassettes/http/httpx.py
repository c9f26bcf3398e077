"""Patches of the transports of httpx and httpx2.

Unlike vcrpy's patches, they pass a stream on to the application while it is recorded, replay it event by event, and do
not touch in-process transports (ASGI, WSGI, Mock).

A request that a mock answers is neither recorded nor a miss. pytest-httpx, responses, aioresponses and the in-process
transports answer before a request gets here. respx replaces methods of httpcore, which come after the transport of
httpx, so the patches check first whether respx answers a request.
"""

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.active_tape import current_tape
from pytest_llmops.cassettes.http.fault_pauses import is_pause, wait_out, wait_out_async
from pytest_llmops.cassettes.http.live_response import (
    PROGRAM_LEFT_KEY,
    ClaimedAnswer,
    LiveAnswer,
    hold_failed_write,
    limit_silence,
    report_replay,
    wait_for_slot,
    wait_for_slot_async,
)
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tool_addresses import answer_unreachable, is_tool_address, note_failure
from pytest_llmops.errors import CallDeferred
from pytest_llmops.wire.content_encoding import decode_body
from pytest_llmops.wire.untrusted_documents import DocumentError


def _is_answered_by_respx(request: Any) -> bool:
    """Return whether respx answers or refuses a request, whose body must have been read.

    Only a request of a pass-through route is recorded or replayed. A request that the side effect of another route lets
    through goes out without a recording.
    """
    return bool(_respx_routers(request)) and _find_pass_through(request) is None


def _respx_routers(request: Any) -> Sequence[Any]:
    """Return the active routers of respx; none for a request of httpx2, which respx does not support."""
    mocks = sys.modules.get("respx.mocks")
    if not mocks or not isinstance(request, mocks.httpx.Request):
        return ()
    routers: Sequence[Any] = mocks.HTTPCoreMocker.routers
    return routers


def _find_pass_through(request: Any) -> tuple[Any, Any] | None:
    """Return the router and the route of respx that let a request through; None if no route does."""
    for router in _respx_routers(request):
        for route in router.routes:
            if route.pattern is None or route.pattern.match(request):
                if route.is_pass_through:
                    return router, route
                return None  # the first route that matches decides
    return None


# Key in a response's extensions: ``{"latency_s", "ttft_s", "replayed", "is_batched"}``
EXTENSION_KEY = "llmops"

_DROPPED_HEADERS = frozenset({"content-length", "content-encoding", "transfer-encoding"})


def wrap_sync_transport(module: Any, real: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return the replacement of ``HTTPTransport.handle_request``."""

    def handle_request(transport: Any, request: Any) -> Any:
        tape = current_tape()
        if tape is None or tape.passes(request.url.host, request.url.port) or _is_of_tools(tape, request):
            return real(transport, request)
        body = request.read()
        if _is_answered_by_respx(request):
            return real(transport, request)
        question, replay = _claim_response(module, tape, transport, request, body)
        if is_pause(replay) and wait_out(tape, question, replay, _find_read_limit(request)):
            question, replay = _claim_response(module, tape, transport, request, body, after_fault=True)
        if replay is not None:
            if type(replay) is Answer and replay.outcome is not None:
                raise replay.outcome.make_exception(module, tape)
            return replay
        if question.is_telemetry:
            return real(transport, request)
        slot = wait_for_slot(tape, question.address)
        live = LiveAnswer(tape, question, time.perf_counter(), slot)
        live.program_left = request.extensions.get(PROGRAM_LEFT_KEY)
        _limit_silence(request)
        try:
            response = real(transport, request)
        except BaseException as error:
            live.give_up(error)
            raise
        return _attach_tee(response, live, _make_sync_tee(module, live, response))

    return handle_request


async def _stand_in(module: Any, request: Any, error: Exception) -> Any:
    """Return an answer in place of a server of tools that was to be compared and cannot be reached. The connection goes on."""
    body = await request.aread()
    status, content = answer_unreachable(request.method, body, f"{type(error).__name__}: {error}")
    return module.Response(
        status, headers={"content-type": "application/json"}, content=content, request=request
    )


def wrap_async_transport(module: Any, real: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return the replacement of ``AsyncHTTPTransport.handle_async_request``."""

    async def handle_async_request(transport: Any, request: Any) -> Any:
        tape = current_tape()
        if tape is None or tape.passes(request.url.host, request.url.port):
            return await real(transport, request)
        if _is_of_tools(tape, request):
            try:
                return await real(transport, request)
            except Exception as error:
                if tape.compares_tools():
                    return await _stand_in(module, request, error)
                note_failure(str(request.url))
                raise
        body = await request.aread()
        if _is_answered_by_respx(request):
            return await real(transport, request)
        try:
            async with hold_failed_write(tape):
                question, replay = _claim_response(module, tape, transport, request, body)
                if is_pause(replay) and await wait_out_async(
                    tape, question, replay, _find_read_limit(request)
                ):
                    question, replay = _claim_response(
                        module, tape, transport, request, body, after_fault=True
                    )
        except CallDeferred:
            await active_tape.let_siblings_ask()
            raise
        if replay is not None:
            if type(replay) is Answer and replay.outcome is not None:
                await replay.outcome.raise_in_task(module, tape, replay.latency_s)
            return replay
        if question.is_telemetry:
            return await real(transport, request)
        slot = await wait_for_slot_async(tape, question.address)
        live = LiveAnswer(tape, question, time.perf_counter(), slot)
        _limit_silence(request)
        try:
            response = await real(transport, request)
        except BaseException as error:
            live.give_up(error)
            raise
        return _attach_tee(response, live, _make_async_tee(module, live, response))

    return handle_async_request


def _is_of_tools(tape: Tape, request: Any) -> bool:
    """Return whether a request goes to an MCP server, whose messages are recorded instead."""
    return is_tool_address(str(request.url)) and tape.may_call_tools()


def _attach_tee(response: Any, live: LiveAnswer, tee: Any) -> Any:
    """Let a response be read through the tee, and tell the live answer how to leave it."""
    response.stream = tee
    response.extensions = {**response.extensions, EXTENSION_KEY: live.timing}
    live.on_tape_end = lambda: live.leave(response.status_code, _all_headers(response))
    return response


def _claim_response(
    module: Any, tape: Tape, transport: Any, request: Any, body: bytes, *, after_fault: bool = False
) -> tuple[Question, Any]:
    """Return a request in the form that is matched, and its replay; None if it has to go out live.

    The replay is a response. For a call that failed before its response began, it is the recorded `Answer`, whose
    outcome the caller raises. With ``after_fault`` the client has waited for an answer that is late on purpose.
    """
    question = tape.make_question(request.method, str(request.url), _read_headers(request), body)
    token = active_tape.outgoing_request.set((module, transport, request))
    try:
        answer = tape.claim(question, after_fault)
    finally:
        active_tape.outgoing_request.reset(token)
    if answer is None:
        return question, None
    pass_through = _find_pass_through(request)
    if pass_through is not None:  # respx counts replayed requests as it counts requests that go out
        pass_through[0].record(request, response=None, route=pass_through[1])
    claimed = None
    if answer.asked_ahead:
        claimed = ClaimedAnswer(tape, question, answer)  # reports the call when it is read
    else:
        report_replay(question, answer)
    if answer.outcome is not None and not answer.status:
        return question, answer
    timing = {"latency_s": answer.latency_s, "ttft_s": answer.ttft_s, "replayed": claimed is None}
    if answer.is_batched:
        timing["is_batched"] = True
    is_streamed = answer.pieces or answer.outcome is not None or claimed is not None
    if is_streamed:
        stream = _replay_class(module)(tape, answer, claimed)
    else:
        stream = module.ByteStream(answer.body)
    return question, module.Response(
        answer.status, headers=dict(answer.headers), stream=stream, extensions={EXTENSION_KEY: timing}
    )


def _find_read_limit(request: Any) -> float | None:
    """Return how long a request may wait for a byte; None: for ever."""
    seconds: float | None = request.extensions.get("timeout", {}).get("read")
    return seconds


def _limit_silence(request: Any) -> None:
    """Limit the read time-out of a request that goes out."""
    timeouts = request.extensions.get("timeout", {})
    request.extensions = {
        **request.extensions,
        "timeout": {**timeouts, "read": limit_silence(timeouts.get("read"))},
    }


def _read_headers(request: Any) -> Mapping[str, str]:
    """Return the headers of a request with lower-case names.

    They are read from their raw form if they are ASCII and no name is repeated: httpx decodes and joins all of them at
    every look-up.
    """
    raw = request.headers.raw
    try:
        headers = {name.lower().decode("ascii"): value.decode("ascii") for name, value in raw}
    except UnicodeDecodeError:
        headers = {}
    if len(headers) == len(raw):
        return headers
    return dict(request.headers)


@lru_cache(maxsize=2)
def _replay_class(module: Any) -> Any:
    """Return the class of replayed streams for httpx or httpx2; it needs the base classes of that module."""

    class Replay(module.SyncByteStream, module.AsyncByteStream):  # type: ignore[misc]  # the module is a parameter
        def __init__(self, tape: Tape, answer: Answer, claimed: ClaimedAnswer | None) -> None:
            self._tape = tape
            self._answer = answer
            self._claimed = claimed
            self._pieces = (
                claimed or answer.pieces or (answer.body,)
            )  # a claimed answer is an iterable of pieces

        def __iter__(self) -> Iterator[bytes]:
            yield from self._pieces
            if self._answer.outcome is not None:
                raise self._answer.outcome.make_exception(module, self._tape)

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in self._pieces:
                yield piece
            if self._answer.outcome is not None:
                await self._answer.outcome.raise_in_task(module, self._tape, self._answer.latency_s)

        def close(self) -> None:
            if self._claimed is not None:
                self._claimed.leave()

        async def aclose(self) -> None:
            self.close()

    return Replay


def _all_headers(response: Any) -> dict[str, str]:
    """Return the headers of a response with lower-case names."""
    return {name.lower(): value for name, value in response.headers.items()}


def _recorded_headers(response: Any) -> dict[str, str]:
    """Return the headers of a response without those that describe its encoded body."""
    return {name: value for name, value in _all_headers(response).items() if name not in _DROPPED_HEADERS}


def _finish_answer(module: Any, live: LiveAnswer, response: Any) -> None:
    """Record the answer, decompressed by the client's own decoders if possible, else by ours."""
    encoding = response.headers.get("content-encoding")
    body = live.raw_body()
    headers = _recorded_headers(response)
    supported = module._decoders.SUPPORTED_DECODERS  # noqa: SLF001 -- no public list
    if encoding and not all(coding.strip().lower() in supported for coding in encoding.split(",")):
        try:
            body = decode_body(body, encoding, certain=True)
        except DocumentError:
            headers["content-encoding"] = encoding
        live.finish(response.status_code, headers, body)
        return
    if encoding:
        try:
            body = module.Response(200, headers={"content-encoding": encoding}, content=body).content
        except module.DecodingError as error:
            live.give_up(error)  # the application gets the same error from its own decoder
            return
    live.finish(response.status_code, headers, body)


def _make_sync_tee(module: Any, live: LiveAnswer, response: Any) -> Any:
    """Return a stream that yields the chunks of a response and records them."""
    inner = response.stream
    # Made once and kept: httpcore closes the connection when its iterator is dropped.
    chunks = iter(inner)

    class Tee(module.SyncByteStream):  # type: ignore[misc]  # the module is a parameter
        def __iter__(self) -> Iterator[bytes]:
            try:
                for chunk in chunks:
                    live.add_chunk(chunk)
                    yield chunk
            except GeneratorExit:
                raise  # the application left early, and calls `close`
            except BaseException as error:
                live.give_up(error, response.status_code, _all_headers(response))
                raise
            _finish_answer(module, live, response)

        def close(self) -> None:
            try:
                live.leave(response.status_code, _all_headers(response))
            finally:
                inner.close()

    return Tee()


def _make_async_tee(module: Any, live: LiveAnswer, response: Any) -> Any:
    """Return a stream that yields the chunks of a response and records them, in an event loop."""
    inner = response.stream
    chunks = aiter(inner)

    class Tee(module.AsyncByteStream):  # type: ignore[misc]  # the module is a parameter
        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for chunk in chunks:
                    live.add_chunk(chunk)
                    yield chunk
            except GeneratorExit:
                raise  # the application left early, and calls `aclose`
            except BaseException as error:
                live.give_up(error, response.status_code, _all_headers(response))
                raise
            async with hold_failed_write(live.tape):
                _finish_answer(module, live, response)

        async def aclose(self) -> None:
            try:
                async with hold_failed_write(live.tape):
                    live.leave(response.status_code, _all_headers(response))
            finally:
                await inner.aclose()

    return Tee()
