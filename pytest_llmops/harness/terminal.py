"""What the plugin prints: words of outcomes, scores, how failures are listed, progress, and GitHub's annotations."""

import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from pluggy import HookimplMarker

from pytest_llmops._util.git import run_git
from pytest_llmops.cassettes import count_live_calls
from pytest_llmops.harness.item import SECRETS_IN_URL
from pytest_llmops.measurement import (
    Measurement,
    escape_output,
    format_amount,
    format_count,
    label_suffix,
    shorten_text,
)
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.results.comparison import group_by
from pytest_llmops.results.details import SideFacts, format_score_and_threshold, read_detail
from pytest_llmops.results.problems import describe_kind, merge_record_commands
from pytest_llmops.results.run import Run
from pytest_llmops.settings import Settings

STATUS_WORDS = {"MeasurementErrored": "UNSCORED", "CassetteMiss": "MISSED", "BudgetReached": "BUDGET"}
MODES = {
    "none": "recordings are replayed, nothing is asked live",
    "new": "recordings are replayed, what is missing is asked live and recorded",
    "changed": "recordings are replayed, a test with a new request asks live and is recorded",
    "all": "everything is asked live and recorded again",
    "live": "everything is asked live, nothing is recorded",
    "verify": "everything is asked live and compared with its recording",
}
MAX_SCORES = 3  # scores beside the outcome of a test
MAX_KINDS = 5  # kinds of misses that are shown in full, with -v all
MAX_NAMES = 10  # names of tests that a line lists
# A list of failures does not name them: their texts say what is wrong.
OUR_ERRORS = (
    "Failed",
    "MeasurementFailed",
    "MeasurementErrored",
    "CassetteMiss",
    "BudgetReached",
    "UsageError",
)
hookimpl = HookimplMarker("pytest")


def describe_settings(settings: Settings) -> str:
    """Return how the run calls models, in a line.

    >>> describe_settings(Settings(model="gpt-5-mini", budget=2.0))
    'llm: recordings are replayed, nothing is asked live; model gpt-5-mini; budget $2.00'
    """
    judge = settings.judge_model or settings.single_model
    address = SECRETS_IN_URL.sub("[secret]", settings.base_url)
    parts = [
        MODES["changed" if settings.changed else settings.record],
        f"model {', '.join(settings.models)}" if settings.models else "",
        f"judge {judge}" if settings.judge and judge else "",
        f"server {address}" if address else "",
        f"at most {format_count(settings.max_calls, 'live call')}" if settings.max_calls is not None else "",
        f"budget {format_amount(settings.budget, 'USD')}" if settings.budget is not None else "",
    ]
    text = f"llm: {'; '.join(filter(None, parts))}"
    return escape_output(shorten_text(Redactor.from_environment(os.environ).clean_text(text), 1000))


