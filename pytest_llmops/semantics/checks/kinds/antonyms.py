"""Antonyms: "increases" is not "decreases", and "before" is not "after"."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from pytest_llmops.semantics.checks.alarms import Finding, build_finding
from pytest_llmops.semantics.checks.alignment import ANSWER_KEYS, Change, Pair, Text
from pytest_llmops.semantics.checks.kinds.negation import (
    IMPLIED_NEGATIVES,
    NEGATIVE_WORDS,
    differ_in_negation,
)
from pytest_llmops.semantics.checks.kinds.quantifiers import both_forbid
from pytest_llmops.semantics.checks.lexicon.opposites import are_opposites, find_opposites
from pytest_llmops.semantics.checks.lexicon.stems import stem_word
from pytest_llmops.semantics.checks.lexicon.synonyms import are_synonyms
from pytest_llmops.semantics.checks.sentence import Token
from pytest_llmops.semantics.word_lists import english_words

PARTICLES = english_words("particles")
MIN_SIMILARITY = 0.6
MIN_COVERAGE = 0.5


def find_antonyms(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield words in the place of their opposite, and in other wordings words that contradict in any place."""
    if pair.has_crossed_opposites or differ_in_negation(pair):
        return
    findings = []
    if pair.token_similarity >= MIN_SIMILARITY or pair.is_short_answer:
        for place, change in pair.unclaimed_changes(claimed):
            if tokens := _find_opposite_tokens(pair, change):
                texts = (tokens[0].text, tokens[1].text)
                findings.append(build_finding("antonyms", "the opposite", *texts, place))
    if not findings and pair.coverage >= MIN_COVERAGE:
        findings = list(_find_contradictions(pair))
    yield from findings


def find_opposite_answers(reference: Text, answer: Text) -> Iterator[Finding]:
    """Yield a "yes" against a "no" at the head of two texts; what follows is compared separately."""
    if not reference.sentences or not answer.sentences:
        return
    expected, actual = reference.sentences[0], answer.sentences[0]
    if {expected.leading_answer, actual.leading_answer} == {True, False}:
        yield build_finding("antonyms", "the opposite", expected.tokens[0].text, actual.tokens[0].text)


def _find_opposite_tokens(pair: Pair, change: Change) -> tuple[Token, Token] | None:
    if any(token.key in NEGATIVE_WORDS or token.key in ANSWER_KEYS for token in change.tokens):
        return None
    # Fillers count here: "in" for "out", "to" for "from".
    single_words = len(change.expected) == len(change.actual) == 1
    for tokens in product(*change.sides):
        # "first" is a fact, and the opposite of "last".
        expected, actual = (stem_word(token.text) if token.fact else token.key for token in tokens)
        if {expected, actual} == {"must", "may"} and both_forbid(pair):
            continue
        is_opposite = are_opposites(expected, actual) and not are_synonyms(expected, actual)
        if is_opposite and (single_words or not {expected, actual} & PARTICLES):
            return tokens
    return None


def _find_contradictions(pair: Pair) -> Iterator[Finding]:
    expected_keys, actual_keys = pair.expected.keys, pair.actual.keys
    if not (NEGATIVE_WORDS | IMPLIED_NEGATIVES).isdisjoint((*expected_keys, *actual_keys)):
        return
    for expected, actual in find_opposites(expected_keys, actual_keys, firm=True):
        # The answer may state a synonym as well: then the opposite is not all it says.
        if (
            expected not in actual_keys
            and actual not in expected_keys
            and not any(are_synonyms(expected, key) for key in actual_keys)
        ):
            expected_token = pair.expected.tokens[expected_keys.index(expected)]
            actual_token = pair.actual.tokens[actual_keys.index(actual)]
            yield build_finding("antonyms", "the opposite", expected_token.text, actual_token.text)
            return
