"""Read recorded calls of a test, as ``llm_calls`` has them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pytest_llmops.agents.dialogs import CLOCK_S, Dialog, Turn, sort_calls
from pytest_llmops.agents.trajectory import Step, ToolUse, Trajectory, TrajectoryBuilder, make_tool_use
from pytest_llmops.protocols import Call, Message, is_error_status
from pytest_llmops.recorder import shorten_masked
from pytest_llmops.trace.fields import remove_tool_calls
from pytest_llmops.trace.routes import UNKNOWN
from pytest_llmops.trace.streams import CUT_STREAM

# Endpoints whose replies are not an agent's
_OTHER_ENDPOINTS = frozenset(("embeddings", "moderations", "rerank"))
# Ends of paths that do not ask a model
_OTHER_PATHS = (
    "/count_tokens",
    ":countTokens",
    "/input_tokens",
    "/tokenize",
    "/models",
    "/cachedContents",
    "/responses/compact",
)
# Parts that a trajectory does not need
_KEPT_BY_SERVER = "messages kept by the server"
_TOOL_SCHEMA = "the parameters of the tool "
_DOCUMENTS = " given with the messages"
_PROMPT = "a prompt kept by the server"
_REQUEST = "a request that is not"
_OF_REQUEST = (_KEPT_BY_SERVER, _TOOL_SCHEMA, _PROMPT, _REQUEST)
# Parts of paths whose models make or read media, and call no tool
_MEDIA_PATHS = ("/images/", "/audio/", "/videos", "/fine_tuning/")
# Providers ("": all known ones) and parts of paths whose answers may call tools, though the request names no model
_AGENT_PATHS = (
    ("", "/batch"),
    ("", ":batchGenerate"),
    ("", "/threads/"),
    ("mistral", "/conversations"),
    (UNKNOWN, "/agentAliases/"),  # Bedrock's agents
)
# What `Call.unread` states if the application got nothing, and if the address is not known
_NO_ANSWER = "no answer came"
_ENDPOINT = "the endpoint "


@dataclass(frozen=True, slots=True)
class _Unread:
    """What could not be read of the calls.

    Attributes:
        replies: Calls whose reply could not be read, by their numbers, and why.
        problems: What else may have had tool calls.
        notes: What hides no tool call.
    """

    replies: dict[int, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(source: Sequence[Call]) -> Trajectory:
    """Return the steps of the application, by its calls.

    Calls are read in the order in which they began, so that a replay gives the same as the recording, also where calls ran at the same
    time; in the order of the source if the begin of one is not known. Their numbers in problems and notes are of this order.

    A request continues the dialog whose last reply it repeats or answers (see `dialogs`). A request that is sent again begins a dialog of
    its own: both replies count, with their tool calls. A dialog that begins while another one waits for a tool hangs on this call. All
    other dialogs follow each other in the order of their last calls, so that the last answer is the trajectory's answer; each begins with
    its own messages of the system or the user. Messages that a dialog begins with and that are answers were not given in this test, and
    are left out, with their tool calls.

    Left out are calls of judges and embedders, failed requests, and replies that broke off before the same request succeeded. A reply that
    could not be read, and that no later request repeats, is a problem. Replies that were left out, and failed requests that did not succeed
    later, are notes.
    """
    unread = _Unread()
    dialogs = sort_calls(_list_replies(_sort_by_start(source), unread))
    repeated = _list_repeated(dialogs)
    for number, reason in unread.replies.items():
        text = f"call {number} could not be read: {reason}"
        if number in repeated:
            unread.notes.append(f"{text}; its reply is the one to the next request")
        else:
            unread.problems.append(f"{text}; its step is missing")
    started: dict[tuple[int, int, int], list[tuple[int, Trajectory]]] = {}
    roots: list[tuple[int, Trajectory]] = []
    # The dialogs that a dialog starts begin after it, so they are built before it.
    for dialog in reversed(dialogs):
        siblings = roots
        if dialog.parent is not None:
            parent, place, index = dialog.parent
            siblings = started.setdefault((id(parent), place, index), [])
        siblings.append((dialog.last.number, _build_dialog(dialog, started)))
    trajectory = _join_trajectories(roots)
    return Trajectory(
        steps=trajectory.steps,
        problems=(*unread.problems, *trajectory.problems),
        notes=(*unread.notes, *trajectory.notes),
    )


def _list_repeated(dialogs: Sequence[Dialog]) -> set[int]:
    """Return the numbers of the calls whose reply could not be read, but is a message of the next request."""
    numbers = set()
    for dialog in dialogs:
        for turn, following in pairwise(dialog.turns):
            is_repeated = any(message.role == "assistant" for message in following.new_messages)
            if is_repeated and not turn.has_reply:
                numbers.add(turn.number)
    return numbers


def _sort_by_start(source: Sequence[Call]) -> list[Call]:
    """Return the calls of the application in the order in which they began, as far as that is known.

    Calls that began in the same tick of the clock are in the order in which they ended. A latency that the clock cannot measure counts as 0:
    then the second call may be the answer to the first one.
    """
    calls = [call for call in source if call.purpose == "app"]
    times: dict[int, tuple[float, float]] = {}
    for call in calls:
        if call.started_s is None:
            return calls
        latency_s = call.latency_s or 0.0
        if latency_s < CLOCK_S:
            latency_s = 0.0
        times[id(call)] = (call.started_s, latency_s)
    return sorted(calls, key=lambda call: times[id(call)])


def _list_replies(calls: Sequence[Call], unread: _Unread) -> Iterator[tuple[int, Call, bool]]:
    """Yield the calls with their numbers and whether their replies could be read; note replies that could not be read."""
    last_success: dict[tuple[Message, ...], int] = {}
    if any(_has_failed(call) or _has_broken_off(call) for call in calls):
        last_success = _find_last_successes(calls)
    for number, call in enumerate(calls, start=1):
        if call.endpoint in _OTHER_ENDPOINTS or call.endpoint.endswith(_OTHER_PATHS):
            continue
        success = last_success.get(call.messages, 0)
        is_repeated = bool(call.messages) and success > number
        if _has_failed(call):
            if not is_repeated:
                _note_failure(number, call, unread)
            continue
        if _has_broken_off(call) and is_repeated:
            unread.notes.append(
                f"call {number} broke off; call {success} repeats its request, so its reply is left out"
            )
            continue
        reason = _describe_unread(call)
        if reason.startswith(_ENDPOINT) and _calls_no_tool(call):
            unread.notes.append(
                f"call {number} was left out: {reason} is not an endpoint of an agent's model"
            )
            continue
        has_reply = bool(call.output or call.tool_calls) or not reason
        if reason and not has_reply:
            unread.replies[number] = reason
        elif reason:
            unread.problems.append(f"call {number} was not read completely: {reason}")
        if has_reply or call.messages:
            yield number, call, has_reply


def _calls_no_tool(call: Call) -> bool:
    """Return whether a call to an unknown endpoint is not one of an agent's model: it names no model, or is about media."""
    for provider, part in _AGENT_PATHS:
        if part in call.endpoint and (
            provider == call.provider or (not provider and call.provider != UNKNOWN)
        ):
            return False
    return not call.model or any(part in call.endpoint for part in _MEDIA_PATHS)


