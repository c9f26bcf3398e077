"""Lines and tables of the summary that pytest prints at the end, laid out for the terminal."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops.measurement import escape_output, shorten_text
from pytest_llmops.results.details import format_on_scale
from pytest_llmops.results.run import Run
from pytest_llmops.results.summary import Metric
from pytest_llmops.results.verdict import Level, Verdict

Style: TypeAlias = Literal["", "green", "red", "yellow", "bold"]

INDENT = "  "
GAP = "  "
LABEL_WIDTH = 10
MIN_NAME = 16
LEVEL_STYLES: Mapping[Level, Style] = {
    "bad": "red",
    "error": "red",
    "open": "yellow",
    "good": "green",
    "": "",
}
BARS = ("·", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█")
ASCII_BARS = (".", ":", "-", "=", "+", "*", "o", "O", "@")


def has_content(run: Run) -> bool:
    """Return whether a run has anything for a summary: a note, or a test that measured something, called a model or has facts."""
    if run.notes:
        return True
    return any(record.measurements or record.calls or record.facts for record in run.records)


def split_verdicts(verdicts: Sequence[Verdict]) -> tuple[Sequence[Verdict], Sequence[Verdict]]:
    """Return (verdicts for the last lines of a run, others): the first one, if it is about the whole run, and the rest."""
    if verdicts and not verdicts[0].subject:
        return verdicts[:1], verdicts[1:]
    return (), verdicts


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the summary; ``style`` is how a terminal may colour it."""

    text: str
    style: Style = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Lays out the summary for a terminal.

    Attributes:
        ascii: Whether the terminal can only show ASCII.
        width: Its columns.
    """

    ascii: bool
    width: int

    def quote(self, text: str, limit: int = 200) -> str:
        """Return foreign text on one line, in characters that the terminal can show."""
        text = shorten_text(text, limit)
        if self.ascii:
            text = text.encode("ascii", "backslashreplace").decode()
        return escape_output(text)

    def wrap(self, text: str, style: Style = "", hang: int = 0) -> list[Line]:
        """Return a text as lines; all but the first are indented by ``hang`` columns.

        One column is kept free for the blank that `escape_output` may insert.
        """
        parts = textwrap.wrap(text, self.width - 1, subsequent_indent=" " * hang, break_on_hyphens=False)
        return [Line(escape_output(part), style) for part in parts]

    def fact(self, label: str, text: str, style: Style = "") -> list[Line]:
        """Return a label and a text, whose further lines are indented below it."""
        start = f"{INDENT}{label:<{LABEL_WIDTH}} "
        return self.wrap(start + text, style, hang=len(start))

    def table(self, rows: Sequence[Sequence[str]], styles: Sequence[Style]) -> list[Line]:
        """Lay out rows, of which the first is the head; columns on the right that do not fit are left out."""
        name_width, *widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        room = self.width - len(INDENT)
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
            text = INDENT + GAP.join(cells).rstrip()
            lines.append(Line(escape_output(text), style))
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


def truncate_cell(text: str, width: int) -> str:
    """Return a text of at most ``width`` characters; ".." at its end says that it is cut."""
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
