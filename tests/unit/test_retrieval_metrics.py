from __future__ import annotations

import pytest
from support.messages import check_message
from support.plain_ranking_metrics import (
    METRICS,
    Metric,
    average_precision,
    ndcg,
    precision,
    r_precision,
    recall,
)


def test_grades_count_in_ndcg_only() -> None:
    ranking = ["a", "b", "c"]
    grades = {"a": 1, "b": 3, "c": 0, "d": -1}
    assert recall(ranking, grades) == 1.0
    assert precision(ranking, grades) == pytest.approx(2 / 3)
    # 1/log2(2) + 3/log2(3) against 3/log2(2) + 1/log2(3)
    assert ndcg(ranking, grades) == pytest.approx(2.892789 / 3.630930, abs=1e-6)


def test_a_short_ranking_is_measured_at_k() -> None:
    assert precision(["a"], ["a"], 10) == 0.1
    assert recall(["a"], ["a", "b"], 10) == 0.5
    assert average_precision(["a"], ["a", "b"], 10) == 0.5


def test_a_cut_below_the_number_of_relevant_ids() -> None:
    relevant = ["a", "b", "c", "d"]
    assert recall(["a", "b"], relevant, 2) == 0.5
    assert ndcg(["a", "b"], relevant, 2) == 1.0
    assert average_precision(["a", "b"], relevant, 2) == 0.5


def test_precision_at_r_is_recall_at_r() -> None:
    ranking = ["x", "a", "b", "c", "d"]
    assert r_precision(ranking, ["a", "b", "z"]) == precision(ranking, ["a", "b", "z"], 3) == 2 / 3
    assert r_precision(["a"], ["a", "b"]) == 0.5
    assert r_precision(ranking, ["a", "b", "z"], 2) == 1 / 3


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_an_empty_ranking_scores_zero(metric: Metric) -> None:
    assert metric([], ["a"], None) == 0.0
    assert metric([], ["a"], 3) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize(
    ("ranking", "relevant", "k"),
    [
        (["a"], [], 5),
        (["a"], {"a": 0, "b": -1}, 5),
        (["a", "b", "a"], ["a"], 1),
        (["a"], ["a"], 0),
        (["a"], "a", None),
        ([1], ["a"], None),
        (["a"], [1], None),
        (["a"], {"a": 0.5}, None),
    ],
    ids=[
        "nothing",
        "no positive grade",
        "twice",
        "k",
        "text",
        "ranked number",
        "relevant number",
        "float grade",
    ],
)
def test_what_cannot_be_scored_is_no_low_score(
    metric: Metric, ranking: list[str], relevant: list[str], k: int | None
) -> None:
    with pytest.raises(ValueError, check=check_message):
        metric(ranking, relevant, k)


def test_a_set_and_a_mapping_of_ones_are_the_same() -> None:
    for metric in METRICS.values():
        assert metric(["x", "a"], {"a", "b"}, 5) == metric(["x", "a"], {"a": 1, "b": 1}, 5)
