"""What a written module says of assertions that it does not carry: the reason of a skipped test, and its comments."""

from collections.abc import Iterable, Sequence

from pytest_llmops.imports.python_code import format_code_comment, format_comment
from pytest_llmops.imports.suite import Place
from pytest_llmops.imports.test_functions import MissingCheck
from pytest_llmops.measurement import shorten_text

MAX_PLACES = 3  # of the same assertion, in the reason of a skipped test; its comments have them all
MAX_CODE_LINES = 30  # of an assertion, in a comment


def describe_missing(entries: Sequence[MissingCheck]) -> str:
    """Return why a function is skipped: the places, what they have, and why it is not carried."""
    first = entries[0].reason
    whats = dict.fromkeys(entry.reason.what for entry in entries)
    what = first.noun
    if len(whats) == 1:
        what = first.what
    places = join_places(dict.fromkeys(entry.assertion.place for entry in entries))
    return f"{places}: {shorten_text(what, 120)}: {first.why}"


def join_places(places: Iterable[Place]) -> str:
    """Return the first places, and the number of the others."""
    listed = list(map(str, places))
    text = ", ".join(listed[:MAX_PLACES])
    rest = len(listed) - MAX_PLACES
    if rest > 0:
        text += f" and {rest} more"
    return text


def comment_missing(entries: Sequence[MissingCheck], indent: str) -> list[str]:
    """Return what assertions were, as comments: each that differs with its place and its case."""
    lines: list[str] = []
    seen: dict[tuple[str, tuple[str, ...]], list[MissingCheck]] = {}
    for entry in entries:
        seen.setdefault((entry.reason.what, entry.reason.code), []).append(entry)
    for (what, code), alike in seen.items():
        place = join_places(dict.fromkeys(entry.assertion.place for entry in alike))
        cases = list(dict.fromkeys(entry.case for entry in alike))
        where = place
        if len(seen) > 1 and len(cases) == 1:
            where = f"{place} ({cases[0]})"
        lines += format_comment(f"{where}: {shorten_text(what)}", indent)
        lines += format_code_comment(code[:MAX_CODE_LINES], indent)
        if len(code) > MAX_CODE_LINES:
            lines += format_comment(f"  ... {len(code) - MAX_CODE_LINES} more lines", indent)
    return lines
