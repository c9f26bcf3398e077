"""Do contexts speak of what a question asks? An estimate by words and an embedder, offline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmops.errors import LLMOpsError
from pytest_llmops.semantics.grounding.content_words import all_stems, content_stems, split_passages

if TYPE_CHECKING:
    from pytest_llmops.protocols import Embedder

MAX_CANDIDATES = 8
"""Sentences that the embedder compares with the question: those that share most of its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relevance:
    """How much contexts have to do with a question.

    Attributes:
        covered: Share of the question's content words that stand in any of the contexts, 0 to 1.
        similarity: Of the question and the nearest sentence, 0 to 1; None without an embedder.
        missing: The words that stand nowhere.
        nearest: That sentence.
        by_context: The share of the words in each context.
    """

    covered: float = 0.0
    similarity: float | None = None
    missing: tuple[str, ...] = ()
    nearest: str = ""
    by_context: tuple[float, ...] = ()

    @property
    def value(self) -> float:
        """The mean of both shares; of the words alone where there is no embedder.

        >>> Relevance(covered=1.0, similarity=0.5).value
        0.75
        """
        return self.covered if self.similarity is None else (self.covered + self.similarity) / 2


def measure_relevance(
    question: str, contexts: Sequence[str], *, embedder: Embedder | None = None
) -> Relevance:
    """Return how much contexts have to do with a question; no contexts have nothing to do with it.

    A question whose words all stand in a passage may still not be answered there: this tells passages of
    another subject from those of the right one, no more.

    Raises:
        LLMOpsError: The question has no word, or the embedder gave no usable vectors. What the embedder raises
            itself goes through.

    >>> measure_relevance("How long do refunds take?", ["A refund takes five days.", "We sell tea."]).by_context
    (0.6666666666666666, 0.0)
    """
    # Of a question of small words alone ("What is it?") these are all there is.
    words_of = content_stems if content_stems(question) else all_stems
    wanted = words_of(question)
    if not wanted:
        raise LLMOpsError("the question has no word")
    context_words = [words_of(context).keys() for context in contexts]
    seen = {word_stem for words in context_words for word_stem in words}
    nearest = _nearest_sentences(contexts, set(wanted))
    similarity = _question_similarities(question, nearest, embedder) if embedder is not None else []
    best = similarity.index(max(similarity)) if similarity else 0
    return Relevance(
        covered=sum(word_stem in seen for word_stem in wanted) / len(wanted),
        similarity=max(similarity, default=0.0) if embedder is not None else None,
        missing=tuple(word for word_stem, word in wanted.items() if word_stem not in seen),
        nearest=nearest[best] if nearest else "",
        by_context=tuple(
            sum(word_stem in words for word_stem in wanted) / len(wanted) for words in context_words
        ),
    )


def _nearest_sentences(contexts: Sequence[str], wanted: set[str]) -> list[str]:
    """The sentences with most of the wanted words; of equal ones the earlier, so the first where none has any."""
    sentences = [sentence for context in contexts for sentence in split_passages(context)]
    shared = [-len(wanted & content_stems(sentence).keys()) for sentence in sentences]
    return [
        sentences[place]
        for place in sorted(range(len(sentences)), key=lambda place: shared[place])[:MAX_CANDIDATES]
    ]


def _question_similarities(question: str, texts: Sequence[str], embedder: Embedder) -> list[float]:
    from pytest_llmops._util.arrays import as_rows
    from pytest_llmops.metrics.vectors import cosine

    if not texts:
        return []
    vectors = embedder.embed([question, *texts])
    try:
        rows = as_rows(vectors, count=len(texts) + 1)
    except ValueError as error:
        raise LLMOpsError(str(error)) from None
    return [max(0.0, float(similarity)) for similarity in cosine(rows[:1], rows[1:])[0]]
