"""The summary at the end of a terminal session: a run becomes styled lines, nothing is printed here."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops.measurement import defuse_github_commands, format_amount, format_count, shorten_text
from pytest_llmops.results.comparison import group_by
from pytest_llmops.results.review import Judgement, select_for_review
from pytest_llmops.results.run import Run
from pytest_llmops.results.summary import Metric, Side, Totals, describe_uneven_metrics, summarize_run
from pytest_llmops.results.usage import format_cost

Style: TypeAlias = Literal["", "green", "red", "yellow", "bold"]

INDENT = "  "
GAP = "  "
LABEL_WIDTH = 10
MIN_WIDTH = 40
MIN_NAME = 16
MAX_LISTED_NOTES = 5
MAX_LISTED_CASES = 5
BARS = ("·", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█")
ASCII_BARS = (".", ":", "-", "=", "+", "*", "o", "O", "@")
VERDICT_STYLES: dict[str, Style] = {"PASS": "green", "FAIL": "red"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the summary; ``style`` is how a terminal may colour it."""

    text: str
    style: Style = ""


def summary_lines(run: Run, *, verbosity: int = 0, ascii: bool = False, width: int = 80) -> list[Line]:  # noqa: A002 -- says what it is
    """Return the summary of a run as lines of at most ``width`` columns (40 at least).

    A run in which nothing was measured, called or noted gives no lines: who does not use the
    plugin does not hear of it. Names and notes are foreign text: they come out on one line each,
    without control characters, and cannot start a command of a CI runner.

    Args:
        run: The run; an empty one gives no lines.
        verbosity: pytest's: -1 gives one line, -2 none, 1 all notes and the calls by purpose.
        ascii: The terminal has no more than ASCII; other characters become escapes.
        width: Columns of the terminal.

    >>> summary_lines(Run())
    []
    """
    if verbosity <= -2 or not _has_content(run):  # noqa: PLR2004 -- -qq
        return []
    page = _Page(ascii=ascii, width=max(width, MIN_WIDTH))
    run_totals = summarize_run(run)
    if verbosity == -1:
        cost = f"; cost {format_cost(run_totals.traffic)}" if run_totals.traffic.calls else ""
        return [Line(f"llm: {run_totals.verdict}  {run_totals.sentence}{cost}", _verdict_style(run_totals))]
    verdict = f"{run_totals.verdict}  {run_totals.sentence}"
    return [
        *page.wrapped(verdict, _verdict_style(run_totals), hang=len(run_totals.verdict) + 2),
        *_metric_lines(page, run_totals),
        *_prompt_lines(page, run_totals),
        *_model_lines(page, run_totals),
        *_blame_lines(page, run_totals),
        *_traffic_lines(page, run_totals, verbosity),
        *_judge_lines(page, run_totals),
        *_review_lines(page, select_for_review(run.records), verbosity),
        *_note_lines(page, run.notes, verbosity),
    ]


def _has_content(run: Run) -> bool:
    return bool(run.notes) or any(
        record.measurements or record.calls or record.facts for record in run.records
    )


