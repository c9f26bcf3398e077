"""The phase: run tests silently until nothing that they ask is missing, and send what is missing meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_llmops.ahead.answers import Place
from pytest_llmops.ahead.sender import LiveSender
from pytest_llmops.ahead.silence import keep_item
from pytest_llmops.ahead.tapes import PendingRequest, PhaseState, TestRun
from pytest_llmops.ahead.transports import why_not_copied
from pytest_llmops.errors import CallDeferred
from pytest_llmops.harness.item import has_trials
from pytest_llmops.harness.trials import list_takes, read_trial_plan
from pytest_llmops.recorder import run_as_trial
from pytest_llmops.settings import Settings

MAX_WAIT_S = 0.1
"""Time for which more answers are waited for while few tests are ready."""
UNSETTLED = "its requests differ from one run to the next"


@dataclass(slots=True, eq=False)
class Unit:
    """A test, or a trial of it, in the phase.

    Attributes:
        trial: Number of the trial; None: the test has none.
        order: Its place among all.
        awaited: Answers that it asked for and has not claimed yet.
        missing: Number of them that have not come.
        retried: Whether it runs again because it claimed only some of them.
        in_line: Why it makes its calls itself in pytest's own run; empty: it need not.
    """

    item: Any
    trial: int | None
    order: int
    runs: int = 0
    awaited: set[Place] = field(default_factory=set)
    missing: int = 0
    retried: bool = False
    in_line: str = ""


def make_units(items: Iterable[Any], settings: Settings) -> list[Unit]:
    """Return the tests with their trials, in order."""
    units: list[Unit] = []
    for item in items:
        takes = list_takes(item, read_trial_plan(item, settings)) if has_trials(item, settings) else (None,)
        units += [Unit(item, take, len(units) + index) for index, take in enumerate(takes)]
    return units


class Phase:
    """Runs tests until all that they ask is answered, or cannot be asked ahead.

    Args:
        session: pytest's session.
        state: Shared with the tapes.
        units: The tests.
        run_once: Runs the protocol of an item silently: ``(item, nextitem)``.
        width: Maximum number of calls at the same time.
        window: Number of unfinished tests that are begun; None: any number.
        max_failures: Number of failed tests after which no other is begun; 0: any number.
    """

    def __init__(
        self,
        session: Any,
        state: PhaseState,
        units: Sequence[Unit],
        run_once: Callable[[Any, Any], object],
        width: int,
        *,
        max_failures: int = 0,
        report: Callable[[str], object] = print,
    ) -> None:
        self.state, self.units, self._session = state, units, session
        self._run_once, self._width, self._max_failures = run_once, width, max_failures
        self._report = report
        self._new = deque(units)
        self._ready: list[Unit] = []
        self._blocked: dict[Place, list[Unit]] = {}
        self._begun = self._failures = 0
        self._has_failed = False
        self._changed = threading.Condition()
        self.sender = LiveSender(width, self._end_request)
        self.broken: list[tuple[Any, Any]] = []
        """Fixtures whose set-up was given up, with their requests."""
        self.wide: list[tuple[Any, Any]] = []
        """Fixtures that outlive a test, with their requests."""
        self._next_report = time.monotonic() + REPORT_INTERVAL_S

    def run(self) -> None:
        """Run to the end of the phase."""
        try:
            while units := self._wait_for_units():
                self._finish_fixtures(self.broken)
                for unit, after in zip(units, [*units[1:], None], strict=True):
                    self._run_unit(unit, after)
        finally:
            self.sender.stop()
            self._finish_fixtures(self.broken)
            self._finish_fixtures(self.wide)
            # A fixture that stays would be used by the tests that are reported, which then would not claim its calls.
            _run_quietly(self._session._setupstate.teardown_exact, None)  # noqa: SLF001 -- pytest has no public way

    def _wait_for_units(self) -> list[Unit]:
        """Return the tests that can go on, in order; wait while there are few and more answers are to come."""
        enough = min(max(1, self._width // 4), max(1, len(self._blocked)))
        deadline = None
        with self._changed:
            while True:
                room = 2 * self._width - self._begun if self._max_failures else len(self._new)
                fresh = [self._new.popleft() for _ in range(min(room, len(self._new)))]
                self._begun += len(fresh)
                self._ready += fresh
                if len(self._ready) >= enough or not self._blocked:
                    break
                if self._ready and deadline is None:
                    deadline = time.monotonic() + MAX_WAIT_S
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._changed.wait(min(left or REPORT_INTERVAL_S, REPORT_INTERVAL_S))
                self._report_progress()
            units, self._ready = sorted(self._ready, key=lambda unit: unit.order), []
        return units

    def _run_unit(self, unit: Unit, after: Unit | None) -> None:
        run = self.state.run = TestRun()
        unit.runs += 1
        self._has_failed = False
        same = after is not None and after.item is unit.item
        nextitem = unit.item.parent if same else after.item if after is not None else self._session
        trial = run_as_trial(unit.trial) if unit.trial is not None else contextlib.nullcontext()
        with trial, keep_item(unit.item):
            try:
                self._run_once(unit.item, nextitem)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 -- `pytest.exit`: it ends pytest's own run in the right place
                unit.in_line = type(error).__name__
                self._new.clear()
        self.state.run = TestRun()  # what comes later, of a thread that outlives its test, is for nobody
        self._judge_run(unit, run)
        if self._next_report < time.monotonic():
            self._report_progress()

    def _judge_run(self, unit: Unit, run: TestRun) -> None:
        """Decide whether a test is done, runs again, or cannot be asked ahead."""
        waits = run.waits | run.requests.keys()
        left = unit.awaited - self.state.ever_claimed
        if run.in_line or unit.in_line:
            unit.in_line = unit.in_line or run.in_line
        elif waits and left and (left == unit.awaited or unit.retried):
            unit.in_line = UNSETTLED
        elif waits and left:  # a pool that ends at the first deferred call may not come to all of its answers
            unit.retried, unit.awaited = True, left
            with self._changed:
                self._ready.append(unit)
            return
        elif waits:
            self._send(unit, run, waits)
            return
        self._begun -= 1
        self._failures += self._has_failed
        if self._max_failures and self._failures >= self._max_failures:
            self._new.clear()

    def _send(self, unit: Unit, run: TestRun, waits: set[Place]) -> None:
        requests = []
        for place, pending in run.requests.items():
            why = why_not_copied(pending.module, pending.transport)
            if why:
                self.state.failed[place] = why
            else:
                requests.append(pending)
        with self._changed:
            unit.retried, unit.awaited = False, waits - self.state.failed.keys()
            self.state.sent |= {pending.place for pending in requests}
            open_places = [place for place in unit.awaited if self.state.store.get(place) is None]
            unit.missing = len(open_places)
            for place in open_places:
                self._blocked.setdefault(place, []).append(unit)
            if not open_places:
                self._ready.append(unit)
        self.sender.submit(requests)

    def _end_request(self, pending: PendingRequest, why: str) -> None:
        """Note the end of a request, in the thread of the sender."""
        with self._changed:
            if why:
                self.state.failed[pending.place] = why
            for unit in self._blocked.pop(pending.place, ()):
                unit.missing -= 1
                unit.in_line = unit.in_line or why
                if unit.missing:
                    continue
                if unit.in_line:
                    self._begun -= 1
                else:
                    self._ready.append(unit)
            self._changed.notify()

    def note_error(self, error: BaseException, *, is_failure: bool) -> None:
        """Note what a phase of a test raised: a fixture may raise again the call that it deferred for another test."""
        deferred = find_deferred_call(error)
        if deferred is None:
            self._has_failed |= is_failure
            return
        run, place = self.state.run, deferred.place
        run.deferred = True
        if place in self.state.failed:
            run.in_line = run.in_line or self.state.failed[place]
        elif place in self.state.sent:
            run.waits.add(place)

    def _report_progress(self) -> None:
        if time.monotonic() < self._next_report:
            return
        self._next_report = time.monotonic() + REPORT_INTERVAL_S
        done = len(self.state.sent) - len(self._blocked)
        self._report(
            f"asked ahead: {done:,} of {len(self.state.sent):,} calls answered, {self.sender.in_flight} under way"
        )

    def _finish_fixtures(self, fixtures: list[tuple[Any, Any]]) -> None:
        while fixtures:
            fixturedef, request = fixtures.pop()
            _run_quietly(fixturedef.finish, request)


REPORT_INTERVAL_S = 10.0
"""Time between two lines about the progress of the phase."""


def _run_quietly(function: Callable[[Any], object], argument: Any) -> None:
    """Call a function of a fixture's tear-down, whatever it raises but Ctrl-C."""
    try:
        function(argument)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001, S110 -- raised again where the fixture is torn down after the reported tests
        pass


def find_deferred_call(error: BaseException | None) -> CallDeferred | None:
    """Return the deferred call that an exception is, or that its group holds."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(find_deferred_call, error.exceptions)), None)
    return error if isinstance(error, CallDeferred) else None
