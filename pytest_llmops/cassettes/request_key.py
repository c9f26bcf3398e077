"""Requests with the keys by which they are matched, and the recorded answers to them.

A key is the hash of the redacted request in canonical form. It ignores headers (see `request_headers`), the port of a loopback server, white
space and the order of members in JSON, the order of the query, the random boundary of a multipart body, and the random hint of openai-agents for
OpenAI's prompt cache.
`MatchRules` add JSON paths and query parameters to ignore, and normalizers of the user.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from pytest_llmops._util.hosts import DEFAULT_PORTS, LOOPBACK, is_loopback
from pytest_llmops._util.json_path import Path, drop_path, parse_path
from pytest_llmops.cassettes.clients.identities import (
    NO_IDENTITIES,
    Identities,
    hide_in_answer,
    restore_in_answer,
)
from pytest_llmops.cassettes.clients.preset import ClientPreset
from pytest_llmops.cassettes.clients.requests import hide_folders, normalize_stored, prepare_request
from pytest_llmops.cassettes.outcome import Outcome
from pytest_llmops.cassettes.random_hints import drop_cache_hint
from pytest_llmops.cassettes.request_headers import describe_headers
from pytest_llmops.recorder import Exchange, find_test_recorder
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import MASK, is_secret_name, mask_params
from pytest_llmops.wire.body import TIMINGS, fold_body, unfold_body, unfold_json_body, unfold_stream

Normalizer = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class MatchRules:
    """Parts of a request to ignore when matching recordings, in addition to those that are always ignored.

    Args:
        ignore: JSON paths (``**.id``), and query parameters after a question mark.
        normalizers: Functions that change a URL or a canonical body before it is hashed.
        clients: Presets of coding agents, whose requests are brought into a form of their own first.

    >>> MatchRules(("**.id",)).drop_ignored({"a": [{"id": 1, "b": 2}]})
    {'a': [{'b': 2}]}
    """

    ignore: tuple[str, ...] = ()
    normalizers: tuple[Normalizer, ...] = ()
    clients: tuple[ClientPreset, ...] = ()
    _paths: tuple[Path, ...] = field(init=False, default=())
    _params: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        paths = []
        params = set()
        for path in map(parse_path, self.ignore):
            if path[0] == "?":
                params.add(str(path[1]))
            else:
                paths.append(path)
        object.__setattr__(self, "_paths", tuple(paths))
        object.__setattr__(self, "_params", frozenset(params))

    def __bool__(self) -> bool:
        return bool(self.ignore or self.normalizers or self.clients)

    def drop_ignored(self, value: Any) -> Any:
        """Return a copy of parsed JSON without the ignored paths, and in the form of its client."""
        if self.clients:
            value = normalize_stored(self.clients, value)
        for path in self._paths:
            value = drop_path(value, path)
        return value

    def drop_params(self, url: str) -> str:
        """Return a URL without the ignored parameters of its query."""
        if not self._params:
            return url
        address, _, query = url.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
        kept = [(name, value) for name, value in pairs if name not in self._params]
        if not kept:
            return address
        return f"{address}?{urlencode(kept, errors='surrogateescape')}"

    def normalize_text(self, text: str) -> str:
        """Return a text after all normalizers."""
        for normalize in self.normalizers:
            text = normalize(text)
        return text


KEY_LENGTH = 20
FORM_CONTENT_TYPE = "application/x-www-form-urlencoded"
SIGNATURE_PARAMS = frozenset({"x-amz-signature", "x-goog-signature", "sig", "signature"})
# Parameters that come with the signature in a presigned URL of S3, CloudFront, Google or Azure, and differ each time
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
    """A request in the form that is matched with recordings, by its key.

    Attributes:
        method: The method, in upper case.
        url: The canonical URL, without secrets.
        body: The body, without secrets.
        content_type: The content type, in lower case and without parameters.
        key: The key.
        json: The parsed body if it is JSON.
        address: Host and port; the key treats all servers on this machine as equal.
        sent_json: The parsed body with its folders, if placeholders replace folders of the test in ``json``.
        identities: Who sent it from where, if a preset of ``llm_clients`` knows its client, or else the folders of the
            test: placeholders replace them in the body, and must replace them in the recorded answer.
        client_note: A note for the user about its client if no recording answers; "" for nothing.
        headers: Its headers as they are recorded with the answer (`request_headers`); not in the key.
        is_telemetry: Whether a tracing SDK sent it, which is neither recorded nor replayed (`telemetry`).
        is_tool: Whether it is a call of a tool (`tool_questions`), not an HTTP request.
        is_unknown_form: Whether a client of ``llm_clients`` sent it in a form that its preset does not know.
        unreadable: Why its body could not be decoded, with the next step; "" if it could. Such a request is not
            recorded, as secrets in it cannot be found.
    """

    method: str
    url: str
    body: bytes
    content_type: str
    key: str
    json: object = None
    sent_json: object = None
    address: str = ""
    identities: Identities = NO_IDENTITIES
    client_note: str = ""
    is_unknown_form: bool = False
    unreadable: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_telemetry: bool = False
    is_tool: bool = False


@lru_cache(maxsize=1024)
def canonical_url(url: str) -> str:
    """Return a URL without user, fragment and loopback port, with sorted query and masked secrets.

    In a presigned URL, the parameters that come with the signature are masked too.

    >>> canonical_url("http://localhost:8080/v1/chat?b=1&a=2&api_key=x#f")
    'http://loopback/v1/chat?a=2&api_key=%5Bsecret%5D&b=1'
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        port = parts.port
        query = _canonical_query(parts.query)
    except ValueError:  # invalid: no client can send it
        return url
    if is_loopback(host):
        server = LOOPBACK
    else:
        server = _format_server(parts.scheme, host, port)
    path = parts.path or "/"
    address = f"{parts.scheme}://{server}{path}"
    if query:
        return f"{address}?{query}"
    return address


