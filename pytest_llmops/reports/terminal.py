"""Render the summary that pytest prints after the failures, as styled lines; nothing is printed here.

The last lines of a run, from the verdict on, are in `pytest_llmops.reports.closing_lines`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmops.measurement import escape_output, format_amount, format_count
from pytest_llmops.reports.html_views import diff_words
from pytest_llmops.reports.terminal_page import (
    INDENT,
    LABEL_WIDTH,
    LEVEL_STYLES,
    Line,
    Page,
    Style,
    has_content,
    split_verdicts,
    truncate_cell,
)
from pytest_llmops.results.comparison import group_by
from pytest_llmops.results.problems import describe_unrecorded, list_record_commands
from pytest_llmops.results.review import Judgement, select_for_review
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.summary import (
    Metric,
    Side,
    Totals,
    describe_uneven_metrics,
    summarize_run,
)
from pytest_llmops.results.traffic import Latency, Traffic, format_cost, format_tokens
from pytest_llmops.results.verdict import CHANGE_WORDS, CaseChange, Verdict
from pytest_llmops.settings import NEEDS_JUDGE

MIN_WIDTH = 40
MAX_LISTED_CHANGES = 5
MAX_QUIET_CHANGES = 3  # with -q, of a gate that is red
MAX_DIFF = 240
CONTEXT = 40  # characters of unchanged text that a diff shows on each side of a difference
MAX_LISTED_NOTES = 5
MAX_LISTED_CASES = 5


def summary_lines(
    run: Run,
    *,
    verbosity: int = 0,
    ascii: bool = False,  # noqa: A002 -- says what it is
    width: int = 80,
) -> list[Line]:
    """Return the summary of a run as lines of at most ``width`` columns (40 at least), without the verdict, which comes last.

    A run in which nothing was measured, called or noted gives no lines. Names and notes are foreign text: each is put on
    one line, without control characters, and cannot start a command of a CI runner.

    Args:
        run: The run.
        verbosity: As in pytest. -2: no lines; -1: only verdicts, the worst cases of a red gate and the first note; 1: all notes and the calls by purpose.
        ascii: Whether the terminal can only show ASCII; other characters become escapes.
        width: Columns of the terminal; only commands, which are to be copied, may be longer.

    >>> summary_lines(Run())
    []
    """
    if verbosity <= -2 or not has_content(run):  # noqa: PLR2004 -- -qq
        return []
    if verbosity == -1:
        return _quiet_lines(run, Page(ascii=ascii, width=width))
    page = Page(ascii=ascii, width=max(width, MIN_WIDTH))
    summary = _Summary(page=page, totals=summarize_run(run), is_verbose=verbosity > 0)
    lines = list[Line]()
    for verdict in run.verdicts:
        lines += summary.verdict_lines(verdict)
    lines += summary.missed_lines(run.records)
    lines += summary.skipped_lines(run.records)
    lines += summary.metric_lines()
    lines += summary.prompt_lines()
    lines += summary.model_lines()
    lines += summary.blame_lines()
    lines += summary.traffic_lines()
    lines += summary.judge_lines()
    lines += summary.review_lines(select_for_review(run.records))
    lines += summary.note_lines(run.notes)
    return lines


def _quiet_lines(run: Run, page: Page) -> list[Line]:
    """Return the summary for ``-q``: cost, what settles an open gate or got worse, further verdicts and commands, and the first note."""
    leading, further = split_verdicts(run.verdicts)
    lines = []
    used = summarize_run(run).traffic
    if used.calls:
        lines.append(Line(f"llm: cost: {format_cost(used)}"))
    for verdict in leading:
        if verdict.level == "open" and verdict.advice:
            advice = page.quote(verdict.advice[0], 300)
            lines.append(Line(f"llm: {verdict.label}: {advice}", "yellow"))
        if verdict.level == "bad":
            lines += _quiet_change_lines(verdict, page)
    for command in list_record_commands(run.records)[1:]:  # the first one is the last line of the run
        lines.append(Line(f"llm: record: {escape_output(command)}"))
    for verdict in further:
        headline = page.quote(verdict.headline, 600)
        lines.append(Line(f"llm: {verdict.label}: {headline}"))
    if run.notes:
        note = f"llm: note: {page.quote(run.notes[0])}"
        if len(run.notes) > 1:
            note += f" (and {len(run.notes) - 1:,} more without -q)"
        lines.append(Line(note, "yellow"))
    return lines


def _quiet_change_lines(verdict: Verdict, page: Page) -> list[Line]:
    """Return the tests that got worse by the most, with both outputs, for ``-q``."""
    changes = verdict.of_kind("regressed")
    lines = []
    for change in changes[:MAX_QUIET_CHANGES]:
        nodeid = page.quote(change.nodeid)
        lines.append(Line(f"llm: worse: {nodeid}", "red"))
        for text in _list_difference(change, page):
            lines.append(Line(f"       {text}"))
    rest = len(changes) - MAX_QUIET_CHANGES
    if rest > 0:
        lines.append(Line(f"llm: worse: and {rest:,} more without -q"))
    return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class _Summary:
    # Each method returns one part of the summary as lines; no lines if there is nothing to show.
    page: Page
    totals: Totals
    is_verbose: bool

    def verdict_lines(self, verdict: Verdict) -> list[Line]:
        """Return a verdict with its advice, and the tests that changed."""
        page = self.page
        style = LEVEL_STYLES[verdict.level]
        lines = page.fact(verdict.label, page.quote(verdict.headline, 600), style)
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
            nodeid = page.quote(change.nodeid)
            words = page.quote(change.words, 300)
            lines += page.fact(word, f"{nodeid}  {words}", style)
            if change.kind in ("regressed", "improved"):
                for text in _list_difference(change, page):
                    lines += page.fact("", text)
        rest = len(changes) - len(listed)
        if rest:
            lines += page.fact(word, f"and {rest:,} more with -v")
        return lines

    def missed_lines(self, records: Sequence[TestRecord]) -> list[Line]:
        """Return the commands that record what is missing, each on one line (however long), to be copied."""
        commands = list_record_commands(records)
        if not commands:
            return []
        lines = self.page.fact("missed", f"{describe_unrecorded(records)}; to record all:", "yellow")
        indent = INDENT + " " * (LABEL_WIDTH + 1)
        for command in commands:
            lines.append(Line(indent + escape_output(command)))
        return lines

    def skipped_lines(self, records: Sequence[TestRecord]) -> list[Line]:
        # How many tests were skipped because they need a judge, and how to run them.
        skipped = [record for record in records if record.outcome == "skipped"]
        number = sum(record.message == NEEDS_JUDGE for record in skipped)
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
            name = metric.name
            if versions[name] > 1 and metric.version:
                name = f"{name} ({metric.version})"
            rows.append(self._metric_row(name, metric))
            if metric.failed:
                styles.append("red")
            elif metric.errored:
                styles.append("yellow")
            else:
                styles.append("")
        return self.page.table(rows, styles)

    def _metric_row(self, name: str, metric: Metric) -> list[str]:
        page = self.page
        row = [page.quote(name, 60), f"{metric.n:,}"]
        row += [page.mean(metric), page.threshold(metric)]
        row += [str(metric.failed or "-"), str(metric.errored or "-")]
        row.append(page.distribution(metric))
        return row

    def prompt_lines(self) -> list[Line]:
        """Return a table for each prompt with several versions, and one line with all other prompts."""
        lines: list[Line] = []
        single = []
        for versions in group_by(self.totals.versions, lambda side: side.comparison).values():
            prompt = self.page.quote(versions[0].prompt, 60)
            if len(versions) == 1:
                label = self.page.quote(versions[0].label, 60)
                single.append(f"{prompt}@{label}")
            else:
                lines += self._side_lines(f"prompt {prompt}", versions)
        if single:
            lines += self.page.fact("prompts", ", ".join(single))
        return lines

    def model_lines(self) -> list[Line]:
        # A table for each comparison of models, then doubts about the judges of their scores.
        lines: list[Line] = []
        for models in group_by(self.totals.candidates, lambda side: side.comparison).values():
            tests = f"{format_count(models[0].tests, 'test')} each"
            if models[0].left_out:
                tests += f", {models[0].left_out:,} left out that not all of them ran"
            lines += self._side_lines("model", models)
            lines += self._model_use_lines(models)
            lines += self.page.fact("models", tests)
            lines += self._doubt_lines(models)
        return lines

    def _doubt_lines(self, models: Sequence[Side]) -> list[Line]:
        doubts = {metric.name: metric.doubt for model in models for metric in model.metrics if metric.doubt}
        words = []
        for name, doubt in doubts.items():
            # The dimensions of a score ("judge.tone") have the same judge as the score, which is listed already.
            if any(name.startswith(f"{other}.") for other in doubts):
                continue
            quoted = self.page.quote(name, 60)
            words.append(f"{quoted}: {self.page.quote(doubt, 60)}")
        if not words:
            return []
        return self.page.fact("doubt", ", ".join(words), "yellow")

    def _side_lines(self, head: str, sides: Sequence[Side]) -> list[Line]:
        measured = [metric for side in sides for metric in side.metrics if metric.n]
        groups = group_by(measured, lambda metric: metric.key)
        with_threshold = {metric.key for metric in measured if metric.thresholds}
        # Metrics with a threshold come first, as columns on the right that do not fit are left out.
        keys = sorted(groups, key=lambda key: key not in with_threshold)
        names = [self.page.quote(key[0], 60) for key in keys]
        heads = [truncate_cell(name, 20) for name in names]
        rows = [[head, "passed", *heads]]
        for side in sides:
            by_key = {metric.key: metric for metric in side.metrics}
            label = f"{INDENT}{self.page.quote(side.label, 60)}"
            ran = side.tests - side.skipped
            means = [self.page.mean(by_key.get(key)) for key in keys]
            rows.append([label, f"{side.passed}/{ran}", *means])
        lines = self.page.table(rows, [""] * len(rows))
        for name, words in describe_uneven_metrics(sides):
            quoted = self.page.quote(name, 60)
            lines += self.page.fact("means", f"{quoted}: {words}")
        return lines

    def _model_use_lines(self, models: Sequence[Side]) -> list[Line]:
        """Return a table with tokens, cost and latency of each model, without those of judges."""
        rows = [["model", "unscored", "tokens", "cost", "p50", "p95"]]
        styles: list[Style] = [""]
        for side in models:
            label = f"{INDENT}{self.page.quote(side.label, 60)}"
            use = [_sum_tokens(side.traffic), _sum_cost(side.traffic)]
            times = [_format_seconds(side.latency.p50), _format_seconds(side.latency.p95)]
            rows.append([label, str(side.unscored or "-"), *use, *times])
            styles.append("yellow" if side.unscored else "")
        return self.page.table(rows, styles)

    def blame_lines(self) -> list[Line]:
        """Return in how many tests retrieval or generation is to blame."""
        parts = []
        for words, number in self.totals.blamed.items():
            parts.append(f"{format_count(number, 'test')}: {words}")
        if parts:
            return self.page.fact("blame", "; ".join(parts), "red")
        return []

    def traffic_lines(self) -> list[Line]:
        page = self.page
        used = self.totals.traffic
        lines: list[Line] = []
        if used.calls:
            lines += page.fact("cost", format_cost(used))
            lines += page.fact("tokens", _describe_tokens(used))
        if self.is_verbose:
            for purpose, part in self.totals.by_purpose.items():
                calls = f"{part.live:,} live, {part.replayed:,} replayed"
                lines += page.fact("calls", f"{page.quote(purpose, 40)}: {calls}")
        latency = _describe_latency(self.totals.latency)
        if latency:
            lines += page.fact("latency", latency)
        if self.totals.cassettes.files:
            lines += page.fact("cassettes", self.totals.cassettes.count_words, self.totals.cassettes.style)
        if self.totals.budget:
            lines += page.fact("budget", self.totals.budget)
        return lines

    def judge_lines(self) -> list[Line]:
        lines: list[Line] = []
        for judge in self.totals.judges:
            name = self.page.quote(judge.name, 60)
            if judge.model:
                name += f" ({self.page.quote(judge.model, 60)})"
            style: Style = ""
            if judge.unfit:
                style = "red"
            elif judge.doubtful:
                style = "yellow"
            standing = self.page.quote(judge.standing, 500)
            lines += self.page.fact("judge", f"{name}: {standing}", style)
        return lines

    def review_lines(self, judgements: Sequence[Judgement]) -> list[Line]:
        """Return the cases that a person should look at, each once, the least certain first."""
        if not judgements:
            return []
        by_test: dict[str, Judgement] = {}
        for judgement in judgements:
            by_test.setdefault(judgement.nodeid, judgement)
        names = self._name_cases(list(by_test.values()))
        listed = names
        if not self.is_verbose:
            listed = names[:MAX_LISTED_CASES]
        cases = format_count(len(names), "case")
        text = f"{cases} for a person: {', '.join(listed)}"
        rest = len(names) - len(listed)
        if rest:
            text += f", and {rest:,} more with -v"
        return self.page.fact("review", text, "yellow")

    def _name_cases(self, judgements: Sequence[Judgement]) -> list[str]:
        """Return the shortest unique name of each case (its id, its test, or test and file), and why it is listed."""
        ids = Counter(judgement.case for judgement in judgements)
        tests = Counter(_test_name(judgement) for judgement in judgements)
        names = []
        for judgement in judgements:
            test = _test_name(judgement)
            if judgement.case and ids[judgement.case] == 1:
                name = self.page.quote(judgement.case, 60)
            else:
                name = self.page.quote(test, 60)
                if tests[test] > 1:
                    file = judgement.nodeid.partition("::")[0]
                    name += f" in {self.page.quote(file, 60)}"
            names.append(f"{name} ({judgement.short})")
        return names

    def note_lines(self, notes: Sequence[str]) -> list[Line]:
        listed = notes
        if not self.is_verbose:
            listed = notes[:MAX_LISTED_NOTES]
        lines: list[Line] = []
        for note in listed:
            lines += self.page.fact("note", self.page.quote(note), "yellow")
        rest = len(notes) - len(listed)
        if rest:
            lines += self.page.fact("note", f"and {rest:,} more with -v", "yellow")
        return lines


def _describe_tokens(traffic: Traffic) -> str:
    if traffic.input_tokens is None and traffic.output_tokens is None:
        return "unknown: no call says how many"
    return format_tokens(traffic)


def _describe_latency(latency: Latency) -> str:
    """Return how long the calls of the application took; "" if that is not known."""
    if latency.p50 is None or latency.p95 is None:
        return ""
    p50 = format_amount(latency.p50, "s")
    p95 = format_amount(latency.p95, "s")
    calls = format_count(latency.n, "call")
    how = "as recorded"
    if latency.live == latency.n:
        how = "live"
    elif latency.live > 0:
        how = f"{latency.live:,} live, the others as recorded"
    return f"p50 {p50}, p95 {p95} ({calls} of the application, {how})"


def _sum_tokens(traffic: Traffic) -> str:
    """Return the sum of all tokens; ">" before it says that calls without a count are not in it."""
    counts = [count for count in (traffic.input_tokens, traffic.output_tokens) if count is not None]
    if not counts:
        return "-"
    if traffic.uncounted:
        return f">{sum(counts):,}"
    return f"{sum(counts):,}"


def _sum_cost(traffic: Traffic) -> str:
    """Return the cost; ">" before it says that calls without a price are not in it."""
    if traffic.known_usd is None:
        return "-"
    cost = format_amount(traffic.known_usd, "USD")
    if traffic.unpriced:
        return f">{cost}"
    return cost


def _format_seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return format_amount(seconds, "s")


def _list_difference(change: CaseChange, page: Page) -> list[str]:
    """Return how two outputs differ: one line with ``[-old-]``, ``{+new+}`` and some text around, or ``was:`` and ``now:``; else why not.

    Outputs that have less than half of their text in common are shown whole, as a mixture of both could not be read.
    """
    before, after = change.before_output, change.after_output
    if before is None:
        return [
            "the baseline's output is not stored here: the file beside the baseline is missing or of another one"
        ]
    if after is None:
        return ["no output now"]
    if before == after:
        return ["the output that is shown is the same: other trials differ, or what is made of it"]
    edits = diff_words(before, after)
    common = sum(len(text) for kind, text in edits if kind == "same")
    if 2 * common < max(len(before), len(after)):
        return [f"was: {page.quote(before, MAX_DIFF)}", f"now: {page.quote(after, MAX_DIFF)}"]
    pieces: list[str] = []
    for kind, text in edits:
        quoted = page.quote(text, MAX_DIFF)
        pieces.append(_format_edit(kind, quoted, is_first=not pieces))
    return [page.quote("".join(pieces), MAX_DIFF)]


def _format_edit(kind: str, text: str, *, is_first: bool) -> str:
    """Return a piece of a difference; unchanged text is shortened."""
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
    """Return the name of a test without its file; for a doctest of a page, which has no name, the file."""
    file, _, name = judgement.nodeid.partition("::")
    return name or file
