"""How fast judges ask: so many calls at once over all processes of a run, and all of them wait after a 429.

Each call at work holds one of some lock files in the run's folder; a process that dies gives its own back. How long
everybody waits stands in one more file a server. A judge is never refused by this, only kept waiting: after
`MAX_WAIT_S`, pauses apart, it asks without a place, as somebody may hold one for a reason that is not known here. So
does who would wait for calls of its own event loop.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmops.cassettes import run_folder

POLL_INTERVAL_S = 0.05
"""How often somebody who waits looks for a free place."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 120.0
"""The first pause, where the server does not say how long; it doubles with each that follows. And the longest."""
MAX_WAIT_S = 600.0
RATE_LIMIT_STATUSES = frozenset({429, 529})
"""Statuses by which a server says that it is asked too often; 503 says so only with the header ``retry-after``."""
UNAVAILABLE_STATUS = 503
FIRST_SERVER_ERROR = 500
"""Statuses from here on do not say that the server answers again."""
GIVEN_UP = -1
"""In place of the how manyeth pause it is: the server says no for good, as an empty account does. Nobody waits for it."""


@dataclass(slots=True, eq=False)
class CallSlot:
    """The place of one call at work; without a lock it only tells what the server said."""

    _pace: RateLimiter
    _host: str
    _lock: Any = None
    _left: bool = False

    def leave(self, status: int, headers: Mapping[str, str]) -> None:
        """Give the place back, and make everybody wait if the server was asked too often; the second call does nothing.

        Args:
            status: Of the answer; 0: there was none.
            headers: In small letters.
        """
        if self._left:
            return
        self._left, lock = True, self._lock
        if lock is not None:
            lock.release()
        retry_after_s = (
            _parse_retry_after(headers, self._pace.now())
            if status in (*RATE_LIMIT_STATUSES, UNAVAILABLE_STATUS)
            else None
        )
        if status in RATE_LIMIT_STATUSES or retry_after_s is not None:
            self._pace.slow_down(self._host, retry_after_s)
        elif 0 < status < FIRST_SERVER_ERROR:
            self._pace.speed_up(self._host)


@dataclass(slots=True, eq=False)
class RateLimiter:
    """The pace of a run's judges, shared by all its processes and threads.

    Args:
        limit: Calls at once.
        folder: Finds the folder of the run, on a disk of this machine.
        now: The clock, in seconds since 1970: all processes have to tell the same time.
        sleep: Waits so many seconds.
    """

    limit: int
    folder: Callable[[], Path] = run_folder.current_folder
    now: Callable[[], float] = time.time
    sleep: Callable[[float], object] = time.sleep
    _next: int = field(default=0, repr=False)
    _refused: str = field(default="", repr=False)

    def enter(self, host: str = "") -> CallSlot:
        """Wait until a call to a host may go out, and return its place."""
        # In a loop nobody could give a place back while this waits for one.
        waited = MAX_WAIT_S if _is_in_event_loop() else 0.0
        while not isinstance(result := self.look(host, waited), CallSlot):
            waited += POLL_INTERVAL_S if result == POLL_INTERVAL_S else 0.0
            self.sleep(result)
        return result

    async def enter_async(self, host: str = "") -> CallSlot:
        """Wait in an event loop, in which the calls that are waited for may be at work."""
        import anyio  # of httpx: whatever loop it runs in

        waited = 0.0
        while not isinstance(result := self.look(host, waited), CallSlot):
            waited += POLL_INTERVAL_S if result == POLL_INTERVAL_S else 0.0
            await anyio.sleep(result)  # what ends the wait may happen in another process
        return result

    def look(self, host: str = "", waited: float = 0.0) -> CallSlot | float:
        """Return a place if a call may go out now, else how many seconds to wait before the next look.

        Args:
            host: Where it goes: each host has pauses of its own.
            waited: For how many seconds somebody has waited for a place; a pause is no such wait.
        """
        left = self._pause(host)[0] - self.now()
        if left > 0:
            return max(left, 2 * POLL_INTERVAL_S)
        try:
            lock = self._free()
        except OSError:  # no disk to keep the pace on: the call itself must not fail of it
            return CallSlot(self, host)
        if lock is not None:
            return CallSlot(self, host, lock)
        return CallSlot(self, host) if waited >= MAX_WAIT_S else POLL_INTERVAL_S

    def _free(self) -> Any:
        from filelock import FileLock, Timeout

        for place in range(self.limit):
            # Each looks from another place on, so that they do not all meet at the first.
            number = (self._next + place) % self.limit
            # Whoever reads the end of an answer gives its place back, in whatever thread.
            lock = FileLock(self.folder() / f"judge-{number}.lock", timeout=0, thread_local=False)
            with contextlib.suppress(Timeout):
                lock.acquire()
                self._next = number + 1
                return lock
        return None

    def slow_down(self, host: str, seconds: float | None) -> None:
        """Make everybody wait: as long as the server says, else longer with each time in a row.

        Args:
            host: Who is asked too often.
            seconds: What the server says; None: nothing. More than two minutes count as two minutes.
        """
        self._refused = host
        until, row = self._pause(host)
        if row == GIVEN_UP:
            return
        now = self.now()
        if now >= until:  # else several calls at work were answered the same at once: that is one time
            row += 1
            backed_off = FIRST_PAUSE_S * 2 ** min(row - 1, 10) if seconds is None else 0.0
            until = now + min(max(seconds or 0.0, backed_off), LONGEST_PAUSE_S)
        elif seconds is not None:
            until = max(until, now + min(seconds, LONGEST_PAUSE_S))
        self._write(host, until, row)

    def speed_up(self, host: str) -> None:
        """The server answers again: the next pause is a first one."""
        until, row = self._pause(host)
        if row == GIVEN_UP or (row and self.now() >= until):
            self._write(host, 0.0, 0)

    def give_up(self) -> None:
        """Let nobody wait any more for the server that refused last, until it answers: waiting has not helped."""
        self._write(self._refused, 0.0, GIVEN_UP)

    @property
    def gave_up(self) -> bool:
        """Whether nobody waits any more for the server that refused last."""
        return self._pause(self._refused)[1] == GIVEN_UP

    def _pause(self, host: str) -> tuple[float, int]:
        """Until when everybody waits, and the how manyeth pause in a row that is."""
        try:
            until, row = self._file(host).read_text("ascii").split()
            pause = float(until), int(row)
        except (OSError, ValueError):
            return 0.0, 0
        # One that ends further off than any pause lasts was written by a clock that has been set back since.
        return pause if pause[0] - self.now() <= LONGEST_PAUSE_S else (self.now(), pause[1])

    def _write(self, host: str, until: float, row: int) -> None:
        # A pace that cannot be written is none: the calls themselves must not fail of it.
        with contextlib.suppress(OSError):
            handle, name = tempfile.mkstemp(dir=self.folder(), prefix="pause.")
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(f"{until!r} {row}")
            Path(name).replace(self._file(host))

    def _file(self, host: str) -> Path:
        return (
            self.folder() / f"pause-{hashlib.sha256(host.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
        )


def _parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a server asks to wait; None: it does not say."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError):
            seconds = float(headers[name]) * scale
            if 0 <= seconds < math.inf:
                return seconds
    from email.utils import parsedate_to_datetime

    with contextlib.suppress(KeyError, ValueError, TypeError, OverflowError):
        return max(parsedate_to_datetime(headers["retry-after"]).timestamp() - now, 0.0)
    return None


def _is_in_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001 -- documented
