"""One connection of a client to an MCP server: decides which messages are replayed, sent to the server, and recorded.

It knows only messages. `stdio` and `streamable_http` pass them on.
"""

import contextlib
import itertools
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
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
from pytest_llmops.cassettes.tool_questions import (
    END_METHOD,
    MCP,
    START_METHOD,
    is_repeated,
    make_tool_answer,
    read_tool_answer,
)
from pytest_llmops.errors import BudgetReached, CassetteError, CassetteMiss

SILENCE_GRACE_S = 60.0  # how much longer than recorded a client may wait for an answer that never came
# How much longer than recorded a live tool may take that is compared; many clients give up after 5 s
COMPARE_GRACE_S = 4.0
TIMING_DIGITS = 4
_GREETINGS = frozenset({messages.INITIALIZE, "server/discover"})  # each connection has its own


@dataclass(slots=True, eq=False)
class Turn:
    """The effects of a message.

    Attributes:
        to_client: Messages that the client gets.
        to_server: Messages that go to the server.
        later: Requests that get a late answer: `McpSession.take_late_answer` returns it after so many seconds.
        ends: Whether the server ends now, as it did when it was recorded.
        lines: Lines that the client gets although they are not messages.
        wait_s: How long to wait before a message goes to the server.
    """

    to_client: list[Message] = field(default_factory=list)
    to_server: list[Message] = field(default_factory=list)
    later: list[tuple[float, MessageId]] = field(default_factory=list)
    ends: bool = False
    lines: list[bytes] = field(default_factory=list)
    wait_s: float = 0.0


@dataclass(slots=True, eq=False)
class _OpenRequest:
    """A request that the server has not answered yet.

    Attributes:
        before: The messages of the server since.
        replies: The client's answers to requests of the server among them.
    """

    message: Message
    tape: Tape
    question: Question
    turn: ToolTurn
    started: float
    before: list[Message] = field(default_factory=list)
    replies: list[Message] = field(default_factory=list)

    @property
    def has_spare_answer(self) -> bool:
        """Whether the client gets a recorded answer, although the server is called only for comparison."""
        return (
            self.turn.action == "compare"
            and self.turn.answer is not None
            and self.turn.answer.outcome is None
        )


@dataclass(slots=True, eq=False)
class _Script:
    """A recorded answer that is being played: it stops where the server sent the client a request."""

    request: Message
    rest: Iterator[Message]
    replies: Iterator[Message]
    tape: Tape


