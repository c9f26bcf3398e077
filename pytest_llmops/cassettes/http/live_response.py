"""Live answers: their timing, recording, and report to the trace."""

import contextlib
import re
import sys
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from pytest_llmops import recorder
from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.outcome import LEFT_TEXT, PROGRAM_LEFT_TEXT, Outcome
from pytest_llmops.cassettes.rate_limit import CallSlot
from pytest_llmops.cassettes.request_key import Answer, Question, make_exchange
from pytest_llmops.cassettes.shared_answers import JUDGE_PURPOSE
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.errors import CassetteError, CassetteMiss

TIMING_DIGITS = 4  # decimal places of seconds: a live run reports the same figures as its replay
# How long a server may send nothing before the test fails, if the client has no shorter limit
SILENCE_LIMIT_S = 600.0
# Names of the exceptions for a connection that was not made, in httpx, sockets, urllib3 and aiohttp
NO_CONNECTION = re.compile("ConnectError|ConnectTimeout|ConnectionRefused|NewConnection|Connector")
# How long a tape waits for answers under way once one could not be written; longer only hurts a test that holds one open
OPEN_ANSWERS_LIMIT_S = 60.0
OPEN_ANSWERS_POLL_S = 0.02
TIMER_ERROR_S = 0.01  # a timer may end this much too early
NO_HEADERS: Mapping[str, str] = {}
# Last event in the streams of OpenAI and Anthropic: clients close the stream after it, some only after a moment
STREAM_END = re.compile(
    rb"""(?:\A|[\r\n])data: ?(?:\[DONE\]|\{"type": ?"message_stop"[^\r\n]{0,99}\})\s*\Z"""
)
# Key in the extensions of a request that our proxy sends: an event that is set when the program behind the proxy has
# closed its connection
PROGRAM_LEFT_KEY = "llmops_program_left"
# Content types of streams, which have a time to first token
STREAM_CONTENT_TYPES = ("text/event-stream", "ndjson", "jsonl", "stream+json", "vnd.amazon.eventstream")


def report_replay(question: Question, answer: Answer) -> None:
    """Report a replayed call to the trace."""
    if question.is_telemetry or answer.fault:  # a fault is not a call of a model: it has no price and no time
        return
    recorder.record_exchange(make_exchange(question, answer, active_tape.current_purpose(), replayed=True))


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


@asynccontextmanager
async def hold_failed_write(tape: Tape) -> AsyncIterator[None]:
    """Hold back the miss of a block if an answer could not be written, until the other answers under way have come.

    A miss stops an event loop at once. The other calls of the loop are paid, and would be cancelled. If the waiting task is
    cancelled, it ends in the miss all the same, which gives the reason.
    """
    try:
        yield
    except CassetteMiss:
        if tape.has_failed_write():
            import anyio

            with contextlib.suppress(anyio.get_cancelled_exc_class()):
                await _wait_for_open_answers(tape)
        raise


async def _wait_for_open_answers(tape: Tape) -> None:
    """Wait until no live answer of the tape is under way in this process, for `OPEN_ANSWERS_LIMIT_S` in all at most.

    Not waited for are answers that cannot come: this task would have to receive them, or a thread that has ended.
    """
    import anyio

    if tape.hold_end is None:
        tape.hold_end = time.monotonic() + OPEN_ANSWERS_LIMIT_S
    own = (_current_receiver(), threading.current_thread())
    for number, receiver in list(tape.receivers.items()):
        if receiver in own:
            tape.receivers.pop(number, None)
    while time.monotonic() < tape.hold_end:
        receivers = list(tape.receivers.values())
        if not any(map(_may_go_on, receivers)):
            return
        await anyio.sleep(OPEN_ANSWERS_POLL_S)


def _current_receiver() -> object:
    """Return the running task of asyncio or trio, else the thread; None in a callback of a loop, whose task is not known."""
    if recorder.in_event_loop():
        from asyncio import current_task

        return current_task()
    trio = sys.modules.get("trio")
    if trio is not None:
        with contextlib.suppress(RuntimeError):  # no task of trio runs here
            return trio.lowlevel.current_task()
    return threading.current_thread()


def _may_go_on(receiver: object) -> bool:
    """Return whether a receiver of an answer may still receive it."""
    return not isinstance(receiver, threading.Thread) or receiver.is_alive()


def limit_silence(seconds: float | None) -> float:
    """Return how long a client may wait for a byte: its own limit, but at most `SILENCE_LIMIT_S`."""
    if seconds is None:
        return SILENCE_LIMIT_S
    return min(seconds, SILENCE_LIMIT_S)


def is_stream(headers: Mapping[str, str]) -> bool:
    """Return whether an answer is a stream. The headers have lower-case names."""
    content_type = headers.get("content-type", "").lower()
    return any(name in content_type for name in STREAM_CONTENT_TYPES)


def _ends_stream(body: bytes) -> bool:
    """Return whether a body ends with the last event of a stream."""
    return STREAM_END.search(body, max(0, len(body) - 200)) is not None


