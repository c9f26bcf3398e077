"""Draw what a terminal shows as an SVG picture, for the documentation."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

COLUMNS = 80
CHARACTER = 8.4  # width of a character of 14 pixels, in pixels
LINE = 19  # height of a line
MARGIN = 16
PLAIN = "#d8dee9"
# The first pattern that a line matches gives its colour.
COLOURS = (
    (re.compile(r"\$ "), "#ffffff"),
    (re.compile(r" {10}\+ |  before  |better "), "#8fd18f"),
    (re.compile(r" {10}- |  now {5}|worse |RED "), "#ff8a80"),
)
NAMESPACE = {"svg": "http://www.w3.org/2000/svg"}


def draw_terminal(text: str) -> str:
    """Return an SVG picture of text on a dark ground; lines that are longer than the terminal go on below.

    >>> read_picture(draw_terminal("$ pytest <b>\\n\\n  ok"))
    ['$ pytest <b>', '', '  ok']
    """
    lines = wrap_lines(text)
    width = round(COLUMNS * CHARACTER) + 2 * MARGIN
    height = len(lines) * LINE + 2 * MARGIN
    parts = [
        f'<svg xmlns="{NAMESPACE["svg"]}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        "<title>The output of llmops demo</title>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#1f2430"/>',
        '<g font-family="ui-monospace, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="14">',
    ]
    for number, line in enumerate(lines, start=1):
        baseline = MARGIN + number * LINE - 5
        # The length keeps columns in place with any font.
        length = f'textLength="{len(line) * CHARACTER:.1f}" lengthAdjust="spacingAndGlyphs"' if line else ""
        parts.append(
            f'<text x="{MARGIN}" y="{baseline}" fill="{_choose_colour(line)}" xml:space="preserve" {length}>{html.escape(line)}</text>'
        )
    return "\n".join([*parts, "</g>", "</svg>", ""])


def wrap_lines(text: str) -> Sequence[str]:
    """Return the lines of a terminal of 80 columns, which cuts longer ones anywhere."""
    lines = []
    for line in text.splitlines():
        starts = range(0, max(len(line), 1), COLUMNS)
        lines += [line[start : start + COLUMNS].rstrip() for start in starts]
    return lines


def read_picture(svg: str) -> list[str]:
    """Return the lines of text of a picture of `draw_terminal`."""
    root = ET.fromstring(svg)
    return [element.text or "" for element in root.iterfind(".//svg:text", NAMESPACE)]


def _choose_colour(line: str) -> str:
    """Return the colour of a line: that of the first pattern that fits."""
    for pattern, colour in COLOURS:
        if pattern.match(line):
            return colour
    return PLAIN
