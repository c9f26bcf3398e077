"""Cohere's chat (v2), embed and rerank, also through Bedrock's ``invoke``.

Tokens are those that are billed; in a reply without these, those that the model processed.
"""

from collections.abc import Sequence
from typing import Any

from pytest_llmops._util.json_values import (
    JsonObject,
    as_mapping,
    as_mappings,
    as_text,
    as_texts,
    join_texts,
)
from pytest_llmops.protocols import Usage
from pytest_llmops.trace import fields

_MAX_NUMBER = 1e15  # a larger number is neither a score nor an index


def _read_chat_reply(reply: JsonObject) -> fields.ParsedReply:
    message = as_mapping(reply.get("message"))
    content = message.get("content")
    plan = message.get("tool_plan")
    blocks = as_mappings(content)
    return fields.ParsedReply(
        output=join_texts(blocks) or as_text(content),
        thinking=join_texts((block for block in blocks if block.get("type") == "thinking"), "thinking")
        or as_text(plan),
        tool_calls=[*fields.read_chat_tool_calls(message.get("tool_calls"))],
        finish_reason=as_text(reply.get("finish_reason")),
        usage=_read_billed_usage(reply.get("usage")),
        known=bool(message),
    )


def _join_chat_events(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    calls: dict[int, dict[str, str]] = {}
    end: JsonObject = {}
    for event in events:
        delta = as_mapping(event.get("delta"))
        part = as_mapping(delta.get("message"))
        number = fields.as_token_count(event.get("index")) or 0
        kind = event.get("type")
        if kind in ("content-start", "content-delta"):
            _append_content(blocks.setdefault(number, {}), as_mapping(part.get("content")))
        elif kind == "tool-plan-delta":
            message["tool_plan"] = as_text(message.get("tool_plan")) + as_text(part.get("tool_plan"))
        elif kind in ("tool-call-start", "tool-call-delta"):
            fields.add_tool_call(calls, {**as_mapping(part.get("tool_calls")), "index": number})
        elif kind == "message-start":
            message["role"] = "assistant"
        elif kind == "message-end":
            end = delta
    if blocks:
        message["content"] = fields.join_blocks(blocks)
    if calls:
        message["tool_calls"] = [{"id": call["id"], "function": call} for call in fields.join_blocks(calls)]
    return {**end, "message": message}, bool(end)


def _read_billed_usage(value: object) -> Usage:
    counts = as_mapping(value)
    billed = as_mapping(counts.get("billed_units"))
    is_billed = "input_tokens" in billed or "output_tokens" in billed
    if is_billed:
        tokens = billed
    else:
        tokens = as_mapping(counts.get("tokens"))
    return Usage(
        input_tokens=fields.as_token_count(tokens.get("input_tokens")),
        output_tokens=fields.as_token_count(tokens.get("output_tokens")),
        cached_tokens=fields.as_token_count(counts.get("cached_tokens")),
    )


def _append_content(block: dict[str, Any], content: JsonObject) -> None:
    for key in ("text", "thinking"):
        if isinstance(content.get(key), str):
            block |= {"type": key, key: as_text(block.get(key)) + content[key]}


def _read_embed_request(request: JsonObject) -> fields.ParsedRequest:
    contents = as_texts(request.get("texts")) or [
        fields.content_text(item.get("content")) for item in as_mappings(request.get("inputs"))
    ]
    return fields.ParsedRequest(fields.user_messages([*contents, *fields.list_images(request)]))


def _read_rerank_request(request: JsonObject) -> fields.ParsedRequest:
    documents = request.get("documents")
    contents = [
        as_text(as_mapping(document).get("text")) or fields.arguments_json(document)
        for document in (documents if isinstance(documents, list) else [])
    ]
    return fields.ParsedRequest(fields.user_messages([as_text(request.get("query")), *contents]))


def _read_rerank_reply(reply: JsonObject) -> fields.ParsedReply:
    results = reply.get("results", reply.get("data"))
    billed = _read_billed_usage(reply.get("meta"))
    tokens = fields.as_token_count(as_mapping(reply.get("usage")).get("total_tokens"))
    return fields.ParsedReply(
        output="\n".join(
            f"{_format_number(result.get('index'))}: {_format_number(result.get('relevance_score'))}"
            for result in as_mappings(results)
        ),
        usage=billed if billed != Usage() else Usage(input_tokens=tokens),
        model=as_text(reply.get("model")),
        known=isinstance(results, list),
    )


def _format_number(value: object) -> str:
    if isinstance(value, (int, float)) and abs(value) <= _MAX_NUMBER:
        return str(value)[:24]
    return "?"


CHAT = fields.CallFormat(fields.read_chat_request, _read_chat_reply, _join_chat_events)
EMBED = fields.CallFormat(
    _read_embed_request,
    lambda reply: fields.embedding_reply(reply, _read_billed_usage(reply.get("meta"))),
)
RERANK = fields.CallFormat(_read_rerank_request, _read_rerank_reply)
