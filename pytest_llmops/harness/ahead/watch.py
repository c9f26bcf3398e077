"""Notices that a test hangs in the process of the silent runs, and ends that process."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from pytest_llmops.cassettes import count_live_calls
from pytest_llmops.harness.ahead.link import SilentProcess

# A test that runs for so long without a message and without a call hangs. Its time limit of pytest-timeout counts instead, if it has one
LIMIT_S = 60.0
END_LIMIT_S = 10.0  # time that a process has to tear down and end; then it is killed
POLL_S = 1.0


def find_time_limit(item: Any) -> float:
    """Return for how many seconds a test may run silently without a call: the limit that it has for pytest-timeout, or ours.

    Args:
        item: pytest's item.
    """
    values: list[Any] = []
    marker = item.get_closest_marker("timeout")
    if marker is not None:
        values += [*marker.args[:1], marker.kwargs.get("timeout")]
    values.append(item.config.getoption("timeout", None))
    with suppress(KeyError, ValueError):  # pytest-timeout is not installed
        values.append(item.config.getini("timeout"))
    for value in values:
        with suppress(TypeError, ValueError):
            limit_s = float(value)
            if limit_s > 0:  # with 0 pytest-timeout never ends the test
                return limit_s
            break
    return LIMIT_S


class SilenceWatch:
    """Ends a process in whose running test nothing happens for too long; used as a context manager while its messages are read.

    The process first gets a request to end, so that its fixtures are torn down, and is killed if it does not end. A call that is under way is waited
    for.

    Args:
        process: The process.
        running: Its current work. Empty: nothing that can hang.
        limit_s: For how many seconds that may last.
        clock: Returns the time in seconds.

    Attributes:
        running: The test that runs, or another activity.
        problem: Why the process was ended; empty: it was not.
    """

    def __init__(
        self,
        process: SilentProcess,
        running: str = "",
        limit_s: float = LIMIT_S,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.running = running
        self.problem = ""
        self._process = process
        self._limit_s = limit_s
        self._clock = clock
        self._changed = clock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="pytest-llmops watch", daemon=True)

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread: the tests of this process run without it."""
        self._is_over.set()
        self._thread.join()

    def note_message(self, kind: str, value: Any) -> None:
        """Note that a message of the process has come."""
        if kind == "closing" or (kind == "running" and not self.problem):
            self.running, self._limit_s = value
        if kind == "closing" or not self.problem:  # other messages do not put off its end
            self._changed = self._clock()

    def _watch(self) -> None:
        """Look at the process from time to time. Runs in a thread."""
        while not self._is_over.wait(min(POLL_S, self._limit_s / 4)):
            if self.look(*count_live_calls()):
                return

    def look(self, begun: int, ended: int) -> bool:
        """Request the process to end, or kill it, if nothing has happened for too long. Return whether it was killed.

        Args:
            begun: Number of calls that were begun.
            ended: Number of them that have ended.
        """
        if not self.running or begun > ended:
            self._changed = self._clock()
            return False
        if self._clock() - self._changed <= self._limit_s:
            return False
        return self._end_process()

    def _end_process(self) -> bool:
        """Request the process to end, or kill it at the second request. Return whether it was killed."""
        if self.problem:
            self._process.kill()
            return True
        self.problem = (
            f"{self.running} has run for {self._limit_s:g} s without a call; if it hangs in silent runs only, "
            "mark it with llm_cassette(at_once=False)"
        )
        self.running = "its end"
        self._limit_s = END_LIMIT_S
        self._changed = self._clock()
        self._process.stop()
        return False
