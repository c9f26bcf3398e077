"""Ollama's own API: chat, generate and embeddings, as one object or as a line of JSON a piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_llmops.protocols import Message, Usage
from pytest_llmops.trace.fields import (
    Answered,
    Asked,
    Format,
    Wire,
    calls,
    count,
    functions,
    items,
    mapping,
    not_streamed,
    role,
    said,
    text,
    texts,
    vectors,
)


def _chat(request: Wire) -> Asked:
    messages = [
        Message(role(one.get("role")), _with_images(said(one), one)) for one in items(request.get("messages"))
    ]
    return Asked(messages, [*functions(request.get("tools"))], text(request.get("model")))


def _with_images(words: str, one: Wire) -> str:
    images = one.get("images")
    marks = ["[image]"] * (len(images) if isinstance(images, list) else 0)
    return "\n".join(word for word in (words, *marks) if word)


def _prompt(request: Wire) -> Asked:
    system = text(request.get("system"))
    messages = [Message("system", system)] if system else []
    messages.append(Message("user", _with_images(text(request.get("prompt")), request)))
    return Asked(messages, (), text(request.get("model")))


def _answered(reply: Wire) -> Answered:
    message = mapping(reply.get("message"))
    return Answered(
        output=text(message.get("content")) or text(reply.get("response")),
        thinking=text(message.get("thinking")) or text(reply.get("thinking")),
        tool_calls=[*calls(message.get("tool_calls"))],
        finish_reason=text(reply.get("done_reason")),
        usage=_usage(reply),
        model=text(reply.get("model")),
        known="message" in reply or "response" in reply,
    )


def _usage(reply: Wire) -> Usage:
    return Usage(
        input_tokens=count(reply.get("prompt_eval_count")), output_tokens=count(reply.get("eval_count"))
    )


def _joined(events: Sequence[Wire]) -> tuple[Wire, bool]:
    whole: dict[str, Any] = {}
    spoken, thought, asked_for = list[str](), list[str](), list[Wire]()
    chat = False
    for event in events:
        whole |= event
        message = event.get("message")
        chat = chat or isinstance(message, dict)
        piece = mapping(message)
        spoken.append(text(piece.get("content")) or text(event.get("response")))
        thought.append(text(piece.get("thinking")) or text(event.get("thinking")))
        asked_for += items(piece.get("tool_calls"))
    output, thinking = "".join(spoken), "".join(thought)
    if chat:
        whole["message"] = {"content": output, "thinking": thinking, "tool_calls": asked_for}
    elif "response" in whole:
        whole |= {"response": output, "thinking": thinking}
    return whole, whole.get("done") is True


def _input(request: Wire) -> Asked:
    messages = [Message("user", one) for one in texts(request.get("input", request.get("prompt")))]
    return Asked(messages, (), text(request.get("model")))


def _embeddings(reply: Wire) -> Answered:
    found = reply.get("embeddings", [reply["embedding"]] if "embedding" in reply else None)
    return Answered(
        output=vectors(found),
        usage=_usage(reply),
        model=text(reply.get("model")),
        known=isinstance(found, list),
    )


CHAT = Format(_chat, _answered, _joined)
GENERATE = Format(_prompt, _answered, _joined)
EMBED = Format(_input, _embeddings, not_streamed)