def _note_failure(number: int, call: Call, unread: _Unread) -> None:
    """Note a failed request: an answer that broke off may have had tool calls; an error has none."""
    text = f"call {number} failed ({_describe_failure(call)}), and was not repeated"
    if is_error_status(call.status) or call.unread.startswith(_NO_ANSWER):
        unread.notes.append(text)
    else:
        unread.problems.append(text)


def _find_last_successes(calls: Sequence[Call]) -> dict[tuple[Message, ...], int]:
    """Return the number of the last call with these messages that neither failed nor broke off."""
    numbers = {}
    for number, call in enumerate(calls, start=1):
        if not (_has_failed(call) or _has_broken_off(call)):
            numbers[call.messages] = number
    return numbers


def _has_failed(call: Call) -> bool:
    """Return whether a request got no answer, or an error."""
    has_content = bool(call.output or call.tool_calls)
    return is_error_status(call.status) or (call.status is None and bool(call.unread) and not has_content)


def _has_broken_off(call: Call) -> bool:
    """Return whether only a part of a reply came, so that the application got an error."""
    return (call.status is None and bool(call.unread)) or CUT_STREAM in call.unread.split("; ")


def _describe_failure(call: Call) -> str:
    if call.status is None:
        return shorten_masked(call.unread, 200)
    return f"status {call.status}: {shorten_masked(call.output, 200)}"


def _describe_unread(call: Call) -> str:
    """Return the parts of a call that could not be read and that a trajectory needs."""
    parts = []
    for part in call.unread.split("; "):
        is_needless = part.startswith(_OF_REQUEST) or part.endswith(_DOCUMENTS)
        if part and not is_needless:
            parts.append(part)
    return "; ".join(parts)


def _build_dialog(
    dialog: Dialog, started: dict[tuple[int, int, int], list[tuple[int, Trajectory]]]
) -> Trajectory:
    """Return the trajectory of a dialog; ``started`` has the trajectories of the dialogs that its tool calls started."""
    builder = TrajectoryBuilder()
    if _KEPT_BY_SERVER in dialog.turns[0].call.unread:
        # They are left out in any case: nothing before the test counts.
        builder.add_note(f"the messages before call {dialog.turns[0].number} are kept by the server")
    for place, turn in enumerate(dialog.turns):
        for message in turn.new_messages:
            _add_message(builder, message, is_begin=place == 0)
        if turn.has_reply:
            tools = []
            for index, call in enumerate(turn.call.tool_calls):
                trajectories = started.get((id(dialog), place, index), [])
                sub = _join_trajectories(trajectories) if trajectories else None
                tools.append(make_tool_use(call.name, call.arguments, id=call.id, started=sub))
            _add_reply(builder, turn, tools)
    return builder.build()


def _add_message(builder: TrajectoryBuilder, message: Message, *, is_begin: bool) -> None:
    """Add a message of a request. Answers and results that a dialog begins with were not given in this test."""
    if message.is_result:
        if not is_begin:
            builder.add_result(
                message.call_id, message.content, name=message.tool_name, is_error=message.is_error
            )
        return
    if message.role == "assistant":
        tools = [make_tool_use(call.name, call.arguments, id=call.id) for call in message.tool_calls]
        builder.add_answer(remove_tool_calls(message), tools)
        return
    builder.add_message(message.role, message.content)


def _add_reply(builder: TrajectoryBuilder, turn: Turn, tools: Sequence[ToolUse]) -> None:
    call = turn.call
    builder.add_answer(
        call.output,
        tools,
        tokens=call.usage.total_tokens,
        cost_usd=call.cost_usd,
        latency_s=call.latency_s,
    )


def _join_trajectories(trajectories: Sequence[tuple[int, Trajectory]]) -> Trajectory:
    """Return the steps of several dialogs as one trajectory, in the order of the numbers of their last calls."""
    steps: list[Step] = []
    problems: list[str] = []
    notes: list[str] = []
    for _, trajectory in sorted(trajectories, key=lambda item: item[0]):
        steps += trajectory.steps
        problems += trajectory.problems
        notes += trajectory.notes
    return Trajectory(steps=tuple(steps), problems=tuple(problems), notes=tuple(notes))
