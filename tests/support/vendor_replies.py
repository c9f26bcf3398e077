"""What each vendor answers, in its published shape."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from support.server import (
    Reply,
    chat_answer,
    chat_events,
    embedding_answer,
    json_reply,
    responses_answer,
    stream,
)

CITY = {"city": "Paris", "days": 3}
"""The arguments of every tool call, and every structured answer."""
VECTOR = [0.25, -0.5, 0.125]

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Vendor:
    """One family of end points."""

    path: re.Pattern[str]
    read_prompt: Callable[[Body], str]
    reply: Callable[[Body, str, str], Reply]
    refusal: Callable[[int, str, Mapping[str, str]], Reply]


def _refusal(make: Callable[[int, str], object]) -> Callable[[int, str, Mapping[str, str]], Reply]:
    def refusal(status: int, message: str, headers: Mapping[str, str]) -> Reply:
        return json_reply(make(status, message), status=status, **headers)

    return refusal


def _text(content: Any) -> str:
    """The words of a message, whether it is a text or a list of parts."""
    if isinstance(content, str):
        return content
    return " ".join(row["text"] for row in content if isinstance(row, dict) and "text" in row)


def _last_message(body: Body) -> str:
    return _text(body["messages"][-1]["content"])


def _named(events: Iterable[Mapping[str, Any]]) -> Reply:
    """Events whose name is their type."""
    return stream(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def _words(text: str) -> list[str]:
    return [f"{word} " for word in text.split(" ")]


# --- OpenAI, and Mistral and others who speak its chat


def _chat(body: Body, path: str, text: str) -> Reply:
    if body.get("tools") and body["messages"][-1].get("role") != "tool":
        return _chat_tool(body)
    if body.get("response_format", {}).get("type") == "json_schema":
        text = json.dumps(CITY)
    model = body["model"]
    if not body.get("stream"):
        return json_reply(chat_answer(text, model=model))
    return stream(chat_events(text, model=model))


def _chat_tool(body: Body) -> Reply:
    tool = body["tools"][0]["function"]["name"]
    arguments = json.dumps(CITY)
    call = {"id": "call00001", "type": "function", "function": {"name": tool, "arguments": arguments}}
    if not body.get("stream"):
        answer = chat_answer("", model=body["model"], tool_calls=[call])
        answer["choices"][0]["finish_reason"] = "tool_calls"
        answer["choices"][0]["message"]["content"] = None
        return json_reply(answer)
    head, *_, end, usage, done = chat_events("", model=body["model"])
    assert isinstance(head, dict)
    assert isinstance(end, dict)
    start = {"index": 0, **call, "function": {"name": tool, "arguments": ""}}
    parts = [arguments[:9], arguments[9:]]
    deltas: list[dict[str, Any]] = [{"tool_calls": [start]}]
    deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in parts]
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    last = {**end, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    return stream([head, *chunks, last, usage, done])


def _responses_prompt(body: Body) -> str:
    content = body["input"]
    return content if isinstance(content, str) else _text(content[-1]["content"])


def _responses(body: Body, path: str, text: str) -> Reply:
    if body.get("tools"):
        name = body["tools"][0]["name"]
        call = {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": name,
            "arguments": json.dumps(CITY),
            "status": "completed",
        }
        return json_reply(responses_answer("", output=[call]))
    if body.get("text", {}).get("format", {}).get("type") == "json_schema":
        text = json.dumps(CITY)
    if not body.get("stream"):
        return json_reply(responses_answer(text))
    return _named({**event, "sequence_number": n} for n, event in enumerate(_responses_events(text)))


def _responses_events(text: str) -> list[dict[str, Any]]:
    done = responses_answer(text)
    item = done["output"][0]
    where = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": []}
    started = {**item, "status": "in_progress", "content": []}
    output = [
        {"type": "response.output_text.delta", **where, "delta": word, "logprobs": []}
        for word in _words(text)
    ]
    return [
        {"type": "response.created", "response": {**done, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": started},
        {"type": "response.content_part.added", **where, "part": empty},
        *output,
        {"type": "response.output_text.done", **where, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **where, "part": {**empty, "text": text}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": done},
    ]


def _embedding_prompt(body: Body) -> str:
    texts = body.get("input") or body.get("inputs") or body.get("texts")
    return texts if isinstance(texts, str) else str((texts or [""])[0])


def _embedding(body: Body, path: str, text: str) -> Reply:
    texts = body.get("input") or body.get("inputs")
    answer = embedding_answer({"encoding_format": "float", **body, "input": texts})
    return json_reply({"id": "e1", **answer})  # the id is Mistral's


def _openai_error(status: int, message: str) -> object:
    return {"error": {"message": message, "type": "test_error", "param": None, "code": None}}


# --- Anthropic


def _anthropic_blocks(body: Body, text: str) -> list[dict[str, Any]]:
    if body.get("tools"):
        name = body["tools"][0]["name"]
        return [{"type": "tool_use", "id": "toolu_1", "name": name, "input": CITY}]
    output = [{"type": "text", "text": text}]
    if body.get("thinking", {}).get("type") in ("enabled", "adaptive"):
        return [{"type": "thinking", "thinking": "let me see", "signature": "c2lnbmVk"}, *output]
    return output


def _anthropic_message(body: Body, blocks: list[dict[str, Any]], stop: str | None) -> dict[str, Any]:
    usage = {
        "input_tokens": 7,
        "output_tokens": 3,
        "cache_creation_input_tokens": 2,
        "cache_read_input_tokens": 1,
    }
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body.get("model", "stub"),
        "content": blocks,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": usage,
    }


def _anthropic(body: Body, path: str, text: str) -> Reply:
    blocks = _anthropic_blocks(body, text)
    stop = "tool_use" if blocks[-1]["type"] == "tool_use" else "end_turn"
    if not body.get("stream"):
        return json_reply(_anthropic_message(body, blocks, stop))
    return _named(_anthropic_events(body, blocks, stop))


def _anthropic_events(body: Body, blocks: list[dict[str, Any]], stop: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": _anthropic_message(body, [], None)},
        {"type": "ping"},
    ]
    for index, block in enumerate(blocks):
        empty, deltas = _anthropic_parts(block)
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ended = {"stop_reason": stop, "stop_sequence": None}
    events.append({"type": "message_delta", "delta": ended, "usage": {"output_tokens": 3}})
    events.append({"type": "message_stop"})
    return events


def _anthropic_parts(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": word} for word in _words(block["text"])]
    if block["type"] == "thinking":
        thought = [{"type": "thinking_delta", "thinking": word} for word in _words(block["thinking"])]
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {**block, "thinking": "", "signature": ""}, [*thought, signed]
    whole = json.dumps(block["input"])
    parts = [{"type": "input_json_delta", "partial_json": part} for part in (whole[:7], whole[7:])]
    return {**block, "input": {}}, parts


def _anthropic_error(status: int, message: str) -> object:
    kind = "rate_limit_error" if status == 429 else "not_found_error"
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


# --- Gemini


def _gemini_prompt(body: Body) -> str:
    if "requests" in body:
        return _text(body["requests"][0]["content"]["parts"])
    if "contents" not in body:
        return _text(body["content"]["parts"])
    return _text(body["contents"][-1]["parts"])


def _gemini_chunk(parts: list[dict[str, Any]], stop: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if stop:
        candidate["finishReason"] = stop
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "stub-1", "responseId": "r1"}


def _gemini(body: Body, path: str, text: str) -> Reply:
    if "mbedContent" in path:
        vectors = [{"values": VECTOR} for _ in body.get("requests", [None])]
        return json_reply({"embeddings": vectors} if "requests" in body else {"embedding": vectors[0]})
    parts: list[dict[str, Any]] = [{"text": word} for word in _words(text)]
    if body.get("tools"):
        name = body["tools"][0]["functionDeclarations"][0]["name"]
        parts = [{"functionCall": {"name": name, "args": CITY}}]
    elif body.get("generationConfig", {}).get("responseMimeType") == "application/json":
        parts = [{"text": json.dumps(CITY)}]
    if "streamGenerateContent" not in path:
        return json_reply(_gemini_chunk(parts, "STOP"))
    return stream(
        (_gemini_chunk([part], "STOP" if part is parts[-1] else None) for part in parts), end="\r\n\r\n"
    )


def _gemini_error(status: int, message: str) -> object:
    return {"error": {"code": status, "message": message, "status": "NOT_FOUND"}}


# --- Cohere


def _cohere(body: Body, path: str, text: str) -> Reply:
    if path.endswith("/embed"):
        return json_reply(
            {
                "id": "e1",
                "embeddings": {"float": [VECTOR for _ in body["texts"]]},
                "texts": body["texts"],
                "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 2}},
                "response_type": "embeddings_by_type",
            }
        )
    message: dict[str, Any] = {"role": "assistant", "content": [{"type": "text", "text": text}]}
    stop = "COMPLETE"
    if body.get("tools"):
        function = {"name": body["tools"][0]["function"]["name"], "arguments": json.dumps(CITY)}
        message = {
            "role": "assistant",
            "tool_plan": "I will look",
            "tool_calls": [{"id": "t1", "type": "function", "function": function}],
        }
        stop = "TOOL_CALL"
    tokens = {"input_tokens": 7, "output_tokens": 3}
    usage = {"billed_units": tokens, "tokens": tokens}
    if not body.get("stream"):
        return json_reply({"id": "c1", "finish_reason": stop, "message": message, "usage": usage})
    start = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    deltas = [{"message": {"content": {"text": word}}} for word in _words(text)]
    return _named(
        [
            {"type": "message-start", "id": "c1", "delta": {"message": start}},
            {
                "type": "content-start",
                "index": 0,
                "delta": {"message": {"content": {"type": "text", "text": ""}}},
            },
            *({"type": "content-delta", "index": 0, "delta": delta} for delta in deltas),
            {"type": "content-end", "index": 0},
            {"type": "message-end", "id": "c1", "delta": {"finish_reason": stop, "usage": usage}},
        ]
    )


def _cohere_prompt(body: Body) -> str:
    return str(body["texts"][0]) if "texts" in body else _last_message(body)


# --- Bedrock


def _bedrock_prompt(body: Body) -> str:
    return _last_message(body) if "messages" in body else str(body["inputText"])


def _bedrock(body: Body, path: str, text: str) -> Reply:
    if path.endswith("/converse"):
        return json_reply(_converse(body, text))
    if path.endswith("/converse-stream"):
        return _frames(_converse_events(text))
    if path.endswith("/invoke"):
        return json_reply(
            _anthropic_message(body, _anthropic_blocks(body, text), "end_turn")
            if "messages" in body
            else {"embedding": VECTOR, "inputTextTokenCount": 2}
        )
    events = _anthropic_events(body, _anthropic_blocks(body, text), "end_turn")
    coded = [base64.b64encode(json.dumps(event).encode()).decode() for event in events]
    return _frames([("chunk", {"bytes": piece}) for piece in coded])


_CONVERSE_USAGE = {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10}


def _converse(body: Body, text: str) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"text": text}]
    stop = "end_turn"
    if body.get("toolConfig"):
        name = body["toolConfig"]["tools"][0]["toolSpec"]["name"]
        content, stop = [{"toolUse": {"toolUseId": "t1", "name": name, "input": CITY}}], "tool_use"
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop,
        "usage": _CONVERSE_USAGE,
        "metrics": {"latencyMs": 1},
    }


def _converse_events(text: str) -> list[tuple[str, object]]:
    return [
        ("messageStart", {"role": "assistant"}),
        *(("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}}) for word in _words(text)),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": _CONVERSE_USAGE, "metrics": {"latencyMs": 1}}),
    ]


def _frames(events: Iterable[tuple[str, object]]) -> Reply:
    from pytest_llmops.wire.aws_event_stream import Frame, pack_frames

    head = {":content-type": "application/json", ":message-type": "event"}
    chunks = [
        pack_frames([Frame({":event-type": name, **head}, json.dumps(payload).encode())])
        for name, payload in events
    ]
    return Reply(chunks=chunks, headers={"content-type": "application/vnd.amazon.eventstream"})


def _bedrock_refusal(status: int, message: str, headers: Mapping[str, str]) -> Reply:
    kind = "ThrottlingException" if status == 429 else "ResourceNotFoundException"
    return json_reply({"message": message}, status=status, x_amzn_errortype=kind, **headers)


VENDORS = [
    Vendor(re.compile(r"/v1/messages$"), _last_message, _anthropic, _refusal(_anthropic_error)),
    Vendor(re.compile(r"/models/[^/]+:\w+$"), _gemini_prompt, _gemini, _refusal(_gemini_error)),
    Vendor(
        re.compile(r"/v2/(chat|embed)$"),
        _cohere_prompt,
        _cohere,
        _refusal(lambda _, message: {"message": message}),
    ),
    Vendor(re.compile(r"^/model/[^/]+/(converse|invoke)"), _bedrock_prompt, _bedrock, _bedrock_refusal),
    Vendor(re.compile(r"/chat/completions$"), _last_message, _chat, _refusal(_openai_error)),
    Vendor(re.compile(r"/responses$"), _responses_prompt, _responses, _refusal(_openai_error)),
    Vendor(re.compile(r"/embeddings$"), _embedding_prompt, _embedding, _refusal(_openai_error)),
]
