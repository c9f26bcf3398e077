"""Refuses writes to files in the process of the silent runs, as the run that counts would write a second time.

An audit hook of Python sees each write before it happens. It cannot be removed, but the process ends with the silent runs. It sees no
writes of C code, of child processes, through sockets, and to files that were open before.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pytest_llmops.errors import SilentWriteRefused

# Threads of ours, which write journals
OUR_THREADS = "pytest-llmops sender"
WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Positions of the paths that an event writes among its arguments, each with the position of the descriptor that it is relative to
WRITTEN_PATHS: dict[str, tuple[tuple[int, int], ...]] = {
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
MEMORY_DATABASES = frozenset({"", ":memory:"})
# Folders of ours, wherever they are, and compiled modules
OUR_FOLDERS = frozenset({".journal", ".batches", "__pycache__"})
DEVICE_FOLDERS = ("/dev", "/proc")
NO_FOLDER = -1


class WriteGuard:
    """Refuses writes outside of some folders, in all threads but ours.

    Args:
        folders: Folders that may be written.
        on_refusal: Called with the reason of each refusal.
    """

    def __init__(self, folders: Iterable[Path], on_refusal: Callable[[str], object]) -> None:
        self._on_refusal = on_refusal
        self._folders = {os.path.realpath(folder) for folder in folders}
        self._folders.update(DEVICE_FOLDERS)
        self._allowed: set[Path] = set()

    def start(self) -> None:
        """Refuse writes from now on, to the end of this process."""
        sys.addaudithook(self.check_event)

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
            SilentWriteRefused: It would write a file that the run that counts writes again.
        """
        if event == "open":
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
        if event == "sqlite3.connect" and (name in MEMORY_DATABASES or name.startswith("file::memory:")):
            return
        if folder != NO_FOLDER and not os.path.isabs(name):  # noqa: PTH117 -- as below
            base = _read_folder_path(folder)
            if not base:  # `shutil.rmtree` was checked with its whole path
                return
            name = os.path.join(base, name)  # noqa: PTH118 -- for each write
        if self._may_write(name, follows_link=event == "open"):
            return
        reason = f"it would write {os.path.abspath(name)} twice"  # noqa: PTH100 -- as above
        self._on_refusal(reason)
        raise SilentWriteRefused(reason)

    def _may_write(self, name: str, *, follows_link: bool) -> bool:
        """Return whether a path is in one of the folders that may be written.

        Args:
            name: The path.
            follows_link: Whether the target of a link is written, and not the link itself.
        """
        if name == os.devnull:
            return True
        if follows_link:
            real = os.path.realpath(name)
        else:
            parent, base = os.path.split(os.path.abspath(name))  # noqa: PTH100 -- as above
            real = os.path.join(os.path.realpath(parent), base)  # noqa: PTH118 -- as above
        parts = Path(real).parts
        if not OUR_FOLDERS.isdisjoint(parts):
            return True
        return any(real == folder or real.startswith(folder + os.sep) for folder in self._folders)


def _read_folder_path(descriptor: int) -> str:
    """Return the path of an open folder; "" where the system does not tell."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 -- as above
    except OSError:
        return ""
