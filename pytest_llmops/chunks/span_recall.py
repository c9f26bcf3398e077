"""Measure how many expected answers are whole in a single chunk, so that a retriever can find them.

The expected answers of case files are a text, several wordings, or a span with its place as in SQuAD.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from pytest_llmops.chunks.alignment import Alignment
from pytest_llmops.chunks.pieces import CheckResult, Fault, Piece, Source, share_result
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.retrievers.base import to_python_scalar

START_FIELDS = ("start", "answer_start")
ANSWER_FORMS = 'expected a text, {"text": ..., "start": ...}, or a list of such entries, one of which is enough (as in SQuAD)'


@dataclass(frozen=True, slots=True)
class Answer:
    """A wording of an answer; ``start`` is its place in its document, None if only the text counts."""

    text: str
    start: int | None = None
    document: str = ""

    def raw_start(self, source: Source) -> int:
        """Return the place of the answer in ``source.compact.raw``; an unknown document means the first."""
        number = 0
        if self.document in source.names:
            number = source.names.index(self.document)
        return source.starts[number] + (self.start or 0)


def measure_span_recall(
    wanted: Mapping[str, Sequence[Answer]], pieces: Sequence[Piece], alignment: Alignment | None = None
) -> CheckResult:
    """Return the share of questions that have a wording of the answer whole in a single chunk.

    An answer with a place must be in a chunk that covers this place of the source. Other answers must be in a chunk
    as whole words and numbers ("5" is neither in "2.5" nor in "-5"); case and white space are ignored.

    Args:
        wanted: The wordings of the answer by the question's id; each answer has at least one wording.
        pieces: The chunks.
        alignment: The chunks in their source; needed for answers with a place.

    Returns:
        The result ``span_recall``, where higher is better; 0.0 without questions.
    """
    search = _AnswerSearch(pieces, alignment)
    faults = []
    for name, answers in wanted.items():
        if not any(map(search.has_whole_answer, answers)):
            faults.append(Fault(name, _describe_missing_answer(answers[0], alignment)))
    whole_count = len(wanted) - len(faults)
    reason = f"{whole_count:,} of {len(wanted):,} answers are whole in one chunk"
    return share_result("span_recall", whole_count, len(wanted), reason, faults)


class _AnswerSearch:
    """Finds out which answers are whole in a single chunk."""

    def __init__(self, pieces: Sequence[Piece], alignment: Alignment | None) -> None:
        self._alignment = alignment
        # All chunks in one text, so that a single search is enough for an answer
        texts = [" ".join(piece.text.split()) for piece in pieces]
        self._joined = "\0".join(text.casefold() for text in texts)
        spans = []
        if alignment:
            spans = [(run.source, run.source_end) for placed in alignment.placed for run in placed.runs]
        spans.sort()
        self._starts = [start for start, _ in spans]
        # For each start the furthest end of the spans that begin there or earlier: `has_whole_answer` then needs
        # a single lookup to know whether one of these spans covers an answer.
        self._ends = list(accumulate((end for _, end in spans), max))

    def has_whole_answer(self, answer: Answer) -> bool:
        """Return whether an answer is whole in a single chunk."""
        span = _answer_span(answer, self._alignment)
        if span is None:
            return _contains_words(self._joined, answer.text)
        start, end = span
        before = bisect_right(self._starts, start)
        return before > 0 and self._ends[before - 1] >= end


# Between two letters of a script with spaces, or two digits, no word ends.
_WORD = re.compile(
    "[^\\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]{2}\\Z"
)
_NUMBER_SEPARATORS = r".,'\u2019\u066b\u066c"
# "1,500", "2.5" and "-5" are single numbers; the hyphen of "3-5" and "A-5" is not a sign.
_NUMBER_BEFORE = re.compile(rf"(?:\d[{_NUMBER_SEPARATORS}]|(?:^|[^\w)\]%])[-\u2212])\Z")
_NUMBER_AFTER = re.compile(rf"[{_NUMBER_SEPARATORS}]\d")


def _contains_words(joined: str, answer: str) -> bool:
    """Return whether an answer is in a text as whole words and numbers.

    Args:
        joined: The chunks, joined by NUL, in lower case and with single spaces.
        answer: The answer as it was given.
    """
    # Without NUL, so that no answer matches across chunks.
    text = " ".join(answer.replace("\0", " ").split()).casefold()
    start = joined.find(text)
    while start >= 0:
        end = start + len(text)
        before = joined[max(0, start - 3) : start]
        after = joined[end : end + 2]
        if not _starts_within_word(before, text) and not _ends_within_word(text, after):
            return True
        start = joined.find(text, start + 1)
    return False


def _starts_within_word(before: str, text: str) -> bool:
    """Return whether a text begins inside a word or number, given the three characters before it."""
    if _WORD.match(before[-1:] + text[:1]):
        return True
    return text[:1].isdigit() and _NUMBER_BEFORE.search(before) is not None


def _ends_within_word(text: str, after: str) -> bool:
    """Return whether a text ends inside a word or number, given the two characters after it."""
    if _WORD.match(text[-1:] + after[:1]):
        return True
    return text[-1:].isdigit() and _NUMBER_AFTER.match(after) is not None


def _answer_span(answer: Answer, alignment: Alignment | None) -> tuple[int, int] | None:
    """Return the span of an answer in the compact source; None if the answer has no place, or without a source."""
    if alignment is None or answer.start is None:
        return None
    start = answer.raw_start(alignment.source)
    return alignment.source.compact.kept_range(start, start + len(answer.text))


def _describe_missing_answer(answer: Answer, alignment: Alignment | None) -> str:
    """Return which chunks have a part of an answer that is whole in none, with the answer and its line."""
    span = _answer_span(answer, alignment)
    if span is None or alignment is None:
        return f"in no chunk: {answer.text}"
    start, end = span
    parts = []
    for placed in alignment.placed:
        if any(run.source < end and start < run.source_end for run in placed.runs):
            parts.append(placed.piece.place)
    where = "in no chunk"
    if parts:
        listed = ", ".join(parts[:3])
        where = f"parted among {listed}"
    place = alignment.source.place(start)
    return f"{where}: {answer.text} ({place})"


def parse_wordings(
    value: object, *, where: str, document: object = "", source: Source | None = None
) -> list[Answer]:
    """Return the wordings of an answer; an empty list for null and an empty list (the source has no answer).

    Args:
        value: The field of the case: a text, ``{"text", "start"}`` (or ``"answer_start"``), a list of those, or
            ``{"text": [...], "answer_start": [...]}`` as in the Hugging Face data sets.
        where: The case, for errors.
        document: Name of the document of ``start``; needed if the source has several.
        source: If given, the texts must be at their places in it.

    Raises:
        UsageError: Another form, or another text at the place.

    >>> parse_wordings({"text": "30 days", "start": 4}, where="case a")
    [Answer(text='30 days', start=4, document='')]
    """
    answers = [_parse_answer(wording, where, document) for wording in _split_wordings(value, where)]
    if source is not None:
        for answer in answers:
            if answer.start is not None:
                _check_place(answer, source, where)
    return answers


def _check_place(answer: Answer, source: Source, where: str) -> None:
    """Raise a `UsageError` if the text of an answer is not at its place in the source."""
    is_document_needed = bool(answer.document) or len(source.names) > 1
    if is_document_needed and answer.document not in source.names:
        names = shorten_text(", ".join(source.names), 120)
        document = shorten_text(repr(answer.document), 60)
        raise UsageError(
            f"{where}: the answer has a place, but in which document? Expected its name under 'source', one of "
            f"{names}; got {document}"
        )
    start = answer.raw_start(source)
    text = source.compact.raw[start : start + len(answer.text)]
    if _without_space(text) != _without_space(answer.text):
        expected = shorten_text(answer.text, 60)
        got = shorten_text(text, 60)
        raise UsageError(
            f'{where}: expected "{expected}" at character {answer.start:,} of the source, '
            f'got "{got}"; is it the source that the cases were made from?'
        )


def _without_space(text: str) -> str:
    return "".join(text.split()).casefold()


def _split_wordings(value: object, where: str) -> Iterator[object]:
    """Yield the wordings of an answer as they are in its field."""
    if value is None:
        return
    if isinstance(value, Mapping):
        texts = value.get("text")
        if isinstance(texts, Sequence) and not isinstance(texts, str):
            yield from _pair_texts_with_starts(value, texts, where)
        else:
            yield value
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        yield from value
    else:
        yield value


def _pair_texts_with_starts(
    value: Mapping[str, object], texts: Sequence[object], where: str
) -> Iterator[object]:
    """Yield a mapping of text and start for each text of an answer with parallel lists of both.

    If the value has several of the keys in `START_FIELDS`, the first of them counts.
    """
    starts: object = [None] * len(texts)
    for key in reversed(START_FIELDS):
        if key in value:
            starts = value[key]
    if not isinstance(starts, Sequence) or len(starts) != len(texts):
        given = shorten_text(repr(value), 80)
        raise UsageError(f"{where}: expected as many starts as texts, got {given}")
    for text, start in zip(texts, starts, strict=True):
        yield {"text": text, "start": start}


def _parse_answer(value: object, where: str, document: object) -> Answer:
    """Return a wording, which is a text or a mapping of text and start; raise a `UsageError` for anything else."""
    text = value
    start = None
    if isinstance(value, Mapping):
        text = value.get("text")
        starts = [value.get(key) for key in START_FIELDS]
        given_starts = [start for start in starts if start is not None]
        if given_starts:
            start = to_python_scalar(given_starts[0])
    is_wrong_start = start is not None and (
        isinstance(start, bool) or not isinstance(start, int) or start < 0
    )
    if is_wrong_start or not isinstance(text, str) or not text.strip() or not isinstance(document, str):
        given = shorten_text(repr(value), 80)
        raise UsageError(f"{where}: {ANSWER_FORMS}, got {given}")
    return Answer(text, start, document)
