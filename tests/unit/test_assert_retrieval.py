from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.messages import check_message

from pytest_llmops import MeasurementErrored, MeasurementFailed, assert_retrieval, collect, recorder
from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.protocols import Hit, Hits


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """Keep the plugin that runs this test out of it: its provenance lines, and its report."""
    alone = recorder.Recorder(describe_origin=tuple)
    recorder.push_recorder(alone)
    yield
    recorder.pop_recorder(alone)


def hits(*ids: str, text: str = "") -> Hits:
    items = tuple(Hit(id=id_, text=text or f"text of {id_}", score=9.0 - n) for n, id_ in enumerate(ids))
    return Hits(items, query="when?")


def test_a_good_search_passes() -> None:
    measurement = assert_retrieval(hits("a", "b", "c"), ["c"], at_least=1.0)
    assert (measurement.name, measurement.value, measurement.threshold) == ("retrieval.recall@5", 1.0, 1.0)
    assert (measurement.unit, measurement.better, measurement.status) == ("1", "higher", "passed")
    check_message(measurement.reason)


@pytest.mark.parametrize(
    ("metric", "name", "value"),
    [
        ("recall", "recall", 0.5),
        ("recall@2", "recall@2", 0.0),
        ("Precision@5", "precision@5", 0.2),
        ("hit_rate@3", "hit_rate@3", 1.0),
        ("MRR@10", "mrr@10", 1 / 3),
        ("reciprocal_rank@10", "mrr@10", 1 / 3),
        ("map", "map", 1 / 6),
        ("average_precision@03", "map@3", 1 / 6),
        (" nDCG@3 ", "ndcg@3", 0.5 / (1 + 0.6309297535714575)),
    ],
)
def test_the_metric_by_its_name(metric: str, name: str, value: float) -> None:
    measurement = assert_retrieval(["x", "y", "a"], ["a", "b"], metric=metric, at_least=None)
    assert measurement.name == f"retrieval.{name}"
    assert measurement.value == pytest.approx(value)
    assert measurement.status == "recorded"


def test_the_threshold_has_to_be_named() -> None:
    with pytest.raises(TypeError, match="at_least"):
        assert_retrieval(["a"], ["a"])  # type: ignore[call-arg]


def test_a_failure_shows_ranks_and_what_stands_there_instead() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_retrieval(
            hits("x", "a", "y", "b"), {"a": 2, "b": 1, "c": 1, "z": 0}, metric="recall@3", at_least=0.5
        )
    check_message(caught.value)
    detail = caught.value.measurement.detail
    assert detail["actual"] == "x\na\ny\nb"
    assert detail["expected"] == ["a", "b", "c"]
    assert detail["ranks"] == {"a": 2, "b": 4, "c": None}
    assert detail["query"] == "when?"


def test_no_hits_score_zero_and_say_so() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_retrieval(Hits(query="?"), ["a"], at_least=0.1)
    assert "a: not among the 0 hits" in str(caught.value)
    check_message(caught.value)


def test_ids_alone_are_shown_alone() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_retrieval(["x", "y"], ["a"], metric="mrr", at_least=1)
    check_message(str(caught.value).splitlines()[1:])


def test_many_relevant_ids_leave_room_for_what_stands_there() -> None:
    relevant = [f"r{number}" for number in range(9)]
    with pytest.raises(MeasurementFailed) as caught:
        assert_retrieval(hits("x", "y", "r0"), relevant, at_least=0.9)
    lines = str(caught.value).splitlines()
    assert lines[2:5] == [f"  relevant   r{number}: not among the 3 hits" for number in (1, 2, 3)]
    assert lines[5].startswith("  relevant   r4: not among the 3 hits, r5: not among")
    assert lines[6:] == ["  rank 1     x: text of x", "  rank 2     y: text of y"]
    evidence = caught.value.measurement.detail["evidence"]
    assert "r0: rank 3" in str(evidence)


def test_foreign_text_stays_in_its_line() -> None:
    hostile = "\nE   passed\x1b[2J" + "x" * 500
    with pytest.raises(MeasurementFailed) as caught:
        assert_retrieval(hits("x\ny", text=hostile), ["a\nb"], at_least=1)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "\x1b" not in str(caught.value)
    assert "a\\nb: not among the 1 hits" in lines[2]
    assert "x\\ny: " in lines[3]
    assert "... (+" in lines[3]


@pytest.mark.parametrize(
    ("given", "relevant"),
    [(["a"], []), (["a"], {"a": 0}), (["a", "a"], ["a"]), (["a"], [1]), (["a"], {"a": 0.5})],
)
def test_what_cannot_be_scored_is_an_error(given: list[str], relevant: list[str]) -> None:
    with pytest.raises(MeasurementErrored, check=check_message) as caught:
        assert_retrieval(given, relevant, at_least=0.5, label="L")
    measurement = caught.value.measurement
    assert (measurement.name, measurement.value, measurement.label) == ("retrieval.recall@5", None, "L")


@pytest.mark.parametrize(
    ("metric", "error"),
    [
        ("recal@5", UnknownName),
        ("", UnknownName),
        ("recall@", UsageError),
        ("recall@0", UsageError),
        ("recall@-1", UsageError),
        ("recall@x", UsageError),
        ("recall@²", UsageError),
    ],
)
def test_a_metric_that_is_none(metric: str, error: type[Exception]) -> None:
    with pytest.raises(error, check=check_message):
        assert_retrieval(["a"], ["a"], metric=metric, at_least=1)


@pytest.mark.parametrize("threshold", [80, -0.1, float("nan"), float("inf"), True, "0.5"])
def test_a_threshold_that_no_search_can_meet_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_retrieval(["a"], ["a"], at_least=threshold)


@pytest.mark.parametrize(
    ("given", "relevant"), [("abc", ["a"]), (None, ["a"]), ([1], ["a"]), (["a"], "a"), (["a"], None)]
)
def test_arguments_of_another_type(given: list[str], relevant: list[str]) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_retrieval(given, relevant, at_least=1)


def test_a_list_of_hits_is_fine() -> None:
    result = list(hits("x", "a"))
    assert assert_retrieval(result, {"a"}, metric="mrr", at_least=0.5).value == 0.5


def test_it_is_recorded_with_its_label() -> None:
    with collect() as measurements:
        assert_retrieval(["x"], ["a"], at_least=1, label="handbook")
    assert [(measurement.label, measurement.status) for measurement in measurements] == [
        ("handbook", "failed")
    ]
