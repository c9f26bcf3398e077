"""Texts within a file: the text that a model reads, and where each of its characters is in the file."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops.ledger.model import Span

# prompt: a template of Jinja. text: a value may be inserted as {name} or {{name}}. instructions: braces mean nothing
Syntax: TypeAlias = Literal["prompt", "text", "instructions"]
LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A text within a file.

    Attributes:
        text: The text that a model reads: escapes of the file's format are replaced by their characters.
        starts: Where each character of it starts in the file.
        ends: Where it ends there.
        syntax: How values are inserted in it, and which comments it has.
        expressions: Further parts that insert a value, such as the fields of an f-string.
        is_docstring: Whether its first line is not indented as the others are.
        is_example: Whether it is one rule: a message with the answer to it, with the lines of their roles.
    """

    text: str
    starts: Sequence[int]
    ends: Sequence[int]
    syntax: Syntax = "text"
    expressions: tuple[Span, ...] = ()
    is_docstring: bool = False
    is_example: bool = False

    def locate(self, start: int, end: int) -> list[Span]:
        """Return the ranges of the file that hold a range of the text; several if something else is between them."""
        if start == end:
            return []
        if isinstance(self.starts, range):
            return [(self.starts[start], self.ends[end - 1])]
        spans: list[Span] = []
        for place in range(start, end):
            first = self.starts[place]
            if spans and first <= spans[-1][1]:
                spans[-1] = (spans[-1][0], self.ends[place])
            else:
                spans.append((first, self.ends[place]))
        return spans


def plain_region(text: str, start: int, end: int, syntax: Syntax = "text") -> Region:
    r"""Return a part of a file that is read as it is written.

    >>> plain_region("# A\nBe brief.", 4, 13).text
    'Be brief.'
    """
    starts = range(start, end)
    ends = range(start + 1, end + 1)
    return Region(text=text[start:end], starts=starts, ends=ends, syntax=syntax)


def escaped_region(
    source: str,
    parts: Iterable[tuple[int, int, re.Pattern[str], Callable[[str], str]]],
    syntax: Syntax = "text",
) -> Region:
    """Return the text of a literal, or of several that are joined.

    Args:
        source: The text of the file.
        parts: For each literal the range between its quotes, a pattern for its escapes, and the meaning of an escape.
        syntax: See `Region`.
    """
    text: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end, escape, decode in parts:
        for first, last, shown in _iter_characters(source, start, end, escape, decode):
            if not shown and ends:
                ends[-1] = last
            for char in shown:
                text.append(char)
                starts.append(first)
                ends.append(last)
    return Region(text="".join(text), starts=starts, ends=ends, syntax=syntax)


def _iter_characters(
    source: str, start: int, end: int, escape: re.Pattern[str], decode: Callable[[str], str]
) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and meaning of each character or escape of a literal."""
    place = start
    for match in escape.finditer(source, start, end):
        for index in range(place, match.start()):
            yield index, index + 1, source[index]
        yield match.start(), match.end(), decode(match[0])
        place = match.end()
    for index in range(place, end):
        yield index, index + 1, source[index]


def find_line_starts(text: str) -> list[int]:
    r"""Return where each line starts; ``\n``, ``\r\n`` and ``\r`` end a line.

    >>> find_line_starts("a\r\nb\n")
    [0, 3]
    """
    return [match.start() for match in LINE.finditer(text)]


def line_at(line_starts: Sequence[int], place: int) -> int:
    """Return the number of the line of a character, from 1."""
    return max(1, bisect_right(line_starts, place))
