from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import clean_text

from pytest_llmops.cassettes.importers import read_foreign
from pytest_llmops.wire.aws_event_stream import Frame, pack_frames, unpack_frames, unpack_leading_frames

EMPTY = bytes.fromhex("00000010 00000000 05c248eb 7d98c8ff")
PAYLOAD = bytes.fromhex("0000001d 00000000 fd528c5a") + b"{'foo':'bar'}" + bytes.fromhex("c3653936")
INTEGER = (
    bytes.fromhex("0000002b 0000000e 348bec7b 08")
    + b"event-id"
    + bytes.fromhex("04 0000a00c")
    + b"{'foo':'bar'}"
    + bytes.fromhex("d3890285")
)
"""Frames with the check sums that the format's own test vectors publish."""


@pytest.mark.parametrize(
    ("data", "frame"),
    [
        (EMPTY, Frame()),
        (PAYLOAD, Frame(payload=b"{'foo':'bar'}")),
        (INTEGER, Frame({"event-id": {"integer": 40972}}, b"{'foo':'bar'}")),
    ],
)
def test_published_frames(data: bytes, frame: Frame) -> None:
    assert unpack_frames(data) == [frame]
    assert pack_frames([frame]) == data


def test_no_bytes_are_no_frames() -> None:
    assert unpack_frames(b"") == []
    assert pack_frames([]) == b""


@pytest.mark.parametrize(
    ("tagged", "value"),
    [
        (b"\x00", True),
        (b"\x01", False),
        (b"\x02\xff", {"byte": -1}),
        (b"\x03\x80\x00", {"short": -32768}),
        (b"\x04\x7f\xff\xff\xff", {"integer": 2**31 - 1}),
        (b"\x05" + b"\xff" * 8, {"long": -1}),
        (b"\x06\x00\x02\xff\x00", {"bytes": "/wA="}),
        (b"\x07\x00\x02\xc3\xa4", "ä"),
        (b"\x07\x00\x00", ""),
        (b"\x08\x00\x00\x01\x8c\xc2\x51\xf4\x00", {"timestamp": 1704067200000}),
        (b"\x09" + bytes(range(16)), {"uuid": "00010203-0405-0607-0809-0a0b0c0d0e0f"}),
    ],
)
def test_every_type_of_header(tagged: bytes, value: Any) -> None:
    data = raw_frame(b"\x01n" + tagged)
    assert unpack_frames(data) == [Frame({"n": value})]
    assert pack_frames([Frame({"n": value})]) == data


def raw_frame(headers: bytes, payload: bytes = b"") -> bytes:
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    whole = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return whole + struct.pack(">I", crc32(whole))


@pytest.mark.parametrize(
    "headers",
    [
        b"\x01n\x01\x01n\x01",  # the same name twice
        b"\x01n\x0a",  # a type that does not exist
        b"\x01n",
        b"\x05n",
        b"\x01n\x03\x00",
        b"\x01n\x07\x00\x05ab",
        b"\x01n\x07\x00",
        b"\x01n\x09abc",
        b"\x01\xff\x01",
        b"\x01n\x07\x00\x01\xff",
    ],
)
def test_headers_that_are_none(headers: bytes) -> None:
    assert unpack_frames(raw_frame(headers)) is None


def test_a_changed_byte_anywhere_is_noticed() -> None:
    for at in range(len(INTEGER)):
        changed = INTEGER[:at] + bytes([INTEGER[at] ^ 1]) + INTEGER[at + 1 :]
        assert unpack_frames(changed) is None


def test_a_cut_anywhere_is_noticed_and_leaves_the_whole_frames() -> None:
    whole = PAYLOAD + INTEGER
    for end in range(1, len(whole)):
        if end != len(PAYLOAD):
            assert unpack_frames(whole[:end]) is None
        frames, used = unpack_leading_frames(whole[:end])
        assert (len(frames), used) == ((1, len(PAYLOAD)) if end >= len(PAYLOAD) else (0, 0))


def test_headers_longer_than_the_frame_are_none() -> None:
    prelude = struct.pack(">II", 16, 2**32 - 1)
    whole = prelude + struct.pack(">I", crc32(prelude))
    assert unpack_frames(whole + struct.pack(">I", crc32(whole))) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"n": 1},
        {"n": None},
        {"n": 1.5},
        {"n": []},
        {"n": {}},
        {"n": {"byte": 128}},
        {"n": {"byte": True}},
        {"n": {"byte": "1"}},
        {"n": {"other": 1}},
        {"n": {"byte": 1, "short": 1}},
        {"n": {"bytes": "no base64!"}},
        {"n": {"uuid": "none"}},
        {"n": "x" * 65_536},
        {"n" * 256: "x"},
        {"n": "\ud800"},
    ],
)
def test_headers_that_cannot_be_written(headers: Any) -> None:
    with pytest.raises(ValueError):
        pack_frames([Frame(headers)])


values = st.one_of(
    st.booleans(),
    clean_text,
    st.integers(-(2**7), 2**7 - 1).map(lambda n: {"byte": n}),
    st.integers(-(2**15), 2**15 - 1).map(lambda n: {"short": n}),
    st.integers(-(2**31), 2**31 - 1).map(lambda n: {"integer": n}),
    st.integers(-(2**63), 2**63 - 1).map(lambda n: {"long": n}),
    st.integers(-(2**63), 2**63 - 1).map(lambda n: {"timestamp": n}),
    st.binary(max_size=20).map(lambda raw: {"bytes": base64.b64encode(raw).decode()}),
    st.uuids().map(lambda uuid: {"uuid": str(uuid)}),
)
frames = st.builds(Frame, st.dictionaries(clean_text, values, max_size=4), st.binary(max_size=50))


@pytest.mark.slow
@given(st.lists(frames, max_size=4))
def test_frames_come_back(made: list[Frame]) -> None:
    data = pack_frames(made)
    assert unpack_frames(data) == made
    assert [list(frame.headers) for frame in unpack_frames(data) or []] == [
        list(frame.headers) for frame in made
    ]


@given(st.lists(frames, max_size=2), st.binary(max_size=40), st.binary(max_size=30))
def test_what_is_read_is_written_as_it_was(made: list[Frame], headers: bytes, tail: bytes) -> None:
    for data in (pack_frames(made) + raw_frame(headers, tail), pack_frames(made) + tail):
        result, used = unpack_leading_frames(data)
        assert pack_frames(result) == data[:used]
        whole = unpack_frames(data)
        assert whole is None or pack_frames(whole) == data


@pytest.mark.shared_data
def test_a_stream_of_bedrock(shared_data: Path) -> None:
    (request,) = read_foreign(shared_data / "cassettes" / "files" / "21_test_guardrail_converse_stream.yaml")
    result = unpack_frames(request.body)
    assert result is not None
    assert pack_frames(result) == request.body
    assert [frame.headers[":event-type"] for frame in result] == [
        "messageStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
