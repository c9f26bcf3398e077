"""Where a text stands in another: all places, whole words only, one after another; and where it stood before a change."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_llmops.metrics.lexical import Whitespace

Chain: TypeAlias = "tuple[int, int, Chain] | None"

MIN_PIECE = 256
"""Characters after which a text may be cut to find places in it."""
MAX_TRIES = 64
"""Letters at which a cut is tried; behind them only ASCII counts."""
CONTEXT = 32
"""Characters on each side that show whether a cut changes anything."""

_BEFORE = r"(?<!\w)(?<![0-9][.,])"
_BEHIND = r"(?!\w|[\u0300-\u036f]|[.,][0-9])"
_LOOKAHEAD_CHARS = 2
"""Characters that ``_BEHIND`` reads."""
_WORD = re.compile(r"\S+")


def find_places(text: str, needle: str, *, whole_words: bool = False, most: int | None = None) -> list[int]:
    """Return where a text stands in another, from 0 and in order; of places that overlap the first.

    With ``whole_words`` it must not be part of a longer word or number: where it begins or ends with a letter or
    digit, none may go on there, nor a decimal ("30" is not in "30.5", "130" or "30th"). Letters of scripts that are
    written without spaces go on, too. With ``most`` the search ends after so many.

    Raises:
        ValueError: There is nothing to look for.

    >>> find_places("30 days, 130 days", "30 days"), find_places("aaaaa", "aa")
    ([0, 10], [0, 2])
    >>> find_places("30 days, 130 days", "30 days", whole_words=True)
    [0]
    """
    following = _make_finder(text, needle, whole_words=whole_words)

    def each() -> Iterator[int]:
        at = following(0, len(text))
        while at is not None:
            yield at
            at = following(at + len(needle), len(text))

    return list(islice(each(), most))


def count_places(text: str, needle: str, *, whole_words: bool = False) -> int:
    """Return how many `find_places` there are, without a list of them.

    >>> count_places("30 days, 130 days", "30 days"), count_places("30 days, 130 days", "30 days", whole_words=True)
    (2, 1)
    """
    pattern = _word_pattern(needle, whole_words=whole_words)
    return text.count(needle) if pattern is None else sum(1 for _ in pattern.finditer(text))


def _make_finder(text: str, needle: str, *, whole_words: bool) -> Callable[[int, int], int | None]:
    """Return what finds the first place from one position and before another."""
    pattern = _word_pattern(needle, whole_words=whole_words)
    if pattern is None:

        def plain(start: int, stop: int) -> int | None:
            at = text.find(needle, start, stop + len(needle) - 1)
            return at if at >= 0 else None

        return plain

    def whole(start: int, stop: int) -> int | None:
        match = pattern.search(text, start, stop + len(needle) - 1 + _LOOKAHEAD_CHARS)
        return match.start() if match and match.start() < stop else None

    return whole


def _word_pattern(needle: str, *, whole_words: bool) -> re.Pattern[str] | None:
    """Return what matches whole words; None: a plain search does."""
    if not needle:
        raise ValueError("expected a text to look for, got an empty one")
    before = _BEFORE if whole_words and _is_word_char(needle[0]) else ""
    behind = _BEHIND if whole_words and _is_word_char(needle[-1]) else ""
    return re.compile(f"{before}{re.escape(needle)}{behind}") if before or behind else None


def _is_word_char(char: str) -> bool:
    return char.isalnum() or char == "_"


def find_longest_chain(text: str, needles: Sequence[str], *, whole_words: bool = False) -> list[int | None]:
    """Return for each of several texts the place it has when as many as possible stand one behind the other.

    Returns:
        A place for each text that is in the longest chain, None for the others.

    Raises:
        ValueError: One of them is empty.

    >>> find_longest_chain("a c d b", ["a", "b", "c", "d"])
    [0, None, 2, 4]
    """
    searches = [_make_finder(text, needle, whole_words=whole_words) for needle in needles]
    # The chains of each length that end first: behind them there is most room.
    best: list[tuple[int, Chain]] = [(0, None)]
    for number, (following, needle) in enumerate(zip(searches, needles, strict=True)):
        # The first place behind what was read of the text: from its end to its start, each part once.
        read, start = len(text), None
        for links in range(len(best) - 1, -1, -1):
            end, last = best[links]
            start = _first(following(end, read), start)
            read = end
            if start is None:
                continue
            longer = start + len(needle), (number, start, last)
            if links + 1 == len(best):
                best.append(longer)
            elif longer[0] < best[links + 1][0]:
                best[links + 1] = longer
    chosen: list[int | None] = [None] * len(needles)
    link = best[-1][1]
    while link is not None:
        number, at, link = link
        chosen[number] = at
    return chosen


def _first(found: int | None, known: int | None) -> int | None:
    return found if found is not None else known


class Span(NamedTuple):
    """A piece of a text: ``text[start:end]``."""

    start: int
    end: int


class Origins:
    r"""Where the characters of a changed text stood before, read once for all of them and only when one is asked for.

    Args:
        text: The text as it was.
        fold: What was done to its characters (case, Unicode form).
        whitespace: What was done to its whitespace then: "keep", "strip", "collapse".

    >>> Origins("Two  \n Words", str.lower, "collapse").span(4, 9)
    Span(start=7, end=12)
    """

    def __init__(self, text: str, fold: Callable[[str], str], whitespace: Whitespace) -> None:
        self.text, self.fold, self.whitespace = text, fold, whitespace

    def span(self, start: int, end: int) -> Span:
        """Return the piece of the text that a piece of its changed form comes from; accents of its last letter included."""
        if self._is_unchanged:
            return Span(start, end)
        behind = self.of(end - 1) + 1
        while behind < len(self.text) and unicodedata.combining(self.text[behind]):
            behind += 1
        return Span(self.of(start), behind)

    def of(self, position: int) -> int:
        """Return the place that a place in the changed text comes from."""
        changed, folded = self._word_starts
        word = bisect_right(changed, position) - 1
        position += folded[word] - changed[word]
        starts, reached = self._pieces
        piece = bisect_right(reached, position) - 1
        end = starts[piece + 1] if piece + 1 < len(starts) else len(self.text)
        within = self.text[starts[piece] : end]
        return starts[piece] + origin_position(within, self.fold, position - reached[piece])

    @cached_property
    def _folded(self) -> str:
        return self.fold(self.text)

    @cached_property
    def _is_unchanged(self) -> bool:
        unchanged = self.whitespace == "keep" or " ".join(self.text.split()) == self.text
        return unchanged and self._folded == self.text

    @cached_property
    def _word_starts(self) -> tuple[list[int], list[int]]:
        """Where each word starts in the changed text, and where in the folded one."""
        if self.whitespace == "keep":
            return [0], [0]
        if self.whitespace == "strip":
            return [0], [len(self._folded) - len(self._folded.lstrip())]
        changed, folded, at = [], [], 0
        for word in _WORD.finditer(self._folded):
            changed.append(at)
            folded.append(word.start())
            at += len(word[0]) + 1
        return changed, folded

    @cached_property
    def _pieces(self) -> tuple[list[int], list[int]]:
        """Where each piece of the text starts, and where in the folded text: they are folded apart as together."""
        starts = [0, *self._cut_places()]
        reached, folded = [], []
        at = 0
        for start, end in zip(starts, [*starts[1:], len(self.text)], strict=True):
            folded.append(self.fold(self.text[start:end]))
            reached.append(at)
            at += len(folded[-1])
        return (starts, reached) if "".join(folded) == self._folded else ([0], [0])

    def _cut_places(self) -> Iterator[int]:
        at = self._next_cut(MIN_PIECE)
        while at:
            yield at
            at = self._next_cut(at + MIN_PIECE)

    def _next_cut(self, first: int) -> int:
        """Return the next place where the text can be cut; 0 if there is none."""
        tries = MAX_TRIES
        for at in range(first, len(self.text)):
            char = self.text[at]
            if char.isascii():  # joins with nothing before it
                return at
            if tries and char.isalnum():
                tries -= 1
                left, right = self.text[at - CONTEXT : at], self.text[at : at + CONTEXT]
                if self.fold(left) + self.fold(right) == self.fold(left + right):
                    return at
        return 0


def origin_position(text: str, change: Callable[[str], str], position: int) -> int:
    """Return the place in a short text that a place in its changed form comes from.

    Args:
        text: The text as it was; it is changed once for each halving of its length.
        change: What it went through; it must not make a longer beginning of a text shorter.
        position: The place in ``change(text)``.

    >>> origin_position("a   b c", lambda text: " ".join(text.split()), 4)
    6
    """
    low, high = 0, len(text)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if len(change(text[: middle + 1])) <= position else (low, middle)
    return low
