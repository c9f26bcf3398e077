"""Models and embedders of OpenAI-compatible servers, through the openai SDK."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, ClassVar

from pytest_llmops import recorder, trace
from pytest_llmops._util.arrays import Float32Array, np
from pytest_llmops._util.json_values import parse_json
from pytest_llmops.errors import ModelError, UsageError
from pytest_llmops.measurement import Json, as_finite_float
from pytest_llmops.protocols import Completion, Message, TokenChoice, ToolCall, Usage
from pytest_llmops.providers import embedding_arrays, openai_sdk, sdk_calls
from pytest_llmops.providers.sdk_calls import classify_status, mask_keys, pricing_facts
from pytest_llmops.redaction.secret_names import PLACEHOLDER_KEY
from pytest_llmops.settings import Api

__tracebackhide__ = True


@dataclass(slots=True)
class OpenAIModel:
    """A model behind an OpenAI-compatible server.

    Args:
        model: The model's name; empty: the name in the front matter of the prompt.
        base_url: Address of the server; empty: the SDK's default (``OPENAI_BASE_URL``, else OpenAI).
        api: ``chat`` (chat completions) or ``responses``.
        purpose: ``app`` or ``judge``, for the report; calls inside of a judge always count as the judge's.
        params: Parameters of every call; parameters of the prompt and of the call take precedence.
        client: A client of the openai SDK to use instead of a new one.
    """

    model: str
    base_url: str = ""
    api: Api = field(default="chat", repr=False)
    purpose: str = field(default="app", repr=False)
    params: Mapping[str, Json] = field(default_factory=dict, repr=False)
    client: Any = field(default=None, repr=False)
    asks_server: ClassVar[bool] = True
    takes_images: ClassVar[bool] = True

    def complete(self, messages: str | Sequence[Message], /, **params: Json) -> Completion:
        """Return the model's answer.

        Args:
            messages: A question, messages, or a rendered prompt with its own parameters, which ``params`` override. The images of a
                message are sent after its text.
            params: Parameters of the API.

        Raises:
            ModelError: The server is down, refuses, limits or is too slow, or replies with anything but an answer.
            UsageError: No model is named, the API has no such parameter, or the SDK is missing or too old.
        """
        model, conversation, merged = sdk_calls.resolve_call(self, messages, params, sdk="openai")
        client = self.client
        if client is None:
            # Not stored in `client`: that would make equal models unequal.
            client = new_client(self.base_url)
        started = time.perf_counter()
        with recorder.set_purpose(self.purpose):
            raw = _call_openai(partial(self._create, client, model, conversation, merged), model, client)
        latency_s = sdk_calls.response_latency(raw, time.perf_counter() - started)
        return _read_completion(raw, client, api=self.api, latency_s=latency_s)

    def _create(
        self,
        client: Any,
        model: str,
        conversation: Sequence[Message],
        params: Mapping[str, Json],
        **limit: Any,
    ) -> Any:
        """Send the request and return the raw reply; ``limit`` is the timeout of `call_sdk`, which ``params`` override."""
        messages = [
            {"role": message.role, "content": _format_content(message, self.api)} for message in conversation
        ]
        if self.api == "responses":
            # Compatible servers recognize an assistant's message only by its type.
            items = [{"type": "message", **message} for message in messages]
            arguments = {**limit, **to_responses_params(params)}
            responses = openai_sdk.find_responses_api(client)
            return responses.with_raw_response.create(model=model, input=items, **arguments)
        arguments = {**limit, **openai_sdk.adapt_chat_params(params)}
        return client.chat.completions.with_raw_response.create(model=model, messages=messages, **arguments)


def _format_content(message: Message, api: Api) -> str | list[dict[str, Any]]:
    """Return the content of a message as the API expects it: a text, or with images a list of parts."""
    images = sdk_calls.list_images(message)
    if not images:
        return message.content
    if api == "responses":
        parts: list[dict[str, Any]] = [{"type": "input_text", "text": message.content}]
        parts += [{"type": "input_image", "image_url": image.address} for image in images]
        return parts
    parts = [{"type": "text", "text": message.content}]
    parts += [{"type": "image_url", "image_url": {"url": image.address}} for image in images]
    return parts


def new_client(base_url: str) -> Any:
    """Return a client of the openai SDK; a server on this machine needs no key.

    Raises:
        UsageError: The environment has no key and the server is not on this machine, or key or address
            are invalid, or the SDK is missing or too old.
    """
    server = base_url or os.environ.get("OPENAI_BASE_URL", "")
    is_local = sdk_calls.is_local_server(server)
    key = sdk_calls.read_api_key("OPENAI_API_KEY")
    if not key and is_local:
        key = PLACEHOLDER_KEY
    if not key:
        raise UsageError(
            f"no API key for {server or 'the default server'}: set OPENAI_API_KEY, or llm_base_url to a server on this "
            "machine; recordings replay without a key with --llm-record=none"
        )
    return _shared_client(key, server)


@lru_cache(maxsize=8)
def _shared_client(key: str, server: str) -> Any:
    """Return a client that all tests of the process share: its creation needs some 20 ms and it has a connection pool."""
    return openai_sdk.make_client(key, server)


def _call_openai(create: Callable[..., Any], model: str, client: Any) -> Any:
    return sdk_calls.call_sdk(openai_sdk.import_sdk(), create, model, client)


# Limits of a request: OpenAI accepts 2,048 texts and 300,000 tokens; as a token has at least 1 byte, bytes are counted
MAX_BATCH_TEXTS = 2048
MAX_BATCH_BYTES = 300_000


@dataclass(slots=True)
class OpenAIEmbedder:
    """Embeddings of an OpenAI-compatible server; recorded like any other call.

    Requests contain each text only once, and no blank text. Vectors are not cached across calls: this would change the
    requests, and recordings would no longer match.

    Attributes:
        dimensions: Length of the vectors, if the model can shorten them; None: the model's default.
        default_threshold: None: no threshold is calibrated, so an assertion requires its own.
    """

    model: str = "text-embedding-3-small"
    base_url: str = ""
    client: Any = None
    name: str = "openai"
    default_threshold: float | None = None
    dimensions: int | None = None
    asks_server: ClassVar[bool] = True

    @property
    def version(self) -> str:
        """The model's name and the dimensions; vectors of two versions are never compared."""
        if self.dimensions is None:
            return self.model
        return f"{self.model}/{self.dimensions}"

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return a ``(len(texts), dim)`` float32 array of rows of unit length.

        A blank text has a row of zeros; no texts: ``(0, 0)``.

        Raises:
            ModelError: The call failed, or the reply has another number of vectors.
            UsageError: The key is missing, or the SDK is missing or too old.
        """
        unique_texts = [text for text in dict.fromkeys(texts) if text.strip()]
        parts = [self._request_vectors(batch) for batch in _split_batches(unique_texts)]
        if len({part.shape[1] for part in parts}) > 1:
            raise ModelError("embeddings: expected vectors of one length, got several", kind="reply")
        if parts:
            vectors = np.concatenate(parts)
        else:
            width = 0
            if texts:
                width = 1
            vectors = np.zeros((0, width), dtype=np.float32)
        unit_vectors = embedding_arrays.scale_to_unit(vectors)
        # The last row, of zeros, is for blank texts: their place is -1.
        rows = np.pad(unit_vectors, ((0, 1), (0, 0)))
        places = {text: place for place, text in enumerate(unique_texts)}
        return rows[[places.get(text, -1) for text in texts]]

    def _request_vectors(self, texts: list[str]) -> Float32Array:
        """Return the vectors of one request, a row for each text, as the server gives them (not of unit length).

        Raises:
            ModelError: The call failed, or the reply is not a finite vector for each text.
        """
        client = self.client
        if client is None:
            client = new_client(self.base_url or recorder.current_settings().base_url)
        arguments: dict[str, Any] = {"model": self.model, "input": texts}
        if self.dimensions is not None:
            arguments["dimensions"] = self.dimensions
        create = partial(client.embeddings.with_raw_response.create, **arguments)
        with recorder.set_purpose("embedder"):
            reply = _parse_raw_reply(_call_openai(create, self.model, client), client)
        try:
            embeddings = sorted(reply.data, key=lambda item: int(item.index))
            with np.errstate(over="ignore"):
                numbers = np.asarray([item.embedding for item in embeddings], np.float32)
                vectors = numbers.reshape(len(embeddings), -1)
        except (AttributeError, TypeError, ValueError):
            raise _gateway_error(reply, client) or _invalid_reply_error(
                "holds no vectors", reply, client=client
            ) from None
        if len(vectors) != len(texts):
            raise ModelError(f"embeddings: expected {len(texts)} vectors, got {len(vectors)}", kind="reply")
        if not np.isfinite(vectors).all():
            raise ModelError("embeddings: expected finite numbers, got others", kind="reply")
        return vectors


def _split_batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield lists of texts within the limits of a request; a text above `MAX_BATCH_BYTES` is a list of its own."""
    batch: list[str] = []
    room = MAX_BATCH_BYTES  # bytes that still fit into the batch
    for text in texts:
        size = len(text.encode("utf-8", "replace"))
        if batch and (len(batch) == MAX_BATCH_TEXTS or size > room):
            yield batch
            batch = []
            room = MAX_BATCH_BYTES
        batch.append(text)
        room -= size
    if batch:
        yield batch


