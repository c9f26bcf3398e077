"""Is what an answer claims in the contexts it was given? An estimate by words, an embedder and checks, offline.

An answer is cut into sentences. What claims nothing (greetings, questions, offers of help, "I don't know") is left
out. Each claim is held against the context sentences that share most of its words, one by one and in pairs of
neighbours. It is **supported** by one of them if

* no number and no name of the claim is missing in it (a number may stand there in another form: "two days" for
  "48 hours"),
* it has at least `MIN_COVERAGE` of the claim's content words, or `MIN_PARTIAL_COVERAGE` of them where the embedder finds both texts
  closer than its own threshold,
* and no check sees a difference of meaning (a "not", another number, name or role, "all" for "some"), nor does an
  exception ("all but water damage"), a denial ("it is wrong that") or, in other languages, a negation.

Two sentences together support what neither says alone only where they are neighbours, and where neither says it of
somebody else. A claim that takes several
steps of thought from its contexts is called unsupported, and so is most of what comes from elsewhere and happens
to be true: that is what grounding means. What no check knows (a wrong word among many right ones) gets through.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from pytest_llmops.errors import LLMOpsError
from pytest_llmops.semantics.checks import compare
from pytest_llmops.semantics.grounding.claims import Statement, split_claims
from pytest_llmops.semantics.grounding.content_words import (
    capitalized_stems,
    content_stems,
    equal_quantities,
    find_relevant_part,
    is_number,
    number_counts,
    required_stems,
    split_passages,
)
from pytest_llmops.semantics.grounding.context_relevance import Relevance, measure_relevance
from pytest_llmops.semantics.grounding.negation import describe_contradiction

if TYPE_CHECKING:
    from pytest_llmops.protocols import Embedder

__all__ = [
    "MAX_CLAIMS",
    "Claim",
    "Relevance",
    "Statement",
    "ground_claims",
    "measure_relevance",
    "split_claims",
]

MIN_COVERAGE = 0.8
"""Share of a claim's content words from which words alone support it."""
MIN_PARTIAL_COVERAGE = 0.6
"""Share from which closeness to the context sentence may do the rest."""
MAX_CANDIDATES = 4
"""Context sentences a claim is held against."""
MAX_CLAIMS = 1_000
"""Of an answer; more is no answer that a person reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence of an answer, and the best that the contexts have for it.

    Attributes:
        context: Number of the context, from 0; None: no context shares a word with the claim.
        nearest: The sentence (or the two neighbours) of it that says most of the claim.
        covered: Share of the claim's content words that stand there, 0 to 1.
        similarity: Cosine of both by the embedder, 0 to 1; None where there is no embedder or no candidate.
        missing: Content words that do not stand there, numbers and names first.
        alarms: What the checks say, a sentence each.
        without: What they did not look at, a sentence each: most of them know English only.
    """

    text: str
    supported: bool
    context: int | None = None
    nearest: str = ""
    covered: float = 0.0
    similarity: float | None = None
    missing: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Passage:
    """A sentence of a context, or two neighbours, with its words."""

    context: int
    text: str
    parts: tuple[str, ...]
    stems: frozenset[str]
    """Of its content words."""


def ground_claims(
    claims: Sequence[str],
    contexts: Sequence[str],
    *,
    embedder: Embedder | None = None,
    threshold: float | None = None,
) -> tuple[Claim, ...]:
    """Return for each claim whether a context supports it, with the nearest sentence and what is missing there.

    Args:
        claims: Sentences, as `split_claims` gives them; none: nothing.
        contexts: The passages; none, or only blank ones, support nothing.
        embedder: Asked once, for all claims and their candidates; None: words and checks decide alone.
        threshold: The similarity from which it calls two texts close; None: it is told, and decides nothing.

    Raises:
        LLMOpsError: The embedder gave no usable vectors. What it raises itself goes through.

    >>> found = ground_claims(["Refunds take 5 days."], ["A refund takes 5 days.", "We ship on Mondays."])
    >>> found[0].supported, found[0].context
    (True, 0)
    """
    passages = list(_read_passages(contexts))
    index = _index_stems(passages)
    candidates = [_find_candidates(claim, passages, index) for claim in claims]
    pairs = [
        (claim, passage) for claim, nearest in zip(claims, candidates, strict=True) for passage in nearest
    ]
    scores = _pair_similarities(pairs, embedder) if embedder is not None else {}
    return tuple(
        _ground_claim(claim, nearest, scores, threshold)
        if nearest
        else Claim(text=claim, supported=False, missing=_missing_words(claim, frozenset()))
        for claim, nearest in zip(claims, candidates, strict=True)
    )


def _read_passages(contexts: Sequence[str]) -> Iterator[_Passage]:
    for number, context in enumerate(contexts):
        parts = split_passages(context)
        for sentence in parts:
            yield _Passage(number, sentence, (sentence,), frozenset(content_stems(sentence)))
        for neighbours in pairwise(parts):
            text = " ".join(neighbours)
            yield _Passage(number, text, neighbours, frozenset(content_stems(text)))


