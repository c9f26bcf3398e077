"""Read lists of messages: OpenAI's chat completions and Responses, Anthropic, LangChain and Gemini, as mappings or as objects of an SDK."""

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmops.agents.sources.fields import (
    format_value,
    get_class_name,
    get_field,
    get_items,
    get_text,
    sum_counts,
)
from pytest_llmops.agents.trajectory import ToolUse, Trajectory, TrajectoryBuilder, make_tool_use
from pytest_llmops.errors import UsageError
from pytest_llmops.protocols import ROLES, Completion, Message, Role
from pytest_llmops.recorder import shorten_masked
from pytest_llmops.trace.fields import describe_unread_answers, format_part, remove_tool_calls

# Roles of messages, and types of LangChain's
ROLES_BY_NAME: Mapping[str, Role] = {
    **{role: role for role in ROLES},
    "human": "user",
    "ai": "assistant",
    "model": "assistant",
    "function": "tool",
    "HumanMessageChunk": "user",
    "AIMessageChunk": "assistant",
    "SystemMessageChunk": "system",
    "ToolMessageChunk": "tool",
    "FunctionMessageChunk": "tool",
}
# Items and messages that are neither texts nor calls
_OTHER_KINDS = frozenset(
    (
        "reasoning",
        "compaction",
        "item_reference",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
        "remove",
    )
)
# Parts of a message that are not its text
_SILENT_PARTS = frozenset(("thinking", "redacted_thinking", "reasoning", "reasoning_content"))
_ARGUMENT_KEYS = ("arguments", "args", "input", "action", "actions", "queries", "code", "operation")
_RESULT_KEYS = ("output", "outputs", "results", "error")
# Keys of a part that hold a call, and its result: Gemini's in both spellings, then Bedrock's
_CALL_KEYS = ("functionCall", "function_call", "toolUse")
_RESPONSE_KEYS = ("functionResponse", "function_response", "toolResult")
# Ends of the types of parts that are a call, and its result: Anthropic, OpenTelemetry, OpenAI's Responses in LangChain, Vercel's AI SDK
_CALL_KINDS = ("tool_use", "_call", "tool-call")
_RESULT_KINDS = ("tool_result", "tool_call_response", "tool-result")
_CALL_AND_RESULT_KINDS = (
    *_CALL_KINDS,
    *_RESULT_KINDS,
    "_output",
)  # the last one: of a hosted tool in LangChain
_CALL_ID_KEYS = ("call_id", "toolCallId", "toolUseId", "id")
_RESULT_ID_KEYS = ("tool_use_id", "tool_call_id", "toolCallId", "toolUseId", "id")
# Keys of messages of further packages that hold calls, in a form that is not read
_OTHER_CALL_KEYS = ("toolCalls", "toolInvocations", "tool_uses", "additional_kwargs")
_OTHER_CALL_WORDS = ("tool", "call", "non_standard")
# Names of input and output tokens; the first ones that a usage has count
_TOKEN_KEYS = (
    ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
    ("prompt_tokens", "completion_tokens"),
    ("prompt_token_count", "candidates_token_count", "thoughts_token_count"),
    ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"),
)


def read(source: object) -> Trajectory | None:
    """Return the trajectory of messages; None for any other value.

    Args:
        source: A list of messages, a value with such a list as ``messages``, one message, or one reply of a model: a `Completion`, OpenAI's
            ``ChatCompletion`` or ``Response``, Anthropic's ``Message``, Gemini's ``GenerateContentResponse``. A list may have replies among
            its messages.

    Raises:
        UsageError: An entry of the list is not a message, or has an unknown role; gives its place.
    """
    messages = source
    if not isinstance(source, (list, tuple)):
        messages = get_field(source, "messages")
        if _is_message(source):
            messages = [source]
    elif not any(_is_entry(entry) for entry in source):
        return None
    if not isinstance(messages, (list, tuple)):
        return None
    builder = TrajectoryBuilder()
    for number, message in enumerate(messages, start=1):
        _add_entry(builder, message, number)
    return builder.build()


def _is_message(source: object) -> bool:
    """Return whether a value is one message, one item of the Responses API, or one reply of a model."""
    if isinstance(source, Completion) or _find_reply(source):
        return True
    message = _unwrap(source)
    kind = get_text(message, "role") or get_text(message, "type")
    return kind in ROLES_BY_NAME or kind.endswith(("_call", "_call_output"))


def _is_entry(entry: object) -> bool:
    """Return whether the entry of a list looks like a message, even one that cannot be read."""
    has_kind = bool(get_text(entry, "role") or get_text(entry, "type") or get_items(entry, "parts"))
    return has_kind or _is_message(entry)


