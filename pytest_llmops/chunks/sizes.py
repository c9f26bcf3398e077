"""Check the sizes and overlaps of chunks, in characters or tokens, and the limits and thresholds that a user gives."""

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import TypeAlias, TypedDict

from pytest_llmops.chunks.alignment import Alignment, PlacedChunk
from pytest_llmops.chunks.pieces import CheckResult, Fault, Piece, count_result
from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.retrievers.base import to_python_scalar

__tracebackhide__ = True

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
        self, text: str, tokenizer: "Tokenizer | None", *, may_be_short: bool
    ) -> tuple[str, int]:
        """Return how the length of a text violates the limits and by how much, or ``("", 0)``.

        Args:
            text: The text to measure.
            tokenizer: Needed if a limit is in tokens.
            may_be_short: Whether the lower limits do not apply.
        """
        sizes = [(len(text), "characters", self.at_least_chars, self.at_most_chars)]
        if self.needs_tokenizer and tokenizer is not None:
            tokens = count_tokens(tokenizer, text)
            sizes.append((tokens, "tokens", self.at_least_tokens, self.at_most_tokens))
        worst = ("", 0)
        for size, unit, least, most in sizes:
            violation = ("", 0)
            if most is not None and size > most:
                text = f"{size:,} {unit}, at most {most:,} are allowed"
                violation = (text, size - most)
            elif least is not None and size < least and not may_be_short:
                text = f"{size:,} {unit}, at least {least:,} are required"
                violation = (text, least - size)
            worst = max(worst, violation, key=itemgetter(1))
        return worst


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
    if isinstance(tokens, int):
        return tokens
    return len(tokens)


