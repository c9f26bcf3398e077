"""Is what an answer claims in the contexts it was given? An estimate by words, an embedder and checks, offline.

An answer is cut into sentences. What claims nothing (greetings, questions, offers of help, "I don't know") is left
out. Each claim is held against the context sentences that share most of its words, one by one and in pairs of
neighbours. It is **supported** by one of them if

* no number and no name of the claim is missing in it (a number may stand there in another form: "two days" for
  "48 hours"),
* it has at least `COVERED` of the claim's content words, or `PARTLY` of them where the embedder finds both texts
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
from pytest_llmops.semantics.grounding.claims import Statement, taken_apart
from pytest_llmops.semantics.grounding.content_words import (
    content,
    counts_of,
    equal,
    hard,
    is_number,
    named,
    pieces,
    stretch,
)
from pytest_llmops.semantics.grounding.context_relevance import Relevance, relevance
from pytest_llmops.semantics.grounding.negation import turned

if TYPE_CHECKING:
    from pytest_llmops.protocols import Embedder

__all__ = ["MAX_CLAIMS", "Claim", "Relevance", "Statement", "ground", "relevance", "taken_apart"]

COVERED = 0.8
"""Share of a claim's content words from which words alone support it."""
PARTLY = 0.6
"""Share from which closeness to the context sentence may do the rest."""
CANDIDATES = 4
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


def ground(
    claims: Sequence[str],
    contexts: Sequence[str],
    *,
    embedder: Embedder | None = None,
    threshold: float | None = None,
) -> tuple[Claim, ...]:
    """Return for each claim whether a context supports it, with the nearest sentence and what is missing there.

    Args:
        claims: Sentences, as `taken_apart` gives them; none: nothing.
        contexts: The passages; none, or only blank ones, support nothing.
        embedder: Asked once, for all claims and their candidates; None: words and checks decide alone.
        threshold: The similarity from which it calls two texts close; None: it is told, and decides nothing.

    Raises:
        LLMOpsError: The embedder gave no usable vectors. What it raises itself goes through.

    >>> found = ground(["Refunds take 5 days."], ["A refund takes 5 days.", "We ship on Mondays."])
    >>> found[0].supported, found[0].context
    (True, 0)
    """
    passages = list(_passages(contexts))
    where = _index(passages)
    candidates = [_candidates(claim, passages, where) for claim in claims]
    pairs = [(claim, one) for claim, nearest in zip(claims, candidates, strict=True) for one in nearest]
    scores = _similarities(pairs, embedder) if embedder is not None else {}
    return tuple(
        _best(claim, nearest, scores, threshold)
        if nearest
        else Claim(text=claim, supported=False, missing=_missing(claim, frozenset()))
        for claim, nearest in zip(claims, candidates, strict=True)
    )


def _passages(contexts: Sequence[str]) -> Iterator[_Passage]:
    for number, context in enumerate(contexts):
        parts = pieces(context)
        for one in parts:
            yield _Passage(number, one, (one,), frozenset(content(one)))
        for two in pairwise(parts):
            text = " ".join(two)
            yield _Passage(number, text, two, frozenset(content(text)))


def _index(passages: Sequence[_Passage]) -> Mapping[str, Sequence[int]]:
    """Stem -> the passages it stands in, so that a claim looks at those alone that share a word with it."""
    found: dict[str, list[int]] = defaultdict(list)
    for place, passage in enumerate(passages):
        for one in passage.stems:
            found[one].append(place)
    return found


def _candidates(
    claim: str, passages: Sequence[_Passage], where: Mapping[str, Sequence[int]]
) -> list[_Passage]:
    shared = Counter(place for one in content(claim) for place in where.get(one, ()))
    if not shared:
        # "You have two weeks" shares no word with "You have fourteen days".
        shared.update({place: 1 for place, one in enumerate(passages) if equal(claim, one.text)})
    # Of passages that share as much the shortest: the sentence itself before the pair it is part of.
    best = sorted(shared, key=lambda place: (-shared[place], len(passages[place].stems), place))
    return [passages[place] for place in best[:CANDIDATES]]


