"""Do the chunks begin and end where a sentence does, or at least a word?"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from pytest_llmops.chunks.alignment import Alignment, PlacedChunk
from pytest_llmops.chunks.findings import CheckResult, Fault, ratio_or_zero, worst_faults
from pytest_llmops.chunks.offsets import CompactText, Source
from pytest_llmops.measurement import format_count
from pytest_llmops.semantics.checks import split_sentences

CUT_CONTEXT_CHARS = 30
"""Characters on both sides of a cut that are shown."""

# Scripts without spaces: any place between two of their characters may be the end of a word.
_UNSPACED_SCRIPT = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)


def check_cut_words(alignment: Alignment) -> CheckResult:
    """Return the share of chunk ends that part a word, a number or a letter from its accent.

    A chunk has two ends. Those at the ends of a document are counted, and never cut; those made of invented
    text are left out. Between characters of a script without spaces (Chinese, Japanese, Thai ...) no word is
    cut.
    """
    raw, places = alignment.source.compact.raw, alignment.source.compact.places
    cuts = [
        (placed, at)
        for placed, at, _ in _chunk_ends(alignment)
        if 0 < at < len(places) and places[at] == places[at - 1] + 1 and _splits_word(raw, places[at])
    ]
    return _check_chunk_ends("cut_words", "part a word", alignment, cuts)


def _splits_word(raw: str, at: int) -> bool:
    """Whether a cut before ``raw[at]`` parts what belongs together."""
    before, after = raw[at - 1], raw[at]
    if unicodedata.combining(after) or after in "\u200d\ufe0f":
        return True
    if _UNSPACED_SCRIPT.match(before) or _UNSPACED_SCRIPT.match(after):
        return False
    if before.isalnum() and after.isalnum():
        return True
    # 1,000 and 2.5 and 10:30
    if before.isdigit() and after in ".,:" and raw[at + 1 : at + 2].isdigit():
        return True
    return before in ".,:" and after.isdigit() and raw[max(0, at - 2) : at - 1].isdigit()


def check_changed_words(alignment: Alignment) -> CheckResult:
    """Return how often a chunk writes two words of the source as one, or one as two.

    White space may differ, but not where it parts two letters or digits: a line end that was dropped makes
    "the endStart". Scripts without spaces do not count.
    """
    source = alignment.source.compact
    faults = []
    for placed in alignment.placed:
        for run in placed.runs:
            source_starts = _word_starts_within(source, run.source, run.length)
            for at in sorted(source_starts ^ _word_starts_within(placed.text, run.chunk, run.length)):
                around = source.text[run.source + at - 1 : run.source + at + 1]
                if around.isalnum() and not _UNSPACED_SCRIPT.search(around):
                    start = max(0, run.chunk + at - CUT_CONTEXT_CHARS)
                    faults.append(
                        Fault(placed.piece.place, placed.text.excerpt(start, start + 2 * CUT_CONTEXT_CHARS))
                    )
    return CheckResult(
        name="changed_words",
        value=len(faults),
        unit="count",
        reason=f"{format_count(len(faults), 'place')} where words of the source are written as one, or one as two",
        faults=worst_faults(faults),
    )


def _word_starts_within(text: CompactText, start: int, length: int) -> set[int]:
    """Return where white space stands in front of a character, counted from ``start``."""
    begins = text.word_starts
    inside = begins[bisect_right(begins, start) : bisect_left(begins, start + length)]
    return {at - start for at in inside}


def check_cut_sentences(alignment: Alignment) -> CheckResult:
    """Return the share of chunk ends that fall within a sentence; the ends count as in `check_cut_words`.

    Sentences are those of `pytest_llmops.semantics.checks.split_sentences`: headings, list items and rows count as one.
    """
    borders = sentence_borders(alignment.source)
    cuts = [(placed, at) for placed, at, _ in _chunk_ends(alignment) if at not in borders]
    return _check_chunk_ends("cut_sentences", "fall within a sentence", alignment, cuts)


def sentence_borders(source: Source) -> frozenset[int]:
    """Return the kept characters with which a sentence begins, the end of each document too."""
    compact = source.compact
    solid = [at for at, char in enumerate(compact.raw) if not char.isspace()]
    borders, done = {0, len(compact.text), *source.seam_places, *(at + 1 for at in source.seam_places)}, 0
    for sentence in split_sentences(compact.raw):
        borders.add(compact.within(solid[done], solid[done])[0])
        done += sum(map(len, sentence.split()))
    return frozenset(borders)


def _chunk_ends(alignment: Alignment) -> Iterator[tuple[PlacedChunk, int, str]]:
    """Yield the two ends of each chunk that are from the source."""
    for placed in alignment.placed:
        if placed.runs and placed.runs[0].chunk == 0:
            yield placed, placed.runs[0].source, "begins"
        last = placed.runs[-1] if placed.runs else None
        if last and last.chunk + last.length == len(placed.text.text):
            yield placed, last.source + last.length, "ends"


def _check_chunk_ends(
    name: str, what: str, alignment: Alignment, cuts: list[tuple[PlacedChunk, int]]
) -> CheckResult:
    ends = sum(1 for _ in _chunk_ends(alignment))
    raw, places = alignment.source.compact.raw, alignment.source.compact.places
    faults = []
    for placed, at in cuts:
        left, right = places[at - 1] + 1, places[at]
        excerpt = f"{raw[max(0, left - CUT_CONTEXT_CHARS) : left]}{'|' if left == right else ' | '}{raw[right : right + CUT_CONTEXT_CHARS]}"
        faults.append(Fault(placed.piece.place, excerpt.strip()))
    return CheckResult(
        name=name,
        value=ratio_or_zero(len(cuts), ends),
        reason=f"{len(cuts):,} of {ends:,} chunk ends {what}",
        faults=worst_faults(faults),
    )
