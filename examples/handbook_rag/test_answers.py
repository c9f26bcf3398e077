"""The search and the model, measured next to each other in one test of each question."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llmops import assert_contains, assert_retrieval, assert_score

if TYPE_CHECKING:
    from pytest_llmops.cases.files import Case
    from pytest_llmops.prompts.registry import Prompt
    from pytest_llmops.protocols import Model, Retriever

DECLINE_TEXT = "handbook does not say"


def declined(text: str) -> bool:
    """Return whether an answer says that the handbook does not know, as the prompt demands."""
    return DECLINE_TEXT in text.casefold()


@pytest.mark.prompt("handbook/answer")
@pytest.mark.retriever("handbook", k=3)
@pytest.mark.cases("cases/questions.jsonl", tags=["asked"])
def test_answer(prompt: Prompt, case: Case, retriever: Retriever, llm: Model) -> None:
    hits = retriever.search(case.input)
    answer = llm.complete(prompt.render(question=case.input, context=hits.texts)).text

    # The search: did the model get every passage that it needs (recall), and how high up is the first (MRR)?
    assert_retrieval(hits, case["relevant"], metric="recall@3", at_least=None)
    assert_retrieval(hits, case["relevant"], metric="mrr@3", at_least=None)

    # The model: is the fact in the answer, and if not, does the answer say so? A list of facts has spellings of a
    # single fact, but where two passages are needed, a fact of each. No threshold: the baseline decides whether the
    # whole run got worse.
    is_any_enough = "two-passages" not in case.tags
    assert_contains(answer, case["fact"], any_of=is_any_enough, ignore_case=True, at_least=None)
    assert_score(declined, answer, at_least=None)


@pytest.mark.prompt("handbook/answer")
@pytest.mark.retriever("handbook", k=3)
@pytest.mark.cases("cases/questions.jsonl", tags=["not-in-handbook"])
def test_a_question_that_the_handbook_does_not_answer(
    prompt: Prompt, case: Case, retriever: Retriever, llm: Model
) -> None:
    hits = retriever.search(case.input)
    answer = llm.complete(prompt.render(question=case.input, context=hits.texts)).text

    assert_score(declined, answer, at_least=None)
