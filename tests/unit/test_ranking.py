from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from support.messages import check_message

from pytest_llmops.cases.trec import read_qrels, read_run
from pytest_llmops.errors import CaseError, UnknownName, UsageError
from pytest_llmops.metrics.ranking import SCORERS, evaluate, parse_metric, rank_by_score

# Graded judgements, a tie and an unjudged document. The figures are those of pytrec_eval-terrier 0.5.11
# (success_3, P_3 ...), ir_measures 0.4.3 (Success@3 ...) and ranx 0.3.21 (hit_rate@3 ...; its run was put in
# trec_eval's order first, as it breaks ties by the order it is given): all give these digits.
QRELS = {
    "q1": {"a": 1, "b": 2, "c": 0, "d": 0},
    "q2": {"a": 3, "e": 1, "f": 0},
    "q3": {"x": 1},
}
RUN = {
    "q1": {"c": 3.0, "b": 2.5, "u": 2.5, "a": 1.0, "d": 0.5},
    "q2": {"f": 1.0, "e": 0.9, "a": 0.8, "b": 0.1},
    "q3": {"y": 2.0, "x": 1.0, "z": 0.5},
}


FIGURES = {
    "hit_rate@3": 1.0,
    "precision@3": 0.4444,
    "recall@3": 0.8333,
    "r_precision": 0.1667,
    "mrr": 0.4444,
    "map": 0.5,
    "map@3": 0.4167,
    "ndcg": 0.5872,
    "ndcg@3": 0.5326,
}


def test_other_programs_give_the_same_figures() -> None:
    scores = evaluate(RUN, QRELS, list(FIGURES))
    assert {name: round(scores.mean(name) or 0.0, 4) for name in FIGURES} == FIGURES
    # Query by query, of pytrec_eval-terrier.
    assert scores.values["map"].round(4).tolist() == [0.4167, 0.5833, 0.5]


def test_the_results_are_told_apart() -> None:
    run = {"q1": ["a"], "stray": ["a"]}
    relevant = {"q1": ["a", "b"], "q2": ["c"], "none": [], "nothing good": {"a": 0}}
    scores = evaluate(run, relevant, ["recall"])
    assert scores.queries == ("q1", "q2")
    assert scores.values["recall"].tolist() == [0.5, 0.0]
    assert scores.unscored == ("none", "nothing good")
    assert scores.missing == ("q2",)
    assert scores.unjudged == ("stray",)
    assert scores.lengths.tolist() == [1, 0]
    assert scores.mean("recall") == 0.25
    assert evaluate(run, relevant, ["recall"], complete=False).mean("recall") == 0.5


@pytest.mark.parametrize("relevant", [{}, {"q": []}], ids=["no query", "nothing relevant"])
def test_nothing_to_score_has_no_mean(relevant: dict[str, list[str]]) -> None:
    scores = evaluate({"q": ["a"]}, relevant, list(SCORERS))
    assert scores.queries == ()
    assert [scores.mean(name) for name in SCORERS] == [None] * len(SCORERS)


@pytest.mark.parametrize(
    ("run", "relevant"),
    [
        ({"q": ["a", "b", "a"]}, {"q": ["b"]}),
        ({"q": [1]}, {"q": ["b"]}),
        ({"q": [["a"]]}, {"q": ["b"]}),
        ({"q": "abc"}, {"q": ["b"]}),
        ({"q": ["a"]}, {"q": "b"}),
        ({"q": ["a"]}, {"q": [1]}),
        ({"q": ["a"]}, {"q": {"b": 0.5}}),
        ({"q": {"a": float("nan")}}, {"q": ["b"]}),
        ({"q": {"a": 1.0, "b": "2"}}, {"q": ["b"]}),
    ],
)
def test_what_cannot_be_scored_names_its_query(
    run: dict[str, list[str]], relevant: dict[str, list[str]]
) -> None:
    with pytest.raises(ValueError, check=check_message):
        evaluate(run, relevant, ["mrr"])


@pytest.mark.parametrize("options", [{"level": 0}, {"depth": 0}])
def test_a_level_and_a_depth_of_at_least_1(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, check=check_message):
        evaluate({}, {}, ["mrr"], **options)  # type: ignore[arg-type]


def test_scores_that_overflow_together_are_still_finite_or_reported() -> None:
    with pytest.raises(ValueError, check=check_message):
        rank_by_score({"a": 1.0, "b": float("inf")})
    assert rank_by_score({"a": 1e308, "b": 1.7e308, "c": 1.0}) == ["b", "a", "c"]


def test_names_and_cuts() -> None:
    assert [parse_metric(text) for text in ("Rprec", "success@1", " MAP@05 ", "ndcg")] == [
        ("r_precision", None),
        ("hit_rate", 1),
        ("map", 5),
        ("ndcg", None),
    ]
    with pytest.raises(UnknownName, check=check_message):
        parse_metric("ndgc@10")
    with pytest.raises(UsageError, check=check_message):
        parse_metric("ndcg@ten")


def test_files_of_trec(tmp_path: Path) -> None:
    judged = "# made by hand\nq1 0 a 1\n\nq1\t0\tb  -1 and more\r\nq2 0 a 0\n"
    ranking = "q1 Q0 a 7 0.5 me\nq1 Q0 b 1 -1e-3 me with junk\n"
    (tmp_path / "qrels").write_text(judged, newline="")
    (tmp_path / "run").write_text(ranking)
    assert read_qrels(tmp_path / "qrels") == {"q1": {"a": 1, "b": -1}, "q2": {"a": 0}}
    assert read_run(tmp_path / "run") == {"q1": {"a": 0.5, "b": -0.001}}


@pytest.mark.parametrize(
    "text",
    [
        "q1 0 a 1\nq1 0 a\n",
        "q1 0 a 1.5\n",
        "q1 0 a 99999999999\n",
        "q1 0 a ²\n",
        "# c\nq1 0 a 1\nq2 0 a 1\nq1 0 a 0\n",
        "",
        "# only a comment\n",
    ],
)
def test_judgements_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CaseError, check=check_message):
        read_qrels(path)


@pytest.mark.parametrize(
    "data",
    [
        b"q Q0 a 1 nan x\n",
        b"q Q0 a 1 high x\n",
        b"q Q0 a 1 0.5\n",
        b"q Q0 a 1 0.5 x\nq Q0 \xff 1 0.5 x\n",
        gzip.compress(b"q Q0 a 1 0.5 x\n", mtime=0),
    ],
)
def test_runs_that_cannot_be_read(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad"
    path.write_bytes(data)
    with pytest.raises(CaseError, check=check_message):
        read_run(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"no such file @ .*nowhere"):
        read_run(tmp_path / "nowhere")
