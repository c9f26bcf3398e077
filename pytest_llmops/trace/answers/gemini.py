"""Answers in the format of Gemini's generateContent and streamGenerateContent."""

from collections.abc import Iterable, Iterator
from urllib.parse import parse_qs

from pytest_llmops._util.json_values import get_mapping
from pytest_llmops.protocols import ToolCall, Usage
from pytest_llmops.trace.answers.encoder import (
    Encoder,
    Event,
    Question,
    choose_reason,
    dump_json,
    pack_data_lines,
    read_arguments,
    split_text,
    subtract_counts,
    sum_or_none,
)
from pytest_llmops.trace.answers.traced_answer import TracedAnswer, UnsupportedFormat

_WORDS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}
_REASONS = (
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
)


def _encode_reply(question: Question, answer: TracedAnswer) -> Event:
    parts = []
    if answer.text or not answer.tool_calls:
        parts.append({"text": answer.text})
    parts += map(_write_call, answer.tool_calls)
    return _make_chunk(question, answer, parts, is_last=True)


def _encode_events(question: Question, answer: TracedAnswer) -> Iterator[Event]:
    for piece in split_text(answer.text):
        yield _make_chunk(question, answer, [{"text": piece}], is_last=False)
    parts = [_write_call(call) for call in answer.tool_calls]
    yield _make_chunk(question, answer, parts or [{"text": ""}], is_last=True)


def _pack_events(question: Question, events: Iterable[Event]) -> bytes:
    """Return server-sent events, as all SDKs ask for them; an array without ``alt=sse``."""
    if _asks_for_lines(question):
        return pack_data_lines(events).replace(b"\n", b"\r\n")
    return ("[" + ",\r\n".join(map(dump_json, events)) + "]").encode()


def _asks_for_lines(question: Question) -> bool:
    return parse_qs(question.query).get("alt") == ["sse"]


def _is_streamed(question: Question) -> bool:
    return question.path.endswith(":streamGenerateContent")


def _make_chunk(question: Question, answer: TracedAnswer, parts: list[Event], *, is_last: bool) -> Event:
    """Return a reply, or an event of a stream; the last one has finish reason and tokens.

    Raises:
        UnsupportedFormat: The request wants several answers.
    """
    asked = get_mapping(question.body, "generationConfig").get("candidateCount")
    if isinstance(asked, int) and asked > 1:
        raise UnsupportedFormat(f"the request wants {asked} answers (candidateCount), a trace has one")
    candidate: Event = {"content": {"role": "model", "parts": parts}, "index": 0}
    chunk: Event = {"candidates": [candidate]}
    if is_last:
        candidate["finishReason"] = choose_reason(answer, _WORDS, _REASONS)
        counts = _write_usage(answer.usage)
        if counts:
            chunk["usageMetadata"] = counts
    return {
        **chunk,
        "modelVersion": answer.model or question.model,
        "responseId": question.make_id("", answer, chars=22),
    }


def _write_call(call: ToolCall) -> Event:
    function: Event = {"name": call.name, "args": read_arguments(call)}
    if call.id:
        function["id"] = call.id
    return {"functionCall": function}


def _write_usage(usage: Usage) -> Event:
    """Return the known tokens; Gemini counts thoughts apart from the answer."""
    counts = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": subtract_counts(usage.output_tokens, usage.reasoning_tokens),
        "thoughtsTokenCount": usage.reasoning_tokens,
        "cachedContentTokenCount": usage.cached_tokens,
        "totalTokenCount": sum_or_none(usage.input_tokens, usage.output_tokens),
    }
    return {name: count for name, count in counts.items() if count is not None}


ENCODER = Encoder(_encode_reply, _encode_events, _pack_events, _is_streamed)
