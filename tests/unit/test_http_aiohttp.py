"""aiohttp: an answer is noted as it arrives, and the application reads it from where it always did."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.server import Reply, StubServer, chat_events, error_reply, stream, wait
from support.tapes import stored, taped

from pytest_llmops import recorder
from pytest_llmops.cassettes.journal import Journal
from pytest_llmops.errors import CassetteError, CassetteMiss
from pytest_llmops.settings import Settings

EVENTS = list(stream(chat_events("one two three")).chunks)
BODY = b"".join(EVENTS)
Ask = Callable[[aiohttp.ClientSession, str], Awaitable[Any]]


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as stub_server:
        yield stub_server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassette.json"


def run(ask: Ask, url: str) -> Any:
    async def within() -> Any:
        async with aiohttp.ClientSession() as session:
            return await ask(session, f"{url}/x")

    return asyncio.run(within())


async def whole(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as answer:
        return await answer.read()


def told() -> Any:
    top = recorder.current_recorder()
    assert top is not None
    return list(top.exchanges)


def test_the_first_event_comes_before_the_server_sends_the_last(path: Path, server: StubServer) -> None:
    received = threading.Event()
    last = len(EVENTS) - 1
    server.queue.append(stream(EVENTS, before_chunk=lambda n: wait(received) if n == last else None))

    async def ask(session: aiohttp.ClientSession, url: str) -> bytes:
        async with session.get(url) as answer:
            first = await answer.content.readany()
            received.set()
            return first + await answer.content.read()

    with taped(path, "new") as tape:
        assert run(ask, server.url) == BODY
        (entry,) = told()
    assert entry.ttft_s is not None
    assert entry.ttft_s <= entry.latency_s
    assert (tape.report.counts.recorded, tape.report.notes) == (1, [])
    with taped(path):
        assert run(whole, server.url) == BODY


async def left(session: aiohttp.ClientSession, url: str) -> None:
    async with session.get(url) as answer:
        assert BODY.startswith(await answer.content.read(4))


def test_a_live_answer_that_is_left_is_left(path: Path, server: StubServer) -> None:
    more = threading.Event()
    server.queue.append(stream(EVENTS, before_chunk=lambda n: wait(more) if n == 2 else None))
    with taped(path, "live") as tape:
        run(left, server.url)
        more.set()
        (request,) = told()
    assert BODY.startswith(request.body)
    assert request.body != BODY
    assert tape.report.notes == []


@pytest.mark.slow
@pytest.mark.parametrize("unpack", [True, False])
@pytest.mark.parametrize("chunks", [(), EVENTS], ids=["sized", "chunked"])
def test_packed_answers_are_stored_readable(
    path: Path, server: StubServer, chunks: list[bytes], *, unpack: bool
) -> None:
    headers = {"content-type": "text/event-stream"}
    server.queue.append(Reply(BODY, headers=headers, chunks=chunks, encoding="gzip"))

    async def ask(session: aiohttp.ClientSession, url: str) -> bytes:
        async with session.get(url, auto_decompress=unpack) as answer:
            return await answer.read()

    with taped(path, "new"):
        assert (run(ask, server.url) == BODY) is unpack
    assert "events" in stored(path)[0]["answers"]["0"][0]["body"]
    with taped(path):
        assert run(ask, server.url) == BODY


def test_errors_and_redirects_are_recorded_although_the_client_lets_them_go(
    path: Path, server: StubServer
) -> None:
    server.queue.append(Reply(b"gone", 302, {"location": "/end", "content-type": "text/plain"}))
    server.queue.append(error_reply(404, "not here"))

    async def ask(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await session.get(url, raise_for_status=True)
        return caught.value.status, caught.value.message

    for mode in ("new", "none"):
        with taped(path, mode) as tape:
            assert run(ask, server.url) == (404, "Not Found")
        assert tape.report.notes == []
    assert server.count == 2


def test_a_full_disk_stops_the_test_before_more_is_paid(
    path: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        msg = "disk full"
        raise CassetteError(msg)

    monkeypatch.setattr(Journal, "append", full)
    received = threading.Event()
    server.queue.append(stream(EVENTS, before_chunk=lambda n: wait(received) if n == 2 else None))

    async def ask(session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(url) as answer:
            await answer.content.readany()
            received.set()
            await answer.content.read()

    with pytest.raises(CassetteError, match="disk full"), taped(path, "new"), pytest.raises(CassetteMiss):
        run(ask, server.url)
    assert server.count == 1


def test_an_allowed_host_streams_as_if_we_were_not_there(path: Path, server: StubServer) -> None:
    received = threading.Event()
    server.queue.append(stream(EVENTS, before_chunk=lambda n: wait(received) if n == 1 else None))

    async def ask(session: aiohttp.ClientSession, url: str) -> bytes:
        async with session.get(url) as answer:
            first = await answer.content.readany()
            received.set()
            return first + await answer.content.read()

    with taped(path, settings=Settings(allow_hosts=("127.0.0.1",))):
        assert run(ask, server.url) == BODY
    assert not path.exists()
