"""Tapes of a run that asks ahead: one kind collects requests, the other claims the answers to them."""

import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.journal import JournalEntry
from pytest_llmops.cassettes.request_key import Answer, Question, TapeCounts, answer_to_wire
from pytest_llmops.cassettes.run_folder import JUDGE_PURPOSE, shared_answer_key
from pytest_llmops.cassettes.tape import WRITING_MODES, Tape
from pytest_llmops.errors import CallDeferred, CassetteError
from pytest_llmops.harness.ahead.answers import AnswerStore, Place
from pytest_llmops.wire.body import fold_body

# Calls of a job that are deferred in a run of a test; after them it waits for its answers, as it will not
# give up
MAX_DEFERRALS = 20


@dataclass(frozen=True, slots=True, eq=False)
class PendingRequest:
    """A request that a test has made and that is still to be sent, with the module and transport of its client.

    Without a module, the transport is a connection of http.client, and the request what sends it.
    """

    place: Place
    question: Question
    tape: "CollectingTape"
    purpose: str
    module: Any = None
    transport: Any = None
    request: Any = None


@dataclass(slots=True)
class SilentRun:
    """What a run of a test that is not reported has asked.

    Attributes:
        requests: Requests that are still to be sent.
        waits: Answers that it waits for, of requests that other runs have made.
        in_line: Why the test has to make its calls itself; empty: it need not.
        jobs: Number of calls that each task and job of a thread has deferred.
    """

    requests: dict[Place, PendingRequest] = field(default_factory=dict)
    waits: set[Place] = field(default_factory=set)
    in_line: str = ""
    jobs: Counter[tuple[object, ...]] = field(default_factory=Counter)


@dataclass(slots=True)
class PhaseState:
    """What the tapes of the phase share.

    Attributes:
        sent: Places whose request was sent.
        failed: Why a request that was sent has no answer.
        used: All answers that a silent run has got: a fixture may have got one for another test.
        closed: Paths of the cassettes that hold what their tests claimed.
    """

    store: AnswerStore
    run: SilentRun = field(default_factory=SilentRun)
    sent: set[Place] = field(default_factory=set)
    failed: dict[Place, str] = field(default_factory=dict)
    used: set[Place] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def make_tape(self, kind: "type[CollectingTape | ClaimingTape]", *args: Any, **more: Any) -> Tape:
        """Return a tape that shares this state."""
        tape = kind(*args, **more)
        tape.state = self
        return tape


def find_place(tape: Tape, question: Question, take: str, n: int) -> Place:
    """Return the place of an answer; a judge's answer that tests share has no cassette of its own."""
    if tape.shared_answers is not None and active_tape.current_purpose() == JUDGE_PURPOSE:
        return Place("", shared_answer_key(question), take, n)
    return Place(str(tape.path), question.key, take, n)


