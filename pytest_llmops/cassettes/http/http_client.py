"""Recording and replay for connections of http.client, urllib3, requests, botocore and httplib2.

vcrpy replaces a connection by a stub, which gets the whole request before it is sent. We use these stubs, but not
vcrpy's responses, which are made after the whole answer was read. Here the real connection makes the response: a live
answer is recorded while the application reads it, and a recorded answer is read from an object that replaces the
socket. So a stream is passed on while it is recorded, and replayed event by event.
"""

import builtins
import copy
import http.client
import io
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial, partialmethod
from types import SimpleNamespace
from typing import Any

from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.http import fault_pauses, live_response, vcr_adapter
from pytest_llmops.cassettes.outcome import Outcome
from pytest_llmops.cassettes.patch import Patch
from pytest_llmops.cassettes.request_key import Answer
from pytest_llmops.cassettes.tape import Tape


class BodyFraming:
    r"""Finds the end of a body on a connection that stays open.

    Args:
        length: The length of the body in the headers; None: it comes in chunks, or ends with the connection.
        chunked: Whether it comes in chunks.

    Attributes:
        done: Whether the end of the body was reached; always False for a body that ends with the connection.

    >>> body = BodyFraming(3)
    >>> body.feed(b"ab"), body.done, body.feed(b"c"), body.done
    (b'ab', False, b'c', True)
    >>> body = BodyFraming(None, chunked=True)
    >>> body.feed(b"3\r\nab"), body.feed(b"c\r\n0\r\n"), body.done, body.feed(b"\r\n"), body.done
    (b'ab', b'c', False, b'', True)
    """

    def __init__(self, length: int | None, *, chunked: bool = False) -> None:
        self.done = length == 0
        self._chunked = chunked
        self._in_trailer = False
        self._left = length or 0  # bytes that are missing of the body or of the chunk
        self._line = b""  # the beginning of a line whose end has not come yet

    def feed(self, data: bytes) -> bytes:
        """Return the part of the received bytes that belongs to the body; errors are tolerated, as in http.client."""
        if not (self._chunked or self._left):  # the body ends with the connection, or is complete
            return data
        parts: list[bytes] = []
        source = io.BytesIO(data)
        while not self.done and source.tell() < len(data):
            if self._left:
                parts.append(source.read(min(self._left, len(data))))
                self._left -= len(parts[-1])
                self.done = not (self._left or self._chunked)
                continue
            self._line += source.readline()
            if self._line.endswith(b"\n"):
                self._end_line(self._line.strip())
                self._line = b""
        return b"".join(parts)

    def _end_line(self, line: bytes) -> None:
        """Interpret a whole line between two chunks, or after the last one."""
        if self._in_trailer:
            self.done = not line
            return
        # The empty line after a chunk is not a number. Any other invalid line is an error in the client.
        with suppress(ValueError):
            self._left = int(line.partition(b";")[0], 16)
            self._in_trailer = not self._left


# Attribute that we set on vcrpy's stub: the arguments of `request` that vcrpy does not keep
_EXTRA_ARGUMENTS = "_llmops_how"
_BODILESS_STATUSES = frozenset({204, 304})
# Kept here because vcrpy and mocks replace them
_real_getresponse = http.client.HTTPConnection.getresponse
_real_socket = socket.socket
# Attributes that a copied connection must not share with its original, with their initial values
_OWN_STATE = {"sock": None, "_HTTPConnection__response": None, "_HTTPConnection__state": "Idle"}


def connection_patches() -> Iterator[Patch]:
    """Yield the patches of vcrpy's connections."""
    import vcr.stubs

    yield Patch(vcr.stubs.VCRConnection, "request", _wrap_request)
    yield Patch(vcr.stubs.VCRConnection, "connect", lambda _: _defer_connect)
    yield Patch(vcr.stubs.VCRConnection, "getresponse", lambda _: _replay_or_send)
    try:
        from vcr.stubs import urllib3_stubs
    except ImportError:
        return
    yield Patch(urllib3_stubs._VCRRequestsConnectionMixin, "getresponse", lambda _: _replay_or_send)  # noqa: SLF001 -- its name


