"""Patches that call a check with each HTTP request, without a tape and without importing any HTTP client."""

import functools
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from pytest_llmops.cassettes.http.late_patches import LatePatches
from pytest_llmops.cassettes.http.patching import Patch

# A function that raises if a request (method, URL) must not be sent
CheckRequest = Callable[[str, str], object]


def request_patches(check: CheckRequest) -> LatePatches:
    """Return patches that call a check before each request of http.client (so of requests, urllib3 and botocore), httpx and aiohttp.

    Args:
        check: Called with the method and the URL of each request; raises to refuse it.
    """
    patch_httpx = functools.partial(_patch_httpx, check)
    return LatePatches(
        {
            "http.client": functools.partial(_patch_http_client, check),
            "httpx": patch_httpx,
            "httpx2": patch_httpx,
            "aiohttp": functools.partial(_patch_aiohttp, check),
        }
    )


def _patch_http_client(check: CheckRequest, module: ModuleType) -> Iterator[Patch]:
    """Yield the patch of http.client: all that sends a request calls ``putrequest``."""

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def putrequest(self: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            check(method, _complete_url(self, url))
            return real(self, method, url, *args, **kwargs)

        return putrequest

    yield Patch(module.HTTPConnection, "putrequest", wrap)


def _complete_url(connection: Any, url: str) -> str:
    """Return the URL of a request with its host; over a proxy, ``url`` has it already."""
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
            check(request.method, str(request.url))
            return real(self, request)

        return handle_request

    def wrap_async(real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        async def handle_async_request(self: Any, request: Any) -> Any:
            check(request.method, str(request.url))
            return await real(self, request)

        return handle_async_request

    yield Patch(module.HTTPTransport, "handle_request", wrap_sync)
    yield Patch(module.AsyncHTTPTransport, "handle_async_request", wrap_async)


def _patch_aiohttp(check: CheckRequest, module: ModuleType) -> Iterator[Patch]:
    """Yield the patch of aiohttp's session."""

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        async def request(self: Any, method: str, str_or_url: Any, **kwargs: Any) -> Any:
            check(method, str(self._build_url(str_or_url)))
            return await real(self, method, str_or_url, **kwargs)

        return request

    yield Patch(module.ClientSession, "_request", wrap)
