"""Compressed requests: matched, masked and stored by their content, and sent as they are."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import httpx2
import pytest
import requests
import urllib3
from support.compression import compress
from support.messages import check_message
from support.server import Reply, StubServer, json_reply
from support.tapes import make_tape, says, stored, taped

from pytest_llmops.cassettes.request_key import Answer, MatchRules, Question
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire import content_encoding
from pytest_llmops.wire.body import fold_body

SECRET = "sk-proj-" + "Zq8Xw2Lr9Tb4Kc7V" * 3
CONTENT = json.dumps({"model": "m", "messages": [{"role": "user", "content": f"key {SECRET}"}]}).encode()
URL = "https://api.example.com/v1/chat/completions"
ENCODINGS = (
    "gzip",
    "x-gzip",
    "GZIP",
    " gzip ",
    "deflate",
    "br",
    "zstd",
    "deflate, gzip",
    "gzip,br",
    "identity,gzip",
)


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as stub_server:
        yield stub_server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassette.json"


def ask_compressed(tape: Tape, body: bytes, encoding: str) -> Question:
    headers = {"content-type": "application/json", "content-encoding": encoding}
    return tape.make_question("POST", URL, headers, body)


def ask_plain(tape: Tape, body: bytes = CONTENT) -> Question:
    return tape.make_question("POST", URL, {"content-type": "application/json"}, body)


def record_body(path: Path, body: bytes, encoding: str) -> None:
    tape = make_tape(path, "new")
    question = ask_compressed(tape, body, encoding)
    assert tape.claim(question) is None
    tape.record(question, says("answer"))
    tape.close()


def write_as_before(path: Path, body: bytes, content_type: str = "application/octet-stream") -> None:
    """Record a request as it was recorded when compressed bodies were not decoded."""
    tape = make_tape(path, "new")
    question = tape.make_question("POST", URL, {"content-type": content_type}, body)
    assert tape.claim(question) is None
    tape.record(question, says("answer"))
    tape.close()
    assert "base64" in stored(path)[0]["request"]["body"]


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_compressed_request_is_recorded_by_its_content(path: Path, encoding: str) -> None:
    record_body(path, compress(CONTENT, encoding.strip().replace("identity,", "")), encoding)
    data = path.read_bytes()
    assert SECRET.encode() not in data
    assert "[secret]" in stored(path)[0]["request"]["body"]["json"]["messages"][0]["content"]
    tape = make_tape(path)
    assert tape.claim(ask_plain(tape)) is not None


@pytest.mark.parametrize(("level", "mtime"), [(1, 5), (9, 7)])
def test_each_gzip_encoder_gives_the_same_request(path: Path, level: int, mtime: int) -> None:
    record_body(path, compress(CONTENT, "gzip"), "gzip")
    tape = make_tape(path)
    other = gzip.compress(CONTENT, level, mtime=mtime)
    assert other != compress(CONTENT, "gzip")
    assert tape.claim(ask_compressed(tape, other, "gzip")) is not None


def test_gzip_of_many_members(path: Path) -> None:
    """Some encoders begin a member for each part, and fill up the last block."""
    members = [compress(CONTENT[at : at + 1], "gzip") for at in range(len(CONTENT))] + [
        compress(b"", "gzip")
    ] * 500
    record_body(path, b"".join(members) + b"\0" * 9_000, "gzip")
    tape = make_tape(path)
    assert tape.claim(ask_plain(tape)) is not None


def cut_end(body: bytes, window: int) -> bytes:
    """Compress a body as a stream that is flushed, but not ended."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, window)
    return compressor.compress(body) + compressor.flush(zlib.Z_SYNC_FLUSH)


