"""Requests that no patch sees while a tape replays: over older connections, and by clients that were imported again."""

from __future__ import annotations

import asyncio
import http
import http.client
import importlib
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.clients import MESSAGES
from support.messages import check_message
from support.server import StubServer
from support.tapes import taped

from pytest_llmops.errors import CassetteMiss
from pytest_llmops.settings import Settings

CHAT = "/v1/chat/completions"
BODY = {"model": "stub-1", "messages": MESSAGES}


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as stub_server:
        yield stub_server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassette.json"


def open_connection(server: StubServer, host: str = "") -> http.client.HTTPConnection:
    """A connection of http.client to the server that is open, under another name for its host if there is one."""
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(host or str(address.hostname), address.port)
    connection.sock = socket.create_connection((str(address.hostname), int(address.port or 0)))
    return connection


def send(connection: http.client.HTTPConnection, method: str = "POST", path: str = CHAT) -> int:
    """Send a request, return the status of its answer, and close the connection."""
    with closing(connection):
        connection.request(method, path, json.dumps(BODY), {"content-type": "application/json"})
        with connection.getresponse() as response:
            response.read()
            return response.status


def import_again(monkeypatch: pytest.MonkeyPatch, *names: str) -> ModuleType:
    """Import the first of some packages again, without all of them; afterwards the first copies are in use again."""
    for name in list(sys.modules):
        if name.partition(".")[0] in names:
            monkeypatch.delitem(sys.modules, name)
    return importlib.import_module(names[0])


def test_a_model_is_not_called_over_an_older_connection(server: StubServer, path: Path) -> None:
    connection = open_connection(server)
    with (
        taped(path, passed=False) as tape,
        pytest.raises(CassetteMiss, match="opened before this test") as caught,
    ):
        send(connection)
    check_message(caught.value)
    assert isinstance(tape.verdict(), CassetteMiss)  # also if the application caught it
    assert server.count == 0
    older = open_connection(server)
    with taped(path, "live"):
        assert send(older) == 200


def test_only_models_are_refused_on_this_machine_and_everything_elsewhere(
    server: StubServer, path: Path
) -> None:
    older = open_connection(server)
    with taped(path):
        assert send(older, "GET", "/containers/json") == 200
    older = open_connection(server, "llm.example")
    with taped(path, passed=False), pytest.raises(CassetteMiss, match=r"GET llm\.example was refused"):
        send(older, "GET", "/health")
    older = open_connection(server, "llm.example")
    with taped(path, settings=Settings(allow_hosts=("llm.example",))):
        assert send(older) == 200
    older = open_connection(server, "traces.example")
    with taped(path), pytest.raises(ConnectionRefusedError, match="a replay sends no traces"):
        send(older, "POST", "/v1/traces")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["httpx", "httpx2"])
def test_httpx_that_is_imported_again_is_recorded_and_replayed(
    server: StubServer, path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    url = server.url + CHAT
    with taped(path, "new"):
        module = import_again(monkeypatch, name, name.replace("httpx", "httpcore"))
        answer = module.post(url, json=BODY).json()
    with taped(path):  # the copy is still in use in the next test
        assert module.post(url, json=BODY).json() == answer
    monkeypatch.undo()
    with taped(path):
        assert module.post(url, json=BODY).json() == answer
    assert server.count == 1


@pytest.mark.slow
def test_aiohttp_that_is_imported_again_sends_nothing(
    server: StubServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def post(module: Any) -> None:
        async with module.ClientSession() as session, session.post(server.url + CHAT, json=BODY):
            pass

    with taped(path, passed=False):
        module = import_again(monkeypatch, "aiohttp")
        with pytest.raises(CassetteMiss, match="imported again"):
            asyncio.run(post(module))
    assert server.count == 0


def test_http_client_that_was_imported_again_sends_nothing_in_the_next_test(
    server: StubServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = http.client
    with taped(path):
        monkeypatch.delitem(sys.modules, "http.client")
        monkeypatch.setattr(http, "client", first)  # to have it back at the end
        copy = importlib.import_module("http.client")
    assert copy is not first
    monkeypatch.setitem(sys.modules, "http.client", first)
    address = urlsplit(server.url)
    with taped(path, passed=False), pytest.raises(CassetteMiss):
        send(copy.HTTPConnection(str(address.hostname), address.port))
    assert server.count == 0
