"""Any server that speaks Anthropic's Messages API, through the anthropic SDK.

A request is given in the words of chat completions, as everywhere here, and put into those of the Messages API. What
that API has no words for is refused before anything is sent, by its name: a judge then does without it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, cast

from pytest_llmops import recorder
from pytest_llmops.errors import MissingExtra, ModelError, UsageError
from pytest_llmops.measurement import Json, shorten
from pytest_llmops.protocols import Completion, Message
from pytest_llmops.providers.sdk_errors import (
    address,
    asking,
    failed,
    is_local,
    key_of,
    latency,
    safe,
    unnamed,
)
from pytest_llmops.redaction.redactor import PLACEHOLDER_KEY
from pytest_llmops.trace import prices
from pytest_llmops.trace.anthropic import MESSAGES

MAX_TOKENS = 4096
"""The API wants a limit: that of a call whose prompt names none."""
LACKING = frozenset(
    {
        *("temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty", "n"),
        *("logprobs", "top_logprobs", "functions", "function_call", "reasoning_effort", "verbosity", "user"),
        *("prediction", "modalities", "audio", "store", "stream_options", "web_search_options"),
        *("prompt_cache_key", "safety_identifier", "logit_bias"),
    }
)
"""Parameters of chat completions that the SDK's `messages.create` does not take (2.13)."""
LIMITS = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "maxItems", "uniqueItems"),
    }
)
"""Keywords that the API's schemas do not know, as the SDK has it: it takes them out of a schema that it makes."""


_BY_NAME = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
"""Keywords that hold schemas by names."""
_SCHEMAS = frozenset(
    {
        *("items", "prefixItems", "additionalItems", "contains", "additionalProperties", "propertyNames"),
        *(
            "anyOf",
            "oneOf",
            "allOf",
            "not",
            "if",
            "then",
            "else",
            "unevaluatedItems",
            "unevaluatedProperties",
        ),
    }
)
"""Keywords that hold a schema, or a list of them."""


@dataclass(slots=True)
class AnthropicModel:
    """A model behind a server that speaks the Messages API.

    Args:
        model: The model's name; empty: the one that the prompt names in its front matter.
        base_url: The server; empty: the SDK's own (``ANTHROPIC_BASE_URL``, else Anthropic).
        purpose: ``app`` or ``judge``: whose calls these are in the report. What a judge asks is always its own.
        params: Parameters of every call; those of the prompt and of the call come first.
        client: A client of the anthropic SDK to use instead of a new one: for credentials other than
            ``ANTHROPIC_API_KEY`` and ``ANTHROPIC_AUTH_TOKEN``.
    """

    model: str
    base_url: str = ""
    purpose: str = "app"
    params: Mapping[str, Json] = field(default_factory=dict)
    client: Any = None
    asks_server: ClassVar[bool] = True
    address_variable: ClassVar[str] = "ANTHROPIC_BASE_URL"

    def complete(self, messages: str | Sequence[Message], /, **params: Json) -> Completion:
        """Ask the model and return its answer.

        Args:
            messages: A question, messages, or a rendered prompt (whose parameters count, under ``params``). Those of
                the roles system and developer become the request's ``system``, in their order.
            params: Parameters of the API, or those of chat completions that it has too: ``response_format`` (a
                JSON schema), ``tools``, ``tool_choice``, ``max_completion_tokens``, ``stop``. Without a limit it
                is `MAX_TOKENS`. One that is None is not sent.

        Raises:
            MissingExtra: The anthropic SDK is not installed.
            ModelError: The server is down, refuses, limits or takes too long, its reply is no answer, or the API
                lacks what was asked for: then nothing was sent.
            UsageError: No model is named, there is no key, or neither API has such a parameter.
        """
        __tracebackhide__ = True
        model = self.model or getattr(messages, "model", "")
        if not model:
            raise unnamed(self.purpose, "anthropic:")
        asked = (Message("user", messages),) if isinstance(messages, str) else tuple(messages)
        wanted = {**self.params, **getattr(messages, "params", {}), **params}
        if wanted.get("tools") and "judge" in (self.purpose, recorder.whose()):
            # A judge gives one verdict: some models would call its tool again and again.
            wanted = {"parallel_tool_calls": False, **wanted}
        request = {**_conversation(model, asked), **_translated(model, wanted)}
        client = self.client or new_client(self.base_url)
        started = time.perf_counter()
        with recorder.purpose(self.purpose):
            raw = _sent(client, model, request)
        return _read(raw, client, latency(raw, time.perf_counter() - started))


