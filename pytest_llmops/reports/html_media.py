"""The images and sounds of a page, as data URIs: nothing is fetched, and only contents of a safe type are put on the page.

A run file may come from anywhere. So type and digest are computed from the content itself, and the file's statements about it are not used.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from pytest_llmops._util.media_types import MAX_MEDIA_BYTES, MediaType, decode_base64, detect_media_type
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import Call, Media, format_size

MAX_PAGE_CHARS = 6_700_000  # characters of base64: 5 MB of images and sounds
DIGEST_DIGITS = 12  # of a digest on the page
MAX_ENCODED_CHARS = 4 * (MAX_MEDIA_BYTES // 3 + 1)


class PageMedia:
    """The images and sounds of a page, each stored once; a view refers to them by their index in ``stored``.

    Args:
        calls: All calls of the run: the content of an image is stored in one of them only.
        max_chars: Characters of base64 that the page may hold.

    Attributes:
        stored: For each, ``label``, ``kind`` and, if it is shown, its ``address``; else ``why`` it is not.
    """

    def __init__(self, calls: Iterable[Call] = (), max_chars: int = MAX_PAGE_CHARS) -> None:
        self.stored: list[dict[str, Any]] = []
        self._places: dict[tuple[str, str], int] = {}
        self._left = max_chars
        self._contents: dict[str, str] = {}
        for call in calls:
            for media in _iter_media(call):
                if media.data:
                    self._contents.setdefault(media.sha256, media.data)

    def put(self, items: Sequence[Media]) -> list[int]:
        """Store images and sounds, if they are new; return their indexes."""
        places = []
        for media in items:
            key = (media.sha256, media.label)
            if key not in self._places:
                self._places[key] = len(self.stored)
                self.stored.append(self._build_view(media))
            places.append(self._places[key])
        return places

    def refer(self, items: Sequence[Media]) -> list[list[int]]:
        """Return the end of a row that shows images and sounds: a list with the list of their indexes, empty without any."""
        if items:
            return [self.put(items)]
        return []

    def put_case(self, app: Iterable[Call]) -> dict[str, Any]:
        """Return ``{"media": {"input": [...], "output": [...]}}``, the indexes of the media in the application's requests and answers.

        Without images and sounds, the result is empty.

        Args:
            app: The calls of the application.
        """
        asked: dict[int, None] = {}
        answered: dict[int, None] = {}
        for call in app:
            for message in call.messages:
                asked.update(dict.fromkeys(self.put(message.media)))
            answered.update(dict.fromkeys(self.put(call.media)))
        if not asked and not answered:
            return {}
        return {"media": {"input": list(asked), "output": list(answered)}}

    def _build_view(self, media: Media) -> dict[str, Any]:
        view: dict[str, Any] = {"label": shorten_text(media.label, 80), "kind": "", "why": ""}
        encoded = media.data or self._contents.get(media.sha256, "")
        media_type = _check_content(encoded, media.sha256)
        if media_type is not None and len(encoded) <= self._left:
            self._left -= len(encoded)
            view["kind"] = media_type.kind
            view["address"] = f"data:{media_type.mime};base64,{encoded}"
            return view
        why = _explain_missing(media)
        if media.sha256:
            why += f", SHA-256 {media.sha256[:DIGEST_DIGITS]}"
        view["why"] = why
        return view


def _iter_media(call: Call) -> Iterable[Media]:
    for message in call.messages:
        yield from message.media
    yield from call.media


def _check_content(encoded: str, sha256: str) -> MediaType | None:
    """Return the type of a content that may be shown; None if it is too large, different from its digest, or of another type."""
    if not encoded or len(encoded) > MAX_ENCODED_CHARS:
        return None
    content = decode_base64(encoded)
    if content is None or base64.b64encode(content).decode() != encoded:
        return None
    if hashlib.sha256(content).hexdigest() != sha256:  # a secret in it was masked, or the file was changed
        return None
    return detect_media_type(content)


def _explain_missing(media: Media) -> str:
    """Return why an image or sound is not shown."""
    if media.size is not None and media.size > MAX_MEDIA_BYTES:
        return f"not shown: larger than {format_size(MAX_MEDIA_BYTES)}"
    if not media.type:
        return "not shown: not PNG, JPEG, GIF, WebP, WAV, MP3 or Ogg"
    return "not shown: its content is not in the run file"
