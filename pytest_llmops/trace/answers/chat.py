"""Answers in the format of OpenAI's chat completions, which many servers speak."""

from collections.abc import Iterable, Iterator
from typing import Any

from pytest_llmops._util.json_values import get_mapping, get_mappings, get_text
from pytest_llmops.protocols import ToolCall, Usage
from pytest_llmops.trace.answers.encoder import (
    Encoder,
    Event,
    Question,
    asks_for_stream,
    choose_reason,
    name_tool_calls,
    pack_data_lines,
    split_text,
    sum_or_none,
)
from pytest_llmops.trace.answers.traced_answer import TracedAnswer, UnsupportedFormat

_REASONS = ("stop", "length", "tool_calls", "content_filter", "function_call")
_WORDS = {reason: reason for reason in _REASONS}
_DONE = b"data: [DONE]\n\n"


def _encode_reply(question: Question, answer: TracedAnswer) -> Event:
    answer = _prepare(question, answer)
    custom = _list_custom_tools(question)
    message: Event = {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []}
    if answer.tool_calls:
        message["content"] = answer.text or None
        message["tool_calls"] = [_write_call(call, custom) for call in answer.tool_calls]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": choose_reason(answer, _WORDS, _REASONS),
    }
    reply = {**_make_head(question, answer), "object": "chat.completion", "choices": [choice]}
    if answer.usage != Usage():
        reply["usage"] = _write_usage(answer.usage)
    return reply


def _encode_events(question: Question, answer: TracedAnswer) -> Iterator[Event]:
    answer = _prepare(question, answer)
    options = get_mapping(question.body, "stream_options")
    has_usage = options.get("include_usage") is True
    head = {**_make_head(question, answer), "object": "chat.completion.chunk"}
    if has_usage:
        head["usage"] = None
    reason = choose_reason(answer, _WORDS, _REASONS)
    for delta in _list_deltas(question, answer):
        yield {**head, "choices": [_make_choice(delta, None)]}
    yield {**head, "choices": [_make_choice({}, reason)]}
    if has_usage:
        yield {**head, "choices": [], "usage": _write_usage(answer.usage)}


def _pack_events(_question: Question, events: Iterable[Event]) -> bytes:
    return pack_data_lines(events) + _DONE


def _prepare(question: Question, answer: TracedAnswer) -> TracedAnswer:
    """Return the answer with the ids of its calls.

    Raises:
        UnsupportedFormat: The request needs something that no trace holds.
    """
    asked = question.body.get("n")
    if isinstance(asked, int) and asked > 1:
        raise UnsupportedFormat(f"the request wants {asked} answers (n), a trace has one")
    if "functions" in question.body and answer.tool_calls:
        raise UnsupportedFormat("the request has the deprecated field functions; expected tools")
    return name_tool_calls(question, answer, "call_")


def _list_custom_tools(question: Question) -> set[str]:
    """Return the names of the tools that take a text instead of JSON."""
    tools = get_mappings(question.body, "tools")
    return {get_text(get_mapping(tool, "custom"), "name") for tool in tools if tool.get("type") == "custom"}


def _make_head(question: Question, answer: TracedAnswer) -> Event:
    return {
        "id": question.make_id("chatcmpl-", answer),
        "created": 0,
        "model": answer.model or question.model,
        "system_fingerprint": None,
    }


def _write_call(call: ToolCall, custom: set[str]) -> Event:
    if call.name in custom:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _list_deltas(question: Question, answer: TracedAnswer) -> Iterator[Event]:
    """Yield the deltas of a stream: role, then pieces of the text, then of each tool call."""
    custom = _list_custom_tools(question)
    content = "" if answer.text or not answer.tool_calls else None
    yield {"role": "assistant", "content": content, "refusal": None}
    for piece in split_text(answer.text):
        yield {"content": piece}
    for number, call in enumerate(answer.tool_calls):
        key, field = ("custom", "input") if call.name in custom else ("function", "arguments")
        start = {"index": number, "id": call.id, "type": key, key: {"name": call.name, field: ""}}
        yield {"tool_calls": [start]}
        for piece in split_text(call.arguments):
            yield {"tool_calls": [{"index": number, key: {field: piece}}]}


def _make_choice(delta: Event, reason: str | None) -> Event:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


def _write_usage(usage: Usage) -> Event:
    """Return the tokens; a count that the trace lacks is null, or is left out where the format allows it."""
    counts: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": sum_or_none(usage.input_tokens, usage.output_tokens),
    }
    input_details = {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens}
    output_details = {"reasoning_tokens": usage.reasoning_tokens}
    for key, details in (
        ("prompt_tokens_details", input_details),
        ("completion_tokens_details", output_details),
    ):
        known = {name: count for name, count in details.items() if count is not None}
        if known:
            counts[key] = known
    return counts


ENCODER = Encoder(_encode_reply, _encode_events, _pack_events, asks_for_stream)
