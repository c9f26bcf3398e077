"""Find where texts occur in another text, in any order or in sequence, and map positions in a normalized text back.

A *place* is the index of a text's first character in the searched text.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from functools import cached_property
from itertools import accumulate, islice, pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_llmops.metrics.lexical import Whitespace

# The last link of a chain: number and place of its text, and the chain before it
Chain: TypeAlias = "tuple[int, int, Chain] | None"

_BLANKS = re.compile(r"\s+")
MIN_PIECE = 256  # minimum characters of the pieces into which a long text is cut
MAX_TRIES = 64  # letters at which a cut is tried; behind them a text is cut at ASCII characters only
CONTEXT = 32  # characters on each side with which a cut is tested

_BEFORE = r"(?<!\w)(?<![0-9][.,])"
_BEHIND = r"(?!\w|[\u0300-\u036f]|[.,][0-9])"
_LOOKAHEAD_CHARS = 2  # characters that `_BEHIND` reads


def find_places(text: str, needle: str, *, whole_words: bool = False, most: int | None = None) -> list[int]:
    """Return the places of a text in another text, in order and without overlaps.

    With ``whole_words`` the text must not be part of a longer word or number ("30" is not in "30.5", "130" or "30th");
    this includes letters of scripts without spaces. The search ends after ``most`` places.

    Raises:
        ValueError: The text to search for is empty.

    >>> find_places("30 days, 130 days", "30 days"), find_places("aaaaa", "aa")
    ([0, 10], [0, 2])
    >>> find_places("30 days, 130 days", "30 days", whole_words=True)
    [0]
    """
    matches = _compile_needle(needle, whole_words=whole_words).finditer(text)
    return [match.start() for match in islice(matches, most)]


def _compile_needle(needle: str, *, whole_words: bool) -> re.Pattern[str]:
    """Return a pattern of a text; at ends that are punctuation ``whole_words`` requires nothing."""
    if not needle:
        raise ValueError("expected a text to look for, got an empty one")
    pattern = re.escape(needle)
    if whole_words and _is_word_character(needle[0]):
        pattern = _BEFORE + pattern
    if whole_words and _is_word_character(needle[-1]):
        pattern += _BEHIND
    return re.compile(pattern)


def _is_word_character(char: str) -> bool:
    return char.isalnum() or char == "_"


def find_longest_chain(text: str, needles: Sequence[str], *, whole_words: bool = False) -> list[int | None]:
    """Return the places of as many texts as possible that occur in the given order, without overlaps.

    Returns:
        A place for each of these texts, which form the longest chain; None for the other texts.

    Raises:
        ValueError: A text to search for is empty.

    >>> find_longest_chain("a c d b", ["a", "b", "c", "d"])
    [0, None, 2, 4]
    """
    patterns = [_compile_needle(needle, whole_words=whole_words) for needle in needles]
    # best[n]: of all chains of n texts the one that ends first, as it leaves most text for longer chains; its end and
    # its last link. Texts are added one after the other, from the longest chain to the shortest.
    best: list[tuple[int, Chain]] = [(0, None)]
    for number, (pattern, needle) in enumerate(zip(patterns, needles, strict=True)):
        # Find the first place behind the end of each chain. A shorter chain ends earlier, so each part of the text is
        # searched once: from the end of this chain to the end of the next longer one.
        read = len(text)
        start = None
        for links in range(len(best) - 1, -1, -1):
            end, last = best[links]
            limit = read + len(needle) - 1 + _LOOKAHEAD_CHARS
            match = pattern.search(text, end, limit)
            if match and match.start() < read:
                start = match.start()
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
        number, place, link = link
        chosen[number] = place
    return chosen


class Span(NamedTuple):
    """A span of a text: ``text[start:end]``."""

    start: int
    end: int


class Origins:
    r"""Maps positions in a normalized text back to the original text.

    The text is cut into pieces that can be normalized one by one, so that only a piece has to be searched for a
    position. That is done when first needed.

    Args:
        text: The original text.
        fold: Normalizes its characters (case, Unicode form).
        whitespace: How its whitespace was normalized after that: "keep", "strip", "collapse".

    >>> Origins("Two  \n Words", str.lower, "collapse").span(4, 9)
    Span(start=7, end=12)
    """

    def __init__(self, text: str, fold: Callable[[str], str], whitespace: Whitespace) -> None:
        self.text = text
        self.whitespace = whitespace
        self.change = fold
        if whitespace == "collapse":
            self.change = lambda part: _BLANKS.sub(" ", fold(part))

    def span(self, start: int, end: int) -> Span:
        """Return the original span of a non-empty span of the normalized text, with the accents of its last letter."""
        if self._changed == self.text:
            return Span(start + self._stripped, end + self._stripped)
        behind = self.original_position(end - 1) + 1
        while behind < len(self.text) and unicodedata.combining(self.text[behind]):
            behind += 1
        return Span(self.original_position(start), behind)

    def original_position(self, position: int) -> int:
        """Return the original position of a position in the normalized text."""
        position += self._stripped
        starts, changed_starts = self._piece_starts
        piece = bisect_right(changed_starts, position) - 1
        start = starts[piece]
        end = len(self.text)
        if piece + 1 < len(starts):
            end = starts[piece + 1]
        within = position - changed_starts[piece]
        return start + origin_position(self.text[start:end], self.change, within)

    @cached_property
    def _changed(self) -> str:
        # Not stripped yet.
        return self.change(self.text)

    @cached_property
    def _stripped(self) -> int:
        """The number of characters of whitespace that are stripped from the beginning of the changed text."""
        if self.whitespace == "keep":
            return 0
        return len(self._changed) - len(self._changed.lstrip())

    @cached_property
    def _piece_starts(self) -> tuple[list[int], list[int]]:
        """The starts of the pieces in the text, and in the changed text.

        If the changed pieces do not add up to the changed text, there is a single piece.
        """
        starts = [0]
        cut = self._next_cut(MIN_PIECE)
        while cut:
            starts.append(cut)
            cut = self._next_cut(cut + MIN_PIECE)
        bounds = [*starts, len(self.text)]
        changed = [self.change(self.text[start:end]) for start, end in pairwise(bounds)]
        if "".join(changed) != self._changed:
            return [0], [0]
        lengths = map(len, changed[:-1])
        return starts, [0, *accumulate(lengths)]

    def _next_cut(self, first: int) -> int:
        """Return the first index from ``first`` on at which the text can be cut; 0 if there is none.

        It can be cut before an ASCII character (outside of whitespace), or before a letter around which both parts are
        changed in the same way as together.
        """
        tries = MAX_TRIES
        for at in range(first, len(self.text)):
            char = self.text[at]
            # ASCII never combines with the characters before it.
            if char.isascii() and not (char.isspace() and self.text[at - 1].isspace()):
                return at
            if tries and char.isalnum():
                tries -= 1
                left = self.text[at - CONTEXT : at]
                right = self.text[at : at + CONTEXT]
                changed_parts = self.change(left) + self.change(right)
                if changed_parts == self.change(left + right):
                    return at
        return 0


def origin_position(text: str, change: Callable[[str], str], position: int) -> int:
    """Return the position in a short text that a position in its changed form comes from.

    Args:
        text: The original text; a prefix of it is changed in each step of a bisection.
        change: The change; a longer prefix of the text must not give a shorter result.
        position: The position in ``change(text)``.

    >>> origin_position("a   b c", lambda text: " ".join(text.split()), 4)
    6
    """
    low = 0
    high = len(text)
    while low < high:
        middle = (low + high) // 2
        if len(change(text[: middle + 1])) <= position:
            low = middle + 1
        else:
            high = middle
    return low
