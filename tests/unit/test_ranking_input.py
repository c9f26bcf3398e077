"""What a metric of rankings is given: numbers of numpy are numbers, and what has no order or no ids is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.containing_nli import ContainingNli
from support.messages import check_message
from support.plain_ranking_metrics import METRICS, ndcg, precision

from pytest_llmops import MeasurementFailed, assert_grounded, assert_retrieval
from pytest_llmops.errors import UsageError
from pytest_llmops.metrics.ranking import bootstrap_interval, evaluate, rank_by_score
from pytest_llmops.protocols import Hit

pytestmark = pytest.mark.usefixtures("alone")


def test_numbers_of_numpy_are_numbers() -> None:
    graded: Any = {"a": np.int64(2), "b": np.int32(0), "c": np.int64(1)}
    plain = {"a": 2, "b": 0, "c": 1}
    scored: Any = {"b": np.float32(0.9), "a": np.float64(0.5), "x": np.float16(0.25)}
    k: Any = np.int64(2)
    for metric in METRICS.values():
        result = metric(["b", "a"], graded, k)
        assert result == metric(["b", "a"], plain, 2)
        assert type(result) is float
    assert rank_by_score(scored) == ["b", "a", "x"]
    scores = evaluate({"q": scored}, {"q": graded}, list(METRICS), level=k, depth=k)
    assert scores.mean("mrr") == 0.5
    for relevant in (graded, {"q": graded}):
        hits: Any = ["b", "a"] if relevant is graded else {"q": scored}
        measurement = assert_retrieval(hits, relevant, metric="mrr", at_least=np.float32(0.5))  # type: ignore[arg-type]
        assert (measurement.value, measurement.threshold, type(measurement.threshold)) == (0.5, 0.5, float)
    # A grade of 0 that is numpy's is none that should be found either.
    assert assert_retrieval(["b", "a"], graded, at_least=None).detail["ranks"] == {"a": 2, "c": None}
    threshold: Any = np.float32(0.5)
    text = "Refunds take 5 days."
    assert assert_grounded(text, [text], nli=ContainingNli(), at_least=threshold).threshold == 0.5


def test_an_array_of_ids_has_an_order() -> None:
    ids: Any = np.array(["x", "a"])
    assert precision(ids, ["a"]) == 0.5
    assert evaluate({"q": ids}, {"q": ["a"]}, ["mrr"]).mean("mrr") == 0.5


@pytest.mark.parametrize(
    ("run", "relevant"),
    [
        ({"q": {"a"}}, {"q": ["a"]}),
        ({"q": {"a": 1.0}.keys()}, {"q": ["a"]}),
        ({"q": None}, {"q": ["a"]}),
        ({"q": iter("ab")}, {"q": ["a"]}),
        ({"q": ["a", 1]}, {"q": ["a"]}),
        ({"q": {"a": 0.5, 1: 0.7}}, {"q": ["a"]}),
        ({1: ["a"]}, {"1": ["a"]}),
        ({"1": ["a"]}, {1: ["a"]}),
        ({"q": ["a"], None: ["a"]}, {"q": ["a"]}),
        ({"q": ["a"]}, {"q": None}),
        ({"q": ["a"]}, {"q": {"a": True, "b": "1"}}),
        ({"q": ["a"]}, {"q": {"a": np.float32(1)}}),
        (None, {"q": ["a"]}),
        ([["a"]], {"q": ["a"]}),
        ({"q": ["a"]}, None),
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_rankings_that_would_score_silently(run: Any, relevant: Any, complete: bool) -> None:
    with pytest.raises(ValueError, check=check_message):
        evaluate(run, relevant, ["mrr"], complete=complete)


def test_what_is_relevant_to_a_query_that_was_left_out_is_checked_too() -> None:
    relevant: Any = {"q": ["a"], "other": None}
    with pytest.raises(ValueError, check=check_message):
        evaluate({"q": ["a"]}, relevant, ["mrr"], complete=False)


@pytest.mark.parametrize(
    "options",
    [
        {"level": None},
        {"level": 1.5},
        {"level": True},
        {"depth": "3"},
    ],
)
def test_a_level_and_a_depth_are_whole_numbers(options: Any) -> None:
    with pytest.raises(ValueError, check=check_message):
        evaluate({"q": ["a"]}, {"q": ["a"]}, ["mrr"], **options)


@pytest.mark.parametrize(
    "metrics",
    [
        None,
        "mrr",
        [None],
    ],
)
def test_metrics_that_are_no_list_of_names(metrics: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        evaluate({"q": ["a"]}, {"q": ["a"]}, metrics)


def test_an_assertion_without_a_metric() -> None:
    metric: Any = None
    with pytest.raises(UsageError, check=check_message):
        assert_retrieval(["a"], ["a"], metric=metric, at_least=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize(
    ("ranking", "relevant", "k"),
    [
        (["a"], ["a"], 2.5),
        (["a"], ["a"], "3"),
        (["a"], ["a"], True),
        (["a"], None, 5),
        (None, ["a"], 5),
        ({"a"}, ["a"], 5),
        ("ab", ["a"], 5),
    ],
)
def test_arguments_of_one_query(metric: Any, ranking: Any, relevant: Any, k: Any) -> None:
    with pytest.raises(ValueError, check=check_message):
        metric(ranking, relevant, k)


@pytest.mark.parametrize(
    "arguments",
    [
        ([1.0, float("nan")],),
        ([1.0, float("inf")],),
        (None,),
        (["a", "b"],),
        ([[1.0, 0.0], [0.0, 1.0]],),
        ([1.0, 0.0], ["a"]),
    ],
)
def test_an_interval_of_no_numbers(arguments: Any) -> None:
    with pytest.raises(ValueError, check=check_message):
        bootstrap_interval(*arguments)


@pytest.mark.parametrize("confidence", [0, 1, 2, -0.5, float("nan")])
def test_a_confidence_is_a_share(confidence: float) -> None:
    with pytest.raises(ValueError, check=check_message):
        bootstrap_interval([1.0, 0.0], confidence=confidence)


def test_a_hit_without_a_text_fails_like_any_other() -> None:
    text: Any = None
    hit: Any = Hit(id="b", text=text, score=1.0)
    with pytest.raises(MeasurementFailed, match=r"(?m)^  instead +rank 1 b$"):
        assert_retrieval({"q": [hit]}, {"q": ["a"]}, at_least=0.5)
    with pytest.raises(MeasurementFailed, match=r"(?m)^  rank 1 +b$"):
        assert_retrieval([hit], ["a"], at_least=0.5)


def test_grades_of_a_graded_gain_are_those_of_plain_numbers() -> None:
    grades: Any = {"a": np.int64(1), "b": np.int64(3)}
    assert round(ndcg(["a", "b"], grades), 4) == 0.7967
