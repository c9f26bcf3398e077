"""Bodies in each content encoding."""

from __future__ import annotations

import gzip
import importlib
import zlib

import pytest


def compress(data: bytes, encoding: str) -> bytes:
    """Return data in the encodings of a header; skip the test if a package is missing."""
    for name in encoding.lower().replace(" ", "").split(","):
        data = _compress_once(data, name)
    return data


def _compress_once(data: bytes, name: str) -> bytes:
    if name in ("gzip", "x-gzip"):
        return gzip.compress(data, mtime=0)  # ids of tests are made from it
    if name == "deflate":
        return zlib.compress(data)
    if name == "br":
        packed: bytes = pytest.importorskip("brotli", reason="brotli is not installed").compress(data)
        return packed
    if name == "zstd":
        return _compress_zstd(data)
    raise ValueError(name)


def _compress_zstd(data: bytes) -> bytes:
    for module in ("compression.zstd", "backports.zstd", "zstandard"):
        try:
            packed: bytes = importlib.import_module(module).compress(data)
        except ImportError:
            continue
        return packed
    pytest.skip("no package with zstd is installed")