class TerminalHooks:
    """Hooks of the terminal; registered at the first report that carries data of ours."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self._lists_failures = False
        self._errors: list[Any] | None = None

    def pytest_report_teststatus(self, report: Any) -> Any:
        """Show what could not be scored as an error with its own word, and with -v the scores."""
        payload = getattr(report, "llmops", None)
        if not payload or report.when != "call" or hasattr(report, "wasxfail"):
            return None
        is_error = report.failed and payload.get("outcome") == "errored"
        if is_error:
            word = STATUS_WORDS.get(payload["kind"], "ERROR")
        else:
            word = report.outcome.upper()
        is_verbose = self._config.get_verbosity() > 0 and not self._lists_failures
        if is_verbose and word in ("PASSED", "FAILED"):
            scores = describe_scores(payload)
        else:
            scores = ""
        if not is_error and not scores:
            return None
        if is_error:
            category = "error"
        else:
            category = report.outcome
        if report.passed:
            letter = "."
        else:
            letter = word[0]
        if scores:
            shown = escape_output(f"{word} ({scores})")
        else:
            shown = word
        return category, letter, (shown, {"green" if report.passed else "red": True})

    @hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> Generator[None, Any, Any]:
        """Let pytest show equal misses once, and list failures by assertion and score."""
        self._lists_failures = True
        errors = terminalreporter.stats.get("error", [])
        if errors and self._config.get_verbosity() <= 1:
            self._errors = list(errors)
            errors[:] = list(self._hide_equal_misses(errors))
        return (yield)

    def _hide_equal_misses(self, reports: list[Any]) -> Iterator[Any]:
        """Yield the reports without the misses that differ from an earlier one by nothing but their test."""
        misses = [report for report in reports if getattr(report, "llmops", {}).get("kind") == "CassetteMiss"]
        kinds = group_by(misses, lambda report: describe_kind(_read_message(report)))
        if self._config.get_verbosity() > 0:
            most = len(kinds)
        else:
            most = MAX_KINDS
        groups = list(kinds.values())
        # What differs from all that is shown is listed with the last of these.
        groups[most - 1 :] = [[report for group in groups[most - 1 :] for report in group]]
        hidden = {id(report) for group in groups for report in group[1:]}
        for group in groups:
            if len(group) > 1:
                _add_others(group)
        yield from (report for report in reports if id(report) not in hidden)

    def list_failures(self, stats: Mapping[str, list[Any]]) -> None:
        """Prepare pytest's list of failures, which comes after ours: no report is hidden, each has its headline."""
        if self._errors is not None:
            stats["error"][:], self._errors = self._errors, None
        for report in [*stats.get("failed", ()), *stats.get("error", ())]:
            crash = getattr(report.longrepr, "reprcrash", None)
            if getattr(report, "llmops", None) and crash is not None:
                crash.message = escape_output(describe_failure(report))


def _read_message(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash is not None else report.longrepr)


def _add_others(group: list[Any]) -> None:
    """Add to the first report of equal misses which tests have the same, and the commands that record all."""
    first, *others = group
    names = [report.nodeid for report in others[:MAX_NAMES]]
    if len(others) > MAX_NAMES:
        names += [f"and {len(others) - MAX_NAMES:,} more"]
    lines = [shorten_text(name) for name in names]
    lines += [f"record all: {command}" for command in merge_record_commands(map(_read_message, group))]
    text = escape_output("\n".join(lines))
    heading = f"{format_count(len(others), 'more test')} without a recording, for the same reason"
    if hasattr(first.longrepr, "addsection"):
        first.longrepr.addsection(heading, text, "-")
    else:
        first.longrepr = f"{first.longrepr}\n{heading}\n{text}"


def describe_scores(payload: Mapping[str, Any]) -> str:
    """Return the scores of a test in a few words, the failed first; "" without any.

    >>> describe_scores({"measurements": [{"name": "semantic", "value": 0.41, "threshold": 0.55}]})
    'semantic 0.41 < 0.55'
    """
    scores = [measurement for measurement in _read_measurements(payload) if measurement.value is not None]
    # A yes or no that is yes says nothing beside scores.
    scores = [
        score for score in scores if (score.unit, score.value, score.threshold) != ("1", 1, 1)
    ] or scores
    scores.sort(key=lambda measurement: measurement.status != "failed")
    words = [_describe_score(measurement, measurement.name) for measurement in scores[:MAX_SCORES]]
    rest = len(scores) - MAX_SCORES
    return ", ".join(words) + (f", {rest:,} more" if rest > 0 else "")


def _read_measurements(payload: Mapping[str, Any]) -> list[Measurement]:
    return list(map(Measurement.from_wire, payload.get("measurements", ())))


def _describe_score(measurement: Measurement, name: str) -> str:
    value, threshold = format_score_and_threshold(measurement)
    if measurement.better == "higher":
        sign = "<"
    else:
        sign = ">"
    if measurement.status == "failed":
        limit = f" {sign} {threshold}"
    else:
        limit = ""
    return f"{shorten_text(name, 60)}{label_suffix(measurement.label)} {value}{limit}"


