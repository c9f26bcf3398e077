"""Terminal output of the plugin: words of outcomes, scores, the list of failures, progress, and GitHub's annotations."""

import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker

from pytest_llmops._util.git import run_git
from pytest_llmops._util.option_modes import LOOKS
from pytest_llmops.cassettes import count_live_calls
from pytest_llmops.errors import SetupMissing, append_code, split_code
from pytest_llmops.harness.rerun_flags import SECRETS_IN_URL
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

if TYPE_CHECKING:
    from pytest_llmops.reports.terminal import Section

STATUS_WORDS = {"MeasurementErrored": "UNSCORED", "CassetteMiss": "MISSED", "BudgetReached": "BUDGET"}
MODES = {
    "none": "recordings are replayed, no live calls",
    "new": "recordings are replayed, missing answers are requested live and recorded",
    "changed": "recordings are replayed, a test with a new request runs live and is recorded",
    "batch": "recordings are replayed, missing ones are recorded through batch APIs",
    "fork": "recordings are replayed up to the first new request of a test, then each trial continues live",
    "all": "all calls are made live and recorded again",
    "live": "all calls are made live, nothing is recorded",
    "verify": "all calls are made live and compared with their recordings",
}
TOOL_MODES = {
    "replay": "tools are replayed",
    "compare": "tools are called and compared with their recordings",
}
MAX_SCORES = 3  # scores after the outcome of a test
MAX_KINDS = 5  # kinds of missing recordings that are shown in full; with -v all are
MAX_NAMES = 10  # names of tests that a line lists
# Exceptions whose name is left out in the list of failures, as their text explains the error
OUR_MODULE = re.compile(r"^pytest_llmops(?:\.\w{1,60}){1,8}: ")
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
    'llm: recordings are replayed, no live calls; model gpt-5-mini; budget $2.00'
    """
    mode: str = settings.record
    if settings.changed:
        mode = "changed"
    if settings.batch:
        mode = "batch"
    if settings.fork:
        mode = "fork"
    parts = [MODES[mode]]
    if settings.tools in TOOL_MODES:
        words = (
            MODES[mode]
            .replace("all calls", "all calls of models")
            .replace("no live calls", "no live calls of models")
        )
        parts = [words, TOOL_MODES[settings.tools]]
    if settings.models:
        parts.append(f"model {', '.join(settings.models)}")
    judge = settings.judge_model or settings.single_model
    if settings.judge and judge:
        parts.append(f"judge {judge}")
    address = SECRETS_IN_URL.sub("[secret]", settings.base_url)
    if address:
        parts.append(f"server {address}")
    if settings.max_calls is not None:
        parts.append(f"at most {format_count(settings.max_calls, 'live call')}")
    if settings.budget is not None:
        parts.append(f"budget {format_amount(settings.budget, 'USD')}")
    redactor = Redactor.from_environment(os.environ)
    text = redactor.clean_text("llm: " + "; ".join(parts))
    return escape_output(shorten_text(text, 1000))


class TerminalHooks:
    """Hooks of the terminal; registered at the first report that carries data of ours.

    Args:
        config: pytest's.
        print_section: Gets pytest's terminal reporter, and prints the last section of the run.
    """

    def __init__(self, config: Any, print_section: Callable[[Any], None]) -> None:
        self._config = config
        self._print_section = print_section
        self._lists_failures = False
        self._errors: list[Any] | None = None
        # By the `id` of the report that shows an error, how many tests share it
        self._shared: dict[int, int] = {}

    def pytest_report_teststatus(self, report: Any) -> Any:
        """Show a test without a score as an error with its own word, and with -v the scores."""
        payload = getattr(report, "llmops", None)
        if not payload or report.when != "call" or hasattr(report, "wasxfail"):
            return None
        if report.failed and payload.get("outcome") == "errored":
            word = STATUS_WORDS.get(payload["kind"], "ERROR")
            return "error", word[0], (word, {"red": True})
        word = report.outcome.upper()
        scores = ""
        shows_scores = self._config.get_verbosity() > 0 and not self._lists_failures
        if shows_scores and word in ("PASSED", "FAILED"):
            scores = describe_scores(payload)
        if not scores:
            return None
        text = escape_output(f"{word} ({scores})")
        if report.passed:
            return report.outcome, ".", (text, {"green": True})
        return report.outcome, word[0], (text, {"red": True})

    @hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> Generator[None, Any, Any]:
        """Let pytest show equal errors only once; then print our section, after its list of failures.

        Unless -vv is given, the others are hidden while pytest prints them. `list_failures` shows missing recordings again, as each test
        has one of its own to record; another error that tests share, such as a missing package, stays one line.
        """
        self._lists_failures = True
        errors = terminalreporter.stats.get("error", [])
        all_errors = list(errors)
        if errors and self._config.get_verbosity() <= 1:
            self._errors = list(self._hide_repeated_errors(all_errors))
            errors[:] = list(self._hide_equal_misses(self._errors))
        result = yield
        errors[:] = all_errors
        self._print_section(terminalreporter)
        return result

    def _hide_repeated_errors(self, reports: list[Any]) -> Iterator[Any]:
        """Yield the reports, but of tests without a score for the same reason only the first, which gives their number."""
        repeats = set[int]()
        shared = [report for report in reports if _is_shared_problem(report)]
        for group in group_by(shared, _read_own_message).values():
            if len(group) > 1:
                heading = f"{format_count(len(group) - 1, 'more test')} with the same error"
                _add_others(group, heading)
                self._shared[id(group[0])] = len(group)
                repeats.update(id(report) for report in group[1:])
        for report in reports:
            if id(report) not in repeats:
                yield report

    def _hide_equal_misses(self, reports: list[Any]) -> Iterator[Any]:
        """Yield the reports, but of equal misses (of different tests, with the same kind of message) only the first.

        The first one gets a section that lists the others.
        """
        misses = list(filter(_is_miss, reports))
        by_kind = group_by(misses, lambda report: describe_kind(_read_message(report)))
        groups = list(by_kind.values())
        if self._config.get_verbosity() <= 0 and len(groups) > MAX_KINDS:
            # The remaining kinds are put into the last group, so that they are listed in its section.
            rest = [report for group in groups[MAX_KINDS - 1 :] for report in group]
            groups = [*groups[: MAX_KINDS - 1], rest]
        hidden = set[int]()
        for group in groups:
            hidden.update(id(report) for report in group[1:])
            if len(group) > 1:
                heading = (
                    f"{format_count(len(group) - 1, 'more test')} without a recording, for the same reason"
                )
                _add_others(group, heading)
        for report in reports:
            if id(report) not in hidden:
                yield report

    def list_failures(self, stats: Mapping[str, list[Any]]) -> None:
        """Prepare pytest's short list of failures, which comes next: show hidden reports again, each with a headline.

        Changes the messages of the reports.
        """
        if self._errors is not None:
            stats["error"][:] = self._errors
            self._errors = None
        for report in [*stats.get("failed", ()), *stats.get("error", ())]:
            crash = getattr(report.longrepr, "reprcrash", None)
            if getattr(report, "llmops", None) and crash is not None:
                headline = describe_failure(report)
                if id(report) in self._shared:
                    headline = f"{format_count(self._shared[id(report)], 'test')}: {headline}"
                crash.message = escape_output(headline)


def _read_message(report: Any) -> str:
    """Return the message of a failure, without its traceback if there is one."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return str(report.longrepr)
    return str(crash.message)


