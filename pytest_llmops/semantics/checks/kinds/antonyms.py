"""Antonyms: "increases" is not "decreases", and "before" is not "after"."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmops.semantics.checks.alarms import Finding, build_alarm
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
from pytest_llmops.semantics.checks.sentence import Sentence, Token
from pytest_llmops.semantics.word_lists import english_words

PARTICLES = english_words("particles")
"""Opposites only where nothing else has changed: "off of a wave", "on a wave"; "you can", "we can"."""
MIN_SIMILARITY = 0.6
MIN_COVERAGE = 0.5


def find_antonyms(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield words in the place of their opposite, and in other wordings those that contradict anywhere."""
    if pair.has_crossed_opposites or differ_in_negation(pair):
        return
    findings = []
    for place, change in (
        enumerate(pair.changes) if pair.token_similarity >= MIN_SIMILARITY or pair.is_short_answer else ()
    ):
        if place not in claimed and (opposites := _find_opposite_tokens(pair, change)):
            findings.append(
                Finding(build_alarm("antonyms", "the opposite", opposites[0].text, opposites[1].text), place)
            )
    if not findings and pair.covered >= MIN_COVERAGE:
        findings = list(_find_contradictions(pair))
    yield from findings


def find_opposite_answers(reference: Text, answer: Text) -> Iterator[Finding]:
    """Yield a "yes" against a "no" at the head of two texts; what follows them is compared by itself."""
    if not reference.sentences or not answer.sentences:
        return
    expected, actual = reference.sentences[0], answer.sentences[0]
    if (
        None not in {expected.leading_answer, actual.leading_answer}
        and expected.leading_answer != actual.leading_answer
    ):
        yield Finding(build_alarm("antonyms", "the opposite", expected.tokens[0].text, actual.tokens[0].text))


def _find_opposite_tokens(pair: Pair, change: Change) -> tuple[Token, Token] | None:
    if any(
        token.key in NEGATIVE_WORDS or token.key in ANSWER_KEYS
        for token in (*change.expected, *change.actual)
    ):
        return None
    # Fillers count here: "in" for "out", "to" for "from".
    single_words = len(change.expected) == len(change.actual) == 1
    for expected_token in change.expected:
        for actual_token in change.actual:
            expected, actual = _word(expected_token), _word(actual_token)
            if {expected, actual} == {"must", "may"} and both_forbid(pair):
                continue
            if (
                are_opposites(expected, actual)
                and not are_synonyms(expected, actual)
                and (single_words or not {expected, actual} & PARTICLES)
            ):
                return expected_token, actual_token
    return None


def _word(token: Token) -> str:
    """Return what it is compared by: "first" is a fact, and the opposite of "last"."""
    return stem_word(token.text) if token.fact else token.key


def _find_contradictions(pair: Pair) -> Iterator[Finding]:
    if _has_negative_word(pair.expected) or _has_negative_word(pair.actual):
        return
    answer_keys, reference_keys = set(pair.actual.keys), set(pair.expected.keys)
    for expected, actual in find_opposites(pair.expected.keys, pair.actual.keys, firm=True):
        # Something else of the kind may be said beside it: then its opposite is not the only one.
        if (
            expected not in answer_keys
            and actual not in reference_keys
            and not any(are_synonyms(expected, key) for key in answer_keys)
        ):
            yield Finding(
                build_alarm(
                    "antonyms",
                    "the opposite",
                    _token_text(pair.expected, expected),
                    _token_text(pair.actual, actual),
                )
            )
            return


def _token_text(sentence: Sentence, key: str) -> str:
    return sentence.tokens[sentence.keys.index(key)].text


def _has_negative_word(sentence: Sentence) -> bool:
    return any(key in NEGATIVE_WORDS or key in IMPLIED_NEGATIVES for key in sentence.keys)
