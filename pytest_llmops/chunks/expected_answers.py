"""Parse the expected answers of case files: a text, several wordings, or a span with its place as in SQuAD."""

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
    texts = value.get("text") if isinstance(value, Mapping) else None
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