def new_client(base_url: str) -> Any:
    """Return a client of the anthropic SDK; a server on this machine needs no key.

    Raises:
        MissingExtra: The SDK is not installed.
        UsageError: No key is in the environment, and the server is not on this machine; or key or address
            have a form that nothing could be sent with.
    """
    server = base_url or os.environ.get(AnthropicModel.address_variable, "")
    local = is_local(server)
    key = key_of("ANTHROPIC_API_KEY")
    token = "" if key else key_of("ANTHROPIC_AUTH_TOKEN")
    if not key and not token and not local:
        raise UsageError(
            f"no API key for {server or 'api.anthropic.com'}: set ANTHROPIC_API_KEY, hand in a client, or replay recordings "
            "with --llm-record=none"
        )
    return _shared_client(key or ("" if token else PLACEHOLDER_KEY), token, server)


@lru_cache(maxsize=8)
def _shared_client(key: str, token: str, server: str) -> Any:
    return _sdk().Anthropic(api_key=key or None, auth_token=token or None, base_url=server or None)


def _sdk() -> Any:
    try:
        import anthropic
    except ImportError as error:
        if error.name != "anthropic":
            raise UsageError(f"the package anthropic cannot be imported: {error}") from None
        raise MissingExtra("a model named anthropic:NAME", "anthropic", "anthropic") from None
    return anthropic


def _sent(client: Any, model: str, request: Mapping[str, Any]) -> Any:
    __tracebackhide__ = True

    def create() -> Any:
        return client.messages.with_raw_response.create(model=model, **request)

    return asking(_sdk(), create, model, client)


def _refused(model: str, what: str, step: str) -> ModelError:
    return failed(model, None, "request", f"was not asked: the Messages API {what}; {step}")


def _conversation(model: str, asked: Sequence[Message]) -> dict[str, Any]:
    system = [one.content for one in asked if one.role in ("system", "developer")]
    rest = [one for one in asked if one.role not in ("system", "developer")]
    if any(one.role == "tool" for one in rest):
        what = "has no message of the role tool"
        raise _refused(model, what, "ask the anthropic SDK with a tool_result block")
    said: dict[str, Any] = {"system": "\n\n".join(system)} if system else {}
    return {**said, "messages": [{"role": one.role, "content": one.content} for one in rest]}


def _translated(model: str, wanted: Mapping[str, Json]) -> dict[str, Any]:
    """The parameters in the words of the Messages API; in those of chat completions, None says nothing."""
    wanted = {name: one for name, one in wanted.items() if one is not None}
    if wanted.get("stream"):
        raise UsageError(
            "complete() returns the whole answer: leave `stream` out, or ask the anthropic SDK yourself"
        )
    lacking = [name for name in wanted if name in LACKING]
    if lacking:
        named = ", ".join(f"`{name}`" for name in lacking)
        step = "leave it out, or put it into `extra_body` for a server that has it"
        raise _refused(model, f"has no parameter {named}", step)
    renamed = {"max_completion_tokens": "max_tokens", "stop": "stop_sequences"}
    done = ("response_format", "tools", "tool_choice", "parallel_tool_calls", "stream")
    params: dict[str, Any] = {"max_tokens": MAX_TOKENS}
    params |= {renamed.get(name, name): one for name, one in wanted.items() if name not in done}
    if isinstance(params.get("stop_sequences"), str):
        params["stop_sequences"] = [params["stop_sequences"]]
    if "response_format" in wanted:
        params |= _format(model, wanted["response_format"], params.get("output_config"))
    if wanted.get("tools"):
        params["tools"] = [_tool(one) for one in cast("Sequence[Any]", wanted["tools"])]
    several, chosen = wanted.get("parallel_tool_calls"), wanted.get("tool_choice")
    if not params.get(
        "tools"
    ):  # the API takes no choice without tools; one that asks for a call it may refuse itself
        several, chosen = None, None if chosen in ("auto", "none") else chosen
    choice = _choice(chosen, several=several)
    return params | ({"tool_choice": choice} if choice else {})


