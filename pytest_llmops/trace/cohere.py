"""Cohere's chat (v1 and v2), generate, embed and rerank, also as Bedrock's ``invoke`` takes them.

The tokens are those that are billed; where a reply has none, those that the model saw.
"""

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
    calls,
    content,
    count,
    first,
    functions,
    items,
    mapping,
    more,
    not_streamed,
    role,
    said,
    text,
    texts,
    tool,
    vectors,
)

_ROLES: dict[object, Role] = {"CHATBOT": "assistant", "SYSTEM": "system", "TOOL": "tool"}


def _asked(request: Wire) -> Asked:
    messages = [Message(role(one.get("role")), _said(one)) for one in items(request.get("messages"))]
    return Asked(
        messages, [*functions(request.get("tools"))], text(request.get("model")), _documents(request)
    )


def _said(one: Wire) -> str:
    return "\n".join(word for word in (text(one.get("tool_plan")), said(one)) if word)


def _documents(request: Wire) -> list[str]:
    given = request.get("documents")
    number = len(given) if isinstance(given, list) else 0
    return [f"{number} document{'s' if number > 1 else ''} given with the messages"] if number else []


def _answered(reply: Wire) -> Answered:
    message = mapping(reply.get("message"))
    blocks = items(message.get("content"))
    thought = [text(one.get("thinking")) for one in blocks if one.get("type") == "thinking"]
    return Answered(
        output="".join(text(one.get("text")) for one in blocks) or text(message.get("content")),
        thinking="".join(thought) or text(message.get("tool_plan")),
        tool_calls=[*calls(message.get("tool_calls"))],
        finish_reason=text(reply.get("finish_reason")),
        usage=_usage(mapping(reply.get("usage"))),
        known=bool(message),
    )


def _usage(wire: Wire) -> Usage:
    billed = mapping(wire.get("billed_units"))
    counts = billed if "input_tokens" in billed or "output_tokens" in billed else mapping(wire.get("tokens"))
    return Usage(
        input_tokens=count(counts.get("input_tokens")),
        output_tokens=count(counts.get("output_tokens")),
        cached_tokens=count(wire.get("cached_tokens")),
    )


def _joined(events: Sequence[Wire]) -> tuple[Wire, bool]:
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    asked_for: dict[int, dict[str, str]] = {}
    end: Wire = {}
    for event in events:
        delta = mapping(event.get("delta"))
        piece = mapping(delta.get("message"))
        number = count(event.get("index")) or 0
        kind = event.get("type")
        if kind in ("content-start", "content-delta"):
            _add(blocks.setdefault(number, {}), mapping(piece.get("content")))
        elif kind == "tool-plan-delta":
            message["tool_plan"] = text(message.get("tool_plan")) + text(piece.get("tool_plan"))
        elif kind in ("tool-call-start", "tool-call-delta"):
            call = asked_for.setdefault(number, {"id": "", "name": "", "arguments": ""})
            wire = mapping(piece.get("tool_calls"))
            call["id"] += text(wire.get("id"))
            for key in ("name", "arguments"):
                call[key] += text(mapping(wire.get("function")).get(key))
        elif kind == "message-start":
            message["role"] = "assistant"
        elif kind == "message-end":
            end = delta
    if blocks:
        message["content"] = [one for _, one in sorted(blocks.items())]
    if asked_for:
        message["tool_calls"] = [{"id": one["id"], "function": one} for _, one in sorted(asked_for.items())]
    return {**end, "message": message}, bool(end)


def _add(block: dict[str, Any], piece: Wire) -> None:
    for key in ("text", "thinking"):
        if isinstance(piece.get(key), str):
            block[key] = text(block.get(key)) + piece[key]
            block["type"] = key


def _asked_v1(request: Wire) -> Asked:
    preamble = text(request.get("preamble"))
    messages = [Message("system", preamble)] if preamble else []
    for one in items(request.get("chat_history")):
        words = [text(one.get("message"))]
        words += [called(call.name, call.arguments) for call in _calls_v1(one.get("tool_calls"))]
        words += [arguments(each) for each in items(one.get("tool_results"))]
        messages.append(
            Message(_ROLES.get(one.get("role"), "user"), "\n".join(word for word in words if word))
        )
    messages += [Message("user", text(request.get("message")))] if request.get("message") else []
    messages += [Message("tool", arguments(one)) for one in items(request.get("tool_results"))]
    unread = _documents(request)
    if request.get("conversation_id"):
        unread.append("messages kept by the server (conversation_id)")
    return Asked(messages, [*_tools_v1(request.get("tools"))], text(request.get("model")), unread)