def _is_shared_problem(report: Any) -> bool:
    """Return whether a test has an error that is not about its own recording, so that other tests may have the very same."""
    payload = getattr(report, "llmops", {})
    if payload.get("outcome") != "errored":
        return False
    is_setup = split_code(_read_message(report).partition("\n")[0])[1] == SetupMissing.code
    return is_setup or not _is_miss(report)


def _read_own_message(report: Any) -> str:
    """Return the message of a failure without the name of its test, to find equal ones."""
    return _read_message(report).replace(report.nodeid, "")


def _add_others(group: list[Any], heading: str) -> None:
    """Add a section to the first report of a group: the other tests with the same error, and the commands that record the missing answers.

    Args:
        group: At least two reports.
        heading: The heading of the section.
    """
    first, *others = group
    names = [report.nodeid for report in others[:MAX_NAMES]]
    if len(others) > MAX_NAMES:
        names += [f"and {len(others) - MAX_NAMES:,} more"]
    lines = [shorten_text(name) for name in names]
    record_commands = [command for report in group for command in report.llmops.get("record", ())]
    lines += [f"record all: {command}" for command in merge_record_commands(record_commands)]
    text = escape_output("\n".join(lines))
    if hasattr(first.longrepr, "addsection"):
        first.longrepr.addsection(heading, text, "-")
    else:
        first.longrepr = f"{first.longrepr}\n{heading}\n{text}"


