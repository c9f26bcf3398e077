"""Numerals: digits with any separators, and English number words.

Numbers with a form of their own: telephone numbers, decades, "two and a half", and codes too long for a float.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from pytest_llmops.semantics.checks.quantities import units
from pytest_llmops.semantics.checks.quantities.facts import BARE, Fact, Reading

SMALL = dict(
    zip(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ],
        range(20),
        strict=True,
    )
)
TENS = dict(
    zip(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"],
        range(20, 100, 10),
        strict=True,
    )
)
SCALES = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
}
ORDINALS = dict(
    zip(
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
        ],
        range(1, 13),
        strict=True,
    )
) | {"thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "sixteenth": 16, "eighteenth": 18, "twentieth": 20}
PARTS = {
    "half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fifth": 5, "fifths": 5,
    "sixth": 6, "eighth": 8, "eighths": 8, "tenth": 10, "tenths": 10, "hundredth": 100,
}  # fmt: skip
MAGNITUDES = {
    "k": 1e3, "K": 1e3, "thousand": 1e3, "tsd": 1e3, "million": 1e6, "millions": 1e6, "mio": 1e6,
    "mn": 1e6, "millionen": 1e6, "millones": 1e6, "milioni": 1e6, "M": 1e6, "billion": 1e9, "billions": 1e9, "bn": 1e9,
    "B": 1e9, "mrd": 1e9, "milliarden": 1e9, "milliards": 1e9, "trillion": 1e12, "hundred": 1e2, "dozen": 12, "lakh": 1e5,
    "crore": 1e7, "万": 1e4, "萬": 1e4, "億": 1e8, "亿": 1e8, "千": 1e3, "百": 1e2, "тыс": 1e3, "млн": 1e6, "млрд": 1e9,
}  # fmt: skip

_WORD = "|".join([*SMALL, *TENS, *SCALES])
WORDS = rf"(?:{_WORD})(?:(?:[ -]|[ ]and[ ])(?:{_WORD}))*"
"""A number in English words, in lower case."""
DIGITS = (
    r"\d+(?:[.]\d+)?[eE][+-]?\d{1,2}(?!\w)|\d{1,3}(?:[ ']\d{3})+(?:[.,]\d+)?(?!\d)|\d+(?:[.,]\d+)*|[.]\d+"
)
"""A number in digits."""
MAX_DIGITS, GROUP = 300, 3
_SPACED = re.compile(r"[ ']")


@lru_cache(maxsize=4096)
def readings(digits: str) -> tuple[float, ...]:
    """Return the numbers that digits with separators may mean; none for "2.3.1", which is no number.

    >>> readings("1.234,5"), readings("1.234"), readings("2.3.1")
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
    last = marks[-1]
    whole, _, rest = text.rpartition(last)
    if len(set(marks)) > 1:
        other = next(one for one in marks if one != last)
        fits = marks.count(last) == 1 and _grouped(whole, other)
        return (float(whole.replace(other, "") + "." + rest),) if fits else ()
    if len(marks) > 1:
        return (float(text.replace(last, "")),) if _grouped(text, last) else ()
    decimal = float((whole or "0") + "." + rest)
    thousands = len(rest) == GROUP and 0 < len(whole) <= GROUP and whole[0] != "0" and text == digits
    return (float(whole + rest), decimal) if thousands else (decimal,)


def _grouped(text: str, mark: str) -> bool:
    head, *groups = text.split(mark)
    # The Indian way groups by two, but for the last three.
    return (
        1 <= len(head) <= GROUP and len(groups[-1]) == GROUP and all(len(one) in {2, GROUP} for one in groups)
    )


def spoken(words: str) -> float:
    """Return the number that English number words say.

    >>> spoken("two hundred and fifty thousand"), spoken("thirty-five")
    (250000.0, 35.0)
    """
    total, part = 0, 0
    for word in words.replace("-", " ").split():
        if word in SMALL or word in TENS:
            part += SMALL.get(word) or TENS.get(word, 0)
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


def without_cjk(text: str) -> str:
    """Return a text with the Chinese numerals in front of what they count as digits.

    >>> without_cjk("十二月三日"), without_cjk("一百零五天"), without_cjk("星期三")
    ('12月3日', '105天', '星期三')
    """
    return _CJK.sub(lambda one: str(_cjk(one[0])), text)


