"""Exported traces, made by hand in OpenTelemetry's convention for GenAI, and requests that a test makes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmops.cassettes.request_key import Question, build_question
from pytest_llmops.redaction.redactor import Redactor

Json = dict[str, Any]
CHAT_URL = "https://api.openai.com/v1/chat/completions"


def user(text: str) -> Json:
    return {"role": "user", "parts": [{"type": "text", "content": text}]}


def says(text: str) -> Json:
    return {"role": "assistant", "parts": [{"type": "text", "content": text}], "finish_reason": "stop"}


def calls(**tools: Json) -> Json:
    """An answer that calls tools; the id of each is its name."""
    parts = [
        {"type": "tool_call", "id": f"c-{name}", "name": name, "arguments": arguments}
        for name, arguments in tools.items()
    ]
    return {"role": "assistant", "parts": parts, "finish_reason": "tool_call"}


def results(**values: object) -> list[Json]:
    return [
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": f"c-{name}", "response": value}]}
        for name, value in values.items()
    ]


def span(
    number: int,
    given: Sequence[Json] | None,
    answer: Json | None,
    *,
    trace: str = "a",
    attributes: Mapping[str, object] | None = None,
    **more: object,
) -> Json:
    """A call of a model that began in this second; without messages or an answer if they are None."""
    values: Json = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4.1-mini"}
    if given is not None:
        values["gen_ai.input.messages"] = list(given)
    if answer is not None:
        values["gen_ai.output.messages"] = [answer]
    values |= attributes or {}
    pairs = []
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value)
        pairs.append({"key": name, "value": {"stringValue": text}})
    start = 1_795_704_413_000_000_000 + number * 10**9
    return {
        "traceId": trace,
        "spanId": f"s{number}",
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + 250_000_000),
        "attributes": pairs,
        **more,
    }


def write_spans(path: Path, *spans: Json) -> Path:
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}))
    return path


def ask(*messages: Json, url: str = CHAT_URL, **more: object) -> Question:
    """A request of a test."""
    body = {"model": "gpt-4.1-mini", "messages": list(messages), **more}
    headers = {"content-type": "application/json"}
    return build_question("POST", url, headers, json.dumps(body).encode(), Redactor())
