"""Negation and antonyms: a "not" on one side only; "increases" for "decreases"."""

from collections.abc import Iterator, Sequence
from itertools import product

from pytest_llmops.semantics.checks.alignment import (
    ANSWER_KEYS,
    Change,
    Finding,
    Pair,
    Text,
    build_finding,
)
from pytest_llmops.semantics.checks.sentence import (
    FUNCTION_WORDS,
    UNPREFIXED_WORDS,
    Sentence,
    Token,
    are_opposites,
    english_stems,
    find_opposites,
    stem_word,
)

NEGATIVE_WORDS = english_stems("negative_words")
# Words that may carry a negation of their own: next to them no alarm is raised
IMPLIED_NEGATIVES = english_stems("implied_negatives")
MIN_SIMILARITY = 0.55
MIN_COVERAGE = 0.4
NEGATION_WINDOW = 4  # tokens behind a negative word, among which is the word that it negates


def find_negation_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield negations that only one sentence has."""
    is_close = pair.token_similarity >= MIN_SIMILARITY or pair.is_short_answer
    findings: list[Finding] = []
    if is_close:
        findings = list(_find_changed_negations(pair, claimed))
    if not findings and pair.coverage >= MIN_COVERAGE:
        findings = list(_find_negated_words(pair))
    yield from findings


def may_be_negative(key: str) -> bool:
    """Return whether a word may carry a negation of its own, as "refuse" and "unknown" do."""
    if key in IMPLIED_NEGATIVES:
        return True
    if key.startswith(("un", "non")) and key not in UNPREFIXED_WORDS:
        return True
    return key.endswith("less") and key not in {"less", "unless"}


def differ_in_negation(pair: Pair) -> bool:
    """Return whether only one sentence is negative: "you can within 14 days", "you cannot after 14 days"."""
    is_expected_positive = NEGATIVE_WORDS.isdisjoint(pair.expected.keys)
    is_actual_positive = NEGATIVE_WORDS.isdisjoint(pair.actual.keys)
    return is_expected_positive != is_actual_positive


def _find_changed_negations(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield the changes of which only one side has a negative word, unless something else makes up for it."""
    for place, change in pair.unclaimed_changes(claimed):
        expected, actual = change.unmatched
        is_in_reference = _has_negative(expected)
        if is_in_reference == _has_negative(actual):
            continue
        if _is_balanced(pair, change, is_in_reference=is_in_reference):
            continue
        texts = pair.span_texts(expected or change.expected, actual or change.actual)
        yield build_finding("negation", "a negation", *texts, place)


def _is_balanced(pair: Pair, change: Change, *, is_in_reference: bool) -> bool:
    """Return whether something else makes up for a negation that only one side of a change has.

    That may be another wording on both sides, a leading "No", a word like "refuse" or another negation in the other
    sentence, or an opposite: "not open" is "closed".

    Args:
        pair: The sentences.
        change: The change with the negation.
        is_in_reference: Whether the reference has the negation, else the answer.
    """
    is_reworded = all(any(token.key not in NEGATIVE_WORDS for token in side) for side in change.unmatched)
    if is_reworded:
        return True
    if pair.is_short_answer and any(side.leading_answer is False for side in pair.sides):
        return True
    expected_keys = [token.key for changed in pair.changes for token in changed.expected]
    actual_keys = [token.key for changed in pair.changes for token in changed.actual]
    if is_in_reference:
        negated, other = pair.sides
        keys_of_other = actual_keys
    else:
        other, negated = pair.sides
        keys_of_other = expected_keys
    if any(map(may_be_negative, keys_of_other)):
        return True
    negatives_of_other = _negative_tokens(other.tokens)
    if len(negatives_of_other) >= len(_negative_tokens(negated.tokens)):
        return True
    return bool(find_opposites(expected_keys, actual_keys))


def _negative_tokens(tokens: Sequence[Token]) -> list[Token]:
    return [token for token in tokens if token.key in NEGATIVE_WORDS]


