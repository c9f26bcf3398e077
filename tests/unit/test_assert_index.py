from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops import MeasurementErrored, MeasurementFailed, collect
from pytest_llmops.assertions.index import assert_index_fresh
from pytest_llmops.errors import CorpusError, UsageError
from pytest_llmops.protocols import Chunk
from pytest_llmops.retrievers.bm25 import InMemoryRetriever, load_corpus
from pytest_llmops.retrievers.freshness import Keys, Stamp

pytestmark = pytest.mark.usefixtures("alone")


def test_an_index_that_is_up_to_date(tmp_path: Path) -> None:
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text(f"text of {name}", encoding="utf-8")
    index = InMemoryRetriever(load_corpus(tmp_path))
    measurements = assert_index_fresh(index, tmp_path)
    assert [
        (measurement.name, measurement.value, measurement.unit, measurement.better, measurement.status)
        for measurement in measurements
    ] == [
        ("index.missing", 0.0, "count", "lower", "passed"),
        ("index.outdated", 0.0, "count", "lower", "passed"),
        ("index.orphaned", 0.0, "count", "lower", "passed"),
    ]
    (tmp_path / "b.md").write_text("another text", encoding="utf-8")
    with pytest.raises(MeasurementFailed, match=r"index.outdated 1 > 0"):
        assert_index_fresh(index, tmp_path)


def test_each_kind_of_failure_names_its_documents(well_formed: Callable[[BaseException], list[str]]) -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_index_fresh(
            {"b": 100, "gone": 5},
            {"a": 100, "b": 160},
            at_most_age_s=50,
            now=200,
            label="handbook",
        )
    check_message(caught.value)
    details = {measurement.name: measurement.detail for measurement in caught.value.measurements}
    assert details["index.missing"]["missing"] == ["a"]
    assert details["index.age"] == {"oldest": "gone", "by": "modified"}
    with pytest.raises(MeasurementFailed) as caught:
        assert_index_fresh({}, {"a\n\x1b": "x"})
    assert well_formed(caught.value)[0] == "index.missing 1 > 0"


def test_thresholds_say_how_many_are_fine_and_none_records() -> None:
    index = {"b": "old", "gone": "x"}
    source = {"a": "x", "b": "new", "c": "x"}
    measurements = assert_index_fresh(
        index, source, at_most_missing=2, at_most_outdated=None, at_most_orphaned=1
    )
    assert [
        (measurement.value, measurement.threshold, measurement.status) for measurement in measurements
    ] == [
        (2.0, 2.0, "passed"),
        (1.0, None, "recorded"),
        (1.0, 1.0, "passed"),
    ]


def test_many_documents_fit_into_the_failure() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_index_fresh({}, {f"doc {number}": "x" for number in range(300)})
    lines = str(caught.value).splitlines()
    check_message(lines[:5])
    assert lines[5].startswith("  missing   doc 3, doc 4, ")
    assert len(lines) == 6
    named = caught.value.measurement.detail["missing"]
    assert isinstance(named, list)
    assert len(named) == 200


def test_what_cannot_be_decided_is_an_error() -> None:
    timed: dict[str, Any] = {"a": "x", "b": 5}
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_index_fresh(timed, {"a": "x", "b": "text"})
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_index_fresh({"a": "x"}, {"a": "x"}, at_most_age_s=60)


def test_a_failure_comes_before_an_error() -> None:
    with pytest.raises(MeasurementFailed, match="2 of 4 checks failed"):
        assert_index_fresh({"b": 5}, {"a": "x", "b": "text"})


def test_the_age_since_it_was_indexed() -> None:
    chunks = [
        Chunk(id="1", text="x", metadata={"file": "a", "at": 900, "sha": "s"}),
        Chunk(id="2", text="y", metadata={"file": "a", "at": 950, "sha": "s"}),
    ]
    measurements = assert_index_fresh(
        chunks,
        {"a": Stamp(fingerprint="s")},
        at_most_age_s=100,
        keys=Keys(document="file", fingerprint="sha", indexed="at"),
        now=1000,
    )
    age = measurements[-1]
    assert (age.name, age.value, age.unit, age.status) == ("index.age", 100.0, "s", "passed")
    check_message(age.reason)


def test_the_clock_of_the_machine_is_the_default() -> None:
    (*_, age) = assert_index_fresh({"a": 0}, {"a": 0})
    assert age.status == "recorded"
    assert age.value is not None
    assert age.value > 1_700_000_000


@pytest.mark.parametrize(
    "options",
    [
        {"at_most_missing": -1},
        {"at_most_outdated": 0.5},
        {"at_most_orphaned": True},
        {"at_most_age_s": float("nan")},
        {"at_most_age_s": "1 h"},
    ],
)
def test_thresholds_that_are_none(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_index_fresh({"a": "x"}, {"a": "x"}, **options)


def test_an_empty_source_is_a_mistake_not_a_pass(tmp_path: Path) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_index_fresh({"a": "x"}, tmp_path)
    with pytest.raises(CorpusError, check=check_message):
        assert_index_fresh({"a": "x"}, tmp_path / "none")


def test_no_frame_of_ours_is_shown(shown_frames: Callable[[BaseException], list[str]]) -> None:
    calls: list[tuple[Callable[[], object], type[Exception]]] = [
        (lambda: assert_index_fresh({}, {"a": "x"}), MeasurementFailed),
        (lambda: assert_index_fresh({}, {}), UsageError),
        (lambda: assert_index_fresh({"a": "x"}, {"a": True}), UsageError),
    ]
    for call, error in calls:
        with pytest.raises(error) as caught:
            call()
        assert shown_frames(caught.value) == []


def test_all_are_recorded_once() -> None:
    with collect() as measurements:
        assert_index_fresh({}, {"a": "x"})
    assert [(measurement.name, measurement.status) for measurement in measurements] == [
        ("index.missing", "failed"),
        ("index.outdated", "passed"),
        ("index.orphaned", "passed"),
    ]


def test_thresholds_may_be_numbers_of_numpy() -> None:
    at_most: Any = np.int64(0)
    missing, *_ = assert_index_fresh({"a": "x"}, {"a": "x"}, at_most_missing=at_most)
    assert (missing.threshold, missing.status) == (0.0, "passed")
