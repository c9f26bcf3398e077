"""Gemini's generateContent and embedContent, as the Gemini API and Vertex take them; embeddings by Vertex's predict."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from pytest_llmops._util.json_values import (
    JsonObject,
    as_mapping,
    as_mappings,
    as_texts,
    first_mapping,
    get_mapping,
    get_mappings,
    get_text,
    join_texts,
)
from pytest_llmops.protocols import Media, Message, Role, ToolCall, ToolDefinition, Usage
from pytest_llmops.trace import fields
from pytest_llmops.trace.media_parts import list_media, read_media
from pytest_llmops.trace.wire_format import (
    CallFormat,
    Endpoint,
    JoinedReply,
    ParsedReply,
    ParsedRequest,
    WireFormat,
    google_path,
)

_ROLES: dict[str, Role] = {"model": "assistant", "function": "tool", "system": "system"}
# Keys of a part that do not tell its kind (text, functionCall, inlineData ...)
_ANNOTATION_KEYS = ("thought", "thoughtSignature", "thought_signature", "videoMetadata", "partMetadata")


def _read_request(request: JsonObject) -> ParsedRequest:
    """Read the system instruction, contents and function declarations of a request."""
    messages: list[Message] = []
    instruction = _content_parts(_get_field(request, "systemInstruction"))
    if instruction:
        messages.append(Message("system", _format_parts(instruction)))
    contents = request.get("contents")
    if isinstance(contents, dict):
        contents = [contents]
    for message in as_mappings(contents):
        role = _ROLES.get(get_text(message, "role"), "user")
        parts = _content_parts(message)
        messages += fields.split_messages(
            role, parts, _read_function_response, _read_function_call, _format_gemini_part
        )
    unread = []
    if _get_field(request, "cachedContent"):
        unread.append("messages kept by the server (cachedContent)")
    tools = list(_read_function_declarations(request.get("tools")))
    return ParsedRequest(messages, tools, unread, _model_name(request))


def _read_reply(reply: JsonObject) -> ParsedReply:
    """Read the first candidate of a reply; a blocked prompt has none, and the reason is in ``promptFeedback``."""
    candidates = get_mappings(reply, "candidates")
    candidate = first_mapping(candidates)
    feedback = get_mapping(reply, "promptFeedback")
    answer = ""
    thoughts = []
    calls = []
    media: list[Media] = []
    unread = fields.describe_unread_answers(len(candidates))
    for part in _content_parts(candidate.get("content")):
        call = _get_field(part, "functionCall")
        if part.get("thought"):
            thoughts.append(part)
        elif not call:
            answer += _format_gemini_part(part)
            media += list_media(part)
        if call and isinstance(call, dict):
            calls.append(fields.read_tool_call(call, "args"))
            if "partialArgs" in call:
                unread.append("arguments of a tool call that came in pieces")
    return ParsedReply(
        output=answer,
        thinking=join_texts(thoughts),
        tool_calls=calls,
        finish_reason=get_text(candidate, "finishReason") or get_text(feedback, "blockReason"),
        usage=_read_usage_metadata(reply.get("usageMetadata")),
        model=get_text(reply, "modelVersion"),
        known=bool(candidates or feedback),
        unread=unread,
        media=media,
    )


def _join_events(events: Sequence[JsonObject]) -> JoinedReply:
    """Join the events of a stream into a reply with all parts of the first candidate; others are only counted."""
    reply: dict[str, Any] = {}
    parts: list[JsonObject] = []
    finish_reason = ""
    others: set[int] = set()  # numbers of the other candidates
    for event in events:
        for key in ("modelVersion", "usageMetadata", "promptFeedback"):
            reply[key] = event.get(key) or reply.get(key)
        for candidate in get_mappings(event, "candidates"):
            number = fields.get_count(candidate, "index") or 0
            if number:
                others.add(number)
                continue
            parts += _content_parts(candidate.get("content"))
            finish_reason = get_text(candidate, "finishReason") or finish_reason
    if parts or finish_reason:
        first = {"content": {"parts": parts}, "finishReason": finish_reason}
        reply["candidates"] = [first, *({} for _ in others)]
    has_ended = bool(finish_reason or reply.get("promptFeedback"))
    return reply, has_ended


def _get_field(wire: JsonObject, name: str) -> Any:
    """Return the value of a field, which may also be spelled in snake case; None without it."""
    if name in wire:
        return wire[name]
    return wire.get(_spell_snake_case(name))


@lru_cache(maxsize=64)
def _spell_snake_case(name: str) -> str:
    """Return the snake case of a name in camel case."""
    return re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", name)


def _content_parts(content: object) -> list[JsonObject]:
    parts = as_mapping(content).get("parts")
    if isinstance(parts, dict):
        return [parts]
    return as_mappings(parts)


def _read_function_response(part: JsonObject) -> Message | None:
    response = _get_field(part, "functionResponse")
    if not isinstance(response, dict):
        return None
    result = response.get("response")
    return Message(
        "tool",
        fields.arguments_json(result),
        call_id=get_text(response, "id"),
        tool_name=get_text(response, "name"),
        is_error=bool(as_mapping(result).get("error")),
    )


def _read_function_call(part: JsonObject) -> ToolCall | None:
    call = _get_field(part, "functionCall")
    if not isinstance(call, dict) or "text" in part:
        return None
    return fields.read_tool_call(call, "args")


def _format_parts(parts: Sequence[JsonObject]) -> str:
    return "\n".join(map(_format_gemini_part, parts))


def _format_gemini_part(part: JsonObject) -> str:
    """Return the text of a part; of other parts, the kind and size ("[image: png, 24 KB]") or its kind: "[fileData]"."""
    if "text" in part:
        return get_text(part, "text")
    item = read_media(part)
    if item is not None:
        return item.label
    for key in part:
        if key not in _ANNOTATION_KEYS:
            return f"[{key}]"
    return "[part]"


def _model_name(request: JsonObject) -> str:
    return get_text(request, "model").removeprefix("models/")


def _read_function_declarations(tools: object) -> Iterator[ToolDefinition]:
    for entry in as_mappings(tools):
        for name, value in entry.items():
            if name in ("functionDeclarations", "function_declarations"):
                yield from map(_read_function, as_mappings(value))
            else:
                yield fields.tool_definition(name)


def _read_function(function: JsonObject) -> ToolDefinition:
    schema = _get_field(function, "parameters") or _get_field(function, "parametersJsonSchema")
    return fields.tool_definition(get_text(function, "name"), function.get("description"), schema)


def _read_usage_metadata(value: object) -> Usage:
    """Read the token counts of a reply; thoughts, counted separately from the answer, become part of the output."""
    counts = as_mapping(value)
    prompt = fields.get_count(counts, "promptTokenCount")
    tool_prompt = fields.get_count(counts, "toolUsePromptTokenCount")
    answer = fields.get_count(counts, "candidatesTokenCount")
    thoughts = fields.get_count(counts, "thoughtsTokenCount")
    return Usage(
        input_tokens=fields.sum_known_counts(prompt, tool_prompt),
        output_tokens=fields.sum_known_counts(answer, thoughts),
        cached_tokens=fields.get_count(counts, "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
    )


def _read_embed_request(request: JsonObject) -> ParsedRequest:
    """Read the texts of a request to embed one content, or of a batch (``requests``)."""
    requests = get_mappings(request, "requests") or [request]
    texts = []
    for item in requests:
        content = item.get("content", item.get("contents"))
        if isinstance(content, dict):
            texts.append(_format_parts(_content_parts(content)))
        else:
            texts.append("\n".join(as_texts(content)))
    model = _model_name(request) or _model_name(requests[0])
    return ParsedRequest(fields.user_messages(texts), model=model)


def _read_embed_reply(reply: JsonObject) -> ParsedReply:
    usage = _read_usage_metadata(reply.get("usageMetadata"))
    return fields.embedding_reply(reply, usage)


def _read_predict_request(request: JsonObject) -> ParsedRequest:
    texts = []
    for item in get_mappings(request, "instances"):
        content = get_text(item, "content") or get_text(item, "text")
        texts.append(content or get_text(item, "prompt"))
    return ParsedRequest(fields.user_messages(texts))


def _read_predict_reply(reply: JsonObject) -> ParsedReply:
    """Read the number of vectors, and the sum of the tokens that each vector has in its statistics."""
    vectors = 0
    counts = []
    for prediction in get_mappings(reply, "predictions"):
        embedding = get_mapping(prediction, "embeddings")
        if embedding:
            vectors += 1
        statistics = get_mapping(embedding, "statistics")
        counts.append(fields.get_count(statistics, "token_count"))
    usage = Usage(input_tokens=fields.sum_known_counts(*counts))
    return ParsedReply(output=f"{vectors} vectors", usage=usage, known=vectors > 0)


GENERATE = CallFormat(_read_request, _read_reply, _join_events)
EMBED = CallFormat(_read_embed_request, _read_embed_reply)
PREDICT = CallFormat(_read_predict_request, _read_predict_reply)
WIRE_FORMAT = WireFormat(
    [
        Endpoint("generateContent", google_path("generateContent|streamGenerateContent"), GENERATE),
        Endpoint("embeddings", google_path("embedContent|batchEmbedContents"), EMBED),
        Endpoint("embeddings", google_path("predict"), PREDICT),
    ],
    hosts={
        "generativelanguage.googleapis.com": "google",
        re.compile(r"\A(?:[a-z0-9-]+-)?aiplatform(?:\.[a-z0-9-]+\.rep)?\.googleapis\.com"): "vertex",
    },
    on_other_hosts=True,
    provider="google-compatible",
)
