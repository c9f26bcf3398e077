"""Readers of fields that several wire formats share.

No reader raises: whatever a body holds, it returns a value of its type, empty if the body has none.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pytest_llmops._util.json_values import (
    JsonObject,
    as_mapping,
    as_mappings,
    as_text,
    get_mapping,
    get_mappings,
    get_text,
    parse_json,
)
from pytest_llmops.errors import WireError
from pytest_llmops.measurement import Json, format_count, to_builtins
from pytest_llmops.protocols import ROLES, Media, Message, Role, ToolCall, ToolDefinition, Usage
from pytest_llmops.trace.media_parts import label_files, list_media, make_media, read_media
from pytest_llmops.trace.wire_format import ParsedReply, ParsedRequest

MAX_TOKENS = 10**15  # a larger number is not a token count
MAX_DEPTH = 60  # levels of a tool's schema that can be stored
UNREAD_SCHEMA = "[unread]"  # in place of the schema of a tool that cannot be stored
_DUMP = json.JSONEncoder(ensure_ascii=False)
# Kinds of parts of which a text has only the kind: images and sounds behind a link, thoughts, and texts without a text
_LABELLED_KINDS = frozenset(
    (
        "audio_url",
        "image",
        "image_url",
        "input_audio",
        "input_image",
        "reasoning",
        "redacted_thinking",
        "text",
        "thinking",
    )
)


def as_token_count(value: object) -> int | None:
    """Return a number of tokens, or None for any other value.

    >>> as_token_count(3), as_token_count(3.0), as_token_count(-1), as_token_count(True), as_token_count("3")
    (3, 3, None, None, None)
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # JSON gives no subclass of int except bool.
    if type(value) is int and 0 <= value <= MAX_TOKENS:
        return value
    return None


def get_count(counts: JsonObject, *keys: str) -> int | None:
    """Return the token count under the first key that exists; None without any, or if that value is not a count."""
    for key in keys:
        if key in counts:
            return as_token_count(counts[key])
    return None


def sum_known_counts(*counts: int | None) -> int | None:
    """Return the sum of the known counts; None if all are None."""
    known = [number for number in counts if number is not None]
    if known:
        return sum(known)
    return None


def as_role(value: object) -> Role:
    """Return the role of a message; an unknown role becomes "user"."""
    for role in ROLES:
        if role == value:
            return role
    return "user"


def format_tool_call(call: ToolCall) -> str:
    """Return a tool call as the text of a message: "[tool call NAME ARGUMENTS]"."""
    if call.arguments:
        return f"[tool call {call.name} {call.arguments}]"
    return f"[tool call {call.name}]"


def remove_tool_calls(message: Message) -> str:
    """Return the content of a message without the lines of its tool calls."""
    text = message.content
    for call in message.tool_calls:
        text = text.replace(format_tool_call(call), "", 1).strip("\n")
    return text


def format_part(part: JsonObject) -> str:
    """Return the text of a part of a message; without a text, the kind and size ("[image: png, 24 KB]"), or its kind: "[image_url]".

    Of a part of an unknown kind, it returns the JSON.

    >>> format_part({"type": "image_url", "image_url": {}}), format_part({"type": "memory", "key": "city"})
    ('[image_url]', '{"type": "memory", "key": "city"}')
    """
    text = get_text(part, "text")
    if text:
        return text
    media = read_media(part)
    if media is not None:
        return media.label
    kind = get_text(part, "type")
    is_unknown = part and kind not in _LABELLED_KINDS
    if is_unknown and not _exceeds_depth(part, MAX_DEPTH):
        return arguments_json(label_files(part))
    return f"[{kind or 'part'}]"


def content_text(value: object) -> str:
    """Return the text of a message whose content is a text or a list of parts."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    lines = []
    for part in value:
        if isinstance(part, str):
            lines.append(part)
        elif isinstance(part, dict):
            lines.append(format_part(part))
    return "\n".join(lines)


def content_message(role: Role, content: object) -> Message:
    """Return a message whose content is a text or a list of parts, with its images and sounds."""
    return Message(role, content_text(content), list_media(content))


def arguments_json(value: object) -> str:
    """Return the arguments of a tool call as JSON; a text that came from the model is returned unchanged.

    >>> arguments_json('{"a":1}'), arguments_json({"a": 1}), arguments_json(None)
    ('{"a":1}', '{"a": 1}', '')
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        return _DUMP.encode(value)
    except (ValueError, RecursionError):
        return ""


def normalize_arguments(streamed: str) -> str:
    """Return joined pieces of arguments in the JSON spelling of a reply without a stream; incomplete JSON stays as it is."""
    value = parse_json(streamed)
    if isinstance(value, dict):
        return arguments_json(value)
    return streamed


