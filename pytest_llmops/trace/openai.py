"""OpenAI's chat completions, completions, embeddings and moderations, also of compatible servers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_mappings, as_text, first_mapping
from pytest_llmops.protocols import Message
from pytest_llmops.trace.fields import (
    CallFormat,
    ParsedReply,
    ParsedRequest,
    as_role,
    as_token_count,
    content_text,
    describe_unread_answers,
    format_chat_message,
    read_chat_tool_calls,
    read_chat_tools,
    tool_definition,
    user_messages,
)
from pytest_llmops.trace.usage import read_audio_tokens, read_openai_usage, read_stated_cost


class _ChatCompletionFormat(CallFormat):
    def read_request(self, request: JsonObject) -> ParsedRequest:
        messages = [
            Message(as_role(message.get("role")), format_chat_message(message))
            for message in as_mappings(request.get("messages"))
        ]
        tools = [*read_chat_tools(request.get("tools"))]
        for function in as_mappings(request.get("functions")):
            name, description = as_text(function.get("name")), function.get("description")
            tools.append(tool_definition(name, description, function.get("parameters")))
        return ParsedRequest(messages, tools)

    def read_reply(self, reply: JsonObject) -> ParsedReply:
        choices = as_mappings(reply.get("choices"))
        choice = first_mapping(choices)
        message = as_mapping(choice.get("message"))
        output, thinking = _split_thinking(message.get("content"))
        legacy_call = message.get("function_call")
        calls = [
            *read_chat_tool_calls(message.get("tool_calls")),
            *read_chat_tool_calls([{"function": legacy_call}] if legacy_call else []),
        ]
        counts = as_mapping(reply.get("usage")) or as_mapping(as_mapping(reply.get("x_groq")).get("usage"))
        return ParsedReply(
            output=output
            or as_text(message.get("refusal"))
            or as_text(choice.get("text"))
            or as_text(as_mapping(message.get("audio")).get("transcript"))
            or as_text(as_mapping(choice.get("error")).get("message")),
            thinking=as_text(message.get("reasoning_content"))
            or as_text(message.get("reasoning"))
            or thinking,
            tool_calls=calls,
            finish_reason=as_text(choice.get("finish_reason")),
            usage=read_openai_usage(counts),
            model=as_text(reply.get("model")),
            known=bool(choices),
            priced=read_audio_tokens(counts),
            cost_usd=read_stated_cost(counts),
            unread=describe_unread_answers(len(choices)),
        )

    def join_events(self, events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
        joiner = _ChunkJoiner()
        for event in events:
            joiner.add_chunk(event)
        return joiner.build_reply(), bool(joiner.finish_reason)


def _split_thinking(content: object) -> tuple[str, str]:
    """Return the text of an answer, and that of its thinking parts (Mistral)."""
    if not isinstance(content, list):
        return as_text(content), ""
    answer, thinking = "", ""
    for part in as_mappings(content):
        if part.get("type") == "thinking":
            thinking += content_text(part.get("thinking"))
        else:
            answer += content_text([part])
    return answer, thinking


class _ChunkJoiner:
    """The chunks of a streamed answer; if there are several answers, those of the first."""

    def __init__(self) -> None:
        self.finish_reason = ""
        self._reply: dict[str, Any] = {}
        self._texts: defaultdict[str, list[str]] = defaultdict(list)
        self._calls: dict[int, dict[str, str]] = {}
        self._others: set[int] = set()
        self._has_choice = False

    def add_chunk(self, event: JsonObject) -> None:
        for key in ("model", "usage", "x_groq"):
            if key in event:
                self._reply[key] = event[key] or self._reply.get(key)
        for choice in as_mappings(event.get("choices")):
            self._has_choice = True
            number = as_token_count(choice.get("index"))
            if number:
                self._others.add(number)
            else:
                self._add_choice(choice)

    def _add_choice(self, choice: JsonObject) -> None:
        self.finish_reason = as_text(choice.get("finish_reason")) or self.finish_reason
        self._append_text("content", choice.get("text"))
        delta = as_mapping(choice.get("delta"))
        for key, piece in delta.items():
            self._append_text(key, piece)
        content = delta.get("content")
        if isinstance(content, list):
            output, thinking = _split_thinking(content)
            self._append_text("content", output)
            self._append_text("reasoning_content", thinking)
        self._append_text("transcript", as_mapping(delta.get("audio")).get("transcript"))
        if "function_call" in delta:
            self._add_tool_call({"index": 0, "function": delta["function_call"]})
        for part in as_mappings(delta.get("tool_calls")):
            self._add_tool_call(part)

    def _append_text(self, key: str, piece: object) -> None:
        if isinstance(piece, str) and piece:
            self._texts[key].append(piece)

    def _add_tool_call(self, part: JsonObject) -> None:
        call_id = as_text(part.get("id"))
        number = as_token_count(part.get("index"))
        if number is None:
            # Servers without an index send a call whole, or give its id in the first piece.
            number = len(self._calls) if call_id or not self._calls else max(self._calls)
        call = self._calls.setdefault(number, {"id": "", "name": "", "arguments": ""})
        function = as_mapping(part.get("function")) or as_mapping(part.get("custom"))
        call["id"] = call["id"] or call_id
        call["name"] += as_text(function.get("name"))
        call["arguments"] += as_text(function.get("arguments")) + as_text(function.get("input"))

    def build_reply(self) -> JsonObject:
        texts = {key: "".join(pieces) for key, pieces in self._texts.items()}
        message = {
            **texts,
            "audio": {"transcript": texts.get("transcript")},
            "tool_calls": [{"id": call["id"], "function": call} for call in self._calls.values()],
        }
        choices = [{"message": message, "finish_reason": self.finish_reason}, *({} for _ in self._others)]
        return {**self._reply, "choices": choices if self._has_choice else []}


def _input_texts(value: object) -> Iterator[str]:
    """Yield the texts to complete or to embed; a list of token ids is only counted."""
    if isinstance(value, str):
        yield value
    elif _is_token_ids(value):
        yield f"[{len(value)} tokens]"
    elif isinstance(value, list):
        for element in value:
            yield f"[{len(element)} tokens]" if _is_token_ids(element) else content_text([element])


def _is_token_ids(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and bool(value) and isinstance(value[0], int)


class _CompletionFormat(_ChatCompletionFormat):
    """Completions of a prompt, with the choices of chat."""

    def read_request(self, request: JsonObject) -> ParsedRequest:
        return ParsedRequest(user_messages(_input_texts(request.get("prompt"))))


class _EmbeddingFormat(CallFormat):
    def read_request(self, request: JsonObject) -> ParsedRequest:
        return ParsedRequest(user_messages(_input_texts(request.get("input"))))

    def read_reply(self, reply: JsonObject) -> ParsedReply:
        data = reply.get("data")
        return ParsedReply(
            output=f"{len(as_mappings(data))} vectors",
            usage=read_openai_usage(as_mapping(reply.get("usage"))),
            model=as_text(reply.get("model")),
            known=isinstance(data, list),
        )


class _ModerationFormat(_EmbeddingFormat):
    """Moderations, with the input of embeddings."""

    def read_reply(self, reply: JsonObject) -> ParsedReply:
        results = as_mappings(reply.get("results"))
        output = "\n".join(map(_format_flags, results))
        return ParsedReply(output=output, model=as_text(reply.get("model")), known=bool(results))


def _format_flags(result: JsonObject) -> str:
    if result.get("flagged") is not True:
        return "not flagged"
    categories = as_mapping(result.get("categories")).items()
    return "flagged: " + ", ".join(name for name, flagged in categories if flagged is True)


CHAT = _ChatCompletionFormat()
COMPLETIONS = _CompletionFormat()
EMBEDDINGS = _EmbeddingFormat()
MODERATIONS = _ModerationFormat()
