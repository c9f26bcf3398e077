from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.errors import UsageError
from pytest_llmops.providers.offline import HashingEmbedder, TfidfEmbedder
from pytest_llmops.registry import component_name
from pytest_llmops.semantics.thresholds import Threshold, default_threshold
from pytest_llmops.settings import Settings

HASHING = HashingEmbedder()


def made(**changes: Any) -> Threshold:
    fields: dict[str, Any] = {"value": 0.61, "embedder": "hashing", "version": HASHING.version, "rule": "any"}
    return Threshold(**{**fields, **changes})


def written(path: Path, **changes: Any) -> Path:
    wire = {**json.loads(made(facts={"same": 3}).text()), **changes}
    path.write_text(
        json.dumps({key: value for key, value in wire.items() if value is not ...}), encoding="utf-8"
    )
    return path


def test_a_file_gives_the_threshold_back(tmp_path: Path) -> None:
    line = made(facts={"same": 40, "auc": 0.9})
    path = tmp_path / "threshold.json"
    path.write_text(line.text(), encoding="utf-8")
    assert Threshold.load(path) == line
    assert Threshold.load(str(path)).path == str(path)
    assert line.text().startswith('{\n  "schema": "pytest-llmops/threshold/1",\n  "at_least": 0.61,\n')


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path / "threshold.json")
    assert Threshold.load(path).value == 0.61
    written(path, at_least=0.555)
    assert Threshold.load(path).value == 0.555


def test_it_holds_for_one_version_of_one_embedder() -> None:
    assert made().check(HASHING) == 0.61
    assert made(embedder="another name").check(HASHING) == 0.61
    with pytest.raises(UsageError) as caught:
        made(path="thresholds/a.json").check(TfidfEmbedder())
    check_message(caught.value)
    with pytest.raises(UsageError, check=check_message):
        made().check(HashingEmbedder(dim=64))


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": ...},
        {"schema": "pytest-llmops/run/2"},
        {"schema": "pytest-llmops/threshold/2"},
        {"at_least": "0.5"},
        {"at_least": True},
        {"at_least": 1.5},
        {"at_least": ...},
        {"embedder": ""},
        {"version": 1},
        {"facts": [1]},
    ],
)
def test_a_wrong_file_is_reported(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = written(tmp_path / "threshold.json", **changes)
    with pytest.raises(UsageError, check=check_message) as caught:
        Threshold.load(path)
    assert str(caught.value).startswith(f"threshold {path}: ")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"at_least": 0.5,\n',
        b"\xff",
        b"[]",
        b'{"at_least": NaN}',
        b'{"at_least": 0.5, "at_least": 0.6}',
    ],
)
def test_a_damaged_file_is_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "threshold.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, check=check_message):
        Threshold.load(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, check=check_message):
        Threshold.load(tmp_path / "absent.json")
    with pytest.raises(UsageError, match="cannot be read: "):
        Threshold.load("a\0b")
    with pytest.raises(UsageError, match="cannot be read: "):
        Threshold.load(tmp_path)


def test_facts_and_rule_may_be_missing(tmp_path: Path) -> None:
    data = Threshold.load(written(tmp_path / "threshold.json", facts=..., rule=..., of_a_newer_version=1))
    assert (data.facts, data.rule) == ({}, "")


class WithoutThreshold:
    version = "1"


def test_the_default_threshold_is_the_embedders_own() -> None:
    assert default_threshold(HASHING, Settings()) == HASHING.default_threshold
    assert default_threshold(WithoutThreshold(), Settings()) is None  # type: ignore[arg-type]
    assert component_name(WithoutThreshold()) == "WithoutThreshold"
    assert component_name(HASHING) == "hashing"


def test_a_file_of_the_settings_comes_before_it(tmp_path: Path) -> None:
    settings = Settings(semantic_threshold=str(written(tmp_path / "threshold.json")))
    assert default_threshold(HASHING, settings) == 0.61
    assert default_threshold(TfidfEmbedder(), settings) == TfidfEmbedder().default_threshold
    renamed = Settings(semantic_threshold=str(written(tmp_path / "other.json", embedder="b", at_least=0.3)))
    assert default_threshold(HASHING, renamed) == 0.3


def test_a_file_for_another_version_of_the_embedder_is_no_threshold(tmp_path: Path) -> None:
    settings = Settings(semantic_threshold=str(written(tmp_path / "threshold.json")))
    with pytest.raises(UsageError, check=check_message):
        default_threshold(HashingEmbedder(dim=64), settings)
    with pytest.raises(UsageError, match="no such file"):
        default_threshold(HASHING, Settings(semantic_threshold=str(tmp_path / "absent.json")))


class Mine:
    version = "mine/2"


def test_the_command_takes_a_class_that_it_can_import() -> None:
    with pytest.raises(UsageError, match=rf"--embedder {__name__}:Mine\Z"):
        made(embedder="Mine", version="mine/1").check(Mine())  # type: ignore[arg-type]


def test_a_file_may_name_an_embedder_as_a_hook_does(tmp_path: Path) -> None:
    path = written(tmp_path / "threshold.json", embedder="mine", version="mine/1")
    settings = Settings(semantic_threshold=str(path))
    with pytest.raises(UsageError, check=check_message):
        default_threshold(Mine(), settings, requested_name="mine")  # type: ignore[arg-type]
    assert default_threshold(Mine(), settings, requested_name="another") is None  # type: ignore[arg-type]
