"""Anthropic's messages, as Anthropic, Vertex, Bedrock's ``invoke`` and compatible servers take them.

Anthropic counts tokens read from and written to the prompt cache beside ``input_tokens``; the input of a `Usage`
includes them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_mappings, as_text, join_texts
from pytest_llmops.protocols import Message
from pytest_llmops.trace import fields

_COUNT_KEYS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
# For each type of a delta: the key of its text, and the key of the block that collects these texts
_DELTA_KEYS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("partial_json", "input_json"),
}


def _read_request(request: JsonObject) -> fields.ParsedRequest:
    system = request.get("system")
    if system:
        messages = [Message("system", fields.content_text(system))]
    else:
        messages = []
    for message in as_mappings(request.get("messages")):
        role = fields.as_role(message.get("role"))
        content = message.get("content")
        if isinstance(content, list):
            messages += fields.split_messages(
                role, as_mappings(content), _format_tool_result_block, _format_content_block
            )
        else:
            messages.append(Message(role, fields.content_text(content)))
    return fields.ParsedRequest(
        messages,
        [
            fields.tool_definition(
                as_text(tool.get("name")) or as_text(tool.get("type")),
                tool.get("description"),
                tool.get("input_schema"),
            )
            for tool in as_mappings(request.get("tools"))
        ],
    )


def _read_reply(reply: JsonObject) -> fields.ParsedReply:
    content = reply.get("content")
    blocks = as_mappings(content)
    counts = as_mapping(reply.get("usage"))
    one_hour_tokens = fields.as_token_count(
        as_mapping(counts.get("cache_creation")).get("ephemeral_1h_input_tokens")
    )
    return fields.ParsedReply(
        output=join_texts(block for block in blocks if block.get("type") == "text"),
        thinking=join_texts((block for block in blocks if block.get("type") == "thinking"), "thinking", "\n"),
        tool_calls=[fields.read_tool_call(block) for block in blocks if _is_tool_use(block)],
        finish_reason=as_text(reply.get("stop_reason")),
        usage=replace(
            fields.usage_with_cache(counts, *_COUNT_KEYS),
            reasoning_tokens=fields.as_token_count(
                as_mapping(counts.get("output_tokens_details")).get("thinking_tokens")
            ),
        ),
        model=as_text(reply.get("model")),
        known=isinstance(content, list),
        priced={"cache_write_1h_tokens": one_hour_tokens} if one_hour_tokens else {},
    )


def _join_events(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    reply: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    for event in events:
        kind = event.get("type")
        number = fields.as_token_count(event.get("index")) or 0
        if kind == "message_start":
            reply |= as_mapping(event.get("message"))
            counts |= _drop_nulls(reply.get("usage"))
            reply["content"] = []
        elif kind == "content_block_start":
            blocks[number] = dict(as_mapping(event.get("content_block")))
        elif kind == "content_block_delta":
            block = blocks.setdefault(number, {})
            delta = as_mapping(event.get("delta"))
            source, target = _DELTA_KEYS.get(as_text(delta.get("type")), ("", ""))
            if target:
                block.setdefault("type", target)
                block[target] = as_text(block.get(target)) + as_text(delta.get(source))
        elif kind == "message_delta":
            reply |= _drop_nulls(event.get("delta"))
            counts |= _drop_nulls(event.get("usage"))
    for block in blocks.values():
        if "input_json" in block:
            block["input"] = fields.normalize_arguments(block["input_json"])
    if blocks or reply:
        reply |= {"content": fields.join_blocks(blocks), "usage": counts}
    return reply, bool(events) and events[-1].get("type") == "message_stop"


def _format_tool_result_block(block: JsonObject) -> str | None:
    if as_text(block.get("type")).endswith("tool_result"):
        return fields.content_text(block.get("content"))
    return None


def _format_content_block(block: JsonObject) -> str:
    if _is_tool_use(block):
        return fields.format_tool_call(fields.read_tool_call(block))
    return fields.format_part(block)


def _is_tool_use(block: JsonObject) -> bool:
    return as_text(block.get("type")).endswith("tool_use")


def _drop_nulls(value: object) -> dict[str, Any]:
    return {key: field for key, field in as_mapping(value).items() if field is not None}


MESSAGES = fields.CallFormat(_read_request, _read_reply, _join_events)
