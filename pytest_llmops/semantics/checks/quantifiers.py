"""The check of quantifiers and modal words: "all" for "some", "must" for "may", "at least" for "at most"."""

import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from pytest_llmops.semantics.checks.alignment import Change, Finding, Pair, build_finding
from pytest_llmops.semantics.checks.negation import differ_in_negation, may_be_negative
from pytest_llmops.semantics.checks.sentence import Sentence, Token, stem_phrase
from pytest_llmops.semantics.word_lists.reader import read_sections

QUANTIFIER_CLASSES = {
    stem_phrase(word): name for name, words in read_sections("quantifiers.txt").items() for word in words
}
COMPATIBLE_CLASSES = (
    ("min", "more"), ("max", "less"), ("most", "about"), ("should", "may"), ("exact", "only"), ("all", "must"),
    ("some", "may"), ("all", "about"), ("few", "none"),
)  # fmt: skip
# Classes that a number may contradict: "two of" for "each of"
COUNTED_CLASSES = frozenset({"all", "none", "most"})
# Classes that change the meaning if they are added or left out; "all" does not: "orders ship free" means all orders
SIGNIFICANT_CLASSES = frozenset({"few", "none", "only"})
PLACE_PREPOSITIONS = frozenset({"over", "under", "abov", "below"})  # limits only in front of a value
_FORBIDDEN = re.compile(r"need not|(?:must|may|can) not\b")
MIN_SIMILARITY = 0.65
MAX_DISTANCE = 3


def find_quantifier_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield quantifiers and modal words that contradict each other, also limits: "at least 5" and "at most 5"."""
    if pair.token_similarity < MIN_SIMILARITY:
        return
    for place, change in pair.unclaimed_changes(claimed):
        texts = _find_unlike_quantifiers(pair, change)
        if texts:
            yield build_finding("quantifiers", "how many, or how bound", *texts, place)


@dataclass(frozen=True, slots=True)
class _Quantifiers:
    """The quantifiers of both sides of a change, and their classes."""

    expected: list[Token]
    actual: list[Token]
    expected_classes: AbstractSet[str]
    actual_classes: AbstractSet[str]

    @property
    def classes(self) -> AbstractSet[str]:
        """The classes of both sides."""
        return self.expected_classes | self.actual_classes


def _find_unlike_quantifiers(pair: Pair, change: Change) -> tuple[str, str] | None:
    """Return the quantifiers of a change that contradict each other, as (reference, answer); None if none do.

    One of both texts is empty if only the other side has a quantifier.
    """
    expected = _list_quantifiers(pair.expected, change.expected)
    actual = _list_quantifiers(pair.actual, change.actual)
    expected_classes = {QUANTIFIER_CLASSES[token.key] for token in expected}
    actual_classes = {QUANTIFIER_CLASSES[token.key] for token in actual}
    quantifiers = _Quantifiers(expected, actual, expected_classes, actual_classes)
    texts = _find_number_for_quantifier(change, quantifiers)
    if texts:
        return texts
    if _are_compatible(quantifiers) or _is_balanced_by_negation(pair, quantifiers):
        return None
    for token in change.tokens:
        if token.key not in QUANTIFIER_CLASSES and may_be_negative(token.key):
            return None
    if expected and actual:
        return expected[0].text, actual[0].text
    return _find_added_quantifier(pair, change, quantifiers)


def _list_quantifiers(sentence: Sentence, tokens: Sequence[Token]) -> list[Token]:
    """Return the quantifiers among the tokens of a change; "over" and the like only in front of a value."""
    quantifiers = []
    for token in tokens:
        if token.key not in QUANTIFIER_CLASSES:
            continue
        if token.key in PLACE_PREPOSITIONS:
            place = sentence.tokens.index(token)
            if not any(after.fact for after in sentence.tokens_after(place)):
                continue
        quantifiers.append(token)
    return quantifiers


def _find_number_for_quantifier(change: Change, quantifiers: _Quantifiers) -> tuple[str, str] | None:
    """Return a quantifier on one side and the number that the other side has instead: "each of" and "two of"."""
    has_both = quantifiers.expected and quantifiers.actual
    if has_both or COUNTED_CLASSES.isdisjoint(quantifiers.classes):
        return None
    counts = [token for token in change.tokens if token.fact and token.fact.raw is not None]
    if not counts or sum(map(len, change.unmatched)) > MAX_DISTANCE:
        return None
    if quantifiers.expected:
        return quantifiers.expected[0].text, counts[0].text
    return counts[0].text, quantifiers.actual[0].text


def _are_compatible(quantifiers: _Quantifiers) -> bool:
    """Return whether the quantifiers of both sides may mean the same: a class in common, or compatible classes."""
    expected = quantifiers.expected_classes
    actual = quantifiers.actual_classes
    if not expected.isdisjoint(actual):
        return True
    for first, second in COMPATIBLE_CLASSES:
        if first in expected and second in actual:
            return True
        if second in expected and first in actual:
            return True
    return False


def _is_balanced_by_negation(pair: Pair, quantifiers: _Quantifiers) -> bool:
    """Return whether negations make two different quantifiers mean the same."""
    # "Not above" is "below".
    if {"less", "more"} <= quantifiers.classes and differ_in_negation(pair):
        return True
    # Both forbid: "must not", "may not", "need not".
    if not quantifiers.classes <= {"must", "may"}:
        return False
    return all(_FORBIDDEN.search(" ".join(side.keys)) for side in pair.sides)


def _find_added_quantifier(pair: Pair, change: Change, quantifiers: _Quantifiers) -> tuple[str, str] | None:
    """Return a quantifier that only one side has, as (reference, answer); None if it does not change the meaning.

    It must be the only difference in the change, apart from fillers.
    """
    known = (*quantifiers.expected, *quantifiers.actual)
    if not all(token in known for side in change.unmatched for token in side):
        return None
    place, other_place = change.at
    if quantifiers.expected:
        quantifier = quantifiers.expected[0]
        if _is_significant(pair.expected, place, quantifier, pair.actual):
            return quantifier.text, ""
    if quantifiers.actual:
        quantifier = quantifiers.actual[0]
        if _is_significant(pair.actual, other_place, quantifier, pair.expected):
            return "", quantifier.text
    return None


def _is_significant(sentence: Sentence, place: int, quantifier: Token, other: Sentence) -> bool:
    """Return whether a quantifier that only one sentence has changes its meaning.

    "Nearly" in front of "all" does; "only" in front of a value does not. Neither does a quantifier that the other
    sentence has elsewhere.

    Args:
        sentence: The sentence with the quantifier.
        place: The index of the first token of the change in it.
        quantifier: A token of the change.
        other: The other sentence.
    """
    class_ = QUANTIFIER_CLASSES[quantifier.key]
    if any(QUANTIFIER_CLASSES.get(key) == class_ for key in other.keys):
        return False
    near = sentence.tokens[place : place + MAX_DISTANCE]
    if class_ == "about":
        return any(QUANTIFIER_CLASSES.get(token.key) in {"all", "none"} for token in near)
    if class_ == "only" and any(token.fact for token in near):
        return False
    return class_ in SIGNIFICANT_CLASSES
