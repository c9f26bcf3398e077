"""Read the messages and tools of exported traces in any convention, in the format of OpenAI's chat completions.

A message may be a text, or a list of parts: parts of OpenTelemetry, OpenInference, and the blocks of Anthropic, which some
instrumentations write as a JSON text. Tool calls and tool results among the parts are read as such; a part of an unknown kind is kept
as it is.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_text, parse_json
from pytest_llmops._util.text_files import BadFile, canonical_json, check_json_value
from pytest_llmops.trace import fields
from pytest_llmops.trace.exported.records import slice_items

CUT = "calls cut by a limit of attributes"
MAX_KEPT = 10_000  # characters of a message that is kept for the next call
_MESSAGE_KEYS = frozenset(("role", "content", "parts", "contents", "tool_calls", "message"))
_JSON_STARTS = ('[{"', '{"role"', '{"messages"', '{"tools"', '{"type"', '{"model"')
# Kinds of parts: OpenTelemetry's names, then names of vendors
_TEXTS = ("text", "input_text", "output_text")
_CALLS = (
    "tool_call",
    "tool_use",
    "server_tool_use",
    "mcp_tool_use",
    "server_tool_call",
    "function_call",
    "tool-call",
)
_RESULTS = (
    "tool_call_response",
    "tool_result",
    "mcp_tool_result",
    "server_tool_call_response",
    "function_call_output",
    "tool-result",
)
_REASONING = ("reasoning", "thinking", "redacted_thinking")
# Keys of parts without a kind: Gemini's and Bedrock's
_KINDS_BY_KEY = {
    "functionCall": "tool_call",
    "function_call": "tool_call",
    "toolUse": "tool_call",
    "functionResponse": "tool_result",
    "function_response": "tool_result",
    "toolResult": "tool_result",
}
_ARGUMENT_KEYS = (
    "arguments",
    "args",
    "input",
    "server_tool_call",
    "action",
    "actions",
    "queries",
    "code",
    "operation",
)


class Turn(NamedTuple):
    """A message as JSON (`text`), and a normalized text by which it is compared with messages of other calls (`spelling`)."""

    text: str
    role: str
    spelling: str


def nest_keys(flat: JsonObject) -> dict[str, Any]:
    """Return an object with its keys split at their dots: {"a.b": 1} becomes {"a": {"b": 1}}."""
    tree: dict[str, Any] = {}
    for key in sorted(flat):  # "a" comes before "a.b"
        *steps, last = key.split(".", 16)
        node = tree
        with suppress(AttributeError, TypeError):  # if "a" is not an object, "a.b" is left out
            for step in steps:
                node = node.setdefault(step, {})
            node[last] = flat[key]
    return tree


def parse_text(value: Any) -> Any:
    """Return the value of a JSON text, or None if it is not JSON; values that are not texts are returned unchanged."""
    if isinstance(value, str):
        return parse_json(value)
    return value


def is_message(item: object) -> bool:
    """Return whether a value is an object with a key of messages."""
    return isinstance(item, dict) and not _MESSAGE_KEYS.isdisjoint(item)


def _is_message_or_call(item: object) -> bool:
    """Return whether a value is a message, or an item of OpenAI's Responses."""
    return is_message(item) or _is_call_or_thought(as_mapping(item))


def join_answers(turns: Iterable[Turn]) -> list[Turn]:
    """Return the turns, with consecutive turns of the assistant as one: the items of one answer of OpenAI's Responses."""
    joined: list[Turn] = []
    for turn in turns:
        if joined and turn.role == joined[-1].role == "assistant":
            joined[-1] = _join_turns(joined[-1], turn)
        else:
            joined.append(turn)
    return joined


def _join_turns(first: Turn, second: Turn) -> Turn:
    """Return two turns as one: the texts as lines, and all tool calls."""
    messages = [json.loads(first.text), json.loads(second.text)]
    contents = [message["content"] for message in messages if message["content"]]
    content: Any = []
    for given in contents:
        content += given if isinstance(given, list) else [given]
    if all(isinstance(text, str) for text in content):
        content = "\n".join(content)
    calls = [call for message in messages for call in message.get("tool_calls", ())]
    joined = {"role": first.role, "content": content}
    if calls:
        joined["tool_calls"] = calls
    return _make_turn(joined)


