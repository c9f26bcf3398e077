"""What the readers of all vendors share: the two halves of a call, and readers that never raise.

Whatever a body holds, a reader here returns a value of its type: an empty one where the body has none.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from pytest_llmops.errors import WireError
from pytest_llmops.measurement import Json, to_builtins
from pytest_llmops.protocols import ROLES, Message, Role, ToolCall, ToolDefinition, Usage

JsonObject: TypeAlias = Mapping[str, Any]
"""An object of a JSON body."""

MAX_TOKENS = 10**15
"""No request has more: such a number is no count."""
MAX_DEPTH = 60
"""Of the schema of a tool, so that it passes every wire."""
UNREAD_SCHEMA = "[unread]"
"""In place of the schema of a tool that cannot be kept."""
_ROLES: dict[str, Role] = {one: one for one in ROLES}
_DUMP = json.JSONEncoder(ensure_ascii=False)


@dataclass(slots=True)
class ParsedRequest:
    """What a request said."""

    messages: Sequence[Message] = ()
    tools: Sequence[ToolDefinition] = ()
    model: str = ""
    unread: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ParsedReply:
    """What a reply said.

    Attributes:
        known: Whether the reply has the shape that this reader knows.
        priced: Counts that the price table tells apart, beside those of the usage.
        cost_usd: The price, where the provider states it.
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
    unread: list[str] = field(default_factory=list)


class CallFormat(NamedTuple):
    """How one kind of call is read.

    Attributes:
        asked: Reads a request.
        answered: Reads a whole reply.
        joined: Adds the events of a stream up to what the same call without a stream replies, and
            says whether the last event of the stream is among them.
    """

    asked: Callable[[JsonObject], ParsedRequest]
    answered: Callable[[JsonObject], ParsedReply]
    joined: Callable[[Sequence[JsonObject]], tuple[JsonObject, bool]]


def not_streamed(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    """Join the events of a call that has no stream: the first is the reply."""
    return (events[0] if events else {}), bool(events)


def parse_json(text: bytes | str) -> object:
    """Return the value of a JSON text, or None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def as_mapping(value: object) -> JsonObject:
    """Return a value that is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_mappings(value: object) -> list[JsonObject]:
    """Return the objects in a list."""
    return [element for element in value if isinstance(element, dict)] if isinstance(value, list) else []


def first_mapping(value: object) -> JsonObject:
    """Return the first object in a list, else an empty one."""
    mappings = as_mappings(value)
    return mappings[0] if mappings else {}


def as_text(value: object) -> str:
    """Return a value that is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def as_texts(value: object) -> list[str]:
    """Return the texts of a list, or the one text that a value is."""
    if isinstance(value, str):
        return [value]
    return [element for element in value if isinstance(element, str)] if isinstance(value, list) else []


def as_token_count(value: object) -> int | None:
    """Return a number of tokens, or None if the value is none.

    >>> as_token_count(3), as_token_count(3.0), as_token_count(-1), as_token_count(True), as_token_count("3")
    (3, 3, None, None, None)
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # No subclass but a truth value comes out of JSON.
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None


def sum_known_counts(*counts: int | None) -> int | None:
    """Return the sum of the counts that are known, or None if none is."""
    known = [number for number in counts if number is not None]
    return sum(known) if known else None


def as_role(value: object) -> Role:
    """Return the role of a message; one that is not known is the user's."""
    return _ROLES.get(value, "user") if isinstance(value, str) else "user"


def format_tool_call(name: str, arguments: str) -> str:
    """Return how a message of a conversation shows a call of a tool."""
    return f"[tool call {name} {arguments}]" if arguments else f"[tool call {name}]"


def format_part(part: JsonObject) -> str:
    """Return the text of a part of a message; a part that is no text is named in brackets."""
    return as_text(part.get("text")) or f"[{as_text(part.get('type')) or 'part'}]"


def content_text(value: object) -> str:
    """Return the text of a message that is a text or a list of parts."""
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
    """Return the arguments of a tool as JSON text: one that the model wrote as it is.

    >>> arguments_json('{"a":1}'), arguments_json({"a": 1}), arguments_json(None)
    ('{"a":1}', '{"a": 1}', '')
    """
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return _DUMP.encode(value)
    except (ValueError, RecursionError):
        return ""


def normalize_arguments(written: str) -> str:
    """Return JSON text that came in pieces as the whole reply has it, where it is whole."""
    value = parse_json(written)
    return arguments_json(value) if isinstance(value, dict) else written


def tool_definition(name: str, description: object = "", parameters: object = None) -> ToolDefinition:
    """Return the definition of a tool; a schema that cannot be kept is `UNREAD_SCHEMA`."""
    schema: Json = UNREAD_SCHEMA
    if not _exceeds_depth(parameters, MAX_DEPTH):
        with contextlib.suppress(WireError):
            schema = to_builtins(parameters)
    return ToolDefinition(name=name, description=as_text(description), parameters=schema)


def _exceeds_depth(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(
        _exceeds_depth(element, levels - 1) for element in inner if isinstance(element, (dict, list))
    )


def read_chat_tools(value: object) -> Iterator[ToolDefinition]:
    """Read the tools of a request in the form of OpenAI's chat, which others took over.

    ``{"type": "function", "function": {"name": ...}}``; another type is a tool of the provider's own.
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
    """Read the tool calls of a message in the form of OpenAI's chat."""
    for call in as_mappings(value):
        inner = as_mapping(call.get("function")) or as_mapping(call.get("custom"))
        yield ToolCall(
            name=as_text(inner.get("name")),
            arguments=arguments_json(inner.get("arguments", inner.get("input"))),
            id=as_text(call.get("id")),
        )


def format_chat_message(message: JsonObject) -> str:
    """Return the content of a message in the form of OpenAI's chat, with the tools it calls."""
    words = [content_text(message.get("content"))]
    if not message.get("tool_calls"):
        return words[0]
    words += [
        format_tool_call(call.name, call.arguments)
        for call in read_chat_tool_calls(message.get("tool_calls"))
    ]
    return "\n".join(word for word in words if word)


def describe_unread_answers(number: int, noun: str) -> list[str]:
    """Name the answers beyond the first, which are not read.

    >>> describe_unread_answers(3, "answer"), describe_unread_answers(1, "answer")
    (['2 more answers'], [])
    """
    beyond = number - 1
    return [f"{beyond} more {noun}{'s' if beyond > 1 else ''}"] if beyond > 0 else []


def describe_vectors(value: object) -> str:
    """Return the output of a call for embeddings."""
    return f"{len(value) if isinstance(value, list) else 0} vectors"
