"""Ollama's own API: chat, generate and embeddings, in a single object or streamed as lines of JSON."""

from collections.abc import Sequence
from typing import Any

from pytest_llmops._util.json_values import JsonObject, as_mapping, get_mapping, get_mappings, get_text
from pytest_llmops.protocols import Message, Usage
from pytest_llmops.trace import fields
from pytest_llmops.trace.wire_format import (
    CallFormat,
    Endpoint,
    JoinedReply,
    ParsedReply,
    ParsedRequest,
    WireFormat,
)


def _read_reply(reply: JsonObject) -> ParsedReply:
    """Read a reply of chat (under ``message``) or generate (under ``response``)."""
    message = get_mapping(reply, "message")
    calls = list(fields.read_chat_tool_calls(message.get("tool_calls")))
    return ParsedReply(
        output=get_text(message, "content") or get_text(reply, "response"),
        thinking=get_text(message, "thinking") or get_text(reply, "thinking"),
        tool_calls=calls,
        finish_reason=get_text(reply, "done_reason"),
        usage=_read_eval_counts(reply),
        model=get_text(reply, "model"),
        known="message" in reply or "response" in reply,
    )


def _join_lines(events: Sequence[JsonObject]) -> JoinedReply:
    """Join the lines of a stream: the last line has reason and counts, all lines together have the text."""
    reply: dict[str, Any] = {}
    output = ""
    thinking = ""
    tool_calls: list[JsonObject] = []
    is_chat = False
    for event in events:
        reply |= event
        message = event.get("message")
        if isinstance(message, dict):
            is_chat = True
        piece = as_mapping(message)
        output += get_text(piece, "content") or get_text(event, "response")
        thinking += get_text(piece, "thinking") or get_text(event, "thinking")
        tool_calls += get_mappings(piece, "tool_calls")
    if is_chat:
        reply["message"] = {"content": output, "thinking": thinking, "tool_calls": tool_calls}
    elif "response" in reply:
        reply["response"] = output
        reply["thinking"] = thinking
    return reply, reply.get("done") is True


def _read_generate_request(request: JsonObject) -> ParsedRequest:
    messages = fields.system_message(get_text(request, "system"))
    images = fields.list_images(request)
    prompt = fields.join_lines(get_text(request, "prompt"), *images)
    messages.append(Message("user", prompt, fields.read_images(request)))
    return ParsedRequest(messages)


def _read_eval_counts(reply: JsonObject) -> Usage:
    return Usage(
        input_tokens=fields.get_count(reply, "prompt_eval_count"),
        output_tokens=fields.get_count(reply, "eval_count"),
    )


def _read_embed_reply(reply: JsonObject) -> ParsedReply:
    return fields.embedding_reply(reply, _read_eval_counts(reply))


CHAT = CallFormat(fields.read_chat_request, _read_reply, _join_lines)
GENERATE = CallFormat(_read_generate_request, _read_reply, _join_lines)
EMBED = CallFormat(fields.read_input, _read_embed_reply)
WIRE_FORMAT = WireFormat(
    [
        Endpoint("chat", "/api/chat", CHAT),
        Endpoint("generate", "/api/generate", GENERATE),
        Endpoint("embeddings", "/api/embed", EMBED),
        Endpoint("embeddings", "/api/embeddings", EMBED),
    ],
    hosts={"ollama.com": "ollama"},
    on_other_hosts=True,
    provider="ollama",
)
