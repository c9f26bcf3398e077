"""OpenAI's chat completions, completions, embeddings and moderations, and what others answer in these forms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmops.protocols import Message, ToolCall, ToolDefinition
from pytest_llmops.trace.fields import (
    Answered,
    Asked,
    Format,
    Wire,
    calls,
    content,
    count,
    functions,
    items,
    mapping,
    more,
    not_streamed,
    role,
    said,
    text,
    tool,
    vectors,
)
from pytest_llmops.trace.usage import audio, stated, usage


def _chat(request: Wire) -> Asked:
    messages = [Message(role(one.get("role")), said(one)) for one in items(request.get("messages"))]
    return Asked(messages, _tools(request) if request.keys() & _TOOLS else (), text(request.get("model")))


_TOOLS = {"tools", "functions"}


def _tools(request: Wire) -> list[ToolDefinition]:
    before = items(request.get("functions"))
    return [
        *functions(request.get("tools")),
        *(tool(text(one.get("name")), one.get("description"), one.get("parameters")) for one in before),
    ]


def _prompt(request: Wire) -> Asked:
    messages = [Message("user", one) for one in _inputs(request.get("prompt"))]
    return Asked(messages, (), text(request.get("model")))


def _input(request: Wire) -> Asked:
    messages = [Message("user", one) for one in _inputs(request.get("input"))]
    return Asked(messages, (), text(request.get("model")))


def _inputs(value: object) -> Iterator[str]:
    """The texts to complete or to embed; one that is a list of token ids is named."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and value and isinstance(value[0], int):
        yield f"[{len(value)} tokens]"
    elif isinstance(value, list):
        for one in value:
            if isinstance(one, list) and one and isinstance(one[0], int):
                yield f"[{len(one)} tokens]"
            else:
                yield content([one])


def _choice(reply: Wire) -> Answered:
    choices = items(reply.get("choices"))
    choice = choices[0] if choices else {}
    message = mapping(choice.get("message"))
    words = message.get("content")
    output, thinking = (words, "") if isinstance(words, str) else _spoken(words)
    used = mapping(reply.get("usage")) or mapping(mapping(reply.get("x_groq")).get("usage"))
    return Answered(
        output=output or _otherwise(choice, message),
        thinking=text(message.get("reasoning_content")) or text(message.get("reasoning")) or thinking,
        tool_calls=_called(message) if "tool_calls" in message or "function_call" in message else (),
        finish_reason=text(choice.get("finish_reason")),
        usage=usage(used),
        model=text(reply.get("model")),
        known=bool(choices),
        priced=audio(used),
        cost_usd=stated(used) if "cost" in used else None,
        unread=more(len(choices), "answer"),
    )


def _otherwise(choice: Wire, message: Wire) -> str:
    """The answer where it is not the content: a refusal, a completion, the words of a sound, an error."""
    return (
        text(message.get("refusal"))
        or text(choice.get("text"))
        or text(mapping(message.get("audio")).get("transcript"))
        or text(mapping(choice.get("error")).get("message"))
    )


def _called(message: Wire) -> list[ToolCall]:
    before = message.get("function_call")
    return [*calls(message.get("tool_calls")), *(calls([{"function": before}]) if before else ())]


def _spoken(value: object) -> tuple[str, str]:
    """The text of an answer, and what a part of it says of the thinking (Mistral)."""
    if not isinstance(value, list):
        return text(value), ""
    thought = [content(one.get("thinking")) for one in items(value) if one.get("type") == "thinking"]
    return "".join(content([one]) for one in items(value) if one.get("type") != "thinking"), "".join(thought)


def _joined(events: Sequence[Wire]) -> tuple[Wire, bool]:
    made = _Chunks()
    for event in events:
        made.add(event)
    return made.reply(), bool(made.finish)


_KEPT = frozenset(("model", "usage", "x_groq"))


class _Chunks:
    """The pieces of a streamed answer; of several answers the first, as without a stream."""

    def __init__(self) -> None:
        self.finish = ""
        self._whole: dict[str, Any] = {}
        self._said: defaultdict[str, list[str]] = defaultdict(list)
        self._calls: dict[int, dict[str, str]] = {}
        self._others: set[int] = set()
        self._any = False

    def add(self, event: Wire) -> None:
        for key in _KEPT & event.keys():
            self._whole[key] = event[key] or self._whole.get(key)
        for choice in items(event.get("choices")):
            self._any = True
            number = count(choice.get("index"))
            if number:
                self._others.add(number)
            else:
                self._choice(choice)

    def _choice(self, choice: Wire) -> None:
        self.finish = text(choice.get("finish_reason")) or self.finish
        if "text" in choice:
            self._say("content", choice["text"])
        delta = mapping(choice.get("delta"))
        for key, piece in delta.items():
            if piece and isinstance(piece, str):
                self._said[key].append(piece)
        words = delta.get("content")
        if isinstance(words, list):
            output, thinking = _spoken(words)
            self._say("content", output)
            self._say("reasoning_content", thinking)
        if "audio" in delta:
            self._say("transcript", mapping(delta["audio"]).get("transcript"))
        if "function_call" in delta:
            self._call({"index": 0, "function": delta["function_call"]})
        for part in items(delta.get("tool_calls")):
            self._call(part)

    def _say(self, what: str, piece: object) -> None:
        if isinstance(piece, str) and piece:
            self._said[what].append(piece)

    def _call(self, part: Wire) -> None:
        name = text(part.get("id"))
        number = count(part.get("index"))
        if number is None:
            # Servers that leave the number out send a call whole, or name it in its first piece.
            number = len(self._calls) if name or not self._calls else max(self._calls)
        call = self._calls.setdefault(number, {"id": "", "name": "", "arguments": ""})
        function = mapping(part.get("function")) or mapping(part.get("custom"))
        call["id"] = call["id"] or name
        for key, piece in (("name", "name"), ("arguments", "arguments"), ("arguments", "input")):
            call[key] += text(function.get(piece))

    def reply(self) -> Wire:
        said = {what: "".join(pieces) for what, pieces in self._said.items()}
        message = {
            **said,
            "audio": {"transcript": said.get("transcript")},
            "tool_calls": [{"id": one["id"], "function": one} for one in self._calls.values()],
        }
        choices = [{"message": message, "finish_reason": self.finish}, *({} for _ in self._others)]
        return {**self._whole, "choices": choices if self._any else []}


def _embeddings(reply: Wire) -> Answered:
    return Answered(
        output=vectors(items(reply.get("data"))),
        usage=usage(mapping(reply.get("usage"))),
        model=text(reply.get("model")),
        known=isinstance(reply.get("data"), list),
    )


def _moderations(reply: Wire) -> Answered:
    results = items(reply.get("results"))
    return Answered(
        output="\n".join(map(_flags, results)), model=text(reply.get("model")), known=bool(results)
    )


def _flags(result: Wire) -> str:
    found = [name for name, flagged in mapping(result.get("categories")).items() if flagged is True]
    return ("flagged: " + ", ".join(found)) if result.get("flagged") is True else "not flagged"


CHAT = Format(_chat, _choice, _joined)
COMPLETIONS = Format(_prompt, _choice, _joined)
EMBEDDINGS = Format(_input, _embeddings, not_streamed)
MODERATIONS = Format(_input, _moderations, not_streamed)
