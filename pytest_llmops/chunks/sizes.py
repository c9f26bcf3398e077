"""Sizes and overlaps, in characters or in the tokens of the user's own tokenizer."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from pytest_llmops.chunks.adapters import Piece
from pytest_llmops.chunks.alignment import Alignment, PlacedChunk
from pytest_llmops.chunks.findings import CheckResult, Fault, worst_faults
from pytest_llmops.errors import UsageError
from pytest_llmops.retrievers.base import to_python_scalar

Tokenizer: TypeAlias = "Callable[[str], Sized | int]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long something may be; None: no limit of that kind."""

    at_least_chars: int | None = None
    at_most_chars: int | None = None
    at_least_tokens: int | None = None
    at_most_tokens: int | None = None

    def __bool__(self) -> bool:
        return any(limit is not None for limit in self._all_limits)

    @property
    def needs_tokenizer(self) -> bool:
        """Whether a tokenizer is needed."""
        return self.at_least_tokens is not None or self.at_most_tokens is not None

    @property
    def _all_limits(self) -> tuple[int | None, ...]:
        return self.at_least_chars, self.at_most_chars, self.at_least_tokens, self.at_most_tokens

    def wrong(self, text: str, tokenizer: Tokenizer | None, *, short: bool) -> tuple[str, int]:
        """Return what is wrong with a text's length and by how much, or ``("", 0)``.

        Args:
            text: What is measured.
            tokenizer: Needed if a limit is in tokens.
            short: Whether it may be as short as it likes.
        """
        violations = [
            _describe_size_violation(
                len(text), "characters", self.at_least_chars, self.at_most_chars, short=short
            )
        ]
        if self.needs_tokenizer and tokenizer is not None:
            number = count_tokens(tokenizer, text)
            violations.append(
                _describe_size_violation(
                    number, "tokens", self.at_least_tokens, self.at_most_tokens, short=short
                )
            )
        return max(violations, key=lambda violation: violation[1])


def _describe_size_violation(
    size: int, unit: str, least: int | None, most: int | None, *, short: bool
) -> tuple[str, int]:
    if most is not None and size > most:
        return f"{size:,} {unit}, at most {most:,} are allowed", size - most
    if least is not None and size < least and not short:
        return f"{size:,} {unit}, at least {least:,} are asked for", least - size
    return "", 0


def count_tokens(tokenizer: Tokenizer, text: str) -> int:
    """Return how many tokens a text has, by a tokenizer that returns them or their number.

    Raises:
        UsageError: It returns something else.

    >>> count_tokens(str.split, "three small words"), count_tokens(len, "abc")
    (3, 3)
    """
    tokens: object = to_python_scalar(tokenizer(text))
    if isinstance(tokens, (bool, str)) or not isinstance(tokens, (int, Sized)):
        raise UsageError(
            f"tokenizer: expected a list of tokens or their number, got {type(tokens).__name__}; "
            "pass the method that encodes, like encoding.encode"
        )
    return tokens if isinstance(tokens, int) else len(tokens)


def check_sizes(
    pieces: Sequence[Piece], limits: Limits, tokenizer: Tokenizer | None, last: Sequence[int] = ()
) -> CheckResult:
    """Return how many chunks are too long or too short, white space included.

    Args:
        pieces: The chunks.
        limits: What is allowed.
        tokenizer: Needed if a limit is in tokens.
        last: Numbers of the chunks that end a document: they may be shorter.
    """
    faults = []
    for piece in pieces:
        text, excess = limits.wrong(piece.text, tokenizer, short=piece.number in last)
        if text:
            faults.append(Fault(piece.place, f"{text}: {piece.text}", excess))
    return CheckResult(
        name="size",
        value=len(faults),
        unit="count",
        reason=f"{len(faults):,} of {len(pieces):,} chunks are of a wrong size",
        faults=worst_faults(faults),
    )


def check_overlaps(alignment: Alignment, limits: Limits, tokenizer: Tokenizer | None) -> CheckResult:
    """Return how many neighbours within a document share too much or too little of the source."""
    faults = []
    pairs = neighbouring_chunks(alignment)
    for left, right in pairs:
        text = shared_text(alignment, left, right)
        violation, excess = limits.wrong(text, tokenizer, short=False)
        if violation:
            place = f"{left.piece.place} and {right.piece.number}"
            faults.append(Fault(place, f"overlap of {violation}" + (f": {text}" if text else ""), excess))
    return CheckResult(
        name="overlap",
        value=len(faults),
        unit="count",
        reason=f"{len(faults):,} of {len(pairs):,} neighbours overlap too much or too little",
        faults=worst_faults(faults),
    )


def neighbouring_chunks(alignment: Alignment) -> list[tuple[PlacedChunk, PlacedChunk]]:
    """Return the chunks that follow each other within one document."""
    known = [placed for placed in alignment.placed if placed.home is not None]
    document = alignment.source.document
    return [
        (placed, following)
        for placed, following in pairwise(known)
        if document((placed.home or (0, 0))[0]) == document((following.home or (0, 0))[0])
    ]


def shared_text(alignment: Alignment, first: PlacedChunk, second: PlacedChunk) -> str:
    """Return the stretch of the source that both chunks hold, white space within included."""
    left, right = first.home or (0, 0), second.home or (0, 0)
    start, end = max(left[0], right[0]), min(left[1], right[1])
    return alignment.source.compact.excerpt(start, end, limit=end - start)


def last_chunk_numbers(pieces: Sequence[Piece], alignment: Alignment | None) -> list[int]:
    """Return the numbers of the chunks with which a document ends; without a source, of the last chunk."""
    ends = [pieces[-1].number] if pieces else []
    if alignment is None:
        return ends
    known = [placed for placed in alignment.placed if placed.home is not None]
    inner = {placed.piece.number for placed, _ in neighbouring_chunks(alignment)}
    return [*(placed.piece.number for placed in known if placed.piece.number not in inner), *ends]


def check_empty_chunks(pieces: Sequence[Piece]) -> CheckResult:
    """Return how many chunks have no letter, digit or symbol: nothing, or white space and punctuation."""
    faults = [
        Fault(piece.place, piece.text) for piece in pieces if not any(map(_is_visible_char, piece.text))
    ]
    return CheckResult(
        name="empty",
        value=len(faults),
        unit="count",
        reason=f"{len(faults):,} of {len(pieces):,} chunks are empty",
        faults=worst_faults(faults),
    )


def _is_visible_char(char: str) -> bool:
    return unicodedata.category(char)[0] in "LNS"
