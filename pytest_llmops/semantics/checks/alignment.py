"""Which sentence of the answer says what a sentence of the reference says, and what differs between the two."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from pytest_llmops.semantics.checks.lexicon.opposites import opposite
from pytest_llmops.semantics.checks.lexicon.synonyms import synonyms
from pytest_llmops.semantics.checks.quantities.facts import EXACT, ROUGH, Fact, same
from pytest_llmops.semantics.checks.sentence import LEADS, SMALL, Sentence, Token

MAX_TOKENS = 300
"""Of a sentence, that are aligned."""
MAX_CHANGE = 24
"""Tokens of one change, beyond which it is another wording and not looked at word by word."""
MAX_NEAR = 2_000
"""Facts of about the same value that are compared with one."""
MAX_POSTINGS = 200
"""Sentences with a word, beyond which the word does not help to find a pair."""
MIN_SHARED = 0.25
"""Of the words of a sentence, that its pair must share."""
MINIMAL = 0.7
"""Of all tokens, that both sentences have in one order, from where on what differs is an edit."""
SHORT = 3
"""Tokens of a sentence in which one of them may be an edit."""
COUNTED = 2
"""Tokens of a number with its noun: "3 tries" in the place of "5 days"."""
ROOT, ROOT_SHARE, ENDING = 4, 0.75, 5

FILLERS = frozenset(
    [
        "the",
        "a",
        "an",
        "this",
        "that",
        "these",
        "those",
        "of",
        "and",
        "to",
        "be",
        "have",
        "do",
        "will",
        "would",
        "it",
        "its",
        "there",
        "then",
        "also",
        "too",
        "please",
        "kindly",
        "just",
        "really",
        "very",
        "quite",
        "so",
        "well",
        "now",
        "simply",
        "actually",
        "currently",
        "is",
        "us",
        "our",
        "your",
        "you",
        "we",
        "my",
        "i",
        "me",
        "they",
        "their",
        "them",
        "which",
        "who",
        "for",
        "on",
        "in",
        "at",
        "by",
        "with",
        "as",
    ]
) | {"as well", "in addition", "of course", "yes,", "no,", "true,", "false,"}
"""Words that may come, go or change without changing what is said; opposites among them are looked at before."""
LEADING = frozenset(f"{word}," for word in LEADS)
PRONOUNS = frozenset(
    [
        "someone",
        "somebody",
        "something",
        "anyone",
        "anybody",
        "people",
        "person",
        "thing",
        "it",
        "they",
        "them",
        "we",
        "us",
        "you",
        "i",
        "he",
        "she",
        "who",
        "this",
        "that",
        "these",
        "those",
        "one",
        "ones",
        "their",
        "his",
        "her",
    ]
)


@dataclass(frozen=True)
class Change:
    """A place where the tokens of two sentences differ.

    Attributes:
        expected: Tokens of the reference, none where the answer adds.
        actual: Tokens of the answer, none where it leaves out.
        at: Place of the first of them among the tokens of the reference, and of the answer.
    """

    expected: tuple[Token, ...]
    actual: tuple[Token, ...]
    at: tuple[int, int]

    @cached_property
    def left(self) -> tuple[tuple[Token, ...], tuple[Token, ...]]:
        """What is left of both sides without what is harmless: fillers, the same in another form, synonyms."""
        if max(len(self.expected), len(self.actual)) > MAX_CHANGE:
            return self.expected, self.actual
        one, other = list(self.expected), list(self.actual)
        for a in self.expected:
            match = next((b for b in other if _harmless(a, b)), None)
            if match is not None:
                one.remove(a)
                other.remove(match)
        return tuple(t for t in one if t.key not in FILLERS), tuple(t for t in other if t.key not in FILLERS)


def _harmless(a: Token, b: Token) -> bool:
    if a.fact and b.fact:
        return same(a.fact, b.fact)
    if a.fact or b.fact:
        return False
    if a.key == b.key:
        return True
    if opposite(a.key, b.key) and not synonyms(a.key, b.key):
        return False
    return synonyms(a.key, b.key) or (not (a.name and b.name) and _one_root(a.key, b.key))


def _one_root(one: str, other: str) -> bool:
    """Are both made of one root, "cancel" and "cancellation"? By their letters, so "import" and "important" too."""
    if " " in one + other:
        return False
    short, long = sorted((one, other), key=len)
    shared = next((n for n, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    return shared >= max(ROOT, ROOT_SHARE * len(short)) and len(long) - shared <= ENDING


@dataclass(frozen=True)
class Text:
    """A whole text; what it says anywhere is read when it is asked for."""

    sentences: tuple[Sentence, ...]

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """All facts with a value."""
        return tuple(fact for one in self.sentences for fact in one.facts)

    @cached_property
    def _by_value(self) -> dict[str, tuple[list[float], list[Fact]]]:
        found: dict[str, list[tuple[float, int, Fact]]] = {}
        for number, fact in enumerate(self.facts):
            for reading in fact.readings:
                value = reading.value if isinstance(reading.value, float) else 0.0
                found.setdefault(reading.dim, []).append((value, number, fact))
        return {
            dim: ([one[0] for one in sorted(all_)], [one[2] for one in sorted(all_)])
            for dim, all_ in found.items()
        }

    @cached_property
    def _numerals(self) -> dict[float | None, list[Fact]]:
        found: dict[float | None, list[Fact]] = {}
        for fact in self.facts:
            if fact.raw is not None:
                found.setdefault(fact.raw, []).append(fact)
        return found

    def states(self, fact: Fact) -> bool:
        """Does it say the same value anywhere?"""
        if any(same(fact, one) for one in self._numerals.get(fact.raw, [])[:MAX_NEAR]):
            return True
        for reading in fact.readings:
            values, facts = self._by_value.get(reading.dim, ([], []))
            value = reading.value if isinstance(reading.value, float) else 0.0
            low = bisect_left(values, value - ROUGH * abs(value) - EXACT)
            if any(same(fact, one) for one in facts[low : low + MAX_NEAR]):
                return True
        return False

    @cached_property
    def words(self) -> frozenset[str]:
        """All words, without inflection."""
        return frozenset().union(*(one.words for one in self.sentences))


@dataclass(frozen=True)
class Pair:
    """A sentence of the reference and that of the answer which is most like it.

    Attributes:
        expected: Of the reference.
        actual: Of the answer.
        reference: The whole reference.
        answer: The whole answer.
    """

    expected: Sentence
    actual: Sentence
    reference: Text
    answer: Text

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """Where their tokens differ, in order."""
        return tuple(self._changes())

    def _changes(self) -> list[Change]:
        from rapidfuzz.distance import LCSseq

        one, other = self.expected.tokens[:MAX_TOKENS], self.actual.tokens[:MAX_TOKENS]
        number: dict[str, int] = {}
        left, right = ([number.setdefault(token.key, len(number)) for token in side] for side in (one, other))
        return [
            Change(
                one[step.src_start : step.src_end],
                other[step.dest_start : step.dest_end],
                (step.src_start, step.dest_start),
            )
            for step in _replaced(LCSseq.opcodes(left, right))
        ]

    @cached_property
    def alike(self) -> float:
        """Share of all tokens that both have in one order, 0 to 1."""
        sizes = min(len(self.expected.tokens), MAX_TOKENS) + min(len(self.actual.tokens), MAX_TOKENS)
        changed = sum(len(one.expected) + len(one.actual) for one in self.changes)
        return 1 - changed / sizes if sizes else 1.0

    @cached_property
    def flips(self) -> tuple[tuple[int, Token, Token], ...]:
        """Words that stand where their opposite stood, with the place of the change."""
        return tuple(
            (place, a, b)
            for place, change in enumerate(self.changes)
            if max(len(change.expected), len(change.actual)) <= MAX_CHANGE
            for a in change.expected
            for b in change.actual
            if opposite(a.key, b.key) and not synonyms(a.key, b.key) and not {a.key, b.key} & LEADING
        )

    @cached_property
    def turned_twice(self) -> bool:
        """Less in the south than in the north, more in the north than in the south."""
        two = {(a.key, b.key) for _, a, b in self.flips}
        crossed = {one for one in two if one[::-1] in two}
        return bool(crossed) and len(two - crossed) % 2 == 1

    @property
    def minimal(self) -> bool:
        """Is what differs an edit, and not another wording?"""
        if self.alike >= MINIMAL:
            return True
        # One word for one word in a sentence of three.
        sizes = [(len(one.expected), len(one.actual)) for one in self.changes]
        if len(self.expected.tokens) < SHORT or len(sizes) != 1:
            return False
        one = self.changes[0]
        counted = all(
            any(token.fact and not token.fact.weak for token in side) for side in (one.expected, one.actual)
        )
        return sizes == [(1, 1)] or (max(sizes[0]) <= COUNTED and counted)

    @cached_property
    def tiny(self) -> bool:
        """Are both texts answers of a word or two, which are compared whatever they share?"""
        alone = len(self.reference.sentences) == len(self.answer.sentences) == 1
        return alone and max(len(self.expected.tokens), len(self.actual.tokens)) <= SHORT

    @cached_property
    def covered(self) -> float:
        """Share of the reference's words that the answer's sentence has, 0 to 1."""
        words = {token.key for token in self.expected.tokens if token.key not in SMALL}
        return len(words & set(self.actual.keys)) / len(words) if words else 0.0


@dataclass(frozen=True)
class _Step:
    src_start: int
    src_end: int
    dest_start: int
    dest_end: int


def _replaced(opcodes: Iterable[object]) -> list[_Step]:
    """Join what is deleted and inserted at one place into one step."""
    found: list[_Step] = []
    for op in opcodes:
        tag, a, b, c, d = (
            getattr(op, name) for name in ("tag", "src_start", "src_end", "dest_start", "dest_end")
        )
        if tag == "equal":
            continue
        last = found[-1] if found else None
        if last and last.src_end == a and last.dest_end == c:
            found[-1] = _Step(last.src_start, b, last.dest_start, d)
        else:
            found.append(_Step(a, b, c, d))
    return found


def unrepeated(reference: Text, answer: Text) -> list[Sentence]:
    """Return the sentences of the reference that the answer does not repeat word by word."""
    said = {one.plain for one in answer.sentences}
    return [one for one in reference.sentences if one.plain not in said]


def pairs(sentences: Sequence[Sentence], reference: Text, answer: Text) -> Iterator[Pair]:
    """Yield sentences of the reference with their likest of the answer; those without one are left out."""
    if not sentences or not answer.sentences:
        return
    likest = _Likest(answer.sentences)
    alone = len(reference.sentences) == len(answer.sentences) == 1
    for one in sentences:
        best = likest.of(one, alone=alone)
        if best is not None:
            yield Pair(one, best, reference, answer)


class _Likest:
    """The sentences of an answer, to be found by their words."""

    def __init__(self, actual: Sequence[Sentence]) -> None:
        self.actual = actual
        self.places: dict[str, list[int]] = {}
        for place, one in enumerate(actual):
            for word in one.words:
                self.places.setdefault(word, []).append(place)

    def of(self, one: Sentence, *, alone: bool) -> Sentence | None:
        if alone:
            return self.actual[0]
        shared: Counter[int] = Counter()
        for word in one.words:
            places = self.places.get(word, ())
            if len(places) <= MAX_POSTINGS:
                shared.update(places)
        if not shared:
            return None
        best = max(shared, key=lambda at: (shared[at] / (len(one.words) + len(self.actual[at].words)), -at))
        return self.actual[best] if shared[best] >= MIN_SHARED * len(one.words) else None
