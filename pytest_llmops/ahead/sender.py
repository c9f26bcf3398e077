"""Send the collected requests, so many at the same time, and retry what a server refuses for the moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pytest_llmops.ahead.tapes import PendingRequest
from pytest_llmops.ahead.transports import Connections
from pytest_llmops.cassettes import run_folder
from pytest_llmops.cassettes.rate_limit import POLL_INTERVAL_S, CallSlot, RateLimiter
from pytest_llmops.cassettes.response import Answer, make_exchange
from pytest_llmops.errors import BudgetReached, CassetteError

TRIES = 3
"""A call and its retries, as many as the SDKs make."""
FIRST_PAUSE_S = 0.5
"""Pause after a server error, doubled with every further one."""
STOPPED = "the run was stopped"


@dataclass(slots=True)
class LiveSender:
    """Sends requests in threads.

    Args:
        width: Maximum number of calls at the same time, over all processes of the run.
        on_end: Called with each request and why it has no answer, or "".
    """

    width: int
    on_end: Callable[[PendingRequest, str], object]
    sent: int = 0
    in_flight: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _connections: Connections = field(init=False)
    _pool: ThreadPoolExecutor = field(init=False)
    _pace: RateLimiter = field(init=False)

    def __post_init__(self) -> None:
        self._connections = Connections(self.width)
        self._pool = ThreadPoolExecutor(self.width, thread_name_prefix="pytest-llmops sender")
        self._pace = RateLimiter(self.width)

    def submit(self, requests: Iterable[PendingRequest]) -> None:
        """Send requests as soon as there is room for them."""
        for pending in requests:
            self._pool.submit(self._run, pending)

    def stop(self) -> None:
        """Start no further call, and wait for those that are under way: they are paid."""
        self._stopping.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._connections.close()

    def _run(self, pending: PendingRequest) -> None:
        try:
            why = self._send_with_retries(pending)
        except (BudgetReached, CassetteError) as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001 -- of the network, or of a hook of the project: the test meets it itself
            why = f"{type(error).__name__}: {error}"
        self.on_end(pending, why)

    def _send_with_retries(self, pending: PendingRequest) -> str:
        why = STOPPED
        for number in range(TRIES):
            slot = self._wait_for_slot(pending.question.address)
            if slot is None:
                return STOPPED
            answer: Answer | None = None
            try:
                answer = self._send(pending)
            finally:
                slot.release(
                    answer.status if answer is not None else 0, answer.headers if answer is not None else {}
                )
            if pending.tape.keep_ahead(pending, answer):
                return ""
            why = f"status {answer.status}"
            if not answer.is_transient or answer.headers.get("x-should-retry") == "false":
                return why
            if number < TRIES - 1 and self._stopping.wait(FIRST_PAUSE_S * 2**number):
                return STOPPED
        return why

    def _wait_for_slot(self, host: str) -> CallSlot | None:
        waited = 0.0
        while not self._stopping.is_set() and not run_folder.are_live_calls_stopped():
            slot = self._pace.try_enter(host, waited)
            if isinstance(slot, CallSlot):
                return slot
            waited += slot if slot == POLL_INTERVAL_S else 0.0
            self._stopping.wait(slot)
        return None

    def _send(self, pending: PendingRequest) -> Answer:
        tape, question = pending.tape, pending.question
        tape.reserve_call(question)
        exchange = None
        self._count(sent=1, in_flight=1)
        try:
            answer = self._connections.send(pending.transport, pending.request)
            exchange = make_exchange(question, answer, pending.purpose, replayed=False)
        finally:
            self._count(in_flight=-1)
            tape.settle_call(question, exchange)
        return answer

    def _count(self, *, sent: int = 0, in_flight: int = 0) -> None:
        with self._lock:
            self.sent += sent
            self.in_flight += in_flight
