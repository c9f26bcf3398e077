"""Markers for long encoded texts (images, audio, embeddings), which are stored at the end of a cassette.

A marker describes its text: ``{"$blob": "image/png, 12,345 bytes, 3fa9c1d2e0b4..."}``. The last word is the start of
the text's SHA-256, which is the key of the text in the file's ``blobs``. A marker that is not yet written to a file
holds its text itself.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import shorten_text

BLOB = "$blob"
NUMBERS = "$numbers"
TEXT_KEY = "text"
MARKER_KEYS = frozenset({BLOB, NUMBERS})
REFERENCE_DIGITS = 20  # hexadecimal digits of a reference: 80 bits
_REFERENCE = re.compile(rf"(?:.*, )?([0-9a-f]{{{REFERENCE_DIGITS},64}})")


class StoredBody(dict[str, Any]):
    """A body with markers as read from a cassette file, together with the ``blobs`` of that file."""

    blobs: Mapping[str, str]

    def __init__(self, stored: Mapping[str, Any], blobs: Mapping[str, str]) -> None:
        super().__init__(stored)
        self.blobs = blobs


def make_marker(kind: str, label: str, text: str) -> dict[str, Any]:
    """Return a marker that holds its text."""
    return {kind: label, TEXT_KEY: text}


def marker_text(stored: Mapping[str, Any], kind: str, blobs: Mapping[str, str]) -> str:
    """Return the text of a marker, which the marker holds itself or which is among the blobs of its file.

    Args:
        stored: The marker.
        kind: Its key, `BLOB` or `NUMBERS`.
        blobs: The ``blobs`` of the file; not used if the marker holds its text.

    Raises:
        CassetteError: The text is missing or was changed.
    """
    held_text = stored.get(TEXT_KEY)
    if isinstance(held_text, str):
        return held_text
    label = stored[kind]
    match = None
    if isinstance(label, str):
        match = _REFERENCE.fullmatch(label)
    if match is None or held_text is not None:
        raise CassetteError(
            f"a body: expected {kind} to end in the hash of a text, got {shorten_text(repr(label), 80)}"
        )
    text = blobs.get(match[1])
    if text is None:
        raise CassetteError(
            f"a body: the text {match[1]} is not among the blobs of its file; restore it, or record again"
        )
    # Checked here, not when the file is read: a text that is not used costs nothing.
    if not text_digest(text).startswith(match[1]):
        raise CassetteError(
            f"a body: the text {match[1]} among the blobs of its file was changed; restore it, or record again"
        )
    return text


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def extract_texts(stored: Mapping[str, Any], texts: dict[str, str]) -> dict[str, Any]:
    """Return a body as it is written to a file. The texts of its markers are added to ``texts``.

    Raises:
        CassetteError: The text of a marker is missing.
    """
    blobs = getattr(stored, "blobs", {})
    return {key: _replace_texts(value, blobs, texts) for key, value in stored.items()}


def _replace_texts(value: Any, blobs: Mapping[str, str], texts: dict[str, str]) -> Any:
    """Return a copy of a JSON value whose markers refer to their texts. The texts are added to ``texts``."""
    if isinstance(value, list):
        return [_replace_texts(element, blobs, texts) for element in value]
    if not isinstance(value, dict):
        return value
    for kind in MARKER_KEYS:
        if kind in value:
            return _extract_text(value, kind, blobs, texts)
    return {key: _replace_texts(element, blobs, texts) for key, element in value.items()}


def _extract_text(
    marker: dict[str, Any], kind: str, blobs: Mapping[str, str], texts: dict[str, str]
) -> dict[str, str]:
    """Add the text of a marker to ``texts``, and return a marker that refers to it by its hash.

    The hash is shortened, unless another text has the same short hash.
    """
    text = marker_text(marker, kind, blobs)
    label = marker[kind]
    if TEXT_KEY not in marker:  # read from a file: the label already ends in a hash
        label = label.rpartition(", ")[0]
    digest = text_digest(text)
    reference = digest[:REFERENCE_DIGITS]
    if texts.setdefault(reference, text) != text:
        reference = digest
        texts[reference] = text
    if label:
        return {kind: f"{label}, {reference}"}
    return {kind: reference}


def read_blobs(document: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Return the texts of a cassette file; None for most files, which have no ``blobs``.

    Raises:
        CassetteError: ``blobs`` is not an object of texts.
    """
    blobs = document.get("blobs")
    if blobs is None:
        return None
    if not isinstance(blobs, dict):
        raise CassetteError("the blobs of a cassette: expected an object of texts")
    if not all(isinstance(text, str) for text in blobs.values()):
        raise CassetteError("the blobs of a cassette: expected an object of texts")
    return blobs
