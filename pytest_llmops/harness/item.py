"""Recorder, cassette, environment and report payload of a running test.

Knows pytest's items by their attributes only; the hooks in `plugin` call it.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_llmops import recorder, registry
from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.errors import (
    BudgetReached,
    CassetteMiss,
    UsageError,
    find_unscored_error,
    list_exception_classes,
    list_record_commands,
    path_from_root,
)
from pytest_llmops.harness import caught_errors, components, tapes
from pytest_llmops.harness.markers import llm_fault, llm_models, llm_trials, load_markers
from pytest_llmops.harness.own_tests import is_recorded_elsewhere
from pytest_llmops.harness.parametrize import describe_parameters
from pytest_llmops.harness.rerun_flags import iter_rerun_flags
from pytest_llmops.measurement import Json, format_amount, shorten_text, to_builtins
from pytest_llmops.settings import NEEDS_JUDGE, Settings

if TYPE_CHECKING:
    from pytest_llmops.cassettes import FaultPlan, Tape
    from pytest_llmops.harness.fault_variants import FaultVariant
    from pytest_llmops.harness.run_checks import CollectedTests
    from pytest_llmops.protocols import Call
    from pytest_llmops.recorder import Exchange
    from pytest_llmops.results.run import TestRecord


@dataclass(slots=True)
class Harness:
    """Everything the plugin holds for a test.

    Args:
        item: pytest's item.
        settings: The run's settings.
        skip: Ends the test as skipped, with a reason.
        ours: The test uses a fixture or marker of ours.
    """

    item: Any
    settings: Settings
    skip: Callable[[str], NoReturn]
    ours: bool = False
    is_silent: bool = False  # Whether this run of the test is not reported
    variant: FaultVariant | None = None  # The fault that this run of the test has, with --llm-faults
    recorder: recorder.Recorder = field(default_factory=recorder.Recorder)
    tape: Tape | None = None
    passed: bool = False
    # Connections to models that were refused because nothing records the test
    refused: list[CassetteMiss] = field(default_factory=list)
    hiding: str = ""  # How the test ended, if nothing else reports a miss that it caught: "the test passed"
    # The first miss, or refused call, of fixtures that outlive the test, in their set-up and in their tear-down
    caught_in_setup: CassetteMiss | BudgetReached | None = None
    caught_in_teardown: CassetteMiss | BudgetReached | None = None
    record: TestRecord | None = None
    collected: CollectedTests | None = None
    log: tapes.TapeLog = field(init=False)
    _blocks: list[Tape] = field(default_factory=list)
    _in_use: ExitStack = field(default_factory=ExitStack)
    _redactor: Any = None
    _reported_calls: int = 0
    _attempts: int = 0
    _record_commands: list[str] = field(default_factory=list)
    _has_raised_miss: bool = False  # a report of this test shows a miss, or a refused call, already

    def __post_init__(self) -> None:
        self.log = tapes.TapeLog(self.item.config.rootpath)

    def start(self) -> None:
        """Make this test's recorder the current recorder."""
        rec = self.recorder
        rec.settings = self.settings
        rec.find_component = self.find_component
        rec.describe_origin = self.describe_origin
        rec.redact = self.mask_secrets
        rec.open_block_cassette = self.open_block_cassette
        recorder.push_recorder(rec)
        from pytest_llmops.redaction.pytest_reports import mask_log_handlers

        mask_log_handlers(self.item.config.pluginmanager.get_plugin("logging-plugin"), self.mask_secrets)
        caught_errors.quiet_asyncio()

    def mask_secrets(self, text: str) -> str:
        """Return a text in which secrets are masked, as well as the texts that a guardrail detector found in this test."""
        from pytest_llmops.redaction.pytest_reports import mask_texts

        masked = str(self.redactor.clean_excerpt(mask_texts(text, self.recorder.hidden)))
        fixture_redactor = tapes.fixture_redactor()
        if fixture_redactor.known:
            return fixture_redactor.clean_excerpt(masked)
        return masked

    def stop(self) -> None:
        """Restore the environment, and remove this test's recorder."""
        self._in_use.close()
        recorder.pop_recorder(self.recorder)

    @property
    def redactor(self) -> Any:
        """The redactor of the tape, which knows the credentials of its requests; without a tape a plain redactor."""
        from pytest_llmops.redaction.redactor import Redactor

        if self.tape is not None:
            self._redactor = self.tape.config.redactor
        if self._redactor is None:
            self._redactor = Redactor.from_environment(os.environ)
        return self._redactor

    def open_cassette(self) -> None:
        """Open the cassette and set the environment of SDKs, unless another recording plugin records the test.

        Raises:
            CassetteError: The cassette is damaged.
            UsageError: The marker's arguments are wrong.
        """
        self._record_test_facts()
        if is_recorded_elsewhere(self.item):
            llm_fault.refuse_faults_elsewhere(self.item)
            return
        from pytest_llmops.redaction.pytest_reports import quiet_loggers

        quiet_loggers()
        path, shared = tapes.item_cassette_path(self.item)
        mode: RecordMode | None = None
        if tapes.is_marked_live(self.item):
            mode = "live"
        attempt = tapes.number_attempt(tapes.repetition_of(self.item)[0], self._attempts)
        take = tapes.choose_take(recorder.current_trial(), attempt)
        faults = llm_fault.make_fault_plan(self.item)
        if self.variant is not None:
            faults = self.variant.plan
            self.recorder.watch_answer = faults.note_text
        self.tape = self._make_tape(path, shared=shared, mode=mode, attempt=attempt, take=take, faults=faults)
        self._attempts += 1
        self._in_use.enter_context(tapes.use_test_tape(self.tape, self.settings))
        self._in_use.enter_context(tapes.record_tool_functions(self.item, self.settings))

    def _record_test_facts(self) -> None:
        """Record for the report the facts that are known before the test runs: its model, its parameters, its markers."""
        facts = self.recorder.facts
        for marker in load_markers():
            facts.update(marker.describe_test(self.item, self.settings))
        parameters = describe_parameters(self.item)
        if parameters:
            facts["params"] = parameters

    def _make_tape(
        self,
        path: Path,
        *,
        shared: bool,
        mode: RecordMode | None = None,
        attempt: int | None = None,
        take: str = "0",
        faults: FaultPlan | None = None,
    ) -> Tape:
        """Return a tape under the run's settings; a ``mode`` replaces the mode of ``--llm-record``. The rest goes to `tapes.make_tape`."""
        command = f"{self.rerun_command()} --llm-record=new"
        settings = self.settings
        if mode is not None:
            settings = replace(settings, record=mode)
        index = None
        if self.collected is not None:
            index = self.collected.index
        return tapes.make_tape(
            self.item,
            settings,
            path,
            shared=shared,
            command=command,
            elsewhere=index,
            attempt=attempt,
            take=take,
            faults=faults,
            fault_take=self.variant.take if self.variant is not None else "",
        )

    def open_block_cassette(self, name: str | Path, mode: RecordMode | None = None) -> Tape:
        """Open the cassette of a block in this test, under the run's settings.

        Raises:
            CassetteError: The cassette is damaged.
        """
        if isinstance(name, Path):
            path = name
        else:
            path = tapes.shared_cassette_path(self.item, name)
        if self.tape is not None:
            return self.tape.open_block_tape(path, mode)
        tape = self._make_tape(path, shared=True, mode=mode)
        if not self._blocks:
            self._in_use.enter_context(tapes.sdk_environment(self.settings))
        self._blocks.append(tape)
        return tape

    def tape_of_fixture(
        self, fixturedef: Any, path: Path, running: Callable[[], Harness | None]
    ) -> tapes.FixtureTape:
        """Open the cassette of a fixture that is set up for this test; its tear-down closes the cassette.

        Raises:
            CassetteError: The cassette is damaged.
        """
        tape = tapes.FixtureTape(self._make_tape(path, shared=True), self.settings, running)
        fixturedef.addfinalizer(tape.end_teardown)  # the first added is the last called
        return tape

    def close_cassette(self) -> None:
        """Close the cassette. A test fails here if it caught the error of a missing recording, or of a refused call, and went on.

        Raises:
            CassetteError: The recordings cannot be written; they stay in the journal.
            CassetteMiss: A request had no recording, but the test passed, was skipped, or failed as its `xfail` expects; or a request of
                the tear-down of a fixture had none.
            BudgetReached: The same for a live call that the budget did not allow.
        """
        tape = self.tape
        self.tape = None
        caught = self.caught_in_setup
        self.caught_in_setup = None
        is_elsewhere = False
        if tape is not None:
            caught = tape.verdict() or caught
            is_elsewhere = bool(tape.report.errors_elsewhere)
            self._in_use.close()
            self._close_tape(tape, passed=self.passed and caught is None)
        elif self.refused:
            caught = self.refused[0]
        hidden = caught_errors.find_hidden_error(
            caught, hiding=self.hiding, is_elsewhere=is_elsewhere, is_shown=self._has_raised_miss
        )
        if hidden is not None:
            raise hidden
        if self.caught_in_teardown is not None:
            caught_errors.raise_unless_shown(self.caught_in_teardown, sys.exception())

    def replace_by_cause(self, call: Any) -> BaseException:
        """Return why a phase failed: a miss, or a refused call, that was caught before; else the error itself. See `caught_errors.find_cause`.

        Args:
            call: pytest's call, with the error. Its ``excinfo`` is replaced by the cause.
        """
        error: BaseException = call.excinfo.value
        if self.tape is None:
            return error
        is_elsewhere = bool(self.tape.report.errors_elsewhere)
        cause = caught_errors.find_cause(error, self.tape.verdict(), is_elsewhere=is_elsewhere)
        if cause is error:
            return error
        cause.__cause__ = error
        call.excinfo = type(call.excinfo).from_exception(cause.with_traceback(error.__traceback__))
        return cause

    def is_skip(self, error: BaseException | None, skip_class: type[BaseException]) -> bool:
        """Return whether an error is a skip: of pytest, whose class is given, or of `unittest`."""
        return isinstance(error, skip_class) or caught_errors.is_unittest_skip(error)

    def replace_skip(self, call: Any) -> BaseException:
        """Return why a phase ended that was skipped; see `caught_errors.replace_skip`."""
        return caught_errors.replace_skip(self, call)

    def _close_tape(self, tape: Tape, *, passed: bool) -> None:
        """Close the test's own tape, and add its actions to the log, even if the cassette cannot be written."""
        from pytest_llmops.cassettes import count_takes

        try:
            tape.close(passed=passed)
        finally:
            usage = self._describe_model_variants()
            if tape.config.fork is not None and tape.mode == "new":
                self.recorder.facts["fork"] = tape.config.fork.describe(tape.config.take)
            takes = count_takes(tape)
            if takes and llm_trials.MARKER.find(self.item) is None:
                usage["takes"] = takes
            self.log.add_tape(tape, passed=passed, more=usage)
            self._record_cassette_facts()

    def _describe_model_variants(self) -> dict[str, Json]:
        """Return entries for the usage record by which a later look for orphans recognizes this test's cassettes of other models.

        A test with the `llm` fixture may run once for each model, each with a cassette of its own. ``case`` is the id of the test's
        parameters, as in ``test_a[gpt-5]``; ``models`` are the names that the hook ``pytest_llmops_models`` knows. A test without
        that fixture has no entries.
        """
        if "llm" not in getattr(self.item, "fixturenames", ()):
            return {}
        return {
            "case": tapes.repetition_of(self.item)[1],
            "models": sorted(components.hook_factories(self.item, "model")),
        }

    def add_unrun(self) -> None:
        """Add the cassettes of a skipped test to the usage record."""
        path, shared = tapes.item_cassette_path(self.item)
        self.log.add_unrun(path, shared=shared)
        for _, fixture_path in tapes.recorded_fixtures(self.item):
            self.log.add_unrun(fixture_path, shared=True)

    def _record_cassette_facts(self) -> None:
        # The same dictionary, not a copy: tapes that are added to the log later are seen in the report too.
        if self.log.facts:
            self.recorder.facts["cassette"] = self.log.facts

    def find_component(self, kind: str, name: str) -> object:
        """Return a judge, embedder, model or retriever by name: the nearest conftest's, else the built-in.

        Raises:
            UnknownName: No component has the name.
            UsageError: The component calls a server, and nothing records this test.
        """
        __tracebackhide__ = True
        component = self._load_component(kind, name)
        if not getattr(component, "asks_server", False) or self.ours or self.settings.record == "live":
            return component
        from pytest_llmops.cassettes import current_tape

        if is_recorded_elsewhere(self.item) or current_tape() is not None:
            return component
        # The test was not known to be ours when it began, so it has no cassette.
        raise UsageError(
            f"{self.item.nodeid}: the {kind} {name!r} calls a server, and nothing records this test: mark it with "
            "@pytest.mark.llm_cassette, open use_cassette(...), or run with --llm-record=live"
        )

    def _load_component(self, kind: str, name: str) -> object:
        """Return a component by name; a judge is not loaded without --llm-judge: the test is skipped."""
        __tracebackhide__ = True
        if kind == "judge" and not self.settings.judge:
            self.skip(NEEDS_JUDGE)
        hooked = components.hook_factories(self.item, kind)
        if kind == "model":
            candidate = llm_models.candidate_of(self.item)
            name = components.choose_model_name(
                name, hooked, self.settings, candidate, where=self.item.nodeid
            )
        if name not in hooked and not registry.is_builtin(kind, name):
            where = ""
            if kind == "embedder" and name == self.settings.embedder:
                where = "ini llm_embedder"
            known = {*hooked, *registry.BUILT_IN.get(kind, {})}
            raise registry.unknown_component(kind, name, known, where=where)
        if kind == "model" and name not in hooked:
            return registry.load_builtin(kind, name)  # named by the settings: nothing to cache
        return components.build_component(self.item, kind, name, hooked.get(name), self.settings)

    def rerun_command(self) -> str:
        """Return the command that runs only this test."""
        path, _, rest = self.item.nodeid.partition("::")
        try:
            path = os.path.relpath(self.item.path, self.item.config.invocation_params.dir).replace("\\", "/")
        except ValueError:  # another drive of Windows
            path = str(self.item.path)
        words = ["pytest", f"{path}::{rest}"]
        if self.settings.again:  # it selects the test, and numbers its recorded answers
            words = ["pytest", self.settings.again_flag]
        if self.settings.judge:
            words.append("--llm-judge")
        if self.variant is not None:
            words.append(self.variant.flag)
        words += [f"--llm-prompt={version}" for version in self.settings.prompt]
        words += iter_rerun_flags(self.item.config, self.settings, self.redactor)
        return shlex.join(words)

    def describe_origin(self) -> list[tuple[str, str]]:
        """Return labelled lines for a failure text: which model answered at which cost, and the command to run this test again."""
        from pytest_llmops.trace import read_call

        rerun = ("rerun", self.rerun_command())
        app_exchanges = [exchange for exchange in self.recorder.exchanges if exchange.purpose == "app"]
        if not app_exchanges:
            return [rerun]
        source = describe_source(read_call(app_exchanges[-1]))
        if self.tape is not None and self.settings.record != "live":
            source += f", cassette {path_from_root(self.tape.path, self.item.config.rootpath)}"
        return [("from", source), rerun]

    def end_phase(self, report: Any, error: BaseException | None) -> None:
        """Note whether the test passed; an error of ours, such as an unscored measurement, is a failure even under `xfail`.

        Args:
            report: pytest's report, with an expected failure already marked as such. It is changed to failed in that case.
            error: The error of the phase.
        """
        if self.variant is not None:
            caught = self.tape.verdict() if self.tape is not None else None
            self.variant.note_last_answer(self.recorder.exchanges)
            self.variant.note_phase(report, error, caught, self.mask_secrets)
        is_failure = caught_errors.fails_despite_xfail(error, self.recorder.measurements)
        if is_failure and hasattr(report, "wasxfail"):
            del report.wasxfail
            report.outcome = "failed"
        if isinstance(find_unscored_error(error), (CassetteMiss, BudgetReached)):
            self._has_raised_miss = True
        if report.when == "call":  # the report of the test itself comes after the reports of its subtests
            self.passed = report.passed
        if report.when == "call" or report.skipped:  # a fixture may skip its test
            # A test that is skipped, or that an `xfail` expects to fail, must not hide a miss that it caught.
            self.hiding = caught_errors.describe_ending(report, error)

    def has_results(self) -> bool:
        """Return whether there is anything to report."""
        return self.ours or bool(
            self.recorder.measurements
            or self.recorder.exchanges
            or self.record is not None
            or self.log.uses
            or self._blocks
            or self.refused
        )

    def build_payload(self, when: str, error: BaseException | None) -> dict[str, Json]:
        """Return the measurements and calls of this phase, as plain builtins. Each of them is returned only once.

        Args:
            when: ``setup``, ``call`` or ``teardown``; the last one also has the facts of the test and the use of its cassettes.
            error: The error of the phase.
        """
        from pytest_llmops.results.kept_media import MAX_TEST_CHARS, MediaBudget
        from pytest_llmops.trace import read_call
        from pytest_llmops.trace.media_parts import restore_files

        measurements = self.recorder.drain_measurements()
        if self.tape is not None and self.tape.verdict() is not None:
            measurements = caught_errors.withdraw_scores(measurements, self.tape, error)
        calls = [read_call(exchange) for exchange in self.recorder.exchanges[self._reported_calls :]]
        self._reported_calls += len(calls)
        budget = MediaBudget(MAX_TEST_CHARS)
        calls = [budget.limit_call(restore_files(call, self.recorder.file_digests)) for call in calls]
        payload: dict[str, Json] = {
            "measurements": [measurement.to_wire() for measurement in measurements],
            "calls": [call.to_wire() for call in calls],
        }
        payload.update(describe_error(error))
        self._record_commands += list_record_commands(error)
        if when == "teardown":
            self._add_closing_facts(payload)
        return payload

    def _add_closing_facts(self, payload: dict[str, Json]) -> None:
        """Add to a payload the facts that are known only at the end of a test, and the requests to its cassettes."""
        while self._blocks:  # only if the test has no tape of its own
            tape = self._blocks.pop()
            self.log.add_tape(tape, passed=self.passed and tape.verdict() is None, own=False)
        self._record_cassette_facts()
        recordings = fingerprint_exchanges(self.recorder.exchanges, self.mask_secrets)
        if recordings:
            self.recorder.facts["recordings"] = [recordings]
        if self._record_commands:
            self.recorder.facts["record"] = list[Json](self._record_commands)
        payload["facts"] = dict(self.recorder.facts)
        payload["tapes"] = self.log.uses


