"""Hold a conversation with an agent in the words of a scripted user, and check its replies turn by turn."""

import inspect
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeAlias

from pytest_llmops import recorder
from pytest_llmops.agents.call_requirements import describe_problems
from pytest_llmops.agents.conversations import (
    MAX_QUOTED,
    ScriptedConversation,
    Turn,
    build_turn_trajectory,
    describe_turns,
    find_interrupt,
    read_reply,
)
from pytest_llmops.agents.sources import read_trajectory
from pytest_llmops.agents.trajectory import Trajectory
from pytest_llmops.assertions.text import (
    assert_contains,
    assert_matches,
    assert_not_contains,
    assert_not_matches,
)
from pytest_llmops.assertions.tool_calls import assert_tool_calls
from pytest_llmops.cases import Case
from pytest_llmops.cases.scripted_user import ScriptedUser, TurnDecisions
from pytest_llmops.cases.turn_conditions import TOOLS_NOT_KNOWN, check_condition, search_reply
from pytest_llmops.cases.turns import Condition, Expectation, ScriptedTurn, When
from pytest_llmops.errors import LLMOpsError, UsageError, describe_exception
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.trace import CallLog

__tracebackhide__ = True

# An agent function gets the message of the user (or all messages so far), and returns a text, an answer of an SDK, a list of messages, or the
# result of a framework; it may be async.
Agent: TypeAlias = Callable[[Any], object]
Sends: TypeAlias = Literal["text", "messages"]
SENDS = ("text", "messages")
SHOWN_TURNS = 4  # the last turns that a failure shows
EVIDENCE_LINES = 16
MAX_ERROR_CHARS = 1_000  # characters of an error of the agent


def converse(
    script: ScriptedUser | Case | Sequence[object], agent: Agent, *, send: Sends = "text", label: str = ""
) -> ScriptedConversation:
    """Hold a conversation: send each turn of a script to an agent, and check its replies by the script.

    Args:
        script: A case with the key ``turns``, a list of turns, or a `ScriptedUser`.
        agent: Called once for each message of the user. Returns the reply: a text, an answer of an SDK, a list of messages, or
            the result of an agent framework. An async function runs in one event loop for the whole conversation.
        send: The input of the agent: ``text``, the user's message, if it remembers the conversation itself. ``messages``, all
            messages so far as ``{"role": ..., "content": ...}``.
        label: Distinguishes two conversations of a test.

    Returns:
        The conversation, a sequence of its turns. Records ``conversation.completed``: 1 if it went as scripted, else 0. What
        ``expect`` of a turn names is measured by `assert_contains`, `assert_tool_calls` ..., with the label of the turn.

    Raises:
        MeasurementFailed: A reply is not as expected. ``until`` never held. The agent wanted a tool that needs approval
            unexpectedly, or not at all. Or all turns with ``expect`` were skipped.
        MeasurementErrored: The conversation could not go on: the agent raised, gave no reply, or waits for a person. Or calls of tools
            that a condition is about may be missing.
        UsageError: The script is not valid. A reply cannot be read. A condition is about tools, and the agent's calls are not
            known. Or an async agent is used where an event loop runs already (use `converse_async`).

    >>> conversation = converse(["Hello!", {"say": "Bye.", "when": {"contains": "hello"}}], lambda text: f"{text} Hello to you.")
    >>> [turn.reply for turn in conversation]
    ['Hello! Hello to you.', 'Bye. Hello to you.']
    """
    with closing(_Progress.start(script, send, label).hold()) as steps, _AgentCaller(agent) as caller:
        try:
            message = next(steps)
            while True:
                try:
                    result = caller.call(message)
                except Exception as error:  # noqa: BLE001 -- the conversation has the turn
                    message = steps.throw(error)
                else:
                    message = steps.send(result)
        except StopIteration as end:
            conversation: ScriptedConversation = end.value
            return conversation


