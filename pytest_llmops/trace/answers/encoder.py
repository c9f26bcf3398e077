"""Helpers of the encoders of all wire formats: ids, pieces of a text, finish reasons, arguments as JSON."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from pytest_llmops._util.json_values import JsonObject, parse_json
from pytest_llmops._util.text_files import fingerprint_parts
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import ToolCall
from pytest_llmops.trace.answers.traced_answer import TracedAnswer, UnsupportedFormat

PIECE_CHARS = 24  # characters of a text in one event of a stream, about
MAX_PIECES = 200  # events that a text is split into
MAX_NAME_CHARS = 80
SSE = "text/event-stream; charset=utf-8"
JSON = "application/json"
# Finish reasons of all vendors and of OpenTelemetry, in lower case -> finish reasons of OpenAI's chat completions
_NEUTRAL_REASONS = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "completed": "stop",
    "complete": "stop",
    "finish_reason_stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_context_window_exceeded": "length",
    "incomplete": "length",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "refusal": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "blocklist": "content_filter",
    "prohibited_content": "content_filter",
    "spii": "content_filter",
}

Event: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """A request, as far as its answer depends on it.

    Attributes:
        path: The path of its address.
        query: What follows the path.
        body: Its body.
        model: The model in it.
        seed: A text that is another one for each request, for ids.
    """

    path: str
    query: str
    body: JsonObject
    model: str
    seed: str

    def make_id(self, prefix: str, *parts: object, chars: int = 24) -> str:
        """Return an id that follows from the request and these parts.

        >>> Question("/", "", {}, "m", "").make_id("call_", 0)
        'call_1dec49fcb20b2578d3579e18'
        """
        texts = [str(part) for part in parts]
        digits = fingerprint_parts(self.seed, *texts) + fingerprint_parts(prefix, self.seed, *texts)
        return f"{prefix}{digits[:chars]}"


@dataclass(frozen=True, slots=True)
class Encoder:
    """The writers of a wire format.

    Attributes:
        encode_reply: Returns the whole reply.
        encode_events: Returns the events of the reply as a stream.
        pack_events: Returns the bytes of the events.
        is_streamed: Returns whether a request is answered by a stream.
        stream_type: The content type of a stream.
    """

    encode_reply: Callable[[Question, TracedAnswer], JsonObject]
    encode_events: Callable[[Question, TracedAnswer], Iterable[Event]]
    pack_events: Callable[[Question, Iterable[Event]], bytes]
    is_streamed: Callable[[Question], bool]
    stream_type: str = SSE


def asks_for_stream(question: Question) -> bool:
    """Return whether the body of a request wants a stream."""
    return question.body.get("stream") is True


def dump_json(value: object) -> str:
    """Return a value as JSON text, in ASCII: the SDKs of vendors read any text in it, and any line."""
    return json.dumps(value, separators=(",", ":"))


def pack_data_lines(events: Iterable[Event]) -> bytes:
    r"""Return server-sent events without names.

    >>> pack_data_lines([{"a": 1}])
    b'data: {"a":1}\n\n'
    """
    return "".join(f"data: {dump_json(event)}\n\n" for event in events).encode()


def pack_named_events(_question: Question, events: Iterable[Event]) -> bytes:
    """Return server-sent events; the name of each is its ``type``."""
    lines = [f"event: {event['type']}\ndata: {dump_json(event)}\n\n" for event in events]
    return "".join(lines).encode()


def split_text(text: str) -> Iterator[str]:
    """Yield the pieces of a text, as a stream has them; none of an empty text.

    >>> list(split_text("The order A-1 is on its way to you."))
    ['The order A-1 is on its ', 'way to you.']
    """
    size = max(PIECE_CHARS, math.ceil(len(text) / MAX_PIECES))
    start = 0
    while start < len(text):
        end = start + size
        space = text.rfind(" ", start, end)
        if end < len(text) and space > start:
            end = space + 1
        yield text[start:end]
        start = end


def choose_reason(answer: TracedAnswer, words: Mapping[str, str], own: Sequence[str]) -> str:
    """Return the finish reason of an answer in the words of a format.

    Args:
        answer: The answer; one without a reason, or with an unknown one, stopped, or calls tools.
        words: Reason in the words of OpenAI's chat completions -> reason in the words of the format.
        own: All reasons that the format knows: they are kept.
    """
    if answer.finish_reason in own:
        return answer.finish_reason
    neutral = _NEUTRAL_REASONS.get(answer.finish_reason.lower(), "stop")
    if neutral == "stop" and answer.tool_calls:
        neutral = "tool_calls"
    return words[neutral]


def name_tool_calls(question: Question, answer: TracedAnswer, prefix: str) -> TracedAnswer:
    """Return an answer in which each tool call has an id; made ones follow from the request, and from the place of the call."""
    calls = []
    for number, call in enumerate(answer.tool_calls):
        call_id = call.id or question.make_id(prefix, number, call.name, call.arguments)
        calls.append(replace(call, id=call_id))
    return replace(answer, tool_calls=tuple(calls))


def read_arguments(call: ToolCall) -> JsonObject:
    """Return the arguments of a tool call as an object; {} if it has none.

    Raises:
        UnsupportedFormat: They are not the JSON text of an object.
    """
    if not call.arguments.strip():
        return {}
    value = parse_json(call.arguments)
    if isinstance(value, dict) and _is_finite(value):
        return value
    name = shorten_text(call.name, MAX_NAME_CHARS)
    given = shorten_text(call.arguments, MAX_NAME_CHARS)
    raise UnsupportedFormat(f"arguments of the tool call {name}: expected a JSON object, got {given}")


def _is_finite(value: JsonObject) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return True


def sum_or_none(first: int | None, second: int | None) -> int | None:
    """Return the sum of two counts; None if one of them is not known."""
    if first is None or second is None:
        return None
    return first + second


def subtract_counts(total: int | None, *parts: int | None) -> int | None:
    """Return the rest of a count without its known parts, at least 0; None if it is not known.

    >>> subtract_counts(10, 3, None), subtract_counts(None, 3), subtract_counts(1, 3)
    (7, None, 0)
    """
    if total is None:
        return None
    return max(0, total - sum(part or 0 for part in parts))
