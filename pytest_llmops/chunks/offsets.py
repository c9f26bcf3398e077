"""Texts without what does not count, and the way back: every kept character knows where it stood."""

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

from pytest_llmops.errors import UsageError

Ignore: TypeAlias = Literal["whitespace", "markup"]
Sources: TypeAlias = "str | Sequence[str] | Mapping[str, str]"

SEAM = "\0"
"""Stands between two documents of a source, so that no chunk matches across."""
MAX_EXCERPT = 400
"""Characters of a stretch that is shown."""

_NO_WIDTH = dict.fromkeys((0x200B, 0x2060, 0xFEFF, 0xAD))
"""Besides white space: a cleaner may drop it, and nobody sees the difference."""
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
    """A text without what does not count.

    Attributes:
        raw: The text as it was.
        ignore: What does not count.
    """

    raw: str
    ignore: Ignore = "whitespace"

    @cached_property
    def text(self) -> str:
        """What is left of the text."""
        if self.ignore == "whitespace":
            return "".join(self.raw.split()).translate(_NO_WIDTH)
        return "".join(
            _decode_entity(dropped) if dropped else self.raw[start:end]
            for start, end, dropped in self._parts()
        )

    @cached_property
    def places(self) -> Sequence[int]:
        """For each character of ``text`` its place in ``raw``; never falls."""
        if self.ignore == "whitespace":
            kept = enumerate(self.raw)
            return array("l", [at for at, char in kept if not char.isspace() and ord(char) not in _NO_WIDTH])
        places = array("l")
        for start, end, dropped in self._parts():
            places.extend([start] * len(_decode_entity(dropped)) if dropped else range(start, end))
        return places

    def _parts(self) -> Iterator[tuple[int, int, re.Match[str] | None]]:
        """Yield what is kept, and what is dropped with its match."""
        done = 0
        for dropped in _IGNORED_MARKUP.finditer(self.raw):
            yield done, dropped.start(), None
            yield *dropped.span(), dropped
            done = dropped.end()
        yield done, len(self.raw), None

    @cached_property
    def word_starts(self) -> Sequence[int]:
        """The characters of ``text`` in front of which white space stood, in order."""
        if self.ignore == "whitespace":
            return list(accumulate(len(word.translate(_NO_WIDTH)) for word in self.raw.split()))
        places = self.places
        return [
            at
            for at, (left, right) in enumerate(pairwise(places), start=1)
            if right - left > 1 and any(map(str.isspace, self.raw[left + 1 : right]))
        ]

    def within(self, start: int, end: int) -> tuple[int, int]:
        """Return which of the kept characters stand in ``raw[start:end]``."""
        return bisect_left(self.places, start), bisect_left(self.places, end)

    def excerpt(self, start: int, end: int, limit: int = MAX_EXCERPT) -> str:
        """Return the original text of the kept characters ``[start, end)``, cut after ``limit`` of them."""
        end = min(end, start + limit, len(self.places))
        return self.raw[self.places[start] : self.places[end - 1] + 1] if end > start else ""


def _decode_entity(dropped: re.Match[str]) -> str:
    return "".join(html.unescape(dropped["entity"]).split()) if dropped["entity"] else ""


def compact_text(text: str, ignore: Ignore = "whitespace") -> CompactText:
    r"""Return a text without white space and characters without width; with "markup" without that, too.

    Markup is HTML tags, comments and entities (which become their character), and of Markdown the marks of
    headings, quotes, list items, emphasis, code, rules and tables, and the targets of links. Linear.

    Raises:
        UsageError: There is no such way to ignore something.

    >>> compact_text("two\n words").text, compact_text("# A <b>bold</b> &amp; *new* [way](x.html)", "markup").text
    ('twowords', 'Abold&newway')
    """
    if ignore not in get_args(Ignore):
        raise UsageError(f"ignore: expected one of {', '.join(get_args(Ignore))}, got {ignore!r}")
    return CompactText(text, ignore)


@dataclass(frozen=True)
class Source:
    """The text that was cut into chunks: one document, or several.

    Attributes:
        squeezed: All documents, a `SEAM` after each but the last.
        names: Of the documents; the empty name if there is only one.
        starts: For each document, where it begins in ``squeezed.raw``.
    """

    compact: CompactText
    names: tuple[str, ...]
    starts: tuple[int, ...]

    @cached_property
    def size(self) -> int:
        """How many characters count."""
        return len(self.compact.text) - len(self.seam_places)

    @cached_property
    def seam_places(self) -> tuple[int, ...]:
        """Where the seams stand in ``squeezed.text``."""
        places = self.compact.places
        return tuple(bisect_left(places, start - len(_SEAM)) for start in self.starts[1:])

    @cached_property
    def _line_ends(self) -> array[int]:
        return array("l", (line_end.start() for line_end in re.finditer("\n", self.compact.raw)))

    def document(self, at: int) -> int:
        """Return the number of the document, from 0, in which a kept character stands."""
        return bisect_right(self.seam_places, at)

    def place(self, at: int) -> str:
        """Return where a kept character stands, for a person: ``line 3``, ``faq.md line 3``."""
        raw = self.compact.places[at]
        number = self.document(at)
        first = bisect_left(self._line_ends, self.starts[number])
        line = bisect_left(self._line_ends, raw) - first + 1
        return f"{self.names[number]} line {line}" if self.names[number] else f"line {line}"


_SEAM = f"\n\n{SEAM}\n\n"


def read_source(source: object, ignore: Ignore = "whitespace") -> Source:
    """Return a source ready to be compared: a text, texts in their order, or texts by name.

    A blank one has ``size`` 0.

    Raises:
        UsageError: It is something else.
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
        # A NUL of the user's own would be taken for the end of a document.
        clean.append(text.replace(SEAM, " "))
        at += len(text) + len(_SEAM)
    return Source(compact_text(_SEAM.join(clean), ignore), tuple(names), tuple(starts))
