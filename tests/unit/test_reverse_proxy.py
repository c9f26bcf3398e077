"""The proxy for programs in other languages: one request over a pair of sockets, with a stand-in for the real server."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from support.messages import check_message

from pytest_llmops.cassettes.clients.preset import MISSING_RECORDING
from pytest_llmops.cassettes.http import reverse_proxy
from pytest_llmops.cassettes.http.live_response import PROGRAM_LEFT_KEY
from pytest_llmops.cassettes.http.reverse_proxy import LLMProxy, _check_size, _Handler, open_proxy
from pytest_llmops.errors import BudgetReached, CassetteMiss, UsageError

HEAD = b"host: 127.0.0.1:80\r\n"


def make_client(name: str = "codex") -> Any:
    return SimpleNamespace(
        housekeeping=[("GET", "/v1/models")],
        environment=[("EXTRA", "1")],
        miss_status=418,
        read_sender=lambda headers: headers.get("user-agent") == name,
    )


def make_tape(*clients: Any) -> Any:
    return SimpleNamespace(
        config=SimpleNamespace(rules=SimpleNamespace(clients=clients), proxy_ports=set()),
        report=SimpleNamespace(notes=[], errors_elsewhere=0),
        refuse=None,
        path="a.json",
        command_again="pytest --again",
    )


@pytest.fixture
def proxy() -> Iterator[LLMProxy]:
    made = LLMProxy(make_tape(make_client()), {"OPENAI_BASE_URL": "http://localhost:9/base/v1/"})
    yield made
    made.client.close()
    made.server.server_close()


class Stream(httpx2.SyncByteStream):
    """An answer in pieces, which may end with an error."""

    def __init__(self, *parts: bytes | Exception) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[bytes]:
        for part in self.parts:
            if isinstance(part, Exception):
                raise part
            yield part


Answer = Callable[[httpx2.Request], httpx2.Response]


def answered(*parts: bytes | Exception, status: int = 200, **headers: str) -> Answer:
    listed = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return lambda _: httpx2.Response(status, headers=listed, stream=Stream(*parts))


def fail(error: Exception) -> Answer:
    def answer(_: httpx2.Request) -> httpx2.Response:
        raise error

    return answer


def send(
    proxy: LLMProxy, data: bytes, answer: Answer | None = None, *, then_ends: bool = False
) -> tuple[bytes, list[httpx2.Request]]:
    """The bytes that a program gets that sends these bytes, and then waits or ends; and the requests that went out."""
    seen: list[httpx2.Request] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        request.read()
        if answer is None:
            raise AssertionError("a request went out")
        return answer(request)

    proxy.client.close()
    proxy.client = httpx2.Client(transport=httpx2.MockTransport(handle))
    server: Any = proxy.server
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        if then_ends:
            theirs.shutdown(socket.SHUT_WR)
        server.starting.add(ours)
        type("Handler", (_Handler,), {"proxy": proxy, "disable_nagle_algorithm": False})(
            ours, ("127.0.0.1", 1), server
        )
        ours.close()
        got = b""
        while part := theirs.recv(1 << 16):
            got += part
    assert (server.starting, server.handlers) == (set(), set())
    return got, seen


def post(path: str, body: bytes = b"", *more: bytes, method: str = "POST", version: str = "1.1") -> bytes:
    lines = b"".join(line + b"\r\n" for line in more)
    length = b"content-length: %d\r\n" % len(body)
    return f"{method} {path} HTTP/{version}\r\n".encode() + HEAD + lines + length + b"\r\n" + body


def own_error(got: bytes) -> tuple[int, str]:
    """Status and message of an answer of the proxy's own, in chunks."""
    head, _, body = got.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[1:] == [
        "content-type: application/json",
        "x-should-retry: false",
        "transfer-encoding: chunked",
        "connection: close",
    ]
    size, _, rest = body.partition(b"\r\n")
    content = rest[: int(size, 16)]
    assert rest[len(content) :] == b"\r\n0\r\n\r\n"
    error = json.loads(content)
    message = error["error"].pop("message")
    assert error == {"type": "error", "error": {"type": "llm_proxy", "param": None, "code": None}}
    return int(lines[0].split()[1]), message


