"""Tapes of a run that asks ahead: one kind collects requests, the other claims the answers to them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_llmops.ahead.answers import AnswerStore, Place
from pytest_llmops.cassettes import active_tape, journal
from pytest_llmops.cassettes.response import Answer, TapeCounts, answer_to_wire
from pytest_llmops.cassettes.shared_answers import JUDGE_PURPOSE, shared_answer_key
from pytest_llmops.cassettes.tape import WRITING_MODES, Tape
from pytest_llmops.errors import CallDeferred
from pytest_llmops.wire.body import fold_body

if TYPE_CHECKING:
    from pytest_llmops.cassettes.request_key import Question
    from pytest_llmops.recorder import Exchange

MAX_DEFERRALS = 20
"""Calls of a job that are deferred in a run of a test; after them it waits for its answers, as it will not give up."""


@dataclass(frozen=True, slots=True, eq=False)
class PendingRequest:
    """A request that a test has made and that is still to be sent."""

    place: Place
    question: Question
    tape: CollectingTape
    module: Any
    transport: Any
    request: Any
    purpose: str


@dataclass(slots=True)
class TestRun:
    """What a silent run of a test has asked.

    Attributes:
        requests: Requests that are still to be sent.
        waits: Answers that it waits for, of requests that other runs have made.
        claimed: Answers that it got.
        deferred: Whether a call was deferred, so that the run has no result.
        in_line: Why the test has to make its calls itself; empty: it need not.
    """

    __test__ = False

    requests: dict[Place, PendingRequest] = field(default_factory=dict)
    waits: set[Place] = field(default_factory=set)
    claimed: set[Place] = field(default_factory=set)
    deferred: bool = False
    in_line: str = ""
    jobs: Counter[tuple[object, ...]] = field(default_factory=Counter)


@dataclass(slots=True)
class PhaseState:
    """What the tapes of the phase share.

    Attributes:
        sent: Places whose request was sent.
        failed: Why a request that was sent has no answer.
        ever_claimed: All answers that a silent run has claimed: a fixture may have done so for another test.
    """

    store: AnswerStore
    run: TestRun = field(default_factory=TestRun)
    sent: set[Place] = field(default_factory=set)
    failed: dict[Place, str] = field(default_factory=dict)
    ever_claimed: set[Place] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def make_collecting_tape(self, *args: Any, **more: Any) -> Tape:
        """Return a tape of the phase."""
        tape = CollectingTape(*args, **more)
        tape.state = self
        return tape

    def make_claiming_tape(self, *args: Any, **more: Any) -> Tape:
        """Return a tape of a test that is reported."""
        tape = ClaimingTape(*args, **more)
        tape.store = self.store
        return tape


def find_place(tape: Tape, question: Question, take: str, n: int) -> Place:
    """Return the place of an answer; a judge's answer that tests share has no cassette of its own."""
    if tape.shared_answers is not None and active_tape.current_purpose() == JUDGE_PURPOSE:
        return Place("", shared_answer_key(question), take, n)
    return Place(str(tape.path), question.key, take, n)


