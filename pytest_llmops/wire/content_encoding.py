"""Decompress the bodies of requests and answers as an HTTP client or a server does, within a limit of size."""

import contextlib
import importlib
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from pytest_llmops.wire.untrusted_documents import GZIP, GZIP_MAGIC, DocumentError, TooLargeError, inflate

RECORD_AGAIN = "record it again"
UNCOMPRESSED_STEP = "send it undamaged, or uncompressed"
FILE_STEP = (
    "send it undamaged, or name the content type of a file (application/gzip, application/octet-stream)"
)
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZLIB_MAGICS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")  # of each level of compression
MAX_ENCODINGS = 8  # encodings of a body that are undone, in a chain
MAX_BODY_BYTES = 50 * 2**20  # limit of a decompressed body
# Bytes that a decompressor of brotli or zstd gets at once. A few bytes can unfold to megabytes, and not all of these
# packages can limit their output.
PIECE_BYTES = 64
# Encodings that leave a body readable: aws-chunked, of uploads to S3, puts signatures between its parts
_READABLE = frozenset({"", "identity", "aws-chunked"})
# Parts of the content types whose bodies are text; others are files, whose bytes may be compressed by themselves
_TEXT_TYPES = ("text/", "json", "xml", "form-urlencoded", "yaml", "graphql", "javascript")


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
        problem: Why it cannot be read, with the next step; "" if it can.
    """

    content: bytes
    problem: str


def decode_request_body(body: bytes, encoding: str, content_type: str = "") -> RequestBody:
    r"""Undo the encodings of a request's body, also those that its header does not name, or names wrongly.

    Servers accept more than the header promises, so what any of them could read is decoded: gzip, zlib and zstd are
    recognized by their first bytes, their end may be missing, and what follows it is left out.

    Args:
        body: The body as it is sent.
        encoding: The ``content-encoding`` header; "" if there is none.
        content_type: The ``content-type`` header; "" if there is none. A file is decoded only by its header.

    >>> decode_request_body(zlib.compress(b"{}") + b"\n", "gzip")
    RequestBody(content=b'{}', problem='')
    >>> decode_request_body(b"{}", "gzip")
    RequestBody(content=b'{}', problem='')
    """
    is_file = _is_file(encoding, content_type)
    step = UNCOMPRESSED_STEP if encoding else FILE_STEP
    try:
        with _name_part("request body"):
            content = _undo_encodings(body, encoding, certain=True, decode=_decode_leniently)
            if not is_file:
                content = _undo_unnamed_encoding(content)
    except UnreadableBodyError as error:
        return RequestBody(body, f"{error.what}; {_format_step(error.package, 'send it uncompressed')}")
    except DocumentError as error:
        if "aws-chunked" in encoding.lower():  # a file, of which each part has a signature
            return RequestBody(body, "")
        return RequestBody(body, f"{error.what}; {step}")
    return RequestBody(content, "")


def _is_file(encoding: str, content_type: str) -> bool:
    """Return whether the body of a request is a file, and not a text that the server decodes."""
    if not content_type:
        return "aws-chunked" in encoding.lower()
    kind = content_type.lower()
    return not any(part in kind for part in _TEXT_TYPES)


def _undo_unnamed_encoding(body: bytes) -> bytes:
    """Return a body decompressed that begins as a compressed one, although no header states it. Return any other as it is.

    Raises:
        DocumentError: It is damaged, or no package for it is installed.
        TooLargeError: It is larger than `MAX_BODY_BYTES`.
    """
    decoded = _decode_by_magic(body)
    if decoded is None:
        return body
    return decoded


def _decode_leniently(name: str, body: bytes) -> bytes:
    """Undo an encoding of a request; the first bytes of the body count more than its name.

    Raises:
        DocumentError: It is damaged, or no package for it is installed.
        TooLargeError: It is larger than `MAX_BODY_BYTES`.
    """
    try:
        return _DECODERS[name](body, certain=True)
    except UnreadableBodyError:
        raise
    except DocumentError:
        decoded = _decode_by_magic(body)
        if decoded is not None:
            return decoded
        if name != "deflate":
            raise
    return _inflate_leniently(body, -zlib.MAX_WBITS, "deflate")


def _decode_by_magic(body: bytes) -> bytes | None:
    """Return a body decompressed that begins as gzip, zlib or zstd; None for any other, and for text.

    Raises:
        DocumentError: It is damaged, or no package for zstd is installed.
        TooLargeError: It is larger than `MAX_BODY_BYTES`.
    """
    if body.startswith(GZIP_MAGIC):
        return _inflate_leniently(body, GZIP, "gzip")
    if body.startswith(ZSTD_MAGIC):
        return _unfold_zstd(body, lenient=True)
    if not body.startswith(ZLIB_MAGICS):
        return None
    # A text may begin so, too: "x^2".
    with contextlib.suppress(zlib.error):
        return inflate(body, zlib.MAX_WBITS, MAX_BODY_BYTES)
    if _is_text(body):
        return None
    return _inflate_leniently(body, zlib.MAX_WBITS, "deflate")


def _inflate_leniently(body: bytes, window: int, name: str) -> bytes:
    """Return a body of gzip or deflate decompressed, whose end may be missing, or followed by other bytes.

    Raises:
        DocumentError: It is damaged.
        TooLargeError: It is larger than `MAX_BODY_BYTES`.
    """
    try:
        return inflate(body, window, MAX_BODY_BYTES, lenient=True)
    except zlib.error as error:
        raise DocumentError(f"is damaged {name} ({error})") from None


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
        part: The kind of body, for errors.

    Raises:
        UnreadableBodyError: Its encoding is unknown, its decoder is not installed, or it is larger than
            `MAX_BODY_BYTES`.
        DocumentError: It is damaged.
    """
    with _name_part(part):
        return _undo_encodings(body, encoding, certain=certain, decode=partial(_decode, certain=certain))


