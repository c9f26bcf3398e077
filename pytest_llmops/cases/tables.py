"""Rows of Parquet files, of datasets that Hugging Face's `datasets` saved or has in its cache, and of its objects.

Files are read with `pyarrow` only, a batch at a time.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmops._util.text_files import BadFile, check_json_value
from pytest_llmops._util.user_files import check_inside
from pytest_llmops.cases.dataset_cache import INFO_NAME, list_split_files
from pytest_llmops.errors import MissingExtra, UnknownName
from pytest_llmops.measurement import Json, shorten_text


def read_table_rows(path: Path, split: str = "") -> Iterator[tuple[int, Json]]:
    """Yield the number (from 1) and the row of a Parquet file, an Arrow stream, a folder of `save_to_disk` or of the cache.

    Null values are left out, the number of a ``ClassLabel`` is replaced by its name, and the rows of a dataset with
    splits have the key ``split``.

    Args:
        path: The file or folder.
        split: Read only this split, if there are splits.

    Raises:
        BadFile: The file is of another kind or broken, the split does not exist, or JSON cannot represent a value.
        MissingExtra: `pyarrow` is not installed.
    """
    state_files = (path / "state.json", path / "dataset_dict.json", path / INFO_NAME)
    if path.is_dir() and not any(file.exists() for file in state_files):
        raise BadFile("expected a file, or a folder that save_to_disk wrote, got a folder without state.json")
    try:
        import pyarrow as pa
    except ModuleNotFoundError:
        what = f"reading {shorten_text(path.name, 60)}"
        raise MissingExtra(what, "parquet", "pyarrow") from None
    try:
        files = [*_list_data_files(path)]
        known = {name for name, _ in files} - {""}
        if split and known and split not in known:
            raise BadFile(str(UnknownName("split", split, known, where="splits of the dataset")))  # noqa: TRY301 -- gets the file
        wanted = [(name, file) for name, file in files if not split or name in ("", split)]
        yield from _number_rows(_open_table(name, file) for name, file in wanted)
    except BadFile:
        raise
    except (
        pa.ArrowException,
        OSError,
        AttributeError,
        KeyError,
        TypeError,
        RecursionError,
        ValueError,
        MemoryError,  # like the next, of a damaged length
        SystemError,
    ) as error:
        what = "cannot be read as Parquet, an Arrow stream, or a folder of save_to_disk"
        message = shorten_text(str(error), 200)
        why = f"{type(error).__name__}: {message}"
        raise BadFile(f"{what}: {why}") from None


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one file or one split (``""``: no splits), and the `features` that Hugging Face's `datasets` describes the columns by."""

    split: str
    features: Any
    rows: Iterable[Any]


def _open_table(split: str, file: Path) -> _Part:
    """Open a Parquet file or Arrow stream; `datasets` stores the features as JSON in the metadata of the schema."""
    import pyarrow as pa
    from pyarrow import ipc, parquet

    # Not mapped: beyond the end of a file that was cut, that would end the process.
    source = pa.OSFile(str(file))
    if file.suffix.lower() == ".parquet":
        table: Any = parquet.ParquetFile(source)
        schema = table.schema_arrow
        batches = table.iter_batches()
    else:
        batches = ipc.open_stream(source)
        schema = batches.schema
    schema_metadata = schema.metadata or {}
    metadata = json.loads(schema_metadata.get(b"huggingface", b"{}"))
    info = metadata.get("info", {})
    features = info.get("features", {})
    return _Part(split, features, _iter_rows(batches))


