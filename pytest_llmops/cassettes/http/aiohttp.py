"""Patches of aiohttp that record answers while the application reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from pytest_llmops.cassettes.http.live_response import LiveAnswer
from pytest_llmops.cassettes.http.patching import Patch
from pytest_llmops.cassettes.http.vcr_adapter import begin_answer, finish_answer, tape_for
from pytest_llmops.errors import CassetteMiss

_LIVE_ATTRIBUTE = "_llmops_live"
"""Attribute of aiohttp's response with the live answer."""
_FIRST_REDIRECT = 300


def aiohttp_patches() -> Iterator[Patch]:
    """Yield the patches of aiohttp's responses, if it is installed."""
    try:
        import aiohttp
        from vcr.stubs import aiohttp_stubs
    except ImportError:
        return
    yield Patch(aiohttp_stubs, "record_response", _wrap_record_response)
    yield Patch(aiohttp.ClientResponse, "__aexit__", _wrap_aexit)


def _wrap_record_response(real: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    import aiohttp

    async def record_response(hub: Any, request: Any, response: Any) -> None:
        tape = tape_for(request)
        if tape is None:
            return
        # Errors are released before they are read, and redirects are closed already.
        if response.status >= _FIRST_REDIRECT or type(response.content) is not aiohttp.StreamReader:
            await real(hub, request, response)
            return
        live = begin_answer(tape, request)
        vars(response)[_LIVE_ATTRIBUTE] = live
        _record_body(response, live, aiohttp.StreamReader)

    return record_response


def _record_body(response: Any, live: LiveAnswer, reader: type) -> None:
    # aiohttp counts compressed bytes only if it decompresses, and then keeps the header; SDKs turn that off.
    packed = getattr(response.content, "total_compressed_bytes", 0) is None

    def keep() -> None:
        headers = {name.lower(): value for name, value in response.headers.items()}
        finish_answer(live, response.status, headers, live.raw_body(), certain=packed)

    class RecordingReader(reader):  # type: ignore[misc]  # a parameter, as aiohttp may not be installed
        __slots__ = ()

        def feed_data(self, data: Any, *rest: Any) -> Any:
            if live.open and data:
                live.add_chunk(bytes(data))
            return super().feed_data(data, *rest)

        def feed_eof(self) -> None:
            try:
                keep()
            except CassetteMiss as miss:  # raised to the reader: the loop would swallow it
                super().set_exception(miss)
            super().feed_eof()

        def set_exception(self, error: BaseException, *rest: Any) -> None:
            if live.open and not live.wanted:
                live.end_early(response.status, {})
            live.give_up(error)
            super().set_exception(error, *rest)

    content = response.content
    for chunk in content._buffer:  # noqa: SLF001 -- what came with the headers
        live.add_chunk(bytes(chunk))
    if content.is_eof():
        keep()
    else:
        content.__class__ = RecordingReader


def _wrap_aexit(real: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def aexit(response: Any, kind: Any, *rest: Any) -> None:
        live = vars(response).get(_LIVE_ATTRIBUTE)
        cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        if live is not None and live.wanted and not cancelled:
            try:  # read the rest of the answer that the application has closed: it is paid
                while live.wanted and not response.content.at_eof():
                    await response.content.readany()
            except Exception as error:  # noqa: BLE001 -- the application did not want this answer any more
                live.give_up(error)
        await real(response, kind, *rest)

    return aexit
