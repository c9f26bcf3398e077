"""Chunks of any chunker, their source with the characters that are compared, and the results of checks."""

import html
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, Literal, TypeAlias, get_args

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.retrievers.base import to_python_scalar

Ignore: TypeAlias = Literal["whitespace", "markup"]
Sources: TypeAlias = "str | Sequence[str] | Mapping[str, str]"

SEAM = "\0"  # separates the documents of a source, so that no chunk matches across them
MAX_EXCERPT = 400  # characters of an excerpt in a message

# Zero-width characters and the soft hyphen, which a cleaner may drop like white space
_NO_WIDTH = dict.fromkeys((0x200B, 0x2060, 0xFEFF, 0xAD))
_BLANK = r"[\s\u200b\u2060\ufeff\u00ad]+"
_MARKUP = (
    r"<[!/?A-Za-z][^<>\0]{0,2000}>"  # tags, comments
    r"|^[ \t]*(?:\#{1,6}(?=\s)|>+|[-*+](?=\s)|\d{1,3}[.)](?=\s))"  # headings, quotes, list items
    r"|^(?=[ \t:|]*-)[ \t:|-]++$"  # rules, and the second line of a table
    r"|\]\([^()\s\0]{0,2000}\)|!?\[(?=[^\[\]\0]{1,500}\]\()"  # links, down to their text
    r"|[*_`~|]+"
)
_ENTITY = r"(?P<entity>&(?:[A-Za-z]{2,12}|\#\d{1,7}|\#x[0-9A-Fa-f]{1,6});)"
_IGNORED_MARKUP = re.compile(f"{_BLANK}|{_MARKUP}|{_ENTITY}", re.MULTILINE)


@dataclass(frozen=True)
class CompactText:
    """A text reduced to the characters that are compared.

    Attributes:
        raw: The original text.
        ignore: The parts to leave out.
    """

    raw: str
    ignore: Ignore = "whitespace"

    @cached_property
    def text(self) -> str:
        """The characters that are compared."""
        if self.ignore == "whitespace":
            return "".join(self.raw.split()).translate(_NO_WIDTH)
        parts = []
        for start, end, entity in self._split_markup():
            if entity is None:
                parts.append(self.raw[start:end])
            else:
                parts.append(entity)
        return "".join(parts)

    @cached_property
    def places(self) -> Sequence[int]:
        """For each character of ``text`` its place in ``raw``, in ascending order."""
        if self.ignore == "whitespace":
            kept = [
                at for at, char in enumerate(self.raw) if not char.isspace() and ord(char) not in _NO_WIDTH
            ]
            return array("l", kept)
        places = array("l")
        for start, end, entity in self._split_markup():
            if entity is None:
                places.extend(range(start, end))
            else:
                places.extend([start] * len(entity))
        return places

    def _split_markup(self) -> Iterator[tuple[int, int, str | None]]:
        """Yield the parts of the raw text in order, as (start, end, replacement).

        The replacement is None for text that is kept. For ignored markup it is "", and for an entity its character.
        """
        end = 0
        for ignored in _IGNORED_MARKUP.finditer(self.raw):
            yield end, ignored.start(), None
            decoded = html.unescape(ignored["entity"] or "")
            yield *ignored.span(), "".join(decoded.split())
            end = ignored.end()
        yield end, len(self.raw), None

    @cached_property
    def word_starts(self) -> Sequence[int]:
        """The positions in ``text`` of characters that follow white space, in order; may include its end."""
        if self.ignore == "whitespace":
            # The next word starts where a word ends.
            lengths = (len(word.translate(_NO_WIDTH)) for word in self.raw.split())
            return list(accumulate(lengths))
        starts = []
        for at, (left, right) in enumerate(pairwise(self.places), start=1):
            if right - left == 1:
                continue
            skipped = self.raw[left + 1 : right]
            if any(map(str.isspace, skipped)):
                starts.append(at)
        return starts

    def kept_range(self, start: int, end: int) -> tuple[int, int]:
        """Return the range in ``text`` of the characters in ``raw[start:end]``."""
        return bisect_left(self.places, start), bisect_left(self.places, end)

    def excerpt(self, start: int, end: int, limit: int = MAX_EXCERPT) -> str:
        """Return the original text of ``text[start:end]``, at most ``limit`` of its characters."""
        end = min(end, start + limit, len(self.places))
        if end > start:
            raw_start = self.places[start]
            raw_end = self.places[end - 1] + 1
            return self.raw[raw_start:raw_end]
        return ""


