"""Reading the run file that a command is given.

Files that a command writes because its user named them: whole or not at all, and never in place of what it reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmops._util.text_files import gzip_by_suffix, write_atomically
from pytest_llmops.errors import CassetteError, UsageError
from pytest_llmops.measurement import shorten_text

if TYPE_CHECKING:
    from pytest_llmops.results.run import Run


def read_run_file(path: Path) -> Run:
    """Return the run of a file that ``--llm-report=run.json`` or ``run.json.gz`` wrote.

    Raises:
        UsageError: There is no such file, or it holds no run; with record and key where it is damaged.
    """
    from pytest_llmops._util.text_files import BadFile, decode_text, read_bytes
    from pytest_llmops.results.run import Run
    from pytest_llmops.wire.untrusted_documents import DocumentError, decompress_gzip

    path_text = shorten_text(str(path), 300)
    try:
        text = decode_text(decompress_gzip(read_bytes(path)))
    except (BadFile, DocumentError) as error:
        raise UsageError(
            f"{path_text}: {error.what}; expected a file that --llm-report=run.json wrote"
        ) from None
    return Run.from_json(text, where=path_text)


def check_output_path(flag: str, path: Path | None, inputs: Mapping[str, Path | None]) -> None:
    """Refuse a file that could not be written, or would take another's place, before anything is done or paid for.

    Args:
        flag: The option that names it.
        path: The file; None: none is to be written.
        inputs: What the command reads, by what it is.

    Raises:
        UsageError: It is one of those files, it is a folder, or its folder is not there or not to be written to.
    """
    if path is None:
        return
    path_text = shorten_text(str(path), 300)
    for what, other in inputs.items():
        if other is not None and _is_same_file(path, other):
            raise UsageError(
                f"{flag}: expected another file than {what}, got {path_text}: it would be written over"
            )
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise _unwritable_error(path, "No such file or directory")
    if path.is_dir():
        raise _unwritable_error(path, "Is a directory")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _unwritable_error(path, "Permission denied")


def _is_same_file(path: Path, other: Path) -> bool:
    if path.exists() and other.exists():
        return path.samefile(other)
    return os.path.realpath(path) == os.path.realpath(other)


def _unwritable_error(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{shorten_text(str(path), 300)}: cannot be written: {why}; name a file in a folder that exists"
    )


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Keep other commands from changing a file between reading and writing it; they wait. No lock file lies beside it.

    Raises:
        UsageError: The lock cannot be had.
    """
    from pytest_llmops.cassettes.locking import lock_cassette

    with ExitStack() as held:
        try:
            held.enter_context(lock_cassette(path))
        except CassetteError as error:
            why = str(error).partition(": ")[2]
            raise UsageError(f"{shorten_text(str(path), 300)}: {why}") from None
        yield


def write_output_file(path: Path, text: str) -> None:
    """Write a text file, compressed if its name ends in .gz, whole or not at all; a link stays one, and a file keeps its mode.

    Raises:
        UsageError: It cannot be written, or the text holds half a character.
    """
    try:
        write_atomically(path, gzip_by_suffix(path, text.encode("utf-8")))
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{path}: cannot be written: the text has half a character, {text[error.start]!a}; look for it in the "
            "names and versions that are written"
        ) from None
    except OSError as error:
        raise _unwritable_error(path, error.strerror or str(error)) from None
