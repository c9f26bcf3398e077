"""Let all code of a process read another text in place of a file: a ledger runs the suite without a rule, and the user's file stays as it is.

The environment variable `LEFT_OUT_VARIABLE` names a JSON file with a `FileOverride`, so that workers of xdist and processes that a test
starts read the other text too. Without the variable nothing is patched.

Not covered: `os.open`, code in C, and programs that are not Python.
"""

import builtins
import io
import json
import linecache
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache, wraps
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

LEFT_OUT_VARIABLE = "LLMOPS_LEFT_OUT"
_WRITING_MODES = frozenset("wax+")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOverride:
    """Which file is read with which text, and where a run with it keeps its recordings.

    Attributes:
        file: The absolute path of the user's file.
        other: The absolute path of a file with the other text; "": the user's file is read as it is.
        root: The absolute path of the project's root.
        cassettes: The absolute path of the folder with the recordings of such runs.
        mark: The absolute path of a file whose time moves from 0 when the user's file is read. Silent runs of tests may write no file,
            but may do that.
        tests: The node ids of the tests to run; empty: all.
    """

    file: str
    other: str
    root: str
    cassettes: str
    mark: str
    tests: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        """Write the JSON file that `LEFT_OUT_VARIABLE` names, and the mark."""
        Path(self.mark).touch()
        os.utime(self.mark, (0, 0))
        path.write_text(json.dumps(asdict(self)), "utf-8")

    def is_file(self, path: Any) -> bool:
        """Return whether a path, also one through links, leads to the user's file."""
        try:
            return os.path.samestat(os.stat(path), os.stat(self.file))  # noqa: PTH116 -- a path of any form
        except (OSError, ValueError, TypeError):
            return False

    def note_read(self) -> None:
        """Note that the file was read, by this or another process."""
        os.utime(self.mark)

    def was_read(self) -> bool:
        """Return whether any process has read the file since `write`."""
        return Path(self.mark).stat().st_mtime_ns > 0

    def is_bytecode(self, path: Any) -> bool:
        """Return whether a path leads to compiled code of the user's file, as pytest keeps it for test modules."""
        stem, suffix = os.path.splitext(os.path.basename(self.file))  # noqa: PTH119, PTH122 -- called for each file that is opened
        if suffix != ".py" or not isinstance(path, str | os.PathLike):
            return False
        name = os.path.basename(os.fsdecode(path))  # noqa: PTH119
        return name.startswith(f"{stem}.") and ".pyc" in name


def current_override() -> FileOverride | None:
    """Return the override of this process; None: it has none.

    >>> current_override() is None
    True
    """
    path = os.environ.get(LEFT_OUT_VARIABLE, "")
    if not path:
        return None
    return _read_override(path)


@lru_cache(maxsize=8)
def _read_override(path: str) -> FileOverride | None:
    """Return the override in a JSON file; None if the file is gone: the ledger that wrote it has ended."""
    try:
        values = json.loads(Path(path).read_bytes())
        return FileOverride(**{**values, "tests": tuple(values["tests"])})
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def install_override() -> Callable[[], None]:
    """Let this process read the other text from now on, and return a function that ends it.

    Files that are opened to be written are the user's own.
    """
    _read_override.cache_clear()
    override = current_override()
    if override is None:
        return _do_nothing
    undo_files = _patch_open(override)
    undo_modules = _patch_modules(override)

    def undo() -> None:
        undo_modules()
        undo_files()

    return undo


def _do_nothing() -> None:
    return


def _patch_open(override: FileOverride) -> Callable[[], None]:
    """Replace the `open` that Python code calls, `pathlib` included."""
    before = builtins.open, io.open
    real_open = io.open

    @wraps(real_open)
    def open_file(file: Any, mode: Any = "r", *args: Any, **options: Any) -> Any:
        if isinstance(file, int):
            return real_open(file, mode, *args, **options)
        if override.is_bytecode(file):
            raise FileNotFoundError(f"{file} is not used while a ledger leaves out a part of its source")
        is_read = isinstance(mode, str) and _WRITING_MODES.isdisjoint(mode)
        if is_read and override.is_file(file):
            override.note_read()
            if override.other:
                file = override.other
        return real_open(file, mode, *args, **options)

    builtins.open = io.open = open_file

    def undo() -> None:
        builtins.open, io.open = before

    return undo


def _patch_modules(override: FileOverride) -> Callable[[], None]:
    """Let the import system, `inspect` and `pkgutil` read the other text, and neither read nor write compiled code of the file."""
    get_data = SourceFileLoader.get_data
    path_stats = SourceFileLoader.path_stats

    def read_data(loader: SourceFileLoader, path: Any) -> bytes:
        if override.is_file(path):
            override.note_read()
            if override.other:
                path = override.other
        return get_data(loader, path)

    def read_stats(loader: SourceFileLoader, path: Any) -> Any:
        if override.is_file(path):
            raise OSError(f"{path}: compiled code is not used")
        return path_stats(loader, path)

    SourceFileLoader.get_data = read_data  # type: ignore[method-assign, assignment]
    SourceFileLoader.path_stats = read_stats  # type: ignore[method-assign, assignment]
    if override.other and override.file.endswith(".py"):
        lines = Path(override.other).read_text("utf-8", "replace").splitlines(keepends=True)
        linecache.cache[override.file] = (1, None, lines, override.file)  # without a time: it is not checked

    def undo() -> None:
        SourceFileLoader.get_data = get_data  # type: ignore[method-assign]
        SourceFileLoader.path_stats = path_stats  # type: ignore[method-assign]
        linecache.cache.pop(override.file, None)

    return undo