def compact_text(text: str, ignore: Ignore = "whitespace") -> CompactText:
    r"""Return a text without white space and zero-width characters, and with "markup" also without markup; linear.

    Markup is HTML tags, comments and entities (which become their character), and in Markdown the marks of
    headings, quotes, list items, emphasis, code, rules and tables, and the targets of links.

    Raises:
        UsageError: Unknown value of ``ignore``.

    >>> compact_text("two\n words").text, compact_text("# A <b>bold</b> &amp; *new* [way](x.html)", "markup").text
    ('twowords', 'Abold&newway')
    """
    if ignore not in get_args(Ignore):
        choices = ", ".join(get_args(Ignore))
        raise UsageError(f"ignore: expected one of {choices}, got {ignore!r}")
    return CompactText(text, ignore)


@dataclass(frozen=True)
class Source:
    """The text that was cut into chunks: a single document, or several.

    Attributes:
        compact: All documents, separated by a `SEAM`.
        names: The names of the documents; "" for a single document.
        starts: The start of each document in ``compact.raw``.
    """

    compact: CompactText
    names: tuple[str, ...]
    starts: tuple[int, ...]

    @cached_property
    def size(self) -> int:
        """The number of characters that are compared."""
        return len(self.compact.text) - len(self.seam_places)

    @cached_property
    def seam_places(self) -> tuple[int, ...]:
        """The positions of the seams in ``compact.text``."""
        places = self.compact.places
        seam_starts = [start - len(_SEAM) for start in self.starts[1:]]
        return tuple(bisect_left(places, start) for start in seam_starts)

    @cached_property
    def _line_ends(self) -> "array[int]":
        line_ends = re.finditer("\n", self.compact.raw)
        return array("l", (line_end.start() for line_end in line_ends))

    def document(self, at: int) -> int:
        """Return the index of the document that has the character at a position of ``compact.text``."""
        return bisect_right(self.seam_places, at)

    def place(self, at: int) -> str:
        """Return the line of a position of ``compact.text``, for a message: ``line 3``, ``faq.md line 3``."""
        raw = self.compact.places[at]
        number = self.document(at)
        lines_before = bisect_left(self._line_ends, self.starts[number])
        line = bisect_left(self._line_ends, raw) - lines_before + 1
        if self.names[number]:
            return f"{self.names[number]} line {line}"
        return f"line {line}"


_SEAM = f"\n\n{SEAM}\n\n"


def read_source(source: object, ignore: Ignore = "whitespace") -> Source:
    """Return a source ready to compare: a text, texts in their order, or texts by name.

    Raises:
        UsageError: Another kind of source.
    """
    starts = []
    texts = []
    at = 0
    documents = _name_documents(source)
    for name, text in documents:
        if not isinstance(text, str):
            document = name or "document 1"
            raise UsageError(f"source: expected a text, got {type(text).__name__} as {document}")
        starts.append(at)
        # A NUL in the text would look like the end of a document.
        texts.append(text.replace(SEAM, " "))
        at += len(text) + len(_SEAM)
    names = tuple(name for name, _ in documents)
    compact = compact_text(_SEAM.join(texts), ignore)
    return Source(compact, names, tuple(starts))


def _name_documents(source: object) -> list[tuple[str, object]]:
    """Return the (name, text) of each document of a source; the name of a single document is "".

    The texts are not checked yet.
    """
    if isinstance(source, str):
        return [("", source)]
    if isinstance(source, Mapping):
        return [(str(name), text) for name, text in source.items()]
    if not isinstance(source, Sequence) or isinstance(source, (bytes, bytearray)):
        raise UsageError(f"source: expected a text, texts, or texts by name, got {type(source).__name__}")
    if len(source) == 1:
        return [("", source[0])]
    return [(f"document {number}", text) for number, text in enumerate(source, start=1)]


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
        if not self.id:
            return f"chunk {self.number}"
        name = self.id
        if len(name) > MAX_ID_CHARS:
            # Eight characters distinguish UUIDs and leave room for the rest of the message.
            name = f"{name[:SHORT_ID_CHARS]}..."
        return f"chunk {self.number} ({shorten_text(name, 2 * MAX_ID_CHARS)})"


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
    """Return a chunk of any kind as a piece; raise a `UsageError` if it has no text."""
    if isinstance(chunk, str):
        return Piece(number, chunk)
    if isinstance(chunk, Mapping):
        text = next((chunk[key] for key in TEXT_KEYS if key in chunk), None)
        values = chunk
        metadata = chunk.get("metadata")
    else:
        text = _read_chunk_text(chunk)
        values = _read_chunk_values(chunk)
        metadata = getattr(chunk, "metadata", None)
    if not isinstance(text, str):
        given = _describe_non_chunk(chunk)
        raise UsageError(f"chunks: {ACCEPTED_CHUNKS}, got {given} as number {number}")
    id_ = next((values[name] for name in ID_NAMES if values.get(name)), "")
    start = _find_stated_start(values, metadata)
    return Piece(number, text, str(id_), start)


