"""Layouts of cassettes other than vcrpy's: langchain-tests' lists and Ruby's VCR, brought into the form of vcrpy."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from pytest_llmops._util.text_files import json_kind
from pytest_llmops.wire.untrusted_documents import DocumentError


def read_other_layout(document: Mapping[str, Any]) -> list[tuple[Any, Any]] | None:
    """Return the requests and responses of a file in the form of vcrpy, not checked themselves; None for an unknown layout.

    Raises:
        DocumentError: The layout is known, but the file is damaged.
    """
    if "requests" in document and "responses" in document:
        return _pair_lists(document["requests"], document["responses"])
    if "http_interactions" in document:
        # The last line that Ruby's VCR writes: it is missing if the file was truncated between two interactions.
        if not isinstance(document.get("recorded_with"), str):
            raise DocumentError("expected recorded_with next to http_interactions, got none")
        return _read_ruby(document["http_interactions"])
    return None


def _pair_lists(requests: Any, responses: Any) -> list[tuple[Any, Any]]:
    """Return the pairs of langchain-tests' layout, which has a list of requests and one of responses.

    Raises:
        DocumentError: They are not lists of the same length.
    """
    for name, value in (("requests", requests), ("responses", responses)):
        if not isinstance(value, list):
            raise DocumentError(f"expected a list of {name}, got {json_kind(value)}")
    if len(requests) != len(responses):
        raise DocumentError(
            f"expected as many responses as requests, got {len(responses)} responses to {len(requests)} requests"
        )
    return list(zip(requests, responses, strict=True))


def _read_ruby(interactions: Any) -> list[tuple[Any, Any]]:
    """Return the pairs of Ruby's VCR.

    Raises:
        DocumentError: A part is missing or has the wrong type.
    """
    if not isinstance(interactions, list):
        raise DocumentError(f"expected a list of http_interactions, got {json_kind(interactions)}")
    pairs = []
    for number, interaction in enumerate(interactions, 1):
        place = f"interaction {number}: "
        if not isinstance(interaction, dict):
            raise DocumentError(f"{place}expected request and response, got {json_kind(interaction)}")
        request = _read_ruby_message(interaction.get("request"), f"{place}request")
        response = _read_ruby_message(interaction.get("response"), f"{place}response")
        recorded_at = interaction.get("recorded_at")
        names = [str(name).lower() for name in response["headers"]]
        if isinstance(recorded_at, str) and "date" not in names:
            response["headers"]["date"] = recorded_at
        pairs.append((request, response))
    return pairs


def _read_ruby_message(message: Any, place: str) -> dict[str, Any]:
    """Return a request or a response of Ruby's VCR with its body as text or bytes.

    Raises:
        DocumentError: It is not an object, or its body is not base64 where it should be.
    """
    if not isinstance(message, dict):
        raise DocumentError(f"{place}: expected an object, got {json_kind(message)}")
    headers = message.get("headers") or {}
    if not isinstance(headers, dict):
        raise DocumentError(f"{place}: expected an object of headers, got {json_kind(headers)}")
    body = message.get("body")
    if isinstance(body, dict) and "base64_string" in body:
        body = {"string": _decode_base64(body["base64_string"], place)}
    return {**message, "headers": dict(headers), "body": body}


def _decode_base64(text: Any, place: str) -> bytes:
    """Return the bytes of a body in base64, which may have line ends.

    Raises:
        DocumentError: It is not base64.
    """
    if not isinstance(text, str):
        raise DocumentError(f"{place}: expected base64 in base64_string, got {json_kind(text)}")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise DocumentError(f"{place}: expected base64 in base64_string, got other characters") from None
