"""Anthropic's messages, of Anthropic, of Vertex, of Bedrock's ``invoke`` and of compatible servers.

Anthropic counts what was read from the prompt cache and what was written to it beside ``input_tokens``;
here, as everywhere, the input is all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmops.protocols import Message, Role, ToolCall, ToolDefinition, Usage
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
    format_part,
    format_tool_call,
    normalize_arguments,
    sum_known_counts,
    tool_definition,
)


def _read_messages_request(request: JsonObject) -> ParsedRequest:
    messages = [Message("system", content_text(request["system"]))] if request.get("system") else []
    for message in as_mappings(request.get("messages")):
        messages += _read_content_messages(as_role(message.get("role")), message.get("content"))
    return ParsedRequest(
        messages, [*_read_messages_tools(request.get("tools"))], as_text(request.get("model"))
    )


def _read_content_messages(sender: Role, value: object) -> Iterator[Message]:
    """The message, its blocks one below the other; each result of a tool is a message of its own."""
    if not isinstance(value, list):
        yield Message(sender, content_text(value))
        return
    lines: list[str] = []
    for block in as_mappings(value):
        if as_text(block.get("type")).endswith("tool_result"):
            yield Message("tool", content_text(block.get("content")))
        else:
            lines.append(_format_content_block(block))
    if lines:
        yield Message(sender, "\n".join(lines))


def _format_content_block(block: JsonObject) -> str:
    if as_text(block.get("type")).endswith("tool_use"):
        return format_tool_call(as_text(block.get("name")), arguments_json(block.get("input")))
    return format_part(block)


def _read_messages_tools(value: object) -> Iterator[ToolDefinition]:
    for entry in as_mappings(value):
        name = as_text(entry.get("name")) or as_text(entry.get("type"))
        yield tool_definition(name, entry.get("description"), entry.get("input_schema"))


def _read_messages_reply(reply: JsonObject) -> ParsedReply:
    blocks = as_mappings(reply.get("content"))
    counts = as_mapping(reply.get("usage"))
    one_hour_tokens = as_token_count(
        as_mapping(counts.get("cache_creation")).get("ephemeral_1h_input_tokens")
    )
    return ParsedReply(
        output="".join(as_text(block.get("text")) for block in blocks if block.get("type") == "text"),
        thinking="\n".join(
            as_text(block.get("thinking")) for block in blocks if block.get("type") == "thinking"
        ),
        tool_calls=[
            ToolCall(
                name=as_text(block.get("name")),
                arguments=arguments_json(block.get("input")),
                id=as_text(block.get("id")),
            )
            for block in blocks
            if as_text(block.get("type")).endswith("tool_use")
        ],
        finish_reason=as_text(reply.get("stop_reason")),
        usage=read_messages_usage(counts),
        model=as_text(reply.get("model")),
        known=isinstance(reply.get("content"), list),
        priced={"cache_write_1h_tokens": one_hour_tokens} if one_hour_tokens else {},
    )


def read_messages_usage(wire: JsonObject) -> Usage:
    """Read the token counts of a message."""
    cache_read, cache_written = (
        as_token_count(wire.get("cache_read_input_tokens")),
        as_token_count(wire.get("cache_creation_input_tokens")),
    )
    return Usage(
        input_tokens=sum_known_counts(as_token_count(wire.get("input_tokens")), cache_read, cache_written),
        output_tokens=as_token_count(wire.get("output_tokens")),
        cached_tokens=cache_read,
        cache_write_tokens=cache_written,
        reasoning_tokens=as_token_count(as_mapping(wire.get("output_tokens_details")).get("thinking_tokens")),
    )


def _join_message_events(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    reply: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    for event in events:
        kind = event.get("type")
        if kind == "message_start":
            reply |= as_mapping(event.get("message"))
            counts |= _drop_nulls(reply.get("usage"))
            reply["content"] = []
        elif kind == "content_block_start":
            blocks[as_token_count(event.get("index")) or 0] = dict(as_mapping(event.get("content_block")))
        elif kind == "content_block_delta":
            _append_block_delta(
                blocks.setdefault(as_token_count(event.get("index")) or 0, {}), as_mapping(event.get("delta"))
            )
        elif kind == "message_delta":
            reply |= {
                key: value for key, value in as_mapping(event.get("delta")).items() if value is not None
            }
            counts |= _drop_nulls(event.get("usage"))
    if blocks or reply:
        reply |= {
            "content": [_parse_block_input(value) for _, value in sorted(blocks.items())],
            "usage": counts,
        }
    return reply, bool(events) and events[-1].get("type") == "message_stop"


def _drop_nulls(value: object) -> dict[str, Any]:
    return {key: field for key, field in as_mapping(value).items() if field is not None}


_DELTA_KEYS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("partial_json", "input_json"),
}


def _append_block_delta(block: dict[str, Any], delta: JsonObject) -> None:
    if delta.get("type") in _DELTA_KEYS:
        piece, key = _DELTA_KEYS[delta["type"]]
        block.setdefault("type", key)
        block[key] = as_text(block.get(key)) + as_text(delta.get(piece))


def _parse_block_input(block: dict[str, Any]) -> dict[str, Any]:
    """A block whose input came in pieces, with it put together."""
    return {**block, "input": normalize_arguments(block["input_json"])} if "input_json" in block else block


MESSAGES = CallFormat(_read_messages_request, _read_messages_reply, _join_message_events)
