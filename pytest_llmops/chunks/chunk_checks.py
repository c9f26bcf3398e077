"""Check that chunks hold all of the source, and that none cuts a word, a sentence, a table or code apart."""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import TypeAlias

from pytest_llmops.chunks.alignment import Alignment, PlacedChunk, gaps_between
from pytest_llmops.chunks.pieces import SEAM, CheckResult, CompactText, Fault, count_result, share_result
from pytest_llmops.measurement import format_count
from pytest_llmops.schemas.json_extraction import iterate_fences
from pytest_llmops.semantics.checks import split_sentences

CUT_CONTEXT_CHARS = 30  # characters on each side of a cut in a message

# Scripts without spaces: a word may end between any two characters.
_UNSPACED_SCRIPT = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)


def check_cut_words(alignment: Alignment) -> CheckResult:
    """Return the share of chunk ends inside a word, a number, or between a letter and its accent.

    Both ends of each chunk count, unless they are invented text. The ends of a document never cut a word, nor do
    ends between characters of a script without spaces (Chinese, Japanese, Thai ...).
    """
    raw = alignment.source.compact.raw
    places = alignment.source.compact.places

    def cuts_word(at: int) -> bool:
        if not 0 < at < len(places):
            return False
        is_gapless = places[at] == places[at - 1] + 1
        return is_gapless and _splits_word(raw, places[at])

    return _check_chunk_ends("cut_words", "part a word", alignment, cuts_word)


def _splits_word(raw: str, at: int) -> bool:
    """Return whether a cut before ``raw[at]`` is inside a word, number or combined character."""
    before = raw[at - 1]
    after = raw[at]
    if unicodedata.combining(after) or after in "\u200d\ufe0f":
        return True
    if _UNSPACED_SCRIPT.match(before) or _UNSPACED_SCRIPT.match(after):
        return False
    if before.isalnum() and after.isalnum():
        return True
    # 1,000 and 2.5 and 10:30
    if before.isdigit() and after in ".,:":
        return raw[at + 1 : at + 2].isdigit()
    if before in ".,:" and after.isdigit():
        return raw[max(0, at - 2) : at - 1].isdigit()
    return False


def check_changed_words(alignment: Alignment) -> CheckResult:
    """Return how often a chunk joins two words of the source, or splits a word.

    White space may differ, but not between two letters or digits: a dropped line end makes "the endStart".
    Scripts without spaces do not count.
    """
    source = alignment.source.compact
    faults = []
    for placed in alignment.placed:
        for place in _find_changed_words(source, placed):
            start = max(0, place - CUT_CONTEXT_CHARS)
            around = placed.text.excerpt(start, start + 2 * CUT_CONTEXT_CHARS)
            faults.append(Fault(placed.piece.place, around))
    places = format_count(len(faults), "place")
    return count_result(
        "changed_words", f"{places} where words of the source are joined, or a word is split", faults
    )


def _find_changed_words(source: CompactText, placed: PlacedChunk) -> Iterator[int]:
    """Yield the positions in a chunk where a word begins in the chunk only, or in the source only."""
    for run in placed.runs:
        source_starts = _word_starts_within(source, run.source, run.length)
        chunk_starts = _word_starts_within(placed.text, run.chunk, run.length)
        for offset in sorted(source_starts ^ chunk_starts):
            at = run.source + offset
            around = source.text[at - 1 : at + 1]
            if around.isalnum() and not _UNSPACED_SCRIPT.search(around):
                yield run.chunk + offset


def _word_starts_within(text: CompactText, start: int, length: int) -> set[int]:
    """Return the offsets from ``start`` of the characters that follow white space, within ``length``."""
    starts = text.word_starts
    first = bisect_right(starts, start)
    end = bisect_left(starts, start + length)
    return {place - start for place in starts[first:end]}