MAX_SHOWN_CHARS = 200
ERROR_STATUSES = range(400, 600)  # only such an error code is taken as an HTTP status


def _invalid_reply_error(what: str, reply: object = "", *, client: Any) -> ModelError:
    """Return the error about a reply that is not an answer.

    Args:
        what: The problem; it continues "the reply ...".
        reply: The reply, or an exception about it; its text is quoted, and may contain the key.
        client: The client of the call; its keys are masked.
    """
    quoted = mask_keys(str(reply), client, MAX_SHOWN_CHARS)
    if quoted:
        what = f"{what}: {quoted}"
    return ModelError(f"the reply {what}; is this an OpenAI-compatible server?", kind="reply")


def _gateway_error(reply: Any, client: Any) -> ModelError | None:
    """Return the error that some gateways send with status 200, ``{"error": {"message": ...}}``; None for other replies.

    ``reply`` is a mapping, or an object of the SDK.
    """
    if isinstance(reply, Mapping):
        error = reply.get("error")
    else:
        error = getattr(reply, "error", None)
    message = error
    code = None
    if isinstance(error, Mapping):
        message = error.get("message")
        code = error.get("code")
    if not isinstance(message, str) or not message.strip():
        return None
    status = None
    if isinstance(code, int) and code in ERROR_STATUSES:
        status = code
    kind, step = classify_status(status or ERROR_STATUSES[-1])  # without a code: an error of the server
    text = mask_keys(message, client, MAX_SHOWN_CHARS)
    return ModelError(f"the server answered with an error: {text}; {step}", kind=kind, status=status)