def _best(
    claim: str, nearest: Sequence[_Passage], scores: Mapping[tuple[str, str], float], threshold: float | None
) -> Claim:
    """The claim by the passage that supports it, else by the one that says most of it."""
    held: list[Claim] = []
    for passage in nearest:
        similarity = scores.get((claim, passage.text))
        # Checks cost more than all the rest: they look at what could support the claim, and at the nearest.
        close = threshold is not None and similarity is not None and similarity >= threshold
        enough = _covered(claim, passage) >= (PARTLY if close else COVERED)
        if held and not enough:
            continue
        alarms, without = _alarms(claim, passage)
        said = passage.stems | equal(claim, passage.text)
        held.append(
            Claim(
                text=claim,
                supported=enough
                and not alarms
                and not _lost(claim, passage, said)
                and not _of_another(claim, passage),
                context=passage.context,
                nearest=passage.text,
                covered=_covered(claim, passage),
                similarity=similarity,
                missing=_missing(claim, said),
                alarms=alarms,
                without=without,
            )
        )
        if held[-1].supported:
            return held[-1]
    return max(held, key=lambda one: (one.covered, one.similarity or 0.0))


def _covered(claim: str, passage: _Passage) -> float:
    wanted = content(claim)
    said = passage.stems | equal(claim, passage.text)
    return sum(one in said for one in wanted) / len(wanted)


def _alarms(claim: str, passage: _Passage) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the checks see between a claim and the sentence of the passage that says most of it, and what they did not look at."""
    wanted = content(claim)
    nearest = max(passage.parts, key=lambda part: sum(one in wanted for one in content(part)))
    # A check that compares whole sentences is silent where the context says more than the claim.
    part = stretch(nearest, claim)
    found = [compare(claim, text) for text in dict.fromkeys((nearest, part))]
    told = [
        f'{alarm.check}: the context says "{alarm.expected}", the answer "{alarm.actual}"'
        for one in found
        for alarm in one.alarms
    ]
    whole = turned(claim, nearest)
    return (
        tuple(dict.fromkeys([*told, whole] if whole else told)),
        tuple(dict.fromkeys(text for one in found for text in one.without)),
    )


def _of_another(claim: str, passage: _Passage) -> bool:
    """Say whether one of two neighbours says the claim of somebody else, so that both together say nothing of its name."""
    if len(passage.parts) == 1:
        return False
    mine = named(claim)
    for part in passage.parts:
        there = content(part).keys()
        lacking = content(claim).keys() - there
        others = hard(part) - content(claim).keys()
        if lacking and lacking <= mine and any(not is_number(one) for one in others):
            return True
    return False


def _lost(claim: str, passage: _Passage, said: frozenset[str]) -> bool:
    """Say whether a number or a name of the claim is missing in what the passage says."""
    lost = hard(claim) - said
    if any(not is_number(one) for one in lost):
        return True
    there = counts_of(passage.text)
    # The number may stand there in another form ("two days" for "48 hours"): whether it is the same one is what
    # the checks know. It is not where another number counts the very same thing.
    kinds = {kind for _, kind in there}
    others = any(one not in content(claim) for one, _ in there)
    return bool(lost) and (not others or any(kind in kinds for one, kind in counts_of(claim) if one in lost))


def _missing(claim: str, stems: frozenset[str]) -> tuple[str, ...]:
    first = hard(claim)
    lost = [(one not in first, word) for one, word in content(claim).items() if one not in stems]
    return tuple(word for _, word in sorted(lost, key=lambda pair: pair[0]))


def _similarities(
    pairs: Sequence[tuple[str, _Passage]], embedder: Embedder
) -> Mapping[tuple[str, str], float]:
    """The cosine, 0 to 1, of each pair of texts; all of them are embedded in one call."""
    from pytest_llmops.metrics.vectors import as_rows, cosine

    texts = list(dict.fromkeys(text for claim, passage in pairs for text in (claim, passage.text)))
    if not texts:
        return {}
    vectors = embedder.embed(texts)
    try:
        rows = as_rows(vectors, count=len(texts))
    except ValueError as error:
        raise LLMOpsError(str(error)) from None
    place = {text: number for number, text in enumerate(texts)}
    found = {}
    for claim, passage in pairs:
        one, other = place[claim], place[passage.text]
        found[claim, passage.text] = max(
            0.0, float(cosine(rows[one : one + 1], rows[other : other + 1])[0, 0])
        )
    return found