def _iter_rows(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the rows of batches that are checked first: a damaged offset would end the process."""
    for batch in batches:
        batch.validate(full=True)
        yield from batch.to_pylist()


def read_dataset_rows(dataset: Any) -> Iterator[tuple[int, Json]]:
    """Yield the rows of a `Dataset`, of the splits of a `DatasetDict`, or of any mappings, as `read_table_rows` does.

    Raises:
        BadFile: A row is not a mapping, or JSON cannot represent a value.

    >>> list(read_dataset_rows([{"id": "a", "note": None}]))
    [(1, {'id': 'a'})]
    """
    splits = {"": dataset}
    if isinstance(dataset, Mapping):
        splits = dict(dataset)
    parts = []
    for split, rows in splits.items():
        features = getattr(rows, "features", None)
        parts.append(_Part(split, features or {}, rows))
    return _number_rows(parts)


def _number_rows(parts: Iterable[_Part]) -> Iterator[tuple[int, Json]]:
    """Yield the rows of all parts as plain JSON, numbered from 1."""
    number = 0
    for part in parts:
        class_names = _list_class_names(part.features)
        for row in part.rows:
            number += 1
            if not isinstance(row, Mapping):
                raise BadFile("expected a row to be a mapping", number)
            cells = {"split": part.split or None}
            cells |= {key: value for key, value in row.items() if value is not None}
            for key, names in class_names.items():
                cells[key] = _name_class(cells.get(key), names)
            try:
                yield number, _to_plain_row(cells)
            except BadFile as error:
                raise BadFile(error.what, number) from None


def _list_class_names(features: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return column -> names of the classes, for the columns that are a ``ClassLabel``.

    A feature is an object of `datasets`, or a mapping if it comes from the metadata of a file.
    """
    names_by_key = {}
    for key, feature in features.items():
        if isinstance(feature, dict):
            names = feature.get("names")
        else:
            names = getattr(feature, "names", None)
        if names:
            names_by_key[key] = names
    return names_by_key


def _name_class(value: Any, names: list[str]) -> Any:
    """Return the name of a class for its number; any other value is returned unchanged."""
    if type(value) is int and 0 <= value < len(names):
        return names[value]
    return value


def _to_plain_row(cells: Mapping[str, Any]) -> Json:
    """Return the cells of a row as plain JSON values, without those that are null.

    Raises:
        BadFile: JSON cannot represent a value; gives its column.
    """
    known = {key: cell for key, cell in cells.items() if cell is not None}
    try:
        text = json.dumps(known, default=_plain_value)
    except BadFile:
        for column, cell in known.items():
            _check_cell(str(column), cell)
        raise
    return check_json_value(json.loads(text))


def _check_cell(column: str, cell: Any) -> None:
    """Check that JSON can represent a cell.

    Raises:
        BadFile: It cannot; gives the column, and how to write the rows without it.
    """
    try:
        json.dumps(cell, default=_plain_value)
    except BadFile as error:
        name = shorten_text(column, 60)
        raise BadFile(
            f"column {name!r}: {error.what}; save the dataset without it: dataset.remove_columns({name!r}).to_parquet(...)"
        ) from None


def _list_data_files(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield (split, file) for the file itself, or for the data files in a folder of `datasets`; ``""`` without splits."""
    if not path.is_dir():
        yield "", path
        return
    if not any((path / name).exists() for name in ("state.json", "dataset_dict.json")):
        for split, split_files in list_split_files(path).items():
            for split_file in split_files:
                yield split, split_file
        return
    splits = [""]
    splits_file = path / "dataset_dict.json"
    if splits_file.exists():
        splits = json.loads(splits_file.read_bytes())["splits"]
    for split in splits:
        state_file = path / split / "state.json"
        state = json.loads(state_file.read_bytes())
        for file in state["_data_files"]:
            data_file = path / split / file["filename"]
            yield split, check_inside(data_file, path, "the dataset")


def _plain_value(value: Any) -> str:
    """Return the text of a value that JSON has no type for, such as a time or a decimal number.

    Raises:
        BadFile: Bytes, arrays and images have no such text.
    """
    if isinstance(value, bytes) or hasattr(value, "tolist") or hasattr(value, "tobytes"):
        kind = type(value).__name__
        raise BadFile(f"{value!r:.60} is of type {kind}, which JSON cannot represent")
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return str(value)