@contextlib.contextmanager
def _name_part(part: str) -> Iterator[None]:
    """Add the kind of body to the errors of a block.

    Raises:
        DocumentError: An error of the block, in which the body is named.
    """
    try:
        yield
    except UnreadableBodyError as error:
        raise UnreadableBodyError(f"its {part} {error.what}", error.package) from None
    except TooLargeError as error:
        raise UnreadableBodyError(f"its {part} {error}") from None
    except DocumentError as error:
        raise DocumentError(f"its {part} {error.what}", error.step) from None


def _decode(name: str, body: bytes, *, certain: bool) -> bytes:
    """Undo an encoding as its decoder does."""
    return _DECODERS[name](body, certain=certain)


def _undo_encodings(
    body: bytes, encoding: str, *, certain: bool, decode: Callable[[str, bytes], bytes]
) -> bytes:
    """Undo the encodings of a body as `decode_body` does; the errors do not name the part.

    Args:
        body: The body.
        encoding: The header.
        certain: As for `decode_body`.
        decode: Undoes an encoding, given its name and the body.

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
        if name in _DECODERS:
            if body:
                body = decode(name, body)
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
    if not body.startswith(GZIP_MAGIC):
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
    return _unfold_zstd(body)


def _unfold_zstd(body: bytes, *, lenient: bool = False) -> bytes:
    """Return a zstd body decompressed; see `_decompress_frames`."""
    for name in ("compression.zstd", "backports.zstd", "zstandard"):
        with contextlib.suppress(ImportError):
            module: Any = importlib.import_module(name)
            make_decompressor = module.ZstdDecompressor
            if not hasattr(module, "ZstdFile"):  # the package zstandard
                make_decompressor = module.ZstdDecompressor().decompressobj
            return _decompress_frames(make_decompressor, body, lenient=lenient)
    raise UnreadableBodyError("is compressed with zstd", "zstandard")


def _decompress_frames(make_decompressor: Callable[[], Any], body: bytes, *, lenient: bool) -> bytes:
    """Return a zstd body, which may have several frames, decompressed.

    Args:
        make_decompressor: Returns a decompressor for a frame, with the methods of `compression.zstd`.
        body: The body.
        lenient: Whether its end may be missing, and other bytes may follow it, which are left out.

    Raises:
        DocumentError: It is damaged or cut off.
        TooLargeError: It is larger than `MAX_BODY_BYTES`.
    """
    output = _LimitedOutput()
    decompressor = make_decompressor()
    for start in range(0, len(body), PIECE_BYTES):
        piece = body[start : start + PIECE_BYTES]
        end = start + len(piece)
        while piece:
            if decompressor.eof:
                if lenient and not body.startswith(ZSTD_MAGIC, end - len(piece)):
                    return output.join()
                decompressor = make_decompressor()
            output.add(_call_package(decompressor.decompress, piece, "zstd"))
            piece = decompressor.unused_data
    content = output.join()
    is_enough = lenient and len(content) > 0
    if not decompressor.eof and not is_enough:
        raise DocumentError("is damaged zstd (it ends too early)")
    return content


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
