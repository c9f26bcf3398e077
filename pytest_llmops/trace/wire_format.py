"""The types that define a wire format: its hosts, its paths and the readers of its bodies.

Each of the built-in formats is a module of `vendors`; a project adds its own with the hook ``pytest_llmops_call_formats``.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TypeAlias

from pytest_llmops._util.json_values import JsonObject
from pytest_llmops.errors import UsageError
from pytest_llmops.protocols import Media, Message, ToolCall, ToolDefinition, Usage

_HOST = re.compile(r"[a-z0-9_.-]+")


@dataclass(slots=True)
class ParsedRequest:
    """The contents of a request.

    Attributes:
        unread: A note on each part that could not be read.
        model: The model's name; only needed if the field ``model`` of the request is not exactly this name.
    """

    messages: Sequence[Message] = ()
    tools: Sequence[ToolDefinition] = ()
    unread: Sequence[str] = ()
    model: str = ""


@dataclass(slots=True)
class ParsedReply:
    """The contents of a reply.

    Attributes:
        media: The images and sounds of the answer.
        known: Whether the reply has the shape of its format.
        priced: Further token counts that have their own price, under the names of the price table.
        cost_usd: The price, if the provider states it.
        unread: A note on each part that could not be read.
    """

    output: str = ""
    thinking: str = ""
    tool_calls: Sequence[ToolCall] = ()
    finish_reason: str = ""
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    known: bool = True
    priced: Mapping[str, int] = field(default_factory=dict)
    cost_usd: float | None = None
    unread: Sequence[str] = ()
    media: Sequence[Media] = ()


# A reply that was joined from the events of a stream, and whether the stream is complete
JoinedReply: TypeAlias = tuple[JsonObject, bool]


def take_first_event(events: Sequence[JsonObject]) -> JoinedReply:
    """Join the events of a format that has no streams: the first one is the reply."""
    if events:
        return events[0], True
    return {}, False


@dataclass(frozen=True, slots=True)
class CallFormat:
    """The readers of one kind of call.

    Attributes:
        read_request: Returns the contents of a request.
        read_reply: Returns the contents of a whole reply.
        join_events: Joins the events of a stream into a reply; returns it, and whether the last event has arrived.
    """

    read_request: Callable[[JsonObject], ParsedRequest]
    read_reply: Callable[[JsonObject], ParsedReply]
    join_events: Callable[[Sequence[JsonObject]], JoinedReply] = take_first_event


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One kind of call: how its requests are recognized, and the readers of their bodies.

    Attributes:
        name: The `endpoint` of its calls: ``chat``, ``embeddings`` ...
        path: The end of its paths (``/v1/chat``), or a pattern that is searched in a path; its group ``model``, if there is one,
            is the model.
        format: The readers.
        models: If the path contains the model: only models whose names begin with one of these have this format.
        with_keys: Keys that a request of this kind must have.
        without_keys: Keys that it must not have.
        provider: The provider on a host that no format lists; empty: the provider of the wire format.
        is_unmistakable: Whether no other application has such a path. On a host that no format lists, a request to any
            other path is a call only if the path or the body names a model.
        is_priced_by_path: Whether the price belongs to the model in the path, even if the reply names another one.
    """

    name: str
    path: str | re.Pattern[str]
    format: CallFormat
    _: KW_ONLY
    models: Sequence[str] = ("",)
    with_keys: Collection[str] = ()
    without_keys: Collection[str] = ()
    provider: str = ""
    is_unmistakable: bool = False
    is_priced_by_path: bool = False

    def takes(self, request: JsonObject) -> bool:
        """Return whether a request has all keys that this kind of call needs, and none that it must not have."""
        has_all = all(key in request for key in self.with_keys)
        return has_all and not any(key in request for key in self.without_keys)