def _wrap_request(real: Callable[..., None]) -> Callable[..., None]:
    """Wrap `request` of vcrpy's stub: the arguments that vcrpy drops are kept for the real request."""

    def request(
        stub: Any, method: str, url: str, body: Any = None, headers: Any = None, *args: Any, **extra: Any
    ) -> None:
        real(stub, method, url, body, headers, *args)
        vars(stub)[_EXTRA_ARGUMENTS] = extra

    return request


def _defer_connect(stub: Any, *args: Any, **extra: Any) -> None:
    """Defer the connection until a request is sent: a replayed request needs no server."""
    vars(stub)["_deferred_connect"] = (args, extra)


def _replay_or_send(stub: Any, *_: Any, **__: Any) -> Any:
    """Return the response to the stub's request: replayed, or live and recorded while it is read.

    It replaces `getresponse` of vcrpy's stub.
    """
    request = stub._vcr_request  # noqa: SLF001 -- vcrpy's
    extra = vars(stub).pop(_EXTRA_ARGUMENTS, {})
    tape = vcr_adapter.tape_for(request)
    if tape is None:
        return _send_request(stub, extra)
    outgoing = None
    if tape.collects:
        outgoing = _copy_call(stub, extra)
    token = active_tape.outgoing_request.set(outgoing)
    try:
        answer = vcr_adapter.claim_answer(tape, request)
        if answer is not None and fault_pauses.is_pause(answer):
            question = vcr_adapter.question_for(tape, request)
            if fault_pauses.wait_out(tape, question, answer, _find_read_limit(stub.real_connection)):
                answer = vcr_adapter.claim_answer(tape, request, after_fault=True)
    finally:
        active_tape.outgoing_request.reset(token)
    if answer is not None:
        return _replay_answer(stub, extra, tape, answer)
    slot = live_response.wait_for_slot(tape, vcr_adapter.question_for(tape, request).address)
    live = vcr_adapter.begin_answer(tape, request, slot)
    try:
        with _record_responses(stub.real_connection, live):
            return _send_request(stub, extra, is_live=True)
    except BaseException as error:
        live.give_up(error)
        raise


def _replay_answer(stub: Any, extra: dict[str, Any], tape: Tape, answer: Answer) -> Any:
    """Return the response that the real connection creates from a recorded answer."""
    request = stub._vcr_request  # noqa: SLF001 -- vcrpy's
    question = vcr_adapter.question_for(tape, request)
    claimed = None
    if answer.asked_ahead:
        claimed = live_response.ClaimedAnswer(tape, question, answer)
    else:
        live_response.report_replay(question, answer)
    real = stub.real_connection
    outcome = answer.outcome
    make_error = None
    # For an IncompleteRead, the replayed answer is cut off, and the client finds that by itself.
    if outcome is not None and outcome.error != "IncompleteRead":
        make_error = partial(_make_error, real, tape, outcome)
    if make_error is not None and not answer.status:
        raise make_error()
    real.sock = _ReplaySocket(_render_response(answer, request.method, claimed), make_error, claimed)
    try:
        real.request(request.method, "/", **extra)
        return real.getresponse()
    finally:
        # Connection pools check whether a socket is open.
        real.sock = None
        vars(stub)["_sock"] = None


@contextmanager
def _record_responses(real: Any, live: live_response.LiveAnswer) -> Iterator[None]:
    """Let a connection make responses that are recorded while they are read, while the block runs."""
    make = real.response_class
    # botocore restores the class from its second attribute whenever it sends.
    names = ("response_class", "_original_response_cls")
    before = {name: vars(real)[name] for name in names if name in vars(real)}
    for name in {"response_class", *before}:
        setattr(real, name, partial(_make_recording_response, make, live))
    try:
        yield
    finally:
        del real.response_class
        vars(real).update(before)


def _make_error(real: Any, tape: Tape, outcome: Outcome) -> BaseException:
    """Return the exception of a recorded outcome, for the client to raise."""
    if outcome.kind == "connect" and hasattr(
        real, "_new_conn"
    ):  # a connection of urllib3, or of a copy of it
        from urllib3.exceptions import ConnectTimeoutError

        return ConnectTimeoutError(real, outcome.text)
    return outcome.make_exception(builtins, tape)


