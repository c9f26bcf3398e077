"""Read files in the formats of TREC: judgements (qrels), and runs of a search engine.

A line of judgements is ``query iteration document grade``, one of a run ``query Q0 document rank score tag``,
separated by blanks. As in trec_eval the rank, the iteration and what follows the tag do not count, blank lines
and lines that start with ``#`` are skipped.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from pytest_llmops._util.text_files import BadFile, decode_text, numbered_lines, read_bytes
from pytest_llmops._util.user_files import find_path
from pytest_llmops.errors import CaseError
from pytest_llmops.measurement import shorten_text

N = TypeVar("N", int, float)

MAX_DIGITS = 9


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Read judgements: query -> (document id -> grade), in the order of the file.

    Raises:
        CaseError: The file is missing, not UTF-8 or empty, a line has too few fields, a grade is not a whole number,
            or a document is judged twice for a query; with file and line.
    """
    expected = f"a whole number of at most {MAX_DIGITS} digits"
    return _read_trec_file(path, "query iteration document grade", "grade", expected, _parse_grade)


def read_run(path: str | Path) -> dict[str, dict[str, float]]:
    """Read a run: query -> (document id -> score), in the order of the file.

    A ranking is ordered by its scores (`pytest_llmops.metrics.ranking.rank_by_score`); the ranks in the file are ignored.

    Raises:
        CaseError: The file is missing, not UTF-8 or empty, a line has too few fields, a score is not a finite number,
            or a document is ranked twice for a query; with file and line.
    """
    return _read_trec_file(path, "query Q0 document rank score tag", "score", "a finite number", _parse_score)


def _read_trec_file(
    path: str | Path, form: str, number: str, expected: str, parse_number: Callable[[str], N | None]
) -> dict[str, dict[str, N]]:
    """Return query -> (document -> number) from the lines of a file.

    Args:
        path: The file.
        form: The names of the fields of a line, separated by blanks.
        number: Which of the fields is the number.
        expected: A description of that number, for errors.
        parse_number: Returns the number, or None if the text is not one.
    """
    try:
        text = decode_text(read_bytes(find_path(path)))
    except BadFile as error:
        raise CaseError(error.what, path, error.line) from None
    by_query: dict[str, dict[str, N]] = {}
    fields = form.split()
    number_column = fields.index(number)
    for line, row in _split_lines(text):
        if len(row) < len(fields):
            got = shorten_text(" ".join(row), 80)
            fields_text = f"{len(row)} fields: {got}"
            raise CaseError(f"expected {form}, got {fields_text}", path, line)
        query = row[0]
        document = row[2]
        values = by_query.setdefault(query, {})
        if document in values:
            query_text = shorten_text(query, 60)
            document_text = shorten_text(document, 60)
            what = f"query {query_text}: document {document_text} occurs twice"
            first = _find_first_line(text, query, document)
            raise CaseError(f"{what} (first in line {first})", path, line)
        digits = row[number_column]
        value = parse_number(digits)
        if value is None:
            got = shorten_text(digits, 60)
            raise CaseError(f"{number}: expected {expected}, got {got}", path, line)
        values[document] = value
    if not by_query:
        raise CaseError(f"no line in the file: expected lines of the form {form}", path)
    return by_query


def _find_first_line(text: str, query: str, document: str) -> int:
    """Return the first line with this query and document; there is one, as the document was read before."""
    for line, row in _split_lines(text):
        if row[0] == query and row[2] == document:
            return line
    raise AssertionError(document)


def _split_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of each line that is not a comment."""
    for number, line in numbered_lines(text):
        if not line.startswith("#"):
            yield number, line.split()


def _parse_grade(text: str) -> int | None:
    digits = text.removeprefix("-").removeprefix("+")
    if digits.isascii() and digits.isdecimal() and len(digits) <= MAX_DIGITS:
        return int(text)
    return None


def _parse_score(text: str) -> float | None:
    try:
        score = float(text)
    except ValueError:
        return None
    if math.isfinite(score):
        return score
    return None
