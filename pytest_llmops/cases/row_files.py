"""Read the rows of a case file: JSON Lines, YAML, CSV, TSV, JSON, Parquet, Arrow, or a dataset of Hugging Face's `datasets`."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeGuard

from pytest_llmops._util.text_files import (
    BadFile,
    json_kind,
    read_csv,
    read_json,
    read_json_lines,
    read_text,
    read_yaml,
    stream_lines,
)
from pytest_llmops.cases.columns import check_header
from pytest_llmops.cases.dataset_cache import find_dataset, is_dataset_name
from pytest_llmops.cases.eval_files import parse_eval_rows
from pytest_llmops.cases.squad_files import is_squad, iter_squad_rows
from pytest_llmops.cases.tables import read_table_rows
from pytest_llmops.measurement import Json, shorten_text

DELIMITERS = {".csv": ",", ".tsv": "\t"}  # between the cells of a text file with a header
TEXT_SUFFIXES = (".jsonl", ".yaml", ".yml", *DELIMITERS)
CASE_SUFFIXES = (*TEXT_SUFFIXES, ".json", ".parquet", ".arrow")


def read_rows(path: Path, *, numbers_as_written: bool = True, split: str = "") -> Iterator[tuple[int, Json]]:
    """Yield the line number and value of each row; for CSV and TSV, the first value is the header, a list.

    All formats but YAML and JSON are read a row at a time.

    Args:
        path: The file, or ``hf:NAME`` for a dataset in the cache of `datasets`.
        numbers_as_written: Whether 1.10 in YAML is refused, as it may be meant as text.
        split: Read only this split, if the source is a dataset with splits.

    Raises:
        BadFile: The file is missing, of unknown type or broken.
    """
    if is_dataset_name(path):
        return read_table_rows(find_dataset(path), split)
    suffix = path.suffix.lower()
    if not suffix and path.is_dir():
        suffix = ".arrow"
    if suffix == ".jsonl":
        return read_json_lines(stream_lines(path))
    if suffix in (".yaml", ".yml"):
        return _parse_yaml_rows(read_text(path), numbers_as_written=numbers_as_written)
    if suffix in DELIMITERS:
        return _stream_csv_rows(path, DELIMITERS[suffix])
    if suffix == ".json":
        return _read_json_rows(path)
    if suffix in (".parquet", ".arrow"):
        return read_table_rows(path, split)
    known = ", ".join(CASE_SUFFIXES)
    raise BadFile(f"unknown type of file {suffix!r}: expected {known}")


def has_header(path: Path) -> bool:
    """Return whether the first row of a file is its header, and every value a text."""
    return not is_dataset_name(path) and path.suffix.lower() in DELIMITERS


def _parse_yaml_rows(text: str, *, numbers_as_written: bool) -> Iterator[tuple[int, Json]]:
    """Return the line number and value of each item of the list in a YAML file."""
    value, lines = read_yaml(text, numbers_as_written=numbers_as_written)
    if value is not None and not isinstance(value, list):
        raise BadFile(f"expected a list of cases (each begins with `- id:`), got {json_kind(value)}", 1)
    return zip(lines, value or [], strict=True)


def _stream_csv_rows(path: Path, delimiter: str) -> Iterator[tuple[int, Json]]:
    """Yield the line number and value of the header, a list, then of each record, an object; empty records are skipped."""
    header: list[str] = []
    text_lines = (f"{text}\n" for _, text in stream_lines(path))
    for line, record in read_csv(text_lines, delimiter):
        if not record:
            continue
        if not header:
            check_header(record, line)
            header = record
            yield line, list(header)
            continue
        if len(record) != len(header):
            expected = f"{len(header)} values as in the header"
            raise BadFile(f"expected {expected}, got {len(record)}", line)
        yield line, dict(zip(header, record, strict=True))


def _read_json_rows(path: Path) -> Iterator[tuple[int, Json]]:
    """Return the rows of an evals.json or evalset.json, of a list of objects, of SQuAD, or of JSON Lines in a file of this suffix.

    Raises:
        BadFile: The file has another format.
    """
    if _has_json_lines(path):
        return read_json_lines(stream_lines(path))
    value = read_json(read_text(path))
    rows = parse_eval_rows(value, path.parent)
    if rows is not None:
        return rows
    entries = _find_row_list(value)
    if entries and is_squad(entries):
        return enumerate(iter_squad_rows(entries), 1)
    return enumerate(entries, 1)


def _has_json_lines(path: Path) -> bool:
    """Return whether each of the first two lines of a file is an object."""
    try:
        values = [read_json(text) for _, text in islice(stream_lines(path), 2) if text.strip()]
    except BadFile:
        return False
    return len(values) > 1 and all(isinstance(value, Mapping) for value in values)


def _find_row_list(value: Json) -> Sequence[Json]:
    """Return a list of objects: the value itself, or the only such list that it has under a key.

    Raises:
        BadFile: The list is missing, or there are several.
    """
    if isinstance(value, list):
        return value
    lists: dict[str, Sequence[Json]] = {}
    got = json_kind(value)
    if isinstance(value, Mapping):
        got += f" with the keys {shorten_text(', '.join(value) or 'none', 80)}"
        lists = {key: entries for key, entries in value.items() if _is_row_list(entries)}
    if len(lists) == 1:
        [rows] = lists.values()
        return rows
    if lists:
        names = shorten_text(", ".join(lists), 80)
        raise BadFile(
            f"expected one list of objects, got {len(lists)}: {names}; write the cases into a file .jsonl"
        )
    raise BadFile(
        "expected a list of objects, an object with one such list, `evals` (evals.json of Agent Skills) or "
        f"`eval_cases` (evalset.json of ADK), got {got}"
    )


def _is_row_list(value: Json) -> TypeGuard[list[Json]]:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)
