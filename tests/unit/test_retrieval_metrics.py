from __future__ import annotations

import gzip
import os
from collections import defaultdict
from pathlib import Path

import pytest

from pytest_llmops.metrics.retrieval import (
    METRICS,
    Metric,
    average_precision,
    hit_rate,
    ndcg,
    precision,
    recall,
    reciprocal_rank,
)

Qrels = dict[str, dict[str, int]]
Run = dict[str, list[str]]


@pytest.fixture
def trec() -> Path:
    """The test data of trec_eval, which is not part of this repository."""
    given = os.environ.get("LLMOPS_SHARED_DATA")
    root = Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = root / "retrieval" / "trec_eval"
    if not folder.is_dir():
        pytest.skip(
            f"no trec_eval data in {folder}: set LLMOPS_SHARED_DATA to the folder that holds retrieval/"
        )
    return folder


def read_qrels(path: Path) -> Qrels:
    found: Qrels = defaultdict(dict)
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        query, _, document, grade = line.split()
        found[query][document] = int(grade)
    return found


def read_run(path: Path) -> Run:
    scored: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        query, _, document, _, score, *_ = line.split()
        scored[query].append((float(score), document))
    # trec_eval goes by score alone, and by the greater id where scores are equal.
    return {query: [name for _, name in sorted(rows, reverse=True)] for query, rows in scored.items()}


def read_expected(path: Path) -> dict[tuple[str, str], str]:
    rows = [line.split() for line in path.read_text().splitlines()]
    return {(name, query): value for name, query, value in rows}


def measure(name: str, ranking: list[str], qrels: dict[str, int], level: int = 1) -> float | None:
    """A measure by trec_eval's name; None for those that are not ours."""
    stem, _, cut = name.rpartition("_")
    plain: dict[str, Metric] = {"map": average_precision, "recip_rank": reciprocal_rank, "ndcg": ndcg}
    cuts: dict[str, Metric] = {
        "P": precision,
        "recall": recall,
        "map_cut": average_precision,
        "ndcg_cut": ndcg,
        "success": hit_rate,
    }
    if name in plain:
        function, k = plain[name], None
    elif stem in cuts and cut.isdecimal():
        function, k = cuts[stem], int(cut)
    else:
        return None
    graded = qrels if function is ndcg else {one: grade - level + 1 for one, grade in qrels.items()}
    return function(ranking, graded, k)


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("expected", "qrels", "level"),
    [("out.test.aq", "qrels.test.gz", 1), ("out.test.aql", "qrels.rel_level.gz", 2)],
    ids=["binary", "graded"],
)
def test_every_number_of_trec_eval(trec: Path, expected: str, qrels: str, level: int) -> None:
    numbers = read_expected(trec / expected)
    judged = read_qrels(trec / qrels)
    run = read_run(trec / "results.test.gz")
    compared: dict[str, int] = defaultdict(int)
    means: dict[str, list[float]] = defaultdict(list)
    for (name, query), value in numbers.items():
        if query == "all":
            continue
        got = measure(name, run[query], judged[query], level)
        if got is not None:
            assert f"{got:.4f}" == value, (name, query)
            compared[name.rstrip("0123456789")] += 1
            means[name].append(got)
    for name, values in means.items():
        assert f"{sum(values) / len(values):.4f}" == numbers[name, "all"], name
    assert {"map", "recip_rank", "ndcg", "P_", "recall_", "map_cut_", "ndcg_cut_", "success_"} == set(
        compared
    )
    assert compared["P_"] == compared["ndcg_cut_"] == 27


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


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_an_empty_ranking_scores_zero(metric: Metric) -> None:
    assert metric([], ["a"], None) == 0.0
    assert metric([], ["a"], 3) == 0.0


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize(
    ("ranking", "relevant", "k", "said"),
    [
        (["a"], [], 5, "no relevant ids"),
        (["a"], {"a": 0, "b": -1}, 5, "no relevant ids"),
        (["a", "b", "a"], ["a"], 1, "holds 'a' twice"),
        (["a"], ["a"], 0, "at least 1, got 0"),
        (["a"], "a", None, "got the text 'a'"),
        ([1], ["a"], None, "the ranking: expected ids that are texts, got 1"),
        (["a"], [1], None, "relevant: expected ids that are texts, got 1"),
        (["a"], {"a": 0.5}, None, "grade of 'a': expected a whole number, got 0.5"),
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
    metric: Metric, ranking: list[str], relevant: list[str], k: int | None, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        metric(ranking, relevant, k)


def test_a_set_and_a_mapping_of_ones_are_the_same() -> None:
    for metric in METRICS.values():
        assert metric(["x", "a"], {"a", "b"}, 5) == metric(["x", "a"], {"a": 1, "b": 1}, 5)
