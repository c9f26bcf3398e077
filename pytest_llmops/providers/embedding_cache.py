"""Cache of vectors by the content of texts, so that a text is embedded only once.

An embedder must declare ``cacheable = True``: a text has the same vector in every call, and no server is called. A cache would
change the requests of an HTTP embedder, so that recordings no longer match; and vectors that depend on the other texts of a call
cannot be reused.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmops._util.arrays import Float32Array, np
from pytest_llmops._util.text_files import fingerprint_parts
from pytest_llmops.protocols import Embedder

# Limit for all cached vectors in a process: some 40,000 of 384 numbers; the least recently used are dropped
MAX_BYTES = 64 * 2**20


def with_vector_cache(embedder: Embedder) -> Embedder:
    """Return the embedder with a cache around it; the embedder itself if it has one, or must not be cached.

    Vectors are cached in this process, up to `MAX_BYTES`. Their key includes the embedder's type and version. A cached vector may
    differ from a new vector in the seventh digit, as an embedder's sums depend slightly on the size of a batch.

    >>> from pytest_llmops.providers.offline import TfidfEmbedder
    >>> tfidf = TfidfEmbedder()
    >>> with_vector_cache(tfidf) is tfidf
    True
    """
    if isinstance(embedder, CachedEmbedder) or getattr(embedder, "cacheable", False) is not True:
        return embedder
    return CachedEmbedder(embedder)


@dataclass(frozen=True, slots=True)
class CachedEmbedder:
    """An embedder with a cache around it; attributes that it does not have itself are read from the inner embedder.

    Attributes:
        inner: Embeds the texts that are not in the cache.
    """

    inner: Embedder

    @property
    def version(self) -> str:
        """Version of the embedder."""
        return self.inner.version

    @property
    def name(self) -> str:
        """Name of the embedder, or of its type."""
        return str(getattr(self.inner, "name", "") or type(self.inner).__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return a ``(len(texts), dim)`` float32 array; each different text is embedded at most once.

        If the embedder returns anything but a matrix with a row for each text, nothing is cached, and its result for all texts is
        returned for the caller to check.
        """
        given: object = texts
        if isinstance(given, str) or not texts:
            return self.inner.embed(texts)
        kind = type(self.inner)
        space = fingerprint_parts(kind.__module__, kind.__qualname__, str(self.inner.version))
        keys = {}
        rows = {}
        for text in dict.fromkeys(texts):
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
            keys[text] = f"{space}:{digest}"
            row = self._find_row(keys[text])
            if row is not None:
                rows[text] = row
        missing = [text for text in keys if text not in rows]
        if missing:
            fresh: Any = self.inner.embed(missing)
            if not _has_rows(fresh, len(missing)):
                # The caller reports what is wrong with the result for all texts.
                return self.inner.embed(texts)
            for text, row in zip(missing, fresh, strict=True):
                rows[text] = row
                self._store_row(keys[text], row)
        return np.stack([rows[text] for text in texts])

    def _find_row(self, key: str) -> "Float32Array | None":
        """Return a vector from memory as the one used last; None: it is not there."""
        row = _memory.get(key)
        if row is not None:
            _memory.put(key, row)
        return row

    def _store_row(self, key: str, row: Float32Array) -> None:
        """Store a copy of a vector in memory; vectors with NaN or of another type are not stored."""
        if row.dtype != np.float32 or not np.isfinite(row).all():
            return
        frozen_row = row.copy()
        frozen_row.flags.writeable = False
        _memory.put(key, frozen_row)


def _has_rows(vectors: Any, count: int) -> bool:
    """Return whether vectors are a matrix with this number of rows."""
    return isinstance(vectors, np.ndarray) and vectors.ndim == 2 and len(vectors) == count  # noqa: PLR2004 -- a matrix


class _VectorMemory(OrderedDict[str, Float32Array]):
    """The most recently used vectors of this process."""

    limit = MAX_BYTES
    _lock = threading.Lock()

    def put(self, key: str, row: Float32Array) -> None:
        """Store a vector as the most recent one, and drop the oldest beyond the limit."""
        with self._lock:
            self[key] = row
            self.move_to_end(key)
            while len(self) * row.nbytes > self.limit:
                self.popitem(last=False)


_memory = _VectorMemory()
