"""Any other word: where nearly all words are the same in the same order, another word is a difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_llmops.semantics.checks.alarms import Finding, build_finding
from pytest_llmops.semantics.checks.alignment import PRONOUNS, Change, Pair
from pytest_llmops.semantics.checks.kinds.negation import differ_in_negation, has_negative_wording
from pytest_llmops.semantics.checks.kinds.quantifiers import QUANTIFIER_CLASSES, both_forbid
from pytest_llmops.semantics.checks.sentence import Token
from pytest_llmops.semantics.word_lists import english_words

MAX_CHANGES = 2
"""An edit has no more places with other words; a paraphrase has."""
MAX_EXTRA_WORDS = 1
"""Words that come or go in other places of an edit; a paraphrase has more."""
MAX_WORDS = 3
"""Words of a side of an edited place."""
VERB_PARTICLES = frozenset(
    {"in", "on", "off", "out", "up", "down", "back", "away", "over", "along", "around", "through"}
)
FREQUENCY_WORDS = frozenset(
    {"daily", "weekly", "monthly", "yearly", "annually", "hourly", "nightly", "quarterly", "dai"}
)
WORDS_WITHOUT_CONTENT = english_words("interchangeable_words") | PRONOUNS


def find_word_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield words in the place of unlike words, in sentences that are otherwise the same."""
    if not pair.is_edit:
        return
    candidates, extra = [], 0
    balanced = {place for place, _, _ in pair.opposites} if differ_in_negation(pair) else set()
    for place, change in enumerate(pair.changes):
        expected, actual = _drop_shared_limits(pair, change)
        is_explained = place in claimed or place in balanced or has_negative_wording(change)
        if is_explained or not (_has_content(expected) and _has_content(actual)):
            extra += len(expected) + len(actual)
        else:
            candidates.append((place, expected, actual))
    if len(candidates) > MAX_CHANGES or extra > MAX_EXTRA_WORDS:
        return
    for place, expected, actual in candidates:
        sizes = (len(_words_without_match(expected, actual)), len(_words_without_match(actual, expected)))
        # "Informally" and "casually" say how: that is seldom another fact, and such synonyms are many.
        is_manner = all(
            token.text.endswith("ly") and token.key not in FREQUENCY_WORDS for token in (*expected, *actual)
        )
        if (
            min(sizes)
            and max(sizes) <= MAX_WORDS
            and max(sizes) - min(sizes) < MAX_WORDS - 1
            and not is_manner
        ):
            texts = pair.span_texts(expected, actual)
            yield build_finding("words", "another word in the same place", *texts, place)


def _drop_shared_limits(pair: Pair, change: Change) -> list[list[Token]]:
    """Return both sides of a change without limits of the same class, "up to" and "at most"."""
    classes = [{QUANTIFIER_CLASSES.get(token.key) for token in side} - {None} for side in change.unmatched]
    shared = classes[0] & classes[1]
    if classes[0] | classes[1] == {"must", "may"} and both_forbid(pair):
        shared = {"must", "may"}
    return [
        [token for token in side if QUANTIFIER_CLASSES.get(token.key) not in shared]
        for side in change.unmatched
    ]


def _has_content(tokens: Sequence[Token]) -> bool:
    return any(token.key not in WORDS_WITHOUT_CONTENT and not token.fact for token in tokens)


def _words_without_match(tokens: Sequence[Token], other_tokens: Sequence[Token]) -> list[str]:
    """Return the words of tokens that other tokens do not have; "rule out" is a single word."""
    other_words = {word for token in other_tokens for word in token.key.split()} | VERB_PARTICLES
    return [word for token in tokens for word in token.key.split() if word not in other_words]
