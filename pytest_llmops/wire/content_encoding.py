"""Bodies of answers without their compression, as an application gets them."""

from __future__ import annotations

import contextlib
import importlib
import zlib
from collections.abc import Callable
from typing import Any

from pytest_llmops.wire.untrusted_documents import GZIP, Unfit, inflate

AGAIN = "record it again"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
RAW_DEFLATE = -zlib.MAX_WBITS
MAX_STEPS = 8
"""Of encodings on top of each other."""


def decoded(body: bytes, encoding: str, *, certain: bool) -> bytes:
    """Undo the encodings that a ``content-encoding`` header names, if they are still there.

    Many recorders decode a body and leave the header as it was, so a body that does not look encoded is
    taken for decoded.

    Args:
        body: As it was stored.
        encoding: The header: ``gzip``, ``deflate``, ``br``, ``zstd`` or several of them.
        certain: It was stored as bytes: one that looks like nothing is damaged, not decoded.

    Raises:
        Unfit: It is damaged, its encoding is unknown, or what decodes it is not installed.
    """
    names = [name.strip().lower() for name in encoding.split(",")]
    for name in [name for name in names if name not in ("", "identity")][::-1][:MAX_STEPS]:
        undo = _KNOWN.get(name)
        if undo is not None:
            body = undo(body, certain) if body else body
        elif certain:
            raise Unfit(f"its response is encoded as {name!a:.40}, which is unknown", AGAIN)
    return body


def _gzip(body: bytes, certain: bool) -> bytes:  # noqa: FBT001 -- one of a table
    if not body.startswith(b"\x1f\x8b"):
        return _as_it_is(body, "gzip", certain=certain)
    try:
        return inflate(body, GZIP)
    except zlib.error as error:
        raise Unfit(f"its response is damaged gzip ({error})") from None


def _deflate(body: bytes, certain: bool) -> bytes:  # noqa: FBT001 -- one of a table
    # Servers disagree over what the name means: with zlib's frame, or without.
    for window in (zlib.MAX_WBITS, RAW_DEFLATE):
        with contextlib.suppress(zlib.error):
            return inflate(body, window)
    return _as_it_is(body, "deflate", certain=certain)


def _zstd(body: bytes, certain: bool) -> bytes:  # noqa: FBT001 -- one of a table
    if not body.startswith(ZSTD_MAGIC):
        return _as_it_is(body, "zstd", certain=certain)
    for name in ("compression.zstd", "backports.zstd", "zstandard"):
        with contextlib.suppress(ImportError):
            module: Any = importlib.import_module(name)
            return _called(
                module.decompress if hasattr(module, "ZstdFile") else _streamed(module), body, "zstd"
            )
    raise Unfit("its response is compressed with zstd", "pip install zstandard, or record it again")


def _brotli(body: bytes, certain: bool) -> bytes:  # noqa: FBT001 -- one of a table
    if not certain:
        return body
    for name in ("brotli", "brotlicffi"):
        with contextlib.suppress(ImportError):
            return _called(importlib.import_module(name).decompress, body, "brotli")
    raise Unfit("its response is compressed with brotli", "pip install brotli, or record it again")


def _streamed(module: Any) -> Callable[[bytes], bytes]:
    """Of the package zstandard: its one-step call wants a size in the frame, which streams do not have."""
    return lambda body: module.ZstdDecompressor().decompressobj().decompress(body)


def _called(undo: Callable[[bytes], bytes], body: bytes, name: str) -> bytes:
    try:
        return undo(body)
    except Exception as error:  # noqa: BLE001 -- each of the packages has an error of its own
        raise Unfit(f"its response is damaged {name} ({type(error).__name__})") from None


def _as_it_is(body: bytes, name: str, *, certain: bool) -> bytes:
    """A body without the mark of its encoding: decoded by the recorder, if it reads as text."""
    if certain:
        try:
            body.decode("utf-8")
        except UnicodeDecodeError:
            raise Unfit(f"its response should be {name}, and is neither that nor text", AGAIN) from None
    return body


_KNOWN: dict[str, Callable[[bytes, bool], bytes]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
    "br": _brotli,
}