class McpSession:
    """One connection of a client to a server.

    Args:
        name: Returns the name of the server for the patterns of ``llm_mcp_servers``, see `server_names`.
        identity: Distinguishes servers of the same name.
    """

    def __init__(self, name: Callable[[Mapping[str, str]], str], identity: str) -> None:
        self._name = name
        self._identity = identity
        self._opened_on = current_tape()
        # Lists that the connection has got, by key: a test that uses it later may be the only one of another run
        self._lists: dict[str, tuple[Message, Answer]] = {}
        self._copied_to: set[tuple[int, str]] = set()
        self._named_on: Tape | None = None
        self._label = ""  # the name on that tape
        self._open: dict[MessageId, _OpenRequest] = {}
        self._scripts: dict[MessageId, _Script] = {}  # by the id of the server's request
        self._loose: list[Message] = []  # of the server, while no request was open
        self._asked_by: dict[MessageId, _OpenRequest] = {}  # the open request of a request of the server
        self._numbers = itertools.count(1)
        # Late answers for the client: for each of its requests the function that makes the answer when it is time
        self._late: dict[MessageId, Callable[[], Message]] = {}
        self._given_up: set[MessageId] = set()  # requests that got their recorded answer before the live one
        self.compares = (
            False  # whether the server is called only for comparison: the client need not know of its end
        )
        self._server_has_ended = False
        self._is_over = False  # whether the client has closed the connection, or the server has ended
        self.greeting: list[Message] = []  # the first messages of the client: a real server must get them too
        self.has_server = False  # whether the real server has heard the greeting

    def receive_from_client(self, message: Message) -> Turn:
        """Return the effects of a message of the client."""
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
        question = self._make_question(tape, message["method"], message.get("params", {}))
        self._abandon(message["id"])
        take = self._find_take(tape)
        if not self.has_server and not tape.is_tool_recorded(question, take):
            end = self._make_question(tape, END_METHOD, {})
            if tape.has_tool_server_ended(end, take):
                tape.claim_tool(end, take)
                return Turn(ends=True)
        try:
            turn = tape.claim_tool(question, take)
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
        if turn.action == "record" and not is_repeated(question) and tape != self._opened_on:
            self._copy_lists(tape, take)
        wait_s = 0.0
        if turn.fault is not None:
            wait_s = turn.fault.pause_s
        request = _OpenRequest(message, tape, question, turn, time.perf_counter() + wait_s)
        request.before, self._loose = self._loose, []
        self._open[message["id"]] = request
        self.compares = turn.action == "compare"
        if self._server_has_ended:
            ended = self._end_requests(by_server=True)
            if self.compares:
                return ended
        later = []
        if request.has_spare_answer:
            later.append((self._limit_comparison(request, wait_s), message["id"]))
        return Turn(to_server=[message], later=later, wait_s=wait_s)

    def _limit_comparison(self, request: _OpenRequest, wait_s: float) -> float:
        """Let the client have the recorded answer to a request if no live one comes; return after how many seconds."""
        limit = COMPARE_GRACE_S
        if request.turn.answer is not None:
            limit += request.turn.answer.latency_s or 0.0
        request_id = request.message["id"]

        def give_recorded() -> Message:
            self._open.pop(request_id, None)
            self._given_up.add(request_id)
            given = self._finish(
                request, self._make_outcome(request, "no answer", f"no answer within {limit:.1f} s")
            )
            return _make_answer(request_id, read_tool_answer(given))

        self._late[request_id] = give_recorded
        return limit + wait_s

    def _give_fault(self, message: Message, question: Question, given: ToolFault, tape: Tape) -> Turn:
        """Return the effects of a request that gets a fault on purpose."""
        if given.ends:
            self._is_over = True  # it is ended on purpose, which does not belong to the recording
            return Turn(ends=True)
        if given.content:
            return Turn(to_client=[_make_answer(message["id"], _complete_result(message, given.content))])

        def end_hanging() -> Message:
            tape.note_hung(question.key)
            return messages.make_error(
                message["id"], f"no answer came within {given.pause_s:g} s (a fault of the test)"
            )

        self._late[message["id"]] = end_hanging
        turn = Turn(later=[(given.pause_s, message["id"])])
        if given.line:
            turn.lines.append(given.line)
        return turn

    def _delay(self, turn: Turn, seconds: float) -> Turn:
        """Return a turn whose answer comes later; the server's messages before it come at once."""
        at_once = [message for message in turn.to_client if not messages.is_answer(message)]
        late = []
        for message in turn.to_client:
            if messages.is_answer(message):
                self._late[message["id"]] = partial(dict, message)
                late.append((seconds, message["id"]))
        return replace(turn, to_client=at_once, later=[*turn.later, *late])

    def _copy_lists(self, tape: Tape, take: str) -> None:
        """Record on a test's tape the lists that an earlier test has requested on the same connection.

        If it runs without the others, this test is the first to use the connection: then the client requests them in it.
        """
        if (hash(tape), take) in self._copied_to:
            return
        self._copied_to.add((hash(tape), take))
        for message, answer in self._lists.values():
            question = self._make_question(tape, message["method"], message.get("params", {}))
            if tape.is_tool_recorded(question, take):
                continue
            turn = tape.claim_tool(question, take)
            if turn.action == "record":
                with contextlib.suppress(CassetteError):
                    tape.finish_tool(question, turn, answer)

    def _make_question(self, tape: Tape, method: str, params: object) -> Question:
        """Return a request as it is matched with recordings."""
        if tape != self._named_on:  # the settings may differ
            self._named_on = tape
            label = self._name(tape.list_tool_servers())
            self._label = tape.name_tool_server(label, self._identity, self._name({}))
        return tape.make_tool_question(MCP, self._label, method, params)

    def _abandon(self, request_id: MessageId) -> None:
        """Record an open request as one without an answer, if the client gives its id to another one."""
        request = self._open.pop(request_id, None)
        if request is not None:
            text = "the client has used its id again"
            self._finish(request, self._make_outcome(request, "no answer", text))

    async def start(self, start_real: Callable[[], Awaitable[object]]) -> None:
        """Start the server, unless its calls are replayed: then it is started once a message has to go to it.

        A client that waits for the start gets its error, such as that the command does not exist. It is recorded, too.

        Raises:
            OSError: It cannot be started, or could not be when it was recorded.
        """
        tape = current_tape()
        if tape is None or not tape.uses_tools():
            return
        question = self._make_question(tape, START_METHOD, {})
        if tape.is_tool_recorded(question, self._find_take(tape)):
            turn = tape.claim_tool(question, self._find_take(tape))
            if turn.answer is not None:
                raise _read_start_error(turn.answer)
        elif not tape.starts_tools(question, self._find_take(tape)):
            return
        try:
            await start_real()
        except OSError as error:
            turn = tape.claim_tool(question, self._find_take(tape))
            self.compares = turn.action == "compare"
            place = os.fsdecode(error.filename or "")
            content = {"error": {"code": error.errno, "message": error.strerror or str(error), "data": place}}
            with contextlib.suppress(CassetteError):
                tape.finish_tool(question, turn, make_tool_answer(content))
            if self.compares:  # its requests get their recorded answers
                self._server_has_ended = True
                return
            raise

    def refuse_late_start(self, error: OSError) -> list[Message]:
        """Return the client's answers to its open requests if the server cannot be started for them. The test fails."""
        if self.compares:
            self._server_has_ended = True
            return self._end_requests(by_server=True).to_client
        answers = []
        while self._open:
            request_id, request = self._open.popitem()
            request.tape.abandon_tool(request.question, request.turn)
            text = f"{request.question.url} could not be started for {request.question.method}: {error}"
            answers.append(messages.make_error(request_id, str(request.tape.refuse(text))))
        return answers

    def _find_take(self, tape: Tape) -> str:
        """Return the take of a request: a connection may be older than the trial that uses it."""
        if active_tape.find_remote_tape is not None:  # the process of the test knows the take
            return ""
        if tape is not self._opened_on and recorder.open_trials:
            return str(recorder.open_trials[-1])
        return active_tape.current_take()

    def _replay(self, message: Message, answer: Answer, tape: Tape) -> Turn:
        """Return the recorded answer to a request, with the server's messages before it."""
        if answer.outcome is not None and answer.outcome.kind == "closed":
            return Turn(ends=True)
        if answer.outcome is not None:
            limit = (answer.latency_s or 0.0) + SILENCE_GRACE_S
            self._late[message["id"]] = partial(_refuse_silence, message["id"], limit, tape)
            return Turn(later=[(limit, message["id"])])
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
        """Pass on the client's answer to the server, or go on with the script that has sent the request."""
        script = self._scripts.pop(message["id"], None)
        if script is not None:
            recorded = next(script.replies, None)
            if recorded is not None and recorded != _without_id(message):
                script.tape.note_once(
                    f"the client's answer to {script.request['method']} of an MCP server differs from the recording"
                )
            return self._play_on(script)
        request = self._asked_by.pop(message["id"], None)
        if request is not None:
            request.replies.append(_without_id(message))
        if self.compares and self._server_has_ended:
            return Turn()
        return Turn(to_server=[message])

    def _receive_notification(self, message: Message) -> Turn:
        """Pass on a notification if there is a server; note a cancelled request."""
        if message.get("method") == messages.INITIALIZED:
            self.greeting.append(message)
        cancelled = messages.cancelled_id(message)
        if isinstance(cancelled, (int, str)):
            self._late.pop(cancelled, None)
            self._given_up.discard(cancelled)
            request = self._open.pop(cancelled, None)
            if request is not None:
                self._finish(request, self._make_outcome(request, "no answer", "the client has cancelled it"))
        if self.has_server and not (self.compares and self._server_has_ended):
            return Turn(to_server=[message])
        return Turn()

    def is_waiting(self, request_id: MessageId) -> bool:
        """Return whether the client still waits for a late answer."""
        return request_id in self._late

    def take_late_answer(self, request_id: MessageId) -> Message | None:
        """Return the late answer to a request, which the client gets now; None if it does not wait any more."""
        make = self._late.pop(request_id, None)
        if make is None:
            return None
        return make()

    def receive_from_server(self, message: Message) -> list[Message]:
        """Return the client's messages for a message of the server, and record it."""
        if messages.is_answer(message):
            if message["id"] in self._given_up:
                self._given_up.discard(message["id"])
                return []
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
        if request.has_spare_answer:
            self._late.pop(message["id"], None)
        if request.before:
            content["before"] = request.before
        if request.replies:
            content["replies"] = request.replies
        content |= _select_answer(message)
        answer = make_tool_answer(content, self._measure(request))
        if is_repeated(request.question) and request.message["method"] not in _GREETINGS:
            self._lists[request.question.key] = (request.message, answer)
        given = self._finish(request, answer)
        if given == answer:
            return message
        if given.outcome is not None:
            return messages.make_error(message["id"], f"no answer is recorded: {given.outcome.text}")
        return _make_answer(message["id"], read_tool_answer(given))

    def _measure(self, request: _OpenRequest) -> float:
        """Return how many seconds a request took, without a wait on purpose."""
        return round(max(time.perf_counter() - request.started, 0.0), TIMING_DIGITS)

    def _make_outcome(self, request: _OpenRequest, error: str, text: str) -> Answer:
        """Return the answer of a request that gets none."""
        content: dict[str, Any] = {}
        if request.before:
            content["before"] = request.before
        return make_tool_answer(content, self._measure(request), Outcome(error, text))

    def _finish(self, request: _OpenRequest, answer: Answer) -> Answer:
        """Record or compare an answer. If it cannot be written, the end of the tape reports it; after that end, it is not needed."""
        with contextlib.suppress(CassetteError, CassetteMiss):
            return request.tape.finish_tool(request.question, request.turn, answer)
        return answer

    def end(self, *, by_server: bool, status: int | None = None) -> Turn:
        """Record requests that get no answer any more.

        If they are compared, the client gets the recorded answers, and the connection goes on without the server.

        Args:
            by_server: Whether the server has ended; otherwise the client closes the connection.
            status: The exit status of the server, if it is known.
        """
        turn = Turn(ends=True)
        was_over = self._is_over
        self._is_over = True
        self._server_has_ended = self._server_has_ended or by_server
        if by_server and not was_over and not self._open:
            turn.ends = self._record_end()
        elif self._open:
            turn = self._end_requests(by_server=self._server_has_ended, status=status)
        if turn.ends:
            self._late.clear()
        return turn

    def abandon(self) -> None:
        """Record nothing for the open requests: their connection has failed, which may not happen again."""
        while self._open:
            _, request = self._open.popitem()
            text = f"no connection to {request.question.url}: is the server up?"
            if request.turn.action == "compare":
                self._finish(request, self._make_outcome(request, "server ended", text))
                continue
            request.tape.abandon_tool(request.question, request.turn)
            request.tape.note_unrecorded(text)

    def _record_end(self) -> bool:
        """Record that the server has ended between two calls: on replay, the call after the last recorded one learns of it.

        Returns:
            Whether the client has to learn of it now.
        """
        tape = current_tape()
        if tape is None or not tape.uses_tools():
            return True
        question = self._make_question(tape, END_METHOD, {})
        with contextlib.suppress(CassetteMiss, BudgetReached, CassetteError):
            turn = tape.claim_tool(question, self._find_take(tape))
            if turn.is_live:
                outcome = Outcome("server ended", "the server has ended")
                tape.finish_tool(question, turn, make_tool_answer({}, outcome=outcome))
            return not (turn.action == "compare" and turn.answer is None)
        return True

    def _end_requests(self, *, by_server: bool, status: int | None = None) -> Turn:
        """Record that the open requests get no answer; return the client's messages."""
        error, text = "no answer", "the client has closed the connection"
        if by_server:
            error, text = "server ended", "the server has ended"
        if self.compares and status is not None:
            text += f" with exit status {status}"
        answers: list[Message] = []
        ends = False
        while self._open:
            request_id, request = self._open.popitem()
            given = self._finish(request, self._make_outcome(request, error, text))
            if request.has_spare_answer and by_server:
                self._late.pop(request_id, None)
                answers.append(_make_answer(request_id, read_tool_answer(given)))
            else:
                ends = True
        return Turn(to_client=answers, ends=ends)