def describe_failure(report: Any) -> str:
    """Return the headline of a failure: its assertions with their scores, else the first line of its text."""
    line = first = _read_message(report).partition("\n")[0]
    for name in OUR_ERRORS:
        line = line.removeprefix(f"{name}: ")
    line = line.removeprefix(f"{report.nodeid}: ")
    if not first.startswith("Measurement"):  # of several trials the line says more
        return line
    failed = [
        measurement for measurement in _read_measurements(report.llmops) if measurement.status == "failed"
    ]
    pairs = zip(report.llmops.get("assertions", ()), failed, strict=False)
    # An assertion may have further measurements, without its name.
    headlines = [_describe_failed(name, measurement, line) for name, measurement in pairs if name]
    if len(headlines) > 1:
        several = f"{len(headlines)} assertions failed: "
    else:
        several = ""
    if headlines:
        return several + "; ".join(headlines)
    return line


def _describe_failed(assertion: str, measurement: Measurement, line: str) -> str:
    start = f"{measurement.name}{label_suffix(measurement.label)}:"
    if line.startswith(start):
        return f"{assertion}:{line.removeprefix(start)}"
    evidence = read_detail(measurement).evidence
    if measurement.unit == "1" and (measurement.value, measurement.threshold) == (0, 1) and evidence:
        label, text = evidence[0]
        return f"{assertion}: {shorten_text(label, 60)} {shorten_text(str(text), 100)}"
    return _describe_score(measurement, assertion)


FIRST_S = 3.0  # after which a terminal shows the state of the run
EVERY_S = 10.0  # between two lines, where no line can be replaced
LEAST_MINUTES_S = 90.0
ERASE_BELOW = "\x1b[J"


class Progress:
    """Hooks of a run that may call models.

    Args:
        config: pytest's.
        budget_usd: What the run may cost; None: any amount.
        clock: Returns seconds, from any start.
    """

    def __init__(
        self, config: Any, budget_usd: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._budget_usd = budget_usd
        self._clock = clock
        self._tests, self._costs, self._is_shown = 0, list[float](), False
        self._ended, self._ends = threading.Event(), ExitStack()

    @hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: Any) -> None:
        """Begin, unless there is no terminal to write to, or -qq asks for silence."""
        option = self._config.option
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or option.verbose < -1 or option.collectonly:
            return
        self._session = session
        self._writer = reporter._tw  # noqa: SLF001 -- pytest has no public access to its column
        self._began = self._printed = self._clock()
        # Other reporters (pytest-sugar) replace lines themselves; without capture, tests write between them.
        is_plain = type(reporter).__name__ == "TerminalReporter" and option.capture != "no"
        self._in_place = is_plain and reporter.isatty and reporter.hasmarkup
        self._file = self._writer._file  # noqa: SLF001 -- as above
        with suppress(OSError, AttributeError):  # a copy: during a test the original is captured
            self._file = self._ends.enter_context(
                os.fdopen(os.dup(self._file.fileno()), "w", encoding="utf-8")
            )
        thread = threading.Thread(target=self._run, name="llmops-progress", daemon=True)
        self._ends.callback(thread.join)
        thread.start()

    def _run(self) -> None:
        while not self._ended.wait(1.0):
            self.tick()

    def tick(self) -> None:
        """Show the state of the run, if it is time for it and there are live calls."""
        now, (begun, done) = self._clock(), count_live_calls()
        if self._in_place:
            is_due = now - self._began >= FIRST_S
        else:
            is_due = now - self._printed >= EVERY_S
        if not begun or not is_due:
            return
        line = self._writer._current_line
        column = self._writer.width_of_current_line
        column, width = (column % self._writer.fullwidth, column) if self._in_place else (column, 0)
        if width and not column:  # the cursor waits behind the last column, and cannot be put back there
            return
        text = self.describe(begun, done, now - self._began)
        self._printed = now
        if self._in_place:
            if column:
                back = f"\x1b[A\r\x1b[{column}C"
            else:
                back = "\x1b[A\r"
            text = f"{ERASE_BELOW}\n{text[: self._writer.fullwidth - 1]}{back}"
            self._is_shown = True
        elif column:
            text = f"\n{text}\n{line}"
        else:
            text = f"{text}\n"
        print(text, end="", file=self._file, flush=True)

    def describe(self, begun: int, done: int, elapsed_s: float) -> str:
        """Return the state of the run in a line."""
        if self._costs:
            cost = format_amount(sum(self._costs), "USD")
        else:
            cost = "cost unknown"
        if self._budget_usd is not None:
            cost += f" of {format_amount(self._budget_usd, 'USD')}"
        total = self._session.testscollected
        tests = self._tests
        left = elapsed_s / max(tests, 1) * max(total - tests, 0)
        if left < LEAST_MINUTES_S:
            end = f"{left:.0f} s"
        else:
            end = f"{left / 60:.0f} min"
        calls = f"{format_count(done, 'call')} done, {begun - done:,} in flight"
        return f"llm: {calls}, {cost}, {tests:,} of {format_count(total, 'test')}" + (
            f", about {end} left" if tests else ""
        )

    @hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        """Remove the line before pytest writes."""
        if self._is_shown:
            self._is_shown = False
            print(ERASE_BELOW, end="", file=self._file, flush=True)

    @hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        """Count tests and costs."""
        self.pytest_runtest_logstart()
        self._tests += report.when == "teardown"
        calls = getattr(report, "llmops", {}).get("calls", ())
        costs = (call.get("cost_usd") for call in calls if not call.get("replayed"))
        self._costs += [cost for cost in costs if cost is not None]

    @hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """End before pytest prints its summary."""
        self._ended.set()
        self.pytest_runtest_logstart()
        self._ends.close()