def test_the_environment_leads_each_sdk_to_the_proxy(proxy: LLMProxy) -> None:
    assert proxy.environment == {
        "EXTRA": "1",
        "OPENAI_BASE_URL": f"{proxy.url}/openai/base/v1",
        "OPENAI_API_BASE": f"{proxy.url}/openai/base/v1",
        "ANTHROPIC_BASE_URL": f"{proxy.url}/anthropic",
        "GOOGLE_GEMINI_BASE_URL": f"{proxy.url}/gemini",
        "CO_API_URL": f"{proxy.url}/cohere",
    }
    assert proxy.origins == {
        "openai": "http://localhost:9",
        "anthropic": "https://api.anthropic.com",
        "gemini": "https://generativelanguage.googleapis.com",
        "cohere": "https://api.cohere.com",
    }
    assert proxy.housekeeping == {("GET", "/v1/models")}
    assert proxy.url == f"http://127.0.0.1:{proxy.server.server_port}"
    assert proxy.client.timeout == httpx2.Timeout(600.0, connect=30.0)
    assert proxy.server.proxy is proxy


def test_the_status_of_a_miss_is_that_of_the_sender(proxy: LLMProxy) -> None:
    assert proxy.find_miss_status({"User-Agent": "codex"}) == 418
    assert proxy.find_miss_status({"User-Agent": "other"}) == MISSING_RECORDING


def test_httpx_stands_in_for_a_missing_httpx2(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"httpx2", "httpx"}

    def find(name: str) -> str:
        if name not in installed:
            raise ModuleNotFoundError(name)
        return name

    monkeypatch.setattr(reverse_proxy, "import_module", find)
    assert reverse_proxy._import_httpx() == "httpx2"
    installed.remove("httpx2")
    assert reverse_proxy._import_httpx() == "httpx"
    installed.clear()
    with pytest.raises(UsageError, check=check_message):
        reverse_proxy._import_httpx()


def test_a_request_goes_on_as_it_came_and_its_answer_comes_back_in_chunks(proxy: LLMProxy) -> None:
    answer = answered(b"one", b"two!", x_id="7", connection="keep-alive", content_length="7")
    got, [request] = send(
        proxy,
        post("/openai/v1/chat?x=1", b"question", b"X-Key: \xe4", b"te: trailers", b"Accept-Encoding: br"),
        answer,
    )
    assert (request.method, str(request.url)) == ("POST", "http://localhost:9/v1/chat?x=1")
    assert request.content == b"question"
    assert [
        pair for pair in request.headers.raw if pair[0].lower() in (b"x-key", b"te", b"accept-encoding")
    ] == [
        (b"X-Key", b"\xe4"),
        (b"Accept-Encoding", b"br"),
    ]
    assert not request.extensions[PROGRAM_LEFT_KEY].is_set()
    assert got == (
        b"HTTP/1.1 200 OK\r\nx-id: 7\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        b"3\r\none\r\n4\r\ntwo!\r\n0\r\n\r\n"
    )


def test_a_program_of_http_1_0_gets_the_body_as_it_is(proxy: LLMProxy) -> None:
    got, [request] = send(proxy, post("/cohere", version="1.0", method="GET"), answered(b"one", b"two"))
    assert str(request.url) == "https://api.cohere.com"
    assert request.headers["accept-encoding"] == "identity"
    assert got == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nonetwo"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_answer_without_a_body_has_no_chunks(proxy: LLMProxy, method: str, status: int) -> None:
    got, _ = send(proxy, post("/cohere/x", method=method), answered(status=status))
    head, _, body = got.partition(b"\r\n\r\n")
    assert (head.split()[1], body) == (b"%d" % status, b"")
    assert head.split(b"\r\n")[1:] == [b"connection: close"]


