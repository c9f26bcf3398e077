"""Estimate whether contexts support the claims of an answer: by words, an embedder and checks, offline.

An answer is cut into sentences. What claims nothing (greetings, questions, offers of help, "I don't know") is left
out. Each claim is compared with the context sentences that share most of its words, singly and in pairs of
neighbours. A sentence or a pair **supports** the claim if

* no number and no name of the claim is missing in it (a number may have another form: "two days" for "48 hours"),
* it has at least `MIN_COVERAGE` of the claim's content words, or `MIN_PARTIAL_COVERAGE` of them where the embedder
  finds both texts closer than its own threshold,
* and no check finds a difference of meaning (a "not", another number, name or role, "all" for "some").

Two sentences together support what neither says alone only where they are neighbours. A claim that takes several steps of reasoning from its contexts is called unsupported, and so is most
of what comes from elsewhere and happens to be true: that is what grounding means. What no check knows (a wrong word
among many right words) is not detected.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from pytest_llmops.errors import LLMOpsError
from pytest_llmops.protocols import Embedder
from pytest_llmops.semantics.checks import Alarm, compare, split_bounded_sentences
from pytest_llmops.semantics.checks.language import detect_language
from pytest_llmops.semantics.checks.quantities.numerals import replace_number_words
from pytest_llmops.semantics.content_words import (
    content_stems,
    is_number,
    numbers_with_nouns,
    quantities_in_other_form,
    required_stems,
)
from pytest_llmops.semantics.grounding.claims import Claim, Statement, split_claims
from pytest_llmops.semantics.nli import (
    PREMISE_CHARS,
    NliModel,
    describe_truncation,
    predict_pairs,
    split_windows,
)
from pytest_llmops.semantics.thresholds import cosines_with_first, embed_rows

MAX_RELEVANT_CANDIDATES = 8  # sentences with most words of the question, which the embedder compares with it


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
        if self.similarity is None:
            return self.covered
        return (self.covered + self.similarity) / 2


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
    if content_stems(question):
        stems_of = content_stems
    else:
        stems_of = partial(content_stems, stop_words=frozenset())
    wanted = stems_of(question)
    if not wanted:
        raise LLMOpsError("the question has no word")
    context_stems = [stems_of(context).keys() for context in contexts]
    seen = frozenset().union(*context_stems)
    sentences = [sentence for context in contexts for sentence in split_bounded_sentences(context)]
    # Of sentences with equally many words the first.
    sentences.sort(key=lambda sentence: -len(wanted.keys() & content_stems(sentence).keys()))
    nearest = sentences[:MAX_RELEVANT_CANDIDATES]
    if embedder is not None and nearest:
        similarities = cosines_with_first(embed_rows([question, *nearest], embedder))
    else:
        similarities = [0.0]
    best = similarities.index(max(similarities))
    return Relevance(
        covered=sum(stem in seen for stem in wanted) / len(wanted),
        similarity=similarities[best] if embedder is not None else None,
        missing=tuple(word for stem, word in wanted.items() if stem not in seen),
        nearest=nearest[best] if nearest else "",
        by_context=tuple(sum(stem in stems for stem in wanted) / len(wanted) for stems in context_stems),
    )


MIN_ENTAILMENT = 0.5  # probability from which a passage entails a claim
MAX_PASSAGES = 16  # passages that a claim is compared with: those that share most of its words


class _Sentence(NamedTuple):
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
        _Sentence(number, window, frozenset(content_stems(window)))
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


def _select_passages(claim: str, passages: Sequence[_Sentence]) -> list[_Sentence]:
    wanted = content_stems(claim).keys()
    return sorted(passages, key=lambda passage: -len(passage.stems & wanted))[:MAX_PASSAGES]


__all__ = [
    "MAX_CLAIMS",
    "Claim",
    "Relevance",
    "Statement",
    "ground_by_entailment",
    "ground_claims",
    "measure_relevance",
    "split_claims",
]

MIN_COVERAGE = 0.8  # share of the content words of a claim from which words alone support it
MIN_PARTIAL_COVERAGE = 0.6  # share of the content words that is enough where the context sentence is similar
MAX_CANDIDATES = 4  # context sentences that a claim is compared with
MAX_CLAIMS = 1_000  # claims of an answer; nobody reads more


@dataclass(frozen=True, slots=True)
class _Passage:
    # A sentence of a context, or two neighbours, with the stems of its content words.
    context: int
    text: str
    parts: tuple[str, ...]
    stems: frozenset[str]


def ground_claims(
    claims: Sequence[str],
    contexts: Sequence[str],
    *,
    embedder: Embedder | None = None,
    threshold: float | None = None,
    language: str = "English",
) -> tuple[Claim, ...]:
    """Return for each claim whether a context supports it, with the nearest sentence and what it lacks.

    Number words are compared, and shown, as digits.

    Args:
        claims: Sentences, as `split_claims` gives them.
        contexts: The passages; blank contexts support nothing.
        embedder: Embeds all claims and their candidates in a single call; without it words and checks decide alone.
        threshold: The similarity from which two texts are close; None: the similarity is reported and decides nothing.
        language: The language of sentences that are too short to tell.

    Raises:
        LLMOpsError: The embedder gave no usable vectors.
        Exception: Whatever the embedder raises.

    >>> claims = ground_claims(["Refunds take 5 days."], ["A refund takes 5 days.", "We ship on Mondays."])
    >>> claims[0].supported, claims[0].context
    (True, 0)
    """
    language = detect_language("\n".join(claims)) or language
    passages = list(_read_passages(contexts, language))
    index: dict[str, list[int]] = defaultdict(list)
    for place, passage in enumerate(passages):
        for stem in passage.stems:
            index[stem].append(place)
    candidates = [
        (text, _find_candidates(text, passages, index))
        for text in [replace_number_words(claim, language) for claim in claims]
    ]
    pairs = [(text, passage.text) for text, nearest in candidates for passage in nearest]
    if pairs and embedder is not None:
        similarities = _pair_similarities(pairs, embedder)
    else:
        similarities = {}
    grounded = (
        _ground_claim(text, nearest, similarities, threshold, language)
        if nearest
        else Claim(text=text, supported=False, missing=_missing_words(text, frozenset()))
        for text, nearest in candidates
    )
    return tuple(replace(result, text=claim) for result, claim in zip(grounded, claims, strict=True))


def _read_passages(contexts: Sequence[str], default_language: str) -> Iterator[_Passage]:
    for number, context in enumerate(contexts):
        sentences = split_bounded_sentences(
            replace_number_words(context, detect_language(context) or default_language)
        )
        for parts in (*((sentence,) for sentence in sentences), *pairwise(sentences)):
            text = " ".join(parts)
            yield _Passage(number, text, parts, frozenset(content_stems(text)))


def _find_candidates(
    claim: str, passages: Sequence[_Passage], index: Mapping[str, Sequence[int]]
) -> list[_Passage]:
    shared = Counter(place for stem in content_stems(claim) for place in index.get(stem, ()))
    if not shared:
        # "You have two weeks" shares no word with "You have fourteen days".
        shared.update(
            place for place, passage in enumerate(passages) if quantities_in_other_form(claim, passage.text)
        )
    # Of passages that share as much the shortest: the sentence itself before the pair it is part of.
    ranked = sorted(shared, key=lambda place: (-shared[place], len(passages[place].stems), place))
    return [passages[place] for place in ranked[:MAX_CANDIDATES]]


def _ground_claim(
    claim: str,
    nearest: Sequence[_Passage],
    similarities: Mapping[tuple[str, str], float],
    threshold: float | None,
    language: str,
) -> Claim:
    """Return the claim with the passage that supports it, else with the passage that says most of it."""
    wanted = content_stems(claim)
    unsupported: list[Claim] = []
    for passage in nearest:
        similarity = similarities.get((claim, passage.text))
        is_close = threshold is not None and similarity is not None and similarity >= threshold
        stems = passage.stems | quantities_in_other_form(claim, passage.text)
        covered = sum(stem in stems for stem in wanted) / len(wanted)
        is_covered = covered >= (MIN_PARTIAL_COVERAGE if is_close else MIN_COVERAGE)
        # Checks cost more than all the rest: they compare what could support the claim, and the nearest passage.
        if unsupported and not is_covered:
            continue
        alarms, without = _compare_with_passage(claim, passage, language)
        is_contradicted = bool(alarms) or _lacks_number_or_name(claim, passage, stems)
        grounded = Claim(
            text=claim,
            supported=is_covered and not is_contradicted,
            context=passage.context,
            nearest=passage.text,
            covered=covered,
            similarity=similarity,
            missing=_missing_words(claim, stems),
            alarms=alarms,
            without=without,
        )
        if grounded.supported:
            return grounded
        unsupported.append(grounded)
    return max(unsupported, key=lambda grounded: (grounded.covered, grounded.similarity or 0.0))


def _compare_with_passage(
    claim: str, passage: _Passage, language: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the alarms between a claim and the nearest sentence of a passage, and what the checks did not compare."""
    wanted = content_stems(claim)
    nearest = max(passage.parts, key=lambda part: sum(stem in wanted for stem in content_stems(part)))
    comparison = compare(claim, nearest, language=language)
    return tuple(map(_format_alarm, comparison.alarms)), comparison.without


