"""Answers in the format of Ollama's chat: one object, or lines of JSON."""

from collections.abc import Iterable, Iterator

from pytest_llmops.protocols import ToolCall
from pytest_llmops.trace.answers.encoder import (
    Encoder,
    Event,
    Question,
    choose_reason,
    dump_json,
    read_arguments,
    split_text,
)
from pytest_llmops.trace.answers.traced_answer import TracedAnswer

_WORDS = {"stop": "stop", "length": "length", "tool_calls": "stop", "content_filter": "stop"}


def _encode_reply(question: Question, answer: TracedAnswer) -> Event:
    message: Event = {"role": "assistant", "content": answer.text}
    if answer.tool_calls:
        message["tool_calls"] = [_write_call(call) for call in answer.tool_calls]
    return _make_last_line(question, answer, message)


def _encode_events(question: Question, answer: TracedAnswer) -> Iterator[Event]:
    head = _make_head(question, answer)
    for piece in split_text(answer.text):
        yield {**head, "message": {"role": "assistant", "content": piece}, "done": False}
    if answer.tool_calls:
        calls = [_write_call(call) for call in answer.tool_calls]
        yield {
            **head,
            "message": {"role": "assistant", "content": "", "tool_calls": calls},
            "done": False,
        }
    yield _make_last_line(question, answer, {"role": "assistant", "content": ""})


def _pack_events(_question: Question, events: Iterable[Event]) -> bytes:
    return "".join(f"{dump_json(event)}\n" for event in events).encode()


def _is_streamed(question: Question) -> bool:
    """Return whether an answer is streamed: Ollama streams unless the request sets ``stream`` to false."""
    return question.body.get("stream") is not False


def _make_head(question: Question, answer: TracedAnswer) -> Event:
    return {"model": answer.model or question.model, "created_at": "1970-01-01T00:00:00Z"}


def _make_last_line(question: Question, answer: TracedAnswer, message: Event) -> Event:
    line = {
        **_make_head(question, answer),
        "message": message,
        "done_reason": choose_reason(answer, _WORDS, tuple(_WORDS.values())),
        "done": True,
        "prompt_eval_count": answer.usage.input_tokens,
        "eval_count": answer.usage.output_tokens,
    }
    return {name: value for name, value in line.items() if value is not None}


def _write_call(call: ToolCall) -> Event:
    written: Event = {"function": {"name": call.name, "arguments": read_arguments(call)}}
    if call.id:
        written["id"] = call.id
    return written


ENCODER = Encoder(_encode_reply, _encode_events, _pack_events, _is_streamed, "application/x-ndjson")
