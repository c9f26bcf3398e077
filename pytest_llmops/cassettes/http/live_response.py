"""What every interceptor does with an answer: time it, keep it, tell the trace."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from pytest_llmops import recorder
from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.rate_limit import CallSlot
from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.cassettes.shared_answers import JUDGE_PURPOSE
from pytest_llmops.cassettes.tape import Answer, Tape
from pytest_llmops.errors import CassetteError, CassetteMiss

TIMING_DIGITS = 4
"""Of a second: a live run tells the very figure that its replay will tell."""
MAX_DRAIN_S = 60.0
"""How long the rest of a stream is read that its application has left; some have no end."""
STREAM_CONTENT_TYPES = ("text/event-stream", "ndjson", "jsonl", "stream+json", "vnd.amazon.eventstream")
"""Content types that come piece by piece: their first piece has a time of its own."""


def report_replay(question: Question, answer: Answer) -> None:
    """Tell the trace that a recording answered."""
    _report_exchange(question, answer, active_tape.current_purpose(), replay=True)


def _report_exchange(question: Question, answer: Answer, purpose: str, *, replay: bool) -> recorder.Exchange:
    exchange = recorder.Exchange(
        method=question.method,
        url=question.url,
        request=question.json,
        status=answer.status or None,
        content_type=answer.headers.get("content-type", ""),
        body=answer.body,
        latency_s=answer.latency_s,
        ttft_s=answer.ttft_s,
        replayed=replay,
        purpose=purpose,
    )
    recorder.record_exchange(exchange)
    return exchange


def wait_for_slot(tape: Tape, host: str) -> CallSlot | None:
    """Wait until a judge's call may go out; others need not wait, and have no place to give back."""
    return (
        tape.pace.enter(host)
        if tape.pace is not None and active_tape.current_purpose() == JUDGE_PURPOSE
        else None
    )


async def wait_for_slot_async(tape: Tape, host: str) -> CallSlot | None:
    """Wait in an event loop until a judge's call may go out."""
    return (
        await tape.pace.enter_async(host)
        if tape.pace is not None and active_tape.current_purpose() == JUDGE_PURPOSE
        else None
    )


class LiveAnswer:
    """An answer that is still coming: its chunks, and when they came.

    Attributes:
        open: It is neither whole nor given up.
        rest: Reads the rest, where that can be done from any place; set by who reads it.
        timing: What the application is told of it.
    """

    def __init__(self, tape: Tape, question: Question, started: float, slot: CallSlot | None = None) -> None:
        self._tape = tape
        self._slot = slot
        self._question = question
        self._started = started
        # A stream may be closed by somebody else than who asked.
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
        """Whether more is read although the application left: it is paid, and is kept."""
        if not self.open or self._tape.mode == "live":
            return False
        now = time.perf_counter()
        if self._left is None:
            self._left = now
        return now - self._left < MAX_DRAIN_S

    def add(self, chunk: bytes) -> None:
        """Take in a chunk before the application gets it."""
        if self._first is None:
            self._first = time.perf_counter()
        self._chunks.append(chunk)

    def raw(self) -> bytes:
        """Return the body as it came over the wire."""
        return b"".join(self._chunks)

    def finish(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Keep the whole answer; the second call does nothing.

        Raises:
            CassetteMiss: It could not be put on disk. An error would make the SDK ask, and pay, again.
        """
        if not self.open:
            return
        answer = self._tell(status, headers, body)
        try:
            self._tape.record(self._question, answer, self._take, self._purpose)
        except CassetteError as error:
            raise CassetteMiss(str(error)) from None

    def end_early(self, status: int, headers: Mapping[str, str]) -> None:
        """The application left early, and nobody reads the rest."""
        if self.open:
            self._tape.note_unrecorded("1 call was not recorded: its stream was left, and did not end")
            self._tell(status, headers, self.raw())

    def give_up(self, error: BaseException) -> None:
        """Give up on an answer that ended in an error: half an answer is never recorded."""
        if self.open:
            self._tape.note_unrecorded(
                f"1 call was not recorded: its answer broke off ({type(error).__name__})"
            )
            self._tell(0, {}, self.raw())

    def abandon(self) -> None:
        """Read the rest of an answer, or give it up if that cannot be done; the tape calls it when it ends."""
        if self.rest is not None and self.wanted:
            self.rest()
        if self.open:
            self._tape.note_unrecorded("1 call was not recorded: its stream was still open at the end")
            self._tell(0, {}, self.raw())
            # A thread may outlive its test. If its answer comes whole, it is kept for the next run after all.
            self.open = self._late = True

    def _tell(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        self.open = False
        self._tape.unfinished.pop(id(self), None)
        if self._slot is not None:
            self._slot.release(status, headers)
        took = round(time.perf_counter() - self._started, TIMING_DIGITS)
        kind = headers.get("content-type", "").lower()
        streamed = any(name in kind for name in STREAM_CONTENT_TYPES)
        first = (
            round(self._first - self._started, TIMING_DIGITS)
            if streamed and self._first is not None
            else None
        )
        self.timing.update(latency_s=took, ttft_s=first)
        answer = Answer(status, headers, body, took, first)
        if self._late:  # another test runs now: its trace has no business with this call
            return answer
        exchange = _report_exchange(self._question, answer, self._purpose, replay=False)
        # An answer that broke off may have been paid: its estimate stays reserved.
        self._tape.settle(self._question, self._cost(exchange) if status else None)
        return answer

    def _cost(self, told: recorder.Exchange) -> float | None:
        if not self._tape.priced:
            return 0.0
        from pytest_llmops import trace

        return trace.read_call(told).cost_usd
