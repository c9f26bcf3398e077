"""OpenAI's chat completions, completions, embeddings and moderations, and what others answer in these forms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmops.protocols import Message, ToolCall, ToolDefinition
from pytest_llmops.trace.fields import (
    CallFormat,
    JsonObject,
    ParsedReply,
    ParsedRequest,
    as_mapping,
    as_mappings,
    as_role,
    as_text,
    as_token_count,
    content_text,
    describe_unread_answers,
    describe_vectors,
    format_chat_message,
    not_streamed,
    read_chat_tool_calls,
    read_chat_tools,
    tool_definition,
)
from pytest_llmops.trace.usage import read_audio_tokens, read_openai_usage, read_stated_cost


def _read_chat_request(request: JsonObject) -> ParsedRequest:
    messages = [
        Message(as_role(message.get("role")), format_chat_message(message))
        for message in as_mappings(request.get("messages"))
    ]
    return ParsedRequest(
        messages,
        _read_tools_and_functions(request) if request.keys() & _TOOL_KEYS else (),
        as_text(request.get("model")),
    )


_TOOL_KEYS = {"tools", "functions"}


def _read_tools_and_functions(request: JsonObject) -> list[ToolDefinition]:
    legacy_functions = as_mappings(request.get("functions"))
    return [
        *read_chat_tools(request.get("tools")),
        *(
            tool_definition(
                as_text(definition.get("name")), definition.get("description"), definition.get("parameters")
            )
            for definition in legacy_functions
        ),
    ]


def _read_completion_request(request: JsonObject) -> ParsedRequest:
    messages = [Message("user", prompt_text) for prompt_text in _input_texts(request.get("prompt"))]
    return ParsedRequest(messages, (), as_text(request.get("model")))


def _read_input_request(request: JsonObject) -> ParsedRequest:
    messages = [Message("user", input_text) for input_text in _input_texts(request.get("input"))]
    return ParsedRequest(messages, (), as_text(request.get("model")))


def _input_texts(value: object) -> Iterator[str]:
    """The texts to complete or to embed; one that is a list of token ids is named."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and value and isinstance(value[0], int):
        yield f"[{len(value)} tokens]"
    elif isinstance(value, list):
        for element in value:
            if isinstance(element, list) and element and isinstance(element[0], int):
                yield f"[{len(element)} tokens]"
            else:
                yield content_text([element])


def _read_first_choice(reply: JsonObject) -> ParsedReply:
    choices = as_mappings(reply.get("choices"))
    choice = choices[0] if choices else {}
    message = as_mapping(choice.get("message"))
    words = message.get("content")
    output, thinking = (words, "") if isinstance(words, str) else _split_thinking(words)
    counts = as_mapping(reply.get("usage")) or as_mapping(as_mapping(reply.get("x_groq")).get("usage"))
    return ParsedReply(
        output=output or _alternative_output(choice, message),
        thinking=as_text(message.get("reasoning_content")) or as_text(message.get("reasoning")) or thinking,
        tool_calls=_read_message_calls(message)
        if "tool_calls" in message or "function_call" in message
        else (),
        finish_reason=as_text(choice.get("finish_reason")),
        usage=read_openai_usage(counts),
        model=as_text(reply.get("model")),
        known=bool(choices),
        priced=read_audio_tokens(counts),
        cost_usd=read_stated_cost(counts) if "cost" in counts else None,
        unread=describe_unread_answers(len(choices), "answer"),
    )


def _alternative_output(choice: JsonObject, message: JsonObject) -> str:
    """The answer where it is not the content: a refusal, a completion, the words of a sound, an error."""
    return (
        as_text(message.get("refusal"))
        or as_text(choice.get("text"))
        or as_text(as_mapping(message.get("audio")).get("transcript"))
        or as_text(as_mapping(choice.get("error")).get("message"))
    )


def _read_message_calls(message: JsonObject) -> list[ToolCall]:
    legacy_call = message.get("function_call")
    return [
        *read_chat_tool_calls(message.get("tool_calls")),
        *(read_chat_tool_calls([{"function": legacy_call}]) if legacy_call else ()),
    ]


def _split_thinking(value: object) -> tuple[str, str]:
    """The text of an answer, and what a part of it says of the thinking (Mistral)."""
    if not isinstance(value, list):
        return as_text(value), ""
    thought = [
        content_text(part.get("thinking")) for part in as_mappings(value) if part.get("type") == "thinking"
    ]
    return "".join(
        content_text([part]) for part in as_mappings(value) if part.get("type") != "thinking"
    ), "".join(thought)


