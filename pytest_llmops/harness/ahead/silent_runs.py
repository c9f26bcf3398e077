"""Silent runs of the tests, in a process of their own: they collect the requests of the tests, and have them sent.

The process ends with them, so nothing that a test changes or starts here reaches the run that counts. The process of that run gets the
answers, the facts for the summary, and the journals that hold the answers on disk: it locks them, as an unlocked journal is one that a
killed run has left. With --llm-record=batch this process lives until the other one ends, as it holds the states of the batches.
"""

import _thread
import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pluggy

from pytest_llmops.cassettes import current_folder, lock_folder, remove_run_journals, replace_tape_factory
from pytest_llmops.errors import SilentWriteRefused
from pytest_llmops.harness.ahead.answers import AnswerStore, Place
from pytest_llmops.harness.ahead.batches import BatchSender, OpenBatch, Postponed
from pytest_llmops.harness.ahead.exits import drop_inherited_exit_functions, run_exit_functions
from pytest_llmops.harness.ahead.guard import OUR_THREADS, GuardHooks, WriteGuard
from pytest_llmops.harness.ahead.link import ParentLink
from pytest_llmops.harness.ahead.phase import Phase, Unit, make_units
from pytest_llmops.harness.ahead.sender import LiveSender
from pytest_llmops.harness.ahead.silence import silence_session
from pytest_llmops.harness.ahead.tapes import CollectingTape, PhaseState
from pytest_llmops.harness.ahead.watch import END_LIMIT_S, LIMIT_S, find_time_limit
from pytest_llmops.harness.tapes import BROAD_SCOPES
from pytest_llmops.settings import Settings

hook = pluggy.HookimplMarker("pytest")
# The default if the other process has ended, or has been interrupted
NO_ORDER: Mapping[str, Any] = {"is_over": False, "is_part": True, "closed": []}
# After Ctrl-C both processes get the signal: a test that ends by itself is not interrupted again
INTERRUPT_AFTER_S = 0.5
# Name of the plugin that is registered in the process of the silent runs only
PLUGIN = "llmops_silent_runs"


