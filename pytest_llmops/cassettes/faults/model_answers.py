"""Makes the faulty answer to a call of a model: an answer in the format of its vendor, a status, or a broken connection.

It is made only from the request, never from a recording. When an answer is recorded for the first time, no recording exists
yet, and a replay must give the application the same answer as then, or its next request would not be found.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmops._util.json_values import JsonObject, as_mapping, get_text
from pytest_llmops.cassettes.faults.kinds import Fault
from pytest_llmops.cassettes.outcome import Outcome
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.trace import routes
from pytest_llmops.trace.vendors import anthropic, gemini, openai
from pytest_llmops.trace.wire_format import CallFormat

JSON_TYPE = "application/json"
STREAM_TYPE = "text/event-stream; charset=utf-8"
# Clients try again at once
RETRY_AT_ONCE = {"retry-after": "0", "retry-after-ms": "1"}
# Endpoints whose calls are not questions to a model
_OTHER_ENDPOINTS = frozenset({"embeddings", "moderations", "rerank"})
READ_TIMEOUT = Outcome("ReadTimeout", "The read operation timed out")
_RESET = Outcome("ReadError", "[Errno 104] Connection reset by peer")
_CUT = Outcome("RemoteProtocolError", "peer closed connection without sending complete message body")
_WRONG_CONTENT = {"unexpected": ["object"]}
_FILLER = "lorem ipsum "
# The body that is cut where the format of a vendor is not known
_ANY_BODY = b'{"id": "fault", "model": "", "content": [{"type": "text", "text": "The answer breaks off"}]}'
CUT_TEXT = "This answer breaks off in the middle of its text."
UNKNOWN_TOOL = "no_such_tool"
_BROKEN_ARGUMENTS = '{"unexpected": ["object"'

# Makes a vendor's answer from a text, or from other content in place of a text
Make = Callable[[Question, JsonObject, object], "Answer"]


@dataclass(frozen=True, slots=True)
class _WrongCall:
    """The call of a tool that an answer has in place of a text.

    Attributes:
        id: Its id: no other answer of the conversation has it.
        name: The name of the tool.
        text: Its arguments, where the format has a text.
        values: Its arguments, where the format has an object.
    """

    id: str
    name: str
    text: str
    values: JsonObject


def is_model_call(question: Question) -> bool:
    """Return whether a request calls a model: by its address and body, in the format of a known vendor or of the project."""
    match = _find_match(question)
    return match is not None and match.endpoint.name not in _OTHER_ENDPOINTS


def _find_match(question: Question) -> routes.Match | None:
    return routes.find_route(question.url).choose_match(as_mapping(question.json))


def offers_tools(question: Question) -> bool:
    """Return whether a call of a model offers it tools."""
    match = _find_match(question)
    return match is not None and bool(match.endpoint.format.read_request(as_mapping(question.json)).tools)


def describe_model_call(question: Question) -> str:
    """Return a call of a model in words."""
    request = as_mapping(question.json)
    match = _find_match(question)
    model = get_text(request, "model")
    if match is not None and not model:
        model = match.model
    return f"model {model}".rstrip()


def make_model_answer(fault: Fault, question: Question, previous: Answer | None) -> Answer | None:
    """Return the faulty answer to a call of a model; None: the format of the call is not known, and the fault needs it.

    Args:
        fault: The fault.
        question: The call.
        previous: The answer to the call before, for ``stale``.
    """
    answer = _make_answer(fault, question, previous)
    if answer is None:
        return None
    return _mark(answer, fault)


def _mark(answer: Answer, fault: Fault) -> Answer:
    """Return an answer as one that a fault has made."""
    return Answer(
        answer.status,
        answer.headers,
        answer.body,
        pieces=answer.pieces,
        outcome=answer.outcome,
        fault=fault.kind,
        pause_s=answer.pause_s,
    )


def _make_answer(fault: Fault, question: Question, previous: Answer | None) -> Answer | None:
    """Return the faulty answer to a call, before it is marked."""
    if fault.kind == "timeout":
        return Answer(0, {}, b"", outcome=READ_TIMEOUT)
    if fault.kind == "connection_reset":
        return Answer(0, {}, b"", outcome=_RESET)
    if fault.kind == "slow":
        return Answer(0, {}, b"", outcome=READ_TIMEOUT, pause_s=fault.seconds)
    if fault.kind == "never_returns":
        return Answer(0, {}, b"", outcome=READ_TIMEOUT, pause_s=fault.at_most_s)
    if fault.kind == "rate_limit":
        return _make_error(question, 429, "rate_limit_error", "RESOURCE_EXHAUSTED", "Rate limit reached")
    if fault.kind == "server_error":
        return _make_error(question, 500, "api_error", "INTERNAL", "The server had an error")
    if fault.kind == "stale":
        return previous
    if fault.kind in ("cut", "malformed_json"):
        whole = _write(question, CUT_TEXT) or Answer(200, {"content-type": JSON_TYPE}, _ANY_BODY)
        if fault.kind == "cut":
            return _cut(whole)
        return _break_json(whole)
    return _write(question, _choose_content(fault, question))


def _choose_content(fault: Fault, question: Question) -> object:
    """Return the text of an answer, or other content in place of a text."""
    if fault.only_with_tools:
        return _make_wrong_call(fault, question)
    if fault.kind == "empty":
        return ""
    if fault.kind == "too_long":
        return make_long_text(fault.size)
    if fault.kind == "hostile":
        return fault.text
    return _WRONG_CONTENT


def _make_wrong_call(fault: Fault, question: Question) -> _WrongCall | None:
    """Return the call of a tool that cannot be carried out; None: the format of the request is not known."""
    match = _find_match(question)
    if match is None:
        return None
    request = match.endpoint.format.read_request(as_mapping(question.json))
    call_id = f"call_fault_{len(request.messages)}"
    if fault.kind == "unknown_tool" or not request.tools:
        return _WrongCall(call_id, UNKNOWN_TOOL, "{}", {})
    return _WrongCall(call_id, request.tools[0].name, _BROKEN_ARGUMENTS, _WRONG_CONTENT)


def make_long_text(size: int) -> str:
    """Return a text of so many characters.

    >>> make_long_text(15)
    'lorem ipsum lor'
    """
    return (_FILLER * (size // len(_FILLER) + 1))[:size]


def _make_error(question: Question, status: int, kind: str, google: str, message: str) -> Answer:
    """Return an error in the form of the vendor; by default in the form of OpenAI, which most servers share."""
    message += " (a fault of the test)"
    match = _find_match(question)
    body: dict[str, Any] = {"error": {"message": message, "type": kind, "param": None, "code": kind}}
    if match is not None and match.endpoint.format is anthropic.MESSAGES:
        body = {"type": "error", "error": {"type": kind, "message": message}}
    elif match is not None and match.endpoint.format is gemini.GENERATE:
        body = {"error": {"code": status, "message": message, "status": google}}
    return Answer(status, {"content-type": JSON_TYPE, **RETRY_AT_ONCE}, json.dumps(body).encode())


def _cut(whole: Answer) -> Answer:
    """Return the first half of an answer, which breaks off."""
    if whole.pieces:
        pieces = whole.pieces[: max(len(whole.pieces) // 2, 1)]
        return Answer(200, whole.headers, b"".join(pieces), pieces=pieces, outcome=_CUT)
    return Answer(200, whole.headers, whole.body[: len(whole.body) // 2], outcome=_CUT)


def _break_json(whole: Answer) -> Answer:
    """Return an answer that is complete, but whose JSON is not: of a stream, the second event is half of one."""
    if not whole.pieces:
        return Answer(200, whole.headers, whole.body[: len(whole.body) // 2])
    broken = whole.pieces[1].rstrip()
    pieces = (whole.pieces[0], broken[: len(broken) // 2] + b"\n\n", *whole.pieces[2:])
    return Answer(200, whole.headers, b"".join(pieces), pieces=pieces)


def _write(question: Question, content: object) -> Answer | None:
    """Return an answer with a content in the form of the vendor; None: the form is not known."""
    match = _find_match(question)
    if match is None:
        return None
    for call_format, make in _WRITERS:
        if match.endpoint.format is call_format:
            request = as_mapping(question.json)
            model = get_text(request, "model") or match.model
            return make(question, {**request, "model": model}, content)
    return None


def _write_json(value: object) -> Answer:
    return Answer(200, {"content-type": JSON_TYPE}, json.dumps(value).encode())


def _write_stream(events: Iterable[bytes]) -> Answer:
    pieces = tuple(events)
    return Answer(200, {"content-type": STREAM_TYPE}, b"".join(pieces), pieces=pieces)


def _to_event(value: Mapping[str, Any], name: str = "") -> bytes:
    """Return an event of a stream."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()


