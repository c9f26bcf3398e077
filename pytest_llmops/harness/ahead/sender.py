"""Send the collected requests, a limited number at the same time, and retry those that a server refuses for the moment.

The client of the test cannot be used: an asynchronous client belongs to an event loop that has ended, and any other client is closed
by the test's tear-down. So its configuration is copied. The attributes for that are private to httpcore or http.client, and covered by
contract tests.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from http.client import HTTPResponse, IncompleteRead
from itertools import pairwise
from typing import Any

from pytest_llmops.cassettes import (
    TIMING_DIGITS,
    Answer,
    RateLimiter,
    are_live_calls_stopped,
    is_stream,
    limit_silence,
    make_exchange,
)
from pytest_llmops.errors import BudgetReached, CassetteError
from pytest_llmops.harness.ahead.answers import Place
from pytest_llmops.harness.ahead.guard import OUR_THREADS
from pytest_llmops.harness.ahead.tapes import PendingRequest
from pytest_llmops.wire.content_encoding import decode_body
from pytest_llmops.wire.untrusted_documents import DocumentError

PAUSES_S = (0.0, 0.5, 1.0)  # pause before each try: as many as the SDKs make
STOPPED = "the run was stopped"
# Attributes of a pool of connections that are not copied, as they are its state and not its configuration
_OWN_STATE = ("_connections", "_requests", "_optional_thread_lock", "_network_backend")
_BACKENDS = frozenset({"AutoBackend", "SyncBackend"})
# Modules whose connection classes can be copied. Connections of SOCKS proxies, of httplib2 and of projects themselves cannot
_CONNECTION_MODULES = frozenset({"http.client", "urllib3.connection", "botocore.awsrequest"})
_DROPPED_HEADERS = frozenset({"content-length", "content-encoding", "transfer-encoding"})


class LiveSender:
    """Sends requests in threads.

    Args:
        width: Maximum number of calls at the same time, over all processes of the run.
        on_end: Called with each request and why it has no answer, or "".

    Attributes:
        confirms: Whether a test must make the same requests in two silent runs before they are sent.
        queue: Requests that wait for `flush`, by their place.
    """

    confirms = False

    def __init__(self, width: int, on_end: Callable[[PendingRequest, str], object]) -> None:
        self._stopping = threading.Event()
        self.queue: dict[Place, PendingRequest] = {}
        self._on_end = on_end
        self._pool = ThreadPoolExecutor(width, thread_name_prefix=OUR_THREADS)
        self._pace = RateLimiter(
            None, sleep=self._sleep
        )  # no other process sends, and the pool limits this one

    def submit(self, requests: Iterable[PendingRequest]) -> None:
        """Send requests as soon as there is room for them."""
        for pending in requests:
            self._pool.submit(self._run, pending)

    def flush(self) -> bool:
        """Send the requests in the queue, once no test can continue without them. Return whether there were any.

        A live sender queues nothing.
        """
        return False

    def stop(self) -> None:
        """Start no further call, and wait for those that are under way, as they cost money."""
        self._stopping.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _sleep(self, seconds: float) -> None:
        """Wait; raise `CassetteError` if the run is stopped meanwhile."""
        if self._stopping.wait(seconds) or are_live_calls_stopped():
            raise CassetteError(STOPPED)

    def _run(self, pending: PendingRequest) -> None:
        """Send a request in a thread of the pool, and report its end whatever happens."""
        try:
            why = self._send_until_answered(pending)
        except (BudgetReached, CassetteError) as error:
            why = str(error)
        # Of the network, a hook of the project, or a guard, whose errors are not an `Exception`: the test meets it itself. A request whose
        # end is not reported would be waited for without end.
        except BaseException as error:  # noqa: BLE001
            why = type(error).__name__
        self._on_end(pending, why)

    def _send_until_answered(self, pending: PendingRequest) -> str:
        """Send a request, again after an answer that a recording would not hold; return why no answer was kept, or ""."""
        why = ""
        for pause_s in PAUSES_S:
            self._sleep(pause_s)
            answer = self._send(pending)
            if pending.tape.keep_ahead(pending, answer):
                return ""
            why = f"status {answer.status}"
            if not answer.is_transient or answer.headers.get("x-should-retry") == "false":
                break
        return why

    def _send(self, pending: PendingRequest) -> Answer:
        """Send a request once, within the limits of rate and budget."""
        tape = pending.tape
        question = pending.question
        exchange = None
        slot = self._pace.enter(question.address)
        answer = Answer(0, {}, b"")
        try:
            tape.prepare_call(question)
            try:
                if pending.module:
                    answer = send_request(pending.transport, pending.request)
                else:
                    answer = send_on_connection(pending.transport, pending.request)
                exchange = make_exchange(question, answer, pending.purpose, replayed=False)
            finally:
                tape.costs.settle(question, exchange)
        finally:
            slot.release(answer.status, answer.headers)
        return answer


def why_not_sent(module: Any, transport: Any) -> str:
    """Return why requests of a client cannot be sent on a copy of its transport; "" if they can.

    Args:
        module: httpx or httpx2; None: the client uses connections of http.client.
        transport: The transport of the client; without a module the connection.
    """
    kind = type(transport)
    if module is None:
        is_known = kind.__module__ in _CONNECTION_MODULES
        if is_known:
            return ""
        return f"its client has connections of its own ({kind.__name__})"
    if kind not in (module.HTTPTransport, module.AsyncHTTPTransport):
        return f"its client has a transport of its own ({kind.__name__})"
    pool = transport._pool  # noqa: SLF001 -- the configuration is nowhere else
    backend = type(getattr(pool, "_network_backend", pool)).__name__
    if backend in _BACKENDS:
        return ""
    return f"its client has connections of its own ({backend})"


def send_request(transport: Any, request: Any) -> Answer:
    """Send a request of httpx or httpx2 on a new connection, and return the whole answer.

    The connection has the TLS context, proxy and local address of the transport, and is closed at the end.

    Args:
        transport: The transport of the client, for which `why_not_sent` gives no reason.
        request: The request; its body has been read.

    Raises:
        Exception: An error of httpcore: no connection, a time-out, a cut answer.
    """
    original = transport._pool  # noqa: SLF001 -- as above
    url = request.url
    core = sys.modules[
        type(original).__module__.partition(".")[0]
    ]  # httpcore, or a copy of it under another name
    pool_class = getattr(core, type(original).__name__.removeprefix("Async"))
    pool = pool_class.__new__(pool_class)
    fresh_state = vars(core.ConnectionPool())
    vars(pool).update(vars(original) | {name: fresh_state[name] for name in _OWN_STATE})
    timeouts = request.extensions.get("timeout", {})
    raw = core.Request(
        method=request.method,
        url=core.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=request.headers.raw,
        content=request.content,
        extensions={"timeout": {**timeouts, "read": limit_silence(timeouts.get("read"))}},
    )
    started = time.perf_counter()
    times: list[float] = []
    chunks: list[bytes] = []
    with pool:
        response = pool.handle_request(raw)
        for chunk in response.stream:
            times.append(time.perf_counter())
            chunks.append(chunk)
        response.close()
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    return _make_answer(response.status, headers, started, times, chunks)


def send_on_connection(_: Any, open_response: Callable[[], AbstractContextManager[HTTPResponse]]) -> Answer:
    """Send a request of http.client or urllib3 on a new connection, and return the whole answer.

    Args:
        _: The connection of the client, which `open_response` has copied.
        open_response: Sends the request, and closes the connection at the end.

    Raises:
        Exception: The error of the connection: no connection, a time-out, a cut answer.
    """
    started = time.perf_counter()
    times: list[float] = []
    chunks: list[bytes] = []
    with open_response() as response:
        while chunk := response.read1():
            times.append(time.perf_counter())
            chunks.append(chunk)
        if response.length:
            raise IncompleteRead(b"", response.length)
        headers = {name.lower(): value for name, value in response.getheaders()}
    return _make_answer(response.status, headers, started, times, chunks)


def _make_answer(
    status: int, headers: Mapping[str, str], started: float, times: list[float], chunks: list[bytes]
) -> Answer:
    """Return an answer with its body decoded, and its timings.

    Args:
        status: The HTTP status.
        headers: The headers, with names in lower case.
        started: When the request was sent.
        times: When each chunk came.
        chunks: The chunks of the body, as sent.
    """
    took = round(time.perf_counter() - started, TIMING_DIGITS)
    kept = {name: value for name, value in headers.items() if name not in _DROPPED_HEADERS}
    body = b"".join(chunks)
    encoding = headers.get("content-encoding", "")
    try:
        body = decode_body(body, encoding, certain=True)
    except DocumentError:
        kept["content-encoding"] = encoding
    if not times or not is_stream(headers):
        return Answer(status, kept, body, took)
    ttft_s = round(times[0] - started, TIMING_DIGITS)
    gaps = (later - earlier for earlier, later in pairwise(times))
    return Answer(status, kept, body, took, ttft_s, gap_s=round(max(gaps, default=0.0), TIMING_DIGITS))
