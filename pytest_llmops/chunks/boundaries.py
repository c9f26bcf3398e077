"""Do the chunks begin and end where a sentence does, or at least a word?"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from pytest_llmops.chunks.alignment import Alignment, Placed
from pytest_llmops.chunks.findings import Check, Fault, share, worst
from pytest_llmops.chunks.offsets import Source, Squeezed
from pytest_llmops.measurement import counted
from pytest_llmops.semantics.checks import sentences

SHOWN = 30
"""Characters on both sides of a cut that are shown."""

# Scripts without spaces: any place between two of their characters may be the end of a word.
_NO_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)


def cut_words(alignment: Alignment) -> Check:
    """Return the share of chunk ends that part a word, a number or a letter from its accent.

    A chunk has two ends. Those at the ends of a document are counted, and never cut; those made of invented
    text are left out. Between characters of a script without spaces (Chinese, Japanese, Thai ...) no word is
    cut.
    """
    raw, places = alignment.source.squeezed.raw, alignment.source.squeezed.places
    cuts = [
        (placed, at)
        for placed, at, _ in _ends(alignment)
        if 0 < at < len(places) and places[at] == places[at - 1] + 1 and _parts(raw, places[at])
    ]
    return _checked("cut_words", "part a word", alignment, cuts)


def _parts(raw: str, at: int) -> bool:
    """Whether a cut before ``raw[at]`` parts what belongs together."""
    before, after = raw[at - 1], raw[at]
    if unicodedata.combining(after) or after in "\u200d\ufe0f":
        return True
    if _NO_SPACES.match(before) or _NO_SPACES.match(after):
        return False
    if before.isalnum() and after.isalnum():
        return True
    # 1,000 and 2.5 and 10:30
    if before.isdigit() and after in ".,:" and raw[at + 1 : at + 2].isdigit():
        return True
    return before in ".,:" and after.isdigit() and raw[max(0, at - 2) : at - 1].isdigit()


def changed_words(alignment: Alignment) -> Check:
    """Return how often a chunk writes two words of the source as one, or one as two.

    White space may differ, but not where it parts two letters or digits: a line end that was dropped makes
    "the endStart". Scripts without spaces do not count.
    """
    source = alignment.source.squeezed
    faults = []
    for placed in alignment.placed:
        for run in placed.runs:
            theirs = _begins(source, run.source, run.length)
            for at in sorted(theirs ^ _begins(placed.text, run.chunk, run.length)):
                around = source.text[run.source + at - 1 : run.source + at + 1]
                if around.isalnum() and not _NO_SPACES.search(around):
                    start = max(0, run.chunk + at - SHOWN)
                    faults.append(Fault(placed.piece.place, placed.text.slice(start, start + 2 * SHOWN)))
    return Check(
        name="changed_words",
        value=len(faults),
        unit="count",
        reason=f"{counted(len(faults), 'place')} where words of the source are written as one, or one as two",
        faults=worst(faults),
    )


def _begins(text: Squeezed, start: int, length: int) -> set[int]:
    """Return where white space stands in front of a character, counted from ``start``."""
    begins = text.begins
    inside = begins[bisect_right(begins, start) : bisect_left(begins, start + length)]
    return {at - start for at in inside}


def cut_sentences(alignment: Alignment) -> Check:
    """Return the share of chunk ends that fall within a sentence; the ends count as in `cut_words`.

    Sentences are those of `pytest_llmops.semantics.checks.sentences`: headings, list items and rows count as one.
    """
    borders = sentence_borders(alignment.source)
    cuts = [(placed, at) for placed, at, _ in _ends(alignment) if at not in borders]
    return _checked("cut_sentences", "fall within a sentence", alignment, cuts)


def sentence_borders(source: Source) -> frozenset[int]:
    """Return the kept characters with which a sentence begins, the end of each document too."""
    squeezed = source.squeezed
    solid = [at for at, char in enumerate(squeezed.raw) if not char.isspace()]
    borders, done = {0, len(squeezed.text), *source.seams, *(at + 1 for at in source.seams)}, 0
    for sentence in sentences(squeezed.raw):
        borders.add(squeezed.within(solid[done], solid[done])[0])
        done += sum(map(len, sentence.split()))
    return frozenset(borders)


def _ends(alignment: Alignment) -> Iterator[tuple[Placed, int, str]]:
    """Yield the two ends of each chunk that are from the source."""
    for placed in alignment.placed:
        if placed.runs and placed.runs[0].chunk == 0:
            yield placed, placed.runs[0].source, "begins"
        last = placed.runs[-1] if placed.runs else None
        if last and last.chunk + last.length == len(placed.text.text):
            yield placed, last.source + last.length, "ends"


def _checked(name: str, what: str, alignment: Alignment, cuts: list[tuple[Placed, int]]) -> Check:
    ends = sum(1 for _ in _ends(alignment))
    raw, places = alignment.source.squeezed.raw, alignment.source.squeezed.places
    faults = []
    for placed, at in cuts:
        left, right = places[at - 1] + 1, places[at]
        shown = (
            f"{raw[max(0, left - SHOWN) : left]}{'|' if left == right else ' | '}{raw[right : right + SHOWN]}"
        )
        faults.append(Fault(placed.piece.place, shown.strip()))
    return Check(
        name=name,
        value=share(len(cuts), ends),
        reason=f"{len(cuts):,} of {ends:,} chunk ends {what}",
        faults=worst(faults),
    )