def tool_definition(name: str, description: object = "", parameters: object = None) -> ToolDefinition:
    """Return the definition of a tool; `UNREAD_SCHEMA` replaces a schema that cannot be stored (nested too deeply, NaN ...)."""
    schema: Json = UNREAD_SCHEMA
    if not _exceeds_depth(parameters, MAX_DEPTH):
        with contextlib.suppress(WireError):
            schema = to_builtins(parameters)
    return ToolDefinition(name=name, description=as_text(description), parameters=schema)


def _exceeds_depth(value: object, levels: int) -> bool:
    """Return whether a value has more nested levels of lists and objects than this."""
    if levels < 0:
        return True
    inner: Iterable[object] = ()
    if isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list):
        inner = value
    containers = (element for element in inner if isinstance(element, (dict, list)))
    return any(_exceeds_depth(element, levels - 1) for element in containers)


def _read_chat_tools(value: object) -> Iterator[ToolDefinition]:
    """Read the tools of a request in the format of OpenAI's chat completions.

    A function is ``{"type": "function", "function": {"name": ...}}``. A tool of another type is built in by the provider; the type is
    its name if it has no other.
    """
    for entry in as_mappings(value):
        kind = get_text(entry, "type")
        inner = get_mapping(entry, kind or "function")
        name = get_text(inner, "name") or get_text(entry, "name") or kind
        yield tool_definition(name, inner.get("description"), inner.get("parameters"))


def read_chat_tool_calls(value: object) -> Iterator[ToolCall]:
    """Read the tool calls of a message in the format of OpenAI's chat completions."""
    for call in as_mappings(value):
        inner = get_mapping(call, "function") or get_mapping(call, "custom")
        arguments = arguments_json(inner.get("arguments", inner.get("input")))
        yield ToolCall(name=get_text(inner, "name"), arguments=arguments, id=get_text(call, "id"))


def read_chat_request(request: JsonObject) -> ParsedRequest:
    """Read a request in the format of OpenAI's chat completions, also with the fields of Ollama and Cohere."""
    messages = [_read_chat_message(message) for message in get_mappings(request, "messages")]
    functions = [{"function": function} for function in get_mappings(request, "functions")]
    tools = [*_read_chat_tools(request.get("tools")), *_read_chat_tools(functions)]
    return ParsedRequest(messages, tools, _describe_documents(request))


def _read_chat_message(message: JsonObject) -> Message:
    calls = tuple(read_chat_tool_calls(message.get("tool_calls")))
    lines = [get_text(message, "tool_plan"), content_text(message.get("content"))]
    lines += map(format_tool_call, calls)
    lines += list_images(message)
    given_role = message.get("role")
    tool_name = ""
    if given_role in ("tool", "function"):
        # OpenAI's deprecated messages of functions have a "name", messages of Ollama a "tool_name".
        tool_name = get_text(message, "tool_name") or get_text(message, "name")
    legacy_call = message.get("function_call")
    if legacy_call and given_role == "assistant":
        calls += tuple(read_chat_tool_calls([{"function": legacy_call}]))
    return Message(
        as_role(given_role),
        join_lines(*lines),
        (*list_media(message.get("content")), *read_images(message)),
        tool_calls=calls,
        call_id=get_text(message, "tool_call_id"),
        tool_name=tool_name,
    )


def add_tool_call(calls: dict[int, dict[str, str]], part: JsonObject) -> None:
    """Add a piece of a streamed tool call, in the format of OpenAI's chat completions, to ``calls`` (by index)."""
    call_id = get_text(part, "id")
    number = get_count(part, "index")
    if number is None:
        # Servers without an index send each call in one piece, or its id only with the first piece; so a piece without an id
        # continues the last call.
        if call_id or not calls:
            number = len(calls)
        else:
            number = max(calls)
    call = calls.setdefault(number, {"id": "", "name": "", "arguments": ""})
    function = get_mapping(part, "function") or get_mapping(part, "custom")
    call["id"] = call["id"] or call_id
    call["name"] += get_text(function, "name")
    call["arguments"] += get_text(function, "arguments") + get_text(function, "input")


def list_tool_calls(calls: Iterable[dict[str, str]]) -> list[JsonObject]:
    """Return the calls that `add_tool_call` collected, in the shape that they have in a reply without a stream."""
    return [{"id": call["id"], "function": call} for call in calls]


def list_images(message: JsonObject) -> list[str]:
    """Return a label for each of the ``images`` that a message has in addition to its content; "[image]" for an unreadable one."""
    labels = []
    for image in _find_images(message):
        label = "[image]"
        if image is not None:
            label = image.label
        labels.append(label)
    return labels


def read_images(message: JsonObject) -> tuple[Media, ...]:
    """Return the ``images`` that a message has in addition to its content, without the unreadable ones."""
    return tuple(image for image in _find_images(message) if image is not None)


def _find_images(message: JsonObject) -> list[Media | None]:
    """Return the ``images`` of a message, which are base64 with Ollama and parts with OpenRouter; None for an unreadable one."""
    images = message.get("images")
    if not isinstance(images, list):
        return []
    found = []
    for image in images:
        if isinstance(image, str):
            found.append(make_media("image/", image))
        else:
            found.append(read_media(as_mapping(image)))
    return found


