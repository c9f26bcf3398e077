"""Reader of other recorders' cassettes.

Supported are vcrpy (YAML and JSON, as written by pytest-recording and pytest-vcr, also in gzip); ``parsed_body`` of
some projects; the parallel ``requests`` and ``responses`` of langchain-tests; a file for each call with ``request`` and
``response``; cassetter (YAML and TOML); Ruby's VCR and betamax (``http_interactions``). Any other file is an error.

Bodies of answers are decoded. A body stored as parsed JSON becomes compact JSON (``{"a":1,"b":"ä"}``): the file does
not have the original bytes.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytest_llmops.errors import format_name_list
from pytest_llmops.measurement import shorten_text
from pytest_llmops.wire.content_encoding import RECORD_AGAIN, decode_body
from pytest_llmops.wire.untrusted_documents import DocumentError, as_cassette_error, load_document

_COMPACT_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
# Headers of an answer that describe the encoded bytes
_TRANSFER_HEADERS = ("content-encoding", "content-length", "transfer-encoding")


@dataclass(frozen=True, slots=True)
class ForeignInteraction:
    """A request and its answer; header names are lower case, several values are joined by a comma.

    The request's body is what the client sent; the answer's body is decoded, and its headers have no encoding and length.
    """

    method: str
    url: str
    request_headers: dict[str, str]
    request_body: bytes
    status: int
    headers: dict[str, str]
    body: bytes
    recorded: str = ""
    """The day of the answer (``2026-01-31``) by the file or the server's ``date`` header, or ""."""


def read_foreign(path: Path) -> list[ForeignInteraction]:
    """Return the interactions of another recorder's cassette, in the order of recording as far as it is known.

    Raises:
        CassetteError: The file is damaged, has an unknown layout, or records other protocols than HTTP.
    """
    document = load_document(path)
    interactions: list[ForeignInteraction] = []
    place = ""
    try:
        for number, (request, response) in enumerate(_request_response_pairs(document), 1):
            place = f"interaction {number}: "
            interactions.append(_parse_interaction(request, response))
    except DocumentError as error:
        raise as_cassette_error(path, DocumentError(f"{place}{error.what}", error.step)) from None
    except RecursionError:
        raise as_cassette_error(
            path, DocumentError("a body in it is nested too deep", RECORD_AGAIN)
        ) from None
    return interactions


