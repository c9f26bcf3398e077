"""The search alone, over the whole question file. No model is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmops import assert_retrieval

if TYPE_CHECKING:
    from pytest_llmops.protocols import Retriever

QUESTIONS = Path(__file__).parent / "cases" / "questions.jsonl"


@pytest.mark.retriever("handbook")
@pytest.mark.parametrize(("metric", "at_least"), [("recall@5", 0.8), ("mrr@5", 0.65)])
def test_search_by_words(retriever: Retriever, metric: str, at_least: float) -> None:
    # The threshold is on the mean. If it is missed, the failure shows the worst questions, the rank of each of their
    # passages and what was found instead.
    assert_retrieval(retriever, QUESTIONS, metric=metric, at_least=at_least)


@pytest.mark.retriever("handbook", embedder="hashing")
def test_search_by_spelling(retriever: Retriever) -> None:
    # Another way to search is one word in the marker. This embedder compares parts of words.
    assert_retrieval(retriever, QUESTIONS, metric="recall@5", at_least=0.85)
    assert_retrieval(retriever, QUESTIONS, metric="mrr@5", at_least=0.75)


@pytest.mark.retriever("handbook", embedder="minilm")
def test_search_by_meaning(retriever: Retriever) -> None:
    assert_retrieval(retriever, QUESTIONS, metric="recall@5", at_least=0.95)
    assert_retrieval(retriever, QUESTIONS, metric="mrr@5", at_least=0.9)


@pytest.mark.retriever("handbook")
def test_every_passage_can_be_found_by_its_title(retriever: Retriever) -> None:
    # A corpus that was cut wrongly, or an index of yesterday's files, shows up here first.
    lost = [
        chunk.id
        for chunk in retriever.chunks
        if chunk.id not in retriever.search(chunk.metadata["title"], k=3).ids
    ]
    assert lost == []
