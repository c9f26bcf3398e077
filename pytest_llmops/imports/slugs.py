"""Make names of functions and files from foreign text."""

import re
from collections.abc import Collection

MAX_NAME_CHARS = 40


def make_slug(text: str, limit: int = MAX_NAME_CHARS) -> str:
    """Return words of a text as a part of a name, in lower case with ``_``; "" if it has no letter or digit of ASCII.

    >>> make_slug("Refuses a late return (60 days)!")
    'refuses_a_late_return_60_days'
    """
    words = re.findall("[a-z0-9]+", text.lower())
    slug = ""
    for word in words:
        longer = f"{slug}_{word}".strip("_")
        if len(longer) > limit:
            break
        slug = longer
    return slug or "".join(words)[:limit]


def make_unique(name: str, used: set[str]) -> str:
    """Return a name that is not used yet, with a number at its end if it has to, and note it as used.

    >>> make_unique("a", {"a", "a_2"})
    'a_3'
    """
    unique = name
    if name in used:
        unique = add_number(f"{name}_", used)
    used.add(unique)
    return unique


def add_number(begin: str, used: Collection[str]) -> str:
    """Return a name that is not used yet, of this begin and a number from 2 on: few numbers are tried, however many are used.

    >>> add_number("a-", {"a-2", "a-3"})
    'a-4'
    """
    last_used, free = 1, 2
    while f"{begin}{free}" in used:
        last_used, free = free, 2 * free
    while free - last_used > 1:
        middle = (last_used + free) // 2
        if f"{begin}{middle}" in used:
            last_used = middle
        else:
            free = middle
    return f"{begin}{free}"
