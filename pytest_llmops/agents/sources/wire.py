"""Read recorded calls of a test, as ``llm_calls`` has them."""

from collections.abc import Iterator, Sequence

from pytest_llmops.agents.dialogs import Dialog, Turn, sort_calls
from pytest_llmops.agents.trajectory import Step, ToolUse, Trajectory, TrajectoryBuilder, make_tool_use
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import Call, Message, is_error_status
from pytest_llmops.trace.fields import remove_tool_calls

# Endpoints whose replies are not an agent's
_OTHER_ENDPOINTS = frozenset(("embeddings", "moderations", "rerank"))
# Ends of paths that do not ask a model
_OTHER_PATHS = ("/count_tokens", ":countTokens", "/tokenize", "/models")
# Parts that a trajectory does not need
_KEPT_BY_SERVER = "messages kept by the server"
_TOOL_SCHEMA = "the parameters of the tool "
_DOCUMENTS = " given with the messages"


def read(source: Sequence[Call]) -> Trajectory:
    """Return what the application did, by its calls.

    A request continues the dialog whose last reply it repeats or answers (see `dialogs`). A dialog that begins while another one waits for
    a tool hangs on this call. All other dialogs follow each other in the order in which they end, so that the last answer is the
    trajectory's answer; each begins with its own messages of the system or the user. Messages that a dialog begins with and that are answers
    were not given in this test, and are left out, with their tool calls.

    Left out are calls of judges and embedders, failed requests, and earlier replies to a request that was repeated. A call that could not
    be read, an earlier reply that was left out, and a failed request that did not succeed later become problems.
    """
    problems: list[str] = []
    failed = [call for call in source if _has_failed(call)]
    dialogs = sort_calls(_list_replies(source, problems), failed)
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
    return Trajectory(steps=trajectory.steps, problems=(*problems, *trajectory.problems))


def _list_replies(calls: Sequence[Call], problems: list[str]) -> Iterator[tuple[int, Call, bool]]:
    """Yield the calls of the application with their numbers and whether their replies could be read; add problems of all others."""
    failed = {number for number, call in enumerate(calls, start=1) if _has_failed(call)}
    succeeded: set[tuple[Message, ...]] = set()
    if failed:
        succeeded = {call.messages for number, call in enumerate(calls, start=1) if number not in failed}
    for number, call in enumerate(calls, start=1):
        is_other = call.endpoint in _OTHER_ENDPOINTS or call.endpoint.endswith(_OTHER_PATHS)
        if call.purpose != "app" or is_other:
            continue
        if number in failed:
            if call.messages not in succeeded:
                problems.append(f"call {number} failed ({_describe_failure(call)}), and was not repeated")
            continue
        unread = _describe_unread(call)
        has_reply = bool(call.output or call.tool_calls) or not unread
        if unread and not has_reply:
            problems.append(f"call {number} could not be read: {unread}; its step is missing")
        elif unread:
            problems.append(f"call {number} was not read completely: {unread}")
        if has_reply or call.messages:
            yield number, call, has_reply


def _has_failed(call: Call) -> bool:
    """Return whether a request got no answer, or an error."""
    has_content = bool(call.output or call.tool_calls)
    return is_error_status(call.status) or (call.status is None and bool(call.unread) and not has_content)


def _describe_failure(call: Call) -> str:
    if call.status is None:
        return shorten_text(call.unread, 200)
    return f"status {call.status}: {shorten_text(call.output, 200)}"


def _describe_unread(call: Call) -> str:
    """Return the parts of a call that could not be read and that a trajectory needs."""
    parts = []
    for part in call.unread.split("; "):
        is_needless = part.startswith((_KEPT_BY_SERVER, _TOOL_SCHEMA)) or part.endswith(_DOCUMENTS)
        if part and not is_needless:
            parts.append(part)
    return "; ".join(parts)


def _build_dialog(
    dialog: Dialog, started: dict[tuple[int, int, int], list[tuple[int, Trajectory]]]
) -> Trajectory:
    """Return the trajectory of a dialog; ``started`` has those of the dialogs that its tool calls started."""
    builder = TrajectoryBuilder()
    if _KEPT_BY_SERVER in dialog.turns[0].call.unread:
        builder.add_problem(f"the messages before call {dialog.turns[0].number} are kept by the server")
    for place, turn in enumerate(dialog.turns):
        for message in turn.new_messages:
            _add_message(builder, message, is_begin=place == 0)
        for number, _ in turn.left_out:
            builder.add_problem(
                f"call {number} has the same request as call {turn.number}: taken for a retry, and left out"
            )
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
    for _, trajectory in sorted(trajectories, key=lambda item: item[0]):
        steps += trajectory.steps
        problems += trajectory.problems
    return Trajectory(steps=tuple(steps), problems=tuple(problems))
