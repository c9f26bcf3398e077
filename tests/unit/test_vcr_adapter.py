from __future__ import annotations

import gzip
import io
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests
import vcr.patch
import vcr.request
from support.clients import requests_session
from support.server import StubServer
from support.tapes import no_tape, stored, taped

from pytest_llmops.cassettes.http import interception, vcr_adapter
from pytest_llmops.cassettes.http.live_response import LiveAnswer
from pytest_llmops.cassettes.http.vcr_adapter import VcrCassette


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as stub_server:
        yield stub_server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassette.json"


def request(url: str = "http://h/", body: Any = None, method: str = "POST") -> Any:
    return vcr.request.Request(method, url, body, {})


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
    assert vcr_adapter.read_request_body(request(body=body)) == expected


def kept(path: Path, encoding: str, body: bytes, *, certain: bool) -> tuple[bytes, dict[str, str]]:
    """A body, and the headers it is kept with."""
    result: list[tuple[bytes, dict[str, str]]] = []
    with taped(path, "new") as tape:
        live = LiveAnswer(tape, vcr_adapter.question_for(tape, request()), 0.0)
        live.finish = lambda _, headers, whole: result.append((whole, dict(headers)))  # type: ignore[method-assign, assignment]
        vcr_adapter.finish_answer(live, 200, {"content-encoding": encoding, "x": "y"}, body, certain=certain)
        live.open = False
        tape.unfinished.clear()
    return result[0]


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "zstd", "br", ""])
@pytest.mark.parametrize("body", [b'{"a": 1}', b"x^", b"\x1f\x8bnot gzip", b"\x78\x9cnot zlib", b""])
def test_a_body_that_was_unpacked_already_stays_as_it_is(path: Path, encoding: str, body: bytes) -> None:
    assert kept(path, encoding, body, certain=False) == (body, {"x": "y"})


@pytest.mark.parametrize("certain", [True, False])
def test_a_body_that_is_still_packed_is_unpacked(path: Path, *, certain: bool) -> None:
    assert kept(path, "gzip", gzip.compress(b"x"), certain=certain) == (b"x", {"x": "y"})
    assert kept(path, "deflate", zlib.compress(b"x"), certain=certain) == (b"x", {"x": "y"})
    both = zlib.compress(gzip.compress(b"x"))
    assert kept(path, "gzip, deflate", both, certain=certain) == (b"x", {"x": "y"})


@pytest.mark.parametrize(("encoding", "body"), [("unheard-of", b"\xff\x01"), ("gzip", b"\x1f\x8b\xff")])
def test_what_nobody_can_unpack_keeps_its_header(path: Path, encoding: str, body: bytes) -> None:
    assert kept(path, encoding, body, certain=True) == (body, {"content-encoding": encoding, "x": "y"})


def test_reasons() -> None:
    assert (vcr_adapter.reason_phrase(404), vcr_adapter.reason_phrase(599)) == ("Not Found", "")


def test_a_hub_without_a_tape_lets_everything_pass(server: StubServer) -> None:
    with no_tape():
        cassette, sent_request = VcrCassette(), request(server.url)
        assert not cassette.can_play_response_for(sent_request)
        cassette.append(sent_request, {"status": {"code": 200}, "headers": {}, "body": {}})
        assert cassette.filter_request(sent_request) is sent_request
        assert cassette.find_requests_with_most_matches(sent_request) == []


def test_the_last_answer_goes_to_one_of_two_threads(path: Path, server: StubServer) -> None:
    with taped(path, "new"):
        requests_session(server.url)
    first, second = (request(f"{server.url}/x", b'{"a": 1}') for _ in range(2))
    vcr_cassette = VcrCassette()
    with taped(path, "new"):
        assert vcr_cassette.can_play_response_for(first)
        assert vcr_cassette.can_play_response_for(first)
        assert not vcr_cassette.can_play_response_for(second)
        assert vcr_cassette.play_response(first)["status"] == {"code": 200, "message": "OK"}


def test_vcrpy_logs_nothing_while_a_tape_is_in_use(
    path: Path, server: StubServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "planted" + "-in-the-address"
    for mode in ("new", "none"):
        with taped(path, mode):
            requests.get(f"{server.url}/x?key={secret}", timeout=20)
    assert server.count == 1
    named = [record for record in caplog.records if record.name.startswith(("vcr", "pytest_llmops"))]
    assert named == []
    assert secret not in str(stored(path))
    with no_tape():
        assert logging.getLogger("vcr.stubs") is vcr.stubs.log
    interception.install_patches()
