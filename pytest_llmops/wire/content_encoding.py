"""Decompress the bodies of answers as an HTTP client does."""

import contextlib
import importlib
import zlib
from collections.abc import Callable
from typing import Any

from pytest_llmops.wire.untrusted_documents import GZIP, DocumentError, inflate

RECORD_AGAIN = "record it again"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MAX_ENCODINGS = 8  # encodings of a body that are undone, in a chain


def decode_body(body: bytes, encoding: str, *, certain: bool) -> bytes:
    """Undo the encodings named in a ``content-encoding`` header, unless the body is decoded already.

    Many recorders decode a body and keep the header, so a body that does not look encoded is returned as it is.

    Args:
        body: The stored body.
        encoding: The header: ``gzip``, ``deflate``, ``br``, ``zstd`` or several of these.
        certain: Whether the body is stored as bytes as they came over the wire. Then a body that does not look encoded
            is an error, unless it is text.

    Raises:
        DocumentError: It is damaged, its encoding is unknown, or the decoder is not installed.
    """
    names = [name.strip().lower() for name in encoding.split(",")]
    # The header names the encodings in the order in which they were applied.
    last_first = [name for name in reversed(names) if name not in ("", "identity")]
    for name in last_first[:MAX_ENCODINGS]:
        decoder = _DECODERS.get(name)
        if decoder is not None:
            if body:
                body = decoder(body, certain=certain)
        elif certain:
            raise DocumentError(f"its response is encoded as {name!a:.40}, which is unknown", RECORD_AGAIN)
    return body


def _decode_gzip(body: bytes, *, certain: bool) -> bytes:
    if not body.startswith(b"\x1f\x8b"):
        return _accept_decoded_text(body, "gzip", certain=certain)
    try:
        return inflate(body, GZIP)
    except zlib.error as error:
        raise DocumentError(f"its response is damaged gzip ({error})") from None


def _decode_deflate(body: bytes, *, certain: bool) -> bytes:
    # Some servers send deflate in zlib's frame, others without.
    for window in (zlib.MAX_WBITS, -zlib.MAX_WBITS):
        with contextlib.suppress(zlib.error):
            return inflate(body, window)
    return _accept_decoded_text(body, "deflate", certain=certain)


def _decode_zstd(body: bytes, *, certain: bool) -> bytes:
    """Return a zstd body decompressed, by the first package that is installed.

    Raises:
        DocumentError: It is damaged, or no package is installed.
    """
    if not body.startswith(ZSTD_MAGIC):
        return _accept_decoded_text(body, "zstd", certain=certain)
    for name in ("compression.zstd", "backports.zstd", "zstandard"):
        with contextlib.suppress(ImportError):
            module: Any = importlib.import_module(name)
            if hasattr(module, "ZstdFile"):
                return _run_decompressor(module.decompress, body, "zstd")
            # The package zstandard: its `decompress` requires a size in the frame, which streams do not have.
            return _run_decompressor(module.ZstdDecompressor().decompressobj().decompress, body, "zstd")
    raise DocumentError("its response is compressed with zstd", "pip install zstandard, or record it again")


def _decode_brotli(body: bytes, *, certain: bool) -> bytes:
    """Return a brotli body decompressed, or as it is if it may be decoded already: brotli has no magic bytes.

    Raises:
        DocumentError: It is damaged, or no package is installed.
    """
    if not certain:
        return body
    for name in ("brotli", "brotlicffi"):
        with contextlib.suppress(ImportError):
            return _run_decompressor(importlib.import_module(name).decompress, body, "brotli")
    raise DocumentError("its response is compressed with brotli", "pip install brotli, or record it again")


def _run_decompressor(decompress: Callable[[bytes], bytes], body: bytes, name: str) -> bytes:
    """Return the decompressed body; any error of the package becomes a `DocumentError`."""
    try:
        return decompress(body)
    except Exception as error:  # noqa: BLE001 -- each package has its own error
        raise DocumentError(f"its response is damaged {name} ({type(error).__name__})") from None


def _accept_decoded_text(body: bytes, name: str, *, certain: bool) -> bytes:
    """Return a body that does not look encoded as it is: its recorder has probably decoded it.

    Raises:
        DocumentError: It is certain that the body is encoded, and it is not text.
    """
    if certain:  # a recorder may have decoded it all the same: then it is text
        try:
            body.decode("utf-8")
        except UnicodeDecodeError:
            raise DocumentError(
                f"its response should be {name}, and is neither that nor text", RECORD_AGAIN
            ) from None
    return body


_DECODERS: dict[str, Callable[..., bytes]] = {
    "gzip": _decode_gzip,
    "x-gzip": _decode_gzip,
    "deflate": _decode_deflate,
    "zstd": _decode_zstd,
    "br": _decode_brotli,
}
