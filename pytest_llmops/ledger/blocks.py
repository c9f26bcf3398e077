"""The blocks of a prompt: headings, items of lists, code, tables and paragraphs, as Markdown and plain prompts write them."""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, TypeAlias

from pytest_llmops.ledger.inserts import Token, find_atoms
from pytest_llmops.ledger.model import Span
from pytest_llmops.ledger.regions import LINE

BlockKind: TypeAlias = Literal["fixed", "item", "text", "code", "table", "example"]
MIN_WRAP_COLUMNS = 60  # nobody wraps the lines of a prompt at less
MAX_TITLE_WORDS = 6
CODE_INDENT = 4  # columns, as Markdown has it
_BULLET = r"[-*+•·‣◦▪●○→✓✔✗✘☐☑–—](?:[ \t]+\[[ xX]\])?"
_NUMBER = r"\(?(?:\d{1,3}(?:\.\d{1,3}){0,3}|[A-Za-z]|[ivx]{1,5}|[一二三四五六七八九十]{1,3})[.)]\)?|\d{1,3}:|\d{1,3}(?:\.\d{1,3}){1,3}"
_ITEM = re.compile(
    rf"(?:{_BULLET}|{_NUMBER})(?=[ \t])|[\d一二三四五六七八九十]{{1,3}}[、．]|（[\d一二三四五六七八九十]{{1,3}}）|[①-⑳]|:[a-z]+[^:]{{0,60}}:(?=[ \t])"
)
_JSON_OPENINGS = ("{", "{{", "[", "[{", "[{{")
_DASHES = ("–", "—")  # at the start of a wrapped line they are not marks
_FENCE = re.compile(r"`{3,}|~{3,}")
_RULER = re.compile(r"([=\-*_~#])[ \t]*(?:\1[ \t]*){2,}")
_DECORATED = re.compile(r"(?:[=\-~#]{2,}|\*{3,})[^=\-~#*].*[^=\-~#*](?:[=\-~#]{2,}|\*{3,})")
_HEADING = re.compile(r"#{1,6}(?:[ \t]|\Z)")
_TAGS = re.compile(r"(?:</?[A-Za-z][\w:.-]*(?:[ \t][^<>]*)?/?>[ \t]*)+")
_EXAMPLE = re.compile(r"<example\b[^<>]*>", re.IGNORECASE)
_EMPHASIS = re.compile(r"(\*\*|__|\*|_)(.+)\1")
_SENTENCE_ENDS = ".!?…。！？؟"
_COLONS = (":", "：")


@dataclass(frozen=True, slots=True)
class Line:
    """A line, or several that a block of a template joins.

    Attributes:
        start: Where it starts.
        end: Its end without the line end.
        stop: Its end with it.
        indent: Columns of white space in front.
        text_start: Where its text starts.
        text: Its text, trimmed: comments and tags of templates as blanks, inserted values as letters.
        is_blank: Whether there is nothing in it, not even a comment.
    """

    start: int
    end: int
    stop: int
    indent: int
    text_start: int
    text: str
    is_blank: bool


@dataclass(slots=True)
class Block:
    """A part of the text that belongs together.

    Attributes:
        kind: Its kind; fixed: a heading, or something else that is never left out.
        first: Its first line.
        last: Its last line, included.
        indent: Columns of white space in front.
        content: Where the text of an item starts, behind its mark.
        mark: The mark of an item, with 1 for each number.
        depth: In how many items an item is nested.
        is_definition: An item without a mark: an indented line below a label.
    """

    kind: BlockKind
    first: int
    last: int
    indent: int = 0
    content: int = 0
    mark: str = ""
    depth: int = 0
    is_definition: bool = field(default=False)


def mask_tokens(text: str, tokens: Sequence[Token]) -> str:
    """Return a text of the same length: comments and tags as blanks, inserted values and blocks of a template as letters."""
    pieces = []
    place = 0
    values = {(token.start, token.end): token for token in tokens}
    for start, end in find_atoms(tokens):
        pieces.append(text[place:start])
        fill = "X"
        token = values.get((start, end))
        if token and token.kind in ("comment", "tag"):
            fill = " "
        pieces.append(fill * (end - start))
        place = end
    pieces.append(text[place:])
    return "".join(pieces)


