"""What a process recorded and has not merged yet: one line an answer, on disk before its caller goes on.

The process holds a lock on its journal as long as it lives. A journal that nobody holds was left behind
by a killed run, and is merged by whoever opens the cassette next.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pytest_llmops.cassettes.wire import check_answer, check_request
from pytest_llmops.errors import CassetteError

FOLDER = ".journal"
"""Beside the cassettes, and there only while something waits in it: a look that finds none costs next to nothing."""
TRIES = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal: the n-th answer of a take to a question."""

    by: str
    key: str
    take: str
    n: int
    request: dict[str, Any]
    answer: dict[str, Any]

    def to_line(self) -> bytes:
        """Return the line, with its end."""
        wire = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        return json.dumps(wire, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


class Journal:
    """Answers of one process to one cassette that are not merged yet; a file is made at the first one."""

    def __init__(self, cassette: Path) -> None:
        self.cassette = cassette
        self.paths: list[Path] = []
        self._fd = -1
        self._pid = -1

    def append(self, entry: Entry) -> None:
        """Put an answer on disk before its caller goes on.

        Raises:
            CassetteError: The disk is full or the folder cannot be written.
        """
        try:
            if self._fd < 0 or self._pid != os.getpid():
                self._open()
            rest = memoryview(entry.to_line())
            while rest:
                rest = rest[os.write(self._fd, rest) :]
            os.fsync(self._fd)
        except OSError as error:
            self.close()  # half a line may be there: the next answer starts a new file
            raise CassetteError(
                f"cassette {self.cassette}: an answer could not be written: {error}; "
                "free the disk or make the folder writable"
            ) from None

    def _open(self) -> None:
        for _ in range(TRIES):
            path = workshop(self.cassette) / (
                f"{self.cassette.name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.journal"
            )
            try:
                self._fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o666)
            except FileNotFoundError:  # another process has just tidied the folder away
                continue
            self._pid = os.getpid()
            # Between the two steps another process may take the new file for one that was left behind.
            if _lock(self._fd, alone=True) is not False and _is_at(self._fd, path):
                self.paths.append(path)
                return
            self.close()
            path.unlink(missing_ok=True)
        raise OSError(f"{self.cassette.parent}: no journal could be locked")

    def close(self) -> None:
        """Close the file; it stays on disk until it is merged. A later answer opens another one."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):
                os.close(fd)


def workshop(cassette: Path) -> Path:
    """Return the folder for what is not finished yet, made if it is not there."""
    folder = cassette.parent / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def tidy(cassette: Path) -> None:
    """Remove that folder if nothing is in it."""
    with contextlib.suppress(OSError):
        (cassette.parent / FOLDER).rmdir()


def unfinished(cassette: Path, suffix: str) -> list[Path]:
    """Return what waits for this cassette, by its suffix."""
    found: list[Path] = []
    with contextlib.suppress(OSError), os.scandir(cassette.parent / FOLDER) as listed:
        start = f"{cassette.name}."
        found += [
            Path(one.path) for one in listed if one.name.startswith(start) and one.name.endswith(suffix)
        ]
    return sorted(found)


def left_behind(cassette: Path) -> list[Path]:
    """Return journals of this cassette whose process is gone."""
    return [path for path in unfinished(cassette, ".journal") if not _is_held(path)]


def _is_held(journal: Path) -> bool:
    with seize(journal) as entries:
        return entries is None


@contextlib.contextmanager
def seize(journal: Path) -> Iterator[list[Entry] | None]:
    """Hold a journal that no process writes any more, and give its entries; None if somebody does, or it is gone."""
    if sys.platform == "win32":
        yield _read(journal) if _can_be_renamed(journal) else None
        return
    try:
        fd = os.open(journal, os.O_RDWR)
    except OSError:
        yield None
        return
    try:
        locked = _lock(fd, alone=False)
        free = locked is True or (locked is None and not _runs(journal))
        yield _read(journal) if free and _is_at(fd, journal) else None
    finally:
        os.close(fd)


def _read(journal: Path) -> list[Entry]:
    """Read a journal; a line that was cut by a crash is left out: its answer never reached the caller."""
    found = []
    for line in journal.read_bytes().split(b"\n"):
        with contextlib.suppress(ValueError, TypeError, RecursionError, CassetteError):
            entry = Entry(**json.loads(line))
            check_request(entry.request)
            check_answer(entry.answer)
            if _has_a_place(entry):
                found.append(entry)
    return found


def _has_a_place(entry: Any) -> bool:
    texts = (entry.by, entry.key, entry.take)
    return isinstance(entry.n, int) and all(isinstance(one, str) for one in texts) and entry.take.isdecimal()


def _lock(fd: int, *, alone: bool) -> bool | None:
    """Lock an open file; False if another process holds it, None where files cannot be locked.

    The writer wants it alone; readers share it, and only keep out a writer.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def _can_be_renamed(journal: Path) -> bool:
    try:
        journal.rename(journal)  # Windows refuses while somebody has it open
    except OSError:
        return False
    return True


def _runs(journal: Path) -> bool:
    """Say whether the process in a journal's name runs on this host: the way where files cannot be locked."""
    try:
        host, pid, _ = journal.name.removesuffix(".journal").rpartition(".")[2].split("-")
        if host != _host():
            return True
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except OSError:
        return True
    return True


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]