def _copy_call(stub: Any, extra: dict[str, Any]) -> tuple[Any, ...] | None:
    """Return the parts that are needed to send the request later, for `active_tape.outgoing_request`; None if sockets are mocked.

    They are None (no module of httpx is used), a copy of the connection, since the client closes its own, and a
    function that sends the request on a further copy.
    """
    if socket.socket is not _real_socket:
        return None
    template = copy.copy(stub.real_connection)
    request = stub._vcr_request  # noqa: SLF001 -- vcrpy's
    template._tunnel_headers = dict(template._tunnel_headers)  # noqa: SLF001 -- `set_tunnel` changes it
    send = partial(_open_response, template, request, stub._url(request.uri), extra)  # noqa: SLF001 -- vcrpy's
    return None, template, send


@contextmanager
def _open_response(
    template: Any, request: Any, target: str, extra: dict[str, Any]
) -> Iterator[http.client.HTTPResponse]:
    """Send a request on a copy of a connection, and yield its response; the copy is closed afterwards.

    Args:
        template: The connection to copy.
        request: vcrpy's request.
        target: The target in the request line: a path, or for a proxy a whole URL.
        extra: Further arguments of `request`.
    """
    connection = copy.copy(template)
    vars(connection).update(_OWN_STATE, _buffer=[], getresponse=partial(_real_getresponse, connection))
    stub = SimpleNamespace(_vcr_request=request, real_connection=connection, _url=lambda _: target)
    with closing(connection), _send_request(stub, extra, is_live=True) as response:
        yield response


def _send_request(stub: Any, extra: dict[str, Any], *, is_live: bool = False) -> Any:
    """Send the stub's request on its real connection, which is connected now if it was deferred; return the response.

    Args:
        stub: vcrpy's stub.
        extra: Further arguments of `request`.
        is_live: Whether the call is recorded: then the time that it may wait for a byte is limited.
    """
    request = stub._vcr_request  # noqa: SLF001 -- vcrpy's
    real = stub.real_connection
    connect = vars(stub).pop("_deferred_connect", None)
    if connect is not None and real.sock is None:
        args, options = connect
        real.connect(*args, **options)
    target = stub._url(request.uri)  # noqa: SLF001 -- vcrpy's
    real.request(request.method, target, body=request.body_bytes, headers=request.headers, **extra)
    if is_live and real.sock is not None:
        seconds = _find_read_limit(real)
        # Both are set: urllib3 gives the socket the connection's time limit before it reads.
        real.timeout = live_response.limit_silence(seconds)
        real.sock.settimeout(real.timeout)
    return real.getresponse()


def _find_read_limit(real: Any) -> float | None:
    """Return how long a connection may wait for a byte; None: for ever."""
    seconds = real.timeout
    if isinstance(seconds, (int, float)):
        return seconds
    if real.sock is None:
        return socket.getdefaulttimeout()
    limit: float | None = real.sock.gettimeout()
    return limit


