"""Combines the wire formats: which of them reads a call, by its address and, where that is ambiguous, by the request."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from operator import itemgetter
from pkgutil import iter_modules
from urllib.parse import SplitResult, unquote, urlsplit

from pytest_llmops._util.hosts import DEFAULT_PORTS, is_loopback
from pytest_llmops._util.json_values import JsonObject
from pytest_llmops.errors import UsageError
from pytest_llmops.trace import vendors
from pytest_llmops.trace.wire_format import Endpoint, WireFormat, check_format


def _load_built_in() -> dict[str, WireFormat]:
    """Return the format that each module of `vendors` states, by the name of the module."""
    formats = {}
    for info in iter_modules(vendors.__path__):
        module = import_module(f"{vendors.__name__}.{info.name}")
        formats[info.name] = module.WIRE_FORMAT
    return formats


# The formats that come with the plugin
BUILT_IN: Mapping[str, WireFormat] = _load_built_in()
UNKNOWN = "unknown"
# The first part of the name of a Bedrock model that is offered in several regions
_REGIONS = ("us", "us-gov", "eu", "apac", "jp", "au", "ca", "global")


@dataclass(frozen=True, slots=True)
class Match:
    """An endpoint whose address fits a call.

    Attributes:
        model: The model that the path names.
        needs_model: Whether only a request that names a model is a call, as the path alone is ambiguous.
        has_stated_cost: Whether the price that the reply states is that of the call.
    """

    provider: str
    endpoint: Endpoint
    model: str
    needs_model: bool
    has_stated_cost: bool

    def takes(self, request: JsonObject) -> bool:
        """Return whether a request to the address is a call of this kind."""
        if self.needs_model and not isinstance(request.get("model"), str):
            return False
        return self.endpoint.takes(request)


@dataclass(frozen=True, slots=True)
class Route:
    """The path and address of a request, with the endpoints that they fit.

    Attributes:
        provider: The provider of the host; ``unknown`` if no format lists it.
        matches: The endpoints, the one that fits best first.
    """

    path: str
    address: str
    provider: str
    matches: Sequence[Match]

    def choose_match(self, request: JsonObject) -> Match | None:
        """Return the endpoint of a request to this address; None: it is not known."""
        for match in self.matches:
            if match.takes(request):
                return match
        return None


# The formats of the project come first: where they fit as well as a built-in one, they are chosen
_formats: dict[str, WireFormat] = {**BUILT_IN}
_own_formats: Mapping[str, WireFormat] = {}


def use_formats(own_formats: Mapping[str, WireFormat]) -> Mapping[str, WireFormat]:
    """Read calls by the formats of a project, too, from here on; return those that were in use before.

    Args:
        own_formats: The formats by name, as `check_formats` returns them.
    """
    global _formats, _own_formats  # noqa: PLW0603 -- of the whole process
    before = _own_formats
    _own_formats = own_formats
    _formats = {**own_formats, **BUILT_IN}
    for cached in (find_provider, is_model_endpoint, find_route):
        cached.cache_clear()
    return before


@lru_cache(maxsize=256)
def find_provider(host: str) -> str:
    """Return the provider of a host, or "".

    >>> find_provider("us-central1-aiplatform.googleapis.com"), find_provider("api.openai.com"), find_provider("notopenai.com")
    ('vertex', 'openai', '')
    """
    host = host.lower().rstrip(".")
    for wire_format in _formats.values():
        provider = wire_format.find_provider(host)
        if provider:
            return provider
    return ""


@lru_cache(maxsize=256)
def is_model_endpoint(host: str, port: int | None, base_url: str) -> bool:
    """Return whether a host belongs to a known provider or is the configured server, on this machine with its port.

    >>> is_model_endpoint("api.openai.com", 443, ""), is_model_endpoint("127.0.0.1", 80, "http://127.0.0.1:8080/v1")
    (True, False)
    """
    parts = urlsplit(base_url)
    if host and host.lower().rstrip(".") == (parts.hostname or ""):
        if port is None or not is_loopback(host):
            return True
        return port == (parts.port or DEFAULT_PORTS.get(parts.scheme))
    return bool(find_provider(host))


@lru_cache(maxsize=256)
def find_route(url: str) -> Route:
    """Return the route of an address, whatever it looks like."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = SplitResult("", "", url, "", "")
    path = parts.path.rstrip("/") or parts.path
    server = parts.netloc.rpartition("@")[2]
    host = server.partition(":")[0].lower().rstrip(".")
    return Route(
        path=path,
        address=f"{parts.scheme}://{parts.netloc}{path}",
        provider=find_provider(host) or UNKNOWN,
        matches=_find_matches(path, host),
    )


