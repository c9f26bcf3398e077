"""Which tape is in use, and for which trial and purpose a call is made, in every thread and task.

The tape of the running test is a plain global: a thread that C code started has an empty context, and
what it asks must still be recorded with its test. A tape of a block (`using`) belongs to the context that
opened it, so that two tasks may have one each. Threads and pools do not inherit a context by themselves:
`snapshot` and `carried` bring it along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmops import recorder

if TYPE_CHECKING:
    from pytest_llmops.cassettes.tape import Tape

_tapes: list[Tape] = []
"""Of the running test and of the fixtures that are being set up for it; the last is in use."""
_open: list[Tape] = []
"""Tapes of blocks."""
on_change: list[Callable[..., object]] = []
"""Called with ``used=True`` when a tape comes into use, and with ``used=False`` when none is any more."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What a thread takes along from where it was started: good as long as the same test runs."""

    base: Tape | None
    block: _Block | None
    take: str
    purpose: str


@dataclass(frozen=True, slots=True)
class _Block:
    """A block, the tape of the test that it was opened over, and the block around it."""

    tape: Tape
    base: Tape | None
    outer: _Block | None


_nested: ContextVar[_Block | None] = ContextVar("pytest_llmops_tape", default=None)
_carried: ContextVar[Carried | None] = ContextVar("pytest_llmops_carried", default=None)


def current() -> Tape | None:
    """Return the tape in use here, or None."""
    block = _open_block()
    return block.tape if block is not None else base()


def _open_block() -> _Block | None:
    """Return the innermost block that this task or thread is in, of those that are still open."""
    block = _nested.get()
    if block is None:
        along = _along()
        block = along.block if along is not None else None
    elif block.base is not base():  # a fixture is being set up inside it
        return None
    while block is not None and block.tape not in _open:
        block = block.outer
    return block


def base() -> Tape | None:
    """Return the tape of the running test, or of the fixture that is being set up for it."""
    return _tapes[-1] if _tapes else None


def take() -> str:
    """Return the take that answers here: the running trial's, also in threads that it started."""
    own = recorder.take()
    along = _along() if own == "0" else None
    return along.take if along is not None else own


def whose() -> str:
    """Return whom a call here serves, also in threads that were started for it."""
    own = recorder.whose()
    along = _along() if own == "app" else None
    return along.purpose if along is not None else own


def _along() -> Carried | None:
    one = _carried.get()
    # A thread may outlive its test (a pool, an event loop in the background): what it brought is void then.
    return one if one is not None and one.base is base() else None


def insert(tape: Tape) -> None:
    """Use this tape from now on, in all threads and tasks."""
    _tapes.append(tape)
    _tell(came=True)


def eject(tape: Tape) -> None:
    """Stop using this tape; the one before is in use again."""
    if tape in _tapes:
        _tapes.remove(tape)
        _tell(came=False)


@contextmanager
def using(tape: Tape) -> Iterator[Tape]:
    """Use a tape for a block: in this task or thread, and in those that the block starts."""
    before, block = _nested.get(), _Block(tape, base(), _open_block())
    _open.append(tape)
    _nested.set(block)
    _tell(came=True)
    try:
        yield tape
    finally:
        _open.remove(tape)
        # No token: a generator may be closed in another context than it was started in.
        if _nested.get() is block:
            _nested.set(before)
        _tell(came=False)


def _tell(*, came: bool) -> None:
    if len(_tapes) + len(_open) == (1 if came else 0):
        for listener in on_change:
            listener(used=came)


def snapshot() -> Carried | None:
    """Return what a thread that is started here takes along; None if that is nothing."""
    block, trial, purpose = _open_block(), take(), whose()
    if block is None and trial == "0" and purpose == "app":
        return None
    return Carried(base(), block, trial, purpose)


def carried(along: Carried | None) -> AbstractContextManager[None]:
    """Make a snapshot that of this thread while a block runs, whatever it had before."""
    return _carrying(along)


@contextmanager
def _carrying(along: Carried | None) -> Iterator[None]:
    token = _carried.set(along)
    try:
        yield
    finally:
        _carried.reset(token)
