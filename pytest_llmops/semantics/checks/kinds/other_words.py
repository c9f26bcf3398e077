"""Any other word: where nearly all words are the same in the same order, the one that is not is the difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_llmops.semantics.checks.alarms import Finding, build_alarm, span_text
from pytest_llmops.semantics.checks.alignment import PRONOUNS, Change, Pair
from pytest_llmops.semantics.checks.kinds.negation import differ_in_negation, has_negative_wording
from pytest_llmops.semantics.checks.kinds.quantifiers import QUANTIFIER_CLASSES, both_forbid
from pytest_llmops.semantics.checks.sentence import Token
from pytest_llmops.semantics.word_lists import english_words

MAX_CHANGES = 2
"""Places with other words, up to which it is an edit; a paraphrase has more."""
MAX_EXTRA_WORDS = 1
"""Words that come or go in other places; a paraphrase has more."""
MAX_WORDS = 3
"""Words of one side of a place, that are still an edit."""
PARTICLES = frozenset(
    ["in", "on", "off", "out", "up", "down", "back", "away", "over", "along", "around", "through"]
)
FREQUENCY_WORDS = frozenset(
    ["daily", "weekly", "monthly", "yearly", "annually", "hourly", "nightly", "quarterly", "dai"]
)
INTERCHANGEABLE_WORDS = english_words("interchangeable_words")
"""Words that may stand for each other more often than not."""


def find_other_words(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield words in the place of unlike words, in sentences that are the same but for them."""
    if not pair.is_edit:
        return
    candidates, extra = [], 0
    balanced = {place for place, _, _ in pair.flips} if differ_in_negation(pair) else set()
    for place, change in enumerate(pair.changes):
        expected, actual = _drop_shared_limits(pair, change)
        if (
            place in claimed
            or place in balanced
            or has_negative_wording(change)
            or not (_has_content(expected) and _has_content(actual))
        ):
            extra += len(expected) + len(actual)
        else:
            candidates.append((place, expected, actual))
    if len(candidates) > MAX_CHANGES or extra > MAX_EXTRA_WORDS:
        return
    for place, expected, actual in candidates:
        expected_words, actual_words = (
            _words_without_match(expected, actual),
            _words_without_match(actual, expected),
        )
        if (
            expected_words
            and actual_words
            and max(len(expected_words), len(actual_words)) <= MAX_WORDS
            and abs(len(expected_words) - len(actual_words)) < MAX_WORDS - 1
            and not all(map(_is_adverb_of_manner, (*expected, *actual)))
        ):
            yield Finding(
                build_alarm(
                    "words",
                    "another word in the same place",
                    span_text(pair.expected, expected),
                    span_text(pair.actual, actual),
                ),
                place,
            )


def _drop_shared_limits(pair: Pair, change: Change) -> tuple[list[Token], list[Token]]:
    """What is left without limits of one kind, "up to" and "at most"."""
    classes = [{QUANTIFIER_CLASSES.get(token.key) for token in side} - {None} for side in change.left]
    shared = classes[0] & classes[1]
    if classes[0] | classes[1] == {"must", "may"} and both_forbid(pair):
        shared = {"must", "may"}
    expected, actual = (
        [token for token in side if QUANTIFIER_CLASSES.get(token.key) not in shared] for side in change.left
    )
    return expected, actual


def _has_content(tokens: Sequence[Token]) -> bool:
    return any(
        token.key not in INTERCHANGEABLE_WORDS and token.key not in PRONOUNS and not token.fact
        for token in tokens
    )


def _words_without_match(tokens: Sequence[Token], other_tokens: Sequence[Token]) -> list[str]:
    """The words of some tokens that others do not have; "rule out" is one word."""
    other_words = {word for token in other_tokens for word in token.key.split()}
    return [
        word
        for token in tokens
        for word in token.key.split()
        if word not in other_words and word not in PARTICLES
    ]


def _is_adverb_of_manner(token: Token) -> bool:
    """Does it say how, as "informally" and "casually" do? That seldom makes another fact, and synonyms are many."""
    return token.text.endswith("ly") and token.key not in FREQUENCY_WORDS
