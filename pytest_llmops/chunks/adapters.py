"""Read the output of any chunker: texts, our chunks, LangChain documents, LlamaIndex nodes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.retrievers.base import to_python_scalar

TEXT_KEYS = ("text", "page_content", "content")
ID_NAMES = ("id", "node_id", "id_")
# Start of a chunk in its document: LangChain's ``add_start_index``, LlamaIndex's nodes
START_KEYS = ("start_index", "start_char_idx")
MAX_ID_CHARS = 24  # characters of an id in a message; a longer id is truncated to `SHORT_ID_CHARS`
SHORT_ID_CHARS = 8
ACCEPTED_CHUNKS = (
    "expected texts, Chunks, documents with page_content, nodes with get_content(), or mappings with a text"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk of the chunker's output.

    Attributes:
        number: Its number in the output, from 1.
        id: The chunker's name for it; may be empty.
        start: Its stated start in the document, in characters; None: not stated.
    """

    number: int
    text: str
    id: str = ""
    start: int | None = None

    @property
    def place(self) -> str:
        """The chunk in a message: its number, and its id if it has one."""
        # Eight characters distinguish UUIDs and leave room for the rest of the message.
        short = self.id if len(self.id) <= MAX_ID_CHARS else f"{self.id[:SHORT_ID_CHARS]}..."
        name = shorten_text(short, 2 * MAX_ID_CHARS)
        return f"chunk {self.number} ({name})" if self.id else f"chunk {self.number}"


def read_chunks(chunks: object) -> tuple[Piece, ...]:
    """Return the chunks in their order; their kind is recognized by their attributes, without imports.

    Args:
        chunks: Any iterable of texts, `Chunk`, `Hit`, LangChain documents (``page_content``), LlamaIndex
            nodes (``get_content()``), or mappings with ``text``, ``page_content`` or ``content``. It may be
            empty.

    Raises:
        UsageError: A single text, not an iterable, or an item without a text.

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
        text, metadata = getattr(chunk, "page_content", None), getattr(chunk, "metadata", None)
        if not isinstance(text, str):
            content = getattr(chunk, "get_content", None)
            text = content() if callable(content) else getattr(chunk, "text", None)
        names = {name: getattr(chunk, name, None) for name in (*ID_NAMES, *START_KEYS)}
        inner = getattr(chunk, "node", None)  # LlamaIndex's NodeWithScore
        names.update({key: getattr(inner, key, None) for key in START_KEYS if inner is not None})
    if not isinstance(text, str):
        raise UsageError(f"chunks: {ACCEPTED_CHUNKS}, got {_describe_non_chunk(chunk)} as number {number}")
    id_ = next((names[name] for name in ID_NAMES if names.get(name)), "")
    places = [*(names.get(key) for key in START_KEYS)]
    if isinstance(metadata, Mapping):
        places += [metadata.get(key) for key in START_KEYS]
    stated = map(to_python_scalar, places)
    start = next((start for start in stated if isinstance(start, int) and not isinstance(start, bool)), None)
    return Piece(number, text, str(id_), start)


def _describe_non_chunk(value: object) -> str:
    return f"{type(value).__name__} {shorten_text(repr(value), 60)}"
