"""Check that chunks hold all of the source, and that none cuts a word, a sentence, a table or code apart."""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
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
        return 0 < at < len(places) and places[at] == places[at - 1] + 1 and _splits_word(raw, places[at])

    return _check_chunk_ends("cut_words", "part a word", alignment, cuts_word)


def _splits_word(raw: str, at: int) -> bool:
    """Return whether a cut before ``raw[at]`` is inside a word, number or combined character."""
    before = raw[at - 1]
    after = raw[at]
    if unicodedata.combining(after) or after in "\u200d\ufe0f":
        return True
    if _UNSPACED_SCRIPT.match(before) or _UNSPACED_SCRIPT.match(after):
        return False
    # 1,000 and 2.5 and 10:30
    is_number = before.isdigit() and after in ".,:" and raw[at + 1 : at + 2].isdigit()
    if is_number or (before.isalnum() and after.isalnum()):
        return True
    return before in ".,:" and after.isdigit() and raw[max(0, at - 2) : at - 1].isdigit()


def check_changed_words(alignment: Alignment) -> CheckResult:
    """Return how often a chunk joins two words of the source, or splits a word.

    White space may differ, but not between two letters or digits: a dropped line end makes "the endStart".
    Scripts without spaces do not count.
    """
    source = alignment.source.compact
    faults = []
    for placed in alignment.placed:
        for run in placed.runs:
            source_starts = _word_starts_within(source, run.source, run.length)
            for offset in sorted(source_starts ^ _word_starts_within(placed.text, run.chunk, run.length)):
                around = source.text[run.source + offset - 1 : run.source + offset + 1]
                if around.isalnum() and not _UNSPACED_SCRIPT.search(around):
                    start = max(0, run.chunk + offset - CUT_CONTEXT_CHARS)
                    faults.append(
                        Fault(placed.piece.place, placed.text.excerpt(start, start + 2 * CUT_CONTEXT_CHARS))
                    )
    return count_result(
        "changed_words",
        f"{format_count(len(faults), 'place')} where words of the source are joined, or a word is split",
        faults,
    )


def _word_starts_within(text: CompactText, start: int, length: int) -> set[int]:
    """Return the offsets from ``start`` of the characters that follow white space."""
    starts = text.word_starts
    return {
        place - start for place in starts[bisect_right(starts, start) : bisect_left(starts, start + length)]
    }


def check_cut_sentences(alignment: Alignment) -> CheckResult:
    """Return the share of chunk ends within a sentence; the ends count as in `check_cut_words`.

    Sentences are those of `pytest_llmops.semantics.checks.split_sentences`, also each heading, list item and row.
    """
    compact = alignment.source.compact
    seams = alignment.source.seam_places
    solid = [at for at, char in enumerate(compact.raw) if not char.isspace()]
    borders = {0, len(compact.text), *seams, *(at + 1 for at in seams)}
    done = 0
    for sentence in split_sentences(compact.raw):
        borders.add(compact.kept_range(solid[done], solid[done])[0])
        done += sum(map(len, sentence.split()))
    return _check_chunk_ends(
        "cut_sentences", "fall within a sentence", alignment, lambda at: at not in borders
    )


def _chunk_ends(alignment: Alignment) -> Iterator[tuple[PlacedChunk, int]]:
    """Yield the ends of each chunk that are from the source."""
    for placed in alignment.placed:
        if placed.runs and placed.runs[0].chunk == 0:
            yield placed, placed.runs[0].source
        if placed.runs:
            last = placed.runs[-1]
        else:
            last = None
        if last and last.chunk_end == len(placed.text.text):
            yield placed, last.source_end


