"""Patterns for paths within a folder, as git's ``:(glob)`` has them: ``*`` stays within a name, ``**`` crosses folders."""

import re
from dataclasses import dataclass
from fnmatch import translate

_WILDCARDS = re.compile(r"[*?\[]")
_ANY_FOLDERS = "**"
_DRIVE = re.compile(r"[A-Za-z]:")


class BadPattern(ValueError):
    """A pattern that no path can match; the message says why and what to write instead."""


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A pattern, split at its slashes. Make it with `parse_pattern`.

    Attributes:
        text: The pattern as it was given.
        parts: For each name a regular expression, or None for ``**``.
        includes_below: A folder that matches stands for all files below it.
        is_literal: It has no wildcard, so that it is a path.
    """

    text: str
    parts: tuple[re.Pattern[str] | None, ...]
    includes_below: bool
    is_literal: bool

    def matches(self, path: str) -> bool:
        """Return whether the pattern matches the path of a file, which has slashes between its names.

        The time is proportional to the names of the path times the parts of the pattern.

        >>> parse_pattern("src/*.py").matches("src/a.py"), parse_pattern("src/*.py").matches("src/b/a.py")
        (True, False)
        """
        names = path.split("/")
        # The parts that may come next. As in a search by regular expression, all possible ways are followed together.
        positions = self._skip_any_folders({0})
        for number, name in enumerate(names):
            following = set()
            for position in positions:
                if position == len(self.parts):
                    continue
                part = self.parts[position]
                if part is None:
                    following.add(position)
                elif part.match(name):
                    following.add(position + 1)
            positions = self._skip_any_folders(following)
            is_folder = number < len(names) - 1
            if is_folder and self.includes_below and len(self.parts) in positions:
                return True
        if self.text.endswith("/"):
            return False
        return len(self.parts) in positions

    def _skip_any_folders(self, positions: set[int]) -> set[int]:
        """Return the positions, and those behind each ``**``, which may stand for no folder."""
        reached = set(positions)
        for position in sorted(positions):
            after = position
            while after < len(self.parts) and self.parts[after] is None:
                after += 1
                reached.add(after)
        return reached


def parse_pattern(text: str) -> PathPattern:
    """Return a pattern for paths relative to a folder.

    Within a name, ``*`` stands for any characters, ``?`` for a single one, and ``[ab]``, ``[a-z]``, ``[!ab]`` for one
    of some; ``**`` as a whole name stands for any number of folders. A path without wildcards, and a pattern that ends
    with ``/``, also stand for all files below the folder of that name.

    Raises:
        BadPattern: It is empty or absolute, has a name that is empty, ``.`` or ``..``, or a backslash.

    >>> parse_pattern("docs").matches("docs/a/b.md"), parse_pattern("**/*.md").matches("a.md")
    (True, True)
    """
    if not text.strip():
        raise BadPattern("it is empty")
    if "\\" in text:
        raise BadPattern(
            "it has a backslash: write / between folders, and [*] for a star that is meant itself"
        )
    if text.startswith("/") or _DRIVE.match(text):
        raise BadPattern("it is absolute: write the path relative to the watched folder")
    names = text.removesuffix("/").split("/")
    for name in names:
        if name in {"", ".", ".."}:
            raise BadPattern(f"it has the name {name!r} in it: write the path without it")
    is_literal = not _WILDCARDS.search(text)
    parts = tuple(_compile_name(name) for name in names)
    if parts[-1] is None and not text.endswith("/"):
        # A ``**`` at the end stands for all files, at least a single name.
        parts = (*parts, _compile_name("*"))
    return PathPattern(text, parts, includes_below=is_literal or text.endswith("/"), is_literal=is_literal)


def _compile_name(name: str) -> re.Pattern[str] | None:
    """Return the regular expression of a name; None for ``**``."""
    if name == _ANY_FOLDERS:
        return None
    # `translate` makes expressions that do not backtrack from one star into another. Git also knows [^a] for [!a].
    return re.compile(translate(name.replace("[^", "[!")))
