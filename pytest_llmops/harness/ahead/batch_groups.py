"""The common properties of a batch's requests, and calls of a batch API with the credentials of a test.

Every call has the credentials and the transport of the test whose answer it is about, so that no key is ever stored.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pytest_llmops._util.json_values import JsonObject, as_mapping, as_text, parse_json
from pytest_llmops.cassettes import Answer, Question, is_model_request
from pytest_llmops.errors import ModelError
from pytest_llmops.harness.ahead.batch_apis import ENDPOINTS, LIMITS, OK
from pytest_llmops.harness.ahead.sender import PAUSES_S, send_request
from pytest_llmops.harness.ahead.tapes import PendingRequest
from pytest_llmops.measurement import shorten_text
from pytest_llmops.redaction.secret_names import is_secret_name
from pytest_llmops.trace.routes import find_provider

MAX_TEXT = (
    300  # characters of a vendor's message; also the room for the id and address of a request in a batch
)
NOT_FOUND = 404
FIRST_REDIRECT = 300
# Beginnings of the names of headers that are not copied from the test's request to a request to the batch API
_DROPPED_HEADERS = ("content-", "transfer-", "idempotency-", "accept-encoding")
# Beginnings of the names of headers that all requests of a batch must share, in addition to the credentials
_BATCH_HEADERS = ("anthropic-", "openai-")
_TIMEOUTS_S = {"connect": 60.0, "read": 600.0, "write": 600.0, "pool": 60.0}
# Members of a live request that a batch does not take
_STREAM_MEMBERS = frozenset({"stream", "stream_options"})


@dataclass(frozen=True, slots=True)
class BatchGroup:
    """The common properties of the requests of a batch.

    Attributes:
        vendor: The vendor whose batch API accepts them. Empty: no batch API is known for them.
        endpoint: The end of the URL path, as ``/chat/completions``; empty: one without a batch API.
        base_url: The address of the API, without secrets.
        model: The model.
        headers: Names and values of the headers with credentials and options. They are secret.
    """

    vendor: str
    endpoint: str
    base_url: str
    model: str
    headers: tuple[tuple[str, str], ...]


def find_group(pending: PendingRequest) -> BatchGroup:
    """Return the properties that a request shares with others of its batch.

    A server that is of no known vendor is treated like the vendor whose endpoint it has: it may offer the same batch API, and if not, it
    refuses the batch.
    """
    url = urlsplit(str(pending.request.url))
    endpoint = _find_endpoint(url.path)
    vendor = ENDPOINTS.get(endpoint, "")
    if find_provider(url.hostname or "") not in ("", vendor):
        vendor = ""
    base_url = f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path.removesuffix(endpoint)}"
    return BatchGroup(
        vendor=vendor,
        endpoint=endpoint,
        base_url=pending.tape.config.redactor.clean_text(base_url),
        model=as_text(as_mapping(pending.question.json).get("model")),
        headers=tuple(pair for pair in sorted(pending.request.headers.items()) if _is_shared_header(pair[0])),
    )


def _find_endpoint(path: str) -> str:
    """Return the end of a URL path that has a batch API (``/chat/completions``), or "". Deployments of Azure have none."""
    if "/deployments/" in path:
        return ""
    for endpoint in ENDPOINTS:
        if path.endswith(endpoint):
            return endpoint
    return ""


def _is_shared_header(name: str) -> bool:
    """Return whether requests with different values of a header must not be in the same batch."""
    if name.startswith(_DROPPED_HEADERS):
        return False
    return is_secret_name(name) or name.startswith(_BATCH_HEADERS)


def is_batchable(pending: PendingRequest) -> bool:
    """Return whether a batch can take a request: it goes to a model, its client is httpx, and it is not a stream."""
    body = as_mapping(pending.question.json)
    if pending.module is None or not body or body.get("stream") is True:
        return False
    return is_model_request(pending.question)


def make_batch_body(pending: PendingRequest) -> JsonObject:
    """Return the body of a request as it is put into a batch."""
    body = json.loads(pending.request.content)
    return {name: value for name, value in body.items() if name not in _STREAM_MEMBERS}


class ChunkNumbers:
    """Numbers the batches of a group, so that none has more requests or bytes than its vendor accepts.

    Args:
        group: The group.
    """

    def __init__(self, group: BatchGroup) -> None:
        self._group = group
        self._max_count, self._max_size = LIMITS[group.vendor]
        self._count = 0
        self._size = 0

    def add(self, pending: PendingRequest) -> tuple[int, int]:
        """Return the pair that identifies the batch of the next request: requests with an equal pair are in the same batch."""
        self._count += self._count_inputs(pending.question)
        self._size += len(pending.request.content) + MAX_TEXT
        return self._count // self._max_count, self._size // self._max_size

    def _count_inputs(self, question: Question) -> int:
        """Return how many inputs a request has: the number of its texts for an embedding, else 1."""
        if self._group.endpoint != "/embeddings":
            return 1
        inputs = as_mapping(question.json).get("input")
        if isinstance(inputs, list):
            return len(inputs)
        return 1


@dataclass(frozen=True, slots=True)
class BatchCaller:
    """Sends requests to a batch API with the transport, address and credentials of a test's request.

    Args:
        pending: The request of the test.
        stopping: Set when the run is stopped: then tries follow each other without pauses.
    """

    pending: PendingRequest
    stopping: threading.Event

    def __call__(self, method: str, path: str, *, once: bool = False, **content: Any) -> Answer:
        """Send a request and return its answer.

        Args:
            method: The method.
            path: The path below the base URL.
            once: Whether to try it only once, as a request that seems to fail may nevertheless have created a batch.
            content: The body, as an argument of ``httpx.Request`` (``json=``, ``files=`` ...).

        Raises:
            ModelError: It was refused (kind ``request``), or it is not known whether it had an effect (kind ``server``).
        """
        request = self._make_request(method, path, content)
        tries: tuple[float, ...] = PAUSES_S
        if once:
            tries = PAUSES_S[:1]
        answer = Answer(0, {}, b"")
        for pause_s in tries:
            self.stopping.wait(pause_s)
            answer = self._try(request)
            if not answer.is_transient:
                break
        # Gateways answer 201 too. An answer without an id is an error, but the batch may have been created.
        is_good = OK <= answer.status < FIRST_REDIRECT
        if is_good and as_text(as_mapping(parse_json(answer.body)).get("id")):
            return answer
        if method == "GET" and answer.status in (OK, NOT_FOUND):
            return answer
        body = answer.body.decode("utf-8", "replace")
        text = shorten_text(self.pending.tape.config.redactor.clean_text(body), MAX_TEXT)
        kind = "request"
        if answer.is_transient or (is_good and once):
            kind = "server"
        raise ModelError(f"{method} {path}: status {answer.status}: {text}", kind=kind)

    def _make_request(self, method: str, path: str, content: Mapping[str, Any]) -> Any:
        """Return a request of httpx to another path of the same API, with the headers of the test's request."""
        original = self.pending.request
        base_path = original.url.path.removesuffix(find_group(self.pending).endpoint)
        headers = [pair for pair in original.headers.items() if not pair[0].startswith(_DROPPED_HEADERS)]
        request = self.pending.module.Request(
            method,
            original.url.copy_with(path=f"{base_path}{path}", query=original.url.query),
            headers=headers,
            extensions={"timeout": _TIMEOUTS_S},
            **content,
        )
        request.read()
        return request

    def _try(self, request: Any) -> Answer:
        """Send a request; an error of the network becomes an answer with status 500, so that it is tried again."""
        try:
            return send_request(self.pending.transport, request)
        except Exception as error:  # noqa: BLE001 -- of the network
            return Answer(500, {}, f"{type(error).__name__}: {error}".encode())
