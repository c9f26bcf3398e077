"""Parquet and saved datasets, read with the `pyarrow` of the clients' environment; objects of `datasets` by their form."""

from __future__ import annotations

import datetime as dt
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.matrix import PYTHON
from support.messages import check_message
from support.shared import rows, shared

from pytest_llmops.cases import load_cases
from pytest_llmops.errors import CaseError, MissingExtra

DATASETS = "imports", "datasets"


@pytest.fixture
def pa() -> Any:
    """`pyarrow`, which the other tests do without."""
    places = [str(place) for place in (PYTHON.parents[1] / "lib").glob("python*/site-packages")]
    sys.path.extend(places)
    try:
        import pyarrow.parquet
    except ImportError:
        pytest.skip("the environment of the clients is not there (make test-clients makes it)")
    finally:
        for place in places:
            sys.path.remove(place)
    return pyarrow


@pytest.mark.slow
def test_parquet_has_the_cases_of_the_lines(pa: Any) -> None:
    cases = load_cases(shared(*DATASETS, "cases.parquet"))
    assert len(cases) == 200
    for case, row in zip(cases, rows(*DATASETS, "cases_first3.jsonl"), strict=False):
        assert (case.id, case.input, case.reference, [*case.tags]) == (
            row["id"], row["input"], row["reference"], row["tags"],
        )  # fmt: skip
        assert (case["meta"], case["label"]) == (row["meta"], "abc"[row["label"]])


@pytest.mark.slow
def test_a_saved_dataset_has_its_splits(pa: Any) -> None:
    folder = shared(*DATASETS, "saved_to_disk_dict")
    cases = load_cases(folder)
    assert [case.split for case in cases] == ["train"] * 150 + ["test"] * 50
    assert {case["label"] for case in cases} == {"a", "b", "c"}
    (arrow,) = (folder / "test").glob("*.arrow")
    assert [case.id for case in load_cases(arrow)] == [case.id for case in cases if case.split == "test"]
    assert [case.id for case in load_cases(folder / "test")] == [
        case.id for case in cases if case.split == "test"
    ]


@pytest.mark.slow
def test_values_that_json_has_not(pa: Any, tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    row = {
        "id": "a", "input": "x", "reference": None, "on": dt.datetime.fromisoformat("2026-01-02"), "price": Decimal("3.90"),
        "nested": [{"at": dt.date(2026, 1, 2), "none": None}],
    }  # fmt: skip
    pa.parquet.write_table(pa.Table.from_pylist([row]), path)
    (case,) = load_cases(path)
    assert dict(case.data) == {
        "on": "2026-01-02T00:00:00", "price": "3.90", "nested": [{"at": "2026-01-02", "none": None}],
    }  # fmt: skip
    for value in (b"bytes", float("nan")):
        pa.parquet.write_table(
            pa.Table.from_pylist([{"id": "a", "input": "x"}, {"id": "b", "input": value}][-1:]), path
        )
        with pytest.raises(CaseError, check=check_message) as caught:
            load_cases(path)
        assert caught.value.line == 1
        assert ("column 'input'" in caught.value.what) == isinstance(value, bytes)


@pytest.mark.slow
def test_what_is_no_table_says_so(pa: Any, tmp_path: Path) -> None:
    (tmp_path / "c.parquet").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": "../../c.parquet"}]})
    )
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "state.json").write_text("[]")
    for name in ("c.parquet", "empty", "out", "odd"):
        with pytest.raises(CaseError):
            load_cases(tmp_path / name)


@pytest.mark.slow
def test_an_arrow_file_with_a_text_that_ends_behind_its_data_is_broken(pa: Any, tmp_path: Path) -> None:
    """The damaged end is within the padding: to read what is further behind could end the process."""
    path = tmp_path / "c.arrow"
    batch = pa.record_batch({"id": ["a"], "input": ["xy"]})
    with pa.ipc.new_stream(path, batch.schema) as stream:
        stream.write_batch(batch)
    assert [case.input for case in load_cases(path)] == ["xy"]
    before, end_and_text, after = path.read_bytes().partition(b"\x02\0\0\0xy")
    assert end_and_text
    path.write_bytes(before + b"\x04\0\0\0xy" + after)
    with pytest.raises(CaseError):
        load_cases(path)


@pytest.mark.slow
def test_a_dataset_in_the_cache_is_read_a_split_at_a_time(
    pa: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    folder = tmp_path / "org___quiz" / "default" / "0.0.0" / "1f"
    folder.mkdir(parents=True)
    features = {"kind": {"names": ["easy", "hard"], "_type": "ClassLabel"}}
    (folder / "dataset_info.json").write_text(json.dumps({"splits": {"train": {}, "validation": {}}}))
    for split, answers in (("train", ["a"]), ("validation", ["b", "c"])):
        row = {"id": 0, "question": "Q?", "answers": {"text": answers, "answer_start": [1]}, "kind": 1}
        table = pa.Table.from_pylist([row])
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(metadata)
        with pa.ipc.new_stream(folder / f"quiz-{split}.arrow", table.schema) as stream:
            stream.write_table(table)
    (case,) = load_cases("hf:org/quiz", split="validation")
    assert (case.id, case.input, case.reference, case["references"]) == ("0", "Q?", "b", ["b", "c"])
    assert (case.split, case["kind"]) == ("validation", "hard")
    assert load_cases("hf:org/quiz:default", split="train")[0].reference == "a"
    for split in ("tset", ""):
        with pytest.raises(CaseError, check=check_message):  # both splits have the id 0
            load_cases("hf:org/quiz", split=split)


def test_without_pyarrow_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingExtra, check=check_message) as caught:
        load_cases(tmp_path / "c.parquet")
    assert caught.value.extra == "parquet"


class Feature:
    def __init__(self, *names: str) -> None:
        self.names = names


class Dataset(list[dict[str, Any]]):
    """What `datasets.Dataset` has that is used: rows, and features of which a ClassLabel has names."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        super().__init__(rows)
        self.features = {"id": object(), "label": Feature("no", "yes")}


def test_objects_of_datasets_are_taken_by_their_form() -> None:
    train = Dataset({"id": "a", "input": "x", "label": 1, "reference": None})
    test = Dataset({"id": "b", "input": "y", "label": 7})
    (case,) = load_cases(train)
    assert (case.split, case["label"], case.reference) == ("", "yes", "")
    both = load_cases({"train": train, "test": test})  # type: ignore[dict-item]
    assert [(case.id, case.split, case["label"]) for case in both] == [
        ("a", "train", "yes"),
        ("b", "test", 7),
    ]
    with pytest.raises(CaseError, check=check_message):
        load_cases(["text"])  # type: ignore[list-item]