def _find_reply(entry: object) -> str:
    """Return the key under which a reply of a model has its messages; "" for any other value."""
    if get_items(entry, "choices"):
        return "choices"
    if get_items(entry, "candidates"):
        return "candidates"
    is_response = get_text(entry, "object") == "response"
    if is_response and isinstance(get_field(entry, "output"), (list, tuple)):
        return "output"
    return ""


def _add_entry(builder: TrajectoryBuilder, entry: object, number: int) -> None:
    """Add a message, an item of OpenAI's Responses, or a reply with such."""
    if isinstance(entry, Completion):
        _add_completion(builder, entry)
        return
    reply = _find_reply(entry)
    if reply:
        _add_reply(builder, entry, reply, number)
        return
    message = _unwrap(entry)
    kind = get_text(message, "type")
    given_role = get_text(message, "role")
    if kind in _OTHER_KINDS and not given_role:
        return
    if kind.endswith("_call") and not given_role:
        _add_call_item(builder, message)
        return
    if kind.endswith("_output") and not given_role:
        call_id = get_text(message, "call_id") or get_text(message, "id")
        result = get_field(message, "output") or get_field(message, "tools")
        is_error = get_text(message, "status") == "failed"
        builder.add_result(call_id, format_content(result), is_error=is_error)
        return
    role = ROLES_BY_NAME.get(given_role or kind)
    if role is None and get_items(message, "parts"):
        role = "user"  # Gemini's default
    if role is None:
        known = ", ".join(ROLES)
        raise UsageError(
            f"message {number} has no known role: expected one of {known}, got {_describe(entry, given_role)}; "
            "pass the messages as the SDK or the framework gives them"
        )
    _add_message(builder, message, role)


def _unwrap(entry: object) -> object:
    """Return a message without the wrapper of LangChain's ``messages_to_dict`` or ``dumpd``."""
    for wrapper in ("data", "kwargs"):
        inner = get_field(entry, wrapper)
        if isinstance(entry, Mapping) and isinstance(inner, Mapping) and "content" in inner:
            return {"type": entry.get("type"), **inner}
    return entry


def _describe(entry: object, role: str) -> str:
    if role:
        return f"the role {role[:40]!r}"
    if isinstance(entry, (Mapping, str, int, float, type(None))):
        try:
            return shorten_masked(repr(entry), 80)
        except Exception:  # noqa: BLE001 -- whatever the repr of a value in it raises, also if it is nested too deeply
            return "a mapping that cannot be shown"
    return f"an object of the type {get_class_name(entry)}"


def _add_completion(builder: TrajectoryBuilder, completion: Completion) -> None:
    tools = [make_tool_use(call.name, call.arguments, id=call.id) for call in completion.tool_calls]
    builder.add_answer(
        completion.text or completion.refusal,
        tools,
        tokens=completion.usage.total_tokens,
        cost_usd=completion.cost_usd,
        latency_s=completion.latency_s,
    )


def _add_reply(builder: TrajectoryBuilder, reply: object, key: str, number: int) -> None:
    """Add the first answer of a reply, with its tokens. That there are more is a problem: they may have tool calls."""
    tokens = _read_tokens(reply)
    items = get_items(reply, key)
    if key == "output":
        # Each item of a response would be a message of its own: together they are one answer.
        inner = TrajectoryBuilder()
        for item in items:
            _add_entry(inner, item, number)
        answer = inner.build()
        texts = [step.text for step in answer.steps if step.text]
        builder.add_answer("\n".join(texts), answer.tool_calls, tokens=tokens)
        for problem in answer.problems:
            builder.add_problem(problem)
        for note in answer.notes:
            builder.add_note(note)
        return
    for more_answers in describe_unread_answers(len(items)):
        builder.add_problem(f"reply {number} has {more_answers}; only the first one is read")
    message = get_field(items[0], "message")
    if key == "candidates":
        message = get_field(items[0], "content")
    if message is None:
        builder.add_problem(f"reply {number} has no message")
        return
    _add_message(builder, message, "assistant", tokens=tokens)


def _read_tokens(entry: object) -> int | None:
    """Return input and output tokens of a reply or a message; None if it has no usage."""
    for key in ("usage", "usage_metadata", "usageMetadata"):
        counts = get_field(entry, key)
        if counts is None:
            continue
        for keys in _TOKEN_KEYS:
            tokens = sum_counts(counts, *keys)
            if tokens is not None:
                return tokens
    return None


def _add_call_item(builder: TrajectoryBuilder, item: object) -> None:
    """Add an item of the Responses API that is a call, with its result if the server ran the tool."""
    builder.add_calls([_read_call(item)])
    add_own_result(builder, item)