class CollectingTape(Tape):
    """A tape of the phase: it collects the requests that nothing answers, and writes no cassette."""

    __slots__ = ("state",)
    collects = True
    state: PhaseState

    def _claim_unrecorded(self, question: Question, take: str, n: int) -> Answer | None:
        place = find_place(self, question, take, n)
        state = self.state
        wire = state.store.answers.get(place)
        if wire is not None:
            state.used.add(place)
            self._given[question.key, take] += 1
            self._got_answer[question.key, take] = True
            return self._read_answer(wire)
        with state.lock:
            if self._defer(question, place):
                raise CallDeferred(place)
        self._reserve_budget(question)
        return None

    def _defer(self, question: Question, place: Place) -> bool:
        """Note a request, and return whether the test has to give up."""
        run = self.state.run
        failed = self.state.failed
        job = active_tape.current_job()
        run.jobs[job] += 1
        outgoing = active_tape.outgoing_request.get()
        if run.jobs[job] > MAX_DEFERRALS:
            run.in_line = "it goes on after a call was given up"
            return False
        if run.jobs[job] > 1:  # of an exception handler, or of a tear-down
            return True
        active_tape.deferred_calls.append(place)
        if place in failed or outgoing is None:
            run.in_line = failed.get(place, "its client cannot be asked ahead")
        elif place in self.state.sent:
            run.waits.add(place)
        else:
            run.requests[place] = PendingRequest(
                place, question, self, active_tape.current_purpose(), *outgoing
            )
        return True

    def prepare_call(self, question: Question, *, is_batched: bool = False) -> None:
        """Make sure that an answer can be written, and take the call from the budget.

        Raises:
            CassetteError: It cannot be written.
            BudgetReached: There is no call left.
        """
        if self.mode in WRITING_MODES:
            self.state.store.prepare(self.path)
        self._reserve_budget(question, is_batched=is_batched)

    def keep_ahead(self, pending: PendingRequest, answer: Answer) -> bool:
        """Keep an answer for the test that will claim it; return False if a recording would not hold it.

        Raises:
            CassetteError: It could not be written.
        """
        if not answer.is_reproducible and not (self.settings.record_errors and answer.is_transient):
            return False
        place = pending.place
        question = pending.question
        wire = answer_to_wire(answer, self.redactor, self.settings.record_headers)
        if self.mode in WRITING_MODES and not answer.is_batched:  # that is kept by its vendor
            request = {"method": question.method, "url": question.url, "body": fold_body(question.body)}
            entry = JournalEntry(
                self._describe_place(len(self._given) + 1),
                question.key,
                place.take,
                place.n,
                request,
                wire,
                again=self.mode == "all",
            )
            try:
                self.state.store.write(self.path, entry)
            except CassetteError as error:
                self._note_failed_write(error)
                raise
        self.state.store.answers[place] = wire
        return True

    def record(self, question: Question, answer: Answer, take: str = "", purpose: str = "") -> None:
        """Keep the answer to a call that was not deferred with those that were asked ahead."""
        take = take or active_tape.current_take()
        with self._lock:
            place = find_place(self, question, take, self._given[question.key, take])
            self._given[question.key, take] += 1
        self.state.sent.add(place)
        self.keep_ahead(PendingRequest(place, question, self, purpose), answer)

    def close(self, *, passed: bool = True) -> TapeCounts:  # noqa: ARG002 -- as that of any tape
        """End the tape; nothing is written."""
        for end in list(self.unfinished.values()):
            end()
        return self.counts


class ClaimingTape(Tape):
    """A tape of a test that is reported: answers that were asked ahead count as its live calls."""

    __slots__ = ("_is_claiming", "state")
    state: PhaseState

    def _claim_unrecorded(self, question: Question, take: str, n: int) -> Answer | None:
        place = find_place(self, question, take, n)
        store = self.state.store
        if place in store.answers:
            shared_answer = self._take_shared_answer(question, take, n)
        else:
            shared_answer = None
        if shared_answer is None:
            wire = store.claim(place)
        else:
            wire = None
        if wire is None:
            return shared_answer or super()._claim_unrecorded(question, take, n)
        recorded = dict(wire)
        answer = replace(self._read_answer(wire), amend=partial(self._amend, recorded))
        if self.mode == "verify":
            self._compare_with_recording(question, answer, take)
            return answer
        shared = None
        if not place.cassette:  # the tape of another test has masked its secrets
            shared = self.shared_answers
            self._amend(recorded, answer)
        self._is_claiming = True
        try:
            self._record_wire(question, recorded, take, shared)
        finally:
            self._is_claiming = False
        return answer

    def close(self, *, passed: bool = True) -> TapeCounts:
        """End the tape, as any."""
        counts = super().close(passed=passed)
        self.state.closed.add(str(self.path))
        return counts

    def _amend(self, recorded: dict[str, Any], answer: Answer) -> None:
        """Record an answer in place of another one; the cassette is written when the test has ended."""
        recorded.clear()
        recorded.update(answer_to_wire(answer, self.redactor, self.settings.record_headers))

    def _write_entry(self, entry: JournalEntry) -> None:
        if getattr(self, "_is_claiming", False):  # it is on disk, in the journal of the run
            self._journaled.append(entry)
        else:
            super()._write_entry(entry)
