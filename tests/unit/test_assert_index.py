from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops import MeasurementErrored, MeasurementFailed, collect
from pytest_llmops.assertions.index import assert_index_fresh, assert_reindex_time, assert_search_latency
from pytest_llmops.errors import CorpusError, UsageError
from pytest_llmops.protocols import Chunk, Hits
from pytest_llmops.retrievers.bm25 import InMemoryRetriever, load_corpus
from pytest_llmops.retrievers.freshness import Keys, Stamp

pytestmark = pytest.mark.usefixtures("alone")


def test_an_index_that_is_up_to_date(tmp_path: Path) -> None:
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text(f"text of {name}", encoding="utf-8")
    index = InMemoryRetriever(load_corpus(tmp_path))
    found = assert_index_fresh(index, tmp_path)
    assert [(one.name, one.value, one.unit, one.better, one.status) for one in found] == [
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
    details = {one.name: one.detail for one in caught.value.measurements}
    assert details["index.missing"]["missing"] == ["a"]
    assert details["index.age"] == {"oldest": "gone", "by": "modified"}
    with pytest.raises(MeasurementFailed) as caught:
        assert_index_fresh({}, {"a\n\x1b": "x"})
    assert well_formed(caught.value)[0] == "index.missing 1 > 0"


def test_thresholds_say_how_many_are_fine_and_none_records() -> None:
    index = {"b": "old", "gone": "x"}
    source = {"a": "x", "b": "new", "c": "x"}
    found = assert_index_fresh(index, source, at_most_missing=2, at_most_outdated=None, at_most_orphaned=1)
    assert [(one.value, one.threshold, one.status) for one in found] == [
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


def test_what_cannot_be_told_is_an_error() -> None:
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
    found = assert_index_fresh(
        chunks,
        {"a": Stamp(fingerprint="s")},
        at_most_age_s=100,
        keys=Keys(document="file", fingerprint="sha", indexed="at"),
        now=1000,
    )
    age = found[-1]
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


class Slow:
    """Reports a latency for every query, or none."""

    def __init__(self, seconds: dict[str, Any]) -> None:
        self.seconds = seconds
        self.asked: list[tuple[str, int | None]] = []

    def search(self, query: str, k: int | None = None) -> Hits:
        self.asked.append((query, k))
        return Hits(query=query, latency_s=self.seconds[query])


def test_the_share_of_searches_that_are_fast_enough() -> None:
    retriever = Slow({f"q{number}": number / 100 for number in range(1, 21)})
    measurement = assert_search_latency(retriever, list(retriever.seconds), at_most_s=0.19)
    # Nearest rank: 19 of 20 take at most 0.19 s.
    assert (measurement.name, measurement.value, measurement.unit) == ("retrieval.latency", 0.19, "s")
    assert (measurement.better, measurement.version, measurement.status) == ("lower", "1/q0.95", "passed")
    check_message(measurement.reason)
    detail = dict(measurement.detail)
    del detail["evidence"]
    assert detail == {
        "queries": 20,
        "quantile": 0.95,
        "median": 0.1,
        "mean": pytest.approx(0.105),
        "slowest": 0.2,
    }
    assert retriever.asked[:2] == [("q1", None), ("q1", None)]
    assert len(retriever.asked) == 21


@pytest.mark.parametrize(("quantile", "value"), [(0.01, 1.0), (0.5, 2.0), (0.51, 3.0), (0.75, 3.0), (1, 4.0)])
def test_quantiles_are_latencies_that_were_measured(quantile: float, value: float) -> None:
    retriever = Slow({"a": 4.0, "b": 1.0, "c": 3.0, "d": 2.0})
    found = assert_search_latency(retriever, ["a", "b", "c", "d"], at_most_s=None, quantile=quantile)
    assert (found.value, found.status) == (value, "recorded")


def test_a_slow_search_is_named(well_formed: Callable[[BaseException], list[str]]) -> None:
    retriever = Slow({"fast": 0.01, "slow\n\x1b[2J": 2.0, "medium": 0.5})
    with pytest.raises(MeasurementFailed) as caught:
        assert_search_latency(retriever, list(retriever.seconds), at_most_s=1, k=7, label="handbook")
    check_message(well_formed(caught.value))
    assert {k for _, k in retriever.asked} == {7}


def test_without_a_reported_latency_the_clock_counts() -> None:
    retriever = Slow({"a": None, "b": None})
    ticks: Iterator[float] = iter([0.0, 9.0, 10.0, 10.5, 20.0, 22.0])
    found = assert_search_latency(retriever, ["a", "b"], at_most_s=3, clock=lambda: next(ticks))
    # The first, of 9 s, warms up.
    assert (found.value, found.detail["median"]) == (2.0, 0.5)


def test_a_list_of_hits_is_timed_too() -> None:
    class Bare:
        def search(self, query: str, k: int | None = None) -> Any:
            return [query] * (k or 1)

    ticks = iter([0.0, 1.0, 2.0, 2.25])
    assert assert_search_latency(Bare(), ["a"], at_most_s=1, clock=lambda: next(ticks)).value == 0.25


@pytest.mark.parametrize("latency", [float("nan"), -0.1, float("inf"), "fast"])
def test_a_latency_that_is_none(latency: Any) -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_search_latency(Slow({"a": latency}), ["a"], at_most_s=1)


def test_a_search_that_fails_is_an_error_with_its_cause() -> None:
    with pytest.raises(MeasurementErrored, check=check_message) as caught:
        assert_search_latency(Slow({"a": 1.0}), ["a", "b"], at_most_s=2)
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.measurement.value is None


@pytest.mark.parametrize(
    ("retriever", "queries", "options"),
    [
        (Slow({}), [], {}),
        (Slow({}), "query", {}),
        (Slow({}), [3], {}),
        (object(), ["a"], {}),
        (Slow({}), ["a"], {"at_most_s": -1}),
        (Slow({}), ["a"], {"quantile": 0}),
        (Slow({}), ["a"], {"quantile": 95}),
    ],
)
def test_arguments_that_are_none(retriever: Any, queries: Any, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_search_latency(retriever, queries, **{"at_most_s": 1, **options})


def test_a_real_retriever_reports_its_own_latency() -> None:
    retriever = InMemoryRetriever([Chunk(id="a", text="refunds take days")])
    found = assert_search_latency(retriever, ["refunds", "days"], at_most_s=None)
    assert found.value is not None
    assert found.value > 0


def test_the_time_to_build_an_index() -> None:
    built = []
    ticks = iter([5.0, 7.5])
    found = assert_reindex_time(lambda: built.append(1), at_most_s=2.5, clock=lambda: next(ticks))
    assert (found.name, found.value, found.unit, found.better) == ("index.reindex", 2.5, "s", "lower")
    assert built == [1]
    ticks = iter([5.0, 7.6])
    with pytest.raises(MeasurementFailed, match=r"index.reindex 2\.60 s > 2\.50 s"):
        assert_reindex_time(lambda: None, at_most_s=2.5, clock=lambda: next(ticks))


def test_an_index_that_cannot_be_built() -> None:
    def build() -> None:
        raise OSError("disk full")

    with pytest.raises(MeasurementErrored, check=check_message) as caught:
        assert_reindex_time(build, at_most_s=1)
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(UsageError, check=check_message):
        assert_reindex_time([], at_most_s=1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, check=check_message):
        assert_reindex_time(build, at_most_s=True)


def test_no_frame_of_ours_is_shown(shown_frames: Callable[[BaseException], list[str]]) -> None:
    def raised(call: Callable[[], object]) -> BaseException:
        with pytest.raises((MeasurementFailed, MeasurementErrored, UsageError)) as caught:
            call()
        return caught.value

    calls: list[Callable[[], object]] = [
        lambda: assert_index_fresh({}, {"a": "x"}),
        lambda: assert_index_fresh({}, {}),
        lambda: assert_index_fresh({"a": "x"}, {"a": True}),
        lambda: assert_search_latency(Slow({"a": 2.0}), ["a"], at_most_s=1),
        lambda: assert_search_latency(Slow({}), ["a"], at_most_s=1),
        lambda: assert_search_latency(Slow({}), [], at_most_s=1),
        lambda: assert_reindex_time(lambda: 1 / 0, at_most_s=1),
    ]
    assert [shown_frames(raised(one)) for one in calls] == [[]] * len(calls)


def test_all_are_recorded_once() -> None:
    with collect() as measurements:
        assert_index_fresh({}, {"a": "x"})
    assert [(one.name, one.status) for one in measurements] == [
        ("index.missing", "failed"),
        ("index.outdated", "passed"),
        ("index.orphaned", "passed"),
    ]


def test_thresholds_may_be_numbers_of_numpy() -> None:
    at_most: Any = np.int64(0)
    missing, *_ = assert_index_fresh({"a": "x"}, {"a": "x"}, at_most_missing=at_most)
    assert (missing.threshold, missing.status) == (0.0, "passed")
    limit: Any = np.float32(5)
    found = assert_search_latency(Fixed(), ["q"], at_most_s=limit, quantile=cast("Any", np.float64(0.5)))
    assert (found.threshold, found.value, found.status) == (5.0, 0.25, "passed")


class Fixed:
    """Reports its latency as NumPy's number."""

    def search(self, query: str, k: int | None = None) -> Any:
        return SimpleNamespace(query=query, k=k, latency_s=np.float32(0.25))
