"""Conversations for judges: message lists of SDKs, recorded calls of an application, or the trajectory of an agent, become a JSON text.

Message lists of OpenAI (chat completions and Responses), Anthropic and LangChain are read, as dictionaries or objects. They are not read
by way of a `Trajectory`: a judge gets each message and part of it, a trajectory has only what can be compared.
A conversation with an image is refused: images are given to a judge separately from the texts.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from pytest_llmops.agents import Step, Trajectory
from pytest_llmops.agents.sources import find_trajectory
from pytest_llmops.agents.sources.fields import get_field
from pytest_llmops.agents.sources.messages import ROLES_BY_NAME
from pytest_llmops.measurement import Json, format_count, shorten_text
from pytest_llmops.protocols import ROLES, Call, Message, Role, ToolCall, is_error_status
from pytest_llmops.recorder import shorten_masked
from pytest_llmops.trace import CallLog
from pytest_llmops.trace.fields import arguments_json, format_part, format_tool_call

_ROLES: Mapping[str, Role] = {
    **ROLES_BY_NAME,
    "function_call": "assistant",
    "function_call_output": "tool",
}


class Conversation(str):
    """A conversation as JSON text, ``[{"role": ..., "content": ...}, ...]``; the messages are kept as an attribute too.

    As it is a text, it can be passed wherever an answer or a question is expected.
    """

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
        """Return the messages before the one with index ``number``, without system messages, as a question.

        That is ``""`` if there are none, and the plain text if there is only one message and it is the user's.
        """
        earlier = self.messages[:number]
        spoken = [message for message in earlier if message.role not in ("system", "developer")]
        if not spoken:
            return ""
        if len(spoken) == 1 and spoken[0].role == "user":
            return spoken[0].content
        return Conversation(spoken)

    @property
    def said(self) -> str:
        """The texts of the assistant's messages, one per line."""
        texts = [message.content for message in self.messages if message.role == "assistant"]
        return "\n".join(texts)

    def find_answers(self) -> list[int]:
        """Return the indexes of the assistant's messages, without those that begin with a tool call."""
        indexes = []
        for index, message in enumerate(self.messages):
            if message.role == "assistant" and not message.content.startswith("[tool call "):
                indexes.append(index)
        return indexes


def is_trace(value: object) -> bool:
    """Return whether a value is a recorded `Call` or several: a `CallLog` or a list that begins with a `Call`."""
    if isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, (Call, CallLog))


def read_conversation(value: object) -> Conversation | None:
    """Return the conversation in a list of messages, a `Call` or several calls, or in an agent's trajectory; None for any other value.

    Of several calls only the application's last one is read: its request has the earlier messages. A trajectory is a `Trajectory`,
    the result of an agent framework, or OpenTelemetry's spans.

    Raises:
        ValueError: The list is empty, a message has no role or no content, the conversation does not end with the
            assistant, or it has an image.

    >>> read_conversation([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]).messages[1]
    Message(role='assistant', content='Hello')
    >>> read_conversation("Hello") is None
    True
    """
    if isinstance(value, Conversation):
        return value
    trajectory = find_trajectory(value)
    entries = _list_entries(value)
    messages: list[Message] = []
    if trajectory is not None:
        messages = list(_list_messages(trajectory))
    elif entries is None:
        return None
    else:
        for number, entry in enumerate(entries, start=1):
            if get_field(entry, "type") != "reasoning":
                messages += _read_message(entry, number)
    if not messages:
        raise ValueError("the conversation has no messages")
    last = messages[-1]
    if last.role != "assistant":
        raise ValueError(
            f"the conversation ends with a message of the role {last.role}: expected an answer of the assistant"
        )
    return Conversation(messages)


def _list_entries(value: Any) -> Sequence[object] | None:
    """Return the messages of a conversation, still in the caller's form; None for a value that is not a conversation.

    A mapping is either an object with a list of ``messages``, or a single message.
    """
    if is_trace(value):
        if isinstance(value, Call):
            value = [value]
        return _read_calls(list(value))
    if isinstance(value, Mapping):
        messages = value.get("messages")
        if isinstance(messages, (list, tuple)):
            return messages
        return [value]
    if isinstance(value, (list, tuple)):
        return value
    return None


def _list_messages(trajectory: Trajectory) -> Iterator[Message]:
    """Yield the messages of a trajectory: each step with its calls, then what came of each call.

    An agent that was handed over to goes on with the conversation. An agent that worked for a tool did not talk with the user: its
    messages have the role "tool" and begin with its name.
    """
    for number, step in enumerate(trajectory.steps, start=1):
        yield _make_message(step)
        for call in step.tool_calls:
            is_handed_over = call.started is not None and number == len(trajectory.steps)
            if call.started is not None and not is_handed_over:
                yield from _list_messages_of_tool(call.started)
            if call.result is not None:
                yield Message("tool", call.result)
            if call.started is not None and is_handed_over:
                yield from _list_messages(call.started)


def _list_messages_of_tool(trajectory: Trajectory) -> Iterator[Message]:
    """Yield the trajectory of an agent that worked for a tool; its task is in the arguments of the call."""
    name = trajectory.agent or "of the tool"
    for message in _list_messages(trajectory):
        if message.role in ("assistant", "tool"):
            yield Message("tool", f"[agent {name}] {message.content}")


