"""Files that a command writes because its user named them: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pytest_llmops.errors import UsageError


def write(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        UsageError: It cannot be written, or the text holds half a character.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{path}: cannot be written: the text has half a character, {text[error.start]!a}; look for it in the "
            "names and versions that are written"
        ) from None
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:60]}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be written: {error.strerror or error}; name a file in a folder that exists"
        ) from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)  # there only if something went wrong
