"""Pack and unpack AWS event streams (``application/vnd.amazon.eventstream``) without any loss.

A frame is, in big endian: its length (4 bytes), the length of its headers (4), a CRC-32 of these 8 bytes,
headers, payload, and a CRC-32 of all before. A header is the length of its name (1), the name, a type (1)
and a value.

botocore's reader is not a substitute: it writes no frames and drops the types of headers, and both are needed to store a
body and to mask secrets in it, also where botocore is not installed.
"""

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
FRAME_OVERHEAD = _PRELUDE.size + _U32.size  # bytes of a frame without headers and payload
_NUMBER_TYPES = {
    2: ("byte", struct.Struct(">b")),
    3: ("short", struct.Struct(">h")),
    4: ("integer", struct.Struct(">i")),
    5: ("long", struct.Struct(">q")),
    8: ("timestamp", struct.Struct(">q")),
}
# Types of headers
_TRUE = 0
_FALSE = 1
_BYTES = 6
_STRING = 7
_UUID = 9
_UUID_SIZE = 16
_NUMBER_TAGS = {name: (tag, number) for tag, (name, number) in _NUMBER_TYPES.items()}


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of an event stream.

    Attributes:
        headers: In their order in the frame. Texts and booleans stay as they are; other types are named:
            ``{"byte": 1}``, ``{"short": 1}``, ``{"integer": 1}``, ``{"long": 1}``, ``{"timestamp": 1}``
            (milliseconds since 1970), ``{"bytes": "base64"}``, ``{"uuid": "..."}``.
    """

    headers: Mapping[str, Json] = field(default_factory=dict)
    payload: bytes = b""


def unpack_frames(data: bytes) -> list[Frame] | None:
    """Return the frames of a stream, or None if it holds anything but complete and valid frames.

    `pack_frames` turns the frames into the same bytes again.

    >>> unpack_frames(pack_frames([Frame({":event-type": "chunk"}, b"{}")]))
    [Frame(headers={':event-type': 'chunk'}, payload=b'{}')]
    >>> unpack_frames(b"something else") is None
    True
    """
    frames, size = unpack_leading_frames(data)
    if size == len(data):
        return frames
    return None


def unpack_leading_frames(data: bytes) -> tuple[list[Frame], int]:
    """Return the complete and valid frames at the start of data, and their size in bytes.

    >>> unpack_leading_frames(pack_frames([Frame(payload=b"{}")]) + b"broken off")
    ([Frame(headers={}, payload=b'{}')], 18)
    """
    frames = []
    position = 0
    view = memoryview(data)
    while position < len(data):
        try:
            frame, size = _unpack_frame(view[position:])
        except (ValueError, struct.error):
            break
        frames.append(frame)
        position += size
    return frames, position


def pack_frames(frames: Iterable[Frame]) -> bytes:
    """Return the bytes of frames.

    Raises:
        ValueError: A header has an unknown type, or is too long.
    """
    return b"".join(map(_pack_frame, frames))


def _unpack_frame(data: memoryview) -> tuple[Frame, int]:
    """Return the frame at the start of data, and its size in bytes.

    Raises:
        ValueError: A checksum or a length is wrong, or a header cannot be read.
        struct.error: Data ends within the prelude or within a header.
    """
    size, headers_size, prelude_check = _PRELUDE.unpack_from(data)
    if crc32(data[:8]) != prelude_check:
        raise ValueError
    if not headers_size + FRAME_OVERHEAD <= size <= len(data):
        raise ValueError
    end = size - _U32.size
    (frame_check,) = _U32.unpack_from(data, end)
    if crc32(data[:end]) != frame_check:
        raise ValueError
    payload_start = _PRELUDE.size + headers_size
    headers = _unpack_headers(bytes(data[_PRELUDE.size : payload_start]))
    return Frame(headers, bytes(data[payload_start:end])), size


def _unpack_headers(data: bytes) -> dict[str, Json]:
    """Return the headers packed in data, which holds nothing else.

    Raises:
        ValueError: A header is cut off, has no valid value, or occurs twice.
        struct.error: A number is cut off.
    """
    headers: dict[str, Json] = {}
    position = 0
    while position < len(data):
        name_size = data[position]
        raw_name = _slice_exactly(data, position + 1, name_size)
        position += 1 + name_size
        name = raw_name.decode()
        # A mapping cannot hold the same name twice, so the bytes could not be restored.
        if name in headers or position == len(data):
            raise ValueError
        headers[name], position = _unpack_header_value(data[position], data, position + 1)
    return headers


def _unpack_header_value(tag: int, data: bytes, at: int) -> tuple[Json, int]:
    """Return the value at a position of data, and the position after it.

    Raises:
        ValueError: The tag is unknown, or the value is cut off.
        struct.error: A number is cut off.
    """
    if tag in (_TRUE, _FALSE):
        return tag == _TRUE, at
    if tag in _NUMBER_TYPES:
        name, number_struct = _NUMBER_TYPES[tag]
        (number,) = number_struct.unpack_from(data, at)
        return {name: number}, at + number_struct.size
    if tag == _UUID:
        raw = _slice_exactly(data, at, _UUID_SIZE)
        return {"uuid": str(uuid.UUID(bytes=raw))}, at + _UUID_SIZE
    if tag not in (_BYTES, _STRING):
        raise ValueError
    (size,) = _U16.unpack_from(data, at)
    at += _U16.size
    raw = _slice_exactly(data, at, size)
    at += size
    if tag == _STRING:
        return raw.decode(), at
    return {"bytes": base64.b64encode(raw).decode()}, at


def _slice_exactly(data: bytes, at: int, size: int) -> bytes:
    """Return a slice of exactly this size.

    Raises:
        ValueError: Data ends before.
    """
    if at + size > len(data):
        raise ValueError
    return data[at : at + size]


def _pack_frame(frame: Frame) -> bytes:
    """Return the bytes of a frame.

    Raises:
        ValueError: A header has an unknown type, or is too long.
    """
    try:
        headers = b"".join(map(_pack_header, frame.headers, frame.headers.values()))
        size = FRAME_OVERHEAD + len(headers) + len(frame.payload)
        prelude = struct.pack(">II", size, len(headers))
    except (struct.error, binascii.Error, OverflowError) as error:
        raise ValueError(f"a frame of an event stream cannot be written: {error}") from None
    message = prelude + _U32.pack(crc32(prelude)) + headers + frame.payload
    return message + _U32.pack(crc32(message))


def _pack_header(name: str, value: Json) -> bytes:
    raw = name.encode()
    return struct.pack(">B", len(raw)) + raw + _pack_header_value(value)


def _pack_header_value(value: Json) -> bytes:
    """Return the tag and the bytes of a header's value, in a form that `Frame` describes.

    Raises:
        ValueError: The value has another form.
    """
    if isinstance(value, bool):
        return bytes([_TRUE if value else _FALSE])
    if isinstance(value, str):
        return _pack_sized_value(_STRING, value.encode())
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, inner),) = value.items()
        if kind in _NUMBER_TAGS and isinstance(inner, int) and not isinstance(inner, bool):
            tag, number_struct = _NUMBER_TAGS[kind]
            return bytes([tag]) + number_struct.pack(inner)
        if kind == "bytes" and isinstance(inner, str):
            return _pack_sized_value(_BYTES, base64.b64decode(inner, validate=True))
        if kind == "uuid" and isinstance(inner, str):
            return bytes([_UUID]) + uuid.UUID(inner).bytes
    raise ValueError(
        f"a header of an event stream is a text, a truth value or a named type, got {value!r:.60}"
    )


def _pack_sized_value(tag: int, raw: bytes) -> bytes:
    return bytes([tag]) + _U16.pack(len(raw)) + raw