def _write_chat(_: Question, request: JsonObject, content: object) -> Answer:
    """Write an answer of Chat Completions."""
    head = {"id": "chatcmpl-fault", "created": 1, "model": request["model"]}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    said: dict[str, Any] = {"content": content}
    reason = "stop"
    if isinstance(content, _WrongCall):
        function = {"name": content.name, "arguments": content.text}
        said = {"content": None, "tool_calls": [{"id": content.id, "type": "function", "function": function}]}
        reason = "tool_calls"
    if request.get("stream") is not True:
        message = {"role": "assistant", "refusal": None, **said}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return _write_json({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
    if "tool_calls" in said:
        said["tool_calls"][0]["index"] = 0
    deltas: list[tuple[Mapping[str, Any], str | None]] = [
        ({"role": "assistant", "content": ""}, None),
        (said, None),
        ({}, reason),
    ]
    head["object"] = "chat.completion.chunk"
    events = []
    for delta, ends in deltas:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": ends}
        events.append(_to_event({**head, "choices": [choice]}))
    if as_mapping(request.get("stream_options")).get("include_usage") is True:
        events.append(_to_event({**head, "choices": [], "usage": usage}))
    return _write_stream([*events, b"data: [DONE]\n\n"])


def _write_responses(_: Question, request: JsonObject, content: object) -> Answer:
    """Write an answer of the Responses API."""
    part = {"type": "output_text", "text": content, "annotations": [], "logprobs": []}
    item: dict[str, Any] = {
        "type": "message",
        "id": "msg_fault",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    if isinstance(content, _WrongCall):
        item = {
            "type": "function_call",
            "id": "fc_fault",
            "call_id": content.id,
            "name": content.name,
            "arguments": content.text,
            "status": "completed",
        }
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    done = {
        "id": "resp_fault",
        "object": "response",
        "created_at": 1,
        "model": request["model"],
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "output": [item],
        "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, **details},
    }
    if request.get("stream") is not True:
        return _write_json(done)
    events = _list_response_events(content, item, part, done)
    return _write_stream(
        _to_event({**event, "sequence_number": number}, event["type"]) for number, event in enumerate(events)
    )


def _list_response_events(
    content: object, item: dict[str, Any], part: dict[str, Any], done: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the events of a streamed answer of the Responses API."""
    place: dict[str, Any] = {"output_index": 0, "item_id": item["id"]}
    begun = {**item, "status": "in_progress"}
    if isinstance(content, _WrongCall):
        begun["arguments"] = ""
        middle: list[dict[str, Any]] = [
            {"type": "response.function_call_arguments.delta", **place, "delta": content.text},
            {
                "type": "response.function_call_arguments.done",
                **place,
                "name": content.name,
                "arguments": content.text,
            },
        ]
    else:
        begun["content"] = []
        place["content_index"] = 0
        middle = [
            {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
            {"type": "response.output_text.delta", **place, "delta": content, "logprobs": []},
            {"type": "response.output_text.done", **place, "text": content, "logprobs": []},
            {"type": "response.content_part.done", **place, "part": part},
        ]
    return [
        {"type": "response.created", "response": {**done, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        *middle,
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": done},
    ]


def _write_messages(_: Question, request: JsonObject, content: object) -> Answer:
    """Write an answer of Anthropic's Messages API."""
    blocks: Sequence[Mapping[str, Any]] = [{"type": "text", "text": content}]
    begun: Mapping[str, Any] = {"type": "text", "text": ""}
    delta: Mapping[str, Any] = {"type": "text_delta", "text": content}
    reason = "end_turn"
    if isinstance(content, _WrongCall):
        begun = {"type": "tool_use", "id": content.id, "name": content.name, "input": {}}
        blocks = [{**begun, "input": content.values}]
        delta = {"type": "input_json_delta", "partial_json": json.dumps(content.values)}
        reason = "tool_use"
    elif content == "":  # the API sends this for an answer without text
        blocks = []
    usage = {"input_tokens": 0, "output_tokens": 0}
    message = {
        "id": "msg_fault",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage,
    }
    if request.get("stream") is not True:
        return _write_json(message)
    start = {**message, "content": [], "stop_reason": None}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    if blocks:
        events += [
            {"type": "content_block_start", "index": 0, "content_block": begun},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
        ]
    stop = {"stop_reason": reason, "stop_sequence": None}
    events += [
        {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 0}},
        {"type": "message_stop"},
    ]
    return _write_stream(_to_event(event, event["type"]) for event in events)


def _write_gemini(question: Question, request: JsonObject, content: object) -> Answer:
    """Write an answer of Gemini's generateContent."""
    part: JsonObject = {"text": content}
    if isinstance(content, _WrongCall):
        part = {"functionCall": {"name": content.name, "args": content.values}}
    candidate = {
        "content": {"role": "model", "parts": [part]},
        "finishReason": "STOP",
        "index": 0,
    }
    usage = {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0}
    reply = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": request["model"]}
    if "streamGenerateContent" not in question.url:
        return _write_json(reply)
    if "alt=sse" not in question.url:
        return _write_json([reply])
    begun = {**candidate, "content": {"role": "model", "parts": [{"text": ""}]}, "finishReason": None}
    return _write_stream([_to_event({**reply, "candidates": [begun]}), _to_event(reply)])


_WRITERS: Sequence[tuple[CallFormat, Make]] = (
    (openai.CHAT, _write_chat),
    (openai.RESPONSES, _write_responses),
    (anthropic.MESSAGES, _write_messages),
    (gemini.GENERATE, _write_gemini),
)
