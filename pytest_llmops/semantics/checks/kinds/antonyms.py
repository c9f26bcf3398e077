"""Antonyms: "increases" is not "decreases", and "before" is not "after"."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from pytest_llmops.semantics.checks.alarms import Finding, build_finding
from pytest_llmops.semantics.checks.alignment import ANSWER_KEYS, Change, Pair, Text
from pytest_llmops.semantics.checks.kinds.negation import NEGATIVE_WORDS, differ_in_negation
from pytest_llmops.semantics.checks.lexicon.opposites import are_opposites
from pytest_llmops.semantics.checks.lexicon.stems import stem_word
from pytest_llmops.semantics.checks.sentence import Token
from pytest_llmops.semantics.word_lists import english_words

PARTICLES = english_words("particles")
MIN_SIMILARITY = 0.6


def find_antonyms(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield words in the place of their opposite, unless a negation cancels it out."""
    is_near = pair.token_similarity >= MIN_SIMILARITY or pair.is_short_answer
    if not is_near or differ_in_negation(pair):
        return
    for place, change in pair.unclaimed_changes(claimed):
        if tokens := _find_opposite_tokens(change):
            yield build_finding("antonyms", "the opposite", tokens[0].text, tokens[1].text, place)


def find_opposite_answers(reference: Text, answer: Text) -> Iterator[Finding]:
    """Yield a "yes" against a "no" at the head of two texts; what follows is compared separately."""
    if not reference.sentences or not answer.sentences:
        return
    expected, actual = reference.sentences[0], answer.sentences[0]
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
        is_opposite = are_opposites(expected, actual)
        if is_opposite and (single_words or not {expected, actual} & PARTICLES):
            return tokens
    return None
