"""Which tape is in use, and for which trial and purpose a call is made, in every thread and task.

The tape of the running test is a plain global: a thread that C code started has an empty context, and
what it asks must still be recorded with its test. A tape of a block (`use_tape`) belongs to the context that
opened it, so that two tasks may have one each. Threads and pools do not inherit a context by themselves:
`capture_context` and `inherit_context` bring it along.
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

_test_tapes: list[Tape] = []
"""Of the running test and of the fixtures that are being set up for it; the last is in use."""
_block_tapes: list[Tape] = []
"""Tapes of blocks."""
change_listeners: list[Callable[..., object]] = []
"""Called with ``used=True`` when a tape comes into use, and with ``used=False`` when none is any more."""


@dataclass(frozen=True, slots=True)
class CallContext:
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


_current_block: ContextVar[_Block | None] = ContextVar("pytest_llmops_tape", default=None)
_inherited_context: ContextVar[CallContext | None] = ContextVar("pytest_llmops_carried", default=None)


def current_tape() -> Tape | None:
    """Return the tape in use here, or None."""
    block = _innermost_block()
    return block.tape if block is not None else base_tape()


def _innermost_block() -> _Block | None:
    """Return the innermost block that this task or thread is in, of those that are still open."""
    block = _current_block.get()
    if block is None:
        context = _valid_context()
        block = context.block if context is not None else None
    elif block.base is not base_tape():  # a fixture is being set up inside it
        return None
    while block is not None and block.tape not in _block_tapes:
        block = block.outer
    return block


def base_tape() -> Tape | None:
    """Return the tape of the running test, or of the fixture that is being set up for it."""
    return _test_tapes[-1] if _test_tapes else None


def current_take() -> str:
    """Return the take that answers here: the running trial's, also in threads that it started."""
    own = recorder.current_take()
    context = _valid_context() if own == "0" else None
    return context.take if context is not None else own


def current_purpose() -> str:
    """Return whom a call here serves, also in threads that were started for it."""
    own = recorder.current_purpose()
    context = _valid_context() if own == "app" else None
    return context.purpose if context is not None else own


def _valid_context() -> CallContext | None:
    context = _inherited_context.get()
    # A thread may outlive its test (a pool, an event loop in the background): what it brought is void then.
    return context if context is not None and context.base is base_tape() else None


def push_tape(tape: Tape) -> None:
    """Use this tape from now on, in all threads and tasks."""
    _test_tapes.append(tape)
    _notify_listeners(started=True)


def remove_tape(tape: Tape) -> None:
    """Stop using this tape; the one before is in use again."""
    if tape in _test_tapes:
        _test_tapes.remove(tape)
        _notify_listeners(started=False)


@contextmanager
def use_tape(tape: Tape) -> Iterator[Tape]:
    """Use a tape for a block: in this task or thread, and in those that the block starts."""
    before, block = _current_block.get(), _Block(tape, base_tape(), _innermost_block())
    _block_tapes.append(tape)
    _current_block.set(block)
    _notify_listeners(started=True)
    try:
        yield tape
    finally:
        _block_tapes.remove(tape)
        # No token: a generator may be closed in another context than it was started in.
        if _current_block.get() is block:
            _current_block.set(before)
        _notify_listeners(started=False)


def _notify_listeners(*, started: bool) -> None:
    if len(_test_tapes) + len(_block_tapes) == (1 if started else 0):
        for listener in change_listeners:
            listener(used=started)


def capture_context() -> CallContext | None:
    """Return what a thread that is started here takes along; None if that is nothing."""
    block, trial, purpose = _innermost_block(), current_take(), current_purpose()
    if block is None and trial == "0" and purpose == "app":
        return None
    return CallContext(base_tape(), block, trial, purpose)


def inherit_context(context: CallContext | None) -> AbstractContextManager[None]:
    """Make a snapshot that of this thread while a block runs, whatever it had before."""
    return _carrying(context)


@contextmanager
def _carrying(along: CallContext | None) -> Iterator[None]:
    token = _inherited_context.set(along)
    try:
        yield
    finally:
        _inherited_context.reset(token)
