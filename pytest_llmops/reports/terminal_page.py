"""Lines and tables of the summary that pytest prints at the end, laid out for the terminal.

Labels are in columns 1 to 9, texts begin in column 11.
"""

import math
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops.measurement import escape_output, shorten_text
from pytest_llmops.reports.differences import cut_answers, join_lines
from pytest_llmops.results.details import format_on_scale
from pytest_llmops.results.run import Run
from pytest_llmops.results.summary import Metric
from pytest_llmops.results.verdict import Level

Style: TypeAlias = Literal["", "green", "red", "yellow", "purple", "bold"]

LABEL_WIDTH = 10
INDENT = " " * LABEL_WIDTH
GAP = "  "
GLUE = "\x00"  # between words that stay on one line; quoted text has no such character
MIN_NAME = 16
MIN_WIDTH = 40
MAX_LOG_TEXT = 300  # characters of an answer where the output is not a terminal
MAX_READ = 200_000  # characters of an answer in which the first difference is looked for
LEVEL_STYLES: Mapping[Level, Style] = {
    "bad": "red",
    "error": "purple",
    "open": "yellow",
    "good": "green",
    "": "",
}
BARS = ("·", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█")
ASCII_BARS = (".", ":", "-", "=", "+", "*", "o", "O", "@")
# The signs in a terminal that has only ASCII; every other character becomes an escape
_ASCII_SIGNS = str.maketrans(
    {"→": "->", "…": "...", "≥": ">=", "≤": "<=", "–": "-", "−": "-", "“": '"', "”": '"'}
)


def has_content(run: Run) -> bool:
    """Return whether a run has anything for a summary.

    That is a note, a module that could not be loaded, a verdict that fails it, or a test that measured something, called a model or
    has facts.
    """
    if run.notes or run.meta.get("collection_errors") or run.failing_verdicts:
        return True
    return any(record.measurements or record.calls or record.facts for record in run.records)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the summary.

    Attributes:
        text: The line.
        style: How a terminal may colour it.
        styled: How many of its first characters have the style; 0: all of them.
    """

    text: str
    style: Style = ""
    styled: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Lays out the summary for a terminal.

    Attributes:
        ascii: Whether the terminal can only show ASCII.
        width: Its columns; 0: the output is a file or the log of a CI job, where lines are not wrapped.
    """

    ascii: bool
    width: int

    def spell(self, text: str) -> str:
        """Return a text in characters that the terminal can show; it controls neither the terminal nor a CI runner."""
        if self.ascii:
            text = text.translate(_ASCII_SIGNS).encode("ascii", "backslashreplace").decode()
        return escape_output(text)

    def quote(self, text: str, limit: int = 200) -> str:
        """Return foreign text on one line, in characters that the terminal can show."""
        return self.spell(shorten_text(text, limit))

    def cut(self, text: str, room: int) -> str:
        """Return foreign text on one line of at most ``room`` columns, cut at the end of a word."""
        return self.cut_pair(text, "", room)[0]

    def cut_pair(self, before: str, after: str, room: int) -> tuple[str, str]:
        """Return two answers on a line each, of at most ``room`` columns, with their first difference in the shown part."""
        before = self.spell(join_lines(before[:MAX_READ]))
        after = self.spell(join_lines(after[:MAX_READ]))
        first, second = cut_answers(before, after, room)
        widest = max(measure_width(first), measure_width(second))
        if widest > room:  # characters of two columns, as in Chinese
            first, second = cut_answers(before, after, room * room // widest)
        return self.spell(first), self.spell(second)

    def room(self, used: int = LABEL_WIDTH) -> int:
        """Return how many columns a text has after the columns that are used."""
        if not self.width:
            return MAX_LOG_TEXT
        return max(self.width - 1 - used, MIN_WIDTH // 2)

    def wrap(self, text: str, style: Style = "", hang: int = 0, styled: int = 0) -> list[Line]:
        """Return a text as lines; all but the first are indented by ``hang`` columns. Words are never broken.

        One column is kept free for the blank that `escape_output` may insert.
        """
        text = GLUE.join(map(self.spell, text.split(GLUE)))
        if not self.width:
            return [Line(text.replace(GLUE, " "), style, styled)]
        parts = textwrap.wrap(
            text,
            self.width - 1,
            subsequent_indent=" " * hang,
            break_on_hyphens=False,
            break_long_words=False,
        )
        return [Line(escape_output(part.replace(GLUE, " ")), style, styled) for part in parts]

    def fact(self, label: str, text: str, style: Style = "", *, whole: bool = False) -> list[Line]:
        """Return a label and a text, whose further lines are indented below it.

        Args:
            label: At most nine characters.
            text: The text.
            style: The colour of the label.
            whole: Whether the text has the colour too.
        """
        styled = 0 if whole else len(label)
        first, *more = self.wrap(f"{label:<{LABEL_WIDTH}}{text}".rstrip(), style, LABEL_WIDTH, styled) or [
            Line("")
        ]
        if not whole:
            more = [Line(line.text) for line in more]
        return [first, *more]

    def command(self, command: str) -> Line:
        """Return a command on one line, however long, to be copied; in a log it is not indented."""
        indent = INDENT if self.width else ""
        return Line(indent + escape_output(command))

    def table(self, rows: Sequence[Sequence[str]], styles: Sequence[Style]) -> list[Line]:
        """Lay out rows, of which the first is the head; columns on the right that do not fit are left out."""
        name_width, *widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        room = self.width or MAX_LOG_TEXT
        least = min(name_width, MIN_NAME)
        while widths and least + _sum_widths(widths) > room:
            widths.pop()
        name_width = min(name_width, room - _sum_widths(widths))
        lines: list[Line] = []
        for row, style in zip(rows, styles, strict=True):
            cells = [truncate_cell(row[0], name_width).ljust(name_width)]
            for cell, width in zip(row[1:], widths, strict=False):
                cells.append(cell.rjust(width))
            if not lines:
                style = style or "bold"  # noqa: PLW2901 -- the head
            text = GAP.join(cells).rstrip()
            lines.append(Line(escape_output(text), style))
        return lines

    def columns(
        self, rows: Sequence[Sequence[str]], styles: Sequence[Style], droppable: Sequence[int]
    ) -> list[Line]:
        """Lay out rows of which the first is the head, with a word in the last column; nothing is cut.

        Where they are too wide, columns are left out; where that is not enough, each name gets a line of its own.

        Args:
            rows: The rows.
            styles: The colour of the last cell of each row.
            droppable: Indices of the columns that may be left out, the first one first.
        """
        kept = list(range(len(rows[0])))
        room = self.room(0)
        for column in droppable:
            if _sum_columns(rows, kept) <= room:
                break
            kept.remove(column)
        widths = {column: max(len(row[column]) for row in rows) for column in kept}
        is_stacked = _sum_columns(rows, kept) > room
        lines: list[Line] = []
        for row, style in zip(rows, styles, strict=True):
            *names, last = [row[column] for column in kept]
            cells = [name.rjust(widths[column]) for name, column in zip(names, kept, strict=False)]
            cells[0] = names[0].ljust(widths[0])
            if is_stacked:
                lines.append(Line(names[0]))
                cells[0] = ""
            lines.append(Line("   ".join([*cells, last]), style))
        return lines

    def mean(self, metric: Metric | None) -> str:
        """Return the mean of a metric on its scale; "-" without a value."""
        if metric is None or metric.mean is None:
            return "-"
        return _format_short_amount(metric.mean, metric)

    def threshold(self, metric: Metric) -> str:
        """Return the threshold with its sign ("≥ 0.8"); "mixed" if tests have different ones; "-" without any."""
        if metric.threshold is None:
            if metric.thresholds:
                return f"mixed{metric.threshold_scope}"
            return "-"
        higher, lower = (">=", "<=") if self.ascii else ("≥", "≤")
        if metric.better == "higher":
            sign = higher
        else:
            sign = lower
        return f"{sign} {_format_short_amount(metric.threshold, metric)}{metric.threshold_scope}"

    def distribution(self, metric: Metric) -> str:
        """Return a sparkline for scores, "0.1 to 0.5" for other metrics, "-" without values."""
        if metric.minimum is None or metric.maximum is None:
            return "-"
        if metric.histogram:
            return draw_sparkline(metric.histogram, ascii=self.ascii)
        least, most = (_format_short_amount(value, metric) for value in (metric.minimum, metric.maximum))
        if least == most:
            return most
        return f"{least.partition(' ')[0]} to {most.removeprefix('$')}"


def _sum_widths(widths: Iterable[int]) -> int:
    """Return the width of all cells after the first one, including the gaps before them."""
    return sum(width + len(GAP) for width in widths)


def glue(text: str) -> str:
    """Return a text that `Page.wrap` does not break, such as an id."""
    return text.replace(" ", GLUE)


def _sum_columns(rows: Sequence[Sequence[str]], columns: Sequence[int]) -> int:
    """Return the width of a table of some columns, with gaps of three blanks."""
    widths = [max(len(row[column]) for row in rows) for column in columns]
    return sum(widths) + 3 * (len(widths) - 1)


def measure_width(text: str) -> int:
    """Return how many columns of a terminal a text fills.

    >>> measure_width("word"), measure_width("东京")
    (4, 4)
    """
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(char) in ("W", "F") for char in text)
    marks = sum(bool(unicodedata.combining(char)) for char in text)
    return len(text) + wide - marks


def truncate_cell(text: str, width: int) -> str:
    """Return a text of at most ``width`` characters; ".." at its end means that it is cut."""
    if len(text) <= width:
        return text
    return text[: width - 2] + ".."


def _format_short_amount(value: float, metric: Metric) -> str:
    return format_on_scale(value, metric.unit, metric.scale).replace(" tokens", " tok")


def draw_sparkline(counts: Iterable[int], *, ascii: bool = False) -> str:  # noqa: A002 -- as in `summary_lines`
    """Return a bar for each count, with a height relative to the greatest count; a dot for 0.

    >>> draw_sparkline([0, 1, 4, 8]), draw_sparkline([0, 1, 4, 8], ascii=True)
    ('·▁▄█', '.:+@')
    """
    if ascii:
        bars = ASCII_BARS
    else:
        bars = BARS
    counts = list(counts)
    top = max(counts, default=0) or 1
    steps = len(bars) - 1
    heights = [math.ceil(count / top * steps) for count in counts]
    return "".join(bars[height] for height in heights)
