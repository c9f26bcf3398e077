"""Rules of ``.gitignore`` files: which paths of a folder git would leave out."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

MAX_RULES = 10_000  # lines of a file, or of an argument

# pathspec's expressions stop at a line end, and their "$" matches before one. No path of Python has this character.
_LINE_END = "\udc0a"


class BadRules(ValueError):
    """Lines that cannot be read as rules; the message has the number of the line."""


class IgnoreRules:
    """The rules of a folder and of the folders below it.

    As in git the last line that matches decides, rules of a deeper folder come before those above it, and what is
    below an ignored folder cannot be taken back. `is_ignored` decides about a single level: ask it for a folder before
    its files, and skip the folder if it is ignored.

    Args:
        lines: Rules that come before those of all files.

    Raises:
        BadRules: A line cannot be read.

    >>> rules = IgnoreRules(["*.log", "!keep.log", "build/"])
    >>> rules.is_ignored("a/b.log"), rules.is_ignored("keep.log"), rules.is_ignored("build", is_folder=True)
    (True, False, True)
    """

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._first = _compile_rules(lines)
        self._by_folder: dict[str, GitIgnoreSpec] = {}

    def add_file(self, folder: str, text: str) -> None:
        """Add the rules of the ``.gitignore`` of a folder, "" for the top.

        Raises:
            BadRules: A line cannot be read.
        """
        spec = _compile_rules(text.removeprefix("\ufeff").split("\n"))
        if spec is not None:
            self._by_folder[folder] = spec

    def is_ignored(self, path: str, *, is_folder: bool = False) -> bool:
        """Return whether a file, or a folder itself, is ignored; nothing above it may be."""
        suffix = ""
        if is_folder:
            suffix = "/"
        if self._first is not None:
            decision = _decide(self._first, path + suffix)
            if decision is not None:
                return decision
        if not self._by_folder:
            return False
        folder = path
        while folder:
            folder = folder.rpartition("/")[0]
            spec = self._by_folder.get(folder)
            if spec is None:
                continue
            relative = path.removeprefix(folder).removeprefix("/")
            decision = _decide(spec, relative + suffix)
            if decision is not None:
                return decision
        return False


def _decide(spec: "GitIgnoreSpec", path: str) -> bool | None:
    """Return whether the rules ignore a path (True), take it back (False), or have nothing about it (None)."""
    return spec.check_file(path.replace("\n", _LINE_END)).include


def _compile_rules(lines: Iterable[str]) -> "GitIgnoreSpec | None":
    """Return the compiled rules; None if no line has one.

    Raises:
        BadRules: A line cannot be read.
    """
    prepared = []
    for line in lines:
        prepared.append(_prepare_rule(line))
        if len(prepared) > MAX_RULES:
            raise BadRules(f"expected at most {MAX_RULES:,} lines, got more")
    if not any(prepared):
        return None
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(prepared)
    except (ValueError, re.error, RecursionError, OverflowError):
        pass
    for number, rule in enumerate(prepared, start=1):
        try:
            GitIgnoreSpec.from_lines([rule])
        except (ValueError, re.error, RecursionError, OverflowError) as error:
            raise BadRules(f"line {number}: not a rule of a .gitignore: {error}") from None
    raise BadRules("not rules of a .gitignore")


def _prepare_rule(line: str) -> str:
    """Return a line in the form that pathspec reads as git does, "" for a comment.

    For pathspec ``build/**`` also matches the folder itself, so that nothing in it could be taken back; in git it
    does not. ``build/**/*`` means the same for both.

    >>> _prepare_rule("build/**"), _prepare_rule("# a comment")
    ('build/**/*', '')
    """
    rule = line.removesuffix("\r")
    if rule.startswith("#"):
        return ""
    stripped = rule.rstrip(" ")
    if stripped.endswith("/**"):
        return f"{stripped}/*"
    return rule.replace("\n", _LINE_END)
