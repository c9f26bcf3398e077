"""Reduce texts to the characters that are compared, and map each of them back to its place in the original."""

from __future__ import annotations

import html
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Literal, TypeAlias, get_args

from pytest_llmops.errors import UsageError, refuse

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
        ignore: What is left out.
    """

    raw: str
    ignore: Ignore = "whitespace"

    @cached_property
    def text(self) -> str:
        """The characters that are compared."""
        if self.ignore == "whitespace":
            return "".join(self.raw.split()).translate(_NO_WIDTH)
        return "".join(
            self.raw[start:end] if entity is None else entity for start, end, entity in self._split_markup()
        )

    @cached_property
    def places(self) -> Sequence[int]:
        """For each character of ``text`` its place in ``raw``, in ascending order."""
        if self.ignore == "whitespace":
            return array(
                "l",
                [at for at, char in enumerate(self.raw) if not char.isspace() and ord(char) not in _NO_WIDTH],
            )
        places = array("l")
        for start, end, entity in self._split_markup():
            places.extend(range(start, end) if entity is None else [start] * len(entity))
        return places

    def _split_markup(self) -> Iterator[tuple[int, int, str | None]]:
        # Yield the spans between ignored markup (with None), and the ignored spans with their decoded entity or "".
        end = 0
        for ignored in _IGNORED_MARKUP.finditer(self.raw):
            yield end, ignored.start(), None
            yield *ignored.span(), "".join(html.unescape(ignored["entity"] or "").split())
            end = ignored.end()
        yield end, len(self.raw), None

    @cached_property
    def word_starts(self) -> Sequence[int]:
        """The positions in ``text`` of characters that follow white space, in order."""
        if self.ignore == "whitespace":
            return list(accumulate(len(word.translate(_NO_WIDTH)) for word in self.raw.split()))
        return [
            at
            for at, (left, right) in enumerate(pairwise(self.places), start=1)
            if right - left > 1 and any(map(str.isspace, self.raw[left + 1 : right]))
        ]

    def kept_range(self, start: int, end: int) -> tuple[int, int]:
        """Return the range in ``text`` of the characters in ``raw[start:end]``."""
        return bisect_left(self.places, start), bisect_left(self.places, end)

    def excerpt(self, start: int, end: int, limit: int = MAX_EXCERPT) -> str:
        """Return the original text of ``text[start:end]``, at most ``limit`` of its characters."""
        end = min(end, start + limit, len(self.places))
        return self.raw[self.places[start] : self.places[end - 1] + 1] if end > start else ""


def compact_text(text: str, ignore: Ignore = "whitespace") -> CompactText:
    r"""Return a text without white space and zero-width characters, and with "markup" also without markup; linear.

    Markup is HTML tags, comments and entities (which become their character), and in Markdown the marks of
    headings, quotes, list items, emphasis, code, rules and tables, and the targets of links.

    Raises:
        UsageError: Unknown value of ``ignore``.

    >>> compact_text("two\n words").text, compact_text("# A <b>bold</b> &amp; *new* [way](x.html)", "markup").text
    ('twowords', 'Abold&newway')
    """
    refuse(
        ignore not in get_args(Ignore),
        f"ignore: expected one of {', '.join(get_args(Ignore))}, got {ignore!r}",
    )
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
        return tuple(bisect_left(places, start - len(_SEAM)) for start in self.starts[1:])

    @cached_property
    def _line_ends(self) -> array[int]:
        return array("l", (line_end.start() for line_end in re.finditer("\n", self.compact.raw)))

    def document(self, at: int) -> int:
        """Return the number, from 0, of the document with a compact character."""
        return bisect_right(self.seam_places, at)

    def place(self, at: int) -> str:
        """Return the place of a compact character for a message: ``line 3``, ``faq.md line 3``."""
        raw = self.compact.places[at]
        number = self.document(at)
        line = bisect_left(self._line_ends, raw) - bisect_left(self._line_ends, self.starts[number]) + 1
        return f"{self.names[number]} line {line}" if self.names[number] else f"line {line}"


_SEAM = f"\n\n{SEAM}\n\n"


def read_source(source: object, ignore: Ignore = "whitespace") -> Source:
    """Return a source ready to compare: a text, texts in their order, or texts by name.

    Raises:
        UsageError: Another kind of source.
    """
    texts: list[object]
    if isinstance(source, str):
        texts, names = [source], [""]
    elif isinstance(source, Mapping):
        texts, names = list(source.values()), [str(name) for name in source]
    elif isinstance(source, Sequence) and not isinstance(source, (bytes, bytearray)):
        texts = list(source)
        names = [""] if len(texts) == 1 else [f"document {number}" for number in range(1, len(texts) + 1)]
    else:
        raise UsageError(f"source: expected a text, texts, or texts by name, got {type(source).__name__}")
    starts, clean, at = [], [], 0
    for name, text in zip(names, texts, strict=True):
        if not isinstance(text, str):
            raise UsageError(f"source: expected a text, got {type(text).__name__} as {name or 'document 1'}")
        starts.append(at)
        # A NUL in the text would look like the end of a document.
        clean.append(text.replace(SEAM, " "))
        at += len(text) + len(_SEAM)
    return Source(compact_text(_SEAM.join(clean), ignore), tuple(names), tuple(starts))
