"""A request in the form that counts: redacted, canonical, and hashed into a key.

Headers do not count, nor the port of a loopback server, the order of a JSON object,
the order of the query, or the random boundary of a multipart body.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, urlencode, urlsplit

from pytest_llmops.cassettes.redact import MASK, SECRET_PARAMS, Redactor

LOOPBACK = "loopback"
KEY_LENGTH = 20
_BOUNDARY = re.compile(r"boundary=\"?([^\";,]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Question:
    """One request as the recorder sees it; equal keys are the same question."""

    method: str
    url: str
    body: bytes
    content_type: str
    key: str
    json: object = None
    """The parsed body, where it is JSON."""


@lru_cache(maxsize=512)
def is_loopback(host: str) -> bool:
    """Say whether a host is this machine.

    >>> is_loopback("127.0.0.1"), is_loopback("api.example.com")
    (True, False)
    """
    name = host.strip("[]").lower().rstrip(".")
    return (
        name in ("localhost", LOOPBACK, "::1", "0:0:0:0:0:0:0:1")
        or name.endswith(".localhost")
        or name.startswith("127.")
    )


@lru_cache(maxsize=1024)
def canonical_url(url: str) -> str:
    """Return the URL without user, fragment and loopback port, its query sorted and secrets masked.

    >>> canonical_url("http://localhost:8080/v1/chat?b=1&a=2&api_key=x#f")
    'http://loopback/v1/chat?a=2&api_key=%5Bsecret%5D&b=1'
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    port = (
        f":{parts.port}"
        if parts.port and (parts.scheme, parts.port) not in (("http", 80), ("https", 443))
        else ""
    )
    origin = f"{parts.scheme}://{LOOPBACK}" if is_loopback(host) else f"{parts.scheme}://{host}{port}"
    pairs = sorted(parse_qsl(parts.query, keep_blank_values=True))
    query = urlencode([(name, MASK if name.lower() in SECRET_PARAMS else value) for name, value in pairs])
    return f"{origin}{parts.path or '/'}{'?' + query if query else ''}"


def ask(method: str, url: str, headers: Mapping[str, str], body: bytes, redactor: Redactor) -> Question:
    """Return the question that a request is; the redactor learns the request's own credentials."""
    redactor.learn_headers(headers)
    content_type = headers.get("content-type", "")
    clean = redactor.clean(_steady(body, content_type))
    place = redactor.text(canonical_url(url))
    parsed, canonical = _canonical(clean)
    method = method.upper()
    digest = hashlib.sha256(b"\n".join((method.encode(), place.encode("utf-8", "surrogatepass"), canonical)))
    return Question(
        method,
        place,
        clean,
        content_type.partition(";")[0].strip().lower(),
        digest.hexdigest()[:KEY_LENGTH],
        parsed,
    )


def _steady(body: bytes, content_type: str) -> bytes:
    found = _BOUNDARY.search(content_type) if "multipart" in content_type else None
    return body.replace(found[1].encode(), b"boundary") if found else body


def _canonical(body: bytes) -> tuple[object, bytes]:
    if body[:1] not in (b"{", b"[", b'"'):
        return None, body
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None, body
    return parsed, json.dumps(parsed, sort_keys=True, separators=(",", ":")).encode()