class CollectingTape(Tape):
    """A tape of the phase: it collects the requests that nothing answers, and writes no cassette."""

    __slots__ = ("state",)
    state: PhaseState

    def _claim_unrecorded(self, question: Question, take: str, n: int) -> Answer | None:
        place, state = find_place(self, question, take, n), self.state
        wire = state.store.get(place)
        if wire is not None:
            state.run.claimed.add(place)
            state.ever_claimed.add(place)
            self._given[question.key, take] += 1
            self._got_answer[question.key, take] = True
            return self._read_answer(wire)
        if self._defer(question, place):
            if threading.current_thread() is not threading.main_thread():
                _let_threads_ask()
            raise CallDeferred(place)
        self._reserve_budget(question)
        return None

    def _defer(self, question: Question, place: Place) -> bool:
        """Note a request, and return whether the test has to give up."""
        state, run = self.state, self.state.run
        with state.lock:
            job = active_tape.current_job()
            run.jobs[job] += 1
            run.deferred = True
            if run.jobs[job] > MAX_DEFERRALS:
                run.in_line = "it goes on after a call was given up"
                return False
            if run.jobs[job] > 1:  # of an exception handler, or of a tear-down
                return True
            active_tape.count_deferred_call()
            outgoing = active_tape.outgoing_request.get()
            if place in state.failed:
                run.in_line = state.failed[place]
            elif place in state.sent:
                run.waits.add(place)
            elif outgoing is None:
                run.in_line = "its client cannot be asked ahead"
            else:
                module, transport, request = outgoing
                purpose = active_tape.current_purpose()
                run.requests[place] = PendingRequest(
                    place, question, self, module, transport, request, purpose
                )
            return True

    def reserve_call(self, question: Question) -> None:
        """Take a call from the budget.

        Raises:
            BudgetReached: There is none left.
        """
        self._reserve_budget(question)

    def keep_ahead(self, pending: PendingRequest, answer: Answer) -> bool:
        """Keep an answer for the test that will claim it; return False if a recording would not hold it.

        Raises:
            CassetteError: It could not be written.
        """
        if not answer.is_reproducible and not (self.settings.record_errors and answer.is_transient):
            return False
        place, question = pending.place, pending.question
        writes = self.mode in WRITING_MODES
        entry = journal.JournalEntry(
            by=self._describe_place(len(self._given) + 1),
            key=question.key,
            take=place.take,
            n=place.n,
            request={"method": question.method, "url": question.url, "body": fold_body(question.body)},
            answer=answer_to_wire(answer, self.redactor, self.settings.record_headers),
            again=self.mode == "all",
        )
        self.state.store.put(place, self.path if writes else None, entry)
        return True

    def settle_call(self, question: Question, exchange: Exchange | None) -> None:
        """Report the cost of a call to the budget; None: it got no answer, and its estimate stays reserved."""
        self._costs.settle(question, exchange)

    def record(self, question: Question, answer: Answer, take: str = "", purpose: str = "") -> None:
        """Keep the answer to a call that was not deferred with those that were asked ahead."""
        take = take or active_tape.current_take()
        with self._lock:
            place = find_place(self, question, take, self._given[question.key, take])
            self._given[question.key, take] += 1
        self.state.sent.add(place)
        self.keep_ahead(PendingRequest(place, question, self, None, None, None, purpose), answer)

    def close(self, *, passed: bool = True) -> TapeCounts:  # noqa: ARG002 -- as that of any tape
        """End the tape; nothing is written."""
        for end in list(self.unfinished.values()):
            end()
        return self.counts


def _let_threads_ask() -> None:
    """Wait until no thread of a pool defers a further call: those that run at the same time are then sent together."""
    before = -1
    for _ in range(active_tape.MAX_SIBLING_WAITS):
        if active_tape.deferred_calls == before:
            return
        before = active_tape.deferred_calls
        time.sleep(active_tape.SIBLING_WAIT_S)


class ClaimingTape(Tape):
    """A tape of a test that is reported: answers that were asked ahead count as its live calls."""

    __slots__ = ("_is_claiming", "store")
    store: AnswerStore

    def _claim_unrecorded(self, question: Question, take: str, n: int) -> Answer | None:
        place = find_place(self, question, take, n)
        shared_answer = self._take_shared_answer(question, take, n) if self.store.get(place) else None
        wire = self.store.take(place) if shared_answer is None else None
        if wire is None:
            return shared_answer or super()._claim_unrecorded(question, take, n)
        answer = replace(self._read_answer(wire), asked_ahead=True)
        if self.mode == "verify":
            self._compare_with_recording(question, answer, take)
            return answer
        shared = None
        if not place.cassette:  # the tape of another test has masked its secrets
            shared, wire = (
                self.shared_answers,
                answer_to_wire(answer, self.redactor, self.settings.record_headers),
            )
        self._is_claiming = True
        try:
            self._record_wire(question, dict(wire), take, shared)
        finally:
            self._is_claiming = False
        return answer

    def _write_entry(self, entry: journal.JournalEntry) -> None:
        if getattr(self, "_is_claiming", False):  # it is on disk, in the journal of the run
            self._journaled.append(entry)
        else:
            super()._write_entry(entry)
