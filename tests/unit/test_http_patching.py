from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import vcr.patch
from support.server import StubServer
from support.tapes import no_tape, taped

from pytest_llmops.cassettes import active_tape, tape
from pytest_llmops.cassettes.http import interception
from pytest_llmops.cassettes.http.patching import pin_globals
from pytest_llmops.cassettes.patch import Patch


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as stub_server:
        yield stub_server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassette.json"


def places() -> dict[str, Any]:
    result: dict[str, Any] = {
        "connect": socket.socket.connect,
        "connect_ex": socket.socket.connect_ex,
        "sendto": socket.socket.sendto,
        "getaddrinfo": socket.getaddrinfo,
        "gethostbyname": socket.gethostbyname,
        "http.client": http.client.HTTPConnection,
        "https": http.client.HTTPSConnection,
        "https init": http.client.HTTPSConnection.__init__,
        "aiohttp": aiohttp.ClientSession._request,
        "force_reset": vcr.patch.force_reset,
    }
    for module in (httpx, httpx2):
        result[f"{module.__name__} sync"] = module.HTTPTransport.handle_request
        result[f"{module.__name__} async"] = module.AsyncHTTPTransport.handle_async_request
        result[f"{module.__name__} mock"] = module.MockTransport.handle_request
    return result


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a fresh process, also if the plugin has its patches in place."""
    with no_tape(), monkeypatch.context() as patched:
        patched.setattr(interception, "_interception", None)
        patched.setattr(active_tape, "change_listeners", [])
        yield
        interception.remove_patches()


def test_patches_are_in_place_only_while_a_tape_is_in_use(path: Path, untouched: None) -> None:
    before = places()
    interception.install_patches()
    interception.install_patches()
    assert places() == before
    for _ in range(2):
        with taped(path, "live"):
            during = places()
            with taped(path, "live"):
                assert places() == during
            assert places() == during
        assert places() == before
    changed = {name for name in before if before[name] is not during[name]}
    assert changed == {name for name in before if not name.endswith("mock")}
    interception.remove_patches()
    interception.remove_patches()
    with taped(path, "live"):
        interception.remove_patches()
        assert places() == before


def test_entering_with_a_tape_in_use_puts_the_patches_in_place(path: Path, untouched: None) -> None:
    before = places()
    live_tape = tape.Tape(path, "live")
    active_tape.push_tape(live_tape)
    interception.install_patches()
    assert places() != before
    active_tape.remove_tape(live_tape)
    assert places() == before


def test_what_a_test_patches_meanwhile_is_not_undone(path: Path, untouched: None) -> None:
    real = httpx2.HTTPTransport.handle_request

    def theirs(*_: Any) -> Any:
        """A mock of the test's own."""

    try:
        with taped(path, "live"):
            httpx2.HTTPTransport.handle_request = theirs  # type: ignore[assignment, method-assign]
        assert vars(httpx2.HTTPTransport)["handle_request"] is theirs
    finally:
        httpx2.HTTPTransport.handle_request = real  # type: ignore[method-assign]


def test_pools_of_one_test_do_not_answer_the_next(path: Path, server: StubServer, untouched: None) -> None:
    with requests.Session() as session:
        with taped(path, "new"):
            first = session.get(f"{server.url}/x").json()
        assert session.get(f"{server.url}/x").json() != first
        with taped(path):
            assert session.get(f"{server.url}/x").json() == first
    assert server.count == 2


def test_connections_made_under_patches_are_real_ones(path: Path) -> None:
    real = vcr.patch._HTTPSConnection
    with taped(path, "live"):
        h_t_t_p_s_connection: Any = http.client.HTTPSConnection("localhost", 1)
        assert type(h_t_t_p_s_connection).__name__.startswith("VCR")
        assert type(h_t_t_p_s_connection.real_connection) is real
        h_t_t_p_s_connection.close()


def test_patch_of_what_is_not_there() -> None:
    class Target:
        pass

    patch = Patch(Target, "missing", lambda _: 1)
    patch.apply()
    patch.restore_attribute()
    assert not hasattr(Target, "missing")


def test_steady_functions_keep_their_names() -> None:
    made = pin_globals(test_patch_of_what_is_not_there)
    assert made.__name__ == "test_patch_of_what_is_not_there"
    assert made.__globals__ is not globals()
    made()
