"""Models of servers with Anthropic's Messages API, through the anthropic SDK.

Callers use the parameters of chat completions; they are converted. A parameter that the Messages API does not have raises an error
that names it, before anything is sent; a judge then repeats its call without it.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, cast

from pytest_llmops import recorder, trace
from pytest_llmops._util.json_values import as_mapping, as_text
from pytest_llmops.errors import MissingExtra, ModelError, UsageError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Completion, Message
from pytest_llmops.providers import sdk_calls
from pytest_llmops.redaction.secret_names import PLACEHOLDER_KEY
from pytest_llmops.trace.vendors.anthropic import MESSAGES

__tracebackhide__ = True

MAX_TOKENS = 4096  # limit of a call without its own; the API requires a limit
# Parameters of chat completions that `messages.create` of the SDK (2.13) lacks
UNSUPPORTED_PARAMS = frozenset(
    {
        *("temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty", "n"),
        *("logprobs", "top_logprobs", "functions", "function_call", "reasoning_effort", "verbosity", "user"),
        *("prediction", "modalities", "audio", "store", "stream_options", "web_search_options"),
        *("prompt_cache_key", "safety_identifier", "logit_bias"),
    }
)
# Keywords of JSON Schema that the API does not accept; the SDK removes them from schemas that it generates itself
UNSUPPORTED_KEYWORDS = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "maxItems", "uniqueItems"),
    }
)
# Keywords whose value maps names to schemas
_NAMED_SCHEMA_KEYWORDS = frozenset(
    {"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"}
)
# Keywords whose value is a schema or a list of schemas
_SUBSCHEMA_KEYWORDS = frozenset(
    {
        *("items", "prefixItems", "additionalItems", "contains", "additionalProperties", "propertyNames"),
        *("anyOf", "oneOf", "allOf", "not", "if", "then", "else"),
        *("unevaluatedItems", "unevaluatedProperties"),
    }
)


@dataclass(slots=True)
class AnthropicModel:
    """A model of a server with the Messages API.

    Args:
        model: The model's name; empty: the name in the front matter of the prompt.
        base_url: Address of the server; empty: the SDK's default (``ANTHROPIC_BASE_URL``, else Anthropic).
        purpose: ``app`` or ``judge``, for the report; calls inside of a judge always count as the judge's.
        params: Parameters of every call; parameters of the prompt and of the call take precedence.
        client: A client of the anthropic SDK to use instead of a new client, for credentials other than
            ``ANTHROPIC_API_KEY`` and ``ANTHROPIC_AUTH_TOKEN``.
    """

    model: str
    base_url: str = ""
    purpose: str = "app"
    params: Mapping[str, Json] = field(default_factory=dict)
    client: Any = None
    asks_server: ClassVar[bool] = True
    takes_images: ClassVar[bool] = True
    address_variable: ClassVar[str] = "ANTHROPIC_BASE_URL"

    def complete(self, messages: str | Sequence[Message], /, **params: Json) -> Completion:
        """Return the model's answer.

        Args:
            messages: A question, messages, or a rendered prompt with its own parameters, which ``params`` override.
                Messages of the roles system and developer become the request's ``system``, in their order. The images of a
                message are sent after its text.
            params: Parameters of the API, or parameters of chat completions that it has too: ``response_format`` (a
                JSON schema), ``tools``, ``tool_choice``, ``max_completion_tokens``, ``stop``. The default limit is
                `MAX_TOKENS`. A parameter that is None is not sent.

        Raises:
            MissingExtra: The anthropic SDK is not installed.
            ModelError: The server is down, refuses, limits or is too slow, or replies with anything but an answer;
                or the API lacks a parameter, and nothing is sent.
            UsageError: No model is named, the key is missing, or neither API has such a parameter.
        """
        model, conversation, merged = sdk_calls.resolve_call(
            self, messages, params, sdk="anthropic", prefix="anthropic:"
        )
        if merged.get("tools") and "judge" in (self.purpose, recorder.current_purpose()):
            # A verdict is a single tool call; some models would repeat it.
            merged = {"parallel_tool_calls": False, **merged}
        request = {**_convert_messages(model, conversation), **_convert_params(model, merged)}
        client = self.client or new_client(self.base_url)
        started = time.perf_counter()
        with recorder.set_purpose(self.purpose):
            raw = _send_request(client, model, request)
        return _read_completion(raw, client, sdk_calls.response_latency(raw, time.perf_counter() - started))


def new_client(base_url: str) -> Any:
    """Return a client of the anthropic SDK; a server on this machine needs no key.

    Raises:
        MissingExtra: The SDK is not installed.
        UsageError: The environment has no key and the server is not on this machine, or key or address
            are invalid.
    """
    server = base_url or os.environ.get(AnthropicModel.address_variable, "")
    is_local = sdk_calls.is_local_server(server)
    key = sdk_calls.read_api_key("ANTHROPIC_API_KEY")
    token = ""
    if not key:
        token = sdk_calls.read_api_key("ANTHROPIC_AUTH_TOKEN")
    if not key and not token:
        if not is_local:
            raise UsageError(
                f"no API key for {server or 'api.anthropic.com'}: set ANTHROPIC_API_KEY, or ANTHROPIC_BASE_URL "
                "to a server on this machine, or hand in a client; recordings replay without a key with --llm-record=none"
            )
        key = PLACEHOLDER_KEY
    return _shared_client(key, token, server)


@lru_cache(maxsize=8)
def _shared_client(key: str, token: str, server: str) -> Any:
    """Return a client that all tests of the process share; empty values are left to the SDK."""
    sdk = _import_sdk()
    return sdk.Anthropic(api_key=key or None, auth_token=token or None, base_url=server or None)


def _import_sdk() -> Any:
    """Return the module `anthropic`; its own missing dependency is another error than a missing extra."""
    try:
        import anthropic
    except ImportError as error:
        if error.name != "anthropic":
            raise UsageError(f"the package anthropic cannot be imported: {error}") from None
        raise MissingExtra("a model named anthropic:NAME", "anthropic", "anthropic") from None
    return anthropic


def _send_request(client: Any, model: str, request: Mapping[str, Any]) -> Any:
    """Send a request and return the raw reply; a ``timeout`` of the request takes precedence over the limit of `call_sdk`."""

    def create(**limit: Any) -> Any:
        return client.messages.with_raw_response.create(model=model, **{**limit, **request})

    return sdk_calls.call_sdk(_import_sdk(), create, model, client)


def _unsupported_error(model: str, what: str, step: str) -> ModelError:
    """Return the error for something the API lacks: ``what`` continues "the Messages API ...", ``step`` is the next step of the user."""
    return sdk_calls.model_error(model, None, "request", f"was not called: the Messages API {what}; {step}")


def _convert_messages(model: str, conversation: Sequence[Message]) -> dict[str, Any]:
    """Return ``messages`` and, if there are system messages, their joined texts as ``system``."""
    system = []
    messages = []
    for message in conversation:
        if message.role in ("system", "developer"):
            system.append(message.content)
            continue
        if message.role == "tool":
            raise _unsupported_error(
                model, "has no message of the role tool", "ask the anthropic SDK with a tool_result block"
            )
        messages.append({"role": message.role, "content": _format_content(message)})
    arguments: dict[str, Any] = {"messages": messages}
    if system:
        arguments["system"] = "\n\n".join(system)
    return arguments


def _format_content(message: Message) -> str | list[dict[str, Any]]:
    """Return the content of a message as the API expects it: a text, or with images a list of blocks."""
    images = sdk_calls.list_images(message)
    if not images:
        return message.content
    blocks: list[dict[str, Any]] = [{"type": "text", "text": message.content}]
    for image in images:
        source = {"type": "url", "url": image.url}
        if image.data:
            source = {"type": "base64", "media_type": f"image/{image.type}", "data": image.data}
        blocks.append({"type": "image", "source": source})
    return blocks


def _convert_params(model: str, wanted: Mapping[str, Json]) -> dict[str, Any]:
    """Convert parameters of chat completions for the Messages API; parameters that are None are left out."""
    wanted = {name: value for name, value in wanted.items() if value is not None}
    unsupported = [name for name in wanted if name in UNSUPPORTED_PARAMS]
    if unsupported:
        raise _unsupported_error(
            model,
            f"has no parameter {_quote_names(unsupported)}",
            "leave it out, or put it into `extra_body` for a server that has it",
        )
    renamed = {"max_completion_tokens": "max_tokens", "stop": "stop_sequences"}
    converted_below = ("response_format", "tools", "tool_choice", "parallel_tool_calls", "stream")
    params: dict[str, Any] = {"max_tokens": MAX_TOKENS}
    for name, value in wanted.items():
        if name not in converted_below:
            params[renamed.get(name, name)] = value
    if isinstance(params.get("stop_sequences"), str):
        params["stop_sequences"] = [params["stop_sequences"]]
    if "response_format" in wanted:
        params |= _convert_response_format(model, wanted["response_format"], params.get("output_config"))
    if wanted.get("tools"):
        params["tools"] = [_convert_tool(tool) for tool in cast("Sequence[Any]", wanted["tools"])]
    parallel = wanted.get("parallel_tool_calls")
    chosen = wanted.get("tool_choice")
    if not params.get("tools"):
        # The API refuses tool_choice without tools. A choice that changes nothing is left out; others are sent, for its error.
        parallel = None
        if chosen in ("auto", "none"):
            chosen = None
    choice = _convert_tool_choice(chosen, parallel=parallel)
    if choice:
        params["tool_choice"] = choice
    return params


def _convert_response_format(model: str, response_format: Any, config: Any) -> dict[str, Any]:
    """Return {"output_config": ...} for a response format, {} for plain text; ``config`` is an ``output_config`` of the call to extend."""
    kind = response_format
    schema = None
    if isinstance(response_format, Mapping):
        kind = response_format.get("type")
        inner = response_format.get("json_schema")
        if kind == "json_schema" and isinstance(inner, Mapping):
            schema = inner.get("schema")
    if kind == "text":
        return {}
    if not isinstance(schema, Mapping):
        got = "without a type"
        if kind is not None:
            got = shorten_text(str(kind), 40)
        raise _unsupported_error(
            model,
            f"has no `response_format` {got}",
            "give a json_schema with its schema",
        )
    unsupported = sorted(set(_find_unsupported_keywords(schema)))
    if unsupported:
        raise _unsupported_error(
            model,
            f"does not support {_quote_names(unsupported)} in a schema",
            "take it out, or check the answer afterwards",
        )
    output_config = {"format": {"type": "json_schema", "schema": schema}}
    if isinstance(config, Mapping):
        output_config = {**config, **output_config}
    return {"output_config": output_config}


def _quote_names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _find_unsupported_keywords(schema: object) -> Iterator[str]:
    """Yield the keywords in a schema that the API does not accept; a property that is called "minimum" is not a keyword."""
    if isinstance(schema, list):
        for element in schema:
            yield from _find_unsupported_keywords(element)
    if not isinstance(schema, Mapping):
        return
    for key, value in schema.items():
        if key in UNSUPPORTED_KEYWORDS or (key == "minItems" and value not in (0, 1)):
            yield key
        elif key in _NAMED_SCHEMA_KEYWORDS and isinstance(value, Mapping):
            yield from _find_unsupported_keywords(list(value.values()))
        elif key in _SUBSCHEMA_KEYWORDS:
            yield from _find_unsupported_keywords(value)


def _convert_tool(given: Any) -> Any:
    """Convert a function of chat completions to a tool; a tool that the API defines itself is returned unchanged."""
    if not isinstance(given, Mapping) or given.get("type") != "function":
        return given
    function = _find_function(given)
    tool = {}
    for name in ("name", "description", "strict"):
        if function.get(name) is not None:
            tool[name] = function[name]
    tool["input_schema"] = function.get("parameters") or {"type": "object", "properties": {}}
    return tool


def _find_function(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the function in a tool or tool choice: under ``function``, or, as in the Responses API, the object itself."""
    inner = given.get("function")
    if isinstance(inner, Mapping):
        return inner
    return given


