from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import openai
import pytest
import requests
from support.clients import CLIENTS, KEY, MESSAGES, async_client, openai_chat, requests_session, sync_client
from support.messages import check_message
from support.server import Reply, StubServer, error_reply, zstd
from support.tapes import stored, taped

from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes.request_key import TapeCounts
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.settings import Settings


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as stub_server:
        yield stub_server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassette.json"


def record_then_replay(path: Path, client: Callable[[str], object], encoding: str = "") -> None:
    with StubServer() as server:
        server.encoding = encoding
        with taped(path, "new") as live:
            first = client(server.url)
        count = server.count
    assert live.report.counts.recorded == count
    assert not live.report.notes
    with taped(path) as replay:
        assert client(server.url) == first
    assert (replay.report.counts.replayed, replay.report.counts.missed, replay.report.counts.stale) == (
        count,
        0,
        0,
    )
    assert KEY.encode() not in path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
def test_what_was_recorded_is_replayed_without_a_server(path: Path, client: Callable[[str], object]) -> None:
    record_then_replay(path, client)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize(
    "client",
    [entry for entry in CLIENTS if entry.__name__ not in ("urllib_request", "openai_streaming_response")],
    ids=lambda client: client.__name__,
)
def test_compressed_answers_are_stored_readable(
    path: Path, client: Callable[[str], object], encoding: str
) -> None:
    record_then_replay(path, client, encoding)
    for row in stored(path):
        for listed in row["answers"].values():
            assert all("base64" not in answer["body"] for answer in listed)


@pytest.mark.skipif(zstd() is None, reason="zstd came with Python 3.14")
def test_zstd_answers(path: Path) -> None:
    record_then_replay(path, openai_chat, "zstd")


def test_prompts_that_swap_places_keep_their_answers(path: Path, server: StubServer) -> None:
    def ask(*texts: str) -> dict[str, str | None]:
        with sync_client(server.url) as client:
            return {
                text: client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])
                .choices[0]
                .message.content
                for text in texts
            }

    with taped(path, "new"):
        first = ask("a", "b", "c")
    with taped(path):
        assert ask("c", "a", "b") == first


@pytest.mark.slow
def test_threads_of_two_libraries_at_once_lose_no_patch(path: Path, server: StubServer) -> None:
    def both(number: int) -> tuple[object, object]:
        with httpx2.Client() as client, requests.Session() as session:
            return (
                session.get(f"{server.url}/requests/{number}").json(),
                client.get(f"{server.url}/httpx2/{number}").json(),
            )

    with taped(path, "new") as live, ThreadPoolExecutor(8) as pool:
        first = list(pool.map(both, range(24)))
    assert live.report.counts.recorded == server.count == 48
    with taped(path) as replay, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(both, range(24))) == first
    assert server.count == 48
    assert replay.report.counts.replayed == 48


def test_an_application_in_this_process_is_left_alone(path: Path) -> None:
    def answer(request: Any) -> Any:
        return httpx2.Response(200, text="in process")

    with taped(path) as first, httpx2.Client(transport=httpx2.MockTransport(answer)) as client:
        assert client.get("https://api.example.invalid/").text == "in process"
    mock = httpx.MockTransport(lambda _: httpx.Response(200, text="too"))
    with taped(path) as other, httpx.Client(transport=mock) as legacy:
        assert legacy.get("https://api.example.invalid/").text == "too"
    assert first.report.counts == other.report.counts == TapeCounts()


def test_allowed_hosts_are_neither_recorded_nor_blocked(path: Path, server: StubServer) -> None:
    for mode in ("none", "new"):
        with taped(path, mode, settings=Settings(allow_hosts=("127.0.0.1",))) as entry:
            requests_session(server.url)
            httpx2.get(server.url)
        assert entry.report.counts == TapeCounts()
    assert server.count == 4
    assert not path.exists()


def test_live_asks_and_writes_nothing(path: Path, server: StubServer) -> None:
    with taped(path, "live"):
        openai_chat(server.url)
        openai_chat(server.url)
    assert server.count == 2
    assert not path.exists()


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 404])
def test_an_error_about_the_question_is_recorded(path: Path, server: StubServer, status: int) -> None:
    server.queue.append(error_reply(status, "no such model"))
    for mode in ("new", "none"):
        with taped(path, mode), pytest.raises(openai.APIStatusError) as caught:
            openai_chat(server.url)
        assert caught.value.status_code == status
        assert "no such model" in caught.value.message
    assert server.count == 1


def test_a_limited_call_is_recorded_with_its_retry_only(path: Path, server: StubServer) -> None:
    server.queue.append(error_reply(429, retry_after_ms="1"))
    server.queue.append(error_reply(500, retry_after_ms="1"))

    def ask() -> str | None:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=3) as client:
            return client.chat.completions.create(model="m", messages=MESSAGES).choices[0].message.content

    with taped(path, "new") as live:
        first = ask()
    assert (server.count, live.report.counts.recorded) == (3, 1)
    assert len(live.report.notes) == 2
    with taped(path) as replay:
        assert ask() == first
    assert replay.report.counts.replayed == 1


@pytest.mark.slow
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
def test_a_miss_reaches_the_test_through_every_client(path: Path, client: Callable[[str], object]) -> None:
    with taped(path) as entry, pytest.raises(CassetteMiss, match="no recording answers"):
        client("http://127.0.0.1:9")
    assert entry.report.counts.missed >= 1


def test_a_miss_is_not_swallowed_by_except_exception(path: Path) -> None:
    def application(url: str) -> object:
        try:
            return openai_chat(url)
        except Exception:  # noqa: BLE001
            return "a friendly fallback"

    with taped(path), pytest.raises(CassetteMiss):
        application("http://127.0.0.1:9")


def test_a_miss_in_gather_surfaces(path: Path, server: StubServer) -> None:
    async def ask(text: str) -> object:
        async with async_client(server.url) as client:
            return await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": text}]
            )

    async def both(*texts: str) -> object:
        return await asyncio.gather(*map(ask, texts))

    with taped(path, "new"):
        asyncio.run(both("a"))
    with taped(path) as entry, pytest.raises(CassetteMiss):
        asyncio.run(both("a", "b"))
    assert entry.report.counts.missed == 1


def test_a_miss_in_a_thread_pool_surfaces(path: Path) -> None:
    with taped(path) as entry, ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(openai_chat, "http://127.0.0.1:9") for _ in range(3)]
        for future in futures:
            with pytest.raises(CassetteMiss):
                future.result()
    assert entry.report.counts.missed == 3


def test_a_redirect_of_aiohttp_is_replayed(path: Path, server: StubServer) -> None:
    async def ask() -> tuple[object, int]:
        async with aiohttp.ClientSession() as session, session.get(f"{server.url}/start") as answer:
            return await answer.json(), len(answer.history)

    server.queue.append(Reply(status=302, headers={"location": "/end"}))
    with taped(path, "new"):
        first = asyncio.run(ask())
    assert first[1] == 1
    with taped(path):
        assert asyncio.run(ask()) == first
    text = path.read_text()
    path.write_text(text.replace('"location": "/end"', '"location": "/elsewhere"'))
    modes: tuple[RecordMode, ...] = ("none", "new")
    for mode in modes:
        with taped(path, mode, passed=False), pytest.raises(CassetteMiss, check=check_message):
            asyncio.run(ask())


def test_another_thread_s_call_is_recorded_too(path: Path, server: StubServer) -> None:
    with taped(path, "new") as entry:
        thread = threading.Thread(target=openai_chat, args=(server.url,))
        thread.start()
        thread.join()
    assert entry.report.counts.recorded == 1
