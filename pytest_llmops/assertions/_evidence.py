"""What tells an answer from what was expected: the evidence below a failed text assertion.

All of it is ``(label, text)`` pairs for `pytest_llmops.recorder.emit`, which escapes and cuts the texts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import TypeAlias

from pytest_llmops.measurement import shorten
from pytest_llmops.metrics import lexical
from pytest_llmops.schemas.json_extraction import where

Evidence: TypeAlias = list[tuple[str, str]]

MAX_HINT_CHARS = 20_000
"""Characters of a text up to which other options are tried, to say which one would have done."""
MAX_MISSING = 20
"""Missing texts of which the nearest span is looked for."""
MAX_COMPARED = 2_000
"""Characters by which the nearest of several references is chosen."""
MAX_PLACES = 3
"""Places of one text that are listed."""
MIN_PLAIN = 4
"""Characters of plain text in a pattern that are looked for."""
MIN_ALIKE = 0.5
"""Below that a nearest span is an accident of letters."""
QUOTED = 60
LINE = 160
"""Characters of a text that has a line of its own; the report has all of it."""
BEFORE = 20
"""Characters of a text that are shown in front of a difference."""


_NO_PLAIN_TEXT = re.compile(r"\\.|\[[^\]]*\]|\(\?[^)]*\)?|[.^$*+?{}()|\n]")


def absent(
    text: str, missing: Sequence[str], *, ignore_case: bool = False, whole_words: bool = False
) -> Evidence:
    """Return what an answer has instead of each missing text, and how it begins.

    >>> absent("within 60 days.", ["30 days"])[0]
    ('missing', '"30 days" | nearest "60 days." at line 1, column 8, 0.86 alike')
    """
    pairs = [
        ("missing", f"{quoted(one)}{_instead(text, one, ignore_case=ignore_case, whole_words=whole_words)}")
        for one in missing[:MAX_MISSING]
    ]
    if len(missing) > MAX_MISSING:
        pairs.append(("missing", f"and {len(missing) - MAX_MISSING:,} more texts"))
    return [*pairs, ("answer", answer(text))]


def _instead(text: str, missing: str, *, ignore_case: bool, whole_words: bool) -> str:
    if whole_words and (longer := _within_a_word(text, missing)):
        return longer
    if not ignore_case and missing.casefold() in text.casefold():
        return " | there with ignore_case=True"
    if " ".join(missing.split()) in " ".join(text.split()):
        return " | there if runs of whitespace count as one space"
    if hint := _there_in_another_form(text, missing):
        return hint
    near = lexical.nearest(text, missing)
    if near is None or near.score < MIN_ALIKE:
        return ""
    return f" | nearest {quoted(near.text)} at {where(text, near.start)}, {near.score:.2f} alike"


def _within_a_word(text: str, missing: str) -> str:
    start = text.find(missing)
    if start < 0:
        return ""
    end = start + len(missing)
    before, behind = text[max(0, start - BEFORE) : start], text[end : end + BEFORE]
    head, tail = re.search(r"\S*\Z", before), re.match(r"\S*", behind)
    longer = f"{head[0] if head else ''}{missing}{tail[0] if tail else ''}"
    return f" | there only within {quoted(longer)} at {where(text, start)}"


def _there_in_another_form(text: str, missing: str) -> str:
    if len(text) > MAX_HINT_CHARS or (text.isascii() and missing.isascii()):
        return ""
    try:
        for form in ("NFC", "NFKC"):
            if lexical.normalise(missing, unicode=form) in lexical.normalise(text, unicode=form):
                return f' | there with unicode="{form}"'
    except ValueError:  # texts that cannot be normalised
        pass
    return ""


def elsewhere(text: str, wanted: str, places: Sequence[tuple[int, int]], what: str) -> str:
    """Return that a text is there, yet not as it should be.

    >>> elsewhere("a b a", "a", [(0, 1), (4, 5)], "expected exactly 1 time, got 2")
    '"a" | expected exactly 1 time, got 2: at line 1, column 1; at line 1, column 5'
    """
    shown = "; ".join(f"at {where(text, start)}" for start, _ in places[:MAX_PLACES])
    return f"{quoted(wanted)} | {what}: {shown}{'; ...' if len(places) > MAX_PLACES else ''}"


def present(text: str, label: str, found: Sequence[tuple[str, Sequence[tuple[int, int]], int]]) -> Evidence:
    """Return where an answer has what it should not have, each with some of the text around it.

    Args:
        text: The answer.
        label: Of the lines.
        found: What, the first of its places, and how often it is there in all.

    >>> present("My password is hunter2.", "unwanted", [("password", [(3, 11)], 1)])[0]
    ('unwanted', '"password" at line 1, column 4: "My >>>password<<< is hunter2."')
    """
    pairs = []
    for what, places, count in found[:MAX_MISSING]:
        start, end = places[0]
        often = f", {count:,} times in all" if count > 1 else ""
        pairs.append((label, f"{quoted(what)} at {where(text, start)}{often}: {_around(text, start, end)}"))
    if len(found) > MAX_MISSING:
        pairs.append((label, f"and {len(found) - MAX_MISSING:,} more texts"))
    return [*pairs, ("answer", answer(text))]


def _around(text: str, start: int, end: int) -> str:
    before, behind = text[max(0, start - BEFORE) : start], text[end : end + BEFORE]
    head, tail = "..." if start > BEFORE else "", "..." if len(text) > end + BEFORE else ""
    return quoted(f"{head}{before}>>>{text[start:end][:QUOTED]}<<<{behind}{tail}", LINE)


def unmatched(text: str, pattern: re.Pattern[str], *, full: bool = False) -> Evidence:
    """Return the pattern, how far it got, and with which flag it would have matched.

    >>> unmatched("Yes.", re.compile("yes"))[1]
    ('hint', 'matches with re.IGNORECASE')
    """
    pairs = [("pattern", pattern.pattern)]
    if full and (found := pattern.search(text)):
        start, end = where(text, found.start()), where(text, found.end())
        pairs.append(("matches", f"only a part, from {start} to {end}: {quoted(found[0])}"))
    pairs += [
        ("hint", f"matches with re.{name}")
        for name in ("IGNORECASE", "DOTALL", "MULTILINE")
        if len(text) <= MAX_HINT_CHARS and _with_flag(text, pattern, re.RegexFlag[name], full=full)
    ]
    if len(pairs) == 1 and (near := _nearest_to_pattern(text, pattern.pattern)):
        pairs.append(("nearest", near))
    return [*pairs, ("answer", answer(text))]


def _nearest_to_pattern(text: str, pattern: str) -> str:
    """Return what is nearest to those pieces of a pattern that are plain text."""
    plain = " ".join(_NO_PLAIN_TEXT.sub(" ", pattern).split())
    near = lexical.nearest(text, plain) if len(plain) >= MIN_PLAIN else None
    if near is None or near.score < MIN_ALIKE:
        return ""
    return f"{quoted(near.text)} at {where(text, near.start)}, {near.score:.2f} alike to {quoted(plain)} of the pattern"


def _with_flag(text: str, pattern: re.Pattern[str], flag: re.RegexFlag, *, full: bool) -> bool:
    if pattern.flags & flag:
        return False
    other = re.compile(pattern.pattern, (pattern.flags | flag) & ~re.DEBUG)
    return (other.fullmatch(text) if full else other.search(text)) is not None


def nearest_of(text: str, references: Sequence[str]) -> int:
    """Return the number of the reference that a text equals, or else is most alike to in its beginning.

    >>> nearest_of("30 days", ["a month", "60 days", "30 hours"])
    1
    """
    if text in references or len(references) == 1:
        return references.index(text) if text in references else 0
    begun = text[:MAX_COMPARED]
    alike = [lexical.fuzzy(begun, one[:MAX_COMPARED]) for one in references]
    return alike.index(max(alike))


def unlike(text: str, expected: str) -> Evidence:
    """Return the part of an answer nearest to a text, and the words in which they differ.

    >>> unlike("60 days", "30 days")[0]
    ('diff', '[-30-]{+60+} days')
    """
    near = lexical.nearest(text, expected)
    pairs: Evidence = []
    compared = text
    if near is not None and 2 * len(near.text) < len(text):
        compared = near.text
        pairs.append(("nearest", f"{quoted(near.text)} at {where(text, near.start)}, {near.score:.2f} alike"))
    if text:
        pairs.append(("diff", lexical.word_diff(compared, expected)))
    return [*pairs, ("expected", answer(expected)), ("answer", answer(text))]


def different(text: str, expected: str) -> Evidence:
    """Return where an answer first differs from a text, in which words, and which option would make them equal.

    >>> different("yes", "Yes")[0]
    ('differs at', 'line 1, column 1: expected "Y" (U+0059 LATIN CAPITAL LETTER Y), got "y" (U+0079 LATIN SMALL LETTER Y)')
    """
    at = lexical.first_difference(text, expected)
    if at is None:
        return []
    place = f"{where(expected, at)}: expected {character(expected, at)}, got {character(text, at)}"
    pairs = [("differs at", place), ("diff", lexical.word_diff(text, expected))]
    if hint := _hint(text, expected):
        pairs.append(("hint", f"equal with {hint}"))
    start = max(0, at - BEFORE)
    dots = "..." if start else ""
    pairs.append(("expected", f"{dots}{answer(expected[start:])}"))
    pairs.append(("answer", f"{dots}{answer(text[start:])}"))
    return pairs


_OPTIONS: dict[str, Callable[[str], str]] = {
    "ignore_case=True": lambda text: lexical.normalise(text, case="fold"),
    'whitespace="strip"': lambda text: lexical.normalise(text, whitespace="strip"),
    'whitespace="collapse"': lambda text: lexical.normalise(text, whitespace="collapse"),
    'unicode="NFC"': lambda text: lexical.normalise(text, unicode="NFC"),
    'unicode="NFKC"': lambda text: lexical.normalise(text, unicode="NFKC"),
    'ignore_case=True, whitespace="collapse", unicode="NFKC"': lambda text: lexical.normalise(
        text, case="fold", whitespace="collapse", unicode="NFKC"
    ),
}


def _hint(text: str, expected: str) -> str:
    if max(len(text), len(expected)) > MAX_HINT_CHARS:
        return ""
    try:
        return next((name for name, change in _OPTIONS.items() if change(text) == change(expected)), "")
    except ValueError:  # texts that cannot be normalised
        return ""


def character(text: str, at: int) -> str:
    r"""Return a character so that it cannot be mistaken for another one.

    >>> character("a\u00a0b", 1), character("a", 1)
    ('"\\xa0" (U+00A0 NO-BREAK SPACE)', 'the end of the text')
    """
    if at >= len(text):
        return "the end of the text"
    one = text[at]
    name = unicodedata.name(one, "")
    return f"{quoted(one)} (U+{ord(one):04X}{' ' if name else ''}{name})"


def quoted(text: str, limit: int = QUOTED) -> str:
    r"""Return a text in quotes, in one line, cut.

    >>> quoted("two\nlines")
    '"two\\nlines"'
    """
    return f'"{shorten(text, limit)}"'


def answer(text: str) -> str:
    """Return a text for a line of its own: one sees that it is empty, or ends with a blank.

    >>> answer(""), answer("a ")
    ('(empty)', '"a "')
    """
    return quoted(text, LINE) if text else "(empty)"
