"""A live connection while it is recorded: its messages are copied where the client's protocol sends and receives them.

The protocol of `websockets` (its "Sans-I/O" part) is the same for asyncio and for threads, and is documented. Its methods are replaced on the one
object that belongs to the connection, so that no other connection is touched.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.conversation import (
    OPENED,
    SECONDS_DIGITS,
    Conversation,
    End,
    Message,
    make_client_message,
)
from pytest_llmops.cassettes.outcome import Outcome
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.socket_responses import ResponseEnd, ResponseStart, ResponseTracker
from pytest_llmops.errors import BudgetReached, CassetteError, CassetteMiss

if TYPE_CHECKING:
    from pytest_llmops.cassettes.tape import Tape

_JSON = {"content-type": "application/json"}
_FAILED = 400  # the lowest status of an error


class LiveConnection:
    """A connection that is being recorded.

    Connections to one address are recorded in the order in which they were opened: one that ends waits for those opened before it.

    Args:
        tape: The tape that records it.
        question: The request that opens it.
    """

    def __init__(self, tape: Tape, question: Question) -> None:
        self._tape = tape
        self._question = question
        self._take = active_tape.current_take()
        self._purpose = active_tape.current_purpose()
        self._started = time.perf_counter()
        self._started_s = tape.measure_start(self._started)
        self._messages: list[Message] = []
        self._tracker = ResponseTracker(question.url)
        self._calls: list[Question] = []  # of the responses under way
        self._sending = _Fragments()
        self._receiving = _Fragments()
        self._response: Any = None  # to the request that opens it
        self._answer: Answer | None = None  # once it has ended
        self._why_not_kept = ""
        self._is_aborted = False
        tape.unfinished[id(self)] = self.end_with_tape

    def attach(self, connection: Any) -> None:
        """Copy the messages that a connection sends and receives from now on.

        Args:
            connection: A connection of `websockets` whose handshake has not begun.
        """
        protocol = connection.protocol
        receive, end = protocol.events_received, protocol.receive_eof
        protocol.send_text = self._copy_sent(protocol.send_text, is_text=True)
        protocol.send_binary = self._copy_sent(protocol.send_binary, is_text=False)
        protocol.send_continuation = self._copy_sent(protocol.send_continuation, is_text=None)

        def events_received() -> Any:
            events = receive()
            for event in events:
                self._note_event(event)
            return events

        def receive_eof() -> None:
            end()
            for event in protocol.events:  # an answer to the handshake without a length ends here
                if self._response is None and hasattr(event, "status_code"):
                    self._response = event
            self._end(protocol)

        protocol.events_received = events_received
        protocol.receive_eof = receive_eof
        lose = getattr(connection, "connection_lost", None)
        if lose is None:  # of threads: only the server's end, or a closing frame, ends it
            return

        def connection_lost(error: Exception | None) -> None:
            self._is_aborted = error is None
            lose(error)

        connection.connection_lost = connection_lost

    def _copy_sent(self, real: Callable[..., None], *, is_text: bool | None) -> Callable[..., None]:
        """Return a method of the protocol that sends a frame and copies it; None as kind of a continuation."""

        def send(data: Any, fin: bool = True) -> None:  # noqa: FBT001, FBT002 -- the signature of websockets
            content = bytes(data)
            whole = self._sending.add(content, is_text=is_text, fin=fin)
            if whole is None:
                real(data, fin)
                return
            message = make_client_message(whole, self._seconds(), is_text=self._sending.is_text)
            event = self._tracker.add(message)
            if isinstance(event, ResponseStart):
                self._begin_response(event)
            real(data, fin)
            self._messages.append(message)

        return send

    def _seconds(self) -> float:
        """Return the time since the connection was opened, as precisely as it is recorded."""
        return round(time.perf_counter() - self._started, SECONDS_DIGITS)

    def _note_event(self, event: Any) -> None:
        """Copy the server's output: its answer to the handshake, and messages."""
        if hasattr(event, "status_code"):
            self._response = event
            return
        from websockets.frames import Opcode

        kinds = {Opcode.TEXT: True, Opcode.BINARY: False, Opcode.CONT: None}
        if event.opcode not in kinds:
            return
        whole = self._receiving.add(bytes(event.data), is_text=kinds[event.opcode], fin=event.fin)
        if whole is None:
            return
        message = Message("server", whole, self._receiving.is_text, self._seconds())
        self._messages.append(message)
        found = self._tracker.add(message)
        if isinstance(found, ResponseStart):
            with contextlib.suppress(BudgetReached, CassetteMiss):  # the test fails of it at its end
                self._begin_response(found)
        elif found is not None:
            self._end_response(found)

    def _begin_response(self, start: ResponseStart) -> None:
        """Take the call of a response from the budget.

        Raises:
            BudgetReached: The budget has no live call left.
        """
        if self._answer is not None:  # its tape has ended
            return
        body = json.dumps(start.request).encode()
        call = self._tape.make_question("POST", start.url, _JSON, body)
        self._tape.begin_response(call)
        self._calls.append(call)

    def _end_response(self, end: ResponseEnd) -> None:
        """Report a complete response to the trace, and its cost to the ledger."""
        is_over = self._answer is not None  # then the trace belongs to another test
        if is_over or not self._calls:
            return
        call = self._calls.pop(0)
        request = call.json if call.sent_json is None else call.sent_json
        exchange = end.make_exchange(request, self._purpose, replayed=False, opened_s=self._started_s)
        self._tape.end_call(call, exchange, end.status < _FAILED)

    def give_up(self, error: BaseException) -> None:
        """End a connection that could not be opened: a refusal, a time-out and a cancelled call are recorded, as for HTTP."""
        if self._answer is not None:
            return
        if self._response is not None and self._response.status_code != OPENED:
            self._finish(self._make_answer(End("client")))
            return
        outcome = Outcome.from_exception(error, began=False)
        self._why_not_kept = f"a WebSocket to {self._question.url} was not opened ({type(error).__name__})"
        self._finish(Answer(0, {}, b"", self._seconds(), outcome=outcome, started_s=self._started_s))

    def end_with_tape(self) -> None:
        """End a connection that is still open when its tape ends: the messages so far are recorded."""
        if self._answer is None:
            self._finish(self._make_answer(End("open")))

    def _end(self, protocol: Any) -> None:
        """End the connection, which is closed."""
        if (
            self._answer is not None or self._response is None
        ):  # a handshake that failed is given up by its caller
            return
        problem = protocol.parser_exc
        if problem is not None and not isinstance(
            problem, EOFError
        ):  # too big, no UTF-8, or no WebSocket at all
            self._why_not_kept = f"the client could not read what came over a WebSocket to {self._question.url} ({type(problem).__name__}: {problem})"
            self._finish(Answer(0, {}, b"", self._seconds()))
            return
        self._finish(self._make_answer(self._find_end(protocol)))

    def _find_end(self, protocol: Any) -> End:
        """Return who ended a connection."""
        received = protocol.close_rcvd
        if received is not None and protocol.close_rcvd_then_sent is not False:
            return End("server", int(received.code), received.reason)
        if protocol.close_sent is not None or received is not None or self._is_aborted:
            return End("client")
        return End("lost")

    def _make_answer(self, end: End) -> Answer:
        """Return the whole connection as an answer."""
        response = self._response
        if response is None:
            self._why_not_kept = f"a WebSocket to {self._question.url} was still being opened at the end"
            return Answer(0, {}, b"", self._seconds())
        headers = {name.lower(): value for name, value in response.headers.raw_items()}
        body = bytes(response.body or b"")
        if response.status_code == OPENED:
            subprotocol = headers.get("sec-websocket-protocol", "")
            headers = {"content-type": "application/json"}
            body = Conversation(self._messages, end, subprotocol).encode()
        return Answer(response.status_code, headers, body, self._seconds(), started_s=self._started_s)

    def _finish(self, answer: Answer) -> None:
        """End the connection with its answer, and record it and those that have waited for it."""
        self._answer = answer
        for call in self._calls:
            self._tape.end_socket(call)
        self._calls.clear()
        for connection in self._list_waiting():
            if connection._answer is None:  # noqa: SLF001 -- of the same class
                return
            connection._record()  # noqa: SLF001

    def _list_waiting(self) -> Iterator[LiveConnection]:
        """Yield the connections of the tape to this address that are not recorded, in the order in which they were opened."""
        for end in list(self._tape.unfinished.values()):
            connection = getattr(end, "__self__", None)
            if not isinstance(connection, LiveConnection) or connection._take != self._take:  # noqa: SLF001
                continue
            if connection._question.key == self._question.key:  # noqa: SLF001
                yield connection

    def _record(self) -> None:
        """Record the answer, once."""
        if self._tape.unfinished.pop(id(self), None) is None or self._answer is None:
            return
        self._tape.end_socket(self._question)
        is_failing = self._tape.verdict() is not None or self._tape.has_failed_write()
        if not self._answer.status and (self._answer.outcome is None or is_failing):
            self._tape.note_unrecorded(f"1 call was not recorded: {self._why_not_kept}")
            return
        # The tape keeps an error, and raises it when it is closed.
        with contextlib.suppress(CassetteError):
            self._tape.record(self._question, self._answer, self._take, self._purpose)


class _Fragments:
    """Joins the frames of a message.

    Attributes:
        is_text: Whether the message is a text.
    """

    def __init__(self) -> None:
        self.is_text = True
        self._data = bytearray()

    def add(self, data: bytes, *, is_text: bool | None, fin: bool) -> bytes | None:
        """Add a frame, and return the message if it is complete.

        Args:
            data: The content of the frame.
            is_text: Whether it begins a text; None: it goes on with the last message.
            fin: Whether it ends the message.
        """
        if is_text is not None:
            self._data.clear()
            self.is_text = is_text
        self._data += data
        if not fin:
            return None
        return bytes(self._data)
