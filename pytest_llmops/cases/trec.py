"""Files in the formats of TREC: judgements (qrels), and runs of a search engine; plain or gzipped.

A line of judgements is ``query iteration document grade``, one of a run ``query Q0 document rank score tag``,
separated by blanks. As in trec_eval the rank, the iteration and what follows the tag do not count, blank lines
and lines that start with ``#`` are skipped.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pytest_llmops._util.text_files import BadFile, numbered_lines, read_text
from pytest_llmops.errors import CaseError
from pytest_llmops.measurement import shorten_text

N = TypeVar("N", int, float)

GZIP_MAGIC = b"\x1f\x8b"
MAX_BYTES = 2**30
"""Of an unpacked file: a small gzip can hold far more than a machine has."""
MAX_DIGITS = 9


@dataclass(frozen=True, slots=True)
class _LineFormat(Generic[N]):
    """What a line looks like, and its one number."""

    words: str
    value: str
    expected: str
    number: Callable[[str], N | None]


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Read judgements: query -> (document id -> grade), in the order of the file.

    Raises:
        CaseError: The file cannot be used: no such file, not UTF-8, empty, a line with too few fields, a grade
            that is no whole number, a document judged twice for a query; with file and line.
    """
    return _read_trec_file(path, _QRELS_FORMAT)


def read_run(path: str | Path) -> dict[str, dict[str, float]]:
    """Read a run: query -> (document id -> score), in the order of the file.

    The order of a ranking is that of its scores (`pytest_llmops.metrics.ranking.rank_by_score`), whatever the file's
    ranks say.

    Raises:
        CaseError: The file cannot be used: no such file, not UTF-8, empty, a line with too few fields, a score
            that is no finite number, a document ranked twice for a query; with file and line.
    """
    return _read_trec_file(path, _RUN_FORMAT)


def _read_trec_file(path: str | Path, line_format: _LineFormat[N]) -> dict[str, dict[str, N]]:
    try:
        rows = _parse_rows(_read_unpacked(Path(path)), line_format)
    except BadFile as error:
        raise CaseError(error.what, path, error.line) from None
    if not rows:
        raise CaseError(f"no line in the file: expected lines of the form {line_format.words}", path)
    return rows


def _parse_rows(text: str, line_format: _LineFormat[N]) -> dict[str, dict[str, N]]:
    by_query: dict[str, dict[str, N]] = {}
    words = line_format.words.split()
    place = words.index(line_format.value)
    for line, parts in _split_lines(text, words):
        query, document = parts[0], parts[2]
        rows = by_query.setdefault(query, {})
        if document in rows:
            what = f"query {shorten_text(query, 60)}: document {shorten_text(document, 60)} stands twice"
            raise BadFile(f"{what} (first in line {_find_first_line(text, query, document)})", line)
        value = line_format.number(parts[place])
        if value is None:
            raise BadFile(
                f"{line_format.value}: expected {line_format.expected}, got {shorten_text(parts[place], 60)}",
                line,
            )
        rows[document] = value
    return by_query


def _split_lines(text: str, words: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in numbered_lines(text):
        if line.startswith("#"):
            continue
        parts = line.split()
        if len(parts) < len(words):
            form, got = " ".join(words), shorten_text(line.strip(), 80)
            raise BadFile(f"expected {form}, got {len(parts)} fields: {got}", number)
        yield number, parts


def _find_first_line(text: str, query: str, document: str) -> int:
    rows = ((number, line.split()) for number, line in numbered_lines(text) if not line.startswith("#"))
    return next(number for number, parts in rows if (parts[0], parts[2]) == (query, document))


def _read_unpacked(path: Path) -> str:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP_MAGIC
    except OSError:
        packed = False
    if not packed:
        return read_text(path)
    try:
        with gzip.open(path) as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise BadFile(f"broken gzip: {error}") from None
    except UnicodeDecodeError as error:
        raise BadFile("not UTF-8", data.count(b"\n", 0, error.start) + 1) from None
    if len(data) > MAX_BYTES:
        raise BadFile(f"expected at most {MAX_BYTES:,} bytes unpacked")
    return text.replace("\r\n", "\n")


def _parse_grade(text: str) -> int | None:
    digits = text.removeprefix("-").removeprefix("+")
    usable = digits.isascii() and digits.isdecimal() and len(digits) <= MAX_DIGITS
    return int(text) if usable else None


def _parse_score(text: str) -> float | None:
    try:
        score = float(text)
    except ValueError:
        return None
    return score if math.isfinite(score) else None


_QRELS_FORMAT = _LineFormat(
    "query iteration document grade", "grade", f"a whole number of at most {MAX_DIGITS} digits", _parse_grade
)
_RUN_FORMAT = _LineFormat("query Q0 document rank score tag", "score", "a finite number", _parse_score)
