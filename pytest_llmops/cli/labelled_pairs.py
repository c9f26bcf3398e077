"""Read pairs of texts that are labelled as the same in meaning or not, and compute their similarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmops._util.text_files import (
    BadFile,
    as_mapping,
    json_kind,
    numbered_lines,
    read_json,
    read_text,
)
from pytest_llmops.errors import CaseError, LLMOpsError, UsageError, describe_exception
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Embedder
from pytest_llmops.semantics.thresholds import embedder_name

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

MAX_SCORE = 5
LINE_EXAMPLE = '{"actual": "...", "expected": "...", "same": true}'
BATCH_SIZE = 2048
"""Texts that are embedded in one call."""
SCORE_DIGITS = 6


@dataclass(frozen=True, slots=True)
class TextPair:
    """Two texts, whether their meaning is the same, and the line of the file."""

    actual: str
    expected: tuple[str, ...]
    same: bool
    line: int


@dataclass(frozen=True, slots=True)
class LabelledPairs:
    """The pairs of a file without duplicates.

    Attributes:
        repeated: How many lines repeat an earlier line.
        between: How many lines have a score neither high nor low enough to be a label.
    """

    items: tuple[TextPair, ...]
    repeated: int
    between: int


def read_pairs(path: Path, *, same_from: float, different_to: float) -> LabelledPairs:
    """Read a file of JSON lines, each with ``actual``, ``expected`` and ``same`` (or ``score``, 0 to 5).

    Args:
        path: The file.
        same_from: A pair with at least this score is labelled the same.
        different_to: A pair with at most this score is labelled different; pairs between are left out.

    Raises:
        CaseError: A line is not such a pair, or two lines contradict each other; with file and line.
    """
    pairs: dict[tuple[str, tuple[str, ...]], TextPair] = {}
    repeated = between = 0
    try:
        text = read_text(path)
    except BadFile as error:
        raise CaseError(error.what, path, error.line) from None
    for number, line in numbered_lines(text):
        try:
            pair = _parse_pair(as_mapping(read_json(line)), number, same_from, different_to)
        except BadFile as error:
            raise CaseError(error.what, path, number) from None
        if pair is None:
            between += 1
            continue
        earlier = pairs.setdefault((pair.actual, pair.expected), pair)
        repeated += earlier is not pair
        if earlier.same != pair.same:
            was = "the same" if earlier.same else "different"
            raise CaseError(f"the pair of line {earlier.line} again, where it is {was}", path, number)
    return LabelledPairs(tuple(pairs.values()), repeated, between)


def _parse_pair(
    wire: Mapping[str, Json], line: int, same_from: float, different_to: float
) -> TextPair | None:
    same = _parse_same(wire, same_from, different_to)
    actual, expected = wire.get("actual"), wire.get("expected")
    expected_texts = expected if isinstance(expected, list) else [expected]
    for key, text in (("actual", actual), *(("expected", text) for text in expected_texts)):
        if not isinstance(text, str) or not text.strip():
            got = "a blank text" if isinstance(text, str) else json_kind(text)
            raise BadFile(f"{key}: expected a text, got {got}; a line looks like {LINE_EXAMPLE}")
    if not expected_texts:
        raise BadFile(
            f"expected: expected a text or several, got an empty list; a line looks like {LINE_EXAMPLE}"
        )
    if same is None:
        return None
    return TextPair(str(actual), tuple(map(str, expected_texts)), same, line)


def _parse_same(wire: Mapping[str, Json], same_from: float, different_to: float) -> bool | None:
    same, score = wire.get("same"), wire.get("score")
    if (same is None) == (score is None):
        got = "neither" if same is None else "both"
        raise BadFile(f"expected either same (true or false) or score (0 to {MAX_SCORE}), got {got}")
    if same is not None:
        if not isinstance(same, bool):
            raise BadFile(f"same: expected true or false, got {json_kind(same)}")
        return same
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not 0 <= score <= MAX_SCORE:
        raise BadFile(f"score: expected a number from 0 to {MAX_SCORE}, got {shorten_text(repr(score), 60)}")
    if score >= same_from:
        return True
    return False if score <= different_to else None


def score_pairs(pairs: Sequence[TextPair], embedder: Embedder) -> list[float]:
    """Return the similarity of each pair, from 0 to 1, exactly as `assert_semantic` computes it.

    An embedder that fits itself to the texts of a call gets each pair in its own call.

    Raises:
        UsageError: The embedder fails, or gives no usable vectors.
    """
    import numpy as np

    from pytest_llmops.metrics.vectors import cosine

    texts_per_pair = [(pair.actual, *pair.expected) for pair in pairs]
    if not getattr(embedder, "across_calls", True):
        rows_per_pair = [_embed_batch(embedder, texts) for texts in texts_per_pair]
    else:
        unique = list(dict.fromkeys(text for texts in texts_per_pair for text in texts))
        parts = [
            _embed_batch(embedder, unique[start : start + BATCH_SIZE])
            for start in range(0, len(unique), BATCH_SIZE)
        ]
        lengths = {part.shape[1] for part in parts}
        if len(lengths) > 1:
            raise UsageError(
                f"embedder {embedder_name(embedder)}: expected vectors of the same length, got {sorted(lengths)}"
            )
        rows, places = np.concatenate(parts), {text: place for place, text in enumerate(unique)}
        rows_per_pair = [rows[[places[text] for text in texts]] for texts in texts_per_pair]
    # The last digits depend on the machine: equal texts must have equal scores.
    return [max(0.0, round(float(cosine(rows[:1], rows[1:]).max()), SCORE_DIGITS)) for rows in rows_per_pair]


def _embed_batch(embedder: Embedder, texts: Sequence[str]) -> NDArray[float64]:
    from pytest_llmops._util.arrays import as_rows

    name = f"embedder {shorten_text(embedder_name(embedder), 60)}"
    try:
        vectors = embedder.embed(texts)
    except LLMOpsError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's embedder raises
        raise UsageError(f"{name}: {describe_exception(error)}") from None
    try:
        return as_rows(vectors, count=len(texts), name=name)
    except ValueError as error:
        raise UsageError(str(error)) from None
