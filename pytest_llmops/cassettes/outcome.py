"""Outcomes of calls without a complete answer: time-outs, cancelled calls, and streams that were cut or left early.

An outcome is recorded as the name and text of the client's exception. On replay the exception is raised again, at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import shorten_text

if TYPE_CHECKING:
    from pytest_llmops.cassettes.tape import Tape

OutcomeKind = Literal["connect", "read", "write", "pool", "cut", "cancelled", "left", "silent", "closed"]

# Names of the exceptions of httpx, aiohttp, urllib3, http.client and asyncio, by kind. Leaving a stream raises no
# exception: it has a name of ours.
ERRORS: Mapping[OutcomeKind, tuple[str, ...]] = {
    "connect": ("ConnectTimeout", "ConnectTimeoutError", "ConnectionTimeoutError"),
    "read": ("ReadTimeout", "SocketTimeoutError", "ServerTimeoutError", "TimeoutError"),
    "write": ("WriteTimeout",),
    "pool": ("PoolTimeout",),
    "cut": (
        "RemoteProtocolError",
        "ReadError",
        "ClientPayloadError",
        "ConnectionResetError",
        "IncompleteRead",
    ),
    "cancelled": ("CancelledError",),
    "left": ("left early",),
    # Of tools: the client gave up, or closed the connection, before an answer came; the server ended
    "silent": ("no answer",),
    "closed": ("server ended",),
}
KINDS: Mapping[str, OutcomeKind] = {name: kind for kind, names in ERRORS.items() for name in names}
MAX_TEXT = 300
LEFT_TEXT = "the application stopped reading"
PROGRAM_LEFT_TEXT = "the program closed its connection to llm_proxy"
CANCEL_GRACE_S = 5.0  # how much longer than recorded a replayed call waits to be cancelled


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended without a complete answer: the name of the client's exception, and its text.

    >>> Outcome("ReadTimeout", "The read operation timed out").kind
    'read'
    """

    error: str
    text: str

    @property
    def kind(self) -> OutcomeKind:
        """The kind of outcome: a time-out (``connect``, ``read``, ``write``, ``pool``), ``cut``, ``cancelled`` or ``left``."""
        return KINDS[self.error]

    @classmethod
    def from_exception(cls, error: BaseException, *, began: bool) -> Outcome | None:
        """Return the outcome for an exception; None for one that is not recorded, as it may not come again.

        An example of the latter is a refused connection.

        Args:
            error: The exception.
            began: Whether the headers of the answer had come. Before, a cut connection is not recorded.
        """
        name = _find_known_name(type(error))
        if not name or (KINDS[name] == "cut" and not began):
            return None
        texts = [part for part in error.args if isinstance(part, str)]
        text = ""
        if texts:
            text = shorten_text(texts[-1], MAX_TEXT)
        return cls(name, text)

    @classmethod
    def from_wire(cls, wire: Mapping[str, str]) -> Outcome:
        """Read an outcome of a cassette.

        Raises:
            CassetteError: The exception is unknown.
        """
        if wire["error"] not in KINDS:
            raise CassetteError(f"an outcome: unknown error {shorten_text(wire['error'], 60)!r}")
        return cls(wire["error"], wire["text"])

    def make_exception(self, module: Any, tape: Tape) -> BaseException:
        """Return the exception to raise: of the same name in the client's module, or of another name for the same kind.

        A miss is counted and returned in two cases: a stream was left early, and is read further now; or a call was
        cancelled, and is made by a synchronous client now, which cannot be cancelled.

        Args:
            module: The client's module; without any of the names, a `TimeoutError` is returned.
            tape: The tape.
        """
        if self.kind == "left":
            return tape.refuse(
                f"cassette {tape.path}: the application left a stream early when it was recorded, and now reads more"
                f" of it than is recorded; record it again: {tape.command_again}"
            )
        if self.kind == "cancelled":
            return tape.refuse(
                f"cassette {tape.path}: a call was recorded as cancelled, and is made by a synchronous client now;"
                f" record it again: {tape.command_again}"
            )
        for name in (self.error, *ERRORS[self.kind]):
            if hasattr(module, name):
                error: BaseException = getattr(module, name)(self.text)
                return error
        return TimeoutError(self.text)

    async def raise_in_task(self, module: Any, tape: Tape, seconds: float | None) -> NoReturn:
        """Raise the outcome in a task of an event loop.

        A cancelled call waits to be cancelled again, as it was when it was recorded.

        If it was cancelled by a time limit of asyncio or anyio around the task, that time limit ends now.

        Args:
            module: The client's module.
            tape: The tape.
            seconds: How long the recorded call ran.

        Raises:
            CassetteMiss: Nothing cancelled the call.
        """
        if self.kind != "cancelled":
            raise self.make_exception(module, tape)
        limit = (seconds or 0.0) + CANCEL_GRACE_S
        _end_time_limit()
        await asyncio.sleep(limit)
        raise tape.refuse(
            f"cassette {tape.path}: a recorded call was cancelled after {seconds or 0:g} s, and nothing cancelled it now"
            f" within {limit:g} s: record it again: {tape.command_again}"
        )


def _find_known_name(kind: type[BaseException]) -> str:
    """Return the name of the first class among an exception's base classes that is in `KINDS`, or ""."""
    for base in kind.__mro__:
        if base.__name__ in KINDS:
            return base.__name__
    return ""


def _end_time_limit() -> None:
    """End the next time limit of asyncio or anyio around the current task at once; do nothing if there is none.

    It is found among the timers of the loop. A loop that does not list its timers (uvloop) ends it in its own time.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    callbacks = getattr(task, "_callbacks", None) or ()
    # `wait_for` before Python 3.12 has a callback of the task with the same argument as its timer.
    waiters = [getattr(callback, "args", ()) for callback, _ in callbacks]
    timers: list[asyncio.TimerHandle] = sorted(getattr(loop, "_scheduled", ()), key=_time_of_timer)
    for handle in timers:
        callback = getattr(handle, "_callback", None)
        owner: Any = getattr(callback, "__self__", None)
        if isinstance(owner, asyncio.Timeout) and getattr(owner, "_task", None) is task:
            owner.reschedule(loop.time())
            return
        if type(owner).__name__ == "CancelScope" and task in owner._tasks:  # noqa: SLF001 -- anyio's
            owner.deadline = loop.time()
            return
        if callback is not None and handle._args in waiters:  # noqa: SLF001 -- of wait_for before Python 3.12
            callback(*handle._args)  # noqa: SLF001
            return


def _time_of_timer(handle: asyncio.TimerHandle) -> float:
    """Return when a timer of an event loop ends."""
    return handle.when()
