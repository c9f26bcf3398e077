"""What holds for every ranking, and for every search in memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plain_ranking_metrics import (
    METRICS,
    average_precision,
    hit_rate,
    ndcg,
    precision,
    recall,
    reciprocal_rank,
)

from pytest_llmops.protocols import Chunk
from pytest_llmops.retrievers.bm25 import InMemoryRetriever, tokenize

IDS = [f"d{number}" for number in range(12)]
rankings = st.lists(st.sampled_from(IDS), unique=True)
relevants = st.dictionaries(st.sampled_from(IDS), st.integers(1, 4), min_size=1)
cuts = st.none() | st.integers(1, 15)
judgements = st.dictionaries(st.sampled_from(IDS), st.integers(-1, 4)).filter(
    lambda grades: any(grade > 0 for grade in grades.values())
)


@given(ranking=rankings, relevant=judgements, k=cuts)
def test_the_range_is_0_to_1_and_the_type_float(
    ranking: list[str], relevant: dict[str, int], k: int | None
) -> None:
    for name, metric in METRICS.items():
        value = metric(ranking, relevant, k)
        assert type(value) is float, name
        assert 0.0 <= value <= 1.0, name


@given(ranking=rankings, relevant=judgements, k=st.integers(1, 15))
def test_what_stands_behind_the_cut_does_not_count(
    ranking: list[str], relevant: dict[str, int], k: int
) -> None:
    for name, metric in METRICS.items():
        assert metric(ranking, relevant, k) == metric(ranking[:k], relevant, k), name


@pytest.mark.slow
@given(ranking=rankings, relevant=judgements, k=cuts)
def test_nothing_relevant_gives_zero(ranking: list[str], relevant: dict[str, int], k: int | None) -> None:
    missed = [id_ for id_ in ranking if relevant.get(id_, 0) <= 0]
    for name, metric in METRICS.items():
        assert metric(missed, relevant, k) == 0.0, name


@given(relevant=relevants, rest=rankings)
def test_the_best_ranking_scores_1(relevant: dict[str, int], rest: list[str]) -> None:
    best = sorted(relevant, key=lambda id_: -relevant[id_])
    ranking = best + [id_ for id_ in rest if id_ not in relevant]
    for name, metric in METRICS.items():
        assert metric(ranking, relevant, len(best)) == pytest.approx(1.0), name


@pytest.mark.slow
@given(ranking=rankings, relevant=judgements, k=cuts, data=st.data())
def test_lifting_a_relevant_id_over_another_never_lowers_the_score(
    ranking: list[str], relevant: dict[str, int], k: int | None, data: st.DataObject
) -> None:
    places = [
        n
        for n in range(1, len(ranking))
        if relevant.get(ranking[n], 0) >= max(relevant.get(ranking[n - 1], 0), 1)
    ]
    if not places:
        return
    place = data.draw(st.sampled_from(places))
    lifted = [*ranking]
    lifted[place - 1], lifted[place] = lifted[place], lifted[place - 1]
    for name, metric in METRICS.items():
        assert metric(lifted, relevant, k) >= metric(ranking, relevant, k) - 1e-12, name


@given(ranking=rankings, relevant=relevants, k=st.integers(1, 14))
def test_a_later_cut_never_finds_less(ranking: list[str], relevant: dict[str, int], k: int) -> None:
    for metric in (hit_rate, recall, reciprocal_rank, average_precision):
        assert metric(ranking, relevant, k + 1) >= metric(ranking, relevant, k)


@given(ranking=rankings, relevant=relevants, k=st.integers(1, 15))
def test_by_the_book(ranking: list[str], relevant: dict[str, int], k: int) -> None:
    """The textbook formulas, written without a loop shared with the package."""
    top = set(ranking[:k]) & set(relevant)
    assert recall(ranking, relevant, k) == pytest.approx(len(top) / len(relevant))
    assert precision(ranking, relevant, k) == pytest.approx(len(top) / k)
    assert hit_rate(ranking, relevant, k) == bool(top)
    first = min((ranking.index(id_) + 1 for id_ in top), default=math.inf)
    assert reciprocal_rank(ranking, relevant, k) == pytest.approx(1 / first)
    precisions = [precision(ranking, relevant, ranking.index(id_) + 1) for id_ in top]
    assert average_precision(ranking, relevant, k) == pytest.approx(sum(precisions) / len(relevant))
    gain = sum(relevant[id_] / math.log2(ranking.index(id_) + 2) for id_ in top)
    ideal = sorted(relevant.values())[::-1][:k]
    best = sum(grade / math.log2(place + 2) for place, grade in enumerate(ideal))
    assert ndcg(ranking, relevant, k) == pytest.approx(gain / best)


texts = st.text(max_size=30) | st.lists(st.sampled_from(["red", "blue", "the", "退", "ä"]), max_size=6).map(
    " ".join
)


@pytest.mark.slow
@given(corpus=st.lists(texts, min_size=1, max_size=8), query=texts, k=st.integers(1, 10))
def test_a_search_keeps_its_promises(corpus: list[str], query: str, k: int) -> None:
    retriever = InMemoryRetriever([Chunk(id=str(n), text=text) for n, text in enumerate(corpus)])
    hits = retriever.search(query, k)
    assert len(hits) <= k
    assert all(hit.score > 0 and math.isfinite(hit.score) for hit in hits)
    assert [(-hit.score, int(hit.id)) for hit in hits] == sorted((-hit.score, int(hit.id)) for hit in hits)
    assert all(set(tokenize(query)) & set(tokenize(hit.text)) for hit in hits)
    assert retriever.search(query, k).items == hits.items
    assert retriever.search(query, k + 1).items[:k] == hits.items


@pytest.mark.slow
@given(st.text())
def test_tokens_are_the_same_in_every_case(text: str) -> None:
    words = tokenize(text)
    assert all(word and not word.isspace() for word in words)
    assert tokenize(" ".join(words)) == words