def _tools_v1(value: object) -> Iterator[ToolDefinition]:
    for one in items(value):
        yield tool(text(one.get("name")), one.get("description"), one.get("parameter_definitions"))


def _calls_v1(value: object) -> Iterator[ToolCall]:
    for one in items(value):
        yield ToolCall(name=text(one.get("name")), arguments=arguments(one.get("parameters")))


def _answered_v1(reply: Wire) -> Answered:
    return Answered(
        output=text(reply.get("text")),
        tool_calls=[*_calls_v1(reply.get("tool_calls"))],
        finish_reason=text(reply.get("finish_reason")),
        usage=_usage(mapping(reply.get("meta"))),
        known="text" in reply or "tool_calls" in reply,
    )


def _joined_v1(events: Sequence[Wire]) -> tuple[Wire, bool]:
    ends = [one for one in events if one.get("event_type") == "stream-end" or one.get("is_finished") is True]
    last = ends[-1] if ends else {}
    so_far: dict[str, Any] = {
        "text": "".join(
            text(one.get("text")) for one in events if one.get("event_type") != "tool-calls-chunk"
        )
    }
    whole = {**so_far, **mapping(last.get("response"))} if events else {}
    if "finish_reason" in last:
        whole["finish_reason"] = last["finish_reason"]
    return whole, bool(ends)


def _prompt(request: Wire) -> Asked:
    return Asked([Message("user", text(request.get("prompt")))], (), text(request.get("model")))


def _generated(reply: Wire) -> Answered:
    made = items(reply.get("generations"))
    return Answered(
        output=text(first(made).get("text")) or text(reply.get("text")),
        finish_reason=text(first(made).get("finish_reason")) or text(reply.get("finish_reason")),
        usage=_usage(mapping(reply.get("meta"))),
        known=bool(made) or "text" in reply,
        unread=more(len(made), "answer"),
    )


def _texts(request: Wire) -> Asked:
    given = texts(request.get("texts")) or [
        content(one.get("content")) for one in items(request.get("inputs"))
    ]
    images = request.get("images")
    given += ["[image]"] * (len(images) if isinstance(images, list) else 0)
    return Asked([Message("user", one) for one in given], (), text(request.get("model")))


def _embeddings(reply: Wire) -> Answered:
    found = reply.get("embeddings")
    # By type (float, int8 ...): the same texts in each.
    one = next(iter(found.values()), None) if isinstance(found, dict) else found
    return Answered(
        output=vectors(one), usage=_usage(mapping(reply.get("meta"))), known=isinstance(one, list)
    )


def _query(request: Wire) -> Asked:
    documents = request.get("documents")
    listed = documents if isinstance(documents, list) else []
    messages = [Message("user", text(request.get("query")))]
    messages += [Message("user", _document(one)) for one in listed]
    return Asked(messages, (), text(request.get("model")))


def _document(one: object) -> str:
    return text(mapping(one).get("text")) or arguments(one)


def _ranked(reply: Wire) -> Answered:
    """The places of the documents, best first, with their scores; Voyage and others say data for results."""
    found = reply.get("results", reply.get("data"))
    used = mapping(reply.get("usage"))
    counted = _usage(mapping(reply.get("meta")))
    return Answered(
        output="\n".join(
            f"{_number(one.get('index'))}: {_number(one.get('relevance_score'))}" for one in items(found)
        ),
        usage=counted if counted != Usage() else Usage(input_tokens=count(used.get("total_tokens"))),
        model=text(reply.get("model")),
        known=isinstance(found, list),
    )


def _number(value: object) -> str:
    return str(value)[:24] if isinstance(value, (int, float)) and abs(value) <= 1e15 else "?"  # noqa: PLR2004 -- no score, no place


CHAT = Format(_asked, _answered, _joined)
CHAT_V1 = Format(_asked_v1, _answered_v1, _joined_v1)
GENERATE = Format(_prompt, _generated, _joined_v1)
EMBED = Format(_texts, _embeddings, not_streamed)
RERANK = Format(_query, _ranked, not_streamed)
