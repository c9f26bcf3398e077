"""Choose the wire format that reads a call, by its address and, where that is ambiguous, by the request."""

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
    """Return module name -> ``WIRE_FORMAT`` for all modules of `vendors`."""
    formats = {}
    for info in iter_modules(vendors.__path__):
        module = import_module(f"{vendors.__name__}.{info.name}")
        formats[info.name] = module.WIRE_FORMAT
    return formats


# The formats that come with the plugin
BUILT_IN: Mapping[str, WireFormat] = _load_built_in()
UNKNOWN = "unknown"
# Prefixes of Bedrock models that are offered in several regions: "us.anthropic.claude-..."
_REGIONS = ("us", "us-gov", "eu", "apac", "jp", "au", "ca", "global")


@dataclass(frozen=True, slots=True)
class Match:
    """An endpoint whose address fits a call.

    Attributes:
        model: The model in the path, or empty.
        needs_model: Whether the path is so common that only a request with a model counts as a call.
        has_stated_cost: Whether a price in the reply can be trusted as the price of the call.
    """

    provider: str
    endpoint: Endpoint
    model: str
    needs_model: bool
    has_stated_cost: bool

    def takes(self, request: JsonObject) -> bool:
        """Return whether a request to this address is a call of this endpoint, judged by its body."""
        if self.needs_model and not isinstance(request.get("model"), str):
            return False
        return self.endpoint.takes(request)


@dataclass(frozen=True, slots=True)
class Route:
    """The path and address of a request, with the endpoints that may belong to it.

    Attributes:
        provider: The provider of the host; ``unknown`` if no format lists the host.
        matches: The endpoints that fit the address, the best one first.
    """

    path: str
    address: str
    provider: str
    matches: Sequence[Match]

    def choose_match(self, request: JsonObject) -> Match | None:
        """Return the best match that also fits the request; None if no endpoint does."""
        for match in self.matches:
            if match.takes(request):
                return match
        return None


# The formats in use. The project's own come first: where one fits as well as a built-in one, it is chosen
_formats: dict[str, WireFormat] = {**BUILT_IN}
_own_formats: Mapping[str, WireFormat] = {}


def use_formats(own_formats: Mapping[str, WireFormat]) -> Mapping[str, WireFormat]:
    """From now on, also read calls by these formats of a project; return the project's formats that were in use before.

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
    """Return the provider of a host, or "" if no format lists it.

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
    """Return whether a host belongs to a known provider, or is the host of the configured server (``base_url``).

    On this machine, the port must be the port of the server, too, as other programs also listen here.

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
    """Return the route of an address. An address that cannot be parsed is a path without a host."""
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
    """Return the endpoints that fit a path on a host, the best first.

    Formats that apply only to their own hosts come first; then the endpoints that match more characters of the path, then of the
    model's name.
    """
    ranked: list[tuple[tuple[bool, int, int], Match]] = []
    for name, wire_format in _formats.items():
        if not wire_format.on_other_hosts and not wire_format.find_provider(host):
            continue
        for endpoint in wire_format.endpoints:
            matched_chars, model = _match_path(endpoint.path, path)
            if not matched_chars:
                continue
            model = unquote(model or wire_format.find_model(path))
            prefix = _find_prefix(endpoint, model)
            if prefix is not None:
                rank = (wire_format.on_other_hosts, -matched_chars, -len(prefix))
                ranked.append((rank, _make_match(name, wire_format, endpoint, host, model)))
    ranked.sort(key=itemgetter(0))
    return tuple(match for _, match in ranked)


def _match_path(expected: str | re.Pattern[str], path: str) -> tuple[int, str]:
    """Return (number of matched characters, model in the path or "") for the path of an endpoint; 0 characters if it does not fit."""
    if isinstance(expected, str):
        if path.endswith(expected):
            return len(expected), ""
        return 0, ""
    match = expected.search(path)
    if match is None:
        return 0, ""
    return len(match[0]), match.groupdict().get("model") or ""


def _find_prefix(endpoint: Endpoint, model: str) -> str | None:
    """Return the longest prefix in ``endpoint.models`` that the model's name has; None if it has none.

    Endpoints for all models have the prefix "". ARNs ("arn:.../NAME") and regions ("us.NAME") are removed from the name first.
    """
    name = model.rpartition("/")[2]
    region, _, rest = name.partition(".")
    if region in _REGIONS:
        name = rest
    prefixes = [prefix for prefix in endpoint.models if name.startswith(prefix)]
    return max(prefixes, key=len, default=None)


def _make_match(name: str, wire_format: WireFormat, endpoint: Endpoint, host: str, model: str) -> Match:
    """Return the match of an endpoint; ``name`` is the name of its format, ``model`` the model in the path."""
    provider = find_provider(host)
    provider_elsewhere = endpoint.provider or wire_format.provider or f"{name}-compatible"
    costs = wire_format.cost_providers
    return Match(
        provider=provider or provider_elsewhere,
        endpoint=endpoint,
        model=model,
        # Other applications have paths such as /completions, too.
        needs_model=not (provider or model or endpoint.is_unmistakable),
        has_stated_cost=costs is None or provider in costs,
    )


def check_formats(results: Iterable[object]) -> dict[str, WireFormat]:
    """Return the formats of a project by name.

    Args:
        results: The results of its hooks, each a mapping of names to formats.

    Raises:
        UsageError: A result is not a mapping of names to formats, or two formats have the same name.
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
