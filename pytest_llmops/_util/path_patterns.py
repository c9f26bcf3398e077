"""Patterns for paths within a folder, as git's ``:(glob)`` has them: ``*`` stays within a name, ``**`` crosses folders."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import TypeAlias

# For each name of a path a regular expression, or None for ``**``
Parts: TypeAlias = tuple[re.Pattern[str] | None, ...]

_WILDCARDS = re.compile(r"[*?\[]")
_BRACKETS = re.compile(r"\[!?\]?[^\]]{0,200}\]")
_DRIVE = re.compile(r"[A-Za-z]:")


class BadPattern(ValueError):
    """A pattern that cannot be used; the message gives the reason and a replacement."""


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A pattern, split at its slashes. Make it with `parse_pattern`.

    Attributes:
        text: The pattern as it was given.
        parts: Its names.
        is_folder: It ends with a slash, and matches everything below the folders that it matches.
        is_literal: It has no wildcard, so that it is a path.
    """

    text: str
    parts: Parts
    is_folder: bool
    is_literal: bool

    def matches(self, path: str) -> bool:
        """Return whether the pattern matches the path of a file, which has slashes between its names.

        As in git, a path that is spelled like the pattern matches whatever wildcards it has: ``app/[id]``.

        >>> parse_pattern("src/*.py").matches("src/a.py"), parse_pattern("src/*.py").matches("src/b/a.py")
        (True, False)
        """
        folder = self.text.removesuffix("/") + "/"
        if path == self.text or path.startswith(folder):
            return True
        if self.is_literal:
            return False
        names = path.split("/")
        lengths = match_lengths(self.parts, names)
        if self.is_folder:
            return bool(lengths - {len(names)})
        return len(names) in lengths


def parse_pattern(text: str) -> PathPattern:
    """Return a pattern for paths relative to a folder.

    Within a name, ``*`` matches any characters, ``?`` for a single one, and ``[ab]``, ``[a-z]``, ``[!ab]`` for one
    of some; ``**`` as a whole name matches any number of folders. A path without wildcards, and a pattern that ends
    with ``/``, also match all files below the folder of that name.

    Raises:
        BadPattern: It is empty or absolute, has a name that is empty, ``.`` or ``..``, or a backslash.

    >>> parse_pattern("docs").matches("docs/a/b.md"), parse_pattern("**/*.md").matches("a.md")
    (True, True)
    """
    if not text.strip():
        raise BadPattern("it is empty")
    if "\\" in text:
        raise BadPattern("it has a backslash: write / between folders, and [*] for a literal star")
    if text.startswith("/") or _DRIVE.match(text):
        raise BadPattern("it is absolute: write the path relative to the watched folder")
    names = text.removesuffix("/").split("/")
    for name in names:
        if name in {"", ".", ".."}:
            raise BadPattern(f"it has the name {name!r} in it: write the path without it")
    is_literal = not _WILDCARDS.search(text)
    return PathPattern(text, compile_parts(names), is_folder=text.endswith("/"), is_literal=is_literal)


def compile_parts(names: Sequence[str]) -> Parts:
    """Return the parts of a pattern that was split at its slashes; ``**`` at its end matches at least one name.

    Raises:
        BadPattern: A name has a bracket that is not closed.
    """
    parts: list[re.Pattern[str] | None] = []
    for name in names:
        if name == "**":
            parts.append(None)
        else:
            parts.append(compile_name(name))
    if parts[-1] is None:
        parts.append(compile_name("*"))
    return tuple(parts)


def compile_name(name: str) -> re.Pattern[str]:
    """Return the regular expression of a name with wildcards.

    Raises:
        BadPattern: It has a bracket that is not closed.
    """
    # What Python's `fnmatch` makes does not backtrack from one star into another. Git also has [^a] for [!a].
    python_name = name.replace("[^", "[!")
    if "[" in _BRACKETS.sub("", python_name):
        raise BadPattern("it has a [ without a ]: write [[] for a literal bracket")
    return re.compile(translate(python_name))


def match_lengths(parts: Parts, names: Sequence[str]) -> set[int]:
    """Return with how many names, from the first on, a pattern matches.

    All ways to match are followed together, so that the time is at most proportional to the names times the parts.

    >>> sorted(match_lengths(compile_parts(["**", "a"]), ["a", "b", "a"]))
    [1, 3]
    """
    end = len(parts)
    lengths = set()
    positions = _skip_any_folders(parts, {0})
    for number, name in enumerate(names, start=1):
        following = set()
        for position in positions:
            if position == end:
                continue
            part = parts[position]
            if part is None:
                following.add(position)
            elif part.match(name):
                following.add(position + 1)
        positions = _skip_any_folders(parts, following)
        if end in positions:
            lengths.add(number)
        if not positions:
            break
    return lengths


def _skip_any_folders(parts: Parts, positions: set[int]) -> set[int]:
    """Return the positions, and those behind each ``**``, which may match no folder."""
    reached = set(positions)
    for position in positions:
        after = position
        while after < len(parts) and parts[after] is None:
            after += 1
            reached.add(after)
    return reached
