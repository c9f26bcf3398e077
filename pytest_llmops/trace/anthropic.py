"""Anthropic's messages, of Anthropic, of Vertex, of Bedrock's ``invoke`` and of compatible servers.

Anthropic counts what was read from the prompt cache and what was written to it beside ``input_tokens``;
here, as everywhere, the input is all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmops.protocols import Message, Role, ToolCall, ToolDefinition, Usage
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
    named,
    role,
    same_spelling,
    text,
    tool,
    total,
)


def _asked(request: Wire) -> Asked:
    messages = [Message("system", content(request["system"]))] if request.get("system") else []
    for one in items(request.get("messages")):
        messages += _messages(role(one.get("role")), one.get("content"))
    return Asked(messages, [*_tools(request.get("tools"))], text(request.get("model")))


def _messages(who: Role, value: object) -> Iterator[Message]:
    """The message, its blocks one below the other; each result of a tool is a message of its own."""
    if not isinstance(value, list):
        yield Message(who, content(value))
        return
    said: list[str] = []
    for block in items(value):
        if text(block.get("type")).endswith("tool_result"):
            yield Message("tool", content(block.get("content")))
        else:
            said.append(_block(block))
    if said:
        yield Message(who, "\n".join(said))


def _block(block: Wire) -> str:
    if text(block.get("type")).endswith("tool_use"):
        return called(text(block.get("name")), arguments(block.get("input")))
    return named(block)


def _tools(value: object) -> Iterator[ToolDefinition]:
    for one in items(value):
        name = text(one.get("name")) or text(one.get("type"))
        yield tool(name, one.get("description"), one.get("input_schema"))


def _answered(reply: Wire) -> Answered:
    blocks = items(reply.get("content"))
    used = mapping(reply.get("usage"))
    an_hour = count(mapping(used.get("cache_creation")).get("ephemeral_1h_input_tokens"))
    return Answered(
        output="".join(text(one.get("text")) for one in blocks if one.get("type") == "text"),
        thinking="\n".join(text(one.get("thinking")) for one in blocks if one.get("type") == "thinking"),
        tool_calls=[
            ToolCall(
                name=text(one.get("name")), arguments=arguments(one.get("input")), id=text(one.get("id"))
            )
            for one in blocks
            if text(one.get("type")).endswith("tool_use")
        ],
        finish_reason=text(reply.get("stop_reason")),
        usage=usage(used),
        model=text(reply.get("model")),
        known=isinstance(reply.get("content"), list),
        priced={"cache_write_1h_tokens": an_hour} if an_hour else {},
    )


def usage(wire: Wire) -> Usage:
    """Read the token counts of a message."""
    read, written = count(wire.get("cache_read_input_tokens")), count(wire.get("cache_creation_input_tokens"))
    return Usage(
        input_tokens=total(count(wire.get("input_tokens")), read, written),
        output_tokens=count(wire.get("output_tokens")),
        cached_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=count(mapping(wire.get("output_tokens_details")).get("thinking_tokens")),
    )


def _joined(events: Sequence[Wire]) -> tuple[Wire, bool]:
    whole: dict[str, Any] = {}
    used: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    for event in events:
        kind = event.get("type")
        if kind == "message_start":
            whole |= mapping(event.get("message"))
            used |= _stated(whole.get("usage"))
            whole["content"] = []
        elif kind == "content_block_start":
            blocks[count(event.get("index")) or 0] = dict(mapping(event.get("content_block")))
        elif kind == "content_block_delta":
            _add(blocks.setdefault(count(event.get("index")) or 0, {}), mapping(event.get("delta")))
        elif kind == "message_delta":
            whole |= {key: one for key, one in mapping(event.get("delta")).items() if one is not None}
            used |= _stated(event.get("usage"))
    if blocks or whole:
        whole |= {"content": [_closed(one) for _, one in sorted(blocks.items())], "usage": used}
    return whole, bool(events) and events[-1].get("type") == "message_stop"


def _stated(value: object) -> dict[str, Any]:
    return {key: one for key, one in mapping(value).items() if one is not None}


_DELTAS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("partial_json", "input_json"),
}


def _add(block: dict[str, Any], delta: Wire) -> None:
    if delta.get("type") in _DELTAS:
        piece, key = _DELTAS[delta["type"]]
        block.setdefault("type", key)
        block[key] = text(block.get(key)) + text(delta.get(piece))


def _closed(block: dict[str, Any]) -> dict[str, Any]:
    """A block whose input came in pieces, with it put together."""
    return {**block, "input": same_spelling(block["input_json"])} if "input_json" in block else block


MESSAGES = Format(_asked, _answered, _joined)
