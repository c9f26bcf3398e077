"""How fast judges ask: so many calls at once over all processes of a run, and all of them wait after a 429.

Each call at work holds one of some lock files in the run's folder; a process that dies gives its own back. How long
everybody waits stands in one more file. A judge is never refused by this, only kept waiting: after `PATIENCE_S` it
asks without a place, as somebody may hold one for a reason that is not known here.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmops.cassettes import running

LOOK_S = 0.02
"""How often somebody who waits looks for a free place."""
FIRST_S, LONGEST_S = 1.0, 120.0
"""The first pause, where the server does not say how long; it doubles with each that follows. And the longest."""
PATIENCE_S = 600.0
TOO_MANY = frozenset({429, 529})
"""Statuses by which a server says that it is asked too often; 503 says so only with the header ``retry-after``."""
UNAVAILABLE = 503


@dataclass(slots=True, eq=False)
class Slot:
    """The place of one call at work; without a lock it only tells what the server said."""

    _pace: Pace
    _lock: Any = None

    def leave(self, status: int, headers: Mapping[str, str]) -> None:
        """Give the place back, and make everybody wait if the server was asked too often; the second call does nothing.

        Args:
            status: Of the answer; 0: there was none.
            headers: In small letters.
        """
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()
        told = _retry_after(headers, self._pace.now())
        if status in TOO_MANY or (status == UNAVAILABLE and told is not None):
            self._pace.slow_down(told)
        elif status:
            self._pace.speed_up()


@dataclass(slots=True, eq=False)
class Pace:
    """The pace of a run's judges, shared by all its processes and threads.

    Args:
        limit: Calls at once.
        folder: Finds the folder of the run, on a disk of this machine.
        now: The clock, in seconds since 1970: all processes have to tell the same time.
        sleep: Waits so many seconds.
    """

    limit: int
    folder: Callable[[], Path] = running.folder
    now: Callable[[], float] = time.time
    sleep: Callable[[float], object] = time.sleep
    _next: int = field(default=0, repr=False)

    def enter(self) -> Slot:
        """Wait until a call may go out, and return its place."""
        started = self.now()
        while not isinstance(found := self.look(started), Slot):
            self.sleep(found)
        return found

    async def enter_async(self) -> Slot:
        """Wait in an event loop, in which the calls that are waited for may be at work."""
        import anyio  # of httpx: whatever loop it runs in

        started = self.now()
        while not isinstance(found := self.look(started), Slot):  # noqa: ASYNC110 -- what ends the wait happens in other processes
            await anyio.sleep(found)
        return found

    def look(self, started: float) -> Slot | float:
        """Return a place if a call may go out now, else how many seconds to wait before the next look.

        Args:
            started: Since when somebody waits.
        """
        left = self._pause()[0] - self.now()
        if left > 0:
            return min(left, LONGEST_S)
        lock = self._free()
        if lock is not None:
            return Slot(self, lock)
        return Slot(self) if self.now() - started > PATIENCE_S else LOOK_S

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

    def slow_down(self, seconds: float | None) -> None:
        """Make everybody wait: as long as the server says, else longer with each time in a row.

        Args:
            seconds: What the server says; None: nothing. More than two minutes count as two minutes.
        """
        until, row = self._pause()
        now = self.now()
        if now >= until:  # else several calls at work were answered the same at once: that is one time
            row += 1
            backed_off = FIRST_S * 2 ** min(row - 1, 10) if seconds is None else 0.0
            until = now + min(max(seconds or 0.0, backed_off), LONGEST_S)
        elif seconds is not None:
            until = max(until, now + min(seconds, LONGEST_S))
        self._write(until, row)

    def speed_up(self) -> None:
        """The server answers again: the next pause is a first one."""
        until, row = self._pause()
        if row and self.now() >= until:
            self._write(0.0, 0)

    def _pause(self) -> tuple[float, int]:
        """Until when everybody waits, and the how manyeth pause in a row that is."""
        try:
            until, row = (self.folder() / "pause").read_text("ascii").split()
            found = float(until), int(row)
        except (OSError, ValueError):
            return 0.0, 0
        return found if math.isfinite(found[0]) else (0.0, 0)

    def _write(self, until: float, row: int) -> None:
        # A pace that cannot be written is none: the calls themselves must not fail of it.
        with contextlib.suppress(OSError):
            handle, name = tempfile.mkstemp(dir=self.folder(), prefix="pause.")
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(f"{until!r} {row}")
            Path(name).replace(self.folder() / "pause")


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a server asks to wait; None: it does not say."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError):
            seconds = float(headers[name]) * scale
            if 0 <= seconds < math.inf:
                return seconds
    from email.utils import parsedate_to_datetime

    with contextlib.suppress(KeyError, ValueError, TypeError):
        return max(parsedate_to_datetime(headers["retry-after"]).timestamp() - now, 0.0)
    return None
