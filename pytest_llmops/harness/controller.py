"""Run of the whole session in the controller: collected from the reports of all workers, written as reports."""

import json
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from itertools import islice, zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any

from pytest_llmops._util.option_values import LookTrials
from pytest_llmops.errors import BudgetReached, CassetteMiss, LLMOpsError, MeasurementFailed, UsageError
from pytest_llmops.harness.baseline_gate import (
    BaselineGate,
    has_baseline,
    plan_next_look,
    read_checkout,
    write_junit_cases,
)
from pytest_llmops.harness.item import Harness
from pytest_llmops.harness.run_checks import CassetteUsage, find_unread_keys, iter_feedback_notes
from pytest_llmops.harness.terminal import TerminalHooks, append_summary, list_annotations
from pytest_llmops.measurement import Json, escape_output, format_count, format_failure_text
from pytest_llmops.redaction.pytest_reports import mask_report, mask_value
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.reports import deliver_report
from pytest_llmops.results.details import as_mapping, read_detail
from pytest_llmops.results.problems import (
    iter_changed_notes,
    iter_concurrency_notes,
    iter_single_trial_notes,
    iter_trial_notes,
    iter_unasserted_notes,
    iter_unchecked_notes,
)
from pytest_llmops.results.run import Outcome, Run, TestRecord, iter_run_self_judging_notes, write_text
from pytest_llmops.results.traffic import iter_cassette_notes
from pytest_llmops.settings import OPTIONS, Settings

PACKAGE = __name__.partition(".")[0]
# Files that are not the user's. By file: a module of the user may have the name of one of Python's.
LIBRARY = re.compile(
    rf"[/\\](?:site|dist)-packages[/\\]|^<frozen |^{re.escape(str(Path(os.__file__).parent))}[/\\]"
    rf"|^{re.escape(str(Path(__file__).parents[1]))}[/\\]"
)
# The phase in which xdist reports the test during which a worker crashed; its measurements are lost
CRASH_PHASE = "???"
TESTS_FAILED, NO_TESTS = 1, 5  # exit statuses of pytest
PYTEST_CATEGORIES: Mapping[str, Outcome] = {
    "failed": "failed", "error": "errored", "xpassed": "xpassed", "passed": "passed", "xfailed": "xfailed", "skipped": "skipped",
}  # fmt: skip
OUR_ERRORS = (MeasurementFailed, LLMOpsError, CassetteMiss, BudgetReached)


