"""The tape in use, and the trial and purpose of a call, for every thread and task.

The tape of the running test is a plain global: a thread started by C code has an empty context, and its calls must
be recorded with the test too. A block's tape (`use_tape`) belongs to the context that opened the block, so that two
tasks can use different tapes. Threads and pools do not inherit a context: `capture_context` and `inherit_context` pass
it on.

A take is the number of a trial as a text, counted from "0": the answers of a test's trials are recorded as different
takes of the same request. The takes of ``--llm-again`` begin at a multiple of `SESSION_TAKES`, a higher one each time, so that an
ordinary run replays none of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_llmops import recorder

if TYPE_CHECKING:
    from pytest_llmops.cassettes.tape import Tape
    from pytest_llmops.errors import CassetteMiss

# Tapes of the running test and of the fixtures that are being set up for it; the last one is in use
_test_tapes: list[Tape] = []
_block_tapes: list[Tape] = []
# Set in a process that a test started: called with the tape of this process, and returns the one of the test's process
find_remote_tape: Callable[[Tape | None], Tape] | None = None
# Set while an answer is claimed: the parts from which a tape can send the request later, together with others. Either the module,
# transport and request of httpx, or None, a connection of http.client and a function that sends the request on a copy
outgoing_request: ContextVar[tuple[Any, ...] | None] = ContextVar("pytest_llmops_outgoing", default=None)
# Set while an MCP server is started whose messages are recorded: its own HTTP calls are not
_starts_tool_server: ContextVar[bool] = ContextVar("pytest_llmops_starts_tool_server", default=False)
# Set while a recorded function runs itself: no tape is in use there, since it does not run in a replay
_runs_tool: ContextVar[bool] = ContextVar("pytest_llmops_runs_tool", default=False)
deferred_calls: list[object] = []  # calls of the running test that were deferred, with --llm-concurrency
SESSION_TAKES = 1000  # as many takes as a test can have trials
MAX_SIBLING_WAITS = 20
SIBLING_WAIT_S = 0.002
_job = threading.local()  # its attribute `mark` identifies the running job of this thread
# Called with ``used=True`` when the first tape comes into use, and with ``used=False`` when no tape is in use any more
change_listeners: list[Callable[..., object]] = []
# Called with the host of a call of a model by a process that outlived its test; returns the error for it, None: it is allowed. The last counts.
late_call_checks: list[Callable[[str], CassetteMiss | None]] = []


@dataclass(frozen=True, slots=True)
class CallContext:
    """The state that a thread inherits from the thread that starts it. It is void once another test runs."""

    base: Tape | None
    block: _Block | None
    take: str
    purpose: str
    runs_tool: bool = False


@dataclass(frozen=True, slots=True)
class _Block:
    """A block with its own tape.

    Attributes:
        tape: The block's tape.
        base: The test's tape when the block was opened.
        outer: The block around it.
    """

    tape: Tape
    base: Tape | None
    outer: _Block | None


_current_block: ContextVar[_Block | None] = ContextVar("pytest_llmops_tape", default=None)
_inherited_context: ContextVar[CallContext | None] = ContextVar("pytest_llmops_call_context", default=None)


def current_tape() -> Tape | None:
    """Return the tape in use in this thread or task; None without a tape, and while a recorded function is called for real."""
    if _is_in_tool():
        return None
    block = _innermost_block()
    tape = base_tape()
    if block is not None:
        tape = block.tape
    if find_remote_tape is None:
        return tape
    return find_remote_tape(tape)


def _innermost_block() -> _Block | None:
    """Return the innermost block around the running code whose tape is in use; None if the test's tape is in use."""
    block = _current_block.get()
    if block is None:
        context = _valid_context()
        if context is not None:
            block = context.block
    elif block.base is not base_tape():  # a fixture that is set up inside the block has its own tape
        return None
    while block is not None and block.tape not in _block_tapes:
        block = block.outer
    return block


def base_tape() -> Tape | None:
    """Return the tape of the running test, or of the fixture that is being set up for it."""
    if _test_tapes:
        return _test_tapes[-1]
    return None


def tapes_in_use() -> list[Tape]:
    """Return all tapes that are in use in this process, in any thread or task."""
    return [*_test_tapes, *_block_tapes]


def current_take() -> str:
    """Return the take of the running trial, also in threads that it started.

    Outside of a trial it is the take of the test's tape, or "0" without one.
    """
    trial = recorder.current_trial()
    if trial is not None:
        return str(trial)
    context = _valid_context()
    base = base_tape()
    if context is not None:
        return context.take
    if base is not None:
        return base.config.take
    return "0"


