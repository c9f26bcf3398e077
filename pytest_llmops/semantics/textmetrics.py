"""Text metrics for `pytest_llmops.assert_score`: exact match and token F1 of SQuAD, BERTScore, and two counts.

::

    from pytest_llmops import assert_score
    from pytest_llmops.semantics.textmetrics import BertScore, token_f1

    def test_summary():
        assert_score(token_f1, answer, ["30 days", "thirty days"], at_least=0.5)
        assert_score(BertScore(), answer, reference, at_least=0.6)

Scores are from 0 (nothing in common) to 1 (equal); `word_count` and `edit_distance` are counts, with ``unit="count"`` and a
threshold of your own. A metric accepts one reference or several, and the best of them counts.
Two empty texts are equal, and an empty text scores 0 against any other. The metrics of SQuAD only count words: for them
a text of articles and punctuation is empty too, so that ``exact_match("", "A")`` is 1. An answer that is not a text
raises an error instead of scoring low. No metric measures meaning: each of them overlooks a "not".

ROUGE, BLEU and chrF are functions of other packages, and ``assert_score`` accepts any function: docs/how-to/text.md has them.
"""

import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TypeAlias, cast

from pytest_llmops import recorder
from pytest_llmops._util.arrays import Float32Array
from pytest_llmops.errors import UsageError
from pytest_llmops.metrics import bertscore, lexical
from pytest_llmops.metrics.bertscore import Score
from pytest_llmops.protocols import TokenEmbedder, TokenVectors

__all__ = [
    "BertScore",
    "Score",
    "closer_to_reference",
    "edit_distance",
    "exact_match",
    "token_f1",
    "word_count",
]

__tracebackhide__ = True


def _require_text(actual: object) -> str:
    """Return an answer if it is a text.

    Raises:
        ValueError: It is not a text.
    """
    if not isinstance(actual, str):
        got = _describe_kind(actual)
        if isinstance(getattr(actual, "text", None), str):
            got += "; pass its .text"
        raise ValueError(f"expected an answer of text, got {got}")
    return actual


def _describe_kind(value: object) -> str:
    if value is None:
        return "None"
    return f"an object of type {type(value).__name__}"


def _list_references(expected: object) -> list[str]:
    """Return a reference or several as a list.

    Raises:
        ValueError: No reference is given, or a reference is not a text.
    """
    references = expected
    if isinstance(expected, str):
        references = [expected]
    if not isinstance(references, Sequence) or isinstance(references, (bytes, bytearray)):
        raise ValueError(f"expected a reference of text or a list of them, got {_describe_kind(references)}")
    if not references:
        raise ValueError("expected at least one reference, got none")
    for number, reference in enumerate(references, start=1):
        if not isinstance(reference, str):
            raise ValueError(
                f"expected references of text, got an object of type {type(reference).__name__} as number {number}"
            )
    return list(references)


def exact_match(actual: str, expected: str | Sequence[str]) -> float:
    """Return 1.0 if an answer has the same words as a reference, in the same order, else 0.0, as SQuAD counts it.

    Case, ASCII punctuation and the articles a, an, the do not count. To compare every character, use
    `pytest_llmops.assert_exact`. Beware of references that are only an article ("A", "The"): an answer without words
    equals them.

    Raises:
        ValueError: The answer or a reference is not a text, or no reference is given.

    Source: Rajpurkar et al., "SQuAD", EMNLP 2016, and its evaluation script.

    >>> exact_match("The 30 days.", ["a month", "30 days"]), exact_match("days 30", "30 days")
    (1.0, 0.0)
    >>> exact_match("", "A")
    1.0
    """
    tokens = lexical.squad_tokens(_require_text(actual))
    references = _list_references(expected)
    return float(any(tokens == lexical.squad_tokens(reference) for reference in references))


def closer_to_reference(actual: str, expected: str | Sequence[str]) -> float:
    """Return how much closer an answer is to the right answer than to the rejected answers, by rapidfuzz's ratio.

    From 0 to 1; from 0.5 on the right answer is at least as close as any rejected one. Without rejected answers it is
    the ratio with the right answer itself.

    Args:
        actual: The answer.
        expected: The right answer, then the rejected answers.

    Raises:
        ValueError: As in `exact_match`.

    >>> answers = ["It arrived on 7 May.", "It arrives on 6 May."]
    >>> closer_to_reference(answers[0], answers) > 0.5 > closer_to_reference(answers[1], answers)
    True
    """
    from rapidfuzz import fuzz

    text = _require_text(actual)
    right_answer, *rejected_answers = _list_references(expected)
    right = fuzz.ratio(text, right_answer) / 100
    rejected = [fuzz.ratio(text, answer) / 100 for answer in rejected_answers if answer]
    if rejected:
        return (1 + right - max(rejected)) / 2
    return right


