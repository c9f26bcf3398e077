"""Rows of fine-tuning files (chat, tools and DPO of OpenAI): what is wrong with them, and to and from cases."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from pytest_llmops._util.text_files import BadFile, canonical_json, json_kind, read_json
from pytest_llmops.cases.files import TRAINING_SPLITS, Case
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import ROLES

PREFERRED, OTHER = "preferred_output", "non_preferred_output"


def _check_chat(row: Mapping[str, Any], *, needs_tools: bool = False) -> Iterator[str]:
    messages = row.get("messages")
    tools = row.get("tools")
    yield from _check_messages(messages, "messages", tools)
    if isinstance(messages, list) and messages:
        last = messages[-1]
    else:
        last = {"role": "assistant"}
    problems = {
        "messages: the last one is not the assistant's, so there is nothing to learn": _get(last, "role")
        != "assistant",
        f"tools: expected a list of tools, got {json_kind(tools)}": needs_tools
        and not isinstance(tools, list),
    }
    yield from (what for what, applies in problems.items() if applies)


def _check_dpo(row: Mapping[str, Any]) -> Iterator[str]:
    tools = _get(row.get("input"), "tools")
    yield from _check_messages(_get(row.get("input"), "messages"), "input.messages", tools)
    for name in (PREFERRED, OTHER):
        yield from _check_messages(row.get(name), name, tools, roles=("assistant", "tool"))
    yield from ["both outputs are equal: there is nothing to prefer"] * (
        row.get(PREFERRED, 0) == row.get(OTHER)
    )


# What is wrong with a row, by format
CHECKS: dict[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "openai-chat": _check_chat,
    "tools": partial(_check_chat, needs_tools=True),
    "dpo": _check_dpo,
}


def _get(value: object, name: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(name)
    return None


def _check_messages(
    messages: object, place: str, tools: object, roles: tuple[str, ...] = ROLES
) -> Iterator[str]:
    if isinstance(tools, list):
        names = [_get(_get(tool, "function"), "name") for tool in tools]
    else:
        names = []
    if not isinstance(messages, list) or not messages:
        yield f"{place}: expected a list of messages, got {'none' if messages == [] else json_kind(messages)}"
        return
    started = roles != ROLES
    open_calls = list[object]()
    for number, message in enumerate(messages):
        keys = ("role", "content", "tool_calls", "tool_call_id", "weight")
        role, content, calls, call_id, weight = (_get(message, key) for key in keys)
        if isinstance(calls, list):
            called = calls
        else:
            called = []
        is_system = role in ("system", "developer")
        is_assistant = role == "assistant"
        problems = {
            f"role: expected one of {', '.join(roles)}, got {shorten_text(repr(role), 60)}": role
            not in roles,
            f"a {role} message in the middle: expected it first": is_system and started,
            "the assistant speaks before the user": is_assistant and not started,
            f"content: expected a text or a list of parts, got {json_kind(content)}": content is not None
            and not isinstance(content, (str, list)),
            "no content": not content and not calls,
            f"weight: expected 0 or 1 on an assistant's message, got {shorten_text(repr(weight), 60)}": weight
            is not None
            and not (is_assistant and weight in (0, 1)),
            f"answers the call {shorten_text(repr(call_id), 60)}, which none before it has": role == "tool"
            and call_id not in open_calls,
            f"the calls {shorten_text(repr(open_calls), 100)} before it have no answer": role != "tool"
            and open_calls,
            "tool_calls: expected a list, on an assistant's message": calls is not None
            and not (is_assistant and isinstance(calls, list)),
        }
        faults = [what for call in called if (what := _why_invalid_call(call, names))]
        yield from (f"{place}[{number}]: {what}" for what, applies in problems.items() if applies)
        yield from (f"{place}[{number}]: tool_calls: {what}" for what in faults)
        started = started or not is_system
        open_calls = [known for known in open_calls if role == "tool" and known != call_id]
        open_calls += [_get(call, "id") for call in called]


def _why_invalid_call(call: object, names: list[Any]) -> str:
    name, arguments = (_get(_get(call, "function"), key) for key in ("name", "arguments"))
    try:
        is_text = isinstance(arguments, str)
        if is_text:
            value = read_json(arguments)
        else:
            value = arguments
        if is_text and isinstance(value, str):
            what = "JSON within JSON (encoded twice)"
        else:
            what = json_kind(value)
        if not (is_text and isinstance(value, dict)):
            raise BadFile(f"expected the JSON text of an object, got {what}")
    except BadFile as error:
        return f"the arguments of {shorten_text(repr(name), 60)}: {error.what}"
    if name in names:
        return ""
    return f"{shorten_text(repr(name), 60)} is not among the tools of the row"


def question_text(value: Json) -> str:
    """Return what duplicates and leaks are searched by: a text, the last message of the user, else the JSON.

    >>> question_text([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello?"}])
    'Hello?'
    """
    if isinstance(value, list):
        messages = value
    else:
        messages = []
    asked = [_get(message, "content") for message in messages if _get(message, "role") == "user"]
    if asked:
        text = asked[-1]
    else:
        text = value
    if isinstance(text, str):
        return text
    return canonical_json(text)


def row_messages(row: Mapping[str, Any]) -> Any:
    """Return the messages of a row; of preferences those before the answer."""
    return _get(row.get("input"), "messages") or row.get("messages") or []


def case_to_row(
    case: Case, _origin: str = "", form: str = "openai-chat", system: str = ""
) -> dict[str, Json]:
    """Return a case as a row of ``openai-chat`` or ``dpo``.

    Raises:
        BadFile: The case lacks an answer, for ``dpo`` a worse one, or is of the split ``test``.
    """
    if isinstance(case.input, list):
        question: Any = case.input
    else:
        question = [{"role": "user", "content": question_text(case.input)}]
    messages = [*([{"role": "system", "content": system}] if system else []), *question]
    calls, tools = ({key: case[key]} if key in case else {} for key in ("tool_calls", "tools"))
    worse = case.output or case.data.get("rejected")  # the review of feedback calls it so
    good: Json = {"role": "assistant", **({"content": case.reference} if case.reference else {}), **calls}
    for what, applies in {
        "it is of the split test: a test of what was trained on shows nothing": case.split == "test",
        "no reference, so there is nothing to learn": not (case.reference or calls),
        "no output, and none rejected, that is worse than the reference": form == "dpo"
        and worse in (None, "", case.reference),
    }.items():
        if applies:
            raise BadFile(what)
    if form == "openai-chat":
        return {"messages": [*messages, good], **tools}
    return {
        "input": {"messages": messages, **tools},
        PREFERRED: [good],
        OTHER: [{"role": "assistant", "content": worse}],
    }


def row_to_case(case: Case, origin: str) -> dict[str, Json]:
    """Return a row as a case of the split ``train``, which no test takes by accident.

    Args:
        case: It has the id, and the row as its ``typed``; the row is valid.
        origin: File and line of the row.
    """
    row: Mapping[str, Any] = case.typed
    messages: list[Any] = [*row_messages(row), *row.get(PREFERRED, ())]
    before = messages[:-1]
    good = messages[-1]
    is_text = len(before) == 1 and before[0]["role"] == "user" and isinstance(before[0]["content"], str)
    optional = {
        "reference": good.get("content"),
        "output": row[OTHER][-1].get("content") if OTHER in row else None,
        "tool_calls": good.get("tool_calls"),
        "tools": row.get("tools") or _get(row.get("input"), "tools"),
        "split": TRAINING_SPLITS[0],
        "origin": origin,
    }
    if is_text:
        question = before[0]["content"]
    else:
        question = before
    return {"id": case.id, "input": question} | {key: value for key, value in optional.items() if value}
