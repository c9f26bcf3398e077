from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_llmops.backends.offline import HashingEmbedder, TfidfEmbedder
from pytest_llmops.errors import UsageError
from pytest_llmops.settings import Settings
from pytest_llmops.thresholds import Threshold, default_bound, name_of

HASHING = HashingEmbedder()


def made(**changes: Any) -> Threshold:
    fields: dict[str, Any] = {"value": 0.61, "embedder": "hashing", "version": HASHING.version, "rule": "any"}
    return Threshold(**{**fields, **changes})


def written(path: Path, **changes: Any) -> Path:
    wire = {**json.loads(made(facts={"same": 3}).text()), **changes}
    path.write_text(json.dumps({key: one for key, one in wire.items() if one is not ...}), encoding="utf-8")
    return path


def test_a_file_gives_the_threshold_back(tmp_path: Path) -> None:
    one = made(facts={"same": 40, "auc": 0.9})
    path = tmp_path / "bound.json"
    path.write_text(one.text(), encoding="utf-8")
    assert Threshold.load(path) == one
    assert Threshold.load(str(path)).path == str(path)
    assert one.text().startswith('{\n  "schema": "pytest-llmops/threshold/1",\n  "at_least": 0.61,\n')


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path / "bound.json")
    assert Threshold.load(path).value == 0.61
    written(path, at_least=0.555)
    assert Threshold.load(path).value == 0.555


def test_it_holds_for_one_version_of_one_embedder() -> None:
    assert made().check(HASHING) == 0.61
    assert made(embedder="another name").check(HASHING) == 0.61
    with pytest.raises(UsageError) as caught:
        made(path="bounds/a.json").check(TfidfEmbedder())
    assert str(caught.value) == (
        "threshold 0.61 (bounds/a.json): expected the embedder it was measured with, hashing of version hashing/1/4096, "
        "got tfidf of version tfidf/1; use that embedder, or measure again: llmops calibrate semantic pairs.jsonl "
        "--embedder tfidf"
    )
    with pytest.raises(UsageError, match="hashing of version hashing/1/64"):
        made().check(HashingEmbedder(dim=64))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": ...}, "expected the schema pytest-llmops/threshold/1, got None"),
        (
            {"schema": "pytest-llmops/run/1"},
            "expected the schema pytest-llmops/threshold/1, got 'pytest-llmops/run/1'",
        ),
        ({"schema": "pytest-llmops/threshold/2"}, "got pytest-llmops/threshold/2: update pytest-llmops"),
        ({"at_least": "0.5"}, "expected at_least from 0 to 1, got '0.5'"),
        ({"at_least": True}, "expected at_least from 0 to 1, got True"),
        ({"at_least": 1.5}, "expected at_least from 0 to 1, got 1.5"),
        ({"at_least": ...}, "expected at_least from 0 to 1, got None"),
        ({"embedder": ""}, "expected embedder as a text, got ''"),
        ({"version": 1}, "expected version as a text, got 1"),
        ({"facts": [1]}, r"expected facts as an object, got \[1\]"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = written(tmp_path / "bound.json", **changes)
    with pytest.raises(UsageError, match=said) as caught:
        Threshold.load(path)
    assert str(caught.value).startswith(f"threshold {path}: ")
    assert "expected a file of llmops calibrate semantic pairs.jsonl --out FILE" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "broken JSON"),
        (b'{"at_least": 0.5,\n', r"broken JSON: .* \(line 2\)"),
        (b"\xff", "not UTF-8"),
        (b"[]", "expected an object with keys, got a list"),
        (b'{"at_least": NaN}', "NaN is no JSON"),
        (b'{"at_least": 0.5, "at_least": 0.6}', "stands twice"),
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bound.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=said):
        Threshold.load(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.json: no such file; expected a file of llmops calibrate"):
        Threshold.load(tmp_path / "absent.json")
    with pytest.raises(UsageError, match="cannot be read: "):
        Threshold.load("a\0b")
    with pytest.raises(UsageError, match="cannot be read: "):
        Threshold.load(tmp_path)


def test_facts_and_rule_may_be_missing(tmp_path: Path) -> None:
    found = Threshold.load(written(tmp_path / "bound.json", facts=..., rule=..., of_a_newer_version=1))
    assert (found.facts, found.rule) == ({}, "")


class Unbounded:
    version = "1"


def test_the_default_bound_is_the_embedders_own() -> None:
    assert default_bound(HASHING, Settings()) == HASHING.default_bound
    assert default_bound(Unbounded(), Settings()) is None  # type: ignore[arg-type]
    assert name_of(Unbounded()) == "Unbounded"
    assert name_of(HASHING) == "hashing"


def test_a_file_of_the_settings_comes_before_it(tmp_path: Path) -> None:
    settings = Settings(semantic_threshold=str(written(tmp_path / "bound.json")))
    assert default_bound(HASHING, settings) == 0.61
    assert default_bound(TfidfEmbedder(), settings) == TfidfEmbedder().default_bound
    renamed = Settings(semantic_threshold=str(written(tmp_path / "other.json", embedder="b", at_least=0.3)))
    assert default_bound(HASHING, renamed) == 0.3


def test_a_file_for_another_version_of_the_embedder_is_no_bound(tmp_path: Path) -> None:
    settings = Settings(semantic_threshold=str(written(tmp_path / "bound.json")))
    with pytest.raises(
        UsageError, match="hashing of version hashing/1/4096, got hashing of version hashing/1/64"
    ):
        default_bound(HashingEmbedder(dim=64), settings)
    with pytest.raises(UsageError, match="no such file"):
        default_bound(HASHING, Settings(semantic_threshold=str(tmp_path / "absent.json")))


class Mine:
    version = "mine/2"


def test_the_command_is_told_a_class_that_it_can_import() -> None:
    with pytest.raises(UsageError, match=rf"--embedder {__name__}:Mine\Z"):
        made(embedder="Mine", version="mine/1").check(Mine())  # type: ignore[arg-type]


def test_a_file_may_name_an_embedder_as_a_hook_does(tmp_path: Path) -> None:
    path = written(tmp_path / "bound.json", embedder="mine", version="mine/1")
    settings = Settings(semantic_threshold=str(path))
    with pytest.raises(
        UsageError, match="expected the embedder it was measured with, mine of version mine/1"
    ):
        default_bound(Mine(), settings, asked="mine")  # type: ignore[arg-type]
    assert default_bound(Mine(), settings, asked="another") is None  # type: ignore[arg-type]
