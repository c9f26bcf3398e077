"""What no message to a user holds: a traceback, a missing value in Python's words, an unrounded number, or a page of text.

What a message quotes is exempt: its wrong input and what it offers instead.
"""

from __future__ import annotations

import re

LONGEST = 600
MOST_DIGITS = 6
TRACEBACK = re.compile(r"Traceback \(most recent call last\)|File \"[^\"\n]*\", line \d+")
EXEMPT = re.compile(
    r"""
    ^\ +\w[\w\ ]*?\ \ +".*$                              # a row of a failure that quotes: reply   "..."
    | \{".*                                              # JSON, which may be cut off
    | (?<!\w)'[^'\n]*'(?!\w) | "[^"\n]*" | `[^`\n]*`
    | \b(?:expected|got|gave(?!\ no\b))\b[^;\n]*
    | \S+(?:\ \(\+[\d,]+\ chars\))?\ is\ (?:out\ of\ range\b|None,\ expected\b)
    | \w=None\b                                         # an argument that is offered
    | \barXiv\ \d+\.\d+
    | \bNone\ in\ sys\.modules\b                        # Python's own words
    """,
    re.VERBOSE | re.MULTILINE,
)
MISSING = re.compile(r"(?<![\w.])(?:None|nan)(?!\w)")
NUMBER = re.compile(r"(?<![\w.@/])(?<!\w-)\d+(?:\.\d+)?(?![\w-])")
DATE = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])")
HASH_LENGTHS = (40, 64)


def find_fault(text: str, *, long: str = "") -> str:
    """Return why a message is refused, or an empty text.

    Args:
        text: One message.
        long: Why this message may have more than 600 characters.

    >>> find_fault("judge 'a' took None s")
    'it holds None: say what is missing'
    >>> find_fault("took 0.333333333 s")
    'it holds 0.333333333: round the number, or write 1,000,000'
    """
    if TRACEBACK.search(text):
        return "it holds a traceback: catch the error, and say what to do"
    own_words = EXEMPT.sub("<quoted>", text)
    missing = MISSING.search(own_words)
    if missing:
        return f"it holds {missing[0]}: say what is missing"
    number = next((match[0] for match in NUMBER.finditer(own_words) if _is_long_number(match[0])), "")
    if number:
        return f"it holds {number}: round the number, or write 1,000,000"
    if len(text) > LONGEST and not long:
        return f"it has {len(text)} characters, at most {LONGEST}: shorten it, or give the reason as check_message(..., long=)"
    return ""


def _is_long_number(number: str) -> bool:
    """Return whether a number has more digits than a person reads: a date or a hash of digits only is not a number."""
    if DATE.fullmatch(number) or len(number) in HASH_LENGTHS:
        return False
    return len(number.replace(".", "").lstrip("0")) > MOST_DIGITS