def is_own_cassette(path: Path) -> bool:
    """Return whether a file starts like our own cassettes; False if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return False
    return b"".join(head.split()).startswith(b'{"format":')


def _request_response_pairs(document: Any) -> list[tuple[Any, Any]]:
    if isinstance(document, list) and document and isinstance(document[0], dict) and "request" in document[0]:
        raise DocumentError("it was written by vcrpy before 1.0", RECORD_AGAIN)
    if not isinstance(document, dict):
        raise DocumentError(
            f"expected a mapping, got {'nothing' if document is None else _describe_kind(document)}"
        )
    if {"format", "interactions"} <= document.keys():
        raise DocumentError("it is a cassette of pytest-llmops already", "nothing is to be done")
    _refuse_other_protocols(document)
    for name in ("interactions", "http_interactions"):
        if name in document:
            _check_version(document, name)
            return _sort_by_time(_require_list(document[name], name))
    if {"requests", "responses"} <= document.keys():
        requests = _require_list(document["requests"], "requests")
        responses = _require_list(document["responses"], "responses")
        if len(requests) != len(responses):
            raise DocumentError(
                f"expected as many responses as requests, got {len(responses)} and {len(requests)}"
            )
        return list(zip(requests, responses, strict=True))
    if "request" in document:  # a file for each call
        return _sort_by_time([document])
    raise DocumentError(
        f"its layout is unknown: expected interactions, http_interactions, requests and responses, or request and response, got {_format_keys(document)}",
        RECORD_AGAIN,
    )


def _check_version(document: Mapping[str, Any], name: str) -> None:
    # The last line that vcrpy writes: it is missing if the file was truncated between two interactions.
    version = document.get("version")
    if name == "interactions" and (version != 1 or isinstance(version, bool)):
        raise DocumentError(f"expected version: 1 beside interactions, got {_format_value(version)}")
    if name == "http_interactions" and not isinstance(document.get("recorded_with"), str):
        raise DocumentError("expected recorded_with beside http_interactions, got none")


def _refuse_other_protocols(document: Mapping[str, Any]) -> None:
    interactions = document.get("interactions")
    samples = isinstance(interactions, list) and any(
        isinstance(interaction, dict)
        and ("request_sample" in interaction or "response_sample" in interaction)
        for interaction in interactions
    )
    is_grpc = samples or document.get("grpc_interactions")
    if is_grpc or document.get("ws_interactions"):
        what = "gRPC calls" if is_grpc else "WebSocket frames"
        step = "they cannot be replayed here: keep their recorder for them"
        raise DocumentError(f"it holds {what}, not HTTP", step)


def _sort_by_time(interactions: list[Any]) -> list[tuple[Any, Any]]:
    # Return interactions in the order of recording, if all have a time: cassetter sorts by address.
    for number, interaction in enumerate(interactions, 1):
        if not isinstance(interaction, dict) or not {"request", "response"} <= interaction.keys():
            got = _format_keys(interaction) if isinstance(interaction, dict) else _describe_kind(interaction)
            raise DocumentError(f"interaction {number}: expected request and response, got {got}")
    times = [interaction.get("recorded_at") for interaction in interactions]
    if all(isinstance(time, str) for time in times):
        interactions = sorted(interactions, key=lambda interaction: str(interaction["recorded_at"]))
    return [
        (interaction["request"], {**interaction["response"], "recorded_at": interaction.get("recorded_at")})
        if isinstance(interaction["response"], dict)
        else (interaction["request"], interaction["response"])
        for interaction in interactions
    ]


def _parse_interaction(request: Any, response: Any) -> ForeignInteraction:
    for message, what in ((request, "a request"), (response, "a response")):
        if not isinstance(message, dict):
            raise DocumentError(f"expected {what}, got {_describe_kind(message)}")
    method, url = request.get("method"), request.get("uri", request.get("url"))
    if not isinstance(method, str) or not method.isalpha():
        raise DocumentError(f"expected the method of a request, got {_format_value(method)}")
    sent, answered = _parse_headers(request.get("headers")), _parse_headers(response.get("headers"))
    body, encoded = _parse_body(response)
    if body is None:
        raise DocumentError(f"its response has no body: {_format_keys(response)}")
    return ForeignInteraction(
        method.upper(),
        _check_url(url),
        sent,
        _parse_body(request)[0] or b"",
        _parse_status(response),
        {name: value for name, value in answered.items() if name not in _TRANSFER_HEADERS},
        decode_body(body, answered.get("content-encoding", ""), certain=encoded),
        _recording_day(response.get("recorded_at"), answered.get("date", "")),
    )


def _check_url(url: object) -> str:
    if not isinstance(url, str):
        raise DocumentError(f"expected the address of a request, got {_format_value(url)}")
    try:
        parts = urlsplit(url)
        whole = parts.scheme.lower() in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        # Without the query, which may contain a key.
        raise DocumentError(
            f"expected an address with scheme and host, got {_format_value(url.partition('?')[0])}"
        )
    return url


def _parse_status(response: Mapping[str, Any]) -> int:
    status = response.get("status", response.get("status_code"))
    if isinstance(status, dict):
        status = status.get("code")
    if not isinstance(status, int) or not 100 <= status <= 599:  # noqa: PLR2004 -- what HTTP knows
        raise DocumentError(f"expected a status from 100 to 599, got {_format_value(status)}")
    return status


def _parse_headers(headers: object) -> dict[str, str]:
    # Parse headers given as a mapping of texts or lists, or as pairs.
    if headers is None:
        return {}
    pairs = headers.items() if isinstance(headers, dict) else headers
    by_name: dict[str, list[str]] = {}
    try:
        for name, value in pairs:  # type: ignore[attr-defined]  # not checked: any error is reported below
            values = value if isinstance(value, (list, tuple)) else [value]
            by_name.setdefault(_header_value(name).lower(), []).extend(
                _header_value(item) for item in values if item is not None
            )
    except (TypeError, ValueError):
        raise DocumentError(
            f"expected headers of texts, got something else in {_describe_kind(headers)}"
        ) from None
    return {name: ", ".join(values) for name, values in by_name.items() if values}


def _header_value(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ValueError


def _parse_body(message: Mapping[str, Any]) -> tuple[bytes | None, bool]:
    # Return the body, and whether it was stored as bytes: a body stored as text was decoded when it was recorded.
    body = message.get("body")
    if body is None and "parsed_body" in message:
        return _encode_compact_json(message["parsed_body"]), False
    if body is None and "body_type" in message:
        return _parse_typed_body(message["body_type"], message.get("body_content"), in_toml=True)
    if body is None:
        body = message.get("content")  # of vcrpy's httpx, before 6.0
    if isinstance(body, dict):
        if "type" in body and "string" not in body:
            return _parse_typed_body(body["type"], body.get("content"), in_toml=False)
        return _parse_boxed_body(body)
    return (None, False) if body is None else _encode_body(body)


def _parse_boxed_body(body: Mapping[str, Any]) -> tuple[bytes, bool]:
    encoded = body.get("base64_string")
    if encoded is not None:
        try:
            return base64.b64decode("".join(str(encoded).split()), validate=True), True
        except (binascii.Error, ValueError):
            kind = _describe_kind(encoded)
            raise DocumentError(f"expected base64 in base64_string, got {kind} that is not base64") from None
    text = body.get("string")
    if text is None:
        if body and "string" not in body:
            raise DocumentError(f"expected a body with string or base64_string, got {_format_keys(body)}")
        return b"", False
    encoding = body.get("encoding")
    if isinstance(text, str) and isinstance(encoding, str):
        try:
            return text.encode(encoding), False
        except (LookupError, UnicodeError):
            pass  # a name that only Ruby knows, or a wrong encoding
    return _encode_body(text)


def _encode_body(value: object) -> tuple[bytes, bool]:
    if isinstance(value, bytes):
        return value, True
    if not isinstance(value, str):
        raise DocumentError(f"expected a body of text or bytes, got {_describe_kind(value)}")
    try:
        return value.encode("utf-8"), False
    except UnicodeEncodeError:
        raise DocumentError("a body is no text that can be encoded", RECORD_AGAIN) from None


def _parse_typed_body(kind: object, content: object, *, in_toml: bool) -> tuple[bytes, bool]:
    # Parse a body of cassetter, which was decoded when it was recorded.
    if kind == "none":
        return b"", False
    if kind == "json":
        return _encode_body(content) if in_toml else (_encode_compact_json(content), False)
    if kind == "text" and isinstance(content, str):
        return _encode_body(content)
    if kind == "binary" and isinstance(content, str):
        try:
            return bytes.fromhex(content), False
        except ValueError:
            raise DocumentError("expected a binary body in hexadecimal digits, got others") from None
    raise DocumentError(
        f"expected a body of type json, text, binary or none, got {_format_value(kind)} of {_describe_kind(content)}"
    )


def _encode_compact_json(value: object) -> bytes:
    try:
        return _COMPACT_ENCODER.encode(value).encode("utf-8")
    except (TypeError, ValueError):
        raise DocumentError("a parsed body holds what JSON cannot", RECORD_AGAIN) from None


def _recording_day(recorded_at: object, date: str) -> str:
    if (
        isinstance(recorded_at, str)
        and len(recorded_at) >= len("2026-01-31")
        and recorded_at[:4].isdecimal()
        and recorded_at[4] == "-"
    ):
        return recorded_at[:10]
    try:
        return parsedate_to_datetime(date).date().isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        return ""


def _require_list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise DocumentError(f"expected a list of {what}, got {_describe_kind(value)}")
    return value


_KIND_NAMES: tuple[tuple[type, str], ...] = (
    (dict, "a mapping"),
    (list, "a list"),
    (str, "a text"),
    (bytes, "bytes"),
)


def _describe_kind(value: object) -> str:
    # Return the kind of a value without its content, which may be secret.
    return next((name for kind, name in _KIND_NAMES if isinstance(value, kind)), _format_value(value))


def _format_value(value: object) -> str:
    return "none" if value is None else shorten_text(repr(value), 80)


def _format_keys(document: Mapping[str, Any]) -> str:
    return f"the keys {shorten_text(format_name_list(map(str, document)), 200)}"
