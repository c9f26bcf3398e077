"""Estimate how much contexts have to do with a question: by its words and an embedder, offline."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from pytest_llmops.errors import LLMOpsError
from pytest_llmops.protocols import Embedder
from pytest_llmops.semantics.checks import split_bounded_sentences
from pytest_llmops.semantics.content_words import STOP_WORDS, content_stems
from pytest_llmops.semantics.thresholds import cosines_with_first, embed_rows

MAX_CANDIDATES = 8  # sentences with most words of the question, which the embedder compares with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Relevance:
    """How much contexts have to do with a question.

    Attributes:
        covered: Share of the question's content words that any of the contexts has, 0 to 1.
        similarity: Similarity of the question and the nearest sentence, 0 to 1.
        missing: The words that no context has.
        nearest: The nearest sentence; "" if there is none.
        by_context: Share of the question's words in each context.
    """

    covered: float
    similarity: float
    missing: tuple[str, ...] = ()
    nearest: str = ""
    by_context: tuple[float, ...] = ()

    @property
    def value(self) -> float:
        """The mean of `covered` and `similarity`.

        >>> Relevance(covered=1.0, similarity=0.5).value
        0.75
        """
        return (self.covered + self.similarity) / 2


def measure_relevance(question: str, contexts: Sequence[str], *, embedder: Embedder) -> Relevance:
    """Return how much contexts have to do with a question; no contexts have nothing to do with it.

    A passage may have all words of a question and still not answer it: this separates passages of the right subject
    from passages of another subject, no more.

    Raises:
        LLMOpsError: The question has no word, or the embedder gave no usable vectors.
        Exception: Whatever the embedder raises.

    >>> from pytest_llmops.providers.offline import HashingEmbedder
    >>> contexts = ["A refund takes five days.", "We sell tea."]
    >>> measure_relevance("How long do refunds take?", contexts, embedder=HashingEmbedder()).by_context
    (0.6666666666666666, 0.0)
    """
    wanted = content_stems(question)
    stop_words = STOP_WORDS
    if not wanted:
        # A question of stop words only ("What is it?") has no other words to compare.
        stop_words = frozenset()
        wanted = content_stems(question, stop_words)
    if not wanted:
        raise LLMOpsError("the question has no word")
    context_stems = [content_stems(context, stop_words).keys() for context in contexts]
    known_stems = frozenset().union(*context_stems)
    candidates = _select_sentences(wanted.keys(), contexts)
    nearest = ""
    similarity = 0.0
    if candidates:
        similarities = cosines_with_first(embed_rows([question, *candidates], embedder))
        similarity = max(similarities)
        nearest = candidates[similarities.index(similarity)]
    missing = [word for stem, word in wanted.items() if stem not in known_stems]
    covered = len(wanted.keys() & known_stems) / len(wanted)
    by_context = []
    for stems in context_stems:
        shared = wanted.keys() & stems
        by_context.append(len(shared) / len(wanted))
    return Relevance(
        covered=covered,
        similarity=similarity,
        missing=tuple(missing),
        nearest=nearest,
        by_context=tuple(by_context),
    )


def _select_sentences(wanted: AbstractSet[str], contexts: Sequence[str]) -> list[str]:
    """Return the sentences with most of the wanted words; of sentences with equally many the first."""
    sentences = [sentence for context in contexts for sentence in split_bounded_sentences(context)]
    sentences.sort(key=lambda sentence: -len(wanted & content_stems(sentence).keys()))
    return sentences[:MAX_CANDIDATES]