def _format(model: str, form: Any, config: Any) -> dict[str, Any]:
    kind = form.get("type") if isinstance(form, Mapping) else form
    if kind == "text":
        return {}
    inner = form.get("json_schema") if kind == "json_schema" else None
    schema = inner.get("schema") if isinstance(inner, Mapping) else None
    if not isinstance(schema, Mapping):
        what = f"has no `response_format` {shorten(str(kind), 40)}"
        raise _refused(model, what, "give a json_schema with its schema")
    limits = sorted({*_limits(schema)})
    if limits:
        named = ", ".join(f"`{name}`" for name in limits)
        raise _refused(model, f"knows no {named} in a schema", "take it out, or check the answer afterwards")
    own = config if isinstance(config, Mapping) else {}
    return {"output_config": {**own, "format": {"type": "json_schema", "schema": schema}}}


def _limits(schema: object) -> Iterator[str]:
    """The keywords of a schema that the API does not know; names of properties are none."""
    if isinstance(schema, list):
        for one in schema:
            yield from _limits(one)
    if not isinstance(schema, Mapping):
        return
    for key, value in schema.items():
        if key in LIMITS or (key == "minItems" and value not in (0, 1)):
            yield key
        elif key in _BY_NAME and isinstance(value, Mapping):
            yield from _limits(list(value.values()))
        elif key in _SCHEMAS:
            yield from _limits(value)


def _tool(given: Any) -> Any:
    """A tool as the Messages API has it; one that is so already stays."""
    if not isinstance(given, Mapping) or given.get("type") != "function":
        return given
    inner = given.get("function")
    one = inner if isinstance(inner, Mapping) else given
    kept = {name: one[name] for name in ("name", "description", "strict") if one.get(name) is not None}
    return {**kept, "input_schema": one.get("parameters") or {"type": "object", "properties": {}}}


def _choice(given: Any, *, several: Json) -> dict[str, Any]:
    """Which tool is to be called; nothing: as the API has it."""
    named = {"required": "any", "auto": "auto", "none": "none"}
    choice: dict[str, Any] = {}
    if isinstance(given, str):
        choice = {"type": named.get(given, given)}
    elif isinstance(given, Mapping) and given.get("type") == "function":
        inner = given.get("function")
        choice = {"type": "tool", "name": (inner if isinstance(inner, Mapping) else given).get("name")}
    elif isinstance(given, Mapping):
        choice = dict(given)
    if several is False and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return choice


def _no_answer(what: str, client: Any) -> ModelError:
    return ModelError(
        safe(f"the reply {what}; does this server speak the Messages API?", client), kind="reply"
    )


def _read(raw: Any, client: Any, latency_s: float) -> Completion:
    try:
        reply = json.loads(raw.http_response.content)
    except (ValueError, RecursionError):
        raise _no_answer(f"is no JSON: {shorten(raw.http_response.text)}", client) from None
    blocks = reply.get("content") if isinstance(reply, dict) else None
    if not isinstance(blocks, list) or not all(isinstance(one, dict) and "type" in one for one in blocks):
        raise _no_answer(f"is no answer: {shorten(str(reply))}", client)
    found = MESSAGES.answered(reply)
    refusal = _refusal(reply, found.output) if found.finish_reason == "refusal" else ""
    api_url = address(raw)
    return Completion(
        # What was said before a refusal is no answer.
        text="" if refusal else found.output,
        model=found.model,
        finish_reason=found.finish_reason,
        usage=found.usage,
        tool_calls=() if refusal else tuple(found.tool_calls),
        latency_s=latency_s,
        cost_usd=prices.cost_usd(
            found.model, found.usage, api_url=api_url, provider="anthropic", beside=found.priced
        )
        if api_url
        else None,
        refusal=refusal,
    )


def _refusal(reply: Mapping[str, Any], said: str) -> str:
    told = reply.get("stop_details")
    why = told.get("explanation") or told.get("category") if isinstance(told, Mapping) else None
    return why if isinstance(why, str) and why else said or "no reason was given"
