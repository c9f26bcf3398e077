"""Answers in the format of Anthropic's messages."""

from collections.abc import Iterator

from pytest_llmops._util.json_values import get_mappings, get_text
from pytest_llmops.protocols import ToolCall, Usage
from pytest_llmops.trace.answers.encoder import (
    Encoder,
    Event,
    Question,
    asks_for_stream,
    choose_reason,
    name_tool_calls,
    pack_named_events,
    read_arguments,
    split_text,
    subtract_counts,
)
from pytest_llmops.trace.answers.traced_answer import TracedAnswer, UnsupportedFormat

_WORDS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_REASONS = (*_WORDS.values(), "stop_sequence", "pause_turn", "model_context_window_exceeded")
# Tools that Anthropic runs itself: their results are part of the answer, which no trace holds whole
_HOSTED = ("web_search_", "web_fetch_", "code_execution_", "tool_search_", "mcp_toolset")


def _encode_reply(question: Question, answer: TracedAnswer) -> Event:
    answer = _prepare(question, answer)
    return _make_message(question, answer, choose_reason(answer, _WORDS, _REASONS), _list_blocks(answer))


def _encode_events(question: Question, answer: TracedAnswer) -> Iterator[Event]:
    answer = _prepare(question, answer)
    counts = _write_usage(answer.usage)
    start = _make_message(question, answer, None, [])
    if counts["output_tokens"]:
        start["usage"] = {**counts, "output_tokens": 0}
    yield {"type": "message_start", "message": start}
    for number, (block, deltas) in enumerate(_list_streamed_blocks(answer)):
        yield {"type": "content_block_start", "index": number, "content_block": block}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": number, "delta": delta}
        yield {"type": "content_block_stop", "index": number}
    reason = choose_reason(answer, _WORDS, _REASONS)
    ended = {"stop_reason": reason, "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": counts}
    yield {"type": "message_stop"}


def _prepare(question: Question, answer: TracedAnswer) -> TracedAnswer:
    """Return the answer with the ids of its calls.

    Raises:
        UnsupportedFormat: It calls a tool that Anthropic runs itself.
    """
    hosted = set()
    for tool in get_mappings(question.body, "tools"):
        if get_text(tool, "type").startswith(_HOSTED):
            hosted.add(get_text(tool, "name"))
    for call in answer.tool_calls:
        if call.name in hosted:
            raise UnsupportedFormat(f"the answer calls {call.name}, whose result a trace does not hold whole")
    return name_tool_calls(question, answer, "toolu_")


def _make_message(question: Question, answer: TracedAnswer, reason: str | None, blocks: list[Event]) -> Event:
    return {
        "id": question.make_id("msg_", answer),
        "type": "message",
        "role": "assistant",
        "model": answer.model or question.model,
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": _write_usage(answer.usage),
    }


def _list_blocks(answer: TracedAnswer) -> list[Event]:
    blocks: list[Event] = []
    if answer.text:
        blocks.append({"type": "text", "text": answer.text})
    blocks += map(_write_call, answer.tool_calls)
    return blocks


def _write_call(call: ToolCall) -> Event:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": read_arguments(call)}


def _list_streamed_blocks(answer: TracedAnswer) -> Iterator[tuple[Event, list[Event]]]:
    """Yield each block as a stream starts it, with the deltas that fill it."""
    if answer.text:
        pieces = split_text(answer.text)
        yield {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces]
    for call in answer.tool_calls:
        block = {**_write_call(call), "input": {}}
        pieces = split_text(call.arguments.strip())
        yield block, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


def _write_usage(usage: Usage) -> Event:
    """Return the tokens; the input excludes tokens of the cache. A count that the trace lacks is null, or left out if optional."""
    counts: Event = {
        "input_tokens": subtract_counts(usage.input_tokens, usage.cached_tokens, usage.cache_write_tokens),
        "output_tokens": usage.output_tokens,
    }
    if usage.cached_tokens is not None:
        counts["cache_read_input_tokens"] = usage.cached_tokens
    if usage.cache_write_tokens is not None:
        counts["cache_creation_input_tokens"] = usage.cache_write_tokens
    if usage.reasoning_tokens is not None:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return counts


ENCODER = Encoder(_encode_reply, _encode_events, pack_named_events, asks_for_stream)
