"""Render the summary at the end of a terminal session as styled lines; nothing is printed here."""

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops.measurement import escape_output, format_amount, format_count, shorten_text
from pytest_llmops.reports.html_views import diff_words
from pytest_llmops.results.comparison import group_by
from pytest_llmops.results.details import format_on_scale
from pytest_llmops.results.problems import merge_record_commands
from pytest_llmops.results.review import Judgement, select_for_review
from pytest_llmops.results.run import Outcome, Run, TestRecord
from pytest_llmops.results.summary import (
    Metric,
    Side,
    Totals,
    describe_uneven_metrics,
    format_outcomes,
    summarize_run,
)
from pytest_llmops.results.traffic import format_cost
from pytest_llmops.results.verdict import CHANGE_WORDS, CaseChange, Level, Verdict
from pytest_llmops.settings import NEEDS_JUDGE

Style: TypeAlias = Literal["", "green", "red", "yellow", "bold"]

INDENT = "  "
GAP = "  "
LABEL_WIDTH = 10
MIN_WIDTH = 40
MIN_NAME = 16
MAX_LISTED_CHANGES = 5
MAX_DIFF = 240
CONTEXT = 40  # characters of what is the same that a diff shows on each side of a difference
LEVEL_STYLES: Mapping[Level, Style] = {
    "bad": "red",
    "error": "red",
    "open": "yellow",
    "good": "green",
    "": "",
}
MAX_LISTED_NOTES = 5
MAX_LISTED_CASES = 5
BARS = ("·", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█")
ASCII_BARS = (".", ":", "-", "=", "+", "*", "o", "O", "@")
VERDICT_STYLES: dict[str, Style] = {"PASS": "green", "FAIL": "red", "RED": "red"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the summary; ``style`` is how a terminal may colour it."""

    text: str
    style: Style = ""


def summary_lines(
    run: Run,
    *,
    verbosity: int = 0,
    ascii: bool = False,  # noqa: A002 -- says what it is
    width: int = 80,
    others: Mapping[Outcome, int] | None = None,
) -> list[Line]:
    """Return the summary of a run as lines of at most ``width`` columns (40 at least).

    A run in which nothing was measured, called or noted gives no lines. Names and notes are foreign text: each
    is on one line, without control characters, and cannot start a command of a CI runner.

    Args:
        run: The run; an empty one gives no lines.
        verbosity: pytest's: -1 gives the verdicts and the first note, a line each, -2 none, 1 all notes and the calls by purpose.
        ascii: The terminal has no more than ASCII; other characters become escapes.
        width: Columns of the terminal; only a command to copy may be longer.
        others: How many tests pytest counts beside those of the run, by outcome.

    >>> summary_lines(Run())
    []
    """
    has_content = any(record.measurements or record.calls or record.facts for record in run.records)
    if verbosity <= -2 or not (run.notes or has_content):  # noqa: PLR2004 -- -qq
        return []
    totals = summarize_run(run)
    style = VERDICT_STYLES.get(totals.verdict, "yellow")
    verdict = f"{totals.verdict}  {totals.outcome_words}"
    counted = {outcome: number for outcome, number in (others or {}).items() if number}
    if counted:
        verdict += f" (other tests: {format_outcomes(counted)})"
    missed = [record.message for record in run.records if "CassetteMiss" in record.raised]
    commands = merge_record_commands(missed)
    if verbosity == -1:
        if totals.traffic.calls:
            cost = f"; cost {format_cost(totals.traffic)}"
        else:
            cost = ""
        if len(run.notes) > 1:
            more = f" (and {len(run.notes) - 1:,} more without -q)"
        else:
            more = ""
        quote = _Page(ascii=ascii, width=width).quote
        leading, further = _split_verdicts(run.verdicts)
        gate = "".join(f"; {verdict.headline}" for verdict in leading)
        lines = [Line(escape_output(shorten_text(f"llm: {verdict}{cost}{gate}", 1000)), style)]
        for found in leading:
            if found.level == "open":
                lines += [
                    Line(f"llm: {found.label}: {quote(step, 300)}", "yellow") for step in found.advice[:1]
                ]
        lines += [Line(f"llm: record: {command}") for command in commands]
        lines += [Line(f"llm: {found.label}: {quote(found.headline, 600)}") for found in further]
        lines += [Line(f"llm: note: {quote(note)}{more}", "yellow") for note in run.notes[:1]]
        return lines
    page = _Page(ascii=ascii, width=max(width, MIN_WIDTH))
    summary = _Summary(page=page, totals=totals, is_verbose=verbosity > 0)
    return [
        *page.wrap(verdict, style, hang=len(totals.verdict) + 2),
        *(line for found in run.verdicts for line in summary.verdict_lines(found)),
        *summary.missed_lines(len(missed), commands),
        *summary.skipped_lines(run.records),
        *summary.metric_lines(),
        *summary.prompt_lines(),
        *summary.model_lines(),
        *summary.blame_lines(),
        *summary.traffic_lines(),
        *summary.judge_lines(),
        *summary.review_lines(select_for_review(run.records)),
        *summary.note_lines(run.notes),
    ]


def _split_verdicts(verdicts: Sequence[Verdict]) -> tuple[Sequence[Verdict], Sequence[Verdict]]:
    """Return the verdict that ends the first line of a short summary, the one on the whole run, and the others."""
    if verdicts and not verdicts[0].subject:
        return verdicts[:1], verdicts[1:]
    return (), verdicts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    ascii: bool
    width: int

    def quote(self, text: str, limit: int = 200) -> str:
        """Return foreign text on one line, in characters the terminal has."""
        text = shorten_text(text, limit)
        return escape_output(text.encode("ascii", "backslashreplace").decode() if self.ascii else text)

    def wrap(self, text: str, style: Style = "", hang: int = 0) -> list[Line]:
        """Return a text as lines; all but the first are indented by ``hang`` columns.

        One column is kept free for the blank that `escape_output` may put in.
        """
        return [
            Line(escape_output(part), style)
            for part in textwrap.wrap(
                text, self.width - 1, subsequent_indent=" " * hang, break_on_hyphens=False
            )
        ]

    def fact(self, label: str, text: str, style: Style = "") -> list[Line]:
        start = f"{INDENT}{label:<{LABEL_WIDTH}} "
        return self.wrap(start + text, style, hang=len(start))

    def table(self, rows: Sequence[Sequence[str]], styles: Sequence[Style]) -> list[Line]:
        """Lay out rows under their head (the first row); columns that do not fit are left out on the right."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        room = self.width - len(INDENT)
        kept = len(widths)
        while kept > 1 and min(widths[0], MIN_NAME) + sum(w + len(GAP) for w in widths[1:kept]) > room:
            kept -= 1
        widths[0] = min(widths[0], room - sum(w + len(GAP) for w in widths[1:kept]))
        lines = []
        for place, (row, style) in enumerate(zip(rows, styles, strict=True)):
            name, *cells = row[:kept]
            aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=False)]
            text = INDENT + GAP.join([_truncate_cell(name, widths[0]).ljust(widths[0]), *aligned]).rstrip()
            lines.append(Line(escape_output(text), style or ("bold" if place == 0 else "")))
        return lines

    def mean(self, metric: Metric | None) -> str:
        if metric is None or metric.mean is None:
            return "-"
        return _format_short_amount(metric.mean, metric)

    def threshold(self, metric: Metric) -> str:
        """Return the threshold of a metric, with the sign of its direction."""
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
        """Return a sparkline of a score, or the range of another metric."""
        if metric.minimum is None or metric.maximum is None:
            return "-"
        if metric.histogram:
            return draw_sparkline(metric.histogram, ascii=self.ascii)
        least, most = (_format_short_amount(value, metric) for value in (metric.minimum, metric.maximum))
        if least == most:
            return most
        return f"{least.partition(' ')[0]} to {most.removeprefix('$')}"


