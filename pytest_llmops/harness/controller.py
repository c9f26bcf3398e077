"""Run of the whole session in the controller: collected from the reports of all workers, written as reports."""

import os
import platform
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops._util.option_modes import LookTrials
from pytest_llmops.errors import LLMOpsError, describe_exception, format_error
from pytest_llmops.harness.adoption import iter_adoption_notes
from pytest_llmops.harness.again import find_again, iter_session_doubts, keep_broken_cases
from pytest_llmops.harness.baseline_gate import BaselineGate, has_baseline, plan_next_look, read_checkout
from pytest_llmops.harness.records import build_record
from pytest_llmops.harness.report_files import find_reports
from pytest_llmops.harness.run_checks import CassetteUsage
from pytest_llmops.harness.run_end import (
    TESTS_FAILED,
    count_other_tests,
    decide_status,
    name_other_failures,
    natural_sort_key,
    strip_group,
    why_ended_early,
    why_run_failed,
)
from pytest_llmops.harness.run_notes import find_unread_keys, iter_case_id_notes, iter_feedback_notes
from pytest_llmops.harness.terminal import (
    TerminalHooks,
    append_summary,
    find_width,
    list_annotations,
    write_section,
)
from pytest_llmops.harness.tracebacks import find_place, read_collection_error
from pytest_llmops.measurement import Json, escape_output, format_count, format_failure_text
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.reports.formats import NamedReport, deliver_report
from pytest_llmops.results.dataset_cases import split_dataset_cases
from pytest_llmops.results.details import as_mapping, read_detail
from pytest_llmops.results.kept_media import limit_media
from pytest_llmops.results.problems import (
    iter_changed_notes,
    iter_concurrency_notes,
    iter_given_up_judge_notes,
    iter_scoreless_notes,
    iter_single_trial_notes,
    iter_trial_notes,
    iter_unchecked_notes,
)
from pytest_llmops.results.review import iter_uniform_judge_notes
from pytest_llmops.results.run import (
    Run,
    TestRecord,
    iter_run_self_judging_notes,
    write_text,
)
from pytest_llmops.results.secrets import mask_run_secrets
from pytest_llmops.results.tool_choices import iter_refused_name_notes
from pytest_llmops.results.traffic import iter_cassette_notes, iter_recording_notes
from pytest_llmops.results.verdict import Verdict
from pytest_llmops.settings import Settings

if TYPE_CHECKING:
    from pytest_llmops.baselines.conclusion import Reference
    from pytest_llmops.reports.terminal import Surroundings
    from pytest_llmops.reports.terminal_page import Style

# The phase in which xdist reports the test during which a worker crashed; its measurements are lost
CRASH_PHASE = "???"
# Facts of tests that lead to a verdict even without a baseline
CONCLUDED_FACTS = ("compare", "robust", "guardrail", "sentinel")


