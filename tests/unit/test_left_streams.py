"""Streams that the application leaves: nobody waits for their end, and the part that came is what a replay has."""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import openai
import pytest
import requests
import urllib3
from support.messages import check_message
from support.server import Reply, StubServer, chat_events, json_reply, stream, wait
from support.tapes import stored, taped

from pytest_llmops import recorder
from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes.journal import Journal, JournalEntry
from pytest_llmops.errors import CassetteError, CassetteMiss
from pytest_llmops.redaction.redactor import Redactor

EVENTS = list(stream(chat_events("one two three")).chunks)
MESSAGES: Any = [{"role": "user", "content": "q"}]
BODY = {"model": "m", "messages": MESSAGES, "stream": True}
HELD = 3
"""The event that the server does not send while the application is there."""


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def server(release: threading.Event) -> Iterator[StubServer]:
    with StubServer() as stub:
        yield stub
        release.set()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassette.json"


def read_lines(lines: Iterator[Any], count: int) -> list[str]:
    """Return the first lines; the iterator is left where it is."""
    return [str(next(lines, None)) for _ in range(count)]


async def read_lines_async(lines: AsyncIterator[Any], count: int) -> list[str]:
    return [str(await anext(lines, None)) for _ in range(count)]


def by_httpx(module: Any, url: str, count: int) -> list[str]:
    with module.Client() as client, client.stream("POST", f"{url}/x", json=BODY) as answer:
        return read_lines(answer.iter_lines(), count)


async def by_httpx_async(module: Any, url: str, count: int) -> list[str]:
    async with module.AsyncClient() as client, client.stream("POST", f"{url}/x", json=BODY) as answer:
        return await read_lines_async(answer.aiter_lines(), count)


def by_openai(url: str, count: int) -> list[str]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
        events = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        with events:
            return read_lines(events, count)


async def by_openai_async(url: str, count: int, **how: Any) -> list[str]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0, **how) as client:
        events = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        async with events:
            return await read_lines_async(events, count)


def by_requests(url: str, count: int) -> list[str]:
    with requests.post(f"{url}/x", json=BODY, stream=True, timeout=20) as answer:
        return read_lines(answer.iter_lines(), count)


def by_urllib3(url: str, count: int) -> list[str]:
    with (
        urllib3.PoolManager(retries=False) as pool,
        closing(pool.request("POST", f"{url}/x", body=json.dumps(BODY), preload_content=False)) as answer,
    ):
        return read_lines(answer.stream(30), count)


def by_http_client(url: str, count: int) -> list[str]:
    with closing(http.client.HTTPConnection(url.removeprefix("http://"))) as connection:
        connection.request("POST", "/x", json.dumps(BODY), {"content-type": "application/json"})
        with connection.getresponse() as answer:
            return read_lines(iter(answer), count)


async def by_aiohttp(url: str, count: int) -> list[str]:
    async with aiohttp.ClientSession() as session, session.post(f"{url}/x", json=BODY) as answer:
        return await read_lines_async(aiter(answer.content), count)


async def by_aiohttp_closed(url: str, count: int) -> list[str]:
    async with aiohttp.ClientSession() as session:
        answer = await session.post(f"{url}/x", json=BODY)
        lines = await read_lines_async(aiter(answer.content), count)
        answer.close()
        return lines


def in_loop(read: Callable[..., Any]) -> Callable[[str, int], list[str]]:
    def run(url: str, count: int) -> list[str]:
        lines: list[str] = asyncio.run(read(url, count))
        return lines

    return run


CLIENTS: dict[str, Callable[[str, int], list[str]]] = {
    "httpx": partial(by_httpx, httpx),
    "httpx2": partial(by_httpx, httpx2),
    "httpx async": in_loop(partial(by_httpx_async, httpx)),
    "httpx2 async": in_loop(partial(by_httpx_async, httpx2)),
    "openai": by_openai,
    "openai async": in_loop(by_openai_async),
    "requests": by_requests,
    "urllib3": by_urllib3,
    "http.client": by_http_client,
    "aiohttp": in_loop(by_aiohttp),
    "aiohttp closed": in_loop(by_aiohttp_closed),
}


@pytest.mark.slow
@pytest.mark.parametrize("client", CLIENTS)
def test_a_stream_that_is_left_is_not_waited_for(
    path: Path, server: StubServer, release: threading.Event, client: str
) -> None:
    server.queue.append(stream(EVENTS, before_chunk=lambda n: wait(release) if n == HELD else None))
    with taped(path, "new") as tape:
        lines = CLIENTS[client](server.url, 2)
        (exchange,) = recorder.list_exchanges()
    assert not release.is_set()
    assert (tape.report.counts.recorded, tape.report.notes) == (1, [])
    came = b"".join(EVENTS[:HELD])
    assert came.startswith(exchange.body)
    assert exchange.body
    release.set()
    server.close()
    with taped(path) as tape:
        assert CLIENTS[client](server.url, 2) == lines
        (replayed,) = recorder.list_exchanges()
    assert replayed.body == exchange.body
    assert (tape.verdict(), tape.report.counts.stale) == (None, 0)
    with taped(path) as tape, pytest.raises(CassetteMiss) as caught:
        CLIENTS[client](server.url, 40)
    assert str(tape.verdict()) == str(caught.value)
    check_message(str(caught.value))


