"""Answers in the format of OpenAI's Responses."""

from collections.abc import Iterator

from pytest_llmops._util.json_values import get_mapping, get_mappings, get_text
from pytest_llmops.protocols import ToolCall, Usage
from pytest_llmops.trace.answers.encoder import (
    Encoder,
    Event,
    Question,
    asks_for_stream,
    choose_reason,
    name_tool_calls,
    pack_named_events,
    split_text,
    sum_or_none,
)
from pytest_llmops.trace.answers.traced_answer import TracedAnswer, UnsupportedFormat

_WORDS = {
    "stop": "completed",
    "length": "max_output_tokens",
    "tool_calls": "completed",
    "content_filter": "content_filter",
}
_REASONS = tuple(_WORDS.values())
# Fields of a request that a response repeats, with the value of a request without them
_REPEATED: Event = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": None,
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
# Types of tools that the application runs itself; the items of others are not in a trace
_RUN_BY_APPLICATION = ("function", "custom", "mcp")


def _encode_reply(question: Question, answer: TracedAnswer) -> Event:
    answer = _prepare(question, answer)
    return _make_response(question, answer, _list_items(question, answer))


def _encode_events(question: Question, answer: TracedAnswer) -> Iterator[Event]:
    for number, event in enumerate(_list_events(question, _prepare(question, answer))):
        yield {**event, "sequence_number": number}


def _list_events(question: Question, answer: TracedAnswer) -> Iterator[Event]:
    items = _list_items(question, answer)
    done = _make_response(question, answer, items)
    begun = {**done, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for number, item in enumerate(items):
        where = {"item_id": item["id"], "output_index": number}
        started = {**item, "status": "in_progress"}
        if item["type"] == "message":
            yield _add_item(number, {**started, "content": []})
            yield from _stream_text({**where, "content_index": 0}, item["content"][0])
        elif item["type"] == "function_call":
            yield _add_item(number, {**started, "arguments": ""})
            yield from _stream_input("function_call_arguments", where, item["arguments"])
            done_event = {"arguments": item["arguments"], "name": item["name"]}
            yield {"type": "response.function_call_arguments.done", **where, **done_event}
        else:
            yield _add_item(number, {**started, "input": ""})
            yield from _stream_input("custom_tool_call_input", where, item["input"])
            yield {"type": "response.custom_tool_call_input.done", **where, "input": item["input"]}
        yield {"type": "response.output_item.done", "output_index": number, "item": item}
    yield {"type": f"response.{done['status']}", "response": done}


def _add_item(number: int, item: Event) -> Event:
    return {"type": "response.output_item.added", "output_index": number, "item": item}


def _stream_text(where: Event, part: Event) -> Iterator[Event]:
    yield {"type": "response.content_part.added", **where, "part": {**part, "text": ""}}
    for piece in split_text(part["text"]):
        yield {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **where, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **where, "part": part}


def _stream_input(kind: str, where: Event, text: str) -> Iterator[Event]:
    """Yield the pieces of the arguments of a tool call."""
    for piece in split_text(text):
        yield {"type": f"response.{kind}.delta", **where, "delta": piece}


def _prepare(question: Question, answer: TracedAnswer) -> TracedAnswer:
    """Return the answer with the ids of its calls.

    Raises:
        UnsupportedFormat: It calls a tool that the server runs itself.
    """
    tools = get_mappings(question.body, "tools")
    own = {get_text(tool, "name") for tool in tools}
    hosted = {get_text(tool, "type") for tool in tools} - set(_RUN_BY_APPLICATION)
    for call in answer.tool_calls:
        if call.name in hosted - own:
            raise UnsupportedFormat(
                f"the answer calls {call.name}, a tool of the server, of which a trace does not hold the whole item"
            )
    return name_tool_calls(question, answer, "call_")


def _list_items(question: Question, answer: TracedAnswer) -> list[Event]:
    tools = get_mappings(question.body, "tools")
    custom = {get_text(tool, "name") for tool in tools if tool.get("type") == "custom"}
    items = []
    if answer.text or not answer.tool_calls:
        item_id = question.make_id("msg_", answer)
        items.append(_write_message(item_id, answer.text))
    for number, call in enumerate(answer.tool_calls):
        item_id = question.make_id("fc_", number, answer)
        is_custom = call.name in custom
        items.append(_write_call(item_id, call, is_custom=is_custom))
    return items


def _write_message(item_id: str, text: str) -> Event:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {"id": item_id, "type": "message", "role": "assistant", "status": "completed"}
    return {**item, "content": [part]}


def _write_call(item_id: str, call: ToolCall, *, is_custom: bool) -> Event:
    item = {"id": item_id, "call_id": call.id, "name": call.name, "status": "completed"}
    if is_custom:
        return {**item, "type": "custom_tool_call", "input": call.arguments}
    return {**item, "type": "function_call", "arguments": call.arguments}


def _make_response(question: Question, answer: TracedAnswer, items: list[Event]) -> Event:
    reason = choose_reason(answer, _WORDS, _REASONS)
    status = "completed"
    details = None
    if reason != "completed":
        status = "incomplete"
        details = {"reason": reason}
    repeated = {name: question.body.get(name, value) for name, value in _REPEATED.items()}
    text = get_mapping(repeated, "text")
    repeated["text"] = {"format": {"type": "text"}, **text}
    return {
        **repeated,
        "id": question.make_id("resp_", answer),
        "object": "response",
        "created_at": 0,
        "status": status,
        "error": None,
        "incomplete_details": details,
        "model": answer.model or question.model,
        "output": items,
        "usage": _write_usage(answer.usage),
    }


def _write_usage(usage: Usage) -> Event | None:
    """Return the tokens; a count that the trace lacks is null. None if it has none."""
    if usage == Usage():
        return None
    input_details = {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens}
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": input_details,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": sum_or_none(usage.input_tokens, usage.output_tokens),
    }


ENCODER = Encoder(_encode_reply, _encode_events, pack_named_events, asks_for_stream)