def _read_chunk_text(chunk: Any) -> object:
    """Return the text of a document of LangChain, a node of LlamaIndex, a `Chunk` or a `Hit`."""
    text = getattr(chunk, "page_content", None)
    if isinstance(text, str):
        return text
    get_content = getattr(chunk, "get_content", None)
    if callable(get_content):
        return get_content()
    return getattr(chunk, "text", None)


def _read_chunk_values(chunk: Any) -> dict[str, Any]:
    """Return the attributes of an object that may be its id or its start; None for those that it does not have.

    LlamaIndex's NodeWithScore passes on the id of its node, but not its start, which is read from the node.
    """
    values = {name: getattr(chunk, name, None) for name in (*ID_NAMES, *START_KEYS)}
    node = getattr(chunk, "node", None)  # LlamaIndex's NodeWithScore
    if node is not None:
        for key in START_KEYS:
            values[key] = getattr(node, key, None)
    return values


def _find_stated_start(values: Mapping[str, Any], metadata: object) -> int | None:
    """Return the start that a chunk states in its attributes or keys, else in its metadata; None if in neither."""
    starts = [values.get(key) for key in START_KEYS]
    if isinstance(metadata, Mapping):
        starts += [metadata.get(key) for key in START_KEYS]
    for start in map(to_python_scalar, starts):
        if isinstance(start, int) and not isinstance(start, bool):
            return start
    return None


def _describe_non_chunk(value: object) -> str:
    text = shorten_text(repr(value), 60)
    return f"{type(value).__name__} {text}"


Unit = Literal["1", "count"]

MAX_FAULTS = 50  # faults in a result, the worst; all are counted


@dataclass(frozen=True, slots=True)
class Fault:
    """A place where something is wrong.

    Attributes:
        place: The place in a message: ``chunk 3``, ``line 12``.
        text: The untrusted text there, in full: reports shorten it.
        size: Its severity in characters; faults are sorted by it.
    """

    place: str
    text: str
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The result of a check of all chunks.

    Attributes:
        name: ``lost``, ``cut_words`` ...
        value: A share from 0 to 1 (unit "1") or a count; lower is better.
        reason: A sentence that explains the value.
        faults: The worst `MAX_FAULTS`, the worst first.
        error: Why the value is missing. "" otherwise.
    """

    name: str
    value: float = 0.0
    unit: Unit = "1"
    reason: str = ""
    faults: tuple[Fault, ...] = ()
    error: str = ""


def worst_faults(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """Return the `MAX_FAULTS` largest faults; faults of equal size keep their order.

    >>> [fault.place for fault in worst_faults([Fault("a", "", 1), Fault("b", "", 2), Fault("c", "", 1)])]
    ['b', 'a', 'c']
    """
    largest_first = sorted(faults, key=lambda fault: -fault.size)
    return tuple(largest_first[:MAX_FAULTS])


def count_result(name: str, reason: str, faults: Sequence[Fault]) -> CheckResult:
    """Return a result whose value is the number of faults.

    >>> count_result("empty", "1 of 2 chunks is empty", [Fault("chunk 2", "")]).value
    1
    """
    return CheckResult(name=name, value=len(faults), unit="count", reason=reason, faults=worst_faults(faults))


def share_result(name: str, part: float, whole: float, reason: str, faults: Sequence[Fault]) -> CheckResult:
    """Return a result whose value is a share, 0.0 if there is nothing to measure.

    >>> share_result("lost", 1, 4, "", []).value, share_result("lost", 0, 0, "", []).value
    (0.25, 0.0)
    """
    share = 0.0
    if whole:
        share = part / whole
    return CheckResult(name=name, value=share, reason=reason, faults=worst_faults(faults))