def _join_chunks(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    joiner = _ChunkJoiner()
    for event in events:
        joiner.add(event)
    return joiner.reply(), bool(joiner.finish)


_TOP_LEVEL_KEYS = frozenset(("model", "usage", "x_groq"))


class _ChunkJoiner:
    """The pieces of a streamed answer; of several answers the first, as without a stream."""

    def __init__(self) -> None:
        self.finish = ""
        self._whole: dict[str, Any] = {}
        self._said: defaultdict[str, list[str]] = defaultdict(list)
        self._calls: dict[int, dict[str, str]] = {}
        self._others: set[int] = set()
        self._any = False

    def add(self, event: JsonObject) -> None:
        for key in _TOP_LEVEL_KEYS & event.keys():
            self._whole[key] = event[key] or self._whole.get(key)
        for choice in as_mappings(event.get("choices")):
            self._any = True
            number = as_token_count(choice.get("index"))
            if number:
                self._others.add(number)
            else:
                self._choice(choice)

    def _choice(self, choice: JsonObject) -> None:
        self.finish = as_text(choice.get("finish_reason")) or self.finish
        if "text" in choice:
            self._append_text("content", choice["text"])
        delta = as_mapping(choice.get("delta"))
        for key, piece in delta.items():
            if piece and isinstance(piece, str):
                self._said[key].append(piece)
        words = delta.get("content")
        if isinstance(words, list):
            output, thinking = _split_thinking(words)
            self._append_text("content", output)
            self._append_text("reasoning_content", thinking)
        if "audio" in delta:
            self._append_text("transcript", as_mapping(delta["audio"]).get("transcript"))
        if "function_call" in delta:
            self._call({"index": 0, "function": delta["function_call"]})
        for part in as_mappings(delta.get("tool_calls")):
            self._call(part)

    def _append_text(self, what: str, piece: object) -> None:
        if isinstance(piece, str) and piece:
            self._said[what].append(piece)

    def _call(self, part: JsonObject) -> None:
        name = as_text(part.get("id"))
        number = as_token_count(part.get("index"))
        if number is None:
            # Servers that leave the number out send a call whole, or name it in its first piece.
            number = len(self._calls) if name or not self._calls else max(self._calls)
        call = self._calls.setdefault(number, {"id": "", "name": "", "arguments": ""})
        function = as_mapping(part.get("function")) or as_mapping(part.get("custom"))
        call["id"] = call["id"] or name
        for key, piece in (("name", "name"), ("arguments", "arguments"), ("arguments", "input")):
            call[key] += as_text(function.get(piece))

    def reply(self) -> JsonObject:
        texts = {what: "".join(pieces) for what, pieces in self._said.items()}
        message = {
            **texts,
            "audio": {"transcript": texts.get("transcript")},
            "tool_calls": [{"id": call["id"], "function": call} for call in self._calls.values()],
        }
        choices = [{"message": message, "finish_reason": self.finish}, *({} for _ in self._others)]
        return {**self._whole, "choices": choices if self._any else []}


def _read_embeddings_reply(reply: JsonObject) -> ParsedReply:
    return ParsedReply(
        output=describe_vectors(as_mappings(reply.get("data"))),
        usage=read_openai_usage(as_mapping(reply.get("usage"))),
        model=as_text(reply.get("model")),
        known=isinstance(reply.get("data"), list),
    )


def _read_moderations_reply(reply: JsonObject) -> ParsedReply:
    results = as_mappings(reply.get("results"))
    return ParsedReply(
        output="\n".join(map(_format_flags, results)), model=as_text(reply.get("model")), known=bool(results)
    )


def _format_flags(result: JsonObject) -> str:
    categories = [name for name, flagged in as_mapping(result.get("categories")).items() if flagged is True]
    return ("flagged: " + ", ".join(categories)) if result.get("flagged") is True else "not flagged"


CHAT = CallFormat(_read_chat_request, _read_first_choice, _join_chunks)
COMPLETIONS = CallFormat(_read_completion_request, _read_first_choice, _join_chunks)
EMBEDDINGS = CallFormat(_read_input_request, _read_embeddings_reply, not_streamed)
MODERATIONS = CallFormat(_read_input_request, _read_moderations_reply, not_streamed)