GZIPPED = compress(CONTENT, "gzip")
ZLIBBED = zlib.compress(CONTENT)
RAW = zlib.compress(CONTENT, wbits=-15)
IMPERFECT = [
    (GZIPPED + b"\r\n", "gzip"),
    (GZIPPED + b"\0\0 rest \x1f", "gzip"),
    (GZIPPED[:-5], "gzip"),
    (cut_end(CONTENT, 31), "gzip"),
    (cut_end(CONTENT, 15), "deflate"),
    (cut_end(CONTENT, -15), "deflate"),
    (ZLIBBED + b"\n", "deflate"),
    (RAW + b"\n", "deflate"),
    (ZLIBBED, "gzip"),
    (GZIPPED, "deflate"),
    (GZIPPED, "zstd"),
    (zlib.compress(GZIPPED), "gzip, gzip"),
    (GZIPPED, ""),
    (GZIPPED, "identity"),
    (ZLIBBED, ""),
    (gzip.compress(GZIPPED), "gzip"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("body", "encoding"), IMPERFECT)
def test_what_a_server_may_accept_is_recorded_by_its_content(path: Path, body: bytes, encoding: str) -> None:
    record_body(path, body, encoding)
    assert "[secret]" in stored(path)[0]["request"]["body"]["json"]["messages"][0]["content"]
    tape = make_tape(path)
    assert tape.claim(ask_plain(tape)) is not None


@pytest.mark.parametrize("change", [lambda body: body + b"\r\n", lambda body: body[:-3]], ids=["more", "cut"])
def test_imperfect_zstd_is_recorded_by_its_content(path: Path, change: Callable[[bytes], bytes]) -> None:
    record_body(path, change(compress(CONTENT * 2_000, "zstd") + compress(CONTENT, "zstd")), "zstd")
    assert "[secret]" in json.dumps(stored(path)[0]["request"]["body"])


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (GZIPPED[:-8] + b"\0" * 8, "gzip"),
        (GZIPPED + b"\x1f\x8b rest", "gzip"),
        (GZIPPED[:10], "gzip"),
        (b"\x1f\x8b\x08 no gzip \xff", "gzip"),
        (b"\x1f\x8b\x08 no gzip \xff", ""),
        (b"\xff\xfe", "deflate"),
        (b"\x78\x9c no zlib \xff", ""),
    ],
)
def test_a_damaged_body_is_not_recorded(path: Path, body: bytes, encoding: str) -> None:
    tape = make_tape(path, "new")
    with pytest.raises(CassetteMiss) as refused:
        tape.claim(ask_compressed(tape, body, encoding))
    check_message(str(refused.value))
    tape.close(passed=False)
    assert not path.exists()


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"plain \xff", "identity"),
        (b"plain \xff", "aws-chunked"),
        (b"1000;chunk-signature=x\r\n" + GZIPPED, "gzip,aws-chunked"),
        (b"x^2 + y^2", ""),
    ],
)
def test_a_body_that_is_not_compressed_is_recorded_as_it_was_sent(
    path: Path, body: bytes, encoding: str
) -> None:
    record_body(path, body, encoding)
    assert stored(path)[0]["request"]["body"] == fold_body(body)
    tape = make_tape(path)
    assert tape.claim(ask_compressed(tape, body, encoding)) is not None


@pytest.mark.parametrize(
    "kind", ["application/gzip", "application/octet-stream", "application/zip", "image/png"]
)
def test_a_file_is_decoded_only_by_its_header(path: Path, kind: str) -> None:
    tape = make_tape(path, "new")
    assert tape.make_question("PUT", URL, {"content-type": kind}, GZIPPED).body == GZIPPED
    headers = {"content-type": kind, "content-encoding": "gzip"}
    assert b"[secret]" in tape.make_question("PUT", URL, headers, GZIPPED).body


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "lz4", "gzip, gzip"])
def test_a_body_that_is_text_is_not_decoded(path: Path, encoding: str) -> None:
    """Some clients give the header, but compress later."""
    record_body(path, CONTENT, encoding)
    tape = make_tape(path)
    assert tape.claim(ask_plain(tape)) is not None


