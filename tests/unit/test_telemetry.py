"""Traces that SDKs send to their own service: neither recorded nor a miss, with any HTTP client."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import aiohttp
import httpx
import pytest
from support.server import StubServer
from support.tapes import taped

from pytest_llmops import recorder
from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes.http.child_processes import TapeServer
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.telemetry import has_telemetry_address, is_telemetry
from pytest_llmops.errors import CassetteMiss

PROTOBUF = {"content-type": "application/x-protobuf"}
SPANS = b"\x0a\x02hi"
Send = Callable[[str], tuple[int, bytes]]


def send_by_httpx(url: str) -> tuple[int, bytes]:
    reply = httpx.post(url, content=SPANS, headers=PROTOBUF)
    return reply.status_code, reply.content


def send_by_async_httpx(url: str) -> tuple[int, bytes]:
    async def send() -> tuple[int, bytes]:
        async with httpx.AsyncClient() as client:
            reply = await client.post(url, content=SPANS, headers=PROTOBUF)
            return reply.status_code, reply.content

    return asyncio.run(send())


def send_by_urllib(url: str) -> tuple[int, bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, SPANS, PROTOBUF)) as reply:
        return reply.status, reply.read()


def send_by_aiohttp(url: str) -> tuple[int, bytes]:
    async def send() -> tuple[int, bytes]:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=SPANS, headers=PROTOBUF) as reply,
        ):
            return reply.status, await reply.read()

    return asyncio.run(send())


SENDERS = [send_by_httpx, send_by_async_httpx, send_by_urllib, send_by_aiohttp]


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as stub_server:
        yield stub_server


@pytest.mark.slow
@pytest.mark.parametrize("send", SENDERS)
def test_traces_go_out_unrecorded_and_a_replay_answers_them(
    server: StubServer, tmp_path: Path, send: Send
) -> None:
    path = tmp_path / "cassette.json"
    url = f"{server.url}/v1/traces"
    with taped(path, "new") as tape:
        send(url)
    assert [(seen.path, seen.body) for seen in server.seen] == [("/v1/traces", SPANS)]
    assert not path.exists()
    assert tape.report.notes == []
    with taped(path) as tape:
        assert send(url) == (200, b"")
    assert server.count == 1
    assert tape.report.misses == []
    assert tape.counts.replayed == 0


@pytest.mark.parametrize("mode", ["new", "none"])
def test_traces_of_a_child_process_are_no_calls_of_the_test(tmp_path: Path, mode: RecordMode) -> None:
    unfinished: dict[int, Tape] = {}
    with closing(TapeServer()) as tapes, taped(tmp_path / "cassette.json", mode) as tape:
        request = ("POST", "http://localhost:4318/v1/traces", PROTOBUF, SPANS)
        question = tapes._call_tape(unfinished, tape, "make_question", request)
        answer = tapes._call_tape(unfinished, tape, "claim", (question,))
        assert recorder.list_exchanges() == ()
    assert (answer is None) == (mode == "new")
    assert unfinished == {}  # or there would be a note of a call that was not recorded


def test_a_replay_answers_traces_for_a_host_of_models_as_json(tmp_path: Path) -> None:
    with taped(tmp_path / "cassette.json") as tape:
        reply = httpx.post("https://api.openai.com/v1/traces/ingest", json={"data": []})
        assert (reply.status_code, reply.json()) == (200, {})
        with pytest.raises(CassetteMiss):
            httpx.post("https://api.openai.com/v1/responses", json={"model": "m"})
    assert len(tape.report.misses) == 1


RUN = "0192f3a0-0000-4000-8000-000000000000"
JSON = "application/json"


@pytest.mark.parametrize(
    ("method", "url", "content_type", "body"),
    [
        ("POST", "https://api.openai.com/v1/traces/ingest", JSON, b'{"data": []}'),
        ("POST", "https://api.smith.langchain.com/runs/multipart", "multipart/form-data; boundary=a", b""),
        ("POST", "https://eu.api.smith.langchain.com/runs/batch", JSON, b"{}"),
        ("PATCH", f"https://api.smith.langchain.com/runs/{RUN}", JSON, b"{}"),
        ("GET", "https://api.smith.langchain.com/info", "", b""),
        ("POST", "https://langfuse.shop.example/api/public/ingestion", JSON, b'{"batch": []}'),
        ("POST", "https://langfuse.shop.example/api/public/otel/v1/traces", PROTOBUF["content-type"], SPANS),
        ("POST", "https://logfire-us.pydantic.dev/v1/metrics", PROTOBUF["content-type"], SPANS),
        ("POST", "https://telemetry.crewai.com:4319/v1/traces", PROTOBUF["content-type"], SPANS),
        ("POST", "http://localhost:6006/v1/traces", JSON, b'{"resourceSpans": []}'),
        ("POST", "https://us.i.posthog.com/batch/", JSON, b"{}"),
        ("POST", "https://o1.ingest.us.sentry.io/api/42/envelope/", "application/x-sentry-envelope", b"{}"),
    ],
)
def test_what_tracing_sdks_send(method: str, url: str, content_type: str, body: bytes) -> None:
    assert is_telemetry(method, url, content_type, body)
    assert has_telemetry_address(method, url)


def test_calls_of_models_have_other_addresses() -> None:
    for url in ("https://api.openai.com/v1/responses", "https://shop.example/v1/traces/1", "http://["):
        assert not has_telemetry_address("POST", url)
    assert not has_telemetry_address("GET", "https://shop.example/v1/traces")


@pytest.mark.parametrize(
    ("method", "url", "content_type", "body"),
    [
        ("POST", "https://api.smith.langchain.com/runs/query", JSON, b"{}"),
        ("GET", "https://api.smith.langchain.com/datasets", "", b""),
        ("GET", f"https://api.smith.langchain.com/runs/{RUN}", "", b""),
        ("GET", "https://langfuse.shop.example/api/public/v2/prompts/greeting", "", b""),
        ("POST", "https://us.i.posthog.com/flags/", JSON, b"{}"),
        ("POST", "https://shop.example/v1/logs", JSON, b'{"text": "hi"}'),
        ("POST", "https://shop.example/api/public/ingestion", JSON, b'{"document": "hi"}'),
        ("POST", "https://shop.example/v1/logs", JSON, b'{"batch": []}'),
        ("POST", "https://shop.example/v1/traces/ingest", JSON, b"{}"),
        ("GET", "https://shop.example/v1/traces", PROTOBUF["content-type"], b""),
        ("POST", "http://[", PROTOBUF["content-type"], b""),
    ],
)
def test_what_a_test_asks_such_a_service_otherwise_is_a_call(
    method: str, url: str, content_type: str, body: bytes
) -> None:
    assert not is_telemetry(method, url, content_type, body)
