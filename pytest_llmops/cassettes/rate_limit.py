"""Limits the judge calls of a run: how many go out at the same time, and pauses that a server requires."""

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmops import recorder
from pytest_llmops._util.text_files import write_atomically
from pytest_llmops.cassettes.run_folder import current_folder

POLL_INTERVAL_S = 0.05  # interval between attempts to get a slot
FIRST_PAUSE_S = 1.0  # first pause if the server gives no ``retry-after``, doubled with every further pause
LONGEST_PAUSE_S = 120.0
MAX_WAIT_S = 600.0
# Statuses of a rate limit; 503 is a rate limit only with the header ``retry-after``
RATE_LIMIT_STATUSES = frozenset({429, 529})
UNAVAILABLE_STATUS = 503
FIRST_SERVER_ERROR = 500
# Replaces the number of pauses in a row if the server refuses for good (for instance, the account is empty):
# calls do not wait any more
GIVEN_UP = -1


@dataclass(slots=True, eq=False)
class CallSlot:
    """The slot of a running call. Without a lock it holds no slot, and only evaluates the answer of the server."""

    _pace: "RateLimiter"
    _host: str
    _lock: Any = None
    _is_released: bool = False

    def release(self, status: int, headers: Mapping[str, str]) -> None:
        """Release the slot, and pause or resume the calls to the host by its answer; a second call has no effect.

        Args:
            status: The answer's status; 0: no answer.
            headers: The answer's headers, with lower-case names.
        """
        if self._is_released:
            return
        self._is_released = True
        lock = self._lock
        if lock is not None:
            lock.release()
        retry_after_s = None
        if status in (*RATE_LIMIT_STATUSES, UNAVAILABLE_STATUS):
            retry_after_s = _parse_retry_after(headers, self._pace.now())
        if status in RATE_LIMIT_STATUSES or retry_after_s is not None:
            self._pace.slow_down(self._host, retry_after_s)
        elif 0 < status < FIRST_SERVER_ERROR:
            self._pace.speed_up(self._host)


