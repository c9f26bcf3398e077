"""Which sentence of the answer says what a sentence of the reference says, and what differs between the two."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from pytest_llmops.semantics.checks.lexicon.opposites import are_opposites
from pytest_llmops.semantics.checks.lexicon.synonyms import are_synonyms
from pytest_llmops.semantics.checks.quantities.facts import (
    EXACT_TOLERANCE,
    ROUGH_TOLERANCE,
    Fact,
    are_same_value,
)
from pytest_llmops.semantics.checks.sentence import ANSWER_WORDS, FUNCTION_WORDS, Sentence, Token
from pytest_llmops.semantics.word_lists import english_words

MAX_TOKENS = 300
"""Of a sentence, that are aligned."""
MAX_CHANGE_TOKENS = 24
"""Tokens of one change, beyond which it is another wording and not looked at word by word."""
MAX_SIMILAR_FACTS = 2_000
"""Facts of about the same value that are compared with one."""
MAX_POSTINGS = 200
"""Sentences with a word, beyond which the word does not help to find a pair."""
MIN_SHARED_WORDS = 0.25
"""Of the words of a sentence, that its pair must share."""
MIN_EDIT_SIMILARITY = 0.7
"""Of all tokens, that both sentences have in one order, from where on what differs is an edit."""
SHORT_SENTENCE_TOKENS = 3
"""Tokens of a sentence in which one of them may be an edit."""
COUNTED_NOUN_TOKENS = 2
"""Tokens of a number with its noun: "3 tries" in the place of "5 days"."""
MIN_ROOT_LETTERS, MIN_ROOT_SHARE, MAX_ENDING_LETTERS = 4, 0.75, 5

FILLERS = english_words("fillers")
ANSWER_KEYS = frozenset(f"{word}," for word in ANSWER_WORDS)
PRONOUNS = english_words("pronouns")


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
        if max(len(self.expected), len(self.actual)) > MAX_CHANGE_TOKENS:
            return self.expected, self.actual
        expected, actual = list(self.expected), list(self.actual)
        for expected_token in self.expected:
            match = next((b for b in actual if _is_harmless_replacement(expected_token, b)), None)
            if match is not None:
                expected.remove(expected_token)
                actual.remove(match)
        return tuple(token for token in expected if token.key not in FILLERS), tuple(
            token for token in actual if token.key not in FILLERS
        )


def _is_harmless_replacement(expected: Token, actual: Token) -> bool:
    if expected.fact and actual.fact:
        return are_same_value(expected.fact, actual.fact)
    if expected.fact or actual.fact:
        return False
    if expected.key == actual.key:
        return True
    if are_opposites(expected.key, actual.key) and not are_synonyms(expected.key, actual.key):
        return False
    return are_synonyms(expected.key, actual.key) or (
        not (expected.name and actual.name) and _share_word_root(expected.key, actual.key)
    )


def _share_word_root(word: str, other_word: str) -> bool:
    """Are both made of one root, "cancel" and "cancellation"? By their letters, so "import" and "important" too."""
    if " " in word + other_word:
        return False
    short, long = sorted((word, other_word), key=len)
    shared = next(
        (position for position, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short)
    )
    return (
        shared >= max(MIN_ROOT_LETTERS, MIN_ROOT_SHARE * len(short))
        and len(long) - shared <= MAX_ENDING_LETTERS
    )


@dataclass(frozen=True)
class Text:
    """A whole text; what it says anywhere is read when it is asked for."""

    sentences: tuple[Sentence, ...]

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """All facts with a value."""
        return tuple(fact for sentence in self.sentences for fact in sentence.facts)

    @cached_property
    def _facts_by_value(self) -> dict[str, tuple[list[float], list[Fact]]]:
        entries: dict[str, list[tuple[float, int, Fact]]] = {}
        for number, fact in enumerate(self.facts):
            for reading in fact.readings:
                value = reading.value if isinstance(reading.value, float) else 0.0
                entries.setdefault(reading.dim, []).append((value, number, fact))
        return {
            dim: ([entry[0] for entry in sorted(unsorted)], [entry[2] for entry in sorted(unsorted)])
            for dim, unsorted in entries.items()
        }

    @cached_property
    def _facts_by_numeral(self) -> dict[float | None, list[Fact]]:
        facts: dict[float | None, list[Fact]] = {}
        for fact in self.facts:
            if fact.raw is not None:
                facts.setdefault(fact.raw, []).append(fact)
        return facts

    def states(self, fact: Fact) -> bool:
        """Does it say the same value anywhere?"""
        if any(
            are_same_value(fact, other)
            for other in self._facts_by_numeral.get(fact.raw, [])[:MAX_SIMILAR_FACTS]
        ):
            return True
        for reading in fact.readings:
            values, facts = self._facts_by_value.get(reading.dim, ([], []))
            value = reading.value if isinstance(reading.value, float) else 0.0
            first = bisect_left(values, value - ROUGH_TOLERANCE * abs(value) - EXACT_TOLERANCE)
            if any(are_same_value(fact, other) for other in facts[first : first + MAX_SIMILAR_FACTS]):
                return True
        return False

    @cached_property
    def words(self) -> frozenset[str]:
        """All words, without inflection."""
        return frozenset().union(*(sentence.words for sentence in self.sentences))


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
        return tuple(self._find_changes())

    def _find_changes(self) -> list[Change]:
        from rapidfuzz.distance import LCSseq

        expected, actual = self.expected.tokens[:MAX_TOKENS], self.actual.tokens[:MAX_TOKENS]
        key_numbers: dict[str, int] = {}
        expected_numbers, actual_numbers = (
            [key_numbers.setdefault(token.key, len(key_numbers)) for token in side]
            for side in (expected, actual)
        )
        return [
            Change(
                expected[step.src_start : step.src_end],
                actual[step.dest_start : step.dest_end],
                (step.src_start, step.dest_start),
            )
            for step in _merge_edit_steps(LCSseq.opcodes(expected_numbers, actual_numbers))
        ]

    @cached_property
    def token_similarity(self) -> float:
        """Share of all tokens that both have in one order, 0 to 1."""
        total = min(len(self.expected.tokens), MAX_TOKENS) + min(len(self.actual.tokens), MAX_TOKENS)
        changed = sum(len(change.expected) + len(change.actual) for change in self.changes)
        return 1 - changed / total if total else 1.0

    @cached_property
    def flips(self) -> tuple[tuple[int, Token, Token], ...]:
        """Words that stand where their opposite stood, with the place of the change."""
        return tuple(
            (place, a, b)
            for place, change in enumerate(self.changes)
            if max(len(change.expected), len(change.actual)) <= MAX_CHANGE_TOKENS
            for a in change.expected
            for b in change.actual
            if are_opposites(a.key, b.key)
            and not are_synonyms(a.key, b.key)
            and not {a.key, b.key} & ANSWER_KEYS
        )

    @cached_property
    def has_crossed_opposites(self) -> bool:
        """Less in the south than in the north, more in the north than in the south."""
        swaps = {(a.key, b.key) for _, a, b in self.flips}
        crossed = {swap for swap in swaps if swap[::-1] in swaps}
        return bool(crossed) and len(swaps - crossed) % 2 == 1

    @property
    def is_edit(self) -> bool:
        """Is what differs an edit, and not another wording?"""
        if self.token_similarity >= MIN_EDIT_SIMILARITY:
            return True
        # One word for one word in a sentence of three.
        sizes = [(len(change.expected), len(change.actual)) for change in self.changes]
        if len(self.expected.tokens) < SHORT_SENTENCE_TOKENS or len(sizes) != 1:
            return False
        change = self.changes[0]
        counted = all(
            any(token.fact and not token.fact.weak for token in side)
            for side in (change.expected, change.actual)
        )
        return sizes == [(1, 1)] or (max(sizes[0]) <= COUNTED_NOUN_TOKENS and counted)

    @cached_property
    def is_short_answer(self) -> bool:
        """Are both texts answers of a word or two, which are compared whatever they share?"""
        alone = len(self.reference.sentences) == len(self.answer.sentences) == 1
        return alone and max(len(self.expected.tokens), len(self.actual.tokens)) <= SHORT_SENTENCE_TOKENS

    @cached_property
    def covered(self) -> float:
        """Share of the reference's words that the answer's sentence has, 0 to 1."""
        words = {token.key for token in self.expected.tokens if token.key not in FUNCTION_WORDS}
        return len(words & set(self.actual.keys)) / len(words) if words else 0.0


@dataclass(frozen=True)
class _EditStep:
    src_start: int
    src_end: int
    dest_start: int
    dest_end: int


def _merge_edit_steps(opcodes: Iterable[object]) -> list[_EditStep]:
    """Join what is deleted and inserted at one place into one step."""
    steps: list[_EditStep] = []
    for op in opcodes:
        tag, src_start, src_end, dest_start, dest_end = (
            getattr(op, name) for name in ("tag", "src_start", "src_end", "dest_start", "dest_end")
        )
        if tag == "equal":
            continue
        last = steps[-1] if steps else None
        if last and last.src_end == src_start and last.dest_end == dest_start:
            steps[-1] = _EditStep(last.src_start, src_end, last.dest_start, dest_end)
        else:
            steps.append(_EditStep(src_start, src_end, dest_start, dest_end))
    return steps


def find_unrepeated_sentences(reference: Text, answer: Text) -> list[Sentence]:
    """Return the sentences of the reference that the answer does not repeat word by word."""
    repeated = {sentence.plain for sentence in answer.sentences}
    return [sentence for sentence in reference.sentences if sentence.plain not in repeated]


def pair_sentences(sentences: Sequence[Sentence], reference: Text, answer: Text) -> Iterator[Pair]:
    """Yield sentences of the reference with their likest of the answer; those without one are left out."""
    if not sentences or not answer.sentences:
        return
    index = _SentenceIndex(answer.sentences)
    alone = len(reference.sentences) == len(answer.sentences) == 1
    for sentence in sentences:
        best = index.of(sentence, alone=alone)
        if best is not None:
            yield Pair(sentence, best, reference, answer)


class _SentenceIndex:
    """The sentences of an answer, to be found by their words."""

    def __init__(self, actual: Sequence[Sentence]) -> None:
        self.actual = actual
        self.places: dict[str, list[int]] = {}
        for place, sentence in enumerate(actual):
            for word in sentence.words:
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
        return self.actual[best] if shared[best] >= MIN_SHARED_WORDS * len(one.words) else None
