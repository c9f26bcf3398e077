"""When each rule of a file was last changed, by ``git blame``."""

import datetime as dt
import re
from dataclasses import dataclass
from typing import TypeAlias

from pytest_llmops._util.git import run_git
from pytest_llmops.ledger.model import Document

NOT_COMMITTED = "not committed"
SHORT_COMMIT = 8
# The line of ``--porcelain`` that begins an entry: commit, line in it, line now
_ENTRY = re.compile(r"(\^?[0-9a-f]{40,64}) \d+ (\d+)(?: \d+)?")
_NO_COMMIT = re.compile(r"0+")

DayAndCommit: TypeAlias = tuple[str, str]


@dataclass(slots=True)
class _Commit:
    """Facts about a commit: its time, and whether a shallow clone begins with it, so that lines of it may be older."""

    time: int = 0
    is_boundary: bool = False


def date_rules(document: Document) -> dict[int, DayAndCommit]:
    """Return for each rule the day and the short hash of the newest commit among its lines.

    The day is the author's (``2026-11-02``). A rule with a line that is not committed has ``("not committed", "")``; one of which the
    commit is not known, because the file is not in git or a shallow clone lacks its history, has ``("", "")``.

    Args:
        document: The document; its text has to equal the file's.
    """
    nothing = dict.fromkeys((rule.number for rule in document.rules), ("", ""))
    path = document.path.resolve()
    if not path.parent.is_dir():
        return nothing
    blamed = run_git(path.parent, "blame", "--porcelain", "--", path.name)
    shallow = run_git(path.parent, "rev-parse", "--is-shallow-repository")
    if isinstance(blamed, str) or isinstance(shallow, str):
        return nothing
    lines, commits = _read_porcelain(blamed.decode("utf-8", "replace"))
    is_shallow = shallow.strip() == b"true"
    dates = {}
    for rule in document.rules:
        names = {lines[number] for number in range(rule.first_line, rule.last_line + 1) if number in lines}
        dates[rule.number] = _date_commits({name: commits[name] for name in names}, is_shallow=is_shallow)
    return dates


def _date_commits(commits: dict[str, _Commit], *, is_shallow: bool) -> DayAndCommit:
    """Return day and hash of the newest of some commits."""
    if not commits:
        return "", ""
    if any(_NO_COMMIT.fullmatch(name) for name in commits):
        return NOT_COMMITTED, ""
    newest = max(commits, key=lambda name: (commits[name].time, name))
    if is_shallow and commits[newest].is_boundary:
        return "", ""
    day = dt.datetime.fromtimestamp(commits[newest].time, tz=dt.UTC).date().isoformat()
    return day, newest[:SHORT_COMMIT]


def _read_porcelain(text: str) -> tuple[dict[int, str], dict[str, _Commit]]:
    """Return the commit of each line of the file, and the commits."""
    lines: dict[int, str] = {}
    commits: dict[str, _Commit] = {}
    name = ""
    for line in text.split("\n"):
        entry = _ENTRY.fullmatch(line)
        if line.startswith("\t"):  # the line of the file itself
            continue
        if entry:
            name = entry[1].lstrip("^")
            lines[int(entry[2])] = name
            commits.setdefault(name, _Commit())
        elif name and line.startswith("author-time "):
            commits[name].time = int(line.removeprefix("author-time "))
        elif name and line == "boundary":
            commits[name].is_boundary = True
    return lines, commits
