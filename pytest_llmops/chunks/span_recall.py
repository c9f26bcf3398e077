"""Measure how many expected answers stand whole in a single chunk, so that a retriever can find them.

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
ANSWER_FORMS = (
    'expected a text, {"text": ..., "start": ...}, or a list of those of which one is enough (as in SQuAD)'
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A wording of an answer; ``start`` is its place in its document, None if only the text counts."""

    text: str
    start: int | None = None
    document: str = ""

    def raw_start(self, source: Source) -> int:
        """Return the place of the answer in ``source.compact.raw``; an unknown document means the first."""
        if self.document in source.names:
            number = source.names.index(self.document)
        else:
            number = 0
        return source.starts[number] + (self.start or 0)


def measure_span_recall(
    wanted: Mapping[str, Sequence[Answer]], pieces: Sequence[Piece], alignment: Alignment | None = None
) -> CheckResult:
    """Return the share of questions that have a wording of the answer whole in a single chunk.

    An answer with a place must be in a chunk that covers this place of the source. Other answers must be in a chunk
    as whole words and numbers ("5" is neither in "2.5" nor in "-5"); case and white space are ignored.

    Args:
        wanted: The wordings of the answer by the question's id.
        pieces: The chunks.
        alignment: The chunks in their source; needed for answers with a place.

    Returns:
        The result ``span_recall``, where higher is better; 0.0 without questions.
    """
    # Joined for a single search.
    joined = "\0".join(" ".join(piece.text.split()).casefold() for piece in pieces)
    if alignment:
        placed_chunks = alignment.placed
    else:
        placed_chunks = ()
    runs = sorted((run.source, run.source_end) for placed in placed_chunks for run in placed.runs)
    starts = [start for start, _ in runs]
    ends = list(accumulate((end for _, end in runs), max))

    def is_whole(answer: Answer) -> bool:
        span = _answer_span(answer, alignment)
        if span is None:
            return _contains_words(joined, answer.text)
        before = bisect_right(starts, span[0])
        return before > 0 and ends[before - 1] >= span[1]

    faults = [
        Fault(name, _describe_missing_answer(answers[0], alignment))
        for name, answers in wanted.items()
        if not any(map(is_whole, answers))
    ]
    whole_count = len(wanted) - len(faults)
    return share_result(
        "span_recall",
        whole_count,
        len(wanted),
        f"{whole_count:,} of {len(wanted):,} answers stand whole in one chunk",
        faults,
    )


# Between two letters of a script with spaces, or two digits, no word ends.
_WORD = re.compile(
    "[^\\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]{2}\\Z"
)
_NUMBER_SEPARATORS = r".,'\u2019\u066b\u066c"
# "1,500", "2.5" and "-5" are single numbers; the hyphen of "3-5" and "A-5" is not a sign.
_NUMBER_BEFORE = re.compile(rf"(?:\d[{_NUMBER_SEPARATORS}]|(?:^|[^\w)\]%])[-\u2212])\Z")
_NUMBER_AFTER = re.compile(rf"[{_NUMBER_SEPARATORS}]\d")


def _contains_words(joined: str, answer: str) -> bool:
    # Without NUL, so that no answer matches across chunks.
    text = " ".join(answer.replace("\0", " ").split()).casefold()
    start = joined.find(text)
    while start >= 0:
        end = start + len(text)
        before = joined[max(0, start - 3) : start]
        after = joined[end : end + 2]
        if not (
            _WORD.match(before[-1:] + text[:1])
            or _WORD.match(text[-1:] + after[:1])
            or (text[:1].isdigit() and _NUMBER_BEFORE.search(before))
            or (text[-1:].isdigit() and _NUMBER_AFTER.match(after))
        ):
            return True
        start = joined.find(text, start + 1)
    return False


def _answer_span(answer: Answer, alignment: Alignment | None) -> tuple[int, int] | None:
    if alignment is None or answer.start is None:
        return None
    start = answer.raw_start(alignment.source)
    return alignment.source.compact.kept_range(start, start + len(answer.text))


def _describe_missing_answer(answer: Answer, alignment: Alignment | None) -> str:
    span = _answer_span(answer, alignment)
    if span is None or alignment is None:
        return f"in no chunk: {answer.text}"
    parts = [
        placed.piece.place
        for placed in alignment.placed
        if any(run.source < span[1] and span[0] < run.source_end for run in placed.runs)
    ]
    if parts:
        where = f"parted among {', '.join(parts[:3])}"
    else:
        where = "in no chunk"
    return f"{where}: {answer.text} ({alignment.source.place(span[0])})"


def parse_wordings(
    value: object, *, where: str, document: object = "", source: Source | None = None
) -> list[Answer]:
    """Return the wordings of an answer; an empty list for null and an empty list (the source has no answer).

    Args:
        value: The field of the case: a text, ``{"text", "start"}`` (or ``"answer_start"``), a list of those, or
            ``{"text": [...], "answer_start": [...]}`` as in the Hugging Face data sets.
        where: The case, for errors.
        document: Name of the document of ``start``; needed if the source has several.
        source: If given, the texts must stand at their places in it.

    Raises:
        UsageError: Another form, or another text at the place.

    >>> parse_wordings({"text": "30 days", "start": 4}, where="case a")
    [Answer(text='30 days', start=4, document='')]
    """
    answers = [_parse_answer(wording, where, document) for wording in _split_wordings(value, where)]
    for answer in answers:
        if source is None or answer.start is None:
            continue
        if answer.document not in source.names and (answer.document or len(source.names) > 1):
            raise UsageError(
                f"{where}: the answer has a place, but in which document? Expected its name under 'source', one of "
                f"{shorten_text(', '.join(source.names), 120)}; got {shorten_text(repr(answer.document), 60)}"
            )
        start = answer.raw_start(source)
        there = source.compact.raw[start : start + len(answer.text)]
        if "".join(there.split()).casefold() != "".join(answer.text.split()).casefold():
            raise UsageError(
                f'{where}: expected "{shorten_text(answer.text, 60)}" at character {answer.start:,} of the source, '
                f'got "{shorten_text(there, 60)}"; is it the source that the cases were made from?'
            )
    return answers


def _split_wordings(value: object, where: str) -> Iterator[object]:
    if value is None:
        return
    if isinstance(value, Mapping):
        texts = value.get("text")
    else:
        texts = None
    if isinstance(value, Mapping) and isinstance(texts, Sequence) and not isinstance(texts, str):
        starts = next((value[key] for key in START_FIELDS if key in value), [None] * len(texts))
        if not isinstance(starts, Sequence) or len(starts) != len(texts):
            raise UsageError(
                f"{where}: expected as many starts as texts, got {shorten_text(repr(value), 80)}"
            )
        yield from ({"text": text, "start": start} for text, start in zip(texts, starts, strict=True))
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        yield from value
    else:
        yield value


def _parse_answer(value: object, where: str, document: object) -> Answer:
    text = value
    start = None
    if isinstance(value, Mapping):
        text = value.get("text")
        start = to_python_scalar(
            next((value[key] for key in START_FIELDS if value.get(key) is not None), None)
        )
    wrong_start = start is not None and (isinstance(start, bool) or not isinstance(start, int) or start < 0)
    if not isinstance(text, str) or not text.strip() or wrong_start or not isinstance(document, str):
        raise UsageError(f"{where}: {ANSWER_FORMS}, got {shorten_text(repr(value), 80)}")
    return Answer(text, start if isinstance(start, int) else None, document)
