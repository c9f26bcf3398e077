"""Cassettes of other recorders, read as what was asked and what was answered.

Read are vcrpy (YAML and JSON; pytest-recording and pytest-vcr write these), also in gzip; ``parsed_body`` as
some projects store it; the parallel ``requests`` and ``responses`` of langchain-tests; cassetter (YAML and
TOML); Ruby's VCR and betamax (``http_interactions``). Everything else is refused with one clear text.

Bodies of answers are decoded. A body that was stored parsed is spelled as compact JSON
(``{"a":1,"b":"ä"}``): the exact bytes that went over the wire are not in such a file, only what they meant.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytest_llmops.errors import listing
from pytest_llmops.measurement import shorten
from pytest_llmops.wire.content_encoding import decoded
from pytest_llmops.wire.untrusted_documents import Unfit, load, refused

AGAIN = "record it again"
_COMPACT = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_OF_THE_WIRE = ("content-encoding", "content-length", "transfer-encoding")
"""Headers of an answer that describe the bytes before they were decoded."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """One request and its answer; header names are lower case, several values joined by a comma.

    The request's body is what the client sent; the answer's is decoded, and so its headers are without
    encoding and length.
    """

    method: str
    url: str
    request_headers: dict[str, str]
    request_body: bytes
    status: int
    headers: dict[str, str]
    body: bytes
    recorded: str = ""
    """The day of the answer (``2026-01-31``), as the file or the server told it; empty if neither did."""


def read(path: Path) -> list[Foreign]:
    """Read another recorder's cassette, in the order in which things were asked as far as it is known.

    Raises:
        CassetteError: It is no such cassette, it is damaged, or it holds something else than HTTP.
    """
    document = load(path)
    try:
        pairs = _pairs(document)
        found = [_numbered(number, *pair) for number, pair in enumerate(pairs, 1)]
    except Unfit as unfit:
        raise refused(path, unfit) from None
    except RecursionError:
        raise refused(path, Unfit("a body in it is nested too deep", AGAIN)) from None
    return found


def is_ours(path: Path) -> bool:
    """Say whether a file starts like a cassette of our own; False if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return False
    return b"".join(head.split()).startswith(b'{"format":')


def _numbered(number: int, request: Any, response: Any) -> Foreign:
    try:
        return _foreign(_mapping(request, "a request"), _mapping(response, "a response"))
    except Unfit as unfit:
        raise Unfit(f"interaction {number}: {unfit.what}", unfit.step) from None


def _pairs(document: Any) -> list[tuple[Any, Any]]:
    if isinstance(document, list) and document and isinstance(document[0], dict) and "request" in document[0]:
        raise Unfit("it was written by vcrpy before 1.0", AGAIN)
    if not isinstance(document, dict):
        raise Unfit(f"expected a mapping, got {'nothing' if document is None else _kind(document)}")
    if {"format", "interactions"} <= document.keys():
        raise Unfit("it is a cassette of pytest-llmops already", "nothing is to be done")
    _refuse_other_protocols(document)
    if "interactions" in document:
        # The last line of what vcrpy writes, so that a file that was cut between two interactions is known.
        if document.get("version") != 1 or isinstance(document["version"], bool):
            raise Unfit(f"expected version: 1 beside interactions, got {_shown(document.get('version'))}")
        return _by_time(_listed(document["interactions"], "interactions"))
    if "http_interactions" in document:
        if not isinstance(document.get("recorded_with"), str):
            raise Unfit("expected recorded_with beside http_interactions, got none")
        return _by_time(_listed(document["http_interactions"], "http_interactions"))
    if {"requests", "responses"} <= document.keys():
        requests = _listed(document["requests"], "requests")
        responses = _listed(document["responses"], "responses")
        if len(requests) != len(responses):
            raise Unfit(f"expected as many responses as requests, got {len(responses)} and {len(requests)}")
        return list(zip(requests, responses, strict=True))
    raise Unfit(
        f"its layout is unknown: expected interactions, http_interactions, or requests and responses, got {_keys(document)}",
        AGAIN,
    )


def _refuse_other_protocols(document: Mapping[str, Any]) -> None:
    listed = document.get("interactions")
    samples = isinstance(listed, list) and any(
        isinstance(one, dict) and ("request_sample" in one or "response_sample" in one) for one in listed
    )
    if samples or document.get("grpc_interactions"):
        raise Unfit(
            "it holds gRPC calls, not HTTP", "they cannot be replayed here: keep their recorder for them"
        )
    if document.get("ws_interactions"):
        raise Unfit(
            "it holds WebSocket frames, not HTTP",
            "they cannot be replayed here: keep their recorder for them",
        )


def _by_time(listed: list[Any]) -> list[tuple[Any, Any]]:
    """In the order they were recorded in, where all say when: cassetter sorts by address."""
    for number, one in enumerate(listed, 1):
        if not isinstance(one, dict) or not {"request", "response"} <= one.keys():
            got = _keys(one) if isinstance(one, dict) else _kind(one)
            raise Unfit(f"interaction {number}: expected request and response, got {got}")
    times = [one.get("recorded_at") for one in listed]
    if all(isinstance(time, str) for time in times):
        listed = sorted(listed, key=lambda one: str(one["recorded_at"]))
    return [
        (one["request"], {**one["response"], "recorded_at": one.get("recorded_at")})
        if isinstance(one["response"], dict)
        else (one["request"], one["response"])
        for one in listed
    ]