def unreadable_bodies() -> list[Any]:
    return [
        pytest.param(b"\x8b\x00\x80 br", "br", id="br without its package"),
        pytest.param(b"\x28\xb5\x2f\xfd \xff", "zstd", id="zstd without its package"),
        pytest.param(b"\x28\xb5\x2f\xfd \xff", "gzip", id="zstd named gzip"),
        pytest.param(compress(b"\x8b\x00\x80 br", "gzip"), "br, gzip", id="br in gzip"),
        pytest.param(b"\x04\x22\x4d\x18 \xff", "lz4", id="unknown"),
        pytest.param(compress(b"a" * 2**17, "gzip"), "gzip", id="too large"),
        pytest.param(compress(b"a" * 2**17, "deflate"), "deflate", id="too large in deflate"),
        pytest.param(compress(CONTENT, ", ".join(["gzip"] * 9)), ", ".join(["gzip"] * 9), id="too many"),
    ]


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_encoding, "MAX_BODY_BYTES", 2**16)
    for name in ("brotli", "brotlicffi", "compression.zstd", "backports.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("without_packages")
@pytest.mark.parametrize(("body", "encoding"), unreadable_bodies())
def test_a_body_that_cannot_be_read_is_not_recorded(path: Path, body: bytes, encoding: str) -> None:
    tape = make_tape(path, "new")
    with pytest.raises(CassetteMiss) as refused:
        tape.claim(ask_compressed(tape, body, encoding))
    check_message(
        str(refused.value).replace(f"({len(body)} bytes)", "(N bytes)")
    )  # another zlib packs otherwise
    with pytest.raises(CassetteMiss):
        raise tape.verdict() or AssertionError
    tape.close(passed=False)
    assert not path.exists()
    # Nothing is recorded in mode live, so the call may go out.
    live = make_tape(path, "live")
    assert live.claim(ask_compressed(live, body, encoding)) is None
    live.close()


@pytest.mark.usefixtures("without_packages")
def test_a_miss_says_that_a_body_could_not_be_read(path: Path) -> None:
    tape = make_tape(path)
    with pytest.raises(CassetteMiss) as missed:
        tape.claim(ask_compressed(tape, b"\x8b\x00\x80 br", "br"))
    check_message(str(missed.value))
    assert "pip install brotli" in str(missed.value)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "br"])
def test_a_recording_with_a_compressed_body_is_still_replayed(path: Path, encoding: str) -> None:
    body = compress(b'{"model": "m"}', encoding)
    write_as_before(path, body)
    tape = make_tape(path)
    assert tape.claim(ask_compressed(tape, body, encoding)) is not None
    assert tape.close().stale == 0


@pytest.mark.parametrize("rules", [(), ("**.id",)])
def test_a_recording_is_found_by_its_content_too(path: Path, rules: tuple[str, ...]) -> None:
    write_as_before(path, gzip.compress(b'{"model": "m"}', mtime=7))
    tape = make_tape(path, rules=MatchRules(rules))
    assert tape.claim(ask_compressed(tape, gzip.compress(b'{"model":"m"}', mtime=8), "gzip")) is not None


@pytest.mark.usefixtures("without_packages")
def test_a_recording_that_cannot_be_decoded_is_still_replayed(path: Path) -> None:
    body = b"\x8b\x00\x80 br"
    write_as_before(path, body)
    for mode in ("none", "new"):
        tape = make_tape(path, mode)
        assert tape.claim(ask_compressed(tape, body, "br")) is not None
        tape.close()


def test_a_compressed_file_without_a_header_is_its_bytes(path: Path) -> None:
    body = compress(CONTENT, "gzip")
    write_as_before(path, body, "application/gzip")
    tape = make_tape(path)
    question = tape.make_question("POST", URL, {"content-type": "application/gzip"}, body)
    assert tape.claim(question) is not None


def test_a_key_in_a_compressed_form_is_learned(path: Path) -> None:
    redactor = Redactor()
    tape = make_tape(path, "new", redactor=redactor)
    headers = {"content-type": "application/x-www-form-urlencoded", "content-encoding": "gzip"}
    body = gzip.compress(b"client_secret=planted-value-1&a=b")
    assert tape.make_question("POST", URL, headers, body).body == b"client_secret=[secret]&a=b"
    assert redactor.clean(b"planted-value-1") == b"[secret]"


