"""AWS event streams (``application/vnd.amazon.eventstream``): bytes to frames and back, byte for byte.

A frame is, in big endian: its length (4 bytes), the length of its headers (4), a CRC-32 of these 8 bytes,
headers, payload, and a CRC-32 of all before. A header is the length of its name (1), the name, a type (1)
and a value.
"""

from __future__ import annotations

import base64
import binascii
import struct
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from zlib import crc32

from pytest_llmops.measurement import Json

_PRELUDE = struct.Struct(">III")
_U32 = struct.Struct(">I")
_U16 = struct.Struct(">H")
_ENDS = _PRELUDE.size + _U32.size
"""Bytes of a frame without headers and payload."""
_NUMBERS = {
    2: ("byte", struct.Struct(">b")),
    3: ("short", struct.Struct(">h")),
    4: ("integer", struct.Struct(">i")),
    5: ("long", struct.Struct(">q")),
    8: ("timestamp", struct.Struct(">q")),
}
_TRUE, _FALSE, _BYTES, _STRING, _UUID = 0, 1, 6, 7, 9
_TAGS = {name: (tag, how) for tag, (name, how) in _NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of an event stream.

    Attributes:
        headers: In the order of the wire. A text or a truth value is itself; any other type is named:
            ``{"byte": 1}``, ``{"short": 1}``, ``{"integer": 1}``, ``{"long": 1}``, ``{"timestamp": 1}``
            (milliseconds since 1970), ``{"bytes": "base64"}``, ``{"uuid": "..."}``.
    """

    headers: Mapping[str, Json] = field(default_factory=dict)
    payload: bytes = b""


class _Damaged(ValueError):
    """These bytes are no whole frame."""


def unpack(data: bytes) -> list[Frame] | None:
    """Return the frames of a stream, or None if it is not made of whole and valid frames.

    What is returned, `pack` turns into the same bytes again. No bytes are no frames.

    >>> unpack(pack([Frame({":event-type": "chunk"}, b"{}")]))
    [Frame(headers={':event-type': 'chunk'}, payload=b'{}')]
    >>> unpack(b"something else") is None
    True
    """
    frames, used = leading(data)
    return frames if used == len(data) else None


def leading(data: bytes) -> tuple[list[Frame], int]:
    """Return the whole and valid frames at the start, and how many bytes they take.

    >>> leading(pack([Frame(payload=b"{}")]) + b"broken off")
    ([Frame(headers={}, payload=b'{}')], 18)
    """
    frames, at = [], 0
    view = memoryview(data)
    while at < len(data):
        try:
            frame, size = _frame(view[at:])
        except (ValueError, struct.error):
            break
        frames.append(frame)
        at += size
    return frames, at


def pack(frames: Iterable[Frame]) -> bytes:
    """Return the bytes of frames.

    Raises:
        ValueError: A header is of no type that exists, or longer than its length can say.
    """
    return b"".join(map(_bytes, frames))


def _frame(data: memoryview) -> tuple[Frame, int]:
    size, headers_size, check = _PRELUDE.unpack_from(data)
    if crc32(data[:8]) != check or not headers_size + _ENDS <= size <= len(data):
        raise _Damaged
    end = size - _U32.size
    (check,) = _U32.unpack_from(data, end)
    if crc32(data[:end]) != check:
        raise _Damaged
    begin = _PRELUDE.size + headers_size
    return Frame(_headers(bytes(data[_PRELUDE.size : begin])), bytes(data[begin:end])), size


def _headers(data: bytes) -> dict[str, Json]:
    headers: dict[str, Json] = {}
    at = 0
    while at < len(data):
        begin = at + 1
        raw = _cut(data, begin, data[at])
        at = begin + len(raw)
        name = raw.decode()
        # The same name twice would be lost in a mapping, and with it the bytes.
        if name in headers or at == len(data):
            raise _Damaged
        headers[name], at = _value(data[at], data, at + 1)
    return headers


def _value(tag: int, data: bytes, at: int) -> tuple[Json, int]:
    if tag in (_TRUE, _FALSE):
        return tag == _TRUE, at
    if tag in _NUMBERS:
        name, how = _NUMBERS[tag]
        (number,) = how.unpack_from(data, at)
        return {name: number}, at + how.size
    if tag == _UUID:
        return {"uuid": str(uuid.UUID(bytes=_cut(data, at, 16)))}, at + 16
    if tag not in (_BYTES, _STRING):
        raise _Damaged
    (size,) = _U16.unpack_from(data, at)
    raw = _cut(data, at + _U16.size, size)
    at += _U16.size + size
    return (raw.decode() if tag == _STRING else {"bytes": base64.b64encode(raw).decode()}), at


def _cut(data: bytes, at: int, size: int) -> bytes:
    raw = data[at : at + size]
    if len(raw) != size:
        raise _Damaged
    return raw


def _bytes(frame: Frame) -> bytes:
    try:
        headers = b"".join(_header(name, value) for name, value in frame.headers.items())
        size = _ENDS + len(headers) + len(frame.payload)
        prelude = struct.pack(">II", size, len(headers))
    except (struct.error, binascii.Error, OverflowError) as error:
        raise ValueError(f"a frame of an event stream cannot be written: {error}") from None
    whole = prelude + _U32.pack(crc32(prelude)) + headers + frame.payload
    return whole + _U32.pack(crc32(whole))


def _header(name: str, value: Json) -> bytes:
    raw = name.encode()
    return struct.pack(">B", len(raw)) + raw + _tagged(value)


def _tagged(value: Json) -> bytes:
    if isinstance(value, bool):
        return bytes([_TRUE if value else _FALSE])
    if isinstance(value, str):
        return _sized(_STRING, value.encode())
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, inner),) = value.items()
        if kind in _TAGS and isinstance(inner, int) and not isinstance(inner, bool):
            tag, how = _TAGS[kind]
            return bytes([tag]) + how.pack(inner)
        if kind == "bytes" and isinstance(inner, str):
            return _sized(_BYTES, base64.b64decode(inner, validate=True))
        if kind == "uuid" and isinstance(inner, str):
            return bytes([_UUID]) + uuid.UUID(inner).bytes
    raise ValueError(
        f"a header of an event stream is a text, a truth value or a named type, got {value!r:.60}"
    )


def _sized(tag: int, raw: bytes) -> bytes:
    return bytes([tag]) + _U16.pack(len(raw)) + raw