def _is_read_elsewhere(thread: threading.Thread) -> bool:
    """Return whether another thread, in which an answer began, may still be reading it."""
    return thread is not threading.current_thread() and thread.is_alive()


class LiveAnswer:
    """An answer that is being received.

    Attributes:
        tape: The tape that records it.
        open: Whether it is neither complete nor given up.
        program_left: An event that is set when the program behind our proxy has left; None: the call is not the
            proxy's.
        on_tape_end: Called for an answer that nobody closed; it calls `leave`. Set by the reader once the headers have
            come.
        timing: The timing for the application; filled in when the answer ends.
    """

    def __init__(self, tape: Tape, question: Question, started: float, slot: CallSlot | None = None) -> None:
        self.tape = tape
        self._slot = slot
        self._question = question
        self._started = started
        self._started_s = tape.measure_start(started)
        self._last = started  # time of the last chunk
        # A stream may be closed in another thread or task.
        self._take = active_tape.current_take()
        self._purpose = active_tape.current_purpose()
        self._limit_s = recorder.current_settings().timeout
        self._chunks: list[bytes] = []
        self._first: float | None = None
        self._gap = 0.0
        self.open = True
        self._late = False
        self._thread = threading.current_thread()
        self.program_left: threading.Event | None = None
        self.on_tape_end: Callable[[], None] | None = None
        tape.unfinished[id(self)] = self.abandon
        tape.receivers[id(self)] = _current_receiver()
        self.timing: dict[str, object] = {"latency_s": None, "ttft_s": None, "replayed": False}

    def add_chunk(self, chunk: bytes) -> None:
        """Add a chunk before the application gets it.

        Raises:
            TimeoutError: A judge's or an embedder's answer is slower than ``llm_timeout``, even if it still flows.
        """
        receiver = _current_receiver()
        if receiver is not None:  # maybe another one than began it
            self.tape.receivers[id(self)] = receiver
        before = self._last
        self._last = time.perf_counter()
        if self._first is None:
            self._first = self._last
        else:
            self._gap = max(self._gap, self._last - before)
        if self._purpose in recorder.LIMITED_PURPOSES and self._last - self._started > self._limit_s:
            raise TimeoutError(f"no complete answer within {self._limit_s:g} s")
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
        self._keep(self._end(status, headers, body))

    def _keep(self, answer: Answer) -> None:
        """Record an answer.

        Raises:
            CassetteMiss: It could not be written.
        """
        try:
            self.tape.record(self._question, answer, self._take, self._purpose)
        except CassetteError as error:
            raise CassetteMiss(str(error)) from None

    def leave(self, status: int, headers: Mapping[str, str]) -> None:
        """End an answer that the application closed early: the received part is recorded, without waiting for more.

        The replay is enough for an application that closes it at the same point; reading on is a miss.

        Args:
            status: The status.
            headers: The headers, with ``content-encoding`` if the body is compressed.

        Raises:
            CassetteMiss: It could not be written.
        """
        if self.open and self.program_left is not None:  # the proxy closed it, as its program has left
            self.give_up(TimeoutError(PROGRAM_LEFT_TEXT), status, headers)
        if not self.open:
            return
        self._keep_outcome(Outcome("left early", LEFT_TEXT), "its stream was left early", status, headers)

    def give_up(self, error: BaseException, status: int = 0, headers: Mapping[str, str] = NO_HEADERS) -> None:
        """End an answer that ended in an error.

        It is recorded if the application would see the same again: a time-out, a cancelled call, or a cut connection.

        Args:
            error: The client's error.
            status: The status of the answer, if its headers had come.
            headers: Its headers.

        Raises:
            CassetteMiss: The server sent nothing for `SILENCE_LIMIT_S`; or the outcome could not be written.
        """
        if not self.open:
            return
        if self.program_left is not None and self.program_left.is_set():
            error = TimeoutError(PROGRAM_LEFT_TEXT)
        outcome = Outcome.from_exception(error, began=bool(status))
        # The client's read time-out is ours: it had none, or a longer one.
        is_silent = time.perf_counter() - self._last > SILENCE_LIMIT_S - TIMER_ERROR_S
        if is_silent and outcome is not None and outcome.kind == "read":
            self._end(0, {}, b"")
            raise self.tape.refuse(
                f"the server at {self._question.address} sent no byte for {SILENCE_LIMIT_S:g} s"
                f" ({self._question.method} {self._question.url}): check the server, or give the client a shorter"
                " time-out: its own time-out is recorded"
            ) from error
        name = type(error).__name__
        why = f"its answer broke off ({name})"
        if name == "CancelledError":  # of asyncio
            why = f"its client gave it up ({name}), as after a time-out. If the test passed, nothing is to be done"
        if NO_CONNECTION.match(name.removeprefix("Client")):
            why = f"no connection to {self._question.address} ({name}): is the server up?"
            vars(error)["llmops_note"] = why  # for the traceback of the test
        if self._keep_outcome(outcome, why, status, headers) and outcome is not None:
            self.tape.note_unrecorded(
                f"1 call was recorded as {outcome.error}, as its client saw it; --llm-record=all calls again"
            )

    def _keep_outcome(
        self, outcome: Outcome | None, why: str, status: int, headers: Mapping[str, str]
    ) -> bool:
        """Record how a call ended without a whole answer, and return whether that was recorded.

        A body that is whole all the same is recorded as a complete answer. An answer that cannot be recorded is noted.

        Args:
            outcome: The outcome; None: the error is not one that is recorded.
            why: Why the call was not recorded, for the note.
            status: The status.
            headers: The headers, with ``content-encoding`` if the body is compressed.
        """
        body = self.raw_body()
        headers = dict(headers)
        is_whole = headers.get("content-length") == str(len(body))
        if headers.get("content-encoding") in ("gzip", "deflate"):
            with contextlib.suppress(zlib.error):
                body = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body)  # detects gzip and zlib
                del headers["content-encoding"]
        # A body that is still compressed may hold secrets.
        is_readable = not body or "content-encoding" not in headers
        if is_readable and (is_whole or _ends_stream(body)):
            self.finish(status, headers, body)
            return False
        # Not the application's doing: the limit of a judge, and errors after a miss, a spent budget or a full disk.
        is_failing = self.tape.verdict() is not None or self.tape.has_failed_write()
        is_ours = self._purpose != "app" or self._late or is_failing
        if outcome is None or is_ours or not is_readable:
            self.tape.note_unrecorded(f"1 call was not recorded: {why}")
            self._end(0, {}, body)
            return False
        self._keep(self._end(status, headers, body, outcome))
        return True

    def abandon(self) -> None:
        """End an answer that is still open when its tape ends: it counts as left, or as not recorded.

        It is not left if another thread may still be reading it.
        """
        if self.on_tape_end is not None and not _is_read_elsewhere(self._thread):
            self.on_tape_end()
        if self.open:
            self.tape.note_unrecorded("1 call was not recorded: its stream was still open at the end")
            self._end(0, {}, self.raw_body())
            # A thread may outlive its test. If it completes the answer, it is recorded for the next run.
            self.open = True
            self._late = True

    def _end(
        self, status: int, headers: Mapping[str, str], body: bytes, outcome: Outcome | None = None
    ) -> Answer:
        """Close the answer, release its slot, report it to the trace, and return it."""
        self.open = False
        self.tape.unfinished.pop(id(self), None)
        self.tape.receivers.pop(id(self), None)
        if self._slot is not None:
            self._slot.release(status, headers)
        latency_s = round(time.perf_counter() - self._started, TIMING_DIGITS)
        ttft_s = None
        gap_s = None
        if self._first is not None and is_stream(headers):
            ttft_s = round(self._first - self._started, TIMING_DIGITS)
            gap_s = round(self._gap, TIMING_DIGITS)
        self.timing.update(latency_s=latency_s, ttft_s=ttft_s)
        answer = Answer(
            status,
            headers,
            body,
            latency_s,
            ttft_s,
            outcome=outcome,
            gap_s=gap_s,
            started_s=self._started_s,
        )
        if not self._late:  # otherwise another test may be running, whose trace it does not belong to
            exchange = make_exchange(self._question, answer, self._purpose, replayed=False)
            self.tape.end_call(self._question, exchange, outcome is None)
        return answer


