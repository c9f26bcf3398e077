"""pytest's hooks for a run that calls ahead, registered only for such a run."""

from collections.abc import Callable, Collection, Generator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pluggy

from pytest_llmops.cassettes import AdoptedJournals, are_live_calls_stopped, replace_tape_factory
from pytest_llmops.harness.ahead.answers import AnswerStore, Place, read_shared_answers, share_answers
from pytest_llmops.harness.ahead.child import (
    NoSilentProcessError,
    find_parent_link,
    find_process_kind,
    fork_process,
    start_fresh_process,
)
from pytest_llmops.harness.ahead.link import ParentLink, SilentProcess
from pytest_llmops.harness.ahead.silent_runs import SilentRuns
from pytest_llmops.harness.ahead.tapes import ClaimingTape, PhaseState
from pytest_llmops.harness.ahead.watch import END_LIMIT_S, SilenceWatch
from pytest_llmops.harness.markers.llm_cassette import read_cassette_choice
from pytest_llmops.harness.own_tests import is_recorded_elsewhere
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
# Number that a worker of xdist reports to its controller
CLAIMED_COUNT = "llmops_claimed"
NOT_AHEAD = "llmops_not_ahead"


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
    run_once = partial(run_unlogged, is_silent=True)
    make_silent_runs = partial(SilentRuns, config, settings, run_once, test_report)
    config.pluginmanager.register(AheadHooks(config, settings, ours_key, make_silent_runs), "llmops_ahead")