def _is_miss(report: Any) -> bool:
    payload = getattr(report, "llmops", {})
    return bool(payload.get("kind") == "CassetteMiss")


def describe_scores(payload: Mapping[str, Any]) -> str:
    """Return the scores of a test in a few words, failed ones first; "" without any.

    >>> describe_scores({"measurements": [{"name": "semantic", "value": 0.41, "threshold": 0.55}]})
    'semantic 0.41 < 0.55'
    """
    scores = [measurement for measurement in _read_measurements(payload) if measurement.value is not None]
    # A check that is simply fulfilled (1 of 1) is left out next to other scores.
    others = [score for score in scores if (score.unit, score.value, score.threshold) != ("1", 1, 1)]
    if others:
        scores = others
    scores.sort(key=lambda score: score.status != "failed")
    words = [_describe_score(score, score.name) for score in scores[:MAX_SCORES]]
    if len(scores) > MAX_SCORES:
        words.append(f"{len(scores) - MAX_SCORES:,} more")
    return ", ".join(words)


def _read_measurements(payload: Mapping[str, Any]) -> list[Measurement]:
    return list(map(Measurement.from_wire, payload.get("measurements", ())))


def _describe_score(measurement: Measurement, name: str) -> str:
    """Return a score under a name; a failed one with its threshold: ``semantic 0.41 < 0.55``."""
    value, threshold = format_score_and_threshold(measurement)
    label = label_suffix(measurement.label)
    text = f"{shorten_text(name, 60)}{label} {value}"
    if measurement.status != "failed":
        return text
    if measurement.better == "higher":
        return f"{text} < {threshold}"
    return f"{text} > {threshold}"


def describe_failure(report: Any) -> str:
    """Return the headline of a failure: its assertions with their scores, else the first line of its message; then its code."""
    first, code = split_code(_read_message(report).partition("\n")[0])
    return append_code(_describe_first_line(report, first), code)


def _describe_first_line(report: Any, first: str) -> str:
    """Return the headline of a failure without its code.

    Args:
        report: pytest's report.
        first: The first line of its message, without its code.
    """
    line = OUR_MODULE.sub("", first)
    for name in OUR_ERRORS:
        line = line.removeprefix(f"{name}: ")
    line = line.removeprefix(f"{report.nodeid}: ")
    if not first.startswith(
        "Measurement"
    ):  # not ours, or of several trials, whose line has the number of passed ones
        return line
    failed = [score for score in _read_measurements(report.llmops) if score.status == "failed"]
    # Only the first measurement of an assertion has its name; the others have "".
    pairs = zip(report.llmops.get("assertions", ()), failed, strict=False)
    headlines = [_describe_failed(name, measurement, line) for name, measurement in pairs if name]
    if not headlines:
        return line
    text = "; ".join(headlines)
    if len(headlines) > 1:
        return f"{len(headlines)} assertions failed: {text}"
    return text


def _describe_failed(assertion: str, measurement: Measurement, line: str) -> str:
    """Return an assertion that failed, with its most useful detail.

    That is the rest of the message's first line if it is about this measurement, else the first evidence of a check that is not
    fulfilled (0 of 1), else the score.
    """
    start = f"{measurement.name}{label_suffix(measurement.label)}:"
    if line.startswith(start):
        return f"{assertion}:{line.removeprefix(start)}"
    evidence = read_detail(measurement).evidence
    is_no = (measurement.unit, measurement.value, measurement.threshold) == ("1", 0, 1)
    if is_no and evidence:
        label, text = evidence[0]
        label = shorten_text(label, 60)
        return f"{assertion}: {label} {shorten_text(str(text), 100)}"
    return _describe_score(measurement, assertion)