def _parse_raw_reply(raw: Any, client: Any) -> Any:
    """Return the object that the SDK makes of a raw reply.

    Raises:
        ModelError: The reply is not JSON, or not an answer.
    """
    try:
        parsed = raw.parse()
    except Exception as error:  # noqa: BLE001 -- the SDK raises anything on a foreign reply
        body = parse_json(raw.http_response.content)
        what = "is not an answer"
        if body is None:
            what = "is not JSON"
        raise _gateway_error(body, client) or _invalid_reply_error(what, error, client=client) from None
    if isinstance(parsed, str):
        raise _invalid_reply_error("is not an answer", parsed, client=client)
    return parsed


def _read_completion(raw: Any, client: Any, *, api: Api, latency_s: float | None) -> Completion:
    """Return the answer in a raw reply.

    Raises:
        ModelError: It is not an answer.
    """
    reply = _parse_raw_reply(raw, client)
    try:
        if api == "responses":
            completion = _read_responses(reply, client)
        else:
            completion = _read_chat(reply, client)
    except (AttributeError, TypeError, KeyError, IndexError, ValueError):
        # The SDK does not check what servers send, so any field may have any type.
        raise _invalid_reply_error("is not an answer", reply, client=client) from None
    cost_usd = trace.cost_usd(completion.model, completion.usage, **pricing_facts(raw))
    return replace(completion, latency_s=latency_s, cost_usd=cost_usd)


def _read_chat(reply: Any, client: Any) -> Completion:
    """Read a reply of chat completions; raises anything if a field has a wrong type, see `_read_completion`."""
    if not getattr(reply, "choices", None):
        raise _gateway_error(reply, client) or _invalid_reply_error("holds no choice", client=client)
    choice = reply.choices[0]
    message = choice.message
    calls = [call for call in message.tool_calls or () if call.type == "function"]
    tool_calls = tuple(_read_tool_call(call.function, call.id) for call in calls)
    return Completion(
        text=_check_text(message.content),
        model=_check_text(reply.model),
        finish_reason=_check_text(choice.finish_reason),
        usage=_read_sdk_usage(reply.usage, "prompt_tokens", "completion_tokens"),
        tool_calls=tool_calls,
        # The SDK knows the field since 1.40; before, an object without it has no such attribute.
        refusal=_check_text(getattr(message, "refusal", None)),
        tokens=_read_tokens(getattr(getattr(choice, "logprobs", None), "content", None)),
    )