def _describe_documents(request: JsonObject) -> list[str]:
    """Return a list with a note on the documents of a request, which are not read; an empty list without documents."""
    documents = request.get("documents")
    if isinstance(documents, list) and documents:
        return [f"{format_count(len(documents), 'document')} given with the messages"]
    return []


def describe_unread_answers(answers: int) -> list[str]:
    """Return a list with a note on the answers after the first, which are not read; an empty list if there are none.

    >>> describe_unread_answers(3), describe_unread_answers(1)
    (['2 more answers'], [])
    """
    more = answers - 1
    if more > 0:
        return [format_count(more, "more answer")]
    return []


def embedding_reply(reply: JsonObject, usage: Usage) -> ParsedReply:
    """Read a reply with vectors under ``data`` or ``embeddings``, or one vector under ``embedding``; they are only counted."""
    embeddings = None
    if "embeddings" in reply:
        embeddings = reply["embeddings"]
    elif "data" in reply:
        embeddings = reply["data"]
    elif "embedding" in reply:
        embeddings = [reply["embedding"]]
    if isinstance(embeddings, dict):
        # Lists by type (float, int8 ...), each with the vectors of all texts.
        embeddings = next(iter(embeddings.values()), None)
    model = get_text(reply, "model")
    if isinstance(embeddings, list):
        return ParsedReply(output=f"{len(embeddings)} vectors", usage=usage, model=model)
    return ParsedReply(output="0 vectors", usage=usage, model=model, known=False)


def join_lines(*lines: str) -> str:
    """Return a text of the lines that are not empty."""
    return "\n".join(filter(None, lines))


def join_blocks(blocks: Mapping[int, Any]) -> list[Any]:
    """Return the blocks of a streamed reply in the order of their numbers."""
    return [block for _, block in sorted(blocks.items())]


def system_message(text: str) -> list[Message]:
    """Return a system message in a list, which is empty for an empty text."""
    if text:
        return [Message("system", text)]
    return []


def user_messages(texts: Iterable[str]) -> list[Message]:
    """Return a user message for each text."""
    return [Message("user", text) for text in texts]


def read_input(request: JsonObject) -> ParsedRequest:
    """Read the texts to complete or to embed, as user messages; of a list of token ids, only their number ("[3 tokens]")."""
    value = request.get("input", request.get("prompt"))
    items: list[object] = []
    if isinstance(value, str) or _is_token_list(value):
        items = [value]
    elif isinstance(value, list):
        items = value
    return ParsedRequest(user_messages(map(_format_input, items)))


def _is_token_list(value: object) -> bool:
    """Return whether a value is one text as token ids, not a list of texts."""
    if not isinstance(value, list) or not value:
        return False
    return type(value[0]) is int


def _format_input(item: object) -> str:
    if isinstance(item, list):
        return f"[{len(item)} tokens]"
    return content_text([item])


def split_messages(
    role: Role,
    blocks: Iterable[JsonObject],
    read_result: Callable[[JsonObject], Message | None],
    read_call: Callable[[JsonObject], ToolCall | None],
    format_block: Callable[[JsonObject], str],
) -> Iterator[Message]:
    """Yield the messages of the blocks of one message: a tool message for each result, then one message with all other blocks.

    Args:
        role: Role of the message with the other blocks, whose texts are its lines.
        blocks: The blocks in their order.
        read_result: Returns a tool result as a message without media, None for any other block.
        read_call: Returns a tool call, None for any other block.
        format_block: Returns the text of a block that is neither.
    """
    lines = []
    calls = []
    media: list[Media] = []
    for block in blocks:
        result = read_result(block)
        if result is not None:
            yield replace(result, media=list_media(block))
            continue
        call = read_call(block)
        if call is None:
            lines.append(format_block(block))
        else:
            calls.append(call)
            lines.append(format_tool_call(call))
        media += list_media(block)
    if lines:
        yield Message(role, "\n".join(lines), tuple(media), tool_calls=tuple(calls))


def read_tool_call(call: JsonObject, arguments_key: str = "input", id_key: str = "id") -> ToolCall:
    """Read a tool call that has its name under ``name``, and its arguments and id under the given keys."""
    arguments = arguments_json(call.get(arguments_key))
    return ToolCall(name=get_text(call, "name"), arguments=arguments, id=get_text(call, id_key))


def usage_with_cache(
    counts: JsonObject, input_key: str, output_key: str, read_key: str, write_key: str
) -> Usage:
    """Read the usage of a provider whose input count excludes tokens read from and written to its cache; ours includes them."""
    new = get_count(counts, input_key)
    read = get_count(counts, read_key)
    written = get_count(counts, write_key)
    return Usage(
        input_tokens=sum_known_counts(new, read, written),
        output_tokens=get_count(counts, output_key),
        cached_tokens=read,
        cache_write_tokens=written,
    )
