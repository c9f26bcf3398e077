from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import pytest
from support.clients import KEY, MESSAGES, async_client, sync_client
from support.messages import check_message
from support.server import Reply, StubServer, chat_events, closed_port, stream, wait
from support.tapes import stored, taped

from pytest_llmops import recorder
from pytest_llmops.cassettes.http.httpx import EXTENSION_KEY
from pytest_llmops.cassettes.journal import Journal
from pytest_llmops.errors import CassetteError, CassetteMiss
from pytest_llmops.recorder import Exchange
from pytest_llmops.wire.body import TIMINGS

TEXT = "one two three four"
EVENTS = chat_events(TEXT)
BODY = b"".join(stream(EVENTS).chunks)
ASKED = {"model": "m", "stream": True, "messages": MESSAGES}


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as stub_server:
        yield stub_server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassette.json"


def exchanges() -> list[Exchange]:
    top = recorder.current_recorder()
    assert top is not None
    return list(top.exchanges)


def whole(path: Path) -> bytes:
    with taped(path), httpx2.Client() as client:
        return client.post("http://localhost:9/v1/chat/completions", json=ASKED).content


def left_early(url: str) -> None:
    with (
        sync_client(url) as client,
        client.chat.completions.create(model="m", messages=MESSAGES, stream=True) as entry,
    ):
        assert next(iter(entry)).choices


def test_a_live_stream_that_is_left_early_is_left(path: Path, server: StubServer) -> None:
    left, held = threading.Event(), threading.Event()
    in_time: list[bool] = []

    def hold(number: int) -> None:
        if number == 2:
            held.set()
            in_time.append(left.wait(20))

    server.queue.append(stream(EVENTS, before_chunk=hold))
    with taped(path, "live"):
        left_early(server.url)
        left.set()
        wait(held)
        (request,) = exchanges()
    server.close()
    assert in_time == [True]
    assert BODY.startswith(request.body)
    assert request.body != BODY


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_the_first_chunk_comes_before_the_server_has_sent_the_last(
    path: Path, server: StubServer, encoding: str
) -> None:
    received = threading.Event()
    last = len(EVENTS) - 1
    server.queue.append(
        stream(
            EVENTS, encoding=encoding, before_chunk=lambda number: wait(received) if number == last else None
        )
    )
    with taped(path, "new"), sync_client(server.url) as client:
        answer = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        first = next(answer)
        received.set()
        rest = list(answer)
        (entry,) = exchanges()
    assert first.choices
    assert len(rest) == len(EVENTS) - 2
    assert entry.ttft_s is not None
    assert entry.latency_s is not None
    assert 0 <= entry.ttft_s <= entry.latency_s
    assert whole(path) == BODY


@pytest.mark.slow
def test_the_first_chunk_comes_first_also_in_asyncio(path: Path, server: StubServer) -> None:
    received = threading.Event()
    last = len(EVENTS) - 1
    server.queue.append(stream(EVENTS, before_chunk=lambda n: wait(received) if n == last else None))

    async def ask() -> int:
        async with async_client(server.url) as client:
            answer = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            await anext(answer)
            received.set()
            return len([entry async for entry in answer])

    with taped(path, "new"):
        assert asyncio.run(ask()) == len(EVENTS) - 2
    assert whole(path) == BODY


def test_a_stream_is_replayed_event_by_event_with_its_times(path: Path, server: StubServer) -> None:
    server.queue.append(stream(EVENTS))
    with taped(path, "new"), httpx2.Client() as client:
        live = client.post(f"{server.url}/v1/chat/completions", json=ASKED)
        measured = exchanges()[0]
    assert live.extensions[EXTENSION_KEY]["replayed"] is False
    with taped(path), httpx2.Client() as client:
        with client.stream("POST", f"{server.url}/v1/chat/completions", json=ASKED) as answer:
            assert list(answer.iter_raw()) == list(stream(EVENTS).chunks)
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        again = exchanges()[0]
        timing = answer.extensions[EXTENSION_KEY]
    assert again.replayed
    assert [getattr(again, name) for name in TIMINGS] == [getattr(measured, name) for name in TIMINGS]
    assert measured.gap_s is not None
    assert timing == {"latency_s": again.latency_s, "ttft_s": again.ttft_s, "replayed": True}


@pytest.mark.slow
@pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_stream_that_breaks_is_recorded_as_such(path: Path, server: StubServer, module: Any) -> None:
    server.queue.append(stream(EVENTS, cut_after=2))
    with taped(path, "new") as entry, module.Client() as client:
        with pytest.raises(module.TransportError):
            client.post(f"{server.url}/v1/chat/completions", json=ASKED)
        (request,) = exchanges()
    assert entry.report.counts.recorded == 1
    check_message(entry.report.notes)
    assert (request.status, request.body) == (200, b"".join(stream(EVENTS).chunks[:2]))
    assert path.exists()


def test_a_stream_that_breaks_is_recorded_as_such_in_asyncio_too(path: Path, server: StubServer) -> None:
    server.queue.append(stream(EVENTS, cut_after=2))

    async def ask() -> None:
        async with httpx2.AsyncClient() as client:
            await client.post(f"{server.url}/v1/chat/completions", json=ASKED)

    with taped(path, "new") as entry, pytest.raises(httpx2.RemoteProtocolError):
        asyncio.run(ask())
    assert len(entry.report.notes) == 1
    assert path.exists()