@dataclass(slots=True, eq=False)
class RateLimiter:
    """Slots and pauses of a run's judge calls, shared by all its processes and threads.

    Args:
        limit: Maximum number of concurrent calls; None: whoever makes the calls limits them.
        folder: Returns the folder of the run, on a disk of this machine.
        now: The clock, in seconds since 1970, the same in all processes.
        sleep: Waits for a number of seconds.
    """

    limit: int | None
    folder: Callable[[], Path] = current_folder
    now: Callable[[], float] = time.time
    sleep: Callable[[float], object] = time.sleep
    _next: int = field(default=0, repr=False)  # the slot to try first
    _refused: str = field(default="", repr=False)  # the host that refused last

    def enter(self, host: str = "") -> CallSlot:
        """Wait until a call to a host may go out, and return its slot."""
        waited = 0.0
        if recorder.in_event_loop():
            waited = MAX_WAIT_S  # no wait for a slot: this would block the loop, and no call could release its slot
        while not isinstance(result := self.try_enter(host, waited), CallSlot):
            if result == POLL_INTERVAL_S:
                waited += POLL_INTERVAL_S
            self.sleep(result)
        return result

    async def enter_async(self, host: str = "") -> CallSlot:
        """Wait until a call to a host may go out, without blocking the event loop, and return its slot."""
        import anyio  # a dependency of httpx, for any kind of loop

        waited = 0.0
        while not isinstance(result := self.try_enter(host, waited), CallSlot):
            if result == POLL_INTERVAL_S:
                waited += POLL_INTERVAL_S
            await anyio.sleep(result)  # polling: the slot may be released in another process
        return result

    def try_enter(self, host: str = "", waited: float = 0.0) -> CallSlot | float:
        """Return a slot if a call may go out now, else the seconds to wait before the next attempt.

        Args:
            host: The host, which has its own pauses.
            waited: Seconds that the call has waited for a slot, without pauses. After `MAX_WAIT_S` it goes out without.
        """
        pause_end, _ = self._read_pause(host)
        left_s = pause_end - self.now()
        if left_s > 0:
            # Never `POLL_INTERVAL_S` itself: callers count that as a wait for a slot.
            return max(left_s, 2 * POLL_INTERVAL_S)
        if self.limit is None:
            return CallSlot(self, host)
        try:
            lock = self._acquire_free_slot(self.limit)
        except OSError:  # no disk for locks: the call itself must not fail
            return CallSlot(self, host)
        if lock is not None:
            return CallSlot(self, host, lock)
        if waited >= MAX_WAIT_S:
            return CallSlot(self, host)
        return POLL_INTERVAL_S

    def _acquire_free_slot(self, limit: int) -> Any:
        """Return the acquired lock of a free slot; None if all are taken. Raise an OSError without a disk for locks."""
        from filelock import FileLock, Timeout

        for place in range(limit):
            # Limiters start at different slots, so that they do not all try the first.
            number = (self._next + place) % limit
            # The slot is released where the answer's end is read, in any thread.
            lock = FileLock(self.folder() / f"judge-{number}.lock", timeout=0, thread_local=False)
            with contextlib.suppress(Timeout):
                lock.acquire()
                self._next = number + 1
                return lock
        return None

    def slow_down(self, host: str, seconds: float | None) -> None:
        """Pause all calls to a host: as long as the server demands, else twice as long with every pause in a row.

        Args:
            host: The host with the rate limit.
            seconds: The pause that the server demands, limited to two minutes; None: not given.
        """
        self._refused = host
        until, row = self._read_pause(host)
        if row == GIVEN_UP:
            return
        now = self.now()
        if now >= until:  # during a pause, answers to concurrent calls belong to the same rate limit
            row += 1
            if seconds is None:
                backed_off = FIRST_PAUSE_S * 2 ** min(row - 1, 10)
            else:
                backed_off = 0.0
            until = now + min(max(seconds or 0.0, backed_off), LONGEST_PAUSE_S)
        elif seconds is not None:
            until = max(until, now + min(seconds, LONGEST_PAUSE_S))
        self._write(host, until, row)

    def speed_up(self, host: str) -> None:
        """Forget the pauses of a host that answers again, unless one is running."""
        until, row = self._read_pause(host)
        if row == GIVEN_UP or (row and self.now() >= until):
            self._write(host, 0.0, 0)

    def give_up(self) -> None:
        """Stop pausing calls to the server that refused last, until it answers: waiting has not helped."""
        self._write(self._refused, 0.0, GIVEN_UP)

    @property
    def gave_up(self) -> bool:
        """Return whether calls to the server that refused last are not paused any more."""
        return self._read_pause(self._refused)[1] == GIVEN_UP

    def _read_pause(self, host: str) -> tuple[float, int]:
        """Return when the pause of a host ends, and its number among the pauses in a row; 0.0 and 0 without a pause."""
        try:
            until, row = self._pause_file(host).read_text("ascii").split()
            pause = float(until), int(row)
        except (OSError, ValueError):
            return 0.0, 0
        # A pause that ends later than the longest pause was written before the clock was set back.
        if pause[0] - self.now() <= LONGEST_PAUSE_S:
            return pause
        return (self.now(), pause[1])

    def _write(self, host: str, until: float, row: int) -> None:
        """Write the pause of a host. Errors are ignored: the calls themselves must not fail."""
        with contextlib.suppress(OSError):
            write_atomically(self._pause_file(host), f"{until!r} {row}".encode("ascii"))

    def _pause_file(self, host: str) -> Path:
        """Return the file with the pause of a host."""
        return (
            self.folder() / f"pause-{hashlib.sha256(host.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
        )


def _parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds to wait that a server gives as milliseconds, seconds or a date; None without a valid value."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError):
            seconds = float(headers[name]) * scale
            if 0 <= seconds < math.inf:
                return seconds
    from email.utils import parsedate_to_datetime

    with contextlib.suppress(KeyError, ValueError, TypeError, OverflowError):
        return max(parsedate_to_datetime(headers["retry-after"]).timestamp() - now, 0.0)
    return None