def _read_start_error(answer: Answer) -> OSError:
    """Return the recorded error of the start of a server: of the class that its number has."""
    error = read_tool_answer(answer).get("error", {})
    return OSError(error.get("code"), error.get("message"), error.get("data") or None)


def _refuse_silence(request_id: MessageId, limit: float, tape: Tape) -> Message:
    """Count a miss, and return the error for a request that got no answer when it was recorded.

    The client should have given up, as it did then.
    """
    text = (
        f"cassette {tape.path}: the client gave up this call, or closed the connection, when it was recorded, and has"
        f" waited {limit:g} s for an answer now: record it again: {tape.command_again}"
    )
    return messages.make_error(request_id, str(tape.refuse(text)))


def _select_answer(message: Message) -> Message:
    """Return the content of an answer: its result or its error."""
    return {name: message[name] for name in ("result", "error") if name in message}


def _make_answer(request_id: MessageId, content: Message) -> Message:
    """Return the answer to a request, with the recorded result or error."""
    return {"jsonrpc": "2.0", "id": request_id, **_select_answer(content)}


def _complete_result(request: Message, content: Mapping[str, Any]) -> Message:
    """Return the content of an answer as the protocol of a request wants it: since 2026-07-28 a result is marked as one.

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
    """Return a reply without the parts that differ from run to run."""
    return {name: value for name, value in message.items() if name not in ("id", "jsonrpc")}
