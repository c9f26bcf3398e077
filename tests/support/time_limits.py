"""Time limits of clients that end when a server has fallen silent, and not after seconds: a busy machine ends none early."""

from __future__ import annotations

import asyncio
import select
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

LOOK_S = 0.02
"""How long a client looks for another byte; only how long a test runs depends on it."""


class TimeLimits:
    """The limits of all clients, once `patched`: of blocking sockets, and the timers of event loops.

    The clock of an event loop stands still. Once the limits are over, each loop that would wait for a timer jumps to it.

    Attributes:
        limit_s: The longest time-out of a socket that is meant; a longer one is not ended.
        waited_s: How many seconds were waited for a timer or slept, by the clock that jumps.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.waited_s = 0.0
        self._over = threading.Event()

    def end(self) -> None:
        """End all limits, those that begin later too. Each client first reads what has been sent."""
        self._over.set()

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Make the limits of the sockets and event loops of this block end with `end`."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket.socket, "recv", self._after_look(socket.socket.recv))
            patch.setattr(socket.socket, "recv_into", self._after_look(socket.socket.recv_into))
            patch.setattr(asyncio.events, "new_event_loop", lambda: _Loop(self))
            patch.setattr(time, "sleep", self.jump)
            yield

    def jump(self, seconds: float) -> None:
        self.waited_s += seconds

    def look(self, find: Callable[[], Any]) -> Any:
        """Return what is found; None if nothing is, and the limits were over before the look."""
        while True:
            over = self._over.is_set()
            if found := find():
                return found
            if over:
                return None

    def _after_look(self, receive: Callable[..., Any]) -> Callable[..., Any]:
        def look_and_receive(self_: socket.socket, *args: Any) -> Any:
            if 0 < (self_.gettimeout() or 0) <= self.limit_s:
                found = self.look(lambda: select.select([self_], [], [], LOOK_S)[0])
                if found is None:
                    raise TimeoutError("timed out")
            return receive(self_, *args)

        return look_and_receive


class _Selector(selectors.DefaultSelector):
    def __init__(self, limits: TimeLimits) -> None:
        super().__init__()
        self._limits = limits

    def select(self, timeout: float | None = None) -> Any:
        if not timeout:
            return super().select(timeout)
        ready = self._limits.look(lambda: super(_Selector, self).select(LOOK_S))
        if ready is None:
            self._limits.jump(timeout)
        return ready or []


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, limits: TimeLimits) -> None:
        self._limits = limits
        super().__init__(_Selector(limits))

    def time(self) -> float:
        return self._limits.waited_s
