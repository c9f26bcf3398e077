"""Split a text into rules: items of lists, sentences, paragraphs, code and tables, each of which can be left out."""

import re
import textwrap
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.ledger.blocks import Block, BlockReader, Line, iter_groups, mask_tokens, read_lines
from pytest_llmops.ledger.inserts import Token, find_atoms, find_tokens
from pytest_llmops.ledger.model import RuleKind, Span
from pytest_llmops.ledger.regions import Region
from pytest_llmops.measurement import shorten_text
from pytest_llmops.semantics.checks.sentence import find_sentences

# auto: items of lists, sentences of paragraphs. paragraph: the text between blank lines. item: items with those nested in them, and
# paragraphs. line: lines. sentence: as auto, and items are split into sentences, too
Unit: TypeAlias = Literal["auto", "paragraph", "item", "line", "sentence"]
UNITS: tuple[Unit, ...] = get_args(Unit)
MAX_DATA_WORDS = 3  # besides inserted values; a rule of more words is an instruction that uses them
KEPT_BY_MARK = "marked as kept"
_COLONS = (":", "：")
_CODE_SPAN = re.compile(r"(?<!`)(`++)[^`\r\n]++\1(?!`)")
_EMPHASIS_BEHIND_STOP = re.compile(r"(?<=[.!?…。！？؟])[*_]+(?=\s|\Z)")
_PAIRS = (("(", ")"), ("[", "]"), ("“", "”"), ("«", "»"), ("「", "」"), ("『", "』"), ("（", "）"))
_CLOSING_MARKS = tuple("\"'”’»)]")
_TOGGLES = ("**", '"')
_OPENING_TAG = re.compile(r"<[A-Za-z][^<>]*(?<!/)>")
_CLOSING_TAG = re.compile(r"</[A-Za-z][^<>]*>")
_BOLD = re.compile(r"\*\*[^*]*[^*.!?]\*\*")
_BEFORE_TEXT = " \t\r\n-*+•0123456789.)"  # what may be between a mark and a rule below it
_WIDE_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]{1,2}|[^\W_\u3040-\u30ff\u3400-\u9fff]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A rule, as ranges of the text of its region.

    Attributes:
        kind: See `pytest_llmops.ledger.model.Rule`.
        content: The ranges of its text.
        cut: The range that is left out: with the mark of a list, white space and line ends.
        text: Its text, for people.
        kept: Why it is never left out; "": it is.
        is_sentence: Whether its line ends only wrap it.
    """

    kind: RuleKind
    content: tuple[Span, ...]
    cut: tuple[Span, ...]
    text: str = ""
    kept: str = ""
    is_sentence: bool = False


def split_region(region: Region, by: Unit = "auto") -> list[Piece]:
    r"""Return the rules of a text, in order.

    Headings, tags of elements, comments, and sentences that end in a colon are in no rule. A block of a template
    (``{% if %} ... {% endif %}``) is never split, and neither is an example: an element ``<example>``, a quotation (``>``), a message
    of a prompt with the answer to it. If the text has marks (``{# rule #} ... {# end #}`` in a prompt,
    ``<!-- rule --> ... <!-- end -->`` elsewhere), only the enclosed text is a rule.

    Args:
        region: The text.
        by: ``auto``: each item of a list (those nested in it are rules of their own), each sentence of a paragraph, a block of
            code or a table with the sentence that introduces it. ``paragraph``: the text between two blank lines. ``item``: an
            item with those nested in it, or a paragraph. ``line``: a line. ``sentence``: a sentence, also within an item.

    Raises:
        BadFile: A mark has no end or no start; gives the line of the text.

    >>> from pytest_llmops.ledger.regions import plain_region
    >>> text = "# Style\nYou are kind. Answer:\n- in English\n- briefly\n"
    >>> [piece.text for piece in split_region(plain_region(text, 0, len(text)))]
    ['You are kind.', 'in English', 'briefly']
    """
    splitter = _Splitter(region)
    if region.is_example:
        whole = (0, len(region.text))
        return [splitter.finish(Piece(kind="paragraph", content=(whole,), cut=(whole,)))]
    pieces = splitter.find_marked()
    if not pieces:
        pieces = splitter.split(by)
    finished = [splitter.finish(piece) for piece in pieces]
    return [piece for piece in finished if piece.text]


class _Splitter:
    """The splitting of one text."""

    def __init__(self, region: Region) -> None:
        self.text = region.text
        self.tokens = find_tokens(region)
        self.token_starts = [token.start for token in self.tokens]
        self.masked = mask_tokens(region.text, self.tokens)
        atoms = find_atoms(self.tokens)
        self.lines = read_lines(region.text, self.masked, atoms, is_docstring=region.is_docstring)
        self.block_starts = [start for start, end in atoms if "\n" in region.text[start:end]]
        self.keep_marks = [token for token in self.tokens if token.comment == "keep"]

    def split(self, by: Unit) -> list[Piece]:
        """Return the rules by kind of unit, unfinished."""
        blocks = BlockReader(self.lines).read()
        if by == "paragraph":
            return [self._join_blocks(group) for group in _group_paragraphs(blocks) if self._has_rule(group)]
        pieces: list[Piece] = []
        label: Span | None = None  # the sentence that introduces the next block
        for place, block in enumerate(blocks):
            following = None
            if place + 1 < len(blocks):
                following = blocks[place + 1]
            own: list[Piece] = []
            next_label = None
            if block.kind in ("code", "table", "example"):
                own = [self._make_block(block, label)]
            elif block.kind == "item":
                own = self._split_item(block, following, by)
                if not own:
                    next_label = (block.content, self.lines[block.last].end)
                if by == "item" and block.depth > 0 and pieces and own:
                    pieces[-1] = self._join_pieces(pieces[-1], own[0])
                    own = []
            elif block.kind == "text":
                own, next_label = self._split_text(block, by)
            pieces += own
            label = next_label
        return pieces

    def _has_rule(self, group: Sequence[Block]) -> bool:
        """Return whether a paragraph is more than a line that introduces the next one."""
        last = self.lines[group[-1].last].text
        is_label = len(group) == 1 and group[0].kind == "text" and last.endswith(_COLONS)
        return not is_label

    def _join_blocks(self, group: Sequence[Block]) -> Piece:
        """Return the rule of blocks between blank lines."""
        kind: RuleKind = "paragraph"
        if len(group) == 1:
            kind = _block_kind(group[0])
        first = self.lines[group[0].first]
        last = self.lines[group[-1].last]
        content = (self._content_start(group[0], first), last.end)
        return Piece(kind=kind, content=(content,), cut=(self._whole_lines(group[0].first, group[-1].last),))

    def _join_pieces(self, one: Piece, other: Piece) -> Piece:
        """Return an item with one that is nested in it."""
        content = (one.content[0][0], other.content[-1][1])
        cut = (one.cut[0][0], max(one.cut[-1][1], other.cut[-1][1]))
        return replace(one, content=(content,), cut=(cut,))

    def _content_start(self, block: Block, line: Line) -> int:
        """Return where the text of a block starts, behind the mark of an item."""
        if block.kind == "item":
            return block.content
        return line.start

    def _make_block(self, block: Block, label: Span | None) -> Piece:
        """Return the rule of a block of code, a table or an example, with the sentence that introduces it."""
        first = self.lines[block.first]
        last = self.lines[block.last]
        content = [(first.start, last.end)]
        cut = [self._whole_lines(block.first, block.last)]
        if label:
            content.insert(0, label)
            cut.insert(0, self._cut_label(label, first.start))
        return Piece(kind=_block_kind(block), content=tuple(content), cut=tuple(cut))

    def _cut_label(self, label: Span, block_start: int) -> Span:
        """Return the range that is cut with a sentence that introduces a block: all up to the block if it starts a line, else itself."""
        start = self._line_start_if_first(label[0])
        if self._starts_line(start):
            return start, block_start
        return label

    def _line_start_if_first(self, place: int) -> int:
        """Return the start of the line of a character if only white space is in front of it, else the character."""
        start = place
        while start > 0 and self.text[start - 1] in " \t":
            start -= 1
        if self._starts_line(start):
            return start
        return place

    def _starts_line(self, place: int) -> bool:
        """Return whether a character is the first of its line."""
        return place == 0 or self.text[place - 1] in "\r\n"

    def _split_item(self, block: Block, following: Block | None, by: Unit) -> list[Piece]:
        """Return the rule of an item, or several; none if it only introduces those nested in it."""
        last = self.lines[block.last]
        shown = self.masked[block.content : last.end].strip()
        is_label = shown.strip("*_ ").endswith(_COLONS) or _is_bold(shown)
        if is_label and by != "item" and following and _is_introduced(block, following):
            return []
        if by == "line":
            return self._split_lines(block)
        if by == "sentence":
            sentences = self._find_sentences(block)
            if len(sentences) > 1:
                return self._cut_sentences(sentences)
        content = (block.content, last.end)
        return [Piece(kind="item", content=(content,), cut=(self._whole_lines(block.first, block.last),))]

    def _split_text(self, block: Block, by: Unit) -> tuple[list[Piece], Span | None]:
        """Return the rules of a paragraph, and its last sentence if that introduces what follows."""
        if by == "line":
            return self._split_lines(block), None
        sentences = self._find_sentences(block)
        label = None
        if sentences and self._is_label(sentences[-1]):
            label = sentences[-1]
        if by == "item" and not (label and len(sentences) == 1):
            return [self._join_blocks([block])], None
        return self._cut_sentences(sentences, block), label

    def _split_lines(self, block: Block) -> list[Piece]:
        """Return each line of a block as a rule."""
        pieces = []
        for place in range(block.first, block.last + 1):
            line = self.lines[place]
            start = line.text_start
            if place == block.first:
                start = max(start, block.content)
            if line.text and not line.text.endswith(_COLONS):
                cut = self._whole_lines(place, place)
                pieces.append(Piece(kind="lines", content=((start, line.end),), cut=(cut,)))
        return pieces

    def _is_label(self, sentence: Span) -> bool:
        """Return whether a sentence introduces what follows."""
        return self.masked[slice(*sentence)].rstrip("*_ ").endswith(_COLONS)

    def _find_sentences(self, block: Block) -> list[Span]:
        """Return the sentences of a block, without white space around them."""
        sentences: list[Span] = []
        for group in iter_groups(self.lines[block.first : block.last + 1]):
            start = max(group[0].text_start, block.content)
            end = group[-1].end
            shown = _mask_for_sentences(self.masked[start:end])
            spans = [(start + first, start + last) for first, last in find_sentences(shown)]
            for first, last in _join_unbalanced(self.masked, spans):
                stripped = _strip_span(self.masked, first, last)
                if stripped[0] < stripped[1]:
                    sentences.append(stripped)
        return sentences

    def _cut_sentences(self, sentences: Sequence[Span], block: Block | None = None) -> list[Piece]:
        """Return a rule for each sentence that introduces nothing.

        Args:
            sentences: The sentences of a paragraph or item.
            block: The paragraph, which is a rule as a whole if it has one sentence; None: never.
        """
        rules = [sentence for sentence in sentences if not self._is_label(sentence)]
        if block and len(sentences) == 1 and rules:
            cut = self._whole_lines(block.first, block.last)
            return [Piece(kind="paragraph", content=(rules[0],), cut=(cut,), is_sentence=True)]
        kind: RuleKind = "sentence"
        if len(rules) == 1 and block:
            kind = "paragraph"
        pieces = []
        for place, sentence in enumerate(sentences):
            if self._is_label(sentence):
                continue
            before = None
            after = None
            if place > 0:
                before = sentences[place - 1]
            if place + 1 < len(sentences):
                after = sentences[place + 1]
            cut = self._cut_sentence(sentence, before, after)
            pieces.append(Piece(kind=kind, content=(sentence,), cut=(cut,), is_sentence=True))
        return pieces

    def _cut_sentence(self, sentence: Span, before: Span | None, after: Span | None) -> Span:
        """Return the range that is cut with a sentence: its whole lines if it fills them, else the blank on one side."""
        start, end = sentence
        line_start = self._line_start_if_first(start)
        line_end = end
        while line_end < len(self.text) and self.text[line_end] in " \t":
            line_end += 1
        if self._starts_line(line_start) and self.text[line_end : line_end + 1] in ("\r", "\n"):
            stop = line_end + 1
            if self.text[line_end : stop + 1] == "\r\n":
                stop += 1
            return line_start, stop
        if after:
            return start, after[0]
        if before:
            return before[1], end
        return start, end

    def _whole_lines(self, first: int, last: int) -> Span:
        """Return the range that is cut with lines: the lines with their ends, and blank lines if two runs of them would meet."""
        start = self.lines[first].start
        end = self.lines[last].stop
        is_last = last + 1 == len(self.lines)
        if is_last and first > 0 and self.lines[last].end == end:
            # It has no line end behind it: the one in front goes
            start = self.lines[first - 1].end
        if first > 0 and not self.lines[first - 1].is_blank:
            return start, end
        if is_last:
            while first > 0 and self.lines[first - 1].is_blank:
                first -= 1
                start = self.lines[first].start
            return start, end
        place = last + 1
        while place < len(self.lines) and self.lines[place].is_blank:
            end = self.lines[place].stop
            place += 1
        return start, end

    def find_marked(self) -> list[Piece]:
        """Return what marks of rules enclose, unfinished.

        Raises:
            BadFile: A mark has no end or no start.
        """
        pieces: list[Piece] = []
        opened: Token | None = None
        for token in self.tokens:
            if token.comment not in ("rule", "end"):
                continue
            line = self.text.count("\n", 0, token.start) + 1
            if token.comment == "rule":
                if opened:
                    raise BadFile("a mark `rule` before the one above it has its `end`", line)
                opened = token
                continue
            if opened is None:
                raise BadFile("a mark `end` without a mark `rule` before it", line)
            cut = self._cut_marked(opened.start, token.end)
            pieces.append(Piece(kind="mark", content=((opened.end, token.start),), cut=(cut,)))
            opened = None
        if opened:
            line = self.text.count("\n", 0, opened.start) + 1
            raise BadFile("a mark `rule` without a mark `end` behind it", line)
        return pieces

    def _cut_marked(self, start: int, end: int) -> Span:
        """Return the range that is cut with a marked range: its whole lines if it fills them, else the blank behind it."""
        places = [place for place, line in enumerate(self.lines) if line.start < end and line.stop > start]
        first = self.lines[places[0]]
        last = self.lines[places[-1]]
        if not self.text[first.start : start].strip() and not self.text[end : last.end].strip():
            return self._whole_lines(places[0], places[-1])
        while end < last.end and self.text[end] in " \t":
            end += 1
        return start, end

    def finish(self, piece: Piece) -> Piece:
        """Return a piece with its text, and with the reason if it is kept; without a text if it has no words."""
        start = piece.content[0][0]
        end = piece.content[-1][1]
        tokens = self._list_tokens(start, end)
        parts = []
        for first, last in piece.content:
            part = _drop_comments(self.text, first, last, tokens)
            if piece.is_sentence and not self._has_block(first, last):
                part = " ".join(part.split())
            parts.append(_dedent(part))
        text = "\n".join(parts)
        values = list(dict.fromkeys(token.text for token in tokens if token.kind == "expression"))
        words = _count_words(self.text, start, end, tokens)
        if not values and words == 0:
            return piece
        kept = ""
        if values and words <= MAX_DATA_WORDS:
            kept = f"inserts {shorten_text(', '.join(values), 80)}"
        if self._is_kept_by_mark(piece):
            kept = KEPT_BY_MARK
        return replace(piece, text=text, kept=kept)

    def _has_block(self, start: int, end: int) -> bool:
        """Return whether a block of a template that spans several lines is in a range."""
        return bisect_left(self.block_starts, start) < bisect_left(self.block_starts, end)

    def _list_tokens(self, start: int, end: int) -> list[Token]:
        """Return the tokens within a range."""
        first = bisect_left(self.token_starts, start)
        last = bisect_left(self.token_starts, end)
        return self.tokens[first:last]

    def _is_kept_by_mark(self, piece: Piece) -> bool:
        """Return whether a mark `keep` is in a rule, right behind it in its line, or by itself in the line above it."""
        start = piece.content[0][0]
        end = piece.content[-1][1]
        return any(self._concerns(mark, start, end) for mark in self.keep_marks)

    def _concerns(self, mark: Token, start: int, end: int) -> bool:
        """Return whether a mark concerns a range: it is in it, right behind it in its line, or by itself in the line above it."""
        if mark.start >= end:
            between = self.text[end : mark.start]
            return not between.strip() and "\n" not in between
        if mark.end > start:
            return True
        between = self.text[mark.end : start]
        is_alone = self._starts_line(self._line_start_if_first(mark.start))
        return is_alone and not between.strip(_BEFORE_TEXT) and between.count("\n") <= 1


def _block_kind(block: Block) -> RuleKind:
    """Return the kind of rule that a block is."""
    kinds: dict[str, RuleKind] = {"item": "item", "code": "code", "table": "table"}
    return kinds.get(block.kind, "paragraph")


def _is_bold(text: str) -> bool:
    """Return whether a text is in bold letters from start to end, as a title is."""
    return _BOLD.fullmatch(text) is not None


def _is_introduced(item: Block, following: Block) -> bool:
    """Return whether an item can introduce the next block: one that is nested, and is neither an item of the same list nor text."""
    if following.kind == "item":
        return following.indent > item.indent or following.mark != item.mark
    return following.kind in ("code", "table", "example")


def _group_paragraphs(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Yield the blocks between blank lines and headings; code, tables and examples each in a group of its own."""
    group: list[Block] = []
    for block in blocks:
        is_apart = not group or block.first > group[-1].last + 1
        is_single = block.kind not in ("text", "item")
        if group and (is_apart or is_single):
            yield group
            group = []
        if block.kind == "fixed":
            continue
        if is_single:
            yield [block]
            continue
        group.append(block)
    if group:
        yield group


def _mask_for_sentences(text: str) -> str:
    """Return a text of the same length in which the ends of sentences are found: one line, without code and marks of emphasis."""
    text = re.sub(r"[\r\n]", " ", text)
    text = _CODE_SPAN.sub(lambda match: "X" * len(match[0]), text)
    return _EMPHASIS_BEHIND_STOP.sub(lambda match: '"' * len(match[0]), text)


def _strip_span(text: str, start: int, end: int) -> Span:
    """Return a range without white space at its ends."""
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    return start, start + len(part.strip())


def _join_unbalanced(text: str, spans: Sequence[Span]) -> list[Span]:
    """Return sentences, of which those are joined that share a pair of brackets, quotes, marks of emphasis or tags."""
    if not spans:
        return []
    parts = [text[start:end] for start, end in spans]
    is_open = [False] * len(parts)
    for depths in _iter_depths(parts):
        if depths[-1] != 0 or min(depths) < 0:
            continue  # not a pair: an inch, a smiley
        is_open = [before or depth > 0 for before, depth in zip(is_open, depths, strict=True)]
    for place, part in enumerate(parts[1:]):
        # 'Say "Why?" first.'
        if parts[place].rstrip()[-1:] in _CLOSING_MARKS and part.lstrip()[:1].islower():
            is_open[place] = True
    joined: list[Span] = []
    start = spans[0][0]
    for (_, end), goes_on in zip(spans, is_open, strict=True):
        if not goes_on:
            joined.append((start, end))
            start = end
    return joined


def _iter_depths(parts: Sequence[str]) -> Iterator[list[int]]:
    """Yield, for each kind of pair, how many of it are open behind each part."""
    for opening, closing in _PAIRS:
        yield _add_up(part.count(opening) - part.count(closing) for part in parts)
    for mark in _TOGGLES:
        yield [count % 2 for count in _add_up(part.count(mark) for part in parts)]
    yield _add_up(len(_OPENING_TAG.findall(part)) - len(_CLOSING_TAG.findall(part)) for part in parts)


def _add_up(changes: Iterator[int]) -> list[int]:
    """Return the sums of a list from its start to each place."""
    sums = []
    total = 0
    for change in changes:
        total += change
        sums.append(total)
    return sums


def _drop_comments(text: str, start: int, end: int, tokens: Sequence[Token]) -> str:
    """Return a part of a text without the comments in it."""
    pieces = []
    for token in tokens:
        if token.kind == "comment" and token.start >= start and token.end <= end:
            pieces.append(text[start : token.start])
            start = token.end
    pieces.append(text[start:end])
    return "".join(pieces)


def _dedent(text: str) -> str:
    """Return a text without indentation, blanks at line ends and line ends at both sides."""
    lines = text.replace("\r\n", "\n").strip("\r\n").rstrip().split("\n")
    first = lines[0]
    rest = "\n".join(line.rstrip() for line in lines[1:])
    if first.startswith((" ", "\t")) and rest:
        return textwrap.dedent(f"{first}\n{rest}").strip()
    return f"{first.strip()}\n{textwrap.dedent(rest)}".strip()


def _count_words(text: str, start: int, end: int, tokens: Sequence[Token]) -> int:
    """Return how many words a part has outside of its tokens; two characters of Chinese or Japanese are a word."""
    words = 0
    for token in tokens:
        if token.kind == "raw":
            continue
        if token.start > start:
            words += len(_WIDE_WORD.findall(text, start, token.start))
        start = max(start, token.end)
    if start < end:
        words += len(_WIDE_WORD.findall(text, start, end))
    return words
