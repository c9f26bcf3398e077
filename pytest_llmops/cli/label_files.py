"""Files that people fill in with labels: JSON lines, or a table for a spreadsheet.

What stands in a file stays there byte for byte; a table's cells are written so that a spreadsheet evaluates none.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmops._util.text_files import BadFile, as_mapping, read_json, read_text
from pytest_llmops.calibration.labels import LabelledAnswer, parse_answer
from pytest_llmops.errors import CaseError, UsageError
from pytest_llmops.measurement import Json, shorten_text

JSONL, CSV = ".jsonl", ".csv"
COLUMNS = ("id", "question", "answer", "reference", "contexts", "family", "scale", "human")
"""Of a table, in this order."""
JSON_COLUMNS = frozenset({"contexts", "scale", "judge"})
"""Columns whose cells hold JSON."""
BOM = "\ufeff"
MAX_CELL_LENGTH = 32_767
"""Characters that a spreadsheet keeps of a cell; it drops the rest without a word."""

QUOTE_LENGTH, QUOTE_CONTEXT = 80, 20
"""Characters that are shown of two texts that differ, and how many of them stand before the difference."""

_LINE_END = re.compile(r"(\r\n|\r|\n)")
_FORMULA_START = re.compile(r"['=+\-@\t\r\n＝＋－＠]")
_MONTH = (
    r"(?:jan|ene|gen|feb|fév|mar|mär|apr|avr|abr|mai|may|mag|jun|jui|giu|jul|lug|aug|aoû|ago|sep|set|oct|okt|out|ott|nov"
    r"|dec|déc|dez|dic)\w*"
)
_NUMERIC = re.compile(r"(?=\D*\d)[\s\d.,:/%€$£()+\-eE]+")
_TIME = r"\d{1,2}(?::\d{1,2}){0,2}(?:[.,]\d+)?(?:\s*[ap](?:\.?\s?m\.?)?)?(?:\s*(?:z|[+\-]\d{1,2}:?\d{0,2}))?"
"""Of the day: ``3 PM``, ``12:30 pm``, ``10:00:00.5Z``."""
_DATE_OR_BOOLEAN = re.compile(
    rf"\s*(?:\d{{1,4}}[ .,/\-]*)?{_MONTH}(?:[ .,/\-]*\d{{1,4}}){{0,2}}(?:[ ,t]+{_TIME})?\s*"
    rf"|\s*(?:\d{{1,4}}(?:[./\-]\d{{1,4}}){{1,2}}[ ,t]*)?{_TIME}\s*"
    r"|\s*(?:true|false)\s*",
    re.IGNORECASE,
)
MAX_DATE_LENGTH = 60
"""Characters of the longest date or truth; numbers are of any length."""
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One answer of a file.

    Attributes:
        line: Where it starts, from 1.
        place: Of a JSON line its place in the file's parts; of a table -1.
        value: All that stands there.
        text: The JSON line as it stands; None in a table.
    """

    line: int
    place: int
    value: Mapping[str, Json]
    answer: LabelledAnswer
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFile:
    """A file of answers, labelled or not yet.

    Attributes:
        parts: Its text in pieces: each second one is a line end, all together are the file.
        columns: Of a table.
        delimiter: Of a table.
    """

    path: Path
    rows: tuple[LabelRow, ...] = ()
    parts: Sequence[str] = ()
    columns: tuple[str, ...] = field(default=COLUMNS)
    delimiter: str = ","

    @property
    def by_id(self) -> dict[str, LabelRow]:
        """The rows by their id."""
        return {row.answer.id: row for row in self.rows}

    @property
    def text(self) -> str:
        """All that stands in the file."""
        return "".join(self.parts)


def check_label_suffix(flag: str, path: Path) -> str:
    """Return which kind of file a name asks for.

    Raises:
        UsageError: None that people label in.
    """
    if path.suffix not in (JSONL, CSV):
        raise UsageError(f"{flag}: expected a file name ending in {JSONL} or {CSV}, got {str(path)!r}")
    return path.suffix


def read_label_file(path: Path) -> LabelFile:
    """Read a file of either kind; an empty one has no rows.

    Raises:
        CaseError: There is no such file, a line is no answer, or an id stands twice; with file and line.
    """
    try:
        read_text(path)
        # Once more, as it is: the lines that stay have to stay byte for byte.
        text = path.read_bytes().decode("utf-8")
    except BadFile as error:
        raise CaseError(error.what, path, error.line) from None
    except (OSError, ValueError) as error:
        raise CaseError(f"cannot be read: {error}", path) from None
    label_file = _parse_csv(path, text) if path.suffix == CSV else _parse_jsonl(path, text)
    first: dict[str, int] = {}
    for row in label_file.rows:
        if row.answer.id in first:
            what = f"duplicate id {shorten_text(row.answer.id, 60)!r} (first in line {first[row.answer.id]})"
            raise CaseError(what, path, row.line)
        first[row.answer.id] = row.line
    return label_file


