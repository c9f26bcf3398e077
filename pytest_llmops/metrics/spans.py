"""Where a text stands in another: all places, whole words only, one after another."""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Chain: TypeAlias = "tuple[int, int, Chain] | None"

_BEFORE = re.compile(r"(?<!\w)(?<![0-9][.,])")
_BEHIND = re.compile(r"(?!\w|[\u0300-\u036f]|[.,][0-9])")


def places(text: str, needle: str, *, whole_words: bool = False, most: int | None = None) -> list[int]:
    """Return where a text stands in another, from 0 and in order, also where it overlaps itself.

    With ``whole_words`` it must not be part of a longer word or number: where it begins or ends with a letter or
    digit, none may go on there, nor a decimal ("30" is not in "30.5", "130" or "30th"). Letters of scripts that are
    written without spaces go on, too. With ``most`` the search ends after so many.

    Raises:
        ValueError: There is nothing to look for.

    >>> places("30 days, 130 days", "30 days")
    [0, 10]
    >>> places("30 days, 130 days", "30 days", whole_words=True)
    [0]
    """
    if not needle:
        raise ValueError("expected a text to look for, got an empty one")
    before = whole_words and _goes_on(needle[0])
    behind = whole_words and _goes_on(needle[-1])
    found: list[int] = []
    at = text.find(needle)
    while at >= 0 and len(found) != most:
        free = not before or _BEFORE.match(text, at)
        if free and (not behind or _BEHIND.match(text, at + len(needle))):
            found.append(at)
        at = text.find(needle, at + 1)
    return found


def _goes_on(char: str) -> bool:
    return char.isalnum() or char == "_"


def apart(starts: Sequence[int], length: int) -> list[int]:
    """Return the places that are left if none may overlap the one before: as many as `str.count` counts.

    >>> apart(places("aaaa", "aa"), 2)
    [0, 2]
    """
    kept: list[int] = []
    for one in starts:
        if not kept or one >= kept[-1] + length:
            kept.append(one)
    return kept


def chain(found: Sequence[tuple[Sequence[int], int]]) -> list[int | None]:
    """Return for each of several texts the place it has when as many as possible stand one behind the other.

    Args:
        found: For each text its places, in order, and its length.

    Returns:
        A place for each text that is in the longest chain, None for the others.

    >>> chain([([0], 1), ([9], 1), ([2], 1), ([4], 1)])
    [0, None, 2, 4]
    """
    # The chains of each length that end first: behind them there is most room.
    best: list[tuple[int, Chain]] = [(0, None)]
    for number, (starts, length) in enumerate(found):
        for links in range(len(best) - 1, -1, -1):
            end, last = best[links]
            at = bisect_left(starts, end)
            if at == len(starts):
                continue
            longer = starts[at] + length, (number, starts[at], last)
            if links + 1 == len(best):
                best.append(longer)
            elif longer[0] < best[links + 1][0]:
                best[links + 1] = longer
    chosen: list[int | None] = [None] * len(found)
    link = best[-1][1]
    while link is not None:
        number, start, link = link
        chosen[number] = start
    return chosen


def origin(text: str, change: Callable[[str], str], position: int) -> int:
    """Return the place in a text that a place in its changed form comes from.

    Args:
        text: The text as it was.
        change: What it went through (lower case, one space for many); it must not make a longer beginning of a
            text shorter.
        position: The place in ``change(text)``.

    >>> origin("a   b c", lambda text: " ".join(text.split()), 4)
    6
    """
    low, high = 0, len(text)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if len(change(text[: middle + 1])) <= position else (low, middle)
    return low
