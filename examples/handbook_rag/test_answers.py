"""The second half: what does the model make of the passages?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llmops import assert_contains, assert_retrieval, assert_score, assert_semantic

if TYPE_CHECKING:
    from pytest_llmops.cases.files import Case
    from pytest_llmops.prompts.registry import Prompt
    from pytest_llmops.protocols import Model, Retriever

MAX_WORDS = 60


def words(text: str) -> int:
    """How long is the answer?"""
    return len(text.split())


def chatbot_phrases(text: str) -> int:
    """How often does the answer speak of itself instead of the handbook?"""
    phrases = ("as an ai", "language model", "i'm sorry, but", "i cannot assist")
    return sum(text.casefold().count(phrase) for phrase in phrases)


@pytest.mark.prompt("handbook/answer")
@pytest.mark.retriever("handbook", k=2)  # two passages keep the prompt short
@pytest.mark.cases("cases/questions.jsonl")
def test_answer(prompt: Prompt, case: Case, retriever: Retriever, llm: Model) -> None:
    hits = retriever.search(case.input)
    answer = llm.complete(prompt.render(question=case.input, context=hits.texts)).text

    # Measured, side by side in the report: retrieval.recall@2 says whether the model could know, the fact
    # whether it said it. Recall 1 and no fact: the search was good and the model was not.
    needs_both = "two-passages" in case.tags
    assert_retrieval(hits, case["relevant"], metric="recall@2", at_least=None)
    assert_contains(
        answer, case["fact"], any_of=not needs_both, ignore_case=True, at_least=None, label="fact"
    )
    assert_semantic(answer, case.reference, at_least=None)

    # Asserted: what has to be so whatever is asked, and needs neither a judge nor a reference.
    assert answer.strip(), "the model said nothing"
    assert_score(words, answer, at_most=MAX_WORDS, unit="count")
    assert_score(chatbot_phrases, answer, at_most=0, unit="count")
