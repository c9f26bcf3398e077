"""Replies of OpenAI-compatible servers as `Completion`, and parameters as the Responses API names them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pytest_llmops._util.json_values import parse_json
from pytest_llmops.errors import ModelError
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Completion, TokenLogprobs, ToolCall, Usage
from pytest_llmops.providers.sdk_calls import classify_status, mask_keys, server_address
from pytest_llmops.settings import Api
from pytest_llmops.trace import prices

MAX_SHOWN_CHARS = 200
ERROR_STATUSES = range(400, 600)  # HTTP statuses among the codes of errors


def invalid_reply_error(what: str, reply: object = "", *, client: Any) -> ModelError:
    """Return the error about a reply that is not an answer.

    Args:
        what: The problem.
        reply: The reply or an error about it, of any type; it may quote the key.
        client: The client of the call; its keys are masked.
    """
    quoted = mask_keys(str(reply), client, MAX_SHOWN_CHARS)
    return ModelError(
        f"the reply {what}{f': {quoted}' if quoted else ''}; is this an OpenAI-compatible server?",
        kind="reply",
    )


def gateway_error(reply: Any, client: Any) -> ModelError | None:
    """Return the error that a gateway sends with status 200, ``{"error": {"message": ...}}``, or None."""
    error = reply.get("error") if isinstance(reply, Mapping) else getattr(reply, "error", None)
    message = error.get("message") if isinstance(error, Mapping) else error
    if not isinstance(message, str) or not message.strip():
        return None
    code = error.get("code") if isinstance(error, Mapping) else None
    status = code if isinstance(code, int) and code in ERROR_STATUSES else None
    kind, step = classify_status(status or ERROR_STATUSES[-1])
    return ModelError(
        f"the server answered with an error: {mask_keys(message, client, MAX_SHOWN_CHARS)}; {step}",
        kind=kind,
        status=status,
    )


def parse_raw_reply(raw: Any, client: Any) -> Any:
    """Return the SDK's object for a raw reply.

    Raises:
        ModelError: It is not JSON, or not an answer.
    """
    try:
        parsed = raw.parse()
    except Exception as error:  # noqa: BLE001 -- the SDK raises anything on a foreign reply
        body = parse_json(raw.http_response.content)
        what = "is not JSON" if body is None else "is not an answer"
        raise gateway_error(body, client) or invalid_reply_error(what, error, client=client) from None
    if isinstance(parsed, str):
        raise invalid_reply_error("is not an answer", parsed, client=client)
    return parsed


def read_completion(raw: Any, client: Any, *, api: Api, latency_s: float) -> Completion:
    """Return the answer in a raw reply.

    Raises:
        ModelError: It is not an answer.
    """
    reply = parse_raw_reply(raw, client)
    try:
        completion = _read_responses(reply, client) if api == "responses" else _read_chat(reply, client)
    except (AttributeError, TypeError, KeyError, IndexError, ValueError):
        # The SDK does not check what servers send, so any field may have any type.
        raise invalid_reply_error("is not an answer", reply, client=client) from None
    cost_usd = prices.cost_usd(completion.model, completion.usage, api_url=server_address(raw))
    return replace(completion, latency_s=latency_s, cost_usd=cost_usd)


def _read_chat(reply: Any, client: Any) -> Completion:
    if not getattr(reply, "choices", None):
        raise gateway_error(reply, client) or invalid_reply_error("holds no choice", client=client)
    choice = reply.choices[0]
    calls = tuple(
        ToolCall(
            name=_check_text(call.function.name),
            arguments=_check_text(call.function.arguments),
            id=_check_text(call.id),
        )
        for call in choice.message.tool_calls or ()
        if call.type == "function"
    )
    return Completion(
        text=_check_text(choice.message.content),
        model=_check_text(reply.model),
        finish_reason=_check_text(choice.finish_reason),
        usage=_read_sdk_usage(reply.usage, "prompt_tokens", "completion_tokens"),
        tool_calls=calls,
        refusal=_check_text(choice.message.refusal),
        logprobs=tuple(
            TokenLogprobs(
                token=_check_text(entry.token),
                top={
                    _check_text(rival.token): _check_logprob(rival.logprob)
                    for rival in entry.top_logprobs or ()
                },
            )
            for entry in getattr(getattr(choice, "logprobs", None), "content", None) or ()
        ),
    )


def _check_logprob(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise TypeError
    return float(value)


def _read_responses(reply: Any, client: Any) -> Completion:
    if reply.error is not None:
        reason = mask_keys(str(reply.error.message), client, MAX_SHOWN_CHARS)
        raise ModelError(f"the model gave up: {reason}", kind="server")
    calls = tuple(
        ToolCall(
            name=_check_text(item.name), arguments=_check_text(item.arguments), id=_check_text(item.call_id)
        )
        for item in reply.output
        if item.type == "function_call"
    )
    if reply.output and not any(item.type for item in reply.output):
        raise TypeError
    parts = [part for item in reply.output if item.type == "message" for part in item.content]
    return Completion(
        text="".join(_check_text(part.text) for part in parts if part.type == "output_text"),
        model=_check_text(reply.model),
        finish_reason=_check_text(
            reply.incomplete_details.reason if reply.incomplete_details else reply.status
        ),
        usage=_read_sdk_usage(reply.usage, "input_tokens", "output_tokens"),
        tool_calls=calls,
        refusal="".join(_check_text(part.refusal) for part in parts if part.type == "refusal"),
    )


def _check_text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError
    return value


def _read_sdk_usage(wire: Any, into: str, out: str) -> Usage:
    return Usage(
        input_tokens=_read_sdk_count(wire, into),
        output_tokens=_read_sdk_count(wire, out),
        cached_tokens=_read_sdk_count(getattr(wire, f"{into}_details", None), "cached_tokens"),
        reasoning_tokens=_read_sdk_count(getattr(wire, f"{out}_details", None), "reasoning_tokens"),
    )


def _read_sdk_count(wire: Any, name: str) -> int | None:
    value = getattr(wire, name, None)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def to_responses_params(chat_params: Mapping[str, Json]) -> dict[str, Json]:
    """Return parameters of chat completions as the Responses API names them, so that a prompt works with both."""
    renamed = {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}
    params = {
        renamed.get(name, name): value
        for name, value in chat_params.items()
        if name not in ("response_format", "seed")
    }
    response_format = chat_params.get("response_format")
    if isinstance(response_format, Mapping):
        inner = response_format.get("json_schema")
        params["text"] = {
            "format": {"type": response_format.get("type", "json_schema"), **inner}
            if isinstance(inner, Mapping)
            else dict(response_format)
        }
    return params