def _check_chunk_ends(
    name: str, what: str, alignment: Alignment, is_cut: Callable[[int], bool]
) -> CheckResult:
    raw = alignment.source.compact.raw
    places = alignment.source.compact.places
    ends = list(_chunk_ends(alignment))
    faults = []
    for placed, at in ends:
        if is_cut(at):
            left = places[at - 1] + 1
            right = places[at]
            before = raw[max(0, left - CUT_CONTEXT_CHARS) : left]
            after = raw[right : right + CUT_CONTEXT_CHARS]
            if left == right:
                cut = "|"
            else:
                cut = " | "
            faults.append(Fault(placed.piece.place, f"{before}{cut}{after}".strip()))
    return share_result(
        name, len(faults), len(ends), f"{len(faults):,} of {len(ends):,} chunk ends {what}", faults
    )


def check_lost_text(alignment: Alignment) -> CheckResult:
    """Return the share of the source's characters that are in no chunk; ignored characters do not count.

    A passage that occurs twice in the source must be in the chunks twice. A blank source has lost nothing.
    """
    source = alignment.source
    faults = [Fault(source.place(a), source.compact.excerpt(a, b), b - a) for a, b in alignment.lost]
    missing = sum(fault.size for fault in faults)
    return share_result(
        "lost",
        missing,
        source.size,
        f"{missing:,} of the source's {source.size:,} characters are in no chunk",
        faults,
    )


def check_invented_text(alignment: Alignment) -> CheckResult:
    """Return the share of the chunks' characters that do not come from the source."""
    faults = [
        Fault(placed.piece.place, placed.text.excerpt(a, b), b - a)
        for placed in alignment.placed
        for a, b in gaps_between([(run.chunk, run.chunk_end) for run in placed.runs], len(placed.text.text))
    ]
    extra = sum(fault.size for fault in faults)
    size = sum(len(placed.text.text) for placed in alignment.placed)
    return share_result(
        "invented", extra, size, f"{extra:,} of the chunks' {size:,} characters are not in the source", faults
    )


def check_chunk_order(alignment: Alignment) -> CheckResult:
    """Return how many chunks begin before the preceding chunk; chunks that are not from the source do not count."""
    known = [
        (placed.piece, placed.main_span[0]) for placed in alignment.placed if placed.main_span is not None
    ]
    faults = [
        Fault(
            piece.place,
            f"begins at {alignment.source.place(start)}, before {before.place}",
            start_before - start,
        )
        for (before, start_before), (piece, start) in pairwise(known)
        if start < start_before
    ]
    return count_result(
        "out_of_order", f"{len(faults):,} of {len(known):,} chunks begin before the preceding chunk", faults
    )


def check_stated_starts(alignment: Alignment) -> CheckResult | None:
    """Return how many chunks do not begin where they state; None if no chunk states its start.

    Citations and highlights use these starts: LangChain's ``start_index``, LlamaIndex's ``start_char_idx``, in a
    source of a single document. White space at the start of a chunk does not count.
    """
    compact = alignment.source.compact
    starts = [(placed, placed.piece.start) for placed in alignment.placed if placed.text.text]
    stated = [(placed, start) for placed, start in starts if start is not None]
    if not stated or len(alignment.source.names) != 1:
        return None
    faults = []
    for placed, start in stated:
        position, _ = compact.kept_range(max(0, start), max(0, start))
        if start < 0 or not compact.text.startswith(placed.text.text[:64], position):
            text = compact.raw[max(0, start) : max(0, start) + 64]
            faults.append(
                Fault(placed.piece.place, f'states its start as {start:,}, where the source has "{text}"')
            )
    return count_result(
        "misplaced", f"{len(faults):,} of {len(stated):,} chunks do not begin where they state", faults
    )


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
    html_tables = (
        tuple(_outer_elements(_ROW_TAG.finditer(text, start, end)))
        for start, end in _outer_elements(_TABLE_TAG.finditer(text))
    )
    return sorted(table for table in (*_markdown_tables(text), *html_tables) if len(table) > 1)


def _markdown_tables(text: str) -> Iterator[Table]:
    done = 0
    for delimiter in _DELIMITER.finditer(text):
        header = (text.rfind("\n", 0, max(0, delimiter.start() - 1)) + 1, delimiter.start() - 1)
        if delimiter.start() < max(1, done) or "|" not in text[slice(*header)]:
            continue
        rows = [header]
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
    depth = start = 0
    for tag in tags:
        if tag[0] == SEAM:
            depth = 0
            continue
        if tag[1] and depth == 1:
            yield start, tag.end()
        elif not tag[1] and not depth:
            start = tag.start()
        depth = max(0, depth + (-1 if tag[1] else 1))


