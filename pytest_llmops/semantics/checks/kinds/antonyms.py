"""Antonyms: "increases" is not "decreases", and "before" is not "after"."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmops.semantics.checks.alarms import Found, alarm
from pytest_llmops.semantics.checks.alignment import LEADING, Change, Pair, Text
from pytest_llmops.semantics.checks.kinds.negation import IMPLIED, NEGATIVE, one_negative
from pytest_llmops.semantics.checks.kinds.quantifiers import forbid_alike
from pytest_llmops.semantics.checks.lexicon.opposites import between, opposite
from pytest_llmops.semantics.checks.lexicon.stems import stem
from pytest_llmops.semantics.checks.lexicon.synonyms import synonyms
from pytest_llmops.semantics.checks.sentence import Sentence, Token

PARTICLES = frozenset(
    [
        "in",
        "into",
        "on",
        "onto",
        "off",
        "out",
        "outside",
        "inside",
        "up",
        "down",
        "to",
        "toward",
        "from",
        "away",
        "for",
        "against",
        "over",
        "under",
        "you",
        "we",
        "i",
    ]
)
"""Opposites only where nothing else has changed: "off of a wave", "on a wave"; "you can", "we can"."""
LOOSE = 0.6
MIN_COVERED = 0.5


def find(pair: Pair, claimed: frozenset[int]) -> Iterator[Found]:
    """Yield words in the place of their opposite, and in other wordings those that contradict anywhere."""
    if pair.turned_twice or one_negative(pair):
        return
    found = []
    for place, change in enumerate(pair.changes) if pair.alike >= LOOSE or pair.tiny else ():
        if place not in claimed and (turned := _turned(pair, change)):
            found.append(Found(alarm("antonyms", "the opposite", turned[0].text, turned[1].text), place))
    if not found and pair.covered >= MIN_COVERED:
        found = list(_anywhere(pair))
    yield from found


def leading(reference: Text, answer: Text) -> Iterator[Found]:
    """Yield a "yes" against a "no" at the head of two texts; what follows them is compared by itself."""
    if not reference.sentences or not answer.sentences:
        return
    one, other = reference.sentences[0], answer.sentences[0]
    if None not in {one.lead, other.lead} and one.lead != other.lead:
        yield Found(alarm("antonyms", "the opposite", one.tokens[0].text, other.tokens[0].text))


def _turned(pair: Pair, change: Change) -> tuple[Token, Token] | None:
    if any(token.key in NEGATIVE or token.key in LEADING for token in (*change.expected, *change.actual)):
        return None
    # Fillers count here: "in" for "out", "to" for "from".
    alone = len(change.expected) == len(change.actual) == 1
    for a in change.expected:
        for b in change.actual:
            one, other = _word(a), _word(b)
            if {one, other} == {"must", "may"} and forbid_alike(pair):
                continue
            if opposite(one, other) and not synonyms(one, other) and (alone or not {one, other} & PARTICLES):
                return a, b
    return None


def _word(token: Token) -> str:
    """Return what it is compared by: "first" is a fact, and the opposite of "last"."""
    return stem(token.text) if token.fact else token.key


def _anywhere(pair: Pair) -> Iterator[Found]:
    if _negative(pair.expected) or _negative(pair.actual):
        return
    said, wanted = set(pair.actual.keys), set(pair.expected.keys)
    for a, b in between(pair.expected.keys, pair.actual.keys, firm=True):
        # Something else of the kind may be said beside it: then its opposite is not the only one.
        if a not in said and b not in wanted and not any(synonyms(a, key) for key in said):
            yield Found(alarm("antonyms", "the opposite", _text(pair.expected, a), _text(pair.actual, b)))
            return


def _text(sentence: Sentence, key: str) -> str:
    return sentence.tokens[sentence.keys.index(key)].text


def _negative(sentence: Sentence) -> bool:
    return any(key in NEGATIVE or key in IMPLIED for key in sentence.keys)