def check_cut_sentences(alignment: Alignment) -> CheckResult:
    """Return the share of chunk ends within a sentence; the ends count as in `check_cut_words`.

    `pytest_llmops.semantics.checks.split_sentences` splits the sentences, also each heading, list item and row.
    """
    compact = alignment.source.compact
    seams = alignment.source.seam_places
    # A sentence comes without its position. Its characters other than white space are counted to find it.
    solid = [at for at, char in enumerate(compact.raw) if not char.isspace()]
    borders = {0, len(compact.text), *seams}
    borders.update(at + 1 for at in seams)
    done = 0
    for sentence in split_sentences(compact.raw):
        start, _ = compact.kept_range(solid[done], solid[done])
        borders.add(start)
        done += sum(map(len, sentence.split()))

    def is_within_sentence(at: int) -> bool:
        return at not in borders

    return _check_chunk_ends("cut_sentences", "fall within a sentence", alignment, is_within_sentence)


def _chunk_ends(alignment: Alignment) -> Iterator[tuple[PlacedChunk, int]]:
    """Yield each start and end of a chunk that is from the source, as (chunk, position in the source)."""
    for placed in alignment.placed:
        if not placed.runs:
            continue
        first = placed.runs[0]
        last = placed.runs[-1]
        if first.chunk == 0:
            yield placed, first.source
        if last.chunk_end == len(placed.text.text):
            yield placed, last.source_end


def _check_chunk_ends(
    name: str, what: str, alignment: Alignment, is_cut: Callable[[int], bool]
) -> CheckResult:
    """Return the share of chunk ends that are cuts.

    Args:
        name: The name of the check.
        what: The effect of the cuts, for the reason.
        alignment: The chunks in their source.
        is_cut: Whether an end at a position of the compact source is a cut.
    """
    ends = list(_chunk_ends(alignment))
    faults = []
    for placed, at in ends:
        if is_cut(at):
            text = _mark_cut(alignment.source.compact, at)
            faults.append(Fault(placed.piece.place, text))
    reason = f"{len(faults):,} of {len(ends):,} chunk ends {what}"
    return share_result(name, len(faults), len(ends), reason, faults)


def _mark_cut(source: CompactText, at: int) -> str:
    """Return the text around a cut, with a line at the cut."""
    left = source.places[at - 1] + 1
    right = source.places[at]
    before = source.raw[max(0, left - CUT_CONTEXT_CHARS) : left]
    after = source.raw[right : right + CUT_CONTEXT_CHARS]
    if left == right:
        return f"{before}|{after}".strip()
    return f"{before} | {after}".strip()


def check_lost_text(alignment: Alignment) -> CheckResult:
    """Return the share of the source's characters that are in no chunk; ignored characters do not count.

    A passage that occurs twice in the source must be in the chunks twice. A blank source has lost nothing.
    """
    source = alignment.source
    faults = []
    for start, end in alignment.lost:
        text = source.compact.excerpt(start, end)
        faults.append(Fault(source.place(start), text, end - start))
    lost_count = sum(fault.size for fault in faults)
    reason = f"{lost_count:,} of the source's {source.size:,} characters are in no chunk"
    return share_result("lost", lost_count, source.size, reason, faults)


def check_invented_text(alignment: Alignment) -> CheckResult:
    """Return the share of the chunks' characters that do not come from the source."""
    faults = []
    size = 0
    for placed in alignment.placed:
        length = len(placed.text.text)
        size += length
        covered = [(run.chunk, run.chunk_end) for run in placed.runs]
        for start, end in gaps_between(covered, length):
            text = placed.text.excerpt(start, end)
            faults.append(Fault(placed.piece.place, text, end - start))
    invented_count = sum(fault.size for fault in faults)
    reason = f"{invented_count:,} of the chunks' {size:,} characters are not in the source"
    return share_result("invented", invented_count, size, reason, faults)


def check_chunk_order(alignment: Alignment) -> CheckResult:
    """Return how many chunks begin before the preceding chunk; chunks that are not from the source do not count."""
    starts = []
    for placed in alignment.placed:
        if placed.main_span is not None:
            start, _ = placed.main_span
            starts.append((placed.piece, start))
    faults = []
    for (previous, previous_start), (piece, start) in pairwise(starts):
        if start < previous_start:
            place = alignment.source.place(start)
            text = f"begins at {place}, before {previous.place}"
            faults.append(Fault(piece.place, text, previous_start - start))
    reason = f"{len(faults):,} of {len(starts):,} chunks begin before the preceding chunk"
    return count_result("out_of_order", reason, faults)


