"""Roles: the same words in another order, "the buyer pays the seller" and "the seller pays the buyer"."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from pytest_llmops.metrics.lexical import count_shared_ends
from pytest_llmops.semantics.checks.alignment import FILLERS, MAX_TOKENS, Pair
from pytest_llmops.semantics.checks.kinds import Finding, build_finding
from pytest_llmops.semantics.checks.lexicon import english_stems
from pytest_llmops.semantics.checks.sentence import Token

# What differs, and the texts of the reference and of the answer
Difference: TypeAlias = tuple[str, str, str]

SYMMETRIC_WORDS = english_stems("symmetric_words")  # two things around such a word may change places
ARTICLES = frozenset({"the", "a", "an"})
COPULAS = ARTICLES | {"be", "become", "mean"}
MAX_SWAPPED_WORDS = 6  # words of a side of a swap
MAX_SYMMETRIC_WORDS = 3  # words between two things that "and" or "with" joins; more are a clause of their own
SAME_WORDS = "the same words in other places"


def find_role_swaps(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield words that have changed places with each other."""
    difference = _swapped_phrases(pair, claimed)
    if difference:
        yield from (build_finding("roles", *difference, place) for place in range(len(pair.changes)))


def _swapped_phrases(pair: Pair, claimed: frozenset[int]) -> Difference | None:
    # With a passive the doer may stand at the end of the sentence.
    is_passive = pair.expected.keys.count("by") != pair.actual.keys.count("by")
    if is_passive or any(len(side.tokens) > MAX_TOKENS for side in pair.sides):
        return None
    expected, actual = ([token for token in side.tokens if token.key not in ARTICLES] for side in pair.sides)
    content = [sorted(key for key in side.keys if key not in FILLERS) for side in pair.sides]
    if content[0] != content[1]:
        return _exchanged_words(expected, actual)
    keys, other_keys = ([token.key for token in side] for side in (expected, actual))
    head, tail = count_shared_ends(keys, other_keys)
    middle, other_middle = slice(head, len(keys) - tail), slice(head, len(other_keys) - tail)
    if not _have_swapped_ends(keys[middle], other_keys[other_middle]) or not any(
        pair.unclaimed_changes(claimed)
    ):
        return None
    return SAME_WORDS, *pair.span_texts(expected[middle], actual[other_middle])


def _exchanged_words(expected: Sequence[Token], actual: Sequence[Token]) -> Difference | None:
    # Return two words of which each stands wherever the other stood.
    differing = [(a, b) for a, b in zip(expected, actual, strict=False) if a.key != b.key]
    if len(expected) != len(actual) or not differing:
        return None
    a, b = differing[0]
    swaps = {(token.key, other.key) for token, other in differing}
    return (
        ("words in each other's place", a.text, b.text) if swaps == {(a.key, b.key), (b.key, a.key)} else None
    )


def _have_swapped_ends(keys: Sequence[str], other_keys: Sequence[str]) -> bool:
    # Return whether the ends have changed places over a middle with content; else a clause has only moved.
    size = len(keys)
    for first in range(1, min(MAX_SWAPPED_WORDS, size - 1) + 1):
        for last in range(1, min(MAX_SWAPPED_WORDS, size - first) + 1):
            middle = keys[first : size - last]
            if list(other_keys) == [*keys[size - last :], *middle, *keys[:first]]:
                is_symmetric = len(middle) <= MAX_SYMMETRIC_WORDS and not SYMMETRIC_WORDS.isdisjoint(middle)
                return not is_symmetric and not COPULAS.issuperset(middle)
    return False