def check_sizes(
    pieces: Sequence[Piece], limits: Limits, tokenizer: "Tokenizer | None", last: Sequence[int] = ()
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
        is_last = piece.number in last
        violation, excess = limits.find_violation(piece.text, tokenizer, may_be_short=is_last)
        if violation:
            text = f"{violation}: {piece.text}"
            faults.append(Fault(piece.place, text, excess))
    reason = f"{len(faults):,} of {len(pieces):,} chunks are of a wrong size"
    return count_result("size", reason, faults)


def check_overlaps(alignment: Alignment, limits: Limits, tokenizer: "Tokenizer | None") -> CheckResult:
    """Return how many pairs of neighbouring chunks share too much or too little of the source."""
    faults = []
    pairs = _neighbouring_chunks(alignment)
    for left, right in pairs:
        # Neighbouring chunks always have a span: ``or`` only satisfies the type checker.
        left_start, left_end = left.main_span or (0, 0)
        right_start, right_end = right.main_span or (0, 0)
        start = max(left_start, right_start)
        end = min(left_end, right_end)
        shared = alignment.source.compact.excerpt(start, end, limit=end - start)
        violation, excess = limits.find_violation(shared, tokenizer, may_be_short=False)
        if not violation:
            continue
        text = f"overlap of {violation}"
        if shared:
            text += f": {shared}"
        place = f"{left.piece.place} and {right.piece.number}"
        faults.append(Fault(place, text, excess))
    reason = f"{len(faults):,} of {len(pairs):,} neighbours overlap too much or too little"
    return count_result("overlap", reason, faults)


def _neighbouring_chunks(alignment: Alignment) -> list[tuple[PlacedChunk, PlacedChunk]]:
    """Return the pairs of chunks that follow each other within a document."""
    known = []
    for placed in alignment.placed:
        if placed.main_span is not None:
            start, _ = placed.main_span
            known.append((placed, alignment.source.document(start)))
    neighbours = []
    for (left, document), (right, next_document) in pairwise(known):
        if document == next_document:
            neighbours.append((left, right))
    return neighbours


def last_chunk_numbers(pieces: Sequence[Piece], alignment: Alignment | None) -> list[int]:
    """Return the number of the last chunk of each document, and of the last chunk of all.

    Without an alignment the documents are not known. A number may be in the list twice.
    """
    numbers = []
    if alignment is not None:
        followed = {placed.piece.number for placed, _ in _neighbouring_chunks(alignment)}
        known = [placed.piece.number for placed in alignment.placed if placed.main_span is not None]
        numbers = [number for number in known if number not in followed]
    if pieces:
        numbers.append(pieces[-1].number)
    return numbers


def check_empty_chunks(pieces: Sequence[Piece]) -> CheckResult:
    """Return how many chunks have no letter, digit or symbol: only white space and punctuation, or nothing."""
    empty = [piece for piece in pieces if not _has_content(piece.text)]
    faults = [Fault(piece.place, piece.text) for piece in empty]
    reason = f"{len(faults):,} of {len(pieces):,} chunks are empty"
    return count_result("empty", reason, faults)


def _has_content(text: str) -> bool:
    return any(unicodedata.category(char)[0] in "LNS" for char in text)


class ChunkLimits(TypedDict, total=False):
    """Thresholds and limits of `assert_chunks`; None records only, and a property without a limit is not measured."""

    at_most_lost: float | None  # share of the source's characters that are in no chunk; 0 unless given
    at_most_invented: float | None  # share of the chunks' characters that are not in the source; 0
    at_most_out_of_order: int | None  # chunks that begin before the preceding chunk; 0
    at_most_misplaced: int | None  # chunks that do not begin where they state (``start_index``); 0
    at_most_empty: int | None  # chunks without a letter, digit or symbol; 0
    at_most_changed_words: int | None  # places where two words were joined, or one was split; 0
    at_most_cut_words: float | None  # share of chunk ends within a word or number; 0
    at_most_cut_sentences: float | None  # share of chunk ends within a sentence; None unless given
    at_most_cut_tables: int | None  # chunks with rows without their header, or a part of a row; 0
    at_most_cut_code: int | None  # chunks with a part of a fenced code block; 0
    at_most_duplicates: float | None  # share of chunks that repeat an earlier chunk; 0
    at_most_near_duplicates: float | None  # share of chunks that nearly do; None unless given
    at_least_chars: int | None  # of each chunk except the last of a document, with white space
    at_most_chars: int | None
    at_least_tokens: int | None
    at_most_tokens: int | None
    at_least_overlap_chars: int | None  # shared by neighbouring chunks of a document
    at_most_overlap_chars: int | None
    at_least_overlap_tokens: int | None
    at_most_overlap_tokens: int | None


class DirtThresholds(TypedDict, total=False):
    """Thresholds of `assert_clean_text`, each a count and 0 unless given; None: record only."""

    at_most_mojibake: int | None
    at_most_replacement: int | None
    at_most_html: int | None
    at_most_control: int | None
    at_most_invisible: int | None


# Checks without a default threshold: common splitters cut sentences, and not all repetition is wrong
RECORDED_ONLY = ("cut_sentences", "near_duplicates")
SOURCE_CHECKS = (
    "lost",
    "invented",
    "out_of_order",
    "misplaced",
    "changed_words",
    "cut_words",
    "cut_sentences",
    "cut_tables",
    "cut_code",
)


def refuse_unknown_threshold(who: str, thresholds: Mapping[str, object], known: type) -> None:
    """Raise an `UnknownName` for a threshold that is not a key of the TypedDict ``known``; ``who`` is the assertion."""
    names = known.__annotations__
    for name in thresholds:
        if name not in names:
            raise UnknownName("threshold", name, names, where=who)


def require_source(thresholds: Mapping[str, object], overlaps: Limits) -> None:
    """Raise a `UsageError` if a threshold or an overlap limit is given; both cannot be checked without a source."""
    named = []
    for name in SOURCE_CHECKS:
        if thresholds.get(f"at_most_{name}") is not None:
            named.append(name)
    if named:
        what = f"at_most_{named[0]}"
    elif overlaps:
        what = "a limit of the overlap"
    else:
        return
    raise UsageError(f"assert_chunks: {what} needs the source; pass source=, the text that was cut")


def parse_size_limits(what: str, options: Mapping[str, object], tokenizer: object) -> Limits:
    """Return the limits of sizes (``what`` is "") or of overlaps ("overlap_").

    Raises:
        UsageError: A limit is not a whole number, the lower limit is above the upper, or the tokenizer is missing.
    """
    limits: dict[str, int | None] = {}
    for unit in ("chars", "tokens"):
        for side in ("at_least", "at_most"):
            name = f"{side}_{what}{unit}"
            value: object = to_python_scalar(options.get(name))
            if value is None:
                limits[f"{side}_{unit}"] = None
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise UsageError(f"assert_chunks: expected {name} as a whole number from 0 on, got {value!r}")
            limits[f"{side}_{unit}"] = value
        least = limits[f"at_least_{unit}"]
        most = limits[f"at_most_{unit}"]
        if least is not None and most is not None and least > most:
            suffix = f"{what}{unit}"
            raise UsageError(f"assert_chunks: at_least_{suffix}={least} is above at_most_{suffix}={most}")
    size_limits = Limits(**limits)
    if size_limits.needs_tokenizer and not callable(tokenizer):
        got = "none"
        if tokenizer is not None:
            got = type(tokenizer).__name__
        raise UsageError(
            "assert_chunks: a limit in tokens needs tokenizer=, a function from a text to its tokens "
            f"(like encoding.encode), got {got}"
        )
    return size_limits


def parse_check_thresholds(
    who: str, options: Mapping[str, object], checks: Sequence[CheckResult]
) -> dict[str, float | None]:
    """Return the threshold of each check.

    Raises:
        UsageError: A threshold that no value can be, or a threshold for something that was not measured.
    """
    thresholds: dict[str, float | None] = {}
    for check in checks:
        name = f"at_most_{check.name}"
        default: int | None = 0
        if check.name in RECORDED_ONLY:
            default = None
        threshold: object = to_python_scalar(options.get(name, default))
        if threshold is None:
            thresholds[check.name] = None
            continue
        most = math.inf
        expected = "a count from 0 on"
        if check.unit == "1":
            most = 1
            expected = "a share from 0 to 1"
        if (
            isinstance(threshold, bool)
            or not isinstance(threshold, (int, float))
            or not 0 <= threshold <= most
        ):
            raise UsageError(
                f"{who}: expected {name} as {expected}, or None to record only, got {threshold!r}"
            )
        thresholds[check.name] = threshold
    wants_misplaced = options.get("at_most_misplaced") is not None
    # Invented text is measured whenever there is a source.
    has_source = "invented" in thresholds
    if wants_misplaced and has_source and "misplaced" not in thresholds:
        raise UsageError(
            f"{who}: at_most_misplaced needs chunks of one document that state where they begin "
            "(start_index in their metadata, or start_char_idx)"
        )
    return thresholds
