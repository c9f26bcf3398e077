"""http.client, urllib3 and requests: the real connection answers, live and from a recording."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import urllib3
from support.messages import check_message
from support.server import Reply, StubServer, chat_events, closed_port, json_reply, stream, wait
from support.tapes import stored, taped

from pytest_llmops import recorder
from pytest_llmops.cassettes.journal import Journal
from pytest_llmops.errors import CassetteError, CassetteMiss
from pytest_llmops.settings import Settings

EVENTS = list(stream(chat_events("one two three")).chunks)
BODY = b"".join(EVENTS)


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as stub_server:
        yield stub_server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassette.json"


_opened: list[http.client.HTTPConnection] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close the connections that a test has opened."""
    yield
    while _opened:
        _opened.pop().close()


def connection(url: str) -> http.client.HTTPConnection:
    h_t_t_p_connection = http.client.HTTPConnection(urlsplit(url).netloc)
    _opened.append(h_t_t_p_connection)
    return h_t_t_p_connection


def asked(url: str, method: str = "GET", place: str = "/x") -> http.client.HTTPResponse:
    entry = connection(url)
    entry.request(method, place)
    return entry.getresponse()


def told() -> Any:
    top = recorder.current_recorder()
    assert top is not None
    return list(top.exchanges)


def test_the_first_event_comes_before_the_server_sends_the_last(path: Path, server: StubServer) -> None:
    received = threading.Event()
    last = len(EVENTS) - 1
    server.queue.append(stream(EVENTS, before_chunk=lambda n: wait(received) if n == last else None))
    with taped(path, "new") as live, requests.get(f"{server.url}/x", stream=True, timeout=20) as answer:
        parts = answer.iter_content(None)
        first = next(parts)
        received.set()
        rest = list(parts)
        (request,) = told()
    assert EVENTS[0].startswith(first[:20])
    assert first + b"".join(rest) == BODY == request.body
    assert request.ttft_s is not None
    assert request.ttft_s <= request.latency_s
    assert (live.report.counts.recorded, live.report.notes) == (1, [])


def test_a_recorded_stream_comes_event_by_event(path: Path, server: StubServer) -> None:
    server.queue.append(stream(EVENTS))
    with taped(path, "new"):
        requests.get(f"{server.url}/x", timeout=20)
    with taped(path):
        with requests.get(f"{server.url}/x", stream=True, timeout=20) as answer:
            assert list(answer.iter_content(None)) == EVENTS
        with taped(path), urllib3.PoolManager() as pool:
            raw = pool.request("GET", f"{server.url}/x", preload_content=False)
            assert list(raw.read_chunked()) == EVENTS
    assert server.count == 1


def test_a_recorded_answer_is_of_the_client_s_own_kind(path: Path, server: StubServer) -> None:
    result = []
    for mode in ("new", "none"):
        with taped(path, mode), urllib3.PoolManager() as pool:
            pooled = pool.request("GET", f"{server.url}/pooled")
            plain = asked(server.url)
            result.append(
                (pooled.status, pooled.reason, pooled.json(), plain.status, plain.reason, plain.read())
            )
            assert type(pooled) is urllib3.HTTPResponse
            assert type(plain) is http.client.HTTPResponse
    assert result[0] == result[1]
    assert server.count == 2


@pytest.mark.slow
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_answers_without_a_body(path: Path, server: StubServer, method: str, status: int) -> None:
    server.queue.append(Reply(b"", status, {"content-type": "text/plain"}))
    for mode in ("new", "none"):
        with taped(path, mode) as tape:
            answer = asked(server.url, method)
            assert (answer.status, answer.read()) == (status, b"")
        assert tape.report.notes == []
    assert server.count == 1


def test_a_body_that_lasts_as_long_as_the_connection(path: Path, server: StubServer) -> None:
    server.queue.append(Reply(b"to the end", headers={"content-type": "text/plain"}, until_closed=True))
    for mode in ("new", "none"):
        with taped(path, mode):
            assert asked(server.url).read() == b"to the end"
    assert server.count == 1


def read_all(answer: http.client.HTTPResponse) -> bytes:
    return answer.read()


def read_parts(answer: http.client.HTTPResponse) -> bytes:
    return b"".join(iter(lambda: answer.read(3), b""))


def read_lines(answer: http.client.HTTPResponse) -> bytes:
    return b"".join(answer.readlines())


def read_into(answer: http.client.HTTPResponse) -> bytes:
    result, buffer = b"", bytearray(5)
    while size := answer.readinto(buffer):
        result += buffer[:size]
    return result


