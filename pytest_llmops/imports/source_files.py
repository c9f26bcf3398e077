"""The files of a suite: read below one folder only, never fetched and never run.

`LocatedMap` and `LocatedList` are what JSON, JSON lines and YAML are read into: values that know their lines.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath

from pytest_llmops._util.text_files import BadFile, decode_text
from pytest_llmops.imports.foreign_secrets import hide_secrets
from pytest_llmops.imports.located_values import (
    LocatedList,
    LocatedMap,
    read_located_json,
    read_located_json_lines,
)
from pytest_llmops.imports.located_yaml import read_located_yaml
from pytest_llmops.imports.suite import Place, SuiteError
from pytest_llmops.measurement import Json, shorten_text

__all__ = ["CODE_SUFFIXES", "LocatedList", "LocatedMap", "SourceFolder", "is_remote", "split_function"]

MAX_FILES = 5_000  # of one reference
MAX_FILE_BYTES = 20_000_000
CODE_SUFFIXES = frozenset(
    {".py", ".js", ".cjs", ".mjs", ".ts", ".cts", ".mts", ".jsx", ".tsx", ".rb", ".go", ".sh"}
)
_KINDS_NOT_READ = {
    "a spreadsheet": ".xlsx .xls .ods",
    "a PDF": ".pdf",
    "an image": ".png .jpg .jpeg .gif .webp .bmp .svg .ico .tiff .avif .heic",
    "a sound": ".mp3 .wav .ogg .m4a .flac .aac .opus",
    "a video": ".mp4 .mov .avi .mkv .webm",
    "compressed": ".zip .gz .tar .tgz",
    "a Parquet file": ".parquet",
}
_NOT_READ = {suffix: kind for kind, suffixes in _KINDS_NOT_READ.items() for suffix in suffixes.split()}
_REMOTE = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+://")
_FUNCTION = re.compile(r"(.*\.[A-Za-z]{2,3}):([A-Za-z_$][\w$.]*)")
_MAGIC = re.compile(r"[*?\[]|\{[^{}]*,[^{}]*\}")
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_REPEATED = re.compile(r"(?:\*\*/){2,}")
_SECRET_FOLDERS = frozenset({".git", ".ssh", ".aws", ".gnupg", ".kube", ".docker"})
_SECRET_FILE = re.compile(
    r"\.env(?:\..*)?|\.netrc|\.npmrc|\.pypirc|\.git-credentials|.*\.(?:pem|key|p12|pfx)|id_(?:rsa|ed25519)"
)
_LFS_BEGIN = b"version https://git-lfs.github.com/spec/"
_MAX_SHOWN = 100
_MAX_UP = 3  # levels above the folder of the suite


def is_remote(reference: str) -> bool:
    """Return whether a reference names something that would have to be fetched.

    >>> is_remote("https://docs.google.com/spreadsheets/d/1"), is_remote("file://tests.csv"), is_remote("C:/tests.csv")
    (True, False, False)
    """
    return _REMOTE.match(reference.strip()) is not None


def split_function(reference: str) -> tuple[str, str]:
    """Return the path of a reference, without ``file://``, and the function of the code file that it names, or "".

    >>> split_function("file://checks/tone.py:check_tone"), split_function("file://tests.yaml")
    (('checks/tone.py', 'check_tone'), ('tests.yaml', ''))
    """
    path = reference.strip().removeprefix("file://").replace("\\", "/")
    match = _FUNCTION.fullmatch(path)
    if match and PurePosixPath(match[1]).suffix in CODE_SUFFIXES:
        return match[1], match[2]
    return path, ""


def _may_hold_secrets(path: Path) -> bool:
    """Return whether a file is one of those that usually hold secrets; the folder of a suite may be a whole repository."""
    return not _SECRET_FOLDERS.isdisjoint(path.parts) or _SECRET_FILE.fullmatch(path.name.lower()) is not None


class SourceFolder:
    """The folder of a suite. No file outside of it is read: a suite may come from somebody else.

    Args:
        root: The folder.

    Raises:
        SuiteError: The folder does not exist.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise SuiteError("no such folder", Place(root.as_posix()))
        self.root = root.resolve()
        self._open: list[Path] = []

    def place(self, path: Path, line: int = 0) -> Place:
        """Return a line of a file as a place: its path is the one below the folder."""
        full = self._locate(path)
        if not full.is_relative_to(self.root):
            # The folder may be named by a link to it.
            full = Path(os.path.realpath(full))
        if full.is_relative_to(self.root):
            return Place(full.relative_to(self.root).as_posix(), line)
        return Place(path.as_posix(), line)

    def _locate(self, path: Path) -> Path:
        """Return a path without ``..``; links stay links."""
        return Path(os.path.normpath(self.root / path))

    def check_inside(self, path: Path, place: Place | None = None) -> Path:
        """Return the full path of a file or folder of the suite, with links resolved.

        Args:
            path: The path; a relative one is below the folder of the suite.
            place: Where it is named, for the error.

        Raises:
            SuiteError: It is outside of the folder of the suite.
        """
        try:
            full = self._locate(path).resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise SuiteError(
                f"a path that cannot be read: {error}", place or Place(path.as_posix())
            ) from None
        if not full.is_relative_to(self.root):
            what = (
                f"{shorten_text(self._show_outside(path), _MAX_SHOWN)} is outside of the folder that is imported ({self.root.name}), and is not read: "
                "name a folder above both with --root, or copy the file into the folder"
            )
            raise SuiteError(what, place or self.place(path))
        return full

    def _show_outside(self, path: Path) -> str:
        """Return a path as one from the folder of the suite, if it is near: where the folder is concerns nobody else."""
        near = Path(os.path.relpath(self._locate(path), self.root))
        if near.parts.count("..") <= _MAX_UP:
            return near.as_posix()
        return path.as_posix()

    def read_bytes(self, path: Path, place: Place | None = None) -> bytes:
        """Return the bytes of a file.

        Args:
            path: The file.
            place: Where it is named; without it, an error is at the file itself.

        Raises:
            SuiteError: It is outside of the folder, does not exist, is not a file, has more than 20 MB, is of a kind that holds no text,
                may hold secrets (``.env``), or is a pointer of Git LFS.
        """
        full = self.check_inside(path, place)
        here = place or self.place(path)
        shown = self.place(path).file
        if _may_hold_secrets(full.relative_to(self.root)):
            raise SuiteError(
                f"{shown} may contain secrets, and is not read: copy the parts that the suite needs into another file",
                here,
            )
        kind = _NOT_READ.get(full.suffix.lower())
        if kind is not None:
            raise SuiteError(
                f"{shown} is {kind}, which is not read: save its texts as CSV, JSON lines or text", here
            )
        try:
            if full.is_dir():
                raise SuiteError(f"{shown} is a folder: expected a file", here)
            if not full.is_file():
                raise SuiteError(f"no such file: {shown}", here)
            size = full.stat().st_size
            if size > MAX_FILE_BYTES:
                raise SuiteError(f"{shown} has {size:,} bytes: expected at most {MAX_FILE_BYTES:,}", here)
            data = full.read_bytes()
        except OSError as error:
            raise SuiteError(f"{shown} cannot be read: {error.strerror}", here) from None
        if data.startswith(_LFS_BEGIN):
            raise SuiteError(f"{shown} is a pointer of Git LFS, not the data: run `git lfs pull` first", here)
        return data

    def read_text(self, path: Path, place: Place | None = None) -> str:
        r"""Return the text of a file: UTF-8, without a byte order mark, every line end as ``\n``.

        Raises:
            SuiteError: As for `read_bytes`, or it is not UTF-8, or contains a NUL.
        """
        data = self.read_bytes(path, place)
        try:
            return decode_text(data)
        except BadFile as error:
            raise SuiteError(error.what, self.place(path, error.line or 0)) from None

    def read_value(self, path: Path, place: Place | None = None) -> Json:
        """Return the value of a YAML, JSON or JSON lines file (by its suffix; YAML for any other), with the lines of its parts.

        Raises:
            SuiteError: As for `read_text`, or it is not of this format.
        """
        text = self.read_text(path, place)
        file = self.place(path).file
        suffix = path.suffix.lower()
        try:
            if suffix == ".json":
                return read_located_json(text, file)
            if suffix in (".jsonl", ".ndjson"):
                return read_located_json_lines(text, file)
            return read_located_yaml(text, file)
        except BadFile as error:
            raise SuiteError(error.what, self.place(path, error.line or 0)) from None

    def find(self, reference: str, beside: Path, place: Place | None = None) -> list[Path]:
        """Return the files that a reference names, sorted; a single path whether or not there is such a file.

        Args:
            reference: ``file://`` and a path, or a bare path; relative to the file that names it. It may have ``*``, ``**``, ``?``, ``[ab]``
                and ``{a,b}``, name a folder (its files), or a function of a code file (``checks.py:check``), which is left out.
            beside: The file that names it.
            place: Where it is named, for the errors.

        Raises:
            SuiteError: It is outside of the folder, would have to be fetched, holds a template, or names more than 5,000 files.
        """
        here = place or self.place(beside)
        shown = shorten_text(hide_secrets(reference), _MAX_SHOWN)
        if is_remote(reference):
            raise SuiteError(f"{shown} is not fetched: download it, and name the file", here)
        if "{{" in reference or "{%" in reference:
            raise SuiteError(f"{shown}: a template in a path is not filled in: write the path", here)
        path, _ = split_function(reference)
        if "\0" in path or not path:
            raise SuiteError(f"expected the path of a file, got {shown!r}", here)
        pattern = self._locate(self._locate(beside).parent / path)
        try:
            if self._is_pattern(pattern):
                return self._expand(pattern, shown, here)
            full = self.check_inside(pattern, here)
            if full.is_dir():
                return self._list_folder(full, here)
        except OSError as error:  # such as a name that is too long
            raise SuiteError(f"{shown} cannot be read: {error.strerror}", here) from None
        return [pattern]

    def find_one(self, reference: str, beside: Path, place: Place | None = None) -> Path:
        """Return the one file that a reference names, as `find` does.

        Raises:
            SuiteError: As for `find`, or it names no file, or several.
        """
        found = self.find(reference, beside, place)
        if len(found) == 1:
            return found[0]
        shown = shorten_text(reference, _MAX_SHOWN)
        raise SuiteError(f"{shown}: expected one file, got {len(found)}", place or self.place(beside))

    def _is_pattern(self, pattern: Path) -> bool:
        return _MAGIC.search(pattern.as_posix()) is not None and not pattern.exists()

    def _list_folder(self, folder: Path, place: Place) -> list[Path]:
        files = [path for path in islice(folder.iterdir(), MAX_FILES + 1) if not path.name.startswith(".")]
        self._check_count(files, self.place(folder).file, place)
        return sorted(self.check_inside(path, place) for path in files if path.is_file())

    def _expand(self, pattern: Path, shown: str, place: Place) -> list[Path]:
        """Return the files that fit a pattern."""
        steady = pattern
        while _MAGIC.search(steady.as_posix()) and steady != steady.parent:
            steady = steady.parent
        self.check_inside(steady, place)
        found: set[Path] = set()
        for plain in _expand_braces(pattern.relative_to(steady).as_posix()):
            for path in self._glob(steady, plain, shown, place):
                self.check_inside(path, place)
                found.add(path)
                self._check_count(found, shown, place)
        return sorted(found)

    def _glob(self, folder: Path, pattern: str, shown: str, place: Place) -> Iterator[Path]:
        """Yield the files that fit a pattern without braces, except hidden ones that the pattern does not name."""
        parts = PurePosixPath(pattern).parts
        takes_hidden = any(part.startswith(".") for part in parts)
        # Python refuses such a part before 3.13, and reads it as `*` since.
        if any("**" in part and part != "**" for part in parts):
            raise SuiteError(
                f"{shown} is not a pattern for files: ** can only be a whole part of a path", place
            )
        try:
            # Of several `**` in a row each would search all folders below each folder.
            for path in folder.glob(_REPEATED.sub("**/", pattern)):
                is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
                if path.is_file() and (takes_hidden or not is_hidden):
                    yield path
        except (ValueError, NotImplementedError) as error:
            raise SuiteError(f"{shown} is not a pattern for files: {error}", place) from None

    def _check_count(self, files: set[Path] | list[Path], shown: str, place: Place) -> None:
        if len(files) > MAX_FILES:
            raise SuiteError(f"{shown} names more than {MAX_FILES:,} files: name a smaller folder", place)

    @contextmanager
    def entering(self, path: Path, place: Place) -> Iterator[None]:
        """Read the references of a file within this context, so that files that name each other in a circle are an error.

        Args:
            path: The file.
            place: Where it is named.

        Raises:
            SuiteError: It is being read already; with the chain.
        """
        full = self.check_inside(path, place)
        if full in self._open:
            chain = [self.place(part).file for part in [*self._open[self._open.index(full) :], full]]
            raise SuiteError(f"files that name each other in a circle: {' -> '.join(chain)}", place)
        self._open.append(full)
        try:
            yield
        finally:
            self._open.pop()


def _expand_braces(pattern: str) -> list[str]:
    """Return the patterns to which a pattern with ``{a,b}`` expands.

    >>> _expand_braces("{a,b}.txt")
    ['a.txt', 'b.txt']
    """
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    begin, end = pattern[: match.start()], pattern[match.end() :]
    patterns: list[str] = []
    for choice in match[1].split(","):
        patterns += _expand_braces(f"{begin}{choice}{end}")
        if len(patterns) > MAX_FILES:
            break
    return patterns[: MAX_FILES + 1]
