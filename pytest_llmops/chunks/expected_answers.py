"""Answers as they stand in case files: a text, several wordings, or a span with its place, as in SQuAD."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_llmops.chunks.offsets import Source
from pytest_llmops.chunks.span_recall import Answer
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.retrievers.base import to_python_scalar

START_FIELDS = ("start", "answer_start")
ANSWER_FORMS = (
    'expected a text, {"text": ..., "start": ...}, or a list of those of which one is enough (as in SQuAD)'
)


def parse_wordings(
    value: object, *, where: str, document: object = "", source: Source | None = None
) -> list[Answer]:
    """Return the wordings of one answer; none for null and an empty list (the source has no answer).

    Args:
        value: As it stands in the case: a text, ``{"text", "start"}`` (or ``"answer_start"``), a list of
            those, or ``{"text": [...], "answer_start": [...]}`` as the Hugging Face data sets have it.
        where: The case, for errors.
        document: Name of the document in which ``start`` counts; needed if the source has several.
        source: What the places are in; without it only texts count.

    Raises:
        UsageError: It has another form, or something else stands at the place.

    >>> parse_wordings({"text": "30 days", "start": 4}, where="case a")
    [Answer(text='30 days', start=4, document='')]
    """
    answers = [_parse_answer(wording, where, document) for wording in _split_wordings(value, where)]
    if source is not None:
        for answer in answers:
            _check_answer_place(answer, where, source)
    return answers


def _split_wordings(value: object, where: str) -> Iterator[object]:
    if value is None:
        return
    if (
        isinstance(value, Mapping)
        and isinstance(value.get("text"), Sequence)
        and not isinstance(value["text"], str)
    ):
        starts = next((value[key] for key in START_FIELDS if key in value), [None] * len(value["text"]))
        if not isinstance(starts, Sequence) or len(starts) != len(value["text"]):
            raise UsageError(
                f"{where}: expected as many starts as texts, got {shorten_text(repr(value), 80)}"
            )
        yield from ({"text": text, "start": start} for text, start in zip(value["text"], starts, strict=True))
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        yield from value
    else:
        yield value


def _parse_answer(value: object, where: str, document: object) -> Answer:
    text, start = value, None
    if isinstance(value, Mapping):
        text = value.get("text")
        start = to_python_scalar(
            next((value[key] for key in START_FIELDS if value.get(key) is not None), None)
        )
    wrong_start = start is not None and (isinstance(start, bool) or not isinstance(start, int) or start < 0)
    if not isinstance(text, str) or not text.strip() or wrong_start or not isinstance(document, str):
        raise UsageError(f"{where}: {ANSWER_FORMS}, got {shorten_text(repr(value), 80)}")
    return Answer(text, start if isinstance(start, int) else None, document)


def _check_answer_place(answer: Answer, where: str, source: Source) -> None:
    if answer.start is None:
        return
    if answer.document not in source.names and (answer.document or len(source.names) > 1):
        raise UsageError(
            f"{where}: the answer has a place, but in which document? Expected its name under 'source', one of "
            f"{shorten_text(', '.join(source.names), 120)}; got {shorten_text(repr(answer.document), 60)}"
        )
    number = source.names.index(answer.document) if answer.document in source.names else 0
    start = source.starts[number] + answer.start
    there = source.compact.raw[start : start + len(answer.text)]
    if "".join(there.split()).casefold() != "".join(answer.text.split()).casefold():
        raise UsageError(
            f'{where}: expected "{shorten_text(answer.text, 60)}" at character {answer.start:,} of the source, '
            f'got "{shorten_text(there, 60)}"; is it the source that the cases were made from?'
        )
