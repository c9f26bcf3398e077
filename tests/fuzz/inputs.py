"""Gives a reader damaged files, and judges what it does with them."""

from __future__ import annotations

from pathlib import Path
from random import Random
from traceback import format_exception

from fuzz.mutations import damage
from fuzz.readers import Reader

MAX_MESSAGE = 3_000
MAX_TRACEBACK_LINES = 30  # of the beginning, and of the end


def make_input(reader: Reader, seed: int, number: int) -> bytes:
    """Return a damaged file; the same for the same arguments."""
    random = Random(f"{seed} {reader.name} {number}")
    return damage(random, random.choice(reader.samples()))


def put(folder: Path, reader: Reader, content: bytes) -> Path:
    """Write the file of a reader into an empty folder, and return its path."""
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def find_failure(reader: Reader, content: bytes, folder: Path) -> str:
    """Return what is wrong with the way in which a reader takes a file; "" if nothing is.

    Args:
        reader: The reader.
        content: The content of its file.
        folder: A folder for it, with nothing in it.
    """
    path = put(folder / "first", reader, content)
    try:
        value = reader.read(path)
    except reader.errors as error:
        return _check_message(reader, str(error))
    except Exception as error:  # noqa: BLE001 -- any other is what is looked for
        return f"raises {type(error).__name__}\n{_format_traceback(error)}"
    # Half a surrogate pair is replaced when a file is written, as UTF-8 has no form for it.
    if reader.write is None or "\\ud" in repr(value):
        return ""
    try:
        again = reader.read(put(folder / "again", reader, reader.write(value)))
    except Exception as error:  # noqa: BLE001 -- any other is what is looked for
        return f"what it reads cannot be written and read again\n{_format_traceback(error)}"
    if again != value:
        return f"what it reads reads otherwise once it was written:\n  {value!r}\n  {again!r}"
    return ""


def _format_traceback(error: Exception) -> str:
    """Return a traceback; of a recursion, only the first and last calls."""
    lines = "".join(format_exception(error)).splitlines(keepends=True)
    if len(lines) <= 2 * MAX_TRACEBACK_LINES:
        return "".join(lines)
    return "".join([*lines[:MAX_TRACEBACK_LINES], "  ...\n", *lines[-MAX_TRACEBACK_LINES:]])


def _check_message(reader: Reader, message: str) -> str:
    name = Path(reader.file).name if reader.named is None else reader.named
    if name not in message:
        return f"an error does not name {name}: {message}"
    if len(message) > MAX_MESSAGE:
        return f"an error of {len(message):,} characters: {message[:300]}"
    return ""
