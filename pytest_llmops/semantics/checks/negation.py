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
    if is_close:
        findings = list(_find_changed_negations(pair, claimed))
    else:
        findings = []
    if not findings and pair.coverage >= MIN_COVERAGE:
        findings = list(_find_negated_words(pair))
    yield from findings


def may_be_negative(key: str) -> bool:
    """Return whether a word may carry a negation of its own, as "refuse" and "unknown" do."""
    return (
        key in IMPLIED_NEGATIVES
        or (key.startswith(("un", "non")) and key not in UNPREFIXED_WORDS)
        or (key.endswith("less") and key not in {"less", "unless"})
    )


def differ_in_negation(pair: Pair) -> bool:
    """Return whether only one sentence is negative: "you can within 14 days", "you cannot after 14 days"."""
    return NEGATIVE_WORDS.isdisjoint(pair.expected.keys) != NEGATIVE_WORDS.isdisjoint(pair.actual.keys)


def _find_changed_negations(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    for place, change in pair.unclaimed_changes(claimed):
        expected, actual = change.unmatched
        is_one_sided = bool(_negative_tokens(expected)) != bool(_negative_tokens(actual))
        if is_one_sided and _is_unmatched_negation(pair, expected, actual):
            yield build_finding(
                "negation",
                "a negation",
                *pair.span_texts(expected or change.expected, actual or change.actual),
                place,
            )


def _is_unmatched_negation(pair: Pair, expected: Sequence[Token], actual: Sequence[Token]) -> bool:
    """Return whether nothing in the other sentence says the same as the negation of a change."""
    in_reference = bool(_negative_tokens(expected))
    sentence, other = pair.sides if in_reference else pair.sides[::-1]
    keys = [[token.key for change in pair.changes for token in change.sides[side]] for side in (0, 1)]
    is_reworded = all(any(token.key not in NEGATIVE_WORDS for token in side) for side in (expected, actual))
    return not (
        is_reworded
        or (pair.is_short_answer and any(side.leading_answer is False for side in pair.sides))
        or any(map(may_be_negative, keys[in_reference]))
        or len(_negative_tokens(other.tokens)) >= len(_negative_tokens(sentence.tokens))
        # "Not open" is "closed".
        or find_opposites(*keys)
    )


def _negative_tokens(tokens: Sequence[Token]) -> list[Token]:
    return [token for token in tokens if token.key in NEGATIVE_WORDS]


def _find_negated_words(pair: Pair) -> Iterator[Finding]:
    """Yield a word that one sentence negates and the other states, in sentences without any other negative word."""
    expected, actual = (_negative_tokens(side.tokens) for side in pair.sides)
    if (
        len(expected) + len(actual) != 1
        or any(map(may_be_negative, (*pair.expected.keys, *pair.actual.keys)))
        or find_opposites(pair.expected.keys, pair.actual.keys)
    ):
        return
    sentence, other = pair.sides if expected else pair.sides[::-1]
    (negative,) = expected or actual
    if negative.key in {"nor", "rather than", "instead of"}:
        return
    after = sentence.tokens_after(sentence.tokens.index(negative), NEGATION_WINDOW)
    head = next((token for token in after if token.key not in FUNCTION_WORDS and not token.fact), None)
    stated = next((token for token in other.tokens if head and token.key == head.key), None)
    if head and stated:
        texts = (sentence.span_text((negative, head)), stated.text)
        yield build_finding("negation", "a negation", *(texts if expected else texts[::-1]))


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
            yield build_finding("antonyms", "the opposite", tokens[0].text, tokens[1].text, place)


def find_opposite_answers(reference: Text, answer: Text) -> Iterator[Finding]:
    """Yield a "yes" against a "no" at the head of two texts; what follows is compared separately."""
    if not reference.sentences or not answer.sentences:
        return
    expected = reference.sentences[0]
    actual = answer.sentences[0]
    if {expected.leading_answer, actual.leading_answer} == {True, False}:
        yield build_finding("antonyms", "the opposite", expected.tokens[0].text, actual.tokens[0].text)


def _find_opposite_tokens(change: Change) -> tuple[Token, Token] | None:
    if any(token.key in NEGATIVE_WORDS or token.key in ANSWER_KEYS for token in change.tokens):
        return None
    # Fillers count here: "in" for "out", "to" for "from".
    single_words = len(change.expected) == len(change.actual) == 1
    for tokens in product(*change.sides):
        # "first" is a fact, and the opposite of "last".
        expected, actual = (stem_word(token.text) if token.fact else token.key for token in tokens)
        if are_opposites(expected, actual) and (single_words or not {expected, actual} & PARTICLES):
            return tokens
    return None
