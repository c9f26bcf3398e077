"""Check the sizes and overlaps of chunks, in characters or in tokens of the user's tokenizer."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from pytest_llmops.chunks.adapters import Piece
from pytest_llmops.chunks.alignment import Alignment, PlacedChunk
from pytest_llmops.chunks.findings import CheckResult, Fault, count_result
from pytest_llmops.errors import UsageError
from pytest_llmops.retrievers.base import to_python_scalar

Tokenizer: TypeAlias = "Callable[[str], Sized | int]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a length; None: no limit of that kind."""

    at_least_chars: int | None = None
    at_most_chars: int | None = None
    at_least_tokens: int | None = None
    at_most_tokens: int | None = None

    def __bool__(self) -> bool:
        return self != Limits()

    @property
    def needs_tokenizer(self) -> bool:
        """Whether a limit is in tokens."""
        return self.at_least_tokens is not None or self.at_most_tokens is not None

    def find_violation(
        self, text: str, tokenizer: Tokenizer | None, *, may_be_short: bool
    ) -> tuple[str, int]:
        """Return how the length of a text violates the limits and by how much, or ``("", 0)``.

        Args:
            text: The text to measure.
            tokenizer: Needed if a limit is in tokens.
            may_be_short: Whether the lower limits do not apply.
        """
        measured = [(len(text), "characters", self.at_least_chars, self.at_most_chars)]
        if self.needs_tokenizer and tokenizer is not None:
            measured.append(
                (count_tokens(tokenizer, text), "tokens", self.at_least_tokens, self.at_most_tokens)
            )
        violations = [("", 0)]
        for size, unit, least, most in measured:
            if most is not None and size > most:
                violations.append((f"{size:,} {unit}, at most {most:,} are allowed", size - most))
            elif least is not None and size < least and not may_be_short:
                violations.append((f"{size:,} {unit}, at least {least:,} are required", least - size))
        return max(violations, key=lambda violation: violation[1])


def count_tokens(tokenizer: Tokenizer, text: str) -> int:
    """Return how many tokens a text has; the tokenizer returns the tokens or their number.

    Raises:
        UsageError: The tokenizer returns something else.

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
        limits: The allowed sizes.
        tokenizer: Needed if a limit is in tokens.
        last: Numbers of the last chunks of documents, which may be shorter.
    """
    faults = []
    for piece in pieces:
        violation, excess = limits.find_violation(piece.text, tokenizer, may_be_short=piece.number in last)
        if violation:
            faults.append(Fault(piece.place, f"{violation}: {piece.text}", excess))
    return count_result("size", f"{len(faults):,} of {len(pieces):,} chunks are of a wrong size", faults)


def check_overlaps(alignment: Alignment, limits: Limits, tokenizer: Tokenizer | None) -> CheckResult:
    """Return how many pairs of neighbouring chunks share too much or too little of the source."""
    faults = []
    pairs = neighbouring_chunks(alignment)
    for left, right in pairs:
        spans = left.main_span or (0, 0), right.main_span or (0, 0)
        start, end = max(spans[0][0], spans[1][0]), min(spans[0][1], spans[1][1])
        text = alignment.source.compact.excerpt(start, end, limit=end - start)
        violation, excess = limits.find_violation(text, tokenizer, may_be_short=False)
        if violation:
            place = f"{left.piece.place} and {right.piece.number}"
            faults.append(Fault(place, f"overlap of {violation}" + (f": {text}" if text else ""), excess))
    return count_result(
        "overlap", f"{len(faults):,} of {len(pairs):,} neighbours overlap too much or too little", faults
    )


def neighbouring_chunks(alignment: Alignment) -> list[tuple[PlacedChunk, PlacedChunk]]:
    """Return the pairs of chunks that follow each other within a document."""
    document = alignment.source.document
    known = [
        (placed, document(placed.main_span[0])) for placed in alignment.placed if placed.main_span is not None
    ]
    return [(left, right) for (left, place), (right, next_place) in pairwise(known) if place == next_place]


def last_chunk_numbers(pieces: Sequence[Piece], alignment: Alignment | None) -> list[int]:
    """Return the numbers of the last chunk of each document; without a source, of the last chunk."""
    ends = [pieces[-1].number] if pieces else []
    if alignment is None:
        return ends
    known = [placed for placed in alignment.placed if placed.main_span is not None]
    inner = {placed.piece.number for placed, _ in neighbouring_chunks(alignment)}
    return [*(placed.piece.number for placed in known if placed.piece.number not in inner), *ends]


def check_empty_chunks(pieces: Sequence[Piece]) -> CheckResult:
    """Return how many chunks have no letter, digit or symbol: only white space and punctuation, or nothing."""
    faults = [
        Fault(piece.place, piece.text)
        for piece in pieces
        if not any(unicodedata.category(char)[0] in "LNS" for char in piece.text)
    ]
    return count_result("empty", f"{len(faults):,} of {len(pieces):,} chunks are empty", faults)
