"""Snapshots of a folder: each file with its size and hash, and the content of texts up to a limit.

Links are not followed, and pipes, sockets and devices are not opened. ``.git`` is left out, as git does, and folders
count only by the files in them.
"""

import hashlib
import os
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pytest_llmops._util.ignore_rules import BadRules, IgnoreRules
from pytest_llmops.measurement import format_count, shorten_text

Kind: TypeAlias = Literal["file", "link", "pipe", "socket", "device"]

MAX_KEPT_BYTES = 262_144  # size of a file up to which its content is kept for a diff
MAX_KEPT_TOTAL_BYTES = 33_554_432  # the same for all files of a snapshot together
MAX_RULE_FILE_BYTES = 1_048_576  # maximum size of a .gitignore
CHUNK_BYTES = 1_048_576
TEXT_HEAD_BYTES = 8_000  # a file with a zero byte within these is binary, as for git
MAX_SHOWN_PATH = 200

# A byte that is not UTF-8, as Python has it in names of files
_RAW_BYTE = re.compile("[\udc80-\udcff]")


class SnapshotError(Exception):
    """A folder that cannot be read completely; the message has the place, the progress and the next step."""


class FolderGone(SnapshotError):
    """The folder itself is missing, or is not a folder any more."""


@dataclass(frozen=True, slots=True)
class FileState:
    """The properties of a file that are compared.

    Attributes:
        kind: A device, pipe or socket is compared by its kind only.
        size: Of a file, in bytes.
        digest: Of a file, the SHA-256 in hex.
        executable: Whether its owner may run a file. Other permissions, owners and times are not compared.
        target: Where a link leads, as it is written in the link.
        content: The bytes of a text, for a diff; None: they were not kept.
        why_no_content: The reason for that; "" for entries without content.
    """

    kind: Kind
    size: int = 0
    digest: str = ""
    executable: bool = False
    target: str = ""
    content: bytes | None = field(default=None, compare=False, repr=False)
    why_no_content: str = field(default="", compare=False)


Snapshot: TypeAlias = Mapping[str, FileState]


@dataclass(frozen=True, slots=True)
class SnapshotLimits:
    """The limits of a snapshot. Beyond them it ends with a `SnapshotError`.

    Attributes:
        time_limit_s: Seconds for listing and hashing all files.
        max_files: Files, links and others; folders and ignored files do not count.
        max_bytes: Bytes of all files together.
    """

    time_limit_s: float
    max_files: int
    max_bytes: int


def take_snapshot(
    root: Path,
    rules: IgnoreRules,
    limits: SnapshotLimits,
    *,
    reads_gitignore: bool = False,
    earlier: Snapshot | None = None,
) -> Snapshot:
    """Return the files of a folder by their path, which is relative and has slashes.

    Args:
        root: The folder.
        rules: The rules for files to leave out.
        limits: Limits for time and size.
        reads_gitignore: Whether the rules of each ``.gitignore`` in the folder are added to ``rules``.
        earlier: A snapshot to compare with: contents are kept only of files that differ from it.

    Raises:
        FolderGone: The folder does not exist.
        SnapshotError: A file or folder cannot be read, changes while it is read, or a limit is reached.
    """
    if not stat.S_ISDIR(_read_root_mode(root)):
        raise FolderGone(f"{format_path(str(root))} is not a folder any more")
    reader = _SnapshotReader(root, rules, limits, reads_gitignore=reads_gitignore, earlier=earlier)
    return reader.read_all()


def _read_root_mode(root: Path) -> int:
    """Return the mode of the folder; a link in its place is not followed."""
    try:
        return root.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FolderGone(f"{format_path(str(root))} is missing") from None
    except OSError as error:
        raise SnapshotError(f"{format_path(str(root))}: cannot be read: {error.strerror}") from None


