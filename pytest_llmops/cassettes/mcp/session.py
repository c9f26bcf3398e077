"""One connection of a client to an MCP server: what is replayed, what goes to the server, and what is recorded.

It knows messages alone. `stdio` and `streamable_http` pass them on.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_llmops import recorder
from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.active_tape import current_tape
from pytest_llmops.cassettes.faults.tool_answers import ToolFault
from pytest_llmops.cassettes.mcp import messages
from pytest_llmops.cassettes.mcp.messages import Message, MessageId
from pytest_llmops.cassettes.outcome import Outcome
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tool_calls import ToolTurn
from pytest_llmops.cassettes.tool_questions import MCP, make_tool_answer, read_tool_answer
from pytest_llmops.errors import BudgetReached, CassetteError, CassetteMiss

SILENCE_GRACE_S = 60.0  # how much longer than recorded a client may wait for an answer that never came
TIMING_DIGITS = 4


@dataclass(slots=True, eq=False)
class Turn:
    """What follows from a message.

    Attributes:
        to_client: Messages that the client gets.
        to_server: Messages that go to the server.
        later: Messages that the client gets after so many seconds, unless it has cancelled their request.
        ends: Whether the server ends now, as it did when it was recorded.
        lines: Lines that the client gets although they are no messages.
        wait_s: How long to wait before a message goes to the server.
    """

    to_client: list[Message] = field(default_factory=list)
    to_server: list[Message] = field(default_factory=list)
    later: list[tuple[float, Message]] = field(default_factory=list)
    ends: bool = False
    lines: list[bytes] = field(default_factory=list)
    wait_s: float = 0.0


@dataclass(slots=True, eq=False)
class _OpenRequest:
    """A request that the server has not answered yet.

    Attributes:
        before: What the server has sent since.
        replies: What the client has answered to requests of the server among them.
    """

    message: Message
    tape: Tape
    question: Question
    turn: ToolTurn
    started: float
    before: list[Message] = field(default_factory=list)
    replies: list[Message] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Script:
    """A recorded answer that is being played: it stops where the server asked the client something."""

    request: Message
    rest: Iterator[Message]
    replies: Iterator[Message]
    tape: Tape


class McpSession:
    """One connection of a client to a server.

    Args:
        name: The name of the server, see `server_names`.
        identity: What tells servers of the same name apart.
        check_name: Returns the name under the settings of the running test.
    """

    def __init__(self, name: Callable[[], str], identity: str) -> None:
        self._name = name
        self._identity = identity
        self._opened_on = current_tape()
        self._open: dict[MessageId, _OpenRequest] = {}
        self._scripts: dict[MessageId, _Script] = {}  # by the id of the server's request
        self._loose: list[Message] = []  # of the server, while no request was open
        self._asked_by: dict[MessageId, _OpenRequest] = {}  # the open request of a request of the server
        self._numbers = itertools.count(1)
        self._silent: set[MessageId] = set()  # requests that get no answer, as recorded, or a late one
        self._hanging: dict[MessageId, tuple[Tape, Question]] = {}  # those of them that get none on purpose
        self.greeting: list[Message] = []  # what the client has said first: a real server has to hear it too
        self.has_server = False  # whether the real server has heard the greeting

    def receive_from_client(self, message: Message) -> Turn:
        """Return what follows from a message of the client."""
        if messages.is_request(message):
            if message["method"] == messages.INITIALIZE:
                self.greeting = [message]
            return self._receive_request(message)
        if messages.is_answer(message):
            return self._receive_reply(message)
        return self._receive_notification(message)

    def _receive_request(self, message: Message) -> Turn:
        """Replay a request, or send it to the server."""
        tape = current_tape()
        if tape is None or not tape.uses_tools():
            return Turn(to_server=[message])
        name = tape.name_tool_server(self._name(), self._identity)
        question = tape.make_tool_question(MCP, name, message["method"], message.get("params", {}))
        try:
            turn = tape.claim_tool(question, self._find_take(tape))
        except (CassetteMiss, BudgetReached) as error:
            # The tape has counted it: the test fails, whatever the agent makes of the error
            return Turn(to_client=[messages.make_error(message["id"], f"{type(error).__name__}: {error}")])
        if turn.fault is not None and not turn.fault.is_late_answer:
            return self._give_fault(message, question, turn.fault, tape)
        if not turn.is_live and turn.answer is not None:
            replayed = self._replay(message, turn.answer, tape)
            if turn.fault is not None:
                return self._delay(replayed, turn.fault.pause_s)
            return replayed
        request = _OpenRequest(message, tape, question, turn, time.perf_counter())
        request.before, self._loose = self._loose, []
        self._open[message["id"]] = request
        wait_s = 0.0
        if turn.fault is not None:
            wait_s = turn.fault.pause_s
        return Turn(to_server=[message], wait_s=wait_s)

    def _give_fault(self, message: Message, question: Question, given: ToolFault, tape: Tape) -> Turn:
        """Return what follows from a request that gets a fault on purpose."""
        if given.ends:
            return Turn(ends=True)
        if given.content:
            return Turn(to_client=[_make_answer(message["id"], _complete_result(message, given.content))])
        self._silent.add(message["id"])
        self._hanging[message["id"]] = (tape, question)
        text = f"no answer came within {given.pause_s:g} s (a fault of the test)"
        turn = Turn(later=[(given.pause_s, messages.make_error(message["id"], text))])
        if given.line:
            turn.lines.append(given.line)
        return turn

    def _delay(self, turn: Turn, seconds: float) -> Turn:
        """Return a turn whose answer comes later; what the server sends before it comes at once."""
        answers = [message for message in turn.to_client if messages.is_answer(message)]
        self._silent.update(message["id"] for message in answers)
        at_once = [message for message in turn.to_client if not messages.is_answer(message)]
        late = [(seconds, message) for message in answers]
        return replace(turn, to_client=at_once, later=[*turn.later, *late])

    def note_released(self, request_id: MessageId) -> None:
        """Note that the client gets a late message now: it has waited for it all the time."""
        self._silent.discard(request_id)
        hanging = self._hanging.pop(request_id, None)
        if hanging is not None:
            tape, question = hanging
            tape.note_hung(question.key)

    def _find_take(self, tape: Tape) -> str:
        """Return the take of a request: a connection may be older than the trial that uses it."""
        if tape is not self._opened_on and recorder.open_trials:
            return str(recorder.open_trials[-1])
        return active_tape.current_take()

    def _replay(self, message: Message, answer: Answer, tape: Tape) -> Turn:
        """Return the recorded answer to a request, with what the server has sent before it."""
        if answer.outcome is not None and answer.outcome.kind == "closed":
            return Turn(ends=True)
        if answer.outcome is not None:
            self._silent.add(message["id"])
            limit = (answer.latency_s or 0.0) + SILENCE_GRACE_S
            text = f"no answer came when this call was recorded, and the client has waited {limit:g} s for one now"
            return Turn(later=[(limit, messages.make_error(message["id"], text))])
        content = read_tool_answer(answer)
        final = _make_answer(message["id"], content)
        before = content.get("before", [])
        script = _Script(message, iter([*before, final]), iter(content.get("replies", [])), tape)
        return self._play_on(script)

    def _play_on(self, script: _Script) -> Turn:
        """Return the next messages of a script, up to a question to the client."""
        turn = Turn()
        for message in script.rest:
            if message.get("method") == messages.PROGRESS:
                token = messages.progress_token(script.request)
                if token is not None:
                    turn.to_client.append(messages.with_progress_token(message, token))
                continue
            if messages.is_request(message):
                number = f"llmops-{next(self._numbers)}"
                self._scripts[number] = script
                turn.to_client.append({**message, "id": number})
                return turn
            turn.to_client.append(message)
        return turn

    def _receive_reply(self, message: Message) -> Turn:
        """Pass on what the client answers to the server, or go on with the script that has asked."""
        script = self._scripts.pop(message["id"], None)
        if script is not None:
            recorded = next(script.replies, None)
            if recorded is not None and recorded != _without_id(message):
                script.tape.report.note_once(
                    f"the client answered {script.request['method']} of an MCP server otherwise than in the recording"
                )
            return self._play_on(script)
        request = self._asked_by.pop(message["id"], None)
        if request is not None:
            request.replies.append(_without_id(message))
        return Turn(to_server=[message])

    def _receive_notification(self, message: Message) -> Turn:
        """Pass on a notification if there is a server; note what is cancelled."""
        if message.get("method") == messages.INITIALIZED:
            self.greeting.append(message)
        cancelled = messages.cancelled_id(message)
        if isinstance(cancelled, (int, str)):
            self._silent.discard(cancelled)
            self._hanging.pop(cancelled, None)
            request = self._open.pop(cancelled, None)
            if request is not None:
                self._finish(request, self._make_outcome(request, "no answer", "the client has cancelled it"))
        if self.has_server:
            return Turn(to_server=[message])
        return Turn()

    def is_waiting(self, request_id: MessageId) -> bool:
        """Return whether the client still waits for a request that gets no answer."""
        return request_id in self._silent

    def receive_from_server(self, message: Message) -> list[Message]:
        """Return what the client gets for a message of the server, and record it."""
        if messages.is_answer(message):
            request = self._open.pop(message["id"], None)
            if request is None:  # cancelled, or the answer to a request that is not recorded
                return [message]
            return [self._answer(request, message)]
        request = self._find_request(message)
        if request is None:
            self._loose.append(message)
        else:
            request.before.append(message)
            if messages.is_request(message):
                self._asked_by[message["id"]] = request
        return [message]

    def _find_request(self, message: Message) -> _OpenRequest | None:
        """Return the open request that a message of the server belongs to: by its token, else the oldest."""
        token = messages.progress_token(message)
        for request in self._open.values():
            if token is None or token == messages.progress_token(request.message):
                return request
        return None

    def _answer(self, request: _OpenRequest, message: Message) -> Message:
        """Record the answer to a request, and return the one that the client gets."""
        content: dict[str, Any] = {}
        if request.before:
            content["before"] = request.before
        if request.replies:
            content["replies"] = request.replies
        content |= _select_answer(message)
        answer = make_tool_answer(content, self._measure(request))
        given = self._finish(request, answer)
        if given is answer:
            return message
        return _make_answer(message["id"], read_tool_answer(given))

    def _measure(self, request: _OpenRequest) -> float:
        """Return how many seconds a request took."""
        return round(time.perf_counter() - request.started, TIMING_DIGITS)

    def _make_outcome(self, request: _OpenRequest, error: str, text: str) -> Answer:
        """Return the answer of a request that gets none."""
        content: dict[str, Any] = {}
        if request.before:
            content["before"] = request.before
        return make_tool_answer(content, self._measure(request), Outcome(error, text))

    def _finish(self, request: _OpenRequest, answer: Answer) -> Answer:
        """Record or compare an answer. If it cannot be written, the end of the tape says so."""
        with contextlib.suppress(CassetteError):
            return request.tape.finish_tool(request.question, request.turn, answer)
        return answer

    def end(self, *, by_server: bool) -> None:
        """Record requests that get no answer any more.

        Args:
            by_server: Whether the server has ended; otherwise the client closes the connection.
        """
        error, text = "no answer", "the client has closed the connection"
        if by_server:
            error, text = "server ended", "the server has ended"
        in_use = active_tape.tapes_in_use()
        while self._open:
            _, request = self._open.popitem()
            if request.tape in in_use or not isinstance(request.tape, Tape):
                self._finish(request, self._make_outcome(request, error, text))


def _select_answer(message: Message) -> Message:
    """Return what a message answers: its result or its error."""
    return {name: message[name] for name in ("result", "error") if name in message}


def _make_answer(request_id: MessageId, content: Message) -> Message:
    """Return the answer to a request, with the recorded result or error."""
    return {"jsonrpc": "2.0", "id": request_id, **_select_answer(content)}


def _complete_result(request: Message, content: Mapping[str, Any]) -> Message:
    """Return the content of an answer as the protocol of a request wants it: since 2026-07-28 a result says that it is one.

    Only requests of that protocol name it.
    """
    answer = dict(content)
    params = request.get("params")
    if not isinstance(params, dict) or "result" not in answer:
        return answer
    meta = params.get("_meta")
    if isinstance(meta, dict) and messages.PROTOCOL_VERSION in meta:
        answer["result"] = {"resultType": "complete", **answer["result"]}
    return answer


def _without_id(message: Message) -> Message:
    """Return a reply without what differs from run to run."""
    return {name: value for name, value in message.items() if name not in ("id", "jsonrpc")}
