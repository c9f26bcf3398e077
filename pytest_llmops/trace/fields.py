"""The two halves of a call, the base class of all formats, and readers of fields that vendors share.

No reader raises: whatever a body holds, it returns a value of its type, empty if the body has none.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_mappings, as_text, parse_json
from pytest_llmops.errors import WireError
from pytest_llmops.measurement import Json, to_builtins
from pytest_llmops.protocols import ROLES, Message, Role, ToolCall, ToolDefinition, Usage

MAX_TOKENS = 10**15  # a larger number is not a token count
MAX_DEPTH = 60  # levels of a tool's schema that can be stored
UNREAD_SCHEMA = "[unread]"  # stands for the schema of a tool that cannot be stored
_DUMP = json.JSONEncoder(ensure_ascii=False)


@dataclass(slots=True)
class ParsedRequest:
    """What a request contains.

    Attributes:
        model: The model's name if it is not in the field ``model`` as it is.
    """

    messages: Sequence[Message] = ()
    tools: Sequence[ToolDefinition] = ()
    unread: Sequence[str] = ()
    model: str = ""


@dataclass(slots=True)
class ParsedReply:
    """What a reply contains.

    Attributes:
        known: Whether the reply has the shape of its format.
        priced: Token counts beyond the usage that have their own price.
        cost_usd: The price, if the provider states it.
    """

    output: str = ""
    thinking: str = ""
    tool_calls: Sequence[ToolCall] = ()
    finish_reason: str = ""
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    known: bool = True
    priced: Mapping[str, int] = field(default_factory=dict)
    cost_usd: float | None = None
    unread: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class CallFormat:
    """One kind of call of a provider.

    Attributes:
        read_request: Returns the contents of a request.
        read_reply: Returns the contents of a whole reply.
        join_events: Returns the reply that a stream adds up to, and whether its last event is there; a call without a
            stream has its reply as the only event.
    """

    read_request: Callable[[JsonObject], ParsedRequest]
    read_reply: Callable[[JsonObject], ParsedReply]
    join_events: Callable[[Sequence[JsonObject]], tuple[JsonObject, bool]] = lambda events: (
        (events[0] if events else {}),
        bool(events),
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


def sum_known_counts(*counts: int | None) -> int | None:
    """Return the sum of the counts that are known, or None if no count is."""
    known = [number for number in counts if number is not None]
    if known:
        return sum(known)
    return None


def as_role(value: object) -> Role:
    """Return the role of a message; an unknown role becomes "user"."""
    return next((role for role in ROLES if role == value), "user")


def format_tool_call(call: ToolCall) -> str:
    """Return the text of a tool call in a message of a conversation."""
    if call.arguments:
        return f"[tool call {call.name} {call.arguments}]"
    return f"[tool call {call.name}]"


def format_part(part: JsonObject) -> str:
    """Return the text of a part of a message, or its type in brackets."""
    return as_text(part.get("text")) or f"[{as_text(part.get('type')) or 'part'}]"


def content_text(value: object) -> str:
    """Return the text of a message whose content is a text or a list of parts."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    return "\n".join(
        part if isinstance(part, str) else format_part(part)
        for part in value
        if isinstance(part, (str, dict))
    )


def arguments_json(value: object) -> str:
    """Return the arguments of a tool call as JSON; a text of the model's stays as it is.

    >>> arguments_json('{"a":1}'), arguments_json({"a": 1}), arguments_json(None)
    ('{"a":1}', '{"a": 1}', '')
    """
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return _DUMP.encode(value)
    except (ValueError, RecursionError):
        return ""


def normalize_arguments(streamed: str) -> str:
    """Return streamed arguments in the spelling of a reply without a stream, if they are complete."""
    value = parse_json(streamed)
    if isinstance(value, dict):
        return arguments_json(value)
    return streamed


def tool_definition(name: str, description: object = "", parameters: object = None) -> ToolDefinition:
    """Return the definition of a tool; a schema that cannot be stored is `UNREAD_SCHEMA`."""
    schema: Json = UNREAD_SCHEMA
    if not _exceeds_depth(parameters, MAX_DEPTH):
        with contextlib.suppress(WireError):
            schema = to_builtins(parameters)
    return ToolDefinition(name=name, description=as_text(description), parameters=schema)


def _exceeds_depth(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list):
        inner = value
    else:
        inner = ()
    return levels < 0 or any(
        _exceeds_depth(element, levels - 1) for element in inner if isinstance(element, (dict, list))
    )


def _read_chat_tools(value: object) -> Iterator[ToolDefinition]:
    """Read the tools of a request in the format of OpenAI's chat completions.

    ``{"type": "function", "function": {"name": ...}}``; any other type is a built-in tool of the provider.
    """
    for entry in as_mappings(value):
        kind = as_text(entry.get("type"))
        inner = as_mapping(entry.get(kind or "function"))
        yield tool_definition(
            as_text(inner.get("name")) or as_text(entry.get("name")) or kind,
            inner.get("description"),
            inner.get("parameters"),
        )


def read_chat_tool_calls(value: object) -> Iterator[ToolCall]:
    """Read the tool calls of a message in the format of OpenAI's chat completions."""
    for call in as_mappings(value):
        inner = as_mapping(call.get("function")) or as_mapping(call.get("custom"))
        yield ToolCall(
            name=as_text(inner.get("name")),
            arguments=arguments_json(inner.get("arguments", inner.get("input"))),
            id=as_text(call.get("id")),
        )


