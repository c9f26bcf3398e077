"""Find the tables and code blocks of a source, and check that no chunk cuts them apart."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from pytest_llmops.chunks.alignment import Alignment, PlacedChunk
from pytest_llmops.chunks.findings import CheckResult, Fault, count_result
from pytest_llmops.chunks.offsets import SEAM, CompactText
from pytest_llmops.measurement import format_count
from pytest_llmops.schemas.json_extraction import iterate_fences

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
        rows, at = [header], delimiter.end() + 1
        while at < len(text):
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
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
    blocks, start = [], 0
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
        held_chars, size = _count_held_chars(placed, row), row[1] - row[0]
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
            held_chars, size = _count_held_chars(placed, block), block[1] - block[0]
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
    # Return how many characters of a span of the source are in a chunk.
    covered = [(max(run.source, span[0]), min(run.source_end, span[1])) for run in placed.runs]
    held, done = 0, span[0]
    for start, end in sorted(covered):
        held += max(0, end - max(start, done))
        done = max(done, end)
    return held


def _overlapping_spans(placed: PlacedChunk, spans: Sequence[tuple[int, int]]) -> list[int]:
    # Return the indexes of the spans (in the order of the source, without overlap) that a chunk has a part of.
    overlapping: set[int] = set()
    for run in placed.runs:
        first = bisect_right(spans, run.source, key=lambda span: span[1])
        overlapping.update(range(first, bisect_left(spans, run.source_end, key=lambda span: span[0])))
    return sorted(overlapping)
