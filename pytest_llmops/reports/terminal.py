"""Render the section that pytest prints last: evidence first, the verdict and the next step at its end; nothing is printed here.

A terminal is read from its last line upwards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmops.measurement import format_count
from pytest_llmops.reports.changed_cases import list_cases
from pytest_llmops.reports.comparisons import TRIAL_RATE, ShownComparison, count_holding, list_comparisons
from pytest_llmops.reports.headline import POINTS_NOTE, build_headline
from pytest_llmops.reports.metric_rows import MINUS, list_metric_rows
from pytest_llmops.reports.terminal_cases import CaseList
from pytest_llmops.reports.terminal_causes import cause_lines
from pytest_llmops.reports.terminal_details import detail_lines
from pytest_llmops.reports.terminal_page import MIN_WIDTH, Line, Page, Style, has_content
from pytest_llmops.results.assertion_lint import SCOPE, read_lint
from pytest_llmops.results.fault_survey import NOT_JUDGED, read_survey
from pytest_llmops.results.fork import list_fork_lines
from pytest_llmops.results.problems import describe_unrecorded, list_record_commands
from pytest_llmops.results.run import Run
from pytest_llmops.results.summary import summarize_run
from pytest_llmops.results.tool_choices import list_tool_facts
from pytest_llmops.settings import NEEDS_JUDGE

WORD_STYLES: Mapping[str, Style] = {
    "RED": "red",
    "AMBER": "yellow",
    "GREEN": "green",
    "ERROR": "purple",
    "FAIL": "red",
    "PASS": "bold",
    "NONE": "",
}
TONE_STYLES: Mapping[str, Style] = {"red": "red", "amber": "yellow", "green": "green", "violet": "purple"}
KINDS_WITH_TABLE = frozenset({"comparison", "robustness", "guardrail", "sentinel"})
MAX_COMPARISONS = 6
MAX_CATALOGUES = 6
MAX_CONFUSIONS = 3
MAX_UNKNOWN = 3  # faults of a kind that could not be judged, that are named
MAX_FAULT_CHARS = 20_000
MAX_LINT_CHARS = 1_000
MAX_NOTES = 3  # notes that are shown without -v
SILENT = -2  # -qq


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Facts for the section about the run of pytest around it.

    Attributes:
        reports: The names of the reports that were written.
        more: Where the rest of a list is: "-v, or report.html"; "": nowhere.
        remarks: Further facts of the run as (label, text, style), which come after the verdict.
        has_next: Whether to name the next step; not if another look of this run follows by itself.
        lists_failures: pytest has printed each failure above, so that failed tests are not listed again.
        folder: The project's folder as seen from the working folder; "": they are the same.
    """

    reports: Sequence[str] = ()
    more: str = ""
    remarks: Sequence[tuple[str, str, Style]] = ()
    has_next: bool = True
    lists_failures: bool = True
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """The last section of a run.

    Attributes:
        word: The verdict's word; "": the run has none, as nothing was measured or requested.
        lines: The lines below the title.
    """

    word: str
    lines: Sequence[Line]

    @property
    def title(self) -> str:
        """The title above the lines.

        >>> Section("RED", ()).title
        'LLM regression: RED'
        """
        if self.word:
            return f"LLM regression: {self.word}"
        return "LLM regression"

    @property
    def style(self) -> Style:
        """The colour of the title."""
        return WORD_STYLES.get(self.word, "")


def build_section(
    run: Run,
    around: Surroundings | None = None,
    *,
    verbosity: int = 0,
    ascii: bool = False,  # noqa: A002 -- the plain name
    width: int = 80,
) -> Section:
    """Return the section of a run, as lines of less than ``width`` columns.

    A run in which nothing was measured, called or noted has lines only if a report was written or something else is to be shown. Names,
    answers and notes are foreign text: each is put on one line, without control characters, and cannot start a command of a CI runner.
    Ids and commands, which are to be copied, are never wrapped and may be longer than a line.

    Args:
        run: The run.
        around: Facts about the run of pytest; None: nothing is known.
        verbosity: As in pytest. -2: no lines; -1: the verdict, what makes it less worth, and the next step; 1: ten cases and all facts; 2: all cases.
        ascii: Whether the terminal can only show ASCII.
        width: Columns of the terminal, at least 40 are used; 0: the output is not a terminal, and lines are not wrapped.

    >>> build_section(Run()).lines
    []
    """
    around = around or Surroundings()
    if verbosity <= SILENT:
        return Section("", [])
    page = Page(ascii=ascii, width=max(width, MIN_WIDTH) if width else 0)
    if not has_content(run) and not (around.reports or around.remarks):
        return Section("", [])
    return _Builder(run, around, page, verbosity).build()


