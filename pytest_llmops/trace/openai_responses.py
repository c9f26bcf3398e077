"""OpenAI's Responses, and what others answer in this form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmops.protocols import Message, ToolCall, ToolDefinition
from pytest_llmops.trace.fields import (
    CallFormat,
    JsonObject,
    ParsedReply,
    ParsedRequest,
    arguments_json,
    as_mapping,
    as_mappings,
    as_role,
    as_text,
    as_token_count,
    content_text,
    format_tool_call,
    tool_definition,
)
from pytest_llmops.trace.usage import read_openai_usage

_FINAL_EVENTS = ("response.completed", "response.incomplete", "response.failed")
_SERVER_STATE_KEYS = ("previous_response_id", "conversation", "prompt")
"""What stands for messages that are not in the request."""


def _read_responses_request(request: JsonObject) -> ParsedRequest:
    messages = [Message("system", as_text(request["instructions"]))] if request.get("instructions") else []
    messages += _read_input_items(request.get("input"))
    unread = [f"messages kept by the server ({name})" for name in _SERVER_STATE_KEYS if request.get(name)]
    return ParsedRequest(
        messages, [*_read_responses_tools(request.get("tools"))], as_text(request.get("model")), unread
    )


def _read_input_items(value: object) -> Iterator[Message]:
    if isinstance(value, str):
        yield Message("user", value)
    for item in as_mappings(value):
        kind = as_text(item.get("type"))
        if kind.endswith("_call_output"):
            yield Message("tool", content_text(item.get("output")))
        elif "content" in item and kind in ("", "message"):
            yield Message(as_role(item.get("role")), content_text(item.get("content")))
        elif kind.endswith("_call"):
            yield Message("assistant", format_tool_call(_tool_name(item), _call_arguments(item)))
        else:
            yield Message("assistant", f"[{kind or 'item'}]")


def _read_responses_tools(value: object) -> Iterator[ToolDefinition]:
    for entry in as_mappings(value):
        inner = as_mapping(entry.get("function")) or entry
        name = as_text(inner.get("name")) or as_text(inner.get("server_label")) or as_text(inner.get("type"))
        yield tool_definition(name, inner.get("description"), inner.get("parameters"))


def _read_responses_reply(reply: JsonObject) -> ParsedReply:
    output = as_mappings(reply.get("output"))
    parts = [
        part for item in output if item.get("type") == "message" for part in as_mappings(item.get("content"))
    ]
    thought = [
        as_text(part.get("text"))
        for item in output
        if item.get("type") == "reasoning"
        for part in as_mappings(item.get("summary")) or as_mappings(item.get("content"))
    ]
    finish = as_text(as_mapping(reply.get("incomplete_details")).get("reason")) or as_text(
        reply.get("status")
    )
    return ParsedReply(
        output="".join(as_text(part.get("text")) or as_text(part.get("refusal")) for part in parts),
        thinking="\n".join(thought),
        tool_calls=[
            ToolCall(
                name=_tool_name(item),
                arguments=_call_arguments(item),
                id=as_text(item.get("call_id")) or as_text(item.get("id")),
            )
            for item in output
            if as_text(item.get("type")).endswith("_call")
        ],
        finish_reason=finish,
        usage=read_openai_usage(as_mapping(reply.get("usage"))),
        model=as_text(reply.get("model")),
        known=isinstance(reply.get("output"), list),
    )


def _tool_name(item: JsonObject) -> str:
    """The tool's name; a tool of the provider's own is named by the type of its call."""
    return as_text(item.get("name")) or as_text(item.get("type")).removesuffix("_call")


def _call_arguments(item: JsonObject) -> str:
    known = ("arguments", "input", "action", "queries", "code")
    return next((arguments_json(item[key]) for key in known if item.get(key)), "")


def _join_response_events(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    final_events = [event for event in events if event.get("type") in _FINAL_EVENTS]
    last = as_mapping(final_events[-1].get("response")) if final_events else _latest_response(events)
    if as_mappings(last.get("output")):
        return last, bool(final_events)
    output = _join_output_items(events)
    return ({**last, "output": output} if last or output else {}), bool(final_events)


def _latest_response(events: Sequence[JsonObject]) -> JsonObject:
    return next(
        (as_mapping(event["response"]) for event in reversed(events) if as_mapping(event.get("response"))), {}
    )


def _join_output_items(events: Sequence[JsonObject]) -> list[JsonObject]:
    """The items of a stream: whole where they are, else the text so far."""
    finished: dict[int, JsonObject] = {}
    deltas: dict[int, list[str]] = {}
    for event in events:
        number = as_token_count(event.get("output_index")) or 0
        kind = event.get("type")
        if kind == "response.output_item.done":
            finished[number] = as_mapping(event.get("item"))
        elif kind in ("response.output_text.delta", "response.refusal.delta"):
            deltas.setdefault(number, []).append(as_text(event.get("delta")))
    partial: dict[int, Any] = {
        number: {"type": "message", "content": [{"text": "".join(pieces)}]}
        for number, pieces in deltas.items()
    }
    return [item for _, item in sorted({**partial, **finished}.items())]


RESPONSES = CallFormat(_read_responses_request, _read_responses_reply, _join_response_events)
