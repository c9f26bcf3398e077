"""Rows of fine-tuning files (chat, tools and DPO of OpenAI): their problems, and their conversion from and to cases."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pytest_llmops._util.text_files import BadFile, canonical_json, json_kind, read_json
from pytest_llmops.cases.chat_messages import question_text
from pytest_llmops.cases.files import TRAINING_SPLITS, Case
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import ROLES

PREFERRED = "preferred_output"
OTHER = "non_preferred_output"
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _check_chat(row: Mapping[str, Any], *, needs_tools: bool = False) -> Iterator[str]:
    """Yield the problems of a row of the format ``openai-chat``, or of ``tools``, which also needs a list of tools."""
    messages = row.get("messages")
    tools = row.get("tools")
    yield from _check_messages(messages, "messages", tools)
    if isinstance(messages, list) and messages:
        last_role = _get(messages[-1], "role")
        if last_role != "assistant":
            yield "messages: the last one is not the assistant's, so there is nothing to learn"
        turns = [_Turn.from_message(message) for message in messages]
        weights = [turn.weight for turn in turns if turn.is_assistant]
        if weights and all(weight == 0 for weight in weights):
            yield "messages: all of the assistant's have the weight 0, so there is nothing to learn"
    yield from _check_tools(tools, "tools")
    if needs_tools and not isinstance(tools, list):
        yield f"tools: expected a list of tools, got {json_kind(tools)}"


def _check_dpo(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the problems of a row of the format ``dpo``: a question with a preferred and another answer."""
    source = row.get("input")
    tools = _get(source, "tools")
    yield from _check_messages(_get(source, "messages"), "input.messages", tools)
    yield from _check_tools(tools, "input.tools")
    for name in (PREFERRED, OTHER):
        yield from _check_messages(row.get(name), name, tools, roles=("assistant", "tool"))
    if row.get(PREFERRED, 0) == row.get(OTHER):
        yield "both outputs are equal: there is nothing to prefer"


# By format: a function that yields the problems of a row
CHECKS: dict[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "openai-chat": _check_chat,
    "tools": partial(_check_chat, needs_tools=True),
    "dpo": _check_dpo,
}


def _get(value: object, name: str) -> Any:
    """Return the value under a name of an object; None if there is none, or if ``value`` is not an object."""
    if isinstance(value, Mapping):
        return value.get(name)
    return None


@dataclass(frozen=True, slots=True)
class _Turn:
    """The values of a message, which are not checked yet and may have any type."""

    role: Any
    content: Any
    calls: Any
    call_id: Any
    weight: Any

    @classmethod
    def from_message(cls, message: object) -> "_Turn":
        return cls(
            role=_get(message, "role"),
            content=_get(message, "content"),
            calls=_get(message, "tool_calls"),
            call_id=_get(message, "tool_call_id"),
            weight=_get(message, "weight"),
        )

    @property
    def is_system(self) -> bool:
        return self.role in ("system", "developer")

    @property
    def is_assistant(self) -> bool:
        return bool(self.role == "assistant")

    @property
    def call_list(self) -> list[Any]:
        if isinstance(self.calls, list):
            return self.calls
        return []


def _check_tools(tools: object, place: str) -> Iterator[str]:
    """Yield the problems of the tools of a row, each of which needs a name; ``place`` is where the list is in the row."""
    if not isinstance(tools, list):
        return
    for number, tool in enumerate(tools):
        name = _get(_get(tool, "function"), "name")
        if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
            got = shorten_text(repr(name), 60)
            yield f"{place}[{number}].function.name: expected 1 to 64 letters, digits, _ and -, got {got}"


def _check_messages(
    messages: object, place: str, tools: object, roles: tuple[str, ...] = ROLES
) -> Iterator[str]:
    """Yield the problems of a list of messages; ``place`` is where the list is in the row.

    A list with other ``roles`` than all is an answer, so the conversation has already started before it.
    """
    if messages == []:
        yield f"{place}: expected a list of messages, got none"
        return
    if not isinstance(messages, list):
        yield f"{place}: expected a list of messages, got {json_kind(messages)}"
        return
    tool_names = []
    if isinstance(tools, list):
        functions = [_get(tool, "function") for tool in tools]
        tool_names = [_get(function, "name") for function in functions]
        tool_names = [name for name in tool_names if name]  # a tool without a name matches no call
    has_started = roles != ROLES
    open_calls = list[object]()  # ids of the calls that have no answer yet
    for number, message in enumerate(messages):
        turn = _Turn.from_message(message)
        where = f"{place}[{number}]"
        problems = [
            *_check_role(turn, roles, has_started=has_started),
            *_check_content(turn),
            *_check_calls(turn, open_calls, tool_names),
        ]
        for problem in problems:
            yield f"{where}: {problem}"
        has_started = has_started or not turn.is_system
        if turn.role == "tool":
            open_calls = [call_id for call_id in open_calls if call_id != turn.call_id]
        else:
            open_calls = []
        open_calls += [_get(call, "id") for call in turn.call_list]


