"""From the wire to `Call`: who was asked what, what was answered, how many tokens, how long.

Reads OpenAI's chat completions, Responses and embeddings, streamed or not, of OpenAI and of
compatible servers. Of anything else the address, status, time and the ``model`` of a JSON body are told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pytest_llmops import prices
from pytest_llmops.protocols import ROLES, Call, Message, Role, ToolCall, Usage
from pytest_llmops.recorder import Exchange

ENDPOINTS = {"/chat/completions": "chat", "/responses": "responses", "/embeddings": "embeddings"}
_LINE_END = re.compile(r"\r\n|\r|\n")
"""Of a stream: `str.splitlines` would also cut at line separators inside a JSON text."""


class CallLog(Sequence[Call]):
    """The calls of a test so far, read from the wire when somebody looks.

    >>> len(CallLog([]))
    0
    """

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self._exchanges = exchanges

    def __len__(self) -> int:
        return len(self._exchanges)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204 -- Sequence has two overloads
        if isinstance(index, slice):
            return [read(one) for one in self._exchanges[index]]
        return read(self._exchanges[index])

    def __repr__(self) -> str:
        return f"CallLog({[f'{call.endpoint} {call.model}' for call in self]})"


def read(exchange: Exchange) -> Call:
    """Return the call that an exchange was; never raises, whatever the body holds."""
    request = _mapping(exchange.request)
    url = _address(exchange.url)
    endpoint = next((name for tail, name in ENDPOINTS.items() if url.path.endswith(tail)), "")
    reply, streamed = _reply(exchange, endpoint)
    usage = _usage(_mapping(reply.get("usage")))
    model = _text(reply.get("model")) or _text(request.get("model"))
    return Call(
        provider=_provider(url.netloc.rpartition("@")[2].partition(":")[0], endpoint),
        endpoint=endpoint or url.path,
        model=model,
        purpose=exchange.purpose,
        messages=tuple(_messages(request, endpoint)),
        output=_output(reply, endpoint),
        tool_calls=tuple(_tool_calls(reply, endpoint)),
        finish_reason=_finish(reply, endpoint),
        usage=usage,
        cost_usd=prices.cost_usd(model, usage, api_url=f"{url.scheme}://{url.netloc}"),
        latency_s=exchange.latency_s,
        ttft_s=exchange.ttft_s,
        replayed=exchange.replayed,
        streamed=streamed,
        status=exchange.status,
    )


def _address(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", url, "", "")


@lru_cache(maxsize=256)
def _provider(host: str, endpoint: str) -> str:
    if host.endswith(".openai.azure.com"):
        return "azure"
    if host == "openai.com" or host.endswith(".openai.com"):
        return "openai"
    return "openai-compatible" if endpoint else "unknown"


def _reply(exchange: Exchange, endpoint: str) -> tuple[Mapping[str, Any], bool]:
    """The reply as one object: streams are added up to what the same call without a stream gives."""
    if "text/event-stream" not in exchange.content_type.lower():
        return _mapping(_parsed(exchange.body)), False
    events = list(_events(exchange.body))
    if endpoint == "responses":
        done = [
            e
            for e in events
            if e.get("type") in ("response.completed", "response.incomplete", "response.failed")
        ]
        return _mapping(done[-1].get("response")) if done else {}, True
    return _joined(events), True


def _events(body: bytes) -> Iterator[Mapping[str, Any]]:
    for line in _LINE_END.split(body.decode("utf-8", "replace")):
        if line.startswith("data:"):
            yield _mapping(_parsed(line[5:]))


def _joined(events: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    text, refusal, finish, calls = [], [], "", dict[int, dict[str, str]]()
    whole: dict[str, Any] = {}
    for event in events:
        for key in ("model", "usage", "error"):
            whole[key] = event.get(key) or whole.get(key)
        choice = _first(event.get("choices"))
        if _count(choice.get("index")):
            continue  # of several answers the first is the output, as without a stream
        delta = _mapping(choice.get("delta"))
        text.append(_text(delta.get("content")))
        refusal.append(_text(delta.get("refusal")))
        finish = _text(choice.get("finish_reason")) or finish
        for part in _items(delta.get("tool_calls")):
            call = calls.setdefault(_count(part.get("index")) or 0, {"id": "", "name": "", "arguments": ""})
            function = _mapping(part.get("function"))
            call["id"] += _text(part.get("id"))
            call["name"] += _text(function.get("name"))
            call["arguments"] += _text(function.get("arguments"))
    tool_calls = [
        {"id": c["id"], "function": {"name": c["name"], "arguments": c["arguments"]}} for c in calls.values()
    ]
    message = {"content": "".join(text), "refusal": "".join(refusal), "tool_calls": tool_calls}
    return {**whole, "choices": [{"message": message, "finish_reason": finish}]}


def _messages(request: Mapping[str, Any], endpoint: str) -> Iterator[Message]:
    asked = request.get("messages" if endpoint == "chat" else "input")
    if endpoint == "chat":
        for one in _items(asked):
            yield Message(_role(one.get("role")), _content(one.get("content")))
    elif endpoint == "responses":
        if request.get("instructions"):
            yield Message("system", _text(request["instructions"]))
        yield from _responses_input(asked)
    elif endpoint == "embeddings":
        for text in [asked] if isinstance(asked, str) else asked if isinstance(asked, list) else []:
            yield Message("user", _text(text))


def _responses_input(asked: object) -> Iterator[Message]:
    if isinstance(asked, str):
        yield Message("user", asked)
    for one in _items(asked):
        if one.get("type") == "function_call_output":
            yield Message("tool", _content(one.get("output")))
        elif "content" in one:
            yield Message(_role(one.get("role")), _content(one.get("content")))


def _role(value: object) -> Role:
    return next((role for role in ROLES if role == value), "user")


def _content(value: object) -> str:
    """Text of a message; a part that is no text is named in brackets."""
    if isinstance(value, str):
        return value
    parts = [_text(part.get("text")) or f"[{_text(part.get('type')) or 'part'}]" for part in _items(value)]
    return "\n".join(parts)


def _output(reply: Mapping[str, Any], endpoint: str) -> str:
    refused = reply.get("error")
    if refused:
        return _text(refused) or _text(_mapping(refused).get("message"))
    if endpoint == "chat":
        message = _mapping(_first(reply.get("choices")).get("message"))
        return _content(message.get("content")) or _text(message.get("refusal"))
    if endpoint == "responses":
        said = [
            part
            for item in _items(reply.get("output"))
            if item.get("type") == "message"
            for part in _items(item.get("content"))
        ]
        return "".join(_text(part.get("text")) or _text(part.get("refusal")) for part in said)
    if endpoint == "embeddings":
        return f"{len(_items(reply.get('data')))} vectors"
    return ""


def _tool_calls(reply: Mapping[str, Any], endpoint: str) -> Iterator[ToolCall]:
    if endpoint == "chat":
        message = _mapping(_first(reply.get("choices")).get("message"))
        for one in _items(message.get("tool_calls")):
            function = _mapping(one.get("function"))
            yield ToolCall(
                name=_text(function.get("name")),
                arguments=_text(function.get("arguments")),
                id=_text(one.get("id")),
            )
    elif endpoint == "responses":
        for item in _items(reply.get("output")):
            if item.get("type") == "function_call":
                yield ToolCall(
                    name=_text(item.get("name")),
                    arguments=_text(item.get("arguments")),
                    id=_text(item.get("call_id")),
                )


def _finish(reply: Mapping[str, Any], endpoint: str) -> str:
    if endpoint == "responses":
        return _text(_mapping(reply.get("incomplete_details")).get("reason")) or _text(reply.get("status"))
    return _text(_first(reply.get("choices")).get("finish_reason"))


def _usage(wire: Mapping[str, Any]) -> Usage:
    into = _mapping(wire.get("prompt_tokens_details")) or _mapping(wire.get("input_tokens_details"))
    out = _mapping(wire.get("completion_tokens_details")) or _mapping(wire.get("output_tokens_details"))
    return Usage(
        input_tokens=_count(wire.get("prompt_tokens", wire.get("input_tokens"))),
        output_tokens=_count(wire.get("completion_tokens", wire.get("output_tokens"))),
        cached_tokens=_count(into.get("cached_tokens")),
        reasoning_tokens=_count(out.get("reasoning_tokens")),
    )


def _parsed(text: bytes | str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _first(value: object) -> Mapping[str, Any]:
    items = _items(value)
    return items[0] if items else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
