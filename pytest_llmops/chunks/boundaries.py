"""Check that chunks begin and end at sentences, or at least at words."""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator

from pytest_llmops.chunks.alignment import Alignment, PlacedChunk
from pytest_llmops.chunks.findings import CheckResult, Fault, count_result, share_result
from pytest_llmops.chunks.offsets import CompactText
from pytest_llmops.measurement import format_count
from pytest_llmops.semantics.checks import split_sentences

CUT_CONTEXT_CHARS = 30  # characters on each side of a cut in a message

# Scripts without spaces: a word may end between any two characters.
_UNSPACED_SCRIPT = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)


def check_cut_words(alignment: Alignment) -> CheckResult:
    """Return the share of chunk ends inside a word, a number, or between a letter and its accent.

    Both ends of each chunk count, unless they are invented text. The ends of a document never cut a word, nor do
    ends between characters of a script without spaces (Chinese, Japanese, Thai ...).
    """
    raw, places = alignment.source.compact.raw, alignment.source.compact.places

    def cuts_word(at: int) -> bool:
        return 0 < at < len(places) and places[at] == places[at - 1] + 1 and _splits_word(raw, places[at])

    return _check_chunk_ends("cut_words", "part a word", alignment, cuts_word)


def _splits_word(raw: str, at: int) -> bool:
    # Return whether a cut before ``raw[at]`` is inside a word, number or combined character.
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
    """Return how often a chunk joins two words of the source, or splits a word.

    White space may differ, but not between two letters or digits: a dropped line end makes "the endStart".
    Scripts without spaces do not count.
    """
    source = alignment.source.compact
    faults = []
    for placed in alignment.placed:
        for run in placed.runs:
            source_starts = _word_starts_within(source, run.source, run.length)
            for offset in sorted(source_starts ^ _word_starts_within(placed.text, run.chunk, run.length)):
                around = source.text[run.source + offset - 1 : run.source + offset + 1]
                if around.isalnum() and not _UNSPACED_SCRIPT.search(around):
                    start = max(0, run.chunk + offset - CUT_CONTEXT_CHARS)
                    faults.append(
                        Fault(placed.piece.place, placed.text.excerpt(start, start + 2 * CUT_CONTEXT_CHARS))
                    )
    return count_result(
        "changed_words",
        f"{format_count(len(faults), 'place')} where words of the source are joined, or a word is split",
        faults,
    )


def _word_starts_within(text: CompactText, start: int, length: int) -> set[int]:
    # Return the offsets from ``start`` of the characters that follow white space.
    starts = text.word_starts
    return {
        place - start for place in starts[bisect_right(starts, start) : bisect_left(starts, start + length)]
    }


def check_cut_sentences(alignment: Alignment) -> CheckResult:
    """Return the share of chunk ends within a sentence; the ends count as in `check_cut_words`.

    Sentences are those of `pytest_llmops.semantics.checks.split_sentences`, also each heading, list item and row.
    """
    compact, seams = alignment.source.compact, alignment.source.seam_places
    solid = [at for at, char in enumerate(compact.raw) if not char.isspace()]
    borders, done = {0, len(compact.text), *seams, *(at + 1 for at in seams)}, 0
    for sentence in split_sentences(compact.raw):
        borders.add(compact.kept_range(solid[done], solid[done])[0])
        done += sum(map(len, sentence.split()))
    return _check_chunk_ends(
        "cut_sentences", "fall within a sentence", alignment, lambda at: at not in borders
    )


def _chunk_ends(alignment: Alignment) -> Iterator[tuple[PlacedChunk, int]]:
    # Yield the ends of each chunk that are from the source.
    for placed in alignment.placed:
        if placed.runs and placed.runs[0].chunk == 0:
            yield placed, placed.runs[0].source
        last = placed.runs[-1] if placed.runs else None
        if last and last.chunk_end == len(placed.text.text):
            yield placed, last.source_end


def _check_chunk_ends(
    name: str, what: str, alignment: Alignment, is_cut: Callable[[int], bool]
) -> CheckResult:
    raw, places = alignment.source.compact.raw, alignment.source.compact.places
    ends, faults = list(_chunk_ends(alignment)), []
    for placed, at in ends:
        if is_cut(at):
            left, right = places[at - 1] + 1, places[at]
            before, after = (
                raw[max(0, left - CUT_CONTEXT_CHARS) : left],
                raw[right : right + CUT_CONTEXT_CHARS],
            )
            cut = "|" if left == right else " | "
            faults.append(Fault(placed.piece.place, f"{before}{cut}{after}".strip()))
    return share_result(
        name, len(faults), len(ends), f"{len(faults):,} of {len(ends):,} chunk ends {what}", faults
    )
