"""What a metric of rankings is given: numbers of numpy are numbers, and what has no order or no ids is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pytest_llmops import MeasurementFailed, assert_grounded, assert_retrieval
from pytest_llmops.errors import UsageError
from pytest_llmops.metrics.ranking import evaluate, interval, ranked
from pytest_llmops.metrics.retrieval import METRICS, ndcg, precision
from pytest_llmops.protocols import Hit

pytestmark = pytest.mark.usefixtures("alone")


def test_numbers_of_numpy_are_numbers() -> None:
    graded: Any = {"a": np.int64(2), "b": np.int32(0), "c": np.int64(1)}
    plain = {"a": 2, "b": 0, "c": 1}
    scored: Any = {"b": np.float32(0.9), "a": np.float64(0.5), "x": np.float16(0.25)}
    k: Any = np.int64(2)
    for metric in METRICS.values():
        found = metric(["b", "a"], graded, k)
        assert found == metric(["b", "a"], plain, 2)
        assert type(found) is float
    assert ranked(scored) == ["b", "a", "x"]
    scores = evaluate({"q": scored}, {"q": graded}, list(METRICS), level=k, depth=k)
    assert scores.mean("mrr") == 0.5
    for relevant in (graded, {"q": graded}):
        hits: Any = ["b", "a"] if relevant is graded else {"q": scored}
        measurement = assert_retrieval(hits, relevant, metric="mrr", at_least=np.float32(0.5))  # type: ignore[arg-type]
        assert (measurement.value, measurement.bound, type(measurement.bound)) == (0.5, 0.5, float)
    # A grade of 0 that is numpy's is none that should be found either.
    assert assert_retrieval(["b", "a"], graded, at_least=None).detail["ranks"] == {"a": 2, "c": None}
    bound: Any = np.float32(0.5)
    assert assert_grounded("Refunds take 5 days.", ["Refunds take 5 days."], at_least=bound).bound == 0.5


def test_an_array_of_ids_has_an_order() -> None:
    ids: Any = np.array(["x", "a"])
    assert precision(ids, ["a"]) == 0.5
    assert evaluate({"q": ids}, {"q": ["a"]}, ["mrr"]).mean("mrr") == 0.5


@pytest.mark.parametrize(
    ("run", "relevant", "said"),
    [
        ({"q": {"a", "b"}}, {"q": ["a"]}, "query 'q': expected ranked ids, or id -> score, got {"),
        (
            {"q": {"a": 1.0}.keys()},
            {"q": ["a"]},
            "query 'q': expected ranked ids, or id -> score, got dict_keys",
        ),
        ({"q": None}, {"q": ["a"]}, "query 'q': expected ranked ids, or id -> score, got None"),
        ({"q": iter("ab")}, {"q": ["a"]}, "query 'q': expected ranked ids"),
        ({"q": ["a", 1]}, {"q": ["a"]}, "query 'q': the ranking: expected ids that are texts, got 1"),
        (
            {"q": {"a": 0.5, 1: 0.7}},
            {"q": ["a"]},
            "query 'q': the ranking: expected ids that are texts, got 1",
        ),
        ({1: ["a"]}, {"1": ["a"]}, "run: expected ids of queries that are texts, got 1"),
        ({"1": ["a"]}, {1: ["a"]}, "relevant: expected ids of queries that are texts, got 1"),
        ({"q": ["a"], None: ["a"]}, {"q": ["a"]}, "run: expected ids of queries that are texts, got None"),
        ({"q": ["a"]}, {"q": None}, "query 'q': expected relevant ids, or id -> grade, got None"),
        ({"q": ["a"]}, {"q": {"a": True, "b": "1"}}, "grade of 'b': expected a whole number, got '1'"),
        (
            {"q": ["a"]},
            {"q": {"a": np.float32(1)}},
            r"grade of 'a': expected a whole number, got np\.float32",
        ),
        (None, {"q": ["a"]}, "run: expected a mapping of queries, got None"),
        ([["a"]], {"q": ["a"]}, "run: expected a mapping of queries, got "),
        ({"q": ["a"]}, None, "relevant: expected a mapping of queries, got None"),
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_rankings_that_would_score_silently(run: Any, relevant: Any, said: str, complete: bool) -> None:
    with pytest.raises(ValueError, match=said):
        evaluate(run, relevant, ["mrr"], complete=complete)


def test_what_is_relevant_to_a_query_that_was_left_out_is_checked_too() -> None:
    relevant: Any = {"q": ["a"], "other": None}
    with pytest.raises(ValueError, match="query 'other': expected relevant ids"):
        evaluate({"q": ["a"]}, relevant, ["mrr"], complete=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"level": None}, "expected whole numbers of at least 1, got None and None"),
        ({"level": 1.5}, "expected whole numbers of at least 1, got 1.5 and None"),
        ({"level": True}, "expected whole numbers of at least 1, got True"),
        ({"depth": "3"}, "expected whole numbers of at least 1, got 1 and '3'"),
    ],
)
def test_a_level_and_a_depth_are_whole_numbers(options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        evaluate({"q": ["a"]}, {"q": ["a"]}, ["mrr"], **options)


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (None, r"metrics: expected a list like \['ndcg@10'\], got None"),
        ("mrr", r"metrics: expected a list like \['ndcg@10'\], got 'mrr'"),
        ([None], "metric: expected a name like 'ndcg@10', got None"),
    ],
)
def test_metrics_that_are_no_list_of_names(metrics: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        evaluate({"q": ["a"]}, {"q": ["a"]}, metrics)


def test_an_assertion_without_a_metric() -> None:
    metric: Any = None
    with pytest.raises(UsageError, match="metric: expected a name like 'ndcg@10', got None"):
        assert_retrieval(["a"], ["a"], metric=metric, at_least=0.5)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize(
    ("ranking", "relevant", "k", "said"),
    [
        (["a"], ["a"], 2.5, "k: expected a whole number of at least 1, or None, got 2.5"),
        (["a"], ["a"], "3", "k: expected a whole number of at least 1, or None, got '3'"),
        (["a"], ["a"], True, "k: expected a whole number of at least 1, or None, got True"),
        (["a"], None, 5, "relevant: expected ids, or id -> grade, got None"),
        (None, ["a"], 5, "the ranking: expected a list of ids, best first, got None"),
        ({"a", "b"}, ["a"], 5, "the ranking: expected a list of ids, best first, got {"),
        ("ab", ["a"], 5, "the ranking: expected a list of ids, best first, got 'ab'"),
    ],
)
def test_arguments_of_one_query(metric: Any, ranking: Any, relevant: Any, k: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        metric(ranking, relevant, k)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([1.0, float("nan")],), r"values: expected a list of finite numbers, got \[1.0, nan\]"),
        (([1.0, float("inf")],), "values: expected a list of finite numbers"),
        ((None,), "values: expected a list of finite numbers, got None"),
        ((["a", "b"],), "values: expected a list of finite numbers"),
        (([[1.0, 0.0], [0.0, 1.0]],), "values: expected a list of finite numbers"),
        (([1.0, 0.0], ["a"]), "groups: expected one for each of 2 values, got 1"),
    ],
)
def test_an_interval_of_no_numbers(arguments: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        interval(*arguments)


@pytest.mark.parametrize("confidence", [0, 1, 2, -0.5, float("nan")])
def test_a_confidence_is_a_share(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence: expected a number between 0 and 1"):
        interval([1.0, 0.0], confidence=confidence)


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
