"""Decompress the bodies of requests and answers as an HTTP client or a server does, within a limit of size."""

import contextlib
import importlib
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from pytest_llmops.wire.untrusted_documents import GZIP, DocumentError, TooLargeError, inflate

RECORD_AGAIN = "record it again"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MAX_ENCODINGS = 8  # encodings of a body that are undone, in a chain
MAX_BODY_BYTES = 50 * 2**20  # limit of a decompressed body
# Bytes that a decompressor of brotli or zstd gets at once. A few bytes can unfold to megabytes, and not all of these
# packages can limit their output.
PIECE_BYTES = 64
# Encodings that leave a body readable: aws-chunked, of uploads to S3, puts signatures between its parts
_READABLE = frozenset({"", "identity", "aws-chunked"})


class UnreadableBodyError(DocumentError):
    """A body that may be valid, but cannot be read here, so that secrets in it cannot be found either.

    Attributes:
        package: The package that has its decoder; "" if no package helps.
    """

    def __init__(self, what: str, package: str = "") -> None:
        super().__init__(what, _format_step(package, RECORD_AGAIN))
        self.package = package


def _format_step(package: str, other_step: str) -> str:
    """Return the next step for a body that cannot be read: a package to install, if one helps, or the other step."""
    if package:
        return f"pip install {package}, or {other_step}"
    return other_step


class RequestBody(NamedTuple):
    """The body of a request as it is matched and recorded.

    Attributes:
        content: The decoded body; if it could not be decoded, the bytes that were sent.
        problem: Why it cannot be read, with the next step; "" if it can, or if it is damaged.
    """

    content: bytes
    problem: str


def decode_request_body(body: bytes, encoding: str) -> RequestBody:
    """Undo the encodings of a request's body.

    A body that is not what its header states, and a damaged one, is returned as it is: a server refuses it, too.

    Args:
        body: The body as it is sent.
        encoding: The ``content-encoding`` header; "" if there is none.

    >>> decode_request_body(zlib.compress(b"{}"), "deflate")
    RequestBody(content=b'{}', problem='')
    >>> decode_request_body(b"{}", "gzip")
    RequestBody(content=b'{}', problem='')
    """
    if not encoding or not body:
        return RequestBody(body, "")
    try:
        return RequestBody(decode_body(body, encoding, certain=True, part="request body"), "")
    except UnreadableBodyError as error:
        return RequestBody(body, f"{error.what}; {_format_step(error.package, 'send it uncompressed')}")
    except DocumentError:
        return RequestBody(body, "")


def decode_stored_request(body: bytes) -> bytes | None:
    """Return the content of a request's body that was recorded compressed, as all were once; None for any other body.

    The header of a recorded request is not known, so its encoding is guessed. Brotli cannot be: any bytes may be brotli.
    """
    for encoding in ("gzip", "zstd", "deflate"):
        with contextlib.suppress(DocumentError):
            decoded = decode_body(body, encoding, certain=True)
            if decoded != body:
                return decoded
    return None


def decode_body(body: bytes, encoding: str, *, certain: bool, part: str = "response") -> bytes:
    """Undo the encodings named in a ``content-encoding`` header, unless the body is decoded already.

    Many recorders decode a body and keep the header, so a body that does not look encoded is returned as it is.

    Args:
        body: The stored body.
        encoding: The header: ``gzip``, ``deflate``, ``br``, ``zstd`` or several of these.
        certain: Whether the body is stored as bytes as they came over the wire. Then a body that does not look encoded
            is an error, unless it is text.
        part: What the body is, for errors.

    Raises:
        UnreadableBodyError: Its encoding is unknown, its decoder is not installed, or it is larger than
            `MAX_BODY_BYTES`.
        DocumentError: It is damaged.
    """
    try:
        return _undo_encodings(body, encoding, certain=certain)
    except UnreadableBodyError as error:
        raise UnreadableBodyError(f"its {part} {error.what}", error.package) from None
    except TooLargeError as error:
        raise UnreadableBodyError(f"its {part} {error}") from None
    except DocumentError as error:
        raise DocumentError(f"its {part} {error.what}", error.step) from None


def _undo_encodings(body: bytes, encoding: str, *, certain: bool) -> bytes:
    """Undo the encodings of a body as `decode_body` does; the errors do not name the part.

    Raises:
        DocumentError: It is damaged, or cannot be read.
        TooLargeError: It is larger than `MAX_BODY_BYTES`.
    """
    names = [name.strip().lower() for name in encoding.split(",")]
    # The header names the encodings in the order in which they were applied.
    last_first = [name for name in reversed(names) if name not in _READABLE]
    if len(last_first) > MAX_ENCODINGS and certain:
        raise UnreadableBodyError(f"has {len(last_first)} encodings, more than {MAX_ENCODINGS}")
    for name in last_first[:MAX_ENCODINGS]:
        decoder = _DECODERS.get(name)
        if decoder is not None:
            if body:
                body = decoder(body, certain=certain)
        elif certain and not _is_text(body):
            raise UnreadableBodyError(f"is encoded as {name!a:.40}, which is unknown")
    return body


