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
# Words that may carry a negation of their own: beside them no alarm is raised
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
    """Return whether something in the other sentence says the same as the negation of a change."""
    if all(any(token.key not in NEGATIVE_WORDS for token in side) for side in change.unmatched):
        # Both sides have other words: the sentence is reworded.
        return True
    if pair.is_short_answer and any(side.leading_answer is False for side in pair.sides):
        return True
    sentence, other = pair.sides
    keys = [token.key for changed in pair.changes for token in changed.expected]
    other_keys = [token.key for changed in pair.changes for token in changed.actual]
    if is_in_reference:
        keys_of_other = other_keys
    else:
        keys_of_other = keys
        sentence, other = other, sentence
    if any(map(may_be_negative, keys_of_other)):
        return True
    negatives_of_other = _negative_tokens(other.tokens)
    if len(negatives_of_other) >= len(_negative_tokens(sentence.tokens)):
        return True
    # "Not open" is "closed".
    return bool(find_opposites(keys, other_keys))


def _negative_tokens(tokens: Sequence[Token]) -> list[Token]:
    return [token for token in tokens if token.key in NEGATIVE_WORDS]


def _has_negative(tokens: Sequence[Token]) -> bool:
    return any(token.key in NEGATIVE_WORDS for token in tokens)


def _find_negated_words(pair: Pair) -> Iterator[Finding]:
    """Yield a word that one sentence negates and the other states, in sentences without any other negative word."""
    negatives = [_negative_tokens(side.tokens) for side in pair.sides]
    if sum(map(len, negatives)) != 1:
        return
    if any(map(may_be_negative, (*pair.expected.keys, *pair.actual.keys))):
        return
    if find_opposites(pair.expected.keys, pair.actual.keys):
        return
    is_in_reference = bool(negatives[0])
    if is_in_reference:
        sentence, other = pair.sides
        negative = negatives[0][0]
    else:
        other, sentence = pair.sides
        negative = negatives[1][0]
    head = _find_negated_head(sentence, negative)
    if head is None:
        return
    stated = next((token for token in other.tokens if token.key == head.key), None)
    if stated is None:
        return
    negated_text = sentence.span_text((negative, head))
    if is_in_reference:
        yield build_finding("negation", "a negation", negated_text, stated.text)
    else:
        yield build_finding("negation", "a negation", stated.text, negated_text)


def _find_negated_head(sentence: Sentence, negative: Token) -> Token | None:
    """Return the word that a negative word negates: the first behind it with a content of its own."""
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
    """Yield words in the place of their opposite, unless a negation cancels it out."""
    is_near = pair.token_similarity >= MIN_ANTONYM_SIMILARITY or pair.is_short_answer
    if not is_near or differ_in_negation(pair):
        return
    for place, change in pair.unclaimed_changes(claimed):
        tokens = _find_opposite_tokens(change)
        if tokens:
            token, opposite = tokens
            yield build_finding("antonyms", "the opposite", token.text, opposite.text, place)


def find_opposite_answers(reference: Text, answer: Text) -> Iterator[Finding]:
    """Yield a "yes" against a "no" at the head of two texts; what follows is compared separately."""
    if not reference.sentences or not answer.sentences:
        return
    expected = reference.sentences[0]
    actual = answer.sentences[0]
    if {expected.leading_answer, actual.leading_answer} == {True, False}:
        expected_text = expected.tokens[0].text
        actual_text = actual.tokens[0].text
        yield build_finding("antonyms", "the opposite", expected_text, actual_text)


def _find_opposite_tokens(change: Change) -> tuple[Token, Token] | None:
    for token in change.tokens:
        if token.key in NEGATIVE_WORDS or token.key in ANSWER_KEYS:
            return None
    # Fillers count here: "in" for "out", "to" for "from".
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
    """Return the stem of a token: "first" is a fact, and the opposite of "last"."""
    if token.fact:
        return stem_word(token.text)
    return token.key