async def converse_async(
    script: ScriptedUser | Case | Sequence[object], agent: Agent, *, send: Sends = "text", label: str = ""
) -> ScriptedConversation:
    """Hold a conversation as `converse` does, in the event loop of an async test.

    >>> import asyncio
    >>> async def agent(text):
    ...     return "Hello to you."
    >>> asyncio.run(converse_async(["Hello!"], agent))[0].reply
    'Hello to you.'
    """
    with closing(_Progress.start(script, send, label).hold()) as steps:
        try:
            message = next(steps)
            while True:
                try:
                    result = agent(message)
                    if inspect.isawaitable(result):
                        result = await result
                except Exception as error:  # noqa: BLE001 -- the conversation has the turn
                    message = steps.throw(error)
                else:
                    message = steps.send(result)
        except StopIteration as end:
            conversation: ScriptedConversation = end.value
            return conversation


@dataclass(slots=True)
class _AgentCaller:
    """Call an agent function from code that is not async; an async one runs in an event loop that lasts for the block."""

    agent: Agent
    _runner: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._runner is not None:
            self._runner.close()

    def call(self, message: object) -> object:
        """Return the result of the agent for a message."""
        result = self.agent(message)
        if not inspect.isawaitable(result):
            return result
        if recorder.in_event_loop():
            if inspect.iscoroutine(result):
                result.close()
            raise UsageError(
                "converse: the agent is async, and an event loop is running: use `await converse_async(...)`"
            )
        return self._run(result)

    def _run(self, awaitable: Any) -> object:
        import asyncio

        async def wait() -> object:
            return await awaitable

        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(wait())


class _EndsEarly(Exception):
    """Ends a conversation before its last turn; the message has the reason."""


class _OffScript(_EndsEarly):
    """Ends a conversation that did not go as scripted."""


class _CannotGoOn(_EndsEarly):
    """Ends a conversation that cannot go on, so that it cannot be scored."""