def read_messages(value: Any, role: str) -> list[Turn]:
    """Return the messages of a field; ``role`` is for messages without one.

    Raises:
        BadFile: The value is cut, or JSON cannot represent it.
    """
    spelled: list[tuple[Any, str]] = []
    if isinstance(value, str):
        spelled = slice_items(value)
    items = [item for item, _ in spelled] or _list_items(value)
    if _are_parts(items):
        texts = [json.dumps({"role": role, "content": items})]
    elif isinstance(value, str) and not all(map(_is_message_or_call, items)):
        texts = [json.dumps(value)]
    elif spelled:
        texts = [text for _, text in spelled]
    else:
        texts = [json.dumps(item) for item in items]
    turns = []
    for text in texts:
        own_role = role
        if text.startswith(('{"role": "assistant"', '{"role":"assistant"')):
            own_role = ""  # not used, as it names one; so an answer has the same key in the cache as a message of the next call
        if len(text) < MAX_KEPT:
            turns += _read_turns(text, own_role)
        else:
            turns += _read_turns.__wrapped__(text, own_role)  # without the cache
    return turns


@lru_cache(maxsize=256)  # each call of a conversation repeats its tools
def read_tools(text: str) -> str:
    """Convert tools, a JSON text of any convention, to the JSON of OpenAI's chat completions.

    Raises:
        BadFile: The text is cut, or JSON cannot represent a value.
    """
    tools = []
    for item in _list_items(json.loads(text)):
        function = dict(_unwrap(item, "tool", "json_schema", "function"))
        function.pop("type", None)
        if isinstance(function.get("json_schema"), str):
            raise BadFile(CUT)  # not JSON: its end is missing
        if "input_schema" in function:  # Anthropic's name of it
            function["parameters"] = function.pop("input_schema")
        if "parameters" in function:
            function["parameters"] = parse_text(function["parameters"])
        tools.append({"type": "function", "function": function})
    return json.dumps(check_json_value(tools))


def _unwrap(item: object, *wrappers: str) -> Any:
    """Return an object without its wrappers, as far as it has them: {"message.role": "user"} becomes {"role": "user"}."""
    node: Any = as_mapping(item)
    if "." in "".join(node):
        node = nest_keys(node)
    for wrapper in wrappers:
        node = as_mapping(parse_text(node.get(wrapper))) or node
    return node


def _list_items(value: Any) -> list[Any]:
    """Return the items of a list, of a JSON text of one, or of an object with keys "0", "1" ...; any other value is the only item."""
    parsed = parse_text(value)
    if parsed is None and str(value).startswith(_JSON_STARTS):
        raise BadFile(CUT)
    if isinstance(parsed, dict) and all(map(str.isdecimal, parsed)):
        numbers = sorted(parsed, key=lambda number: (len(number), number))
        return [parsed[number] for number in numbers]
    if isinstance(parsed, list):
        return parsed
    if value is None:
        return []
    return [parsed or value]


def _are_parts(items: Sequence[object]) -> bool:
    """Return whether these are the parts of one message: objects of known kinds without a role."""
    if not items:
        return False
    for item in items:
        part = as_mapping(item)
        is_known = part.get("type") in (*_TEXTS, "image", "document") or _is_call_or_thought(part)
        if "role" in part or not is_known:
            return False
    return True


def _is_call(part: JsonObject) -> bool:
    """Return whether a part is a call of a tool."""
    return part.get("type") in _CALLS or _is_hosted_call(part)


def _is_hosted_call(part: JsonObject) -> bool:
    """Return whether a part is the item of OpenAI's Responses for a hosted tool, such as "web_search_call"; an answer in JSON has no id."""
    kind = as_text(part.get("type"))
    has_id = isinstance(part.get("id") or part.get("call_id"), str)
    return has_id and kind.endswith("_call") and kind not in _CALLS


def _is_result(part: JsonObject) -> bool:
    is_of_hosted_tool = "call_id" in part and as_text(part.get("type")).endswith("_call_output")
    return part.get("type") in _RESULTS or is_of_hosted_tool


def _is_call_or_thought(part: JsonObject) -> bool:
    """Return whether a part is not of a message's text: a call, a result, or reasoning."""
    return _is_call(part) or _is_result(part) or part.get("type") in _REASONING


@lru_cache(maxsize=4096)  # each call of a conversation repeats its messages
def _read_turns(text: str, role: str) -> list[Turn]:
    """Return the turns of a message, given as JSON; tool results among its parts become turns before it."""
    messages: Any = check_json_value(_read_message(json.loads(text), role))
    return list(map(_make_turn, messages))


def _make_turn(message: JsonObject) -> Turn:
    """Return a message as a turn; differences in white space and in the JSON of tool arguments do not change its `spelling`."""
    role = message["role"]
    content = as_text(message["content"]).strip() or message["content"]
    parts: list[Any] = [role, content]
    for call in fields.read_chat_tool_calls(message.get("tool_calls")):
        arguments = parse_json(call.arguments) or call.arguments
        parts.append([call.name, arguments])
    return Turn(json.dumps(message), role, canonical_json(parts))