def token_f1(actual: str, expected: str | Sequence[str]) -> float:
    """Return the F1 of shared words, 0 to 1, against the best of the references, as SQuAD counts it.

    See `pytest_llmops.metrics.lexical.token_f1`. As in `exact_match` an empty answer equals a reference of only articles.

    Raises:
        ValueError: As in `exact_match`.

    >>> token_f1("30 days", ["a month", "30 days or so"])
    0.6666666666666666
    """
    text = _require_text(actual)
    return max(lexical.token_f1(text, reference) for reference in _list_references(expected))


def word_count(actual: str) -> int:
    """Return the number of words of an answer: what white space separates.

    ``assert_score(word_count, answer, at_most=50, unit="count")`` is a limit. A text without spaces, as of Chinese, is one word.

    Raises:
        ValueError: The answer is not a text.

    >>> word_count("Within 30 days."), word_count(" ")
    (3, 0)
    """
    return len(_require_text(actual).split())


def edit_distance(actual: str, expected: str | Sequence[str]) -> int:
    """Return how many characters have to be inserted, deleted or replaced to make a reference of an answer (Levenshtein).

    Of several references the nearest counts. ``assert_score(edit_distance, answer, reference, at_most=5, unit="count")`` is a
    limit; `pytest_llmops.assert_fuzzy` compares by a share of the length instead.

    Raises:
        ValueError: As in `exact_match`.

    Source: Levenshtein, "Binary codes capable of correcting deletions, insertions, and reversals", 1966; computed by rapidfuzz.

    >>> edit_distance("kitten", ["sitting", "mitten"])
    1
    """
    from rapidfuzz.distance import Levenshtein

    text = _require_text(actual)
    return min(Levenshtein.distance(text, reference) for reference in _list_references(expected))


Idf: TypeAlias = Callable[[str], float]

SPECIAL_TOKENS = frozenset({"[CLS]", "[SEP]", "<s>", "</s>"})  # marks of the start and the end of a text
CHUNK_PAIRS = 256  # pairs whose token vectors `BertScore` holds at a time