def check_stated_starts(alignment: Alignment) -> CheckResult | None:
    """Return how many chunks do not begin where they state; None if no chunk states its start.

    Citations and highlights use these starts: LangChain's ``start_index``, LlamaIndex's ``start_char_idx``, in a
    source of a single document. White space at the start of a chunk does not count.
    """
    compact = alignment.source.compact
    stated = []
    for placed in alignment.placed:
        if placed.text.text and placed.piece.start is not None:
            stated.append((placed, placed.piece.start))
    if not stated or len(alignment.source.names) != 1:
        return None
    faults = []
    for placed, start in stated:
        raw_start = max(0, start)
        position, _ = compact.kept_range(raw_start, raw_start)
        head = placed.text.text[:64]
        if start < 0 or not compact.text.startswith(head, position):
            text = compact.raw[raw_start : raw_start + 64]
            problem = f'states its start as {start:,}, where the source has "{text}"'
            faults.append(Fault(placed.piece.place, problem))
    reason = f"{len(faults):,} of {len(stated):,} chunks do not begin where they state"
    return count_result("misplaced", reason, faults)


_DELIMITER = re.compile(r"^(?=[^\n]*-)(?=[^\n]*\|)[ \t]*+[|:-][ \t:|-]*+$", re.MULTILINE)
_TABLE_TAG = re.compile(r"<(/?)table\b[^<>\0]{0,2000}>|\0", re.IGNORECASE)
_ROW_TAG = re.compile(r"<(/?)tr\b[^<>\0]{0,2000}>", re.IGNORECASE)


# The rows of a table as ``[start, end)`` of the raw text; the first row is the header
Table: TypeAlias = tuple[tuple[int, int], ...]


def find_tables(text: str) -> list[Table]:
    r"""Return the tables of a Markdown or HTML text in their order; linear.

    A Markdown table begins with a row above a delimiter row; the header of an HTML table is its first row. Nested
    tables belong to the outer table. Tables with a single row do not count.

    >>> [len(table) for table in find_tables("| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n")]
    [3]
    """
    tables = list(_markdown_tables(text))
    for start, end in _outer_elements(_TABLE_TAG.finditer(text)):
        rows = _outer_elements(_ROW_TAG.finditer(text, start, end))
        tables.append(tuple(rows))
    return sorted(table for table in tables if len(table) > 1)


def _markdown_tables(text: str) -> Iterator[Table]:
    """Yield the tables of a Markdown text: a row above a delimiter row, and the rows below."""
    done = 0
    for delimiter in _DELIMITER.finditer(text):
        header_end = delimiter.start() - 1
        header_start = text.rfind("\n", 0, max(0, header_end)) + 1
        header = text[header_start:header_end]
        if delimiter.start() < max(1, done) or "|" not in header:
            continue
        rows = [(header_start, header_end)]
        at = delimiter.end() + 1
        while at < len(text):
            end = text.find("\n", at)
            if end < 0:
                end = len(text)
            if "|" not in text[at:end]:
                break
            rows.append((at, end))
            at = end + 1
        done = at
        yield tuple(rows)


def _outer_elements(tags: Iterator[re.Match[str]]) -> Iterator[tuple[int, int]]:
    """Yield the spans of the outermost elements, from the opening to the closing tag.

    Args:
        tags: Matches of the opening and closing tags of one kind; group 1 is "/" in a closing tag. The match of a
            `SEAM` ends the document, and with it all open elements.
    """
    depth = 0
    start = 0
    for tag in tags:
        if tag[0] == SEAM:
            depth = 0
            continue
        is_closing = bool(tag[1])
        if not is_closing:
            if depth == 0:
                start = tag.start()
            depth += 1
            continue
        if depth == 1:
            yield start, tag.end()
        depth = max(0, depth - 1)