class Controller:
    """Collects the records of a run, also over xdist workers, and writes the reports at its end.

    Created at the first report that carries data of ours, so that it costs other runs nothing.
    """

    def __init__(self, config: Any, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._records: dict[str, TestRecord] = {}
        self._write_errors: dict[str, str] = {}
        self._accepted = self._not_accepted = self._look = self.next_look = ""
        if settings.github == "auto":
            self._github = os.environ
        else:
            self._github = {}
        self.cassette_usage = CassetteUsage(config, settings)
        self.terminal_hooks = TerminalHooks(config)
        self.run = Run()

    def add_report(self, report: Any) -> None:
        """Add the report of a phase of a test."""
        payload: Mapping[str, Any] | None = getattr(report, "llmops", None)
        crashed = report.failed and report.when == CRASH_PHASE
        if payload is None and self._plain_nodeid(report.nodeid) not in self._records and not crashed:
            return
        if payload:
            self.cassette_usage.add_uses(payload.get("tapes", ()))
        if report.outcome == "rerun":  # from pytest-rerunfailures: the next attempt counts
            self._records.pop(self._plain_nodeid(report.nodeid), None)
            return
        record = build_record(report, payload or {})
        record = replace(
            record, nodeid=self._plain_nodeid(record.nodeid), place=find_place(report, self._config)
        )
        earlier = self._records.get(record.nodeid)
        self._records[record.nodeid] = record if earlier is None else earlier.add(record)

    def _plain_nodeid(self, nodeid: str) -> str:
        """Return the node id of a test without the group that ``--dist loadgroup`` of xdist appends."""
        place = nodeid.rfind("@")
        is_group = self._config.getoption("dist", "") == "loadgroup" and place > max(
            nodeid.rfind("]"), nodeid.rfind("::")
        )
        if is_group:
            return nodeid[:place]
        return nodeid

    def finish_run(self, session: Any, make_report: Callable[..., Any]) -> None:
        """Build the run, call the hook, and write the requested reports; ``make_report`` is pytest's class."""
        records = tuple(sorted(self._records.values(), key=lambda record: _natural_sort_key(record.nodeid)))
        self.cassette_usage.has_candidates = any(record.fact("model") for record in records)
        undone = sum(record.outcome not in ("passed", "failed", "errored") for record in records)
        usage_facts = self.cassette_usage.write_record(_why_run_failed(session), undone)
        meta = {**_run_metadata(self._config, self._settings), **usage_facts}
        if self._settings.report or os.environ.get("GITHUB_ACTIONS"):
            meta["commit"], folder = read_checkout(self._config.rootpath)
            if folder:
                meta |= {"root": folder}
            else:
                meta |= {}
        root = self._config.rootpath
        folders = {
            root,
            self._config.invocation_params.dir,
            *((root / record.nodeid).parent for record in records),
        }
        notes = [
            *(iter_changed_notes(records) if self._settings.changed else ()),
            *find_unread_keys(self._config, sorted(folders)),
            *iter_unasserted_notes(records),
            *iter_run_self_judging_notes(records, meta),
            *iter_cassette_notes(records, meta),
            *iter_unchecked_notes(records),
            *iter_single_trial_notes(records, 1 if self._settings.changed else self._settings.trials),
            *iter_trial_notes(records),
            *(() if self.cassette_usage.why_tests_missing() else iter_feedback_notes(root, records)),
            *(() if self._settings.asks_ahead else iter_concurrency_notes(records)),
        ]
        if self.cassette_usage.crashed:
            workers = format_count(self.cassette_usage.crashed, "worker")
            notes.insert(0, f"{workers} crashed: what the tests measured that they were at is lost")
        self.run = mask_run_secrets(Run(records=records, meta=meta, notes=tuple(notes)))
        self._compare_with_baseline(session)
        if records:
            self._config.hook.pytest_llmops_run_finished(config=self._config, run=self.run)
        write_junit_cases(self._config, self.run, make_report)
        if records:
            summary = self._github.get("GITHUB_STEP_SUMMARY", "")
        else:
            summary = ""
        for name in filter(None, [*self._settings.report, summary]):
            try:
                if name == summary:
                    append_summary(self.run, Path(summary))
                else:
                    deliver_report(
                        self.run,
                        name,
                        lambda file, text: write_text(self._config.invocation_params.dir / file, text),
                    )
            except (OSError, LLMOpsError) as error:
                self._write_errors[name] = f"report {name}: cannot be written: {error}"
                # Nobody asked for the summary of the job.
                session.exitstatus = session.exitstatus or int(name != summary)

    def _compare_with_baseline(self, session: Any) -> None:
        """Compare variants, and the run with its baseline, and accept it into the baseline if that is asked for."""
        self._judge_variants(session)
        usage = self.cassette_usage
        settings = self._settings
        is_first = not has_baseline(settings, self._config.rootpath)
        if (
            is_first
            and settings.record == "verify"
            and any(record.facts.get("sentinel") for record in self.run.records)
        ):
            from pytest_llmops.baselines import baseline, side_by_side

            moved = side_by_side.judge_sentinels(baseline.Baseline(), self.run.records)
            self.run = replace(self.run, notes=(moved, *self.run.notes))
        if is_first and not settings.accept:
            return
        status = int(session.exitstatus)
        ended = str(session.shouldstop or session.shouldfail or "")
        if not ended and status not in (0, TESTS_FAILED, NO_TESTS):  # Ctrl-C sets neither
            ended = f"the run ended early (exit status {status})"
        gate = BaselineGate(
            self._config,
            settings,
            self.run.records,
            [*usage.why_tests_missing(), *filter(None, [ended])],
            {self._plain_nodeid(nodeid) for nodeid in usage.skipped_tests},
            session.testsfailed,
        )
        verdict = gate.judge()
        self.run = replace(self.run, verdict=verdict)
        if isinstance(settings.trials, LookTrials):
            self.next_look, self._look = plan_next_look(
                settings, verdict, usage.fewest_takes, session.testsfailed
            )
            if self.next_look:  # the last look tells it, and what follows from it
                self._github, self.run = (
                    {},
                    replace(self.run, verdict=verdict and replace(verdict, advice=())),
                )
        if settings.accept:
            versions = {name: str(version) for name, version in as_mapping(self.run.meta["versions"]).items()}
            try:
                self._accepted = gate.accept(versions, verdict)
            except LLMOpsError as error:
                self._not_accepted = str(error)
        is_red = verdict is not None and verdict.fails(strict=settings.strict) and not self._accepted
        if verdict and is_red and verdict.status == "AMBER" and not self.next_look:
            sentence = f"fails the run (--llm-strict); {verdict.sentence}"
            self.run = replace(self.run, verdict=replace(verdict, sentence=sentence))
        session.exitstatus = session.exitstatus or int(is_red or bool(self._not_accepted))

    def _judge_variants(self, session: Any) -> None:
        if any(
            record.fact(name) for record in self.run.records for name in ("compare", "robust", "guardrail")
        ):
            from pytest_llmops.baselines.robustness import add_kept_verdicts
            from pytest_llmops.baselines.side_by_side import judge_variants

            self.run = replace(self.run, records=add_kept_verdicts(self.run.records))
            self._add_unchanged_inputs()
            self.run = replace(self.run, variants=judge_variants(self.run.records))
            if any(variant.run_status for variant in self.run.variants):
                session.exitstatus = session.exitstatus or TESTS_FAILED

    def _add_unchanged_inputs(self) -> None:
        """Show with the failure of a changed input (`llm_robust`) what the unchanged one is, and both answers."""
        moved = {
            record.nodeid: format_failure_text(score, evidence=read_detail(score).evidence)  # type: ignore[arg-type]
            for record in self.run.records
            for score in record.measurements
            if record.fact("robust") and score.name.startswith("robust.") and score.value == 0
        }
        if moved:
            reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        else:
            reporter = None
        for report in getattr(reporter, "stats", {}).get("failed", ()):
            if report.nodeid in moved and hasattr(report.longrepr, "addsection"):
                report.longrepr.addsection("the unchanged input", moved[report.nodeid], "-")

    def print_summary(self, terminalreporter: Any) -> None:
        """Print the summary, as far as -q, -qq and --no-summary allow."""
        stats = getattr(terminalreporter, "stats", {})
        self.terminal_hooks.list_failures(stats)
        verbosity: int = self._config.get_verbosity()
        for annotation in list_annotations(self.run, self._config, self._github):
            terminalreporter.write_line(annotation)
        if self._config.option.__dict__.get("no_summary"):
            return
        from pytest_llmops.reports import terminal

        width = terminalreporter._tw.fullwidth  # noqa: SLF001 -- pytest has no public access to its width
        lines = terminal.summary_lines(
            self.run,
            verbosity=verbosity,
            ascii=not _supports_unicode(terminalreporter),
            width=width,
            others={  # how many tests pytest counts beside ours
                outcome: sum(
                    self._plain_nodeid(report.nodeid) not in self._records for report in stats[category]
                )
                for category, outcome in PYTEST_CATEGORIES.items()
                if category in stats
            },
        )
        if lines and verbosity >= 0:
            terminalreporter.write_sep("=", "LLM regression")
        for line in lines:
            terminalreporter.write_line(line.text, **({line.style: True} if line.style else {}))
        if self._look:
            terminalreporter.write_line(f"trials      {self._look}")
        if self._accepted:
            terminalreporter.write_line(escape_output(f"baseline    {self._accepted}"), green=True)
        for error in filter(None, [self._not_accepted, *self._write_errors.values()]):
            terminalreporter.write_line(escape_output(error), red=True)
        if verbosity >= -1:
            written = [name for name in self._settings.report if name not in self._write_errors]
            if verbosity >= 0:
                xml = self._config.getoption("xmlpath", None)
            else:
                xml = None
            for name in [*written, *filter(None, [xml])]:
                terminalreporter.write_line(f"report      {name}")


def report_outcome(report: Any, payload: Mapping[str, Any]) -> Any:
    """Return a report's outcome in our terms: what could not be scored is ``errored``, not ``failed``."""
    if report.failed:
        if report.when == "call" and payload.get("outcome") != "errored":
            return "failed"
        return "errored"
    if hasattr(report, "wasxfail"):
        if report.skipped:
            return "xfailed"
        return "xpassed"
    if report.outcome in ("passed", "skipped"):
        return report.outcome
    return "errored"


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
    if crash is not None:
        return str(crash.message)
    return str(longrepr or "")


def find_place(report: Any, config: Any) -> str:
    """Return the last line of the user's own code in a failure, else the test, as ``tests/test_a.py:12`` from the root."""
    traceback = getattr(report.longrepr, "reprtraceback", None)
    above = (getattr(entry, "reprfileloc", None) for entry in reversed(getattr(traceback, "reprentries", ())))
    for place in filter(None, [getattr(report.longrepr, "reprcrash", None), *above]):
        path = Path(os.path.normpath(config.invocation_params.dir / place.path))
        if path.is_relative_to(config.rootpath) and not LIBRARY.search(str(path)):
            return f"{path.relative_to(config.rootpath).as_posix()}:{place.lineno}"
    file, line, _ = report.location
    return f"{file.replace(os.sep, '/')}:{(line or 0) + 1}"


def build_record(report: Any, payload: Mapping[str, Any]) -> TestRecord:
    """Return the record of a phase of a test."""
    wire = {key: payload[key] for key in ("measurements", "calls", "facts") if key in payload}
    if report.failed or hasattr(report, "wasxfail"):  # what skips is raised too, and ends nothing
        wire["raised"] = payload.get("raised", [])
    if report.failed and report.when != "call":
        wire["facts"] = {**wire.get("facts", {}), "failed_outside": report.when}
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
    """Attach what a phase measured to its report; at the end of a test its JUnit properties too."""
    report.llmops = harness.build_payload(report.when, error)
    mask_report(report, harness.mask_secrets)
    record = build_record(report, report.llmops)
    if harness.record is None:
        harness.record = record
    else:
        harness.record = harness.record.add(record)
    if report.when == "teardown" and harness.settings.junit_properties:
        from pytest_llmops.reports.ci_formats import junit_properties

        report.user_properties.extend(junit_properties(harness.record))


def hide_frames(call: Any, failed: Callable[..., BaseException]) -> None:
    """Remove our frames from a traceback, and the libraries' below the user's code for our own errors and a server that is down.

    An error of ours that no line of the user's code led to (a damaged cassette, an unknown name in a marker)
    becomes a failure without any traceback: its text says where to look.

    Args:
        call: pytest's call.
        failed: pytest's exception for a failure.
    """
    value: BaseException = call.excinfo.value
    is_ours = isinstance(value, OUR_ERRORS)
    chain = list(islice(_follow(value, "__context__"), 99))
    for depth, why in enumerate(vars(error).get("llmops_note") for error in chain):
        if why and not is_ours:
            # The error of a fixture comes with each of its tests, and has the note already.
            notes = [*dict.fromkeys([*getattr(value, "__notes__", ()), why])]
            is_ours = True
            value.__notes__ = notes
            # What the client did in vain helps nobody; what went wrong in the user's code after it does.
            caught = (n for n in range(depth, 0, -1) if (tb := chain[n].__traceback__) and _is_users(tb))
            after = chain[next(caught, 1) - 1]
            if after.__cause__ is after.__context__:
                after.__cause__ = None
            after.__suppress_context__ = True
    # By module, not by file: the __init__ of a dataclass has no file.
    modules = (
        (tb, str(tb.tb_frame.f_globals.get("__name__"))) for tb in _follow(value.__traceback__, "tb_next")
    )
    frames = [tb for tb, module in modules if module.partition(".")[0] != PACKAGE]
    # Of `soft`, the line of the assertion follows that of the block.
    frames = [
        tb
        for tb, below in zip_longest(frames, frames[1:])
        if below is None or below.tb_frame is not tb.tb_frame
    ]
    if is_ours:
        while frames and not _is_users(frames[-1]):
            frames.pop()
        if not frames:
            call.excinfo = type(call.excinfo).from_exception(
                _raise_and_catch(
                    failed(
                        "\n".join([f"{type(value).__name__}: {value}", *getattr(value, "__notes__", ())]),
                        pytrace=False,
                    )
                )
            )
            return
    linked: TracebackType | None = None
    for tb in reversed(frames):
        linked = TracebackType(linked, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)
    if linked is not None:
        call.excinfo = type(call.excinfo).from_exception(value.with_traceback(linked))


def _is_users(tb: TracebackType) -> bool:
    return not LIBRARY.search(tb.tb_frame.f_code.co_filename)


def _raise_and_catch(error: BaseException) -> BaseException:
    """Give an exception the traceback that pytest needs and only a raised exception has."""
    try:
        raise error
    except type(error):
        return error


def _follow(link: Any, name: str) -> Iterator[Any]:
    while link is not None:
        yield link
        link = getattr(link, name)


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
    """Return a run with all secrets masked, by value (from the environment) and by shape, for every report."""
    redactor = Redactor.from_environment(os.environ)
    data = run.to_json(indent=None, summary=False)
    if not redactor.leaks(data.encode()):
        return run
    document = json.loads(data)
    # Only texts are masked: a secret like "11111111" or "measurements" must not change a score or a key.
    texts = {key: mask_value(document[key], redactor.clean_text) for key in ("meta", "notes", "records")}
    return _mask_scattered_secrets(Run.from_json(json.dumps({**document, **texts})), redactor)


def _mask_scattered_secrets(run: Run, redactor: Any) -> Run:
    """Mask secrets that are spread over several texts, as long as only texts change."""
    data = run.to_json(indent=None, summary=False).encode()
    cleaned = redactor.clean(data)
    if cleaned == data:
        return run
    try:
        masked_run = Run.from_json(cleaned.decode())
    except (UsageError, ValueError):
        return run
    if _run_shape(masked_run) == _run_shape(run):
        return masked_run
    return run


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
    if session.testsfailed:
        reasons = [f"{session.testsfailed} failed"]
    else:
        reasons = []
    status = int(session.exitstatus)
    if not reasons and status not in (0, NO_TESTS):
        reasons += [f"exit status {status}"]
    return [*reasons, *([str(session.shouldstop)] if session.shouldstop else [])]


def _pytest_command(config: Any) -> str:
    return Redactor.from_environment(os.environ).clean_text(
        " ".join(["pytest", *map(str, config.invocation_params.args)])
    )