def test_a_cancelled_stream_is_recorded_as_such(path: Path, server: StubServer) -> None:
    never = threading.Event()
    server.queue.append(stream(EVENTS, before_chunk=lambda number: wait(never) if number == 2 else None))

    async def ask() -> None:
        async with (
            httpx2.AsyncClient() as client,
            client.stream("POST", f"{server.url}/v1/chat/completions", json=ASKED) as answer,
        ):
            started = asyncio.Event()

            async def read() -> None:
                async for _ in answer.aiter_raw():
                    started.set()

            reading = asyncio.create_task(read())
            await started.wait()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading

    with taped(path, "new") as entry:
        asyncio.run(ask())
        never.set()
    check_message(entry.report.notes)
    assert path.exists()


def test_a_server_that_is_down_is_told_and_not_recorded(path: Path) -> None:
    url = f"http://127.0.0.1:{closed_port()}"

    async def ask() -> None:
        async with httpx2.AsyncClient() as client:
            await client.get(url)

    with taped(path, "new") as entry:
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(url)
        with pytest.raises(httpx2.ConnectError):
            asyncio.run(ask())
        assert [exchange.status for exchange in exchanges()] == [None, None]
    assert entry.report.counts.recorded == 0
    assert not path.exists()


def test_an_answer_that_takes_too_long_is_recorded_as_such(path: Path, server: StubServer) -> None:
    never = threading.Event()
    server.queue.append(Reply(before=lambda: wait(never)))
    with taped(path, "new") as entry, httpx2.Client(timeout=httpx2.Timeout(20, read=0.01)) as client:
        with pytest.raises(httpx2.ReadTimeout):
            client.get(server.url)
        never.set()
    check_message(entry.report.notes)


DAMAGED = {"no gzip": b"no gzip at all", "cut": gzip.compress(b"whole", mtime=0)[:-12]}


@pytest.mark.slow
@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED)
def test_an_answer_that_cannot_be_unpacked(path: Path, server: StubServer, damaged: bytes) -> None:
    headers = {"content-type": "text/plain", "content-encoding": "gzip"}
    server.queue.append(Reply(damaged, headers=headers))
    server.queue.append(Reply(damaged, headers=headers))
    try:
        plain: bytes | None = httpx2.get(server.url).content
    except httpx2.DecodingError:
        plain = None
    with taped(path, "new") as entry:
        if plain is None:
            with pytest.raises(httpx2.DecodingError):
                httpx2.get(server.url)
        else:
            assert httpx2.get(server.url).content == plain
    assert entry.report.counts.recorded == (plain is not None)
    assert len(entry.report.notes) == (plain is None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "body", [b"<html>gateway</html>", b"", b"\xff\xfe binary", b'{"half": ', b"data: no end", b"line\nline\n"]
)
def test_any_body_comes_back_to_the_byte(path: Path, server: StubServer, body: bytes) -> None:
    server.queue.append(Reply(body, headers={"content-type": "text/html", "x-request-id": "1"}))
    with taped(path, "new"):
        assert httpx2.get(server.url).content == body
    with taped(path):
        answer = httpx2.get(server.url)
    assert answer.content == body
    assert dict(answer.headers) == {"content-type": "text/html"}


@pytest.mark.slow
def test_a_request_body_that_is_streamed_is_read_once(path: Path, server: StubServer) -> None:
    def parts() -> Iterator[bytes]:
        yield b"one "
        yield b"two"

    async def async_parts() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def ask() -> Any:
        async with httpx2.AsyncClient() as client:
            return (await client.post(server.url, content=async_parts())).json()

    with taped(path, "new"):
        first = httpx2.post(server.url, content=parts()).json()
        second = asyncio.run(ask())
    assert (first["body"], second["body"]) == ("one two", "one two")
    assert (first["n"], second["n"]) == (1, 2)
    with taped(path):
        assert httpx2.post(server.url, content=parts()).json() == first
        assert asyncio.run(ask()) == second


def test_trial_and_purpose_are_those_of_who_asked(path: Path, server: StubServer) -> None:
    server.queue.append(stream(EVENTS))
    with taped(path, "new"), sync_client(server.url) as client:
        with recorder.run_as_trial(3), recorder.set_purpose("judge"):
            answer = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            next(answer)
        list(answer)
        assert exchanges()[0].purpose == "judge"
    assert list(stored(path)[0]["answers"]) == ["3"]


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        msg = "disk full"
        raise CassetteError(msg)

    monkeypatch.setattr(Journal, "append", full)


def test_a_full_disk_stops_the_test_before_more_is_paid(
    path: Path, server: StubServer, full_disk: None
) -> None:
    lines: list[str] = []
    with pytest.raises(CassetteError, match="disk full"), taped(path, "new"):
        try:
            with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=2) as client:
                client.chat.completions.create(model="m", messages=MESSAGES)
        except CassetteMiss as miss:
            lines.append(str(miss))
    assert lines == ["disk full"]
    assert server.count == 1


def test_a_full_disk_under_a_stream_that_was_left_is_still_told(
    path: Path, server: StubServer, full_disk: None
) -> None:
    with pytest.raises(CassetteError, match="disk full"), taped(path, "new"), pytest.raises(CassetteMiss):
        left_early(server.url)


def test_a_miss_in_a_stream_is_a_miss(path: Path) -> None:
    with (
        taped(path),
        pytest.raises(CassetteMiss),
        openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key=KEY) as client,
    ):
        client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