def find_width(terminalreporter: Any, environ: Mapping[str, str]) -> int:
    """Return the columns of the terminal; 0: the output is a file or the log of a CI job, and COLUMNS does not give it a width."""
    if not (terminalreporter.isatty or environ.get("COLUMNS")):
        return 0
    width: int = terminalreporter._tw.fullwidth  # noqa: SLF001 -- pytest has no public access to its width
    return width


def write_section(terminalreporter: Any, section: "Section", *, has_title: bool) -> None:
    """Print a section without any secret of the environment."""
    if not section.lines:
        return
    redactor = Redactor.from_environment(os.environ)
    if has_title:
        terminalreporter.write_sep("=", section.title, **_markup(section.style))
    for line in section.lines:
        text = redactor.clean_text(line.text)
        end = line.styled or len(text)
        if not line.style or end == len(text):
            terminalreporter.write_line(text, **_markup(line.style))
        else:
            terminalreporter.write(text[:end], **_markup(line.style))
            terminalreporter.write_line(text[end:])


def _markup(style: str) -> dict[str, bool]:
    return {style: True} if style else {}


FIRST_S = 3.0  # time from the start of the run to the first line, on a terminal where a line can be replaced
EVERY_S = 10.0  # time between two lines, where no line can be replaced
LEAST_MINUTES_S = 90.0  # remaining time from which it is given in minutes
ERASE_BELOW = "\x1b[J"


class Progress:
    """Shows how far a run is that may call models: calls, cost, tests, remaining time.

    Args:
        config: pytest's.
        budget_usd: The most that the run may cost. None: any amount.
        clock: Returns seconds, from any start.
    """

    def __init__(
        self, config: Any, budget_usd: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._budget_usd = budget_usd
        self._clock = clock
        self._tests = 0
        self._costs: list[float] = []
        self._is_shown = False
        self._ended = threading.Event()
        self._ends = ExitStack()

    @hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: Any) -> None:
        """Start the thread that shows the state, unless the run has no terminal reporter or -qq, or only collects tests."""
        option = self._config.option
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or option.verbose < -1 or option.collectonly:
            return
        self._session = session
        self._writer = reporter._tw  # noqa: SLF001 -- pytest has no public access to its column
        self._began = self._clock()
        self._printed = self._began
        # Other reporters (pytest-sugar) replace lines themselves; without capture, tests write between them.
        is_plain = type(reporter).__name__ == "TerminalReporter" and option.capture != "no"
        self._in_place = is_plain and reporter.isatty and reporter.hasmarkup
        self._file = self._writer._file  # noqa: SLF001 -- as above
        with suppress(OSError, AttributeError):  # a copy: during a test the original is captured
            copy = os.fdopen(os.dup(self._file.fileno()), "w", encoding="utf-8")
            self._file = self._ends.enter_context(copy)
        thread = threading.Thread(target=self._run, name="llmops-progress", daemon=True)
        self._ends.callback(thread.join)
        thread.start()

    def _run(self) -> None:
        while not self._ended.wait(1.0):
            self.tick()

    def tick(self) -> None:
        """Show the state of the run, if it is time for it and there are live calls."""
        now = self._clock()
        begun, done = count_live_calls()
        if self._in_place:
            is_due = now - self._began >= FIRST_S
        else:
            is_due = now - self._printed >= EVERY_S
        if not begun or not is_due:
            return
        text = self.describe(begun, done, now - self._began)
        if self._in_place:
            self._print_in_place(text, now)
        else:
            self._print_line(text, now)

    def _print_in_place(self, text: str, now: float) -> None:
        """Show a text below the line that pytest is writing, and put the cursor back."""
        width = self._writer.width_of_current_line
        column = width % self._writer.fullwidth
        if (
            width and not column
        ):  # the line is full: the cursor is behind the last column, where it cannot be put back
            return
        back = "\x1b[A\r"
        if column:
            back += f"\x1b[{column}C"
        shown = text[: self._writer.fullwidth - 1]
        self._is_shown = True
        self._print(f"{ERASE_BELOW}\n{shown}{back}", now)

    def _print_line(self, text: str, now: float) -> None:
        """Print a text on a line of its own. If pytest has begun a line, end it, and print its text again below ours."""
        if self._writer.width_of_current_line:
            line = self._writer._current_line  # noqa: SLF001 -- pytest has no public access to it
            self._print(f"\n{text}\n{line}", now)
        else:
            self._print(f"{text}\n", now)

    def _print(self, text: str, now: float) -> None:
        self._printed = now
        print(text, end="", file=self._file, flush=True)

    def describe(self, begun: int, done: int, elapsed_s: float) -> str:
        """Return the state of the run in a line."""
        cost = "cost unknown"
        if self._costs:
            cost = format_amount(sum(self._costs), "USD")
        if self._budget_usd is not None:
            cost += f" of {format_amount(self._budget_usd, 'USD')}"
        in_flight = begun - done
        calls = f"{format_count(done, 'call')} done, {in_flight:,} in flight"
        total = self._session.testscollected
        tests = f"{self._tests:,} of {format_count(total, 'test')}"
        text = f"llm: {calls}, {cost}, {tests}"
        if not self._tests:
            return text
        left_s = elapsed_s / self._tests * max(total - self._tests, 0)
        if left_s < LEAST_MINUTES_S:
            return f"{text}, about {left_s:.0f} s left"
        return f"{text}, about {left_s / 60:.0f} min left"

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
        if report.when == "teardown":
            self._tests += 1
        for call in getattr(report, "llmops", {}).get("calls", ()):
            cost_usd = call.get("cost_usd")
            if cost_usd is not None and not call.get("replayed"):
                self._costs.append(cost_usd)

    @hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """End before pytest prints its summary."""
        self._ended.set()
        self.pytest_runtest_logstart()
        self._ends.close()


