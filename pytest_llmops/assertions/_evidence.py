"""Evidence for failed text assertions: how an answer differs from the expectation.

Evidence is ``(label, text)`` pairs for `pytest_llmops.recorder.emit`, which escapes and truncates the texts.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from pytest_llmops._util.differences import diff_answers
from pytest_llmops.measurement import shorten_text
from pytest_llmops.metrics import lexical
from pytest_llmops.schemas.json_extraction import format_position

Evidence: TypeAlias = list[tuple[str, str]]

# Maximum length of a text for which other options are tried, to name an option that helps
MAX_HINT_CHARS = 20_000
MAX_LISTED_TEXTS = 20  # maximum number of missing texts that are listed with their nearest span
MAX_COMPARED_CHARS = 2_000  # length of the beginnings that are compared to choose the nearest reference
MAX_LISTED_PLACES = 3  # maximum number of places of a text that are listed
MIN_PLAIN_CHARS = 4  # minimum length of the plain text of a pattern that is searched for
MIN_SIMILARITY = 0.5  # below this score a nearest span is accidental
MAX_QUOTED_CHARS = 60
MAX_EVIDENCE_CHARS = 200  # maximum length of a text that is evidence by itself
MAX_LINE_CHARS = 160  # maximum length of a text on its own line; the report has all of it
CONTEXT_CHARS = 20  # length of the text that is shown around a match or before a difference


_REGEX_SYNTAX = re.compile(r"\\.|\[[^\]]{0,200}\]|\(\?[^)]{0,200}\)?|[.^$*+?{}()|\n]")


def missing_text_evidence(
    text: str, missing: Sequence[str], *, ignore_case: bool = False, whole_words: bool = False
) -> Evidence:
    """Return a line for each missing text with the most similar part of the answer; the answer itself is the last line.

    >>> missing_text_evidence("within 60 days.", ["30 days"])[0]
    ('missing', '"30 days" | nearest "60 days." at line 1, column 8, 0.86 alike')
    """
    pairs = []
    for missing_text in missing[:MAX_LISTED_TEXTS]:
        hint = _explain_missing_text(text, missing_text, ignore_case=ignore_case, whole_words=whole_words)
        pairs.append(("missing", f"{quote_text(missing_text)}{hint}"))
    not_listed = len(missing) - MAX_LISTED_TEXTS
    if not_listed > 0:
        pairs.append(("missing", f"and {not_listed:,} more texts"))
    return [*pairs, ("answer", format_answer(text))]


def _explain_missing_text(text: str, missing: str, *, ignore_case: bool, whole_words: bool) -> str:
    """Return the option with which a text would be found, or else the most similar part of the answer; "" if neither."""
    if whole_words:
        part_of_word = _explain_part_of_word(text, missing)
        if part_of_word:
            return part_of_word
    if not ignore_case and missing.casefold() in text.casefold():
        return " | there with ignore_case=True"
    spaced_missing = " ".join(missing.split())
    spaced_text = " ".join(text.split())
    if spaced_missing in spaced_text:
        return " | there if runs of whitespace count as one space"
    hint = _explain_unicode_form(text, missing)
    if hint:
        return hint
    near = lexical.find_nearest_span(text, missing)
    if near is None or near.score < MIN_SIMILARITY:
        return ""
    return f" | nearest {_describe_near_span(text, near)}"


def _describe_near_span(text: str, near: lexical.ScoredSpan) -> str:
    quoted = quote_text(near.text)
    place = format_position(text, near.start)
    return f"{quoted} at {place}, {near.score:.2f} alike"


def _explain_part_of_word(text: str, missing: str) -> str:
    """Return the longer word that contains a text; "" if the text is nowhere."""
    start = text.find(missing)
    if start < 0:
        return ""
    end = start + len(missing)
    before = text[max(0, start - CONTEXT_CHARS) : start]
    behind = text[end : end + CONTEXT_CHARS]
    # Both patterns always match, if only nothing.
    head = re.findall(r"\S*\Z", before)[0]
    tail = re.findall(r"\A\S*", behind)[0]
    longer = f"{head}{missing}{tail}"
    return f" | there only within {quote_text(longer)} at {format_position(text, start)}"


def _explain_unicode_form(text: str, missing: str) -> str:
    """Return the Unicode form with which a text would be found; "" if none helps, or the answer is too long to try."""
    if len(text) > MAX_HINT_CHARS or (text.isascii() and missing.isascii()):
        return ""
    try:
        for form in ("NFC", "NFKC"):
            if lexical.normalize_text(missing, unicode=form) in lexical.normalize_text(text, unicode=form):
                return f' | there with unicode="{form}"'
    except ValueError:  # texts that cannot be normalized
        pass
    return ""


def describe_places(text: str, wanted: str, places: Sequence[tuple[int, int]], what: str) -> str:
    """Return a line about a text that is in the answer, but not as required; it lists the first places.

    >>> describe_places("a b a", "a", [(0, 1), (4, 5)], "expected exactly 1 time, got 2")
    '"a" | expected exactly 1 time, got 2: at line 1, column 1; at line 1, column 5'
    """
    listed = []
    for start, _ in places[:MAX_LISTED_PLACES]:
        listed.append(f"at {format_position(text, start)}")
    if len(places) > MAX_LISTED_PLACES:
        listed.append("...")
    places_text = "; ".join(listed)
    return f"{quote_text(wanted)} | {what}: {places_text}"


def unwanted_text_evidence(
    text: str, label: str, matches: Sequence[tuple[str, Sequence[tuple[int, int]], int]]
) -> Evidence:
    """Return a line for each unwanted text, with its first place and the text around it; the answer is the last line.

    Args:
        text: The answer.
        label: The label of the lines.
        matches: For each unwanted text: the text, its first places (at least one), and the number of all places.

    >>> unwanted_text_evidence("My password is hunter2.", "unwanted", [("password", [(3, 11)], 1)])[0]
    ('unwanted', '"password" at line 1, column 4: "My >>>password<<< is hunter2."')
    """
    pairs = []
    for what, places, count in matches[:MAX_LISTED_TEXTS]:
        start, end = places[0]
        place = f"{quote_text(what)} at {format_position(text, start)}"
        if count > 1:
            place += f", {count:,} times in all"
        marked = quote_text(_mark_place(text, start, end), MAX_LINE_CHARS)
        pairs.append((label, f"{place}: {marked}"))
    rest = len(matches) - MAX_LISTED_TEXTS
    if rest > 0:
        pairs += [(label, f"and {rest:,} more texts")]
    return [*pairs, ("answer", format_answer(text))]


def _mark_place(text: str, start: int, end: int) -> str:
    """Return a place of a text between marks, with some of the text around it."""
    before = text[max(0, start - CONTEXT_CHARS) : start]
    if start > CONTEXT_CHARS:
        before = f"...{before}"
    behind = text[end : end + CONTEXT_CHARS]
    if len(text) > end + CONTEXT_CHARS:
        behind += "..."
    marked = text[start:end][:MAX_QUOTED_CHARS]
    return f"{before}>>>{marked}<<<{behind}"


def unmatched_pattern_evidence(text: str, pattern: re.Pattern[str], *, full: bool = False) -> Evidence:
    """Return lines with the pattern, the part it matches (with ``full``), and the flag with which it would match.

    Without such a hint there is a line with the part of the answer most similar to the plain words in the pattern.

    >>> unmatched_pattern_evidence("Yes.", re.compile("yes"))[1]
    ('hint', 'matches with re.IGNORECASE')
    """
    pairs = [("pattern", pattern.pattern)]
    part = None
    if full:
        part = pattern.search(text)
    if part:
        start = format_position(text, part.start())
        end = format_position(text, part.end())
        quoted = quote_text(part[0])
        pairs.append(("matches", f"only a part, from {start} to {end}: {quoted}"))
    for flag in (re.IGNORECASE, re.DOTALL, re.MULTILINE):
        if len(text) > MAX_HINT_CHARS or pattern.flags & flag:
            continue
        flags = (pattern.flags | flag) & ~re.DEBUG
        other = re.compile(pattern.pattern, flags)
        if full:
            match = other.fullmatch(text)
        else:
            match = other.search(text)
        if match is not None:
            pairs.append(("hint", f"matches with re.{flag.name}"))
    has_no_hint = len(pairs) == 1
    if has_no_hint:
        nearest = _find_nearest_to_pattern(text, pattern.pattern)
        if nearest:
            pairs.append(("nearest", nearest))
    return [*pairs, ("answer", format_answer(text))]


def match_count_evidence(
    text: str, pattern: re.Pattern[str], spans: Sequence[tuple[int, int]], expected: str
) -> Evidence:
    """Return the first matches of a pattern that matches too rarely or too often.

    >>> match_count_evidence("a b a", re.compile("a"), [(0, 1), (4, 5)], "exactly 1 time")[0][1]
    '"a" | expected exactly 1 time, got 2: at line 1, column 1; at line 1, column 5'
    """
    if not spans:
        return unmatched_pattern_evidence(text, pattern)
    problem = f"expected {expected}, got {len(spans):,}"
    places = describe_places(text, pattern.pattern, spans, problem)
    return [("count", places), ("answer", format_answer(text))]


def unwanted_match_evidence(
    text: str, pattern: re.Pattern[str], spans: Sequence[tuple[int, int]], count: int
) -> Evidence:
    """Return the pattern and the first match of a pattern that should not match; ``spans`` has at least one match.

    >>> unwanted_match_evidence("a b", re.compile("a"), [(0, 1)], 1)[1]
    ('matches', '"a" at line 1, column 1: ">>>a<<< b"')
    """
    start, end = spans[0]
    first_match = text[start:end]
    matches = unwanted_text_evidence(text, "matches", [(first_match, spans, count)])
    return [("pattern", pattern.pattern), *matches]


def _find_nearest_to_pattern(text: str, pattern: str) -> str:
    """Describe the part of a text that is most like the plain text in a pattern."""
    plain = " ".join(_REGEX_SYNTAX.sub(" ", pattern).split())
    if len(plain) < MIN_PLAIN_CHARS:
        return ""
    near = lexical.find_nearest_span(text, plain)
    if near is None or near.score < MIN_SIMILARITY:
        return ""
    return f"{_describe_near_span(text, near)} to {quote_text(plain)} of the pattern"


def find_nearest_reference(text: str, references: Sequence[str]) -> int:
    """Return the index of the reference that equals a text, else of the one with the most similar beginning.

    >>> find_nearest_reference("30 days", ["a month", "60 days", "30 hours"])
    1
    """
    if text in references:
        return references.index(text)
    if len(references) == 1:
        return 0
    beginning = text[:MAX_COMPARED_CHARS]
    similarities = [
        lexical.fuzzy_ratio(beginning, reference[:MAX_COMPARED_CHARS]) for reference in references
    ]
    return similarities.index(max(similarities))


def fuzzy_evidence(text: str, expected: str) -> Evidence:
    """Return the words in which an answer differs from a text; of a long answer only the nearest part is compared.

    >>> fuzzy_evidence("60 days", "30 days")[0]
    ('diff', '[-30-]{+60+} days')
    >>> [label for label, _ in fuzzy_evidence("I cannot say.", "30 days")]
    ['nearest', 'expected', 'answer']
    """
    near = lexical.find_nearest_span(text, expected)
    pairs: Evidence = []
    compared = text
    if near is not None and 2 * len(near.text) < len(text):
        compared = near.text
        pairs.append(("nearest", _describe_near_span(text, near)))
    pairs += _show_difference(compared, expected)
    return [*pairs, ("expected", format_answer(expected)), ("answer", format_answer(text))]


def _show_difference(text: str, expected: str) -> Evidence:
    """Return the words that differ; nothing where few words are the same, so that both texts are easier to read than their mixture."""
    if diff_answers(expected, text) is None:
        return []
    return [("diff", lexical.format_word_diff(text, expected))]


def exact_evidence(text: str, expected: str) -> Evidence:
    """Return the first different character, the different words, and the option that would make both texts equal.

    Equal texts have no evidence.

    >>> exact_evidence("yes", "Yes")[0]
    ('differs at', 'line 1, column 1: expected "Y" (U+0059 LATIN CAPITAL LETTER Y), got "y" (U+0079 LATIN SMALL LETTER Y)')
    """
    at = lexical.first_difference(text, expected)
    if at is None:
        return []
    wanted = describe_character(expected, at)
    given = describe_character(text, at)
    position = format_position(expected, at)
    pairs = [("differs at", f"{position}: expected {wanted}, got {given}"), *_show_difference(text, expected)]
    option = _find_equalizing_option(text, expected)
    if option:
        pairs.append(("hint", f"equal with {option}"))
    start = max(0, at - CONTEXT_CHARS)
    dots = ""
    if start:
        dots = "..."
    rest_of_expected = format_answer(expected[start:])
    rest_of_text = format_answer(text[start:])
    pairs.append(("expected", f"{dots}{rest_of_expected}"))
    pairs.append(("answer", f"{dots}{rest_of_text}"))
    return pairs


_NORMALIZER_OPTIONS: dict[str, Callable[[str], str]] = {
    "ignore_case=True": partial(lexical.normalize_text, case="fold"),
    'whitespace="strip"': partial(lexical.normalize_text, whitespace="strip"),
    'whitespace="collapse"': partial(lexical.normalize_text, whitespace="collapse"),
    'unicode="NFC"': partial(lexical.normalize_text, unicode="NFC"),
    'unicode="NFKC"': partial(lexical.normalize_text, unicode="NFKC"),
    'ignore_case=True, whitespace="collapse", unicode="NFKC"': partial(
        lexical.normalize_text, case="fold", whitespace="collapse", unicode="NFKC"
    ),
}


def _find_equalizing_option(text: str, expected: str) -> str:
    """Return the first option that makes two texts equal; "" if none does, or they are too long to try."""
    if max(len(text), len(expected)) > MAX_HINT_CHARS:
        return ""
    try:
        for option, normalize in _NORMALIZER_OPTIONS.items():
            if normalize(text) == normalize(expected):
                return option
    except ValueError:  # texts that cannot be normalized
        pass
    return ""


def describe_character(text: str, at: int) -> str:
    r"""Return a character with its code point and name.

    >>> describe_character("a\u00a0b", 1), describe_character("a", 1)
    ('"\\xa0" (U+00A0 NO-BREAK SPACE)', 'the end of the text')
    """
    if at >= len(text):
        return "the end of the text"
    char = text[at]
    name = unicodedata.name(char, "")
    code_point = f"U+{ord(char):04X} {name}".rstrip()
    return f"{quote_text(char)} ({code_point})"


def quote_text(text: str, limit: int = MAX_QUOTED_CHARS) -> str:
    r"""Return a text in quotes, on a single line and truncated.

    >>> quote_text("two\nlines")
    '"two\\nlines"'
    """
    return f'"{shorten_text(text, limit)}"'


def format_answer(text: str) -> str:
    """Return a text for its own line, so that an empty text and a blank at the end are visible.

    >>> format_answer(""), format_answer("a ")
    ('(empty)', '"a "')
    """
    if text:
        return quote_text(text, MAX_LINE_CHARS)
    return "(empty)"
