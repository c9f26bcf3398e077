"""OpenAI's chat completions, Responses, completions, embeddings and moderations, also of compatible servers."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmops._util.json_values import (
    JsonObject,
    as_mapping,
    as_mappings,
    as_text,
    first_mapping,
    join_texts,
)
from pytest_llmops.protocols import Message, ToolCall, Usage
from pytest_llmops.trace import fields

MAX_USD = 10**6  # a larger number is not a price
# Keys of compatible servers; OpenAI's own is in the details of the input
_CACHED_TOKEN_KEYS = (
    "prompt_cache_hit_tokens",
    "cached_tokens",
    "num_cached_tokens",
    "cached_prompt_text_tokens",
)
_FINAL_EVENTS = ("response.completed", "response.incomplete", "response.failed")
# Keys of a request that refer to messages outside of it
_SERVER_STATE_KEYS = ("previous_response_id", "conversation", "prompt")


def _read_chat_reply(reply: JsonObject) -> fields.ParsedReply:
    choices = as_mappings(reply.get("choices"))
    choice = first_mapping(choices)
    message = as_mapping(choice.get("message"))
    output, thinking = _split_thinking(message.get("content"))
    legacy_call = message.get("function_call")
    calls = [
        *fields.read_chat_tool_calls(message.get("tool_calls")),
        *fields.read_chat_tool_calls([{"function": legacy_call}] if legacy_call else []),
    ]
    counts = as_mapping(reply.get("usage")) or as_mapping(as_mapping(reply.get("x_groq")).get("usage"))
    return fields.ParsedReply(
        output=output
        or as_text(message.get("refusal"))
        or as_text(choice.get("text"))
        or as_text(as_mapping(message.get("audio")).get("transcript"))
        or as_text(as_mapping(choice.get("error")).get("message")),
        thinking=as_text(message.get("reasoning_content")) or as_text(message.get("reasoning")) or thinking,
        tool_calls=calls,
        finish_reason=as_text(choice.get("finish_reason")),
        usage=read_openai_usage(counts),
        model=as_text(reply.get("model")),
        known=bool(choices),
        priced=_read_audio_tokens(counts),
        cost_usd=_read_stated_cost(counts),
        unread=fields.describe_unread_answers(len(choices)),
    )


def _join_chunks(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    """Join the chunks of a streamed answer; if there are several answers, those of the first."""
    reply: dict[str, Any] = {}
    texts: defaultdict[str, list[str]] = defaultdict(list)
    calls: dict[int, dict[str, str]] = {}
    numbers: set[int] = set()
    finish_reason = ""
    for event in events:
        reply |= {key: event[key] or reply.get(key) for key in ("model", "usage", "x_groq") if key in event}
        for choice in as_mappings(event.get("choices")):
            number = fields.as_token_count(choice.get("index")) or 0
            numbers.add(number)
            if number:
                continue
            finish_reason = as_text(choice.get("finish_reason")) or finish_reason
            delta = as_mapping(choice.get("delta"))
            for key, piece in _iterate_pieces(choice, delta):
                texts[key].append(as_text(piece))
            if "function_call" in delta:
                fields.add_tool_call(calls, {"index": 0, "function": delta["function_call"]})
            for part in as_mappings(delta.get("tool_calls")):
                fields.add_tool_call(calls, part)
    whole = {key: "".join(pieces) for key, pieces in texts.items()}
    first = {
        "message": {
            **whole,
            "audio": {"transcript": whole.get("transcript")},
            "tool_calls": [{"id": call["id"], "function": call} for call in calls.values()],
        },
        "finish_reason": finish_reason,
    }
    return {**reply, "choices": [first, *({} for number in numbers if number)] if numbers else []}, bool(
        finish_reason
    )


def _iterate_pieces(choice: JsonObject, delta: JsonObject) -> Iterator[tuple[str, object]]:
    yield "content", choice.get("text")
    yield from delta.items()
    if isinstance(delta.get("content"), list):
        yield from zip(("content", "reasoning_content"), _split_thinking(delta["content"]), strict=True)
    yield "transcript", as_mapping(delta.get("audio")).get("transcript")


def _split_thinking(content: object) -> tuple[str, str]:
    """Return the text of an answer, and that of its thinking parts (Mistral)."""
    if not isinstance(content, list):
        return as_text(content), ""
    answer = ""
    thinking = ""
    for part in as_mappings(content):
        if part.get("type") == "thinking":
            thinking += fields.content_text(part.get("thinking"))
        else:
            answer += fields.content_text([part])
    return answer, thinking


def _read_moderation(reply: JsonObject) -> fields.ParsedReply:
    results = as_mappings(reply.get("results"))
    return fields.ParsedReply(
        output="\n".join(map(_format_flags, results)), model=as_text(reply.get("model")), known=bool(results)
    )


def _format_flags(result: JsonObject) -> str:
    if result.get("flagged") is not True:
        return "not flagged"
    return "flagged: " + ", ".join(
        name for name, flagged in as_mapping(result.get("categories")).items() if flagged is True
    )


def _read_responses_request(request: JsonObject) -> fields.ParsedRequest:
    instructions = request.get("instructions")
    if instructions:
        messages = [Message("system", as_text(instructions))]
    else:
        messages = []
    messages += _read_input(request.get("input"))
    unread = [f"messages kept by the server ({key})" for key in _SERVER_STATE_KEYS if request.get(key)]
    tools = []
    for entry in as_mappings(request.get("tools")):
        tool = as_mapping(entry.get("function")) or entry
        name = as_text(tool.get("name")) or as_text(tool.get("server_label")) or as_text(tool.get("type"))
        tools.append(fields.tool_definition(name, tool.get("description"), tool.get("parameters")))
    return fields.ParsedRequest(messages, tools, unread)


def _read_responses_reply(reply: JsonObject) -> fields.ParsedReply:
    output = as_mappings(reply.get("output"))
    answers = list[JsonObject]()
    thoughts = list[JsonObject]()
    for item in output:
        if item.get("type") == "message":
            answers += as_mappings(item.get("content"))
        elif item.get("type") == "reasoning":
            thoughts += as_mappings(item.get("summary")) or as_mappings(item.get("content"))
    return fields.ParsedReply(
        output="".join(as_text(part.get("text")) or as_text(part.get("refusal")) for part in answers),
        thinking=join_texts(thoughts, separator="\n"),
        tool_calls=[_read_call(item) for item in output if as_text(item.get("type")).endswith("_call")],
        finish_reason=as_text(as_mapping(reply.get("incomplete_details")).get("reason"))
        or as_text(reply.get("status")),
        usage=read_openai_usage(as_mapping(reply.get("usage"))),
        model=as_text(reply.get("model")),
        known=isinstance(reply.get("output"), list),
    )


def _join_responses(events: Sequence[JsonObject]) -> tuple[JsonObject, bool]:
    final_events = [event for event in events if event.get("type") in _FINAL_EVENTS]
    if final_events:
        last = as_mapping(final_events[-1].get("response"))
    else:
        last = next(filter(None, (as_mapping(event.get("response")) for event in reversed(events))), {})
    if as_mappings(last.get("output")):
        return last, bool(final_events)
    output = _join_output_items(events)
    return ({**last, "output": output} if last or output else {}), bool(final_events)


def _read_input(value: object) -> Iterator[Message]:
    if isinstance(value, str):
        yield Message("user", value)
    for item in as_mappings(value):
        kind = as_text(item.get("type"))
        if kind.endswith("_call_output"):
            yield Message("tool", fields.content_text(item.get("output")))
        elif "content" in item and kind in ("", "message"):
            yield Message(fields.as_role(item.get("role")), fields.content_text(item.get("content")))
        elif kind.endswith("_call"):
            yield Message("assistant", fields.format_tool_call(_read_call(item)))
        else:
            yield Message("assistant", f"[{kind or 'item'}]")


def _read_call(item: JsonObject) -> ToolCall:
    """Read a call of a function, or of a built-in tool, which is named by the type of its call."""
    return ToolCall(
        name=as_text(item.get("name")) or as_text(item.get("type")).removesuffix("_call"),
        arguments=next(
            (
                fields.arguments_json(item[key])
                for key in ("arguments", "input", "action", "queries", "code")
                if item.get(key)
            ),
            "",
        ),
        id=as_text(item.get("call_id")) or as_text(item.get("id")),
    )


def _join_output_items(events: Sequence[JsonObject]) -> list[JsonObject]:
    """Return the output items of a stream: complete items, and the text so far of the others."""
    complete: dict[int, JsonObject] = {}
    texts: dict[int, str] = {}
    for event in events:
        number = fields.as_token_count(event.get("output_index")) or 0
        kind = event.get("type")
        if kind == "response.output_item.done":
            complete[number] = as_mapping(event.get("item"))
        elif kind in ("response.output_text.delta", "response.refusal.delta"):
            texts[number] = texts.get(number, "") + as_text(event.get("delta"))
    partial = {number: {"type": "message", "content": [{"text": text}]} for number, text in texts.items()}
    return fields.join_blocks({**partial, **complete})


def read_openai_usage(counts: JsonObject) -> Usage:
    """Read the token counts of a reply of chat completions or Responses."""
    input_details = as_mapping(counts.get("prompt_tokens_details")) or as_mapping(
        counts.get("input_tokens_details")
    )
    output_details = as_mapping(counts.get("completion_tokens_details")) or as_mapping(
        counts.get("output_tokens_details")
    )
    input_tokens = fields.as_token_count(counts.get("prompt_tokens", counts.get("input_tokens")))
    output_tokens = fields.as_token_count(counts.get("completion_tokens", counts.get("output_tokens")))
    reasoning = fields.as_token_count(output_details.get("reasoning_tokens", counts.get("reasoning_tokens")))
    all_tokens = fields.sum_known_counts(input_tokens, output_tokens, reasoning)
    if reasoning and fields.as_token_count(counts.get("total_tokens")) == all_tokens:
        # xAI counts reasoning beside the answer, not as part of it; its total shows that.
        output_tokens = fields.sum_known_counts(output_tokens, reasoning)
    cached = fields.as_token_count(input_details.get("cached_tokens"))
    if cached is None:
        cached = fields.as_token_count(
            next((counts[key] for key in _CACHED_TOKEN_KEYS if key in counts), None)
        )
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached,
        cache_write_tokens=fields.as_token_count(input_details.get("cache_write_tokens")),
        reasoning_tokens=reasoning,
    )


def _read_audio_tokens(counts: JsonObject) -> dict[str, int]:
    """Return the token counts of audio, which has its own price; without those that are 0."""
    details = {
        "input_audio_tokens": as_mapping(counts.get("prompt_tokens_details")),
        "output_audio_tokens": as_mapping(counts.get("completion_tokens_details")),
    }
    tokens = {name: fields.as_token_count(detail.get("audio_tokens")) for name, detail in details.items()}
    return {name: number for name, number in tokens.items() if number}


def _read_stated_cost(counts: JsonObject) -> float | None:
    """Return the cost of a call in US dollars as OpenRouter states it, or None."""
    cost = counts.get("cost")
    if not isinstance(cost, (int, float)) or isinstance(cost, bool) or not 0 <= cost <= MAX_USD:
        return None
    return float(cost)


CHAT = fields.CallFormat(fields.read_chat_request, _read_chat_reply, _join_chunks)
COMPLETIONS = fields.CallFormat(fields.read_input, _read_chat_reply, _join_chunks)
EMBEDDINGS = fields.CallFormat(
    fields.read_input,
    lambda reply: fields.embedding_reply(reply, read_openai_usage(as_mapping(reply.get("usage")))),
)
MODERATIONS = fields.CallFormat(fields.read_input, _read_moderation)
RESPONSES = fields.CallFormat(_read_responses_request, _read_responses_reply, _join_responses)