def test_an_answer_that_stays_compressed_is_noted(path: Path) -> None:
    tape = make_tape(path, "new")
    question = ask_plain(tape)
    assert tape.claim(question) is None
    tape.record(question, Answer(200, {"content-encoding": "br"}, b"\x8b\x00\x80\xff"))
    tape.close()
    assert len(tape.report.notes) == 1
    check_message(tape.report.notes[0])


BODY = gzip.compress(CONTENT, mtime=3)
HEADERS = {"content-type": "application/json", "content-encoding": "gzip"}


def post_by_httpx(url: str) -> str:
    with httpx.Client() as client:
        return client.post(url, content=BODY, headers=HEADERS).text


def post_by_httpx2(url: str) -> str:
    with httpx2.Client() as client:
        return client.post(url, content=BODY, headers=HEADERS).text


def post_by_async_httpx(url: str) -> str:
    async def post() -> str:
        async with httpx.AsyncClient() as client:
            return (await client.post(url, content=BODY, headers=HEADERS)).text

    return asyncio.run(post())


def post_by_requests(url: str) -> str:
    with requests.Session() as session:
        return session.post(url, data=BODY, headers=HEADERS, timeout=60).text


def post_by_urllib3(url: str) -> str:
    with urllib3.PoolManager() as pool:
        return pool.request("POST", url, body=BODY, headers=HEADERS).data.decode()


def post_by_http_client(url: str) -> str:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request("POST", urlsplit(url).path, BODY, HEADERS)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def post_by_aiohttp(url: str) -> str:
    async def post() -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=BODY, headers=HEADERS) as answer,
        ):
            return await answer.text()

    return asyncio.run(post())


def post_by_aiohttp_that_compresses(url: str) -> str:
    async def post() -> str:
        headers = {"content-type": "application/json"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=CONTENT, headers=headers, compress="gzip") as answer,
        ):
            return await answer.text()

    return asyncio.run(post())


CLIENTS = (
    post_by_httpx,
    post_by_httpx2,
    post_by_async_httpx,
    post_by_requests,
    post_by_urllib3,
    post_by_http_client,
    post_by_aiohttp,
    post_by_aiohttp_that_compresses,
)


@pytest.mark.slow
@pytest.mark.parametrize("post", CLIENTS, ids=lambda post: post.__name__)
def test_each_client_sends_its_bytes_and_records_their_content(
    path: Path, server: StubServer, post: Callable[[str], str]
) -> None:
    url = f"{server.url}/v1/chat/completions"
    server.queue.append(json_reply({"answer": "it"}))
    with taped(path, "new"):
        answer = post(url)
    [seen] = server.seen
    assert seen.headers["content-encoding"] == "gzip"
    assert gzip.decompress(seen.body) == CONTENT
    if post is not post_by_aiohttp_that_compresses:
        assert seen.body == BODY
    assert SECRET.encode() not in path.read_bytes()
    assert stored(path)[0]["request"]["body"]["json"]["model"] == "m"
    with taped(path):
        assert post(url) == answer


@pytest.mark.slow
@pytest.mark.parametrize("post", CLIENTS, ids=lambda post: post.__name__)
def test_an_answer_is_decoded_although_its_client_cannot(
    path: Path, server: StubServer, post: Callable[[str], str]
) -> None:
    content = json.dumps({"echo": SECRET}).encode()
    body = gzip.compress(content)
    headers = {"content-encoding": "x-gzip", "content-type": "application/json"}
    server.queue.append(Reply(body, headers=headers))
    with taped(path, "new"), contextlib.suppress(UnicodeDecodeError):
        post(f"{server.url}/v1/x")
    assert stored(path)[0]["answers"]["0"][0]["body"]["json"] == {"echo": "[secret]"}
