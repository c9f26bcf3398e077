"""The first half of a RAG application: are the right passages found? No model is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmops import assert_retrieval

if TYPE_CHECKING:
    from pytest_llmops.cases.files import Case
    from pytest_llmops.protocols import Retriever

QUESTIONS = Path(__file__).parent / "cases" / "questions.jsonl"


@pytest.mark.retriever("handbook", k=5)
@pytest.mark.cases("cases/questions.jsonl")
def test_passages_of_one_question(retriever: Retriever, case: Case) -> None:
    hits = retriever.search(case.input)

    # Recorded only: a search by words misses questions that use none of the passage's words, and a threshold
    # per question would only list which ones. The threshold stands below, over the whole file.
    assert_retrieval(hits, case["relevant"], metric="recall@5", at_least=None)
    assert_retrieval(hits, case["relevant"], metric="mrr@5", at_least=None)


@pytest.mark.retriever("handbook")
@pytest.mark.parametrize(("metric", "at_least"), [("recall@5", 0.8), ("mrr@5", 0.65), ("ndcg@5", 0.65)])
def test_passages_of_all_questions(retriever: Retriever, metric: str, at_least: float) -> None:
    # The threshold is on the mean; if it breaks, the worst questions are shown, and what stood in the place of
    # their passages.
    assert_retrieval(retriever, QUESTIONS, metric=metric, at_least=at_least)


@pytest.mark.retriever("handbook", embedder="hashing")
def test_a_search_by_vectors(retriever: Retriever) -> None:
    # Another way to search is one word in the marker. This embedder compares spelling; one that knows
    # meaning is embedder="minilm" (docs/embedders.md says how to install it).
    assert_retrieval(retriever, QUESTIONS, metric="recall@5", at_least=0.6)


@pytest.mark.retriever("handbook", k=5)
def test_every_passage_can_be_found_by_its_title(retriever: Retriever) -> None:
    # A corpus that was cut wrongly, or an index of yesterday's files, shows up here first.
    lost = [
        chunk.id
        for chunk in retriever.chunks
        if chunk.id not in retriever.search(chunk.metadata["title"], k=3).ids
    ]
    assert lost == []
