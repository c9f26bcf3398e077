"""OpenAI's Responses, also of compatible servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_mappings, as_text, join_texts
from pytest_llmops.protocols import Message, ToolCall
from pytest_llmops.trace.fields import (
    CallFormat,
    ParsedReply,
    ParsedRequest,
    arguments_json,
    as_role,
    as_token_count,
    content_text,
    format_tool_call,
    join_blocks,
    tool_definition,
)
from pytest_llmops.trace.usage import read_openai_usage

_FINAL_EVENTS = ("response.completed", "response.incomplete", "response.failed")
_SERVER_STATE_KEYS = ("previous_response_id", "conversation", "prompt")
"""Keys of a request that refer to messages outside of it."""


class _ResponsesFormat(CallFormat):
    def read_request(self, request: JsonObject) -> ParsedRequest:
        instructions = request.get("instructions")
        messages = [Message("system", as_text(instructions))] if instructions else []
        messages += _read_input(request.get("input"))
        unread = [f"messages kept by the server ({key})" for key in _SERVER_STATE_KEYS if request.get(key)]
        tools = []
        for entry in as_mappings(request.get("tools")):
            tool = as_mapping(entry.get("function")) or entry
            name = as_text(tool.get("name")) or as_text(tool.get("server_label")) or as_text(tool.get("type"))
            tools.append(tool_definition(name, tool.get("description"), tool.get("parameters")))
        return ParsedRequest(messages, tools, unread)

    def read_reply(self, reply: JsonObject) -> ParsedReply:
        output = as_mappings(reply.get("output"))
        answers, thoughts = list[JsonObject](), list[JsonObject]()
        for item in output:
            if item.get("type") == "message":
                answers += as_mappings(item.get("content"))
            elif item.get("type") == "reasoning":
                thoughts += as_mappings(item.get("summary")) or as_mappings(item.get("content"))
        incomplete = as_text(as_mapping(reply.get("incomplete_details")).get("reason"))
        return ParsedReply(
            output="".join(as_text(part.get("text")) or as_text(part.get("refusal")) for part in answers),
            thinking=join_texts(thoughts, separator="\n"),
            tool_calls=[_read_call(item) for item in output if as_text(item.get("type")).endswith("_call")],
            finish_reason=incomplete or as_text(reply.get("status")),
            usage=read_openai_usage(as_mapping(reply.get("usage"))),
            model=as_text(reply.get("model")),
            known=isinstance(reply.get("output"), list),
        )

    def join_events(self, events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
        final_events = [event for event in events if event.get("type") in _FINAL_EVENTS]
        if final_events:
            last = as_mapping(final_events[-1].get("response"))
        else:
            responses = (as_mapping(event.get("response")) for event in reversed(events))
            last = next(filter(None, responses), {})
        if as_mappings(last.get("output")):
            return last, bool(final_events)
        output = _join_output_items(events)
        return ({**last, "output": output} if last or output else {}), bool(final_events)


def _read_input(value: object) -> Iterator[Message]:
    if isinstance(value, str):
        yield Message("user", value)
    for item in as_mappings(value):
        kind = as_text(item.get("type"))
        if kind.endswith("_call_output"):
            yield Message("tool", content_text(item.get("output")))
        elif "content" in item and kind in ("", "message"):
            yield Message(as_role(item.get("role")), content_text(item.get("content")))
        elif kind.endswith("_call"):
            yield Message("assistant", format_tool_call(_read_call(item)))
        else:
            yield Message("assistant", f"[{kind or 'item'}]")


def _read_call(item: JsonObject) -> ToolCall:
    """Read a call of a function, or of a built-in tool, which is named by the type of its call."""
    keys = ("arguments", "input", "action", "queries", "code")
    return ToolCall(
        name=as_text(item.get("name")) or as_text(item.get("type")).removesuffix("_call"),
        arguments=next((arguments_json(item[key]) for key in keys if item.get(key)), ""),
        id=as_text(item.get("call_id")) or as_text(item.get("id")),
    )


def _join_output_items(events: Sequence[JsonObject]) -> list[JsonObject]:
    """Return the output items of a stream: complete items, and the text so far of the others."""
    complete: dict[int, JsonObject] = {}
    texts: dict[int, str] = {}
    for event in events:
        number = as_token_count(event.get("output_index")) or 0
        kind = event.get("type")
        if kind == "response.output_item.done":
            complete[number] = as_mapping(event.get("item"))
        elif kind in ("response.output_text.delta", "response.refusal.delta"):
            texts[number] = texts.get(number, "") + as_text(event.get("delta"))
    partial = {number: {"type": "message", "content": [{"text": text}]} for number, text in texts.items()}
    return join_blocks({**partial, **complete})


RESPONSES = _ResponsesFormat()