OTHER_ANNOTATOR = "pytest_github_actions_annotate_failures"  # a plugin that annotates failures itself
FIRST_CHANGE = re.compile(r"^\+\+\+ (?P<file>[^\t\n]+)\t?\n@@ -\S+ \+(?P<line>\d+)", re.MULTILINE)


def append_summary(run: Run, file: Path) -> None:
    """Append a run as Markdown to the summary of the job.

    Raises:
        OSError: It cannot be written.
    """
    from pytest_llmops.reports.markdown import MAX_SUMMARY_BYTES, render_markdown

    with file.open("a", encoding="utf-8", errors="replace") as summary:
        summary.write("\n" + render_markdown(run, max_bytes=MAX_SUMMARY_BYTES - summary.tell()))


def list_annotations(run: Run, config: Any, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the commands that annotate the problems of a run; none outside of GitHub Actions."""
    if environ.get("GITHUB_ACTIONS") != "true" or config.pluginmanager.hasplugin(OTHER_ANNOTATOR):
        return
    from pytest_llmops.reports.ci_formats import format_annotations

    prompts = {SideFacts.from_wire(record.fact("prompt")).path for record in run.records} - {""}
    if prompts:
        base = environ.get("GITHUB_BASE_REF")
    else:
        base = ""
    yield from format_annotations(run, _find_changed_lines(config.rootpath, prompts, base) if base else {})


def _find_changed_lines(root: Path, files: Iterable[str], base: str) -> dict[str, int]:
    """Return the first changed line of each file that a pull request changes.

    root: The folder that the files start from.
    files: Files to look at; at least one.
    base: The branch that the pull request goes to; if it was not fetched, the first parent of the commit stands for it.
    """
    options = "--literal-pathspecs", "diff", "-U0", "--no-prefix", "--no-ext-diff", "--no-color", "--relative"
    patches = (
        run_git(root, *options, commits, "--", *files)
        for commits in (f"origin/{base}...HEAD", "HEAD^1..HEAD")
    )
    patch = next((patch for patch in patches if isinstance(patch, bytes)), b"").decode("utf-8", "replace")
    return {match["file"]: max(int(match["line"]), 1) for match in FIRST_CHANGE.finditer(patch)}
