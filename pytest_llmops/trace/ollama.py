"""Ollama's own API: chat, generate and embeddings, in a single object or streamed as lines of JSON."""

from collections.abc import Sequence
from typing import Any

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_mappings, as_text
from pytest_llmops.protocols import Message, Usage
from pytest_llmops.trace import fields


def _read_reply(reply: JsonObject) -> fields.ParsedReply:
    message = as_mapping(reply.get("message"))
    return fields.ParsedReply(
        output=as_text(message.get("content")) or as_text(reply.get("response")),
        thinking=as_text(message.get("thinking")) or as_text(reply.get("thinking")),
        tool_calls=[*fields.read_chat_tool_calls(message.get("tool_calls"))],
        finish_reason=as_text(reply.get("done_reason")),
        usage=_read_eval_counts(reply),
        model=as_text(reply.get("model")),
        known="message" in reply or "response" in reply,
    )


def _join_lines(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    reply: dict[str, Any] = {}
    output = thinking = ""
    tool_calls: list[JsonObject] = []
    is_chat = False
    for event in events:
        reply |= event
        message = event.get("message")
        is_chat = is_chat or isinstance(message, dict)
        piece = as_mapping(message)
        output += as_text(piece.get("content")) or as_text(event.get("response"))
        thinking += as_text(piece.get("thinking")) or as_text(event.get("thinking"))
        tool_calls += as_mappings(piece.get("tool_calls"))
    if is_chat:
        reply["message"] = {"content": output, "thinking": thinking, "tool_calls": tool_calls}
    elif "response" in reply:
        reply |= {"response": output, "thinking": thinking}
    return reply, reply.get("done") is True


def _read_generate_request(request: JsonObject) -> fields.ParsedRequest:
    return fields.ParsedRequest(
        [
            *fields.system_message(as_text(request.get("system"))),
            Message("user", fields.join_lines(as_text(request.get("prompt")), *fields.list_images(request))),
        ]
    )


def _read_eval_counts(reply: JsonObject) -> Usage:
    return Usage(
        input_tokens=fields.as_token_count(reply.get("prompt_eval_count")),
        output_tokens=fields.as_token_count(reply.get("eval_count")),
    )


CHAT = fields.CallFormat(fields.read_chat_request, _read_reply, _join_lines)
GENERATE = fields.CallFormat(_read_generate_request, _read_reply, _join_lines)
EMBED = fields.CallFormat(
    fields.read_input, lambda reply: fields.embedding_reply(reply, _read_eval_counts(reply))
)