def _find_matches(path: str, host: str) -> tuple[Match, ...]:
    """Return the endpoints that fit a path on a host.

    The endpoints of a format for this host only come first; among the others, those that match more of the path, and of the
    model's name.
    """
    ranked: list[tuple[tuple[bool, int, int], Match]] = []
    for name, wire_format in _formats.items():
        if not wire_format.on_other_hosts and not wire_format.find_provider(host):
            continue
        for endpoint in wire_format.endpoints:
            size, model = _match_path(endpoint.path, path)
            if not size:
                continue
            model = unquote(model or wire_format.find_model(path))
            prefix = _find_prefix(endpoint, model)
            if prefix is not None:
                rank = (wire_format.on_other_hosts, -size, -len(prefix))
                ranked.append((rank, _make_match(name, wire_format, endpoint, host, model)))
    ranked.sort(key=itemgetter(0))
    return tuple(match for _, match in ranked)


def _match_path(expected: str | re.Pattern[str], path: str) -> tuple[int, str]:
    """Return how many characters of a path are an endpoint's, and the model that it names; 0: the path is not its."""
    if isinstance(expected, str):
        if path.endswith(expected):
            return len(expected), ""
        return 0, ""
    match = expected.search(path)
    if match is None:
        return 0, ""
    return len(match[0]), match.groupdict().get("model") or ""


def _find_prefix(endpoint: Endpoint, model: str) -> str | None:
    """Return the start of a model's name by which an endpoint takes it; None: it takes other models."""
    name = model.rpartition("/")[2]
    region, _, rest = name.partition(".")
    if region in _REGIONS:
        name = rest
    prefixes = [prefix for prefix in endpoint.models if name.startswith(prefix)]
    return max(prefixes, key=len, default=None)


def _make_match(name: str, wire_format: WireFormat, endpoint: Endpoint, host: str, model: str) -> Match:
    provider = find_provider(host)
    compatible = endpoint.provider or wire_format.provider or f"{name}-compatible"
    costs = wire_format.cost_providers
    return Match(
        provider=provider or compatible,
        endpoint=endpoint,
        model=model,
        # Applications use such paths, too.
        needs_model=not (provider or model or endpoint.is_unmistakable),
        has_stated_cost=costs is None or provider in costs,
    )


def check_formats(results: Iterable[object]) -> dict[str, WireFormat]:
    """Return the formats that a project's hooks gave, by name.

    Args:
        results: What each of the hooks returned.

    Raises:
        UsageError: It is not a mapping of names to formats, or two formats have the same name.
    """
    formats: dict[str, WireFormat] = {}
    for result in results:
        if not isinstance(result, Mapping):
            raise UsageError(f"expected a mapping of names to formats, got {type(result).__name__}")
        for name, wire_format in result.items():
            if not isinstance(name, str) or not name:
                raise UsageError(f"expected a name, got {name!r}")
            if name in BUILT_IN:
                raise UsageError(f"{name!r}: a built-in format has this name; choose another")
            if name in formats:
                raise UsageError(f"{name!r}: two formats have this name; choose another for one of them")
            check_format(name, wire_format)
            formats[name] = wire_format
    return formats
