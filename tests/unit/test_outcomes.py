"""Time-outs of the client, cancelled calls and cut streams: recorded as such, replayed as the same exception at once."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import httpx
import httpx2
import openai
import pytest
import requests
import urllib3
from support.messages import check_message
from support.server import Reply, StubServer, chat_events, stream, wait
from support.tapes import stored, taped
from support.time_limits import TimeLimits

from pytest_llmops import recorder
from pytest_llmops.cassettes import outcome
from pytest_llmops.cassettes.http import live_response
from pytest_llmops.cassettes.outcome import Outcome
from pytest_llmops.cassettes.request_key import Answer
from pytest_llmops.errors import BudgetReached, CassetteError, CassetteMiss

LIMIT_S = 4.0  # shorter than `CANCEL_GRACE_S`; nothing waits for it: `TimeLimits`
LONG_S = 30.0
EVENTS = list(stream(chat_events("one two three")).chunks)
MESSAGES: Any = [{"role": "user", "content": "q"}]
BODY = {"model": "m", "messages": MESSAGES, "stream": True}


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def limits() -> TimeLimits:
    return TimeLimits(LIMIT_S)


@pytest.fixture
def hang(limits: TimeLimits, release: threading.Event) -> Callable[[], None]:
    """What a server does that has sent all it has: the limits of its client are over."""

    def fall_silent() -> None:
        limits.end()
        wait(release)

    return fall_silent


@pytest.fixture
def server(release: threading.Event) -> Iterator[StubServer]:
    with StubServer() as stub:
        yield stub
        release.set()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassette.json"


def read_sync(module: Any, url: str, limit: float) -> None:
    with module.Client(timeout=limit) as client, client.stream("POST", f"{url}/x", json=BODY) as answer:
        for line in answer.iter_lines():
            seen.append(line)


async def read_async(module: Any, url: str, limit: float) -> None:
    async with (
        module.AsyncClient(timeout=limit) as client,
        client.stream("POST", f"{url}/x", json=BODY) as answer,
    ):
        async for line in answer.aiter_lines():
            seen.append(line)


def read_requests(url: str, limit: float) -> None:
    with requests.post(f"{url}/x", json=BODY, timeout=limit, stream=True) as answer:
        for line in answer.iter_lines():
            seen.append(line.decode())


def read_urllib3(url: str, limit: float) -> None:
    with (
        urllib3.PoolManager(retries=False, timeout=limit) as pool,
        closing(pool.request("POST", f"{url}/x", body=json.dumps(BODY), preload_content=False)) as answer,
    ):
        for piece in answer.stream(8):
            seen[:] = ["".join([*seen, piece.decode()])]


def read_http_client(url: str, limit: float) -> None:
    with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=limit)) as connection:
        connection.request("POST", "/x", json.dumps(BODY), {"content-type": "application/json"})
        with connection.getresponse() as answer:
            while piece := answer.read1(8):
                seen[:] = ["".join([*seen, piece.decode()])]


async def read_aiohttp(url: str, limit: float, **more: Any) -> None:
    timeout = aiohttp.ClientTimeout(**(more or {"sock_read": limit}))
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(f"{url}/x", json=BODY) as answer,
    ):
        async for line in answer.content:
            seen.append(line.decode().rstrip("\n"))


async def read_aiohttp_whole(url: str, limit: float) -> None:
    timeout = aiohttp.ClientTimeout(total=limit)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        await session.post(f"{url}/x", json=BODY) as answer,
    ):
        await answer.json()


def read_openai(url: str, limit: float) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0, timeout=limit) as client:
        for chunk in client.chat.completions.create(model="m", messages=MESSAGES, stream=True):
            seen.append(chunk.choices[0].delta.content or "" if chunk.choices else "")


async def read_openai_async(url: str, limit: float, **more: Any) -> None:
    how: Any = {"base_url": f"{url}/v1", "api_key": "k", "max_retries": 0, "timeout": limit, **more}
    async with openai.AsyncOpenAI(**how) as client:
        events = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        async for chunk in events:
            seen.append(chunk.choices[0].delta.content or "" if chunk.choices else "")


def in_loop(read: Callable[..., Any], **more: Any) -> Callable[[str, float], None]:
    def run(url: str, limit: float) -> None:
        asyncio.run(read(url, limit, **more))

    return run


seen: list[str] = []
"""What the client of the running test got before its call ended."""
CLIENTS: dict[str, Callable[[str, float], Any]] = {
    "httpx": partial(read_sync, httpx),
    "httpx2": partial(read_sync, httpx2),
    "httpx async": in_loop(partial(read_async, httpx)),
    "httpx2 async": in_loop(partial(read_async, httpx2)),
    "requests": read_requests,
    "urllib3": read_urllib3,
    "http.client": read_http_client,
    "aiohttp": in_loop(read_aiohttp),
    "aiohttp total": in_loop(read_aiohttp, total=LIMIT_S),
    "aiohttp whole": in_loop(read_aiohttp_whole),
    "openai": read_openai,
    "openai async": in_loop(read_openai_async),
}


def ends(read: Callable[[str, float], Any], url: str, limit: float = LIMIT_S) -> tuple[type, list[str]]:
    """Return the class of the exception, and what was read before."""
    seen.clear()
    with pytest.raises(BaseException) as caught:
        read(url, limit)
    assert not isinstance(caught.value, (CassetteMiss, AssertionError))
    return type(caught.value), list(seen)


def replays(
    path: Path, read: Callable[[str, float], Any], url: str, wait_s: float = 0.0
) -> tuple[type, list[str]]:
    """Return how the replay ends; it must not wait for the limit of the client, nor longer than given."""
    limits = TimeLimits(LIMIT_S)
    limits.end()
    with taped(path) as tape:
        with limits.patched():
            ended = ends(read, url, LONG_S)
        assert limits.waited_s == wait_s
        (exchange,) = recorder.list_exchanges()
        assert exchange.replayed
    assert tape.verdict() is None
    return ended


@pytest.mark.slow
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("began", [False, True], ids=["no byte", "amid a stream"])
def test_a_time_out_is_replayed(  # noqa: PLR0917 -- fixtures
    path: Path,
    server: StubServer,
    release: threading.Event,
    limits: TimeLimits,
    hang: Callable[[], None],
    client: str,
    began: bool,
) -> None:
    if began:
        server.queue.append(stream(EVENTS, before_chunk=lambda n: hang() if n == 2 else None))
    else:
        server.queue.append(Reply(b"{}", before=hang))
    with taped(path, "new") as tape, limits.patched():
        live = ends(CLIENTS[client], server.url)
    assert tape.report.counts.recorded == 1
    (note,) = tape.report.notes
    assert "--llm-record=all" in note
    release.set()
    server.close()
    assert replays(path, CLIENTS[client], server.url) == live
    assert bool(live[1]) == (began and "whole" not in client)
    ((answer,),) = (entry["answers"]["0"] for entry in stored(path))
    assert answer["status"] == (200 if began else 0)


@pytest.mark.slow
@pytest.mark.parametrize("client", [name for name in CLIENTS if name != "aiohttp total"])
@pytest.mark.parametrize("before", [1, 3])
def test_a_cut_stream_is_replayed(path: Path, server: StubServer, client: str, before: int) -> None:
    server.queue.append(stream(EVENTS, cut_after=before))
    with taped(path, "new") as tape:
        live = ends(CLIENTS[client], server.url, 10.0)
    assert tape.report.counts.recorded == 1
    server.close()
    assert replays(path, CLIENTS[client], server.url) == live


async def within_asyncio(url: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        await read_async(httpx2, url, LONG_S)


async def within_wait_for(url: str) -> None:
    await asyncio.wait_for(read_openai_async(url, LONG_S), LIMIT_S)


async def within_anyio(url: str) -> None:
    with anyio.fail_after(LIMIT_S):
        await read_async(httpx, url, LONG_S)


async def within_aiohttp(url: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        await read_aiohttp(url, LONG_S)


async def cancelled_by_hand(url: str) -> None:
    task = asyncio.create_task(read_openai_async(url, LONG_S))
    await asyncio.wait([task], timeout=LIMIT_S)
    task.cancel()
    await task


CANCELS = [within_asyncio, within_wait_for, within_anyio, within_aiohttp, cancelled_by_hand]


@pytest.mark.slow
@pytest.mark.parametrize("ask", CANCELS)
@pytest.mark.parametrize("began", [False, True], ids=["no byte", "amid a stream"])
def test_a_cancelled_call_is_replayed(  # noqa: PLR0917 -- fixtures
    path: Path,
    server: StubServer,
    release: threading.Event,
    limits: TimeLimits,
    hang: Callable[[], None],
    ask: Callable[..., Any],
    began: bool,
) -> None:
    if began:
        server.queue.append(stream(EVENTS, before_chunk=lambda n: hang() if n == 2 else None))
    else:
        server.queue.append(Reply(b"{}", before=hang))
    with taped(path, "new") as tape, limits.patched():
        live = ends(lambda url, _: asyncio.run(ask(url)), server.url)
    assert tape.report.counts.recorded == 1
    release.set()
    server.close()
    wait_s = LIMIT_S if ask is cancelled_by_hand else 0.0
    assert replays(path, lambda url, _: asyncio.run(ask(url)), server.url, wait_s) == live


def test_a_replayed_cancel_does_not_wait_for_the_time_limit(path: Path) -> None:
    async def ask(url: str) -> None:
        async with asyncio.timeout(LONG_S):
            await read_async(httpx2, url, 60.0)

    write_outcome(path, "CancelledError")
    assert replays(path, lambda url, _: asyncio.run(ask(url)), "http://localhost:1")[0] is TimeoutError


def write_outcome(path: Path, error: str, **more: Any) -> None:
    """Write a cassette whose only answer is an outcome, as it is recorded by any client."""
    with taped(path, "new") as tape:
        question = tape.make_question(
            "POST", "http://localhost:1/x", {"content-type": "application/json"}, json.dumps(BODY).encode()
        )
        answer = Answer(0, {}, b"", 0.01, outcome=Outcome("ReadTimeout", "too slow"))
        tape.record(question, answer)
    document = json.loads(path.read_text())
    document["interactions"][0]["answers"]["0"][0] |= {
        "outcome": {"error": error, "text": "too slow"},
        **more,
    }
    path.write_text(json.dumps(document))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("client", "error", "raised", "text"),
    [
        ("httpx", "SocketTimeoutError", httpx.ReadTimeout, "too slow"),
        ("httpx2 async", "TimeoutError", httpx2.ReadTimeout, "too slow"),
        ("httpx2", "ConnectTimeoutError", httpx2.ConnectTimeout, "too slow"),
        ("httpx2", "PoolTimeout", httpx2.PoolTimeout, "too slow"),
        ("aiohttp", "ReadTimeout", aiohttp.SocketTimeoutError, "too slow"),
        ("aiohttp", "ConnectTimeout", aiohttp.ConnectionTimeoutError, "too slow"),
        ("requests", "ConnectTimeout", requests.ConnectTimeout, "too slow"),
        ("requests", "WriteTimeout", requests.ReadTimeout, "Read timed out"),  # its own words
        ("http.client", "ConnectTimeout", TimeoutError, "too slow"),
    ],
)
def test_an_outcome_is_raised_as_the_client_of_the_replay_names_it(
    path: Path, client: str, error: str, raised: type, text: str
) -> None:
    url = "http://localhost:1"
    write_outcome(path, error)
    with taped(path), pytest.raises(raised) as caught:
        CLIENTS[client](url, LONG_S)
    assert text in str(caught.value)


@pytest.mark.parametrize("client", ["httpx", "requests"])
def test_a_cancelled_call_cannot_be_replayed_to_a_synchronous_client(path: Path, client: str) -> None:
    write_outcome(path, "CancelledError")
    with taped(path), pytest.raises(CassetteMiss) as caught:
        CLIENTS[client]("http://localhost:1", LONG_S)
    check_message(str(caught.value))


def test_a_call_that_nothing_cancels_any_more_is_a_miss(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "CANCEL_GRACE_S", 0.02)
    write_outcome(path, "CancelledError")
    with taped(path), pytest.raises(CassetteMiss) as caught:
        CLIENTS["httpx2 async"]("http://localhost:1", LONG_S)
    check_message(str(caught.value))


def test_an_unknown_outcome_is_a_damaged_cassette(path: Path) -> None:
    write_outcome(path, "Client")
    with taped(path), pytest.raises(CassetteMiss) as caught:
        CLIENTS["httpx2"]("http://localhost:1", LONG_S)
    check_message(str(caught.value))


@pytest.mark.parametrize("wrong", [None, {"error": "ReadTimeout"}, {"error": 1, "text": ""}])
def test_an_outcome_of_another_shape_is_a_damaged_cassette(path: Path, wrong: Any) -> None:
    write_outcome(path, "ReadTimeout", outcome=wrong)
    with pytest.raises(CassetteError), taped(path):
        pass


def test_a_limit_of_ours_is_not_an_outcome(path: Path, server: StubServer, release: threading.Event) -> None:
    async def both(url: str) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(read_async(httpx2, url, LONG_S))
            group.create_task(spend(tape))

    async def spend(tape: Any) -> None:
        while not server.count:  # noqa: ASYNC110 -- set in a thread
            await asyncio.sleep(0)
        tape.costs.refusals.append("the budget is spent")
        raise BudgetReached("the budget is spent")

    server.queue.append(Reply(b"{}", before=partial(wait, release)))
    with taped(path, "new") as tape, pytest.raises(BaseExceptionGroup):
        asyncio.run(both(server.url))
    assert (tape.report.counts.recorded, path.exists()) == (0, False)


@pytest.mark.slow
def test_a_time_out_of_a_judge_is_not_an_outcome(
    path: Path, server: StubServer, limits: TimeLimits, hang: Callable[[], None]
) -> None:
    server.queue.append(Reply(b"{}", before=hang))
    with (
        taped(path, "new") as tape,
        recorder.set_purpose("judge"),
        limits.patched(),
        pytest.raises(httpx2.ReadTimeout),
    ):
        read_sync(httpx2, server.url, LIMIT_S)
    assert (tape.report.counts.recorded, path.exists()) == (0, False)
    assert len(tape.report.notes) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "client", [name for name in CLIENTS if name not in ("aiohttp total", "aiohttp whole")]
)
@pytest.mark.parametrize("began", [False, True], ids=["no byte", "amid a stream"])
def test_a_server_that_is_silent_fails_the_test(  # noqa: PLR0917 -- fixtures
    path: Path,
    server: StubServer,
    release: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    client: str,
    began: bool,
) -> None:
    monkeypatch.setattr(live_response, "SILENCE_LIMIT_S", 0.1)
    hang = partial(wait, release)
    if began:
        server.queue.append(stream(EVENTS, before_chunk=lambda n: hang() if n == 2 else None))
    else:
        server.queue.append(Reply(b"{}", before=hang))
    with taped(path, "new") as tape, pytest.raises(CassetteMiss) as caught:
        CLIENTS[client](server.url, LONG_S)
    assert server.url.removeprefix("http://") in str(caught.value)
    assert isinstance(tape.verdict(), CassetteMiss)
    assert not path.exists()