@pytest.mark.parametrize(
    "body",
    [b"4\r\nques\r\n4\r\ntion\r\n0\r\n\r\n", b"8;x=1\r\nquestion\r\n0\r\ntrailer: 1\r\n\r\n"],
)
def test_a_body_in_chunks_goes_on_whole(proxy: LLMProxy, body: bytes) -> None:
    data = b"POST /openai/v1/chat HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: Chunked\r\n\r\n" + body
    _, [request] = send(proxy, data, answered(b"x"))
    assert request.content == b"question"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (post("http://api.openai.com/v1/chat", method="GET"), 404),
        (post("api.openai.com:443", method="CONNECT"), 404),
        (post("/elsewhere/v1"), 404),
        (post("/openai/v1/realtime", b"", b"Upgrade: WebSocket", method="GET"), 426),
        (b"POST /openai/x HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", 400),
        (b"POST /openai/x HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        ("POST /openai/x HTTP/1.1\r\ncontent-length: \xb2\r\n\r\n".encode("latin-1"), 400),
        (b"POST /openai/x HTTP/1.1\r\ncontent-length: 536870913\r\n\r\n", 400),
        (b"POST /openai/x HTTP/1.1\r\ncontent-length: 1234\r\n\r\nabc", 400),
        (b"POST /openai/x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", 400),
        ("POST /openai/\xe4 HTTP/1.1\r\n\r\n".encode("latin-1"), 400),
        (b"POST /openai/\x01 HTTP/1.1\r\n\r\n", 400),
        (b"BREW /openai/x HTTP/1.1\r\n\r\n", 501),
    ],
)
def test_a_request_that_cannot_go_on_is_refused(proxy: LLMProxy, data: bytes, status: int) -> None:
    got, seen = send(proxy, data, then_ends=True)
    found, message = own_error(got)
    assert (found, seen) == (status, [])
    check_message(message)
    assert proxy.tape.report.errors_elsewhere == 0


@pytest.mark.slow
def test_a_request_of_housekeeping_is_answered_here(proxy: LLMProxy) -> None:
    got, seen = send(proxy, post("/openai/v1/models?page=2", method="GET"))
    assert got.endswith(b"\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert seen == []
    got, _ = send(proxy, post("/openai/v1/models", method="HEAD"), answered(status=201))
    assert got.startswith(b"HTTP/1.1 201 ")


@pytest.mark.parametrize("error", [CassetteMiss("nothing recorded"), BudgetReached("no money left")])
def test_a_miss_reaches_the_program_and_is_counted(proxy: LLMProxy, error: Exception) -> None:
    got, _ = send(proxy, post("/openai/v1/x", b"", b"user-agent: codex"), fail(error))
    assert own_error(got) == (418, str(error))
    assert proxy.tape.report.errors_elsewhere == 1


def test_a_server_that_does_not_answer_is_a_bad_gateway(proxy: LLMProxy) -> None:
    got, _ = send(proxy, post("/openai/v1/x"), fail(httpx2.ConnectError("refused")))
    status, message = own_error(got)
    assert status == 502
    check_message(message)
    assert proxy.tape.report.errors_elsewhere == 0


def test_an_answer_that_breaks_off_breaks_off_for_the_program_too(proxy: LLMProxy) -> None:
    got, [request] = send(proxy, post("/openai/v1/x"), answered(b"one", httpx2.ReadError("reset")))
    assert got.endswith(b"\r\n\r\n3\r\none\r\n")
    assert not request.extensions[PROGRAM_LEFT_KEY].is_set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "leaves", "misses"), [("1.0", False, 1), ("1.0", True, 0), ("1.1", False, 0)]
)
def test_a_program_that_reads_on_after_the_recording_is_a_miss(
    proxy: LLMProxy, monkeypatch: pytest.MonkeyPatch, version: str, leaves: bool, misses: int
) -> None:
    waited: list[float] = []
    refused: list[str] = []
    monkeypatch.setattr(proxy.tape, "refuse", refused.append)

    def wait(_: object, seconds: float) -> list[int]:
        if seconds == reverse_proxy.WATCH_S:  # of the thread that watches the program
            return []
        waited.append(seconds)
        return [1] if leaves else []

    monkeypatch.setattr(reverse_proxy, "wait", wait)
    answer = answered(b"one", httpx2.ReadTimeout("left here"))
    got, _ = send(proxy, post("/openai/v1/x", version=version), answer)
    assert b"one" in got
    assert b"llm_proxy" not in got
    assert waited == ([1.0] if version == "1.0" else [])
    assert (len(refused), proxy.tape.report.errors_elsewhere) == (misses, misses)
    for text in refused:
        check_message(text)


