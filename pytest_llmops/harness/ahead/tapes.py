"""The two kinds of tapes in a run that sends requests ahead.

`CollectingTape` is used in silent runs of the tests: it collects their requests, to be sent together. `ClaimingTape` is used when the
tests run again and are reported: it returns the answers.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NoReturn

from pytest_llmops.cassettes import (
    JUDGE_PURPOSE,
    Answer,
    JournalEntry,
    Question,
    Tape,
    TapeCounts,
    ToolTurn,
    current_job,
    current_purpose,
    current_take,
    deferred_calls,
    note_live_call,
    outgoing_request,
    shared_answer_key,
)
from pytest_llmops.errors import CallDeferred, CassetteError, SilentWriteRefused
from pytest_llmops.harness.ahead.answers import AnswerStore, Place
from pytest_llmops.wire.body import fold_body

# How many calls of a job (a task, or a job of a thread) are deferred in a silent run of a test. A job that still goes on seems to catch
# the error each time, so that its further calls are made at once
MAX_DEFERRALS = 20


@dataclass(frozen=True, slots=True, eq=False)
class PendingRequest:
    """A request that a test has made and that is still to be sent.

    Attributes:
        place: Identifies its answer.
        question: The request as the cassette knows it.
        tape: The tape of the test.
        purpose: ``app``, ``judge`` or ``embedder``.
        module: The module of its client, httpx or httpx2; None: it is of http.client.
        transport: The transport of its client; of http.client the connection.
        request: The request of its client; of http.client a function that sends it.
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
    """The requests of a silent run of a test.

    Attributes:
        requests: Requests that it made first, and that are still to be sent.
        waits: Answers that it needs to requests which other runs have made already.
        in_line: Why the test has to make its calls itself when it is reported ("in line"); empty: it need not.
        jobs: Number of deferred calls of each job: a task, or a job of a thread.
    """

    requests: dict[Place, PendingRequest] = field(default_factory=dict)
    waits: set[Place] = field(default_factory=set)
    in_line: str = ""
    jobs: Counter[tuple[object, ...]] = field(default_factory=Counter)


def _refuse(reason: str) -> NoReturn:
    """End the silent run of a test in the thread that calls.

    Raises:
        SilentWriteRefused: Always.
    """
    raise SilentWriteRefused(reason)


@dataclass(slots=True)
class PhaseState:
    """The common state of the tapes of the phase.

    Attributes:
        sent: Places whose request was sent.
        failed: For each request that was sent in vain, why it has no answer.
        used: Answers that any silent run has received: a fixture may receive one that another test waits for.
        closed: Paths of the cassettes whose tests have been reported, so that they hold the answers.
        test: The id of the test that is reported now.
        not_ahead: The ids of the tests that have made calls when they were reported.
        refuse: Ends the silent run of a test for a reason, before it does something that must not be done twice.
    """

    store: AnswerStore
    run: SilentRun = field(default_factory=SilentRun)
    sent: set[Place] = field(default_factory=set)
    failed: dict[Place, str] = field(default_factory=dict)
    used: set[Place] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    test: str = ""
    not_ahead: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    refuse: Callable[[str], NoReturn] = field(default=_refuse)

    def make_tape(self, kind: "type[CollectingTape | ClaimingTape]", *args: Any, **more: Any) -> Tape:
        """Return a tape of one of the two kinds, which shares this state."""
        tape = kind(*args, **more)
        tape.state = self
        return tape


def find_place(tape: Tape, question: Question, take: str, n: int) -> Place:
    """Return the place of the answer to a request; for a judge's request whose answer tests share, a place without a cassette."""
    if tape.config.shared_answers is not None and current_purpose() == JUDGE_PURPOSE:
        return Place("", shared_answer_key(question), take, n)
    return Place(str(tape.path), question.key, take, n)


