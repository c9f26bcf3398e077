"""Refuses writes to files in the process of the silent runs, as the run that counts would write a second time.

An audit hook of Python sees each write before it happens. It cannot be removed, but the process ends with the silent runs. It sees no
writes of C code, of child processes, through sockets, and to files that were open before, and no `os.mkfifo` and `os.mknod`.

Signals to other processes than those that the silent runs have started are refused too: one of them is pytest's own.

A refusal ends the silent run of the test also where the exception itself would not: in another thread, whose work the test may wait for
without end, and in an event loop, which goes on after any exception but a `SystemExit`.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs, unquote

import pluggy

from pytest_llmops.cassettes import CASSETTE_FOLDER
from pytest_llmops.errors import SilentWriteRefused

hook = pluggy.HookimplMarker("pytest")
# Wakes the main thread. Programs ignore it unless they handle it, so one that comes late does no harm. Windows has none
WAKE_SIGNAL: int | None = getattr(signal, "SIGURG", None)
# Threads of ours, which write journals
OUR_THREADS = "pytest-llmops sender"
WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Positions of the paths that an event writes among its arguments, each with the position of the descriptor that it is relative to
WRITTEN_PATHS: dict[str, tuple[tuple[int, int], ...]] = {
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.link": ((1, 3),),
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.rmdir": ((0, 1),),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, -1),),
    "shutil.rmtree": ((0, -1),),
    "sqlite3.connect": ((0, -1),),
}
# Raised before a file or folder with a name of its own is created
OWN_NAME_EVENTS = frozenset({"tempfile.mkstemp", "tempfile.mkdtemp"})
FOLLOW_LINKS = frozenset({"open", "os.chmod", "os.chown"})
REMOVALS = frozenset({"os.remove", "os.rmdir", "shutil.rmtree"})
SIGNALS = frozenset({"os.kill", "os.killpg"})
MEMORY_DATABASES = frozenset({"", ":memory:"})
UNWRITTEN_MODES = frozenset({"ro", "memory"})
CACHE_FOLDERS = frozenset({"__pycache__"})
# Folders of ours and the caches of hypothesis, wherever they are: each by the name of the folder above it and its own. An empty name
# is the folder above itself
KNOWN_FOLDERS = frozenset(
    {
        (CASSETTE_FOLDER, ".journal"),
        (CASSETTE_FOLDER, ".batches"),
        (".hypothesis", ""),
        (".hypothesis", ".gitignore"),
        (".hypothesis", "constants"),
        (".hypothesis", "tmp"),
        (".hypothesis", "unicode_data"),
    }
)
# Not all of /dev: files in /dev/shm stay
DEVICES = (os.devnull, "/dev/full", "/dev/pts", "/dev/tty", "/dev/zero", "/proc")
NO_FOLDER = -1


class EventLoopEnded(SilentWriteRefused, SystemExit):
    """Ends a silent run in an event loop: a loop ends at a `SystemExit` wherever it is raised, and keeps or logs any other exception."""


class WriteGuard:
    """Refuses writes outside of some folders, in all threads but ours.

    Args:
        folders: Folders that may be written.
        on_refusal: Called with the reason of each refusal.
    """

    def __init__(self, folders: Iterable[Path], on_refusal: Callable[[str], object]) -> None:
        self._on_refusal = on_refusal
        self._folders = {os.path.realpath(folder) for folder in folders}
        self._folders.update(DEVICES)
        self._allowed: set[Path] = set()
        self._process_id = os.getpid()
        self._can_wake = False  # the main thread
        self._is_running = False  # a test
        self._reason = ""  # of a refusal in another thread, until the main thread has seen it

    def start(self) -> None:
        """Refuse writes from now on, to the end of this process."""
        if WAKE_SIGNAL is not None:
            with suppress(ValueError):  # not in the main thread
                signal.signal(WAKE_SIGNAL, self._end_run)
                self._can_wake = True
        sys.addaudithook(self.check_event)

    @contextmanager
    def watch_test(self) -> Generator[None]:
        """Let a refusal in another thread end the block, which runs a part of a test: its set-up, its call or its tear-down."""
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False

    def allow(self, folder: Path) -> None:
        """Let one more folder be written, and be created with the folders above it."""
        if folder in self._allowed:
            return
        self._allowed.add(folder)
        self._folders.add(os.path.realpath(folder))
        for parent in folder.parents:
            if parent.exists():
                break
            self._folders.add(os.path.realpath(parent))

    def check_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Check an event of Python.

        Raises:
            SilentWriteRefused: It would write a file that the run that counts writes again, or signal a process of that run.
        """
        if event in SIGNALS:
            self._check_signal(*arguments)
        elif event == "open":
            path, _, flags = arguments
            if not flags & WRITING_FLAGS or os.path.isdir(path):  # noqa: PTH112 -- a path of any form
                return  # in a folder that is opened, `tempfile` makes a file without a name, or one with a name of its own
            self._check_path(event, path, NO_FOLDER)
        elif event in OWN_NAME_EVENTS:
            self._folders.add(os.path.realpath(os.fsdecode(arguments[0])))
        elif event in WRITTEN_PATHS:
            for position, folder_position in WRITTEN_PATHS[event]:
                folder = NO_FOLDER
                if 0 <= folder_position < len(arguments):
                    folder = arguments[folder_position]
                self._check_path(event, arguments[position], folder)

    def _check_path(self, event: str, path: Any, folder: int) -> None:
        """Check a path that is to be written.

        Args:
            event: The event.
            path: A path of any form; a number is a descriptor, of a file that was opened before.
            folder: Descriptor of the folder that the path is relative to; `NO_FOLDER`: the working folder.

        Raises:
            SilentWriteRefused: It is outside of the folders that may be written.
        """
        if isinstance(path, int) or threading.current_thread().name.startswith(OUR_THREADS):
            return
        name = os.fsdecode(path)
        if event == "sqlite3.connect":
            name = _find_database_file(name)
            if not name:
                return
        if folder != NO_FOLDER and not os.path.isabs(name):  # noqa: PTH117 -- as below
            base = _read_folder_path(folder)
            if not base:  # `shutil.rmtree` was checked with its whole path
                return
            name = os.path.join(base, name)  # noqa: PTH118 -- for each write
        if _changes_nothing(event, name) or self._may_write(name, follows_link=event in FOLLOW_LINKS):
            return
        self.refuse(f"it would write {os.path.abspath(name)} twice")  # noqa: PTH100 -- as above

    def _check_signal(self, process_id: int, number: int) -> None:
        """Check a signal that is to be sent to a process, or to a group of processes.

        Args:
            process_id: The process; a group has the number of the process that leads it, for `os.kill` as a negative one. 0: the own
                group.
            number: The signal. 0 only tests whether the process exists.

        Raises:
            SilentWriteRefused: Neither this process nor one that it has started would get the signal.
        """
        if sys.platform == "win32" or number == 0:
            return
        if threading.current_thread().name.startswith(OUR_THREADS):
            return
        target = abs(process_id) or os.getpgrp()
        if self._is_outside(target):
            self.refuse(
                f"it would send signal {number} to process {target}, which the silent run has not started"
            )

    def _is_outside(self, process_id: int) -> bool:
        """Return whether a process is neither this one nor started by it; False where the system does not tell (only Linux does)."""
        while process_id != self._process_id:
            parent = _read_parent_process(process_id)
            if parent is None:
                return False
            if parent == 0:  # the first process of the system
                return True
            process_id = parent
        return False

    def refuse(self, reason: str) -> NoReturn:
        """Report a refusal, and end the silent run of the test.

        Raises:
            SilentWriteRefused: Always.
        """
        self._on_refusal(reason)
        main = threading.main_thread()
        if threading.current_thread() is main:
            raise _make_refusal(reason)
        self._reason = reason
        if self._can_wake and main.ident is not None and WAKE_SIGNAL is not None:
            signal.pthread_kill(main.ident, WAKE_SIGNAL)
        raise SilentWriteRefused(reason)

    def _end_run(self, _number: int, _frame: object) -> None:
        """End the silent run of a test in which another thread was refused a write. Runs in the main thread, wherever that waits.

        Raises:
            SilentWriteRefused: A test is running.
        """
        reason, self._reason = self._reason, ""
        if reason and self._is_running:
            raise _make_refusal(reason)

    def _may_write(self, name: str, *, follows_link: bool) -> bool:
        """Return whether a path is in one of the folders that may be written.

        Args:
            name: The path.
            follows_link: Whether the target of a link is written, and not the link itself.
        """
        if follows_link:
            real = os.path.realpath(name)
        else:
            parent, base = os.path.split(os.path.abspath(name))  # noqa: PTH100 -- as above
            real = os.path.join(os.path.realpath(parent), base)  # noqa: PTH118 -- as above
        parts = Path(real).parts
        if not CACHE_FOLDERS.isdisjoint(parts):
            return True
        if not KNOWN_FOLDERS.isdisjoint(pairwise([*parts, ""])):
            return True
        return any(real == folder or real.startswith(folder + os.sep) for folder in self._folders)