def format_path(path: str) -> str:
    r"""Return a path for a message: on one line, with escapes for control characters and bytes that are not UTF-8.

    >>> format_path("a\nb"), format_path("caf\udce9")
    ('a\\nb', 'caf\\xe9')
    """
    readable = _RAW_BYTE.sub(lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", path)
    return shorten_text(readable, MAX_SHOWN_PATH)


def _join_path(folder: str, name: str) -> str:
    """Return the path of a name in a folder, which is "" for the top."""
    if folder:
        return f"{folder}/{name}"
    return name


class _SnapshotReader:
    """Reads a folder once."""

    def __init__(
        self,
        root: Path,
        rules: IgnoreRules,
        limits: SnapshotLimits,
        *,
        reads_gitignore: bool,
        earlier: Snapshot | None,
    ) -> None:
        self._root = root
        self._root_name = format_path(str(root))
        self._rules = rules
        self._limits = limits
        self._reads_gitignore = reads_gitignore
        self._earlier = earlier
        self._deadline = time.monotonic() + limits.time_limit_s
        self._states: dict[str, FileState] = {}
        self._read_bytes = 0
        self._kept_bytes = 0

    def read_all(self) -> Snapshot:
        """Read all files; the order of the names makes errors and results the same in each run."""
        folders = [""]
        while folders:
            folder = folders.pop()
            self._check_time(folder)
            subfolders = self._read_folder(folder)
            folders += reversed(subfolders)
        return self._states

    def _read_folder(self, folder: str) -> list[str]:
        """Read the files of a folder, and return the paths of the folders in it."""
        entries = self._list_entries(folder)
        if self._reads_gitignore and ".gitignore" in entries:
            self._read_rules(folder)
        subfolders = []
        for name in sorted(entries):
            path = _join_path(folder, name)
            mode = entries[name]
            is_folder = stat.S_ISDIR(mode)
            if name == ".git" or self._rules.is_ignored(path, is_folder=is_folder):
                continue
            if is_folder:
                subfolders.append(path)
                continue
            self._check_time(path)
            if len(self._states) >= self._limits.max_files:
                raise self._limit_error(f"more than {self._limits.max_files:,} files", path, "max_files")
            self._states[path] = self._read_entry(path, mode)
        return subfolders

    def _list_entries(self, folder: str) -> dict[str, int]:
        """Return the names in a folder with their modes."""
        try:
            with os.scandir(self._place(folder)) as entries:
                return {entry.name: entry.stat(follow_symlinks=False).st_mode for entry in entries}
        except OSError as error:
            raise self._read_error(folder, error) from None

    def _read_rules(self, folder: str) -> None:
        """Add the rules of the ``.gitignore`` of a folder. Anything but a regular file is left out, as in git."""
        path = _join_path(folder, ".gitignore")
        place = Path(self._place(path))
        try:
            if not stat.S_ISREG(place.lstat().st_mode):
                return
            with place.open("rb") as file:
                content = file.read(MAX_RULE_FILE_BYTES + 1)
            if len(content) > MAX_RULE_FILE_BYTES:
                raise self._size_error(path)
            self._rules.add_file(folder, os.fsdecode(content))
        except OSError as error:
            raise self._read_error(path, error) from None
        except BadRules as error:
            raise SnapshotError(f"{format_path(self._place(path))}: {error}") from None

    def _read_entry(self, path: str, mode: int) -> FileState:
        if stat.S_ISREG(mode):
            return self._read_file(path)
        if stat.S_ISLNK(mode):
            try:
                # Not `Path.readlink`, which would return "a//b" as "a/b".
                target = os.readlink(self._place(path))  # noqa: PTH115
                return FileState("link", target=target)
            except OSError as error:
                raise self._read_error(path, error) from None
        if stat.S_ISFIFO(mode):
            return FileState("pipe")
        if stat.S_ISSOCK(mode):
            return FileState("socket")
        return FileState("device")

    def _read_file(self, path: str) -> FileState:
        """Hash a file. It is opened so that neither a link nor a pipe that was put in its place is followed or waited for."""
        flags = os.O_RDONLY
        for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
            flags |= getattr(os, name, 0)
        try:
            descriptor = os.open(self._place(path), flags)
        except OSError as error:
            raise self._read_error(path, error) from None
        try:
            return self._hash_file(path, descriptor)
        except OSError as error:
            raise self._read_error(path, error) from None
        finally:
            os.close(descriptor)

    def _hash_file(self, path: str, descriptor: int) -> FileState:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise self._change_error(path)
        if self._read_bytes + before.st_size > self._limits.max_bytes:
            limit = f"more than {self._limits.max_bytes:,} bytes, {before.st_size:,} of them in this file"
            raise self._limit_error(limit, path, "max_bytes")
        digest = hashlib.sha256()
        chunks = []
        is_small = before.st_size <= MAX_KEPT_BYTES
        rest = before.st_size
        while rest > 0:
            chunk = os.read(descriptor, min(rest, CHUNK_BYTES))
            if not chunk:
                break
            digest.update(chunk)
            rest -= len(chunk)
            if is_small:
                chunks.append(chunk)
            self._check_time(path)
        after = os.fstat(descriptor)
        if rest or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise self._change_error(path)
        self._read_bytes += before.st_size
        state = FileState(
            "file",
            size=before.st_size,
            digest=digest.hexdigest(),
            executable=os.name == "posix" and bool(before.st_mode & stat.S_IXUSR),
        )
        if self._earlier is not None and self._earlier.get(path) == state:
            return state
        return self._keep_content(state, b"".join(chunks))

    def _keep_content(self, state: FileState, content: bytes) -> FileState:
        """Return the state with its content, or why that is not kept."""
        kept: bytes | None = None
        reason = ""
        if state.size > MAX_KEPT_BYTES:
            reason = f"larger than {MAX_KEPT_BYTES:,} bytes"
        elif b"\0" in content[:TEXT_HEAD_BYTES]:
            reason = "binary"
        elif self._kept_bytes + state.size > MAX_KEPT_TOTAL_BYTES:
            reason = f"the texts kept of the folder have {MAX_KEPT_TOTAL_BYTES:,} bytes already"
        else:
            kept = content
            self._kept_bytes += state.size
        return FileState(
            state.kind,
            size=state.size,
            digest=state.digest,
            executable=state.executable,
            content=kept,
            why_no_content=reason,
        )

    def _place(self, path: str) -> str:
        return os.path.join(self._root, path)  # noqa: PTH118 -- the name is used for 100,000 files

    def _check_time(self, path: str) -> None:
        if time.monotonic() > self._deadline:
            limit = f"it needs longer than {self._limits.time_limit_s:g} s"
            raise self._limit_error(limit, path, "time_limit_s")

    def _limit_error(self, limit: str, path: str, argument: str) -> SnapshotError:
        files = format_count(len(self._states), "file")
        size = format_count(self._read_bytes, "byte")
        progress = f"{files} and {size} read, then '{format_path(path) or '.'}'"
        advice = f"leave out folders with ignore= or gitignore=True, or raise {argument}"
        return SnapshotError(f"{self._root_name}: {limit} ({progress}); {advice}")

    def _size_error(self, path: str) -> SnapshotError:
        return SnapshotError(
            f"{format_path(self._place(path))}: expected at most {MAX_RULE_FILE_BYTES:,} bytes"
        )

    def _read_error(self, path: str, error: OSError) -> SnapshotError:
        if isinstance(error, FileNotFoundError):
            return self._change_error(path)
        name = format_path(path) or "the folder itself"
        return SnapshotError(
            f"{self._root_name}: {name!r} cannot be read: {error.strerror}; make it readable, or leave it out with ignore="
        )

    def _change_error(self, path: str) -> SnapshotError:
        return SnapshotError(
            f"{self._root_name}: {format_path(path)!r} changed while it was read: wait until the agent and its processes have ended"
        )