def _convert_tool_choice(given: Any, *, parallel: Json) -> dict[str, Any]:
    """Return ``tool_choice`` for a choice and ``parallel_tool_calls`` of chat completions; {} if both are left out."""
    choice: dict[str, Any] = {}
    if given == "required":
        choice = {"type": "any"}
    elif isinstance(given, str):
        choice = {"type": given}
    elif isinstance(given, Mapping) and given.get("type") == "function":
        choice = {"type": "tool", "name": _find_function(given).get("name")}
    elif isinstance(given, Mapping):
        choice = dict(given)
    if parallel is False and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return choice


def _unreadable_reply_error(what: str, client: Any) -> ModelError:
    """Return the error about a reply; ``what`` continues "the reply ..."."""
    text = f"the reply {what}; does this server speak the Messages API?"
    return ModelError(sdk_calls.mask_keys(text, client), kind="reply")


def _read_completion(raw: Any, client: Any, latency_s: float | None) -> Completion:
    """Return the answer in a raw reply.

    Raises:
        ModelError: It is not an answer.
    """
    try:
        reply = json.loads(raw.http_response.content)
    except (ValueError, RecursionError):
        text = shorten_text(raw.http_response.text)
        raise _unreadable_reply_error(f"is not JSON: {text}", client) from None
    if not _is_answer(reply):
        raise _unreadable_reply_error(f"is not an answer: {shorten_text(str(reply))}", client)
    answer = MESSAGES.read_reply(reply)
    text = answer.output
    tool_calls = tuple(answer.tool_calls)
    refusal = ""
    if answer.finish_reason == "refusal":
        details = as_mapping(reply.get("stop_details"))
        reason = as_text(details.get("explanation") or details.get("category"))
        refusal = reason or answer.output or "no reason was given"
        # The text before a refusal is not an answer.
        text = ""
        tool_calls = ()
    cost_usd = trace.cost_usd(
        answer.model,
        answer.usage,
        provider="anthropic",
        extra_counts=answer.priced,
        **sdk_calls.pricing_facts(raw),
    )
    return Completion(
        text=text,
        model=answer.model,
        finish_reason=answer.finish_reason,
        usage=answer.usage,
        tool_calls=tool_calls,
        latency_s=latency_s,
        cost_usd=cost_usd,
        refusal=refusal,
    )


def _is_answer(reply: object) -> bool:
    """Return whether a reply has the shape of an answer: a list of typed content blocks."""
    if not isinstance(reply, dict):
        return False
    blocks = reply.get("content")
    if not isinstance(blocks, list):
        return False
    return all(isinstance(block, dict) and "type" in block for block in blocks)
