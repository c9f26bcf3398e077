"""Patches of aiohttp that record answers while the application reads them."""

import asyncio
import builtins
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, NoReturn

from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.http.fault_pauses import is_pause, wait_out_async
from pytest_llmops.cassettes.http.live_response import LiveAnswer, hold_failed_write, limit_silence
from pytest_llmops.cassettes.http.vcr_adapter import (
    Call,
    begin_answer,
    claim_late_answers,
    current_call,
    finish_answer,
    question_for,
    tape_for,
)
from pytest_llmops.cassettes.outcome import Outcome
from pytest_llmops.cassettes.patch import Patch
from pytest_llmops.errors import CassetteMiss

_FIRST_REDIRECT = 300


def aiohttp_patches() -> Iterator[Patch]:
    """Yield the patches of aiohttp's responses, if it is installed."""
    try:
        import aiohttp
        from vcr.stubs import aiohttp_stubs
    except ImportError:
        return
    yield Patch(aiohttp_stubs, "record_response", _wrap_record_response)
    yield Patch(aiohttp.ClientSession, "_request", _wrap_request)


def _wrap_request(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Wrap ``ClientSession._request``, which vcrpy has replaced already.

    The wrapper records calls that got no complete answer (time-outs, cancelled calls), and raises the same outcome on
    replay.
    """
    import aiohttp

    async def request(session: Any, *args: Any, **kwargs: Any) -> Any:
        tape = active_tape.current_tape()
        if tape is None:
            return await real(session, *args, **kwargs)
        timeout = kwargs.get("timeout", session.timeout)
        if isinstance(timeout, aiohttp.ClientTimeout):
            names = ("total", "connect", "sock_connect", "ceil_threshold")
            other_limits = {name: getattr(timeout, name) for name in names}
            kwargs["timeout"] = aiohttp.ClientTimeout(
                **other_limits, sock_read=limit_silence(timeout.sock_read)
            )
        current_call.set(None)
        try:
            async with hold_failed_write(tape):
                response = await real(session, *args, **kwargs)
        except BaseException as error:
            call = current_call.get()
            if call is None or call.answer is not None:  # not a live call that is still under way
                raise
            begin_answer(call.tape, call.request).give_up(error)
            raise
        call = current_call.get()
        if call is not None and await _gets_late_answer(call, kwargs.get("timeout", session.timeout)):
            with claim_late_answers():
                return await request(session, *args, **kwargs)
        if call is not None and call.answer is not None and call.answer.outcome is not None:
            _fail_body(response, partial(_raise_outcome, call, call.answer.outcome))
            if not call.answer.status:  # nothing of the answer had come: the call itself failed
                await response.read()  # raises the outcome
        return response

    return request


async def _gets_late_answer(call: Call, limits_of_client: Any) -> bool:
    """Wait if an answer is late on purpose, and return whether the client gets its own answer now."""
    answer = call.answer
    if answer is None or not is_pause(answer):
        return False
    limits = [getattr(limits_of_client, name, None) for name in ("total", "sock_read")]
    limit_s = min((seconds for seconds in limits if seconds), default=None)
    return await wait_out_async(call.tape, question_for(call.tape, call.request), answer, limit_s)


async def _raise_outcome(call: Call, outcome: Outcome) -> NoReturn:
    """Raise the recorded outcome of a call as the exception of aiohttp, or of the standard library."""
    import aiohttp

    module: ModuleType = aiohttp
    if outcome.error == "TimeoutError":  # of ``ClientTimeout(total=...)``
        module = builtins
    seconds = None
    if call.answer is not None:
        seconds = call.answer.latency_s
    await outcome.raise_in_task(module, call.tape, seconds)


def _fail_body(response: Any, fail: Callable[[], Awaitable[NoReturn]]) -> None:
    """Let the body of a replayed response end in an exception, which the given function raises."""

    class FailingReader(type(response.content)):  # type: ignore[misc]  # vcrpy's
        def feed_eof(self) -> None:
            """Leave the body open."""

        async def _wait(self, _name: str) -> None:
            await fail()

    class FailingResponse(type(response)):  # type: ignore[misc]  # vcrpy's
        async def read(self, **_: Any) -> bytes:
            return bytes(await self.content.read())

        json = text = read

    response.content = FailingReader(response._body)  # noqa: SLF001 -- vcrpy's
    response.__class__ = FailingResponse


def _wrap_record_response(real: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Wrap vcrpy's ``record_response``: the body is recorded while the application reads it.

    Errors and redirects are still recorded by vcrpy, which reads them to their end at once.
    """
    import aiohttp

    async def record_response(hub: Any, request: Any, response: Any) -> None:
        current_call.set(None)
        tape = tape_for(request)
        if tape is None:
            return
        # These cannot be recorded later: errors may be released before they are read, redirects are closed already.
        if response.status >= _FIRST_REDIRECT or type(response.content) is not aiohttp.StreamReader:
            await real(hub, request, response)
            return
        _record_body(response, begin_answer(tape, request))

    return record_response


async def _end_body_in_miss(
    miss: CassetteMiss,
    live: LiveAnswer,
    set_exception: Callable[[BaseException], object],
    feed_eof: Callable[[], object],
) -> None:
    """End the body of a live answer in a miss, with the methods of its reader."""
    try:
        async with hold_failed_write(live.tape):
            raise miss
    except CassetteMiss:
        set_exception(miss)
        feed_eof()


def _record_body(response: Any, live: LiveAnswer) -> None:
    """Record the body of a response while the application reads it.

    Data that came with the headers is recorded at once; the reader of the rest gets a subclass that passes its data on.
    """
    import aiohttp

    content = response.content
    headers = {name.lower(): value for name, value in response.headers.items()}
    # aiohttp counts compressed bytes only if it decompresses the body. It then keeps the header. SDKs turn that off.
    is_raw = getattr(content, "total_compressed_bytes", 0) is None
    # The headers of a body that breaks off, with their encoding only if it was not undone yet
    partial_headers = dict(headers)
    if not is_raw:
        partial_headers.pop("content-encoding", None)

    def finish() -> None:
        finish_answer(live, response.status, headers, live.raw_body(), certain=is_raw)

    tasks: list[asyncio.Task[None]] = []  # kept, as the event loop only has weak references

    class RecordingReader(aiohttp.StreamReader):
        __slots__ = ()

        def feed_data(self, data: Any, *rest: Any) -> Any:
            if live.open and data:
                live.add_chunk(bytes(data))
            return super().feed_data(data, *rest)

        def feed_eof(self) -> None:
            try:
                finish()
            except CassetteMiss as miss:  # passed to the reader: raised here, the event loop would swallow it
                failing = _end_body_in_miss(miss, live, super().set_exception, super().feed_eof)
                tasks.append(asyncio.get_running_loop().create_task(failing))
            else:
                super().feed_eof()

        async def _wait(self, name: str) -> None:
            try:
                await super()._wait(name)
            except (TimeoutError, asyncio.CancelledError) as error:
                live.give_up(error, response.status, partial_headers)
                raise

        def set_exception(self, error: BaseException, *rest: Any) -> None:
            is_closed_by_application = type(error) is aiohttp.ClientConnectionError
            reported = error
            try:
                if is_closed_by_application:
                    live.leave(response.status, partial_headers)
                else:
                    live.give_up(error, response.status, partial_headers)
            except CassetteMiss as miss:
                reported = miss
            super().set_exception(reported, *rest)

    for chunk in content._buffer:  # noqa: SLF001 -- what came with the headers
        live.add_chunk(bytes(chunk))
    if content.is_eof():
        finish()
    else:
        content.__class__ = RecordingReader
        live.on_tape_end = partial(live.leave, response.status, partial_headers)