def _make_message(step: Step) -> Message:
    lines = [step.text]
    for call in step.tool_calls:
        lines.append(format_tool_call(ToolCall(name=call.name, arguments=call.text)))
    return Message(step.role, "\n".join(filter(None, lines)))


def parse_conversation(answer: str, question: str = "") -> tuple[Conversation, bool]:
    """Return an answer as a conversation, and whether the answer is a whole conversation by itself.

    An answer that is a conversation (also as JSON text) is returned as such. Any other text becomes a conversation of
    two messages, the question and the answer.

    Raises:
        ValueError: Both a message of the user and a question are missing.
    """
    conversation = None
    if isinstance(answer, Conversation):
        conversation = answer
    elif answer.startswith('[{"role": '):
        with suppress(ValueError, RecursionError):
            conversation = read_conversation(json.loads(answer))
    is_whole = conversation is not None
    if conversation is None:
        messages = [Message("assistant", answer)]
        if question:
            messages.insert(0, Message("user", question))
        conversation = Conversation(messages)
    if not question and all(message.role != "user" for message in conversation.messages):
        raise ValueError("the conversation has no message of the user: pass all messages, or question=")
    return conversation, is_whole


def _read_calls(calls: Sequence[Call]) -> list[object]:
    """Return the messages of the application's last call, and its answer as one more message.

    Raises:
        ValueError: The application made no call with messages, or the last one has no answer.
    """
    app_calls = [call for call in calls if call.purpose == "app" and call.messages]
    if not app_calls:
        raise ValueError(
            f"expected a call of the application with messages, got none among {format_count(len(calls), 'call')}"
        )
    call = app_calls[-1]
    if is_error_status(call.status):
        raise ValueError(f"the last call has no answer: status {call.status}: {shorten_masked(call.output)}")
    lines = [call.output, *map(format_tool_call, call.tool_calls)]
    output = "\n".join(filter(None, lines))
    if call.unread and (not output or call.status is None):
        raise ValueError(f"the last call has no answer: {call.unread}")
    if not output:
        raise ValueError("the last call has no answer")
    return [*call.messages, Message("assistant", output)]


def _read_message(entry: object, number: int) -> list[Message]:
    """Return a message of any SDK: its text parts, refusal, tool output and tool calls, one per line.

    Tool results among its parts become messages of the role "tool" before it, or instead of it if it has nothing else.
    ``number`` counts from 1 and is for errors.
    """
    if isinstance(entry, Message):
        return [entry]  # its content has the tool calls already
    given_role = get_field(entry, "role") or get_field(entry, "type")
    role = _ROLES.get(str(given_role))
    if role is None:
        known = ", ".join(ROLES)
        got = shorten_text(repr(entry), 80)
        raise ValueError(f"message {number} has no role: expected one of {known}, got {got}")
    calls = _check_list(get_field(entry, "tool_calls"), "tool_calls", number)
    if get_field(entry, "type") == "function_call":
        calls = [entry]
    content = get_field(entry, "content")
    if content is None:
        content = get_field(entry, "refusal")
    results = []
    lines = []
    if isinstance(content, str):
        lines.append(content)
    else:
        for part in _check_list(content, "the content", number):
            if get_field(part, "type") == "tool_result":
                results.append(Message("tool", _read_result(part, number)))
            else:
                lines.append(_read_part(part, number))
    output = get_field(entry, "output")
    if isinstance(output, str):
        lines.append(output)
    lines += [_format_call(call) for call in calls]
    if content is None and not lines:
        raise ValueError(f"message {number} has no content")
    if results and not lines:
        return results
    return [*results, Message(role, "\n".join(filter(None, lines)))]


def _format_call(call: object) -> str:
    """Return a tool call of any SDK as a line of text; the key of its arguments depends on the SDK."""
    inner = get_field(call, "function") or call
    candidates = (get_field(inner, key) for key in ("arguments", "args", "input"))
    arguments = next(filter(None, candidates), None)
    name = get_field(inner, "name")
    tool_call = ToolCall(name=str(name), arguments=arguments_json(arguments))
    return format_tool_call(tool_call)


def _read_part(part: object, number: int) -> str:
    """Return a part of a message as text; a part without text is shown as `fields.format_part` does it."""
    if isinstance(part, str):
        return part
    text = get_field(part, "text")
    if isinstance(text, str):
        return text
    kind = get_field(part, "type")
    if kind in ("image", "image_url", "input_image"):
        raise ValueError(
            f"message {number} has an image: put a description in its place, and pass the image itself in images=[...]"
        )
    if kind == "tool_use":
        return _format_call(part)
    dump = getattr(part, "model_dump", None)  # of the objects of SDKs
    if callable(dump):
        part = dump(mode="json", exclude_none=True)
    if isinstance(part, dict):
        return format_part(part)
    return f"[{shorten_text(str(kind or 'part'), 40)}]"


def _read_result(part: object, number: int) -> str:
    """Return the content of a tool result as text: a text or a list of parts; "" if it has none."""
    content = get_field(part, "content")
    if isinstance(content, str):
        return content
    return "\n".join(_read_part(inner, number) for inner in _check_list(content, "a tool result", number))


def _check_list(value: object, name: str, number: int) -> Sequence[object]:
    """Return a list, () for a value that is not there; raise a `ValueError` for anything else."""
    if not value:
        return ()
    if not isinstance(value, (list, tuple)):
        raise ValueError(
            f"message {number}: expected {name} to be a list, got {shorten_text(repr(value), 80)}"
        )
    return value
