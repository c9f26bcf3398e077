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
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Completion, Message, ToolCall, Usage
from pytest_llmops.providers import embedding_arrays, sdk_calls
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
        params: Parameters of every call; those of the prompt and of the call take precedence.
        client: A client of the openai SDK to use instead of a new one.
    """

    model: str
    base_url: str = ""
    api: Api = field(default="chat", repr=False)
    purpose: str = field(default="app", repr=False)
    params: Mapping[str, Json] = field(default_factory=dict, repr=False)
    client: Any = field(default=None, repr=False)
    asks_server: ClassVar[bool] = True

    def complete(self, messages: str | Sequence[Message], /, **params: Json) -> Completion:
        """Return the model's answer.

        Args:
            messages: A question, messages, or a rendered prompt with its own parameters, which ``params`` override.
            params: Parameters of the API.

        Raises:
            ModelError: The server is down, refuses, limits or takes too long, or replies with anything but an answer.
            UsageError: No model is named, or the API has no such parameter.
        """
        model, conversation, merged = sdk_calls.resolve_call(self, messages, params, sdk="openai")
        # The shared client is not stored in `client`: that would make equal models unequal.
        if self.client is not None:
            client = self.client
        else:
            client = new_client(self.base_url)
        started = time.perf_counter()
        with recorder.set_purpose(self.purpose):
            raw = _call_openai(partial(self._create, client, model, conversation, merged), model, client)
        return _read_completion(
            raw,
            client,
            api=self.api,
            latency_s=sdk_calls.response_latency(raw, time.perf_counter() - started),
        )

    def _create(
        self,
        client: Any,
        model: str,
        conversation: Sequence[Message],
        params: Mapping[str, Json],
        **limit: Any,
    ) -> Any:
        messages = [{"role": message.role, "content": message.content} for message in conversation]
        if self.api == "responses":
            # Compatible servers recognize an assistant's message by its type alone.
            return client.responses.with_raw_response.create(
                model=model,
                input=[{"type": "message", **message} for message in messages],
                **{**limit, **to_responses_params(params)},
            )
        return client.chat.completions.with_raw_response.create(
            model=model, messages=messages, **{**limit, **params}
        )


def new_client(base_url: str) -> Any:
    """Return a client of the openai SDK; a server on this machine needs no key.

    Raises:
        UsageError: There is no key in the environment and the server is not on this machine, or key or address
            are invalid.
    """
    server = base_url or os.environ.get("OPENAI_BASE_URL", "")
    if sdk_calls.is_local_server(server):
        placeholder = PLACEHOLDER_KEY
    else:
        placeholder = ""
    key = sdk_calls.read_api_key("OPENAI_API_KEY") or placeholder
    if not key:
        raise UsageError(
            f"no API key for {server or 'the default server'}: set OPENAI_API_KEY, or llm_base_url to a server on this "
            "machine; what is recorded replays without a key with --llm-record=none"
        )
    return _shared_client(key, server)


@lru_cache(maxsize=8)
def _shared_client(key: str, server: str) -> Any:
    """A client takes some 20 ms and holds a connection pool, so all tests of the process share it."""
    import openai

    return openai.OpenAI(api_key=key, base_url=server or None)


def _call_openai(create: Callable[..., Any], model: str, client: Any) -> Any:
    import openai

    return sdk_calls.call_sdk(openai, create, model, client)


# Limits of a request: OpenAI takes 2,048 texts and 300,000 tokens, and a token has at least 1 byte
MAX_BATCH_TEXTS, MAX_BATCH_BYTES = 2048, 300_000


@dataclass(slots=True)
class OpenAIEmbedder:
    """Embeddings of an OpenAI-compatible server; recorded like any other call.

    A request holds each text once, and no blank text. Vectors are not cached across calls: this would change the
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
        """
        unique_texts = [text for text in dict.fromkeys(texts) if text.strip()]
        parts = [self._request_vectors(batch) for batch in _split_batches(unique_texts)]
        if len({part.shape[1] for part in parts}) > 1:
            raise ModelError("embeddings: expected vectors of one length, got several", kind="reply")
        if parts:
            vectors = np.concatenate(parts)
        else:
            vectors = np.zeros((0, 1 if texts else 0), dtype=np.float32)
        places = {text: place for place, text in enumerate(unique_texts)}
        # The last row is for blank texts.
        return np.pad(embedding_arrays.scale_to_unit(vectors), ((0, 1), (0, 0)))[
            [places.get(text, -1) for text in texts]
        ]

    def _request_vectors(self, texts: list[str]) -> Float32Array:
        if self.client is None:
            client = new_client(self.base_url or recorder.current_settings().base_url)
        else:
            client = self.client
        create = partial(
            client.embeddings.with_raw_response.create,
            model=self.model,
            input=texts,
            **({} if self.dimensions is None else {"dimensions": self.dimensions}),
        )
        with recorder.set_purpose("embedder"):
            reply = _parse_raw_reply(_call_openai(create, self.model, client), client)
        try:
            embeddings = sorted(reply.data, key=lambda item: int(item.index))
            with np.errstate(over="ignore"):
                vectors = np.asarray([item.embedding for item in embeddings], np.float32).reshape(
                    len(embeddings), -1
                )
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
    batch: list[str] = []
    room = MAX_BATCH_BYTES
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
ERROR_STATUSES = range(400, 600)  # HTTP statuses among the codes of errors


def _invalid_reply_error(what: str, reply: object = "", *, client: Any) -> ModelError:
    """Return the error about a reply that is not an answer.

    what: The problem.
    reply: The reply or an error about it, of any type; it may quote the key.
    client: The client of the call; its keys are masked.
    """
    quoted = mask_keys(str(reply), client, MAX_SHOWN_CHARS)
    return ModelError(
        f"the reply {what}{f': {quoted}' if quoted else ''}; is this an OpenAI-compatible server?",
        kind="reply",
    )


def _gateway_error(reply: Any, client: Any) -> ModelError | None:
    """Return the error that a gateway sends with status 200, ``{"error": {"message": ...}}``, or None."""
    if isinstance(reply, Mapping):
        error = reply.get("error")
    else:
        error = getattr(reply, "error", None)
    if isinstance(error, Mapping):
        message = error.get("message")
    else:
        message = error
    if not isinstance(message, str) or not message.strip():
        return None
    if isinstance(error, Mapping):
        code = error.get("code")
    else:
        code = None
    if isinstance(code, int) and code in ERROR_STATUSES:
        status = code
    else:
        status = None
    kind, step = classify_status(status or ERROR_STATUSES[-1])
    return ModelError(
        f"the server answered with an error: {mask_keys(message, client, MAX_SHOWN_CHARS)}; {step}",
        kind=kind,
        status=status,
    )


def _parse_raw_reply(raw: Any, client: Any) -> Any:
    """Return the SDK's object for a raw reply.

    Raises:
        ModelError: It is not JSON, or not an answer.
    """
    try:
        parsed = raw.parse()
    except Exception as error:  # noqa: BLE001 -- the SDK raises anything on a foreign reply
        body = parse_json(raw.http_response.content)
        if body is None:
            what = "is not JSON"
        else:
            what = "is not an answer"
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
    return replace(
        completion,
        latency_s=latency_s,
        cost_usd=trace.cost_usd(completion.model, completion.usage, **pricing_facts(raw)),
    )


def _read_chat(reply: Any, client: Any) -> Completion:
    if not getattr(reply, "choices", None):
        raise _gateway_error(reply, client) or _invalid_reply_error("holds no choice", client=client)
    choice = reply.choices[0]
    return Completion(
        text=_check_text(choice.message.content),
        model=_check_text(reply.model),
        finish_reason=_check_text(choice.finish_reason),
        usage=_read_sdk_usage(reply.usage, "prompt_tokens", "completion_tokens"),
        tool_calls=tuple(
            ToolCall(
                name=_check_text(call.function.name),
                arguments=_check_text(call.function.arguments),
                id=_check_text(call.id),
            )
            for call in choice.message.tool_calls or ()
            if call.type == "function"
        ),
        refusal=_check_text(choice.message.refusal),
    )


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
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return None


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
