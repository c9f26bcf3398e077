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
from pytest_llmops.measurement import Json, plain
from pytest_llmops.protocols import ROLES, Message, Role, ToolCall, ToolDefinition, Usage

Wire: TypeAlias = Mapping[str, Any]
"""An object of a JSON body."""

MAX_TOKENS = 10**15
"""No request has more: such a number is no count."""
MAX_DEPTH = 60
"""Of the schema of a tool, so that it passes every wire."""
UNREAD = "[unread]"
"""In place of the schema of a tool that cannot be kept."""
_ROLES: dict[str, Role] = {one: one for one in ROLES}
_DUMP = json.JSONEncoder(ensure_ascii=False)


@dataclass(slots=True)
class Asked:
    """What a request said."""

    messages: Sequence[Message] = ()
    tools: Sequence[ToolDefinition] = ()
    model: str = ""
    unread: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Answered:
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


class Format(NamedTuple):
    """How one kind of call is read.

    Attributes:
        asked: Reads a request.
        answered: Reads a whole reply.
        joined: Adds the events of a stream up to what the same call without a stream replies, and
            says whether the last event of the stream is among them.
    """

    asked: Callable[[Wire], Asked]
    answered: Callable[[Wire], Answered]
    joined: Callable[[Sequence[Wire]], tuple[Wire, bool]]


def not_streamed(events: Sequence[Wire]) -> tuple[Wire, bool]:
    """Join the events of a call that has no stream: the first is the reply."""
    return (events[0] if events else {}), bool(events)


def parsed(text: bytes | str) -> object:
    """Return the value of a JSON text, or None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def mapping(value: object) -> Wire:
    """Return a value that is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Wire]:
    """Return the objects in a list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def first(value: object) -> Wire:
    """Return the first object in a list, else an empty one."""
    found = items(value)
    return found[0] if found else {}


def text(value: object) -> str:
    """Return a value that is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def texts(value: object) -> list[str]:
    """Return the texts of a list, or the one text that a value is."""
    if isinstance(value, str):
        return [value]
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def count(value: object) -> int | None:
    """Return a number of tokens, or None if the value is none.

    >>> count(3), count(3.0), count(-1), count(True), count("3")
    (3, 3, None, None, None)
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # No subclass but a truth value comes out of JSON.
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None


def total(*counts: int | None) -> int | None:
    """Return the sum of the counts that are known, or None if none is."""
    known = [one for one in counts if one is not None]
    return sum(known) if known else None


def role(value: object) -> Role:
    """Return the role of a message; one that is not known is the user's."""
    return _ROLES.get(value, "user") if isinstance(value, str) else "user"


def called(name: str, arguments: str) -> str:
    """Return how a message of a conversation shows a call of a tool."""
    return f"[tool call {name} {arguments}]" if arguments else f"[tool call {name}]"


def named(part: Wire) -> str:
    """Return the text of a part of a message; a part that is no text is named in brackets."""
    return text(part.get("text")) or f"[{text(part.get('type')) or 'part'}]"


def content(value: object) -> str:
    """Return the text of a message that is a text or a list of parts."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    return "\n".join(
        one if isinstance(one, str) else named(one) for one in value if isinstance(one, (str, dict))
    )


def arguments(value: object) -> str:
    """Return the arguments of a tool as JSON text: one that the model wrote as it is.

    >>> arguments('{"a":1}'), arguments({"a": 1}), arguments(None)
    ('{"a":1}', '{"a": 1}', '')
    """
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return _DUMP.encode(value)
    except (ValueError, RecursionError):
        return ""


def same_spelling(written: str) -> str:
    """Return JSON text that came in pieces as the whole reply has it, where it is whole."""
    value = parsed(written)
    return arguments(value) if isinstance(value, dict) else written


def tool(name: str, description: object = "", parameters: object = None) -> ToolDefinition:
    """Return the definition of a tool; a schema that cannot be kept is `UNREAD`."""
    schema: Json = UNREAD
    if not _deeper(parameters, MAX_DEPTH):
        with contextlib.suppress(WireError):
            schema = plain(parameters)
    return ToolDefinition(name=name, description=text(description), parameters=schema)


def _deeper(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_deeper(one, levels - 1) for one in inner if isinstance(one, (dict, list)))


def functions(value: object) -> Iterator[ToolDefinition]:
    """Read the tools of a request in the form of OpenAI's chat, which others took over.

    ``{"type": "function", "function": {"name": ...}}``; another type is a tool of the provider's own.
    """
    for one in items(value):
        kind = text(one.get("type"))
        inner = mapping(one.get(kind or "function"))
        yield tool(
            text(inner.get("name")) or text(one.get("name")) or kind,
            inner.get("description"),
            inner.get("parameters"),
        )


def calls(value: object) -> Iterator[ToolCall]:
    """Read the tool calls of a message in the form of OpenAI's chat."""
    for one in items(value):
        inner = mapping(one.get("function")) or mapping(one.get("custom"))
        yield ToolCall(
            name=text(inner.get("name")),
            arguments=arguments(inner.get("arguments", inner.get("input"))),
            id=text(one.get("id")),
        )


def said(one: Wire) -> str:
    """Return the content of a message in the form of OpenAI's chat, with the tools it calls."""
    words = [content(one.get("content"))]
    if not one.get("tool_calls"):
        return words[0]
    words += [called(call.name, call.arguments) for call in calls(one.get("tool_calls"))]
    return "\n".join(word for word in words if word)


def more(number: int, noun: str) -> list[str]:
    """Name the answers beyond the first, which are not read.

    >>> more(3, "answer"), more(1, "answer")
    (['2 more answers'], [])
    """
    beyond = number - 1
    return [f"{beyond} more {noun}{'s' if beyond > 1 else ''}"] if beyond > 0 else []


def vectors(value: object) -> str:
    """Return the output of a call for embeddings."""
    return f"{len(value) if isinstance(value, list) else 0} vectors"
