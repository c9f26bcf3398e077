"""Read the images and sounds in the parts of a message, whatever vendor's format it has.

Nothing is fetched: an image that a message only links to is not read. No reader raises.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace

from pytest_llmops._util.json_values import JsonObject, as_mappings, as_text, get_mapping, get_text
from pytest_llmops._util.media_types import MAX_MEDIA_BYTES, decode_base64, detect_media_type
from pytest_llmops.protocols import Call, Media, Message, format_size

MAX_DATA_HEADER = 200  # characters of a data URI before its data
MIN_FILE_CHARS = 1_000  # characters from which on a text in base64 is taken for a file
# The text in a recording in place of the content of a case's file
DIGEST_MARK = "sha256:"
_DIGEST_CHARS = len(DIGEST_MARK) + 64
_KINDS = ("image", "audio")
# Type of a part -> key of its address, which is a text or an object with the key "url"
_ADDRESS_KEYS = {"image_url": "image_url", "input_image": "image_url", "audio_url": "audio_url"}


def list_media(content: object) -> tuple[Media, ...]:
    """Return the images and sounds of a message's content: a part, or a list of parts, and the parts of a tool result in it."""
    parts = as_mappings([content])
    if isinstance(content, list):
        parts = as_mappings(content)
    media = []
    for part in parts:
        for inner in (part, *as_mappings(part.get("content"))):
            item = read_media(inner)
            if item is not None:
                media.append(item)
    return tuple(media)


def read_media(part: JsonObject) -> Media | None:
    """Return the image or sound that a part of a message holds; None for any other part, and for one that only has a link."""
    for read in _READERS:
        found = read(part)
        if found is not None:
            return make_media(*found)
    return None


def make_media(mime: str, encoded: str) -> Media | None:
    """Return an image or sound in base64; None if it is neither, or not base64.

    Args:
        mime: The type that the message states: ``image/png``. Only decides between image and sound if its bytes do not.
        encoded: The content in base64, or the digest that replaces the content of a case's file.
    """
    kind, _, name = mime.lower().partition("/")
    if encoded.startswith(DIGEST_MARK) and len(encoded) == _DIGEST_CHARS:
        if kind not in _KINDS:
            return None
        return Media(kind=kind, type=name[:20], sha256=encoded.removeprefix(DIGEST_MARK))
    content = decode_base64(encoded)
    if content is None:
        return None
    media_type = detect_media_type(content)
    digest = hashlib.sha256(content).hexdigest()
    if media_type is None:
        if kind not in _KINDS:
            return None
        return Media(kind=kind, size=len(content), sha256=digest)
    data = ""
    if len(content) <= MAX_MEDIA_BYTES:
        data = base64.b64encode(content).decode()
    return Media(kind=media_type.kind, type=media_type.name, size=len(content), sha256=digest, data=data)


def label_files(value: object) -> object:
    """Return a JSON value in which a label replaces each long text in base64, such as a PDF file: its size and its SHA-256."""
    if isinstance(value, dict):
        return {key: label_files(item) for key, item in value.items()}
    if isinstance(value, list):
        return [label_files(item) for item in value]
    if not isinstance(value, str) or len(value) < MIN_FILE_CHARS:
        return value
    encoded = value
    if value.startswith("data:"):
        header, _, _ = value[:MAX_DATA_HEADER].partition(",")
        encoded = value[len(header) + 1 :]
    content = decode_base64(encoded)
    if content is None:
        return value
    digest = hashlib.sha256(content).hexdigest()
    return f"[file: {format_size(len(content))}, SHA-256 {digest[:12]}]"


def restore_files(call: Call, files: Mapping[bytes, bytes]) -> Call:
    """Return a call with the content of its case's files, of which requests hold only the digests.

    Args:
        call: The call.
        files: Content in base64 -> the digest that replaces it.
    """
    if not files:
        return call
    contents = {mark.decode(): content.decode() for content, mark in files.items()}
    messages = [_restore_message(message, contents) for message in call.messages]
    return replace(call, messages=tuple(messages))


def _restore_message(message: Message, contents: Mapping[str, str]) -> Message:
    media = []
    for item in message.media:
        content = contents.get(f"{DIGEST_MARK}{item.sha256}")
        whole = None
        if content is not None and item.size is None:
            whole = make_media(f"{item.kind}/{item.type}", content)
        media.append(whole or item)
    return replace(message, media=tuple(media))


def _read_address(part: JsonObject) -> tuple[str, str] | None:
    """Read a part of OpenAI with a data URI, ``{"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}``."""
    key = _ADDRESS_KEYS.get(get_text(part, "type"))
    if key is None:
        return None
    address = get_text(part, key) or get_text(get_mapping(part, key), "url")
    header, comma, encoded = address[:MAX_DATA_HEADER].partition(",")
    if not comma or not header.startswith("data:") or not header.endswith(";base64"):
        return None
    encoded = address[len(header) + 1 :]
    return header.removeprefix("data:").partition(";")[0], encoded


def _read_input_audio(part: JsonObject) -> tuple[str, str] | None:
    """Read a part of OpenAI, ``{"type": "input_audio", "input_audio": {"data": ..., "format": "wav"}}``."""
    if get_text(part, "type") != "input_audio":
        return None
    audio = get_mapping(part, "input_audio")
    return f"audio/{get_text(audio, 'format')}", get_text(audio, "data")


def _read_source(part: JsonObject) -> tuple[str, str] | None:
    """Read a part of Anthropic, ``{"type": "image", "source": {"type": "base64", "media_type": ..., "data": ...}}``."""
    source = get_mapping(part, "source")
    if get_text(source, "type") != "base64":
        return None
    return get_text(source, "media_type"), get_text(source, "data")


def _read_inline_data(part: JsonObject) -> tuple[str, str] | None:
    """Read a part of Gemini, ``{"inlineData": {"mimeType": ..., "data": ...}}``, also in snake case."""
    inline = get_mapping(part, "inlineData") or get_mapping(part, "inline_data")
    if not inline:
        return None
    mime = get_text(inline, "mimeType") or get_text(inline, "mime_type")
    return mime, get_text(inline, "data")


def _read_bedrock_image(part: JsonObject) -> tuple[str, str] | None:
    """Read a part of Bedrock's converse, ``{"image": {"format": "png", "source": {"bytes": ...}}}``."""
    image = get_mapping(part, "image")
    encoded = as_text(get_mapping(image, "source").get("bytes"))
    if not encoded:
        return None
    return f"image/{get_text(image, 'format')}", encoded


_Reader = Callable[[JsonObject], tuple[str, str] | None]
_READERS: tuple[_Reader, ...] = (
    _read_address,
    _read_input_audio,
    _read_source,
    _read_inline_data,
    _read_bedrock_image,
)
