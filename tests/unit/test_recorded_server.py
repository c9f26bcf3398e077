"""The server of a recorded WebSocket: what it sends, and when it refuses its client."""

from __future__ import annotations

import json
import selectors
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import fake_websockets
from support.fake_websockets import ServerProtocol, State
from support.messages import check_message

from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.conversation import Conversation, End, Message
from pytest_llmops.cassettes.request_key import Answer, Question, build_question
from pytest_llmops.cassettes.websocket.recorded_server import (
    MISS_REASON,
    PATIENCE_S,
    POLICY_VIOLATION,
    RecordedServer,
)
from pytest_llmops.recorder import Exchange
from pytest_llmops.redaction.redactor import Redactor

URL = "wss://api.openai.com/v1/responses"
CLIENT = End("client")
CLOSED = f"CLOSE ({POLICY_VIOLATION}, {MISS_REASON!r})\n".encode()


@pytest.fixture(autouse=True)
def _websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_websockets.install(monkeypatch)


class Tape:
    """What the server needs of a tape."""

    path = Path("a.json")
    command_again = "pytest --again"

    def __init__(self) -> None:
        self.refused: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.exchanges: list[Exchange] = []
        self.note = self.notes.append
        self.note_replay = self.exchanges.append

    def comparable_message(self, data: bytes) -> bytes:
        if data == b"broken":
            raise RuntimeError("a hook failed")
        return data

    def refuse(self, text: str, command: str) -> None:
        self.refused.append((text, command))


def make_question() -> Question:
    return build_question("WEBSOCKET", URL, {}, b"", Redactor())


def server(data: str | bytes, seconds: float = 0.0) -> Message:
    if isinstance(data, str):
        return Message("server", data.encode(), is_text=True, seconds=seconds)
    return Message("server", data, is_text=False, seconds=seconds)


def client(data: str, seconds: float = 0.0) -> Message:
    return Message("client", data.encode(), is_text=True, seconds=seconds)


def make_server(
    *messages: Message, end: End = CLIENT, subprotocol: str = "", status: int = 101
) -> tuple[RecordedServer, Any]:
    tape: Any = Tape()
    answer = Answer(status, {"x-a": "b"}, b"no!", 0.5, started_s=2.0)
    conversation = Conversation(messages, end, subprotocol) if status == 101 else None
    return RecordedServer(tape, make_question(), answer, conversation), tape


def talk(made: RecordedServer, *lines: bytes) -> bytes:
    """All that a client gets that sends these lines, until the server ends its side."""
    before = set(threading.enumerate())
    theirs = made.start()
    theirs.settimeout(10)
    [thread] = set(threading.enumerate()) - before
    assert thread.name == "pytest-llmops websocket"
    assert thread.daemon
    got = b""
    with theirs:
        theirs.sendall(b"".join(line + b"\n" for line in lines))
        while part := theirs.recv(1 << 16):
            got += part
    thread.join(10)
    assert not thread.is_alive()
    return got


def open_server(*messages: Message, end: End = CLIENT) -> tuple[Any, Any, Any]:
    """A server without a thread whose client has opened the connection, its tape, and its protocol."""
    made: Any
    made, tape = make_server(*messages, end=end)
    made._protocol = ServerProtocol(
        select_subprotocol=lambda *_: "", max_size=None, logger=SimpleNamespace(disabled=True)
    )
    assert receive(made, b"GET")[0] == b"101  [] \n"
    return made, tape, made._protocol


def receive(made: Any, *lines: bytes) -> list[bytes]:
    """What the server has to send after these lines."""
    made._protocol.receive_data(b"".join(line + b"\n" for line in lines))
    for event in made._protocol.events_received():
        made._handle(event)
    return [data for data in made._protocol.data_to_send() if data]


@pytest.mark.parametrize(("offered", "chosen"), [(b"a realtime", b"realtime"), (b"a b", b"None")])
def test_the_server_chooses_the_recorded_subprotocol_if_it_is_offered(offered: bytes, chosen: bytes) -> None:
    made, tape = make_server(server("hello"), subprotocol="realtime", end=End("lost"))
    assert talk(made, b"GET " + offered) == b"101 " + chosen + b" [] \nTEXT hello\n"
    assert tape.refused == []


def test_each_message_comes_after_those_of_the_client_before_it() -> None:
    made, tape, _ = open_server(
        client("one"),
        client("two"),
        server("2"),
        server(b"\x01"),
        client("three"),
        end=End("server", 1000, "bye"),
    )
    assert receive(made, b"TEXT one") == []
    assert receive(made, b"PING x", b"TEXT+ t") == []
    assert receive(made, b"PING y", b"CONT+ w") == []
    assert receive(made, b"CONT o") == [b"TEXT 2\n", b"BINARY \x01\n"]
    assert receive(made, b"TEXT three") == [b"CLOSE (1000, 'bye')\n"]
    made._send(server("late"))
    made._close(1000, "again")
    assert receive(made) == []
    assert tape.refused == []


def test_a_recorded_end_without_a_code_is_sent_without_one() -> None:
    made, *_ = open_server(client("one"), end=End("server"))
    assert receive(made, b"TEXT one") == [b"CLOSE ()\n"]


@pytest.mark.parametrize("sent", [b"TEXT two", b"BINARY one", b"TEXT broken"])
def test_another_message_is_a_miss_and_closes_the_connection(sent: bytes) -> None:
    made, tape, protocol = open_server(client("one"), server("1"))
    assert receive(made, sent, b"TEXT one") == [CLOSED]
    assert protocol.state is State.CLOSING
    [(text, command)] = tape.refused
    assert command == "pytest --again"
    check_message(text)
    assert receive(made, b"CLOSE") == []
    assert tape.notes == []
    assert made._patience() is None