def _truncate_cell(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    return text[: width - 2] + ".."


def _format_short_amount(value: float, metric: Metric) -> str:
    return format_on_scale(value, metric.unit, metric.scale).replace(" tokens", " tok")


def draw_sparkline(counts: Iterable[int], *, ascii: bool = False) -> str:  # noqa: A002 -- as in `summary_lines`
    """Return a bar for each count, as high as its share of the greatest; a dot for 0.

    >>> draw_sparkline([0, 1, 4, 8]), draw_sparkline([0, 1, 4, 8], ascii=True)
    ('·▁▄█', '.:+@')
    """
    if ascii:
        bars = ASCII_BARS
    else:
        bars = BARS
    counts = list(counts)
    top = max(counts, default=0) or 1
    return "".join(bars[math.ceil(count / top * (len(bars) - 1))] for count in counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Summary:
    # The parts of the summary, each as lines; none if there is nothing to say.
    page: _Page
    totals: Totals
    is_verbose: bool

    def verdict_lines(self, verdict: Verdict) -> list[Line]:
        """A verdict with its advice, and the tests that changed."""
        page = self.page
        lines = page.fact(verdict.label, page.quote(verdict.headline, 600), LEVEL_STYLES[verdict.level])
        for sentence in verdict.advice:
            lines += page.fact("", page.quote(sentence, 600))
        if verdict.is_since_baseline:
            lines += page.fact("baseline", page.quote(verdict.baseline, 300))
        for kind, word in CHANGE_WORDS.items():
            lines += self._change_lines(verdict.of_kind(kind), word)
        if verdict.unchanged:
            lines += page.fact(
                "unchanged",
                f"{format_count(verdict.unchanged, 'test')}: all answers are the baseline's recordings",
            )
        return lines

    def _change_lines(self, changes: Sequence[CaseChange], word: str) -> list[Line]:
        page = self.page
        lines = list[Line]()
        if self.is_verbose:
            listed = changes
        else:
            listed = changes[:MAX_LISTED_CHANGES]
        for change in listed:
            if change.kind == "regressed":
                style: Style = "red"
            else:
                style = ""
            lines += page.fact(word, f"{page.quote(change.nodeid)}  {page.quote(change.words, 300)}", style)
            if change.kind in ("regressed", "improved"):
                lines += page.fact("", _format_diff(change, page))
        rest = len(changes) - len(listed)
        if rest:
            lines += page.fact(word, f"and {rest:,} more with -v")
        return lines

    def missed_lines(self, tests: int, commands: Sequence[str]) -> list[Line]:
        """The commands that record what is missing, each on one line, to be copied."""
        lines = self.page.fact(
            "missed", f"{format_count(tests, 'test')} without a recording; to record all:", "yellow"
        )
        shown = (f"{INDENT}{'':<{LABEL_WIDTH}} {escape_output(command)}" for command in commands)
        if commands:
            return [*lines, *map(Line, shown)]
        return []

    def skipped_lines(self, records: Sequence[TestRecord]) -> list[Line]:
        # How many tests were skipped for want of a judge, and how to run them.
        number = sum(record.outcome == "skipped" and record.message == NEEDS_JUDGE for record in records)
        if number:
            return self.page.fact("skipped", f"{format_count(number, 'test')}: {NEEDS_JUDGE}")
        return []

    def metric_lines(self) -> list[Line]:
        if not self.totals.metrics:
            return []
        versions = Counter(metric.name for metric in self.totals.metrics)
        rows = [["metric", "n", "mean", "threshold", "failed", "unscored", "distribution"]]
        styles: list[Style] = [""]
        for metric in self.totals.metrics:
            several = versions[metric.name] > 1 and metric.version
            rows.append(
                [
                    self.page.quote(f"{metric.name} ({metric.version})" if several else metric.name, 60),
                    f"{metric.n:,}",
                    self.page.mean(metric),
                    self.page.threshold(metric),
                    str(metric.failed or "-"),
                    str(metric.errored or "-"),
                    self.page.distribution(metric),
                ]
            )
            styles.append("red" if metric.failed else "yellow" if metric.errored else "")
        return self.page.table(rows, styles)

    def prompt_lines(self) -> list[Line]:
        """A table for each prompt with several versions, and a line with the other prompts."""
        lines: list[Line] = []
        single = []
        for versions in group_by(self.totals.versions, lambda side: side.comparison).values():
            prompt = self.page.quote(versions[0].prompt, 60)
            if len(versions) == 1:
                single.append(f"{prompt}@{self.page.quote(versions[0].label, 60)}")
            else:
                lines += self._side_lines(f"prompt {prompt}", versions)
        return lines + (self.page.fact("prompts", ", ".join(single)) if single else [])

    def model_lines(self) -> list[Line]:
        # Tables of the models under test, with warnings about the judges of their means.
        lines: list[Line] = []
        for models in group_by(self.totals.candidates, lambda side: side.comparison).values():
            rest = models[0].left_out
            if rest:
                left_out = f", {rest:,} left out that not all of them ran"
            else:
                left_out = ""
            lines += self._side_lines("model", models)
            lines += self._model_use_lines(models)
            lines += self.page.fact("models", f"{format_count(models[0].tests, 'test')} each{left_out}")
            doubts = {
                metric.name: metric.doubt for model in models for metric in model.metrics if metric.doubt
            }
            # The dimensions of a score have the same judge.
            names = [name for name in doubts if not any(name.startswith(f"{other}.") for other in doubts)]
            text = ", ".join(
                f"{self.page.quote(name, 60)}: {self.page.quote(doubts[name], 60)}" for name in names
            )
            if text:
                lines += self.page.fact("doubt", text, "yellow")
        return lines

    def _side_lines(self, head: str, sides: Sequence[Side]) -> list[Line]:
        groups = group_by(
            (metric for side in sides for metric in side.metrics if metric.n), lambda metric: metric.key
        )
        # Metrics with a threshold come first: the columns on the right may not fit.
        keys = sorted(groups, key=lambda key: not any(metric.thresholds for metric in groups[key]))
        rows = [[head, "passed", *(_truncate_cell(self.page.quote(key[0], 60), 20) for key in keys)]]
        for side in sides:
            by_key = {metric.key: metric for metric in side.metrics}
            label = f"{INDENT}{self.page.quote(side.label, 60)}"
            rows.append(
                [
                    label,
                    f"{side.passed}/{side.tests - side.skipped}",
                    *(self.page.mean(by_key.get(key)) for key in keys),
                ]
            )
        lines = self.page.table(rows, [""] * len(rows))
        for name, words in describe_uneven_metrics(sides):
            lines += self.page.fact("means", f"{self.page.quote(name, 60)}: {words}")
        return lines

    def _model_use_lines(self, models: Sequence[Side]) -> list[Line]:
        """What an answer of each model takes, without its judges."""
        rows = [["model", "unscored", "tokens", "cost", "p50", "p95"]]
        for side in models:
            used = side.traffic
            counts = [count for count in (used.input_tokens, used.output_tokens) if count is not None]
            # Calls without a count, or a price, are in no sum: it is more than that.
            if counts:
                tokens = f"{'>' if used.uncounted else ''}{sum(counts):,}"
            else:
                tokens = "-"
            if used.known_usd is None:
                cost = "-"
            else:
                cost = f"{'>' if used.unpriced else ''}{format_amount(used.known_usd, 'USD')}"
            times = (
                "-" if time is None else format_amount(time, "s")
                for time in (side.latency.p50, side.latency.p95)
            )
            rows.append(
                [
                    f"{INDENT}{self.page.quote(side.label, 60)}",
                    str(side.unscored or "-"),
                    tokens,
                    cost,
                    *times,
                ]
            )
        return self.page.table(rows, ["", *("yellow" if side.unscored else "" for side in models)])

    def blame_lines(self) -> list[Line]:
        """Whether retrieval or generation did badly, and in how many tests."""
        parts = [f"{format_count(number, 'test')}: {words}" for words, number in self.totals.blamed.items()]
        if parts:
            return self.page.fact("blame", "; ".join(parts), "red")
        return []

    def traffic_lines(self) -> list[Line]:
        page = self.page
        used = self.totals.traffic
        latency = self.totals.latency
        lines: list[Line] = []
        if used.calls:
            tokens = "unknown: no call says how many"
            if used.input_tokens is not None or used.output_tokens is not None:
                tokens = f"{used.input_tokens or 0:,} in, {used.output_tokens or 0:,} out"
                if used.uncounted:
                    tokens += f" ({format_count(used.uncounted, 'call')} without a count)"
            lines += page.fact("cost", format_cost(used)) + page.fact("tokens", tokens)
        if self.is_verbose:
            for purpose, part in self.totals.by_purpose.items():
                lines += page.fact(
                    "calls", f"{page.quote(purpose, 40)}: {part.live:,} live, {part.replayed:,} replayed"
                )
        if latency.p50 is not None and latency.p95 is not None:
            times = f"p50 {format_amount(latency.p50, 's')}, p95 {format_amount(latency.p95, 's')}"
            calls = format_count(latency.n, "call")
            if latency.live == latency.n:
                how = "live"
            else:
                how = "as recorded"
            if 0 < latency.live < latency.n:
                how = f"{latency.live:,} live, the others as recorded"
            lines += page.fact("latency", f"{times} ({calls} of the application, {how})")
        if self.totals.cassettes.files:
            lines += page.fact("cassettes", self.totals.cassettes.count_words, self.totals.cassettes.style)
        return [*lines, *(page.fact("budget", self.totals.budget) if self.totals.budget else ())]

    def judge_lines(self) -> list[Line]:
        lines: list[Line] = []
        for judge in self.totals.judges:
            if judge.model:
                model = f" ({self.page.quote(judge.model, 60)})"
            else:
                model = ""
            lines += self.page.fact(
                "judge",
                f"{self.page.quote(judge.name, 60)}{model}: {self.page.quote(judge.standing, 500)}",
                "red" if judge.unfit else "yellow" if judge.doubtful else "",
            )
        return lines

    def review_lines(self, judgements: Sequence[Judgement]) -> list[Line]:
        """The cases that a person should look at, the least sure first; each case once."""
        if not judgements:
            return []
        cases = [first for first, *_ in group_by(judgements, lambda judgement: judgement.nodeid).values()]
        ids = Counter(judgement.case for judgement in cases)
        tests = Counter(map(_test_name, cases))
        named = []
        for judgement in cases:
            has_own_id = judgement.case and ids[judgement.case] == 1
            name = self.page.quote(judgement.case if has_own_id else _test_name(judgement), 60)
            if not has_own_id and tests[_test_name(judgement)] > 1:
                name += f" in {self.page.quote(judgement.nodeid.partition('::')[0], 60)}"
            named.append(f"{name} ({judgement.short})")
        if self.is_verbose:
            listed = named
        else:
            listed = named[:MAX_LISTED_CASES]
        rest = len(named) - len(listed)
        if rest:
            more = f", and {rest:,} more with -v"
        else:
            more = ""
        return self.page.fact(
            "review", f"{format_count(len(named), 'case')} for a person: {', '.join(listed)}{more}", "yellow"
        )

    def note_lines(self, notes: Sequence[str]) -> list[Line]:
        if self.is_verbose:
            listed = notes
        else:
            listed = notes[:MAX_LISTED_NOTES]
        lines = [line for note in listed for line in self.page.fact("note", self.page.quote(note), "yellow")]
        rest = len(notes) - len(listed)
        return lines + (self.page.fact("note", f"and {rest:,} more with -v", "yellow") if rest else [])


def _format_diff(change: CaseChange, page: _Page) -> str:
    """Return the difference of the outputs in a line: ``[-old-]``, ``{+new+}``, and some words around."""
    if change.before_output is None:
        return "the baseline's output is not stored here: the file beside the baseline is missing or of another one"
    if change.after_output is None:
        return "no output now"
    if change.before_output == change.after_output:
        return "the output that is shown is the same: other trials differ, or what is made of it"
    pieces = [
        _format_edit(kind, page.quote(text, MAX_DIFF), is_first=not place)
        for place, (kind, text) in enumerate(diff_words(change.before_output, change.after_output))
    ]
    return page.quote("".join(pieces), MAX_DIFF)


def _format_edit(kind: str, text: str, *, is_first: bool) -> str:
    if kind != "same":
        if kind == "old":
            return f"[-{text}-]"
        return f"{{+{text}+}}"
    if len(text) <= 2 * CONTEXT:
        return text
    if is_first:
        return f"... {text[-CONTEXT:]}"
    return f"{text[:CONTEXT]} ... {text[-CONTEXT:]}"


def _test_name(judgement: Judgement) -> str:
    """Return the test's name without its file; the file of a test without a name (a doctest of a page)."""
    file, _, name = judgement.nodeid.partition("::")
    return name or file