def _read_folder_path(descriptor: int) -> str:
    """Return the path of an open folder; "" where the system does not tell."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 -- as above
    except OSError:
        return ""


class GuardHooks:
    """Hooks of pytest that tell a guard when a test runs."""

    def __init__(self, guard: WriteGuard) -> None:
        self._guard = guard

    @hook(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self) -> Generator[None, object, object]:
        """Watch the set-up of a test."""
        with self._guard.watch_test():
            return (yield)

    @hook(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        """Watch the call of a test."""
        with self._guard.watch_test():
            return (yield)

    @hook(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        """Watch the tear-down of a test."""
        with self._guard.watch_test():
            return (yield)


def _make_refusal(reason: str) -> SilentWriteRefused:
    """Return the exception that ends a silent run in this thread."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return SilentWriteRefused(reason)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return SilentWriteRefused(reason)
    return EventLoopEnded(reason)


def _changes_nothing(event: str, name: str) -> bool:
    """Return whether an event will fail anyway: a folder already exists, or the file to remove does not."""
    if event == "os.mkdir":
        return os.path.lexists(name)
    return event in REMOVALS and not os.path.lexists(name)


def _find_database_file(name: str) -> str:
    """Return the path of the file that an SQLite database is written to; "" if it is in memory or only read.

    Args:
        name: The name of the database: a path, or a URI (``file:name?mode=ro``).
    """
    path = name
    if name.startswith("file:"):
        path, _, query = name.removeprefix("file:").partition("#")[0].partition("?")
        if not UNWRITTEN_MODES.isdisjoint(parse_qs(query).get("mode", ())):
            return ""
        if path.startswith("//"):  # a host, empty or "localhost"
            path = "/" + path[2:].partition("/")[2]
        path = unquote(path)
    if path in MEMORY_DATABASES:
        return ""
    return path


def _read_parent_process(process_id: int) -> int | None:
    """Return the process that has started another one; None if that has ended, or the system does not tell."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(
        status.rpartition(")")[2].split()[1]
    )  # the name of the program, in brackets, may hold any character
