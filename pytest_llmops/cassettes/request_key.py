"""Requests and their keys (redacted, in canonical form, hashed), and the recorded responses to them.

The key ignores headers, the port of a loopback server, the order of JSON members and white space, the order of the
query, and the random boundary of a multipart body. `MatchRules` ignore JSON paths and query parameters, and apply the
user's normalizers.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from pytest_llmops._util.hosts import DEFAULT_PORTS, LOOPBACK, is_loopback
from pytest_llmops._util.json_path import Path, drop_path, parse_path
from pytest_llmops.cassettes.outcome import Outcome
from pytest_llmops.recorder import Exchange, find_test_recorder
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import MASK, is_secret_name, mask_params
from pytest_llmops.wire.body import TIMINGS, fold_body, unfold_body, unfold_json_body, unfold_stream

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
        if kept:
            return f"{address}?{urlencode(kept, errors='surrogateescape')}"
        return address

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
        host = (parts.hostname or "").lower()
        port = parts.port
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
    if ":" in host:
        place = f"[{host}]"
    else:
        place = host
    if port in (None, DEFAULT_PORTS.get(parts.scheme)):
        place += ""
    else:
        place += f":{port}"
    address = f"{parts.scheme}://{LOOPBACK if is_loopback(host) else place}{parts.path or '/'}"
    if query:
        return f"{address}?{query}"
    return address


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
    for text, name in find_test_recorder().file_digests.items():
        body = body.replace(text, name)
    if masked:
        clean = body
    else:
        clean = redactor.clean(body)
    masked_url = redactor.clean_text(canonical_url(url))
    method = method.upper()
    parsed, canonical = _canonicalize_body(clean)
    return Question(
        method,
        masked_url,
        clean,
        kind,
        _hash_request(method, masked_url, parsed, canonical, rules),
        parsed,
        _host_and_port(url),
    )


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
    return hashlib.sha256(
        f"{method}\n{comparable_url(url, rules)}\n".encode("utf-8", "surrogatepass")
        + _apply_rules(parsed, canonical, rules)
    ).hexdigest()[:KEY_LENGTH]


def _canonicalize_body(body: bytes) -> tuple[object, bytes]:
    if body.lstrip(b" \t\r\n")[:1] not in (b"{", b"[", b'"'):
        return None, body
    try:
        parsed = json.loads(body)
        return parsed, _CANONICAL_ENCODER.encode(parsed).encode()
    except (ValueError, RecursionError):
        return None, body


# Recorded headers of a response; all others describe the account or the moment. The encoding: if the body
# is encoded.
RECORDED_HEADERS = (
    "content-type",
    "content-encoding",
    "retry-after",
    "x-should-retry",
    "location",
    "x-amzn-errortype",
)

# Headers that `llm_record_headers` does not add, as credentials: accounts, the framing, and those that are
# recorded anyway
UNRECORDED_HEADERS = frozenset(
    {
        "set-cookie",
        "content-length",
        "transfer-encoding",
        "connection",
        "openai-organization",
        "openai-project",
        *RECORDED_HEADERS,
    }
)

# Statuses that depend on the caller or the moment; they are not recorded, nor are 5xx
UNRECORDED_STATUSES = frozenset({401, 403, 407, 408, 409, 425, 429})

RETRIED_STATUSES = frozenset({408, 409, 425, 429})  # statuses after which clients retry, in addition to 5xx


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: decoded body, recorded headers, and the duration of the live call.

    Attributes:
        pieces: The body in the pieces it is replayed in: the events of a stream.
        outcome: How the call ended without a whole answer; with status 0 nothing of the answer had come.
        is_batched: Whether a batch API gave it, at a lower price and without a latency.
        amend: Of an answer that was asked live in this run, before its request: records another one in its place.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    latency_s: float | None = None
    ttft_s: float | None = None
    pieces: tuple[bytes, ...] = ()
    outcome: Outcome | None = None
    gap_s: float | None = None
    is_batched: bool = False
    amend: "Callable[[Answer], object] | None" = None

    @property
    def asked_ahead(self) -> bool:
        """Return whether it was asked live in this run, before the request that it answers."""
        return self.amend is not None

    @property
    def is_transient(self) -> bool:
        """Return whether clients retry after this response."""
        return self.status in RETRIED_STATUSES or self.status >= 500  # noqa: PLR2004 -- server errors

    @property
    def is_reproducible(self) -> bool:
        """Return whether another run, with another key at another time, would get the same response."""
        return self.status not in UNRECORDED_STATUSES and not self.is_transient


@dataclass(slots=True)
class TapeCounts:
    """Counts of what happened on a tape; reused: answered with a judge's answer from elsewhere in the run."""

    replayed: int = 0
    recorded: int = 0
    reused: int = 0
    missed: int = 0
    stale: int = 0
    verified: int = 0
    drifted: int = 0

    def add(self, other: "TapeCounts") -> None:
        """Add the counts of another tape."""
        for counter in fields(self):
            setattr(self, counter.name, getattr(self, counter.name) + getattr(other, counter.name))