def _verdict_style(run_totals: Totals) -> Style:
    return VERDICT_STYLES.get(run_totals.verdict, "yellow")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """What the terminal can show; every line of the summary is made here."""

    ascii: bool
    width: int

    def quote(self, text: str, limit: int = 200) -> str:
        """Foreign text on one line, in characters the terminal has."""
        short_text = shorten_text(text, limit)
        return defuse_github_commands(
            short_text.encode("ascii", "backslashreplace").decode() if self.ascii else short_text
        )

    def wrapped(self, text: str, style: Style = "", hang: int = 0) -> list[Line]:
        # One column is kept free for the blank that `defuse_github_commands` may put in.
        parts = textwrap.wrap(text, self.width - 1, subsequent_indent=" " * hang, break_on_hyphens=False)
        return [Line(defuse_github_commands(part), style) for part in parts]

    def fact(self, label: str, text: str, style: Style = "") -> list[Line]:
        start = f"{INDENT}{label:<{LABEL_WIDTH}} "
        return self.wrapped(start + text, style, hang=len(start))

    def table(self, rows: Sequence[Sequence[str]], styles: Sequence[Style]) -> list[Line]:
        """Lay out rows under their head (the first one); columns that do not fit are left out on the right."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        room = self.width - len(INDENT)
        kept = len(widths)
        while kept > 1 and min(widths[0], MIN_NAME) + sum(w + len(GAP) for w in widths[1:kept]) > room:
            kept -= 1
        widths[0] = min(widths[0], room - sum(w + len(GAP) for w in widths[1:kept]))
        return [
            Line(
                defuse_github_commands(_format_row(row[:kept], widths)),
                style or ("bold" if place == 0 else ""),
            )
            for place, (row, style) in enumerate(zip(rows, styles, strict=True))
        ]


def _format_row(cells: Sequence[str], widths: Sequence[int]) -> str:
    name = f"{_truncate_cell(cells[0], widths[0]):<{widths[0]}}"
    rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=False)]
    return INDENT + GAP.join([name, *rest]).rstrip()


def _truncate_cell(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."


def _metric_lines(page: _Page, run_totals: Totals) -> list[Line]:
    if not run_totals.metrics:
        return []
    versions = group_by(run_totals.metrics, lambda one: one.name)
    rows = [["metric", "n", "mean", "threshold", "failed", "error", "distribution"]]
    styles: list[Style] = [""]
    for metric in run_totals.metrics:
        several = len(versions[metric.name]) > 1 and metric.version
        name = f"{metric.name} ({metric.version})" if several else metric.name
        rows.append(
            [
                page.quote(name, 60),
                f"{metric.n:,}",
                _format_mean(metric),
                _format_threshold(metric, ascii=page.ascii),
                str(metric.failed or "-"),
                str(metric.errored or "-"),
                _format_distribution(metric, ascii=page.ascii),
            ]
        )
        styles.append("red" if metric.failed else "yellow" if metric.errored else "")
    return page.table(rows, styles)


def _format_mean(metric: Metric | None) -> str:
    return "-" if metric is None or metric.mean is None else _format_short_amount(metric.mean, metric.unit)


def _format_short_amount(value: float, unit: str) -> str:
    return format_amount(value, unit).replace(" tokens", " tok")


def _format_threshold(metric: Metric, *, ascii: bool) -> str:  # noqa: A002 -- as in `summary_lines`
    if metric.threshold is None:
        return "mixed" if metric.thresholds else "-"
    higher, lower = (">=", "<=") if ascii else ("≥", "≤")
    return f"{higher if metric.better == 'higher' else lower} {_format_short_amount(metric.threshold, metric.unit)}"


def _format_distribution(metric: Metric, *, ascii: bool) -> str:  # noqa: A002 -- as in `summary_lines`
    if metric.minimum is None or metric.maximum is None:
        return "-"
    if not metric.histogram:
        least, most = (_format_short_amount(value, metric.unit) for value in (metric.minimum, metric.maximum))
        return most if least == most else f"{least.partition(' ')[0]} to {most.removeprefix('$')}"
    return draw_sparkline(metric.histogram, ascii=ascii)


def draw_sparkline(counts: Iterable[int], *, ascii: bool = False) -> str:  # noqa: A002 -- as in `summary_lines`
    """Return one bar a count, as high as its share of the greatest; a dot for none.

    >>> draw_sparkline([0, 1, 4, 8]), draw_sparkline([0, 1, 4, 8], ascii=True)
    ('·▁▄█', '.:+@')
    """
    bars = ASCII_BARS if ascii else BARS
    counts = list(counts)
    top = max(counts, default=0) or 1
    return "".join(bars[math.ceil(count / top * (len(bars) - 1))] for count in counts)


def _prompt_lines(page: _Page, run_totals: Totals) -> list[Line]:
    out: list[Line] = []
    single = []
    for versions in group_by(run_totals.versions, lambda side: side.comparison).values():
        prompt = page.quote(versions[0].prompt, 60)
        if len(versions) == 1:
            single.append(f"{prompt}@{page.quote(versions[0].label, 60)}")
        else:
            out += _side_lines(page, f"prompt {prompt}", versions)
    return out + (page.fact("prompts", ", ".join(single)) if single else [])


def _model_lines(page: _Page, run_totals: Totals) -> list[Line]:
    out: list[Line] = []
    for models in group_by(run_totals.candidates, lambda side: side.comparison).values():
        tests, rest = format_count(models[0].tests, "test"), models[0].left_out
        left_out = f", {rest:,} left out that not all of them ran" if rest else ""
        out += _side_lines(page, "model", models)
        out += _model_use_lines(page, models)
        out += page.fact("models", f"{tests} each{left_out}")
        out += _doubt_lines(page, models)
    return out


def _doubt_lines(page: _Page, models: Sequence[Side]) -> list[Line]:
    """What speaks against the judges of the means; a score stands for its dimensions too."""
    doubts = {metric.name: metric.doubt for model in models for metric in model.metrics if metric.doubt}
    whole = [name for name in doubts if not any(name.startswith(f"{other}.") for other in doubts)]
    text = ", ".join(f"{page.quote(name, 60)}: {page.quote(doubts[name], 60)}" for name in whole)
    return page.fact("doubt", text, "yellow") if text else []


def _model_use_lines(page: _Page, models: Sequence[Side]) -> list[Line]:
    """What it takes to get an answer of each model, without its judges."""
    rows = [["model", "unscored", "tokens", "cost", "p50", "p95"]]
    for side in models:
        used = side.traffic
        tokens = [number for number in (used.input_tokens, used.output_tokens) if number is not None]
        # Calls without a count, or a price, are in no sum: it is more than that.
        tokens_of = f"{'>' if used.uncounted else ''}{sum(tokens):,}" if tokens else "-"
        cost = "-"
        if used.known_usd is not None:
            cost = f"{'>' if used.unpriced else ''}{format_amount(used.known_usd, 'USD')}"
        times = (
            "-" if time is None else format_amount(time, "s") for time in (side.latency.p50, side.latency.p95)
        )
        label = f"{INDENT}{page.quote(side.label, 60)}"
        rows.append([label, str(side.unscored or "-"), tokens_of, cost, *times])
    return page.table(rows, ["", *("yellow" if side.unscored else "" for side in models)])


def _side_lines(page: _Page, head: str, sides: Sequence[Side]) -> list[Line]:
    metrics_by_key = group_by(
        (metric for side in sides for metric in side.metrics if metric.n), lambda metric: metric.key
    )
    # What carries a threshold comes first: the columns on the right may not fit.
    keys = sorted(
        metrics_by_key, key=lambda key: not any(metric.thresholds for metric in metrics_by_key[key])
    )
    heads = (_truncate_cell(page.quote(key[0], 60), 20) for key in keys)
    rows = [[head, "passed", *heads]]
    for side in sides:
        by_key = {metric.key: metric for metric in side.metrics}
        passed = f"{side.passed}/{side.tests - side.skipped}"
        means = (_format_mean(by_key.get(key)) for key in keys)
        rows.append([f"{INDENT}{page.quote(side.label, 60)}", passed, *means])
    left_out = [
        line
        for name, words in describe_uneven_metrics(sides)
        for line in page.fact("means", f"{page.quote(name, 60)}: {words}")
    ]
    return [*page.table(rows, [""] * len(rows)), *left_out]


def _blame_lines(page: _Page, run_totals: Totals) -> list[Line]:
    """What to look at first: the search, or what was made of it."""
    parts = (f"{format_count(number, 'test')}: {words}" for words, number in run_totals.blamed.items())
    return page.fact("blame", "; ".join(parts), "red") if run_totals.blamed else []


def _traffic_lines(page: _Page, run_totals: Totals, verbosity: int) -> list[Line]:
    out: list[Line] = []
    used, tapes, latency = run_totals.traffic, run_totals.cassettes, run_totals.latency
    if used.calls:
        out += page.fact("cost", format_cost(used))
        out += page.fact("tokens", _format_tokens(used.input_tokens, used.output_tokens, used.uncounted))
    if verbosity > 0:
        for purpose, part in run_totals.by_purpose.items():
            out += page.fact(
                "calls", f"{page.quote(purpose, 40)}: {part.live:,} live, {part.replayed:,} replayed"
            )
    if latency.p50 is not None and latency.p95 is not None:
        times = f"p50 {format_amount(latency.p50, 's')}, p95 {format_amount(latency.p95, 's')}"
        out += page.fact(
            "latency", f"{times} ({format_count(latency.n, 'call')} of the application, as recorded)"
        )
    if tapes.files:
        out += page.fact("cassettes", tapes.sentence, tapes.style)
    if run_totals.budget:
        out += page.fact("budget", run_totals.budget)
    return out


def _format_tokens(put_in: int | None, got_out: int | None, uncounted: int) -> str:
    if put_in is None and got_out is None:
        return "unknown: no call says how many"
    words = f"{put_in or 0:,} in, {got_out or 0:,} out"
    return f"{words} ({format_count(uncounted, 'call')} without a count)" if uncounted else words


def _judge_lines(page: _Page, run_totals: Totals) -> list[Line]:
    out: list[Line] = []
    for judge in run_totals.judges:
        model = f" ({page.quote(judge.model, 60)})" if judge.model else ""
        text = f"{page.quote(judge.name, 60)}{model}: {page.quote(judge.standing, 500)}"
        out += page.fact("judge", text, "red" if judge.unfit else "yellow" if judge.doubtful else "")
    return out


def _review_lines(page: _Page, judgements: Sequence[Judgement], verbosity: int) -> list[Line]:
    """Which cases a person should look at, the least sure first; a case that several judges flag is said once."""
    if not judgements:
        return []
    cases = list(group_by(judgements, lambda judgement: judgement.nodeid).values())
    ids = Counter(judgement[0].case for judgement in cases)
    tests = Counter(_test_name(judgement[0]) for judgement in cases)
    named = []
    for judgement, *_ in cases:
        alone = judgement.case and ids[judgement.case] == 1
        name = page.quote(judgement.case if alone else _test_name(judgement), 60)
        if not alone and tests[_test_name(judgement)] > 1:
            name += f" in {page.quote(judgement.nodeid.partition('::')[0], 60)}"
        named.append(f"{name} ({judgement.short})")
    listed = named if verbosity > 0 else named[:MAX_LISTED_CASES]
    rest = len(named) - len(listed)
    more = f", and {rest:,} more with -v" if rest else ""
    text = f"{format_count(len(named), 'case')} for a person: {', '.join(listed)}{more}"
    return page.fact("review", text, "yellow")


def _test_name(judgement: Judgement) -> str:
    """The test's name without its file; of a test that has none (a doctest of a page) the file."""
    file, _, name = judgement.nodeid.partition("::")
    return name or file


def _note_lines(page: _Page, notes: Sequence[str], verbosity: int) -> list[Line]:
    listed = notes if verbosity > 0 else notes[:MAX_LISTED_NOTES]
    out = [line for note in listed for line in page.fact("note", page.quote(note), "yellow")]
    rest = len(notes) - len(listed)
    return out + (page.fact("note", f"and {rest:,} more with -v", "yellow") if rest else [])
