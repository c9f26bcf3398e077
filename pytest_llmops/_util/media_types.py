"""Recognize images and sounds that a browser may show, by their first bytes: the type that a message states is not trusted.

SVG and HTML are not among them: a browser might run their content.
"""

import base64
import binascii
from typing import NamedTuple

MAX_MEDIA_BYTES = 200_000  # a larger image or sound is named, not kept
_URL_SAFE = str.maketrans("-_", "+/")


class MediaType(NamedTuple):
    """A type that can be shown: ``image`` or ``audio``, its short name, and its MIME type."""

    kind: str
    name: str
    mime: str


PNG = MediaType("image", "png", "image/png")
JPEG = MediaType("image", "jpeg", "image/jpeg")
GIF = MediaType("image", "gif", "image/gif")
WEBP = MediaType("image", "webp", "image/webp")
WAV = MediaType("audio", "wav", "audio/wav")
MP3 = MediaType("audio", "mp3", "audio/mpeg")
OGG = MediaType("audio", "ogg", "audio/ogg")
_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"OggS", OGG),
    (b"ID3", MP3),
    # A frame of MPEG audio, layer 3, with and without a checksum
    (b"\xff\xfb", MP3),
    (b"\xff\xfa", MP3),
    (b"\xff\xf3", MP3),
    (b"\xff\xf2", MP3),
)
_RIFF_FORMS = {b"WEBP": WEBP, b"WAVE": WAV}
_RIFF_HEADER = 12  # "RIFF", four bytes of size, and the form


def detect_media_type(content: bytes) -> MediaType | None:
    r"""Return the type of an image or sound by its first bytes; None for anything else, also for SVG.

    >>> detect_media_type(b"\x89PNG\r\n\x1a\n...").mime, detect_media_type(b"<svg onload='alert(1)'>")
    ('image/png', None)
    """
    for beginning, media_type in _BEGINNINGS:
        if content.startswith(beginning):
            return media_type
    if content.startswith(b"RIFF"):
        return _RIFF_FORMS.get(content[_RIFF_HEADER - 4 : _RIFF_HEADER])
    return None


def decode_base64(encoded: str) -> bytes | None:
    """Return the bytes of a text in base64, also in the alphabet for URLs and without padding; None if it is not base64.

    >>> decode_base64("aGk"), decode_base64("a b"), decode_base64("")
    (b'hi', None, None)
    """
    text = encoded.translate(_URL_SAFE).rstrip("=")
    if not text:
        return None
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
