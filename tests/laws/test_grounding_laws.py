"""What holds for every answer and all contexts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.semantics.content_words import content_stems
from pytest_llmops.semantics.grounding import ground_claims, measure_relevance, split_claims

words = st.sampled_from(
    ["Refunds", "take", "5", "days", "no", "fee", "Oslo", "in", "7", "ships", "weekly", "退款"]
)
said = st.lists(words, min_size=1, max_size=8).map(lambda parts: " ".join(parts) + ".")
texts = said | st.text(max_size=60)


@given(answer=st.lists(texts, max_size=4).map(" ".join), contexts=st.lists(texts, max_size=3))
def test_every_sentence_is_a_claim_or_left_out_and_every_claim_has_its_figures(
    answer: str, contexts: list[str]
) -> None:
    statement = split_claims(answer)
    assert not (statement.abstains and statement.claims)
    found = ground_claims(statement.claims, contexts)
    assert tuple(one.text for one in found) == statement.claims
    for one in found:
        assert 0.0 <= one.covered <= 1.0
        assert (one.context is None) == (one.nearest == "")
        assert not (one.supported and one.alarms)
        assert one.context is None or 0 <= one.context < len(contexts)
    assert ground_claims(statement.claims, contexts) == found


@given(claim=said, contexts=st.lists(said, max_size=3))
def test_a_claim_that_stands_in_a_context_is_supported(claim: str, contexts: list[str]) -> None:
    for one in ground_claims(split_claims(claim).claims, [claim, *contexts]):
        assert one.supported
        assert one.missing == ()


@given(question=texts, contexts=st.lists(texts, max_size=3))
def test_relevance_is_a_share_and_more_contexts_never_take_from_it(
    question: str, contexts: list[str]
) -> None:
    if not content_stems(question):
        return
    found = measure_relevance(question, contexts)
    assert 0.0 <= found.value <= 1.0
    assert len(found.by_context) == len(contexts)
    assert max(found.by_context, default=0.0) <= found.covered
    assert measure_relevance(question, [*contexts, question]).covered == 1.0