@dataclass(slots=True)
class _Progress:
    """A conversation that is going on.

    Attributes:
        user: The user.
        send: The input of the agent.
        label: Label of the conversation.
        turns: The turns so far.
        skipped: Numbers of the turns that were skipped.
        turn_exchange: How many exchanges the test had recorded before the turn that is going on.
        unanswered: A line about the user's message that has no reply yet.
        known: The trajectory of the last result that has one.
        has_checked: Whether an expectation was reached.
        has_model_calls: Whether a call of the agent's model was recorded in the conversation.
    """

    user: ScriptedUser
    send: Sends
    label: str
    turns: list[Turn] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    turn_exchange: int = 0
    unanswered: list[tuple[str, str]] = field(default_factory=list)
    known: Trajectory = field(default_factory=Trajectory)
    has_checked: bool = False
    has_model_calls: bool = False

    @classmethod
    def start(cls, script: ScriptedUser | Case | Sequence[object], send: Sends, label: str) -> "_Progress":
        """Return a conversation that has not begun.

        Raises:
            UsageError: The script or ``send`` is not valid.
        """
        if send not in SENDS:
            raise UsageError(f"converse: expected send to be one of {', '.join(SENDS)}, got {send!r}")
        user = script
        if not isinstance(user, ScriptedUser):
            user = ScriptedUser(user)
        return cls(user=user, send=send, label=label)

    def hold(self) -> Generator[object, object, ScriptedConversation]:
        """Yield the input of the agent, expect its result to be sent, and return the conversation."""
        end: _EndsEarly | None = None
        try:
            for number, scripted in enumerate(self.user.turns, start=1):
                text = self._choose_text(number, scripted)
                if text:
                    yield from self._say(number, scripted, text)
                else:
                    self.skipped.append(number)
        except _EndsEarly as problem:
            end = problem
        # Outside of the block above, so that a failure does not show our own exception as its cause
        if end is None:
            self._emit_completed()
        else:
            self._emit_early_end(end)
        return self._get_conversation()

    def _choose_text(self, number: int, scripted: ScriptedTurn) -> str:
        """Return the message of the user in a turn; "" if it is skipped."""
        if scripted.when is None or self._holds(scripted.when, f"turn {number}: when"):
            return scripted.say
        return scripted.otherwise

    def _holds(self, condition: When, place: str) -> bool:
        """Return whether a condition holds for the last turn; it does not if there was none yet.

        Raises:
            _CannotGoOn: It is about tools, and calls may be missing, as a reply could not be read.
            UsageError: It is about tools, and the agent's calls are not known; a pattern is too slow; or it is an async function.
        """
        if not self.turns:
            return False
        if isinstance(condition, Condition):
            problem = describe_problems(self.turns[-1].trajectory)
            if problem and (condition.called or condition.not_called):
                raise _CannotGoOn(f"{place}: {problem}")
            return check_condition(condition, self.turns[-1], place)
        holds = condition(self.turns[-1])
        if inspect.isawaitable(holds):
            if inspect.iscoroutine(holds):
                holds.close()
            raise UsageError(f"converse: {place}: expected a function that is not async")
        return bool(holds)

    def _say(self, number: int, scripted: ScriptedTurn, text: str) -> Generator[object, object, None]:
        """Say a turn as often as the script wants, and check the last reply.

        Raises:
            _OffScript: A decision was unexpected or missing, or ``until`` never held.
        """
        place = f"turn {number}"
        decisions = TurnDecisions(scripted)
        for repetition in range(1, scripted.at_most + 1):
            label = place
            if repetition > 1:
                label = f"{place}.{repetition}"
            if self.user.decisions is not None:
                raise UsageError(
                    f"converse: {place}: this ScriptedUser is in another conversation: make one for each"
                )
            self.user.decisions = decisions
            try:
                yield from self._get_reply(label, text)
            finally:
                self.user.decisions = None
            _raise_off_script(place, decisions.find_unexpected())
            if scripted.until is None or self._holds(scripted.until, f"{place}: until"):
                _raise_off_script(place, decisions.find_missing())
                self._check(scripted.expect)
                return
        raise _OffScript(f"{place}: `until` did not hold after the user sent it {scripted.at_most} times")

    def _get_reply(self, label: str, text: str) -> Generator[object, object, None]:
        """Yield the input of the agent, and add the turn.

        Raises:
            _CannotGoOn: The agent raised, gave no reply, or waits for a person.
            UsageError: The reply cannot be read.
        """
        self.turn_exchange = len(recorder.list_exchanges())
        self.unanswered = [(label, f"user: {recorder.shorten_masked(text, MAX_QUOTED)}")]
        try:
            result = yield self._make_message(text)
        except (AssertionError, LLMOpsError) as error:
            self._add_note(error, label)
            raise
        except Exception as error:
            problem = recorder.shorten_masked(describe_exception(error), MAX_ERROR_CHARS)
            raise _CannotGoOn(f"{label}: the agent raised {problem}") from error
        interrupt = find_interrupt(result)
        if interrupt:
            raise _CannotGoOn(
                f"{label}: the agent waits for a person: {interrupt}; let the agent function ask user.decide(tool), and resume the agent"
            )
        try:
            reply, trajectory = read_reply(result)
        except UsageError as error:
            raise UsageError(
                f"converse: {label}: the agent function returned neither a text nor an answer of an SDK, "
                f"and it is not a source of a trajectory: {error}"
            ) from None
        if reply is None:
            raise _CannotGoOn(f"{label}: the agent gave no reply")
        self._add_turn(label, text, reply, result, trajectory)

    def _make_message(self, text: str) -> object:
        """Return the input of the agent."""
        if self.send == "text":
            return text
        messages = []
        for turn in self.turns:
            messages.append({"role": "user", "content": turn.user})
            messages.append({"role": "assistant", "content": turn.reply})
        messages.append({"role": "user", "content": text})
        return messages

    def _add_turn(
        self, label: str, text: str, reply: str, result: object, trajectory: Trajectory | None
    ) -> None:
        """Add a turn; its tool calls come from the result, or from the recorded calls."""
        knows_tools = True
        known = Trajectory()
        if trajectory is None:
            exchanges = recorder.list_exchanges()
            trajectory = read_trajectory(CallLog(exchanges[self.turn_exchange :]))
            # Other requests of an application may be recorded too: they say nothing about its tools
            if trajectory.turns or trajectory.problems:
                self.has_model_calls = True
            knows_tools = self.has_model_calls
        else:
            known = self.known
            self.known = trajectory
        turn = Turn(
            label=label,
            user=text,
            reply=reply,
            result=result,
            trajectory=build_turn_trajectory(
                text, reply, trajectory, known, keeps_instructions=not self.turns
            ),
            knows_tools=knows_tools,
        )
        self.turns.append(turn)
        self.unanswered = []

    def _check(self, expected: Expectation | None) -> None:
        """Check the last turn by assertions.

        Raises:
            MeasurementFailed: The reply is not as expected.
            UsageError: An expectation is about tools, and the agent's calls are not known; or a pattern is too slow.
        """
        if expected is None:
            return
        self.has_checked = True
        turn = self.turns[-1]
        place = turn.label.partition(".")[0]
        if (expected.calls is not None or expected.never) and not turn.knows_tools:
            raise UsageError(f"converse: {place}: expect: {TOOLS_NOT_KNOWN}")
        for pattern in (*expected.matches, *expected.not_matches):
            search_reply(
                pattern, turn.reply, f"{place}: expect"
            )  # `re` of the assertions below has no time limit
        label = f"{self.label} {place}".strip()
        try:
            with recorder.soft():
                _check_expectation(expected, turn, label)
        except (AssertionError, LLMOpsError) as error:
            self._add_note(error, turn.label)
            raise

    def _add_note(self, error: Exception, label: str) -> None:
        """Add the conversation so far to an error."""
        lines = [f"  {start:<10}{text}" for start, text in self._describe()]
        error.add_note("\n".join([f"the conversation up to {label}:", *lines]))

    def _describe(self) -> list[tuple[str, str]]:
        """Return lines about the last turns, and the message that got no reply."""
        return [*describe_turns(self.turns[-SHOWN_TURNS:]), *self.unanswered]

    def _emit_completed(self) -> None:
        """Emit that the script came to its end; a failure if it has expectations, and none was checked."""
        if self.has_checked or not any(scripted.expect for scripted in self.user.turns):
            recorder.emit(self._make_measurement(value=1.0))
            return
        self._emit_early_end(_OffScript("all turns with `expect` were skipped, so nothing was checked"))

    def _emit_early_end(self, end: "_EndsEarly") -> None:
        """Emit that the conversation did not go as scripted, or could not go on."""
        cause = None
        if isinstance(end, _OffScript):
            measurement = self._make_measurement(value=0.0, reason=str(end))
        else:
            measurement = self._make_measurement(error=str(end))
            if isinstance(end.__cause__, Exception):
                cause = end.__cause__
        recorder.emit(measurement, evidence=self._describe(), max_evidence_lines=EVIDENCE_LINES, cause=cause)

    def _make_measurement(self, **fields: Any) -> Measurement:
        turns: list[Json] = [
            {"label": turn.label, "user": turn.user, "reply": turn.reply} for turn in self.turns
        ]
        detail: dict[str, Json] = {
            "turns": turns,
            "skipped": list[Json](self.skipped),
            "trajectory": self._get_conversation().trajectory.to_wire(),
        }
        return Measurement(
            name="conversation.completed", threshold=1.0, label=self.label, detail=detail, **fields
        )

    def _get_conversation(self) -> ScriptedConversation:
        return ScriptedConversation(turns=tuple(self.turns), skipped=tuple(self.skipped))


def _raise_off_script(place: str, problem: str) -> None:
    """End the conversation if there is a problem.

    Raises:
        _OffScript: There is one.
    """
    if problem:
        raise _OffScript(f"{place}: {problem}")


def _check_expectation(expected: Expectation, turn: Turn, label: str) -> None:
    """Check a turn by assertions, which emit to the block around it."""
    if expected.contains:
        assert_contains(turn.reply, expected.contains, ignore_case=True, whitespace="collapse", label=label)
    if expected.not_contains:
        assert_not_contains(
            turn.reply, expected.not_contains, ignore_case=True, whitespace="collapse", label=label
        )
    if expected.calls is not None or expected.never:
        assert_tool_calls(turn.trajectory, expected.calls, never=expected.never, label=label)
    for number, pattern in enumerate(expected.matches, start=1):
        assert_matches(turn.reply, pattern, label=_number_label(label, number))
    for number, pattern in enumerate(expected.not_matches, start=1):
        assert_not_matches(turn.reply, pattern, label=_number_label(label, number))


def _number_label(label: str, number: int) -> str:
    """Return the label of the first, second ... pattern of a turn."""
    if number == 1:
        return label
    return f"{label}, pattern {number}"
