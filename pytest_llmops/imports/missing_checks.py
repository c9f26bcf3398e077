"""Describe assertions that are not carried: the reason of a skipped test, and its comments."""

from collections.abc import Iterable, Sequence

from pytest_llmops.imports.python_code import format_code_comment, format_comment
from pytest_llmops.imports.suite import Place
from pytest_llmops.imports.test_functions import MissingCheck, TestGroup
from pytest_llmops.measurement import shorten_text

MAX_PLACES = 2  # of the same assertion, in the reason of a skipped test
MAX_COMMENT_PLACES = 12  # in its comments
MAX_WHAT = 50  # characters of an assertion, in the reason of a skipped test
MAX_OBSTACLES = 10  # comments on tests that cannot run
MAX_BEGIN = 20  # characters by which the begin of a code is recognized
MAX_CODE_LINES = 30  # of an assertion, in a comment


def describe_missing(entries: Sequence[MissingCheck]) -> str:
    """Return why a function is skipped: the places, their assertions, and why these are not carried."""
    first = entries[0].reason
    whats = {entry.reason.what for entry in entries}
    what = entries[0].assertion.name
    if len(whats) == 1:
        what = _shorten_what(what, first.what)
    places = join_places((entry.assertion.place for entry in entries), MAX_PLACES)
    if entries[0].assertion.is_shared:
        what += " (of all tests)"
    return f"{places}: {what}: {first.why}"


def _shorten_what(name: str, what: str) -> str:
    """Return an assertion for the reason of a skipped test, whose comments have it whole: of a path the last part, of code nothing.

    >>> _shorten_what("javascript", "javascript file://evals/checks/length.js")
    'javascript length.js'
    >>> _shorten_what("javascript", "javascript const data = JSON.parse(output); return data.items.length")
    'javascript'
    """
    value = what.removeprefix(f"{name} ")
    if value.startswith("file://"):
        value = value.replace("\\", "/").rsplit("/", 1)[-1]
    short = f"{name} {value}"
    if what == name or len(short) > MAX_WHAT:
        return name
    return short


def join_places(places: Iterable[Place], limit: int | None = None) -> str:
    """Return places with the name of each file once, and the number of those above a limit.

    >>> join_places([Place("a.yaml", 3), Place("a.yaml", 7), Place("b.yaml")])
    'a.yaml:3, 7; b.yaml'
    """
    different = list(dict.fromkeys(places))
    lines: dict[str, list[str]] = {}
    for place in different[:limit]:
        numbers = lines.setdefault(place.file, [])
        if place.line:
            numbers.append(str(place.line))
    texts = []
    for file, numbers in lines.items():
        if numbers:
            texts.append(f"{file}:{', '.join(numbers)}")
        else:
            texts.append(file)
    text = "; ".join(texts)
    rest = len(different) - len(different[:limit])
    if rest:
        text += f" and {rest} more"
    return text


def comment_missing(entries: Sequence[MissingCheck], indent: str) -> list[str]:
    """Return what assertions were, as comments: each that differs with its place and its case."""
    lines: list[str] = []
    name = entries[0].assertion.name
    seen: dict[tuple[str, tuple[str, ...]], list[MissingCheck]] = {}
    for entry in entries:
        seen.setdefault((entry.reason.what, entry.reason.code), []).append(entry)
    for (what, code), alike in seen.items():
        place = join_places((entry.assertion.place for entry in alike), MAX_COMMENT_PLACES)
        cases = list(dict.fromkeys(entry.case for entry in alike))
        where = place
        if len(seen) > 1 and len(cases) == 1:
            where = f"{place} ({cases[0]})"
        title = what
        begin = what.removeprefix(f"{name} ")[:MAX_BEGIN]
        if " ".join(" ".join(code).split()).startswith(begin):
            title = name  # the rest is in the lines below
        lines += format_comment(f"{where}: {shorten_text(title)}", indent)
        lines += format_code_comment(code[:MAX_CODE_LINES], indent)
        if len(code) > MAX_CODE_LINES:
            lines += format_comment(f"  ... {len(code) - MAX_CODE_LINES} more lines", indent)
    return lines


def describe_obstacles(group: TestGroup) -> str:
    """Return why the tests of a function cannot run: of several reasons the first."""
    reasons = dict.fromkeys(test.obstacle for test, _ in group.tests)
    first, *others = reasons
    places = join_places((test.place for test, _ in group.tests), MAX_PLACES)
    if others:
        return f"{places}: {first}; see the other reasons below"
    return f"{places}: {first}"


def comment_obstacles(group: TestGroup, indent: str) -> list[str]:
    """Return why each test cannot run, as comments, if their reasons differ."""
    reasons = {test.obstacle for test, _ in group.tests}
    if len(reasons) == 1:
        return []
    lines = []
    for test, _ in group.tests[:MAX_OBSTACLES]:
        lines += format_comment(f"{test.place} ({test.id}): {shorten_text(test.obstacle)}", indent)
    rest = len(group.tests) - MAX_OBSTACLES
    if rest > 0:
        lines += format_comment(f"... {rest} more", indent)
    return lines


def choose_missing(groups: Sequence[TestGroup]) -> list[list[list[MissingCheck]]]:
    """Return for each function the kinds of assertions that a skipped function is written for, after it.

    What all tests of the suite have is written once, after the largest function, and wherever a case would be in no function.
    """
    largest: dict[str, TestGroup] = {}
    for group in groups:
        for kind in group.missing:
            if kind not in largest or len(group.tests) > len(largest[kind].tests):
                largest[kind] = group
    chosen = []
    for group in groups:
        own = [entries for entries in group.missing.values() if not entries[0].assertion.is_shared]
        is_written = bool(group.lines or own)
        for kind, entries in group.missing.items():
            if entries[0].assertion.is_shared and (largest[kind] is group or not is_written):
                own.append(entries)
        chosen.append(own)
    return chosen
