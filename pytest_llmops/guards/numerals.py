"""Numerals: digits with any separators, and English number words."""

from __future__ import annotations

import re
from functools import lru_cache

from pytest_llmops.guards.listing import listed

SMALL = dict(
    zip(
        listed(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen"
        ),
        range(20),
        strict=True,
    )
)
TENS = dict(
    zip(listed("twenty thirty forty fifty sixty seventy eighty ninety"), range(20, 100, 10), strict=True)
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
        listed("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"),
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