@pytest.mark.parametrize(
    ("remote", "used", "base", "counted"),
    [
        (False, [], True, "base"),
        (False, [], False, "own"),
        (False, ["own"], True, "own"),
        (True, [], True, "own"),
    ],
)
def test_a_miss_counts_for_the_test_that_runs(
    monkeypatch: pytest.MonkeyPatch, remote: bool, used: list[str], base: bool, counted: str
) -> None:
    made, tape, _ = open_server(client("one"))
    other = Tape()
    find = (lambda: None) if remote else None
    monkeypatch.setattr(active_tape, "find_remote_tape", find)
    monkeypatch.setattr(active_tape, "tapes_in_use", lambda: [tape for _ in used])
    monkeypatch.setattr(active_tape, "base_tape", lambda: other if base else None)
    receive(made, b"TEXT two")
    assert {"own": len(tape.refused), "base": len(other.refused)} == {"own": 0, "base": 0, counted: 1}


def test_a_client_that_closes_before_it_has_sent_all_is_noted() -> None:
    made, tape, _ = open_server(client("one"), client("two"), client("three"))
    receive(made, b"TEXT one", b"CLOSE")
    [note] = tape.notes
    check_message(note)
    made, tape, _ = open_server(client("one"))
    receive(made, b"TEXT one", b"CLOSE")
    assert tape.notes == []


def test_a_refused_connection_is_refused_again() -> None:
    made, tape = make_server(status=404)
    assert talk(made, b"GET") == b"404 Not Found [x-a: b, content-length: 3, connection: close] no!\n"
    made, tape = make_server(client("one"), status=499)
    assert talk(made, b"GET") == b"499  [x-a: b, content-length: 3, connection: close] no!\n"
    assert tape.refused == []


def test_a_lost_connection_ends_without_a_closing_frame() -> None:
    made, tape = make_server(client("one"), server("1" * 300_000), end=End("lost"))
    assert talk(made, b"GET", b"TEXT one", b"PING x") == b"101 None [] \nTEXT " + b"1" * 300_000 + b"\n"
    assert tape.refused == []


def test_the_server_ends_its_side_once_the_client_has_closed() -> None:
    made, _ = make_server(server("hello"))
    theirs = made.start()
    theirs.settimeout(10)
    with theirs:
        theirs.sendall(b"GET\nCLOSE\n")
        got = b""
        while part := theirs.recv(1 << 16):
            got += part
    assert got == b"101 None [] \nTEXT hello\n"


@pytest.mark.parametrize(
    ("messages", "by", "seconds"),
    [
        ([], "client", PATIENCE_S),
        ([server("1", 2.5)], "client", PATIENCE_S + 2.5),
        ([client("one"), server("1", 2.5)], "open", PATIENCE_S + 2.5),
        ([server("1", 2.5), client("one", 4.0)], "open", None),
        ([client("one", 4.0)], "server", PATIENCE_S + 4),
    ],
)
def test_the_server_waits_as_long_as_something_follows(
    messages: list[Message], by: Any, seconds: float | None
) -> None:
    made, *_ = open_server(*messages, end=End(by))
    assert made._patience() == seconds


@pytest.mark.parametrize("messages", [[client("one"), server("1")], []])
def test_a_client_that_stays_silent_is_a_miss(
    monkeypatch: pytest.MonkeyPatch, messages: list[Message]
) -> None:
    waits: list[float | None] = []

    class Selector(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[Any]:
            waits.append(timeout)
            if timeout is not None and len(waits) > 1:
                return []
            return super().select(timeout)

    monkeypatch.setattr(selectors, "DefaultSelector", Selector)
    made, tape = make_server(*messages)
    theirs = made.start()
    theirs.settimeout(10)
    with theirs, theirs.makefile("rb") as file:
        theirs.sendall(b"GET\n")
        assert file.readline() == b"101 None [] \n"
        assert file.readline() == CLOSED
    assert waits[:2] == [60.0, 60.0]
    [(text, _)] = tape.refused
    check_message(text)


def test_a_replayed_response_goes_to_the_trace_with_its_request() -> None:
    create = json.dumps({"type": "response.create", "model": "m", "input": "hi"})
    body = {"id": "r", "model": "m", "output": []}
    done = json.dumps({"type": "response.completed", "response": body})
    made, tape, _ = open_server(
        client(create, 0.5), server("{}", 0.75), server(done, 1.5), client(create, 2.0), server(done, 4.0)
    )
    receive(made, b"TEXT " + create.encode())
    [first] = tape.exchanges
    assert (first.url, first.replayed, first.purpose) == ("https://api.openai.com/v1/responses", True, "app")
    assert (first.request, json.loads(first.body)) == ({"model": "m", "input": "hi"}, body)
    assert (first.started_s, first.latency_s) == (2.5, 1.0)
    receive(made, b"TEXT " + create.encode())
    assert [exchange.started_s for exchange in tape.exchanges] == [2.5, 4.0]


def test_a_client_that_cannot_be_read_now_is_still_there() -> None:
    made, *_ = open_server(client("one"), server("1"))
    made._socket, theirs = socket.socketpair()
    made._socket.setblocking(False)
    with made._socket, theirs:
        assert made._read() is True
        theirs.sendall(b"TEXT one\n")
        assert made._read() is True
        made._write()
        assert theirs.recv(99) == b"TEXT 1\n"
        theirs.shutdown(socket.SHUT_WR)
        assert made._read() is False
