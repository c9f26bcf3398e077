"""Read and extend files of labels: JSON lines, or a CSV table for a spreadsheet.

Lines that are in a file stay byte for byte. Cells are written so that a spreadsheet neither evaluates nor rewrites them.
"""

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_llmops._util.text_files import (
    BadFile,
    as_mapping,
    read_csv,
    read_json,
    read_json_lines,
    read_text,
)
from pytest_llmops.calibration.labels import LabelledAnswer, parse_answer, parse_rows
from pytest_llmops.errors import CaseError, UsageError, refuse
from pytest_llmops.measurement import Json, shorten_text

JSONL, CSV = ".jsonl", ".csv"
COLUMNS = ("id", "question", "answer", "reference", "contexts", "family", "scale", "human")
JSON_COLUMNS = frozenset({"contexts", "scale", "judge"})
BOM = "\ufeff"
MAX_CELL_LENGTH = 32_767  # characters that a spreadsheet keeps of a cell; it drops the rest silently

# Characters that an error shows of a text that differs, and how many of them come before the difference
QUOTE_LENGTH, QUOTE_CONTEXT = 80, 20

_FORMULA_START = re.compile(r"['=+\-@\t\r＝＋－＠]")
_MONTH = (
    r"(?:jan|ene|gen|feb|fév|mar|mär|apr|avr|abr|mai|may|mag|jun|jui|giu|jul|lug|aug|aoû|ago|sep|set|oct|okt|out|ott|nov"
    r"|dec|déc|dez|dic)[^\W\d_]*+"
)
# Texts that a spreadsheet shows differently: ``007``, ``1.2.2024``, ``3 PM``, ``5 mai 2024``,
# ``10:00:00.5Z``, ``TRUE``
_NUMBER_OR_DATE = re.compile(
    rf"(?=\D*\d)(?:{_MONTH}|[\s\d.,:/%€$£()+\-]|(?<=[\d\s])[ap]\.?\s?m?\.?|(?<=\d)[tze])++|\s*(?:true|false)\s*",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


@dataclass(frozen=True, slots=True)
class LabelRow:
    """An answer of a file, with the line where it starts (from 1) and all keys that the file has for it."""

    line: int
    value: Mapping[str, Json]
    answer: LabelledAnswer

    def error(self, path: Path, what: str) -> CaseError:
        """Return the error for an answer of a file."""
        return CaseError(f"{shorten_text(self.answer.id, 60)}: {what}", path, self.line)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFile:
    """A file of answers, labelled or not.

    Attributes:
        lines: All lines of the file with their line ends.
        columns: Column names of a table.
        delimiter: Cell delimiter of a table.
    """

    path: Path
    rows: tuple[LabelRow, ...] = ()
    lines: tuple[str, ...] = ()
    columns: tuple[str, ...] = COLUMNS
    delimiter: str = ","

    @property
    def by_id(self) -> dict[str, LabelRow]:
        """The rows by id."""
        return {row.answer.id: row for row in self.rows}


def check_label_suffix(flag: str, path: Path) -> None:
    """Check that a file is named as JSON lines or CSV.

    Raises:
        UsageError: It is not.
    """
    refuse(
        path.suffix not in (JSONL, CSV),
        f"{flag}: expected a file name ending in {JSONL} or {CSV}, got {str(path)!r}",
    )


def read_label_file(path: Path) -> LabelFile:
    """Read a file of labels; an empty file has no rows.

    Raises:
        CaseError: The file cannot be read, a line is not an answer, or an id is repeated; with file and line.
    """
    try:
        read_text(path)
        # Read again without any normalization: existing lines must stay byte for byte.
        text = path.read_bytes().decode("utf-8")
    except BadFile as error:
        raise CaseError(error.what, path, error.line) from None
    except (OSError, ValueError) as error:
        raise CaseError(f"cannot be read: {error}", path) from None
    lines = tuple(io.StringIO(text, newline=""))
    text = text.removeprefix(BOM)
    file = LabelFile(path=path, lines=lines)
    if path.suffix != CSV:
        rows = read_json_lines(text.replace("\r\n", "\n").replace("\r", "\n"))
    elif text.strip():
        delimiter, columns = _parse_header(path, lines[0].removeprefix(BOM).rstrip("\r\n"))
        file = replace(file, columns=tuple(columns), delimiter=delimiter)
        rows = _read_csv_rows(text, file)
    else:
        return file
    parsed = parse_rows(rows, parse_answer, path)
    return replace(
        file, rows=tuple(LabelRow(answer.line, as_mapping(value), answer) for value, answer in parsed)
    )


def _read_csv_rows(text: str, file: LabelFile) -> Iterator[tuple[int, Json]]:
    for line, cells in read_csv(text, file.delimiter)[1:]:
        if any(cell.strip() for cell in cells):
            try:
                yield line, _parse_cells(file.columns, cells)
            except BadFile as error:
                raise BadFile(error.what, error.line or line) from None


def _parse_header(path: Path, header: str) -> tuple[str, list[str]]:
    # Return the delimiter (in many countries spreadsheets save semicolons) and the column names.
    parsed = (
        (delimiter, [column.strip() for column in next(csv.reader([header], delimiter=delimiter), [])])
        for delimiter in ",;\t"
    )
    found = next((each for each in parsed if {"id", "human"} <= set(each[1])), None)
    if found is None:
        raise CaseError(
            f"expected a first line with the columns' names, id and human among them, got {shorten_text(header, 100)!r}",
            path,
            1,
        )
    if twice := [column for column in found[1] if found[1].count(column) > 1]:
        raise CaseError(f"the column {shorten_text(twice[0], 60)!r} stands twice", path, 1)
    return found


def _parse_cells(columns: Sequence[str], cells: Sequence[str]) -> dict[str, Json]:
    refuse(
        len(cells) != len(columns),
        BadFile(
            f"expected {len(columns)} cells, as many as columns, got {len(cells)}: is the row half written?"
        ),
    )
    value: dict[str, Json] = {}
    for column, cell in zip(columns, cells, strict=True):
        if column == "human":
            value[column] = parse_label_cell(cell)
        elif column in JSON_COLUMNS and cell:
            try:
                value[column] = read_json(decode_cell(cell))
            except BadFile as error:
                raise BadFile(f"{column}: expected JSON, as the cell was written: {error.what}") from None
        elif column == "answer" or cell:
            value[column] = decode_cell(cell)
    return value


def parse_label_cell(cell: str) -> Json:
    """Return the label in a cell; None if it is empty.

    >>> parse_label_cell("TRUE"), parse_label_cell("pass"), parse_label_cell("4.5"), parse_label_cell(" ")
    (True, 'pass', 4.5, None)
    """
    text = decode_cell(cell.strip()).strip()
    if not text:
        return None
    if text.casefold() in ("true", "false"):
        return text.casefold() == "true"
    number = float(text) if _NUMBER.fullmatch(text) else None
    for expected, hint, applies in (
        ("a number with a point", "", _DECIMAL_COMMA.fullmatch(text)),
        ("one label in a cell", ": one file a person, and --rater", text[0] in "[{"),
        ("a finite number", "", number is not None and not math.isfinite(number)),
    ):
        refuse(applies, BadFile(f"human: expected {expected}, got {shorten_text(text, 60)!r}{hint}"))
    return text if number is None else number


def encode_cell(text: str) -> str:
    """Return a text as a cell that a spreadsheet neither evaluates nor rewrites (a formula, ``007``, a date).

    >>> encode_cell("=1+1"), encode_cell("007"), encode_cell("No.")
    ("'=1+1", "'007", 'No.')
    """
    return f"'{text}" if _needs_quote(text) else text


def decode_cell(cell: str) -> str:
    """Return the text that `encode_cell` turned into a cell.

    >>> decode_cell("'=1+1"), decode_cell("'tis"), decode_cell(encode_cell("'tis"))
    ('=1+1', "'tis", "'tis")
    """
    return cell[1:] if cell.startswith("'") and _needs_quote(cell[1:]) else cell


def _needs_quote(text: str) -> bool:
    return bool(_FORMULA_START.match(text) or _NUMBER_OR_DATE.fullmatch(text))


def append_rows(file: LabelFile, rows: Sequence[Mapping[str, Json]]) -> str:
    """Return the text of a file with rows added at its end.

    Raises:
        UsageError: A table lacks a column, or a cell would be longer than a spreadsheet keeps.
    """
    text = "".join(file.lines)
    is_table = file.path.suffix == CSV
    if not text.removeprefix(BOM).strip():
        # Spreadsheets read UTF-8 only with a byte order mark.
        text = BOM + _format_csv_line(file, file.columns) if is_table else ""
    elif rows and not text.endswith(("\n", "\r")):
        text += "\n"
    return text + "".join(_format_csv_row(file, row) if is_table else format_json_line(row) for row in rows)


def simplify_number(number: float) -> float:
    """Return a whole number as an int: people read ``4``, not ``4.0``."""
    return int(number) if number.is_integer() else number


def format_json_line(row: Mapping[str, Json]) -> str:
    """Return an object as a line; characters that some editors take for a line end are escaped."""
    text = json.dumps(row, ensure_ascii=False)
    for char in "\x85\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text + "\n"


def _format_csv_line(file: LabelFile, cells: Sequence[str]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line, delimiter=file.delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(cells)
    return line.getvalue()


def _format_csv_row(file: LabelFile, row: Mapping[str, Json]) -> str:
    name = shorten_text(str(row.get("id")), 60)
    missing = [key for key, value in row.items() if key not in file.columns and value is not None]
    refuse(
        missing,
        f"{file.path}: {name}: expected the columns {', '.join(missing)} too, got "
        f"{shorten_text(', '.join(file.columns), 200)}: name another file",
    )
    cells = []
    for column in file.columns:
        value = row.get(column)
        text = json.dumps(value, ensure_ascii=False) if column in JSON_COLUMNS else str(value)
        cell = "" if value is None else encode_cell(text)
        if len(cell) > MAX_CELL_LENGTH or "\0" in cell:
            what = "a NUL character" if "\0" in cell else f"{len(cell):,} characters"
            raise UsageError(
                f"{file.path}: {name}: {shorten_text(column, 60)} has {what}, and a spreadsheet keeps {MAX_CELL_LENGTH:,} characters of text "
                f"in a cell: name a {JSONL} file"
            )
        cells.append(cell)
    return _format_csv_line(file, cells)


def describe_difference(expected: LabelledAnswer, got: LabelledAnswer) -> str:
    """Return which text of two answers differs, or ``""``; line ends do not count, as spreadsheets change them.

    >>> old, new = parse_answer({"id": "a", "answer": "Yes."}, 1), parse_answer({"id": "a", "answer": "No."}, 2)
    >>> describe_difference(old, new)
    'answer: expected "Yes.", got "No."'
    """
    for key in ("answer", "question", "reference", "contexts"):
        values = (getattr(answer, key) or "" for answer in (expected, got))
        texts = [
            (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            .replace("\r\n", "\n")
            .replace("\r", "\n")
            for value in values
        ]
        if texts[0] != texts[1]:
            common = len(os.path.commonprefix(texts))  # noqa: RUF071 -- by character is what is needed
            start = common - QUOTE_CONTEXT if common > QUOTE_LENGTH - QUOTE_CONTEXT else 0
            old, new = (
                f'"{"..." if start else ""}{shorten_text(text[start:], QUOTE_LENGTH)}"' for text in texts
            )
            return f"{key}: expected {old}, got {new}"
    return ""
