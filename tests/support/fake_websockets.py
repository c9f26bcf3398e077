"""Stand-ins for the parts of the package websockets that recordings use, which the environment of the unit tests does not have.

Their wire is one line for each frame: ``GET`` with the subprotocols that the client offers, ``TEXT``, ``BINARY``, ``CONT``, ``PING``,
``CLOSE``, each with its content after a blank; a ``+`` after the name says that the message goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import ModuleType
from typing import Any

import pytest


class Opcode(Enum):
    CONT = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9


class State(Enum):
    OPEN = 1
    CLOSING = 2


class Headers:
    def __init__(self, given: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        self.pairs = list(given.items()) if isinstance(given, Mapping) else list(given)

    def __setitem__(self, name: str, value: str) -> None:
        self.pairs.append((name, value))

    def raw_items(self) -> Iterator[tuple[str, str]]:
        yield from self.pairs


@dataclass
class Frame:
    opcode: Opcode
    data: bytes | bytearray
    fin: bool = True


@dataclass
class Request:
    offered: list[str]


@dataclass
class Response:
    status_code: int
    reason_phrase: str
    headers: Headers
    body: bytes | None = b""


class ServerProtocol:
    """The server's side of a connection."""

    def __init__(
        self, *, select_subprotocol: Callable[[Any, list[str]], Any], max_size: None, logger: Any
    ) -> None:
        assert max_size is None
        assert logger.disabled
        self.select = select_subprotocol
        self.state = State.OPEN
        self.events: list[Any] = []
        self.lines: list[bytes] = []
        self.buffer = b""

    def accept(self, request: Request) -> Response:
        return Response(101, str(self.select(self, request.offered)), Headers())

    def send_response(self, response: Response) -> None:
        pairs = ", ".join(f"{name}: {value}" for name, value in response.headers.raw_items())
        line = f"{response.status_code} {response.reason_phrase} [{pairs}] ".encode()
        self.lines.append(line + (response.body or b"") + b"\n")
        if response.status_code != 101:
            self.lines.append(b"")

    def send_text(self, data: bytes) -> None:
        self.lines.append(b"TEXT " + data + b"\n")

    def send_binary(self, data: bytes) -> None:
        self.lines.append(b"BINARY " + data + b"\n")

    def send_close(self, *parts: object) -> None:
        self.state = State.CLOSING
        self.lines.append(f"CLOSE {parts}\n".encode())

    def receive_data(self, data: bytes) -> None:
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            name, _, content = line.partition(b" ")
            if name == b"GET":
                self.events.append(Request(content.decode().split()))
                continue
            frame = Frame(Opcode[name.decode().rstrip("+")], content, fin=not name.endswith(b"+"))
            self.events.append(frame)
            if frame.opcode is Opcode.CLOSE:
                self.lines.append(b"")

    def events_received(self) -> list[Any]:
        events, self.events = self.events, []
        return events

    def data_to_send(self) -> list[bytes]:
        lines, self.lines = self.lines, []
        return lines


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let imports of websockets find the stand-ins."""
    parts: dict[str, dict[str, Any]] = {
        "frames": {"Opcode": Opcode},
        "protocol": {"State": State},
        "datastructures": {"Headers": Headers},
        "http11": {"Request": Request, "Response": Response},
        "server": {"ServerProtocol": ServerProtocol},
    }
    package = ModuleType("websockets")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "websockets", package)
    for name, content in parts.items():
        module = ModuleType(f"websockets.{name}")
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, module.__name__, module)