class SilentRuns:
    """Runs tests silently, and ends this process when the process whose run counts needs it no more, or has ended.

    Args:
        config: pytest's.
        settings: The run's.
        run_once: Runs the protocol of an item silently: ``(item, nextitem)``.
        test_report: pytest's class.
        link: The connection to the process whose run counts.
        is_fork: Whether this process is a fork of that one.
    """

    def __init__(
        self,
        config: Any,
        settings: Settings,
        run_once: Callable[[Any, Any], object],
        test_report: Any,
        link: ParentLink,
        *,
        is_fork: bool = False,
    ) -> None:
        self._config = config
        self._is_fork = is_fork
        self._is_idle = threading.Event()
        self._closing = threading.Lock()
        self._settings = settings
        self._run_once = run_once
        self._test_report = test_report
        self._link = link
        self._state = PhaseState(AnswerStore(on_answer=self._send_answer))
        self._batches: BatchSender | None = None  # of a run with --llm-record=batch
        self._temporary_folders = (current_folder() / f"silent-{number}" for number in itertools.count())
        self._guard = WriteGuard(self._list_own_folders(), self._put_in_line)
        self._state.refuse = self._guard.refuse

    def run(self, session: Any, items: Sequence[Any]) -> NoReturn:
        """Run tests silently until nothing more can be sent ahead, and end this process. With batches wait for an order before.

        Args:
            session: pytest's session.
            items: The tests that may run silently.
        """
        self._link.send("process", os.getpid())
        if self._is_fork:
            drop_inherited_exit_functions()
        units = make_units(items, self._settings)
        phase = self._make_phase(session, units)
        if isinstance(phase.sender, BatchSender):
            self._batches = phase.sender
        threading.Thread(
            target=self._end_with_parent, args=(phase,), name=f"{OUR_THREADS}: end", daemon=True
        ).start()
        began = time.monotonic()
        hooks = SilentRunHooks(phase, self._test_report, self._put_in_line)
        self._config.pluginmanager.register(hooks, PLUGIN)
        self._config.pluginmanager.register(GuardHooks(self._guard))
        stopped_by = ""
        try:
            self._guard.start()
            silence_session(session)
            with replace_tape_factory(self._make_tape):
                phase.run()
        except BaseException as error:  # noqa: BLE001 -- the other process reports it
            stopped_by = f"{type(error).__name__} {error}".strip()
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._link.send("facts", self._list_facts(units, time.monotonic() - began, stopped_by))
        if self._batches is None:
            self._end_process(NO_ORDER)
        self._is_idle.set()
        while True:  # `_end_with_parent` ends the process
            time.sleep(3600)

    def _list_own_folders(self) -> Iterator[Path]:
        """Yield the folders that this package or, by the settings, the project may write in silent runs."""
        yield current_folder()
        yield lock_folder()
        for folder in self._settings.silent_writes:
            yield self._config.rootpath / os.path.expanduser(folder)  # noqa: PTH111 -- `Path.expanduser` may raise

    def _make_phase(self, session: Any, units: list[Unit]) -> Phase:
        """Return the phase of this run, which sends live or, with --llm-record=batch, in batches."""
        make_sender: Callable[..., LiveSender] = LiveSender
        max_failures = self._config.getoption("maxfail", 0)
        if self._settings.batch:
            make_sender = partial(BatchSender, root=self._config.rootpath, settings=self._settings)
            # A batch has all requests: a failure of today does not predict the answers of tomorrow.
            max_failures = 0
        return Phase(
            session,
            self._state,
            units,
            self._run_in_own_folder,
            make_sender=make_sender,
            width=self._settings.concurrency or 1,
            max_failures=max_failures,
            report=partial(self._link.send, "progress"),
            note_running=self._send_running,
        )

    def _send_running(self, running: Any) -> None:
        """Send what runs now, and for how many seconds it may take: an item, a text for something else, or None."""
        self._link.send("running", describe_running(running))

    def _run_in_own_folder(self, item: Any, nextitem: Any) -> None:
        """Run a test silently. Its `tmp_path` has the name that it will have in the run that counts, in another folder.

        That `tmp_path` is removed in its tear-down, so that all the runs together take little disk.
        """
        factory = getattr(self._config, "_tmp_path_factory", None)
        if factory is not None:
            factory._retention_policy = "failed"  # noqa: SLF001 -- as below; reports of silent runs tell of no failed calls
            factory._basetemp = None  # noqa: SLF001 -- pytest has no public access
            factory._given_basetemp = next(self._temporary_folders)  # noqa: SLF001 -- as above
            getattr(factory, "_next_number", {}).clear()
        self._run_once(item, nextitem)

    def _make_tape(self, path: Path, *args: Any, **more: Any) -> Any:
        """Return a tape that collects requests. The folder of its cassette may be written, for its journal."""
        self._guard.allow(path.parent)
        return self._state.make_tape(CollectingTape, path, *args, **more)

    def _put_in_line(self, reason: str) -> None:
        """Let the running test make its calls itself."""
        run = self._state.run
        run.in_line = run.in_line or reason

    def _send_answer(self, place: Place, wire: Mapping[str, Any]) -> None:
        self._link.send("answer", [place, wire])

    def _list_facts(self, units: Sequence[Unit], seconds: float, stopped_by: str) -> dict[str, Any]:
        """Return the facts that the other process needs in addition to the answers."""
        return {
            "seconds": seconds,
            "stopped_by": stopped_by,
            "journals": [str(path) for path in self._state.store.journals.paths],
            "lives_on": self._batches is not None,
            **describe_units(units),
        }

    def _end_with_parent(self, phase: Phase) -> None:
        """Wait for the order of the other process or its end, then make no further call, and end this process. Runs in a thread.

        A test that still runs is interrupted as by Ctrl-C, and fixtures get some time for their tear-down.
        """
        try:
            order = self._link.wait_for_order() or NO_ORDER
            self._link.send("closing", ["", END_LIMIT_S])  # a call that is under way is waited for
            phase.sender.stop()
            self._link.send("closing", ["the end of the silent runs", END_LIMIT_S])
            if not self._is_idle.wait(INTERRUPT_AFTER_S):
                if not phase.is_ending:
                    _interrupt_main_thread()
                self._is_idle.wait(END_LIMIT_S / 2)
            if self._is_idle.is_set():
                self._end_process(order)
            if self._closing.acquire(blocking=False):
                self._link.send("end", self._close_journals(order))
        finally:
            os._exit(0)

    def _end_process(self, order: Mapping[str, Any]) -> NoReturn:
        """Close the journals, send the last facts to the other process, run the exit functions, and end this process."""
        try:
            if self._closing.acquire(blocking=False):
                self._link.send("end", self._close_journals(order))
            run_exit_functions(self._config, is_fork=self._is_fork)
        finally:
            os._exit(0)

    def _close_journals(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Close the journals and the batches, and remove files that the next run does not need. Return lines for the summary."""
        journals = self._state.store.journals
        notes = journals.close()
        if order["is_over"]:
            remove_run_journals(journals.paths)
        lines: list[str] = []
        if self._batches is not None:
            self._batches.finish(order["closed"], is_over=order["is_over"], is_part=order["is_part"])
            lines = self._batches.lines
        return {"notes": notes, "lines": lines}


class SilentRunHooks:
    """Hooks of pytest for the silent runs.

    Args:
        phase: Runs the tests.
        test_report: pytest's class.
        put_in_line: Lets the running test make its calls itself, for a reason.
    """

    def __init__(self, phase: Phase, test_report: Any, put_in_line: Callable[[str], object]) -> None:
        self._phase = phase
        self._test_report = test_report
        self._put_in_line = put_in_line

    @hook
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Any:
        """Return a bare report, as nobody reads it and a traceback would take longer than the run. Note the error of the test."""
        outcome = "passed"
        if call.excinfo is not None:
            error = call.excinfo.value
            # A failure that an `xfail` expects, or a skip, does not end the run.
            is_skip = type(error).__name__ in ("Skipped", "XFailed")
            is_xfail = any(mark.name == "xfail" for mark in item.iter_markers())
            self._phase.note_error(error, is_failure=not is_skip and not is_xfail)
            if isinstance(error, SilentWriteRefused):  # a fixture raises it again for each of its tests
                self._put_in_line(str(error))
            if call.when == "setup":  # subtests count failures
                outcome = "failed"
        report = self._test_report(item.nodeid, item.location, {}, outcome, None, call.when, (), 0.0)
        report.wasxfail = "silent"  # otherwise pytest opens its debugger
        return report

    @hook(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Generator[None, object, object]:
        """Keep fixtures that the phase must tear down: those that outlive a test, and those that a deferred call ended.

        pytest caches the error of a set-up only if it is an `Exception`. The error of a deferred call is cached here.
        """
        if fixturedef.scope in BROAD_SCOPES:
            self._phase.wide.append((fixturedef, request))
        try:
            return (yield)
        except BaseException as error:
            if not isinstance(error, Exception):
                fixturedef.cached_result = (None, fixturedef.cache_key(request), (error, error.__traceback__))
                self._phase.broken.append((fixturedef, request))
            raise


def _interrupt_main_thread() -> None:
    """Raise KeyboardInterrupt in the main thread, also where it waits for a lock or a process."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


def describe_running(running: Any) -> tuple[str, float]:
    """Return the name of what runs, and for how many seconds it may take without a call.

    Args:
        running: pytest's item, a text for something else, or None: nothing that can hang.
    """
    if running is None:
        return "", LIMIT_S
    if isinstance(running, str):
        return running, LIMIT_S
    return running.nodeid, find_time_limit(running)


def describe_units(units: Sequence[Unit]) -> dict[str, Any]:
    """Return the facts about the tests: which are in line, postponed, or have failed silently, and how often a test ran at most."""
    postponed = [unit for unit in units if isinstance(unit.in_line, Postponed)]
    return {
        "in_line": _list_in_line(units),
        "runs": max((unit.runs for unit in units), default=0),
        "errors": {unit.item.nodeid: unit.error for unit in units if unit.error},
        "postponed": {unit.item.nodeid: type(unit.in_line) is OpenBatch for unit in postponed},
    }


def _list_in_line(units: Sequence[Unit]) -> list[str]:
    """Return a line for each test that makes its calls itself, with the reason; equal lines of its trials appear once."""
    in_line = [unit for unit in units if unit.in_line and not isinstance(unit.in_line, Postponed)]
    lines = [f"{unit.item.nodeid}: {unit.in_line}" for unit in in_line]
    return list(dict.fromkeys(lines))