def _parse_jsonl(path: Path, text: str) -> LabelFile:
    parts = _LINE_END.split(text)
    rows = []
    for place in range(0, len(parts), 2):
        if not (bare := parts[place].removeprefix(BOM)).strip():
            continue
        line = place // 2 + 1
        try:
            value = read_json(bare)
            rows.append(LabelRow(line, place, as_mapping(value), parse_answer(value, line), bare))
        except BadFile as error:
            raise CaseError(error.what, path, line) from None
    return LabelFile(path=path, rows=tuple(rows), parts=parts)


def _parse_csv(path: Path, text: str) -> LabelFile:
    bare = text.removeprefix(BOM)
    if not bare.strip():
        return LabelFile(path=path, parts=(text,))
    delimiter, columns = _parse_header(path, bare)
    rows = []
    for line, cells in _read_csv_records(path, bare, delimiter):
        try:
            value = _parse_row(columns, cells)
            rows.append(LabelRow(line, -1, value, parse_answer(value, line)))
        except BadFile as error:
            raise CaseError(error.what, path, line) from None
    return LabelFile(path=path, rows=tuple(rows), parts=(text,), columns=tuple(columns), delimiter=delimiter)


def _parse_header(path: Path, text: str) -> tuple[str, list[str]]:
    """How the cells are divided (spreadsheets of many countries save semicolons), and the columns' names."""
    first = _LINE_END.split(text, maxsplit=1)[0]
    for delimiter in ",;\t":
        columns = [column.strip() for column in next(csv.reader([first], delimiter=delimiter), [])]
        if {"id", "human"} <= set(columns):
            break
    else:
        raise CaseError(
            f"expected a first line with the columns' names, id and human among them, got {shorten_text(first, 100)!r}",
            path,
            1,
        )
    twice = next((column for column in columns if columns.count(column) > 1), None)
    if twice is not None:
        raise CaseError(f"the column {shorten_text(twice, 60)!r} stands twice", path, 1)
    return delimiter, columns


