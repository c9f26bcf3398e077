"""Ollama's own API: chat, generate and embeddings, as one object or as a line of JSON a piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_llmops.protocols import Message, Usage
from pytest_llmops.trace.fields import (
    CallFormat,
    JsonObject,
    ParsedReply,
    ParsedRequest,
    as_mapping,
    as_mappings,
    as_role,
    as_text,
    as_texts,
    as_token_count,
    describe_vectors,
    format_chat_message,
    not_streamed,
    read_chat_tool_calls,
    read_chat_tools,
)


def _read_ollama_chat(request: JsonObject) -> ParsedRequest:
    messages = [
        Message(as_role(message.get("role")), _append_image_marks(format_chat_message(message), message))
        for message in as_mappings(request.get("messages"))
    ]
    return ParsedRequest(messages, [*read_chat_tools(request.get("tools"))], as_text(request.get("model")))


def _append_image_marks(content: str, message: JsonObject) -> str:
    images = message.get("images")
    marks = ["[image]"] * (len(images) if isinstance(images, list) else 0)
    return "\n".join(word for word in (content, *marks) if word)


def _read_ollama_prompt(request: JsonObject) -> ParsedRequest:
    system = as_text(request.get("system"))
    messages = [Message("system", system)] if system else []
    messages.append(Message("user", _append_image_marks(as_text(request.get("prompt")), request)))
    return ParsedRequest(messages, (), as_text(request.get("model")))


def _read_ollama_reply(reply: JsonObject) -> ParsedReply:
    message = as_mapping(reply.get("message"))
    return ParsedReply(
        output=as_text(message.get("content")) or as_text(reply.get("response")),
        thinking=as_text(message.get("thinking")) or as_text(reply.get("thinking")),
        tool_calls=[*read_chat_tool_calls(message.get("tool_calls"))],
        finish_reason=as_text(reply.get("done_reason")),
        usage=_read_eval_counts(reply),
        model=as_text(reply.get("model")),
        known="message" in reply or "response" in reply,
    )


def _read_eval_counts(reply: JsonObject) -> Usage:
    return Usage(
        input_tokens=as_token_count(reply.get("prompt_eval_count")),
        output_tokens=as_token_count(reply.get("eval_count")),
    )


def _join_ollama_lines(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    reply: dict[str, Any] = {}
    spoken, thought, tool_calls = list[str](), list[str](), list[JsonObject]()
    chat = False
    for event in events:
        reply |= event
        message = event.get("message")
        chat = chat or isinstance(message, dict)
        piece = as_mapping(message)
        spoken.append(as_text(piece.get("content")) or as_text(event.get("response")))
        thought.append(as_text(piece.get("thinking")) or as_text(event.get("thinking")))
        tool_calls += as_mappings(piece.get("tool_calls"))
    output, thinking = "".join(spoken), "".join(thought)
    if chat:
        reply["message"] = {"content": output, "thinking": thinking, "tool_calls": tool_calls}
    elif "response" in reply:
        reply |= {"response": output, "thinking": thinking}
    return reply, reply.get("done") is True


def _read_ollama_input(request: JsonObject) -> ParsedRequest:
    messages = [Message("user", content) for content in as_texts(request.get("input", request.get("prompt")))]
    return ParsedRequest(messages, (), as_text(request.get("model")))


def _read_ollama_embeddings(reply: JsonObject) -> ParsedReply:
    embeddings = reply.get("embeddings", [reply["embedding"]] if "embedding" in reply else None)
    return ParsedReply(
        output=describe_vectors(embeddings),
        usage=_read_eval_counts(reply),
        model=as_text(reply.get("model")),
        known=isinstance(embeddings, list),
    )


CHAT = CallFormat(_read_ollama_chat, _read_ollama_reply, _join_ollama_lines)
GENERATE = CallFormat(_read_ollama_prompt, _read_ollama_reply, _join_ollama_lines)
EMBED = CallFormat(_read_ollama_input, _read_ollama_embeddings, not_streamed)
