"""Decide by an NLI model which claims of an answer the contexts entail."""

from collections.abc import Sequence
from typing import NamedTuple

from pytest_llmops.semantics.grounding.claims import Claim
from pytest_llmops.semantics.grounding.content_words import content_stems
from pytest_llmops.semantics.nli import (
    PREMISE_CHARS,
    NliModel,
    describe_truncation,
    predict_pairs,
    split_windows,
)

MIN_ENTAILMENT = 0.5  # probability from which a passage entails a claim
MAX_PASSAGES = 16  # passages that a claim is compared with: those that share most of its words


class _Passage(NamedTuple):
    context: int
    text: str
    stems: frozenset[str]


def ground_by_entailment(
    claims: Sequence[str], contexts: Sequence[str], model: NliModel
) -> tuple[Claim, ...]:
    """Return for each claim whether a passage of a context entails it.

    A passage is a context, or a window of whole sentences of a long one.

    Raises:
        LLMOpsError: The output of the model cannot be used.
        Exception: Whatever the model raises.
    """
    passages = [
        _Passage(number, window, frozenset(content_stems(window)))
        for number, context in enumerate(contexts)
        for window in split_windows(context, PREMISE_CHARS)
    ]
    candidates = [_select_passages(claim, passages) for claim in claims]
    pairs = [
        (passage.text, claim)
        for claim, nearest in zip(claims, candidates, strict=True)
        for passage in nearest
    ]
    rows = iter(predict_pairs(model, pairs))
    without = describe_truncation(model, pairs)
    if len(passages) > MAX_PASSAGES:
        without.append(f"each claim was compared with {MAX_PASSAGES} of {len(passages):,} passages")
    grounded = []
    for claim, nearest in zip(claims, candidates, strict=True):
        results = [(next(rows), passage) for passage in nearest]
        if not results:
            grounded.append(Claim(text=claim, supported=False))
            continue
        best, passage = max(results, key=lambda result: result[0].entailment)
        grounded.append(
            Claim(
                text=claim,
                supported=best.entailment >= MIN_ENTAILMENT,
                context=passage.context,
                nearest=passage.text,
                entailment=best.entailment,
                contradiction=max(row.contradiction for row, _ in results),
                without=tuple(without),
            )
        )
    return tuple(grounded)


def _select_passages(claim: str, passages: Sequence[_Passage]) -> list[_Passage]:
    wanted = content_stems(claim).keys()
    return sorted(passages, key=lambda passage: -len(passage.stems & wanted))[:MAX_PASSAGES]