def current_purpose() -> str:
    """Return the purpose of a call that is made now (``app``, ``judge`` ...), also in threads started for it."""
    own = recorder.current_purpose()
    if own != "app":
        return own
    context = _valid_context()
    if context is None:
        return own
    return context.purpose


def _valid_context() -> CallContext | None:
    """Return what this thread has inherited; None if nothing, or if another test is running now."""
    context = _inherited_context.get()
    # A thread may outlive its test (in a pool, or for an event loop in the background).
    if context is not None and context.base is base_tape():
        return context
    return None


def push_tape(tape: Tape) -> None:
    """Use a tape from now on, in all threads and tasks, until `remove_tape`."""
    _test_tapes.append(tape)
    _notify_listeners(started=True)


def remove_tape(tape: Tape) -> None:
    """Stop using a tape; the previous tape is in use again."""
    if tape in _test_tapes:
        _test_tapes.remove(tape)
        _notify_listeners(started=False)


@contextmanager
def use_tape(tape: Tape) -> Iterator[Tape]:
    """Use a tape for a block: in this task or thread, and in tasks and threads that the block starts."""
    before = _current_block.get()
    block = _Block(tape, base_tape(), _innermost_block())
    _block_tapes.append(tape)
    _current_block.set(block)
    _notify_listeners(started=True)
    try:
        yield tape
    finally:
        _block_tapes.remove(tape)
        # Not reset with a token: a generator may be closed in a different context, where the token is invalid.
        if _current_block.get() is block:
            _current_block.set(before)
        _notify_listeners(started=False)


def _notify_listeners(*, started: bool) -> None:
    """Call the listeners if the first tape came into use, or the last one went out of use.

    Not in a process that a test started: there the patches stay to its end.
    """
    expected_count = 0
    if started:
        expected_count = 1
    if find_remote_tape is None and len(tapes_in_use()) == expected_count:
        for listener in change_listeners:
            listener(used=started)


@contextmanager
def start_tool_server() -> Iterator[None]:
    """Start an MCP server in a block without handing it the tape: its messages are recorded, its own requests are not."""
    token = _starts_tool_server.set(True)
    try:
        yield
    finally:
        _starts_tool_server.reset(token)


def starts_tool_server() -> bool:
    """Return whether a process that is started now belongs to a tool: to an MCP server or a function that is recorded itself."""
    return _starts_tool_server.get() or _is_in_tool()


@contextmanager
def run_tool() -> Iterator[None]:
    """Call a recorded function in a block: its own actions, such as requests, are not recorded."""
    token = _runs_tool.set(True)
    try:
        yield
    finally:
        _runs_tool.reset(token)


def _is_in_tool() -> bool:
    """Return whether the running code was called by a recorded function, also in a thread that this has started."""
    if _runs_tool.get():
        return True
    context = _inherited_context.get()
    return context is not None and context.runs_tool


def capture_context() -> CallContext | None:
    """Return the context for a thread that is started now; None if there is nothing to inherit."""
    block = _innermost_block()
    base = base_tape()
    take = current_take()
    purpose = current_purpose()
    base_take = "0"
    if base is not None:
        base_take = base.config.take
    runs_tool = _is_in_tool()
    if block is None and take == base_take and purpose == "app" and not runs_tool:
        return None
    return CallContext(base, block, take, purpose, runs_tool)


@contextmanager
def inherit_context(context: CallContext | None) -> Iterator[None]:
    """Use another context in this thread while a block runs, which counts as a new job."""
    token = _inherited_context.set(context)
    _job.mark = object()
    try:
        yield
    finally:
        _inherited_context.reset(token)


def current_job() -> tuple[object, ...]:
    """Return a value that identifies the running task, or the running job of a thread.

    The thread does not identify the job: threads of a pool are used again.
    """
    task = None
    if recorder.in_event_loop():
        from asyncio import current_task

        task = current_task()
    return threading.get_ident(), getattr(_job, "mark", None), task


async def let_siblings_ask() -> None:
    """Wait until no task of the test defers another call, so that calls that run together are also sent together."""
    import anyio

    before = -1
    for _ in range(MAX_SIBLING_WAITS):
        if len(deferred_calls) == before:
            return
        before = len(deferred_calls)
        await anyio.sleep(SIBLING_WAIT_S)