def prepare_live_calls(config: Any, settings: Settings) -> None:
    """Open the folder that the processes of a run share, and show how far the run is; for a run that may call models."""
    from pytest_llmops.cassettes import open_run_folder

    is_look = config.getoption("llm_trials") in LOOKS
    if not is_look:  # otherwise `run_looks` has opened a folder for all looks
        folder = ExitStack()
        folder.enter_context(open_run_folder())
        config.add_cleanup(folder.close)
    config.pluginmanager.register(Progress(config, settings.budget), "llmops_progress")


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
    """Yield the commands by which GitHub Actions annotates the problems of a run; none elsewhere, or if another plugin annotates."""
    if environ.get("GITHUB_ACTIONS") != "true" or config.pluginmanager.hasplugin(OTHER_ANNOTATOR):
        return
    from pytest_llmops.reports.ci_formats import format_annotations

    prompts = {SideFacts.from_wire(record.fact("prompt")).path for record in run.records}
    prompts.discard("")
    lines: dict[str, int] = {}
    base = environ.get("GITHUB_BASE_REF")
    if prompts and base:
        lines = _find_changed_lines(config.rootpath, prompts, base)
    yield from format_annotations(run, lines)


def _find_changed_lines(root: Path, files: Iterable[str], base: str) -> dict[str, int]:
    """Return the first changed line of each file that a pull request changes.

    Args:
        root: The folder that the paths of the files are relative to.
        files: Files to look at, at least one: without any, git would look at all.
        base: The branch that the pull request goes to. If it was not fetched, the commit is compared with its first parent.
    """
    options = [
        "--literal-pathspecs",
        "diff",
        "-U0",
        "--no-prefix",
        "--no-ext-diff",
        "--no-color",
        "--relative",
    ]
    for commits in (f"origin/{base}...HEAD", "HEAD^1..HEAD"):
        patch = run_git(root, *options, commits, "--", *files)
        if isinstance(patch, bytes):
            changes = FIRST_CHANGE.finditer(patch.decode("utf-8", "replace"))
            return {change["file"]: max(int(change["line"]), 1) for change in changes}
    return {}
