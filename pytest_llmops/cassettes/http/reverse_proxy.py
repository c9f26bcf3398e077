"""A reverse proxy on this machine, through which programs in any language are recorded and replayed.

It sends each request on from this process, where the tape of the running test records or replays it under the address
of the real server. So a recording made with a Python SDK also answers the same request from a program in another
language.
"""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from multiprocessing.connection import wait
from typing import Any
from urllib.parse import urlsplit

from pytest_llmops.cassettes.clients.preset import MISSING_RECORDING
from pytest_llmops.cassettes.http.http_client import BodyFraming
from pytest_llmops.cassettes.http.live_response import PROGRAM_LEFT_KEY
from pytest_llmops.cassettes.http.vcr_adapter import reason_phrase
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.errors import BudgetReached, CallDeferred, CassetteMiss, RetriedForEver, UsageError

# For the first part of the path in a request to the proxy: the address of the server, and the environment variables
# from which the vendor's SDKs read that address
SERVERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "openai": ("https://api.openai.com/v1", ("OPENAI_BASE_URL", "OPENAI_API_BASE")),
    "anthropic": ("https://api.anthropic.com", ("ANTHROPIC_BASE_URL",)),
    "gemini": ("https://generativelanguage.googleapis.com", ("GOOGLE_GEMINI_BASE_URL",)),
    "cohere": ("https://api.cohere.com", ("CO_API_URL",)),
}
WATCH_S = 0.05  # how often the thread that watches a program checks whether its request is answered
LEAVE_S = 1.0  # time limit for a program to leave a replayed stream that it had left when it was recorded
READ_TIMEOUT_S = 600.0  # time limit for the next byte of an answer, as in the SDKs
END_S = 30.0  # time limit, after the test, for the answers that are still being passed on
# Of a request, which is held in memory; the largest upload that a vendor accepts
MAX_BODY_BYTES = 512 * 1024**2
MAX_LINE_BYTES = 65_536  # of a body in chunks that are read at once
UNREACHABLE = 502
OK = 200
NOT_FOUND = 404
BAD_REQUEST = 400
# For a WebSocket: clients that can go on over HTTP do so at once
UPGRADE_REQUIRED = 426
# Headers that belong to a single connection
HOP_HEADERS = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade", "content-length", "host", "expect"}
)  # fmt: skip


class LLMProxy:
    """A running proxy.

    Attributes:
        tape: The tape of the test.
        httpx: The module of `client`, see `_import_httpx`.
        client: Sends the requests on; its calls are recorded and replayed like calls of the test.
        server: Receives the requests of the programs.
        url: The proxy's address, without a path.
        environment: The environment variables that direct SDKs to the proxy, for the programs that a test starts.
        origins: Scheme and host of the real server, by the first part of the path.
        housekeeping: Method and path of requests of the clients in ``llm_clients`` that are answered here.
    """

    def __init__(self, tape: Tape, environ: Mapping[str, str]) -> None:
        self.tape = tape
        self.httpx = _import_httpx()
        self.client = self.httpx.Client(
            timeout=self.httpx.Timeout(READ_TIMEOUT_S, connect=30.0),
            # A connection for each request, which can be cut when its program leaves.
            limits=self.httpx.Limits(max_keepalive_connections=0),
        )
        self.server = _Server(self)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        clients = tape.config.rules.clients
        self.housekeeping = {request for client in clients for request in client.housekeeping}
        self.environment = {name: value for client in clients for name, value in client.environment}
        self.origins: dict[str, str] = {}
        for name, (default, variables) in SERVERS.items():
            configured = [environ[variable] for variable in variables if environ.get(variable)]
            parts = urlsplit((configured or [default])[0])
            self.origins[name] = f"{parts.scheme}://{parts.netloc}"
            address = f"{self.url}/{name}{parts.path.rstrip('/')}"
            for variable in variables:
                self.environment[variable] = address

    def find_miss_status(self, headers: Mapping[str, str]) -> int:
        """Return the status for a missing recording, after which the sender of these headers does not ask again."""
        lower_headers = {name.lower(): value for name, value in headers.items()}
        for client in self.tape.config.rules.clients:
            if client.read_sender(lower_headers):
                return client.miss_status
        return MISSING_RECORDING


def _import_httpx() -> Any:
    """Return httpx2, or httpx where httpx2 is not installed; the proxy uses only parts that both have.

    openai brings one of them along: httpx2 from version 3 on, httpx before.

    Raises:
        UsageError: Neither is installed.
    """
    for name in ("httpx2", "httpx"):
        with suppress(ModuleNotFoundError):
            return import_module(name)
    raise UsageError("llm_proxy needs httpx2 or httpx to send requests on, got neither: pip install httpx")


