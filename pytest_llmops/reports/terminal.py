"""The summary at the end of a terminal session: a run becomes styled lines, nothing is printed here."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops.measurement import amount, counted, harmless, shorten
from pytest_llmops.results.comparison import grouped
from pytest_llmops.results.review import Judgement, review
from pytest_llmops.results.run import Run
from pytest_llmops.results.summary import Metric, Side, Totals, totals, uneven_words
from pytest_llmops.results.usage import cost_words

Style: TypeAlias = Literal["", "green", "red", "yellow", "bold"]

INDENT = "  "
GAP = "  "
LABEL_WIDTH = 10
MIN_WIDTH = 40
MIN_NAME = 16
NOTES_SHOWN = 5
REVIEW_SHOWN = 5
BARS = ("·", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█")
ASCII_BARS = (".", ":", "-", "=", "+", "*", "o", "O", "@")
VERDICT_STYLES: dict[str, Style] = {"PASS": "green", "FAIL": "red"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the summary; ``style`` is how a terminal may colour it."""

    text: str
    style: Style = ""


def lines(run: Run, *, verbosity: int = 0, ascii: bool = False, width: int = 80) -> list[Line]:  # noqa: A002 -- says what it is
    """Return the summary of a run as lines of at most ``width`` columns (40 at least).

    A run in which nothing was measured, called or noted gives no lines: who does not use the
    plugin does not hear of it. Names and notes are foreign text: they come out on one line each,
    without control characters, and cannot start a command of a CI runner.

    Args:
        run: The run; an empty one gives no lines.
        verbosity: pytest's: -1 gives one line, -2 none, 1 all notes and the calls by purpose.
        ascii: The terminal has no more than ASCII; other characters become escapes.
        width: Columns of the terminal.

    >>> lines(Run())
    []
    """
    if verbosity <= -2 or not _used(run):  # noqa: PLR2004 -- -qq
        return []
    page = _Page(ascii=ascii, width=max(width, MIN_WIDTH))
    found = totals(run)
    if verbosity == -1:
        cost = f"; cost {cost_words(found.traffic)}" if found.traffic.calls else ""
        return [Line(f"llm: {found.verdict}  {found.sentence}{cost}", _verdict_style(found))]
    verdict = f"{found.verdict}  {found.sentence}"
    return [
        *page.wrapped(verdict, _verdict_style(found), hang=len(found.verdict) + 2),
        *_metrics(page, found),
        *_prompts(page, found),
        *_models(page, found),
        *_blamed(page, found),
        *_traffic(page, found, verbosity),
        *_judges(page, found),
        *_review(page, review(run.records), verbosity),
        *_notes(page, run.notes, verbosity),
    ]


def _used(run: Run) -> bool:
    return bool(run.notes) or any(one.measurements or one.calls or one.facts for one in run.records)


def _verdict_style(found: Totals) -> Style:
    return VERDICT_STYLES.get(found.verdict, "yellow")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """What the terminal can show; every line of the summary is made here."""

    ascii: bool
    width: int

    def quote(self, text: str, limit: int = 200) -> str:
        """Foreign text on one line, in characters the terminal has."""
        shown = shorten(text, limit)
        return harmless(shown.encode("ascii", "backslashreplace").decode() if self.ascii else shown)

    def wrapped(self, text: str, style: Style = "", hang: int = 0) -> list[Line]:
        # One column is kept free for the blank that `harmless` may put in.
        parts = textwrap.wrap(text, self.width - 1, subsequent_indent=" " * hang, break_on_hyphens=False)
        return [Line(harmless(part), style) for part in parts]

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
            Line(harmless(_row(row[:kept], widths)), style or ("bold" if place == 0 else ""))
            for place, (row, style) in enumerate(zip(rows, styles, strict=True))
        ]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    name = f"{_fit(cells[0], widths[0]):<{widths[0]}}"
    rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=False)]
    return INDENT + GAP.join([name, *rest]).rstrip()


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."


def _metrics(page: _Page, found: Totals) -> list[Line]:
    if not found.metrics:
        return []
    versions = grouped(found.metrics, lambda one: one.name)
    rows = [["metric", "n", "mean", "threshold", "failed", "error", "distribution"]]
    styles: list[Style] = [""]
    for metric in found.metrics:
        several = len(versions[metric.name]) > 1 and metric.version
        name = f"{metric.name} ({metric.version})" if several else metric.name
        rows.append(
            [
                page.quote(name, 60),
                f"{metric.n:,}",
                _mean(metric),
                _threshold(metric, ascii=page.ascii),
                str(metric.failed or "-"),
                str(metric.errored or "-"),
                _distribution(metric, ascii=page.ascii),
            ]
        )
        styles.append("red" if metric.failed else "yellow" if metric.errored else "")
    return page.table(rows, styles)


