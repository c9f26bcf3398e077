"""Anthropic's messages, as Anthropic, Vertex, Bedrock's ``invoke`` and compatible servers take them.

The ``input_tokens`` of Anthropic exclude tokens read from and written to the prompt cache; the input of a `Usage` includes
them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytest_llmops._util.json_values import (
    JsonObject,
    as_mapping,
    as_mappings,
    get_mapping,
    get_mappings,
    get_text,
    join_texts,
)
from pytest_llmops.protocols import Message, ToolCall, ToolDefinition, Usage
from pytest_llmops.trace import fields
from pytest_llmops.trace.wire_format import (
    CallFormat,
    Endpoint,
    JoinedReply,
    ParsedReply,
    ParsedRequest,
    WireFormat,
    bedrock_invoke,
    vertex_raw_predict,
)

_COUNT_KEYS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
# Type of a delta -> (key of its text, key of the block to which the text is appended)
_DELTA_KEYS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("partial_json", "input_json"),
}


def _read_request(request: JsonObject) -> ParsedRequest:
    """Read the system prompt, messages and tools of a request."""
    messages: list[Message] = []
    system = request.get("system")
    if system:
        messages.append(fields.content_message("system", system))
    for message in get_mappings(request, "messages"):
        role = fields.as_role(message.get("role"))
        content = message.get("content")
        if isinstance(content, list):
            messages += fields.split_messages(
                role, as_mappings(content), _read_tool_result, _read_tool_use, fields.format_part
            )
        else:
            messages.append(fields.content_message(role, content))
    tools = [_read_tool(tool) for tool in get_mappings(request, "tools")]
    return ParsedRequest(messages, tools)


def _read_tool(tool: JsonObject) -> ToolDefinition:
    name = get_text(tool, "name") or get_text(tool, "type")
    return fields.tool_definition(name, tool.get("description"), tool.get("input_schema"))


def _read_reply(reply: JsonObject) -> ParsedReply:
    """Read text, thinking and tool calls of a reply by the types of its content blocks."""
    content = reply.get("content")
    blocks = as_mappings(content)
    counts = get_mapping(reply, "usage")
    texts = [block for block in blocks if block.get("type") == "text"]
    thoughts = [block for block in blocks if block.get("type") == "thinking"]
    return ParsedReply(
        output=join_texts(texts),
        thinking=join_texts(thoughts, "thinking", "\n"),
        tool_calls=[call for call in map(_read_tool_use, blocks) if call is not None],
        finish_reason=get_text(reply, "stop_reason"),
        usage=_read_usage(counts),
        model=get_text(reply, "model"),
        known=isinstance(content, list),
        priced=_read_one_hour_tokens(counts),
    )


def _read_usage(counts: JsonObject) -> Usage:
    usage = fields.usage_with_cache(counts, *_COUNT_KEYS)
    details = get_mapping(counts, "output_tokens_details")
    return replace(usage, reasoning_tokens=fields.get_count(details, "thinking_tokens"))


def _read_one_hour_tokens(counts: JsonObject) -> dict[str, int]:
    """Return {"cache_write_1h_tokens": ...}, the tokens written to the one-hour cache, which has its own price; {} without any."""
    created = get_mapping(counts, "cache_creation")
    tokens = fields.get_count(created, "ephemeral_1h_input_tokens")
    if tokens:
        return {"cache_write_1h_tokens": tokens}
    return {}


def _join_events(events: Sequence[JsonObject]) -> JoinedReply:
    """Join the events of a stream into a reply: the deltas are appended to the block of their index."""
    reply: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    for event in events:
        kind = event.get("type")
        number = fields.get_count(event, "index") or 0
        if kind == "message_start":
            reply |= get_mapping(event, "message")
            counts |= _drop_nulls(reply.get("usage"))
            reply["content"] = []
        elif kind == "content_block_start":
            blocks[number] = dict(get_mapping(event, "content_block"))
        elif kind == "content_block_delta":
            block = blocks.setdefault(number, {})
            _append_delta(block, get_mapping(event, "delta"))
        elif kind == "message_delta":
            reply |= _drop_nulls(event.get("delta"))
            counts |= _drop_nulls(event.get("usage"))
    for block in blocks.values():
        if "input_json" in block:
            block["input"] = fields.normalize_arguments(block["input_json"])
    if blocks or reply:
        reply["content"] = fields.join_blocks(blocks)
        reply["usage"] = counts
    has_ended = bool(events) and events[-1].get("type") == "message_stop"
    return reply, has_ended


def _append_delta(block: dict[str, Any], delta: JsonObject) -> None:
    source, target = _DELTA_KEYS.get(get_text(delta, "type"), ("", ""))
    if target:
        block.setdefault("type", target)
        block[target] = get_text(block, target) + get_text(delta, source)


def _read_tool_result(block: JsonObject) -> Message | None:
    if not get_text(block, "type").endswith("tool_result"):
        return None
    text = fields.content_text(block.get("content"))
    is_error = block.get("is_error") is True
    return Message("tool", text, call_id=get_text(block, "tool_use_id"), is_error=is_error)


def _read_tool_use(block: JsonObject) -> ToolCall | None:
    if get_text(block, "type").endswith("tool_use"):
        return fields.read_tool_call(block)
    return None


def _drop_nulls(value: object) -> dict[str, Any]:
    return {key: field for key, field in as_mapping(value).items() if field is not None}


MESSAGES = CallFormat(_read_request, _read_reply, _join_events)
WIRE_FORMAT = WireFormat(
    [
        Endpoint("messages", "/v1/messages", MESSAGES),
        vertex_raw_predict("messages", MESSAGES, "anthropic"),
        bedrock_invoke("invoke", MESSAGES, models=["anthropic."]),
        # The id of an imported model, or of an inference profile, does not say whose model it is.
        bedrock_invoke("invoke", MESSAGES, with_keys=["messages", "anthropic_version"]),
    ],
    hosts={"anthropic.com": "anthropic"},
    on_other_hosts=True,
)
