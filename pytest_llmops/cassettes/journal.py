"""Journals: answers that a process has recorded but not merged into the cassette yet, one line per answer.

An answer is on disk before its caller gets it. A process keeps its journal locked while it runs. So a journal that is
not locked was left by a killed run; the next process that opens the cassette merges it.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shlex
import socket
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import format_count
from pytest_llmops.wire.body import check_answer, check_request

# A folder next to the cassettes that exists only while it has files: a missing folder is cheap to detect
JOURNAL_FOLDER = ".journal"
MAX_TRIES = 20
# Maximum length of a cassette's name in the name of its journal: a file name has at most 255 bytes, and a path on
# Windows 260
MAX_STEM = 120
MAX_NAMED_PLACES = 16  # lost answers that a message names


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A line of a journal: the n-th answer of a take to a request.

    Attributes:
        by: The place of the request in the cassette, by which it is ordered (``#007``).
        key: The key of the request.
        take: The take: the number of a trial, as a text.
        n: Zero-based place among the answers to equal requests of the take.
        again: Whether it replaces an answer that the cassette has in this place, also if its run is killed and another
            run merges it.
    """

    by: str
    key: str
    take: str
    n: int
    request: dict[str, Any]
    answer: dict[str, Any]
    again: bool = False

    def to_line(self) -> bytes:
        """Return the line with its end."""
        wire = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        return json.dumps(wire, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


class Journal:
    """The unmerged answers of this process for a cassette.

    The file is created when `prepare` or `append` is first called.

    An answer that could not be written is kept in memory, and written before the next answer. An answer that comes
    after `close` (from a thread that outlived its test) gets its own file, which is merged when the cassette is
    opened next.
    """

    def __init__(self, cassette: Path) -> None:
        self.cassette = cassette
        self._paths: list[Path] = []
        self._unwritten: list[bytes] = []
        # A note on answers that could not be written next to the cassette; "" if there are none
        self.rescue_note = ""
        self._rescue_path: Path | None = None  # their file in the temporary folder
        self._rescued_count = 0
        self._fd = -1
        self._used = False  # whether anything was written to the open file
        self._closed = False
        self._pid = os.getpid()
        self._lock = threading.Lock()

    @property
    def paths(self) -> list[Path]:
        """Return the files of this process, without the files of the process that it was forked from."""
        with self._locked():
            return self._paths

    @property
    def is_open(self) -> bool:
        """Whether this process has the file open, and nothing that it has written there has failed."""
        return self._fd >= 0 and self._pid == os.getpid()

    def prepare(self) -> None:
        """Make sure that an answer can be written, before it is paid.

        Raises:
            CassetteError: The folder, or an earlier answer, cannot be written.
        """
        with self._locked():
            if self._unwritten or (self._fd < 0 and not self._closed):
                self._write("live answers")

    def append(self, entry: JournalEntry) -> None:
        """Write an answer to disk.

        Raises:
            CassetteError: The disk is full or the folder cannot be written.
        """
        self.append_lines(entry.to_line())

    def append_lines(self, lines: bytes) -> None:
        """Write several answers to disk, and sync them together.

        Args:
            lines: Lines of `JournalEntry.to_line`.

        Raises:
            CassetteError: The disk is full or the folder cannot be written.
        """
        with self._locked():
            self._unwritten.append(lines)
            try:
                self._write("an answer")
            except CassetteError:
                if self._closed:
                    self._rescue_answers()
                raise
            if self._closed:
                self._close_file()

    def close(self) -> None:
        """Close the file, which stays on disk until it is merged. A later answer opens another file.

        Answers for which there is still no room are rescued.
        """
        with self._locked():
            if self._unwritten:
                with contextlib.suppress(CassetteError):  # was raised already when the answer was recorded
                    self._write("an answer")
            self._close_file()
            self._closed = True
            if self._unwritten:
                self._rescue_answers()

    def rescue(self) -> None:
        """Write the answers that could not be written to the temporary folder, which may be on another disk."""
        with self._locked():
            self._rescue_answers()

    def _rescue_answers(self) -> None:
        """Write the answers that could not be written to the temporary folder; `rescue_note` reports the result."""
        if self._rescue_path is None:
            self._rescue_path = Path(tempfile.gettempdir()) / self._new_file_name()
        path = self._rescue_path
        lines = b"".join(self._unwritten).splitlines(keepends=True)
        count = _append_lines(path, lines)
        self._rescued_count += count
        self._unwritten = lines[count:]
        notes = []
        if self._rescued_count:
            folder = shlex.quote(str(self.cassette.parent / JOURNAL_FOLDER))
            notes.append(
                f"kept: {format_count(self._rescued_count, 'paid answer')} in {path}; mkdir -p {folder} &&"
                f" mv {shlex.quote(str(path))} {folder}, and the next run merges the paid answers"
            )
        if self._unwritten:
            notes.append(
                f"lost: {format_count(len(self._unwritten), 'paid answer')} ({_name_places(self._unwritten)}),"
                f" as {path.parent} has no room either: free one of the disks, and the next run pays for them again"
            )
        self.rescue_note = "\n".join(notes)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock for a block. In a forked process, first start anew: everything belongs to the parent."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._lock = threading.Lock()  # a thread of the parent may have held the old one at the fork
            self._paths = []
            self._unwritten = []
            if self._fd >= 0:
                close_quietly(self._fd)  # without unlocking it: the parent still writes to it
                self._fd = -1
        with self._lock:
            yield

    def _write(self, what: str) -> None:
        """Write all unwritten answers, to a new file if none is open; without answers only create the file.

        Args:
            what: The thing that is written, for the error.

        Raises:
            CassetteError: The file could not be written; the answers are kept.
        """
        try:
            if self._fd < 0:
                self._create_file()
            while self._unwritten:
                self._used = True
                rest = memoryview(self._unwritten[0])
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
                os.fsync(self._fd)
                del self._unwritten[0]
        except OSError as error:
            self._close_file()  # after a partial line, the next answer starts a new file
            raise CassetteError(
                f"cassette {self.cassette}: {what} could not be written: {error}; "
                "free the disk or make the folder writable"
            ) from None
        except BaseException:
            self._close_file()
            raise

    def _create_file(self) -> None:
        """Create, open and lock a new file.

        Raises:
            OSError: It cannot be created or locked.
        """
        for _ in range(MAX_TRIES):
            folder = ensure_journal_folder(self.cassette)
            path = folder / self._new_file_name()
            flags = os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY | getattr(os, "O_BINARY", 0)
            try:
                self._fd = os.open(path, flags, 0o666)
            except FileNotFoundError:  # another process has just removed the empty folder
                continue
            self._used = False
            self._paths.append(path)
            # Before it is locked, another process may take the new file for an abandoned journal, and remove it.
            if sys.platform == "win32" or (
                lock_file(self._fd, exclusive=True) is not False and _is_still_at(self._fd, path)
            ):
                sync_folder(folder)
                return
            self._close_file()
        raise OSError(f"{self.cassette.parent}: no journal could be locked")

    def _new_file_name(self) -> str:
        return name_journal(self.cassette)

    def _close_file(self) -> None:
        """Close the open file if there is one, and remove it if nothing was written to it."""
        if self._fd < 0:
            return
        fd = self._fd
        self._fd = -1
        unlock_and_close(fd)
        if not self._used:
            # The open file is always the last of the paths.
            with contextlib.suppress(OSError):
                self._paths.pop().unlink(missing_ok=True)
            remove_journal_folder(self.cassette)


def _append_lines(path: Path, lines: Sequence[bytes]) -> int:
    """Append lines to a file as long as there is room, and return how many; a file without any line is removed."""
    count = 0
    end = 0
    try:
        with path.open("ab") as file:
            end = file.tell()
            for line in lines:
                file.write(line)
                file.flush()
                end = file.tell()
                count += 1
    except OSError:
        with contextlib.suppress(OSError):
            os.truncate(path, end)  # a part of a line would damage the next one
    if not end:
        with contextlib.suppress(OSError):
            path.unlink()
    return count


def _name_places(lines: Sequence[bytes]) -> str:
    """Return the places of some answers in their cassettes, as in ``#001, #002 and 3 more``."""
    places = [json.loads(line)["by"] for line in lines]
    names = ", ".join(places[:MAX_NAMED_PLACES])
    if len(places) > MAX_NAMED_PLACES:
        return f"{names} and {len(places) - MAX_NAMED_PLACES} more"
    return names


def ensure_journal_folder(cassette: Path) -> Path:
    """Return the folder for journals and drafts, created if it does not exist."""
    folder = cassette.parent / JOURNAL_FOLDER
    for _ in range(MAX_TRIES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:  # created by another process, and removed again meanwhile
            if folder.exists() and not folder.is_dir():
                raise
        else:
            break
    return folder


def remove_journal_folder(cassette: Path) -> None:
    """Remove the folder for journals and drafts if it is empty."""
    with contextlib.suppress(OSError):
        (cassette.parent / JOURNAL_FOLDER).rmdir()


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, where possible.

    Raises:
        OSError: The disk is broken.
    """
    if sys.platform == "win32":
        return
    try:
        fd = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder may be writable but not readable
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        close_quietly(fd)


def close_quietly(fd: int) -> None:
    """Close a file whose content is on disk, or was only read, and ignore errors."""
    with contextlib.suppress(OSError):
        os.close(fd)


def unlock_and_close(fd: int) -> None:
    """Close a file, and release its lock even if a forked process still has the file open."""
    if sys.platform != "win32":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)
    close_quietly(fd)


def find_pending_files(cassette: Path, suffix: str) -> list[Path]:
    """Return the files of a cassette in the journal folder, sorted: journals (``.journal``) or drafts (``.tmp``)."""
    stem = _journal_stem(cassette)
    with contextlib.suppress(OSError), os.scandir(cassette.parent / JOURNAL_FOLDER) as entries:
        # Files of "a.json.b.json" do not belong to "a.json".
        return sorted(
            Path(entry.path)
            for entry in entries
            if entry.name.endswith(suffix) and entry.name.removesuffix(suffix).rpartition(".")[0] == stem
        )
    return []


def new_draft_path(cassette: Path) -> Path:
    """Return an unused path for the next content of a cassette."""
    return cassette.parent / JOURNAL_FOLDER / f"{_journal_stem(cassette)}.{secrets.token_hex(4)}.tmp"


def name_journal(cassette: Path) -> str:
    """Return an unused name for a journal of a cassette; the name identifies this process as the writer."""
    return f"{_journal_stem(cassette)}.{_host_digest()}-{os.getpid()}-{secrets.token_hex(4)}.journal"


def _journal_stem(cassette: Path) -> str:
    """Return the start of the file names of a cassette's journals: its name, shortened if it is too long."""
    name = cassette.name
    if len(name) <= MAX_STEM:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{name[: MAX_STEM - len(digest) - 1]}~{digest}"


def find_abandoned_journals(cassette: Path) -> list[Path]:
    """Return the cassette's journals whose process has ended, the oldest first."""
    journals: list[tuple[int, Path]] = []
    for path in find_pending_files(cassette, ".journal"):
        with contextlib.suppress(OSError), _lock_if_abandoned(path, ours=False) as free:
            if free:
                journals.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(journals)]


@contextlib.contextmanager
def seize_journal(journal: Path, *, ours: bool = False) -> Iterator[list[JournalEntry] | None]:
    """Lock a journal that no process writes to any more, and yield its entries.

    Yields None if a process still writes to it, or if it was removed.

    Args:
        journal: The file.
        ours: Whether this process wrote and closed it.

    Raises:
        CassetteError: The journal cannot be read; it is left as it is.
    """
    with _lock_if_abandoned(journal, ours=ours) as free:
        yield _read_entries(journal) if free else None


@contextlib.contextmanager
def _lock_if_abandoned(journal: Path, *, ours: bool) -> Iterator[bool]:
    """Lock a journal while a block runs; yield False if a process still writes to it, or if it was removed.

    Args:
        journal: The file.
        ours: Whether this process wrote and closed it, which counts where files cannot be locked.
    """
    if sys.platform == "win32":
        try:
            journal.rename(journal)  # Windows refuses while a process has the file open
        except OSError:
            yield False
        else:
            yield journal.is_file()
        return
    try:
        fd = os.open(journal, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        yield False
        return
    try:
        is_locked = lock_file(fd, exclusive=False)
        is_free = is_locked is True
        if is_locked is None:  # the file system has no locks
            is_free = ours or not _is_writer_running(journal)
        yield is_free and _is_still_at(fd, journal)
    finally:
        unlock_and_close(fd)


def _read_entries(journal: Path) -> list[JournalEntry]:
    """Return the entries of a journal. Lines truncated by a crash are skipped: no caller got their answers."""
    try:
        data = journal.read_bytes()
    except OSError as error:
        raise CassetteError(
            f"journal {journal}: cannot be read: {error}; paid answers are in it: make it readable"
        ) from None
    entries = []
    for line in data.split(b"\n"):
        with contextlib.suppress(ValueError, TypeError, RecursionError, CassetteError):
            entry: Any = JournalEntry(**json.loads(line))
            check_request(entry.request)
            check_answer(entry.answer)
            texts = (entry.by, entry.key, entry.take)
            is_place = all(isinstance(text, str) for text in texts) and entry.take.isdecimal()
            if is_place and isinstance(entry.n, int) and entry.n >= 0:
                entries.append(entry)
    return entries


def lock_file(fd: int, *, exclusive: bool) -> bool | None:
    """Lock an open file. Return True if that worked, False if another process holds the lock, None without locks.

    A writer needs an exclusive lock. Readers share a lock, which only excludes a writer. It does not wait.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_still_at(fd: int, path: Path) -> bool:
    """Return whether an open file is a regular file, and still the file at its path."""
    try:
        status = os.fstat(fd)
        return stat.S_ISREG(status.st_mode) and os.path.samestat(status, path.stat())
    except OSError:
        return False


def _is_writer_running(journal: Path) -> bool:
    """Return whether the process in the name of a journal may be running; for file systems without locks."""
    try:
        host, pid, _ = journal.name.removesuffix(".journal").rpartition(".")[2].split("-")
        if host != _host_digest():  # of another machine: not known, so it may
            return True
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except OSError:
        return True
    return True


def _host_digest() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]
