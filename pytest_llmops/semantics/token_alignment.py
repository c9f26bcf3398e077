"""How well the words of an answer and of a reference find each other, without the words of the question.

One vector of a whole text hides the one word that differs, and it does not know the question: an answer that only
repeats the question is similar to every right answer. So each word that matters is compared with all words of the
other text, and words of the question do not matter: they prove nothing.

This is BERTScore (Zhang et al. 2020) with the encoder of `minilm`, over content words, and with weights that were fitted
on pairs of reference and answer which people judged, see ``docs/explanation/measured/meaning.md`` (`python -m benchmarks.alignment` fits them
again).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pytest_llmops._util.arrays import Float32Array
from pytest_llmops.errors import LLMOpsError
from pytest_llmops.protocols import TokenEmbedder, TokenVectors
from pytest_llmops.semantics.content_words import STOP_WORDS

VERSION_PREFIX = "alignment/"
VERSION = 1
# Share of recall and precision in the score
RECALL_WEIGHT = 0.72
PRECISION_WEIGHT = 0.28
_CONTINUES = "##"  # WordPiece's mark of a token that continues a word
_WORD_CHAR = re.compile(r"\w")


def format_version(embedder_version: str) -> str:
    """Return the version of alignments with an embedder.

    >>> format_version("minilm/2/e0e5efb0b3ec")
    'alignment/1+minilm/2/e0e5efb0b3ec'
    """
    return f"{VERSION_PREFIX}{VERSION}+{embedder_version}"


@dataclass(frozen=True, slots=True)
class Alignment:
    """How well the words of a reference and of an answer find each other.

    Attributes:
        recall: How well the words of the reference are found in the answer: the mean of their highest cosines with a
            token of the answer, at most 1, below 0 for opposite vectors.
        precision: How well the words of the answer are found in the reference.
        lost_word: The word of the reference that was found worst.
        lost_cosine: Its highest cosine.
    """

    recall: float
    precision: float
    lost_word: str = ""
    lost_cosine: float = 1.0

    @property
    def score(self) -> float:
        """The weighted mean of recall and precision, 0 to 1.

        >>> Alignment(recall=0.5, precision=1.0).score
        0.64
        """
        mean = RECALL_WEIGHT * self.recall + PRECISION_WEIGHT * self.precision
        return round(min(max(mean, 0.0), 1.0), 6)


def align_answer(
    answer: str, references: Sequence[str], question: str, embedder: TokenEmbedder
) -> list[Alignment]:
    """Return the alignment of an answer with each reference; all texts are embedded in one call.

    Words count that have a letter or digit, are not stop words and are not in the question. If no word of a text is
    left, its stop words and the words of the question count.

    Args:
        answer: The answer.
        references: The references.
        question: The question. Empty: no words are left out for it.
        embedder: An embedder that spells tokens as WordPiece does, as `minilm` does.

    Raises:
        LLMOpsError: A reference has no tokens, or there are too many pairs of tokens.
        Exception: Whatever the embedder raises.
    """
    of_question, of_answer, *of_references = embedder.embed_tokens([question, answer, *references])
    asked = frozenset(_join_words(of_question.tokens))
    return [_align(of_answer, reference, asked) for reference in of_references]


def _align(answer: TokenVectors, reference: TokenVectors, asked: frozenset[str]) -> Alignment:
    """Return the alignment of an answer with one reference; an answer without tokens is not aligned at all."""
    from pytest_llmops.metrics.bertscore import MAX_CELLS, best_cosines

    if not reference.tokens:
        raise LLMOpsError("found nothing to compare in the reference")
    if not answer.tokens:
        return Alignment(recall=0.0, precision=0.0)
    if len(answer.tokens) * len(reference.tokens) > MAX_CELLS:
        counts = f"{len(answer.tokens):,} and {len(reference.tokens):,} tokens"
        raise LLMOpsError(f'{counts} are too many to align; pass question="" to compare by the cosine')
    of_answer, of_reference = best_cosines(answer.vectors, reference.vectors)
    reference_words = _join_words(reference.tokens)
    wanted = _select_content(reference_words, asked)
    recall = _mean_at(of_reference, wanted)
    precision = _mean_at(of_answer, _select_content(_join_words(answer.tokens), asked))
    lost = min(wanted, key=lambda place: float(of_reference[place]))
    return Alignment(
        recall=recall,
        precision=precision,
        lost_word=reference_words[lost],
        lost_cosine=float(of_reference[lost]),
    )


def _mean_at(values: Float32Array, places: Sequence[int]) -> float:
    return float(values[list(places)].mean())


def _select_content(words: Sequence[str], asked: Iterable[str]) -> list[int]:
    """Return the places of the tokens that count; all tokens if none is left.

    Args:
        words: For each token the word that it belongs to.
        asked: The words of the question.
    """
    skipped = STOP_WORDS.union(asked)
    for left_out in (skipped, STOP_WORDS):
        places = [
            place for place, word in enumerate(words) if _WORD_CHAR.search(word) and word not in left_out
        ]
        if places:
            return places
    return list(range(len(words)))


def _join_words(tokens: Sequence[str]) -> list[str]:
    """Return for each token the whole word that it belongs to.

    >>> _join_words(("re", "##fund", "paid"))
    ['refund', 'refund', 'paid']
    """
    starts = [place for place, token in enumerate(tokens) if place == 0 or not token.startswith(_CONTINUES)]
    words: list[str] = []
    for start, end in pairwise([*starts, len(tokens)]):
        word = "".join(token.removeprefix(_CONTINUES) for token in tokens[start:end])
        words += [word] * (end - start)
    return words
