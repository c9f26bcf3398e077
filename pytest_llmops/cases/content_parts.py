"""Make the content parts of OpenAI's chat messages for images, sounds and PDF files."""

from pathlib import Path

from pytest_llmops.errors import CaseError
from pytest_llmops.measurement import Json

# Suffix of a file -> type of its content part, and media type (for audio the name of the format)
PART_TYPES = {
    ".png": ("image_url", "image/png"),
    ".jpg": ("image_url", "image/jpeg"),
    ".jpeg": ("image_url", "image/jpeg"),
    ".gif": ("image_url", "image/gif"),
    ".webp": ("image_url", "image/webp"),
    ".wav": ("input_audio", "wav"),
    ".mp3": ("input_audio", "mp3"),
    ".pdf": ("file", "application/pdf"),
}


def make_file_part(case_id: str, name: str, data: str) -> dict[str, Json]:
    """Return the content part of a file.

    Args:
        case_id: The case that has the file, for errors.
        name: The name of the file; its suffix decides.
        data: Its content as base64.

    Raises:
        CaseError: It is not a PNG, JPEG, GIF, WebP, WAV, MP3 or PDF file.

    >>> make_file_part("receipt", "img/a.png", "iVBO")
    {'type': 'image_url', 'image_url': {'url': 'data:image/png;base64,iVBO'}}
    """
    suffix = Path(name).suffix.lower()
    if suffix not in PART_TYPES:
        expected = ", ".join(PART_TYPES)
        raise CaseError(f"case {case_id}: expected a file of type {expected}", name)
    kind, media = PART_TYPES[suffix]
    address = f"data:{media};base64,{data}"
    if kind == "image_url":
        body: dict[str, Json] = {"url": address}
    elif kind == "input_audio":
        body = {"data": data, "format": media}
    else:
        body = {"filename": Path(name).name, "file_data": address}
    return {"type": kind, kind: body}
