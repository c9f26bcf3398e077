"""OpenAI's Responses, and what others answer in this form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmops.protocols import Message, ToolCall, ToolDefinition
from pytest_llmops.trace.fields import (
    Answered,
    Asked,
    Format,
    Wire,
    arguments,
    called,
    content,
    count,
    items,
    mapping,
    role,
    text,
    tool,
)
from pytest_llmops.trace.usage import usage

_LAST = ("response.completed", "response.incomplete", "response.failed")
_ELSEWHERE = ("previous_response_id", "conversation", "prompt")
"""What stands for messages that are not in the request."""


def _asked(request: Wire) -> Asked:
    messages = [Message("system", text(request["instructions"]))] if request.get("instructions") else []
    messages += _messages(request.get("input"))
    unread = [f"messages kept by the server ({name})" for name in _ELSEWHERE if request.get(name)]
    return Asked(messages, [*_tools(request.get("tools"))], text(request.get("model")), unread)


def _messages(asked: object) -> Iterator[Message]:
    if isinstance(asked, str):
        yield Message("user", asked)
    for one in items(asked):
        kind = text(one.get("type"))
        if kind.endswith("_call_output"):
            yield Message("tool", content(one.get("output")))
        elif "content" in one and kind in ("", "message"):
            yield Message(role(one.get("role")), content(one.get("content")))
        elif kind.endswith("_call"):
            yield Message("assistant", called(_name(one), _arguments(one)))
        else:
            yield Message("assistant", f"[{kind or 'item'}]")


def _tools(value: object) -> Iterator[ToolDefinition]:
    for one in items(value):
        inner = mapping(one.get("function")) or one
        name = text(inner.get("name")) or text(inner.get("server_label")) or text(inner.get("type"))
        yield tool(name, inner.get("description"), inner.get("parameters"))


def _answered(reply: Wire) -> Answered:
    output = items(reply.get("output"))
    parts = [part for one in output if one.get("type") == "message" for part in items(one.get("content"))]
    thought = [
        text(part.get("text"))
        for one in output
        if one.get("type") == "reasoning"
        for part in items(one.get("summary")) or items(one.get("content"))
    ]
    finish = text(mapping(reply.get("incomplete_details")).get("reason")) or text(reply.get("status"))
    return Answered(
        output="".join(text(part.get("text")) or text(part.get("refusal")) for part in parts),
        thinking="\n".join(thought),
        tool_calls=[
            ToolCall(
                name=_name(one), arguments=_arguments(one), id=text(one.get("call_id")) or text(one.get("id"))
            )
            for one in output
            if text(one.get("type")).endswith("_call")
        ],
        finish_reason=finish,
        usage=usage(mapping(reply.get("usage"))),
        model=text(reply.get("model")),
        known=isinstance(reply.get("output"), list),
    )


def _name(item: Wire) -> str:
    """The tool's name; a tool of the provider's own is named by the type of its call."""
    return text(item.get("name")) or text(item.get("type")).removesuffix("_call")


def _arguments(item: Wire) -> str:
    known = ("arguments", "input", "action", "queries", "code")
    return next((arguments(item[key]) for key in known if item.get(key)), "")


def _joined(events: Sequence[Wire]) -> tuple[Wire, bool]:
    done = [one for one in events if one.get("type") in _LAST]
    last = mapping(done[-1].get("response")) if done else _latest(events)
    if items(last.get("output")):
        return last, bool(done)
    pieces = _items(events)
    return ({**last, "output": pieces} if last or pieces else {}), bool(done)


def _latest(events: Sequence[Wire]) -> Wire:
    return next((mapping(one["response"]) for one in reversed(events) if mapping(one.get("response"))), {})


def _items(events: Sequence[Wire]) -> list[Wire]:
    """The items of a stream: whole where they are, else the text so far."""
    whole: dict[int, Wire] = {}
    so_far: dict[int, list[str]] = {}
    for event in events:
        number = count(event.get("output_index")) or 0
        kind = event.get("type")
        if kind == "response.output_item.done":
            whole[number] = mapping(event.get("item"))
        elif kind in ("response.output_text.delta", "response.refusal.delta"):
            so_far.setdefault(number, []).append(text(event.get("delta")))
    made: dict[int, Any] = {
        number: {"type": "message", "content": [{"text": "".join(pieces)}]}
        for number, pieces in so_far.items()
    }
    return [one for _, one in sorted({**made, **whole}.items())]


RESPONSES = Format(_asked, _answered, _joined)