def _render_response(
    answer: Answer, method: str, claimed: live_response.ClaimedAnswer | None
) -> Iterator[bytes]:
    """Yield the answer as a server would send it, in the pieces in which it is read."""
    headers = {name: " ".join(value.splitlines()) for name, value in answer.headers.items()}
    has_body = method != "HEAD" and answer.status not in _BODILESS_STATUSES
    is_chunked = has_body and (bool(answer.pieces) or answer.outcome is not None)
    if is_chunked:
        headers["transfer-encoding"] = "chunked"
    elif has_body:
        headers["content-length"] = str(len(answer.body))
    lines = [f"HTTP/1.1 {answer.status} {vcr_adapter.reason_phrase(answer.status)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines) + "\r\n\r\n"
    yield head.encode("latin-1", "replace")
    if not has_body:
        return
    for piece in claimed or answer.pieces or (answer.body,):
        if not piece:
            continue
        if is_chunked:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
        else:
            yield piece
    if is_chunked and answer.outcome is None:
        yield b"0\r\n\r\n"


class _ReplaySocket:
    """Replaces the socket of a connection: it ignores the request, and a recorded answer is read from it.

    Args:
        content: The arguments of `_PieceReader`.
    """

    is_llmops_replay = True  # for `request_checks`: nothing that is written to it is sent

    def __init__(self, *content: Any) -> None:
        self._content = content

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(_PieceReader(*self._content))

    def ignore(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    sendall = settimeout = setsockopt = shutdown = close = ignore


class _PieceReader(io.RawIOBase):
    """A file that is read piece by piece, as from the network.

    Args:
        pieces: The head of the answer, then its body.
        make_error: Returns the exception in which the answer ends; None: it ends well.
        claimed: The answer if it was requested ahead of its test; left when the file is closed.
    """

    def __init__(
        self,
        pieces: Iterator[bytes],
        make_error: Callable[[], BaseException] | None,
        claimed: live_response.ClaimedAnswer | None,
    ) -> None:
        self._pieces = pieces
        self._make_error = make_error
        self._claimed = claimed
        self._left = b""

    def close(self) -> None:
        """Close the file; an answer that is not complete counts as left."""
        super().close()
        if self._claimed is not None:
            self._claimed.leave()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read at most to the end of the current piece; 0 at the end."""
        if not self._left:
            self._left = next(self._pieces, b"")
            if not self._left and self._make_error is not None:
                raise self._make_error()
        part = self._left[: len(buffer)]
        self._left = self._left[len(part) :]
        buffer[: len(part)] = part
        return len(part)


def _make_recording_response(
    make: Callable[..., Any], live: live_response.LiveAnswer, *args: Any, **extra: Any
) -> Any:
    """Make a response whose file records the bytes that are read from it, once its headers are read.

    Args:
        make: The connection's own class of responses.
        live: The live answer.
        *args: Arguments of the class.
        **extra: Further arguments of the class.
    """
    response = make(*args, **extra)
    begin = response.begin

    def begin_recording() -> None:
        del response.begin  # a reference cycle would delay the closing of a dropped response
        begin()
        response.fp = _RecordingFile(response, live)

    response.begin = begin_recording
    return response


class _RecordingFile:
    """The file from which a response is read, after its headers; it also passes the bytes to the live answer."""

    def __init__(self, response: Any, live: live_response.LiveAnswer) -> None:
        self._inner = response.fp
        self._live = live
        self._status = response.status
        self._headers = {name.lower(): value for name, value in response.getheaders()}
        self._framing = BodyFraming(response.length, chunked=response.chunked)
        self._endless = not response.chunked and response.length is None
        live.on_tape_end = partial(live.leave, self._status, self._headers)
        if self._framing.done:
            self._finish()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the file; an answer that is not complete counts as left."""
        try:
            self._live.leave(self._status, self._headers)
        finally:
            self._inner.close()

    def _read_recorded(self, name: str, size: int | None = -1) -> bytes:
        """Read with a method of the real file, record the bytes, and notice the end of the body.

        Args:
            name: The method: ``read``, ``read1`` or ``readline``.
            size: Its argument; None and -1: read to the end.
        """
        try:
            data: bytes = getattr(self._inner, name)(size)
        except BaseException as error:
            self._live.give_up(error, self._status, self._headers)
            raise
        if not self._live.open:
            return data
        body = self._framing.feed(data)
        if body:
            self._live.add_chunk(body)
        # `_endless`: without a length or chunks, the body ends with the connection.
        is_connection_at_end = (not data and size != 0) or (size in (None, -1) and self._endless)
        if self._framing.done or (is_connection_at_end and self._endless):
            self._finish()
        elif is_connection_at_end:
            self._live.give_up(http.client.IncompleteRead(b""), self._status, self._headers)
        return data

    read = partialmethod(_read_recorded, "read")
    read1 = partialmethod(_read_recorded, "read1")
    readline = partialmethod(_read_recorded, "readline")

    def _finish(self) -> None:
        """Record the complete answer."""
        vcr_adapter.finish_answer(
            self._live, self._status, self._headers, self._live.raw_body(), certain=True
        )
