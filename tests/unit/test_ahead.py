"""What is sent ahead: requests that are sent without their client, and journals of a whole run."""

from __future__ import annotations

import contextlib
import errno
import http.client
import importlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import httpx2
import pytest
from support.cassettes import entry, files
from support.server import StubServer, chat_events, stream

from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.http import http_client
from pytest_llmops.cassettes.run_journals import RunJournals
from pytest_llmops.errors import CassetteError, CassetteMiss
from pytest_llmops.harness.ahead.sender import (
    _OWN_STATE,
    LiveSender,
    send_on_connection,
    send_request,
    why_not_sent,
)

MODULES = pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
KINDS = pytest.mark.parametrize("kind", ["HTTPTransport", "AsyncHTTPTransport"])
BODY = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as running:
        yield running


def one_way(content: bytes) -> Any:
    """A socket that only gives what a server has sent."""
    return SimpleNamespace(makefile=lambda _: io.BytesIO(content))


def chat(module: Any, url: str, **more: Any) -> Any:
    request = module.Request("POST", f"{url}/v1/chat/completions", json=BODY | more, headers={"x-own": "1"})
    request.read()
    return request


@pytest.mark.slow
@MODULES
@KINDS
@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_a_request_is_sent_as_its_client_would_and_the_answer_is_decoded(
    server: StubServer, module: Any, kind: str, encoding: str
) -> None:
    server.encoding = encoding
    transport = getattr(module, kind)()
    assert not why_not_sent(module, transport)
    answer = send_request(transport, chat(module, server.url))
    (seen,) = server.seen
    assert (seen.json, seen.headers["x-own"], seen.method) == (BODY, "1", "POST")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert b"echo of x" in answer.body
    assert not answer.headers.keys() & {"content-encoding", "content-length"}
    assert answer.latency_s is not None
    assert answer.ttft_s is None


@MODULES
def test_a_stream_keeps_the_time_of_its_first_byte(server: StubServer, module: Any) -> None:
    server.queue.append(stream(chat_events("one two")))
    answer = send_request(module.HTTPTransport(), chat(module, server.url, stream=True))
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert answer.ttft_s is not None
    assert answer.ttft_s <= (answer.latency_s or 0)
    assert answer.gap_s is not None
    assert answer.gap_s <= (answer.latency_s or 0) - answer.ttft_s + 0.001


@pytest.mark.slow
@MODULES
@KINDS
def test_a_proxy_is_used_as_by_the_client(server: StubServer, module: Any, kind: str) -> None:
    transport = getattr(module, kind)(proxy=server.url)
    answer = send_request(transport, chat(module, "http://vendor.invalid"))
    assert answer.status == 200
    assert server.seen[0].path == "http://vendor.invalid/v1/chat/completions"


@MODULES
def test_an_answer_that_is_cut_is_an_error(server: StubServer, module: Any) -> None:
    server.queue.append(stream(["a", "b"], cut_after=1))
    with pytest.raises(Exception, match=r"incomplete|closed|reset") as raised:
        send_request(module.HTTPTransport(), chat(module, server.url))
    assert type(raised.value).__module__.startswith("httpcore")


@MODULES
def test_what_is_not_the_usual_transport_is_not_copied(module: Any) -> None:
    own = type("Own", (module.HTTPTransport,), {})
    assert "Own" in why_not_sent(module, own())
    transport = module.HTTPTransport()
    transport._pool._network_backend = object()
    assert "object" in why_not_sent(module, transport)


@MODULES
@KINDS
def test_the_copied_pool_has_the_attributes_that_are_known(module: Any, kind: str) -> None:
    """A contract with httpcore, whose configuration is private: TLS context, addresses, limits."""
    pool = getattr(module, kind)()._pool
    core = importlib.import_module(type(pool).__module__.partition(".")[0])
    assert core.__name__ in sys.modules
    known = {"_ssl_context", "_proxy", "_http1", "_http2", "_retries", "_local_address", "_uds", "_socket_options",
             "_max_connections", "_max_keepalive_connections", "_keepalive_expiry", *_OWN_STATE}  # fmt: skip
    assert vars(pool).keys() == vars(core.ConnectionPool()).keys() == known


