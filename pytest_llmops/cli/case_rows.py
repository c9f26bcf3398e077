"""Read the rows of a file of cases or of training rows, for the commands of ``llmops cases``."""

import argparse
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from pytest_llmops._util.option_values import CASE_KEYS
from pytest_llmops._util.text_files import BadFile, as_mapping, read_json, stream_lines
from pytest_llmops.cases.files import Case, describe_repeated, parse_case
from pytest_llmops.cases.row_files import has_header, read_rows
from pytest_llmops.cases.row_forms import RowForm, find_row_form
from pytest_llmops.cases.training_rows import CHECKS, row_messages
from pytest_llmops.errors import CaseError, UnknownName, UsageError

# A function that converts a case to the row of another format; the text is the file and line of the case
Make = Callable[[Case, str], Any]


@dataclass(frozen=True)
class RowFile:
    """A file of cases, or of training rows of a format.

    Attributes:
        format: ``cases``, or a format of training rows (a key of `CHECKS`).
        columns: Names of columns that differ from the keys of a case, by these keys.
        split: Only the rows of this split; "": all.
        same_rows: Indexes of the rows that `read_unique_cases` left out.
    """

    path: Path
    format: str
    columns: Mapping[str, str]
    split: str = ""
    same_rows: set[int] = field(default_factory=set, compare=False)

    @cached_property
    def suffix(self) -> str:
        """The suffix of the file, in lower case."""
        return self.path.suffix.lower()

    @cached_property
    def form(self) -> RowForm:
        """How the rows become cases; the file is read for it, up to its first row with an id and an input.

        Raises:
            BadFile: The file cannot be read, or several columns may be the input.
        """
        return find_row_form(lambda: _iter_readable_rows(self), self.columns)

    @cached_property
    def id_prefix(self) -> str:
        """The start of the ids of training rows, which have none of their own: the name of the file."""
        letters = [char if char.isalnum() else "-" for char in self.path.stem]
        return "".join(letters)[:100]


def open_row_file(path: Path, args: argparse.Namespace) -> RowFile:
    """Return a file with the format and the columns that the arguments name; it is not read yet.

    Raises:
        UsageError: ``--field`` has another form, or names no key of a case.
    """
    return RowFile(path, args.format, parse_columns(args.field), getattr(args, "split", ""))


def parse_columns(pairs: Sequence[str]) -> dict[str, str]:
    """Return the columns of ``--field KEY=COLUMN`` by their keys.

    Raises:
        UsageError: A pair has another form, or its key is not a key of a case.
    """
    for pair in pairs:
        if "=" not in pair:
            raise UsageError(f"--field: expected KEY=COLUMN, got {pair!r}")
    columns = {}
    for pair in pairs:
        key, _, column = pair.partition("=")
        columns[key] = column
    for key in columns:
        if key not in CASE_KEYS:
            raise UsageError(f"--field: {UnknownName('key of a case', key, CASE_KEYS)}")
    return columns


def read_row_file(source: RowFile, make: Make | None = None) -> Iterator[tuple[int, Case | None, list[str]]]:
    """Yield the line of each row, its case (None if the row makes no case), and its problems.

    Args:
        source: The file.
        make: Converts a case to another format. The attribute ``typed`` of a case is the result, else the row as it was read, with
            the id that was made for it.

    Raises:
        CaseError: The file cannot be read or has no rows, or no row has a column that was named.
    """
    absent: dict[str, str] = {}  # the columns of ``--field`` that no row had so far, with their keys
    line = 0
    is_empty = True
    try:
        if source.format not in CHECKS:
            absent = {column: key for key, column in source.columns.items()}
            _ = source.form  # columns that are not clear are an error of the file, not one of each row
        for line, value in _stream_values(source):
            case = None
            try:
                row = _read_row(source, value)
                absent = {column: key for column, key in absent.items() if column not in row}
                case, problems = _parse_row(source, line, row, make)
            except BadFile as error:
                problems = [error.what]
            if case and source.split and case.split != source.split:
                continue
            is_empty = False
            yield line, case, problems
    except BadFile as error:
        raise CaseError(error.what, source.path, error.line) from None
    if not line:
        raise CaseError("no row in the file: expected at least one", source.path)
    if is_empty:
        raise CaseError(f"no row of the split {source.split!r}: expected at least one", source.path)
    if absent:
        pairs = [f"{key}={column}" for column, key in absent.items()]
        named = ", ".join(pairs)
        raise CaseError(f"--field {named}: no row has this column", source.path)


