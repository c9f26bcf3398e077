"""Models and embedders without a network: scripted answers, and embeddings of character n-grams."""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_llmops._util.arrays import Float32Array, np
from pytest_llmops.errors import ModelError, UsageError
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Completion, Message
from pytest_llmops.providers.embedding_arrays import clean_texts

Script = Iterable[str | Exception] | Callable[[Sequence[Message]], str]


@dataclass(slots=True)
class ScriptedModel:
    """A model with scripted answers, for tests of judges and applications.

    Args:
        script: Answers in order (an exception among them is raised), or a function that returns the answer to messages.

    Attributes:
        asked: (conversation, parameters) of each call so far.

    Raises:
        ModelError: The script is used up.

    >>> ScriptedModel(["hello"]).complete("hi").text
    'hello'
    """

    script: Script
    model: str = "scripted"
    asked: list[tuple[tuple[Message, ...], Mapping[str, Json]]] = field(default_factory=list)
    _answers: Iterator[str | Exception] | None = None

    def complete(self, messages: str | Sequence[Message], /, **params: Json) -> Completion:
        """Return the next scripted answer."""
        if isinstance(messages, str):
            conversation: tuple[Message, ...] = (Message("user", messages),)
        else:
            conversation = tuple(messages)
        self.asked.append((conversation, params))
        if callable(self.script):
            return Completion(text=self.script(conversation), model=self.model, finish_reason="stop")
        if self._answers is None:
            self._answers = iter(self.script)
        try:
            answer = next(self._answers)
        except StopIteration:
            raise ModelError(
                f"scripted model: expected a script of at least {len(self.asked)} answers; it is used up",
                kind="reply",
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return Completion(text=answer, model=self.model, finish_reason="stop")


# Texts are compared by character n-grams (3 to 5 characters of a word, with a blank at its edges) instead of words: "refund" and
# "refunds" share most of their n-grams, but are different words. On the STS-B test set, the Spearman correlation with human ratings
# is 0.66 for n-grams and 0.56 for words, at the same speed.
NGRAM_OPTIONS = {"analyzer": "char_wb", "ngram_range": (3, 5), "lowercase": False}
MAX_CELLS = 2**28  # largest matrix of `TfidfEmbedder`, in numbers of 4 bytes: 1 GiB


@dataclass(frozen=True, slots=True)
class TfidfEmbedder:
    """Texts as weighted character n-grams (TF-IDF of scikit-learn): offline, deterministic, no model.

    **It compares spelling, not meaning.** A true paraphrase in other words scores low, and a text that
    differs from the reference by a single "not" scores high.

    The weights are fitted on the texts of **one call**: its columns are the n-grams of these texts, and an
    n-gram that all of them share weighs less. Vectors of different calls are not related and must not be compared (``across_calls`` is False); for a store of vectors there is
    `HashingEmbedder`.

    Attributes:
        default_threshold: Measured on the 250 pairs of English image captions in the STS-B test set, which humans rated from 0 to 5: the
            lowest multiple of 0.05 that at most one in ten of the pairs rated 2 or less reaches. 7 % of these pass, and 81 %
            of the pairs rated 4 or more. Translated captions pass less often: 61 to 80 % in eight
            European languages, 13 % in Chinese, 25 % in Japanese. Set your own threshold for them.

    >>> TfidfEmbedder().embed(["Refunds take 30 days.", "?!"]).any(axis=1).tolist()
    [True, False]
    """

    name: str = "tfidf"
    version: str = "tfidf/1"
    default_threshold: float = 0.45
    across_calls: bool = False

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return a ``(len(texts), dim)`` float32 array, a row of unit length for each text with a word.

        A text without a letter or digit has a row of zeros. ``dim`` depends on the texts; no texts:
        ``(0, 0)``.

        Raises:
            UsageError: The matrix would have more than `MAX_CELLS` numbers.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer

        normalized = _normalize_words(texts)
        if not any(normalized):
            width = 0
            if normalized:
                width = 1
            return np.zeros((len(normalized), width), dtype=np.float32)
        matrix = TfidfVectorizer(**NGRAM_OPTIONS, dtype=np.float32).fit_transform(normalized)
        rows, columns = matrix.shape
        if rows * columns > MAX_CELLS:
            raise UsageError(
                f"embedder tfidf: expected at most {MAX_CELLS:,} numbers in one call, got {rows:,} texts "
                f"with {columns:,} different n-grams; embed fewer texts, or use the embedder 'hashing'"
            )
        return _to_dense(matrix)


@dataclass(frozen=True, slots=True)
class HashingEmbedder:
    """Texts as hashed character n-grams (scikit-learn): offline, deterministic, of a fixed dimension.

    **It compares spelling, not meaning**, as `TfidfEmbedder` does. The same text has the same vector in
    every call and every process, so vectors can be stored and compared later. N-grams have no weights:
    dissimilar texts score higher than with TF-IDF, and the threshold is higher too.

    Attributes:
        dim: Length of a vector. On the captions named in `TfidfEmbedder`, 4,096 numbers order the pairs as well as 2**20 do
            (Spearman correlation 0.739 and 0.738).
        default_threshold: Measured by the same rule on the same captions: 8 % and 81 % pass.

    >>> HashingEmbedder().embed(["Refunds take 30 days."]).shape
    (1, 4096)
    """

    dim: int = 4096
    name: str = "hashing"
    default_threshold: float = 0.6
    across_calls: bool = True
    cacheable: bool = True

    @property
    def version(self) -> str:
        """Revision and dimension; vectors of two versions are never compared."""
        return f"hashing/1/{self.dim}"

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return a ``(len(texts), dim)`` float32 array, a row of unit length for each text with a word.

        A text without a letter or digit has a row of zeros; no texts: ``(0, dim)``.
        """
        from sklearn.feature_extraction.text import HashingVectorizer

        normalized = _normalize_words(texts)
        if not normalized:
            return np.zeros((0, self.dim), dtype=np.float32)
        vectorizer = HashingVectorizer(**NGRAM_OPTIONS, n_features=self.dim, dtype=np.float32)
        return _to_dense(vectorizer.transform(normalized))


def _normalize_words(texts: Sequence[str]) -> list[str]:
    """Return each text as its words separated by blanks, with case folded, punctuation removed and compatibility forms replaced."""
    letters = _LetterTable()
    folded = (unicodedata.normalize("NFKC", text).casefold() for text in clean_texts(texts))
    return [" ".join(text.translate(letters).split()) for text in folded]


class _LetterTable(dict[int, int]):
    """Table for `str.translate` that keeps letters, digits and their marks; anything else becomes a space."""

    def __missing__(self, code: int) -> int:
        # str.isalnum() alone would split Indic words at their vowel signs, which are marks.
        char = chr(code)
        replacement = ord(" ")
        if char.isalnum() or unicodedata.category(char).startswith("M"):
            replacement = code
        self[code] = replacement
        return replacement


def _to_dense(sparse: Any) -> Float32Array:
    return np.asarray(sparse.toarray(), dtype=np.float32)