def find_code_blocks(text: str) -> list[tuple[int, int]]:
    """Return the fenced code blocks ``[start, end)`` of a Markdown text; an unclosed block ends with its document."""
    blocks = []
    start = 0
    for document in text.split(SEAM):
        for opening, closing in iterate_fences(document):
            blocks.append((start + opening.start(), start + (closing.end() if closing else len(document))))
        start += len(document) + len(SEAM)
    return blocks


def check_cut_tables(alignment: Alignment) -> CheckResult:
    """Return how often a chunk holds rows of a table without its header, or only a part of a row.

    A header that the chunker repeats in the chunk counts. Each table counts once per chunk.
    """
    compact = alignment.source.compact
    table_rows = [[compact.kept_range(*row) for row in table] for table in find_tables(compact.raw)]
    spans = [(rows[0][0], rows[-1][1]) for rows in table_rows]
    faults = [
        fault
        for placed in alignment.placed
        for index in _overlapping_spans(placed, spans)
        if (fault := _find_table_fault(compact, table_rows[index], placed)) is not None
    ]
    return count_result(
        "cut_tables",
        f"{format_count(len(faults), 'chunk tears', 'chunks tear')} a table apart, of {format_count(len(table_rows), 'table')}",
        faults,
    )


def _find_table_fault(
    compact: CompactText, rows: Sequence[tuple[int, int]], placed: PlacedChunk
) -> Fault | None:
    body = []
    for row in (rows[index] for index in _overlapping_spans(placed, rows)):
        held_chars = _count_held_chars(placed, row)
        size = row[1] - row[0]
        if 0 < held_chars < size:
            return Fault(placed.piece.place, f"a part of the row {compact.excerpt(*row)}", size)
        if held_chars and row != rows[0]:
            body.append(row)
    if not body or compact.text[slice(*rows[0])] in placed.text.text:
        return None
    which = format_count(len(body), "row without its", "rows without their")
    return Fault(
        placed.piece.place,
        f"{which} header {compact.excerpt(*rows[0])}",
        sum(end - start for start, end in body),
    )


def check_cut_code(alignment: Alignment) -> CheckResult:
    """Return how often a chunk holds only a part of a fenced code block."""
    compact = alignment.source.compact
    blocks = [compact.kept_range(*block) for block in find_code_blocks(compact.raw)]
    faults = []
    for placed in alignment.placed:
        for block in (blocks[index] for index in _overlapping_spans(placed, blocks)):
            held_chars = _count_held_chars(placed, block)
            size = block[1] - block[0]
            if held_chars < size:
                faults.append(
                    Fault(
                        placed.piece.place,
                        f"{held_chars:,} of {size:,} characters of the block {compact.excerpt(*block)}",
                        size,
                    )
                )
    return count_result(
        "cut_code",
        f"{format_count(len(faults), 'chunk tears', 'chunks tear')} a code block apart, of {format_count(len(blocks), 'code block')}",
        faults,
    )


def _count_held_chars(placed: PlacedChunk, span: tuple[int, int]) -> int:
    """Return how many characters of a span of the source are in a chunk."""
    covered = [(max(run.source, span[0]), min(run.source_end, span[1])) for run in placed.runs]
    held = 0
    done = span[0]
    for start, end in sorted(covered):
        held += max(0, end - max(start, done))
        done = max(done, end)
    return held


def _overlapping_spans(placed: PlacedChunk, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Return the indexes of the spans (in the order of the source, without overlap) that a chunk has a part of."""
    overlapping: set[int] = set()
    for run in placed.runs:
        first = bisect_right(spans, run.source, key=lambda span: span[1])
        overlapping.update(range(first, bisect_left(spans, run.source_end, key=lambda span: span[0])))
    return sorted(overlapping)