def _foreign(request: Mapping[str, Any], response: Mapping[str, Any]) -> Foreign:
    method, url = request.get("method"), request.get("uri", request.get("url"))
    if not isinstance(method, str) or not method.isalpha():
        raise Unfit(f"expected the method of a request, got {_shown(method)}")
    sent, answered = _headers(request.get("headers")), _headers(response.get("headers"))
    body, encoded = _body(response)
    if body is None:
        raise Unfit(f"its response has no body: {_keys(response)}")
    day = _day(response.get("recorded_at"), answered.get("date", ""))
    return Foreign(
        method.upper(),
        _address(url),
        sent,
        _body(request)[0] or b"",
        _status(response),
        {name: value for name, value in answered.items() if name not in _OF_THE_WIRE},
        decoded(body, answered.get("content-encoding", ""), certain=encoded),
        day,
    )


def _address(url: object) -> str:
    if not isinstance(url, str):
        raise Unfit(f"expected the address of a request, got {_shown(url)}")
    try:
        parts = urlsplit(url)
        whole = parts.scheme.lower() in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        # Without its query: a key may be in it.
        raise Unfit(f"expected an address with scheme and host, got {_shown(url.partition('?')[0])}")
    return url


def _status(response: Mapping[str, Any]) -> int:
    status = response.get("status", response.get("status_code"))
    if isinstance(status, dict):
        status = status.get("code")
    if not isinstance(status, int) or not 100 <= status <= 599:  # noqa: PLR2004 -- what HTTP knows
        raise Unfit(f"expected a status from 100 to 599, got {_shown(status)}")
    return status


def _headers(found: object) -> dict[str, str]:
    """Headers as mappings of texts or lists, or as pairs."""
    if found is None:
        return {}
    pairs = found.items() if isinstance(found, dict) else found
    made: dict[str, list[str]] = {}
    try:
        for name, value in pairs:  # type: ignore[attr-defined]  # whatever it is
            values = value if isinstance(value, (list, tuple)) else [value]
            made.setdefault(_text(name).lower(), []).extend(_text(one) for one in values if one is not None)
    except (TypeError, ValueError):
        raise Unfit(f"expected headers of texts, got something else in {_kind(found)}") from None
    return {name: ", ".join(values) for name, values in made.items() if values}


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ValueError


def _body(message: Mapping[str, Any]) -> tuple[bytes | None, bool]:
    """The body, and whether it was stored as bytes: a text was decoded by whoever wrote it."""
    body = message.get("body")
    if body is None and "parsed_body" in message:
        return _spelled(message["parsed_body"]), False
    if body is None and "body_type" in message:
        return _typed(message["body_type"], message.get("body_content"), in_toml=True)
    if body is None:
        body = message.get("content")  # of vcrpy's httpx, before 6.0
    if isinstance(body, dict):
        if "type" in body and "string" not in body:
            return _typed(body["type"], body.get("content"), in_toml=False)
        return _boxed(body)
    return (None, False) if body is None else _raw(body)


def _boxed(body: Mapping[str, Any]) -> tuple[bytes, bool]:
    if body.get("base64_string") is not None:
        return _base64(body["base64_string"]), True
    text = body.get("string")
    if text is None:
        if body and "string" not in body:
            raise Unfit(f"expected a body with string or base64_string, got {_keys(body)}")
        return b"", False
    encoding = body.get("encoding")
    if isinstance(text, str) and isinstance(encoding, str):
        try:
            return text.encode(encoding), False
        except (LookupError, UnicodeError):
            pass  # Ruby's names, or one that was told wrong
    return _raw(text)


def _raw(value: object) -> tuple[bytes, bool]:
    if isinstance(value, bytes):
        return value, True
    if not isinstance(value, str):
        raise Unfit(f"expected a body of text or bytes, got {_kind(value)}")
    try:
        return value.encode("utf-8"), False
    except UnicodeEncodeError:
        raise Unfit("a body is no text that can be encoded", AGAIN) from None


def _typed(kind: object, content: object, *, in_toml: bool) -> tuple[bytes, bool]:
    """A body of cassetter: its bytes were decoded when they were recorded."""
    if kind == "none":
        return b"", False
    if kind == "json":
        return _raw(content) if in_toml else (_spelled(content), False)
    if kind == "text" and isinstance(content, str):
        return _raw(content)
    if kind == "binary" and isinstance(content, str):
        try:
            return bytes.fromhex(content), False
        except ValueError:
            raise Unfit("expected a binary body in hexadecimal digits, got others") from None
    raise Unfit(f"expected a body of type json, text, binary or none, got {_shown(kind)} of {_kind(content)}")


def _spelled(value: object) -> bytes:
    try:
        return _COMPACT.encode(value).encode("utf-8")
    except (TypeError, ValueError):
        raise Unfit("a parsed body holds what JSON cannot", AGAIN) from None


def _base64(text: object) -> bytes:
    try:
        return base64.b64decode("".join(str(text).split()), validate=True)
    except (binascii.Error, ValueError):
        raise Unfit(f"expected a base64_string in base64, got {_kind(text)} that is none") from None


def _day(told: object, date: str) -> str:
    if isinstance(told, str) and len(told) >= len("2026-01-31") and told[:4].isdecimal() and told[4] == "-":
        return told[:10]
    try:
        return parsedate_to_datetime(date).date().isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        return ""


def _mapping(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unfit(f"expected {what}, got {_kind(value)}")
    return value


def _listed(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise Unfit(f"expected a list of {what}, got {_kind(value)}")
    return value


_KINDS: tuple[tuple[type, str], ...] = (
    (dict, "a mapping"),
    (list, "a list"),
    (str, "a text"),
    (bytes, "bytes"),
)


def _kind(value: object) -> str:
    """What something is; its content may be secret."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), _shown(value))


def _shown(value: object) -> str:
    return "none" if value is None else shorten(repr(value), 80)


def _keys(document: Mapping[str, Any]) -> str:
    return f"the keys {shorten(listing(map(str, document)), 200)}"
