"""pytest's hooks for a run that asks ahead; registered for such a run only."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pluggy

from pytest_llmops.cassettes import are_live_calls_stopped, remove_run_journals, replace_tape_factory
from pytest_llmops.harness.ahead.answers import AnswerStore, Place, Workers
from pytest_llmops.harness.ahead.batches import BatchSender, OpenBatch, Postponed
from pytest_llmops.harness.ahead.phase import Phase, Unit, make_units
from pytest_llmops.harness.ahead.sender import LiveSender
from pytest_llmops.harness.ahead.silence import silence_session
from pytest_llmops.harness.ahead.tapes import ClaimingTape, CollectingTape, PhaseState
from pytest_llmops.harness.markers.llm_cassette import read_cassette_choice
from pytest_llmops.harness.own_tests import is_recorded_elsewhere
from pytest_llmops.harness.tapes import BROAD_SCOPES
from pytest_llmops.measurement import escape_output, format_count, shorten_text
from pytest_llmops.settings import Settings

hook = pluggy.HookimplMarker("pytest")
MAX_NAMES = 10  # tests that are named in the summary
MAX_LINE = 200
MAX_BATCH_LINE = 600
ENDED_WELL = (0, 1, 5)  # exit statuses of a run whose tests have all run
OPEN_STATUS = 75  # exit status of a run in which tests wait for a batch (EX_TEMPFAIL of sysexits.h)
REFUSED_STATUS = 4  # of a run in which tests could be in no batch (pytest's for usage)
# Options of pytest with which no test may run silently before
OFF_WITH = ("usepdb", "trace", "setuponly", "setupplan", "collectonly")


def register_hooks(
    config: Any, settings: Settings, ours_key: Any, run_unlogged: Callable[..., object], test_report: Any
) -> None:
    """Register the hooks that send the requests of all tests ahead in this run.

    Args:
        config: pytest's.
        settings: The run's.
        ours_key: The key that tests with a cassette have in their stash.
        run_unlogged: Runs the protocol of an item with a harness: ``(item, nextitem, is_silent=True)``.
        test_report: pytest's class.
    """
    config.pluginmanager.register(
        AheadHooks(config, settings, ours_key, partial(run_unlogged, is_silent=True), test_report),
        "llmops_ahead",
    )


class AheadHooks:
    """Runs the phase before pytest's own loop, and lets the tapes of the tests claim its answers."""

    def __init__(
        self,
        config: Any,
        settings: Settings,
        ours_key: Any,
        run_once: Callable[[Any, Any], object],
        test_report: Any,
    ) -> None:
        self._config = config
        self._settings = settings
        self._ours_key = ours_key
        self._run_once = run_once
        self._test_report = test_report
        worker = getattr(config, "workerinput", None)
        if worker:
            self._workers = Workers(int(worker["workerid"][2:]), worker["workercount"])
        else:
            self._workers = Workers()
        self._state = PhaseState(AnswerStore())
        self._phase: Phase | None = None
        self._batches: BatchSender | None = None  # of a run with --llm-batch
        self._postponed: dict[Any, str] = {}
        self._facts: dict[str, Any] = {}
        self._all_facts: list[dict[str, Any]] = []
        self._notes: list[str] = []

    @hook(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: Any) -> Generator[None, object, object]:
        """Send ahead the requests of the tests that are this process's share, and exchange the answers with the other workers."""
        is_parallel = self._config.getoption("dist", "no") != "no"
        is_controller = is_parallel and not hasattr(self._config, "workerinput")
        if is_controller or any(self._config.getoption(name, None) for name in OFF_WITH):
            return (yield)
        number = self._workers.number
        count = self._workers.count
        if number < count:  # else it replaces a crashed worker
            self._run_phase(session, session.items[number::count])
        if count > 1:
            self._workers.wait_for_answers()
            for answers in self._workers.read("answers"):
                self._state.store.answers.update((Place(*place), wire) for place, wire in answers)
        with replace_tape_factory(partial(self._state.make_tape, ClaimingTape)):
            return (yield)

    def _may_run_ahead(self, item: Any) -> bool:
        """Return whether a test may run silently before it is reported: it has a cassette of ours, no skip, no ``at_once=False``."""
        if self._ours_key not in item.stash or is_recorded_elsewhere(item):
            return False
        if item.get_closest_marker("skip") is not None:
            return False
        return read_cassette_choice(item).at_once

    def _run_phase(self, session: Any, share: list[Any]) -> None:
        """Run the phase for some tests; leave facts about it for the summary, and the answers for the other workers."""
        count = self._workers.count
        state = self._state
        units = make_units(filter(self._may_run_ahead, share), self._settings)
        phase = self._phase = self._make_phase(session, units)
        if isinstance(phase.sender, BatchSender):
            self._batches = phase.sender
        began = time.monotonic()
        if count > 1:
            self._workers.begin()
        try:
            with replace_tape_factory(partial(state.make_tape, CollectingTape)), silence_session(session):
                phase.run()
        finally:
            self._phase = None
            self._leave_out_postponed(session, units)
            self._facts = {
                "answers": len(state.store.answers),
                "seconds": time.monotonic() - began,
                "in_line": _list_in_line(units),
                "journals": [str(path) for path in state.store.journals.paths],
                "runs": max((unit.runs for unit in units), default=0),
            }
            if count > 1:
                self._workers.write("answers", list(state.store.answers.items()))

    def _make_phase(self, session: Any, units: list[Unit]) -> Phase:
        """Return the phase of this run, which sends live or, with --llm-batch, in batches."""
        width = self._settings.concurrency or 1
        make_sender: Callable[..., LiveSender] = LiveSender
        max_failures = self._config.getoption("maxfail", 0)
        if self._settings.batch:
            make_sender = partial(BatchSender, root=self._config.rootpath, settings=self._settings)
            max_failures = (
                0  # a batch has all requests: a failure of today says nothing about the answers of tomorrow
            )
        report: Callable[[str], object] = str
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            report = reporter.write_line
        return Phase(
            session,
            self._state,
            units,
            self._run_once,
            make_sender=make_sender,
            width=width,
            share=max(1, width // self._workers.count),
            max_failures=max_failures,
            report=report,
        )

    def _leave_out_postponed(self, session: Any, units: list[Unit]) -> None:
        """Deselect the tests that wait for a batch, or that no batch can answer."""
        self._postponed = {unit.item: unit.in_line for unit in units if isinstance(unit.in_line, Postponed)}
        session.items[:] = [item for item in session.items if item not in self._postponed]
        if self._postponed:
            self._config.hook.pytest_deselected(items=list(self._postponed))
            self._config.pluginmanager.get_plugin("llmops_watch").left_out += len(self._postponed)

    @hook
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Any:
        """Return a bare report in a silent run, as nobody reads it and a traceback would take longer than the run. Note what it raised."""
        if self._phase is None:
            return None
        outcome = "passed"
        if call.excinfo is not None:
            error = call.excinfo.value
            # A failure that an `xfail` expects, or a skip, does not end the run.
            is_skip = type(error).__name__ in ("Skipped", "XFailed")
            is_xfail = any(mark.name == "xfail" for mark in item.iter_markers())
            self._phase.note_error(error, is_failure=not is_skip and not is_xfail)
            if call.when == "setup":  # subtests count what failed
                outcome = "failed"
        report = self._test_report(item.nodeid, item.location, {}, outcome, None, call.when, (), 0.0)
        report.wasxfail = "silent"  # otherwise pytest opens its debugger
        return report

    @hook(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Generator[None, object, object]:
        """Keep fixtures that the phase must tear down: those that outlive a test, and those that a deferred call ended.

        pytest caches the error of a set-up only if it is an `Exception`; that of a deferred call is cached here.
        """
        phase = self._phase
        if phase is not None and fixturedef.scope in BROAD_SCOPES:
            phase.wide.append((fixturedef, request))
        try:
            return (yield)
        except BaseException as error:
            if phase is not None and not isinstance(error, Exception):
                fixturedef.cached_result = (None, fixturedef.cache_key(request), (error, error.__traceback__))
                phase.broken.append((fixturedef, request))
            raise

    @hook(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        """Add to the duration of a test the time that the calls took whose answers it claimed."""
        store = self._state.store
        report.duration += store.latency_s
        store.latency_s = 0.0

    @hook(tryfirst=True)
    def pytest_sessionfinish(self, session: Any, exitstatus: int) -> None:
        """Remove the journals, unless the run ended early: then the next run uses the answers for the tests that did not run."""
        if self._facts:
            self._workers.write("facts", {**self._facts, "claimed": self._state.store.claimed})
        if hasattr(self._config, "workerinput"):
            return  # its journals stay locked until the run ends: other workers may still claim their answers
        self._all_facts = self._workers.read("facts")
        self._notes += self._state.store.journals.close()
        has_ended_well = int(exitstatus) in ENDED_WELL and not are_live_calls_stopped()
        was_stopped = bool(session.shouldstop or session.shouldfail)
        is_over = has_ended_well and not was_stopped and not self._postponed
        if is_over:
            journals = [Path(path) for facts in self._all_facts for path in facts["journals"]]
            remove_run_journals(journals)
        if self._batches is not None:
            self._finish_batches(self._batches, is_over=is_over)
        if has_ended_well and self._postponed:
            session.exitstatus = REFUSED_STATUS
            if any(type(why) is OpenBatch for why in self._postponed.values()):
                session.exitstatus = OPEN_STATUS

    def _finish_batches(self, batches: BatchSender, *, is_over: bool) -> None:
        """Tell the sender which cassettes hold all their answers, and whether the run left out tests."""
        unused = {place.cassette for place in self._state.store.answers}
        left_out = self._config.pluginmanager.get_plugin("llmops_watch").left_out
        is_part = left_out > 0 or any("::" in argument for argument in self._config.args)
        batches.finish(self._state.closed - unused, is_over=is_over, is_part=is_part)

    @hook
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print what was sent ahead, which answers no test claimed, and which tests made their calls themselves."""
        if self._batches is not None:
            for line in self._batches.lines:
                terminalreporter.write_line(escape_output(shorten_text(f"batch: {line}", MAX_BATCH_LINE)))
        if self._config.get_verbosity() >= 0:
            for line in [*_describe_phase(self._all_facts), *self._notes]:
                terminalreporter.write_line(escape_output(line))


def _list_in_line(units: Sequence[Unit]) -> list[str]:
    """Return a line for each test that makes its calls itself, with the reason; equal lines of its trials appear once."""
    in_line = [unit for unit in units if unit.in_line and not isinstance(unit.in_line, Postponed)]
    lines = [f"{unit.item.nodeid}: {unit.in_line}" for unit in in_line]
    return list(dict.fromkeys(lines))


def _describe_phase(all_facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of the summary.

    Args:
        all_facts: The facts that each process of the run has left about its phase.
    """
    in_line = [line for facts in all_facts for line in facts["in_line"]]
    lines = [f"asked one after another: {shorten_text(line, MAX_LINE)}" for line in in_line[:MAX_NAMES]]
    if len(in_line) > MAX_NAMES:
        lines.append(f"asked one after another: {len(in_line) - MAX_NAMES} more")
    answers = sum(facts["answers"] for facts in all_facts)
    if not answers:
        return lines
    seconds = max(facts["seconds"] for facts in all_facts)
    runs = 1 + max(facts["runs"] for facts in all_facts)
    summary = (
        f"asked ahead: {format_count(answers, 'call')} in {seconds:.1f} s, running a test up to {runs} times"
    )
    unclaimed = answers - sum(facts["claimed"] for facts in all_facts)
    if unclaimed > 0:
        summary += f"; no test used {format_count(unclaimed, 'paid answer')}"
    return [summary, *lines]
