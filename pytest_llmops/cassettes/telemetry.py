"""Requests in which a tracing SDK reports an agent's actions to its own service: they are not calls of the test.

They go out from a thread in the background, whenever it is time, with new ids and times in each run: a recording of one would never be
found again, and its miss would fail a test that has nothing to do with it. So only their exact addresses count: other requests of a test to
such a service (for a dataset, a prompt, a flag) are recorded as any request.
"""

import re
from functools import lru_cache
from urllib.parse import urlsplit

# The requests of each SDK, from its source: the method, the host, and the path
_ENDPOINTS: tuple[tuple[str, str, str], ...] = (
    # openai-agents 0.24, tracing/processors.py
    ("POST", r"api\.openai\.com", r"/v1/traces/ingest"),
    # langsmith 0.15, client.py: runs, and the settings of the server, which its thread reads first
    ("POST", r"(\w+\.)?api\.smith\.langchain\.com", r"/runs(/batch|/multipart)?"),
    ("PATCH", r"(\w+\.)?api\.smith\.langchain\.com", r"/runs/[0-9a-f-]{36}"),
    ("GET", r"(\w+\.)?api\.smith\.langchain\.com", r"/info"),
    # posthog 7.91, request.py (also what deepeval and others count their use with)
    ("POST", r"\w+\.i\.posthog\.com", r"(/i/v0/ai)?/batch/"),
    # Sentry, "Envelopes": a host for each organization
    ("POST", r"\w+\.ingest(\.\w+)?\.sentry\.io", r"/api/\d+/envelope/"),
)
# Requests to any host, as users can run the service themselves: the end of the path, and how its JSON begins
_ANY_HOST: tuple[tuple[re.Pattern[str], re.Pattern[bytes]], ...] = (
    # OTLP over HTTP (OpenTelemetry, "OTLP/HTTP request"): Logfire, Phoenix, Langfuse, Traceloop, LangSmith, CrewAI's own
    (re.compile(r"/v1/(traces|metrics|logs)\Z"), re.compile(rb'\A\s*\{\s*"resource(Spans|Metrics|Logs)"')),
    # Langfuse before OpenTelemetry, API reference "Ingestion"
    (re.compile(r"/api/public/ingestion\Z"), re.compile(rb'\A\s*\{\s*"batch"')),
)
_OTLP_CONTENT_TYPE = "application/x-protobuf"


def is_telemetry(method: str, url: str, content_type: str, body: bytes) -> bool:
    """Return whether a request is one of a tracing SDK.

    Args:
        method: The method.
        url: The address.
        content_type: The content type; an application may have an address such as ``/v1/logs`` too.
        body: The body.

    >>> is_telemetry("POST", "https://api.openai.com/v1/traces/ingest", "application/json", b"{}")
    True
    >>> is_telemetry("POST", "https://shop.example/v1/logs", "application/json", b'{"text": "hi"}')
    False
    """
    if has_telemetry_host(method, url):
        return True
    json_start = _find_json_start(method, url)
    if json_start is None:
        return False
    return content_type.startswith(_OTLP_CONTENT_TYPE) or json_start.match(body) is not None


@lru_cache(maxsize=256)
def has_telemetry_host(method: str, url: str) -> bool:
    """Return whether method, host and path belong to a tracing service, whatever the body of the request."""
    host, path = _split_url(url)
    return any(
        method.upper() == expected and re.fullmatch(host_pattern, host) and re.fullmatch(path_pattern, path)
        for expected, host_pattern, path_pattern in _ENDPOINTS
    )


def has_telemetry_address(method: str, url: str) -> bool:
    """Return whether a request may be one of a tracing SDK, judged by its address only."""
    return has_telemetry_host(method, url) or _find_json_start(method, url) is not None


@lru_cache(maxsize=256)
def _find_json_start(method: str, url: str) -> re.Pattern[bytes] | None:
    """Return how the JSON of a trace begins that is sent to such an address on any host; None for another address."""
    _, path = _split_url(url)
    if method.upper() != "POST":
        return None
    return next((start for ending, start in _ANY_HOST if ending.search(path)), None)


def _split_url(url: str) -> tuple[str, str]:
    """Return the host and path of an address; ("", "") if it cannot be parsed."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return parts.hostname or "", parts.path
