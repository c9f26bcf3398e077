"""Gemini's generateContent and embedContent, as the Gemini API and Vertex take them; embeddings by Vertex's predict."""

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmops._util.json_values import (
    JsonObject,
    as_mapping,
    as_mappings,
    as_text,
    as_texts,
    first_mapping,
    join_texts,
)
from pytest_llmops.protocols import Message, Role, ToolDefinition, Usage
from pytest_llmops.trace import fields

_ROLES: dict[str, Role] = {"model": "assistant", "function": "tool", "system": "system"}
# Keys of a part that do not say what kind of part it is
_ANNOTATION_KEYS = ("thought", "thoughtSignature", "thought_signature", "videoMetadata", "partMetadata")


def _read_request(request: JsonObject) -> fields.ParsedRequest:
    instruction = _content_parts(_get_field(request, "systemInstruction"))
    if instruction:
        messages = [Message("system", "\n".join(map(_format_gemini_part, instruction)))]
    else:
        messages = []
    contents = request.get("contents")
    for message in [contents] if isinstance(contents, dict) else as_mappings(contents):
        messages += fields.split_messages(
            _ROLES.get(as_text(message.get("role")), "user"),
            _content_parts(message),
            _format_function_response,
            _format_gemini_part,
        )
    if _get_field(request, "cachedContent"):
        unread = ["messages kept by the server (cachedContent)"]
    else:
        unread = []
    return fields.ParsedRequest(
        messages, [*_read_function_declarations(request.get("tools"))], unread, _model_name(request)
    )


def _read_reply(reply: JsonObject) -> fields.ParsedReply:
    candidates = as_mappings(reply.get("candidates"))
    candidate = first_mapping(candidates)
    parts = _content_parts(candidate.get("content"))
    feedback = as_mapping(reply.get("promptFeedback"))
    calls = [as_mapping(_get_field(part, "functionCall")) for part in parts]
    partial = ["arguments of a tool call that came in pieces" for call in calls if "partialArgs" in call]
    return fields.ParsedReply(
        output="".join(
            _format_gemini_part(part)
            for part in parts
            if not part.get("thought") and not _get_field(part, "functionCall")
        ),
        thinking=join_texts(part for part in parts if part.get("thought")),
        tool_calls=[fields.read_tool_call(call, "args") for call in calls if call],
        finish_reason=as_text(candidate.get("finishReason")) or as_text(feedback.get("blockReason")),
        usage=_read_usage_metadata(reply.get("usageMetadata")),
        model=as_text(reply.get("modelVersion")),
        known=bool(candidates or feedback),
        unread=[*fields.describe_unread_answers(len(candidates)), *partial],
    )


def _join_events(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    reply: dict[str, Any] = {}
    parts: list[JsonObject] = []
    finish_reason = ""
    others: set[int] = set()
    for event in events:
        for key in ("modelVersion", "usageMetadata", "promptFeedback"):
            reply[key] = event.get(key) or reply.get(key)
        for candidate in as_mappings(event.get("candidates")):
            number = fields.as_token_count(candidate.get("index")) or 0
            if number:
                others.add(number)
                continue
            parts += _content_parts(candidate.get("content"))
            finish_reason = as_text(candidate.get("finishReason")) or finish_reason
    if parts or finish_reason:
        reply["candidates"] = [
            {"content": {"parts": parts}, "finishReason": finish_reason},
            *({} for _ in others),
        ]
    return reply, bool(finish_reason or reply.get("promptFeedback"))


def _get_field(wire: JsonObject, name: str) -> Any:
    """Return a field, which may be spelled in snake case as well."""
    snake_name = "".join(f"_{char.lower()}" if char.isupper() else char for char in name)
    return wire.get(name, wire.get(snake_name))


def _content_parts(content: object) -> list[JsonObject]:
    parts = as_mapping(content).get("parts")
    if isinstance(parts, dict):
        return [parts]
    return as_mappings(parts)


def _format_function_response(part: JsonObject) -> str | None:
    response = _get_field(part, "functionResponse")
    if isinstance(response, dict):
        return fields.arguments_json(response.get("response"))
    return None


def _format_gemini_part(part: JsonObject) -> str:
    if "text" in part:
        return as_text(part["text"])
    function_call = _get_field(part, "functionCall")
    if isinstance(function_call, dict):
        return fields.format_tool_call(fields.read_tool_call(function_call, "args"))
    return f"[{next((key for key in part if key not in _ANNOTATION_KEYS), 'part')}]"


def _model_name(request: JsonObject) -> str:
    return as_text(request.get("model")).removeprefix("models/")


def _read_function_declarations(tools: object) -> Iterator[ToolDefinition]:
    for entry in as_mappings(tools):
        for name, value in entry.items():
            if name not in ("functionDeclarations", "function_declarations"):
                yield fields.tool_definition(name)
                continue
            yield from (
                fields.tool_definition(
                    as_text(function.get("name")),
                    function.get("description"),
                    _get_field(function, "parameters") or _get_field(function, "parametersJsonSchema"),
                )
                for function in as_mappings(value)
            )


def _read_usage_metadata(value: object) -> Usage:
    """Read the token counts of a reply; thoughts, counted beside the answer, become part of the output."""
    counts = as_mapping(value)
    thoughts = fields.as_token_count(counts.get("thoughtsTokenCount"))
    return Usage(
        input_tokens=fields.sum_known_counts(
            fields.as_token_count(counts.get("promptTokenCount")),
            fields.as_token_count(counts.get("toolUsePromptTokenCount")),
        ),
        output_tokens=fields.sum_known_counts(
            fields.as_token_count(counts.get("candidatesTokenCount")), thoughts
        ),
        cached_tokens=fields.as_token_count(counts.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
    )


def _read_embed_request(request: JsonObject) -> fields.ParsedRequest:
    requests = as_mappings(request.get("requests")) or [request]
    return fields.ParsedRequest(
        fields.user_messages(
            [
                "\n".join(
                    map(_format_gemini_part, _content_parts(content))
                    if isinstance(content, dict)
                    else as_texts(content)
                )
                for content in [item.get("content", item.get("contents")) for item in requests]
            ]
        ),
        model=_model_name(request) or _model_name(requests[0]),
    )


def _read_predict_request(request: JsonObject) -> fields.ParsedRequest:
    return fields.ParsedRequest(
        fields.user_messages(
            as_text(item.get("content")) or as_text(item.get("text")) or as_text(item.get("prompt"))
            for item in as_mappings(request.get("instances"))
        )
    )


def _read_predict_reply(reply: JsonObject) -> fields.ParsedReply:
    embeddings = [
        as_mapping(prediction.get("embeddings")) for prediction in as_mappings(reply.get("predictions"))
    ]
    counts = [as_mapping(item.get("statistics")).get("token_count") for item in embeddings]
    return fields.ParsedReply(
        output=f"{len(list(filter(None, embeddings)))} vectors",
        usage=Usage(input_tokens=fields.sum_known_counts(*map(fields.as_token_count, counts))),
        known=any(embeddings),
    )


GENERATE = fields.CallFormat(_read_request, _read_reply, _join_events)
EMBED = fields.CallFormat(
    _read_embed_request,
    lambda reply: fields.embedding_reply(reply, _read_usage_metadata(reply.get("usageMetadata"))),
)
PREDICT = fields.CallFormat(_read_predict_request, _read_predict_reply)
