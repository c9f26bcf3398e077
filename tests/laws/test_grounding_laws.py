"""What holds for every answer and all contexts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.containing_nli import ContainingNli

from pytest_llmops.providers.offline import HashingEmbedder
from pytest_llmops.semantics.content_words import content_stems
from pytest_llmops.semantics.grounding.claims import split_claims
from pytest_llmops.semantics.grounding.entailment import ground_by_entailment
from pytest_llmops.semantics.grounding.relevance import measure_relevance

words = st.sampled_from(
    ["Refunds", "take", "5", "days", "no", "fee", "Oslo", "in", "7", "ships", "weekly", "退款"]
)
sentences = st.lists(words, min_size=1, max_size=8).map(lambda parts: " ".join(parts) + ".")
texts = sentences | st.text(max_size=60)


@pytest.mark.slow
@given(answer=st.lists(texts, max_size=4).map(" ".join), contexts=st.lists(texts, max_size=3))
def test_every_sentence_is_a_claim_or_left_out_and_every_claim_has_its_figures(
    answer: str, contexts: list[str]
) -> None:
    statement = split_claims(answer)
    assert not (statement.abstains and statement.claims)
    claims = ground_by_entailment(statement.claims, contexts, ContainingNli())
    assert tuple(claim.text for claim in claims) == statement.claims
    for claim in claims:
        assert (claim.context is None) == (claim.nearest == "") == (claim.entailment is None)
        assert claim.context is None or 0 <= claim.context < len(contexts)
    assert ground_by_entailment(statement.claims, contexts, ContainingNli()) == claims


@given(claim=sentences, contexts=st.lists(sentences, max_size=3))
def test_a_claim_that_stands_in_a_context_is_supported(claim: str, contexts: list[str]) -> None:
    claims = split_claims(claim).claims
    assert all(
        grounded.supported for grounded in ground_by_entailment(claims, [claim, *contexts], ContainingNli())
    )


@given(question=texts, contexts=st.lists(texts, max_size=3))
def test_relevance_is_a_share_and_more_contexts_never_take_from_it(
    question: str, contexts: list[str]
) -> None:
    if not content_stems(question):
        return
    embedder = HashingEmbedder()
    relevance = measure_relevance(question, contexts, embedder=embedder)
    assert 0.0 <= relevance.value <= 1.0
    assert len(relevance.by_context) == len(contexts)
    assert max(relevance.by_context, default=0.0) <= relevance.covered
    assert measure_relevance(question, [*contexts, question], embedder=embedder).covered == 1.0
