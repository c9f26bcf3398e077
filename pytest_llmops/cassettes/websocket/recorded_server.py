"""The server of a recorded connection: it plays its part to a real client over a pair of sockets, in a thread.

The client is the unchanged client of `websockets`: its errors, its closing and its options are as with a real server. No connection
leaves the process.
"""

from __future__ import annotations

import contextlib
import contextvars
import http
import logging
import selectors
import socket
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmops.cassettes import active_tape, miss
from pytest_llmops.cassettes.conversation import (
    OPENED,
    Conversation,
    End,
    Message,
    make_client_message,
)
from pytest_llmops.cassettes.naming import display_path
from pytest_llmops.cassettes.socket_responses import ResponseEnd, ResponseTracker
from pytest_llmops.cassettes.websocket.script import Cue, Difference, Script

if TYPE_CHECKING:
    from pytest_llmops.cassettes.request_key import Answer, Question
    from pytest_llmops.cassettes.tape import Tape

# How much longer than the whole recorded conversation the server waits for a message of the client
PATIENCE_S = 60.0
POLICY_VIOLATION = 1008  # clients do not connect again after it
MISS_REASON = "pytest-llmops: no recording answers this message"
_CHUNK = 1 << 16
_NO_CODE = 1005
_silent = logging.getLogger("pytest_llmops.websocket")
_silent.disabled = True