def _canonical_query(query: str) -> str:
    """Return a query with sorted parameters and masked secrets.

    Raises:
        ValueError: The query is invalid.
    """
    pairs = sorted(parse_qsl(query, keep_blank_values=True, errors="surrogateescape"))
    is_signed = any(name.lower() in SIGNATURE_PARAMS for name, _ in pairs)
    masked = []
    for name, value in pairs:
        if is_secret_name(name) or (is_signed and _SIGNED_PARAM.match(name)):
            masked.append((name, MASK))
        else:
            masked.append((name, value))
    return urlencode(masked, errors="surrogateescape")


def _format_server(scheme: str, host: str, port: int | None) -> str:
    """Return host and port as in a URL, without the default port of the scheme."""
    server = host
    if ":" in host:  # IPv6
        server = f"[{host}]"
    if port is not None and port != DEFAULT_PORTS.get(scheme):
        server += f":{port}"
    return server


def build_question(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    redactor: Redactor,
    *,
    rules: MatchRules = NO_RULES,
    masked: bool = False,
    keep_headers: bool = True,
    unreadable: str = "",
    folders: Identities = NO_IDENTITIES,
) -> Question:
    """Return a request in the form that is matched.

    The redactor learns the credentials in its headers, URL and form, so that they are masked in all that follows.

    Args:
        method: The method.
        url: The address.
        headers: The headers, with lower-case names.
        body: The body, decoded (`decode_request_body`).
        redactor: Masks secrets.
        rules: Parts of a request to ignore.
        masked: Whether the body is known to hold no secrets, and need not be masked.
        keep_headers: Whether the headers are needed to record an answer, or to compare them.
        unreadable: Why the body could not be decoded; "" if it could.
        folders: The folders of the test, if the body may hold one of them.
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
    body = drop_cache_hint(body)
    client = prepare_request(rules.clients, headers, body)
    sent_json: object = None
    hidden = hide_folders(client, folders)
    if hidden is not client:
        sent_json = _canonicalize_body(redactor.clean(client.body))[0]
    client = hidden
    body = client.body
    for text, name in find_test_recorder().file_digests.items():
        body = body.replace(text, name)
    if not masked:
        body = redactor.clean(body)
    masked_url = redactor.clean_text(canonical_url(url))
    method = method.upper()
    parsed, canonical = _canonicalize_body(body)
    described_headers: Mapping[str, str] = {}
    if keep_headers:
        described_headers = describe_headers(headers, redactor)
    other_rules = (
        replace(rules, clients=()) if rules.clients else rules
    )  # the body is in the form of its client
    return Question(
        method=method,
        url=masked_url,
        body=body,
        content_type=kind,
        key=_hash_request(method, masked_url, parsed, canonical, other_rules),
        json=parsed,
        sent_json=sent_json,
        address=_host_and_port(url),
        identities=client.identities,
        client_note=client.note,
        is_unknown_form=client.is_unknown,
        unreadable=unreadable,
        headers=described_headers,
    )


@lru_cache(maxsize=1024)
def _host_and_port(url: str) -> str:
    """Return ``host:port`` of a URL, without the port if it is not in the URL; "" for an invalid URL."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or ""
    except ValueError:
        return ""
    return f"{host.lower()}:{port}"


