"""Lines that the terminal adds with -v: facts of a run that nobody decides by, and details of the verdicts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmops.measurement import format_amount, format_count
from pytest_llmops.reports.terminal_page import LEVEL_STYLES, Line, Page, Style, truncate_cell
from pytest_llmops.results.comparison import group_by
from pytest_llmops.results.review import Judgement, select_for_review
from pytest_llmops.results.run import Run
from pytest_llmops.results.summary import (
    Metric,
    Side,
    Totals,
    describe_uneven_metrics,
    summarize_run,
)
from pytest_llmops.results.traffic import Latency, Traffic, format_cost, format_tokens
from pytest_llmops.results.verdict import CHANGE_WORDS, Verdict

INDENT = "  "
MAX_NOTE = 600  # characters of a note: -v shows at least as much as the summary


def detail_lines(run: Run, page: Page) -> list[Line]:
    """Return the facts of a run: verdicts with their advice, metrics, prompts, models, cost, latency, recordings, judges and notes.

    >>> detail_lines(Run(), Page(ascii=False, width=80))
    []
    """
    details = _Details(page=page, totals=summarize_run(run))
    lines = list[Line]()
    for verdict in run.verdicts:
        lines += details.verdict_lines(verdict)
    lines += details.metric_lines()
    lines += details.prompt_lines()
    lines += details.model_lines()
    lines += details.blame_lines()
    lines += details.traffic_lines()
    lines += details.judge_lines()
    lines += details.review_lines(select_for_review(run.records))
    for note in run.notes:
        lines += page.fact("note", page.quote(note, MAX_NOTE), "yellow")
    return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class _Details:
    # Each method returns one part of the details as lines; no lines if there is nothing to show.
    page: Page
    totals: Totals

    def verdict_lines(self, verdict: Verdict) -> list[Line]:
        """Return the parts of a verdict that are not in the headline and the cases."""
        page = self.page
        lines = list[Line]()
        if not verdict.is_since_baseline:
            lines += page.fact(verdict.label, page.quote(verdict.headline, 600), LEVEL_STYLES[verdict.level])
        label = "details" if verdict.is_since_baseline else ""
        for sentence in verdict.advice:
            lines += page.fact(label, page.quote(sentence, 600))
            label = ""
        if verdict.is_since_baseline:
            lines += page.fact("baseline", page.quote(verdict.baseline, 300))
            if verdict.code:
                lines += page.fact("code", f"{verdict.code}: `llmops docs {verdict.code}` explains it")
        lines += self._change_lines(verdict)
        if verdict.unchanged:
            tests = format_count(verdict.unchanged, "test")
            lines += page.fact("unchanged", f"{tests}: all answers are the baseline's recordings")
        return lines

    def _change_lines(self, verdict: Verdict) -> list[Line]:
        """Return the tests that are not listed as cases: tests of comparisons, and tests that only one side has."""
        lines = list[Line]()
        for kind, word in CHANGE_WORDS.items():
            is_case = verdict.is_since_baseline and kind in ("regressed", "improved", "changed")
            for change in () if is_case else verdict.of_kind(kind):
                nodeid = self.page.quote(change.nodeid)
                lines += self.page.fact(word, f"{nodeid}  {self.page.quote(change.words, 300)}".rstrip())
        return lines

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
        """Return a table with tokens, cost and latency of each model, without judges."""
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
        cases = format_count(len(names), "case")
        return self.page.fact("review", f"{cases} for a person: {', '.join(names)}", "yellow")

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


def _describe_tokens(traffic: Traffic) -> str:
    if traffic.input_tokens is None and traffic.output_tokens is None:
        return "unknown: no call reports them"
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
    """Return the sum of all tokens; ">" before it means that calls without a count are not in it."""
    counts = [count for count in (traffic.input_tokens, traffic.output_tokens) if count is not None]
    if not counts:
        return "-"
    if traffic.uncounted:
        return f">{sum(counts):,}"
    return f"{sum(counts):,}"


def _sum_cost(traffic: Traffic) -> str:
    """Return the cost; ">" before it means that calls without a price are not in it."""
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


def _test_name(judgement: Judgement) -> str:
    """Return the name of a test without its file; for a doctest of a page, which has no name, the file."""
    file, _, name = judgement.nodeid.partition("::")
    return name or file
