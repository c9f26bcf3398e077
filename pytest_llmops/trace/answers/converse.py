"""Answers in the format of Bedrock's converse."""

from collections.abc import Iterable, Iterator

from pytest_llmops.protocols import ToolCall, Usage
from pytest_llmops.trace.answers.encoder import (
    JSON,
    Encoder,
    Event,
    Question,
    choose_reason,
    dump_json,
    name_tool_calls,
    read_arguments,
    split_text,
    subtract_counts,
    sum_or_none,
)
from pytest_llmops.trace.answers.traced_answer import TracedAnswer
from pytest_llmops.wire.aws_event_stream import Frame, pack_frames

EVENT_STREAM = "application/vnd.amazon.eventstream"
_WORDS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
}
_REASONS = (*_WORDS.values(), "stop_sequence", "guardrail_intervened", "model_context_window_exceeded")


def _encode_reply(question: Question, answer: TracedAnswer) -> Event:
    answer = name_tool_calls(question, answer, "tooluse_")
    blocks: list[Event] = []
    if answer.text or not answer.tool_calls:
        blocks.append({"text": answer.text})
    for call in answer.tool_calls:
        blocks.append({"toolUse": {**_name_call(call), "input": read_arguments(call)}})
    return {
        "output": {"message": {"role": "assistant", "content": blocks}},
        "stopReason": choose_reason(answer, _WORDS, _REASONS),
        "usage": _write_usage(answer.usage),
        "metrics": {"latencyMs": 0},
    }


def _encode_events(question: Question, answer: TracedAnswer) -> Iterator[Event]:
    answer = name_tool_calls(question, answer, "tooluse_")
    yield {"messageStart": {"role": "assistant"}}
    number = 0
    if answer.text or not answer.tool_calls:
        for piece in split_text(answer.text):
            yield _make_delta(number, {"text": piece})
        yield {"contentBlockStop": {"contentBlockIndex": number}}
        number += 1
    for call in answer.tool_calls:
        read_arguments(call)  # refuses an answer that a reply without a stream could not hold
        start = {"toolUse": _name_call(call)}
        yield {"contentBlockStart": {"contentBlockIndex": number, "start": start}}
        for piece in split_text(call.arguments.strip() or "{}"):
            yield _make_delta(number, {"toolUse": {"input": piece}})
        yield {"contentBlockStop": {"contentBlockIndex": number}}
        number += 1
    yield {"messageStop": {"stopReason": choose_reason(answer, _WORDS, _REASONS)}}
    yield {"metadata": {"usage": _write_usage(answer.usage), "metrics": {"latencyMs": 0}}}


def _pack_events(_question: Question, events: Iterable[Event]) -> bytes:
    """Return the frames of events, each of which has one key: its name."""
    return pack_frames(make_frame(name, payload) for event in events for name, payload in event.items())


def make_frame(name: str, payload: Event) -> Frame:
    """Return the frame of an event."""
    headers = {":event-type": name, ":content-type": JSON, ":message-type": "event"}
    return Frame(headers, dump_json(payload).encode())


def _is_streamed(question: Question) -> bool:
    return question.path.endswith("/converse-stream")


def _make_delta(number: int, delta: Event) -> Event:
    return {"contentBlockDelta": {"contentBlockIndex": number, "delta": delta}}


def _name_call(call: ToolCall) -> Event:
    return {"toolUseId": call.id, "name": call.name}


def _write_usage(usage: Usage) -> Event:
    """Return the known tokens; the input excludes tokens of the cache."""
    counts = {
        "inputTokens": subtract_counts(usage.input_tokens, usage.cached_tokens, usage.cache_write_tokens),
        "outputTokens": usage.output_tokens,
        "totalTokens": sum_or_none(usage.input_tokens, usage.output_tokens),
        "cacheReadInputTokens": usage.cached_tokens,
        "cacheWriteInputTokens": usage.cache_write_tokens,
    }
    return {name: count for name, count in counts.items() if count is not None}


ENCODER = Encoder(_encode_reply, _encode_events, _pack_events, _is_streamed, EVENT_STREAM)
