"""What the plugin prints among pytest's own lines: words of outcomes, scores, and how failures are listed."""

import os
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from pluggy import HookimplMarker

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
from pytest_llmops.results.details import format_score_and_threshold, read_detail
from pytest_llmops.results.problems import describe_kind, merge_record_commands
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
        word = STATUS_WORDS.get(payload["kind"], "ERROR") if is_error else report.outcome.upper()
        is_verbose = self._config.get_verbosity() > 0 and not self._lists_failures
        scores = describe_scores(payload) if is_verbose and word in ("PASSED", "FAILED") else ""
        if not is_error and not scores:
            return None
        category = "error" if is_error else report.outcome
        letter = "." if report.passed else word[0]
        shown = escape_output(f"{word} ({scores})") if scores else word
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
        # Yield the reports without the misses that differ from an earlier one by nothing but their test.
        kinds: dict[str, list[Any]] = {}
        for report in reports:
            if getattr(report, "llmops", {}).get("kind") == "CassetteMiss":
                kinds.setdefault(describe_kind(_read_message(report)), []).append(report)
        most = len(kinds) if self._config.get_verbosity() > 0 else MAX_KINDS
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
    # Add to the first report of equal misses which tests have the same, and the commands that record all.
    first, *others = group
    names = [report.nodeid for report in others[:MAX_NAMES]]
    names += [f"and {len(others) - MAX_NAMES:,} more"] if len(others) > MAX_NAMES else []
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
    sign = "<" if measurement.better == "higher" else ">"
    limit = f" {sign} {threshold}" if measurement.status == "failed" else ""
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
    several = f"{len(headlines)} assertions failed: " if len(headlines) > 1 else ""
    return several + "; ".join(headlines) if headlines else line


def _describe_failed(assertion: str, measurement: Measurement, line: str) -> str:
    start = f"{measurement.name}{label_suffix(measurement.label)}:"
    if line.startswith(start):
        return f"{assertion}:{line.removeprefix(start)}"
    evidence = read_detail(measurement).evidence
    if measurement.unit == "1" and (measurement.value, measurement.threshold) == (0, 1) and evidence:
        label, text = evidence[0]
        return f"{assertion}: {shorten_text(label, 60)} {shorten_text(str(text), 100)}"
    return _describe_score(measurement, assertion)