class ClaimedAnswer:
    """The pieces of an answer that was requested ahead of its test, while the test reads them.

    If the test leaves the stream early, only the part that it has read stays recorded, as for a call of its own.
    """

    def __init__(self, tape: Tape, question: Question, answer: Answer) -> None:
        self._tape = tape
        self._question = question
        self._answer = answer
        self._purpose = active_tape.current_purpose()
        self._thread = threading.current_thread()
        self._read_count = 0
        tape.unfinished[id(self)] = partial(self.leave, closed=False)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces; the answer is complete after the last."""
        for piece in self._answer.pieces or (self._answer.body,):
            self._read_count += 1
            yield piece
        self._end(self._answer)

    def leave(self, *, closed: bool = True) -> None:
        """End the answer if it is not complete.

        Args:
            closed: Whether it was closed; otherwise another thread may still be reading it.
        """
        answer = self._answer
        body = b"".join(answer.pieces[: self._read_count])
        is_whole = not answer.pieces and (self._read_count > 0 or not answer.body)
        may_go_on = not closed and _is_read_elsewhere(self._thread)
        if is_whole or may_go_on or self._purpose != "app" or _ends_stream(body):
            self._end(answer)
            return
        left_answer = replace(answer, body=body, pieces=(), outcome=Outcome("left early", LEFT_TEXT))
        if not self._read_count:
            left_answer = replace(left_answer, ttft_s=None, gap_s=None)
        self._end(left_answer)

    def _end(self, answer: Answer) -> None:
        """Report the answer to the trace, once, and record it anew if it was left early."""
        if self._tape.unfinished.pop(id(self), None) is None:
            return
        if answer.outcome is not None and answer.amend is not None:
            answer.amend(answer)
        recorder.record_exchange(make_exchange(self._question, answer, self._purpose, replayed=False))