class _Builder:
    """Puts the blocks of the section one below the other."""

    def __init__(self, run: Run, around: Surroundings, page: Page, verbosity: int) -> None:
        self._run = run
        self._around = around
        self._page = page
        self._verbosity = verbosity
        cases = list_cases(run)
        self._cases = CaseList(cases, page, verbosity, around.more, lists_failures=around.lists_failures)
        self._headline = build_headline(run, cases, folder=around.folder)

    def build(self) -> Section:
        headline = self._headline
        if self._verbosity < 0:
            short = [
                *self._sentence_lines(),
                *self._beaten_lines(),
                *self._fault_count_lines(),
                *self._lint_lines(),
                *self._fork_lines(),
                *self._remark_lines(),
                *self._caution_lines(),
                *self._doubt_lines(),
                *self._next_lines(),
            ]
            return Section(headline.word, short)
        blocks = [
            [*self._cause_lines(), *self._blame_lines()],
            self._cases.lines(),
            [*self._metric_lines(), *self._agent_lines()],
            self._comparison_lines(),
            self._fault_lines(),
            self._lint_lines(),
            self._fork_lines(),
            self._tool_lines(),
            [*self._missed_lines(), *self._verified_lines(), *self._budget_lines(), *self._skipped_lines()],
        ]
        if self._verbosity > 0:
            blocks.append(detail_lines(self._run, self._page))
        blocks.append(self._verdict_lines())
        lines: list[Line] = []
        for block in filter(None, blocks):
            if lines:
                lines.append(Line(""))
            lines += block
        return Section(headline.word, lines)

    # ------------------------------------------------------------------------------------------------------------ evidence

    def _cause_lines(self) -> list[Line]:
        where = self._around.more.partition(",")[0]
        return cause_lines(self._run, self._cases.cases, self._headline.word, self._page, where)

    def _blame_lines(self) -> list[Line]:
        """Return in how many tests retrieval or generation is to blame."""
        parts = []
        for words, number in summarize_run(self._run).blamed.items():
            parts.append(f"{format_count(number, 'test')}: {words}")
        if not parts:
            return []
        return self._page.fact("blame", "; ".join(parts), "red")

    def _metric_lines(self) -> list[Line]:
        """Return the table of the metrics that were compared with the baseline."""
        all_rows = list_metric_rows(self._run)
        rows = all_rows
        if self._verbosity <= 0:
            rows = [row for row in all_rows if not row.is_quiet]
        gate = self._run.find_verdict("baseline")
        is_error = gate is not None and gate.level == "error"
        is_unscored = any(row.metric.is_unscored for row in rows)
        is_decided = any(row.metric.status for row in rows) and not is_error
        if not is_unscored and not is_decided:
            return []
        page = self._page
        table: list[Sequence[str]] = [("metric", "before", "now", "change", "points", "verdict")]
        styles: list[Style] = ["bold"]
        for row in rows:
            names = ", ".join(filter(None, [row.name, row.scale, row.family]))
            numbers = [number.replace(MINUS, "-") for number in (row.before, row.now, row.change, row.points)]
            table.append([*map(page.spell, [page.quote(names), *numbers, row.verdict])])
            styles.append(TONE_STYLES.get(row.metric.tone, ""))
        lines = page.columns(table, styles, droppable=(3, 2, 1))
        listed = [row for row in all_rows if not row.metric.family and row.name != TRIAL_RATE]
        hidden = sum(row.is_quiet for row in listed)
        if hidden and self._verbosity <= 0:
            metrics = format_count(hidden, "more metric")
            lines += page.wrap(f"and {metrics} without a change: -v")
        return [*lines, *page.wrap(f"{POINTS_NOTE}.")]

    def _agent_lines(self) -> list[Line]:
        """Return what agents needed for an answer, before and now; without -v only what moved."""
        gate = self._run.find_verdict("baseline")
        lines: list[Line] = []
        label = "effort"  # "agents" is a hint for coding agents
        for change in gate.amounts if gate is not None else ():
            if self._verbosity > 0 or not change.is_quiet:
                lines += self._page.fact(label, self._page.quote(change.words, 300))
                label = ""
        return lines

    def _comparison_lines(self) -> list[Line]:
        """Return the comparisons that do not simply hold, and the number of the others; with -v all of them."""
        page = self._page
        rows = list_comparisons(self._run)
        if self._verbosity > 0:
            listed = rows
        else:
            listed = [row for row in rows if not row.holds][:MAX_COMPARISONS]
        table: list[Sequence[str]] = [("compared", "base", "now", "points/limit", "verdict")]
        styles: list[Style] = ["bold"]
        for row in listed:
            cells = (page.quote(row.name), *_list_figures(row), row.word)
            table.append([*map(page.spell, cells)])
            styles.append(TONE_STYLES.get(row.tone, ""))
        lines = page.columns(table, styles, droppable=(1,)) if listed else []
        lines += self._rest_of_comparisons(len(rows) - len(listed), count_holding(rows), lines)
        return [*lines, *self._other_verdict_lines()]

    def _other_verdict_lines(self) -> list[Line]:
        """Return the verdicts of kinds that have no table, as a later version may store them; with -v the details have them."""
        lines: list[Line] = []
        for verdict in self._run.verdicts if self._verbosity <= 0 else ():
            if not verdict.is_since_baseline and verdict.kind not in KINDS_WITH_TABLE:
                lines += self._page.fact(verdict.label, self._page.quote(verdict.headline, 300))
        return lines

    def _rest_of_comparisons(self, rest: int, held: int, listed: Sequence[Line]) -> list[Line]:
        """Return how many comparisons are not listed.

        Args:
            rest: How many are not listed.
            held: How many comparisons hold; without -v these are not listed.
            listed: The lines of the others.
        """
        if not rest:
            return []
        parts = []
        if rest > held:
            parts.append(f"{rest - held:,} more")
        if held:
            more = "more " if listed and not parts else ""
            parts.append(f"{held:,} {more}that hold")
        text = " and ".join(parts)
        if listed:
            text = f"and {text}"
        else:
            text = f"{format_count(held, 'comparison')}, nothing to look at"
        if self._around.more:
            text += f": {self._around.more}"
        return self._page.wrap(text)

    def _fault_count_lines(self) -> list[Line]:
        """Return how often the faults of the run ended in each way."""
        survey = read_survey(self._run.records)
        if survey is None or not survey.tests:
            return []
        return self._page.fact("faults", survey.counts)

    def _fault_lines(self) -> list[Line]:
        """Return a line for each kind of fault that not all tests survived, and the others together; with -v each fault that was not."""
        survey = read_survey(self._run.records)
        if survey is None:
            return []
        page = self._page
        rows: list[tuple[str, str, str, Style]] = []
        for kind in survey.kinds:
            if kind.is_survived and self._verbosity <= 0:
                continue
            style: Style = "red" if kind.lost else ""
            text = kind.describe(len(kind.lost), MAX_UNKNOWN)
            rows.append((page.quote(kind.label), kind.counted, page.quote(text, MAX_FAULT_CHARS), style))
        if rows:
            rows.insert(0, ("fault", "survived", "not survived, or not judged", "bold"))
        lines: list[Line] = []
        label_width = max((len(label) for label, *_ in rows), default=0)
        for label, counted, text, colour in rows:
            beginning = f"{label.ljust(label_width)}  {counted.rjust(len(NOT_JUDGED))}  "
            lines += page.wrap(f"{beginning}{text}", colour, hang=len(beginning))
        held = [kind.label for kind in survey.kinds if kind.is_survived]
        if held and self._verbosity <= 0:
            lines += page.wrap(page.quote(f"survived by all: {', '.join(held)}", 600), "green", hang=2)
        if self._verbosity > 0:
            for test, end in survey.list_open_ends():
                text = f"{test.name}: {end.label}: {end.status}: {end.why}"
                lines += page.wrap(page.quote(text, 600), hang=2)
        return lines

    def _lint_count_lines(self) -> list[Line]:
        """Return how many assertions passed on all altered answers."""
        lint = read_lint(self._run.records)
        if lint is None:
            return []
        return self._page.fact("lint", f"{lint.counts}.", "yellow" if lint.toothless else "")

    def _lint_lines(self) -> list[Line]:
        """Return each assertion that passed on all altered answers, the number of the others, and why some were not tried."""
        lint = read_lint(self._run.records)
        if lint is None:
            return []
        page = self._page
        lines: list[Line] = []
        for assertion in lint.toothless:
            lines += page.wrap(page.quote(assertion.sentence, MAX_LINT_CHARS), "yellow", hang=2)
        lines += self._lint_count_lines()
        if lint.reasons:
            lines += page.fact("not tried", page.quote(lint.reasons, MAX_LINT_CHARS))
        return [*lines, *page.fact("", f"It is {SCOPE}.")]

    def _fork_lines(self) -> list[Line]:
        """Return how often each test passed after its fork, with ``--llm-record=fork``."""
        page = self._page
        lines: list[Line] = []
        for nodeid, sentence in list_fork_lines(self._run.records):
            text = f"{nodeid}: {sentence}" if nodeid else sentence
            lines += page.fact("fork", page.quote(text, 600))
        return lines

    def _tool_lines(self) -> list[Line]:
        """Return which tools of the catalogues were reached, and which were confused; with -v all of them."""
        page = self._page
        uses = summarize_run(self._run).tools
        most = MAX_CONFUSIONS
        shown = uses[:MAX_CATALOGUES]
        if self._verbosity > 0:
            most = len(self._run.records)
            shown = uses
        lines: list[Line] = []
        for label, text in list_tool_facts(shown, most):
            style: Style = "yellow" if label == "confused" else ""
            lines += page.fact(label, page.quote(text, 600), style)
        rest = len(uses) - len(shown)
        if rest:
            lines += page.fact("", f"and {format_count(rest, 'more catalogue')}: -v")
        return lines

    def _missed_lines(self) -> list[Line]:
        """Return the commands that record missing answers, each on one line, unless the next step is the only one."""
        commands = list_record_commands(self._run.records)
        if not commands or commands == [self._headline.command]:
            return []
        unrecorded = describe_unrecorded(self._run.records)
        lines = self._page.fact("missed", f"{unrecorded}; to record all:", "yellow")
        return [*lines, *map(self._page.command, commands)]

    def _budget_lines(self) -> list[Line]:
        """Return how much of the budget is spent, if tests could not run for that reason; with -v the details have it."""
        is_spent = any("BudgetReached" in record.raised for record in self._run.records)
        if self._verbosity > 0 or not is_spent:
            return []
        return self._page.fact("budget", summarize_run(self._run).budget)

    def _verified_lines(self) -> list[Line]:
        """Return how many recordings were verified and how many drifted, in a run that is for that; with -v the details have it."""
        cassettes = summarize_run(self._run).cassettes
        if self._verbosity > 0 or not cassettes.verified:
            return []
        return self._page.fact("cassettes", cassettes.count_words, cassettes.style)

    def _skipped_lines(self) -> list[Line]:
        """Return how many tests were skipped because they need a judge, and how to run them."""
        skipped = [record for record in self._run.records if record.outcome == "skipped"]
        number = sum(record.message == NEEDS_JUDGE for record in skipped)
        if not number:
            return []
        return self._page.fact("skipped", f"{format_count(number, 'test')}: {NEEDS_JUDGE}")

    def _note_lines(self) -> list[Line]:
        """Return the notes by which a result is less worth, and how many others there are; with -v the details list all."""
        if self._verbosity > 0:
            return []
        lines = self._doubt_lines()
        rest = len(self._run.notes) - self._count_doubts()
        where = self._around.more.partition(",")[0]
        if rest and where:
            lines += self._page.fact("notes", f"{rest:,}{' more' if lines else ''}: {where}")
        return lines

    def _count_doubts(self) -> int:
        """Return how many of the notes make a result less worth and are shown; they come first."""
        doubts = self._run.meta.get("doubts")
        if not isinstance(doubts, int):
            return 0
        return min(doubts, MAX_NOTES, len(self._run.notes))

    def _doubt_lines(self) -> list[Line]:
        """Return the notes by which a result is less worth."""
        lines: list[Line] = []
        for note in self._run.notes[: self._count_doubts()]:
            lines += self._page.fact("note", self._page.quote(note, 300), "yellow")
        return lines

    # ------------------------------------------------------------------------------------------------------------- verdict

    def _sentence_lines(self) -> list[Line]:
        headline = self._headline
        return self._page.fact(
            headline.word, f"{self._page.quote(headline.sentence, 600)}.", WORD_STYLES[headline.word]
        )

    def _beaten_lines(self) -> list[Line]:
        """Return the verdict on the change since the baseline that a graver word hides."""
        if not self._headline.also:
            return []
        text = self._page.quote(self._headline.also, 600)
        return self._page.fact("", text.rstrip(".") + ".")

    def _verdict_lines(self) -> list[Line]:
        """Return the verdict, what follows from it, the reports and the next step."""
        page = self._page
        headline = self._headline
        lines = self._sentence_lines()
        sentences = [headline.why, headline.second_line, headline.also]
        if not self._around.has_next:  # another look follows, and decides what follows for merging
            sentences = [headline.also]
        for sentence in sentences:
            if sentence:
                text = page.quote(_upper_first(sentence), 600)
                lines += page.fact("", text.rstrip(".") + ".")
        lines += self._caution_lines()
        lines += self._note_lines()
        lines += self._remark_lines()
        if self._around.reports:
            names = ", ".join(page.quote(name, 300) for name in self._around.reports)
            lines += page.fact("report", names)
        return [*lines, *self._next_lines(), *self._override_lines()]

    def _caution_lines(self) -> list[Line]:
        if not self._headline.caution:
            return []
        caution = self._page.quote(_upper_first(self._headline.caution), 300)
        return self._page.fact("caution", f"{caution}.", "yellow")

    def _remark_lines(self) -> list[Line]:
        lines: list[Line] = []
        for label, text, style in self._around.remarks:
            lines += self._page.fact(label, self._page.quote(text, 1000), style, whole=style == "red")
        return lines

    def _next_lines(self) -> list[Line]:
        """Return the next step, with its command on a line of its own."""
        headline = self._headline
        if not self._around.has_next or not headline.next_step:
            return []
        lines = self._page.fact("next", self._page.quote(headline.next_step, 600))
        if headline.command:
            lines.append(self._page.command(self._page.spell(headline.command)))
        return lines

    def _override_lines(self) -> list[Line]:
        """Return how to accept an intended drop; only with -v, as it does not mend one."""
        if self._verbosity <= 0 or not self._headline.override:
            return []
        lines = self._page.fact("accept", "If the drop is intended:")
        return [*lines, self._page.command(self._page.spell(self._headline.override))]


def _list_figures(row: ShownComparison) -> tuple[str, str, str]:
    """Return the three figures of a comparison: base, now and points of a metric; of a share the count and the limit."""
    if row.metric is not None:
        return row.metric.base, row.metric.now, row.metric.points
    if row.share is not None:
        return "", row.share.counted, row.share.required
    return "", "", ""


def _upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def describe_more(reports: Sequence[str], *, verbosity: int, has_job_summary: bool) -> str:
    """Return where a reader finds the parts that the section leaves out.

    Args:
        reports: The names of the reports that were written.
        verbosity: As in pytest.
        has_job_summary: The summary of a CI job was written.

    >>> describe_more(["run.json", "report.html"], verbosity=0, has_job_summary=False)
    '-v, or report.html'
    >>> describe_more([], verbosity=1, has_job_summary=False)
    '-vv'
    """
    if has_job_summary:
        return "see the summary of the job"
    flag = "-v" if verbosity <= 0 else "-vv"
    for suffix in (".html", ".htm", ".md", ".json"):
        for name in reports:
            if name.lower().endswith(suffix):
                return f"{flag}, or {name}"
    return flag
