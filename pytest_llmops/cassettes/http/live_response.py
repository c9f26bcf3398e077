"""Live answers: their timing, recording, and report to the trace."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from pytest_llmops import recorder
from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.rate_limit import CallSlot
from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.cassettes.response import Answer, make_exchange
from pytest_llmops.cassettes.shared_answers import JUDGE_PURPOSE
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.errors import CassetteError, CassetteMiss

TIMING_DIGITS = 4
"""Decimal places of seconds: a live run reports the same figures as its replay."""
MAX_DRAIN_S = 60.0
"""Time limit for reading the rest of a stream that the application has closed; some streams have no end."""
STREAM_CONTENT_TYPES = ("text/event-stream", "ndjson", "jsonl", "stream+json", "vnd.amazon.eventstream")
"""Content types of streams, which have a time to first token."""


def report_replay(question: Question, answer: Answer) -> None:
    """Report a replayed call to the trace."""
    purpose = active_tape.current_purpose()
    recorder.record_exchange(make_exchange(question, answer, purpose, replayed=True))


def wait_for_slot(tape: Tape, host: str) -> CallSlot | None:
    """Wait until a judge's call may go out, and return its slot; other calls have no slot."""
    if tape.pace is None or active_tape.current_purpose() != JUDGE_PURPOSE:
        return None
    return tape.pace.enter(host)


async def wait_for_slot_async(tape: Tape, host: str) -> CallSlot | None:
    """Wait in an event loop until a judge's call may go out."""
    if tape.pace is None or active_tape.current_purpose() != JUDGE_PURPOSE:
        return None
    return await tape.pace.enter_async(host)


class LiveAnswer:
    """An answer that is being received.

    Attributes:
        open: Whether it is neither complete nor given up.
        rest: Reads the rest of the answer, if that is possible from outside; set by the reader.
        timing: The timing for the application.
    """

    def __init__(self, tape: Tape, question: Question, started: float, slot: CallSlot | None = None) -> None:
        self._tape = tape
        self._slot = slot
        self._question = question
        self._started = started
        # A stream may be closed in another thread or task.
        self._take = active_tape.current_take()
        self._purpose = active_tape.current_purpose()
        self._chunks: list[bytes] = []
        self._first: float | None = None
        self._left: float | None = None
        self.open = True
        self._late = False
        self.rest: Callable[[], None] | None = None
        tape.unfinished[id(self)] = self.abandon
        self.timing: dict[str, object] = {"latency_s": None, "ttft_s": None, "replayed": False}

    @property
    def wanted(self) -> bool:
        """Return whether to read on after the application has closed the stream: the answer is paid."""
        if not self.open or self._tape.mode == "live":
            return False
        now = time.perf_counter()
        if self._left is None:
            self._left = now
        return now - self._left < MAX_DRAIN_S

    def add_chunk(self, chunk: bytes) -> None:
        """Add a chunk before the application gets it."""
        if self._first is None:
            self._first = time.perf_counter()
        self._chunks.append(chunk)

    def raw_body(self) -> bytes:
        """Return the body as it came over the wire."""
        return b"".join(self._chunks)

    def finish(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Record the complete answer; a second call has no effect.

        Raises:
            CassetteMiss: It could not be written. With another error the SDK would retry, and pay again.
        """
        if not self.open:
            return
        answer = self._end(status, headers, body)
        try:
            self._tape.record(self._question, answer, self._take, self._purpose)
        except CassetteError as error:
            raise CassetteMiss(str(error)) from None

    def end_early(self, status: int, headers: Mapping[str, str]) -> None:
        """End an answer that the application closed early, and whose rest is not read."""
        if self.open:
            self._tape.note_unrecorded("1 call was not recorded: its stream was left, and did not end")
            self._end(status, headers, self.raw_body())

    def give_up(self, error: BaseException) -> None:
        """End an answer that ended in an error: an incomplete answer is never recorded."""
        if self.open:
            self._tape.note_unrecorded(
                f"1 call was not recorded: its answer broke off ({type(error).__name__})"
            )
            self._end(0, {}, self.raw_body())

    def abandon(self) -> None:
        """Read the rest of the answer if possible, or give it up; called when the tape ends."""
        if self.rest is not None and self.wanted:
            self.rest()
        if self.open:
            self._tape.note_unrecorded("1 call was not recorded: its stream was still open at the end")
            self._end(0, {}, self.raw_body())
            # A thread may outlive its test. If its answer is completed, it is recorded for the next run.
            self.open = self._late = True

    def _end(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        self.open = False
        self._tape.unfinished.pop(id(self), None)
        if self._slot is not None:
            self._slot.release(status, headers)
        took = round(time.perf_counter() - self._started, TIMING_DIGITS)
        kind = headers.get("content-type", "").lower()
        first = None
        if self._first is not None and any(name in kind for name in STREAM_CONTENT_TYPES):
            first = round(self._first - self._started, TIMING_DIGITS)
        self.timing.update(latency_s=took, ttft_s=first)
        answer = Answer(status, headers, body, took, first)
        if self._late:  # not for the trace of the test that runs now
            return answer
        exchange = make_exchange(self._question, answer, self._purpose, replayed=False)
        self._tape.end_call(self._question, exchange)
        return answer