def _mean(metric: Metric | None) -> str:
    return "-" if metric is None or metric.mean is None else _amount(metric.mean, metric.unit)


def _amount(value: float, unit: str) -> str:
    return amount(value, unit).replace(" tokens", " tok")


def _threshold(metric: Metric, *, ascii: bool) -> str:  # noqa: A002 -- as in `lines`
    if metric.threshold is None:
        return "mixed" if metric.thresholds else "-"
    higher, lower = (">=", "<=") if ascii else ("≥", "≤")
    return f"{higher if metric.better == 'higher' else lower} {_amount(metric.threshold, metric.unit)}"


def _distribution(metric: Metric, *, ascii: bool) -> str:  # noqa: A002 -- as in `lines`
    if metric.minimum is None or metric.maximum is None:
        return "-"
    if not metric.histogram:
        least, most = (_amount(value, metric.unit) for value in (metric.minimum, metric.maximum))
        return most if least == most else f"{least.partition(' ')[0]} to {most.removeprefix('$')}"
    return sparkline(metric.histogram, ascii=ascii)


def sparkline(counts: Iterable[int], *, ascii: bool = False) -> str:  # noqa: A002 -- as in `lines`
    """Return one bar a count, as high as its share of the greatest; a dot for none.

    >>> sparkline([0, 1, 4, 8]), sparkline([0, 1, 4, 8], ascii=True)
    ('·▁▄█', '.:+@')
    """
    bars = ASCII_BARS if ascii else BARS
    counts = list(counts)
    top = max(counts, default=0) or 1
    return "".join(bars[math.ceil(count / top * (len(bars) - 1))] for count in counts)


def _prompts(page: _Page, found: Totals) -> list[Line]:
    out: list[Line] = []
    single = []
    for versions in grouped(found.versions, lambda one: one.comparison).values():
        prompt = page.quote(versions[0].prompt, 60)
        if len(versions) == 1:
            single.append(f"{prompt}@{page.quote(versions[0].label, 60)}")
        else:
            out += _sides(page, f"prompt {prompt}", versions)
    return out + (page.fact("prompts", ", ".join(single)) if single else [])


def _models(page: _Page, found: Totals) -> list[Line]:
    out: list[Line] = []
    for models in grouped(found.candidates, lambda one: one.comparison).values():
        tests, rest = counted(models[0].tests, "test"), models[0].left_out
        left_out = f", {rest:,} left out that not all of them ran" if rest else ""
        out += _sides(page, "model", models)
        out += _use(page, models)
        out += page.fact("models", f"{tests} each{left_out}")
        out += _doubts(page, models)
    return out


def _doubts(page: _Page, models: Sequence[Side]) -> list[Line]:
    """What speaks against the judges of the means; a score stands for its dimensions too."""
    found = {one.name: one.doubt for model in models for one in model.metrics if one.doubt}
    whole = [name for name in found if not any(name.startswith(f"{other}.") for other in found)]
    said = ", ".join(f"{page.quote(name, 60)}: {page.quote(found[name], 60)}" for name in whole)
    return page.fact("doubt", said, "yellow") if said else []


def _use(page: _Page, models: Sequence[Side]) -> list[Line]:
    """What it takes to get an answer of each model, without its judges."""
    rows = [["model", "unscored", "tokens", "cost", "p50", "p95"]]
    for one in models:
        used = one.traffic
        tokens = [number for number in (used.input_tokens, used.output_tokens) if number is not None]
        # Calls without a count, or a price, are in no sum: it is more than that.
        tokens_of = f"{'>' if used.uncounted else ''}{sum(tokens):,}" if tokens else "-"
        cost = "-"
        if used.known_usd is not None:
            cost = f"{'>' if used.unpriced else ''}{amount(used.known_usd, 'USD')}"
        times = ("-" if time is None else amount(time, "s") for time in (one.latency.p50, one.latency.p95))
        label = f"{INDENT}{page.quote(one.label, 60)}"
        rows.append([label, str(one.unscored or "-"), tokens_of, cost, *times])
    return page.table(rows, ["", *("yellow" if one.unscored else "" for one in models)])