class AheadHooks:
    """Lets another process run the tests silently before pytest's own loop, and lets the tapes of the tests claim its answers."""

    def __init__(
        self,
        config: Any,
        settings: Settings,
        ours_key: Any,
        make_silent_runs: Callable[..., SilentRuns],
    ) -> None:
        self._config = config
        self._settings = settings
        self._ours_key = ours_key
        self._make_silent_runs = make_silent_runs
        self._is_worker = hasattr(config, "workerinput")
        self._state = PhaseState(AnswerStore())
        self._process: SilentProcess | None = None
        self._has_read_answers = False  # in a worker of xdist
        self._journals = AdoptedJournals([])
        self._claimed_by_workers = 0
        self._answer_count = 0
        self._facts: dict[str, Any] = {}
        self._failure = ""  # an error of the process of the silent runs
        # Tests that wait for a batch (True), or that no batch can answer (False)
        self._postponed: dict[str, bool] = {}
        self._lines: list[str] = []
        self._notes: list[str] = []

    @hook(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: Any) -> Generator[None, object, object]:
        """Have the requests of the tests sent before they run; in the process of the silent runs, run them silently and end it."""
        link = find_parent_link()
        if link is not None:
            self._run_silently(session, link)
        is_off = any(self._config.getoption(name, None) for name in OFF_WITH)
        if not is_off and not self._is_worker and self._is_needed(session):
            self._ask_ahead(session)
        with replace_tape_factory(partial(self._state.make_tape, ClaimingTape)):
            return (yield)

    def _is_needed(self, session: Any) -> bool:
        """Return whether any test may run silently. The controller of xdist does not know, as it collects none."""
        if self._config.getoption("dist", "no") != "no":
            return True
        if session.testsfailed and not self._config.getoption("continue_on_collection_errors"):
            return False  # pytest runs no test
        return any(map(self._may_run_ahead, session.items))

    def _may_run_ahead(self, item: Any) -> bool:
        """Return whether a test may run silently before it is reported: it has a cassette of ours, no skip, no ``at_once=False``.

        Nor with a fault: the answer of a call depends on the calls before it.
        """
        if self._ours_key not in item.stash or is_recorded_elsewhere(item):
            return False
        if item.get_closest_marker("skip") is not None or item.get_closest_marker("llm_fault") is not None:
            return False
        return read_cassette_choice(item).at_once

    def _run_silently(self, session: Any, link: ParentLink, *, is_fork: bool = False) -> None:
        """Run the tests silently; this ends the process."""
        self._make_silent_runs(link, is_fork=is_fork).run(
            session, list(filter(self._may_run_ahead, session.items))
        )

    def _ask_ahead(self, session: Any) -> None:
        """Let another process run the tests silently, and keep the answers that it sends."""
        try:
            kind = find_process_kind(self._config)
        except NoSilentProcessError as error:
            self._notes.append(f"sent one after another: {error}")
            return
        try:
            if kind == "fork":
                self._process = fork_process(self._config, partial(self._run_silently, session, is_fork=True))
            else:
                self._process = start_fresh_process(self._config)
        except OSError as error:
            self._notes.append(f"sent one after another: no process could be started ({error})")
            return
        self._config.add_cleanup(partial(self._process.end, None))  # a run that ends without a session finish
        try:
            self._receive_answers(self._process)
        except BaseException:  # Ctrl-C: no further call is made from now on
            self._end_process(self._process, None)
            raise
        self._leave_out_postponed(session)
        if self._config.getoption("dist", "no") != "no":
            share_answers(self._state.store.answers)

    def _receive_answers(self, process: SilentProcess) -> None:
        """Keep the answers that a process sends, until it has sent all, or has ended.

        Raises:
            KeyboardInterrupt: Ctrl-C; it names the test that ran.
        """
        with SilenceWatch(process) as watch:
            try:
                for kind, value in process.receive():
                    watch.note_message(kind, value)
                    if kind == "facts":
                        self._take_facts(process, value, watch.problem)
                        return
                    self._take_message(process, kind, value)
            except KeyboardInterrupt:
                doing = watch.running or "while answers were awaited"
                raise KeyboardInterrupt(f"silent runs, before pytest's own run: {doing}") from None
            problem = watch.problem
            # Its journals are taken in by the tests once nobody holds their locks: wait for its end
            self._end_process(process, None)
        self._note_early_end(
            problem or self._failure or f"their process has ended {process.last_error}".strip()
        )

    def _take_message(self, process: SilentProcess, kind: str, value: Any) -> None:
        """Keep an answer, print a line about the progress, or note an error of the process."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if kind == "answer":
            place, wire = value
            self._state.store.add(Place(*place), wire)
        elif kind == "progress" and reporter is not None:
            reporter.write_line(value)
        elif kind == "failed":
            self._failure = value
        elif kind == "process":
            process.process_id = value

    def _take_facts(self, process: SilentProcess, facts: dict[str, Any], problem: str) -> None:
        """Keep the facts that a process sends at the end of its silent runs, and end it unless it holds batches.

        Args:
            process: The process.
            facts: The facts that it has sent.
            problem: Why this process has ended it; empty: it has not.
        """
        self._facts = facts
        self._answer_count = len(self._state.store.answers)
        if problem or facts["stopped_by"]:
            self._note_early_end(problem or facts["stopped_by"])
        if not facts["lives_on"]:
            self._journals = AdoptedJournals(map(Path, facts["journals"]))
            self._end_process(process, None)

    def _note_early_end(self, problem: str) -> None:
        """Note for the summary why not all silent runs were made."""
        self._answer_count = len(self._state.store.answers)
        self._notes.append(
            f"silent runs ended early: {problem}; the remaining calls are sent one after another"
        )

    def _leave_out_postponed(self, session: Any) -> None:
        """Deselect the tests that wait for a batch, or that no batch can answer."""
        self._postponed = self._facts.get("postponed", {})
        left_out = [item for item in session.items if item.nodeid in self._postponed]
        if left_out:
            session.items[:] = [item for item in session.items if item.nodeid not in self._postponed]
            self._config.hook.pytest_deselected(items=left_out)
            self._config.pluginmanager.get_plugin("llmops_watch").left_out += len(left_out)

    @hook(tryfirst=True)
    def pytest_runtest_protocol(self, item: Any) -> None:
        """Note which test runs. Read the answers before the first one of a worker of xdist: the controller then has all of them."""
        self._state.test = item.nodeid
        if self._is_worker and not self._has_read_answers:
            self._has_read_answers = True
            self._state.store.answers.update(read_shared_answers())

    @hook(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        """Add to the duration of a test the time that the calls took whose answers it claimed."""
        store = self._state.store
        report.duration += store.latency_s
        store.latency_s = 0.0

    @hook(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Count the answers that the tests of a worker have claimed, and note which of them have made calls."""
        output = getattr(node, "workeroutput", {})
        self._claimed_by_workers += output.get(CLAIMED_COUNT, 0)
        self._state.not_ahead.update(output.get(NOT_AHEAD, ()))

    @hook(tryfirst=True)
    def pytest_sessionfinish(self, session: Any, exitstatus: int) -> None:
        """End the process of the silent runs. If the run ended early, its journals stay, for the tests that did not run."""
        if self._is_worker:
            self._config.workeroutput[CLAIMED_COUNT] = self._state.store.claimed
            self._config.workeroutput[NOT_AHEAD] = sorted(self._state.not_ahead)
            return
        if self._process is None:
            return
        has_ended_well = int(exitstatus) in ENDED_WELL and not are_live_calls_stopped()
        was_stopped = bool(session.shouldstop or session.shouldfail)
        is_over = has_ended_well and not was_stopped and not self._postponed
        order = {"is_over": is_over, "is_part": self._is_part(), "closed": self._list_finished_cassettes()}
        self._end_process(self._process, order)
        self._journals.release(is_recorded=is_over)
        if has_ended_well:
            session.exitstatus = find_exit_status(session.exitstatus, self._postponed)

    def _end_process(self, process: SilentProcess, order: Mapping[str, Any] | None) -> None:
        """End a process, and keep its last lines for the summary. Nothing happens if it was ended before."""
        with SilenceWatch(process, "the end of the silent runs", END_LIMIT_S) as watch:
            messages = process.end(order, watch.note_message)
        for kind, value in messages:
            if kind == "end":
                self._notes += value["notes"]
                self._lines = value["lines"]

    def _is_part(self) -> bool:
        """Return whether tests were left out of the run."""
        left_out: int = self._config.pluginmanager.get_plugin("llmops_watch").left_out
        return left_out > 0 or any("::" in argument for argument in self._config.args)

    def _list_finished_cassettes(self) -> list[str]:
        """Return the paths of the cassettes whose tests have run, and have used all answers requested for them."""
        unused = {place.cassette for place in self._state.store.answers}
        return sorted(self._state.closed - unused)

    @hook
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the calls that were sent ahead, the answers that no test claimed, and the tests that made their calls themselves."""
        for line in self._lines:
            terminalreporter.write_line(escape_output(shorten_text(f"batch: {line}", MAX_BATCH_LINE)))
        if self._config.get_verbosity() >= 0:
            claimed = self._state.store.claimed + self._claimed_by_workers
            facts = _name_failed_tests(self._facts, self._state.not_ahead)
            for line in [*_describe_facts(facts, self._answer_count, claimed), *self._notes]:
                terminalreporter.write_line(escape_output(line))


def find_exit_status(status: int, postponed: Mapping[str, bool]) -> int:
    """Return the exit status of a run that has ended well.

    Args:
        status: The status that pytest gives it.
        postponed: The ids of the tests that were left out: whether the test waits for a batch, or no batch can answer it.
    """
    if any(postponed.values()):
        return OPEN_STATUS
    if postponed:
        return REFUSED_STATUS
    return status


def _name_failed_tests(facts: Mapping[str, Any], not_ahead: Collection[str]) -> Mapping[str, Any]:
    """Return the facts with those tests in line that failed in their silent runs, but came to their calls in the run that counts.

    Args:
        facts: As in `_describe_facts`.
        not_ahead: The ids of the tests that have made calls in the run that counts.
    """
    if not facts:
        return facts
    lines = list(facts["in_line"])
    named = {line.partition(": ")[0] for line in lines}
    for nodeid, error in facts["errors"].items():
        if nodeid in not_ahead and nodeid not in named:
            lines.append(f"{nodeid}: it failed in its silent run ({error})")
    return {**facts, "in_line": lines}


def _describe_facts(facts: Mapping[str, Any], answer_count: int, claimed_count: int) -> list[str]:
    """Return the lines of the summary.

    Args:
        facts: The facts that the process of the silent runs has sent at their end. Empty: it ended before.
        answer_count: Number of answers that it has sent.
        claimed_count: Number of them that tests have claimed.
    """
    if not facts:
        return []
    in_line = facts["in_line"]
    lines = [f"sent one after another: {shorten_text(line, MAX_LINE)}" for line in in_line[:MAX_NAMES]]
    if len(in_line) > MAX_NAMES:
        lines.append(f"sent one after another: {len(in_line) - MAX_NAMES} more")
    if not answer_count:
        return lines
    runs = 1 + facts["runs"]
    summary = f"sent ahead: {format_count(answer_count, 'call')} in {facts['seconds']:.1f} s, running a test up to {runs} times"
    unclaimed = answer_count - claimed_count
    if unclaimed > 0:
        summary += f"; no test used {format_count(unclaimed, 'paid answer')}"
    return [summary, *lines]