@pytest.mark.parametrize("name", ["http.client.HTTP", "urllib3.connection.HTTP", "urllib3.connection.HTTPS"])
def test_the_copied_connection_has_the_state_that_is_known(name: str) -> None:
    """A contract with http.client: what belongs to a request, and must not be shared."""
    module, _, kind = name.rpartition(".")
    own = getattr(importlib.import_module(module), f"{kind}Connection")
    element = own("localhost")
    assert not why_not_sent(None, element)
    assert "Own" in why_not_sent(None, type("Own", (own,), {})("localhost"))
    fresh: dict[str, Any] = {"_buffer": [], "_tunnel_headers": {}, **http_client._OWN_STATE}
    assert {name: vars(element)[name] for name in fresh} == fresh
    shared = {name for name, value in vars(element).items() if isinstance(value, list | dict | set)}
    assert shared - {"socket_options"} == {"_buffer", "_tunnel_headers"}
    assert element.auto_open


def test_a_body_of_known_length_that_is_cut_is_an_error() -> None:
    """`read1` does not say so."""
    response = http.client.HTTPResponse(one_way(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"))
    response.begin()
    with pytest.raises(http.client.IncompleteRead):
        send_on_connection(None, lambda: contextlib.closing(response))


def test_the_journal_of_a_killed_run_is_split_among_its_cassettes(tmp_path: Path) -> None:
    journals, cassettes = RunJournals(), [tmp_path / f"{name}.json" for name in "ab"]
    for number, cassette in enumerate((*cassettes, cassettes[0])):
        journals.write(cassette, entry(number, by=f"test/one#{number:03d}"))
    assert len(journals.paths) == 1
    assert not store.load_with_journals(cassettes[0])  # the run goes on
    assert journals.close() == []
    (path,) = tmp_path.glob(".journal/*")
    whole = path.read_bytes()
    ends = [at for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in {*range(0, len(whole), 97), *ends, len(whole)}:
        for file in tmp_path.glob(".journal/*"):
            file.unlink()
        path.write_bytes(whole[:cut])
        loaded = [store.load_with_journals(cassette) for cassette in cassettes]
        kept = sum(end <= cut for end in ends)
        assert [sorted(element) for element in loaded] == [
            [f"key-{n}" for n in (0, 2) if n < kept],
            [f"key-{n}" for n in (1,) if n < kept],
        ]
        assert path.name not in files(tmp_path / ".journal")
        if kept == len(ends):
            assert loaded[0]["key-2"].by == "test/one#002"
            assert loaded[1]["key-1"].answers["0"][0]["body"] == {"text": "answer 1"}


def test_answers_that_come_together_while_the_disk_is_full_are_all_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "other_disk").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "other_disk"))
    journals, cassette = RunJournals(), tmp_path / "cassettes" / "a.json"
    journals.prepare(cassette)
    monkeypatch.setattr(os, "fsync", fsync)
    for number in range(2):
        with pytest.raises(CassetteError, match="could not be written"):
            journals.write(cassette, entry(number, by="test/one#001"))
    (note,) = journals.close()
    assert note.startswith("kept: 2 paid answers in ")
    monkeypatch.undo()
    (kept,) = (tmp_path / "other_disk").iterdir()
    folder = cassette.parent / ".journal"
    folder.mkdir(exist_ok=True)
    kept.rename(folder / kept.name)
    assert sorted(store.load_with_journals(cassette)) == ["key-0", "key-1"]


@pytest.mark.parametrize("error", [CassetteMiss("refused"), OSError("no route")], ids=["guard", "network"])
def test_the_end_of_a_request_is_reported_whatever_ended_it(error: BaseException) -> None:
    """Otherwise the silent runs would wait for its answer without end."""

    def refuse(question: Any) -> None:
        raise error

    pending: Any = SimpleNamespace(
        question=SimpleNamespace(address="http://a.example"), tape=SimpleNamespace(prepare_call=refuse)
    )
    ends: list[str] = []
    sender = LiveSender(1, lambda _, why: ends.append(why))
    sender.submit([pending])
    sender._pool.shutdown(wait=True)
    assert ends == [type(error).__name__]
