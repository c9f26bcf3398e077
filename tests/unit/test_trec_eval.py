"""Every number of trec_eval's own tests that concerns our metrics, from its own files.

``quicktest`` of its Makefile says which options made which output. Left out: the outputs of other measures
(``prefs``, ``qrels_prefs``, ``qrels_jg``, the z-scores of ``aqZ``), and ``out.comment.test``, whose run is not
among the files.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.plain_ranking_metrics import METRICS

from pytest_llmops.cases.trec import read_qrels, read_run
from pytest_llmops.metrics.ranking import Scores, evaluate, rank_by_score

pytestmark = pytest.mark.shared_data

WHOLE = {"map": "map", "recip_rank": "mrr", "ndcg": "ndcg", "Rprec": "r_precision"}
AT = {"P": "precision", "recall": "recall", "map_cut": "map", "ndcg_cut": "ndcg", "success": "hit_rate"}


@dataclass(frozen=True)
class Test:
    """One line of quicktest: its output, its files, its options, and how many numbers are ours."""

    __test__ = False
    out: str
    numbers: int
    qrels: str = "qrels.test.gz"
    run: str = "results.test.gz"
    options: Mapping[str, Any] | None = None


TESTS = [
    Test("out.test", 12, options={"complete": False}),
    Test("out.test", 12, qrels="qrels.test.with-comments.gz", options={"complete": False}),
    Test("out.test.a", 43, options={"complete": False}),
    Test("out.test.aq", 4 * 43, options={"complete": False}),
    Test("out.test.aqc", 4 * 43, run="results.trunc"),
    Test("out.test.aqcM", 4 * 43, run="results.trunc", options={"depth": 100}),
    Test("out.test.aql", 4 * 43, qrels="qrels.rel_level.gz", options={"complete": False, "level": 2}),
    Test("out.test.meas_params", 4 * 11, options={"complete": False}),
]


def ours(name: str) -> str | None:
    """A measure of trec_eval by our name; None for those that are not ours."""
    stem, _, cut = name.rpartition("_")
    if name in WHOLE:
        return WHOLE[name]
    return f"{AT[stem]}@{cut}" if stem in AT and cut.isdecimal() else None


def expected(path: Path) -> dict[tuple[str, str], str]:
    rows = [line.split() for line in path.read_text().splitlines()]
    result = [(ours(name), query, value) for name, query, value in rows]
    return {(name, query): value for name, query, value in result if name is not None}


@pytest.fixture
def folder(shared_data: Path, tmp_path: Path) -> Path:
    for path in (shared_data / "retrieval" / "trec_eval").iterdir():
        data = path.read_bytes()
        (tmp_path / path.name).write_bytes(gzip.decompress(data) if path.suffix == ".gz" else data)
    return tmp_path


def scored(folder: Path, test: Test, metrics: list[str]) -> Scores:
    run, qrels = read_run(folder / test.run), read_qrels(folder / test.qrels)
    return evaluate(run, qrels, metrics, **test.options or {})


@pytest.mark.slow
@pytest.mark.parametrize("test", TESTS, ids=lambda test: f"{test.out}-{test.qrels}")
def test_every_number_to_its_four_digits(folder: Path, test: Test) -> None:
    numbers = expected(folder / test.out)
    assert len(numbers) == test.numbers
    scores = scored(folder, test, list(dict.fromkeys(name for name, _ in numbers)))
    got = {}
    for name, query in numbers:
        if query == "all":
            got[name, query] = f"{scores.mean(name):.4f}"
        elif query in scores.queries:
            got[name, query] = f"{scores.values[name][scores.queries.index(query)]:.4f}"
    assert got == numbers


def test_a_query_the_run_does_not_have_counts_as_0_or_not_at_all(folder: Path) -> None:
    run, qrels = read_run(folder / "results.trunc"), read_qrels(folder / "qrels.test.gz")
    assert set(qrels) - set(run) == {"302"}
    assert evaluate(run, qrels, ["map"]).missing == ("302",)
    without = evaluate(run, qrels, ["map"], complete=False)
    assert without.queries == ("301", "303")
    assert without.missing == ("302",)


def test_equal_scores_are_told_apart_by_the_greater_id(folder: Path) -> None:
    run = read_run(folder / "results.test.gz")
    ties = sum(len(rows) - len(set(rows.values())) for rows in run.values())
    assert ties > 0
    for rows in run.values():
        order = rank_by_score(rows)
        pairs = [(rows[name], name) for name in order]
        assert pairs == sorted(pairs, reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", METRICS)
def test_one_query_in_plain_python_gives_the_same(folder: Path, name: str) -> None:
    run, qrels = read_run(folder / "results.test.gz"), read_qrels(folder / "qrels.test.gz")
    for cut in (None, 1, 10, 100, 1000):
        metric = name if cut is None else f"{name}@{cut}"
        scores = evaluate(run, qrels, [metric])
        assert len(scores.queries) >= 3
        for query, value in zip(scores.queries, scores.values[metric], strict=True):
            assert METRICS[name](rank_by_score(run[query]), qrels[query], cut) == pytest.approx(
                value, abs=1e-12
            )
