"""Long encoded texts (images, audio, embeddings) lie at the end of a cassette, and a marker stands where they were.

A marker says what it stands for: ``{"$blob": "image/png, 12,345 bytes, 3fa9c1d2e0b4..."}``. The last word is
the beginning of the text's SHA-256, under which the text lies in the file's ``blobs``. In memory, before it
is written, a marker holds its text itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import shorten

BLOB = "$blob"
NUMBERS = "$numbers"
TEXT = "text"
MARKS = frozenset({BLOB, NUMBERS})
LENGTH = 20
"""Hexadecimal digits of a reference: 80 bits."""
_REFERENCE = re.compile(rf"(?:.*, )?([0-9a-f]{{{LENGTH},64}})")


class Body(dict[str, Any]):
    """A body of a cassette file that holds markers, with the texts of its file.

    It is the same object as without them to all who do not ask for the texts.
    """

    blobs: Mapping[str, str]

    def __init__(self, stored: Mapping[str, Any], blobs: Mapping[str, str]) -> None:
        super().__init__(stored)
        self.blobs = blobs


def marker(kind: str, label: str, text: str) -> dict[str, Any]:
    """Return the marker of a text, which it holds."""
    return {kind: label, TEXT: text}


def text_of(stored: Mapping[str, Any], kind: str, blobs: Mapping[str, str]) -> str:
    """Return the text that a marker stands for.

    Raises:
        CassetteError: The text is not there, or is another one.
    """
    own = stored.get(TEXT)
    if isinstance(own, str):
        return own
    label = stored[kind]
    found = _REFERENCE.fullmatch(label) if isinstance(label, str) else None
    if found is None or own is not None:
        raise CassetteError(
            f"a body: expected {kind} to end in the hash of a text, got {shorten(repr(label), 80)}"
        )
    text = blobs.get(found[1])
    if text is None:
        raise CassetteError(
            f"a body: the text {found[1]} is not among the blobs of its file; restore it, or record again"
        )
    # Now and not when the file is read: what nobody asks for costs nothing.
    if not digest(text).startswith(found[1]):
        raise CassetteError(
            f"a body: the text {found[1]} among the blobs of its file was changed; restore it, or record again"
        )
    return text


def digest(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def taken_out(stored: Mapping[str, Any], found: dict[str, str]) -> dict[str, Any]:
    """Return a body as the file holds it, and add its texts to those that were found.

    Raises:
        CassetteError: A marker came from a file that does not hold its text.
    """
    blobs = getattr(stored, "blobs", {})
    return {key: _without_texts(one, blobs, found) for key, one in stored.items()}


def _without_texts(value: Any, blobs: Mapping[str, str], found: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_without_texts(one, blobs, found) for one in value]
    if not isinstance(value, dict):
        return value
    for kind in MARKS:
        if kind in value:
            text = text_of(value, kind, blobs)
            label = value[kind] if TEXT in value else value[kind].rpartition(", ")[0]
            reference = _kept(text, found)
            return {kind: f"{label}, {reference}" if label else reference}
    return {key: _without_texts(one, blobs, found) for key, one in value.items()}


def _kept(text: str, found: dict[str, str]) -> str:
    whole = digest(text)
    reference = whole[:LENGTH]
    if found.setdefault(reference, text) == text:
        return reference
    found[whole] = text
    return whole


def put_back(document: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Return the texts of a cassette file; None if it has none, which is the rule.

    Raises:
        CassetteError: They are no texts.
    """
    blobs = document.get("blobs")
    if blobs is None:
        return None
    if not isinstance(blobs, dict) or not all(isinstance(one, str) for one in blobs.values()):
        raise CassetteError("the blobs of a cassette: expected an object of texts")
    return blobs
