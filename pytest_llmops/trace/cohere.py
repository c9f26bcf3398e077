"""Cohere's chat (v1 and v2), generate, embed and rerank, also as Bedrock's ``invoke`` takes them.

The tokens are those that are billed; where a reply has none, those that the model saw.
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
    as_texts,
    as_token_count,
    content_text,
    describe_unread_answers,
    describe_vectors,
    first_mapping,
    format_chat_message,
    format_tool_call,
    not_streamed,
    read_chat_tool_calls,
    read_chat_tools,
    tool_definition,
)

_ROLES: dict[object, Role] = {"CHATBOT": "assistant", "SYSTEM": "system", "TOOL": "tool"}


def _read_chat_v2_request(request: JsonObject) -> ParsedRequest:
    messages = [
        Message(as_role(message.get("role")), _format_plan_and_content(message))
        for message in as_mappings(request.get("messages"))
    ]
    return ParsedRequest(
        messages,
        [*read_chat_tools(request.get("tools"))],
        as_text(request.get("model")),
        _describe_documents(request),
    )


def _format_plan_and_content(message: JsonObject) -> str:
    return "\n".join(
        word for word in (as_text(message.get("tool_plan")), format_chat_message(message)) if word
    )


def _describe_documents(request: JsonObject) -> list[str]:
    documents = request.get("documents")
    number = len(documents) if isinstance(documents, list) else 0
    return [f"{number} document{'s' if number > 1 else ''} given with the messages"] if number else []


def _read_chat_v2_reply(reply: JsonObject) -> ParsedReply:
    message = as_mapping(reply.get("message"))
    blocks = as_mappings(message.get("content"))
    thought = [as_text(block.get("thinking")) for block in blocks if block.get("type") == "thinking"]
    return ParsedReply(
        output="".join(as_text(block.get("text")) for block in blocks) or as_text(message.get("content")),
        thinking="".join(thought) or as_text(message.get("tool_plan")),
        tool_calls=[*read_chat_tool_calls(message.get("tool_calls"))],
        finish_reason=as_text(reply.get("finish_reason")),
        usage=_read_billed_usage(as_mapping(reply.get("usage"))),
        known=bool(message),
    )


def _read_billed_usage(wire: JsonObject) -> Usage:
    billed = as_mapping(wire.get("billed_units"))
    counts = (
        billed if "input_tokens" in billed or "output_tokens" in billed else as_mapping(wire.get("tokens"))
    )
    return Usage(
        input_tokens=as_token_count(counts.get("input_tokens")),
        output_tokens=as_token_count(counts.get("output_tokens")),
        cached_tokens=as_token_count(wire.get("cached_tokens")),
    )


def _join_chat_v2_events(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    tool_calls: dict[int, dict[str, str]] = {}
    end: JsonObject = {}
    for event in events:
        delta = as_mapping(event.get("delta"))
        piece = as_mapping(delta.get("message"))
        number = as_token_count(event.get("index")) or 0
        kind = event.get("type")
        if kind in ("content-start", "content-delta"):
            _append_content(blocks.setdefault(number, {}), as_mapping(piece.get("content")))
        elif kind == "tool-plan-delta":
            message["tool_plan"] = as_text(message.get("tool_plan")) + as_text(piece.get("tool_plan"))
        elif kind in ("tool-call-start", "tool-call-delta"):
            call = tool_calls.setdefault(number, {"id": "", "name": "", "arguments": ""})
            wire = as_mapping(piece.get("tool_calls"))
            call["id"] += as_text(wire.get("id"))
            for key in ("name", "arguments"):
                call[key] += as_text(as_mapping(wire.get("function")).get(key))
        elif kind == "message-start":
            message["role"] = "assistant"
        elif kind == "message-end":
            end = delta
    if blocks:
        message["content"] = [value for _, value in sorted(blocks.items())]
    if tool_calls:
        message["tool_calls"] = [
            {"id": value["id"], "function": value} for _, value in sorted(tool_calls.items())
        ]
    return {**end, "message": message}, bool(end)


def _append_content(block: dict[str, Any], piece: JsonObject) -> None:
    for key in ("text", "thinking"):
        if isinstance(piece.get(key), str):
            block[key] = as_text(block.get(key)) + piece[key]
            block["type"] = key


def _read_chat_v1_request(request: JsonObject) -> ParsedRequest:
    preamble = as_text(request.get("preamble"))
    messages = [Message("system", preamble)] if preamble else []
    for entry in as_mappings(request.get("chat_history")):
        words = [as_text(entry.get("message"))]
        words += [
            format_tool_call(call.name, call.arguments)
            for call in _read_chat_v1_calls(entry.get("tool_calls"))
        ]
        words += [arguments_json(result) for result in as_mappings(entry.get("tool_results"))]
        messages.append(
            Message(_ROLES.get(entry.get("role"), "user"), "\n".join(word for word in words if word))
        )
    messages += [Message("user", as_text(request.get("message")))] if request.get("message") else []
    messages += [Message("tool", arguments_json(entry)) for entry in as_mappings(request.get("tool_results"))]
    unread = _describe_documents(request)
    if request.get("conversation_id"):
        unread.append("messages kept by the server (conversation_id)")
    return ParsedRequest(
        messages, [*_read_chat_v1_tools(request.get("tools"))], as_text(request.get("model")), unread
    )


def _read_chat_v1_tools(value: object) -> Iterator[ToolDefinition]:
    for definition in as_mappings(value):
        yield tool_definition(
            as_text(definition.get("name")),
            definition.get("description"),
            definition.get("parameter_definitions"),
        )


def _read_chat_v1_calls(value: object) -> Iterator[ToolCall]:
    for call in as_mappings(value):
        yield ToolCall(name=as_text(call.get("name")), arguments=arguments_json(call.get("parameters")))


def _read_chat_v1_reply(reply: JsonObject) -> ParsedReply:
    return ParsedReply(
        output=as_text(reply.get("text")),
        tool_calls=[*_read_chat_v1_calls(reply.get("tool_calls"))],
        finish_reason=as_text(reply.get("finish_reason")),
        usage=_read_billed_usage(as_mapping(reply.get("meta"))),
        known="text" in reply or "tool_calls" in reply,
    )


def _join_chat_v1_events(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    ends = [
        event
        for event in events
        if event.get("event_type") == "stream-end" or event.get("is_finished") is True
    ]
    last = ends[-1] if ends else {}
    so_far: dict[str, Any] = {
        "text": "".join(
            as_text(event.get("text")) for event in events if event.get("event_type") != "tool-calls-chunk"
        )
    }
    reply = {**so_far, **as_mapping(last.get("response"))} if events else {}
    if "finish_reason" in last:
        reply["finish_reason"] = last["finish_reason"]
    return reply, bool(ends)


def _read_cohere_prompt(request: JsonObject) -> ParsedRequest:
    return ParsedRequest([Message("user", as_text(request.get("prompt")))], (), as_text(request.get("model")))


def _read_generations(reply: JsonObject) -> ParsedReply:
    generations = as_mappings(reply.get("generations"))
    return ParsedReply(
        output=as_text(first_mapping(generations).get("text")) or as_text(reply.get("text")),
        finish_reason=as_text(first_mapping(generations).get("finish_reason"))
        or as_text(reply.get("finish_reason")),
        usage=_read_billed_usage(as_mapping(reply.get("meta"))),
        known=bool(generations) or "text" in reply,
        unread=describe_unread_answers(len(generations), "answer"),
    )


def _read_cohere_embed_request(request: JsonObject) -> ParsedRequest:
    contents = as_texts(request.get("texts")) or [
        content_text(item.get("content")) for item in as_mappings(request.get("inputs"))
    ]
    images = request.get("images")
    contents += ["[image]"] * (len(images) if isinstance(images, list) else 0)
    return ParsedRequest([Message("user", item) for item in contents], (), as_text(request.get("model")))


def _read_cohere_embeddings(reply: JsonObject) -> ParsedReply:
    embeddings = reply.get("embeddings")
    # By type (float, int8 ...): the same texts in each.
    rows = next(iter(embeddings.values()), None) if isinstance(embeddings, dict) else embeddings
    return ParsedReply(
        output=describe_vectors(rows),
        usage=_read_billed_usage(as_mapping(reply.get("meta"))),
        known=isinstance(rows, list),
    )


def _read_rerank_request(request: JsonObject) -> ParsedRequest:
    documents = request.get("documents")
    listed = documents if isinstance(documents, list) else []
    messages = [Message("user", as_text(request.get("query")))]
    messages += [Message("user", _document(document)) for document in listed]
    return ParsedRequest(messages, (), as_text(request.get("model")))


def _document(document: object) -> str:
    return as_text(as_mapping(document).get("text")) or arguments_json(document)


def _read_rerank_reply(reply: JsonObject) -> ParsedReply:
    """The places of the documents, best first, with their scores; Voyage and others say data for results."""
    results = reply.get("results", reply.get("data"))
    usage = as_mapping(reply.get("usage"))
    billed = _read_billed_usage(as_mapping(reply.get("meta")))
    return ParsedReply(
        output="\n".join(
            f"{_format_number(result.get('index'))}: {_format_number(result.get('relevance_score'))}"
            for result in as_mappings(results)
        ),
        usage=billed if billed != Usage() else Usage(input_tokens=as_token_count(usage.get("total_tokens"))),
        model=as_text(reply.get("model")),
        known=isinstance(results, list),
    )


def _format_number(value: object) -> str:
    return str(value)[:24] if isinstance(value, (int, float)) and abs(value) <= 1e15 else "?"  # noqa: PLR2004 -- no score, no place


CHAT = CallFormat(_read_chat_v2_request, _read_chat_v2_reply, _join_chat_v2_events)
CHAT_V1 = CallFormat(_read_chat_v1_request, _read_chat_v1_reply, _join_chat_v1_events)
GENERATE = CallFormat(_read_cohere_prompt, _read_generations, _join_chat_v1_events)
EMBED = CallFormat(_read_cohere_embed_request, _read_cohere_embeddings, not_streamed)
RERANK = CallFormat(_read_rerank_request, _read_rerank_reply, not_streamed)
