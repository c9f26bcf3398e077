"""Estimate by words and an embedder, offline, how much contexts have to do with a question."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pytest_llmops.errors import LLMOpsError, refuse
from pytest_llmops.protocols import Embedder
from pytest_llmops.semantics.checks import split_bounded_sentences
from pytest_llmops.semantics.embedding import cosines_with_first, embed_rows
from pytest_llmops.semantics.grounding.content_words import content_stems

MAX_CANDIDATES = 8  # sentences with most words of the question, which the embedder compares with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Relevance:
    """How much contexts have to do with a question.

    Attributes:
        covered: Share of the question's content words that any of the contexts has, 0 to 1.
        similarity: Similarity of the question and the nearest sentence, 0 to 1; None without an embedder.
        missing: The words that no context has.
        nearest: The nearest sentence.
        by_context: Share of the question's words in each context.
    """

    covered: float = 0.0
    similarity: float | None = None
    missing: tuple[str, ...] = ()
    nearest: str = ""
    by_context: tuple[float, ...] = ()

    @property
    def value(self) -> float:
        """The mean of `covered` and `similarity`; without an embedder `covered`.

        >>> Relevance(covered=1.0, similarity=0.5).value
        0.75
        """
        return self.covered if self.similarity is None else (self.covered + self.similarity) / 2


def measure_relevance(
    question: str, contexts: Sequence[str], *, embedder: Embedder | None = None
) -> Relevance:
    """Return how much contexts have to do with a question; no contexts have nothing to do with it.

    A passage may have all words of a question and still not answer it: this tells passages of the right subject
    from passages of another subject, no more.

    Raises:
        LLMOpsError: The question has no word, or the embedder gave no usable vectors.
        Exception: Whatever the embedder raises.

    >>> measure_relevance("How long do refunds take?", ["A refund takes five days.", "We sell tea."]).by_context
    (0.6666666666666666, 0.0)
    """
    # A question of stop words alone ("What is it?") has no other words to compare.
    stems_of = content_stems if content_stems(question) else partial(content_stems, stop_words=frozenset())
    wanted = stems_of(question)
    refuse(not wanted, LLMOpsError("the question has no word"))
    context_stems = [stems_of(context).keys() for context in contexts]
    seen = frozenset().union(*context_stems)
    sentences = [sentence for context in contexts for sentence in split_bounded_sentences(context)]
    # Of sentences with equally many words the first.
    sentences.sort(key=lambda sentence: -len(wanted.keys() & content_stems(sentence).keys()))
    nearest = sentences[:MAX_CANDIDATES]
    similarities = [0.0]
    if embedder is not None and nearest:
        similarities = cosines_with_first(embed_rows([question, *nearest], embedder))
    best = similarities.index(max(similarities))
    return Relevance(
        covered=sum(stem in seen for stem in wanted) / len(wanted),
        similarity=similarities[best] if embedder is not None else None,
        missing=tuple(word for stem, word in wanted.items() if stem not in seen),
        nearest=nearest[best] if nearest else "",
        by_context=tuple(sum(stem in stems for stem in wanted) / len(wanted) for stems in context_stems),
    )