def find_code_blocks(text: str) -> list[tuple[int, int]]:
    """Return the fenced code blocks ``[start, end)`` of a Markdown text; an unclosed block ends with its document."""
    blocks = []
    start = 0
    for document in text.split(SEAM):
        for opening, closing in iterate_fences(document):
            end = len(document)
            if closing:
                end = closing.end()
            blocks.append((start + opening.start(), start + end))
        start += len(document) + len(SEAM)
    return blocks


def check_cut_tables(alignment: Alignment) -> CheckResult:
    """Return how often a chunk holds rows of a table without its header, or only a part of a row.

    A header that the chunker repeats in the chunk counts. Each table counts once per chunk.
    """
    compact = alignment.source.compact
    tables = []
    for table in find_tables(compact.raw):
        tables.append([compact.kept_range(*row) for row in table])
    # Each table has two rows or more.
    spans = [(rows[0][0], rows[-1][1]) for rows in tables]
    faults = []
    for placed in alignment.placed:
        for index in _overlapping_spans(placed, spans):
            fault = _find_table_fault(compact, tables[index], placed)
            if fault is not None:
                faults.append(fault)
    tears = format_count(len(faults), "chunk tears", "chunks tear")
    table_count = format_count(len(tables), "table")
    return count_result("cut_tables", f"{tears} a table apart, of {table_count}", faults)


def _find_table_fault(
    compact: CompactText, rows: Sequence[tuple[int, int]], placed: PlacedChunk
) -> Fault | None:
    """Return the error in the part of a table that is in a chunk: a torn row, or rows without the header.

    Returns None if nothing is wrong. The first of the rows is the header.
    """
    header = rows[0]
    body_rows = 0
    body_size = 0
    for index in _overlapping_spans(placed, rows):
        row = rows[index]
        held_chars = _count_held_chars(placed, row)
        size = row[1] - row[0]
        if 0 < held_chars < size:
            text = f"a part of the row {compact.excerpt(*row)}"
            return Fault(placed.piece.place, text, size)
        if held_chars and row != header:
            body_rows += 1
            body_size += size
    header_text = compact.text[header[0] : header[1]]
    if not body_rows or header_text in placed.text.text:
        return None
    which = format_count(body_rows, "row without its", "rows without their")
    text = f"{which} header {compact.excerpt(*header)}"
    return Fault(placed.piece.place, text, body_size)


def check_cut_code(alignment: Alignment) -> CheckResult:
    """Return how often a chunk holds only a part of a fenced code block."""
    compact = alignment.source.compact
    blocks = [compact.kept_range(start, end) for start, end in find_code_blocks(compact.raw)]
    faults = []
    for placed in alignment.placed:
        for index in _overlapping_spans(placed, blocks):
            start, end = blocks[index]
            held_chars = _count_held_chars(placed, (start, end))
            size = end - start
            if held_chars < size:
                excerpt = compact.excerpt(start, end)
                text = f"{held_chars:,} of {size:,} characters of the block {excerpt}"
                faults.append(Fault(placed.piece.place, text, size))
    tears = format_count(len(faults), "chunk tears", "chunks tear")
    reason = f"{tears} a code block apart, of {format_count(len(blocks), 'code block')}"
    return count_result("cut_code", reason, faults)


def _count_held_chars(placed: PlacedChunk, span: tuple[int, int]) -> int:
    """Return how many characters of a span of the source are in a chunk."""
    first, last = span
    covered = [(max(run.source, first), min(run.source_end, last)) for run in placed.runs]
    held = 0
    done = first
    for start, end in sorted(covered):
        held += max(0, end - max(start, done))
        done = max(done, end)
    return held


def _overlapping_spans(placed: PlacedChunk, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Return the indexes of the spans that a chunk has a part of; the spans are sorted and do not overlap."""
    overlapping: set[int] = set()
    for run in placed.runs:
        first = bisect_right(spans, run.source, key=itemgetter(1))
        end = bisect_left(spans, run.source_end, key=itemgetter(0))
        overlapping.update(range(first, end))
    return sorted(overlapping)
