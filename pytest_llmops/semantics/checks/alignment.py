"""Pair the sentences of a reference with the most similar sentences of an answer, and describe where they differ.

The tokens of a pair are aligned; each place where they differ is a *change*. A check turns a change into a *finding*,
an alarm for the user, and thereby *claims* the change: later checks ignore it.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from pytest_llmops.semantics.checks.quantities.facts import (
    BARE_NUMBER,
    EXACT_TOLERANCE,
    ROUGH_TOLERANCE,
    Fact,
    Reading,
    are_same_value,
)
from pytest_llmops.semantics.checks.sentence import (
    ANSWER_WORDS,
    FUNCTION_WORDS,
    Sentence,
    Token,
    english_stems,
)

MAX_TOKENS = 300  # tokens of a sentence that are aligned
MAX_CHANGE_TOKENS = 24  # a longer change is another wording, and is not compared word by word
MAX_SIMILAR_FACTS = 2_000  # facts of about the same value that a fact is compared with
MAX_POSTINGS = 200  # a word of more sentences does not help to find a pair
MIN_SHARED_WORDS = 0.25  # share of the words of a sentence that its pair must have
MIN_EDIT_SIMILARITY = 0.7  # token similarity from which a difference is an edit
SHORT_SENTENCE_TOKENS = 3  # tokens of a sentence in which a single token may be an edit
COUNTED_NOUN_TOKENS = 2  # tokens of a number with its noun: "3 tries" in the place of "5 days"
FILLERS = english_stems("fillers")
ANSWER_KEYS = frozenset(f"{word}," for word in ANSWER_WORDS)


@dataclass(frozen=True)
class Change:
    """A place where the tokens of two sentences differ.

    Attributes:
        expected: Tokens of the reference; none where the answer adds something.
        actual: Tokens of the answer; none where it leaves something out.
        at: Places of the change among the tokens of the reference and of the answer.
    """

    expected: tuple[Token, ...]
    actual: tuple[Token, ...]
    at: tuple[int, int]

    @property
    def sides(self) -> tuple[tuple[Token, ...], tuple[Token, ...]]:
        """The tokens of the reference and of the answer."""
        return self.expected, self.actual

    @property
    def tokens(self) -> tuple[Token, ...]:
        """All tokens of both sides."""
        return self.expected + self.actual

    @cached_property
    def is_long(self) -> bool:
        """Whether the change is too long to be compared word by word."""
        return max(map(len, self.sides)) > MAX_CHANGE_TOKENS

    @cached_property
    def unmatched(self) -> tuple[tuple[Token, ...], tuple[Token, ...]]:
        """Both sides without fillers, and without words and values that the other side has too, in whatever form."""
        if self.is_long:
            return self.sides
        expected = list(self.expected)
        actual = list(self.actual)
        for token in self.expected:
            match = next((other for other in actual if _is_same(token, other)), None)
            if match is not None:
                expected.remove(token)
                actual.remove(match)
        return _without_fillers(expected), _without_fillers(actual)


def _without_fillers(tokens: Sequence[Token]) -> tuple[Token, ...]:
    return tuple(token for token in tokens if token.key not in FILLERS)


def _is_same(token: Token, other: Token) -> bool:
    """Return whether two tokens state the same value, or are the same word or phrase."""
    if token.fact and other.fact:
        return are_same_value(token.fact, other.fact)
    return token.key == other.key


@dataclass(frozen=True)
class Text:
    """A whole text; its facts and words are read on first use."""

    sentences: tuple[Sentence, ...]

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """All facts with a value."""
        return tuple(fact for sentence in self.sentences for fact in sentence.facts)

    @cached_property
    def _distinct_facts(self) -> tuple[Fact, ...]:
        """The facts, each value only once: a long table may repeat a number thousands of times."""
        facts = {(fact.readings, fact.raw, fact.rough): fact for fact in self.facts}
        return tuple(facts.values())

    @cached_property
    def _facts_by_value(self) -> dict[tuple[str, bool], list[tuple[float, Fact]]]:
        """Lists of (amount, fact), sorted by amount, for the search by value.

        Under ``(dimension, False)`` are all facts, under ``(dimension, True)`` only the approximate ones.
        """
        facts: dict[tuple[str, bool], list[tuple[float, Fact]]] = defaultdict(list)
        for fact in self._distinct_facts:
            for reading in fact.readings:
                facts[reading.dim, False].append((reading.amount, fact))
                if fact.rough:
                    facts[reading.dim, True].append((reading.amount, fact))
        for values in facts.values():
            values.sort(key=itemgetter(0))
        return facts

    @cached_property
    def _facts_by_numeral(self) -> dict[float | None, list[Fact]]:
        """The facts by their number without the unit; there are none under None."""
        facts: dict[float | None, list[Fact]] = defaultdict(list)
        for fact in self._distinct_facts:
            if fact.raw is not None:
                facts[fact.raw].append(fact)
        return facts

    def has_value(self, fact: Fact) -> bool:
        """Return whether the text states the value of a fact anywhere, in any form."""
        similar = self._facts_by_numeral.get(fact.raw, [])[:MAX_SIMILAR_FACTS]
        if any(are_same_value(fact, other) for other in similar):
            return True
        for reading in fact.readings:
            # A text may have thousands of bare numbers. An exact one only has to be compared with equal numbers, and
            # with approximate ones, which are searched separately.
            tolerance = ROUGH_TOLERANCE
            if reading.dim == BARE_NUMBER and not fact.rough:
                tolerance = EXACT_TOLERANCE
            if self._has_similar_value(fact, reading, tolerance, only_rough=False):
                return True
            if self._has_similar_value(fact, reading, ROUGH_TOLERANCE, only_rough=True):
                return True
        return False

    def _has_similar_value(self, fact: Fact, reading: Reading, tolerance: float, *, only_rough: bool) -> bool:
        """Return whether the text states the value of a fact, among the facts within a tolerance of a reading.

        Args:
            fact: The fact to look for.
            reading: One of its readings.
            tolerance: Relative.
            only_rough: Whether only the approximate facts of the text are searched.
        """
        values = self._facts_by_value.get((reading.dim, only_rough), [])
        margin = tolerance * abs(reading.amount) / (1 - tolerance) + EXACT_TOLERANCE
        first = bisect_left(values, reading.amount - margin, key=itemgetter(0))
        last = bisect_right(values, reading.amount + margin, key=itemgetter(0))
        similar = values[first : min(last, first + MAX_SIMILAR_FACTS)]
        return any(are_same_value(fact, other) for _, other in similar)


@dataclass(frozen=True)
class Pair:
    """A sentence of the reference and the most similar sentence of the answer.

    Attributes:
        expected: The sentence of the reference.
        actual: The sentence of the answer.
        reference: The whole reference.
        answer: The whole answer.
    """

    expected: Sentence
    actual: Sentence
    reference: Text
    answer: Text

    @property
    def sides(self) -> tuple[Sentence, Sentence]:
        """The sentence of the reference and the sentence of the answer."""
        return self.expected, self.actual

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """The places where the tokens differ, in order."""
        from rapidfuzz.distance import LCSseq

        expected = self.expected.tokens[:MAX_TOKENS]
        actual = self.actual.tokens[:MAX_TOKENS]
        # Numbers for keys are compared faster.
        numbers: dict[str, int] = {}
        keys = [numbers.setdefault(token.key, len(numbers)) for token in expected]
        other_keys = [numbers.setdefault(token.key, len(numbers)) for token in actual]
        changes = []
        start = 0
        other_start = 0
        for block in LCSseq.opcodes(keys, other_keys).as_matching_blocks():
            if (block.a, block.b) != (start, other_start):
                tokens = expected[start : block.a]
                other_tokens = actual[other_start : block.b]
                changes.append(Change(tokens, other_tokens, (start, other_start)))
            start = block.a + block.size
            other_start = block.b + block.size
        return tuple(changes)

    def unclaimed_changes(self, claimed: frozenset[int]) -> Iterator[tuple[int, Change]]:
        """Yield (number, change) for the changes that no earlier check has claimed; ``claimed`` are their numbers."""
        return ((place, change) for place, change in enumerate(self.changes) if place not in claimed)

    def span_texts(self, expected: Sequence[Token], actual: Sequence[Token]) -> tuple[str, str]:
        """Return the text of the reference that ``expected`` covers, and the text of the answer for ``actual``."""
        return self.expected.span_text(expected), self.actual.span_text(actual)

    @cached_property
    def token_similarity(self) -> float:
        """Share of all tokens that both sentences have in the same order, 0 to 1."""
        total = sum(min(len(side.tokens), MAX_TOKENS) for side in self.sides)
        if not total:
            return 1.0
        changed = sum(len(change.tokens) for change in self.changes)
        return 1 - changed / total

    @property
    def is_edit(self) -> bool:
        """Whether one sentence is the other with a few words changed, and not another wording.

        Short sentences: a single changed word is an edit in a sentence of three, and so is another number with its
        noun ("3 tries" for "5 days").
        """
        if self.token_similarity >= MIN_EDIT_SIMILARITY:
            return True
        if len(self.expected.tokens) < SHORT_SENTENCE_TOKENS or len(self.changes) != 1:
            return False
        change = self.changes[0]
        longest = max(map(len, change.sides))
        if longest == 1 and change.expected and change.actual:
            return True
        is_counted = _has_value(change.expected) and _has_value(change.actual)
        return longest <= COUNTED_NOUN_TOKENS and is_counted

    @cached_property
    def is_short_answer(self) -> bool:
        """Whether both texts are answers of a few words, which are compared whatever they share."""
        if len(self.reference.sentences) > 1:
            return False
        if len(self.answer.sentences) > 1:
            return False
        return max(len(side.tokens) for side in self.sides) <= SHORT_SENTENCE_TOKENS

    @cached_property
    def coverage(self) -> float:
        """Share of the words of the reference's sentence that the answer's sentence has, 0 to 1."""
        words = set(self.expected.keys) - FUNCTION_WORDS
        if words:
            return len(words & set(self.actual.keys)) / len(words)
        return 0.0


def _has_value(tokens: Sequence[Token]) -> bool:
    return any(token.fact and not token.fact.weak for token in tokens)


def pair_sentences(sentences: Sequence[Sentence], reference: Text, answer: Text) -> Iterator[Pair]:
    """Yield a pair for each of the sentences that has a similar sentence in the answer.

    Two texts of a single sentence are paired whatever they share.

    Args:
        sentences: The sentences of the reference to pair, a part of ``reference.sentences``.
        reference: The whole reference.
        answer: The whole answer.
    """
    if len(reference.sentences) == len(answer.sentences) == 1:
        for sentence in sentences:
            yield Pair(sentence, answer.sentences[0], reference, answer)
        return
    if not sentences:
        return
    # For each word the indexes of the sentences of the answer that have it
    places: dict[str, list[int]] = defaultdict(list)
    for place, candidate in enumerate(answer.sentences):
        for word in candidate.words:
            places[word].append(place)
    common = set()
    for word, postings in places.items():
        if len(postings) > MAX_POSTINGS:
            common.add(word)
    sizes = [len(candidate.words) for candidate in answer.sentences]
    for sentence in sentences:
        shared: Counter[int] = Counter()
        for word in sentence.words - common:
            shared.update(places.get(word, ()))
        if not shared:
            continue
        size = len(sentence.words)
        similarities = {}
        for place, count in shared.items():
            similarities[place] = count / (size + sizes[place])
        # Of equally similar sentences the first.
        best = min(similarities, key=lambda place: (-similarities[place], place))
        if shared[best] >= MIN_SHARED_WORDS * size:
            yield Pair(sentence, answer.sentences[best], reference, answer)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A difference of meaning that a check found.

    Attributes:
        check: Name of the check, to switch it off by.
        message: A sentence that quotes both texts.
        expected: The words of the reference.
        actual: The words of the answer; empty where the answer leaves something out.
    """

    check: str
    message: str
    expected: str
    actual: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of all checks of two texts.

    Attributes:
        alarms: In the order of the reference. Without an alarm the texts may still differ in meaning.
        without: The texts that were *not* compared, as sentences: checks that do not exist for the language, sentences
            beyond the limit.
    """

    alarms: tuple[Alarm, ...] = ()
    without: tuple[str, ...] = ()


MAX_QUOTE_CHARS = 60


class Finding(NamedTuple):
    """An alarm and the number of the change it claims; None if it does not come from a change."""

    alarm: Alarm
    change: int | None = None


# Finds differences of a kind in a pair; its second argument
# are the numbers of the changes that earlier checks have claimed
Check: TypeAlias = "Callable[[Pair, frozenset[int]], Iterator[Finding]]"


def quote_text(text: str, limit: int = MAX_QUOTE_CHARS) -> str:
    """Return a text in quotes, on a single line, truncated."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    if len(printable) > limit:
        return f'"{printable[: limit - 3]}..."'
    return f'"{printable}"'


def build_finding(
    check: str, difference: str, expected: str, actual: str, change: int | None = None
) -> Finding:
    """Return a finding with an alarm that quotes a piece of the reference, of the answer, or of both.

    >>> build_finding("entities", "another name", "Rome", "").alarm.message
    'another name: the reference says "Rome", the answer does not'
    """
    if expected and actual:
        quotes = f"the reference says {quote_text(expected)}, the answer {quote_text(actual)}"
    elif expected:
        quotes = f"the reference says {quote_text(expected)}, the answer does not"
    else:
        quotes = f"the answer says {quote_text(actual)}, the reference does not"
    return Finding(Alarm(check, f"{difference}: {quotes}", expected, actual), change)
