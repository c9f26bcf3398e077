"""Read run files, and write output files of commands: completely or not at all, and never over an input."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pytest_llmops._util.option_values import parse_reports, split_report
from pytest_llmops._util.text_files import BadFile, decode_text, gzip_by_suffix, read_bytes, write_atomically
from pytest_llmops.cli.output import format_path, print_line
from pytest_llmops.errors import CassetteError, UsageError, refuse
from pytest_llmops.measurement import shorten_text
from pytest_llmops.results.run import Run


def read_run_file(path: Path) -> Run:
    """Return the run of a file that ``--llm-report=run.json`` or ``run.json.gz`` wrote.

    Raises:
        UsageError: The file is missing or is no run file; names record and key where it is damaged.
    """
    from pytest_llmops.wire.untrusted_documents import DocumentError, decompress_gzip

    path_text = format_path(path)
    try:
        text = decode_text(decompress_gzip(read_bytes(path)))
    except (BadFile, DocumentError) as error:
        raise UsageError(
            f"{path_text}: {error.what}; expected a file that --llm-report=run.json wrote"
        ) from None
    return Run.from_json(text, where=path_text)


def check_output_path(flag: str, path: Path | None, inputs: Mapping[str, Path | None]) -> None:
    """Check that an output file can be written and replaces no input, before a command does or pays for anything.

    Args:
        flag: The option that names the file.
        path: The file; None: nothing will be written.
        inputs: Files that the command reads, by description.

    Raises:
        UsageError: It is an input or a folder, or its folder is missing or not writable.
    """
    if path is None:
        return
    for what, other in inputs.items():
        if other is not None and (
            os.path.realpath(path) == os.path.realpath(other)
            or (path.exists() and other.exists() and path.samefile(other))
        ):
            raise UsageError(
                f"{flag}: expected another file than {what}, got {format_path(path)}: it would be overwritten"
            )
    folder = Path(os.path.realpath(path)).parent
    refuse(not folder.is_dir(), _unwritable_error(path, "No such file or directory"))
    refuse(path.is_dir(), _unwritable_error(path, "Is a directory"))
    refuse(not os.access(folder, os.W_OK | os.X_OK), _unwritable_error(path, "Permission denied"))


def read_starter_files(name: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of the files that ``init`` or ``demo`` writes; a path has slashes."""
    folder = Path(__file__).with_name("starter") / name
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            # A test file is stored with .txt at its end: it is no module of the package.
            yield path.relative_to(folder).as_posix().removesuffix(".txt"), path.read_bytes()


def create_file(path: Path, data: bytes) -> bool:
    """Create a file, and the folders above it; return False if there is something of that name, which is left alone.

    Raises:
        UsageError: It cannot be written; nothing is left of it.
    """
    if os.path.lexists(path):
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise _unwritable_error(path, error.strerror or str(error)) from None
    return True


def check_reports(flag: str, reports: Sequence[str], inputs: Mapping[str, Path | None]) -> None:
    """Check that each of the reports has a kind and a file of its own, which can be written and is no input.

    Raises:
        UsageError: One has not.
    """
    try:
        parse_reports(reports)
    except ValueError as error:
        got = getattr(error, "got", reports)
        raise UsageError(f"{flag}: expected {error}, got {shorten_text(repr(got), 300)}") from None
    for report in reports:
        kind, file = split_report(report)
        check_output_path(flag, None if kind == "otlp" else Path(file), inputs)


def write_reports(run: Run, reports: Sequence[str], history: Sequence[Run] = ()) -> None:
    """Write or send a run as reports of the kinds that their names give; those in HTML show it among earlier runs.

    Raises:
        UsageError: One cannot be written or sent.
    """
    from pytest_llmops.harness.controller import mask_run_secrets
    from pytest_llmops.reports import deliver_report

    for report in reports:
        kind, file = split_report(report)
        is_sent = kind == "otlp"  # out of this machine: the file may be older than a secret is known
        deliver_report(
            mask_run_secrets(run) if is_sent else run,
            report,
            lambda name, text: write_output_file(Path(name), text),
            history,
        )
        print_line(f"  report     {report if is_sent else format_path(Path(file))}")


def _unwritable_error(path: Path, why: str) -> UsageError:
    return UsageError(f"{format_path(path)}: cannot be written: {why}; name a file in a folder that exists")


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Make other commands wait while this command reads and writes a file. The lock file is in another folder.

    Raises:
        UsageError: The lock cannot be acquired.
    """
    from pytest_llmops.cassettes.locking import lock_cassette

    with ExitStack() as held:
        try:
            held.enter_context(lock_cassette(path))
        except CassetteError as error:
            why = str(error).partition(": ")[2]
            raise UsageError(f"{format_path(path)}: {why}") from None
        yield


def write_output_file(path: Path, text: str) -> None:
    """Write a text file atomically, compressed if its name ends in .gz; links and file modes are kept.

    Raises:
        UsageError: It cannot be written, or the text has a lone surrogate.
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
