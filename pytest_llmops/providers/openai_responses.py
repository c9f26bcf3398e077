"""What an OpenAI-compatible server replied, as a `Completion`; and what of a request the Responses API calls otherwise."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from pytest_llmops.errors import ModelError
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Completion, TokenChances, ToolCall, Usage
from pytest_llmops.providers.sdk_errors import kind_of, safe
from pytest_llmops.trace import prices

SHOWN = 200
"""Characters of a foreign reply that an error shows."""
FAILED = range(400, 600)
"""Codes of an error that are HTTP statuses."""


def no_answer(what: str, said: object = "", *, client: Any) -> ModelError:
    """Return the error of a reply that is none.

    Args:
        what: What is wrong with it.
        said: The reply, or what tells of it; it may be anything, and quote the key.
        client: The client that asked; its keys are in no error.
    """
    told = safe(str(said), client, SHOWN)
    return ModelError(
        f"the reply {what}{f': {told}' if told else ''}; is this an OpenAI-compatible server?", kind="reply"
    )


def refused(reply: Any, client: Any) -> ModelError | None:
    """Return the error that a gateway answers with status 200, ``{"error": {"message": ...}}``; None: there is none."""
    error = reply.get("error") if isinstance(reply, Mapping) else getattr(reply, "error", None)
    message = error.get("message") if isinstance(error, Mapping) else error
    if not isinstance(message, str) or not message.strip():
        return None
    code = error.get("code") if isinstance(error, Mapping) else None
    status = code if isinstance(code, int) and code in FAILED else None
    kind, step = kind_of(status or FAILED[-1])
    return ModelError(
        f"the server answered with an error: {safe(message, client, SHOWN)}; {step}", kind=kind, status=status
    )


def parsed(raw: Any, client: Any) -> Any:
    """Return the SDK's object for a raw reply.

    Raises:
        ModelError: It is no JSON, or no answer.
    """
    try:
        parsed = raw.parse()
    except Exception as error:  # noqa: BLE001 -- whatever the SDK makes of a foreign server's reply
        told = _json(raw)
        what = "is no JSON" if told is None else "is no answer"
        raise refused(told, client) or no_answer(what, error, client=client) from None
    if isinstance(parsed, str):
        raise no_answer("is no answer", parsed, client=client)
    return parsed


def _json(raw: Any) -> Any:
    """What a raw reply holds; None where it is no JSON."""
    try:
        return json.loads(raw.http_response.content)
    except (ValueError, RecursionError):
        return None


def read_with(read: Callable[..., Completion], reply: Any, *, client: Any, **how: Any) -> Completion:
    """Read a reply; the SDK does not check what servers send, so any field may be of any type."""
    try:
        return read(reply, client=client, **how)
    except (AttributeError, TypeError, KeyError, IndexError, ValueError):
        raise no_answer("is no answer", reply, client=client) from None


def read_chat(reply: Any, *, client: Any, latency_s: float, api_url: str) -> Completion:
    """Read the first choice of a chat completion."""
    if not getattr(reply, "choices", None):
        raise refused(reply, client) or no_answer("holds no choice", reply, client=client)
    choice = reply.choices[0]
    calls = tuple(
        ToolCall(name=_text(call.function.name), arguments=_text(call.function.arguments), id=_text(call.id))
        for call in choice.message.tool_calls or ()
        if call.type == "function"
    )
    usage = _usage(reply.usage, "prompt_tokens", "completion_tokens")
    return Completion(
        text=_text(choice.message.content),
        model=_text(reply.model),
        finish_reason=_text(choice.finish_reason),
        usage=usage,
        tool_calls=calls,
        latency_s=latency_s,
        cost_usd=prices.cost_usd(_text(reply.model), usage, api_url=api_url) if api_url else None,
        refusal=_text(choice.message.refusal),
        logprobs=_logprobs(choice),
    )


def _logprobs(choice: Any) -> tuple[TokenChances, ...]:
    """The tokens of the answer with their likeliest rivals, where the server was asked for them and tells."""
    listed = getattr(getattr(choice, "logprobs", None), "content", None) or ()
    return tuple(
        TokenChances(
            token=_text(one.token),
            top={_text(rival.token): _logprob(rival.logprob) for rival in one.top_logprobs or ()},
        )
        for one in listed
    )


def _logprob(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise TypeError
    return float(value)


def read_responses(reply: Any, *, client: Any, latency_s: float, api_url: str) -> Completion:
    """Read an answer of the Responses API."""
    if reply.error is not None:
        why = safe(str(reply.error.message), client, SHOWN)
        raise ModelError(f"the model gave up: {why}", kind="server")
    usage = _usage(reply.usage, "input_tokens", "output_tokens")
    calls = tuple(
        ToolCall(name=_text(item.name), arguments=_text(item.arguments), id=_text(item.call_id))
        for item in reply.output
        if item.type == "function_call"
    )
    if reply.output and not any(item.type for item in reply.output):
        raise TypeError
    said = [part for item in reply.output if item.type == "message" for part in item.content]
    return Completion(
        text="".join(_text(part.text) for part in said if part.type == "output_text"),
        model=_text(reply.model),
        finish_reason=_text(reply.incomplete_details.reason if reply.incomplete_details else reply.status),
        usage=usage,
        tool_calls=calls,
        latency_s=latency_s,
        cost_usd=prices.cost_usd(_text(reply.model), usage, api_url=api_url) if api_url else None,
        refusal="".join(_text(part.refusal) for part in said if part.type == "refusal"),
    )


def _text(value: object) -> str:
    """A text, or none; anything else is no answer."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError
    return value


def _usage(wire: Any, into: str, out: str) -> Usage:
    return Usage(
        input_tokens=_count(wire, into),
        output_tokens=_count(wire, out),
        cached_tokens=_count(getattr(wire, f"{into}_details", None), "cached_tokens"),
        reasoning_tokens=_count(getattr(wire, f"{out}_details", None), "reasoning_tokens"),
    )


def _count(wire: Any, name: str) -> int | None:
    value = getattr(wire, name, None)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def for_responses(wanted: Mapping[str, Json]) -> dict[str, Json]:
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
