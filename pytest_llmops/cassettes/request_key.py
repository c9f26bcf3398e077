"""Keys of requests: a request is redacted, put into canonical form, and hashed.

The key ignores headers, the port of a loopback server, the order of JSON members and white space, the order of the
query, and the random boundary of a multipart body. `MatchRules` ignore JSON paths and query parameters, and apply the
user's normalizers.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from pytest_llmops._util.hosts import DEFAULT_PORTS, LOOPBACK, is_loopback
from pytest_llmops._util.json_path import Path, drop_path, parse_path
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import MASK, is_secret_name, mask_params
from pytest_llmops.wire.body import unfold_body, unfold_json_body

Normalizer = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class MatchRules:
    """Parts of a request to ignore when matching recordings, in addition to the fixed parts.

    >>> MatchRules(("**.id",)).drop_ignored({"a": [{"id": 1, "b": 2}]})
    {'a': [{'b': 2}]}
    """

    ignore: tuple[str, ...] = ()
    normalizers: tuple[Normalizer, ...] = ()
    _paths: tuple[Path, ...] = field(init=False, default=())
    _params: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        parsed = [parse_path(path) for path in self.ignore]
        object.__setattr__(self, "_paths", tuple(path for path in parsed if path[0] != "?"))
        object.__setattr__(self, "_params", frozenset(str(path[1]) for path in parsed if path[0] == "?"))

    def __bool__(self) -> bool:
        return bool(self.ignore or self.normalizers)

    def drop_ignored(self, value: Any) -> Any:
        """Return a copy of parsed JSON without the ignored paths."""
        for path in self._paths:
            value = drop_path(value, path)
        return value

    def drop_params(self, url: str) -> str:
        """Return a URL without the ignored parameters of its query."""
        if not self._params:
            return url
        address, _, query = url.partition("?")
        kept = [
            pair
            for pair in parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
            if pair[0] not in self._params
        ]
        return f"{address}?{urlencode(kept, errors='surrogateescape')}" if kept else address

    def normalize_text(self, text: str) -> str:
        """Return a text after all normalizers."""
        for normalize in self.normalizers:
            text = normalize(text)
        return text


KEY_LENGTH = 20
FORM_CONTENT_TYPE = "application/x-www-form-urlencoded"
SIGNATURE_PARAMS = frozenset({"x-amz-signature", "x-goog-signature", "sig", "signature"})
# Parameters that a presigned URL of S3, CloudFront, Google or Azure gets with its signature: they differ
# each time
_SIGNED_PARAM = re.compile(
    r"(?:x-(?:amz|goog)-(?:date|expires|algorithm|signedheaders)|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid"
    r"|s[etv]|sk[etv]|skoid|sktid|sks)\Z",
    re.IGNORECASE,
)
NO_RULES = MatchRules()
_CANONICAL_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_BOUNDARY = re.compile(r"boundary=\"?([^\";,\s]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Question:
    """A request as it is matched with recordings, by its key.

    Attributes:
        json: The parsed body if it is JSON.
        address: Host and port; the key treats all servers on this machine as equal.
    """

    method: str
    url: str
    body: bytes
    content_type: str
    key: str
    json: object = None
    address: str = ""


@lru_cache(maxsize=1024)
def canonical_url(url: str) -> str:
    """Return a URL without user, fragment and loopback port, with sorted query and masked secrets.

    Of a presigned URL the time and the account of its signature are masked too.

    >>> canonical_url("http://localhost:8080/v1/chat?b=1&a=2&api_key=x#f")
    'http://loopback/v1/chat?a=2&api_key=%5Bsecret%5D&b=1'
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
        pairs = sorted(parse_qsl(parts.query, keep_blank_values=True, errors="surrogateescape"))
        signed = any(name.lower() in SIGNATURE_PARAMS for name, _ in pairs)
        query = urlencode(
            [
                (name, MASK if is_secret_name(name) or (signed and _SIGNED_PARAM.match(name)) else value)
                for name, value in pairs
            ],
            errors="surrogateescape",
        )
    except ValueError:  # no client can send it
        return url
    place = f"[{host}]" if ":" in host else host
    place += "" if port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{port}"
    address = f"{parts.scheme}://{LOOPBACK if is_loopback(host) else place}{parts.path or '/'}"
    return f"{address}?{query}" if query else address