class RecordedServer:
    """The server of a recorded connection.

    Args:
        tape: The tape that has the recording.
        question: The request that opened the connection.
        answer: The recorded answer.
        conversation: The messages; None: the server refused the connection.
    """

    def __init__(
        self, tape: Tape, question: Question, answer: Answer, conversation: Conversation | None
    ) -> None:
        self._tape = tape
        self._question = question
        self._answer = answer
        self._conversation = conversation or Conversation((), End("client"))
        self._script = Script(self._conversation, tape.comparable_message)
        self._tracker = ResponseTracker(question.url)
        self._tracked = 0  # recorded messages that the tracker has
        self._purpose = active_tape.current_purpose()
        self._fragments = bytearray()
        self._is_text = True
        self._outgoing = bytearray()
        self._is_cut = False  # the connection ends without a closing frame once all is sent
        self._has_missed = False
        self._protocol: Any = None
        self._socket: socket.socket

    def start(self) -> socket.socket:
        """Begin to serve, and return the socket of the client."""
        from websockets.server import ServerProtocol

        recorded = self._conversation.subprotocol

        def select_subprotocol(_: Any, offered: Sequence[Any]) -> Any:
            if recorded in offered:
                return recorded
            return None

        self._protocol = ServerProtocol(select_subprotocol=select_subprotocol, max_size=None, logger=_silent)
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        self._socket = ours
        # The trial and the block of the caller, for reports to the trace.
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._serve,), name="pytest-llmops websocket", daemon=True
        )
        thread.start()
        return theirs

    def _serve(self) -> None:
        """Answer the client until one of the two closes the connection."""
        with self._socket, selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            selector.register(self._socket, selectors.EVENT_READ)
            while not self._is_over():
                wanted = selectors.EVENT_READ
                if self._outgoing:
                    wanted |= selectors.EVENT_WRITE
                selector.modify(self._socket, wanted)
                ready = selector.select(self._patience())
                if not ready:
                    self._give_up_waiting()
                for _, events in ready:
                    if events & selectors.EVENT_READ and not self._read():
                        return
                self._write()
            self._drain()

    def _is_over(self) -> bool:
        """Return whether the connection is cut, as it was when it was recorded."""
        return self._is_cut and not self._outgoing

    def _drain(self) -> None:
        """Read the client's data on a connection that is cut: else it would be reset, and lose the data sent before."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.settimeout(None)
            while self._socket.recv(_CHUNK):
                pass

    def _patience(self) -> float | None:
        """Return how long to wait for the client; None if nothing would follow, and it may stay silent."""
        ended_by_client = self._conversation.end.by == "client"
        if self._has_missed or not (self._script.waits_for_client or ended_by_client):
            return None
        duration = 0.0
        if self._conversation.messages:
            duration = self._conversation.messages[-1].seconds
        return duration + PATIENCE_S

    def _read(self) -> bool:
        """Read from the client, and prepare the answer; return False once the client has gone."""
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return True
        if not data:
            return False
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            self._handle(event)
        return True

    def _write(self) -> None:
        """Send the data that is due, as far as the client accepts it now."""
        is_half_closed = False
        for data in self._protocol.data_to_send():
            self._outgoing += data
            is_half_closed = is_half_closed or not data
        with contextlib.suppress(BlockingIOError):
            while self._outgoing:
                del self._outgoing[: self._socket.send(self._outgoing)]
        if is_half_closed and not self._outgoing:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def _handle(self, event: Any) -> None:
        """Handle the request of the client, or a frame."""
        from websockets.frames import Opcode
        from websockets.http11 import Request

        if isinstance(event, Request):
            self._protocol.send_response(self._make_response(event))
            if self._answer.status == OPENED:
                self._play()
            return
        if event.opcode is Opcode.CLOSE:
            self._note_unsent()
            return
        if event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT) or self._has_missed:
            return
        if event.opcode is not Opcode.CONT:
            self._fragments.clear()
            self._is_text = event.opcode is Opcode.TEXT
        self._fragments += event.data
        if not event.fin:
            return
        try:
            self._receive(bytes(self._fragments))
        except Exception as error:  # noqa: BLE001 -- of a hook of the project; nobody sees what this thread raises
            self._refuse(f"{type(error).__name__}: {error} (while a message over a WebSocket was compared)")

    def _make_response(self, request: Any) -> Any:
        """Return the recorded answer to the request that opens the connection."""
        if self._answer.status == OPENED:
            return self._protocol.accept(request)
        from websockets.datastructures import Headers
        from websockets.http11 import Response

        headers = Headers(self._answer.headers)
        headers["content-length"] = str(len(self._answer.body))
        headers["connection"] = "close"
        phrase = ""
        with contextlib.suppress(ValueError):
            phrase = http.HTTPStatus(self._answer.status).phrase
        return Response(self._answer.status, phrase, headers, self._answer.body)

    def _receive(self, data: bytes) -> None:
        """Compare a message of the client, and send the messages that were recorded after it."""
        message = make_client_message(data, 0.0, is_text=self._is_text)
        difference = self._script.receive(message)
        if difference is None:
            self._play()
            return
        self._refuse(self._describe(difference))

    def _describe(self, difference: Difference) -> str:
        """Return the text for a message that is not the recorded one."""
        return miss.describe_changed_message(
            self._question,
            difference.number,
            difference.recorded,
            difference.sent,
            what=difference.what,
            place=display_path(self._tape.path),
            command=self._tape.command_again,
        )

    def _refuse(self, text: str) -> None:
        """Count a miss for the running test, and close the connection with an error."""
        self._has_missed = True
        tape = self._tape
        is_local = active_tape.find_remote_tape is None
        if is_local and tape not in active_tape.tapes_in_use():  # of a fixture, whose set-up has ended
            tape = active_tape.base_tape() or tape
        tape.refuse(text, self._tape.command_again)
        self._close(POLICY_VIOLATION, MISS_REASON)

    def _give_up_waiting(self) -> None:
        """Refuse to wait any longer for a message of the client."""
        self._refuse(
            miss.describe_silent_client(
                self._question,
                self._script.next_message,
                seconds=self._patience() or 0.0,
                place=display_path(self._tape.path),
                command=self._tape.command_again,
            )
        )

    def _play(self) -> None:
        """Send the messages that are due."""
        for cue in self._script.take_due():
            self._report_responses(cue)
            if isinstance(cue.content, Message):
                self._send(cue.content)
            elif cue.content.by == "lost":
                self._is_cut = True
            else:
                self._close(cue.content.code, cue.content.reason)

    def _send(self, message: Message) -> None:
        """Send a message, unless the client has closed the connection meanwhile."""
        if not self._is_open():
            return
        if message.is_text:
            self._protocol.send_text(message.data)
        else:
            self._protocol.send_binary(message.data)

    def _close(self, code: int, reason: str) -> None:
        """Close the connection, unless the client has closed it meanwhile."""
        if not self._is_open():
            return
        if code == _NO_CODE:
            self._protocol.send_close()
        else:
            self._protocol.send_close(code, reason)

    def _is_open(self) -> bool:
        """Return whether neither side has closed the connection."""
        from websockets.protocol import State

        return self._protocol.state is State.OPEN

    def _report_responses(self, cue: Cue) -> None:
        """Report to the trace the responses that this message completes."""
        recorded = self._conversation.messages[self._tracked : cue.position + 1]
        self._tracked += len(recorded)
        for message in recorded:
            event = self._tracker.add(message)
            if isinstance(event, ResponseEnd):
                exchange = event.make_exchange(
                    event.start.request, self._purpose, replayed=True, opened_s=self._answer.started_s
                )
                self._tape.note_replay(exchange)

    def _note_unsent(self) -> None:
        """Note that the client has closed the connection before it has sent all that it had sent when it was recorded."""
        count = self._script.unsent_count
        if count and not self._has_missed:
            self._tape.note(
                f"a WebSocket to {self._question.url} was closed with {count} recorded messages of the client to come"
            )
