"""Rows of a JSON file in the form of SQuAD, which tools for annotation write: articles with paragraphs with questions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmops._util.text_files import BadFile, json_kind
from pytest_llmops.measurement import Json


def is_squad(entries: Sequence[Json]) -> bool:
    """Return whether the entries of a list are articles of SQuAD.

    >>> is_squad([{"title": "Returns", "paragraphs": []}]), is_squad([{"question": "May I?"}])
    (True, False)
    """
    return all(isinstance(entry, Mapping) and "paragraphs" in entry for entry in entries)


def iter_squad_rows(articles: Sequence[Json]) -> Iterator[Json]:
    """Yield a row for each question: its own keys, with the ``context`` of its paragraph and the ``title`` of its article.

    Raises:
        BadFile: A part is missing or of another type; gives the place in the list.
    """
    for place, article in _iter_objects(articles, "data"):
        for where, paragraph in _iter_objects(article["paragraphs"], f"{place}.paragraphs"):
            shared = {"title": article.get("title"), "context": paragraph.get("context")}
            for _, question in _iter_objects(paragraph.get("qas"), f"{where}.qas"):
                yield {**shared, **question}


def _iter_objects(value: Json, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the objects of a list, each with its place.

    Raises:
        BadFile: It is not a list of objects.
    """
    if not isinstance(value, list):
        raise BadFile(f"{place}: expected a list, as in a file of SQuAD, got {json_kind(value)}")
    for index, entry in enumerate(value):
        if not isinstance(entry, Mapping):
            raise BadFile(
                f"{place}[{index}]: expected an object, as in a file of SQuAD, got {json_kind(entry)}"
            )
        yield f"{place}[{index}]", entry