def build_question(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    redactor: Redactor,
    *,
    rules: MatchRules = NO_RULES,
    masked: bool = False,
) -> Question:
    """Return a request in the form that is matched; the redactor learns the request's credentials.

    Args:
        method: The method.
        url: The address.
        headers: The headers, with lower-case names.
        body: The body.
        redactor: Masks secrets.
        rules: Parts of a request to ignore.
        masked: Whether the body is taken to hold no secrets.
    """
    redactor.learn_headers(headers)
    content_type = headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if "?" in url:
        redactor.learn_params(url.encode("utf-8", "surrogatepass"))
    if kind == FORM_CONTENT_TYPE:
        redactor.learn_params(body)
        body = mask_params(body)
    elif kind.startswith("multipart/") and (boundary := _BOUNDARY.search(content_type)):
        body = body.replace(b"--" + boundary[1].encode("latin-1", "replace"), b"--boundary")
    clean = body if masked else redactor.clean(body)
    masked_url = redactor.clean_text(canonical_url(url))
    method = method.upper()
    parsed, canonical = _canonicalize_body(clean)
    key = _hash_request(method, masked_url, parsed, canonical, rules)
    return Question(method, masked_url, clean, kind, key, parsed, _host_and_port(url))


@lru_cache(maxsize=1024)
def _host_and_port(url: str) -> str:
    try:
        parts = urlsplit(url)
        return f"{(parts.hostname or '').lower()}:{parts.port or ''}"
    except ValueError:
        return ""


def compute_key(method: str, url: str, body: bytes, rules: MatchRules = NO_RULES) -> str:
    """Return the key of a request in the form that a cassette keeps it."""
    return _hash_request(method, url, *_canonicalize_body(body), rules)


def compute_stored_key(method: str, url: str, stored: Mapping[str, Any], rules: MatchRules = NO_RULES) -> str:
    """Return the key of a request with a stored body; a body stored as parsed JSON is not serialized first.

    Raises:
        CassetteError: The body is invalid.
    """
    if "json" not in stored:
        return compute_key(method, url, unfold_body(stored), rules)
    value = unfold_json_body(stored)
    return _hash_request(method, url, value, _CANONICAL_ENCODER.encode(value).encode(), rules)


def comparable_url(url: str, rules: MatchRules) -> str:
    """Return a canonical URL without ignored parameters, after the normalizers."""
    return rules.normalize_text(rules.drop_params(url))


def comparable_body(body: bytes, rules: MatchRules) -> bytes:
    """Return a body as it is hashed: canonical JSON without ignored members, after the normalizers."""
    parsed, canonical = _canonicalize_body(body)
    return _apply_rules(parsed, canonical, rules)


def _apply_rules(parsed: object, canonical: bytes, rules: MatchRules) -> bytes:
    if not rules:
        return canonical
    if parsed is not None:
        canonical = _CANONICAL_ENCODER.encode(rules.drop_ignored(parsed)).encode()
    return rules.normalize_text(canonical.decode("utf-8", "surrogateescape")).encode(
        "utf-8", "surrogateescape"
    )


def _hash_request(method: str, url: str, parsed: object, canonical: bytes, rules: MatchRules) -> str:
    address = f"{method}\n{comparable_url(url, rules)}\n".encode("utf-8", "surrogatepass")
    return hashlib.sha256(address + _apply_rules(parsed, canonical, rules)).hexdigest()[:KEY_LENGTH]


def _canonicalize_body(body: bytes) -> tuple[object, bytes]:
    if body.lstrip(b" \t\r\n")[:1] not in (b"{", b"[", b'"'):
        return None, body
    try:
        parsed = json.loads(body)
        return parsed, _CANONICAL_ENCODER.encode(parsed).encode()
    except (ValueError, RecursionError):
        return None, body
