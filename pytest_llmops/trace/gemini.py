"""Gemini's generateContent and embedContent, of the Gemini API and of Vertex; Vertex's embeddings by predict."""

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
    as_text,
    as_texts,
    as_token_count,
    describe_unread_answers,
    describe_vectors,
    first_mapping,
    format_tool_call,
    not_streamed,
    sum_known_counts,
    tool_definition,
)

_ROLES: dict[object, Role] = {"model": "assistant", "function": "tool", "system": "system"}
_ANNOTATION_KEYS = ("thought", "thoughtSignature", "thought_signature", "videoMetadata", "partMetadata")
"""Keys of a part that do not say what it is."""
_PARTIAL_ARGUMENTS = "arguments of a tool call that came in pieces"


def _get_field(wire: JsonObject, name: str) -> Any:
    """A field in the spelling of JSON, or in that of the protocol, which the service takes as well."""
    if name in wire:
        return wire[name]
    return wire.get("".join(f"_{char.lower()}" if char.isupper() else char for char in name))


def _read_generate_request(request: JsonObject) -> ParsedRequest:
    messages = []
    instruction = _content_parts(_get_field(request, "systemInstruction"))
    if instruction:
        messages.append(Message("system", "\n".join(map(_format_gemini_part, instruction))))
    for message in _as_contents(request.get("contents")):
        messages += _read_part_messages(_ROLES.get(message.get("role"), "user"), _content_parts(message))
    unread = ["messages kept by the server (cachedContent)"] if _get_field(request, "cachedContent") else []
    return ParsedRequest(
        messages, [*_read_function_declarations(request.get("tools"))], _model_name(request), unread
    )


def _as_contents(value: object) -> list[JsonObject]:
    return [value] if isinstance(value, dict) else as_mappings(value)


def _content_parts(value: object) -> list[JsonObject]:
    parts = as_mapping(value).get("parts")
    return [parts] if isinstance(parts, dict) else as_mappings(parts)


def _read_part_messages(sender: Role, parts: Sequence[JsonObject]) -> Iterator[Message]:
    lines = []
    for part in parts:
        result = _get_field(part, "functionResponse")
        if isinstance(result, dict):
            yield Message("tool", arguments_json(result.get("response")))
        else:
            lines.append(_format_gemini_part(part))
    if lines:
        yield Message(sender, "\n".join(lines))


def _format_gemini_part(part: JsonObject) -> str:
    if "text" in part:
        return as_text(part["text"])
    function_call = _get_field(part, "functionCall")
    if isinstance(function_call, dict):
        return format_tool_call(as_text(function_call.get("name")), arguments_json(function_call.get("args")))
    return f"[{next((key for key in part if key not in _ANNOTATION_KEYS), 'part')}]"


def _model_name(request: JsonObject) -> str:
    return as_text(request.get("model")).removeprefix("models/")


def _read_function_declarations(value: object) -> Iterator[ToolDefinition]:
    for entry in as_mappings(value):
        for name, inner in entry.items():
            if name not in ("functionDeclarations", "function_declarations"):
                yield tool_definition(name)
                continue
            for declaration in as_mappings(inner):
                schema = _get_field(declaration, "parameters") or _get_field(
                    declaration, "parametersJsonSchema"
                )
                yield tool_definition(
                    as_text(declaration.get("name")), declaration.get("description"), schema
                )


