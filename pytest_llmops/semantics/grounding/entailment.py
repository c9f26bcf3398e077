"""Whether the passages of contexts entail the claims of an answer, by an NLI model."""

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmops.semantics.content_words import content_stems
from pytest_llmops.semantics.nli import (
    PREMISE_CHARS,
    Inference,
    NliModel,
    describe_truncation,
    predict_pairs,
    split_windows,
)

MIN_ENTAILMENT = 0.5  # probability from which a passage entails a claim
MAX_PASSAGES = 16  # passages that a claim is compared with: those that share most of its words


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence of an answer, and the passage of the contexts that entails it with the highest probability.

    Attributes:
        text: The claim.
        supported: Whether a passage entails it.
        context: Index of the context of that passage, from 0; None without any passage.
        nearest: The passage.
        entailment: Probability that `nearest` entails the claim, 0 to 1.
        contradiction: Highest probability that a passage contradicts the claim, 0 to 1.
        without: Sentences on the texts that the model did not compare.
    """

    text: str
    supported: bool
    context: int | None = None
    nearest: str = ""
    entailment: float | None = None
    contradiction: float | None = None
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Passage:
    """A context, or a window of whole sentences of a long one."""

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
    passages = _read_passages(contexts)
    candidates = [_select_passages(claim, passages) for claim in claims]
    pairs = []
    for claim, nearest in zip(claims, candidates, strict=True):
        pairs += [(passage.text, claim) for passage in nearest]
    inferences = iter(predict_pairs(model, pairs))
    without = describe_truncation(model, pairs)
    if len(passages) > MAX_PASSAGES:
        count = f"{MAX_PASSAGES} of {len(passages):,}"
        without.append(f"each claim was compared with {count} passages")
    grounded = []
    for claim, nearest in zip(claims, candidates, strict=True):
        # There is an inference for each pair, in the order of the pairs.
        results = [(next(inferences), passage) for passage in nearest]
        grounded.append(_decide_claim(claim, results, tuple(without)))
    return tuple(grounded)


def _read_passages(contexts: Sequence[str]) -> list[_Passage]:
    """Return the passages of all contexts, in order."""
    passages = []
    for number, context in enumerate(contexts):
        for window in split_windows(context, PREMISE_CHARS):
            stems = frozenset(content_stems(window))
            passages.append(_Passage(number, window, stems))
    return passages


def _select_passages(claim: str, passages: Sequence[_Passage]) -> list[_Passage]:
    """Return the passages that share most words with a claim; only these are given to the model."""
    wanted = content_stems(claim).keys()
    most_shared_first = sorted(passages, key=lambda passage: -len(passage.stems & wanted))
    return most_shared_first[:MAX_PASSAGES]


def _decide_claim(
    claim: str, results: Sequence[tuple[Inference, _Passage]], without: tuple[str, ...]
) -> Claim:
    """Return a claim with the passage that entails it most probably; unsupported without any passage."""
    if not results:
        return Claim(text=claim, supported=False)
    best, passage = max(results, key=lambda result: result[0].entailment)
    contradiction = max(inference.contradiction for inference, _ in results)
    return Claim(
        text=claim,
        supported=best.entailment >= MIN_ENTAILMENT,
        context=passage.context,
        nearest=passage.text,
        entailment=best.entailment,
        contradiction=contradiction,
        without=without,
    )
