"""Conversations that judges read: messages of any SDK, or the recorded calls of an application, as JSON text.

Message lists of OpenAI (chat completions and Responses), Anthropic and LangChain are read, as dictionaries or objects.
Judges read text: a conversation with an image is refused.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pytest_llmops.measurement import Json, format_count, shorten_text
from pytest_llmops.protocols import ROLES, Call, Message, Role, ToolCall
from pytest_llmops.trace import CallLog
from pytest_llmops.trace.fields import arguments_json, format_tool_call

HTTP_ERROR = 400  # the first status of an error
_ROLES: Mapping[str, Role] = {
    **{role: role for role in ROLES},
    "human": "user",
    "ai": "assistant",
    "function": "tool",
    "function_call": "assistant",
    "function_call_output": "tool",
}


class Conversation(str):
    """A conversation as JSON text, ``[{"role": ..., "content": ...}, ...]``, with its messages."""

    __slots__ = ("messages",)

    messages: tuple[Message, ...]

    def __new__(cls, messages: Sequence[Message]) -> Self:
        """Return the conversation of these messages."""
        data = [{"role": message.role, "content": message.content} for message in messages]
        conversation = super().__new__(cls, json.dumps(data, ensure_ascii=False))
        conversation.messages = tuple(messages)
        return conversation

    def to_data(self) -> list[Json]:
        """Return the messages as plain values."""
        return [{"role": message.role, "content": message.content} for message in self.messages]

    def before(self, number: int) -> "Conversation | str":
        """Return what came before a message, without system messages; the text alone of a single user message."""
        earlier = [
            message for message in self.messages[:number] if message.role not in ("system", "developer")
        ]
        if [message.role for message in earlier] == ["user"]:
            return earlier[0].content
        if earlier:
            return Conversation(earlier)
        return ""

    @property
    def said(self) -> str:
        """What the assistant says in it."""
        return "\n".join(message.content for message in self.messages if message.role == "assistant")

    def find_answers(self) -> list[int]:
        """Return the indexes of the assistant's messages with a text, not only tool calls."""
        return [
            index
            for index, message in enumerate(self.messages)
            if message.role == "assistant" and not message.content.startswith("[tool call ")
        ]


def is_trace(value: object) -> bool:
    """Return whether a value is a call, or several calls, of a test."""
    if isinstance(value, list) and value:
        first = value[0]
    else:
        first = value
    return isinstance(first, (Call, CallLog))


def read_conversation(value: object) -> Conversation | None:
    """Return the conversation of a list of messages, a `Call` or several calls; None for any other value.

    Of several calls the last of the application counts: its request holds what was said before.

    Raises:
        ValueError: There is no message, a message has no role or no content, the conversation does not end with the
            assistant, or it has an image.

    >>> read_conversation([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]).messages[1]
    Message(role='assistant', content='Hello')
    >>> read_conversation("Hello") is None
    True
    """
    if isinstance(value, Conversation):
        return value
    given: Any = value
    if is_trace(value):
        given = _read_calls([value] if isinstance(value, Call) else list(given))
    elif isinstance(value, Mapping):
        if isinstance(value.get("messages"), (list, tuple)):
            given = value["messages"]
        else:
            given = [value]
    elif not isinstance(value, (list, tuple)):
        return None
    messages = [
        _read_message(entry, number)
        for number, entry in enumerate(given, start=1)
        if _field(entry, "type") != "reasoning"
    ]
    if not messages:
        raise ValueError("the conversation has no messages")
    if (role := messages[-1].role) != "assistant":
        raise ValueError(
            f"the conversation ends with a message of the role {role}: expected an answer of the assistant"
        )
    return Conversation(messages)


def parse_conversation(answer: str, question: str = "") -> tuple[Conversation, bool]:
    """Return the conversation that a text is, and whether it is one; else question and answer as a conversation.

    Raises:
        ValueError: The user says nothing in it.
    """
    if isinstance(answer, Conversation):
        conversation = answer
    else:
        conversation = None
    if conversation is None and answer.startswith('[{"role": '):
        try:
            conversation = read_conversation(json.loads(answer))
        except (ValueError, RecursionError):
            conversation = None
    is_whole = conversation is not None
    if conversation is None:
        if question:
            asked = [Message("user", question)]
        else:
            asked = []
        conversation = Conversation([*asked, Message("assistant", answer)])
    if not question and all(message.role != "user" for message in conversation.messages):
        raise ValueError("the conversation has no message of the user: pass all messages, or question=")
    return conversation, is_whole


def _read_calls(calls: Sequence[Call]) -> list[object]:
    answered = [call for call in calls if call.purpose == "app" and call.messages]
    if not answered:
        raise ValueError(
            f"expected a call of the application with messages, got none among {format_count(len(calls), 'call')}"
        )
    call = answered[-1]
    if call.status is not None and call.status >= HTTP_ERROR:
        raise ValueError(f"the last call has no answer: status {call.status}: {shorten_text(call.output)}")
    output = "\n".join(
        filter(None, [call.output, *[format_tool_call(tool_call) for tool_call in call.tool_calls]])
    )
    if not output or (call.status is None and call.unread):
        raise ValueError(f"the last call has no answer{f': {call.unread}' if call.unread else ''}")
    return [*call.messages, Message("assistant", output)]


def _field(entry: object, key: str) -> Any:
    if isinstance(entry, Mapping):
        return entry.get(key)
    return getattr(entry, key, None)


def _read_message(entry: object, number: int) -> Message:
    role: Role = _ROLES.get(str(_field(entry, "role") or _field(entry, "type")))
    if role is None:
        raise ValueError(
            f"message {number} has no role: expected one of {', '.join(ROLES)}, got {shorten_text(repr(entry), 80)}"
        )
    if _field(entry, "type") == "function_call":
        calls = [entry]
    else:
        calls = _field(entry, "tool_calls") or ()
    content = _field(entry, "content")
    if content is None:
        content = _field(entry, "refusal")
    if isinstance(content, str):
        lines = [content]
    else:
        lines = [_read_part(part, number) for part in content or ()]
    output = _field(entry, "output")
    if isinstance(output, str):
        lines.append(output)
    lines += [_format_call(call) for call in calls]
    if content is None and not lines:
        raise ValueError(f"message {number} has no content")
    return Message(role, "\n".join(filter(None, lines)))


def _format_call(call: object) -> str:
    inner = _field(call, "function") or call
    arguments = next((given for key in ("arguments", "args", "input") if (given := _field(inner, key))), None)
    return format_tool_call(ToolCall(name=str(_field(inner, "name")), arguments=arguments_json(arguments)))


def _read_part(part: object, number: int) -> str:
    kind = _field(part, "type")
    if isinstance(part, str):
        text = part
    else:
        text = _field(part, "text")
    if isinstance(text, str):
        return text
    if kind in ("image", "image_url", "input_image"):
        raise ValueError(
            f"message {number} has an image, and judges read text only: put a description in its place"
        )
    if kind == "tool_use":
        return _format_call(part)
    content = _field(part, "content")
    if kind == "tool_result" and content is not None:
        if isinstance(content, str):
            return content
        return "\n".join(_read_part(each, number) for each in content)
    return f"[{shorten_text(str(kind or 'part'), 40)}]"
