"""Vectors by content: a text that an embedder has seen is not embedded again.

Only for an embedder that says ``cacheable = True``: it gives a text the same vector in every call, and
asks no server. What an HTTP embedder finds in a cache would change its requests, and with them the
recordings that answer them; one that is fitted to the texts of a call has no vector of a text at all.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_llmops import recorder
from pytest_llmops._util.text_files import fingerprint_parts
from pytest_llmops.errors import UsageError
from pytest_llmops.protocols import Embedder

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

MAX_BYTES = 64 * 2**20
"""Of all vectors that one process keeps: 40,000 of 384 numbers. The one used longest ago goes first."""
DIGEST_BYTES = 32
_UNSAFE_FILE_CHARS = re.compile(r"[^A-Za-z0-9]+")


def with_vector_cache(embedder: Embedder) -> Embedder:
    """Return an embedder that remembers vectors, or the same one if it must not be cached.

    Vectors are kept in this process, `MAX_BYTES` of them, and in the folder of ini ``llm_vector_cache`` if
    it names one. They belong to the embedder's type and version. A remembered vector may differ from a
    fresh one in the seventh digit, as an embedder's sums depend a little on the size of a batch.

    Raises:
        UsageError: While embedding: a file cannot be written into the folder.

    >>> from pytest_llmops.providers.offline import TfidfEmbedder
    >>> tfidf = TfidfEmbedder()
    >>> with_vector_cache(tfidf) is tfidf
    True
    """
    if isinstance(embedder, CachedEmbedder) or getattr(embedder, "cacheable", False) is not True:
        return embedder
    folder = recorder.current_settings().vector_cache
    return CachedEmbedder(embedder, Path(folder) if folder else None)


@dataclass(frozen=True, slots=True)
class CachedEmbedder:
    """An embedder behind its cache; whatever else it can do, it still can.

    Attributes:
        inner: The embedder that is asked for what is not remembered.
        folder: Where vectors are kept between runs; None: nowhere. A damaged file there is made anew.
    """

    inner: Embedder
    folder: Path | None = None

    @property
    def version(self) -> str:
        """The embedder's own version."""
        return self.inner.version

    @property
    def name(self) -> str:
        """The embedder's own name, its type's if it has none."""
        return str(getattr(self.inner, "name", "") or type(self.inner).__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def embed(self, texts: Sequence[str]) -> NDArray[float32]:
        """Return a ``(len(texts), dim)`` float32 array; each different text is embedded at most once.

        What the embedder gives is handed on unchecked, and kept only if it is an array of that shape.
        """
        import numpy as np

        given: object = texts
        if isinstance(given, str) or not texts:
            return self.inner.embed(texts)
        space = _vector_space(self.inner)
        keys = {text: _vector_key(space, text) for text in texts}
        rows = {text: row for text, key in keys.items() if (row := self._remembered(key)) is not None}
        missing = [text for text in keys if text not in rows]
        if missing:
            fresh: Any = self.inner.embed(missing)
            if not isinstance(fresh, np.ndarray) or fresh.ndim != 2 or len(fresh) != len(missing):  # noqa: PLR2004 -- rows and columns
                # Let the one who asked find out what is wrong, on an answer to the whole question.
                return self.inner.embed(texts)
            for text, row in zip(missing, fresh, strict=True):
                rows[text] = row
                self._remember(keys[text], row)
        return np.stack([rows[text] for text in texts])

    def _remembered(self, key: str) -> NDArray[float32] | None:
        row = _memory.get(key)
        if row is None and self.folder is not None:
            row = _read_vector(self._path(key))
            if row is not None:
                _memory.put(key, row)
        return row

    def _remember(self, key: str, row: NDArray[float32]) -> None:
        import numpy as np

        if row.dtype != np.float32 or not np.isfinite(row).all():
            return
        frozen_row = row.copy()
        frozen_row.flags.writeable = False
        _memory.put(key, frozen_row)
        if self.folder is not None:
            _write_vector(self._path(key), frozen_row)

    def _path(self, key: str) -> Path:
        space, _, digest = key.partition(":")
        folder = f"{_UNSAFE_FILE_CHARS.sub('-', self.name)[:40]}-{space}"
        return cast("Path", self.folder) / folder / digest[:2] / f"{digest[2:]}.vector"


class _VectorMemory:
    """The vectors of this process, the last used ones."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._rows: OrderedDict[str, NDArray[float32]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> NDArray[float32] | None:
        with self._lock:
            row = self._rows.get(key)
            if row is not None:
                self._rows.move_to_end(key)
            return row

    def put(self, key: str, row: NDArray[float32]) -> None:
        with self._lock:
            old = self._rows.pop(key, None)
            self.size += row.nbytes - (0 if old is None else old.nbytes)
            self._rows[key] = row
            while self.size > self.limit:
                _, dropped = self._rows.popitem(last=False)
                self.size -= dropped.nbytes

    def clear(self) -> None:
        with self._lock:
            self._rows.clear()
            self.size = 0


_memory = _VectorMemory(MAX_BYTES)


def clear_memory() -> None:
    """Drop all vectors that this process remembers; files stay."""
    _memory.clear()


def _vector_space(embedder: Embedder) -> str:
    kind = type(embedder)
    return fingerprint_parts(kind.__module__, kind.__qualname__, str(embedder.version))


def _vector_key(space: str, text: str) -> str:
    return f"{space}:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _read_vector(path: Path) -> NDArray[float32] | None:
    """A vector, or None if there is no whole one: the digest before it tells."""
    import numpy as np

    try:
        raw = path.read_bytes()
    except OSError:
        return None
    digest, data = raw[:DIGEST_BYTES], raw[DIGEST_BYTES:]
    if not data or len(data) % 4 or hashlib.sha256(data).digest() != digest:
        return None
    return np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)


def _write_vector(path: Path, row: NDArray[float32]) -> None:
    """Whole or not at all, as other workers read and write the same folder."""
    data = row.astype("<f4").tobytes()
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(data).digest() + data)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise UsageError(
            f"vector cache {path.parent}: cannot be written: {error.strerror or error}; "
            "name another folder with ini llm_vector_cache, or none"
        ) from None