@dataclass(frozen=True, slots=True)
class WireFormat:
    """The wire format of a vendor: its endpoints, and the hosts that are known to offer it.

    Attributes:
        endpoints: Its kinds of calls. If several fit a request, the one with the longest path is chosen, then the one with the
            longest prefix of the model's name.
        hosts: Host (``api.example.com``, in lower case) -> provider; its subdomains are included. A pattern has to match the
            whole host.
        on_other_hosts: Whether its paths are recognized on hosts that it does not list, too.
        provider: The provider on a host that no format lists; empty: the name of the format and ``-compatible``.
        model_path: A pattern to search for the model elsewhere in a path; its group ``model`` is the model.
        cost_providers: The providers whose replies state the price of a call; None: all of them do.
    """

    endpoints: Sequence[Endpoint]
    _: KW_ONLY
    hosts: Mapping[str | re.Pattern[str], str] = field(default_factory=dict)
    on_other_hosts: bool = False
    provider: str = ""
    model_path: re.Pattern[str] | None = None
    cost_providers: Collection[str] | None = None

    def find_provider(self, host: str) -> str:
        """Return the provider of a host, which must be in lower case; "" if this format does not list it."""
        for listed, provider in self.hosts.items():
            if isinstance(listed, re.Pattern) and listed.fullmatch(host):
                return provider
        labels = host.split(".")  # the host itself first, then its parent domains
        for start in range(len(labels)):
            parent = ".".join(labels[start:])
            if parent in self.hosts:
                return self.hosts[parent]
        return ""

    def find_model(self, path: str) -> str:
        """Return the model in the middle of a path (``/openai/deployments/<model>/chat``), still percent-encoded; "" without one."""
        if self.model_path is None:
            return ""
        match = self.model_path.search(path)
        if match is None:
            return ""
        return match["model"]


def check_format(name: str, value: object) -> None:
    """Check a format that a project registered under a name.

    Raises:
        UsageError: It is not a format, or one of its parts is of the wrong type.
    """
    if not isinstance(value, WireFormat):
        raise UsageError(f"{name!r}: expected a pytest_llmops.trace.WireFormat, got {type(value).__name__}")
    endpoints: object = value.endpoints
    if not isinstance(endpoints, Sequence):
        raise UsageError(f"{name!r}: endpoints: expected a list, got {type(endpoints).__name__}")
    for endpoint in endpoints:
        if not isinstance(endpoint, Endpoint):
            kind = type(endpoint).__name__
            raise UsageError(f"{name!r}: endpoints: expected a pytest_llmops.trace.Endpoint each, got {kind}")
        _check_endpoint(f"{name!r}: endpoint {endpoint.name!r}", endpoint)
    for host in value.hosts:
        if isinstance(host, str) and not _HOST.fullmatch(host):
            raise UsageError(f"{name!r}: hosts: expected a name such as 'api.example.com', got {host!r}")
    if not value.hosts and not value.on_other_hosts:
        raise UsageError(f"{name!r}: no call can have this format: give it hosts, or on_other_hosts=True")


def _check_endpoint(label: str, endpoint: Endpoint) -> None:
    """Check the path and the readers of an endpoint; ``label`` begins the messages of errors."""
    path: object = endpoint.path
    is_path_end = isinstance(path, str) and path.startswith("/")
    if not is_path_end and not isinstance(path, re.Pattern):
        raise UsageError(f"{label}: expected a path that begins with a slash, got {path!r}")
    readers: object = endpoint.format
    if not isinstance(readers, CallFormat):
        kind = type(readers).__name__
        raise UsageError(f"{label}: expected a pytest_llmops.trace.CallFormat, got {kind}")


def bedrock_path(operations: str) -> re.Pattern[str]:
    """Return a pattern for ``/model/<model>/<operation>`` of Bedrock; ``operations`` are separated by ``|``."""
    return re.compile(rf"/model/(?P<model>(?:(?!/model/).)+)/(?:{operations})$")


def google_path(methods: str, publisher: str = "") -> re.Pattern[str]:
    """Return a pattern for ``/models/<model>:<method>`` of Google; ``methods`` are separated by ``|``.

    Vertex also offers models of other publishers, whose paths contain ``/publishers/<publisher>``.
    """
    start = f"/publishers/{publisher}" if publisher else ""
    return re.compile(rf"{start}/(?:models|tunedModels|endpoints)/(?P<model>[^/:]+):(?:{methods})$")


def bedrock_invoke(
    name: str,
    call_format: CallFormat,
    *,
    models: Sequence[str] = ("",),
    with_keys: Collection[str] = (),
    without_keys: Collection[str] = (),
) -> Endpoint:
    """Return the endpoint of models that Bedrock's ``invoke`` offers with the request and reply bodies of their vendor."""
    return Endpoint(
        name,
        bedrock_path("invoke|invoke-with-response-stream"),
        call_format,
        models=models,
        with_keys=with_keys,
        without_keys=without_keys,
        provider="bedrock-compatible",
        is_priced_by_path=True,
    )


def vertex_raw_predict(name: str, call_format: CallFormat, publisher: str) -> Endpoint:
    """Return the endpoint of models that Vertex offers with the request and reply bodies of their publisher."""
    path = google_path("rawPredict|streamRawPredict", publisher)
    return Endpoint(name, path, call_format, provider="google-compatible")
