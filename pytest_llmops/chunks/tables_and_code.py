"""Are tables and code blocks whole?"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_llmops.chunks.alignment import Alignment, Placed
from pytest_llmops.chunks.findings import Check, Fault, worst
from pytest_llmops.chunks.offsets import SEAM, Squeezed
from pytest_llmops.measurement import counted

_DELIMITER = re.compile(r"^(?=[^\n]*-)(?=[^\n]*\|)[ \t]*+[|:-][ \t:|-]*+$", re.MULTILINE)
_FENCE = re.compile(r"^[ ]{0,3}(`{3,}|~{3,})([^\n]*)$|\0", re.MULTILINE)
_TABLE_TAG = re.compile(r"<(/?)table\b[^<>\0]{0,2000}>|\0", re.IGNORECASE)
_ROW_TAG = re.compile(r"<(/?)tr\b[^<>\0]{0,2000}>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its rows as ``[start, end)`` of the raw text, the first of them its header."""

    rows: tuple[tuple[int, int], ...]


def tables(text: str) -> list[Table]:
    r"""Return the tables of a Markdown or HTML text in their order; linear.

    A Markdown table is a row with its delimiter row below; an HTML table's header is its first row. A table
    within another belongs to the outer one. Tables of one row are none.

    >>> [len(table.rows) for table in tables("| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n")]
    [3]
    """
    found = [*_markdown(text), *_html(text)]
    return sorted((one for one in found if len(one.rows) > 1), key=lambda one: one.rows)


def _markdown(text: str) -> Iterator[Table]:
    done = 0
    for delimiter in _DELIMITER.finditer(text):
        start = text.rfind("\n", 0, max(0, delimiter.start() - 1)) + 1
        header = (start, delimiter.start() - 1)
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
        yield Table(tuple(rows))


def _html(text: str) -> Iterator[Table]:
    depth = start = 0
    for tag in _TABLE_TAG.finditer(text):
        if tag[0] == SEAM:
            depth = 0
            continue
        if tag[1] and depth == 1:
            yield Table(tuple(_html_rows(text, start, tag.start())))
        elif not tag[1] and not depth:
            start = tag.start()
        depth = max(0, depth + (-1 if tag[1] else 1))


def _html_rows(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    depth = begun = 0
    for tag in _ROW_TAG.finditer(text, start, end):
        if tag[1] and depth == 1:
            yield begun, tag.end()
        elif not tag[1] and not depth:
            begun = tag.start()
        depth = max(0, depth + (-1 if tag[1] else 1))


def fences(text: str) -> list[tuple[int, int]]:
    """Return the fenced code blocks ``[start, end)`` of a Markdown text; an open one ends with its document."""
    found, opened, mark = [], -1, ""
    for fence in _FENCE.finditer(text):
        if fence[0] == SEAM:
            found += [(opened, fence.start())] if opened >= 0 else []
            opened = -1
        elif opened < 0:
            if "`" in fence[2] and fence[1][0] == "`":
                continue  # code within a line
            opened, mark = fence.start(), fence[1]
        elif fence[1].startswith(mark) and not fence[2].strip():
            found.append((opened, fence.end()))
            opened = -1
    if opened >= 0:
        found.append((opened, len(text)))
    return found


def cut_tables(alignment: Alignment) -> Check:
    """Return how often a chunk holds rows of a table without its header, or a part of a row.

    A header that the chunker repeats in the chunk counts as there. A chunk is counted once a table.
    """
    squeezed = alignment.source.squeezed
    found = [[squeezed.within(*row) for row in table.rows] for table in tables(squeezed.raw)]
    spans = [(rows[0][0], rows[-1][1]) for rows in found]
    torn = [
        _torn(squeezed, found[place], placed) for placed in alignment.placed for place in _met(placed, spans)
    ]
    faults = [fault for fault in torn if fault is not None]
    return Check(
        name="cut_tables",
        value=len(faults),
        unit="count",
        reason=f"{counted(len(faults), 'chunk tears', 'chunks tear')} a table apart, of {counted(len(found), 'table')}",
        faults=worst(faults),
    )


def _torn(squeezed: Squeezed, rows: Sequence[tuple[int, int]], placed: Placed) -> Fault | None:
    held = [(rows[place], _held(placed, rows[place])) for place in _met(placed, rows)]
    for row, kept in held:
        if 0 < kept < row[1] - row[0]:
            return Fault(placed.piece.place, f"a part of the row {squeezed.slice(*row)}", row[1] - row[0])
    header = squeezed.text[slice(*rows[0])]
    inside = [row for row, kept in held if kept and row != rows[0]]
    if inside and header not in placed.text.text:
        which = counted(len(inside), "row without its", "rows without their")
        text = f"{which} header {squeezed.slice(*rows[0])}"
        return Fault(placed.piece.place, text, sum(b - a for a, b in inside))
    return None


def cut_code(alignment: Alignment) -> Check:
    """Return how often a chunk holds a part of a fenced code block, but not all of it."""
    squeezed = alignment.source.squeezed
    blocks = [squeezed.within(*block) for block in fences(squeezed.raw)]
    faults = []
    for placed in alignment.placed:
        for block in (blocks[place] for place in _met(placed, blocks)):
            kept, size = _held(placed, block), block[1] - block[0]
            if kept < size:
                text = f"{kept:,} of {size:,} characters of the block {squeezed.slice(*block)}"
                faults.append(Fault(placed.piece.place, text, size))
    return Check(
        name="cut_code",
        value=len(faults),
        unit="count",
        reason=f"{counted(len(faults), 'chunk tears', 'chunks tear')} a code block apart, of {counted(len(blocks), 'code block')}",
        faults=worst(faults),
    )


def _held(placed: Placed, span: tuple[int, int]) -> int:
    """Return how many characters of a stretch of the source are in a chunk."""
    covered = [(max(run.source, span[0]), min(run.source + run.length, span[1])) for run in placed.runs]
    held, done = 0, span[0]
    for start, end in sorted(covered):
        held += max(0, end - max(start, done))
        done = max(done, end)
    return held


def _met(placed: Placed, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Return which of the stretches (in the order of the source, without overlap) a chunk has a part of."""
    met: set[int] = set()
    for run in placed.runs:
        place = bisect_right(spans, run.source, key=lambda span: span[1])
        while place < len(spans) and spans[place][0] < run.source + run.length:
            met.add(place)
            place += 1
    return sorted(met)
