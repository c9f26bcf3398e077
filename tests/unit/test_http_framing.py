from __future__ import annotations

import http.client
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.cassettes.http.http_client import BodyFraming


def chunked(parts: list[bytes], *, trailer: bytes = b"", extension: bytes = b"") -> bytes:
    framed = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts if part)
    return framed + b"0\r\n" + trailer + b"\r\n"


@given(st.lists(st.binary(max_size=40), max_size=6), st.data())
def test_a_chunked_body_is_the_same_however_it_arrives(parts: list[bytes], data: st.DataObject) -> None:
    wire = chunked(parts, trailer=data.draw(st.sampled_from([b"", b"x: y\r\n"])), extension=b";a=b")
    body, result, at = BodyFraming(None, chunked=True), b"", 0
    while at < len(wire):
        assert not body.done
        size = data.draw(st.integers(1, 12))
        result += body.feed(wire[at : at + size])
        at += size
    assert (result, body.done) == (b"".join(parts), True)


@given(st.binary(max_size=60))
def test_what_is_no_chunk_harms_nobody(wire: bytes) -> None:
    assert isinstance(BodyFraming(None, chunked=True).feed(wire), bytes)


class _Socket(io.BytesIO):
    def makefile(self, *_: object) -> io.BytesIO:
        return self


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(b"3\nabc\r\n0\n\n", id="bare line ends"),
        pytest.param(b"3 ; a=b\r\nabc\r\n0\r\n\r\n", id="blank before an extension"),
        pytest.param(b" 3\r\nabc\r\n 0 \r\n\r\n", id="blanks around a size"),
        pytest.param(b"0" * 21 + b"3\r\nabc\r\n0\r\n\r\n", id="leading zeros"),
        pytest.param(b"3\r\nabc\r\n0\r\nx-total : 1\r\nno colon\r\n\r\n", id="trailers of no form"),
        pytest.param(b"3\r\nabc\r\n0\r\nx: " + b"a" * 40_000 + b"\r\n\r\n", id="a long trailer"),
    ],
)
def test_the_end_is_where_http_client_finds_it(wire: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    response = http.client.HTTPResponse(_Socket(head + wire))  # type: ignore[arg-type]  # it reads the file alone
    response.begin()
    body = BodyFraming(None, chunked=True)
    text = b"".join(body.feed(line) for line in io.BytesIO(wire))
    assert (text, body.done) == (response.read(), True)


def test_a_length_without_bounds_is_taken_as_it_is() -> None:
    body = BodyFraming(10**30)
    assert (body.feed(b"abc"), body.done) == (b"abc", False)


@given(st.binary(min_size=1, max_size=60), st.integers(1, 10))
def test_a_sized_body_is_whole_when_all_of_it_is_there(wire: bytes, size: int) -> None:
    body = BodyFraming(len(wire))
    for at in range(0, len(wire), size):
        assert not body.done
        body.feed(wire[at : at + size])
    assert body.done


@pytest.mark.parametrize(("length", "done"), [(0, True), (1, False), (None, False)])
def test_a_body_of_no_length_is_whole_from_the_start(length: int | None, done: bool) -> None:
    assert BodyFraming(length).done is done


def test_a_body_without_a_length_is_never_known_to_be_whole() -> None:
    body = BodyFraming(None)
    assert (body.feed(b"abc"), body.done) == (b"abc", False)
