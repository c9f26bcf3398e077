"""Gemini's generateContent and embedContent, of the Gemini API and of Vertex; Vertex's embeddings by predict."""

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
    count,
    first,
    items,
    mapping,
    more,
    not_streamed,
    text,
    texts,
    tool,
    total,
    vectors,
)

_ROLES: dict[object, Role] = {"model": "assistant", "function": "tool", "system": "system"}
_BESIDE = ("thought", "thoughtSignature", "thought_signature", "videoMetadata", "partMetadata")
"""Keys of a part that do not say what it is."""
_IN_PIECES = "arguments of a tool call that came in pieces"


def _get(wire: Wire, name: str) -> Any:
    """A field in the spelling of JSON, or in that of the protocol, which the service takes as well."""
    if name in wire:
        return wire[name]
    return wire.get("".join(f"_{char.lower()}" if char.isupper() else char for char in name))


def _asked(request: Wire) -> Asked:
    messages = []
    instructed = _parts(_get(request, "systemInstruction"))
    if instructed:
        messages.append(Message("system", "\n".join(map(_part, instructed))))
    for one in _contents(request.get("contents")):
        messages += _messages(_ROLES.get(one.get("role"), "user"), _parts(one))
    unread = ["messages kept by the server (cachedContent)"] if _get(request, "cachedContent") else []
    return Asked(messages, [*_tools(request.get("tools"))], _model(request), unread)


def _contents(value: object) -> list[Wire]:
    return [value] if isinstance(value, dict) else items(value)


def _parts(value: object) -> list[Wire]:
    parts = mapping(value).get("parts")
    return [parts] if isinstance(parts, dict) else items(parts)


def _messages(who: Role, parts: Sequence[Wire]) -> Iterator[Message]:
    said = []
    for part in parts:
        result = _get(part, "functionResponse")
        if isinstance(result, dict):
            yield Message("tool", arguments(result.get("response")))
        else:
            said.append(_part(part))
    if said:
        yield Message(who, "\n".join(said))


def _part(part: Wire) -> str:
    if "text" in part:
        return text(part["text"])
    asked_for = _get(part, "functionCall")
    if isinstance(asked_for, dict):
        return called(text(asked_for.get("name")), arguments(asked_for.get("args")))
    return f"[{next((key for key in part if key not in _BESIDE), 'part')}]"


def _model(request: Wire) -> str:
    return text(request.get("model")).removeprefix("models/")


def _tools(value: object) -> Iterator[ToolDefinition]:
    for one in items(value):
        for name, inner in one.items():
            if name not in ("functionDeclarations", "function_declarations"):
                yield tool(name)
                continue
            for each in items(inner):
                schema = _get(each, "parameters") or _get(each, "parametersJsonSchema")
                yield tool(text(each.get("name")), each.get("description"), schema)


def _answered(reply: Wire) -> Answered:
    candidates = items(reply.get("candidates"))
    candidate = first(candidates)
    parts = _parts(candidate.get("content"))
    feedback = mapping(reply.get("promptFeedback"))
    asked_for = [mapping(_get(part, "functionCall")) for part in parts]
    return Answered(
        output="".join(
            _part(part) for part in parts if not part.get("thought") and not _get(part, "functionCall")
        ),
        thinking="".join(text(part.get("text")) for part in parts if part.get("thought")),
        tool_calls=[
            ToolCall(name=text(one.get("name")), arguments=arguments(one.get("args")), id=text(one.get("id")))
            for one in asked_for
            if one
        ],
        finish_reason=text(candidate.get("finishReason")) or text(feedback.get("blockReason")),
        usage=usage(mapping(reply.get("usageMetadata"))),
        model=text(reply.get("modelVersion")),
        known=bool(candidates or feedback),
        unread=[*more(len(candidates), "answer"), *(_IN_PIECES for one in asked_for if "partialArgs" in one)],
    )


def usage(wire: Wire) -> Usage:
    """Read the token counts of a reply; thoughts are counted beside the answer, here they are part of it."""
    thoughts = count(wire.get("thoughtsTokenCount"))
    return Usage(
        input_tokens=total(count(wire.get("promptTokenCount")), count(wire.get("toolUsePromptTokenCount"))),
        output_tokens=total(count(wire.get("candidatesTokenCount")), thoughts),
        cached_tokens=count(wire.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
    )


def _joined(events: Sequence[Wire]) -> tuple[Wire, bool]:
    whole: dict[str, Any] = {}
    parts: list[Wire] = []
    finish = ""
    others: set[int] = set()
    for event in events:
        for key in ("modelVersion", "usageMetadata", "promptFeedback"):
            whole[key] = event.get(key) or whole.get(key)
        for candidate in items(event.get("candidates")):
            number = count(candidate.get("index")) or 0
            if number:
                others.add(number)
                continue
            parts += _parts(candidate.get("content"))
            finish = text(candidate.get("finishReason")) or finish
    if parts or finish:
        own = {"content": {"parts": parts}, "finishReason": finish}
        whole["candidates"] = [own, *({} for _ in others)]
    return whole, bool(finish or whole.get("promptFeedback"))


def _embedded(request: Wire) -> Asked:
    several = items(request.get("requests")) or [request]
    contents = [one.get("content", one.get("contents")) for one in several]
    messages = [
        Message(
            "user", "\n".join(map(_part, _parts(one))) if isinstance(one, dict) else "\n".join(texts(one))
        )
        for one in contents
    ]
    return Asked(messages, (), _model(request) or _model(several[0]))


def _embeddings(reply: Wire) -> Answered:
    found = reply.get("embeddings", [reply["embedding"]] if "embedding" in reply else None)
    return Answered(
        output=vectors(found), usage=usage(mapping(reply.get("usageMetadata"))), known=isinstance(found, list)
    )


def _instances(request: Wire) -> Asked:
    messages = [
        Message("user", text(one.get("content")) or text(one.get("text")) or text(one.get("prompt")))
        for one in items(request.get("instances"))
    ]
    return Asked(messages)


def _predictions(reply: Wire) -> Answered:
    found = [mapping(one.get("embeddings")) for one in items(reply.get("predictions"))]
    used = [count(mapping(one.get("statistics")).get("token_count")) for one in found]
    return Answered(
        output=vectors([one for one in found if one]),
        usage=Usage(input_tokens=total(*used)),
        known=any(found),
    )


GENERATE = Format(_asked, _answered, _joined)
EMBED = Format(_embedded, _embeddings, not_streamed)
PREDICT = Format(_instances, _predictions, not_streamed)
