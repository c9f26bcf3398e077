"""Sizes and overlaps, in characters or in the tokens of the user's own tokenizer."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from pytest_llmops.chunks.adapters import Piece
from pytest_llmops.chunks.alignment import Alignment, Placed
from pytest_llmops.chunks.findings import Check, Fault, worst
from pytest_llmops.errors import UsageError
from pytest_llmops.retrievers.base import builtin

Tokenizer: TypeAlias = "Callable[[str], Sized | int]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long something may be; None: no limit of that kind."""

    at_least_chars: int | None = None
    at_most_chars: int | None = None
    at_least_tokens: int | None = None
    at_most_tokens: int | None = None

    def __bool__(self) -> bool:
        return any(one is not None for one in self._all)

    @property
    def of_tokens(self) -> bool:
        """Whether a tokenizer is needed."""
        return self.at_least_tokens is not None or self.at_most_tokens is not None

    @property
    def _all(self) -> tuple[int | None, ...]:
        return self.at_least_chars, self.at_most_chars, self.at_least_tokens, self.at_most_tokens

    def wrong(self, text: str, tokenizer: Tokenizer | None, *, short: bool) -> tuple[str, int]:
        """Return what is wrong with a text's length and by how much, or ``("", 0)``.

        Args:
            text: What is measured.
            tokenizer: Needed if a limit is in tokens.
            short: Whether it may be as short as it likes.
        """
        found = [_outside(len(text), "characters", self.at_least_chars, self.at_most_chars, short=short)]
        if self.of_tokens and tokenizer is not None:
            number = count(tokenizer, text)
            found.append(_outside(number, "tokens", self.at_least_tokens, self.at_most_tokens, short=short))
        return max(found, key=lambda one: one[1])


def _outside(size: int, unit: str, least: int | None, most: int | None, *, short: bool) -> tuple[str, int]:
    if most is not None and size > most:
        return f"{size:,} {unit}, at most {most:,} are allowed", size - most
    if least is not None and size < least and not short:
        return f"{size:,} {unit}, at least {least:,} are asked for", least - size
    return "", 0


def count(tokenizer: Tokenizer, text: str) -> int:
    """Return how many tokens a text has, by a tokenizer that returns them or their number.

    Raises:
        UsageError: It returns something else.

    >>> count(str.split, "three small words"), count(len, "abc")
    (3, 3)
    """
    found: object = builtin(tokenizer(text))
    if isinstance(found, (bool, str)) or not isinstance(found, (int, Sized)):
        raise UsageError(
            f"tokenizer: expected a list of tokens or their number, got {type(found).__name__}; "
            "pass the method that encodes, like encoding.encode"
        )
    return found if isinstance(found, int) else len(found)


def size(
    pieces: Sequence[Piece], limits: Limits, tokenizer: Tokenizer | None, last: Sequence[int] = ()
) -> Check:
    """Return how many chunks are too long or too short, white space included.

    Args:
        pieces: The chunks.
        limits: What is allowed.
        tokenizer: Needed if a limit is in tokens.
        last: Numbers of the chunks that end a document: they may be shorter.
    """
    faults = []
    for piece in pieces:
        text, by = limits.wrong(piece.text, tokenizer, short=piece.number in last)
        if text:
            faults.append(Fault(piece.place, f"{text}: {piece.text}", by))
    return Check(
        name="size",
        value=len(faults),
        unit="count",
        reason=f"{len(faults):,} of {len(pieces):,} chunks are of a wrong size",
        faults=worst(faults),
    )


def overlap(alignment: Alignment, limits: Limits, tokenizer: Tokenizer | None) -> Check:
    """Return how many neighbours within a document share too much or too little of the source."""
    faults = []
    pairs = neighbours(alignment)
    for one, other in pairs:
        text = shared(alignment, one, other)
        wrong, by = limits.wrong(text, tokenizer, short=False)
        if wrong:
            place = f"{one.piece.place} and {other.piece.number}"
            faults.append(Fault(place, f"overlap of {wrong}" + (f": {text}" if text else ""), by))
    return Check(
        name="overlap",
        value=len(faults),
        unit="count",
        reason=f"{len(faults):,} of {len(pairs):,} neighbours overlap too much or too little",
        faults=worst(faults),
    )


def neighbours(alignment: Alignment) -> list[tuple[Placed, Placed]]:
    """Return the chunks that follow each other within one document."""
    known = [one for one in alignment.placed if one.home is not None]
    document = alignment.source.document
    return [
        (one, other)
        for one, other in pairwise(known)
        if document((one.home or (0, 0))[0]) == document((other.home or (0, 0))[0])
    ]


def shared(alignment: Alignment, one: Placed, other: Placed) -> str:
    """Return the stretch of the source that both chunks hold, white space within included."""
    left, right = one.home or (0, 0), other.home or (0, 0)
    start, end = max(left[0], right[0]), min(left[1], right[1])
    return alignment.source.squeezed.slice(start, end, limit=end - start)


def last_of_documents(pieces: Sequence[Piece], alignment: Alignment | None) -> list[int]:
    """Return the numbers of the chunks with which a document ends; without a source, of the last chunk."""
    ends = [pieces[-1].number] if pieces else []
    if alignment is None:
        return ends
    known = [one for one in alignment.placed if one.home is not None]
    inner = {one.piece.number for one, _ in neighbours(alignment)}
    return [*(one.piece.number for one in known if one.piece.number not in inner), *ends]


def empty(pieces: Sequence[Piece]) -> Check:
    """Return how many chunks have no letter, digit or symbol: nothing, or white space and punctuation."""
    faults = [Fault(one.place, one.text) for one in pieces if not any(map(_says_something, one.text))]
    return Check(
        name="empty",
        value=len(faults),
        unit="count",
        reason=f"{len(faults):,} of {len(pieces):,} chunks are empty",
        faults=worst(faults),
    )


def _says_something(char: str) -> bool:
    return unicodedata.category(char)[0] in "LNS"