def describe_source(call: Call) -> str:
    """Return which model answered a call, with its tokens, cost and time where they are known, and whether it was replayed."""
    parts = [shorten_text(call.model or call.endpoint, 60)]
    if call.usage.total_tokens is not None:
        parts.append(f"{call.usage.total_tokens:,} tok")
    if call.cost_usd is not None:
        parts.append(format_amount(call.cost_usd, "USD"))
    if call.latency_s is not None:
        parts.append(f"{call.latency_s:.2f} s")
    if call.replayed:
        return f"{', '.join(parts)} (replayed)"
    return f"{', '.join(parts)} (live)"


def describe_error(error: BaseException | None) -> dict[str, Json]:
    """Return the entries of a payload about the error of a phase: its classes, commands and assertions, and whether there is no score."""
    if error is None:
        return {}
    entries: dict[str, Json] = {"raised": list[Json](list_exception_classes(error))}
    commands = list_record_commands(error)
    if commands:
        entries["record"] = list[Json](commands)
    assertions = getattr(error, "assertions", ())
    if assertions:
        entries["assertions"] = list(assertions)
    unscored = find_unscored_error(error)
    if unscored is not None:
        entries["outcome"] = "errored"
        entries["kind"] = type(unscored).__name__
    return entries


def fingerprint_exchanges(exchanges: Sequence[Exchange], mask: Callable[[str], str] = str) -> str:
    """Return a digest of all requests and answers, in any order; "" if there are none.

    It is the same live and replayed. So a run that replays the very recordings that the baseline was made from is recognized.

    Args:
        exchanges: The requests and answers.
        mask: Masks secrets. A replayed answer has none, so secrets of a live answer must not count.
    """
    from pytest_llmops._util.text_files import fingerprint_parts

    digests = []
    for exchange in exchanges:
        parts = [mask(part) for part in _list_digest_parts(exchange)]
        digests.append(fingerprint_parts(*parts))
    if not digests:
        return ""
    return fingerprint_parts(*sorted(digests))


def _list_digest_parts(exchange: Exchange) -> list[str]:
    """Return the texts that identify an exchange: method, URL, request, status and answer.

    The answer is read by `read_call`, so that a changed id or time stamp does not count. Where this gives too little, the body is used.
    """
    from pytest_llmops._util.text_files import canonical_json
    from pytest_llmops.trace import read_call

    request = ""
    if exchange.request is not None:
        request = canonical_json(to_builtins(exchange.request))
    call = read_call(exchange)
    answer = [str(call.output), str(call.thinking)]
    answer += [f"{tool.name} {tool.arguments}" for tool in call.tool_calls]
    answer += [media.sha256 for media in call.media]
    is_empty = not (call.output or call.thinking or call.tool_calls)
    # The trace reads only the number of vectors, the first of several answers, and nothing of a ranking.
    if is_empty or call.unread or call.endpoint in ("embeddings", "rerank"):
        answer = [exchange.body.decode("utf-8", "replace"), ""]
    return [exchange.method, exchange.url, request, str(exchange.status), *answer]