class Controller:
    """Collects the records of a run, also over xdist workers, and writes the reports at its end.

    Created at the first report that carries data of ours, so that it costs other runs nothing.
    """

    def __init__(self, config: Any, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._records: dict[str, TestRecord] = {}
        self._reports: Sequence[NamedReport] = ()
        self._write_errors: dict[str, str] = {}
        self._accepted = ""
        self._not_accepted = ""
        self._look = ""
        self.next_look = ""
        self._github: Mapping[str, str] = {}
        if settings.github == "auto":
            self._github = os.environ
        self.cassette_usage = CassetteUsage(config, settings)
        self.collection_errors: Sequence[Any] = ()  # reports of modules that could not be loaded
        self._has_job_summary = False
        self.terminal_hooks = TerminalHooks(config, self.print_section)
        self.run = Run()

    def add_report(self, report: Any) -> None:
        """Add the report of a phase of a test."""
        nodeid = self._plain_nodeid(report.nodeid)
        payload: Mapping[str, Any] | None = getattr(report, "llmops", None)
        crashed = report.failed and report.when == CRASH_PHASE
        if payload is None and nodeid not in self._records and not crashed:
            return
        if payload:
            self.cassette_usage.add_uses(payload.get("tapes", ()))
        if report.outcome == "rerun":  # from pytest-rerunfailures: the next attempt counts
            self._records.pop(nodeid, None)
            return
        record = build_record(report, payload or {})
        record = replace(record, nodeid=nodeid, place=find_place(report, self._config))
        if nodeid in self._records:
            record = self._records[nodeid].add(record)
        self._records[nodeid] = record

    def _plain_nodeid(self, nodeid: str) -> str:
        """Return the node id of a test without the group that ``--dist loadgroup`` of xdist appends."""
        if self._config.getoption("dist", "") != "loadgroup":
            return nodeid
        return strip_group(nodeid)

    def finish_run(self, session: Any, make_report: Callable[..., Any]) -> None:
        """Build the run from its records, conclude it, call the hook for projects, and write the requested reports.

        Args:
            session: pytest's session, whose exit status may be changed.
            make_report: pytest's ``TestReport``.
        """
        self.cassette_usage.uncollected = len(self.collection_errors)
        listed = sorted(self._records.values(), key=lambda record: natural_sort_key(record.nodeid))
        records = limit_media(split_dataset_cases(listed))
        self.cassette_usage.has_candidates = any(record.fact("model") for record in records)
        undone = sum(record.outcome not in ("passed", "failed", "errored") for record in records)
        why_failed = why_run_failed(session.testsfailed, int(session.exitstatus), session.shouldstop)
        usage_facts = self.cassette_usage.write_record(why_failed, undone)
        meta = {**_run_metadata(self._config, self._settings), **usage_facts}
        if self._settings.report or os.environ.get("GITHUB_ACTIONS"):
            meta["commit"], folder = read_checkout(self._config.rootpath)
            if folder:
                meta["root"] = folder
        doubts = tuple(self._iter_doubts(records, meta))
        meta["doubts"] = len(doubts)
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        stats = getattr(reporter, "stats", {})
        meta["other_tests"] = count_other_tests(stats, self._records, self._plain_nodeid)
        meta["other_failures"] = name_other_failures(stats, self._records, self._plain_nodeid)
        notes = (*doubts, *self._iter_notes(records, meta))
        self.run = mask_run_secrets(Run(records=records, meta=meta, notes=notes))
        self._conclude_run(session)
        if records:
            self._config.hook.pytest_llmops_run_finished(config=self._config, run=self.run)
        write_junit_cases(
            self._config, self.run, make_report, with_properties=self._settings.junit_properties
        )
        self._write_reports(session)

    def _iter_doubts(self, records: Sequence[TestRecord], meta: Mapping[str, Json]) -> Iterator[str]:
        """Yield the notes on facts that make the result of the run less reliable."""
        if self.cassette_usage.crashed:
            workers = format_count(self.cassette_usage.crashed, "worker")
            yield f"{workers} crashed: the results of the tests that they were running are lost"
        yield from iter_given_up_judge_notes(records)
        folders = {self._config.rootpath, self._config.invocation_params.dir}
        folders |= {(self._config.rootpath / record.nodeid).parent for record in records}
        yield from find_unread_keys(self._config, sorted(folders))
        if self._settings.accept is not None:
            yield from iter_scoreless_notes(records)
        yield from iter_run_self_judging_notes(records, meta)
        yield from iter_uniform_judge_notes(records)
        yield from iter_recording_notes(records)
        yield from iter_unchecked_notes(records)
        yield from iter_refused_name_notes(records)
        if self._settings.changed:  # the purpose of the option
            yield from iter_changed_notes(records)
        yield from iter_session_doubts(self._config, self._settings)
        yield from iter_case_id_notes(records)

    def _iter_notes(self, records: Sequence[TestRecord], meta: Mapping[str, Json]) -> Iterator[str]:
        """Yield the other notes of the run."""
        settings = self._settings
        yield from iter_adoption_notes(settings, records)
        yield from iter_cassette_notes(records, meta)
        trials = settings.trials
        if settings.changed or settings.fork:
            trials = 1
        yield from iter_single_trial_notes(records, trials)
        yield from iter_trial_notes(records)
        if not self.cassette_usage.why_tests_missing():
            yield from iter_feedback_notes(self._config.rootpath, records)
        if not settings.asks_ahead:
            yield from iter_concurrency_notes(records)

    def _write_reports(self, session: Any) -> None:
        """Write the requested reports, and the summary of GitHub. A requested report that cannot be written fails the run."""
        summary = ""
        if self.run.records or self.collection_errors:
            summary = self._github.get("GITHUB_STEP_SUMMARY", "")
        self._reports = find_reports(self._config, self._settings)
        for report in self._reports:
            try:
                deliver_report(self.run, report, self._write_file)
            except (OSError, LLMOpsError) as error:
                self._note_unwritten(report.name, error)
                session.exitstatus = session.exitstatus or TESTS_FAILED
            except Exception as error:  # noqa: BLE001 -- a format of the project
                self._note_unwritten(report.name, describe_exception(error))
                session.exitstatus = session.exitstatus or TESTS_FAILED
        if summary:
            try:
                append_summary(self.run, Path(summary))
                self._has_job_summary = True
            except (OSError, LLMOpsError) as error:  # the user did not choose this report
                self._note_unwritten(summary, error)

    def _note_unwritten(self, name: str, why: object) -> None:
        self._write_errors[name] = f"report {name}: cannot be written: {why}"

    def _write_file(self, name: str, text: str) -> None:
        write_text(self._config.invocation_params.dir / name, text)

    def _conclude_run(self, session: Any) -> None:
        """Give the run its verdicts, accept it into the baseline with --llm-accept, and set the exit status."""
        settings = self._settings
        gate = None
        reference = None
        if settings.accept or has_baseline(settings, self._config.rootpath):
            gate = self._open_gate(session)
            reference = gate.find_reference()
        if self.collection_errors:
            self._set_meta(collection_errors=list(self._iter_collection_errors(reference)))
        has_facts = any(record.facts.get(name) for record in self.run.records for name in CONCLUDED_FACTS)
        if reference is not None or has_facts:
            from pytest_llmops.baselines.conclusion import conclude

            self.run = conclude(self.run, reference, is_strict=False)
            self._add_unchanged_inputs()
            if reference is not None and reference.again is None:
                keep_broken_cases(self._config, self.run, is_partial=reference.is_partial)
        if gate is not None:
            verdict = self.run.find_verdict("baseline")
            self._prepare_next_look(verdict, session)
        # An undecided verdict fails nothing before the last look, or on a run that is accepted.
        if settings.strict and not settings.accept and not self.next_look:
            from pytest_llmops.baselines.conclusion import explain_strict

            self.run = explain_strict(self.run)
        if gate is not None and settings.accept:
            self._accept(gate, self.run.find_verdict("baseline"))
        session.exitstatus = decide_status(
            self.run,
            session.exitstatus,
            fails_toothless=settings.lint and settings.strict,
            is_refused=bool(self._not_accepted),
        )

    def has_lost_suite(self, session: Any) -> bool:
        """Return whether all tests of the project ran, and none of the baseline's test files exists any more; for a run without our tests.

        A file that exists may be left out on purpose, by a conftest (`collect_ignore`) or by ``python_files``.
        """
        reference = self._open_gate(session).find_reference()
        if reference is None or reference.problem or reference.is_partial:
            return False
        files = {nodeid.partition("::")[0] for nodeid in reference.baseline.tests}
        root: Path = self._config.rootpath
        return bool(files) and not any((root / file).exists() for file in files)

    def _prepare_next_look(self, verdict: Verdict | None, session: Any) -> None:
        """Plan the look that follows an undecided verdict, if the run is one of several looks."""
        if not isinstance(self._settings.trials, LookTrials):
            return
        status = "NONE"
        chance = None
        if verdict is not None:
            status = verdict.status
            chance = verdict.chance_of_verdict
        takes = self.cassette_usage.fewest_takes
        self.next_look, self._look = plan_next_look(
            self._settings, status, takes, session.testsfailed, chance
        )
        if self.next_look:  # only the last look fails the run, annotates failures and gives advice
            self._github = {}
            self._change_baseline_verdict(decides=False, advice=(), next_step="", next_command="")

    def _open_gate(self, session: Any) -> BaselineGate:
        """Return the gate for this run, which knows why tests may be missing from it."""
        usage = self.cassette_usage
        ended = why_ended_early(int(session.exitstatus), session.shouldstop, session.shouldfail)
        why_narrowed = list(usage.why_tests_missing())
        if ended:
            why_narrowed.append(ended)
        skipped = {self._plain_nodeid(nodeid) for nodeid in usage.skipped_tests}
        hooks = find_again(self._config)
        return BaselineGate(
            self._config,
            self._settings,
            self.run.records,
            why_narrowed,
            skipped,
            session.testsfailed,
            None if hooks is None else hooks.earlier,
        )

    def _accept(self, gate: BaselineGate, verdict: Verdict | None) -> None:
        """Accept the run into the baseline, and keep the sentence about it, or why it was refused, for the summary."""
        versions = as_mapping(self.run.meta["versions"])
        environment = {name: str(version) for name, version in versions.items()}
        from pytest_llmops.harness.acceptance import accept_run

        try:
            accepted = accept_run(gate, self.run.records, environment, verdict)
        except LLMOpsError as error:
            self._not_accepted = format_error(error)
            self._set_meta(not_accepted=True)
            return
        self._accepted = accepted.sentence
        self._set_meta(accepted=True)
        # The verdict on a run that was accepted must not fail it, nor advise to accept it.
        self._change_baseline_verdict(decides=False, next_step="", next_command="")
        if accepted.doubt:
            self._add_doubt(accepted.doubt)

    def _iter_collection_errors(self, reference: "Reference | None") -> Iterator[Json]:
        """Yield the modules that could not be loaded, without secrets, each with the number of its tests in the baseline."""
        nodeids: Sequence[str] = ()
        if reference is not None:
            nodeids = tuple(reference.baseline.tests)
        errors = map(read_collection_error, self.collection_errors)
        by_module = {error["module"]: error for error in errors}
        redactor = Redactor.from_environment(os.environ)
        for module, error in by_module.items():
            tests = sum(nodeid.startswith(f"{module}::") for nodeid in nodeids)
            masked = {name: redactor.clean_text(text) for name, text in error.items()}
            yield {**masked, "tests": tests}

    def _set_meta(self, **facts: Json) -> None:
        """Add facts to the run."""
        self.run = replace(self.run, meta={**self.run.meta, **facts})

    def _add_doubt(self, doubt: str) -> None:
        """Put a note on a fact that makes the result of the run less reliable before the other notes."""
        doubts = self.run.meta.get("doubts")
        number = doubts if isinstance(doubts, int) else 0
        self._set_meta(doubts=number + 1)
        self.run = replace(self.run, notes=(doubt, *self.run.notes))

    def _change_baseline_verdict(self, **changes: Any) -> None:
        """Replace fields of the verdict on the change since the baseline, if the run has one."""
        verdicts = []
        for verdict in self.run.verdicts:
            if verdict.kind == "baseline":
                verdict = replace(verdict, **changes)  # noqa: PLW2901
            verdicts.append(verdict)
        self.run = replace(self.run, verdicts=tuple(verdicts))

    def _add_unchanged_inputs(self) -> None:
        """Add to pytest's report of a changed input whose verdict moved (`llm_robust`) the unchanged input and both answers."""
        texts: dict[str, str] = {}
        for record in self.run.records:
            if not record.fact("robust"):
                continue
            for score in record.measurements:
                if score.name.startswith("robust.") and score.value == 0:
                    evidence = read_detail(score).evidence
                    texts[record.nodeid] = format_failure_text(score, evidence=evidence)  # type: ignore[arg-type]
        if not texts:
            return
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        for report in getattr(reporter, "stats", {}).get("failed", ()):
            if report.nodeid in texts and hasattr(report.longrepr, "addsection"):
                report.longrepr.addsection("the unchanged input", texts[report.nodeid], "-")

    def list_failures(self, terminalreporter: Any) -> None:
        """Prepare pytest's short list of failures, which comes next; `print_section` prints the section after it."""
        self.terminal_hooks.list_failures(getattr(terminalreporter, "stats", {}))

    def print_section(self, terminalreporter: Any) -> None:
        """Print the last section of the run, as far as -q, -qq and --no-summary allow."""
        redactor = Redactor.from_environment(os.environ)
        for annotation in list_annotations(self.run, self._config, self._github):
            terminalreporter.write_line(redactor.clean_text(annotation))
        if self._config.option.__dict__.get("no_summary"):
            return
        from pytest_llmops.reports.terminal import build_section

        verbosity: int = self._config.get_verbosity()
        section = build_section(
            self.run,
            self._describe_surroundings(verbosity),
            verbosity=verbosity,
            ascii=not _supports_unicode(terminalreporter),
            width=find_width(terminalreporter, os.environ),
        )
        write_section(terminalreporter, section, has_title=verbosity >= 0)
        if verbosity < -1:  # a report that was requested and could not be written is named even then
            for error in self._write_errors.values():
                terminalreporter.write_line(escape_output(error), red=True)

    def _describe_surroundings(self, verbosity: int) -> "Surroundings":
        """Return the facts that the last section needs besides the run."""
        from pytest_llmops.reports.terminal import Surroundings, describe_more

        return Surroundings(
            reports=self._list_written(verbosity),
            more=describe_more(
                self._list_written_kind(("html", "markdown", "json")),
                verbosity=verbosity,
                has_job_summary=self._has_job_summary,
            ),
            remarks=tuple(self._iter_remarks()),
            has_next=not self.next_look,
            lists_failures=self._config.option.__dict__.get("tbstyle") != "no",
            folder=self._find_project_folder(),
        )

    def _iter_remarks(self) -> Iterator[tuple[str, str, "Style"]]:
        """Yield further lines about the run: looks, the baseline, reports that were not written, a hint for agents."""
        from pytest_llmops.harness.coding_agents import describe_agent_help

        if self._look:
            yield "trials", self._look, ""
        if self._accepted:
            yield "baseline", self._accepted, "green"
        if self._not_accepted:
            yield "baseline", self._not_accepted, "red"
        for error in self._write_errors.values():
            yield "error", error, "red"
        run_files = self._list_written_kind(("json",))
        hint = describe_agent_help(self.run, os.environ, run_files, self._config.invocation_params.dir)
        if hint and not self.next_look:
            yield "agents", hint, ""

    def _find_project_folder(self) -> str:
        """Return the folder of the project as seen from the working folder; "" if they are the same."""
        try:
            folder: str = os.path.relpath(self._config.rootpath, self._config.invocation_params.dir)
        except ValueError:  # another drive of Windows
            folder = str(self._config.rootpath)
        if folder == os.curdir:
            return ""
        return folder.replace("\\", "/")

    def _list_written_kind(self, kinds: Sequence[str]) -> list[str]:
        """Return the written reports that are of these kinds."""
        names = []
        for report in self._reports:
            if report.format.kind in kinds and report.name not in self._write_errors:
                names.append(report.name)
        return names

    def _list_written(self, verbosity: int) -> list[str]:
        """Return the names of the written reports that the last lines list: with -q ours only."""
        names = [name for name in self._settings.report if name not in self._write_errors]
        if verbosity >= 0:
            xml = self._config.getoption("xmlpath", None)
            if xml:
                names.append(xml)
        return names


def write_junit_cases(
    config: Any, run: Run, make_report: Callable[..., Any], *, with_properties: bool = True
) -> None:
    """Add the verdicts as test cases to pytest's JUnit file.

    The reports go to the JUnit writer only, so that a verdict is neither counted as a test nor repeated by ``--lf``.
    """
    if not run.verdicts:
        return
    writers = [plugin for plugin in config.pluginmanager.get_plugins() if type(plugin).__name__ == "LogXML"]
    from pytest_llmops.reports.ci_formats import verdict_properties
    from pytest_llmops.reports.findings import describe_verdict

    failing = run.failing_verdicts
    for writer in writers:
        for verdict in run.verdicts:
            place = (verdict.nodeid, None, verdict.nodeid.partition("::")[2])
            status = "passed"
            text = None
            if verdict in failing:
                status = "failed"
                text = describe_verdict(run, verdict)
            call = make_report(verdict.nodeid, place, {}, status, text, "call")
            teardown = make_report(verdict.nodeid, place, {}, "passed", None, "teardown")
            if with_properties:
                teardown.user_properties = verdict_properties(verdict)
            writer.pytest_runtest_logreport(call)
            writer.pytest_runtest_logreport(teardown)


def _supports_unicode(terminalreporter: Any) -> bool:
    """Return whether the terminal's encoding has the characters of our charts."""
    encoding = getattr(terminalreporter._tw._file, "encoding", None) or "ascii"  # noqa: SLF001 -- as above
    try:
        "▁█≥".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _run_metadata(config: Any, settings: Settings) -> dict[str, Json]:
    """Return when and how the run was made: time, command, versions and settings."""
    from pytest_llmops import __version__

    versions: dict[str, Json] = {"pytest-llmops": __version__, "python": platform.python_version()}
    for name in ("pytest", "openai", "vcrpy", "scikit-learn", "genai-prices"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    values: dict[str, Json] = {}
    for spec in fields(settings):
        value = getattr(settings, spec.name)
        if isinstance(value, tuple):
            value = list(value)
        values[spec.name] = value
    now = datetime.now(UTC)
    return {
        "created": now.isoformat(timespec="seconds"),
        "command": _pytest_command(config),
        "versions": versions,
        "settings": values,
    }


def _pytest_command(config: Any) -> str:
    """Return the command of the run without secrets, quoted for a shell: reports read options from it with `shlex.split`."""
    redactor = Redactor.from_environment(os.environ)
    words = map(str, config.invocation_params.args)
    return shlex.join(["pytest", *map(redactor.clean_text, words)])
