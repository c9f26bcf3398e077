"""Is each answer whole in one chunk, so that a retriever can find it at all?"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from pytest_llmops.chunks.adapters import Piece
from pytest_llmops.chunks.alignment import Alignment
from pytest_llmops.chunks.findings import CheckResult, Fault, ratio_or_zero, worst_faults


@dataclass(frozen=True, slots=True)
class Answer:
    """One wording of an answer; ``start`` is its place in the source, None where only its text counts."""

    text: str
    start: int | None = None
    document: str = ""


def measure_span_recall(
    wanted: Mapping[str, Sequence[Answer]], pieces: Sequence[Piece], alignment: Alignment | None = None
) -> CheckResult:
    """Return the share of questions of which one wording of the answer stands whole in one chunk.

    An answer with a place has to be there in a chunk that covers this place of the source; one without has
    to be in a chunk as whole words and numbers ("5" is neither in "2.5" nor in "-5"), but for case and white
    space.

    Args:
        wanted: The wordings of the answer by the question's id.
        pieces: The chunks.
        alignment: The chunks in their source; needed for answers with a place.

    Returns:
        The check ``measure_span_recall``; here higher is better. Without a question 0.0.
    """
    texts = [" ".join(piece.text.split()).casefold() for piece in pieces]
    joined, covered = _JoinedChunks(texts), _CoveredSpans(alignment)
    faults = []
    for name, answers in wanted.items():
        if not any(_is_whole_answer(answer, joined, covered) for answer in answers):
            faults.append(Fault(name, _describe_missing_answer(answers, alignment)))
    whole_count = len(wanted) - len(faults)
    return CheckResult(
        name="span_recall",
        value=ratio_or_zero(whole_count, len(wanted)),
        reason=f"{whole_count:,} of {len(wanted):,} answers stand whole in one chunk",
        faults=worst_faults(faults),
    )


class _JoinedChunks:
    """All chunks as one text: one search instead of one for each chunk."""

    def __init__(self, texts: Sequence[str]) -> None:
        # No answer holds a NUL, as its blanks are made one.
        self._text = "\0".join(texts)

    def holds(self, answer: str) -> bool:
        text = " ".join(answer.replace("\0", " ").split()).casefold()
        at = self._text.find(text)
        while at >= 0:
            if self._whole_words(at, at + len(text)):
                return True
            at = self._text.find(text, at + 1)
        return False

    def _whole_words(self, start: int, end: int) -> bool:
        before, inner = self._text[max(0, start - 3) : start], self._text[start:end]
        after = self._text[end : end + 2]
        return not (
            _WORD.match(before[-1:] + inner[:1])
            or _WORD.match(inner[-1:] + after[:1])
            or (inner[:1].isdigit() and _NUMBER_BEFORE.search(before))
            or (inner[-1:].isdigit() and _NUMBER_AFTER.match(after))
        )


# Two letters of a script with spaces, or two digits: within a word.
_WORD = re.compile(
    "[^\\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]{2}\\Z"
)
_NUMBER_SEPARATORS = r".,'\u2019\u066b\u066c"
# "1,500" and "2.5" are one number, and so is "-5"; the hyphen of "3-5" and "A-5" is no sign.
_NUMBER_BEFORE = re.compile(rf"(?:\d[{_NUMBER_SEPARATORS}]|(?:^|[^\w)\]%])[-\u2212])\Z")
_NUMBER_AFTER = re.compile(rf"[{_NUMBER_SEPARATORS}]\d")


class _CoveredSpans:
    """Which stretches of the source stand whole in a chunk."""

    def __init__(self, alignment: Alignment | None) -> None:
        self.alignment = alignment
        runs = sorted(
            (run.source, run.source + run.length)
            for placed in (alignment.placed if alignment else ())
            for run in placed.runs
        )
        self._starts = [start for start, _ in runs]
        self._ends = list(accumulate((end for _, end in runs), max))

    def holds(self, start: int, end: int) -> bool:
        before = bisect_right(self._starts, start)
        return before > 0 and self._ends[before - 1] >= end


def _is_whole_answer(answer: Answer, joined: _JoinedChunks, covered: _CoveredSpans) -> bool:
    span = _answer_span(answer, covered.alignment)
    return joined.holds(answer.text) if span is None else covered.holds(*span)


def _answer_span(answer: Answer, alignment: Alignment | None) -> tuple[int, int] | None:
    if alignment is None or answer.start is None:
        return None
    source = alignment.source
    number = source.names.index(answer.document) if answer.document in source.names else 0
    start = source.starts[number] + answer.start
    return source.compact.within(start, start + len(answer.text))


def _describe_missing_answer(answers: Sequence[Answer], alignment: Alignment | None) -> str:
    first = answers[0]
    span = _answer_span(first, alignment)
    if span is None or alignment is None:
        return f"in no chunk: {first.text}"
    parts = [
        placed.piece.place
        for placed in alignment.placed
        if any(run.source < span[1] and span[0] < run.source + run.length for run in placed.runs)
    ]
    where = f"parted among {', '.join(parts[:3])}" if parts else "in no chunk"
    return f"{where}: {first.text} ({alignment.source.place(span[0])})"
