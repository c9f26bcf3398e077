"""Many queries at once give what each gives alone, for every metric and whatever the judgements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plain_ranking_metrics import METRICS

from pytest_llmops.metrics.ranking import SCORERS, evaluate, parse_metric, rank_by_score

IDS = [f"d{number}" for number in range(9)]
QUERIES = ["q1", "q2", "q3", "q4"]
rankings = st.lists(st.sampled_from(IDS), unique=True)
judged = st.dictionaries(st.sampled_from(IDS), st.integers(-2, 4))
runs = st.dictionaries(st.sampled_from(QUERIES), rankings)
qrels = st.dictionaries(st.sampled_from(QUERIES), judged)
NAMES = [*SCORERS, *(f"{name}@{cut}" for name in SCORERS for cut in (1, 3, 20))]


def test_both_know_the_same_metrics() -> None:
    assert list(SCORERS) == list(METRICS)


@pytest.mark.slow
@given(run=runs, relevant=qrels)
def test_each_query_scores_as_it_does_alone(
    run: dict[str, list[str]], relevant: dict[str, dict[str, int]]
) -> None:
    scores = evaluate(run, relevant, NAMES)
    lines = {*scores.queries, *scores.unscored}
    assert lines == set(relevant)
    assert set(scores.unjudged) == set(run) - set(relevant)
    assert set(scores.missing) == {query for query in scores.queries if query not in run}
    for metric in NAMES:
        name, cut = parse_metric(metric)
        alone = [METRICS[name](run.get(query, []), relevant[query], cut) for query in scores.queries]
        assert scores.values[metric] == pytest.approx(alone, abs=1e-12), metric
    assert scores.lengths.tolist() == [len(run.get(query, [])) for query in scores.queries]


@pytest.mark.slow
@given(run=runs, relevant=qrels, depth=st.integers(1, 10))
def test_a_depth_is_a_run_of_that_length(
    run: dict[str, list[str]], relevant: dict[str, dict[str, int]], depth: int
) -> None:
    short = {query: ranking[:depth] for query, ranking in run.items()}
    deep, cut = evaluate(run, relevant, NAMES, depth=depth), evaluate(short, relevant, NAMES)
    assert {name: values.tolist() for name, values in deep.values.items()} == {
        name: values.tolist() for name, values in cut.values.items()
    }


@pytest.mark.slow
@given(run=runs, relevant=qrels, level=st.integers(1, 3))
def test_a_level_moves_the_grades(
    run: dict[str, list[str]], relevant: dict[str, dict[str, int]], level: int
) -> None:
    binary = {
        query: {id_: int(grade >= level) if grade >= 0 else grade for id_, grade in grades.items()}
        for query, grades in relevant.items()
    }
    names = [name for name in NAMES if "ndcg" not in name]
    moved, plain = evaluate(run, relevant, names, level=level), evaluate(run, binary, names)
    assert moved.queries == plain.queries
    for name in names:
        assert moved.values[name].tolist() == plain.values[name].tolist()


@given(scores=st.dictionaries(st.sampled_from(IDS), st.integers(0, 3).map(float)))
def test_the_order_of_scores(scores: dict[str, float]) -> None:
    order = rank_by_score(scores)
    assert sorted(order) == sorted(scores)
    assert [(scores[name], name) for name in order] == sorted(
        ((score, name) for name, score in scores.items()), reverse=True
    )
