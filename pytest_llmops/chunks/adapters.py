"""Any chunker's output as one kind of thing: texts, our chunks, LangChain documents, LlamaIndex nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.retrievers.base import to_python_scalar

TEXT_KEYS = ("text", "page_content", "content")
ID_NAMES = ("id", "node_id", "id_")
START_KEYS = ("start_index", "start_char_idx")
"""Where a chunk says it begins in its document: LangChain's ``add_start_index``, LlamaIndex's nodes."""
MAX_ID_CHARS = 24
"""Characters of an id that is shown whole; of a longer one the first few are."""
SHORT_ID_CHARS = 8
ACCEPTED_CHUNKS = (
    "expected texts, Chunks, documents with page_content, nodes with get_content(), or mappings with a text"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk as it was read.

    Attributes:
        number: Its place in the output, from 1.
        id: As the chunker named it; may be empty.
        start: The character of its document at which it says it begins; None where it does not say.
    """

    number: int
    text: str
    id: str = ""
    start: int | None = None

    @property
    def place(self) -> str:
        """The chunk in a message: its number, and its id where it has one."""
        # Eight characters tell two UUIDs apart, and leave room for what is wrong.
        short = self.id if len(self.id) <= MAX_ID_CHARS else f"{self.id[:SHORT_ID_CHARS]}..."
        name = shorten_text(short, 2 * MAX_ID_CHARS)
        return f"chunk {self.number} ({name})" if self.id else f"chunk {self.number}"


def read_chunks(chunks: object) -> tuple[Piece, ...]:
    """Return the chunks in their order; nothing is imported, a chunk is known by what it has.

    Args:
        chunks: Any iterable of texts, `Chunk`, `Hit`, LangChain documents (``page_content``), LlamaIndex
            nodes (``get_content()``), or mappings with ``text``, ``page_content`` or ``content``. It may be
            empty.

    Raises:
        UsageError: It is one text or no iterable, or holds something that has no text.

    >>> [piece.text for piece in read_chunks(["a", {"text": "b", "id": "second"}])]
    ['a', 'b']
    """
    if isinstance(chunks, (str, bytes, Mapping)) or not isinstance(chunks, Iterable):
        raise UsageError(
            f"chunks: {ACCEPTED_CHUNKS}, got {_describe_non_chunk(chunks)}; pass a list of chunks"
        )
    return tuple(_parse_chunk(chunk, number) for number, chunk in enumerate(chunks, start=1))


def _parse_chunk(chunk: Any, number: int) -> Piece:
    if isinstance(chunk, str):
        return Piece(number, chunk)
    if isinstance(chunk, Mapping):
        text = next((chunk[key] for key in TEXT_KEYS if key in chunk), None)
        names, metadata = chunk, chunk.get("metadata")
    else:
        text, metadata = _chunk_text(chunk), getattr(chunk, "metadata", None)
        names = {name: getattr(chunk, name, None) for name in (*ID_NAMES, *START_KEYS)}
        inner = getattr(chunk, "node", None)  # LlamaIndex's NodeWithScore
        names.update({key: getattr(inner, key, None) for key in START_KEYS if inner is not None})
    if not isinstance(text, str):
        raise UsageError(f"chunks: {ACCEPTED_CHUNKS}, got {_describe_non_chunk(chunk)} as number {number}")
    id_ = next((names[name] for name in ID_NAMES if names.get(name)), "")
    places = [*(names.get(key) for key in START_KEYS)]
    if isinstance(metadata, Mapping):
        places += [metadata.get(key) for key in START_KEYS]
    starts = [
        one for one in map(to_python_scalar, places) if isinstance(one, int) and not isinstance(one, bool)
    ]
    return Piece(number, text, str(id_), starts[0] if starts else None)


def _chunk_text(chunk: Any) -> object:
    if isinstance(getattr(chunk, "page_content", None), str):
        return chunk.page_content
    content = getattr(chunk, "get_content", None)
    return content() if callable(content) else getattr(chunk, "text", None)


def _describe_non_chunk(value: object) -> str:
    return f"{type(value).__name__} {shorten_text(repr(value), 60)}"
