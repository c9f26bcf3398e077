"""Patches that call a check with each HTTP request, without a tape and without importing any HTTP client."""

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

from pytest_llmops._util.hosts import split_address
from pytest_llmops._util.json_values import as_mapping, parse_json
from pytest_llmops.cassettes.late_patches import LatePatches
from pytest_llmops.cassettes.patch import Patch
from pytest_llmops.trace.routes import find_route, is_model_endpoint

# A function that returns the body of a request; None if its client does not have it at hand
ReadBody = Callable[[], bytes | str | None]
# A function that raises if a request (method, URL, body) must not be sent. With True, httpx answers it with an empty success instead.
CheckRequest = Callable[[str, str, ReadBody], bool | None]


def calls_model(url: str, read_body: ReadBody, base_url: str) -> bool:
    """Return whether a request calls a model.

    On the host of a model its path shows that. Elsewhere other applications have paths such as ``/responses`` too: there the path
    must belong only to a model's API, such as ``/chat/completions``, or the body must name a model.

    Args:
        url: Its URL.
        read_body: Returns its body.
        base_url: The address of the model server in the settings.

    >>> calls_model("https://llm.example/v1/chat/completions", lambda: None, "")
    True
    >>> calls_model("https://app.example/responses", lambda: b'{"text": "hi"}', "")
    False
    """
    route = find_route(url)
    if not route.matches:
        return False
    host, port = split_address(url)
    servers = (base_url, os.environ.get("OPENAI_BASE_URL", ""))
    if any(_is_model_host(host, port, server) for server in servers):
        return True
    if any(not match.needs_model for match in route.matches):
        return True
    body = as_mapping(parse_json(read_body() or b""))
    return route.choose_match(body) is not None


def _is_model_host(host: str, port: int | None, base_url: str) -> bool:
    """Return whether a host belongs to a known vendor or to a model server; a wrong URL of the server does not match."""
    with suppress(ValueError):
        return is_model_endpoint(host, port, base_url)
    return is_model_endpoint(host, port, "")


def request_patches(check: CheckRequest) -> LatePatches:
    """Return patches that call a check before each request of http.client (so of requests, urllib3 and botocore), httpx and aiohttp.

    Args:
        check: Called with the method, the URL and the body of each request; raises to refuse it. http.client sends the body later, so
            its requests have none here.
    """
    patch_httpx = functools.partial(_patch_httpx, check)
    return LatePatches(
        {
            "http.client": functools.partial(patch_http_client, check),
            "httpx": patch_httpx,
            "httpx2": patch_httpx,
            "aiohttp": functools.partial(patch_aiohttp, check),
        }
    )


def patch_http_client(check: CheckRequest, module: ModuleType) -> Iterator[Patch]:
    """Yield the patch of http.client: all that sends a request calls ``putrequest``."""

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def putrequest(self: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            # A recorded answer is read by a real connection too, from an object that sends nothing
            if not getattr(self.sock, "is_llmops_replay", False):
                check(method, _complete_url(self, url), _read_nothing)
            return real(self, method, url, *args, **kwargs)

        return putrequest

    yield Patch(getattr(module, "HTTPConnection", None), "putrequest", wrap)


def _read_nothing() -> None:
    """Return None: the body of this request is not at hand."""


def _complete_url(connection: Any, url: str | None) -> str:
    """Return the URL of a request with its host; over a proxy, ``url`` has it already. An empty one is ``/``, as http.client sends it."""
    url = url or "/"
    if not url.startswith("/"):
        return url
    host = getattr(connection, "_tunnel_host", None) or connection.host
    port = getattr(connection, "_tunnel_port", None) or connection.port
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    scheme = "http"
    if port == getattr(connection, "default_port", None) == 443:  # noqa: PLR2004 -- of https
        scheme = "https"
    return f"{scheme}://{host}:{port}{url}"


def _patch_httpx(check: CheckRequest, module: ModuleType) -> Iterator[Patch]:
    """Yield the patches of the transports of httpx or httpx2. Mocks and transports within the process are not patched."""

    def wrap_sync(real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def handle_request(self: Any, request: Any) -> Any:
            if check(request.method, str(request.url), functools.partial(_read_httpx_body, request)):
                return module.Response(200, content=b"{}")
            return real(self, request)

        return handle_request

    def wrap_async(real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        async def handle_async_request(self: Any, request: Any) -> Any:
            if check(request.method, str(request.url), functools.partial(_read_httpx_body, request)):
                return module.Response(200, content=b"{}")
            return await real(self, request)

        return handle_async_request

    yield Patch(getattr(module, "HTTPTransport", None), "handle_request", wrap_sync)
    yield Patch(getattr(module, "AsyncHTTPTransport", None), "handle_async_request", wrap_async)


def _read_httpx_body(request: Any) -> bytes | None:
    """Return the body of a request of httpx; None if it is a stream."""
    with suppress(RuntimeError):  # RequestNotRead of httpx, which is not imported for that
        body: bytes = request.content
        return body
    return None


def patch_aiohttp(check: CheckRequest, module: ModuleType) -> Iterator[Patch]:
    """Yield the patch of aiohttp's session."""

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        async def request(self: Any, method: str, str_or_url: Any, **kwargs: Any) -> Any:
            url = str(self._build_url(str_or_url))
            check(method, url, functools.partial(_read_aiohttp_body, self, kwargs))
            return await real(self, method, str_or_url, **kwargs)

        return request

    yield Patch(getattr(module, "ClientSession", None), "_request", wrap)


def _read_aiohttp_body(session: Any, options: Mapping[str, Any]) -> bytes | str | None:
    """Return the body of a request of aiohttp, from the arguments of the call; None if it is a form or a stream."""
    if options.get("json") is not None:
        text: bytes | str = session.json_serialize(options["json"])
        return text
    data = options.get("data")
    if isinstance(data, bytes | str):
        return data
    return None