def _add_message(
    builder: TrajectoryBuilder, message: object, role: Role, *, tokens: int | None = None
) -> None:
    content = get_field(message, "content")
    if role == "tool":
        _add_tool_message(builder, message, content)
        return
    parts: Sequence[object] = get_items(message, "parts")
    if isinstance(content, (list, tuple)):
        parts = content
    if isinstance(message, Message):
        text = remove_tool_calls(message)
    elif content is None and parts:
        text = format_content(parts)
    else:
        text = format_content(content)
    for key in ("tool_calls", "parts"):
        value = get_field(message, key)
        if value and not isinstance(value, (list, tuple)):
            builder.add_problem(
                f"a message of the {role} has {key} that are not a list: {get_class_name(value)}"
            )
    if role == "assistant":
        calls = read_calls(message, parts)
        if not all(call.name for call in calls):
            builder.add_problem("a message calls a tool without a name")
        add_unread_calls(builder, message, parts, calls)
        builder.add_answer(
            text or get_text(message, "refusal"),
            calls,
            agent=get_text(message, "name"),
            tokens=tokens if tokens is not None else _read_tokens(message),
        )
    has_results = add_results(builder, parts)
    if role != "assistant" and (text or not has_results):
        builder.add_message(role, text)


def _add_tool_message(builder: TrajectoryBuilder, message: object, content: object) -> None:
    """Add the result of a tool, which is a message of its own."""
    parts = get_items(message, "parts")
    if isinstance(content, (list, tuple)) and not parts:
        parts = content
    if add_results(builder, parts):
        return
    call_id = get_text(message, "tool_call_id") or get_text(message, "call_id")
    name = get_text(message, "name") or get_text(message, "tool_name")
    is_error = get_text(message, "status") == "error" or get_field(message, "is_error") is True
    builder.add_result(call_id, format_content(content), name=name, is_error=is_error)


def add_results(builder: TrajectoryBuilder, parts: Sequence[object]) -> bool:
    """Add the results among the parts of a message; return whether there are any."""
    has_results = False
    for part in parts:
        kind = get_text(part, "type")
        if _is_server_call(kind):
            add_own_result(builder, part)
            continue
        result = _find_value(part, _RESPONSE_KEYS)
        if result is None and kind.endswith(_RESULT_KINDS):
            result = part
        if result is None:
            continue
        has_results = True
        value = _find_value(result, ("content", "response", "output", "result"))
        is_error = _is_failed(result, value)
        if isinstance(value, Mapping) and set(value) == {"type", "value"}:
            value = value["value"]  # of Vercel's AI SDK
        call_id = _find_text(result, _RESULT_ID_KEYS)
        builder.add_result(call_id, format_content(value), name=get_text(result, "name"), is_error=is_error)
    return has_results


def _is_server_call(kind: str) -> bool:
    """Return whether a type is the type of a call of the Responses API whose tool the server ran: it has its result with it."""
    return kind.endswith("_call") and not kind.endswith(("tool_call", "function_call"))


def add_own_result(builder: TrajectoryBuilder, item: object) -> None:
    """Add the result that a call of a tool that the server ran has with it; other calls have none."""
    if not _is_server_call(get_text(item, "type")):
        return
    for key in _RESULT_KEYS:
        result = get_field(item, key)
        if result:
            call_id = _find_text(item, _CALL_ID_KEYS)
            name = _find_call_name(item, item)
            builder.add_result(call_id, format_content(result), name=name, is_error=key == "error")
            return


def _is_failed(result: object, value: object) -> bool:
    """Return whether a result comes from a tool that failed, in the words of any SDK."""
    if get_field(result, "is_error") is True or get_field(result, "isError") is True:
        return True
    kind = get_text(value, "type")
    is_error = kind.endswith("_error") or kind.startswith("error-")
    return is_error or get_text(result, "status") == "error" or bool(get_field(value, "error"))


def read_calls(message: object, parts: Sequence[object]) -> list[ToolUse]:
    """Return the calls of a message: its own, and those among its parts; LangChain has each in both places."""
    own_calls = [*get_items(message, "tool_calls"), *get_items(message, "invalid_tool_calls")]
    legacy_call = get_field(message, "function_call")
    if legacy_call is not None and not own_calls and get_text(legacy_call, "name"):
        own_calls = [legacy_call]
    own_uses = [_read_call(call) for call in own_calls]
    calls = list(own_uses)
    for part in parts:
        part_call = _find_value(part, _CALL_KEYS)
        if part_call is None and get_text(part, "type").endswith(_CALL_KINDS):
            part_call = part
        if part_call is None:
            continue
        call = _read_call(part_call)
        if not any(_is_same_call(call, own) for own in own_uses):
            calls.append(call)
    return calls


