"""A temporary folder that the processes of a run share, for the budget ledger, judges' answers and rate limits."""

import atexit
import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from pytest_llmops.cassettes.journal import close_quietly, lock_file

# Environment variable with the folder's path, for the processes that the run starts
RUN_FOLDER_VARIABLE = "LLMOPS_RUN"
FOLDER_PREFIX = "pytest-llmops-run-"
# A file that the run keeps locked: if it can be locked, the folder was left by a killed run
ALIVE_FILE = ".alive"


# Errors that any other file would cause too, unlike a missing permission, which concerns a single file or folder
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
STOPPED_TEXT = (
    "not called: a recording of this run could not be written, so no further paid call is made; "
    "see the first error, free the disk, and run again"
)
ROOM_FILE = ".room"
# Once a recording could not be written, the room file gets this name: renaming is possible even on a full disk
STOPPED_FILE = ".stopped"

RESCUE_PREFIX = ".rescue-"  # of a file for each process, with notes on answers that could not be written
CALLS_FILE = ".calls"  # a character for each live call that began or ended
# Set in a fresh pytest for the silent runs of --llm-concurrency: names the descriptors of the pipes from and to the pytest that started
# it, whose folder it uses
SILENT_LINK_VARIABLE = "LLMOPS_SILENT_LINK"


@contextmanager
def open_run_folder() -> Iterator[None]:
    """Create the folder for a run, name it in the environment for other processes, and remove it after the block.

    A process that belongs to the run of another one keeps its folder.
    """
    if SILENT_LINK_VARIABLE in os.environ:
        yield
        return
    remove_abandoned_folders()
    path, lock_fd = _create_locked_folder()
    before = os.environ.get(RUN_FOLDER_VARIABLE)  # of an outer run
    os.environ[RUN_FOLDER_VARIABLE] = str(path)
    try:
        yield
    finally:
        os.environ.pop(RUN_FOLDER_VARIABLE, None)
        if before is not None:
            os.environ[RUN_FOLDER_VARIABLE] = before
        shutil.rmtree(path, ignore_errors=True)
        close_quietly(lock_fd)


def _create_locked_folder() -> tuple[Path, int]:
    """Create a folder, and return it with the descriptor of its alive file, which is open and locked."""
    path = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    draft = path / f"{ALIVE_FILE}.new"
    lock_fd = os.open(draft, os.O_CREAT | os.O_RDWR)
    if lock_file(lock_fd, exclusive=True):
        draft.rename(path / ALIVE_FILE)  # only now: another process must not find it unlocked
    (path / ROOM_FILE).touch()
    return path, lock_fd


def stop_live_calls() -> None:
    """Stop the live calls of all processes of the run: their answers could not be recorded."""
    with contextlib.suppress(OSError, KeyError):
        folder = Path(os.environ[RUN_FOLDER_VARIABLE])
        (folder / ROOM_FILE).rename(folder / STOPPED_FILE)


def are_live_calls_stopped() -> bool:
    """Return whether a process of the run has stopped the live calls; always False in a script."""
    folder = os.environ.get(RUN_FOLDER_VARIABLE)
    return folder is not None and os.path.exists(os.path.join(folder, STOPPED_FILE))  # noqa: PTH110, PTH118 -- for each call


def note_rescue(notes: Iterable[str]) -> None:
    """Leave notes on answers that this process could not write, for the errors of the whole run."""
    with contextlib.suppress(OSError, KeyError):
        path = Path(os.environ[RUN_FOLDER_VARIABLE], f"{RESCUE_PREFIX}{os.getpid()}")
        path.write_text("\n".join(notes), "utf-8")


def describe_stop() -> str:
    """Return why the live calls of the run are stopped, and notes on answers that could not be written."""
    notes = [STOPPED_TEXT]
    with contextlib.suppress(OSError, KeyError):
        for path in sorted(Path(os.environ[RUN_FOLDER_VARIABLE]).glob(f"{RESCUE_PREFIX}*")):
            notes.append(path.read_text("utf-8"))
    return "\n".join(notes)


def note_live_call(sign: str) -> None:
    """Note for the run's progress that a live call begins (``+``) or ended (``-``); do nothing in a script."""
    with (
        contextlib.suppress(OSError, KeyError),
        Path(os.environ[RUN_FOLDER_VARIABLE], CALLS_FILE).open("ab", buffering=0) as file,
    ):
        file.write(sign.encode())


def count_live_calls() -> tuple[int, int]:
    """Return how many live calls of the run began, and how many of them ended."""
    signs = b""
    with contextlib.suppress(OSError, KeyError):
        signs = Path(os.environ[RUN_FOLDER_VARIABLE], CALLS_FILE).read_bytes()
    return signs.count(b"+"), signs.count(b"-")


def remove_abandoned_folders() -> None:
    """Remove the folders of killed runs, where files can be locked."""
    for alive_file in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*/{ALIVE_FILE}"):
        try:
            lock_fd = os.open(alive_file, os.O_RDWR)
        except OSError:  # removed meanwhile, or of another user
            continue
        if lock_file(lock_fd, exclusive=True):
            shutil.rmtree(alive_file.parent, ignore_errors=True)
        close_quietly(lock_fd)


def current_folder() -> Path:
    """Return the folder of the run; in a script or a command a folder of this process, made at the first call."""
    named = os.environ.get(RUN_FOLDER_VARIABLE, "")
    if named and Path(named).is_dir():
        return Path(named)
    return _process_folder(os.getpid())


@lru_cache(maxsize=1)
def _process_folder(pid: int) -> Path:
    """Return a folder for a process, made at the first call and removed when the process ends."""
    path, _ = _create_locked_folder()  # locked until the process ends
    atexit.register(_remove_own_folder, path, pid)
    return path


def _remove_own_folder(path: Path, pid: int) -> None:
    """Remove the folder of a process, unless this is a forked child of it."""
    if os.getpid() == pid:  # not in a forked child: its parent still uses the folder
        shutil.rmtree(path, ignore_errors=True)