@pytest.mark.slow
@pytest.mark.parametrize("client", ["httpx2", "httpx async", "requests", "aiohttp"])
def test_a_compressed_stream_that_is_left_is_readable(path: Path, server: StubServer, client: str) -> None:
    events = list(stream(chat_events(" ".join(map(str, range(3000))))).chunks)
    server.queue.append(stream(events, encoding="gzip"))
    with taped(path, "new") as tape:
        lines = CLIENTS[client](server.url, 3)
    assert (tape.report.counts.recorded, tape.report.notes) == (1, [])
    ((answer,),) = (entry["answers"]["0"] for entry in stored(path))
    assert "content-encoding" not in answer["headers"]
    with taped(path) as tape:
        assert CLIENTS[client](server.url, 3) == lines
    assert tape.verdict() is None


@pytest.mark.slow
@pytest.mark.parametrize("client", ["openai", "openai async"])
def test_a_stream_that_states_its_end_is_whole(
    path: Path, server: StubServer, release: threading.Event, client: str
) -> None:
    late = [*EVENTS, b": late\n\n"]
    server.queue.append(stream(late, before_chunk=lambda n: wait(release) if n == len(EVENTS) else None))
    with taped(path, "new") as tape:
        lines = CLIENTS[client](server.url, 40)
    assert not release.is_set()
    assert (tape.report.counts.recorded, tape.report.notes) == (1, [])
    ((answer,),) = (entry["answers"]["0"] for entry in stored(path))
    assert "outcome" not in answer
    with taped(path):
        assert CLIENTS[client](server.url, 40) == lines


@pytest.mark.slow
@pytest.mark.parametrize("last", ["[DONE]", '{"type": "message_stop"}', '{"type":"message_stop","x":{}}'])
def test_the_last_event_of_a_vendor_is_an_end(
    path: Path, server: StubServer, release: threading.Event, last: str
) -> None:
    server.queue.append(stream(["1", last, "late"], before_chunk=lambda n: wait(release) if n == 2 else None))
    with taped(path, "new"):
        lines = by_httpx(httpx2, server.url, 4)
    ((answer,),) = (entry["answers"]["0"] for entry in stored(path))
    assert "outcome" not in answer
    with taped(path):
        assert by_httpx(httpx2, server.url, 5) == [*lines, "None"]


def test_a_text_that_looks_like_a_last_event_is_no_end(path: Path, server: StubServer) -> None:
    server.queue.append(
        replace(stream([EVENTS[0], b'data: "it ends with data: [DONE]', b'"\n\n']), cut_after=2)
    )
    with (
        taped(path, "new"),
        httpx2.Client() as client,
        client.stream("POST", f"{server.url}/x", json=BODY) as answer,
        pytest.raises(httpx2.TransportError),
    ):
        answer.read()
    ((recorded,),) = (entry["answers"]["0"] for entry in stored(path))
    assert recorded["outcome"]["error"] == "RemoteProtocolError"


@pytest.mark.slow
@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefg",
        "Bearer abCdefgh",
        "A1b2C3d4E5f6G7h8I9",
        "zebra-plum",
        "-----BEGIN PRIVATE KEY-----MIIE",
    ],
)
def test_half_a_secret_where_a_stream_was_left_is_not_kept(
    path: Path, server: StubServer, release: threading.Event, secret: str, *, scattered: bool
) -> None:
    pieces = list(f"it is {secret}") if scattered else []
    first = b"".join(b'data: {"id": "c-1", "text": "%c"}\n\n' % ord(piece) for piece in pieces)
    first = first or f'data: "it is {secret}'.encode()
    server.queue.append(stream([first, b'"\n\n'], before_chunk=lambda n: wait(release) if n else None))
    with (
        taped(path, "new", redactor=Redactor(known={"zebra-plumbago"})),
        httpx2.Client() as client,
        client.stream("POST", f"{server.url}/x", json=BODY) as answer,
    ):
        assert next(answer.iter_raw()) == first
    with taped(path):
        with httpx2.Client() as client, client.stream("POST", f"{server.url}/x", json=BODY) as answer:
            next(answer.iter_raw())
        kept = recorder.list_exchanges()[0].body
    texts = "".join(json.loads(line[6:])["text"] for line in kept.decode().splitlines() if pieces and line)
    assert kept.count(b"c-1") == len(pieces)
    text = texts.removesuffix("[secret]") if pieces else kept.decode().removeprefix('data: "')
    assert f"it is {secret}".startswith(text)
    assert text == "it is "