def _read_message(item: object, role: str) -> list[dict[str, Any]]:
    """Return the messages of an item; tool results among its parts become messages before it."""
    message = _unwrap(item, "message")
    if _MESSAGE_KEYS & message.keys():
        content = message.get("content")
    elif _is_call_or_thought(message):
        content = [message]  # an item of OpenAI's Responses
    else:
        content = fields.arguments_json(item)
    given_parts = message.get("parts") or message.get("contents") or _find_parts(content)
    parts = []
    if given_parts:
        parts = [_open_part(part) for part in _list_items(given_parts)]
        content = _join_texts(parts)
    tool_calls = _read_tool_calls(message, parts)
    if tool_calls:
        role = (
            "assistant"  # unless the message states another role: an item of OpenAI's Responses has no role
        )
    role = as_text(message.get("role")) or role
    own = {"role": role, "content": content or ""}
    if role == "tool":
        own["tool_call_id"] = message.get("tool_call_id") or message.get("id")
    if tool_calls:
        own["tool_calls"] = tool_calls
    messages = _read_tool_results(parts)
    is_empty_text = not messages and any(part.get("type") == "text" for part in parts)  # of an empty answer
    if content or tool_calls or is_empty_text or not parts:
        messages.append(own)
    return messages


def _find_parts(content: object) -> list[Any]:
    """Return the parts that the content of a message lists, also as a JSON text; an empty list if it has none."""
    if isinstance(content, list):
        return content
    if isinstance(content, str) and content.startswith("[{"):
        parts = parse_json(content)
        if isinstance(parts, list) and _are_parts(parts):
            return parts
    return []


def _open_part(part: object) -> JsonObject:
    """Return a part of a message without wrappers; a text becomes a part of the kind "text".

    OpenInference has the kind within "message_content", and a tool call next to it.
    """
    if isinstance(part, str):
        return {"type": "text", "text": part}
    outer = _unwrap(part)
    for key, kind in _KINDS_BY_KEY.items():
        if isinstance(outer.get(key), dict):
            return {"type": kind, **outer[key]}
    inner = as_mapping(outer.get("message_content"))
    if not inner:
        return as_mapping(outer)
    rest = {key: value for key, value in outer.items() if key != "message_content"}
    return {**rest, **inner}


def _join_texts(parts: Iterable[JsonObject]) -> Any:
    """Return the texts of a message's parts as one text; with other parts, such as images, a list of texts and parts."""
    texts: list[Any] = []
    is_mixed = False
    for part in parts:
        kind = part.get("type")
        is_text = kind in _TEXTS or (kind is None and isinstance(part.get("text"), str))
        if is_text:
            content = part.get("content", part.get("text"))
            texts.append(as_text(content))
        elif not _is_call_or_thought(part):
            texts.append(part)
            is_mixed = True
    if is_mixed:
        return texts
    return "\n".join(filter(None, texts))


def _read_tool_calls(message: JsonObject, parts: Iterable[JsonObject]) -> list[dict[str, Any]]:
    """Return the tool calls of a message and of its parts, in the format of OpenAI's chat completions.

    OpenInference has each call in both places: it is returned once.
    """
    items = _list_items(message.get("tool_calls"))
    own_calls = [_read_tool_call(item) for item in items]
    part_calls = [_read_tool_call(part) for part in parts if _is_call(part)]
    return [*own_calls, *(call for call in part_calls if call not in own_calls)]


def _read_tool_call(item: object) -> dict[str, Any]:
    call = _unwrap(item, "tool_call")
    tool = _unwrap(call, "function")
    name = as_text(_find_value(tool, "name", "toolName"))
    if not name and _is_hosted_call(call):
        name = as_text(call["type"]).removesuffix("_call")
    arguments = fields.arguments_json(_find_value(tool, *_ARGUMENT_KEYS))
    function = {"name": name, "arguments": arguments}
    call_id = as_text(_find_value(call, "call_id", "toolCallId", "toolUseId", "id"))
    return {"id": call_id, "type": "function", "function": function}


def _find_value(item: JsonObject, *keys: str) -> Any:
    """Return the value of the first key that has one; None without any."""
    for key in keys:
        if item.get(key) is not None:
            return item[key]
    return None


def _read_tool_results(parts: Iterable[JsonObject]) -> list[dict[str, Any]]:
    """Return a message of the role "tool" for each tool result among the parts of a message."""
    results = []
    for part in parts:
        if not _is_result(part):
            continue
        result = _find_value(part, "response", "content", "output", "result", "server_tool_call_response")
        result_parts = _find_parts(result)
        if result_parts:
            content = _join_texts(map(_open_part, result_parts))
        else:
            content = fields.arguments_json(result)
        call_id = _find_value(part, "call_id", "tool_use_id", "toolCallId", "toolUseId", "id")
        results.append({"role": "tool", "content": content, "tool_call_id": as_text(call_id)})
    return results
