"""Rules of ``.gitignore`` files: which paths of a folder git leaves out.

A library for them, pathspec, applies a rule for a folder to all that is in it too, so that ``!docs`` would take back
every ignored file below ``docs``. Here a rule is applied to one path at a time, as in git.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_llmops._util.path_patterns import BadPattern, Parts, compile_name, compile_parts, match_lengths

MAX_RULES = 10_000  # lines of a file, or of an argument

_ESCAPE_OR_BRACKETS = re.compile(r"\\(?P<char>.?)|(?P<brackets>\[[!^]?\]?[^\]]{0,200}\])", re.DOTALL)
_TRAILING_SPACES = re.compile(r"(?<! ) +\Z")


class BadRules(ValueError):
    """Lines that cannot be read as rules; the message has the number of the line."""


class IgnoreRules:
    """The rules of a folder and of the folders below it.

    As in git the last rule that matches decides, rules of a deeper folder come before those above it, and what is
    below an ignored folder cannot be taken back. `is_ignored` decides about a single level: ask it for a folder before
    its files, and skip the folder if it is ignored.

    Args:
        lines: Rules that come before the rules of all files.

    Raises:
        BadRules: A line cannot be read.

    >>> rules = IgnoreRules(["*.log", "!keep.log", "build/"])
    >>> rules.is_ignored("a/b.log"), rules.is_ignored("keep.log"), rules.is_ignored("build", is_folder=True)
    (True, False, True)
    """

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._first = _parse_rules(lines)
        self._by_folder: dict[str, list[_Rule]] = {}

    def add_file(self, folder: str, text: str) -> None:
        """Add the rules of the ``.gitignore`` of a folder, "" for the top.

        Raises:
            BadRules: A line cannot be read.
        """
        lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]
        self._by_folder[folder] = _parse_rules(lines)

    def is_ignored(self, path: str, *, is_folder: bool = False) -> bool:
        """Return whether a file, or a folder itself, is ignored; nothing above it may be."""
        names = path.split("/")
        decision = _decide(self._first, names, is_folder=is_folder)
        if decision is not None:
            return decision
        if not self._by_folder:
            return False
        for depth in reversed(range(len(names))):
            rules = self._by_folder.get("/".join(names[:depth]), [])
            decision = _decide(rules, names[depth:], is_folder=is_folder)
            if decision is not None:
                return decision
        return False


@dataclass(frozen=True, slots=True)
class _Rule:
    """A line of a ``.gitignore``.

    Attributes:
        name: The pattern of a rule without a slash, which holds for names at any depth; None: the rule has parts.
        parts: The pattern of a rule with a slash, which holds for paths relative to its folder.
        is_negated: The rule includes again what others ignore.
        is_for_folders: It ends with a slash.
    """

    name: re.Pattern[str] | None
    parts: Parts
    is_negated: bool
    is_for_folders: bool

    def matches(self, names: list[str], *, is_folder: bool) -> bool:
        """Return whether the rule is about a path, and not only about a folder above it."""
        if self.is_for_folders and not is_folder:
            return False
        if self.name is not None:
            return self.name.match(names[-1]) is not None
        return len(names) in match_lengths(self.parts, names)


def _decide(rules: list[_Rule], names: list[str], *, is_folder: bool) -> bool | None:
    """Return whether rules ignore a path (True), take it back (False), or have nothing about it (None)."""
    for rule in reversed(rules):
        if rule.matches(names, is_folder=is_folder):
            return not rule.is_negated
    return None


def _parse_rules(lines: Iterable[str]) -> list[_Rule]:
    """Return the rules of lines; empty lines and comments have none.

    Raises:
        BadRules: A line cannot be read, or there are too many.
    """
    rules = []
    for number, line in enumerate(lines, start=1):
        if number > MAX_RULES:
            raise BadRules(f"expected at most {MAX_RULES:,} lines, got more")
        if line.startswith("#"):
            continue
        try:
            rule = _parse_rule(line)
        except BadPattern as error:
            raise BadRules(f"line {number} cannot be used as a rule: {error}") from None
        if rule is not None:
            rules.append(rule)
    return rules


def _parse_rule(line: str) -> _Rule | None:
    """Return the rule of a line; None if nothing is left of it.

    Raises:
        BadPattern: It has a bracket that is not closed, or one that Python reads in another way than git.
    """
    pattern = _strip_spaces(line)
    is_negated = pattern.startswith("!")
    pattern = pattern.removeprefix("!")
    is_for_folders = pattern.endswith("/")
    pattern = pattern.removesuffix("/")
    if not pattern:
        return None
    pattern = _ESCAPE_OR_BRACKETS.sub(_convert_for_python, pattern)
    if "/" not in pattern:
        return _Rule(compile_name(pattern), (), is_negated, is_for_folders)
    parts = compile_parts(pattern.removeprefix("/").split("/"))
    return _Rule(None, parts, is_negated, is_for_folders)


def _strip_spaces(line: str) -> str:
    r"""Return a line without the spaces at its end, unless the first of them is escaped.

    >>> _strip_spaces("a b  "), _strip_spaces("a\\  ")
    ('a b', 'a\\ ')
    """
    spaces = _TRAILING_SPACES.search(line)
    if spaces is None:
        return line
    before = line[: spaces.start()]
    backslashes = len(before) - len(before.rstrip("\\"))
    if backslashes % 2:
        before += " "
    return before


def _convert_for_python(match: re.Match[str]) -> str:
    r"""Return an escape or a pair of brackets in the form of `fnmatch`, where brackets escape a character.

    A ``\`` at the end of a rule becomes a pattern without a match, as in git.

    Raises:
        BadPattern: The brackets have something in them that `fnmatch` reads in another way than git.
    """
    brackets: str | None = match["brackets"]
    if brackets is not None:
        if "[:" in brackets or "\\" in brackets:
            raise BadPattern(r"a bracket with [: or \ in it: list the characters themselves")
        return brackets
    char: str = match["char"]
    if not char:
        return "[!\0-\U0010ffff]"
    if char in "*?[":
        return f"[{char}]"
    return char
