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
from pytest_llmops.semantics.word_lists.reader import read_pairs, read_sections

# The number words that are still words after `replace_number_words`
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
ORDINALS = {word: number for number, word in enumerate(read_sections("english.txt")["ordinals"], start=1)}
ORDINALS["thirtieth"] = 30
FRACTION_PARTS = {
    "half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4,
    "fifth": 5, "fifths": 5, "sixth": 6, "sixths": 6, "seventh": 7, "sevenths": 7, "eighth": 8, "eighths": 8,
    "ninth": 9, "ninths": 9, "tenth": 10, "tenths": 10, "hundredth": 100,
}  # fmt: skip
# Words and letters behind a numeral, with their factors
MAGNITUDES = {name: float(number) for name, number in read_pairs("magnitudes.txt").items()}

NUMBER_WORDS = "|".join(SCALES)
# A number in digits
NUMBER_DIGITS = (
    r"\d+(?:[.]\d+)?[eE][+-]?\d{1,2}(?!\w)|\d{1,3}(?:[ ']\d{3})+(?:[.,]\d+)?(?!\d)|\d+(?:[.,]\d+)*|[.]\d+"
)
MAX_DIGITS = 300
GROUP_DIGITS = 3


@lru_cache(maxsize=4096)
def read_digits(digits: str) -> tuple[float, ...]:
    """Return the numbers that digits with separators may mean; none for "2.3.1", which is not a number.

    >>> read_digits("1.234,5"), read_digits("1.234"), read_digits("2.3.1")
    ((1234.5,), (1234.0, 1.234), ())
    """
    text = digits.replace(" ", "").replace("'", "")
    if "e" in text.lower():
        return (float(text),)
    if len(digits) > MAX_DIGITS:
        return ()
    marks = [char for char in text if char in ".,"]
    if not marks:
        return (float(text),)
    if len(set(marks)) > 1:
        return _read_two_marks(text, marks)
    mark = marks[0]
    if len(marks) > 1:
        if _is_grouped_by(text, mark):
            return (float(text.replace(mark, "")),)
        return ()
    whole, _, rest = text.partition(mark)
    decimal = float(f"{whole or 0}.{rest}")
    if _is_grouped_by(text, mark) and whole[0] != "0" and text == digits:
        return (float(whole + rest), decimal)
    return (decimal,)


def _read_two_marks(text: str, marks: list[str]) -> tuple[float, ...]:
    """Return the number of digits with points and commas ("1,234.5"); none if they are not grouped rightly.

    The last mark is the decimal mark, and the other kind separates the groups.
    """
    decimal_mark = marks[-1]
    group_mark = next(mark for mark in marks if mark != decimal_mark)
    whole, _, rest = text.rpartition(decimal_mark)
    if marks.count(decimal_mark) > 1 or not _is_grouped_by(whole, group_mark):
        return ()
    digits_before = whole.replace(group_mark, "")
    return (float(f"{digits_before}.{rest}"),)


def _is_grouped_by(text: str, mark: str) -> bool:
    """Return whether marks group the digits by three ("1,234,567"), or as in India ("12,34,567")."""
    head, *groups = text.split(mark)
    if not 1 <= len(head) <= GROUP_DIGITS:
        return False
    if len(groups[-1]) != GROUP_DIGITS:
        return False
    return all(len(group) in {2, GROUP_DIGITS} for group in groups)


def parse_number(text: str) -> float:
    """Return the number of digits or of a word of `SCALES`.

    >>> parse_number("12"), parse_number("Hundred")
    (12.0, 100.0)
    """
    if text.isdigit():
        return float(text)
    return float(SCALES[text.lower()])


def parse_ordinal(text: str) -> int:
    """Return the number of an English ordinal in words; `replace_number_words` has turned the tens into digits.

    >>> parse_ordinal("20-first"), parse_ordinal("thirtieth")
    (21, 30)
    """
    tens, _, last = text.lower().rpartition("-")
    return ORDINALS[last] + int(tens or 0)


