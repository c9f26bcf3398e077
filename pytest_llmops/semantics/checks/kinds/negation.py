"""Negation: "not", "never", "without" on one side only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_llmops.semantics.checks.alarms import Finding, build_finding
from pytest_llmops.semantics.checks.alignment import Pair
from pytest_llmops.semantics.checks.lexicon.opposites import UNPREFIXED_WORDS, find_opposites
from pytest_llmops.semantics.checks.lexicon.stems import stem_phrase
from pytest_llmops.semantics.checks.sentence import FUNCTION_WORDS, Token
from pytest_llmops.semantics.word_lists import english_words

NEGATIVE_WORDS = frozenset(map(stem_phrase, english_words("negative_words")))
IMPLIED_NEGATIVES = frozenset(map(stem_phrase, english_words("implied_negatives")))
"""Words that may carry a negation of their own: beside them no alarm is raised."""
MIN_SIMILARITY = 0.55
MIN_COVERAGE = 0.4
NEGATION_WINDOW = 4
"""Tokens behind a negative word, among which is the word that it negates."""


def find_negation_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield negations that only one sentence has."""
    findings: list[Finding] = []
    if pair.token_similarity >= MIN_SIMILARITY or pair.is_short_answer:
        findings = list(_find_changed_negations(pair, claimed))
    if not findings and pair.coverage >= MIN_COVERAGE:
        findings = list(_find_negated_words(pair))
    yield from findings


def may_be_negative(key: str) -> bool:
    """Return whether a word may carry a negation of its own, as "refuse" and "unknown" do."""
    return key in IMPLIED_NEGATIVES or _has_negative_affix(key)


def differ_in_negation(pair: Pair) -> bool:
    """Return whether only one sentence is negative: "you can within 14 days", "you cannot after 14 days"."""
    return NEGATIVE_WORDS.isdisjoint(pair.expected.keys) != NEGATIVE_WORDS.isdisjoint(pair.actual.keys)


def _has_negative_affix(key: str) -> bool:
    return (key.startswith(("un", "non")) and key not in UNPREFIXED_WORDS) or (
        key.endswith("less") and key not in {"less", "unless"}
    )


def _find_changed_negations(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    for place, change in pair.unclaimed_changes(claimed):
        expected, actual = change.unmatched
        is_one_sided = bool(_negative_tokens(expected)) != bool(_negative_tokens(actual))
        if is_one_sided and _is_unmatched_negation(pair, expected, actual):
            texts = pair.span_texts(expected or change.expected, actual or change.actual)
            yield build_finding("negation", "a negation", *texts, place)


def _is_unmatched_negation(pair: Pair, expected: Sequence[Token], actual: Sequence[Token]) -> bool:
    """Return whether nothing in the other sentence says the same as the negation of a change."""
    in_reference = bool(_negative_tokens(expected))
    sentence, other = pair.sides if in_reference else pair.sides[::-1]
    keys = [[token.key for change in pair.changes for token in change.sides[side]] for side in (0, 1)]
    is_reworded = all(any(token.key not in NEGATIVE_WORDS for token in side) for side in (expected, actual))
    has_short_no = pair.is_short_answer and any(side.leading_answer is False for side in pair.sides)
    return not (
        is_reworded
        or has_short_no
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
    if len(expected) + len(actual) != 1 or any(
        map(may_be_negative, (*pair.expected.keys, *pair.actual.keys))
    ):
        return
    if find_opposites(pair.expected.keys, pair.actual.keys):
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
