"""What a process recorded and has not merged yet: one line an answer, on disk before its caller goes on.

The process holds a lock on its journal as long as it lives. A journal that nobody holds was left behind
by a killed run, and is merged by whoever opens the cassette next.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pytest_llmops.errors import CassetteError
from pytest_llmops.wire.body import check_answer, check_request

JOURNAL_FOLDER = ".journal"
"""Beside the cassettes, and there only while something waits in it: a look that finds none costs next to nothing."""
MAX_TRIES = 20
MAX_STEM = 120
"""Of a cassette's name in that of its journal: file systems take 255 bytes, and Windows 260 for the whole path."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One line of a journal: the n-th answer of a take to a question."""

    by: str
    key: str
    take: str
    n: int
    request: dict[str, Any]
    answer: dict[str, Any]
    again: bool = False
    """Recorded to replace what the cassette holds in this place, also if its run is killed."""

    def to_line(self) -> bytes:
        """Return the line, with its end."""
        wire = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        return json.dumps(wire, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


class Journal:
    """Answers of one process to one cassette that are not merged yet; a file is made for the first one.

    An answer that could not be written is kept, and goes to disk before the next one. An answer that comes after
    `close` (a thread that outlived its test) gets a file of its own, which the next to open the cassette takes in.
    """

    def __init__(self, cassette: Path) -> None:
        self.cassette = cassette
        self._paths: list[Path] = []
        self._unwritten: list[bytes] = []
        self._fd = -1
        self._used = self._closed = False
        self._pid = os.getpid()
        self._lock = threading.Lock()

    @property
    def paths(self) -> list[Path]:
        """The files of this process; those of the process that it was forked from are not its own."""
        with self._held():
            return self._paths

    def prepare(self) -> None:
        """Make sure that an answer can be written, before it is paid.

        Raises:
            CassetteError: It cannot: the folder cannot be written, or an earlier answer still finds no room.
        """
        with self._held():
            if self._unwritten or (self._fd < 0 and not self._closed):
                self._write("live answers")

    def append(self, entry: JournalEntry) -> None:
        """Put an answer on disk before its caller goes on.

        Raises:
            CassetteError: The disk is full or the folder cannot be written.
        """
        with self._held():
            self._unwritten.append(entry.to_line())
            self._write("an answer")
            if self._closed:
                self._shut()

    def close(self) -> None:
        """Close the file; it stays on disk until it is merged. A later answer opens another one."""
        with self._held():
            if self._unwritten:
                with contextlib.suppress(CassetteError):  # who recorded it was told
                    self._write("an answer")
            self._shut()
            self._closed = True

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        if self._pid != os.getpid():  # forked: all that is there is the parent's, and its lock may be held
            self._pid, self._lock = os.getpid(), threading.Lock()
            self._paths, self._unwritten = [], []
            if self._fd >= 0:
                close_quietly(self._fd)  # not unlocked: the parent still writes it
                self._fd = -1
        with self._lock:
            yield

    def _write(self, what: str) -> None:
        try:
            if self._fd < 0:
                self._open()
            while self._unwritten:
                self._used = True
                rest = memoryview(self._unwritten[0])
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
                os.fsync(self._fd)
                del self._unwritten[0]
        except OSError as error:
            self._shut()  # half a line may be there: the next answer starts a new file
            raise CassetteError(
                f"cassette {self.cassette}: {what} could not be written: {error}; "
                "free the disk or make the folder writable"
            ) from None
        except BaseException:
            self._shut()
            raise

    def _open(self) -> None:
        for _ in range(MAX_TRIES):
            folder = ensure_journal_folder(self.cassette)
            name = f"{_journal_stem(self.cassette)}.{_host_digest()}-{os.getpid()}-{secrets.token_hex(4)}.journal"
            path = folder / name
            flags = os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY | getattr(os, "O_BINARY", 0)
            try:
                self._fd = os.open(path, flags, 0o666)
            except FileNotFoundError:  # another process has just tidied the folder away
                continue
            self._used = False
            self._paths.append(path)
            # Between the two steps another process may take the new file for one that was left behind.
            if sys.platform == "win32" or (
                lock_file(self._fd, exclusive=True) is not False and _is_still_at(self._fd, path)
            ):
                sync_folder(folder)
                return
            self._shut()
        raise OSError(f"{self.cassette.parent}: no journal could be locked")

    def _shut(self) -> None:
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        unlock_and_close(fd)
        if not self._used:
            with contextlib.suppress(OSError):
                self._paths.pop().unlink(missing_ok=True)
            remove_journal_folder(self.cassette)


def ensure_journal_folder(cassette: Path) -> Path:
    """Return the folder for what is not finished yet, made if it is not there."""
    folder = cassette.parent / JOURNAL_FOLDER
    for _ in range(MAX_TRIES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:  # made by another process, and tidied away before it was looked at
            if folder.exists() and not folder.is_dir():
                raise
        else:
            break
    return folder


def remove_journal_folder(cassette: Path) -> None:
    """Remove that folder if nothing is in it."""
    with contextlib.suppress(OSError):
        (cassette.parent / JOURNAL_FOLDER).rmdir()


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on disk, where that can be done.

    Raises:
        OSError: The disk is broken.
    """
    if sys.platform == "win32":
        return
    try:
        fd = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder may be written and not listed
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        close_quietly(fd)


def close_quietly(fd: int) -> None:
    """Close a file whose content is on disk, or was only read: what could still fail is nobody's loss."""
    with contextlib.suppress(OSError):
        os.close(fd)


def unlock_and_close(fd: int) -> None:
    """Close a file, and give its lock back also where a process that was forked meanwhile still has it open."""
    if sys.platform != "win32":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)
    close_quietly(fd)


def find_pending_files(cassette: Path, suffix: str) -> list[Path]:
    """Return what waits for this cassette, by its suffix."""
    paths: list[Path] = []
    stem = _journal_stem(cassette)
    with contextlib.suppress(OSError), os.scandir(cassette.parent / JOURNAL_FOLDER) as items:
        # "a.json" must not take what is of "a.json.b.json".
        paths += [
            Path(item.path)
            for item in items
            if item.name.endswith(suffix) and item.name.removesuffix(suffix).rpartition(".")[0] == stem
        ]
    return sorted(paths)


def new_draft_path(cassette: Path) -> Path:
    """Return a new name beside a cassette for its next content."""
    return cassette.parent / JOURNAL_FOLDER / f"{_journal_stem(cassette)}.{secrets.token_hex(4)}.tmp"


def _journal_stem(cassette: Path) -> str:
    name = cassette.name
    if len(name) <= MAX_STEM:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{name[: MAX_STEM - len(digest) - 1]}~{digest}"


def find_abandoned_journals(cassette: Path) -> list[Path]:
    """Return journals of this cassette whose process is gone, the oldest first."""
    journals = [path for path in find_pending_files(cassette, ".journal") if _is_free(path)]
    return sorted(journals, key=_age) if len(journals) > 1 else journals


def _age(path: Path) -> tuple[int, str]:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime_ns, path.name
    return 0, path.name


def _is_free(journal: Path) -> bool:
    with _lock_if_abandoned(journal, ours=False) as free:
        return free


@contextlib.contextmanager
def seize_journal(journal: Path, *, ours: bool = False) -> Iterator[list[JournalEntry] | None]:
    """Hold a journal that no process writes any more, and give its entries; None if somebody does, or it is gone.

    Args:
        journal: The file.
        ours: This process wrote it, and has closed it.

    Raises:
        CassetteError: It is there and cannot be read; it is left as it is.
    """
    with _lock_if_abandoned(journal, ours=ours) as free:
        yield _read_entries(journal) if free else None


@contextlib.contextmanager
def _lock_if_abandoned(journal: Path, *, ours: bool) -> Iterator[bool]:
    if sys.platform == "win32":
        yield journal.is_file() and _can_be_renamed(journal)
        return
    try:
        fd = os.open(journal, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        yield False
        return
    try:
        locked = lock_file(fd, exclusive=False)
        free = locked is True or (locked is None and (ours or not _is_writer_running(journal)))
        yield free and _is_still_at(fd, journal)
    finally:
        unlock_and_close(fd)


def _read_entries(journal: Path) -> list[JournalEntry]:
    """Read a journal; a line that was cut by a crash is left out: its answer never reached the caller."""
    try:
        data = journal.read_bytes()
    except OSError as error:
        raise CassetteError(
            f"journal {journal}: cannot be read: {error}; paid answers are in it: make it readable"
        ) from None
    entries = []
    for line in data.split(b"\n"):
        with contextlib.suppress(ValueError, TypeError, RecursionError, CassetteError):
            entry = JournalEntry(**json.loads(line))
            check_request(entry.request)
            check_answer(entry.answer)
            if _has_valid_place(entry):
                entries.append(entry)
    return entries


def _has_valid_place(entry: Any) -> bool:
    texts = (entry.by, entry.key, entry.take)
    return (
        isinstance(entry.n, int)
        and entry.n >= 0
        and all(isinstance(text, str) for text in texts)
        and entry.take.isdecimal()
    )


def lock_file(fd: int, *, exclusive: bool) -> bool | None:
    """Lock an open file; False if another process holds it, None where files cannot be locked.

    The writer wants it alone; readers share it, and only keep out a writer.
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
    try:
        status = os.fstat(fd)
        return stat.S_ISREG(status.st_mode) and os.path.samestat(status, path.stat())
    except OSError:
        return False


def _can_be_renamed(journal: Path) -> bool:
    try:
        journal.rename(journal)  # Windows refuses while somebody has it open
    except OSError:
        return False
    return True


def _is_writer_running(journal: Path) -> bool:
    """Say whether the process in a journal's name runs on this host: the way where files cannot be locked."""
    try:
        host, pid, _ = journal.name.removesuffix(".journal").rpartition(".")[2].split("-")
        if host != _host_digest():
            return True
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except OSError:
        return True
    return True


def _host_digest() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]
