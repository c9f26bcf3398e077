from __future__ import annotations

import gzip
import http.client
import io
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import vcr.patch
from support.clients import requests_session
from support.server import StubServer
from support.tapes import no_tape, taped

from pytest_llmops.cassettes import intercept, tape
from pytest_llmops.cassettes.intercept import Hub
from pytest_llmops.cassettes.patches import Patch, steady


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as one:
        yield one


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassette.json"


def places() -> dict[str, Any]:
    found: dict[str, Any] = {
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
        found[f"{module.__name__} sync"] = module.HTTPTransport.handle_request
        found[f"{module.__name__} async"] = module.AsyncHTTPTransport.handle_async_request
        found[f"{module.__name__} mock"] = module.MockTransport.handle_request
    return found


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a fresh process, also if the plugin has its patches in place."""
    with no_tape(), monkeypatch.context() as patched:
        patched.setattr(intercept, "_entered", None)
        patched.setattr(tape, "on_change", [])
        yield
        intercept.leave()


def test_patches_are_in_place_only_while_a_tape_is_in_use(path: Path, untouched: None) -> None:
    before = places()
    intercept.enter()
    intercept.enter()
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
    intercept.leave()
    intercept.leave()
    with taped(path, "live"):
        intercept.leave()
        assert places() == before


def test_entering_with_a_tape_in_use_puts_the_patches_in_place(path: Path, untouched: None) -> None:
    before = places()
    one = tape.Tape(path, "live")
    tape.insert(one)
    intercept.enter()
    assert places() != before
    tape.eject(one)
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
        one: Any = http.client.HTTPSConnection("localhost", 1)
        assert type(one).__name__.startswith("VCR")
        assert type(one.real_connection) is real
        one.close()


def test_vcrpy_offers_what_is_used_here() -> None:
    """The contract: what `intercept` takes from vcrpy, which does not document it."""
    patchers = list(vcr.patch.CassettePatcherBuilder(Hub()).build())
    attributes = [one for one in patchers if hasattr(one, "attribute")]
    removers = [one for one in patchers if not hasattr(one, "attribute")]
    places = {(getattr(one.getter(), "__name__", "?"), one.attribute) for one in attributes}
    assert ("http.client", "HTTPConnection") in places
    assert ("http.client", "HTTPSConnection") in places
    assert ("urllib3.connection", "HTTPConnection") in places
    assert ("HTTPConnectionPool", "ConnectionCls") in places
    assert ("ClientSession", "_request") in places
    assert not [place for place in places if place[0].endswith("Transport")]
    assert all(one.new is not None for one in attributes)
    assert removers
    assert all(one._connection_pool_to_connections == {} for one in removers)
    assert callable(vcr.patch.force_reset)


def test_a_hub_without_a_tape_lets_everything_pass(server: StubServer, path: Path) -> None:
    intercept.enter()
    request = vcr.request.Request("GET", server.url, None, {})
    hub = Hub()
    if tape.current() is None:
        assert not hub.can_play_response_for(request)
        hub.append(request, {"status": {"code": 200}, "headers": {}, "body": {}})
    assert hub.filter_request(request) is request
    assert hub.find_requests_with_most_matches(request) == []


def test_the_last_answer_goes_to_one_of_two_threads(path: Path, server: StubServer) -> None:
    with taped(path, "new"):
        requests_session(server.url)
    first, second = (vcr.request.Request("POST", f"{server.url}/x", b'{"a": 1}', {}) for _ in range(2))
    hub = Hub()
    with taped(path, "new"):
        assert hub.can_play_response_for(first)
        assert hub.can_play_response_for(first)
        assert not hub.can_play_response_for(second)
        assert hub.play_response(first)["status"] == {"code": 200, "message": "OK"}


def form() -> aiohttp.FormData:
    made = aiohttp.FormData()
    made.add_field("file", b"content", filename="n.txt")
    return made


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (None, b""),
        (b"bytes", b"bytes"),
        (bytearray(b"bytes"), b"bytes"),
        ("text ä", "text ä".encode()),
        (io.BytesIO(b"file"), b"file"),
        (io.StringIO("file"), b"file"),
        (iter([b"a", "b", 5]), b"ab5"),
        ({"a": [1, "x"]}, b'{"a": [1, "x"]}'),
        (["ab"], b'["ab"]'),
        ({"f": b"\xff"}, b'{"f": "\\u00ff"}'),
        ({"f": io.StringIO("content")}, b'{"f": "content"}'),
        ({b"k": 1}, b"{b'k': 1}"),
        (form(), b'[[{"name": "file", "filename": "n.txt"}, "content"]]'),
        ({"c": 1j}, b'{"c": "1j"}'),
    ],
)
def test_bodies_as_vcrpy_hands_them_over(body: Any, expected: bytes) -> None:
    request = vcr.request.Request("POST", "http://h/", body, {})
    assert intercept._body(request) == expected


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "zstd", "br", ""])
@pytest.mark.parametrize("body", [b'{"a": 1}', b"x^", b"\x1f\x8bnot gzip", b"\x78\x9cnot zlib", b""])
def test_a_body_that_was_unpacked_already_stays_as_it_is(encoding: str, body: bytes) -> None:
    headers = {"content-encoding": encoding}
    assert intercept._decoded(headers, body) == body
    assert headers == {}


def test_a_body_that_is_still_packed_is_unpacked() -> None:
    assert intercept._decoded({"content-encoding": "gzip"}, gzip.compress(b"x")) == b"x"
    assert intercept._decoded({"content-encoding": "deflate"}, zlib.compress(b"x")) == b"x"


def test_reasons() -> None:
    assert (intercept._reason(404), intercept._reason(599)) == ("Not Found", "")


def test_patch_of_what_is_not_there() -> None:
    class Target:
        pass

    one = Patch(Target, "missing", lambda _: 1)
    one.put()
    one.take_away()
    assert not hasattr(Target, "missing")


def test_steady_functions_keep_their_names() -> None:
    made = steady(test_patch_of_what_is_not_there)
    assert made.__name__ == "test_patch_of_what_is_not_there"
    assert made.__globals__ is not globals()
    made()