class BertScore:
    """BERTScore by the token vectors of an embedder: the F1, in practice 0 to 1.

    The scores equal the scores of the package ``bert-score`` on the same model, without rescaling; for details see
    `pytest_llmops.metrics.bertscore`. A good score depends on the model: unrelated sentences have 0.2 to 0.4
    with "minilm".

    Args:
        embedder: A `TokenEmbedder`, or its name. If its ``embed_tokens`` has an argument ``specials``, it is called with
            ``specials=True``: start and end tokens (`SPECIAL_TOKENS`) weigh nothing, but other tokens may be matched
            with them, as in ``bert-score``.
        idf: Texts from which the weights of rare tokens are computed: the references of your whole case file. True
            uses the references of one call of `scores`, as ``bert-score`` does.

    Raises:
        UsageError: The embedder gives no vectors of tokens, or ``idf`` is neither.
    """

    name = "text.bertscore"

    def __init__(
        self, embedder: TokenEmbedder | str = "minilm", *, idf: bool | Sequence[str] = False
    ) -> None:
        resolved: object = embedder
        got = f"an object of type {type(embedder).__name__}"
        if isinstance(embedder, str):
            resolved = recorder.find_component("embedder", embedder)
            got = repr(embedder)
        if not callable(getattr(resolved, "embed_tokens", None)):
            raise UsageError(
                f"BertScore: expected an embedder with embed_tokens (a TokenEmbedder, as 'minilm' is), got {got}, "
                "which has only vectors of whole texts"
            )
        self.embedder = cast("TokenEmbedder", resolved)
        self._with_specials = "specials" in inspect.signature(self.embedder.embed_tokens).parameters
        # False: no idf; True: from the references of each call; None: from ``_texts``, replaced on first use
        self._idf: Idf | bool | None = None
        self._texts: tuple[str, ...] | None = None
        given: object = idf
        if isinstance(given, bool):
            self._idf = given
            return
        if isinstance(given, str) or not isinstance(given, Sequence) or not given:
            raise UsageError("BertScore: expected idf to be True, False or a list of at least one text")
        if not all(isinstance(text, str) for text in given):
            raise UsageError("BertScore: expected idf to be a list of texts")
        self._texts = tuple(given)

    @property
    def version(self) -> str:
        """The version of the embedder, and a digest of the texts that weigh the tokens."""
        version = f"bertscore/1 {self.embedder.version}"
        if self._texts is not None:
            texts = "\0".join(self._texts).encode("utf-8", "surrogatepass")
            digest = hashlib.sha256(texts).hexdigest()[:8]
            return f"{version} idf {len(self._texts)} {digest}"
        if self._idf is True:
            return f"{version} idf"
        return version

    def __call__(self, actual: str, expected: str | Sequence[str]) -> float:
        """Return the F1 against the best reference; a score below 0 counts as 0."""
        return max(0.0, self.score(actual, expected).f1)

    def score(self, actual: str, expected: str | Sequence[str]) -> Score:
        """Return precision, recall and F1 against the reference with the best F1.

        Raises:
            ValueError: An argument is not a text, or the tokens of a text weigh nothing.
            UsageError: ``idf=True`` knows no other references here.
        """
        if self._idf is True:
            raise UsageError(
                "BertScore: idf=True weighs tokens by all references of one call of scores; for single answers pass them: "
                "idf=[...]"
            )
        return self.scores([(actual, expected)])[0]

    def scores(self, pairs: Sequence[tuple[str, str | Sequence[str]]]) -> list[Score]:
        """Return the score of each pair of an answer and its references, of which the best counts.

        Raises:
            ValueError: As in `score`.
        """
        if not pairs:
            return []
        single = []
        for number, (answer, expected) in enumerate(pairs):
            text = _require_text(answer)
            single += [(number, text, reference) for reference in _list_references(expected)]
        idf = self._resolve_idf([reference for _, _, reference in single])
        best: dict[int, Score] = {}
        for start in range(0, len(single), CHUNK_PAIRS):
            chunk = single[start : start + CHUNK_PAIRS]
            for (number, _, _), score in self._score_chunk(chunk, idf):
                if number not in best or score.f1 > best[number].f1:
                    best[number] = score
        return [best[number] for number in range(len(pairs))]

    def _resolve_idf(self, references: Sequence[str]) -> Idf | None:
        """Return the weight of a token as a function, or None if all weigh the same.

        The function for given texts is built on first use and kept.
        """
        if self._idf is True:
            return self._build_idf(references)
        if self._idf is None:
            self._idf = self._build_idf(self._texts or ())
        return self._idf or None

    def _build_idf(self, texts: Sequence[str]) -> Idf:
        return bertscore.build_idf(self._iterate_tokens(texts))

    def _iterate_tokens(self, texts: Sequence[str]) -> Iterator[list[str]]:
        """Yield the tokens of each text without the marks of its start and end."""
        for start in range(0, len(texts), CHUNK_PAIRS):
            for embedded in self._embed_tokens(texts[start : start + CHUNK_PAIRS]):
                yield [token for token in embedded.tokens if token not in SPECIAL_TOKENS]

    def _embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the token vectors of each text; raise a `ValueError` if the embedder gave the wrong number of them."""
        embed: Callable[..., list[TokenVectors]] = self.embedder.embed_tokens
        with recorder.set_purpose("embedder"):
            if self._with_specials:
                embedded = embed(texts, specials=True)
            else:
                embedded = embed(texts)
        if len(embedded) != len(texts):
            raise ValueError(f"expected token vectors of {len(texts)} texts, got {len(embedded)}")
        for text, token_vectors in zip(texts, embedded, strict=True):
            token_count = len(token_vectors.tokens)
            vector_count = len(token_vectors.vectors)
            if token_count != vector_count:
                raise ValueError(
                    f"expected a vector for each of {token_count} tokens of {text[:40]!r}, got {vector_count}"
                )
        return embedded

    def _score_chunk(
        self, pairs: Sequence[tuple[int, str, str]], idf: Idf | None
    ) -> Iterator[tuple[tuple[int, str, str], Score]]:
        """Yield each pair, as (number, answer, reference), with its score; a text is embedded only once."""
        texts_by_pair = [(answer, reference) for _, answer, reference in pairs]
        texts = list(dict.fromkeys(chain.from_iterable(texts_by_pair)))
        vectors: dict[str, Float32Array] = {}
        weights: dict[str, list[float]] = {}
        for text, embedded in zip(texts, self._embed_tokens(texts), strict=True):
            if SPECIAL_TOKENS.issuperset(embedded.tokens):
                # Only a start and an end: the text has no tokens.
                weights[text] = []
                vectors[text] = embedded.vectors[:0]
                continue
            weights[text] = [_weigh_token(token, idf) for token in embedded.tokens]
            if not any(weights[text]):
                raise ValueError(
                    f"all tokens of {text[:40]!r} occur in every reference of idf, so all their weights are 0; "
                    "leave idf out for it"
                )
            vectors[text] = embedded.vectors
        vector_pairs = [(vectors[answer], vectors[reference]) for _, answer, reference in pairs]
        weight_pairs = [(weights[answer], weights[reference]) for _, answer, reference in pairs]
        return zip(pairs, bertscore.score_pairs(vector_pairs, weight_pairs), strict=True)


def _weigh_token(token: str, idf: Idf | None) -> float:
    if token in SPECIAL_TOKENS:
        return 0.0
    if idf:
        return idf(token)
    return 1.0
