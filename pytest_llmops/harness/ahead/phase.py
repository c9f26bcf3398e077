"""The phase before the reported run: tests run silently, and the requests they make are sent together.

A silent run of a test ends at its first request without an answer. Once the answers have come, the test runs silently again and gets
further. This repeats until it makes no new request. A test that this does not work for makes its calls itself in the reported run, one
after another: it is *in line*.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pytest_llmops.cassettes import deferred_calls
from pytest_llmops.errors import CallDeferred
from pytest_llmops.harness.ahead.answers import Place
from pytest_llmops.harness.ahead.sender import LiveSender, why_not_sent
from pytest_llmops.harness.ahead.silence import keep_item
from pytest_llmops.harness.ahead.tapes import PendingRequest, PhaseState, SilentRun
from pytest_llmops.harness.markers.llm_trials import has_trials
from pytest_llmops.harness.trials import list_takes
from pytest_llmops.measurement import shorten_text
from pytest_llmops.recorder import run_as_trial
from pytest_llmops.settings import Settings

MAX_ERROR = 120
MAX_WAIT_S = 0.1  # time for which more answers are waited for while few tests are ready
REPORT_INTERVAL_S = 10.0  # time between two lines about the progress of the phase
TEAR_DOWN = "the tear-down of fixtures"
UNSETTLED = "its requests differ from one run to the next"


@dataclass(slots=True, eq=False)
class Unit:
    """A test, or a trial of it, in the phase.

    Attributes:
        item: pytest's item.
        take: The take of the trial; None: the test has no trials.
        order: Its position among all units.
        runs: How often it has run.
        awaited: Answers that its last run waited for. Its next run should use them.
        missing: Number of them that have not come yet.
        unconfirmed: Answers that its last run waited for, if the sender wants a confirmation: requests are sent only if the next
            run waits for at least one of them again. A batch costs money, and requests that differ from run to run are useless in it.
        is_retried: Whether it already runs once more because its last run did not use all awaited answers.
        in_line: Why it makes its calls itself in the reported run; empty: it need not.
        error: The error that ended its last run. Empty: none, or a call that had no answer yet.
    """

    item: Any
    take: int | None
    order: int
    runs: int = 0
    awaited: set[Place] = field(default_factory=set)
    missing: int = 0
    unconfirmed: set[Place] = field(default_factory=set)
    is_retried: bool = False
    in_line: str = ""
    error: str = ""


def make_units(items: Iterable[Any], settings: Settings) -> list[Unit]:
    """Return the tests with their trials, in order."""
    units: list[Unit] = []
    for item in items:
        takes: Sequence[int | None] = (None,)
        if has_trials(item, settings):
            takes = list_takes(item, settings, if_all_pass=True)
        units += [Unit(item, take, len(units) + index) for index, take in enumerate(takes)]
    return units


class Decision(NamedTuple):
    """How a test goes on after a silent run.

    Attributes:
        step: ``end``: it runs no more. ``again``: it runs once more at once. ``send``: its requests are sent, and it runs once more with
            their answers.
        in_line: Why it makes its calls itself in the reported run; empty: it need not.
    """

    step: Literal["end", "again", "send"]
    in_line: str = ""


def decide_after_run(unit: Unit, run: SilentRun, used: Collection[Place], *, confirms: bool) -> Decision:
    """Return how a test goes on after a silent run.

    It ends if it waits for nothing, or is in line. It runs again at once if it has not used all the answers that it waited for, or if
    its requests need a confirmation. Otherwise its requests are sent.

    Args:
        unit: The test, with what it waited for before this run.
        run: The run.
        used: Answers that silent runs have received.
        confirms: Whether the sender wants a confirmation of requests.
    """
    in_line = unit.in_line or run.in_line
    waits = run.waits | run.requests.keys()
    if in_line or not waits:
        return Decision("end", in_line)
    unused = unit.awaited.difference(used)
    needs_confirmation = confirms and not unit.unconfirmed & waits
    used_nothing_more = bool(unused) and (unused == unit.awaited or unit.is_retried)
    was_not_confirmed = needs_confirmation and bool(unit.unconfirmed)
    if used_nothing_more or was_not_confirmed:
        return Decision("end", UNSETTLED)
    if unused or needs_confirmation:
        return Decision("again")
    return Decision("send")


def find_wait_s(left_s: float, *, ready: int, blocked: int, width: int, is_more_coming: bool) -> float:
    """Return for how many seconds further answers are waited for; 0: the tests that are ready run now.

    Args:
        left_s: What is left of the time for which more answers are waited for while few tests are ready.
        ready: Number of tests that are ready.
        blocked: Number of answers that tests wait for.
        width: Maximum number of calls at the same time.
        is_more_coming: Whether an answer is under way.
    """
    if not is_more_coming:
        return 0.0
    if not ready:
        return REPORT_INTERVAL_S
    are_few = ready < min(width // 4, blocked)
    if are_few:
        return max(0.0, left_s)
    return 0.0


class Phase:
    """Runs tests until all their requests are answered, or cannot be sent ahead.

    Args:
        session: pytest's session.
        state: Shared with the tapes.
        units: The tests.
        run_once: Runs the protocol of an item silently: ``(item, nextitem)``.
        make_sender: Makes the sender of the requests.
        width: Maximum number of calls at the same time.
        max_failures: Number of failed tests after which no other is begun; 0: any number.
        report: Prints a line about the progress.
        note_running: Called with the item that runs from now on, with a text for other work that can hang, or with None: nothing can.
        clock: Returns the time in seconds.

    Attributes:
        is_ending: Whether it runs no further test, and tears down.
        sender: Sends the requests.
        broken: Fixtures whose set-up ended at a deferred call, with pytest's fixture requests. They are finished before the next
            runs, so that they are set up again.
        wide: Fixtures that outlive a test, with pytest's fixture requests. They are finished at the end of the phase.
    """

    def __init__(
        self,
        session: Any,
        state: PhaseState,
        units: Sequence[Unit],
        run_once: Callable[[Any, Any], object],
        *,
        make_sender: Callable[..., LiveSender] = LiveSender,
        width: int,
        max_failures: int = 0,
        report: Callable[[str], object] = print,
        note_running: Callable[[Any], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = state
        self.units = units
        self._session = session
        self._run_once = run_once
        self._width = width
        self._report = report
        self._note_running = note_running
        self._clock = clock
        self.is_ending = False
        self._failures_left = max_failures or len(units) + 1
        if max_failures:
            self._room = 2 * width
        else:
            self._room = len(units)
        self._has_failed = False
        self._error = ""
        self._new = deque(units)
        self._ready: list[Unit] = []
        self._blocked: dict[Place, list[Unit]] = {}
        self._changed = threading.Condition()
        self.sender = make_sender(width, self._end_request)
        self.broken: list[tuple[Any, Any]] = []
        self.wide: list[tuple[Any, Any]] = []
        self._next_report = clock() + REPORT_INTERVAL_S

    def run(self) -> None:
        """Run to the end of the phase."""
        try:
            while (units := self._wait_for_units()) or self.sender.flush():
                self._finish_broken()
                for unit, after in zip(units, [*units[1:], None], strict=False):
                    self._note_running(unit.item)
                    self._run_unit(unit, after)
                    self._report_progress()
                self._note_running(None)
        finally:
            self.is_ending = True
            self._note_running(None)
            self.sender.stop()
            self._finish_broken()
            _finish_fixtures(self.wide)
            # A fixture that stays would be used by the tests that are reported, which then would not claim its calls.
            rest = self._session._setupstate  # noqa: SLF001 -- as pytest-rerunfailures does
            _run_quietly(rest.teardown_exact, None)
            self._note_running(None)

    def _finish_broken(self) -> None:
        """Tear down the fixtures whose set-up ended at a deferred call."""
        self._note_running(TEAR_DOWN)
        _finish_fixtures(self.broken)

    def _wait_for_units(self) -> list[Unit]:
        """Return the units that can run now, in order; wait a moment if they are few, as further answers may come.

        Returns none if all others are blocked by requests that wait in the sender's queue: then the caller flushes the queue.
        """
        deadline: float | None = None
        with self._changed:
            while True:
                fresh = [self._new.popleft() for _ in range(min(self._room, len(self._new)))]
                self._room -= len(fresh)
                self._ready += fresh
                now = self._clock()
                if self._ready and deadline is None:
                    deadline = now + MAX_WAIT_S
                left_s = MAX_WAIT_S
                if deadline is not None:
                    left_s = deadline - now
                wait_s = find_wait_s(
                    left_s,
                    ready=len(self._ready),
                    blocked=len(self._blocked),
                    width=self._width,
                    is_more_coming=not self._blocked.keys() <= self.sender.queue.keys(),
                )
                if not wait_s:
                    break
                self._changed.wait(wait_s)
                self._report_progress()
            units = sorted(self._ready, key=lambda unit: unit.order)
            self._ready = []
        return units

    def _run_unit(self, unit: Unit, after: Unit | None) -> None:
        """Run a test silently, and let it end, run again, or send its requests."""
        run = self._run_silently(unit, after)
        waits = run.waits | run.requests.keys()
        step, unit.in_line = decide_after_run(unit, run, self.state.used, confirms=self.sender.confirms)
        if step == "end":
            self._end_unit()
        elif step == "again":
            # Unused: a pool of threads that ends at the first deferred call may not come to all of its answers.
            unused = unit.awaited - self.state.used
            unit.is_retried = bool(unused)
            unit.awaited = unused or unit.awaited
            unit.unconfirmed = waits
            with self._changed:
                self._ready.append(unit)
        else:
            unit.unconfirmed = set()
            self._send(unit, run, waits)

    def _run_silently(self, unit: Unit, after: Unit | None) -> SilentRun:
        """Run a test once without reporting it, and return its requests.

        Args:
            unit: The test.
            after: The unit that runs next, whose fixtures stay set up; None: there is none.
        """
        run = self.state.run = SilentRun()
        deferred_calls.clear()
        unit.runs += 1
        self._has_failed = False
        self._error = ""
        nextitem = self._session
        if after is not None:
            nextitem = after.item
        if nextitem is unit.item:  # another trial
            nextitem = unit.item.parent
        with ExitStack() as stack:
            if unit.take is not None:
                stack.enter_context(run_as_trial(unit.take))
            stack.enter_context(keep_item(unit.item))
            try:
                self._run_once(unit.item, nextitem)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 -- `pytest.exit`: the reported run ends at this test, so no other is begun
                unit.in_line = type(error).__name__
                self._new.clear()
        unit.error = self._error
        # A thread that outlives its test writes into this one, which nobody reads
        self.state.run = SilentRun()
        return run

    def _end_unit(self) -> None:
        """Make room for another test; after too many failures (--maxfail) begin no other."""
        with self._changed:
            self._room += 1
            self._failures_left -= self._has_failed
            if self._failures_left <= 0:  # the reported run ends here too
                self._new.clear()

    def _send(self, unit: Unit, run: SilentRun, waits: set[Place]) -> None:
        """Send the requests of a test, and let it run again once all the answers that it waits for have come.

        Args:
            unit: The test.
            run: Its last run. Requests that cannot be sent are removed from it.
            waits: All answers that the run waits for: of its own requests, and of requests that other runs made.
        """
        for place, pending in list(run.requests.items()):
            why = why_not_sent(pending.module, pending.transport)
            if why:
                self.state.failed[place] = why
                del run.requests[place]
        with self._changed:
            self.state.sent |= run.requests.keys()
            unit.is_retried = False
            unit.awaited = waits
            unit.in_line = self._why_unanswered(waits)
            missing = [place for place in waits if place not in self.state.store.answers]
            unit.missing = len(missing)
            if not unit.in_line:
                for place in missing:
                    self._blocked.setdefault(place, []).append(unit)
            if not missing:
                self._ready.append(unit)
        if unit.in_line:
            self._end_unit()
        self.sender.submit(run.requests.values())

    def _why_unanswered(self, waits: set[Place]) -> str:
        """Return why one of these answers will never come; "" if all may come."""
        for place in waits:
            why = self.state.failed.get(place)
            if why:
                return why
        # A fixture made the request for one test, and another one in its next set-up
        if waits - self.state.sent:
            return UNSETTLED
        return ""

    def _end_request(self, pending: PendingRequest, why: str) -> None:
        """Note that a request has ended, and make those units ready that waited only for it. Runs in a thread of the sender.

        Args:
            pending: The request.
            why: Why it has no answer; "" if it has one.
        """
        with self._changed:
            if why:
                self.state.failed[pending.place] = why
            for unit in self._blocked.pop(pending.place, ()):
                unit.missing -= 1
                unit.in_line = unit.in_line or why
                if not unit.missing and unit.in_line:
                    self._room += 1
                elif not unit.missing:
                    self._ready.append(unit)
            self._changed.notify()

    def note_error(self, error: BaseException, *, is_failure: bool) -> None:
        """Note the error of a set-up, call or tear-down of a test in a silent run.

        A fixture may raise the same `CallDeferred` again for each of its tests: then this test waits for that answer too.

        Args:
            error: The exception.
            is_failure: Whether it counts as a failure of the test (for --maxfail), unless it is a deferred call.
        """
        deferred = _find_deferred_call(error)
        run = self.state.run
        if deferred is None:
            self._has_failed |= is_failure
            if is_failure:
                self._error = self._error or shorten_text(f"{type(error).__name__}: {error}", MAX_ERROR)
        elif deferred.place in self.state.failed:
            run.in_line = run.in_line or self.state.failed[deferred.place]
        elif (
            deferred.place in self.state.sent or self.sender.confirms
        ):  # the test with this request will send it
            run.waits.add(deferred.place)  # type: ignore[arg-type]  # ours have places

    def _report_progress(self) -> None:
        now = self._clock()
        if now < self._next_report:
            return
        self._next_report = now + REPORT_INTERVAL_S
        count = len(self.state.sent)
        waiting = len(self._blocked)
        self._report(f"sent ahead: {count - waiting:,} of {count:,} calls answered")


def _finish_fixtures(fixtures: list[tuple[Any, Any]]) -> None:
    """Tear fixtures down, the last one first, and empty the list."""
    while fixtures:
        fixturedef, request = fixtures.pop()
        _run_quietly(fixturedef.finish, request)


def _run_quietly(function: Callable[[Any], object], argument: Any) -> None:
    """Call a function of a tear-down, and ignore its errors: the reported run tears down too, and shows them. Ctrl-C is not ignored."""
    try:
        function(argument)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001, S110 -- see above
        pass


def _find_deferred_call(error: BaseException) -> CallDeferred | None:
    """Return an exception if it is a deferred call, or the first deferred call of a group; None if there is none."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            deferred = _find_deferred_call(part)
            if deferred is not None:
                return deferred
    elif isinstance(error, CallDeferred):
        return error
    return None
