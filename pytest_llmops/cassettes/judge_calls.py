"""Blocks around the calls for a judge's verdict: which were replayed, whether they are repeated, whether they may go out live.

A judge knows whether a reply can be read, and the tape knows whether it was recorded. In these blocks each
learns from the other:

* `note_calls` lists the calls of a block.
* `JudgeCalls.repeat` sends the requests of its block live although they are recorded. Their answers replace the recorded ones.
* `refuse_live_calls` ends the block at the first call that would go out live. Recorded answers are still replayed.

The blocks belong to a thread or task, as judges run at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from pytest_llmops import recorder
from pytest_llmops.cassettes.run_folder import current_folder
from pytest_llmops.errors import BudgetReached, CassetteMiss
from pytest_llmops.protocols import is_error_status

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llmops.cassettes.request_key import Answer, Question
    from pytest_llmops.cassettes.tape import Tape

# Where the answer came from: the cassette, the server, or another test of the run
Source: TypeAlias = Literal["recorded", "live", "shared"]


class CallRefusedError(BaseException):
    """Ends a verdict at a call that may not go out live. SDKs do not catch it, and so do not repeat the call."""


@dataclass(frozen=True, slots=True)
class JudgeCall:
    """A call for a verdict.

    Attributes:
        question: The request.
        take: The take of the request.
        is_error: Whether the recorded answer is an error status, such as the refusal of a reply format.
    """

    tape: Tape
    question: Question
    take: str
    source: Source
    is_error: bool = False


@dataclass(slots=True)
class JudgeCalls:
    """The calls for a verdict, in their order; none if the judge's model runs in this process, or without a tape."""

    calls: list[JudgeCall] = field(default_factory=list)

    @property
    def source(self) -> Source | Literal[""]:
        """Where the last reply came from; "" without calls."""
        if not self.calls:
            return ""
        return self.calls[-1].source

    @property
    def question_key(self) -> str:
        """The key of the first request, which is the same in all trials; "" without calls."""
        if not self.calls:
            return ""
        return self.calls[0].question.key

    def may_repeat(self) -> bool:
        """Return whether the calls may be sent again: only recorded ones, with ``--llm-record=new``, and once a run.

        After another test has sent the request in this run, it may be repeated only if there is a readable answer to share, which
        costs nothing. A rerun of a test, whose tape has another ``attempt``, counts as another test.
        """
        if not self.calls or any(call.source != "recorded" for call in self.calls):
            return False
        call = self.calls[0]
        tape = call.tape
        if tape.mode != "new" or tape.config.settings.changed:
            return False
        place = tape.player.given.count(call.question.key, call.take) - 1
        if tape.sharing.find_answer(call.question, call.take, place) is not None:
            return True
        return _claim_request(call)

    def note_in_vain(self) -> None:
        """Note that the calls that were sent now led to no verdict, so that no other test of the run repeats them."""
        for call in self.calls:
            if call.source != "recorded":
                _claim_request(call)

    @contextmanager
    def repeat(self) -> Iterator[JudgeCalls]:
        """Send all requests of a block live; the answers replace the recorded ones.

        If the block ends well, recorded replies that it did not request again, such as the reply to a retry, are dropped. After an
        exception, or if no request was answered, all recordings stay. A refused call does not fail the test by itself: the caller
        reports it with the recorded reply.

        Yields:
            The calls of the block.
        """
        for call in self.calls:
            call.tape.player.given.take_back(call.question.key, call.take)
        token = _repeats.set(True)
        try:
            with note_calls() as calls:
                yield calls
        except (CassetteMiss, BudgetReached) as error:
            self.calls[0].tape.forget_refusal(error)
            raise
        finally:
            _repeats.reset(token)
        if not calls.calls:
            return
        for call in self.calls:
            if not call.is_error:
                call.tape.recorder.drop_unless_requested(call.question.key, call.take)


_noted: ContextVar[JudgeCalls | None] = ContextVar("pytest_llmops_judge_calls", default=None)
_repeats: ContextVar[bool] = ContextVar("pytest_llmops_judge_repeats", default=False)
_refusal: ContextVar[str] = ContextVar("pytest_llmops_judge_refusal", default="")


@contextmanager
def note_calls() -> Iterator[JudgeCalls]:
    """List the calls of a block."""
    calls = JudgeCalls()
    token = _noted.set(calls)
    try:
        yield calls
    finally:
        _noted.reset(token)


@contextmanager
def refuse_live_calls(why: str) -> Iterator[None]:
    """Refuse calls of a block that would go out live; an empty reason refuses none.

    Raises:
        CallRefusedError: A call was refused; its text is the reason.
    """
    token = _refusal.set(why)
    try:
        yield
    finally:
        _refusal.reset(token)


def check_may_go_out() -> None:
    """Raise `CallRefusedError` in a block of `refuse_live_calls`."""
    why = _refusal.get()
    if why:
        raise CallRefusedError(why)


def is_repeated(tape: Tape) -> bool:
    """Return whether the running call is to be sent live although it may be recorded."""
    return tape.mode == "new" and _repeats.get()


def note_call(tape: Tape, question: Question, take: str, answer: Answer | None, source: Source) -> None:
    """Add a call to the innermost list of calls, if there is one.

    Args:
        tape: The tape of the call.
        question: The request.
        take: The take of the request.
        answer: The answer; None: it has not come yet.
        source: Where the answer came from.
    """
    noted = _noted.get()
    if noted is None:
        return
    is_error = answer is not None and is_error_status(answer.status)
    noted.calls.append(JudgeCall(tape, question, take, source, is_error))


def was_asked_in_vain(key: str, owner: str) -> bool:
    """Return whether a test, or an earlier run of it, got no verdict for a request that was sent in this run."""
    try:
        claimed = _claim_path(key).read_text("utf-8")
    except FileNotFoundError:
        return False
    return claimed.partition("\n")[2] == owner


def _claim_request(call: JudgeCall) -> bool:
    """Return whether a test may send a request again: only the first test of the run that sends it, over all workers."""
    config = call.tape.config
    claim = f"{config.attempt}\n{config.owner}"
    path = _claim_path(call.question.key)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(claim)
    except FileExistsError:
        # A test runs several times if calls are sent ahead, and is then still the same test
        return path.read_text("utf-8") == claim
    return True


def _claim_path(key: str) -> Path:
    """Return the file that shows which test has sent a request without a verdict; the trials of a test have a file each."""
    trial = recorder.current_trial()
    return current_folder() / f"unreadable-{key}-{trial}"