def test_an_answer_of_a_known_length_is_whole(path: Path, server: StubServer) -> None:
    def read(*, further: bool) -> list[bytes]:
        with httpx2.Client() as client, client.stream("GET", f"{server.url}/x") as answer:
            parts = answer.iter_raw()
            return [next(parts), *(parts if further else ())]

    server.queue.append(json_reply({"a": 1}))
    with taped(path, "new"):
        first = read(further=False)
    with taped(path):
        assert read(further=True) == first


@pytest.mark.slow
def test_an_answer_that_is_forgotten_is_recorded_as_left(path: Path, server: StubServer) -> None:
    server.queue.extend([stream(EVENTS), stream(EVENTS)])
    with taped(path, "new") as tape, closing(httpx2.Client()) as client:
        forgotten = client.send(client.build_request("POST", f"{server.url}/x", json=BODY), stream=True)
        first = next(forgotten.iter_raw())
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
        connection.request("GET", "/y")
        other = connection.getresponse()
        tape.close()
        assert (tape.report.counts.recorded, tape.report.notes) == (2, [])
    other.close()
    connection.close()
    del forgotten
    gc.collect()
    answers = [entry["answers"]["0"][0] for entry in stored(path)]
    assert [answer["outcome"]["error"] for answer in answers] == ["left early"] * 2
    with taped(path), httpx2.Client() as again, again.stream("POST", f"{server.url}/x", json=BODY) as answer:
        assert first.startswith(next(answer.iter_raw()))


def test_all_open_answers_end_with_the_test_when_the_disk_is_full(
    path: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_journal: Journal, _entry: JournalEntry) -> None:
        raise CassetteError("the disk is full")

    server.queue.extend([stream(EVENTS), stream(EVENTS)])
    monkeypatch.setattr(Journal, "append", refuse)
    with pytest.raises(CassetteError, match="the disk is full") as caught, taped(path, "new") as tape:
        client = httpx2.Client()
        ask = client.build_request("POST", f"{server.url}/x", json=BODY)
        opened = [client.send(ask, stream=True) for _ in range(2)]
        assert len(tape.unfinished) == len(opened)
    client.close()
    assert (caught.type, tape.unfinished) == (CassetteError, {})


@pytest.mark.slow
def test_an_answer_that_a_thread_still_reads_is_not_ended(
    path: Path, server: StubServer, release: threading.Event
) -> None:
    began = threading.Event()
    bodies = []

    def read() -> None:
        with httpx2.Client() as client, client.stream("POST", f"{server.url}/x", json=BODY) as answer:
            parts = answer.iter_raw()
            first = next(parts)
            began.set()
            bodies.append(first + b"".join(parts))

    server.queue.append(stream(EVENTS, before_chunk=lambda n: wait(release) if n == HELD else None))
    thread = threading.Thread(target=read)
    with taped(path, "new") as tape:
        thread.start()
        wait(began)
    assert tape.report.counts.recorded == 0
    check_message(tape.report.notes)
    release.set()
    thread.join()
    assert bodies == [b"".join(EVENTS)]
    with taped(path) as tape:
        read()
    assert bodies[1] == bodies[0]


@pytest.mark.slow
@pytest.mark.parametrize(("encoding", "whole"), [("", False), ("br", False), ("br", True)])
def test_what_is_left_by_a_judge_or_cannot_be_read_is_noted(
    path: Path, server: StubServer, encoding: str, *, whole: bool
) -> None:
    """What is still compressed may hold a secret, also if all of it has come."""
    reply = stream(EVENTS)
    if encoding:
        headers = {**reply.headers, "content-encoding": encoding}
        reply = Reply(b"\x0b{}") if whole else Reply(chunks=EVENTS)
        reply = replace(reply, headers=headers)
    server.queue.append(reply)
    purpose = "app" if encoding else "judge"
    with (
        taped(path, "new") as tape,
        recorder.set_purpose(purpose),
        httpx2.Client() as client,
        client.stream("POST", f"{server.url}/x", json=BODY) as answer,
    ):
        next(answer.iter_raw())
    assert (tape.report.counts.recorded, path.exists()) == (0, False)
    check_message(tape.report.notes)


@pytest.mark.slow
@pytest.mark.parametrize("left_first", [True, False])
def test_a_part_of_a_stream_is_not_compared(path: Path, server: StubServer, *, left_first: bool) -> None:
    server.queue.extend([stream(EVENTS), stream(EVENTS)])
    modes: list[RecordMode] = ["new", "verify"]
    for mode, left in zip(modes, (left_first, not left_first), strict=True):
        with taped(path, mode) as tape:
            by_httpx(httpx2, server.url, 2 if left else 40)
    assert (tape.report.counts.verified, tape.report.drifts) == (0, [])
    check_message(tape.report.notes)