@contextmanager
def open_proxy(tape: Tape, environ: Mapping[str, str]) -> Iterator[LLMProxy]:
    """Run a proxy for the tape of a test.

    Args:
        tape: The tape; requests of this process to the proxy itself are not recorded twice.
        environ: May name other servers than the vendors' own.
    """
    proxy = LLMProxy(tape, environ)
    port = proxy.server.server_address[1]
    tape.config.proxy_ports.add(port)
    threading.Thread(target=proxy.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        with proxy.client, proxy.server:  # closed also if the wait for the requests is interrupted
            try:
                yield proxy
            finally:
                proxy.server.shutdown()
                proxy.server.end_requests()
    finally:
        tape.config.proxy_ports.discard(port)


class _Server(ThreadingHTTPServer):
    """Receives the requests of the programs, each in a thread of its own.

    Attributes:
        proxy: The proxy that passes them on.
        starting: Accepted connections whose handlers are not set up yet.
        handlers: The requests that are being received or answered.
        is_ending: Whether the test is over, so that no further request is received.
        changed: Guards these three; notified when a request has ended.
    """

    daemon_threads = False  # the end of the test waits for answers that are being recorded
    request_queue_size = 1024  # with the 5 of the standard library, many requests at once are reset

    def __init__(self, proxy: LLMProxy) -> None:
        self.proxy = proxy
        self.starting: set[Any] = set()
        self.is_ending = False
        self.handlers: set[_Handler] = set()
        self.changed = threading.Condition()
        super().__init__(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy}))

    def process_request(self, request: Any, client_address: Any) -> None:
        """List a connection before the thread of its request starts, so that `end_requests` knows of it."""
        with self.changed:
            self.starting.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, also one whose handler could not be set up."""
        with self.changed:
            self.starting.discard(request)
            self.changed.notify_all()
        super().shutdown_request(request)

    def end_requests(self) -> None:
        """End the open requests, so that no program can hold up the end of the test.

        A request that has not come whole is cut off at once, since nothing was sent on. An answer gets `END_S` seconds,
        because it may be recorded; then it ends as if the program had left, and a note reports it.
        """
        with self.changed:
            self.is_ending = True  # a handler that is set up from now on cuts itself off
            for handler in self.handlers:
                if not handler.is_received:
                    handler.cut_off()
            if self.changed.wait_for(lambda: not self.starting and not self.handlers, END_S):
                return
            for handler in self.handlers:
                handler.cut_off()
            count = len(self.handlers)
        self.proxy.tape.report.notes.append(
            f"llm_proxy cut off {count} {'answer' if count == 1 else 'answers'} that a program was still receiving"
            f" {END_S:g} s after the test: let the test wait for its programs, or end them"
        )


class _Handler(BaseHTTPRequestHandler):
    """Passes on a single request: a connection that stays open would keep its thread.

    Attributes:
        is_received: Whether the request has come whole.
        _started: Whether the head of the answer was sent.
        _left: Set when the program has closed its connection.
        _streams: The connections to the server, to be cut when the program leaves.
        _bodiless, _chunked: How the answer is sent; set with its head.
    """

    proxy: LLMProxy
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 20  # seconds that a client may take between two bytes: a stalled one must not keep its thread

    def setup(self) -> None:
        """Prepare the connection, and list the request with the server's."""
        super().setup()
        self.close_connection = True
        self.is_received = False
        self._started = False
        self._left = threading.Event()
        self._streams: list[Any] = []
        with self.server.changed:
            self.server.starting.discard(self.request)
            self.server.handlers.add(self)
            if self.server.is_ending:
                self.cut_off()

    def finish(self) -> None:
        """End the request, and take it from the server's list."""
        super().finish()
        with self.server.changed:
            self.server.handlers.discard(self)
            self.server.changed.notify_all()

    def cut_off(self) -> None:
        """Cut the connections to the program and to the server; the thread of the request ends then."""
        self._left.set()
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self._cut_streams()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name in the standard library
        """Print nothing: an address may hold a key."""

    def _pass_on(self) -> None:
        """Answer a request of any method: pass it on, or refuse it with an error in JSON."""
        self.close_connection = True
        if self.command == "CONNECT" or self.path.startswith(("http://", "https://")):
            self._send_error(
                NOT_FOUND,
                "llm_proxy: expected a request to the base URL of a vendor, got one for HTTP_PROXY or HTTPS_PROXY: unset"
                f" these, and give the client a base URL, such as {self.proxy.environment['OPENAI_BASE_URL']}",
            )
            return
        name, slash, rest = self.path.lstrip("/").partition("/")
        origin = self.proxy.origins.get(name)
        if origin is None:
            known = ", ".join(sorted(self.proxy.origins))
            self._send_error(
                NOT_FOUND, f"llm_proxy: expected a path that begins with one of {known}, got {self.path}"
            )
            return
        if self.headers.get("upgrade", "").lower() == "websocket":
            self._send_error(
                UPGRADE_REQUIRED,
                "llm_proxy: passes on HTTP, not WebSockets: let the client call the model over HTTP",
            )
            return
        try:
            body = self._read_body()
        except ValueError as error:
            self._send_error(BAD_REQUEST, f"llm_proxy: cannot pass on a request: {error}")
            return
        self.is_received = True
        if (self.command, f"/{rest.partition('?')[0]}") in self.proxy.housekeeping:
            self._send_json(OK, {})
            return
        self._pass_on_to(origin, f"{slash}{rest}", body)

    def _pass_on_to(self, origin: str, path: str, body: bytes) -> None:
        """Answer a request with the answer of the real server, or with an error in JSON.

        Args:
            origin: Scheme and host of the server.
            path: Path and query there.
            body: The body of the request.
        """
        answered = threading.Event()
        try:
            self._answer(f"{origin}{path}", body, answered)
        except (CassetteMiss, BudgetReached, RetriedForEver, CallDeferred) as error:
            self.proxy.tape.report.errors_elsewhere += 1
            self._send_error(self.proxy.find_miss_status(dict(self.headers)), str(error))
        except self.proxy.httpx.ReadTimeout:
            # The program had left at this point when it was recorded, and is cut off now.
            self._refuse_reading_on()
        except self.proxy.httpx.RequestError as error:
            self._send_error(
                UNREACHABLE, f"llm_proxy: {origin} did not answer: {type(error).__name__}: {error}"
            )
        except OSError:  # the program went away
            pass
        finally:
            answered.set()

    def _refuse_reading_on(self) -> None:
        """Count a miss if the program reads on in a replayed stream that it had left when it was recorded.

        Only needed without chunks: in chunks the program notices itself that the answer was cut.
        """
        if not self._started or self._chunked or wait([self.connection], LEAVE_S):
            return
        tape = self.proxy.tape
        tape.refuse(
            f"cassette {tape.path}: a program left a stream early when it was recorded, and now reads more"
            f" of it than is recorded; record it again: {tape.command_again}"
        )
        tape.report.errors_elsewhere += 1

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_CONNECT = _pass_on  # noqa: N815 -- as above

    def _answer(self, url: str, body: bytes, answered: threading.Event) -> None:
        """Send a request to the real server, and its answer to the program, piece by piece.

        Args:
            url: The address at the real server.
            body: The body of the request.
            answered: Set by the caller once the request is answered.

        Raises:
            OSError: The program went away.
        """
        headers = [
            (
                name.encode("latin-1"),
                value.encode("latin-1"),
            )  # as it came: our client would refuse other letters
            for name, value in self.headers.items()
            if name.lower() not in HOP_HEADERS
        ]
        if "accept-encoding" not in self.headers:  # otherwise our client would add its own
            headers.append((b"accept-encoding", b"identity"))
        threading.Thread(target=self._watch_program, args=(answered,), daemon=True).start()
        with self.proxy.client.stream(
            self.command,
            url,
            headers=headers,
            content=body or None,
            extensions={"trace": self._keep_stream, PROGRAM_LEFT_KEY: self._left},
        ) as response:
            try:
                self._send_head(response.status_code, response.headers.multi_items())
                for chunk in response.iter_raw():
                    self._send_chunk(chunk)
            except OSError:
                self._left.set()
                raise
        if not self._bodiless:
            self._send_chunk(b"")

    def _keep_stream(self, name: str, info: Mapping[str, Any]) -> None:
        """Keep a new connection to the server, so that it can be cut if the program leaves.

        The client calls this with each of its events.
        """
        if name.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._streams.append(info["return_value"])
            if self._left.is_set():
                self._cut_streams()

    def _cut_streams(self) -> None:
        """Shut down the connections to the server."""
        for stream in self._streams:
            # Not with the `shutdown` of a TLS socket: another thread may be reading from it.
            with suppress(OSError):
                socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)

    def _watch_program(self, answered: threading.Event) -> None:
        """Cut the call to the server when the program leaves, for instance because its time limit is over."""
        try:
            while not wait([self.connection], WATCH_S):
                if answered.is_set():
                    return
            if self.connection.recv(1, socket.MSG_PEEK):  # it sends more, so it is there
                return
        except (OSError, ValueError):  # reset; or closed, as the request is answered
            pass
        if not answered.is_set():
            self._left.set()
            self._cut_streams()

    def _read_body(self) -> bytes:
        """Return the body of the request.

        Raises:
            ValueError: It does not come whole, is too long, or the request is not valid HTTP.
        """
        if not self.path.isascii() or not self.path.isprintable():
            raise ValueError(f"expected a path of printable ASCII characters, got {self.path!r}")
        try:
            return b"".join(self._iterate_body())
        except TimeoutError:
            raise ValueError(f"no byte of its body came for {self.timeout} s") from None

    def _iterate_body(self) -> Iterator[bytes]:
        """Yield the parts of the body of the request.

        Raises:
            ValueError: It does not come whole, is too long, or its length is not valid.
            TimeoutError: The next part does not come.
        """
        coding = self.headers.get("transfer-encoding", "").strip().lower()
        if coding == "chunked":
            yield from self._iterate_chunks()
            return
        if coding:
            raise ValueError(f"transfer-encoding: expected chunked, got {coding[:40]!r}")
        stated = (self.headers.get("content-length") or "0").strip()
        if not (stated.isascii() and stated.isdecimal()):
            raise ValueError(f"content-length: expected a whole number, got {stated[:40]!r}")
        length = int(stated)
        _check_size(length)
        body = self.rfile.read(length)
        if len(body) < length:
            raise ValueError(
                f"expected a body of {length:,} bytes, got {len(body):,}, then the end of the connection"
            )
        yield body

    def _iterate_chunks(self) -> Iterator[bytes]:
        """Yield the parts of a body that comes in chunks.

        Raises:
            ValueError: It does not come whole, or is too long.
            TimeoutError: The next part does not come.
        """
        size = 0
        framing = BodyFraming(None, chunked=True)
        while not framing.done:
            line = self.rfile.readline(MAX_LINE_BYTES)
            if not line:
                raise ValueError(f"expected a last chunk, got the end of the connection after {size:,} bytes")
            part = framing.feed(line)
            size += len(part)
            _check_size(size)
            yield part

    def _send_head(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Send status and headers, and note whether a body follows and whether it is sent in chunks."""
        self._started = True
        self._bodiless = self.command == "HEAD" or status in (204, 304)
        self._chunked = self.request_version == "HTTP/1.1" and not self._bodiless
        self.send_response_only(status, reason_phrase(status))
        for name, value in headers:
            if name.lower() not in HOP_HEADERS:
                self.send_header(name, value)
        if self._chunked:
            self.send_header("transfer-encoding", "chunked")
        self.send_header("connection", "close")
        self.end_headers()

    def _send_chunk(self, chunk: bytes) -> None:
        """Send a part of the body at once; an empty part ends a body in chunks."""
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        self.wfile.write(chunk)

    def _send_error(self, status: int, message: str) -> None:
        """Send an error in JSON, unless the answer has begun: then it breaks off."""
        if self._started:
            return
        # In the form of OpenAI's and of Anthropic's errors.
        error: dict[str, Any] = {"message": message, "type": "llm_proxy", "param": None, "code": None}
        self._send_json(status, {"type": "error", "error": error})

    def _send_json(self, status: int, content: Mapping[str, Any]) -> None:
        """Send an answer of the proxy's own."""
        with suppress(OSError):
            self._send_head(status, [("content-type", "application/json"), ("x-should-retry", "false")])
            if not self._bodiless:
                self._send_chunk(json.dumps(content).encode())
                self._send_chunk(b"")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer input that the standard library cannot read as a request; the answer has the form of our other errors, not HTML."""
        detail = message or explain or reason_phrase(code)
        self._send_error(
            code, f"llm_proxy: expected a request in HTTP/1.1, got something else: {detail[:200]}"
        )


def _check_size(size: int) -> None:
    """Check the size of a request's body.

    Raises:
        ValueError: It is too long.
    """
    if size > MAX_BODY_BYTES:
        raise ValueError(f"expected a body of at most {MAX_BODY_BYTES:,} bytes, got at least {size:,}")