def _check_role(turn: _Turn, roles: tuple[str, ...], *, has_started: bool) -> Iterator[str]:
    """Yield the problems of a message's role; the conversation has started once a message was not the system's."""
    if turn.role not in roles:
        expected = ", ".join(roles)
        got = shorten_text(repr(turn.role), 60)
        yield f"role: expected one of {expected}, got {got}"
    if turn.is_system and has_started:
        yield f"a {turn.role} message in the middle: expected it first"
    if turn.is_assistant and not has_started:
        yield "the assistant speaks before the user"


def _check_content(turn: _Turn) -> Iterator[str]:
    """Yield the problems of a message's content and weight."""
    if turn.content is not None and not isinstance(turn.content, (str, list)):
        yield f"content: expected a text or a list of parts, got {json_kind(turn.content)}"
    if not turn.content and not turn.calls:
        yield "no content"
    is_valid_weight = turn.is_assistant and turn.weight in (0, 1)
    if turn.weight is not None and not is_valid_weight:
        got = shorten_text(repr(turn.weight), 60)
        yield f"weight: expected 0 or 1 on an assistant's message, got {got}"


def _check_calls(turn: _Turn, open_calls: list[object], tool_names: list[Any]) -> Iterator[str]:
    """Yield the problems of a message's tool calls, and of its answers to them.

    Args:
        turn: The message.
        open_calls: Ids of the calls before it that have no answer yet.
        tool_names: Names of the tools of the row.
    """
    if turn.role == "tool" and turn.call_id not in open_calls:
        call_id = shorten_text(repr(turn.call_id), 60)
        yield f"answers the call {call_id}, which none before it has"
    if turn.role != "tool" and open_calls:
        calls = shorten_text(repr(open_calls), 100)
        yield f"the calls {calls} before it have no answer"
    is_valid_list = turn.is_assistant and isinstance(turn.calls, list)
    if turn.calls is not None and not is_valid_list:
        yield "tool_calls: expected a list, on an assistant's message"
    for call in turn.call_list:
        problem = _why_invalid_call(call, tool_names)
        if problem:
            yield f"tool_calls: {problem}"


def _why_invalid_call(call: object, tool_names: list[Any]) -> str:
    """Return why a tool call is invalid, or ``""``."""
    function = _get(call, "function")
    name = _get(function, "name")
    name_text = shorten_text(repr(name), 60)
    problem = _why_invalid_arguments(_get(function, "arguments"))
    if problem:
        return f"the arguments of {name_text}: {problem}"
    if name not in tool_names:
        return f"{name_text} is not among the tools of the row"
    return ""


def _why_invalid_arguments(arguments: object) -> str:
    """Return why the arguments of a call are not the JSON text of an object, or ``""``."""
    if not isinstance(arguments, str):
        return f"expected the JSON text of an object, got {json_kind(arguments)}"
    try:
        value = read_json(arguments)
    except BadFile as error:
        return error.what
    if isinstance(value, dict):
        return ""
    if isinstance(value, str):
        return "expected the JSON text of an object, got JSON within JSON (encoded twice)"
    return f"expected the JSON text of an object, got {json_kind(value)}"


def split_answer(row: Mapping[str, Any], form: str) -> tuple[str, str] | None:
    """Return the question of a row and the answer that a model learns, as texts; None if its last message has the weight 0.

    Two rows with the same question and different answers contradict each other. Tools and all messages before the answer are the
    question; white space, letter case and the ids of tool calls do not count. For ``dpo``, the question includes both answers, and
    the answer is the preferred one.

    Args:
        row: A valid row.
        form: Its format, a key of `CHECKS`.

    >>> user = {"role": "user", "content": "May I?"}
    >>> split_answer({"messages": [user, {"role": "assistant", "content": "Yes."}]}, "openai-chat")
    ('[null,[["user","may i?",[]]]]', '["assistant","yes.",[]]')
    """
    if form == "dpo":
        answers = []
        for name in (PREFERRED, OTHER):
            answer = [_normalize_message(message) for message in row[name]]
            answers.append(canonical_json(answer))
        source = row["input"]
        messages = [_normalize_message(message) for message in source["messages"]]
        question = canonical_json([source.get("tools"), messages, *sorted(answers)])
        return question, answers[0]
    *before, last = row["messages"]
    if last.get("weight") == 0:
        return None
    messages = [_normalize_message(message) for message in before]
    return canonical_json([row.get("tools"), messages]), canonical_json(_normalize_message(last))


