"""A loopback server that speaks enough of each vendor: what it does is told by the request, so that it needs no set-up.

The last thing that was said decides: ``limited ...`` is refused with 429 the first time, ``missing ...`` with
404, ``first of two NAME`` is answered only after ``second of two NAME``, and ``held NAME`` holds the end of a stream back
until the client has said that it has its start. Everything else is echoed, with a number if it came before.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from support import vendor_replies as replies
from support.server import WAIT_S, Reply, Seen, StubServer, error_reply, json_reply

PATIENCE_S = 2.0
"""How long the first of two waits for the second; a client that asks one after the other gets its answer then."""

PACKED = {
    "br": "ixSAeyJzYWlkIjogInBhY2tlZCBpbnRvIGJyb3RsaSBhdCBpdHMgYmVzdCJ9Aw==",
    "zstd": "KLUv/SAoQQEAeyJzYWlkIjogInBhY2tlZCBpbnRvIHpzdGQgYXQgaXRzIGJlc3QifQ==",
}
"""Bodies as these two pack them; the standard library cannot before Python 3.14."""


class Vendors(StubServer):
    """Answers like OpenAI, Anthropic, Gemini, Mistral, Cohere and Bedrock, each in its published shape."""

    def __init__(self) -> None:
        super().__init__()
        self._signals: defaultdict[str, threading.Event] = defaultdict(threading.Event)

    def answer(self, seen: Seen) -> Reply:
        packing = ""
        if seen.path.startswith("/~"):  # /~gzip/v1/...: the same, packed
            packing, _, path = seen.path[2:].partition("/")
            seen = replace(seen, path=f"/{path}")
        path = seen.path.partition("?")[0]
        if path.startswith("/received/"):
            self._event(path.removeprefix("/received/")).set()
            return json_reply({})
        again = self._count(seen)
        reply = self._plain(seen, path, again) or self._answer_model(seen, path, again)
        return replace(reply, encoding=reply.encoding or packing)

    def _event(self, name: str) -> threading.Event:
        with self._lock:
            return self._signals[name]

    def _count(self, seen: Seen) -> int:
        with self._lock:
            self.seen.append(seen)
            self._bodies[seen.path, seen.body] += 1
            return self._bodies[seen.path, seen.body]

    def _plain(self, seen: Seen, path: str, again: int) -> Reply | None:
        """What is no question to a model: for clients that speak HTTP alone."""
        place, _, rest = path.removeprefix("/").partition("/")
        make = _PLAIN.get(place)
        if make is not None:
            return make(rest, seen, again)
        if place == "held":
            return Reply(
                chunks=[f"data: {n}\n\n".encode() for n in range(3)],
                headers={"content-type": "text/event-stream"},
                before_chunk=self._held(rest),
            )
        return None

    def _held(self, name: str, place: int = 1) -> Callable[[int], object]:
        def hold(number: int) -> None:
            if number == place and not self._event(name).wait(WAIT_S):
                msg = f"the client got nothing of {name} before its end"
                raise TimeoutError(msg)

        return hold

    def _answer_model(self, seen: Seen, path: str, again: int) -> Reply:
        for vendor in replies.VENDORS:
            if vendor.path.search(path):
                return self._of(vendor, seen, path, again)
        return error_reply(404, f"no such path: {path}")

    def _of(self, vendor: replies.Vendor, seen: Seen, path: str, again: int) -> Reply:
        output = vendor.read_prompt(seen.json)
        if output.startswith("limited") and again == 1:
            return vendor.refusal(429, "slow down", {"retry-after": "0", "retry-after-ms": "1"})
        if output.startswith("missing"):
            return vendor.refusal(404, "no such model", {})
        text = f"echo of {output}{'' if again == 1 else f' ({again})'}"
        reply = vendor.reply(seen.json, path, text)
        if output.startswith("first of two "):
            name = output.removeprefix("first ")
            return replace(reply, before=lambda: self._event(name).wait(PATIENCE_S))
        if output.startswith("second of two "):
            return replace(reply, before=self._event(output.removeprefix("second ")).set)
        if output.startswith("held "):
            return replace(
                reply, before_chunk=self._held(output.removeprefix("held "), len(reply.chunks) - 1)
            )
        return reply


def _echo(rest: str, seen: Seen, again: int) -> Reply:
    body = seen.body.decode("latin-1")
    return json_reply({"method": seen.method, "path": seen.path, "body": body, "n": again})


def _status(rest: str, seen: Seen, again: int) -> Reply:
    return error_reply(int(rest), f"status {rest}")


def _limited(rest: str, seen: Seen, again: int) -> Reply:
    return error_reply(429, "slow down", retry_after="0") if again == 1 else json_reply({"n": again})


def _packed(rest: str, seen: Seen, again: int) -> Reply:
    import base64

    headers = {"content-type": "application/json", "content-encoding": rest}
    return Reply(base64.b64decode(PACKED[rest]), headers=headers)


def _binary(rest: str, seen: Seen, again: int) -> Reply:
    return Reply(bytes(range(256)) * 8, headers={"content-type": "audio/mpeg"})


def _large(rest: str, seen: Seen, again: int) -> Reply:
    return json_reply({"text": "0123456789" * 50_000, "got": len(seen.body)})


def _moved(rest: str, seen: Seen, again: int) -> Reply:
    headers = {"location": f"/echo/{rest}", "content-type": "text/plain"}
    return Reply(status=302, headers=headers)


def _events(rest: str, seen: Seen, again: int) -> Reply:
    chunks = [f'data: {{"n": {n}}}\n\n'.encode() for n in range(5)]
    return Reply(chunks=chunks, headers={"content-type": "text/event-stream"})


def _size(rest: str, seen: Seen, again: int) -> Reply:
    """For multipart: its boundary is random, so its length alone is told."""
    kind = seen.headers.get("content-type", "").partition(";")[0]
    return json_reply({"kind": kind, "whole": b"the content" in seen.body})


_PLAIN: dict[str, Callable[[str, Seen, int], Reply]] = {
    "echo": _echo,
    "status": _status,
    "limited": _limited,
    "packed": _packed,
    "binary": _binary,
    "large": _large,
    "moved": _moved,
    "events": _events,
    "size": _size,
}
