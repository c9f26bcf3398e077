"""Ask a server with a single cheap request whether it answers."""

import http.client
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 5.0
USER_AGENT = "pytest-llmops set-up"
# Environment variables that HTTP clients take a proxy from, in any case
PROXY_VARIABLES = frozenset({"http_proxy", "https_proxy", "all_proxy"})

# Kept here because a cassette in use replaces them: the request must be neither recorded nor replayed
_HTTP_CONNECTION = http.client.HTTPConnection
_HTTPS_CONNECTION = http.client.HTTPSConnection


@dataclass(frozen=True, slots=True)
class ServerReply:
    """What came back from a server.

    Attributes:
        status: The HTTP status; None: no reply that can be read as HTTP, or none in time.
        problem: Why a call cannot succeed: nobody listens at the address; empty: it may succeed.
    """

    status: int | None = None
    problem: str = ""


class _PlainHandler(urllib.request.HTTPHandler):
    """Connects by the class of the standard library, whatever has replaced it."""

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_HTTP_CONNECTION, req)


class _TlsHandler(urllib.request.HTTPSHandler):
    """Connects by the class of the standard library, whatever has replaced it."""

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_HTTPS_CONNECTION, req, context=ssl.create_default_context())


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key must not reach another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


def request_status(
    url: str, headers: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S
) -> ServerReply:
    """Send a GET request and return how the server replied; the body of the reply is not read, and no redirect is followed.

    Only a refused connection and an unknown host are a problem, and only if the environment names no proxy: the client of the real call
    may use another proxy, be more patient, or know other certificates.

    Args:
        url: An address with ``http`` or ``https``.
        headers: Headers of the request, such as the key.
        timeout_s: Seconds to wait for the connection, and for the reply.

    >>> request_status("ftp://example.org").problem
    'expected an address with http:// or https://'
    """
    if not url.startswith(("http://", "https://")):
        return ServerReply(problem="expected an address with http:// or https://")
    opener = urllib.request.build_opener(_PlainHandler, _TlsHandler, _NoRedirect)
    try:
        request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT, **(headers or {})})  # noqa: S310 -- checked above
        with opener.open(request, timeout=timeout_s) as reply:
            return ServerReply(int(reply.status))
    except urllib.error.HTTPError as error:
        error.close()
        return ServerReply(error.code)
    except urllib.error.URLError as error:  # before the server had the request
        return ServerReply(problem=_describe_failure(error.reason))
    except (ValueError, http.client.InvalidURL):  # their text may hold a password
        return ServerReply(problem="expected the address of a server")
    except (OSError, http.client.HTTPException):  # slow, or speaking another protocol
        return ServerReply()


def has_proxy() -> bool:
    """Return whether the environment names a proxy."""
    return any(value and name.lower() in PROXY_VARIABLES for name, value in os.environ.items())


def _describe_failure(reason: object) -> str:
    """Return why nobody can be reached at an address; empty if another client may succeed."""
    if has_proxy():
        return ""
    if isinstance(reason, ConnectionRefusedError | socket.gaierror):
        return reason.strerror or type(reason).__name__
    return ""
