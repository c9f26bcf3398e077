"""A WebSocket that is recorded: its messages, its end, its responses, and the order of connections to one address."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from support import fake_websockets
from support.fake_websockets import Frame, Headers, Opcode, Response
from support.messages import check_message

from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.conversation import Conversation, End, Message, decode_conversation
from pytest_llmops.cassettes.request_key import Answer, Question, build_question
from pytest_llmops.cassettes.websocket import live_connection
from pytest_llmops.cassettes.websocket.live_connection import LiveConnection
from pytest_llmops.errors import BudgetReached, CassetteError
from pytest_llmops.redaction.redactor import Redactor

URL = "wss://api.openai.com/v1/responses"
ACCEPTED = Response(101, "", Headers({"Sec-WebSocket-Protocol": "realtime"}), None)
CREATE = json.dumps({"type": "response.create", "model": "m"}).encode()
CREATED = json.dumps({"type": "response.created"}).encode()
DONE = json.dumps({"type": "response.completed", "response": {"id": "r"}}).encode()
FAILED = json.dumps({"type": "error", "status": 400, "error": {"message": "no"}}).encode()


@pytest.fixture(autouse=True)
def _websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_websockets.install(monkeypatch)
    monkeypatch.setattr(live_connection, "time", SimpleNamespace(perf_counter=lambda: 3.25))


class Tape:
    """What a live connection needs of a tape; it keeps all that it is told, in order."""

    def __init__(self) -> None:
        self.unfinished: dict[int, Callable[[], None]] = {}
        self.recorded: list[tuple[str, Answer, str, str]] = []
        self.notes: list[str] = []
        self.begun: list[Question] = []
        self.ended: list[tuple[Question, Any, bool]] = []
        self.closed: list[str] = []
        self.has_budget = True
        self.error: Exception | None = None
        self.failed: str | None = None
        self.has_lost = False
        self.note_unrecorded = self.notes.append

    def measure_start(self, started: float) -> float:
        return started + 1

    def make_question(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Question:
        return build_question(method, url, headers, body, Redactor())

    def begin_response(self, call: Question) -> None:
        if not self.has_budget:
            raise BudgetReached("no call left")
        self.begun.append(call)

    def end_call(self, call: Question, exchange: Any, is_good: bool) -> None:
        self.ended.append((call, exchange, is_good))

    def end_socket(self, call: Question) -> None:
        self.closed.append(call.url)

    def verdict(self) -> str | None:
        return self.failed

    def has_failed_write(self) -> bool:
        return self.has_lost

    def record(self, question: Question, answer: Answer, take: str, purpose: str) -> None:
        self.recorded.append((question.url, answer, take, purpose))
        if self.error is not None:
            raise self.error


class Protocol:
    """The Sans-I/O part of a connection; it keeps the frames that are sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self.incoming: list[Any] = []
        self.events: list[Any] = []
        self.parser_exc: Exception | None = EOFError()
        self.close_rcvd: Any = None
        self.close_sent: Any = None
        self.close_rcvd_then_sent: bool | None = None
        self.ends = 0

    def send_text(self, *frame: Any) -> None:
        self.sent.append(("text", *frame))

    def send_binary(self, *frame: Any) -> None:
        self.sent.append(("binary", *frame))

    def send_continuation(self, *frame: Any) -> None:
        self.sent.append(("more", *frame))

    def events_received(self) -> list[Any]:
        events, self.incoming = self.incoming, []
        return events

    def receive_eof(self) -> None:
        self.ends += 1


def open_connection(
    tape: Any, url: str = URL, *, response: Any = ACCEPTED, lose: Any = None
) -> tuple[Any, Any, Any]:
    """A connection that is recorded, with its protocol and the object of the client."""
    live = LiveConnection(tape, build_question("WEBSOCKET", url, {}, b"", Redactor()))
    protocol: Any = Protocol()
    connection = SimpleNamespace(protocol=protocol)
    if lose is not None:
        connection.connection_lost = lose
    live.attach(connection)
    if response is not None:
        receive(protocol, response)
    return live, protocol, connection


def receive(protocol: Any, *events: Any) -> None:
    protocol.incoming = list(events)
    assert protocol.events_received() == list(events)