def test_a_program_that_goes_away_ends_the_call_to_the_server(proxy: LLMProxy) -> None:
    def leave(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, stream=Stream(b"one", BrokenPipeError("gone")))

    got, [request] = send(proxy, post("/openai/v1/x"), leave)
    assert request.extensions[PROGRAM_LEFT_KEY].is_set()
    assert got.endswith(b"3\r\none\r\n")


def bare_handler(connection: Any = None) -> Any:
    handler: Any = object.__new__(_Handler)
    handler._left = threading.Event()
    handler._streams = []
    handler.connection = connection
    return handler


def make_stream() -> tuple[Any, socket.socket]:
    """The end of a connection to the server, as httpx shows it, and the server's end."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    return SimpleNamespace(get_extra_info={"socket": ours}.get, close=ours.close), theirs


def test_the_connection_to_the_server_is_cut_once_the_program_has_left() -> None:
    handler = bare_handler()
    first, first_server = make_stream()
    second, second_server = make_stream()
    with first_server, second_server:
        handler._keep_stream("connection.connect_tcp.started", {"return_value": "none"})
        handler._keep_stream("connection.connect_tcp.complete", {"return_value": first})
        assert handler._streams == [first]
        handler._left.set()
        handler._keep_stream("connection.start_tls.complete", {"return_value": second})
        assert handler._streams == [first, second]
        assert (first_server.recv(1), second_server.recv(1)) == (b"", b"")
        first.close()
        second.close()
        handler._cut_streams()  # closed connections are no error


@pytest.mark.parametrize(("sends", "leaves"), [(b"", True), (b"more", False)])
def test_a_program_has_left_when_its_connection_ends(sends: bytes, leaves: bool) -> None:
    ours, theirs = socket.socketpair()
    stream, server = make_stream()
    with ours, theirs, server:
        handler = bare_handler(ours)
        handler._streams.append(stream)
        theirs.sendall(sends)
        theirs.shutdown(socket.SHUT_WR)
        handler._watch_program(threading.Event())
        assert handler._left.is_set() is leaves
        server.setblocking(False)
        if leaves:
            assert server.recv(1) == b""
        else:
            with pytest.raises(BlockingIOError):
                server.recv(1)
        stream.close()


def test_a_program_that_has_its_answer_has_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    over.set()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        handler = bare_handler(ours)
        monkeypatch.setattr(reverse_proxy, "WATCH_S", 0)
        handler._watch_program(over)
        theirs.close()
        handler._watch_program(over)
    handler._watch_program(over)  # its connection is closed
    assert not handler._left.is_set()
    handler._watch_program(threading.Event())
    assert handler._left.is_set()


def test_a_request_that_stalls_is_refused() -> None:
    handler = bare_handler()
    handler.path = "/openai"
    handler.headers = {"content-length": "3"}

    def read(_: int) -> bytes:
        raise TimeoutError

    handler.rfile = SimpleNamespace(read=read)
    with pytest.raises(ValueError, check=check_message):
        handler._read_body()


def test_a_body_of_the_largest_size_is_accepted() -> None:
    _check_size(512 * 1024**2)
    with pytest.raises(ValueError, check=check_message):
        _check_size(512 * 1024**2 + 1)


class Request:
    """A request of a program while its test ends."""

    def __init__(self, server: Any, *, is_received: bool, stays: int) -> None:
        self.server = server
        self.is_received = is_received
        self.stays = stays
        self.cuts = 0

    def cut_off(self) -> None:
        self.cuts += 1
        if self.cuts > self.stays:
            self.server.handlers.discard(self)


@pytest.mark.parametrize(("count", "cuts"), [(0, 0), (1, 1), (2, 1)])
def test_the_end_of_the_test_waits_for_answers_and_then_cuts_them(
    proxy: LLMProxy, monkeypatch: pytest.MonkeyPatch, count: int, cuts: int
) -> None:
    server: Any = proxy.server
    half = Request(server, is_received=False, stays=9)
    listed = [half] + [Request(server, is_received=True, stays=9) for _ in range(count)]
    server.handlers = set(listed)
    waits: list[float] = []

    def wait_for(is_over: Callable[[], bool], seconds: float) -> bool:
        waits.append(seconds)
        server.handlers.discard(half)
        server.starting.add(1)
        assert not is_over()
        server.starting.clear()
        return is_over()

    monkeypatch.setattr(server.changed, "wait_for", wait_for)
    server.end_requests()
    assert server.is_ending
    assert waits == [30.0]
    assert [request.cuts for request in listed] == [1] + [cuts] * count
    assert len(proxy.tape.report.notes) == cuts
    for note in proxy.tape.report.notes:
        check_message(note)


def test_a_request_that_comes_while_the_test_ends_is_cut_off(proxy: LLMProxy) -> None:
    server: Any = proxy.server
    server.is_ending = True
    got, [request] = send(proxy, post("/openai/v1/x"), answered(b"one"))
    assert got == b""
    assert request.extensions[PROGRAM_LEFT_KEY].is_set()


@pytest.mark.slow
def test_an_open_proxy_answers_until_its_block_ends() -> None:
    tape = make_tape(make_client())
    with open_proxy(tape, {}) as proxy:
        port = proxy.server.server_address[1]
        assert tape.config.proxy_ports == {port}
        with socket.create_connection(("127.0.0.1", port)) as program:
            program.sendall(post("/openai/v1/models", method="GET"))
            with program.makefile("rb") as file:
                assert file.read().endswith(b"{}\r\n0\r\n\r\n")
    assert tape.config.proxy_ports == set()
    assert proxy.client.is_closed
    assert proxy.server.fileno() == -1
    assert tape.report.notes == []


def test_a_connection_is_listed_before_its_thread_starts(
    proxy: LLMProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: Any = proxy.server
    listed: list[Any] = []
    monkeypatch.setattr(
        ThreadingHTTPServer,
        "process_request",
        lambda *parts: listed.append((set(server.starting), parts[1:])),
    )
    server.process_request("connection", "address")
    assert listed == [({"connection"}, ("connection", "address"))]
    monkeypatch.setattr(ThreadingHTTPServer, "shutdown_request", lambda *parts: listed.append(parts[1:]))
    server.shutdown_request("connection")
    assert (server.starting, listed[1:]) == (set(), [("connection",)])


def test_a_new_request_has_not_come_whole(proxy: LLMProxy) -> None:
    server: Any = proxy.server
    ours, theirs = socket.socketpair()
    with ours, theirs:
        handler = bare_handler()
        handler.request, handler.server, handler.disable_nagle_algorithm = ours, server, False
        handler.setup()
        assert (handler.is_received, handler.close_connection, server.handlers) == (False, True, {handler})
        handler.finish()
        assert server.handlers == set()