def _stream_values(source: RowFile) -> Iterator[tuple[int, Any]]:
    """Yield line and value of each row. The value of JSON lines is the text, so that a damaged line stops no other."""
    if source.suffix == ".jsonl":
        for line, text in stream_lines(source.path):
            if text.strip():
                yield line, text
    elif has_header(source.path):
        yield from islice(read_rows(source.path), 1, None)  # without the header
    else:
        yield from read_rows(source.path, split=source.split)


def _read_row(source: RowFile, value: Any) -> Mapping[str, Any]:
    """Return the row of a value of `_stream_values`.

    Raises:
        BadFile: It is not an object.
    """
    if source.suffix == ".jsonl":
        value = read_json(value)
    return as_mapping(value)


def _iter_readable_rows(source: RowFile) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a file without those that cannot be read."""
    for _, value in _stream_values(source):
        try:
            yield _read_row(source, value)
        except BadFile:
            continue


def _parse_row(
    source: RowFile, line: int, row: Mapping[str, Any], make: Make | None
) -> tuple[Case, list[str]]:
    """Return the case of a row, and the problems of a training row; see `read_row_file`.

    Raises:
        BadFile: The row makes no case.
    """
    problems: list[str] = []
    if source.format in CHECKS:
        problems = list(CHECKS[source.format](row))
        case = parse_case({"id": f"{source.id_prefix}-{line}", "input": row_messages(row)})
    else:
        case = parse_case(row, source.form, split_tags=has_header(source.path))
    if case.has_content_id:
        row = {"id": case.id, **row}
    case = replace(case, typed=row)
    if make and not problems:
        origin = f"{source.path.name}:{line}"
        case = replace(case, typed=make(case, origin))
    return case, problems


def read_valid_cases(source: RowFile, make: Make | None = None) -> Iterator[Case]:
    """Yield the cases of a file, all of which must be valid; see `read_row_file`.

    Raises:
        CaseError: A row has a problem; with its line.
    """
    for line, case, problems in read_row_file(source, make):
        if case is None or problems:
            raise CaseError(problems[0], source.path, line)
        yield case


def read_unique_cases(
    source: RowFile, make: Make | None = None, without: Collection[int] = ()
) -> Iterator[Case]:
    """Yield the valid cases of a file, and check at the end that no id is repeated.

    Of rows that are the same, without an id, the first is yielded. Only hashes of the ids are kept in memory. If two are equal, the file is read again for the id and lines of the error.

    Args:
        source: The file.
        make: See `read_row_file`.
        without: Indexes of rows to leave out.

    Raises:
        CaseError: A row has a problem, or an id is repeated.
    """
    import numpy as np

    ids = array("q")
    seen = set[int]()  # stays empty if no two rows have the same input
    for number, case in enumerate(read_valid_cases(source, make)):
        if number in without:
            continue
        case_hash = hash(case.id)
        if case_hash in seen:
            source.same_rows.add(number)
            continue
        if case.has_content_id and source.form.may_have_copies:
            seen.add(case_hash)
        ids.append(case_hash)
        yield case
    _, firsts, groups = np.unique(np.array(ids), return_index=True, return_inverse=True)
    first_places = firsts[groups]  # for each id the index at which it occurs first
    repeated = np.flatnonzero(first_places != np.arange(len(ids)))
    if len(repeated):
        later = int(repeated[0])
        raise _duplicate_id_error(source, without, int(first_places[later]), later)


def _duplicate_id_error(source: RowFile, without: Collection[int], first: int, later: int) -> CaseError:
    """Return the error on a repeated id.

    Args:
        source: The file, which is read again.
        without: Indexes of rows that were left out.
        first: Index of the first row with the id, among the rows that were not left out.
        later: Index of the second one.
    """
    first_line = 0
    kept = -1
    for number, (line, case, _) in enumerate(read_row_file(source)):
        if number in without:
            continue
        kept += 1
        if kept == first:
            first_line = line
        elif kept == later and case:
            return CaseError(describe_repeated(case, first_line), source.path, line)
    return CaseError("changed while it was read: run the command again", source.path)
