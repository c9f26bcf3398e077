"""Numerals: digits with any separators, mixed numbers, long codes, and number words as digits."""

import re
from functools import cache, lru_cache
from typing import NamedTuple

from pytest_llmops.semantics.checks.quantities.facts import (
    BARE_NUMBER,
    UNIT,
    Fact,
    Reading,
    build_fact,
    lookup_unit,
    normalize_unit,
)

# Number words that are left where the others have become digits
SCALES = {
    "one": 1,
    "zero": 0,
    "hundred": 100,
    "thousand": 1e3,
    "million": 1e6,
    "billion": 1e9,
    "trillion": 1e12,
    "dozen": 12,
}
ORDINALS = {
    word: number
    for number, word in enumerate(
        [
            "first",
            "second",
            "third",
            "fourth",
            "fifth",
            "sixth",
            "seventh",
            "eighth",
            "ninth",
            "tenth",
            "eleventh",
            "twelfth",
            "thirteenth",
            "fourteenth",
            "fifteenth",
            "sixteenth",
            "seventeenth",
            "eighteenth",
            "nineteenth",
            "twentieth",
        ],
        start=1,
    )
} | {"thirtieth": 30}
FRACTION_PARTS = {
    "half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fifth": 5, "fifths": 5,
    "sixth": 6, "eighth": 8, "eighths": 8, "tenth": 10, "tenths": 10, "hundredth": 100,
}  # fmt: skip
MAGNITUDES = {
    "k": 1e3, "K": 1e3, "thousand": 1e3, "tsd": 1e3, "million": 1e6, "millions": 1e6, "mio": 1e6,
    "mn": 1e6, "millionen": 1e6, "millones": 1e6, "milioni": 1e6, "M": 1e6, "billion": 1e9, "billions": 1e9, "bn": 1e9,
    "B": 1e9, "mrd": 1e9, "milliarden": 1e9, "milliards": 1e9, "trillion": 1e12, "hundred": 1e2, "dozen": 12, "lakh": 1e5,
    "crore": 1e7, "万": 1e4, "萬": 1e4, "億": 1e8, "亿": 1e8, "千": 1e3, "百": 1e2, "тыс": 1e3, "млн": 1e6, "млрд": 1e9,
}  # fmt: skip

NUMBER_WORDS = "|".join(SCALES)
# A number in digits
NUMBER_DIGITS = (
    r"\d+(?:[.]\d+)?[eE][+-]?\d{1,2}(?!\w)|\d{1,3}(?:[ ']\d{3})+(?:[.,]\d+)?(?!\d)|\d+(?:[.,]\d+)*|[.]\d+"
)
MAX_DIGITS, GROUP_DIGITS = 300, 3


@lru_cache(maxsize=4096)
def read_digits(digits: str) -> tuple[float, ...]:
    """Return the numbers that digits with separators may mean; none for "2.3.1", which is no number.

    >>> read_digits("1.234,5"), read_digits("1.234"), read_digits("2.3.1")
    ((1234.5,), (1234.0, 1.234), ())
    """
    text = digits.replace(" ", "").replace("'", "")
    marks = [char for char in text if char in ".,"]
    if "e" in text.lower():
        return (float(text),)
    if len(digits) > MAX_DIGITS:
        return ()
    if not marks:
        return (float(text),)
    last_mark = marks[-1]
    whole, _, rest = text.rpartition(last_mark)
    if len(set(marks)) > 1:
        other_mark = next(mark for mark in marks if mark != last_mark)
        fits = marks.count(last_mark) == 1 and _is_grouped_by(whole, other_mark)
        if fits:
            return (float(f"{whole.replace(other_mark, '')}.{rest}"),)
        return ()
    if len(marks) > 1:
        if _is_grouped_by(text, last_mark):
            return (float(text.replace(last_mark, "")),)
        return ()
    decimal = float(f"{whole or 0}.{rest}")
    may_group = _is_grouped_by(text, last_mark) and whole[0] != "0" and text == digits
    if may_group:
        return (float(whole + rest), decimal)
    return (decimal,)


def _is_grouped_by(text: str, mark: str) -> bool:
    """The Indian way groups by two, but for the last three."""
    head, *groups = text.split(mark)
    return (
        1 <= len(head) <= GROUP_DIGITS
        and len(groups[-1]) == GROUP_DIGITS
        and all(len(group) in {2, GROUP_DIGITS} for group in groups)
    )


def parse_number(text: str) -> float:
    """Return the number of digits or of a word of `SCALES`.

    >>> parse_number("12"), parse_number("Hundred")
    (12.0, 100.0)
    """
    if text.isdigit():
        return float(text)
    return float(SCALES[text.lower()])


