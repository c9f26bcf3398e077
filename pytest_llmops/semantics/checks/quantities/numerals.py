"""Numerals: digits with any separators, and English number words.

Numbers with a form of their own: telephone numbers, decades, "two and a half", and codes too long for a float.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from pytest_llmops.semantics.checks.quantities import units
from pytest_llmops.semantics.checks.quantities.facts import BARE_NUMBER, Fact, Reading
from pytest_llmops.semantics.word_lists import read_sections

_NUMBERS = read_sections("numbers.txt")
SMALL_NUMBERS = {word: number for number, word in enumerate(_NUMBERS["up to nineteen"])}
TENS = {word: 10 * number for number, word in enumerate(_NUMBERS["tens"], start=2)}
SCALES = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
}
ORDINALS = {word: number for number, word in enumerate(_NUMBERS["ordinals"], start=1)} | {
    "eighteenth": 18,
    "twentieth": 20,
}
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

_NUMBER_WORD = "|".join([*SMALL_NUMBERS, *TENS, *SCALES])
NUMBER_WORDS = rf"(?:{_NUMBER_WORD})(?:(?:[ -]|[ ]and[ ])(?:{_NUMBER_WORD}))*"
"""A number in English words, in lower case."""
NUMBER_DIGITS = (
    r"\d+(?:[.]\d+)?[eE][+-]?\d{1,2}(?!\w)|\d{1,3}(?:[ ']\d{3})+(?:[.,]\d+)?(?!\d)|\d+(?:[.,]\d+)*|[.]\d+"
)
"""A number in digits."""
MAX_DIGITS, GROUP_DIGITS = 300, 3
_SPACED = re.compile(r"[ ']")


@lru_cache(maxsize=4096)
def read_digits(digits: str) -> tuple[float, ...]:
    """Return the numbers that digits with separators may mean; none for "2.3.1", which is no number.

    >>> read_digits("1.234,5"), read_digits("1.234"), read_digits("2.3.1")
    ((1234.5,), (1234.0, 1.234), ())
    """
    text = _SPACED.sub("", digits)
    if "e" in text.lower():
        return (float(text),)
    marks = [char for char in text if char in ".,"]
    if len(digits) > MAX_DIGITS:
        return ()
    if not marks:
        return (float(text),)
    last_mark = marks[-1]
    whole, _, rest = text.rpartition(last_mark)
    if len(set(marks)) > 1:
        other_mark = next(mark for mark in marks if mark != last_mark)
        fits = marks.count(last_mark) == 1 and _is_grouped_by(whole, other_mark)
        return (float(whole.replace(other_mark, "") + "." + rest),) if fits else ()
    if len(marks) > 1:
        return (float(text.replace(last_mark, "")),) if _is_grouped_by(text, last_mark) else ()
    decimal = float((whole or "0") + "." + rest)
    thousands = (
        len(rest) == GROUP_DIGITS and 0 < len(whole) <= GROUP_DIGITS and whole[0] != "0" and text == digits
    )
    return (float(whole + rest), decimal) if thousands else (decimal,)


def _is_grouped_by(text: str, mark: str) -> bool:
    head, *groups = text.split(mark)
    # The Indian way groups by two, but for the last three.
    return (
        1 <= len(head) <= GROUP_DIGITS
        and len(groups[-1]) == GROUP_DIGITS
        and all(len(group) in {2, GROUP_DIGITS} for group in groups)
    )


def parse_number_words(words: str) -> float:
    """Return the number that English number words say.

    >>> parse_number_words("two hundred and fifty thousand"), parse_number_words("thirty-five")
    (250000.0, 35.0)
    """
    total, part = 0, 0
    for word in words.replace("-", " ").split():
        if word in SMALL_NUMBERS or word in TENS:
            part += SMALL_NUMBERS.get(word) or TENS.get(word, 0)
        elif word in ("hundred", "dozen"):
            part = (part or 1) * SCALES[word]
        elif word != "and":
            total += (part or 1) * SCALES[word]
            part = 0
    return float(total + part)


_CJK_DIGITS = {char: number for number, char in enumerate("零一二三四五六七八九")} | {
    "〇": 0,
    "两": 2,
    "兩": 2,
}
_CJK_SIZES = {"十": 10, "百": 100, "千": 1000}
_CJK_LARGE = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_CJK = re.compile(
    # A lone 一 is an article more often than a number, but in front of a time.
    r"(?<![星期周週曜第])(?!一[^天日月年小零〇一二两兩三四五六七八九十百千万萬亿億])(?<![零〇一二两兩三四五六七八九十百千万萬亿億])[零〇一二两兩三四五六七八九十百千万萬亿億]{1,24}(?=[天日月年周週个個人元円圆岁歲次倍秒歩条件名位块塊米吨号號层樓楼]|小时|小時|分钟|分鐘|時間|公里|公斤|分間)"
)


def replace_cjk_numerals(text: str) -> str:
    """Return a text with the Chinese numerals in front of what they count as digits.

    >>> replace_cjk_numerals("十二月三日"), replace_cjk_numerals("一百零五天"), replace_cjk_numerals("星期三")
    ('12月3日', '105天', '星期三')
    """
    return _CJK.sub(lambda one: str(_parse_cjk_number(one[0])), text)


def _parse_cjk_number(numeral: str) -> int:
    if all(char in _CJK_DIGITS for char in numeral):
        return int("".join(str(_CJK_DIGITS[char]) for char in numeral[:MAX_DIGITS]))
    total = part = digit = 0
    for char in numeral:
        if char in _CJK_DIGITS:
            digit = _CJK_DIGITS[char]
        elif char in _CJK_SIZES:
            part, digit = part + (digit or 1) * _CJK_SIZES[char], 0
        else:
            total, part, digit = total + (part + digit or 1) * _CJK_LARGE[char], 0, 0
    return total + part + digit


_PHONE = re.compile(
    r"(?<![\w.,/-])(?P<plus>\+)?(?:\(\d{1,5}\)|\d{1,5})(?:[ -]?\(\d{1,4}\))?(?:[ .-]\d{2,5}){1,5}(?![\w/-]|[.,]\d)"
)
_PHONE_CONTEXT = re.compile(
    r"(?i)\b(?:call|dial|phone|ring|tel|telephone|fax|hotline|text|whatsapp)\b[^.!?\d]{0,20}\Z"
)
MIN_PHONE_DIGITS, MAX_PHONE_DIGITS, MIN_PHONE_GROUPS, CONTEXT_CHARS = 7, 15, 3, 40
MAX_COUNTRY_DIGITS = 3
_DECADE = re.compile(
    r"(?i)\b(?:the|early|late|mid)[ -](?:early |late |mid-?)?\'?(?P<year>(?:1[5-9]|20)?\d0)\'?s\b"
)
_DECADE_WORD = re.compile(
    r"(?i)\b(?:the|early|late|mid)[ -](?P<tens>twenties|thirties|forties|fifties|sixties|seventies|eighties|nineties)\b"
)
CENTURIES, FULL_YEAR_DIGITS = (1900, 2000), 4
_MIXED_NUMBER = re.compile(
    rf"(?i)\b(?P<whole>{NUMBER_WORDS}|\d{{1,6}})\s(?:and\s(?:an?|one)\s(?P<part>half|quarter)|(?P<top>[123])/(?P<low>[234]))\b"
)
_LONG_CODE = re.compile(r"(?<![\w.,-])\d{15,}(?!\w|[.,-]\d)")
MAX_CODE_DIGITS = 1_000
"""Digits of either end of a code that are compared, beside its length."""


def read_phone_numbers(text: str) -> Iterator[Fact]:
    """Yield telephone numbers, whatever stands between their groups."""
    for match in _PHONE.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        groups = len(re.findall(r"\d+", match[0]))
        called = _PHONE_CONTEXT.search(text, max(0, match.start() - CONTEXT_CHARS), match.start())
        marked = match["plus"] or "(" in match[0] or (groups >= MIN_PHONE_GROUPS and "-" in match[0])
        if not MIN_PHONE_DIGITS <= len(digits) <= MAX_PHONE_DIGITS or not (called or marked):
            continue
        # A country's code may be left out.
        numbers = [digits] + [digits[n:] for n in range(1, MAX_COUNTRY_DIGITS + 1) if match["plus"]]
        readings = tuple(Reading("phone", float(number)) for number in numbers)
        yield Fact(match[0], *match.span(), readings, raw=float(digits))


def read_decades(text: str) -> Iterator[Fact]:
    """Yield decades: "the 90s", "the nineties" and "the 1990s"; "the 30s timeout" may be seconds too."""
    for match in _DECADE.finditer(text):
        year = int(match["year"])
        if len(match["year"]) == FULL_YEAR_DIGITS:
            yield _decade_fact(match, "year", [year])
        else:
            seconds = Reading("time", float(year), "time 1.0")
            yield _decade_fact(match, "year", [century + year for century in CENTURIES], seconds)
    for match in _DECADE_WORD.finditer(text):
        tens = TENS[match["tens"].lower().removesuffix("ies") + "y"]
        yield _decade_fact(match, "tens", [century + tens for century in CENTURIES])


def _decade_fact(match: re.Match[str], group: str, years: list[int], *more: Reading) -> Fact:
    start, end = match.start(group), match.end()
    text = match.string[start:end]
    return Fact(text, start, end, (*(Reading("decade", float(year)) for year in years), *more))


def read_mixed_numbers(text: str) -> Iterator[Fact]:
    """Yield "two and a half kilos" and "2 1/2 kilos"."""
    for match in _MIXED_NUMBER.finditer(text):
        whole = match["whole"].lower()
        part = (
            int(match["top"]) / int(match["low"])
            if match["top"]
            else 1 / FRACTION_PARTS[match["part"].lower()]
        )
        value = (float(whole) if whole.isdigit() else parse_number_words(whole)) + part
        unit = units.UNIT.match(text, match.end())
        known = units.lookup_unit(units.normalize_unit(unit["unit"]), glued=False) if unit else []
        end = unit.end() if unit and known else match.end()
        readings = [Reading(dim, value * factor, name) for dim, factor, name in known]
        yield Fact(
            text[match.start() : end],
            match.start(),
            end,
            tuple(readings) or (Reading(BARE_NUMBER, value),),
            raw=value,
        )


def read_long_codes(text: str) -> Iterator[Fact]:
    """Yield digits that a float would round, to be compared one by one."""
    for match in _LONG_CODE.finditer(text):
        digits = match[0].lstrip("0") or "0"
        value = (int(digits[:MAX_CODE_DIGITS]), len(digits), int(digits[-MAX_CODE_DIGITS:]))
        yield Fact(match[0], *match.span(), (Reading(BARE_NUMBER, value),))


SPECIAL_READERS = (read_phone_numbers, read_decades, read_mixed_numbers, read_long_codes)
