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
# Classes in whose place a number may stand: "two of" for "each of"
COUNTED_CLASSES = frozenset({"all", "none", "most"})
# Classes that change the meaning by coming or going: "orders ship free" says the same of all orders
SIGNIFICANT_CLASSES = frozenset({"few", "none", "only"})
PLACE_PREPOSITIONS = frozenset({"over", "under", "abov", "below"})  # limits only in front of a value
_FORBIDDEN = re.compile(r"need not|(?:must|may|can) not\b")
MIN_SIMILARITY = 0.65
MAX_DISTANCE = 3


def find_quantifier_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield quantifiers and modal words in the place of others, and limits of a value that point the other way."""
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
    """Return the quantifiers of both sides of a change that contradict each other, as written."""
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
    """Return a quantifier and the number that stands in its place: "two of" for "each of"."""
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
    """Return whether the quantifiers of both sides may say the same."""
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
    """Return whether a negation makes up for other quantifiers."""
    # "Not above" is "below".
    if {"less", "more"} <= quantifiers.classes and differ_in_negation(pair):
        return True
    # Both forbid: "must not", "may not", "need not".
    if not quantifiers.classes <= {"must", "may"}:
        return False
    return all(_FORBIDDEN.search(" ".join(side.keys)) for side in pair.sides)


def _find_added_quantifier(pair: Pair, change: Change, quantifiers: _Quantifiers) -> tuple[str, str] | None:
    """Return a quantifier that only one side has, if it is all of the change that counts and changes the meaning."""
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

    "Nearly" does in front of "all"; "only" in front of a value does not, and neither does a quantifier that the other
    sentence has in another place.
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
