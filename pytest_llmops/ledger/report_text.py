"""A ledger for the terminal: a line for each rule, the case that shows its effect, all that can go together, and the next steps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_llmops.ledger.model import NOT_CHOSEN, LedgerResult, Line, LineStatus
from pytest_llmops.ledger.passages import mask_result
from pytest_llmops.ledger.sentences import (
    UNKNOWN,
    describe_ruled_out,
    describe_run,
    describe_status,
    explain_line,
    format_change,
    format_range,
    format_score,
    format_summary,
    format_tokens,
    format_usd,
    join_numbers,
    list_steps,
    name_rules,
    name_test,
    scale_cost,
)
from pytest_llmops.reports.terminal_page import GAP, Page, measure_width

# ANSI colours. Red is for what got worse, and no rule did
COLOURS: Mapping[LineStatus, str] = {
    "needed": "32",
    "can go": "36",
    "not measured": "33",
    "undecided": "",
    "not tried": "35",
}
BOLD = "1"
MAX_WIDTH = 160
LEAST_TEXT = 32  # columns for the text of a rule; other columns are left out before it has fewer
MAX_ITEMS = 30  # of a step
MAX_SENTENCE = 600
DETAIL_INDENT = 6
NUMERIC = ("points", "range", "tokens", "a month", "$ a month")
EMPTY = frozenset({"", UNKNOWN, "\\u2013"})  # the last in a terminal that has only ASCII
# Columns that may be left out, the first one first
DROPPABLE = ("since", "$ a month", "a month", "range", "tokens", "points")


def format_ledger(
    result: LedgerResult,
    width: int,
    *,
    colours: bool = False,
    ascii: bool = False,  # noqa: A002 -- as in `reports.terminal`
) -> list[str]:
    """Return a ledger as lines for a terminal.

    Rules, answers and names are foreign text: each is put on one line, without control characters, and cannot start a command of a CI runner.

    Args:
        result: The ledger.
        width: The columns of the terminal; 0: the output is a file or the log of a CI job, where lines are not wrapped.
        colours: Whether to colour the verdicts.
        ascii: Whether the terminal can only show ASCII.
    """
    page = Page(ascii=ascii, width=min(width, MAX_WIDTH))
    printer = _Printer(result=mask_result(result), page=page, colours=colours)
    return list(printer.iter_lines())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Printer:
    result: LedgerResult
    page: Page
    colours: bool

    def iter_lines(self) -> Iterator[str]:
        result = self.result
        yield from self.wrap(f"{result.document.name}: {describe_run(result)}")
        yield ""
        yield from self.iter_table()
        yield ""
        for text in self.wrap(f"{format_summary(result)}."):
            yield self.colour(text, BOLD)
        for sentence in self.list_meanings():
            yield from self.wrap(sentence)
        for note in result.notes:
            yield from self.wrap(f"Note: {note}", 6)
        yield from self.iter_steps()

    def wrap(self, text: str, hang: int = 0) -> list[str]:
        """Return foreign or own text as lines."""
        return [line.text for line in self.page.wrap(self.page.quote(text, MAX_SENTENCE), hang=hang)]

    def colour(self, text: str, code: str) -> str:
        if not self.colours or not code:
            return text
        return f"\x1b[{code}m{text}\x1b[0m"

    def list_meanings(self) -> list[str]:
        """Return the meaning of the verdicts that are easily misread, if a rule has them."""
        statuses = {line.status for line in self.result.lines}
        sentences = []
        for status in ("can go", "not measured"):
            if status in statuses:
                meaning = describe_status(status, self.result.margin)
                sentences.append(f"{status.capitalize()}: {meaning[0].lower()}{meaning[1:]}")
        return sentences

    def iter_table(self) -> Iterator[str]:
        """Yield the head, each rule with the lines that explain its verdict, the rules that are never left out, and the rules that can go together."""
        rows = [self.list_cells(line) for line in self.result.lines]
        together = self.result.together
        if together is not None:
            rows.append({**self.list_cells(together), "rule": "all"})
        heads = self.choose_columns(rows)
        widths = {name: max([len(name), *(len(row[name]) for row in rows)]) for name in heads}
        used = sum(widths.values()) + len(GAP) * len(heads)
        yield self.colour(self.join_row({name: name for name in heads}, widths, "text", ""), BOLD)
        texts = {rule.number: rule.text for rule in self.result.document.rules}
        for line, row in zip(self.result.lines, rows, strict=False):
            if line.why == NOT_CHOSEN:  # one sentence names them all
                continue
            text = self.page.cut(texts[line.numbers[0]], self.page.room(used))
            yield self.join_row(row, widths, text, COLOURS[line.status])
            yield from self.iter_details(line)
        yield from self.iter_kept()
        if together is not None:
            text = self.page.cut(f"{name_rules(together.numbers)}, left out together", self.page.room(used))
            yield self.join_row(rows[-1], widths, text, COLOURS[together.status])
            yield from self.iter_details(together)

    def list_cells(self, line: Line) -> dict[str, str]:
        """Return the cells of a row by the heads of the columns, without its text."""
        cells = {
            "rule": join_numbers(line.numbers),
            "verdict": line.status,
            "points": format_change(line),
            "range": format_range(line),
            "tokens": format_tokens(line.cost.tokens),
        }
        month = scale_cost(line.cost, self.result.calls_per_month)
        if self.result.calls_per_month is not None:
            cells["a month"] = format_tokens(month.tokens)
            cells["$ a month"] = format_usd(month.usd)
        cells["since"] = line.since
        return {name: self.page.spell(cell) for name, cell in cells.items()}

    def choose_columns(self, rows: Sequence[Mapping[str, str]]) -> list[str]:
        """Return the heads of the columns that fit; one without any value is left out."""
        heads = list(rows[0]) if rows else ["rule", "verdict"]
        for name in DROPPABLE:
            if name in heads and all(row[name] in EMPTY for row in rows):
                heads.remove(name)
        for name in DROPPABLE:
            used = sum(max([len(name), *(len(row[name]) for row in rows)]) + len(GAP) for name in heads)
            if self.page.room(used) > LEAST_TEXT or not self.page.width:
                break
            if name in heads:
                heads.remove(name)
        return heads

    def join_row(self, row: Mapping[str, str], widths: Mapping[str, int], text: str, code: str) -> str:
        """Return a row; its verdict has the colour."""
        cells = []
        for name, width in widths.items():
            cell = row[name].ljust(width)
            if name == "rule" or name in NUMERIC:
                cell = row[name].rjust(width)
            if name == "verdict":
                cell = self.colour(cell, code)
            cells.append(cell)
        return GAP.join([*cells, text]).rstrip()

    def iter_details(self, line: Line) -> Iterator[str]:
        """Yield the clearest case of a rule that is needed, and the reason of the other verdicts."""
        indent = " " * DETAIL_INDENT
        if line.why == describe_ruled_out(self.result.margin):  # below the table
            return
        has_case = line.status == "needed" and line.cases
        is_by_cases = (
            line.upper is not None and line.upper >= 0
        )  # it is proved by cases that broke: the mean may be as good
        if not has_case or is_by_cases:
            for text in self.page.wrap(
                f"{indent}{self.page.quote(explain_line(line), MAX_SENTENCE)}", hang=DETAIL_INDENT
            ):
                yield text.text
        if not has_case:
            return
        case = line.cases[0]
        name = name_test(case.nodeid)
        if case.metric:
            name = f"{case.metric} {format_score(case.before)} → {format_score(case.after)}: {name}"
        yield indent + self.page.cut(name, self.page.room(DETAIL_INDENT))
        if not case.answer_before and not case.answer_after:
            return
        labels = ("with     ", "without  ")
        before, after = self.page.cut_pair(
            case.answer_before, case.answer_after, self.page.room(DETAIL_INDENT + measure_width(labels[0]))
        )
        for label, answer in zip(labels, (before, after), strict=True):
            yield f"{indent}{label}{answer or '(empty)'}"

    def iter_kept(self) -> Iterator[str]:
        """Yield which rules are never left out, by the reason."""
        kept: dict[str, list[int]] = {}
        for rule in self.result.document.rules:
            if rule.kept:
                kept.setdefault(rule.kept, []).append(rule.number)
        for why, numbers in kept.items():
            yield from self.wrap(f"Never left out: {name_rules(numbers)} ({why})", 2)

    def iter_steps(self) -> Iterator[str]:
        """Yield what to do next, each step with its rules."""
        for step in list_steps(self.result):
            yield ""
            yield from self.wrap(step.text)
            for item in step.items[:MAX_ITEMS]:
                yield f"  {self.page.cut(item, self.page.room(2))}"
            rest = len(step.items) - MAX_ITEMS
            if rest > 0:
                yield f"  and {rest:,} more"