def _index_stems(passages: Sequence[_Passage]) -> Mapping[str, Sequence[int]]:
    """Stem -> the passages it stands in, so that a claim looks at those alone that share a word with it."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, passage in enumerate(passages):
        for stem in passage.stems:
            places[stem].append(place)
    return places


def _find_candidates(
    claim: str, passages: Sequence[_Passage], index: Mapping[str, Sequence[int]]
) -> list[_Passage]:
    shared = Counter(place for one in content_stems(claim) for place in index.get(one, ()))
    if not shared:
        # "You have two weeks" shares no word with "You have fourteen days".
        shared.update({place: 1 for place, one in enumerate(passages) if equal_quantities(claim, one.text)})
    # Of passages that share as much the shortest: the sentence itself before the pair it is part of.
    ranked = sorted(shared, key=lambda place: (-shared[place], len(passages[place].stems), place))
    return [passages[place] for place in ranked[:MAX_CANDIDATES]]


def _ground_claim(
    claim: str, nearest: Sequence[_Passage], scores: Mapping[tuple[str, str], float], threshold: float | None
) -> Claim:
    """The claim by the passage that supports it, else by the one that says most of it."""
    grounded: list[Claim] = []
    for passage in nearest:
        similarity = scores.get((claim, passage.text))
        # Checks cost more than all the rest: they look at what could support the claim, and at the nearest.
        close = threshold is not None and similarity is not None and similarity >= threshold
        enough = _covered_share(claim, passage) >= (MIN_PARTIAL_COVERAGE if close else MIN_COVERAGE)
        if grounded and not enough:
            continue
        alarms, without = _compare_with_passage(claim, passage)
        stems = passage.stems | equal_quantities(claim, passage.text)
        grounded.append(
            Claim(
                text=claim,
                supported=enough
                and not alarms
                and not _lacks_number_or_name(claim, passage, stems)
                and not _is_about_another(claim, passage),
                context=passage.context,
                nearest=passage.text,
                covered=_covered_share(claim, passage),
                similarity=similarity,
                missing=_missing_words(claim, stems),
                alarms=alarms,
                without=without,
            )
        )
        if grounded[-1].supported:
            return grounded[-1]
    return max(grounded, key=lambda one: (one.covered, one.similarity or 0.0))


def _covered_share(claim: str, passage: _Passage) -> float:
    wanted = content_stems(claim)
    stems = passage.stems | equal_quantities(claim, passage.text)
    return sum(stem in stems for stem in wanted) / len(wanted)


def _compare_with_passage(claim: str, passage: _Passage) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the checks see between a claim and the sentence of the passage that says most of it, and what they did not look at."""
    wanted = content_stems(claim)
    nearest = max(passage.parts, key=lambda part: sum(one in wanted for one in content_stems(part)))
    # A check that compares whole sentences is silent where the context says more than the claim.
    part = find_relevant_part(nearest, claim)
    comparisons = [compare(claim, text) for text in dict.fromkeys((nearest, part))]
    alarms = [
        f'{alarm.check}: the context says "{alarm.expected}", the answer "{alarm.actual}"'
        for one in comparisons
        for alarm in one.alarms
    ]
    whole = describe_contradiction(claim, nearest)
    return (
        tuple(dict.fromkeys([*alarms, whole] if whole else alarms)),
        tuple(dict.fromkeys(text for one in comparisons for text in one.without)),
    )


def _is_about_another(claim: str, passage: _Passage) -> bool:
    """Say whether one of two neighbours says the claim of somebody else, so that both together say nothing of its name."""
    if len(passage.parts) == 1:
        return False
    mine = capitalized_stems(claim)
    for part in passage.parts:
        there = content_stems(part).keys()
        lacking = content_stems(claim).keys() - there
        others = required_stems(part) - content_stems(claim).keys()
        if lacking and lacking <= mine and any(not is_number(stem) for stem in others):
            return True
    return False


def _lacks_number_or_name(claim: str, passage: _Passage, passage_stems: frozenset[str]) -> bool:
    """Say whether a number or a name of the claim is missing in what the passage says."""
    lost = required_stems(claim) - passage_stems
    if any(not is_number(stem) for stem in lost):
        return True
    there = number_counts(passage.text)
    # The number may stand there in another form ("two days" for "48 hours"): whether it is the same one is what
    # the checks know. It is not where another number counts the very same thing.
    kinds = {kind for _, kind in there}
    others = any(stem not in content_stems(claim) for stem, _ in there)
    return bool(lost) and (
        not others or any(kind in kinds for stem, kind in number_counts(claim) if stem in lost)
    )


def _missing_words(claim: str, stems: frozenset[str]) -> tuple[str, ...]:
    first = required_stems(claim)
    lost = [(stem not in first, word) for stem, word in content_stems(claim).items() if stem not in stems]
    return tuple(word for _, word in sorted(lost, key=lambda pair: pair[0]))


def _pair_similarities(
    pairs: Sequence[tuple[str, _Passage]], embedder: Embedder
) -> Mapping[tuple[str, str], float]:
    """The cosine, 0 to 1, of each pair of texts; all of them are embedded in one call."""
    from pytest_llmops._util.arrays import as_rows
    from pytest_llmops.metrics.vectors import cosine

    texts = list(dict.fromkeys(text for claim, passage in pairs for text in (claim, passage.text)))
    if not texts:
        return {}
    vectors = embedder.embed(texts)
    try:
        rows = as_rows(vectors, count=len(texts))
    except ValueError as error:
        raise LLMOpsError(str(error)) from None
    place = {text: number for number, text in enumerate(texts)}
    similarities = {}
    for claim, passage in pairs:
        claim_row, passage_row = place[claim], place[passage.text]
        similarities[claim, passage.text] = max(
            0.0, float(cosine(rows[claim_row : claim_row + 1], rows[passage_row : passage_row + 1])[0, 0])
        )
    return similarities