def _normalize_message(message: Mapping[str, Any]) -> list[Json]:
    """Return role, content and tool calls of a message, without differences that do not matter."""
    turn = _Turn.from_message(message)
    content = turn.content
    if isinstance(content, str):
        content = " ".join(content.casefold().split())
    calls: list[Json] = []
    for call in turn.call_list:
        function = _get(call, "function")
        calls.append([_get(function, "name"), read_json(_get(function, "arguments"))])
    return [turn.role, content or None, calls]


def row_messages(row: Mapping[str, Any]) -> Any:
    """Return the messages of a row; for ``dpo``, those before the two answers."""
    messages = _get(row.get("input"), "messages")
    return messages or row.get("messages") or []


def case_to_row(
    case: Case, _origin: str = "", form: str = "openai-chat", system: str = ""
) -> dict[str, Json]:
    """Return a case as a row of ``openai-chat`` or ``dpo``.

    Args:
        case: The case; its reference becomes the answer.
        _origin: Not used: `row_to_case` is called in the same manner.
        form: The format.
        system: A system message to put first, or empty.

    Raises:
        BadFile: The case has no reference, has none worse than it for ``dpo``, is of the split ``test``, or has the turns of a
            scripted user.
    """
    if "turns" in case:
        raise BadFile(
            "it has the turns of a scripted user, without the answers between them, so there is nothing to learn"
        )
    if isinstance(case.input, list):
        question: Any = case.input
    else:
        content = question_text(case.input)
        question = [{"role": "user", "content": content}]
    messages = [*question]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    worse = case.output or case.data.get(
        "rejected"
    )  # cases from the review of feedback have it under this key
    if case.split == "test":
        raise BadFile("it is of the split test: a test on training data shows nothing")
    if not case.reference and "tool_calls" not in case:
        raise BadFile("no reference, so there is nothing to learn")
    if form == "dpo" and worse in (None, "", case.reference):
        raise BadFile("no output, and none rejected, that is worse than the reference")
    answer: dict[str, Json] = {"role": "assistant"}
    if case.reference:
        answer["content"] = case.reference
    if "tool_calls" in case:
        answer["tool_calls"] = case["tool_calls"]
    tools = {}
    if "tools" in case:
        tools["tools"] = case["tools"]
    if form == "openai-chat":
        return {"messages": [*messages, answer], **tools}
    worse_answer = {"role": "assistant", "content": worse}
    return {
        "input": {"messages": messages, **tools},
        PREFERRED: [answer],
        OTHER: [worse_answer],
    }


def _is_plain_question(message: Mapping[str, Any]) -> bool:
    return message["role"] == "user" and isinstance(message["content"], str)


def row_to_case(case: Case, origin: str) -> dict[str, Json]:
    """Return a row as a case of the split ``train``, which `select_split` refuses to test unless it is named.

    Args:
        case: Its ``id`` is the id of the case, its ``typed`` the row; the row must be valid (see `CHECKS`).
        origin: File and line of the row.
    """
    row: Mapping[str, Any] = case.typed
    messages: list[Any] = [*row_messages(row), *row.get(PREFERRED, ())]
    before = messages[:-1]
    answer = messages[-1]
    question: Any = before
    if len(before) == 1 and _is_plain_question(before[0]):
        question = before[0]["content"]
    worse = None
    if OTHER in row:
        worse = row[OTHER][-1].get("content")
    input_tools = _get(row.get("input"), "tools")
    optional = {
        "reference": answer.get("content"),
        "output": worse,
        "tool_calls": answer.get("tool_calls"),
        "tools": row.get("tools") or input_tools,
        "split": TRAINING_SPLITS[0],
        "origin": origin,
    }
    given = {key: value for key, value in optional.items() if value}
    return {"id": case.id, "input": question, **given}