def read_lines(text: str, masked: str, atoms: Sequence[Span], *, is_docstring: bool = False) -> list[Line]:
    """Return the lines of a text; an atom that spans several makes one line of them.

    Args:
        text: The text.
        masked: The same text as `mask_tokens` returns it.
        atoms: See `find_atoms`.
        is_docstring: Whether the first line is not indented as the others are.
    """
    spans: list[Span] = []
    starts = [atom[0] for atom in atoms]
    reach = 0
    for match in LINE.finditer(text):
        start = match.start()
        if spans and start < reach:
            start = spans.pop()[0]
        spans.append((start, match.end()))
        for atom in atoms[bisect_left(starts, match.start()) : bisect_left(starts, match.end())]:
            reach = max(reach, atom[1])
    indents = [_measure_indent(text[start:stop]) for start, stop in spans]
    filled = [index for index, (start, stop) in enumerate(spans) if text[start:stop].strip()]
    if is_docstring:
        filled = filled[1:]
    base = min((indents[index] for index in filled), default=0)
    lines = []
    for (start, stop), indent in zip(spans, indents, strict=True):
        end = start + len(text[start:stop].rstrip("\r\n"))
        shown = masked[start:end]
        line = Line(
            start=start,
            end=end,
            stop=stop,
            indent=max(0, indent - base),
            text_start=start + len(shown) - len(shown.lstrip()),
            text=shown.strip(),
            is_blank=not text[start:end].strip(),
        )
        lines.append(line)
    return lines


def _measure_indent(line: str) -> int:
    """Return the columns of white space in front of a line."""
    columns = 0
    for char in line:
        if char == "\t":
            columns += 4 - columns % 4
        elif char == " ":
            columns += 1
        else:
            break
    return columns


