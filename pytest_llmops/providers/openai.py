"""Any OpenAI-compatible server through the openai SDK: chat completions, Responses, embeddings."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_llmops import recorder
from pytest_llmops.errors import ModelError, UsageError
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Completion, Message
from pytest_llmops.providers.openai_responses import (
    gateway_error,
    invalid_reply_error,
    parse_raw_reply,
    read_chat,
    read_responses,
    read_untrusted_reply,
    to_responses_params,
)
from pytest_llmops.providers.sdk_errors import (
    call_sdk,
    is_local_server,
    missing_model_error,
    read_api_key,
    response_latency,
    server_address,
)
from pytest_llmops.redaction.redactor import PLACEHOLDER_KEY
from pytest_llmops.settings import Api

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray


@dataclass(slots=True)
class OpenAIModel:
    """A model behind an OpenAI-compatible server.

    Args:
        model: The model's name; empty: the one that the prompt names in its front matter.
        base_url: The server; empty: the SDK's own (``OPENAI_BASE_URL``, else OpenAI).
        api: ``chat`` (chat completions) or ``responses``.
        purpose: ``app`` or ``judge``: whose calls these are in the report. What a judge asks is always its own.
        params: Parameters of every call; those of the prompt and of the call come first.
        client: A client of the openai SDK to use instead of a new one.
    """

    model: str
    base_url: str = ""
    api: Api = "chat"
    purpose: str = "app"
    params: Mapping[str, Json] = field(default_factory=dict)
    client: Any = None
    asks_server: ClassVar[bool] = True

    def complete(self, messages: str | Sequence[Message], /, **params: Json) -> Completion:
        """Ask the model and return its answer.

        Args:
            messages: A question, messages, or a rendered prompt (whose parameters count, under ``params``).
            params: Parameters of the API.

        Raises:
            ModelError: The server is down, refuses, limits or takes too long, or its reply is no answer.
            UsageError: No model is named, or the API takes no such parameter.
        """
        __tracebackhide__ = True
        model = self.model or getattr(messages, "model", "")
        if not model:
            raise missing_model_error(self.purpose)
        sent_messages = (Message("user", messages),) if isinstance(messages, str) else tuple(messages)
        merged_params = {**self.params, **getattr(messages, "params", {}), **params}
        if merged_params.get("stream"):
            raise UsageError(
                "complete() returns the whole answer: leave `stream` out, or ask the openai SDK yourself"
            )
        conversation = [{"role": message.role, "content": message.content} for message in sent_messages]
        client = self._client()
        started = time.perf_counter()
        with recorder.set_purpose(self.purpose):
            raw = _call_openai(self._create, model, client, client, model, conversation, merged_params)
        took = response_latency(raw, time.perf_counter() - started)
        read = read_responses if self.api == "responses" else read_chat
        return read_untrusted_reply(
            read, parse_raw_reply(raw, client), client=client, latency_s=took, api_url=server_address(raw)
        )

    def _create(
        self, client: Any, model: str, conversation: list[dict[str, str]], wanted: Mapping[str, Json]
    ) -> Any:
        if self.api == "responses":
            # Compatible servers tell an assistant's message from other items by its type alone.
            items = [{"type": "message", **message} for message in conversation]
            return client.responses.with_raw_response.create(
                model=model, input=items, **to_responses_params(wanted)
            )
        return client.chat.completions.with_raw_response.create(model=model, messages=conversation, **wanted)

    def _client(self) -> Any:
        # The shared client is not kept here: a client of one's own tells models apart by what nobody can see.
        return self.client if self.client is not None else new_client(self.base_url)


def new_client(base_url: str) -> Any:
    """Return a client of the openai SDK; a server on this machine needs no key.

    Raises:
        UsageError: No key is in the environment, and the server is not on this machine; or key or address
            have a form that nothing could be sent with.
    """
    server = base_url or os.environ.get("OPENAI_BASE_URL", "")
    local = is_local_server(server)
    key = read_api_key("OPENAI_API_KEY") or (PLACEHOLDER_KEY if local else "")
    if not key:
        raise UsageError(
            f"no API key for {server or 'the default server'}: set OPENAI_API_KEY, or replay recordings with --llm-record=none"
        )
    return _shared_client(key, server)


@lru_cache(maxsize=8)
def _shared_client(key: str, server: str) -> Any:
    # A client costs some 20 ms and holds a connection pool: one serves all tests of the process.
    import openai

    return openai.OpenAI(api_key=key, base_url=server or None)


def _call_openai(create: Callable[..., Any], model: str, client: Any, *args: Any) -> Any:
    __tracebackhide__ = True
    import openai

    return call_sdk(openai, create, model, client, *args)


MAX_BATCH_TEXTS, MAX_BATCH_BYTES = 2048, 300_000
"""Of one request: OpenAI takes 2,048 texts and 300,000 tokens, and a token has at least one byte."""


@dataclass(slots=True)
class OpenAIEmbedder:
    """Embeddings of an OpenAI-compatible server; recorded like any other call.

    A text that stands in a call twice is asked for once, a blank one not at all. Nothing is kept across calls: it
    would change the requests, and no recording would answer them.

    Attributes:
        dimensions: Length of the vectors, where the model can shorten them; None: its own.
        default_threshold: None: no threshold is calibrated for it, an assertion has to name one.
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
        """The model's name, and the dimensions asked for: unlike vectors are never compared."""
        return self.model if self.dimensions is None else f"{self.model}/{self.dimensions}"

    def embed(self, texts: Sequence[str]) -> NDArray[float32]:
        """Return a ``(len(texts), dim)`` float32 array, rows of unit length, of a blank text zeros; no texts: ``(0, 0)``.

        Raises:
            ModelError: The server could not be asked, or answered with another number of vectors.
        """
        import numpy as np

        unique_texts = [text for text in dict.fromkeys(texts) if text.strip()]
        parts = [self._vectors(batch) for batch in _split_batches(unique_texts)]
        if len({part.shape[1] for part in parts}) > 1:
            raise ModelError("embeddings: expected vectors of one length, got several", kind="reply")
        vectors = np.concatenate(parts) if parts else np.zeros((0, 1 if texts else 0), dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        places = {text: place for place, text in enumerate(unique_texts)}
        # The last row is that of blank texts.
        return np.pad(unit, ((0, 1), (0, 0)))[[places.get(text, -1) for text in texts]]

    def _vectors(self, texts: list[str]) -> NDArray[float32]:
        import numpy as np

        client = self.client
        if client is None:
            client = new_client(self.base_url or recorder.current_settings().base_url)
        options = {} if self.dimensions is None else {"dimensions": self.dimensions}
        ask = partial(client.embeddings.with_raw_response.create, model=self.model, **options)
        with recorder.set_purpose("embedder"):
            reply = parse_raw_reply(_call_openai(partial(ask, input=texts), self.model, client), client)
        try:
            embeddings = sorted(reply.data, key=lambda item: int(item.index))
            with np.errstate(over="ignore"):
                vectors = np.asarray([item.embedding for item in embeddings], np.float32).reshape(
                    len(embeddings), -1
                )
        except (AttributeError, TypeError, ValueError):
            raise gateway_error(reply, client) or invalid_reply_error(
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
            batch, room = [], MAX_BATCH_BYTES
        batch.append(text)
        room -= size
    if batch:
        yield batch