def _is_same_call(part: ToolUse, own: ToolUse) -> bool:
    if part.id:
        return part.id == own.id
    return (part.name, part.arguments) == (own.name, own.arguments)


def _read_call(call: object) -> ToolUse:
    """Read a call of any SDK."""
    inner = get_field(call, "function") or get_field(call, "custom") or call
    name = _find_call_name(call, inner)
    return make_tool_use(name, find_arguments(inner), id=_find_text(call, _CALL_ID_KEYS))


def _find_call_name(call: object, inner: object) -> str:
    """Return the name of a call; a tool that the server ran is named by its type: "web_search" of a ``web_search_call``."""
    name = _find_text(inner, ("name", "toolName"))
    kind = get_text(call, "type")
    if not name and _is_server_call(kind):
        name = kind.removesuffix("_call")
    return name


def add_unread_calls(
    builder: TrajectoryBuilder, message: object, parts: Sequence[object], calls: Sequence[ToolUse]
) -> None:
    """Add as problems what in an answer may be a call of a tool, in the form of a package that is not read."""
    for part in (*parts, *get_items(message, "blocks")):  # blocks: LlamaIndex
        for word in _list_unread_words(part):
            if any(other in word.casefold() for other in _OTHER_CALL_WORDS):
                builder.add_problem(
                    f"a message of the assistant has a part {word[:40]!r}, which may call a tool and cannot be read"
                )
                break
    if calls:
        return
    for key in _OTHER_CALL_KEYS:
        value = get_field(message, key)
        if key == "additional_kwargs":
            value = _find_value(value, ("tool_calls", "function_call"))
        if value:
            builder.add_problem(
                f"a message of the assistant has {key}, which may call tools and cannot be read"
            )


def _list_unread_words(part: object) -> list[str]:
    """Return the type of a part whose form is not known, or its keys if it has no type; empty if the form is known."""
    kind = get_text(part, "type") or get_text(part, "block_type")
    if kind:
        is_known = kind in _OTHER_KINDS or get_text(part, "type").endswith(_CALL_AND_RESULT_KINDS)
        return [] if is_known else [kind]
    if _find_value(part, (*_CALL_KEYS, *_RESPONSE_KEYS)) is not None or not isinstance(part, Mapping):
        return []
    return [str(key) for key in part]


def _find_value(entry: object, keys: Sequence[str]) -> Any:
    """Return the first value that is not None."""
    for key in keys:
        value = get_field(entry, key)
        if value is not None:
            return value
    return None


def _find_text(entry: object, keys: Sequence[str]) -> str:
    """Return the first text that is not empty, or ""."""
    for key in keys:
        text = get_text(entry, key)
        if text:
            return text
    return ""


def find_arguments(call: object) -> object:
    """Return the arguments of a call, a text or a value; None if it has none."""
    return _make_plain(_find_value(call, _ARGUMENT_KEYS))


def _make_plain(value: object) -> Any:
    """Return the object of an SDK as a mapping, anything else as it is."""
    dump = get_field(value, "model_dump")
    if not callable(dump) or isinstance(value, type):
        return value
    try:
        return dump(mode="json", exclude_none=True)
    except Exception:  # noqa: BLE001 -- whatever a model of another package raises
        return str(type(value).__name__)


def format_content(content: object) -> str:
    r"""Return the text of a message or a result: a text, or the texts of its parts, a line each; calls, results and thoughts are left out.

    >>> format_content([{"type": "text", "text": "Hello"}, {"type": "image_url"}])
    'Hello\n[image_url]'
    """
    if not isinstance(content, (list, tuple)):
        return format_value(content)
    lines = []
    for part in content:
        kind = get_text(part, "type")
        is_silent = kind in (*_SILENT_PARTS, *_OTHER_KINDS) or kind.endswith(_CALL_AND_RESULT_KINDS)
        is_call = _find_value(part, (*_CALL_KEYS, *_RESPONSE_KEYS)) is not None
        if is_silent or is_call or get_field(part, "thought") is True:
            continue
        lines.append(_format_part(part))
    return "\n".join(lines)


def _format_part(part: object) -> str:
    text = part
    if not isinstance(part, str):
        text = get_field(part, "text")
    if not isinstance(text, str):
        text = get_field(part, "refusal")
    if isinstance(text, str):
        return text
    plain = _make_plain(part)
    if isinstance(plain, dict):
        try:
            return format_part(plain)
        except (TypeError, ValueError, RecursionError):
            return f"[{get_text(part, 'type') or 'part'}]"
    return format_value(plain)