def _read_csv_records(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    # Its own lines: a line end within a cell belongs to the cell, and stays as it is.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        next(reader)
        line = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise CaseError(f"broken table: {error}", path, line) from None


def _parse_row(columns: Sequence[str], cells: Sequence[str]) -> dict[str, Json]:
    if len(cells) != len(columns):
        raise BadFile(
            f"expected {len(columns)} cells, as many as columns, got {len(cells)}: is the row half written?"
        )
    values: dict[str, Json] = {}
    for column, cell in zip(columns, cells, strict=True):
        if column == "human":
            values[column] = parse_label_cell(cell)
        elif column == "answer" or cell:
            values[column] = _parse_json_cell(column, cell) if column in JSON_COLUMNS else decode_cell(cell)
    return values


def _parse_json_cell(column: str, cell: str) -> Json:
    try:
        return read_json(decode_cell(cell))
    except BadFile as error:
        raise BadFile(f"{column}: expected JSON, as the cell was written: {error.what}") from None


def parse_label_cell(cell: str) -> Json:
    """Return the label that a cell holds; nothing: None, nobody has labelled.

    >>> parse_label_cell("TRUE"), parse_label_cell("pass"), parse_label_cell("4.5"), parse_label_cell(" ")
    (True, 'pass', 4.5, None)
    """
    text = decode_cell(cell.strip()).strip()
    if not text:
        return None
    if text.casefold() in ("true", "false"):
        return text.casefold() == "true"
    if _DECIMAL_COMMA.fullmatch(text):
        raise BadFile(f"human: expected a number with a point, got {shorten_text(text, 60)!r}")
    if text[0] in "[{":
        raise BadFile(
            f"human: expected one label in a cell, got {shorten_text(text, 60)!r}: one file a person, and --rater"
        )
    if not _NUMBER.fullmatch(text):
        return text
    if not math.isfinite(number := float(text)):
        raise BadFile(f"human: expected a finite number, got {shorten_text(text, 60)!r}")
    return number


def encode_cell(text: str) -> str:
    """Return a text as a cell that a spreadsheet neither evaluates nor rewrites (a formula, ``007``, a date).

    >>> encode_cell("=1+1"), encode_cell("007"), encode_cell("No.")
    ("'=1+1", "'007", 'No.')
    """
    return f"'{text}" if _needs_quote(text) else text


def decode_cell(cell: str) -> str:
    """Return the text that `encode_cell` made a cell of.

    >>> decode_cell("'=1+1"), decode_cell("'tis"), decode_cell(encode_cell("'tis"))
    ('=1+1', "'tis", "'tis")
    """
    return cell[1:] if cell.startswith("'") and _needs_quote(cell[1:]) else cell


def _needs_quote(text: str) -> bool:
    # What a spreadsheet takes for a formula, or for a number, date or truth that it shows in other words.
    if _FORMULA_START.match(text) or _NUMERIC.fullmatch(text):
        return True
    return len(text) <= MAX_DATE_LENGTH and _DATE_OR_BOOLEAN.fullmatch(text) is not None


def append_rows(file: LabelFile, rows: Sequence[Mapping[str, Json]]) -> str:
    """Return the text of a file with rows added at its end.

    Raises:
        UsageError: A table lacks a column of theirs, or a cell would be longer than a spreadsheet keeps.
    """
    text = file.text
    table = file.path.suffix == CSV
    if not text.removeprefix(BOM).strip():
        # Without the mark, spreadsheets do not read UTF-8.
        text = BOM + _format_csv_row(file, file.columns) if table else ""
    elif rows and not text.endswith(("\n", "\r")):
        text += "\n"
    return text + "".join(
        _format_csv_row(file, _format_cells(file, row)) if table else format_json_line(row) for row in rows
    )


def format_json_line(row: Mapping[str, Json]) -> str:
    """Return an object as a line of a file; what some editors take for a line's end is escaped."""
    text = json.dumps(row, ensure_ascii=False)
    for char in "\x85\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text + "\n"


def _format_csv_row(file: LabelFile, cells: Sequence[str]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=file.delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(cells)
    return out.getvalue()


def _format_cells(file: LabelFile, row: Mapping[str, Json]) -> list[str]:
    name = shorten_text(str(row.get("id")), 60)
    missing = [key for key, value in row.items() if key not in file.columns and value is not None]
    if missing:
        raise UsageError(
            f"{file.path}: {name}: expected the columns {', '.join(missing)} too, got "
            f"{shorten_text(', '.join(file.columns), 200)}: name another file"
        )
    cells = [_format_cell(column, row.get(column)) for column in file.columns]
    for column, cell in zip(file.columns, cells, strict=True):
        if len(cell) > MAX_CELL_LENGTH or "\0" in cell:
            what = "a NUL character" if "\0" in cell else f"{len(cell):,} characters"
            raise UsageError(
                f"{file.path}: {name}: {shorten_text(column, 60)} has {what}, and a spreadsheet keeps {MAX_CELL_LENGTH:,} characters of text "
                f"in a cell: name a {JSONL} file"
            )
    return cells


def _format_cell(column: str, value: Json) -> str:
    if value is None:
        return ""
    return encode_cell(json.dumps(value, ensure_ascii=False) if column in JSON_COLUMNS else str(value))


def describe_difference(expected: LabelledAnswer, got: LabelledAnswer) -> str:
    """Return what of two answers is not the same, or ``""``; line ends do not count, spreadsheets change them.

    >>> old, new = parse_answer({"id": "a", "answer": "Yes."}, 1), parse_answer({"id": "a", "answer": "No."}, 2)
    >>> describe_difference(old, new)
    'answer: expected "Yes.", got "No."'
    """
    for key in ("answer", "question", "reference", "contexts"):
        expected_text, got_text = _normalize_text(getattr(expected, key)), _normalize_text(getattr(got, key))
        if expected_text != got_text:
            return f"{key}: expected {_quote_difference(expected_text, got_text)}, got {_quote_difference(got_text, expected_text)}"
    return ""


def _normalize_text(value: object) -> str:
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _quote_difference(text: str, other: str) -> str:
    """The text, from a little before where the other one parts from it."""
    at = next(
        (n for n, (a, b) in enumerate(zip(text, other, strict=False)) if a != b),
        len(min(text, other, key=len)),
    )
    start = at - QUOTE_CONTEXT if at > QUOTE_LENGTH - QUOTE_CONTEXT else 0
    return f'"{"..." if start else ""}{shorten_text(text[start:], QUOTE_LENGTH)}"'