def parse_ordinal(text: str) -> int:
    """Return the number of an English ordinal in words; its tens are digits already.

    >>> parse_ordinal("20-first"), parse_ordinal("thirtieth")
    (21, 30)
    """
    tens, _, last = text.lower().rpartition("-")
    return ORDINALS[last] + int(tens or 0)


MIXED_NUMBER = re.compile(
    rf"(?i)\b(?P<whole>{NUMBER_WORDS}|\d{{1,6}})\s(?:and\s(?:an?|one)\s(?P<part>half|quarter)|(?P<top>[123])/(?P<low>[234]))\b"
)
LONG_CODE = re.compile(r"(?<![\w.,-])\d{15,}(?!\w|[.,-]\d)")
MAX_CODE_DIGITS = 1_000  # digits of either end of a code that are compared, beside its length


def read_mixed_number(match: re.Match[str]) -> Fact:
    """Return the number of "two and a half kilos" or "2 1/2 kilos"."""
    top = match["top"]
    part = match["part"]
    if top:
        fraction = int(top) / int(match["low"])
    else:
        fraction = 1 / FRACTION_PARTS[part.lower()]
    value = parse_number(match["whole"]) + fraction
    unit = UNIT.match(match.string, match.end())
    if unit:
        readings = [known.to_reading(value) for known in lookup_unit(normalize_unit(unit["unit"]))]
    else:
        readings = []
    if unit and readings:
        return build_fact(match, *readings, end=unit.end(), raw=value)
    return build_fact(match, Reading(BARE_NUMBER, value), raw=value)


def read_long_code(match: re.Match[str]) -> Fact:
    """Return digits that a float would round, to be compared digit by digit."""
    digits = match[0].lstrip("0") or "0"
    value = (int(digits[:MAX_CODE_DIGITS]), len(digits), int(digits[-MAX_CODE_DIGITS:]))
    return build_fact(match, Reading(BARE_NUMBER, value))


SCALE_NUMBERS = (*range(100, 1_000, 100), *range(1_000, 10_000, 1_000), *range(10_000, 100_000, 1_000))
HUNDRED, THOUSAND = 100, 1_000
MAX_WORDS = 6  # words of a number
_WORD = re.compile(r"[^\W\d_]+")
_BETWEEN = re.compile(r"[\s-]+(?:and\s+)?")
_AFTER_NO = re.compile(r"\b[Nn]o \Z")


class NumberWords(NamedTuple):
    """The numbers from two on by their words, and the words that begin a number."""

    numbers: dict[str, int]
    first_words: frozenset[str]


@cache
def read_number_words() -> NumberWords:
    """Return the number words from two on; "one" is a pronoun more often.

    >>> read_number_words().numbers["twenty one"]
    21
    """
    from unicode_rbnf import RbnfEngine

    engine = RbnfEngine.for_language("en")
    numbers: dict[str, int] = {}
    for number in (*range(2, THOUSAND), *SCALE_NUMBERS):
        for words in engine.format_number(number).text_by_ruleset.values():
            numbers.setdefault(_normalize(words), number)
    return NumberWords(numbers, frozenset(words.split()[0] for words in numbers))


def replace_number_words(text: str, language: str = "English") -> str:
    """Return a text with digits for its number words; one in another language than English as it is.

    >>> replace_number_words("It takes thirty-five days"), replace_number_words("zwei Tage", "German")
    ('It takes 35 days', 'zwei Tage')
    """
    if language == "English":
        words = list(_WORD.finditer(text))
    else:
        words = []
    pieces: list[str] = []
    place = 0
    start = 0
    last = 0
    while place < len(words):
        first = words[place].start()
        size, number = _find_number(text, words[place : place + MAX_WORDS])
        if number:
            between = text[start:first]
            # To 200, what is below 100 may be added, to 2,000 what is below 1,000
            if (
                last % HUNDRED == 0
                and number < (last and (THOUSAND if last % THOUSAND == 0 else HUNDRED))
                and _BETWEEN.fullmatch(between)
            ):
                pieces[-1] = str(last + number)
            else:
                pieces += (between, str(number))
            start = words[place + size - 1].end()
            last = number
        place += size
    return "".join((*pieces, text[start:]))


def _find_number(text: str, words: list[re.Match[str]]) -> tuple[int, int]:
    """Return how many of some words make a number, and the number, or ``(1, 0)``."""
    known = read_number_words()
    start = words[0].start()
    # "No two" is not number 2.
    if _normalize(words[0][0]) in known.first_words and not _AFTER_NO.search(text, max(0, start - 4), start):
        for size in range(len(words), 0, -1):
            end = words[size - 1].end()
            number = known.numbers.get(_normalize(text[start:end]))
            if number:
                return size, number
    return 1, 0


def _normalize(words: str) -> str:
    return _BETWEEN.sub(" ", words.casefold())