class CollectingTape(Tape):
    """A tape of the phase: it collects the requests that nothing answers, and writes no cassette."""

    __slots__ = ("state",)
    collects = True
    state: PhaseState

    def claim_unrecorded(self, question: Question, take: str, n: int) -> Answer | None:
        """Return an answer that has come already; None: the test makes the call itself, at once.

        Raises:
            CallDeferred: The request is sent together with requests of other tests.
            CassetteMiss: The server of the call cannot be used in this run.
            BudgetReached: The budget has no live call left.
        """
        place = find_place(self, question, take, n)
        state = self.state
        wire = state.store.answers.get(place)
        if wire is not None:
            state.used.add(place)
            self.player.given.add_answer(question.key, take)
            return self.player.read_answer(wire, question)
        self.check_set_up(question)
        with state.lock:
            if self._defer(question, place):
                raise CallDeferred(place)
        self.costs.reserve(question)
        note_live_call("+")
        return None

    def claim_tool(self, question: Question, take: str = "") -> ToolTurn:
        """Return the recorded answer to a call of a tool. A tool that would be called ends the silent run.

        It may change something, and the run that is reported calls it again.
        """
        take = take or current_take()
        if self.tools.choose_action(question, take) != "replay":
            self._refuse_tool(question)
        return super().claim_tool(question, take)

    def starts_tools(self, question: Question, take: str) -> bool:
        """Return False: a server of tools that would be started ends the silent run."""
        if super().starts_tools(question, take):
            self._refuse_tool(question)
        return False

    def _refuse_tool(self, question: Question) -> None:
        """End the silent run before a tool is called, so that the test calls it itself when it is reported."""
        self.state.refuse(f"it would call tools twice: {question.method} {question.url}")

    def _defer(self, question: Question, place: Place) -> bool:
        """Note a request; return True if the run of the test ends here, False if the call is made at once.

        The caller holds the lock of the state.
        """
        run = self.state.run
        job = current_job()
        run.jobs[job] += 1
        if run.jobs[job] > MAX_DEFERRALS:
            run.in_line = "it continues after a call was given up"
            return False
        # Made by an exception handler or a tear-down after the first deferred call: it counts for nothing
        if run.jobs[job] > 1:
            return True
        deferred_calls.append(place)
        outgoing = outgoing_request.get()
        if place in self.state.failed:
            run.in_line = self.state.failed[place]
        elif outgoing is None:
            run.in_line = "its client cannot send ahead"
        elif place in self.state.sent:
            run.waits.add(place)
        else:
            run.requests[place] = PendingRequest(place, question, self, current_purpose(), *outgoing)
        return True

    def prepare_call(self, question: Question, *, is_batched: bool = False) -> None:
        """Make sure that an answer can be written, and reserve the call's cost in the budget.

        Raises:
            CassetteError: It cannot be written.
            BudgetReached: The budget does not allow the call.
        """
        if self.recorder.is_writing:
            self.state.store.journals.prepare(self.path)
        self.costs.reserve(question, is_batched=is_batched)

    def keep_ahead(self, pending: PendingRequest, answer: Answer) -> bool:
        """Keep an answer for the test that will claim it; return False if a recording would not hold it.

        Raises:
            CassetteError: It could not be written.
        """
        if not self.config.records_status(answer, pending.question):
            return False
        wire = self.config.to_wire(answer, pending.question)
        if self.recorder.is_writing and not answer.is_batched:  # the vendor keeps the answers of a batch
            entry = self._make_entry(pending, wire)
            self.recorder.check_secrets(entry)
            try:
                self.state.store.journals.write(self.path, entry)
            except CassetteError as error:
                self.recorder.note_failed_write(error)
                raise
        self.state.store.add(pending.place, wire)
        return True

    def _make_entry(self, pending: PendingRequest, wire: dict[str, Any]) -> JournalEntry:
        question = pending.question
        number = len(self.player.given.counts) + 1
        recorded = self.player.recorded_answers(question.key, pending.place.take)
        return JournalEntry(
            by=self.config.name_place(number, shared=self.shared),
            key=question.key,
            take=pending.place.take,
            n=pending.place.n,
            request={"method": question.method, "url": question.url, "body": fold_body(question.body)},
            answer=wire,
            again=self.mode == "all" or pending.place.n < len(recorded),
        )

    def record(self, question: Question, answer: Answer, take: str = "", purpose: str = "") -> None:
        """Keep the answer to a call that a silent run made at once, so that its test can claim it as well."""
        take = take or current_take()
        given = self.player.given
        with self.report.lock:
            place = find_place(self, question, take, given.count(question.key, take))
            given.add_answer(question.key, take)
        self.state.sent.add(place)
        self.keep_ahead(PendingRequest(place, question, self, purpose), answer)

    def close(self, *, passed: bool = True) -> TapeCounts:  # noqa: ARG002 -- as in any tape
        """End the tape; nothing is written."""
        for end in list(self.unfinished.values()):
            end()
        return self.report.counts


class ClaimingTape(Tape):
    """A tape of a reported test: an answer to a request that was sent ahead counts as a live call of the test."""

    __slots__ = ("state",)
    state: PhaseState

    def claim_unrecorded(self, question: Question, take: str, n: int) -> Answer | None:
        """Return the answer to a request that was sent ahead, and record it; any other request is treated as by any tape."""
        place = find_place(self, question, take, n)
        store = self.state.store
        if place in store.answers:
            shared_answer = self.sharing.take_answer(question, take, n)
            if shared_answer is not None:
                return shared_answer
        wire = store.claim(place)
        if wire is None:
            answer_of_others = super().claim_unrecorded(question, take, n)
            if answer_of_others is None:  # the call is made now
                self.state.not_ahead.add(self.state.test)
            return answer_of_others
        recorded = dict(wire)
        answer = replace(
            self.player.read_answer(wire, question), amend=partial(self._amend, recorded, question)
        )
        if self.mode == "verify":
            self.comparison.compare_answer(question, answer, take)
            return answer
        is_shared = not place.cassette
        # Stored as the tape of another test masked it: write it again with the redactor of this one
        if is_shared:
            self._amend(recorded, question, answer)
        self.keep_answer(question, recorded, take, is_shared=is_shared, in_run_journal=True)
        return answer

    def close(self, *, passed: bool = True) -> TapeCounts:
        """End the tape, as any."""
        counts = super().close(passed=passed)
        self.state.closed.add(str(self.path))
        return counts

    def _amend(self, recorded: dict[str, Any], question: Question, answer: Answer) -> None:
        """Replace the content of a recorded answer by another answer; the cassette is not written before the test ends."""
        recorded.clear()
        recorded.update(self.config.to_wire(answer, question))