def _sides(page: _Page, head: str, sides: Sequence[Side]) -> list[Line]:
    found = grouped((one for side in sides for one in side.metrics if one.n), lambda one: one.key)
    # What carries a threshold comes first: the columns on the right may not fit.
    keys = sorted(found, key=lambda key: not any(one.thresholds for one in found[key]))
    heads = (_fit(page.quote(key[0], 60), 20) for key in keys)
    rows = [[head, "passed", *heads]]
    for side in sides:
        by_key = {one.key: one for one in side.metrics}
        passed = f"{side.passed}/{side.tests - side.skipped}"
        means = (_mean(by_key.get(key)) for key in keys)
        rows.append([f"{INDENT}{page.quote(side.label, 60)}", passed, *means])
    left_out = [
        line
        for name, words in uneven_words(sides)
        for line in page.fact("means", f"{page.quote(name, 60)}: {words}")
    ]
    return [*page.table(rows, [""] * len(rows)), *left_out]


def _blamed(page: _Page, found: Totals) -> list[Line]:
    """What to look at first: the search, or what was made of it."""
    said = (f"{counted(number, 'test')}: {words}" for words, number in found.blamed.items())
    return page.fact("blame", "; ".join(said), "red") if found.blamed else []


def _traffic(page: _Page, found: Totals, verbosity: int) -> list[Line]:
    out: list[Line] = []
    used, tapes, latency = found.traffic, found.cassettes, found.latency
    if used.calls:
        out += page.fact("cost", cost_words(used))
        out += page.fact("tokens", _tokens(used.input_tokens, used.output_tokens, used.uncounted))
    if verbosity > 0:
        for purpose, part in found.by_purpose.items():
            out += page.fact(
                "calls", f"{page.quote(purpose, 40)}: {part.live:,} live, {part.replayed:,} replayed"
            )
    if latency.p50 is not None and latency.p95 is not None:
        times = f"p50 {amount(latency.p50, 's')}, p95 {amount(latency.p95, 's')}"
        out += page.fact("latency", f"{times} ({counted(latency.n, 'call')} of the application, as recorded)")
    if tapes.files:
        out += page.fact("cassettes", tapes.sentence, tapes.style)
    if found.budget:
        out += page.fact("budget", found.budget)
    return out


def _tokens(put_in: int | None, got_out: int | None, uncounted: int) -> str:
    if put_in is None and got_out is None:
        return "unknown: no call says how many"
    words = f"{put_in or 0:,} in, {got_out or 0:,} out"
    return f"{words} ({counted(uncounted, 'call')} without a count)" if uncounted else words


def _judges(page: _Page, found: Totals) -> list[Line]:
    out: list[Line] = []
    for judge in found.judges:
        model = f" ({page.quote(judge.model, 60)})" if judge.model else ""
        text = f"{page.quote(judge.name, 60)}{model}: {page.quote(judge.standing, 500)}"
        out += page.fact("judge", text, "red" if judge.unfit else "yellow" if judge.doubtful else "")
    return out


def _review(page: _Page, found: Sequence[Judgement], verbosity: int) -> list[Line]:
    """Which cases a person should look at, the least sure first; a case that several judges flag is said once."""
    if not found:
        return []
    cases = list(grouped(found, lambda one: one.nodeid).values())
    ids = Counter(one[0].case for one in cases)
    tests = Counter(_test(one[0]) for one in cases)
    named = []
    for one, *_ in cases:
        alone = one.case and ids[one.case] == 1
        name = page.quote(one.case if alone else _test(one), 60)
        if not alone and tests[_test(one)] > 1:
            name += f" in {page.quote(one.nodeid.partition('::')[0], 60)}"
        named.append(f"{name} ({one.short})")
    shown = named if verbosity > 0 else named[:REVIEW_SHOWN]
    rest = len(named) - len(shown)
    more = f", and {rest:,} more with -v" if rest else ""
    text = f"{counted(len(named), 'case')} for a person: {', '.join(shown)}{more}"
    return page.fact("review", text, "yellow")


def _test(one: Judgement) -> str:
    """The test's name without its file; of a test that has none (a doctest of a page) the file."""
    file, _, name = one.nodeid.partition("::")
    return name or file


def _notes(page: _Page, notes: Sequence[str], verbosity: int) -> list[Line]:
    shown = notes if verbosity > 0 else notes[:NOTES_SHOWN]
    out = [line for note in shown for line in page.fact("note", page.quote(note), "yellow")]
    rest = len(notes) - len(shown)
    return out + (page.fact("note", f"and {rest:,} more with -v", "yellow") if rest else [])