def _read_generate_reply(reply: JsonObject) -> ParsedReply:
    candidates = as_mappings(reply.get("candidates"))
    candidate = first_mapping(candidates)
    parts = _content_parts(candidate.get("content"))
    feedback = as_mapping(reply.get("promptFeedback"))
    function_calls = [as_mapping(_get_field(part, "functionCall")) for part in parts]
    return ParsedReply(
        output="".join(
            _format_gemini_part(part)
            for part in parts
            if not part.get("thought") and not _get_field(part, "functionCall")
        ),
        thinking="".join(as_text(part.get("text")) for part in parts if part.get("thought")),
        tool_calls=[
            ToolCall(
                name=as_text(call.get("name")),
                arguments=arguments_json(call.get("args")),
                id=as_text(call.get("id")),
            )
            for call in function_calls
            if call
        ],
        finish_reason=as_text(candidate.get("finishReason")) or as_text(feedback.get("blockReason")),
        usage=read_usage_metadata(as_mapping(reply.get("usageMetadata"))),
        model=as_text(reply.get("modelVersion")),
        known=bool(candidates or feedback),
        unread=[
            *describe_unread_answers(len(candidates), "answer"),
            *(_PARTIAL_ARGUMENTS for call in function_calls if "partialArgs" in call),
        ],
    )


def read_usage_metadata(wire: JsonObject) -> Usage:
    """Read the token counts of a reply; thoughts are counted beside the answer, here they are part of it."""
    thoughts = as_token_count(wire.get("thoughtsTokenCount"))
    return Usage(
        input_tokens=sum_known_counts(
            as_token_count(wire.get("promptTokenCount")), as_token_count(wire.get("toolUsePromptTokenCount"))
        ),
        output_tokens=sum_known_counts(as_token_count(wire.get("candidatesTokenCount")), thoughts),
        cached_tokens=as_token_count(wire.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
    )


def _join_candidates(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    reply: dict[str, Any] = {}
    parts: list[JsonObject] = []
    finish = ""
    others: set[int] = set()
    for event in events:
        for key in ("modelVersion", "usageMetadata", "promptFeedback"):
            reply[key] = event.get(key) or reply.get(key)
        for candidate in as_mappings(event.get("candidates")):
            number = as_token_count(candidate.get("index")) or 0
            if number:
                others.add(number)
                continue
            parts += _content_parts(candidate.get("content"))
            finish = as_text(candidate.get("finishReason")) or finish
    if parts or finish:
        first_candidate = {"content": {"parts": parts}, "finishReason": finish}
        reply["candidates"] = [first_candidate, *({} for _ in others)]
    return reply, bool(finish or reply.get("promptFeedback"))


def _read_embed_request(request: JsonObject) -> ParsedRequest:
    requests = as_mappings(request.get("requests")) or [request]
    contents = [value.get("content", value.get("contents")) for value in requests]
    messages = [
        Message(
            "user",
            "\n".join(map(_format_gemini_part, _content_parts(value)))
            if isinstance(value, dict)
            else "\n".join(as_texts(value)),
        )
        for value in contents
    ]
    return ParsedRequest(messages, (), _model_name(request) or _model_name(requests[0]))


def _read_embed_reply(reply: JsonObject) -> ParsedReply:
    embeddings = reply.get("embeddings", [reply["embedding"]] if "embedding" in reply else None)
    return ParsedReply(
        output=describe_vectors(embeddings),
        usage=read_usage_metadata(as_mapping(reply.get("usageMetadata"))),
        known=isinstance(embeddings, list),
    )


def _read_predict_request(request: JsonObject) -> ParsedRequest:
    messages = [
        Message(
            "user",
            as_text(instance.get("content"))
            or as_text(instance.get("text"))
            or as_text(instance.get("prompt")),
        )
        for instance in as_mappings(request.get("instances"))
    ]
    return ParsedRequest(messages)


def _read_predict_reply(reply: JsonObject) -> ParsedReply:
    embeddings = [as_mapping(item.get("embeddings")) for item in as_mappings(reply.get("predictions"))]
    token_counts = [
        as_token_count(as_mapping(item.get("statistics")).get("token_count")) for item in embeddings
    ]
    return ParsedReply(
        output=describe_vectors([item for item in embeddings if item]),
        usage=Usage(input_tokens=sum_known_counts(*token_counts)),
        known=any(embeddings),
    )


GENERATE = CallFormat(_read_generate_request, _read_generate_reply, _join_candidates)
EMBED = CallFormat(_read_embed_request, _read_embed_reply, not_streamed)
PREDICT = CallFormat(_read_predict_request, _read_predict_reply, not_streamed)