def read_some(answer: http.client.HTTPResponse) -> bytes:
    assert BODY.startswith(answer.peek(1)[:1]) or not BODY
    return b"".join(iter(lambda: answer.read1(7), b""))


@pytest.mark.slow
@pytest.mark.parametrize("chunks", [(), EVENTS], ids=["sized", "chunked"])
@pytest.mark.parametrize("read", [read_all, read_parts, read_lines, read_into, read_some])
def test_every_way_to_read(
    path: Path, server: StubServer, read: Callable[[Any], bytes], chunks: list[bytes]
) -> None:
    server.queue.append(Reply(BODY, headers={"content-type": "text/event-stream"}, chunks=chunks))
    for mode in ("new", "none"):
        with taped(path, mode) as tape:
            assert read(asked(server.url)) == BODY
        assert tape.report.notes == []
    assert stored(path)[0]["answers"]["0"][0]["status"] == 200


def test_a_live_answer_that_is_left_is_left(path: Path, server: StubServer) -> None:
    left = threading.Event()
    server.queue.append(stream(EVENTS, before_chunk=lambda n: wait(left) if n == 2 else None))
    with taped(path, "live"):
        answer = asked(server.url)
        answer.read(4)
        answer.close()
        left.set()
        (request,) = told()
    assert BODY.startswith(request.body)
    assert request.body != BODY


def test_a_server_that_is_down_is_told_and_not_recorded(path: Path) -> None:
    with taped(path, "new") as tape:
        with pytest.raises(ConnectionRefusedError):
            asked(f"http://127.0.0.1:{closed_port()}")
        (entry,) = told()
    assert entry.status is None
    check_message(tape.report.notes)


def test_a_full_disk_stops_the_test_before_more_is_paid(
    path: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        msg = "disk full"
        raise CassetteError(msg)

    monkeypatch.setattr(Journal, "append", full)
    with pytest.raises(CassetteError, match="disk full"), taped(path, "new"), pytest.raises(CassetteMiss):
        requests.get(f"{server.url}/x", timeout=20)
    assert server.count == 1


def test_headers_of_a_recording_cannot_forge_an_answer(path: Path, server: StubServer) -> None:
    server.queue.append(json_reply({"a": 1}))
    with taped(path, "new"):
        asked(server.url).read()
    text = path.read_text(encoding="utf-8").replace(
        "application/json", r"text/x\r\nset-cookie: a=b\r\n\r\nforged"
    )
    path.write_text(text, encoding="utf-8")
    with taped(path):
        answer = asked(server.url)
        assert answer.read() == b'{"a": 1}'
    assert answer.getheader("set-cookie") is None


def test_a_body_that_is_given_in_parts_is_sent_as_before(path: Path, server: StubServer) -> None:
    def parts() -> Iterator[bytes]:
        yield b"one "
        yield b"two"

    with taped(path, "new"), requests.Session() as session:
        first = session.post(f"{server.url}/x", data=parts(), timeout=20).json()
    assert first["body"] == "one two"
    assert server.seen[0].headers["transfer-encoding"] == "chunked"
    with taped(path), requests.Session() as session:
        assert session.post(f"{server.url}/x", data=parts(), timeout=20).json() == first


def test_a_connection_is_used_again_and_asks_once_for_each_answer(path: Path, server: StubServer) -> None:
    result = []
    for mode in ("new", "none"):
        with taped(path, mode) as tape, requests.Session() as session:
            result.append([session.get(f"{server.url}/{n}", timeout=20).json() for n in (1, 2, 1)])
    assert result[0] == result[1]
    assert (tape.report.counts.replayed, tape.report.counts.missed) == (3, 0)


def test_a_connection_made_on_a_tape_works_after_it(path: Path, server: StubServer) -> None:
    tape = None
    with taped(path, "new"):
        tape = connection(server.url)
        tape.request("GET", "/x")
        first = tape.getresponse().read()
    tape.request("GET", "/x")
    assert tape.getresponse().read() != first
    tape.close()
    assert server.count == 2


def test_an_allowed_host_streams_as_if_we_were_not_there(path: Path, server: StubServer) -> None:
    received = threading.Event()
    server.queue.append(stream(EVENTS, before_chunk=lambda n: wait(received) if n == 1 else None))
    with taped(path, settings=Settings(allow_hosts=("127.0.0.1",))):
        answer = asked(server.url)
        assert answer.read1(len(EVENTS[0])) == EVENTS[0]
        received.set()
        assert answer.read() == b"".join(EVENTS[1:])
    assert not path.exists()
