"""A loopback server that speaks enough OpenAI for tests: real sockets, no sleeps, counted requests."""

from __future__ import annotations

import atexit
import base64
import gzip
import json
import socket
import struct
import threading
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from types import TracebackType
from typing import Any, Self

from pytest_llmops._util.server_probe import USER_AGENT

WAIT_S = 20.0
"""No event of a test may be waited for longer: a deadlock becomes a failure."""


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """What the server answers."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    chunks: Sequence[bytes] = ()
    """With chunks the answer is chunked; ``body`` is not used."""
    encoding: str = ""
    cut_after: int | None = None
    """The connection is reset after so many chunks."""
    before_chunk: Callable[[int], object] | None = None
    """Called before each chunk is sent: the place to wait for an event."""
    before: Callable[[], object] | None = None
    """Called before anything is sent."""
    until_closed: bool = False
    """The body ends with the connection; its length is not told."""


def json_reply(value: object, *, status: int = 200, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(json.dumps(value).encode(), status, {"content-type": "application/json", **named})


def stream(events: Iterable[object], *, end: str = "\n\n", **how: Any) -> Reply:
    """A stream of server-sent events, one chunk an event."""
    chunks = [
        event if isinstance(event, bytes) else f"data: {_dumped(event)}{end}".encode() for event in events
    ]
    return Reply(chunks=chunks, headers={"content-type": "text/event-stream; charset=utf-8"}, **how)


def _dumped(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def error_reply(status: int, message: str = "no", **headers: str) -> Reply:
    value = {"error": {"message": message, "type": "test_error", "param": None, "code": None}}
    return json_reply(value, status=status, **headers)


def chat_answer(text: str, *, model: str = "stub-1", **message: object) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, **message},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def chat_events(text: str, *, model: str = "stub-1") -> list[object]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}

    def choice(delta: object, finish: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    words = [choice({"content": f"{word} "}) for word in text.split()]
    return [
        choice({"role": "assistant", "content": ""}),
        *words,
        choice({}, "stop"),
        {**head, "choices": [], "usage": usage},
        "[DONE]",
    ]


def responses_answer(text: str, *, model: str = "stub-1", **more: object) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": model,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "output": [
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
        ],
        "usage": {
            "input_tokens": 7,
            "output_tokens": 3,
            "total_tokens": 10,
            "input_tokens_details": {"cached_tokens": 2},
            "output_tokens_details": {"reasoning_tokens": 1},
        },
        **more,
    }


def responses_events(text: str) -> list[object]:
    done = responses_answer(text)
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**done, "status": "in_progress", "output": []}}
    ]
    events += [
        {
            "type": "response.output_text.delta",
            "item_id": "msg_1",
            "output_index": 0,
            "content_index": 0,
            "delta": f"{word} ",
            "logprobs": [],
        }
        for word in text.split()
    ]
    events.append({"type": "response.completed", "response": done})
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    return [f"event: {row['type']}\ndata: {json.dumps(row)}\n\n".encode() for row in numbered]


def embedding_answer(request: Mapping[str, Any]) -> dict[str, Any]:
    texts = request["input"]
    texts = [texts] if isinstance(texts, str) else texts
    vectors = [[float(len(text)), 1.0, 0.5] for text in texts]
    as_text = request.get("encoding_format") == "base64"
    data = [
        {
            "object": "embedding",
            "index": number,
            "embedding": base64.b64encode(struct.pack("<3f", *vector)).decode() if as_text else vector,
        }
        for number, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    return {"object": "list", "data": data, "model": request["model"], "usage": usage}


def zstd() -> Callable[[bytes], bytes] | None:
    """The compressor of the standard library, from Python 3.14 on."""
    try:
        compress: Callable[[bytes], bytes] = import_module("compression.zstd").compress
    except ImportError:
        return None
    return compress


class StubServer:
    """Answers like OpenAI; what a test queues comes first.

    The same request gets "echo of it" the first time, "echo of it (2)" the second, so that a
    test sees which answer it got. The requests of the set-up check are in `probes`, and nowhere else.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.probes: list[Seen] = []
        self.probe_status = 200
        self.queue: deque[Reply] = deque()
        self.encoding = ""
        self._bodies: Counter[tuple[str, bytes]] = Counter()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def count(self) -> int:
        return len(self.seen)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, and cut the connections that clients keep open."""
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        with self._lock:
            for connection in self._open:
                _shut(connection)
        self._thread.join()
        self._server.server_close()

    def answer(self, seen: Seen) -> Reply:
        with self._lock:
            self.seen.append(seen)
            self._bodies[seen.path, seen.body] += 1
            again = self._bodies[seen.path, seen.body]
            if self.queue:
                return self.queue.popleft()
        reply = _default(seen, again)
        return replace(reply, encoding=reply.encoding or self.encoding)

    def answer_probe(self, seen: Seen) -> Reply:
        with self._lock:
            self.probes.append(seen)
        return json_reply({"object": "list", "data": []}, status=self.probe_status)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else a body waits 40 ms behind its headers

            def setup(self) -> None:
                super().setup()
                with stub._lock:
                    stub._open.add(self.connection)

            def finish(self) -> None:
                with stub._lock:
                    stub._open.discard(self.connection)
                super().finish()

            def _serve(self) -> None:
                body = _received(self)
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.command, self.path, headers, body)
                if headers.get("user-agent") == USER_AGENT:
                    _send(self, stub.answer_probe(seen))
                else:
                    _send(self, stub.answer(seen))

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = _serve  # noqa: N815 -- names of the standard library

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is part of the tests."""


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _received(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("transfer-encoding", "").lower() != "chunked":
        return handler.rfile.read(int(handler.headers.get("content-length", 0)))
    parts = []
    while size := int(handler.rfile.readline(), 16):
        parts.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(parts)


def _default(seen: Seen, again: int) -> Reply:
    path = seen.path.partition("?")[0]
    suffix = "" if again == 1 else f" ({again})"
    if seen.method == "POST" and path.endswith("/chat/completions"):
        text = f"echo of {seen.json['messages'][-1]['content']}{suffix}"
        return stream(chat_events(text)) if seen.json.get("stream") else json_reply(chat_answer(text))
    if seen.method == "POST" and path.endswith("/responses"):
        content = seen.json["input"]
        text = f"echo of {content if isinstance(content, str) else content[-1]['content']}{suffix}"
        if seen.json.get("stream"):
            return stream(responses_events(text))
        return json_reply(responses_answer(text))
    if seen.method == "POST" and path.endswith("/embeddings"):
        return json_reply(embedding_answer(seen.json))
    return json_reply({"method": seen.method, "path": path, "body": seen.body.decode("latin-1"), "n": again})


def _send(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    if reply.before is not None:
        reply.before()
    handler.send_response(reply.status)
    for name, value in reply.headers.items():
        handler.send_header(name, value)
    if reply.encoding:
        handler.send_header("content-encoding", reply.encoding)
    if reply.chunks:
        _send_chunks(handler, reply)
        return
    body = _encoded(reply.body, reply.encoding)
    if reply.until_closed:
        handler.send_header("connection", "close")
    else:
        handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _encoded(data: bytes, encoding: str) -> bytes:
    if encoding == "zstd":
        compress = zstd()
        assert compress is not None
        return compress(data)
    if encoding == "gzip":
        return gzip.compress(data)
    return zlib.compress(data) if encoding == "deflate" else data


def _send_chunks(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    wbits = {"gzip": 31, "deflate": 15}.get(reply.encoding)
    squeeze = zlib.compressobj(wbits=wbits) if wbits is not None else None
    for number, chunk in enumerate(reply.chunks):
        if reply.before_chunk is not None:
            reply.before_chunk(number)
        if reply.cut_after == number:
            handler.close_connection = True
            _shut(handler.connection)
            return
        data = chunk if squeeze is None else squeeze.compress(chunk) + squeeze.flush(zlib.Z_SYNC_FLUSH)
        _send_chunk(handler, data)
    if squeeze is not None:
        _send_chunk(handler, squeeze.flush())
    handler.wfile.write(b"0\r\n\r\n")
    handler.wfile.flush()


def _send_chunk(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    handler.wfile.flush()


_CLOSED = socket.socket()
atexit.register(_CLOSED.close)
"""Kept until the process ends: a port that was given back is soon that of another server."""


def closed_port() -> int:
    """A port of this machine where nobody listens, and nobody can."""
    if not _CLOSED.getsockname()[1]:
        _CLOSED.bind(("127.0.0.1", 0))
    port: int = _CLOSED.getsockname()[1]
    return port


def wait(event: threading.Event) -> None:
    """Wait for an event, but not for ever."""
    if not event.wait(WAIT_S):
        msg = "the test waited for an event that never came"
        raise TimeoutError(msg)
