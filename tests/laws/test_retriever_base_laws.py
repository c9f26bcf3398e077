"""What holds for every search in memory by vectors, for fused rankings, filters and freshness."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.measurement import Json
from pytest_llmops.metrics.vectors import cosine
from pytest_llmops.protocols import Chunk, Hit, Hits
from pytest_llmops.retrievers.base import (
    Searcher,
    matches_conditions,
    parse_filters,
    similarity_from_distance,
)
from pytest_llmops.retrievers.bm25 import InMemoryRetriever
from pytest_llmops.retrievers.dense import DenseRetriever
from pytest_llmops.retrievers.freshness import compare_states, document_states
from pytest_llmops.retrievers.hybrid import HybridRetriever

LETTERS = "abcde"


class Letters:
    """How often each letter stands in a text."""

    version = "letters/1"

    def embed(self, texts: Sequence[str]) -> Any:
        rows = [[text.count(letter) - text.count(letter.upper()) for letter in LETTERS] for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(texts), len(LETTERS))


texts = st.text(alphabet=LETTERS + LETTERS.upper() + " ", max_size=6)
languages = st.sampled_from(["de", "en", "fr"])
corpora = st.lists(st.tuples(texts, languages), min_size=1, max_size=12).map(
    lambda rows: [
        Chunk(id=f"d{number}", text=text, metadata={"lang": lang}) for number, (text, lang) in enumerate(rows)
    ]
)
cuts = st.integers(1, 14)


def dense(chunks: Sequence[Chunk]) -> DenseRetriever:
    return DenseRetriever(chunks, embedder=Letters())


@pytest.mark.slow
@given(corpus=corpora, query=texts, k=cuts)
def test_the_hits_are_those_of_the_whole_matrix_sorted(corpus: list[Chunk], query: str, k: int) -> None:
    hits = dense(corpus).search(query, k)
    vectors = Letters().embed([passage.text for passage in corpus])
    query_vector = Letters().embed([query])
    scores = cosine(vectors, query_vector)[:, 0]
    known = [place for place in range(len(corpus)) if vectors[place].any() and query_vector.any()]
    wanted = sorted(known, key=lambda place: -round(float(scores[place]), 6))[:k]
    assert [hit.score for hit in hits] == pytest.approx([scores[place] for place in wanted], abs=1e-6)
    # Equal texts tie exactly, and keep their order.
    for first, second in itertools.pairwise(hits):
        assert first.score >= second.score
        if first.text == second.text:
            assert first.score == second.score
            assert int(first.id[1:]) < int(second.id[1:])


@pytest.mark.slow
@given(corpus=corpora, query=texts, k=cuts)
def test_more_hits_begin_with_the_fewer(corpus: list[Chunk], query: str, k: int) -> None:
    retriever = dense(corpus)
    everything = retriever.search(query, 99)
    assert list(retriever.search(query, k)) == list(everything)[:k]


@pytest.mark.slow
@given(corpus=corpora, query=texts, wanted=st.lists(languages, min_size=1, unique=True), words=st.booleans())
def test_a_filter_gives_the_hits_that_fit_and_no_others(
    corpus: list[Chunk], query: str, wanted: list[str], words: bool
) -> None:
    retriever: Searcher = InMemoryRetriever(corpus, stopwords=()) if words else dense(corpus)
    filters: dict[str, Json] = {"lang": wanted}
    everything = list(retriever.search(query, 99))
    result = list(retriever.search(query, 99, filters))
    kept = [hit for hit in everything if matches_conditions(hit.metadata, parse_filters(filters))]
    assert [hit.id for hit in result] == [hit.id for hit in kept]
    assert [hit.score for hit in result] == pytest.approx([hit.score for hit in kept], abs=1e-12)


class Fixed:
    def __init__(self, ids: list[str]) -> None:
        self.ids = ids

    def search(self, query: str, k: int | None = None) -> Hits:
        return Hits(tuple(Hit(id=id_, text=query, score=1.0) for id_ in self.ids[:k]))


rankings = st.lists(st.lists(st.sampled_from("uvwxyz"), unique=True), min_size=2, max_size=4)


@given(ids=rankings)
def test_fused_scores_are_the_sums_of_reciprocal_ranks(ids: list[list[str]]) -> None:
    hits = HybridRetriever([Fixed(ranking) for ranking in ids], k=9).search("q")
    wanted = {
        entry: sum(1 / (60 + ranking.index(entry) + 1) for ranking in ids if entry in ranking)
        for ranking in ids
        for entry in ranking
    }
    assert {hit.id: hit.score for hit in hits} == pytest.approx(wanted)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@given(ids=st.lists(st.sampled_from("uvwxyz"), unique=True))
def test_a_ranking_fused_with_itself_stays(ids: list[str]) -> None:
    assert HybridRetriever([Fixed(ids), Fixed(ids)], k=9).search("q").ids == ids


@given(
    distances=st.lists(st.floats(0, 1e6), min_size=2, max_size=6),
    space=st.sampled_from(["cosine", "ip", "l2"]),
)
def test_a_nearer_passage_never_scores_lower(distances: list[float], space: str) -> None:
    scores = [similarity_from_distance(distance, space) for distance in sorted(distances)]
    assert scores == sorted(scores, reverse=True)


documents = st.dictionaries(st.sampled_from("uvwxyz"), st.sampled_from(["one", "two", "three"]))


@given(index=documents, source=documents)
def test_every_document_is_counted_once(index: dict[str, str], source: dict[str, str]) -> None:
    states = compare_states(document_states(index), document_states(source), now=0)
    outdated = set(states.outdated or {})
    fresh = {id_ for id_ in source if index.get(id_) == source[id_]}
    assert set(states.missing) | outdated | fresh == set(source)
    assert len(states.missing) + len(outdated) + len(fresh) == len(source)
    assert set(states.orphaned) == set(index) - set(source)
    same = compare_states(document_states(source), document_states(source), now=0)
    assert (same.missing, same.outdated, same.orphaned, same.unknown) == ((), {}, (), ())