def _read_tokens(items: object) -> tuple[TokenChoice, ...]:
    """Return the tokens of an answer with their alternatives; none if the server gave none, or gave them in another form.

    Log-probabilities are an extra: an answer without them is still an answer.
    """
    if not isinstance(items, list):
        return ()
    tokens = []
    for item in items:
        alternatives = {}
        for choice in [*(getattr(item, "top_logprobs", None) or ()), item]:
            token = getattr(choice, "token", None)
            number = as_finite_float(getattr(choice, "logprob", None))
            if not isinstance(token, str) or number is None or number > 0:
                return ()
            alternatives[token] = number
        tokens.append(TokenChoice(token=item.token, alternatives=alternatives))
    return tuple(tokens)


def _read_tool_call(function: Any, call_id: object) -> ToolCall:
    return ToolCall(
        name=_check_text(function.name), arguments=_check_text(function.arguments), id=_check_text(call_id)
    )


def _read_responses(reply: Any, client: Any) -> Completion:
    """Read a reply of the Responses API; raises anything if a field has a wrong type, see `_read_completion`."""
    if reply.error is not None:
        reason = mask_keys(str(reply.error.message), client, MAX_SHOWN_CHARS)
        raise ModelError(f"the model gave up: {reason}", kind="server")
    if reply.output and not any(item.type for item in reply.output):
        raise TypeError  # items without a type: not a reply of the Responses API
    tool_calls = []
    texts = []
    refusals = []
    tokens: tuple[TokenChoice, ...] = ()
    for item in reply.output:
        if item.type == "function_call":
            tool_calls.append(_read_tool_call(item, item.call_id))
        elif item.type == "message":
            for part in item.content:
                if part.type == "output_text":
                    texts.append(_check_text(part.text))
                    tokens += _read_tokens(getattr(part, "logprobs", None))
            refusals += [_check_text(part.refusal) for part in item.content if part.type == "refusal"]
    finish_reason = reply.status
    if reply.incomplete_details:
        finish_reason = reply.incomplete_details.reason
    return Completion(
        text="".join(texts),
        model=_check_text(reply.model),
        finish_reason=_check_text(finish_reason),
        usage=_read_sdk_usage(reply.usage, "input_tokens", "output_tokens"),
        tool_calls=tuple(tool_calls),
        refusal="".join(refusals),
        tokens=tokens,
    )


def _check_text(value: object) -> str:
    """Return a text, or "" for None; a `TypeError` for anything else becomes "is not an answer" in `_read_completion`."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError
    return value


def _read_sdk_usage(wire: Any, into: str, out: str) -> Usage:
    """Read the token counts; ``into`` and ``out`` are the names of the input and output counts in this API."""
    input_details = getattr(wire, f"{into}_details", None)
    output_details = getattr(wire, f"{out}_details", None)
    return Usage(
        input_tokens=_read_sdk_count(wire, into),
        output_tokens=_read_sdk_count(wire, out),
        cached_tokens=_read_sdk_count(input_details, "cached_tokens"),
        reasoning_tokens=_read_sdk_count(output_details, "reasoning_tokens"),
    )


def _read_sdk_count(wire: Any, name: str) -> int | None:
    value = getattr(wire, name, None)
    if isinstance(wire, Mapping):  # an object that an older SDK has no class for
        value = wire.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return None


RESPONSES_LOGPROBS = "message.output_text.logprobs"


def to_responses_params(chat_params: Mapping[str, Json]) -> dict[str, Json]:
    """Convert parameters of chat completions for the Responses API, so that a prompt works with both; it has no ``seed``."""
    renamed = {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}
    params: dict[str, Json] = {}
    for name, value in chat_params.items():
        if name not in ("response_format", "seed", "logprobs"):
            params[renamed.get(name, name)] = value
    if chat_params.get("logprobs"):
        params["include"] = [RESPONSES_LOGPROBS]
    response_format = chat_params.get("response_format")
    if isinstance(response_format, Mapping):
        text_format = dict(response_format)
        inner = response_format.get("json_schema")
        if isinstance(inner, Mapping):
            text_format = {"type": response_format.get("type", "json_schema"), **inner}
        params["text"] = {"format": text_format}
    return params