def _cjk(shown: str) -> int:
    if all(char in _CJK_DIGITS for char in shown):
        return int("".join(str(_CJK_DIGITS[char]) for char in shown[:MAX_DIGITS]))
    total = part = digit = 0
    for char in shown:
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
_CALLED = re.compile(
    r"(?i)\b(?:call|dial|phone|ring|tel|telephone|fax|hotline|text|whatsapp)\b[^.!?\d]{0,20}\Z"
)
MIN_PHONE, MAX_PHONE, MIN_GROUPS, CONTEXT = 7, 15, 3, 40
MAX_COUNTRY = 3
_DECADE = re.compile(
    r"(?i)\b(?:the|early|late|mid)[ -](?:early |late |mid-?)?\'?(?P<year>(?:1[5-9]|20)?\d0)\'?s\b"
)
_NINETIES = re.compile(
    r"(?i)\b(?:the|early|late|mid)[ -](?P<tens>twenties|thirties|forties|fifties|sixties|seventies|eighties|nineties)\b"
)
CENTURIES, FULL_YEAR = (1900, 2000), 4
_MIXED = re.compile(
    rf"(?i)\b(?P<whole>{WORDS}|\d{{1,6}})\s(?:and\s(?:an?|one)\s(?P<part>half|quarter)|(?P<top>[123])/(?P<low>[234]))\b"
)
_LONG = re.compile(r"(?<![\w.,-])\d{15,}(?!\w|[.,-]\d)")
KEPT = 1_000
"""Digits of either end of a code that are compared, beside its length."""


def phones(text: str) -> Iterator[Fact]:
    """Yield telephone numbers, whatever stands between their groups."""
    for one in _PHONE.finditer(text):
        digits = re.sub(r"\D", "", one[0])
        groups = len(re.findall(r"\d+", one[0]))
        called = _CALLED.search(text, max(0, one.start() - CONTEXT), one.start())
        marked = one["plus"] or "(" in one[0] or (groups >= MIN_GROUPS and "-" in one[0])
        if not MIN_PHONE <= len(digits) <= MAX_PHONE or not (called or marked):
            continue
        # A country's code may be left out.
        numbers = [digits] + [digits[n:] for n in range(1, MAX_COUNTRY + 1) if one["plus"]]
        readings = tuple(Reading("phone", float(number)) for number in numbers)
        yield Fact(one[0], *one.span(), readings, raw=float(digits))


def decades(text: str) -> Iterator[Fact]:
    """Yield decades: "the 90s", "the nineties" and "the 1990s"; "the 30s timeout" may be seconds too."""
    for one in _DECADE.finditer(text):
        year = int(one["year"])
        if len(one["year"]) == FULL_YEAR:
            yield _decade(one, "year", [year])
        else:
            seconds = Reading("time", float(year), "time 1.0")
            yield _decade(one, "year", [century + year for century in CENTURIES], seconds)
    for one in _NINETIES.finditer(text):
        tens = TENS[one["tens"].lower().removesuffix("ies") + "y"]
        yield _decade(one, "tens", [century + tens for century in CENTURIES])


def _decade(one: re.Match[str], group: str, years: list[int], *more: Reading) -> Fact:
    start, end = one.start(group), one.end()
    shown = one.string[start:end]
    return Fact(shown, start, end, (*(Reading("decade", float(year)) for year in years), *more))


def mixed(text: str) -> Iterator[Fact]:
    """Yield "two and a half kilos" and "2 1/2 kilos"."""
    for one in _MIXED.finditer(text):
        shown = one["whole"].lower()
        part = int(one["top"]) / int(one["low"]) if one["top"] else 1 / PARTS[one["part"].lower()]
        value = (float(shown) if shown.isdigit() else spoken(shown)) + part
        unit = units.UNIT.match(text, one.end())
        known = units.lookup(units.named(unit["unit"]), glued=False) if unit else []
        end = unit.end() if unit and known else one.end()
        readings = [Reading(dim, value * factor, name) for dim, factor, name in known]
        yield Fact(
            text[one.start() : end], one.start(), end, tuple(readings) or (Reading(BARE, value),), raw=value
        )


def codes(text: str) -> Iterator[Fact]:
    """Yield digits that a float would round, to be compared one by one."""
    for one in _LONG.finditer(text):
        digits = one[0].lstrip("0") or "0"
        value = (int(digits[:KEPT]), len(digits), int(digits[-KEPT:]))
        yield Fact(one[0], *one.span(), (Reading(BARE, value),))


READERS = (phones, decades, mixed, codes)
