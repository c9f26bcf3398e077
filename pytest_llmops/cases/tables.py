"""Rows of Parquet files, of datasets that ``save_to_disk`` of Hugging Face's `datasets` wrote, and of its objects.

Files are read with `pyarrow` alone, a batch at a time.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llmops._util.text_files import BadFile, check_json_value
from pytest_llmops._util.user_files import check_inside
from pytest_llmops.errors import MissingExtra
from pytest_llmops.measurement import Json, shorten_text


def read_table_rows(path: Path) -> Iterator[tuple[int, Json]]:
    """Yield the rows of a Parquet file, an Arrow stream or a folder of `save_to_disk`, numbered from 1.

    Values that are null are left out, the number of a ``ClassLabel`` becomes its name, and the rows of a dataset with
    splits have the key ``split``.

    Raises:
        BadFile: It is none of them, or a value has no form in JSON.
        MissingExtra: `pyarrow` is not installed.
    """
    if path.is_dir() and not any((path / name).exists() for name in ("state.json", "dataset_dict.json")):
        raise BadFile("expected a file, or a folder that save_to_disk wrote, got a folder without state.json")
    try:
        import pyarrow as pa
        from pyarrow import ipc, parquet
    except ModuleNotFoundError:
        raise MissingExtra(f"reading {shorten_text(path.name, 60)}", "parquet", "pyarrow") from None

    def open_file(split: str, file: Path) -> tuple[str, Any, Iterable[Any]]:
        is_parquet = file.suffix.lower() == ".parquet"
        table: Any = (parquet.ParquetFile if is_parquet else ipc.open_stream)(pa.memory_map(str(file)))
        metadata = (table.schema_arrow if is_parquet else table.schema).metadata or {}
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        if is_parquet:
            batches: Iterable[Any] = table.iter_batches()
        else:
            batches = table
        return split, features, (row for batch in batches for row in batch.to_pylist())

    try:
        yield from _number_rows(open_file(*file) for file in _list_data_files(path))
    except (pa.ArrowException, OSError, AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        what = "cannot be read as Parquet, an Arrow stream, or a folder of save_to_disk"
        raise BadFile(f"{what}: {type(error).__name__}: {shorten_text(str(error), 200)}") from None


def read_dataset_rows(dataset: Any) -> Iterator[tuple[int, Json]]:
    """Yield the rows of a `Dataset`, of the splits of a `DatasetDict`, or of any mappings, as `read_table_rows` does.

    Raises:
        BadFile: A row is no mapping, or a value has no form in JSON.

    >>> list(read_dataset_rows([{"id": "a", "note": None}]))
    [(1, {'id': 'a'})]
    """
    if isinstance(dataset, Mapping):
        parts = dataset.items()
    else:
        parts = [("", dataset)]
    return _number_rows((split, getattr(part, "features", None) or {}, part) for split, part in parts)


def _number_rows(parts: Iterable[tuple[str, Any, Iterable[Any]]]) -> Iterator[tuple[int, Json]]:
    rows = ((split, features, row) for split, features, part in parts for row in part)
    for number, (split, features, row) in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise BadFile("expected a row to be a mapping", number)
        cells = {"split": split or None} | {key: value for key, value in row.items() if value is not None}
        for key, feature in features.items():
            if isinstance(feature, dict):
                names = feature.get("names")
            else:
                names = getattr(feature, "names", None)
            if names and type(place := cells.get(key)) is int and 0 <= place < len(names):
                cells[key] = names[place]
        try:
            text = json.dumps(
                {key: cell for key, cell in cells.items() if cell is not None}, default=_plain_value
            )
            yield number, check_json_value(json.loads(text))
        except BadFile as error:
            raise BadFile(error.what, number) from None


def _list_data_files(path: Path) -> Iterator[tuple[str, Path]]:
    names = path / "dataset_dict.json"
    for split in json.loads(names.read_bytes())["splits"] if names.exists() else [""]:
        state = path / split / "state.json"
        if path.is_dir():
            files = json.loads(state.read_bytes())["_data_files"]
        else:
            files = [{"filename": ""}]
        yield from (
            (split, check_inside(path / split / file["filename"], path, "the dataset")) for file in files
        )


def _plain_value(value: Any) -> str:
    has_form = not isinstance(value, bytes) and not hasattr(value, "tolist")
    if not has_form:
        raise BadFile(f"{value!r:.60} is a {type(value).__name__}, which JSON cannot represent")
    return str(getattr(value, "isoformat", value.__str__)())
