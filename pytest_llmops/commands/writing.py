"""Files that a command writes because its user named them: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pytest_llmops.errors import UsageError


def write(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        UsageError: It cannot be written.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:60]}.", suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise UsageError(
            f"{path}: cannot be written: {error.strerror or error}; name a file in a folder that exists"
        ) from None