def _has_negative(tokens: Sequence[Token]) -> bool:
    return any(token.key in NEGATIVE_WORDS for token in tokens)


def _find_negated_words(pair: Pair) -> Iterator[Finding]:
    """Yield a word that one sentence negates and the other states: "not refunded" and "refunded".

    Only if the sentences have a single negative word between them, and no opposites.
    """
    negatives = [_negative_tokens(side.tokens) for side in pair.sides]
    if sum(map(len, negatives)) != 1:
        return
    if any(map(may_be_negative, (*pair.expected.keys, *pair.actual.keys))):
        return
    if find_opposites(pair.expected.keys, pair.actual.keys):
        return
    is_in_reference = bool(negatives[0])
    if is_in_reference:
        negated, other = pair.sides
        negative = negatives[0][0]
    else:
        other, negated = pair.sides
        negative = negatives[1][0]
    head = _find_negated_head(negated, negative)
    if head is None:
        return
    stated = next((token for token in other.tokens if token.key == head.key), None)
    if stated is None:
        return
    negated_text = negated.span_text((negative, head))
    if is_in_reference:
        yield build_finding("negation", "a negation", negated_text, stated.text)
    else:
        yield build_finding("negation", "a negation", stated.text, negated_text)


def _find_negated_head(sentence: Sentence, negative: Token) -> Token | None:
    """Return the word that a negative word negates: the next content word; None if none is near."""
    if negative.key in {"nor", "rather than", "instead of"}:
        return None
    place = sentence.tokens.index(negative)
    for token in sentence.tokens_after(place, NEGATION_WINDOW):
        if token.key not in FUNCTION_WORDS and not token.fact:
            return token
    return None


PARTICLES = english_stems("particles")
MIN_ANTONYM_SIMILARITY = 0.6


def find_antonyms(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield words that are replaced by their opposite, unless only one sentence is negative ("not open", "closed")."""
    is_near = pair.token_similarity >= MIN_ANTONYM_SIMILARITY or pair.is_short_answer
    if not is_near or differ_in_negation(pair):
        return
    for place, change in pair.unclaimed_changes(claimed):
        tokens = _find_opposite_tokens(change)
        if tokens:
            token, opposite = tokens
            yield build_finding("antonyms", "the opposite", token.text, opposite.text, place)


def find_opposite_answers(reference: Text, answer: Text) -> Iterator[Finding]:
    """Yield a finding if one text begins with "yes" and the other with "no"; only their first words are compared."""
    if not reference.sentences or not answer.sentences:
        return
    expected = reference.sentences[0]
    actual = answer.sentences[0]
    if {expected.leading_answer, actual.leading_answer} == {True, False}:
        expected_text = expected.tokens[0].text
        actual_text = actual.tokens[0].text
        yield build_finding("antonyms", "the opposite", expected_text, actual_text)


def _find_opposite_tokens(change: Change) -> tuple[Token, Token] | None:
    """Return a word of the reference and its opposite in the answer, or None.

    A change with a negation is left to the check of negation. Particles like "in" and "out" only count if nothing else
    has changed.
    """
    for token in change.tokens:
        if token.key in NEGATIVE_WORDS or token.key in ANSWER_KEYS:
            return None
    # Fillers are not left out here: "in" for "out", "to" for "from".
    is_single_word = len(change.expected) == len(change.actual) == 1
    for expected, actual in product(change.expected, change.actual):
        key = _opposable_key(expected)
        other_key = _opposable_key(actual)
        if not is_single_word and (key in PARTICLES or other_key in PARTICLES):
            continue
        if are_opposites(key, other_key):
            return expected, actual
    return None


def _opposable_key(token: Token) -> str:
    """Return the stem of a token, also of a fact: "first" states a value, but is the opposite of "last" too."""
    if token.fact:
        return stem_word(token.text)
    return token.key