def _is_text(body: bytes) -> bool:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _decode_gzip(body: bytes, *, certain: bool) -> bytes:
    if not body.startswith(b"\x1f\x8b"):
        return _accept_decoded_text(body, "gzip", certain=certain)
    try:
        return inflate(body, GZIP, MAX_BODY_BYTES)
    except zlib.error as error:
        raise DocumentError(f"is damaged gzip ({error})") from None


def _decode_deflate(body: bytes, *, certain: bool) -> bytes:
    # Some servers send deflate in zlib's frame, others without.
    for window in (zlib.MAX_WBITS, -zlib.MAX_WBITS):
        with contextlib.suppress(zlib.error):
            return inflate(body, window, MAX_BODY_BYTES)
    return _accept_decoded_text(body, "deflate", certain=certain)


def _decode_zstd(body: bytes, *, certain: bool) -> bytes:
    """Return a zstd body decompressed, by the first package that is installed.

    Raises:
        DocumentError: It is damaged, or no package is installed.
        TooLargeError: It is larger than `MAX_BODY_BYTES`.
    """
    if not body.startswith(ZSTD_MAGIC):
        return _accept_decoded_text(body, "zstd", certain=certain)
    for name in ("compression.zstd", "backports.zstd", "zstandard"):
        with contextlib.suppress(ImportError):
            module: Any = importlib.import_module(name)
            make_decompressor = module.ZstdDecompressor
            if not hasattr(module, "ZstdFile"):  # the package zstandard
                make_decompressor = module.ZstdDecompressor().decompressobj
            return _decompress_frames(make_decompressor, body)
    raise UnreadableBodyError("is compressed with zstd", "zstandard")


def _decompress_frames(make_decompressor: Callable[[], Any], body: bytes) -> bytes:
    """Return a zstd body, which may have several frames, decompressed.

    Args:
        make_decompressor: Returns a decompressor for a frame, with the methods of `compression.zstd`.
        body: The body.

    Raises:
        DocumentError: It is damaged or cut off.
        TooLargeError: It is larger than `MAX_BODY_BYTES`.
    """
    output = _LimitedOutput()
    decompressor = make_decompressor()
    for start in range(0, len(body), PIECE_BYTES):
        piece = body[start : start + PIECE_BYTES]
        while piece:
            if decompressor.eof:
                decompressor = make_decompressor()
            output.add(_call_package(decompressor.decompress, piece, "zstd"))
            piece = decompressor.unused_data
    if not decompressor.eof:
        raise DocumentError("is damaged zstd (it ends too early)")
    return output.join()


def _decode_brotli(body: bytes, *, certain: bool) -> bytes:
    """Return a brotli body decompressed, or as it is if it may be decoded already: brotli has no magic bytes.

    Raises:
        DocumentError: It is damaged, or no package is installed.
        TooLargeError: It is larger than `MAX_BODY_BYTES`.
    """
    if not certain:
        return body
    for name in ("brotli", "brotlicffi"):
        with contextlib.suppress(ImportError):
            decompressor: Any = importlib.import_module(name).Decompressor()
            output = _LimitedOutput()
            for start in range(0, len(body), PIECE_BYTES):
                piece = body[start : start + PIECE_BYTES]
                output.add(_call_package(decompressor.process, piece, "brotli"))
            if not decompressor.is_finished():
                raise DocumentError("is damaged brotli (it ends too early)")
            return output.join()
    raise UnreadableBodyError("is compressed with brotli", "brotli")


class _LimitedOutput:
    """The output of a decompressor, up to `MAX_BODY_BYTES`."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes) -> None:
        """Add a part.

        Raises:
            TooLargeError: The output is too large now.
        """
        self._size += len(part)
        if self._size > MAX_BODY_BYTES:
            raise TooLargeError(MAX_BODY_BYTES)
        self._parts.append(part)

    def join(self) -> bytes:
        """Return the whole output."""
        return b"".join(self._parts)


def _call_package(decompress: Callable[[bytes], bytes], piece: bytes, name: str) -> bytes:
    """Return a piece decompressed; any error of the package becomes a `DocumentError`."""
    try:
        return decompress(piece)
    except Exception as error:  # noqa: BLE001 -- each package has its own error
        raise DocumentError(f"is damaged {name} ({type(error).__name__})") from None


def _accept_decoded_text(body: bytes, name: str, *, certain: bool) -> bytes:
    """Return a body that does not look encoded as it is: its recorder has probably decoded it.

    Raises:
        DocumentError: It is certain that the body is encoded, and it is not text.
    """
    if certain and not _is_text(body):  # a recorder may have decoded it all the same: then it is text
        raise DocumentError(f"should be {name}, and is neither that nor text", RECORD_AGAIN)
    return body


_DECODERS: dict[str, Callable[..., bytes]] = {
    "gzip": _decode_gzip,
    "x-gzip": _decode_gzip,
    "deflate": _decode_deflate,
    "zstd": _decode_zstd,
    "br": _decode_brotli,
}
