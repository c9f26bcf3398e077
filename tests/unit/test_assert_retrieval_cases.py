"""A retriever, or a run, against all queries of a case file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops import MeasurementErrored, MeasurementFailed, assert_retrieval, collect, recorder
from pytest_llmops.cases.files import Case
from pytest_llmops.cases.queries import collect_rankings, load_queries
from pytest_llmops.cases.trec import read_qrels
from pytest_llmops.errors import CaseError, UsageError
from pytest_llmops.metrics.ranking import bootstrap_interval
from pytest_llmops.protocols import Chunk, Hit, Hits
from pytest_llmops.retrievers.bm25 import InMemoryRetriever
from pytest_llmops.retrievers.hybrid import HybridRetriever

CASES: list[Mapping[str, Any]] = [
    {"id": "refund", "input": "How long does a refund take?", "relevant": ["refunds"]},
    {"id": "parcel", "input": "Where is my parcel?", "relevant": {"tracking": 2, "carriers": 1, "prices": 0}},
    {"id": "small talk", "input": "Hello there", "relevant": []},
]
CORPUS = [
    Chunk(id="refunds", text="A refund takes five days after we have the parcel."),
    Chunk(id="tracking", text="Track where your parcel is."),
    Chunk(id="carriers", text="We ship with two carriers."),
    Chunk(id="prices", text="Prices include tax."),
]


REASON = (
    "mean of 2 queries, 95 % interval 0.50 to 1.00; 1 of 3 not scored: nothing is relevant to them; "
    "2 found fewer than 3 ids"
)


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """Keep the plugin that runs this test out of it: its provenance lines, and its report."""
    alone = recorder.Recorder(describe_origin=tuple)
    recorder.push_recorder(alone)
    yield
    recorder.pop_recorder(alone)


@pytest.fixture
def retriever() -> InMemoryRetriever:
    return InMemoryRetriever(CORPUS, k=2, name="handbook")


def test_the_mean_of_a_retriever_over_its_cases(retriever: InMemoryRetriever) -> None:
    measurement = assert_retrieval(retriever, CASES, metric="recall@3", at_least=0.7, label="handbook")
    assert (measurement.name, measurement.value, measurement.label) == (
        "retrieval.recall@3",
        0.75,
        "handbook",
    )
    check_message(measurement.reason)
    assert measurement.detail["queries"] == 2
    assert measurement.detail["unscored"] == {"count": 1, "ids": ["small talk"]}
    assert measurement.detail["interval"] == [0.5, 1.0]


def test_a_failure_shows_the_worst_queries_and_what_took_their_places(retriever: InMemoryRetriever) -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_retrieval(retriever, CASES, metric="recall@3", at_least=0.9)
    check_message(caught.value)
    assert caught.value.measurement.detail["worst"] == [
        {
            "id": "parcel",
            "query": "Where is my parcel?",
            "value": 0.5,
            "ranks": {"tracking": 1, "carriers": None},
        },
        {"id": "refund", "query": "How long does a refund take?", "value": 1.0, "ranks": {"refunds": 1}},
    ]


@pytest.mark.parametrize(("metric", "k"), [("mrr@7", 7), ("map", None)])
def test_the_cut_is_the_number_of_hits_requested(metric: str, k: int | None) -> None:
    cuts: list[int | None] = []

    class Store:
        def search(self, query: str, k: int | None = None) -> Hits:
            cuts.append(k)
            return Hits((Hit(id="refunds", text=query, score=1.0),))

    assert assert_retrieval(Store(), CASES[:1], metric=metric, at_least=1.0).value == 1.0
    assert cuts == [k]


def test_a_run_as_a_mapping_and_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in CASES))
    (tmp_path / "cases.csv").write_text(
        "id,input,relevant\nrefund,How long?,refunds\nparcel,Where?,tracking; carriers\nsmall talk,Hi,\n"
    )
    (tmp_path / "bm25.run").write_text(
        "refund Q0 prices 1 9 x\nrefund Q0 refunds 2 8 x\nparcel Q0 tracking 1 9 x\nstray Q0 tracking 1 9 x\n"
    )
    run = {"refund": ["prices", "refunds"], "parcel": {"tracking": 9.0}, "stray": ["tracking"]}
    for given in (run, tmp_path / "bm25.run", str(tmp_path / "bm25.run")):
        for cases in (CASES, tmp_path / "cases.jsonl", str(tmp_path / "cases.csv")):
            measurement = assert_retrieval(given, cases, metric="mrr", at_least=0.75)  # type: ignore[arg-type]
            assert measurement.value == 0.75
            check_message(measurement.reason)


def test_a_query_that_the_run_does_not_have_scores_zero() -> None:
    with pytest.raises(MeasurementFailed) as caught:
        assert_retrieval({"refund": ["refunds"]}, CASES, metric="mrr", at_least=0.6)
    assert caught.value.measurement.value == 0.5
    check_message(caught.value)
    assert "not in run   parcel" in str(caught.value)
    assert "tracking: not among the 0 hits" in str(caught.value)


def test_hits_of_many_kinds() -> None:
    hit = Hit(id="b", text="text of b", score=1.0)
    run = {"1": Hits((hit,)), "2": [hit], "3": ("a", "b"), "4": {"a": 2.0, "b": 1.0}}
    cases = [{"input": "?", "relevant": ["b"]} for _ in run]
    assert assert_retrieval(run, cases, metric="mrr", at_least=0.7).value == 0.75  # type: ignore[arg-type]


def test_queries_of_every_source(tmp_path: Path) -> None:
    case = Case(id="c", input="q", family="f", data={"relevant": {"a": 2, "b": 0}})
    (line,) = load_queries([case])
    assert (line.id, line.text, line.relevant, line.family) == ("c", "q", {"a": 2, "b": 0}, "f")
    (two,) = load_queries({"q": {"a"}})
    assert (two.id, two.text, two.relevant) == ("q", "q", {"a": 1})
    (tmp_path / "qrels.txt").write_text("7 0 a 1\n")
    (three,) = load_queries(tmp_path / "qrels.txt")
    assert (three.id, three.text, three.relevant) == ("7", "", {"a": 1})
    assert [query.id for query in load_queries([{"input": "x", "relevant": ["a"]}, {"input": "y"}])] == [
        "1",
        "2",
    ]


@pytest.mark.parametrize(
    "cases",
    [
        [],
        7,
        ["text"],
        [{"input": "q"}],
        [{"id": "c", "input": {"q": 1}, "relevant": ["a"]}],
        [{"id": "c", "input": "  ", "relevant": ["a"]}],
        [{"input": "q", "relevant": "a"}],
        [{"input": "q", "relevant": [1]}],
        [{"input": "q", "relevant": {"a": 0.5}}],
        [{"id": "c", "input": "q", "relevant": ["a"]}] * 2,
        {"q": "a"},
    ],
)
def test_cases_of_the_wrong_form(cases: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_retrieval({"1": ["a"]}, cases, at_least=0.5)


def test_files_that_cannot_be_used_name_their_line(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text('{"id": "a", "input": "q", "relevant": ["x"]}\n{"id": "b"}\n')
    with pytest.raises(CaseError, match=r"missing 'input'.*cases.jsonl:2$"):
        assert_retrieval({"a": ["x"]}, tmp_path / "cases.jsonl", at_least=0.5)
    (tmp_path / "bad.csv").write_text("id,input,relevance\na,q,x\n")
    with pytest.raises(UsageError, check=check_message):
        assert_retrieval({"a": ["x"]}, tmp_path / "bad.csv", at_least=0.5)
    with pytest.raises(CaseError, match=r"no such file.* @ nowhere.run"):
        assert_retrieval("nowhere.run", CASES, at_least=0.5)


def test_an_id_that_the_corpus_does_not_have(retriever: InMemoryRetriever) -> None:
    cases = [{"id": "c", "input": "parcel", "relevant": ["trackin", "refunds"]}]
    with pytest.raises(UsageError, check=check_message):
        assert_retrieval(retriever, cases, at_least=0.5)

    class Store:
        documents: Any = ("a", "b")

        def search(self, query: str, k: int | None = None) -> Hits:
            return Hits(query=f"{query}{k}")

    with pytest.raises(UsageError, check=check_message):
        assert_retrieval(Store(), [{"input": "q", "relevant": [f"x{n}" for n in range(1, 6)]}], at_least=0.5)
    Store.documents = {"a": "text of a"}
    with pytest.raises(UsageError, check=check_message):
        assert_retrieval(Store(), [{"input": "q", "relevant": ["b"]}], at_least=0.5)
    for unknown in (7, [], [1, 2], "ab"):
        # Who does not tell its ids is asked, and finds nothing.
        Store.documents = unknown
        assert assert_retrieval(Store(), [{"input": "q", "relevant": ["b"]}], at_least=None).value == 0.0


def test_a_store_that_lists_its_passages_knows_its_ids_too() -> None:
    listings = 0

    class Store:
        failing: Exception | None = None

        def listing(self) -> list[Chunk]:
            nonlocal listings
            listings += 1
            if self.failing:
                raise self.failing
            return CORPUS

        def search(self, query: str, k: int | None = None) -> Hits:
            return Hits((Hit(id="tracking", text="", score=1.0),), query=f"{query}{k}")

    stray = [*CASES, {"id": "c", "input": "parcel", "relevant": ["trackin"]}]
    for store in (Store(), HybridRetriever([Store(), InMemoryRetriever(CORPUS)])):
        listings = 0
        with pytest.raises(UsageError, check=check_message):
            assert_retrieval(store, stray, at_least=0.1)
        assert listings == 1
    assert assert_retrieval(Store(), CASES, at_least=None).value == 0.25
    # What cannot be listed is called all the same; a store that is down scores nothing.
    Store.failing = UsageError("this store cannot be listed")
    assert assert_retrieval(Store(), stray, at_least=None).value == pytest.approx(0.5 / 3)
    Store.failing = OSError("no route")
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_retrieval(Store(), CASES, at_least=0.1)


def test_answers_are_a_retriever_or_a_run() -> None:
    with pytest.raises(UsageError, check=check_message):
        collect_rankings(7, load_queries(CASES), 5)  # type: ignore[arg-type]


def test_a_run_of_other_queries_is_a_mistake() -> None:
    with pytest.raises(UsageError, check=check_message):
        assert_retrieval({"q1": ["refunds"]}, CASES, at_least=0.5)


def test_judgements_alone_need_a_run(tmp_path: Path, retriever: InMemoryRetriever) -> None:
    (tmp_path / "qrels.txt").write_text("7 0 refunds 1\n")
    with pytest.raises(UsageError, check=check_message):
        assert_retrieval(retriever, tmp_path / "qrels.txt", at_least=0.5)
    assert assert_retrieval({"7": ["refunds"]}, tmp_path / "qrels.txt", at_least=0.5).value == 1.0


class Broken:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def search(self, query: str, k: int | None = None) -> Any:  # noqa: ARG002 -- the port
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        OSError("the store is locked"),
        None,
        "refunds",
        [1],
        ["a", "b", "a"],
        {"a": float("nan")},
    ],
)
def test_a_search_that_cannot_be_scored_is_an_error_and_no_low_score(answer: Any) -> None:
    with pytest.raises(MeasurementErrored, check=check_message) as caught:
        assert_retrieval(Broken(answer), CASES, metric="mrr@5", at_least=0.5)
    measurement = caught.value.measurement
    assert (measurement.name, measurement.value) == ("retrieval.mrr@5", None)


def test_a_mistake_that_the_retriever_tells_stays_one() -> None:
    with pytest.raises(UsageError, match=r"^no such collection$"):
        assert_retrieval(Broken(UsageError("no such collection")), CASES, at_least=0.5)


def test_nothing_relevant_at_all() -> None:
    with pytest.raises(MeasurementErrored, check=check_message):
        assert_retrieval({"small talk": ["a"]}, CASES[2:], at_least=0.5)


def test_many_queries_stay_a_short_text_and_a_bounded_detail() -> None:
    cases = [
        {"id": f"q{n}", "input": f"\x1bquery {n}" * 90, "relevant": ["a", *map(str, range(9))]}
        for n in range(200)
    ]
    run = {case["id"]: [f"bad {n}" for n in range(50)] for case in cases}
    with pytest.raises(MeasurementFailed) as caught:
        assert_retrieval(run, cases, metric="ndcg@10", at_least=0.5)  # type: ignore[arg-type]
    lines = str(caught.value).splitlines()
    assert len(lines) == 10
    assert "\x1b" not in str(caught.value)
    check_message(lines[-1].strip())
    assert max(map(len, lines)) < 250
    worst = caught.value.measurement.detail["worst"]
    assert isinstance(worst, list)
    assert len(worst) == 20


def test_it_is_recorded_without_a_threshold(retriever: InMemoryRetriever) -> None:
    with collect() as measurements:
        assert_retrieval(retriever, CASES, metric="hit_rate@1", at_least=None)
    assert [(measurement.name, measurement.status, measurement.value) for measurement in measurements] == [
        ("retrieval.hit_rate@1", "recorded", 1.0)
    ]


def test_the_interval_is_one_of_families() -> None:
    values = [0.0, 1.0] * 20
    alone = bootstrap_interval(values)
    together = bootstrap_interval(values, [str(n // 8) for n in range(40)])
    assert alone is not None
    # Families of half zeros and half ones have no spread between them; alone it is that of a coin.
    assert together == (0.5, 0.5)
    assert alone == pytest.approx((0.35, 0.65), abs=0.03)
    assert bootstrap_interval(values) == alone
    uneven = [n / 7 % 1 for n in range(40)]
    assert bootstrap_interval(uneven) == bootstrap_interval(uneven) != bootstrap_interval(uneven, seed=1)
    assert (
        bootstrap_interval([0.3])
        is bootstrap_interval([])
        is bootstrap_interval([0.5, 0.5])
        is bootstrap_interval([0.1, 0.9], ["f", "f"])
        is None
    )


@pytest.mark.slow
@pytest.mark.shared_data
def test_a_search_over_xquad(shared_data: Path) -> None:
    """Questions to their paragraph; pytrec_eval-terrier 0.5.11 gives the same figures for the same order."""
    text = gzip.decompress((shared_data / "retrieval" / "xquad" / "xquad.en.json.gz").read_bytes())
    chunks, cases = [], []
    for number, article in enumerate(json.loads(text)["data"]):
        for place, paragraph in enumerate(article["paragraphs"]):
            chunks.append(Chunk(id=f"{number}-{place}", text=paragraph["context"]))
            cases += [
                {"id": row["id"], "input": row["question"], "relevant": [chunks[-1].id]}
                for row in paragraph["qas"]
            ]
    retriever = InMemoryRetriever(chunks, name="xquad")
    run = {case["id"]: retriever.search(case["input"], 10) for case in cases}
    got = {
        metric: round(assert_retrieval(run, cases, metric=metric, at_least=0.9).value or 0.0, 4)
        for metric in ("hit_rate@1", "recall@5", "mrr", "ndcg@10", "map@10")
    }
    assert got == {
        "hit_rate@1": 0.921,
        "recall@5": 0.9849,
        "mrr": 0.9496,
        "ndcg@10": 0.9599,
        "map@10": 0.9496,
    }


@pytest.mark.shared_data
def test_a_run_over_the_judgements_of_scifact(shared_data: Path) -> None:
    path = shared_data / "retrieval" / "scifact" / "qrels.beir-v1.0.0-scifact.test.txt"
    judged = read_qrels(path)
    assert (len(judged), sum(map(len, judged.values()))) == (300, 339)
    best = {query: list(grades) for query, grades in judged.items()}
    assert assert_retrieval(best, path, metric="ndcg@10", at_least=1).value == 1.0
    # A stranger in front of each costs half of every reciprocal rank; half of the queries gone, half of that.
    late = {query: ["0", *ids] for query, ids in list(best.items())[:150]}
    measurement = assert_retrieval(late, path, metric="mrr@10", at_least=0.25)
    assert measurement.value == 0.25
    check_message(measurement.reason)
