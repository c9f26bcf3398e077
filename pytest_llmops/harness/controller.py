"""The controller's side: reports of all workers become one run, and the run becomes reports."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from pytest_llmops.errors import BudgetReached, CassetteMiss, LLMOpsError, MeasurementFailed, UsageError
from pytest_llmops.harness.cassette_usage import CassetteUsage
from pytest_llmops.harness.item import Harness
from pytest_llmops.measurement import Json, format_count
from pytest_llmops.redaction.pytest_reports import mask_report, mask_value
from pytest_llmops.results.cassettes import iter_cassette_notes
from pytest_llmops.results.judges import iter_self_judging_notes
from pytest_llmops.results.run import Run, TestRecord, write_text
from pytest_llmops.settings import OPTIONS, Settings

PACKAGE = __name__.partition(".")[0]
SITE_PACKAGES = re.compile(r"[/\\](?:site|dist)-packages[/\\]")
CRASH_PHASE = "???"
"""The phase in which xdist reports the test that a worker was at when it crashed; what it measured is lost."""
NO_TESTS = 5
"""Exit status of pytest when it collected nothing."""
STATUS_WORDS = {"MeasurementErrored": "UNSCORED", "CassetteMiss": "MISSED", "BudgetReached": "BUDGET"}
OUR_ERRORS = (MeasurementFailed, LLMOpsError, CassetteMiss, BudgetReached)


class Controller:
    """Collects the records of a run, also over xdist workers, and writes the reports at its end.

    Made at the first report that carries something of ours, so that other runs pay nothing.
    """

    def __init__(self, config: Any, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._records: dict[str, TestRecord] = {}
        self._trouble: dict[str, str] = {}
        """By the report that could not be written."""
        self.cassette_usage = CassetteUsage(config, settings)
        self.run = Run()

    def add(self, report: Any) -> None:
        """Add one phase of one test."""
        payload: Mapping[str, Any] | None = getattr(report, "llmops", None)
        crashed = report.failed and report.when == CRASH_PHASE
        if payload is None and report.nodeid not in self._records and not crashed:
            return
        if payload:
            self.cassette_usage.add(payload.get("tapes", ()))
        if report.outcome == "rerun":  # of pytest-rerunfailures: the next attempt counts
            self._records.pop(report.nodeid, None)
            return
        record = build_record(report, payload or {})
        seen = self._records.get(report.nodeid)
        self._records[report.nodeid] = record if seen is None else seen.add(record)

    def finish(self, session: Any) -> None:
        """Build the run, tell the hook, and write the reports that were asked for."""
        records = tuple(sorted(self._records.values(), key=lambda record: _natural_sort_key(record.nodeid)))
        self.cassette_usage.has_candidates = any(record.fact("model") for record in records)
        undone = sum(record.outcome not in ("passed", "failed", "errored") for record in records)
        usage_facts = self.cassette_usage.finish(_why_run_failed(session), undone)
        meta = {**_run_metadata(self._config, self._settings), **usage_facts}
        crash_notes = (
            [
                f"{format_count(self.cassette_usage.crashed, 'worker')} crashed: what the tests measured that they were at is lost"
            ]
            if self.cassette_usage.crashed
            else []
        )
        run = Run(
            records=records,
            meta=meta,
            notes=(
                *crash_notes,
                *iter_self_judging_notes(records, meta),
                *iter_cassette_notes(records, meta),
            ),
        )
        self.run = mask_run_secrets(run)
        if records:
            self._config.hook.pytest_llmops_run_finished(config=self._config, run=self.run)
        for name in self._settings.report:
            try:
                write_text(self._target(name), render_report(self.run, name))
            except OSError as error:
                self._trouble[name] = f"report {name}: cannot be written: {error}"
                session.exitstatus = session.exitstatus or 1

    def _target(self, name: str) -> Path:
        path: Path = self._config.invocation_params.dir / name
        return path

    def print_summary(self, terminalreporter: Any) -> None:
        """Print the summary, as long as -q, -qq and --no-summary allow."""
        verbosity: int = self._config.get_verbosity()
        if self._config.option.__dict__.get("no_summary"):
            return
        from pytest_llmops.reports import terminal

        width = terminalreporter._tw.fullwidth  # noqa: SLF001 -- pytest offers no other way to its width
        lines = terminal.summary_lines(
            self.run, verbosity=verbosity, ascii=not _supports_unicode(terminalreporter), width=width
        )
        if lines and verbosity >= 0:
            terminalreporter.write_sep("=", "LLM regression")
        for line in lines:
            terminalreporter.write_line(line.text, **({line.style: True} if line.style else {}))
        self._print_paths(terminalreporter, verbosity)

    def _print_paths(self, terminalreporter: Any, verbosity: int) -> None:
        for trouble in self._trouble.values():
            terminalreporter.write_line(trouble, red=True)
        if verbosity < 0:
            return
        written = [name for name in self._settings.report if name not in self._trouble]
        for name in [*written, *filter(None, [self._config.getoption("xmlpath", None)])]:
            terminalreporter.write_line(f"report      {name}")


class StatusWords:
    """Registered at the first report that carries something of ours: other runs do not even call it."""

    def pytest_report_teststatus(self, report: Any) -> Any:
        """Show what could not be judged as an error of its own name, not as a failure."""
        payload = getattr(report, "llmops", None)
        if not payload or payload.get("outcome") != "errored" or report.when != "call" or not report.failed:
            return None
        word = STATUS_WORDS.get(payload["kind"], "ERROR")
        return "error", word[0], (word, {"red": True})


def render_report(run: Run, name: str) -> str:
    """Return a run as the kind of report that a file name asks for: ``.html``, else JSON."""
    if not name.endswith(".html"):
        return run.to_json()
    from pytest_llmops.reports.html import render_html

    return render_html(run)


def report_outcome(report: Any, payload: Mapping[str, Any]) -> Any:
    """Return a report's outcome in our words: what could not be judged is ``errored``, not ``failed``."""
    if report.failed:
        return "failed" if report.when == "call" and payload.get("outcome") != "errored" else "errored"
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    return report.outcome if report.outcome in ("passed", "skipped") else "errored"


