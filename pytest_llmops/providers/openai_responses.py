"""What an OpenAI-compatible server replied, as a `Completion`; and what of a request the Responses API calls otherwise."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from pytest_llmops.errors import ModelError
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Completion, TokenLogprobs, ToolCall, Usage
from pytest_llmops.providers.sdk_errors import classify_status, mask_keys
from pytest_llmops.trace import prices

MAX_SHOWN_CHARS = 200
"""Characters of a foreign reply that an error shows."""
ERROR_STATUSES = range(400, 600)
"""Codes of an error that are HTTP statuses."""


def invalid_reply_error(what: str, reply: object = "", *, client: Any) -> ModelError:
    """Return the error of a reply that is none.

    Args:
        what: What is wrong with it.
        reply: The reply, or what tells of it; it may be anything, and quote the key.
        client: The client that asked; its keys are in no error.
    """
    quoted = mask_keys(str(reply), client, MAX_SHOWN_CHARS)
    return ModelError(
        f"the reply {what}{f': {quoted}' if quoted else ''}; is this an OpenAI-compatible server?",
        kind="reply",
    )


def gateway_error(reply: Any, client: Any) -> ModelError | None:
    """Return the error that a gateway answers with status 200, ``{"error": {"message": ...}}``; None: there is none."""
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
        ModelError: It is no JSON, or no answer.
    """
    try:
        parsed = raw.parse()
    except Exception as error:  # noqa: BLE001 -- whatever the SDK makes of a foreign server's reply
        body = _reply_json(raw)
        what = "is no JSON" if body is None else "is no answer"
        raise gateway_error(body, client) or invalid_reply_error(what, error, client=client) from None
    if isinstance(parsed, str):
        raise invalid_reply_error("is no answer", parsed, client=client)
    return parsed


def _reply_json(raw: Any) -> Any:
    """What a raw reply holds; None where it is no JSON."""
    try:
        return json.loads(raw.http_response.content)
    except (ValueError, RecursionError):
        return None


def read_untrusted_reply(
    reader: Callable[..., Completion], reply: Any, *, client: Any, **how: Any
) -> Completion:
    """Read a reply; the SDK does not check what servers send, so any field may be of any type."""
    try:
        return reader(reply, client=client, **how)
    except (AttributeError, TypeError, KeyError, IndexError, ValueError):
        raise invalid_reply_error("is no answer", reply, client=client) from None


def read_chat(reply: Any, *, client: Any, latency_s: float, api_url: str) -> Completion:
    """Read the first choice of a chat completion."""
    if not getattr(reply, "choices", None):
        raise gateway_error(reply, client) or invalid_reply_error("holds no choice", reply, client=client)
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
    usage = _read_sdk_usage(reply.usage, "prompt_tokens", "completion_tokens")
    return Completion(
        text=_check_text(choice.message.content),
        model=_check_text(reply.model),
        finish_reason=_check_text(choice.finish_reason),
        usage=usage,
        tool_calls=calls,
        latency_s=latency_s,
        cost_usd=prices.cost_usd(_check_text(reply.model), usage, api_url=api_url) if api_url else None,
        refusal=_check_text(choice.message.refusal),
        logprobs=_read_logprobs(choice),
    )


def _read_logprobs(choice: Any) -> tuple[TokenLogprobs, ...]:
    """The tokens of the answer with their likeliest rivals, where the server was asked for them and tells."""
    listed = getattr(getattr(choice, "logprobs", None), "content", None) or ()
    return tuple(
        TokenLogprobs(
            token=_check_text(entry.token),
            top={
                _check_text(rival.token): _check_logprob(rival.logprob) for rival in entry.top_logprobs or ()
            },
        )
        for entry in listed
    )


def _check_logprob(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise TypeError
    return float(value)


def read_responses(reply: Any, *, client: Any, latency_s: float, api_url: str) -> Completion:
    """Read an answer of the Responses API."""
    if reply.error is not None:
        reason = mask_keys(str(reply.error.message), client, MAX_SHOWN_CHARS)
        raise ModelError(f"the model gave up: {reason}", kind="server")
    usage = _read_sdk_usage(reply.usage, "input_tokens", "output_tokens")
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
        usage=usage,
        tool_calls=calls,
        latency_s=latency_s,
        cost_usd=prices.cost_usd(_check_text(reply.model), usage, api_url=api_url) if api_url else None,
        refusal="".join(_check_text(part.refusal) for part in parts if part.type == "refusal"),
    )


def _check_text(value: object) -> str:
    """A text, or none; anything else is no answer."""
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


def to_responses_params(wanted: Mapping[str, Json]) -> dict[str, Json]:
    """Chat's names of parameters in the words of the Responses API, so that one prompt serves both."""
    renamed = {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}
    params = {
        renamed.get(name, name): value
        for name, value in wanted.items()
        if name not in ("response_format", "seed")
    }
    form = wanted.get("response_format")
    if isinstance(form, Mapping):
        inner = form.get("json_schema")
        params["text"] = {
            "format": {"type": form.get("type", "json_schema"), **inner}
            if isinstance(inner, Mapping)
            else dict(form)
        }
    return params