class BlockReader:
    """Reads the blocks of lines, one after the other."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines
        self.blocks: list[Block] = []
        self._items: list[Block] = []  # the items that the next line may belong to, the outermost first
        self._unclosed: set[str] = set()  # what nothing in the rest of the text closes

    def read(self) -> list[Block]:
        """Return all blocks, in order; blank lines are in none, or within one."""
        place = 0
        while place < len(self.lines):
            if self.lines[place].is_blank:
                place += 1
            else:
                place = self._read_block(place)
        return self.blocks

    def _read_block(self, place: int) -> int:
        """Read what starts in a line, and return the line behind it."""
        mark = self._find_mark(place)
        if mark:
            self._add_item(place, mark.end())
            return place + 1
        owner = self._find_owner(place)
        last = self._find_end_of_fence(place)
        if owner and owner is self.blocks[-1]:
            owner.last = max(place, last)
            return owner.last + 1
        if last >= 0:
            return self._add("code", place, last)
        return self._read_outside_list(place)

    def _find_mark(self, place: int) -> re.Match[str] | None:
        """Return the mark of the item that starts in a line; None: none does."""
        text = self.lines[place].text
        mark = _ITEM.match(text)
        if mark is None or _RULER.fullmatch(text) or _is_title(text):
            return None
        if mark[0] in _DASHES and place > 0 and not self._can_be_dash(place):
            return None
        return mark

    def _can_be_dash(self, place: int) -> bool:
        """Return whether a dash can be a mark: the line above is blank, ends in a colon, or belongs to an item or heading."""
        above = self.lines[place - 1]
        if above.is_blank or above.text.endswith(_COLONS):
            return True
        return bool(self.blocks) and self.blocks[-1].kind in ("item", "fixed")

    def _read_outside_list(self, place: int) -> int:
        """Read what starts in a line that is not part of an item."""
        line = self.lines[place]
        closing = self._find_end_of_example(place)
        if closing >= 0:
            return self._add("example", place, closing)
        closing = self._find_end_of_json(place)
        if closing >= 0:
            return self._add("code", place, closing)
        if line.text.startswith(">"):
            return self._add("example", place, self._find_last(place, ">"))
        if line.text.startswith("|") and line.text.count("|") > 1:
            return self._add("table", place, self._find_last(place, "|"))
        above = None
        if self.blocks and self.blocks[-1].last == place - 1:
            above = self.blocks[-1]
        if self._is_fixed(place, above):
            return self._add("fixed", place, place)
        if above and above.kind == "text":
            if line.indent > above.indent and self.lines[place - 1].text.endswith(_COLONS):
                self._add_item(place, 0)
                self.blocks[-1].is_definition = True
                return place + 1
            above.last = place
            return place + 1
        is_apart = place > 0 and self.lines[place - 1].is_blank
        if is_apart and line.indent >= CODE_INDENT and not self._items:
            return self._add("code", place, self._find_end_of_indented(place))
        return self._add("text", place, place)

    def _is_fixed(self, place: int, above: Block | None) -> bool:
        """Return whether a line is a heading, the tag of an element, a ruler or a comment; the line above a ruler is a heading, too."""
        text = self.lines[place].text
        if not text or _HEADING.match(text) or _TAGS.fullmatch(text) or _DECORATED.fullmatch(text):
            return True
        if _RULER.fullmatch(text):
            if above and above.kind == "text" and above.first == above.last and text[0] in "=-":
                above.kind = "fixed"
            return True
        return _is_title(text)

    def _add(self, kind: BlockKind, first: int, last: int) -> int:
        """Add a block, and return the line behind it."""
        self.blocks.append(Block(kind, first, last, self.lines[first].indent))
        return last + 1

    def _add_item(self, place: int, mark_length: int) -> None:
        """Add an item that starts in a line."""
        line = self.lines[place]
        self._items = [item for item in self._items if item.indent < line.indent]
        behind = line.text[mark_length:]
        content = line.text_start + mark_length + len(behind) - len(behind.lstrip())
        mark = re.sub(r"\d+", "1", line.text[:mark_length])
        self.blocks.append(Block("item", place, place, line.indent, content, mark, len(self._items)))
        self._items.append(self.blocks[-1])

    def _find_owner(self, place: int) -> Block | None:
        """Return the item that a line without a mark belongs to; None: to none, and no later line does."""
        line = self.lines[place]
        if not self._items:
            return None
        last = self._items[-1]
        is_next = last is self.blocks[-1] and last.last == place - 1
        if is_next and last.is_definition and line.indent == last.indent:
            self._add_item(place, 0)
            self.blocks[-1].is_definition = True
            return self.blocks[-1]
        if is_next and line.indent <= last.indent and self._continues(place):
            return last
        self._items = [item for item in self._items if item.indent < line.indent]
        if self._items:
            return self._items[-1]
        return None

    def _continues(self, place: int) -> bool:
        """Return whether a line that is not indented goes on with the item above it."""
        above = self.lines[place - 1]
        line = self.lines[place]
        if self._is_fixed(place, None) or _FENCE.match(line.text) or line.text[0] in "|>":
            return False
        if above.text[-1:] in _SENTENCE_ENDS:
            return False
        return is_wrapped(above, line, MIN_WRAP_COLUMNS)

    def _find_end_of_fence(self, place: int) -> int:
        """Return the last line of a fenced code block that starts in a line; -1: none does."""
        fence = _FENCE.match(self.lines[place].text)
        if fence is None or "`" in self.lines[place].text[fence.end() :] or fence[0] in self._unclosed:
            return -1
        for index in range(place + 1, len(self.lines)):
            text = self.lines[index].text
            if text.startswith(fence[0]) and not text.strip(fence[0][0]):
                return index
        self._unclosed.add(fence[0])
        return -1

    def _find_end_of_example(self, place: int) -> int:
        """Return the last line of an element ``<example>`` that starts in a line; -1: none does."""
        closing = "</example>"
        if closing in self._unclosed or not _EXAMPLE.match(self.lines[place].text):
            return -1
        for index in range(place, len(self.lines)):
            if self.lines[index].text.lower().endswith(closing):
                return index
        self._unclosed.add(closing)
        return -1

    def _find_end_of_json(self, place: int) -> int:
        """Return the last line of an object or list of JSON whose first line is its bracket; -1: none starts."""
        opening = self.lines[place].text
        if opening in self._unclosed or opening not in _JSON_OPENINGS:
            return -1
        depth = 0
        for index in range(place, len(self.lines)):
            text = self.lines[index].text
            depth += sum(map(text.count, "{[")) - sum(map(text.count, "}]"))
            if depth <= 0:
                return index
        self._unclosed.add(opening)
        return -1

    def _find_last(self, place: int, mark: str) -> int:
        """Return the last of the lines from this one on that start with a mark."""
        while place + 1 < len(self.lines) and self.lines[place + 1].text.startswith(mark):
            place += 1
        return place

    def _find_end_of_indented(self, place: int) -> int:
        """Return the last of the lines from this one on that are indented as code is."""
        last = place
        for index in range(place, len(self.lines)):
            line = self.lines[index]
            if line.is_blank:
                continue
            if line.indent < CODE_INDENT or _ITEM.match(line.text):
                break
            last = index
        return last


def _is_title(text: str) -> bool:
    """Return whether a line is a title in bold or italic letters."""
    match = _EMPHASIS.fullmatch(text.rstrip(":：").rstrip())
    if match is None or match[1] in match[2]:
        return False
    title = match[2].rstrip(":： ")
    is_short = len(title.split()) <= MAX_TITLE_WORDS
    return is_short and title[-1:] not in _SENTENCE_ENDS and not any(mark in title for mark in _COLONS)


def is_wrapped(above: Line, line: Line, columns: int) -> bool:
    """Return whether a line only goes on because the one above was full.

    Args:
        above: The line above it, without a mark that ends a sentence.
        line: The line.
        columns: How long the lines are.
    """
    return _goes_on(above, line) or (_can_go_on(above, line) and _is_full(above, line, columns))


def _can_go_on(above: Line, line: Line) -> bool:
    """Return whether a line can be the rest of the one above: that does not end in a colon."""
    return bool(above.text and line.text) and not above.text.endswith(_COLONS)


def _goes_on(above: Line, line: Line) -> bool:
    """Return whether a line is the rest of the one above by its first character or the last one of that."""
    if not _can_go_on(above, line):
        return False
    return line.text[0].islower() or line.text[0] in _DASHES or above.text[-1] in ",-–—、，"


def _is_full(above: Line, line: Line, columns: int) -> bool:
    """Return whether the first word of a line would not have had a place in the line above."""
    word = line.text.split(maxsplit=1)[0].strip("X") or "X"  # how long an inserted value is, is not known
    if _is_wide(word[0]):
        word = word[0]
    return count_columns(above.text) + 1 + count_columns(word) > columns


def count_columns(text: str) -> int:
    """Return how wide a text is: an East Asian character is two columns wide."""
    if text.isascii():
        return len(text)
    return len(text) + sum(map(_is_wide, text))


def _is_wide(char: str) -> bool:
    """Return whether a character is two columns wide."""
    return unicodedata.east_asian_width(char) in ("W", "F")


def iter_groups(lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
    """Yield the lines of a paragraph in groups of which each is one line that was wrapped; blank lines are left out.

    A paragraph in which a line goes on in small letters is wrapped, and so is one in which all lines are full; in others, each line is
    one of its own.
    """
    filled = [line for line in lines if line.text]
    if not filled:
        return
    columns = max(MIN_WRAP_COLUMNS, *(count_columns(line.text) for line in filled))
    open_pairs = []
    for above, line in pairwise(filled):
        if above.text[-1] not in _SENTENCE_ENDS and _can_go_on(above, line):
            open_pairs.append((above, line))
    is_wrapped_text = any(line.text[0].islower() for _, line in open_pairs)
    is_wrapped_text = is_wrapped_text or all(_is_full(above, line, columns) for above, line in open_pairs)
    group = [filled[0]]
    for above, line in pairwise(filled):
        goes_on = above.text[-1] in _SENTENCE_ENDS or _goes_on(above, line)
        if goes_on or (is_wrapped_text and _can_go_on(above, line)):
            group.append(line)
            continue
        yield group
        group = [line]
    yield group