def report_message(report: Any) -> str:
    """Return the text of a failure, or the reason of a skip, without the traceback."""
    if report.passed:
        return ""
    if hasattr(report, "wasxfail"):
        return str(report.wasxfail)
    longrepr = report.longrepr
    if isinstance(longrepr, tuple):
        return str(longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(longrepr, "reprcrash", None)
    return str(crash.message) if crash is not None else str(longrepr or "")


def build_record(report: Any, payload: Mapping[str, Any]) -> TestRecord:
    """Return the record of one phase of a test, as the controller sees it."""
    wire = {key: payload[key] for key in ("measurements", "calls", "facts") if key in payload}
    if report.failed or hasattr(report, "wasxfail"):  # what skips is raised too, and ends nothing
        wire["raised"] = payload.get("raised", [])
    return TestRecord.from_wire(
        {
            "nodeid": report.nodeid,
            "outcome": report_outcome(report, payload),
            "duration_s": report.duration,
            "message": report_message(report),
            **wire,
        }
    )


def attach_payload(harness: Harness, report: Any, error: BaseException | None) -> None:
    """Put what a phase measured on its report; at the end of a test its JUnit properties too."""
    payload = report.llmops = harness.build_payload(report.when, error)
    mask_report(report, harness.mask_secrets)
    payload = report.llmops
    record = build_record(report, payload)
    harness.record = record if harness.record is None else harness.record.add(record)
    if report.when == "teardown" and harness.settings.junit_properties:
        from pytest_llmops.reports.junit import junit_properties

        report.user_properties.extend(junit_properties(harness.record))


def hide_frames(call: Any, failed: Callable[..., BaseException]) -> None:
    """Cut our frames off a traceback, and for our own errors the libraries' frames below the user's code.

    An error of ours that no line of the user's led to (a damaged cassette, an unknown name in a marker)
    becomes a failure without any traceback: its text says where to look.
    """
    value: BaseException = call.excinfo.value
    frames = [tb for tb in _iter_traceback(value.__traceback__) if not _is_ours(tb)]
    if isinstance(value, OUR_ERRORS):
        while frames and SITE_PACKAGES.search(_frame_path(frames[-1])):
            frames.pop()
        if not frames:
            call.excinfo = _without_traceback(
                call.excinfo, failed(f"{type(value).__name__}: {value}", pytrace=False)
            )
            return
    linked: TracebackType | None = None
    for tb in reversed(frames):
        linked = TracebackType(linked, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)
    if linked is not None:
        call.excinfo = type(call.excinfo).from_exception(value.with_traceback(linked))


def _without_traceback(excinfo: Any, error: BaseException) -> Any:
    try:
        raise error  # an exception that was never raised has not the traceback that pytest asks for
    except type(error):
        return type(excinfo).from_exception(error)


def _iter_traceback(tb: TracebackType | None) -> Iterator[TracebackType]:
    while tb is not None:
        yield tb
        tb = tb.tb_next


def _is_ours(tb: TracebackType) -> bool:
    # By module, not by file: the __init__ of a dataclass has no file.
    return str(tb.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == PACKAGE


def _frame_path(tb: TracebackType) -> str:
    return tb.tb_frame.f_code.co_filename


def _supports_unicode(terminalreporter: Any) -> bool:
    encoding = getattr(terminalreporter._tw._file, "encoding", None) or "ascii"  # noqa: SLF001 -- as above
    try:
        "▁█≥".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _natural_sort_key(nodeid: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", nodeid)]


def _run_metadata(config: Any, settings: Settings) -> dict[str, Json]:
    from pytest_llmops import __version__

    versions: dict[str, Json] = {"pytest-llmops": __version__, "python": platform.python_version()}
    for name in ("pytest", "openai", "vcrpy", "scikit-learn", "genai-prices"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    values = {option.name: getattr(settings, option.name) for option in OPTIONS}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": _pytest_command(config),
        "versions": versions,
        "settings": {
            name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
        },
    }


def mask_run_secrets(run: Run) -> Run:
    """Return a run in which what the environment and known shapes say is secret is masked: one place before every report."""
    import json
    import os

    from pytest_llmops.redaction.redactor import Redactor

    redactor = Redactor.from_environment(os.environ)
    data = run.to_json(indent=None)
    if not redactor.leaks(data.encode()):
        return run
    document = json.loads(data)
    # Texts alone: a secret like "11111111" or "measurements" must cost no score and no key.
    texts = {key: mask_value(document[key], redactor.text) for key in ("meta", "notes", "records")}
    masked_run = Run.from_json(json.dumps({**document, **texts}))
    return _mask_scattered_secrets(masked_run, redactor)


def _mask_scattered_secrets(run: Run, redactor: Any) -> Run:
    """Mask what is a secret only over several texts, as long as nothing but texts is changed by it."""
    data = run.to_json(indent=None).encode()
    cleaned = redactor.clean(data)
    if cleaned == data:
        return run
    try:
        masked_run = Run.from_json(cleaned.decode())
    except (UsageError, ValueError):
        return run
    return masked_run if _run_shape(masked_run) == _run_shape(run) else run


def _run_shape(run: Run) -> object:
    return run.meta.keys(), [
        (
            record.outcome,
            record.duration_s,
            record.facts.keys(),
            len(record.calls),
            [(measurement.value, measurement.threshold) for measurement in record.measurements],
        )
        for record in run.records
    ]


def _why_run_failed(session: Any) -> list[str]:
    reasons = [f"{session.testsfailed} failed"] if session.testsfailed else []
    status = int(session.exitstatus)
    if not reasons and status not in (0, NO_TESTS):
        reasons.append(f"exit status {status}")
    if session.shouldstop:
        reasons.append(str(session.shouldstop))
    return reasons


def _pytest_command(config: Any) -> str:
    import os

    from pytest_llmops.redaction.redactor import Redactor

    args = " ".join(["pytest", *map(str, config.invocation_params.args)])
    return Redactor.from_environment(os.environ).text(args)