def _format_alarm(alarm: Alarm) -> str:
    if alarm.expected and alarm.actual:
        return f'{alarm.check}: the context says "{alarm.expected}", the answer "{alarm.actual}"'
    if alarm.expected:
        return f'{alarm.check}: the context says "{alarm.expected}", the answer does not'
    return f'{alarm.check}: the answer says "{alarm.actual}", the context does not'


def _lacks_number_or_name(claim: str, passage: _Passage, passage_stems: frozenset[str]) -> bool:
    """Return whether a number or a name of the claim is missing in a passage."""
    missing = required_stems(claim) - passage_stems
    if not all(map(is_number, missing)):
        return True
    # A number may have another form in the passage ("two days" for "48 hours"), which the checks compare.
    # It has not where another number counts the very same thing.
    counts = numbers_with_nouns(passage.text)
    counted = {noun for _, noun in counts}
    has_other_numbers = any(number not in content_stems(claim) for number, _ in counts)
    is_counted = any(noun in counted for number, noun in numbers_with_nouns(claim) if number in missing)
    return bool(missing) and (not has_other_numbers or is_counted)


def _missing_words(claim: str, stems: frozenset[str]) -> tuple[str, ...]:
    required = required_stems(claim)
    missing = [(stem, word) for stem, word in content_stems(claim).items() if stem not in stems]
    return tuple(word for _, word in sorted(missing, key=lambda entry: entry[0] not in required))


def _pair_similarities(
    pairs: Sequence[tuple[str, str]], embedder: Embedder
) -> Mapping[tuple[str, str], float]:
    """Return the cosine, 0 to 1, of each pair of texts."""
    texts = list(dict.fromkeys(text for pair in pairs for text in pair))
    rows = embed_rows(texts, embedder)
    places = {text: place for place, text in enumerate(texts)}
    return {
        (claim, text): cosines_with_first(rows[[places[claim], places[text]]])[0] for claim, text in pairs
    }
