"""Cohere's chat (v2), embed and rerank, also through Bedrock's ``invoke``.

Token counts are the billed ones; if a reply has none, those that the model processed.
"""

from collections.abc import Sequence
from typing import Any

from pytest_llmops._util.json_values import (
    JsonObject,
    as_mapping,
    as_mappings,
    as_text,
    as_texts,
    get_mapping,
    get_mappings,
    get_text,
    join_texts,
)
from pytest_llmops.protocols import Usage
from pytest_llmops.trace import fields
from pytest_llmops.trace.wire_format import (
    CallFormat,
    Endpoint,
    JoinedReply,
    ParsedReply,
    ParsedRequest,
    WireFormat,
    bedrock_invoke,
)

_MAX_NUMBER = 1e15  # a larger number is neither a score nor an index


def _read_chat_reply(reply: JsonObject) -> ParsedReply:
    """Read text, thinking and tool calls of a chat reply."""
    message = get_mapping(reply, "message")
    content = message.get("content")
    blocks = as_mappings(content)
    thoughts = [block for block in blocks if block.get("type") == "thinking"]
    calls = list(fields.read_chat_tool_calls(message.get("tool_calls")))
    return ParsedReply(
        output=join_texts(blocks) or as_text(content),
        thinking=join_texts(thoughts, "thinking") or get_text(message, "tool_plan"),
        tool_calls=calls,
        finish_reason=get_text(reply, "finish_reason"),
        usage=_read_billed_usage(reply.get("usage")),
        known=bool(message),
    )


def _join_chat_events(events: Sequence[JsonObject]) -> JoinedReply:
    """Join the events of a stream into a reply: content and tool calls by their index; the last event has reason and usage."""
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    calls: dict[int, dict[str, str]] = {}
    end: JsonObject = {}
    for event in events:
        delta = get_mapping(event, "delta")
        part = get_mapping(delta, "message")
        number = fields.get_count(event, "index") or 0
        kind = event.get("type")
        if kind in ("content-start", "content-delta"):
            block = blocks.setdefault(number, {})
            _append_content(block, get_mapping(part, "content"))
        elif kind == "tool-plan-delta":
            message["tool_plan"] = get_text(message, "tool_plan") + get_text(part, "tool_plan")
        elif kind in ("tool-call-start", "tool-call-delta"):
            call = get_mapping(part, "tool_calls")
            fields.add_tool_call(calls, {**call, "index": number})
        elif kind == "message-start":
            message["role"] = "assistant"
        elif kind == "message-end":
            end = delta
    if blocks:
        message["content"] = fields.join_blocks(blocks)
    if calls:
        message["tool_calls"] = fields.list_tool_calls(fields.join_blocks(calls))
    return {**end, "message": message}, bool(end)


def _read_billed_usage(value: object) -> Usage:
    """Read the billed token counts of a reply; without these, the processed ones."""
    counts = as_mapping(value)
    tokens = get_mapping(counts, "billed_units")
    if "input_tokens" not in tokens and "output_tokens" not in tokens:
        tokens = get_mapping(counts, "tokens")
    return Usage(
        input_tokens=fields.get_count(tokens, "input_tokens"),
        output_tokens=fields.get_count(tokens, "output_tokens"),
        cached_tokens=fields.get_count(counts, "cached_tokens"),
    )


def _append_content(block: dict[str, Any], content: JsonObject) -> None:
    for key in ("text", "thinking"):
        piece = content.get(key)
        if isinstance(piece, str):
            block["type"] = key
            block[key] = get_text(block, key) + piece


def _read_embed_request(request: JsonObject) -> ParsedRequest:
    texts = as_texts(request.get("texts"))
    if not texts:
        texts = [fields.content_text(item.get("content")) for item in get_mappings(request, "inputs")]
    images = fields.list_images(request)
    return ParsedRequest(fields.user_messages([*texts, *images]))


def _read_embed_reply(reply: JsonObject) -> ParsedReply:
    usage = _read_billed_usage(reply.get("meta"))
    return fields.embedding_reply(reply, usage)


def _read_rerank_request(request: JsonObject) -> ParsedRequest:
    texts = [get_text(request, "query")]
    documents = request.get("documents")
    if isinstance(documents, list):
        texts += map(_format_document, documents)
    return ParsedRequest(fields.user_messages(texts))


def _format_document(document: object) -> str:
    """Return the text of a document to rank, which is a text or an object with one."""
    return get_text(as_mapping(document), "text") or fields.arguments_json(document)


def _read_rerank_reply(reply: JsonObject) -> ParsedReply:
    """Read the ranking of a reply, a line "INDEX: SCORE" for each document; other servers have ``data`` and ``usage``."""
    results = reply.get("results", reply.get("data"))
    usage = _read_billed_usage(reply.get("meta"))
    if usage == Usage():
        counts = get_mapping(reply, "usage")
        usage = Usage(input_tokens=fields.get_count(counts, "total_tokens"))
    lines = map(_format_ranked, as_mappings(results))
    return ParsedReply(
        output="\n".join(lines),
        usage=usage,
        model=get_text(reply, "model"),
        known=isinstance(results, list),
    )


def _format_ranked(result: JsonObject) -> str:
    index = _format_number(result.get("index"))
    score = _format_number(result.get("relevance_score"))
    return f"{index}: {score}"


def _format_number(value: object) -> str:
    if isinstance(value, (int, float)) and abs(value) <= _MAX_NUMBER:
        return str(value)[:24]
    return "?"


CHAT = CallFormat(fields.read_chat_request, _read_chat_reply, _join_chat_events)
EMBED = CallFormat(_read_embed_request, _read_embed_reply)
RERANK = CallFormat(_read_rerank_request, _read_rerank_reply)
WIRE_FORMAT = WireFormat(
    [
        Endpoint("chat", "/v2/chat", CHAT),
        Endpoint("embeddings", "/v1/embed", EMBED),
        Endpoint("embeddings", "/v2/embed", EMBED),
        Endpoint("rerank", "/rerank", RERANK),
        bedrock_invoke("embeddings", EMBED, models=["cohere.embed"]),
        bedrock_invoke("rerank", RERANK, models=["cohere.rerank"]),
        bedrock_invoke("invoke", CHAT, models=["cohere."], with_keys=["messages"]),
    ],
    hosts={"cohere.ai": "cohere", "cohere.com": "cohere"},
    on_other_hosts=True,
)