def compute_key(method: str, url: str, body: bytes, rules: MatchRules = NO_RULES) -> str:
    """Return the key of a request whose URL and body are in the form in which cassettes keep them."""
    return _hash_request(method, url, *_canonicalize_body(body), rules)


def compute_stored_key(method: str, url: str, stored: Mapping[str, Any], rules: MatchRules = NO_RULES) -> str:
    """Return the key of a request with a stored body. A body stored as parsed JSON is not turned into its bytes first.

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


def comparable_message(data: bytes, rules: MatchRules) -> bytes:
    """Return a text that a client sends over a WebSocket in the form in which it is compared.

    As for a body; the id that clients of OpenAI's Realtime give to each event is ignored too.

    >>> comparable_message(b'{"type": "response.create", "event_id": "event_1"}', NO_RULES)
    b'{"type":"response.create"}'
    """
    data = drop_cache_hint(data)
    parsed, _ = _canonicalize_body(data)
    if isinstance(parsed, dict) and "event_id" in parsed:
        kept = {name: value for name, value in parsed.items() if name != "event_id"}
        data = _CANONICAL_ENCODER.encode(kept).encode()
    return comparable_body(data, rules)


def _apply_rules(parsed: object, canonical: bytes, rules: MatchRules) -> bytes:
    """Return the body to hash: canonical JSON without ignored members, after the normalizers.

    Args:
        parsed: The parsed body; None if it is not JSON.
        canonical: The canonical body without rules.
        rules: The rules.
    """
    if not rules:
        return canonical
    if parsed is not None:
        canonical = _CANONICAL_ENCODER.encode(rules.drop_ignored(parsed)).encode()
    text = canonical.decode("utf-8", "surrogateescape")
    return rules.normalize_text(text).encode("utf-8", "surrogateescape")


def _hash_request(method: str, url: str, parsed: object, canonical: bytes, rules: MatchRules) -> str:
    """Return the key of a request. Its body is given both parsed (None if it is not JSON) and in canonical form."""
    head = f"{method}\n{comparable_url(url, rules)}\n".encode("utf-8", "surrogatepass")
    content = head + _apply_rules(parsed, canonical, rules)
    return hashlib.sha256(content).hexdigest()[:KEY_LENGTH]


def _canonicalize_body(body: bytes) -> tuple[object, bytes]:
    """Return the parsed JSON of a body, and its canonical form; None and the body itself if it is not JSON."""
    if body.lstrip(b" \t\r\n")[:1] not in (b"{", b"[", b'"'):
        return None, body
    try:
        parsed = json.loads(body)
        return parsed, _CANONICAL_ENCODER.encode(parsed).encode()
    except (ValueError, RecursionError):
        return None, body


# Recorded headers of a response; all others describe the account or the moment. The encoding is recorded if the body
# could not be decoded.
RECORDED_HEADERS = (
    "content-type",
    "content-encoding",
    "retry-after",
    "x-should-retry",
    "location",
    "x-amzn-errortype",
)

# Headers that `llm_record_headers` does not add: accounts, the framing of the body, and those that are recorded anyway
# (nor does it add credentials)
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

# Statuses that depend on the caller or the moment. Like all from 500 on, they are not recorded.
UNRECORDED_STATUSES = frozenset({401, 403, 407, 408, 409, 425, 429})

RETRIED_STATUSES = frozenset({408, 409, 425, 429})  # statuses after which clients retry, in addition to 5xx


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request: decoded body, recorded headers, and the timing of the live call.

    Attributes:
        latency_s: The duration of the call in seconds; None: unknown.
        ttft_s: The time to the first piece of a stream.
        pieces: The events of a stream, in which the body is replayed; empty for other bodies.
        outcome: How the call ended, if the answer is not complete. Then status 0 means that nothing of it had come.
        gap_s: The longest time between two pieces of a stream.
        started_s: Seconds from the start of the tape's first call to the start of this one; None: not known.
        is_batched: Whether it comes from a batch API, at a lower price and without a latency.
        amend: Set if the answer was requested live in this run, ahead of its test: a function that records another
            answer in
            its place.
        fault: The kind of the fault on purpose that it is; "": it is an answer of its own.
        pause_s: How long the client waits before it gets a fault.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    latency_s: float | None = None
    ttft_s: float | None = None
    pieces: tuple[bytes, ...] = ()
    outcome: Outcome | None = None
    gap_s: float | None = None
    started_s: float | None = None
    is_batched: bool = False
    amend: "Callable[[Answer], object] | None" = None
    fault: str = ""
    pause_s: float = 0.0

    @property
    def asked_ahead(self) -> bool:
        """Return whether it was requested live in this run, ahead of the test that needs it."""
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
    """How many requests were replayed, recorded, missed and so on.

    ``reused`` are requests of a judge that got the answer of another test in the run.
    """

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
            total = getattr(self, counter.name) + getattr(other, counter.name)
            setattr(self, counter.name, total)


def make_exchange(question: Question, answer: Answer, purpose: str, *, replayed: bool) -> Exchange:
    """Return a request and its answer in the form that the trace reads."""
    return Exchange(
        method=question.method,
        url=question.url,
        request=question.json if question.sent_json is None else question.sent_json,
        status=answer.status or None,
        content_type=answer.headers.get("content-type", ""),
        body=answer.body,
        latency_s=answer.latency_s,
        ttft_s=answer.ttft_s,
        gap_s=answer.gap_s,
        started_s=answer.started_s,
        replayed=replayed and not answer.asked_ahead,
        purpose=purpose,
        is_batched=answer.is_batched,
    )


def answer_from_wire(wire: Mapping[str, Any]) -> Answer:
    """Parse a recorded answer.

    If clients retry after its status, it is replayed with headers that let them retry without waiting.

    Raises:
        CassetteError: The body or the outcome is damaged.
    """
    stored = wire["body"]
    pieces = None
    if "json" not in stored:
        pieces = unfold_stream(stored)
    if pieces is None:
        pieces = []
        body = unfold_body(stored)
    else:
        body = b"".join(pieces)
    outcome = None
    if "outcome" in wire:
        outcome = Outcome.from_wire(wire["outcome"])
    answer = Answer(
        status=wire["status"],
        headers=wire.get("headers", {}),
        body=body,
        latency_s=wire.get("latency_s"),
        ttft_s=wire.get("ttft_s"),
        pieces=tuple(pieces),
        outcome=outcome,
        gap_s=wire.get("gap_s"),
        started_s=wire.get("started_s"),
        is_batched=wire.get("batch") is True,
    )
    if answer.is_transient:
        return replace(answer, headers={**answer.headers, "retry-after": "0", "retry-after-ms": "1"})
    return answer


def restore_answer(answer: Answer, identities: Identities) -> Answer:
    """Return a recorded answer with the folder and the ids of the request that it answers now."""
    if not identities:
        return answer
    pieces = tuple(restore_in_answer(piece, identities) for piece in answer.pieces)
    return replace(answer, body=restore_in_answer(answer.body, identities), pieces=pieces)


def answer_to_wire(
    answer: Answer,
    redactor: Redactor,
    more_headers: Sequence[str] = (),
    identities: Identities = NO_IDENTITIES,
    request_headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return an answer in the form that is recorded, without secrets.

    Args:
        answer: The answer.
        redactor: Masks secrets; learns the secrets of the answer.
        more_headers: Patterns for further headers to record, in lower case; ``*`` matches any text.
        identities: Texts that show who sent the request from where; placeholders replace them.
        request_headers: The headers of the request as `describe_headers` returns them; None: they are not known.
    """
    redactor.learn_response_headers(answer.headers)
    wire: dict[str, Any] = {
        "status": answer.status,
        "headers": _recorded_headers(answer.headers, redactor, more_headers),
    }
    if request_headers is not None:
        wire["request_headers"] = dict(request_headers)
    if answer.is_batched:
        wire["batch"] = True
    for name in TIMINGS:
        seconds = getattr(answer, name)
        if seconds is not None:
            wire[name] = round(seconds, 4)
    body = answer.body
    if answer.outcome is not None:
        wire["outcome"] = {"error": answer.outcome.error, "text": redactor.clean_text(answer.outcome.text)}
        body = redactor.cut_tail(body)
    wire["body"] = fold_body(redactor.clean(hide_in_answer(body, identities)))
    return wire


def _recorded_headers(
    headers: Mapping[str, str], redactor: Redactor, more_headers: Sequence[str]
) -> dict[str, str]:
    """Return the recorded headers of an answer, without secrets: the fixed ones first, then further ones by name."""
    names = [name for name in RECORDED_HEADERS if name in headers]
    names += sorted(name for name in headers if _is_further_header(name, more_headers))
    recorded = {}
    for name in names:
        clean = redactor.clean_text(headers[name]).encode("utf-8", "replace")
        recorded[name] = mask_params(clean).decode()
    return recorded


def _is_further_header(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a header is recorded because it matches a pattern of the user."""
    if not any(fnmatchcase(name, pattern) for pattern in patterns):
        return False
    return name not in UNRECORDED_HEADERS and not is_secret_name(name)