MIXED_NUMBER = re.compile(
    rf"(?i)\b(?P<whole>{NUMBER_WORDS}|\d{{1,6}})\s(?:and\s(?:an?|one)\s(?P<part>half|quarter)|(?P<top>[1-9]|1[135])/(?P<low>[23458]|16))\b"
)
LONG_CODE = re.compile(r"(?<![\w.,-])\d{15,}(?!\w|[.,-]\d)")
MAX_CODE_DIGITS = 1_000  # digits of either end of a code that are compared, in addition to its length


def read_mixed_number(match: re.Match[str]) -> Fact:
    """Return the number of "two and a half kilos" or "2 1/2 kilos"."""
    if match["top"]:
        fraction = int(match["top"]) / int(match["low"])
    else:
        fraction = 1 / FRACTION_PARTS[match["part"].lower()]
    value = parse_number(match["whole"]) + fraction
    unit = UNIT.match(match.string, match.end())
    if unit:
        units = lookup_unit(normalize_unit(unit["unit"]))
        readings = [known.to_reading(value) for known in units]
        if readings:
            return build_fact(match, *readings, end=unit.end(), raw=value)
    return build_fact(match, Reading(BARE_NUMBER, value), raw=value)


def read_long_code(match: re.Match[str]) -> Fact:
    """Return the fact of a number that is too long for a float, such as an order number.

    Its value is a tuple, so that it is compared exactly: the first digits, the length, the last digits.
    """
    digits = match[0].lstrip("0") or "0"
    head = int(digits[:MAX_CODE_DIGITS])
    tail = int(digits[-MAX_CODE_DIGITS:])
    value = (head, len(digits), tail)
    return build_fact(match, Reading(BARE_NUMBER, value))


SCALE_NUMBERS = (*range(100, 1_000, 100), *range(1_000, 10_000, 1_000), *range(10_000, 100_000, 1_000))
HUNDRED = 100
THOUSAND = 1_000
MAX_WORDS = 6  # words of a number
_WORD = re.compile(r"[^\W\d_]+")
_BETWEEN = re.compile(r"[\s-]+(?:and\s+)?")
_AFTER_NO = re.compile(r"\b[Nn]o \Z")


class NumberWords(NamedTuple):
    """The numbers from two on by their words, and the words with which a number may begin."""

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
    """Return an English text with digits instead of number words; a text in another language is not changed.

    >>> replace_number_words("It takes thirty-five days"), replace_number_words("zwei Tage", "German")
    ('It takes 35 days', 'zwei Tage')
    """
    if language != "English":
        return text
    words = list(_WORD.finditer(text))
    pieces: list[str] = []
    place = 0
    start = 0
    last = 0
    while place < len(words):
        size, number = _find_number(text, words[place : place + MAX_WORDS])
        if number:
            between = text[start : words[place].start()]
            # ``last`` is above 0 only if its digits are the last piece.
            if _may_be_added(last, number) and _BETWEEN.fullmatch(between):
                pieces[-1] = str(last + number)
            else:
                pieces += (between, str(number))
            start = words[place + size - 1].end()
            last = number
        place += size
    return "".join((*pieces, text[start:]))


def _may_be_added(number: int, smaller: int) -> bool:
    """Return whether two numbers in a row are one: "two hundred" and "five", "two thousand" and "three hundred"."""
    if number == 0 or number % HUNDRED:
        return False
    if number % THOUSAND:
        return smaller < HUNDRED
    return smaller < THOUSAND


def _find_number(text: str, words: list[re.Match[str]]) -> tuple[int, int]:
    """Return the length in words of the number that begins with the first word, and the number; ``(1, 0)`` if none does."""
    known = read_number_words()
    start = words[0].start()
    if _normalize(words[0][0]) not in known.first_words:
        return 1, 0
    # "No two" is not number 2.
    if _AFTER_NO.search(text, max(0, start - len(" No ")), start):
        return 1, 0
    for size in range(len(words), 0, -1):
        end = words[size - 1].end()
        number = known.numbers.get(_normalize(text[start:end]))
        if number:
            return size, number
    return 1, 0


def _normalize(words: str) -> str:
    return _BETWEEN.sub(" ", words.casefold())
