"""A claim of an answer with the passage of the contexts that is most similar to it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence of an answer, and the most similar passage of the contexts.

    Attributes:
        text: The claim.
        supported: Whether a context supports it.
        context: Index of the context, from 0; None if no context shares a word with the claim.
        nearest: The sentence (or the two neighbours) of that context with most of the claim.
        covered: Share of the claim's content words in `nearest`, 0 to 1.
        similarity: Cosine of both by the embedder, 0 to 1; None without an embedder or a candidate.
        missing: Content words that `nearest` lacks, numbers and names first.
        alarms: Differences of meaning, a sentence each.
        entailment: Probability that `nearest` entails the claim, 0 to 1; None without an NLI model.
        contradiction: Highest probability that a context contradicts the claim; None without an NLI model.
        without: What the checks did not compare, a sentence each: most checks know English only.
    """

    text: str
    supported: bool
    context: int | None = None
    nearest: str = ""
    covered: float = 0.0
    similarity: float | None = None
    missing: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    entailment: float | None = None
    contradiction: float | None = None
    without: tuple[str, ...] = ()