def text(data: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> Frame:
    return Frame(opcode, data, fin)


def recorded(tape: Any) -> Conversation:
    """The only recorded conversation."""
    [(url, answer, take, purpose)] = tape.recorded
    assert (url, take, purpose) == (URL, "0", "app")
    assert (answer.status, answer.headers) == (101, {"content-type": "application/json"})
    assert (answer.latency_s, answer.started_s, answer.outcome) == (0.0, 4.25, None)
    assert tape.unfinished == {}
    return decode_conversation(answer.body)


def test_all_messages_are_recorded_whole_and_in_order() -> None:
    tape = Tape()
    _, protocol, _ = open_connection(tape)
    assert len(tape.unfinished) == 1
    protocol.send_text(b"one")
    protocol.send_text(b"t", False)
    protocol.send_continuation(b"w", False)
    receive(protocol, text(b"ping", Opcode.PING), text(b"a", fin=False), text(b"b", Opcode.CONT))
    protocol.send_continuation(b"o")
    protocol.send_binary(bytearray(b"\x01"))
    receive(protocol, text(b"\x02", Opcode.BINARY), text(b"close", Opcode.CLOSE))
    assert protocol.sent == [
        ("text", b"one", True),
        ("text", b"t", False),
        ("more", b"w", False),
        ("more", b"o", True),
        ("binary", bytearray(b"\x01"), True),
    ]
    protocol.close_sent = SimpleNamespace(code=1000, reason="")
    protocol.receive_eof()
    assert protocol.ends == 1
    conversation = recorded(tape)
    assert [(message.sender, message.data, message.is_text) for message in conversation.messages] == [
        ("client", b"one", True),
        ("server", b"ab", True),
        ("client", b"two", True),
        ("client", b"", False),
        ("server", b"\x02", False),
    ]
    assert conversation.messages[3].size == 1
    assert (conversation.end, conversation.subprotocol) == (End("client"), "realtime")
    assert tape.closed == [URL]
    assert tape.begun == []
    protocol.receive_eof()
    assert len(tape.recorded) == 1


@pytest.mark.parametrize(
    ("received", "sent", "order", "error", "end"),
    [
        ((1000, "bye"), None, None, "none", End("server", 1000, "bye")),
        ((1000, "bye"), (1000, ""), True, "none", End("server", 1000, "bye")),
        ((1000, "bye"), (1000, ""), False, "none", End("client")),
        (None, (1000, ""), None, "none", End("client")),
        (None, None, None, "aborted", End("client")),
        (None, None, None, "reset", End("lost")),
        (None, None, None, "none", End("lost")),
    ],
)
def test_who_ended_a_connection_is_recorded(
    received: Any, sent: Any, order: bool | None, error: str, end: End
) -> None:
    tape = Tape()
    lost: list[Any] = []
    _, protocol, connection = open_connection(tape, lose=lost.append)
    protocol.close_rcvd = received and SimpleNamespace(code=received[0], reason=received[1])
    protocol.close_sent = sent
    protocol.close_rcvd_then_sent = order
    reason = {"aborted": None, "reset": ConnectionResetError()}
    for one in [reason[error]] if error in reason else []:
        connection.connection_lost(one)
        assert lost == [one]
    protocol.receive_eof()
    assert recorded(tape).end == end


def test_a_connection_that_is_open_at_the_end_of_its_test_is_recorded_so_far() -> None:
    tape = Tape()
    _, protocol, _ = open_connection(tape)
    protocol.send_text(b"one")
    [end] = tape.unfinished.values()
    end()
    end()
    protocol.send_text(CREATE)
    receive(protocol, text(DONE))
    conversation = recorded(tape)
    assert [message.data for message in conversation.messages] == [b"one"]
    assert conversation.end == End("open")
    assert (tape.begun, tape.ended) == ([], [])


def test_a_connection_that_is_not_open_yet_at_the_end_is_noted() -> None:
    tape = Tape()
    _, protocol, _ = open_connection(tape, response=None)
    protocol.receive_eof()
    assert len(tape.unfinished) == 1
    [end] = tape.unfinished.values()
    end()
    assert (tape.recorded, tape.unfinished, tape.closed) == ([], {}, [URL])
    [note] = tape.notes
    check_message(note)


@pytest.mark.parametrize("is_late", [True, False])
def test_a_refusal_is_recorded_with_its_headers(is_late: bool) -> None:
    tape = Tape()
    refusal = Response(429, "", Headers({"Retry-After": "1"}), b"slow down")
    live, protocol, _ = open_connection(tape, response=None if is_late else refusal)
    protocol.events = [text(b""), refusal, Response(500, "", Headers(), b"")]
    if is_late:
        protocol.receive_eof()
    live.give_up(OSError("refused"))
    live.give_up(OSError("again"))
    [(_, answer, _, _)] = tape.recorded
    assert (answer.status, answer.headers, answer.body) == (429, {"retry-after": "1"}, b"slow down")
    assert (answer.started_s, answer.outcome) == (4.25, None)
    assert tape.notes == []


@pytest.mark.parametrize(("verdict", "lost"), [(None, False), ("failed", False), (None, True)])
def test_a_connection_that_was_not_opened_is_recorded_unless_its_test_fails(
    verdict: str | None, lost: bool
) -> None:
    tape = Tape()
    tape.failed, tape.has_lost = verdict, lost
    live, *_ = open_connection(tape, response=None)
    live.give_up(TimeoutError("too slow"))
    is_kept = verdict is None and not lost
    assert (len(tape.recorded), len(tape.notes)) == (int(is_kept), int(not is_kept))
    for _, answer, _, _ in tape.recorded:
        assert (answer.status, answer.headers, answer.body, answer.started_s) == (0, {}, b"", 4.25)
        assert answer.outcome is not None
        assert answer.outcome.kind == "read"
    for note in tape.notes:
        check_message(note)


def test_messages_that_the_client_cannot_read_are_not_recorded() -> None:
    tape = Tape()
    _, protocol, _ = open_connection(tape)
    protocol.parser_exc = UnicodeError("no text")
    protocol.receive_eof()
    assert (tape.recorded, tape.unfinished) == ([], {})
    [note] = tape.notes
    check_message(note)


def test_connections_to_one_address_are_recorded_in_the_order_in_which_they_were_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tape = Tape()
    tape.unfinished[1] = lambda: None
    _, first, _ = open_connection(tape)
    _, other, _ = open_connection(tape, f"{URL}/other")
    _, second, _ = open_connection(tape)
    monkeypatch.setattr(active_tape, "current_take", lambda: "7")
    _, trial, _ = open_connection(tape)
    _, third, _ = open_connection(tape)
    for number, protocol in enumerate((first, other, second, trial)):
        protocol.send_text(b"%d" % number)
    second.receive_eof()
    assert tape.recorded == []
    third.receive_eof()
    other.receive_eof()
    trial.receive_eof()
    first.receive_eof()
    found = [
        (url.removeprefix(URL), take, answer.body.count(b'"client"'))
        for url, answer, take, _ in tape.recorded
    ]
    assert found == [("/other", "0", 1), ("", "7", 1), ("", "7", 0), ("", "0", 1), ("", "0", 1)]
    assert [json.loads(entry[1].body)["messages"][:1] for entry in tape.recorded][-2:] == [
        [{"client": {"text": "0"}, "s": 0.0}],
        [{"client": {"text": "2"}, "s": 0.0}],
    ]
    assert list(tape.unfinished) == [1]


def test_an_error_while_it_is_recorded_does_not_reach_the_client() -> None:
    tape = Tape()
    tape.error = CassetteError("full disk")
    _, protocol, _ = open_connection(tape)
    protocol.receive_eof()
    assert len(tape.recorded) == 1


def test_a_response_counts_as_a_call_of_the_model() -> None:
    tape = Tape()
    _, protocol, _ = open_connection(tape)
    receive(protocol, text(DONE))  # of no response
    protocol.send_text(CREATE)
    [call] = tape.begun
    assert (call.method, call.url, call.json) == (
        "POST",
        "https://api.openai.com/v1/responses",
        {"model": "m", "input": []},
    )
    receive(protocol, text(CREATED), text(DONE))
    [(ended, exchange, is_good)] = tape.ended
    assert (ended, is_good) == (call, True)
    assert (exchange.request, json.loads(exchange.body)) == (
        {"model": "m", "input": []},
        {"id": "r", "model": "m"},
    )
    assert (exchange.replayed, exchange.purpose, exchange.started_s) == (False, "app", 4.25)
    protocol.send_text(CREATE)
    receive(protocol, text(FAILED))
    assert [(end[1].status, end[2]) for end in tape.ended] == [(200, True), (400, False)]
    protocol.receive_eof()
    assert tape.closed == [URL]


def test_a_response_under_way_ends_with_its_connection() -> None:
    tape = Tape()
    _, protocol, _ = open_connection(tape)
    protocol.send_text(CREATE)
    protocol.send_text(CREATE)
    protocol.receive_eof()
    assert tape.ended == []
    assert tape.closed == ["https://api.openai.com/v1/responses"] * 2 + [URL]
    assert len(recorded(tape).messages) == 2


def test_a_response_without_a_budget_is_not_sent() -> None:
    tape = Tape()
    tape.has_budget = False
    _, protocol, _ = open_connection(tape)
    with pytest.raises(BudgetReached):
        protocol.send_text(CREATE)
    assert protocol.sent == []
    receive(protocol, text(CREATED))  # the server begins one by itself: the test fails at its end
    protocol.receive_eof()
    assert [message.sender for message in recorded(tape).messages] == ["server"]


def test_seconds_are_counted_from_the_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = Tape()
    _, protocol, _ = open_connection(tape)
    monkeypatch.setattr(live_connection, "time", SimpleNamespace(perf_counter=lambda: 4.000123))
    protocol.send_text(b"one")
    receive(protocol, text(b"two"))
    protocol.receive_eof()
    [(_, answer, _, _)] = tape.recorded
    conversation = decode_conversation(answer.body)
    assert [message.seconds for message in conversation.messages] == [0.7501, 0.7501]
    assert isinstance(conversation.messages[0], Message)
    assert (answer.latency_s, answer.started_s) == (0.7501, 4.25)


def test_messages_that_the_client_cannot_read_are_not_recorded_after_a_wait_either() -> None:
    tape = Tape()
    _, first, _ = open_connection(tape)
    _, broken, _ = open_connection(tape)
    broken.parser_exc = UnicodeError("no text")
    broken.receive_eof()
    first.receive_eof()
    assert (len(tape.recorded), len(tape.notes)) == (1, 1)
