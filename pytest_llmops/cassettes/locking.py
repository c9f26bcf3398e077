"""Locking of cassettes, and their atomic replacement on disk."""

import contextlib
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pytest_llmops.cassettes import journal
from pytest_llmops.errors import CassetteError

LOCK_TIMEOUT_S = 60.0  # a merge needs milliseconds: a process that holds the lock for longer hangs
LOCK_POLL_S = 0.01
# Waits between attempts: Windows refuses to replace or open a file that a reader or a virus scanner has open
RETRY_WAITS_S: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2, 0.5) if sys.platform == "win32" else ()

Done = TypeVar("Done")


def replace_file(path: Path, text: str, consequence: str = "the answers wait in its journal") -> None:
    """Replace the content of a cassette; a link stays a link, and the file keeps its mode.

    Args:
        path: The file; created if it does not exist.
        text: The whole content.
        consequence: The end of the error message: what happens to the content that was not written.

    Raises:
        CassetteError: The file cannot be written; it is left as it is.
    """
    target = Path(os.path.realpath(path))
    draft = journal.new_draft_path(target)
    try:
        mode = _writable_mode(target)
        # Left by a killed writer: this process holds the lock.
        for leftover in journal.find_pending_files(target, ".tmp"):
            leftover.unlink(missing_ok=True)
        _write_draft(target, draft, text.encode("utf-8", "backslashreplace"))
        if mode is not None:
            draft.chmod(mode)
        retry_while_in_use(lambda: draft.replace(target))
        # The caller removes the journals next: the new file must be on disk before.
        journal.sync_folder(target.parent)
        journal.remove_journal_folder(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise CassetteError(f"cassette {path}: cannot be written: {error}; {consequence}") from None


def _writable_mode(target: Path) -> int | None:
    """Return the mode of a file; None if it does not exist.

    Raises:
        PermissionError: It is read-only.
    """
    try:
        mode = target.stat().st_mode & 0o777
    except FileNotFoundError:
        return None
    # Replacing would work for a read-only file too, but its owner wants it to stay.
    if not mode & 0o222 or not os.access(target, os.W_OK):
        raise PermissionError("the file is read-only: make it writable to record into it")
    return mode


def _write_draft(target: Path, draft: Path, data: bytes) -> None:
    """Write a new file in the journal folder, and sync it to disk.

    Raises:
        OSError: It cannot be written.
    """
    for attempt in range(journal.MAX_TRIES):
        journal.ensure_journal_folder(target)
        try:
            with draft.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except FileNotFoundError:
            # Another process, which merged another cassette of the same folder, has removed the journal folder.
            if attempt == journal.MAX_TRIES - 1:
                raise
        else:
            return


def retry_while_in_use(action: Callable[[], Done]) -> Done:
    """Call an action on a file and return its result; on Windows, retry for a while if the file is in use."""
    for wait in RETRY_WAITS_S:
        try:
            return action()
        except PermissionError:
            time.sleep(wait)
    return action()


def lock_folder() -> Path:
    """Return the folder with the locks of this user's cassettes; it need not exist."""
    user = 0
    if sys.platform != "win32":
        user = os.getuid()
    return Path(tempfile.gettempdir()) / f"pytest-llmops-locks-{user}"


@contextlib.contextmanager
def lock_cassette(path: Path) -> Iterator[None]:
    """Keep other processes from replacing a cassette.

    Raises:
        CassetteError: The cassette cannot be locked, or a process that hangs holds the lock.
    """
    from filelock import FileLock

    with contextlib.ExitStack() as held:
        try:
            target = Path(os.path.realpath(path))
            name = hashlib.sha256(os.fsencode(target)).hexdigest()[:24]
            # Locks live outside the project: a lock file next to each cassette would end up in git.
            folder = lock_folder()
            folder.mkdir(mode=0o700, exist_ok=True)
            if sys.platform != "win32" and folder.lstat().st_uid != os.getuid():
                raise PermissionError(f"{folder} belongs to somebody else")
            lock = FileLock(folder / f"{name}.lock", timeout=LOCK_TIMEOUT_S)
            lock.acquire()
            held.callback(_release_lock, lock)
            if sys.platform != "win32":
                _acquire_folder_lock(target.parent, held)
        except (OSError, NotImplementedError) as error:
            raise CassetteError(
                f"cassette {path}: cannot be locked: {error}; is another run stuck, or the temporary folder not yours?"
            ) from None
        yield


def _release_lock(lock: Any) -> None:
    """Release a lock of `filelock`."""
    with contextlib.suppress(OSError):  # at the latest, the lock ends with the process
        lock.release()


def _acquire_folder_lock(folder: Path, held: contextlib.ExitStack) -> None:
    """Lock the folder of a cassette too, where possible; wait for another process that holds it.

    Needed because a process in another container has its own temporary folder, and so other lock files.

    Raises:
        TimeoutError: Another process holds the lock for too long.
    """
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    held.callback(journal.unlock_and_close, fd)
    end = time.monotonic() + LOCK_TIMEOUT_S
    while journal.lock_file(fd, exclusive=True) is False:
        if time.monotonic() >= end:
            raise TimeoutError(f"another process holds {folder}")
        time.sleep(LOCK_POLL_S)
