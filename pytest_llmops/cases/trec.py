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
from pytest_llmops.measurement import shorten

N = TypeVar("N", int, float)

GZIP = b"\x1f\x8b"
MAX_BYTES = 2**30
"""Of an unpacked file: a small gzip can hold far more than a machine has."""
MAX_DIGITS = 9


@dataclass(frozen=True, slots=True)
class _Form(Generic[N]):
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
    return _read(path, _QRELS)


def read_run(path: str | Path) -> dict[str, dict[str, float]]:
    """Read a run: query -> (document id -> score), in the order of the file.

    The order of a ranking is that of its scores (`pytest_llmops.metrics.ranking.ranked`), whatever the file's
    ranks say.

    Raises:
        CaseError: The file cannot be used: no such file, not UTF-8, empty, a line with too few fields, a score
            that is no finite number, a document ranked twice for a query; with file and line.
    """
    return _read(path, _RUN)


def _read(path: str | Path, form: _Form[N]) -> dict[str, dict[str, N]]:
    try:
        found = _rows(_text(Path(path)), form)
    except BadFile as error:
        raise CaseError(error.what, path, error.line) from None
    if not found:
        raise CaseError(f"no line in the file: expected lines of the form {form.words}", path)
    return found


def _rows(text: str, form: _Form[N]) -> dict[str, dict[str, N]]:
    found: dict[str, dict[str, N]] = {}
    words = form.words.split()
    place = words.index(form.value)
    for line, parts in _lines(text, words):
        query, document = parts[0], parts[2]
        rows = found.setdefault(query, {})
        if document in rows:
            what = f"query {shorten(query, 60)}: document {shorten(document, 60)} stands twice"
            raise BadFile(f"{what} (first in line {_first(text, query, document)})", line)
        value = form.number(parts[place])
        if value is None:
            raise BadFile(f"{form.value}: expected {form.expected}, got {shorten(parts[place], 60)}", line)
        rows[document] = value
    return found


def _lines(text: str, words: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in numbered_lines(text):
        if line.startswith("#"):
            continue
        parts = line.split()
        if len(parts) < len(words):
            form, got = " ".join(words), shorten(line.strip(), 80)
            raise BadFile(f"expected {form}, got {len(parts)} fields: {got}", number)
        yield number, parts


def _first(text: str, query: str, document: str) -> int:
    rows = ((number, line.split()) for number, line in numbered_lines(text) if not line.startswith("#"))
    return next(number for number, parts in rows if (parts[0], parts[2]) == (query, document))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP
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


def _grade(text: str) -> int | None:
    digits = text.removeprefix("-").removeprefix("+")
    usable = digits.isascii() and digits.isdecimal() and len(digits) <= MAX_DIGITS
    return int(text) if usable else None


def _score(text: str) -> float | None:
    try:
        score = float(text)
    except ValueError:
        return None
    return score if math.isfinite(score) else None


_QRELS = _Form(
    "query iteration document grade", "grade", f"a whole number of at most {MAX_DIGITS} digits", _grade
)
_RUN = _Form("query Q0 document rank score tag", "score", "a finite number", _score)