def make_exchange(question: Question, answer: Answer, purpose: str, *, replayed: bool) -> Exchange:
    """Return a request and its answer as the trace reads them."""
    return Exchange(
        method=question.method,
        url=question.url,
        request=question.json,
        status=answer.status or None,
        content_type=answer.headers.get("content-type", ""),
        body=answer.body,
        latency_s=answer.latency_s,
        ttft_s=answer.ttft_s,
        gap_s=answer.gap_s,
        replayed=replayed and not answer.asked_ahead,
        purpose=purpose,
        is_batched=answer.is_batched,
    )


def answer_from_wire(wire: Mapping[str, Any]) -> Answer:
    """Return a recorded answer; a status that clients retry is replayed without a waiting time.

    Raises:
        CassetteError: The body or the outcome is damaged.
    """
    body = wire["body"]
    if "json" in body:
        stream_parts = None
    else:
        stream_parts = unfold_stream(body)
    answer = Answer(
        wire["status"],
        wire.get("headers", {}),
        b"".join(stream_parts) if stream_parts is not None else unfold_body(body),
        wire.get("latency_s"),
        wire.get("ttft_s"),
        tuple(stream_parts or ()),
        Outcome.from_wire(wire["outcome"]) if "outcome" in wire else None,
        wire.get("gap_s"),
        is_batched=wire.get("batch") is True,
    )
    if answer.is_transient:
        return replace(answer, headers={**answer.headers, "retry-after": "0", "retry-after-ms": "1"})
    return answer


def answer_to_wire(answer: Answer, redactor: Redactor, more_headers: Sequence[str] = ()) -> dict[str, Any]:
    """Return an answer as it is recorded, without secrets.

    Args:
        answer: The answer.
        redactor: Masks secrets; learns those of the answer.
        more_headers: Names of further headers to record, in lower case; ``*`` stands for any text.
    """
    redactor.learn_response_headers(answer.headers)
    further = {
        name
        for pattern in more_headers
        for name in answer.headers
        if fnmatchcase(name, pattern) and name not in UNRECORDED_HEADERS and not is_secret_name(name)
    }
    headers = {
        name: mask_params(redactor.clean_text(answer.headers[name]).encode("utf-8", "replace")).decode()
        for name in (*RECORDED_HEADERS, *sorted(further))
        if name in answer.headers
    }
    wire: dict[str, Any] = {
        "status": answer.status,
        "headers": headers,
        **({"batch": True} if answer.is_batched else {}),
    }
    timings = {name: getattr(answer, name) for name in TIMINGS}
    wire |= {name: round(seconds, 4) for name, seconds in timings.items() if seconds is not None}
    if answer.outcome is not None:
        wire["outcome"] = {"error": answer.outcome.error, "text": redactor.clean_text(answer.outcome.text)}
    wire["body"] = fold_body(
        redactor.clean(answer.body if answer.outcome is None else redactor.cut_tail(answer.body))
    )
    return wire


def describe_age(wire: Mapping[str, Any], max_age: int | None) -> str:
    """Return since when an answer is too old, or "" if it is not; the answer of an unknown day is too old.

    Args:
        wire: The answer, with the day of its recording.
        max_age: The number of days for which an answer is good; None: for ever.
    """
    if max_age is None:
        return ""
    day = str(wire.get("recorded") or "")
    is_young = day >= (datetime.now(UTC).date() - timedelta(days=max_age)).isoformat()
    if is_young:
        return ""
    return f"recorded on {day or 'an unknown day'}, over llm_max_age = {max_age}d"
