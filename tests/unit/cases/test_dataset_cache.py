"""Datasets in the cache of `datasets`: found by name, with its files of splits; `pyarrow` reads them in test_tables."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.messages import check_message

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.cases import load_cases
from pytest_llmops.cases.dataset_cache import find_cache, find_dataset, is_dataset_name, list_split_files
from pytest_llmops.errors import CaseError


def make_folder(cache: Path, place: str, *files: str, splits: tuple[str, ...] = ("test",)) -> Path:
    folder = cache / place
    folder.mkdir(parents=True)
    info = {"config_name": "plain", "splits": {split: {"name": split} for split in splits}}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    for name in files:
        (folder / name).touch()
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    return tmp_path


def test_the_cache_is_where_datasets_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_DATASETS_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_cache() == tmp_path / ".cache/huggingface/datasets"
    monkeypatch.setenv("XDG_CACHE_HOME", "~/other")
    assert find_cache() == tmp_path / "other/huggingface/datasets"
    monkeypatch.setenv("HF_HOME", "/hf")
    assert find_cache() == Path("/hf/datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", "/data")
    assert find_cache() == Path("/data")


def test_a_dataset_is_found_by_its_name_and_the_newest_version_counts(cache: Path) -> None:
    old = make_folder(cache, "org___sci_q/plain/0.0.0/zz")
    new = make_folder(cache, "org___sci_q/plain/1.0.0/aa")
    make_folder(cache, "org___sci_q/plain/1.0.0/bb.incomplete")
    os.utime(old, ns=(1, 1))
    assert find_dataset("hf:org/SciQ") == new
    assert find_dataset(Path("hf:org/SciQ:plain")) == new
    os.utime(new, ns=(0, 0))
    assert find_dataset("hf:org/SciQ") == old
    assert not is_dataset_name(Path("a/hf:b"))


def test_splits_may_have_several_files_and_other_files_are_none_of_them(cache: Path) -> None:
    names = ["q-test-00000-of-00002.arrow", "q-test-00001-of-00002.arrow", "q-train.arrow", "cache-1f.arrow"]
    folder = make_folder(cache, "q/plain/0.0.0/aa", *names, splits=("train", "test"))
    assert {split: [file.name for file in files] for split, files in list_split_files(folder).items()} == {
        "train": ["q-train.arrow"],
        "test": names[:2],
    }
    (folder / names[0]).unlink()
    with pytest.raises(BadFile, check=check_message):
        list_split_files(folder)
    with pytest.raises(BadFile, check=check_message):
        list_split_files(make_folder(cache, "none/plain/0.0.0/aa", splits=()))


@pytest.mark.parametrize(
    "name",
    ["hf:squad", "hf:squad:plain", "hf:org/quiz", "hf:org/quiz:three", "hf:", "hf:../quiz", "hf:a/b/c", "hf:a b"],
)  # fmt: skip
def test_what_the_cache_has_not_is_an_error_with_the_step_to_take(cache: Path, name: str) -> None:
    make_folder(cache, "rajpurkar___squad/plain/0.0.0/aa")
    make_folder(cache, "org___quiz/one/0.0.0/aa")
    make_folder(cache, "org___quiz/two/0.0.0/aa")
    with pytest.raises(CaseError, check=check_message) as caught:
        load_cases(name)
    assert caught.value.path == name