def read_chat_request(request: JsonObject) -> ParsedRequest:
    """Read a request in the format of OpenAI's chat completions, also with the fields of Ollama and Cohere."""
    messages = [
        Message(
            as_role(message.get("role")),
            join_lines(
                as_text(message.get("tool_plan")), _format_chat_message(message), *list_images(message)
            ),
        )
        for message in as_mappings(request.get("messages"))
    ]
    functions = [{"function": function} for function in as_mappings(request.get("functions"))]
    return ParsedRequest(
        messages,
        [*_read_chat_tools(request.get("tools")), *_read_chat_tools(functions)],
        _describe_documents(request),
    )


def _format_chat_message(message: JsonObject) -> str:
    """Return content and tool calls of a message in the format of OpenAI's chat completions."""
    return join_lines(
        content_text(message.get("content")),
        *map(format_tool_call, read_chat_tool_calls(message.get("tool_calls"))),
    )


def add_tool_call(calls: dict[int, dict[str, str]], part: JsonObject) -> None:
    """Add a piece of a streamed tool call, in the format of OpenAI's chat completions, to the calls so far."""
    call_id = as_text(part.get("id"))
    number = as_token_count(part.get("index"))
    if number is None:
        # Servers without an index send a call whole, or give its id in the first piece.
        if call_id or not calls:
            number = len(calls)
        else:
            number = max(calls)
    call = calls.setdefault(number, {"id": "", "name": "", "arguments": ""})
    function = as_mapping(part.get("function")) or as_mapping(part.get("custom"))
    call["id"] = call["id"] or call_id
    call["name"] += as_text(function.get("name"))
    call["arguments"] += as_text(function.get("arguments")) + as_text(function.get("input"))


def list_images(message: JsonObject) -> list[str]:
    """Return a mark for each of the images that a message has beside its text."""
    images = message.get("images")
    return ["[image]"] * (len(images) if isinstance(images, list) else 0)


def _describe_documents(request: JsonObject) -> list[str]:
    """Return a note on the documents of a request, which are not read."""
    documents = request.get("documents")
    if isinstance(documents, list):
        number = len(documents)
    else:
        number = 0
    if number:
        return [f"{number} document{'s' if number > 1 else ''} given with the messages"]
    return []


def describe_unread_answers(answers: int) -> list[str]:
    """Return a note on the answers beyond the first, which are not read.

    >>> describe_unread_answers(3), describe_unread_answers(1)
    (['2 more answers'], [])
    """
    more = answers - 1
    if more > 0:
        return [f"{more} more answer{'s' if more > 1 else ''}"]
    return []


def embedding_reply(reply: JsonObject, usage: Usage) -> ParsedReply:
    """Return the contents of a reply with ``data`` or ``embeddings``, or with a single ``embedding``."""
    embeddings = reply.get(
        "embeddings", reply.get("data", [reply["embedding"]] if "embedding" in reply else None)
    )
    if isinstance(embeddings, dict):
        # Lists by type (float, int8 ...), each with the vectors of all texts.
        embeddings = next(iter(embeddings.values()), None)
    known = isinstance(embeddings, list)
    if known:
        number = len(embeddings)
    else:
        number = 0
    return ParsedReply(
        output=f"{number} vectors", usage=usage, model=as_text(reply.get("model")), known=known
    )


def join_lines(*lines: str) -> str:
    """Return the lines that are not empty as a text."""
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
    """Read the texts to complete or to embed; a list of token ids is only counted."""
    value = request.get("input", request.get("prompt"))
    is_one = isinstance(value, str) or (
        isinstance(value, list) and any(type(item) is int for item in value[:1])
    )
    return ParsedRequest(
        user_messages(
            f"[{len(item)} tokens]" if isinstance(item, list) else content_text([item])
            for item in ([value] if is_one else value if isinstance(value, list) else ())
        )
    )


def split_messages(
    role: Role,
    blocks: Iterable[JsonObject],
    format_result: Callable[[JsonObject], str | None],
    format_block: Callable[[JsonObject], str],
) -> Iterator[Message]:
    """Read the blocks of a message: each tool result is a tool message, the other blocks are lines of another.

    Args:
        role: Role of the message with the other blocks.
        blocks: The blocks in their order.
        format_result: Returns the text of a tool result, None for any other block.
        format_block: Returns the text of any other block.
    """
    lines = []
    for block in blocks:
        result = format_result(block)
        if result is None:
            lines.append(format_block(block))
        else:
            yield Message("tool", result)
    if lines:
        yield Message(role, "\n".join(lines))


def read_tool_call(call: JsonObject, arguments_key: str = "input", id_key: str = "id") -> ToolCall:
    """Read a tool call with ``name``, and with arguments and id under these keys."""
    return ToolCall(
        name=as_text(call.get("name")),
        arguments=arguments_json(call.get(arguments_key)),
        id=as_text(call.get(id_key)),
    )


def usage_with_cache(
    counts: JsonObject, input_key: str, output_key: str, read_key: str, write_key: str
) -> Usage:
    """Return the usage of a provider that counts tokens read from and written to its cache beside the input."""
    read = as_token_count(counts.get(read_key))
    written = as_token_count(counts.get(write_key))
    return Usage(
        input_tokens=sum_known_counts(as_token_count(counts.get(input_key)), read, written),
        output_tokens=as_token_count(counts.get(output_key)),
        cached_tokens=read,
        cache_write_tokens=written,
    )
