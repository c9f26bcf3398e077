"""The check of roles: words that have changed places with each other."""

from collections.abc import Iterator, Sequence

from pytest_llmops.metrics.lexical import count_shared_ends
from pytest_llmops.semantics.checks import relations
from pytest_llmops.semantics.checks.alignment import FILLERS, MAX_TOKENS, Finding, Pair, build_finding
from pytest_llmops.semantics.checks.relations import ARTICLES, COPULAS, SYMMETRIC_WORDS, Difference
from pytest_llmops.semantics.checks.sentence import Sentence, Token

MAX_SWAPPED_WORDS = 6  # words of a side of a swap
MAX_SYMMETRIC_WORDS = 3  # words between two things that "and" or "with" joins; more are a clause of their own


def find_role_swaps(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield words or values that have each other's place: "the dog bites the man"; the finding claims all changes."""
    difference = _find_swap(pair, claimed)
    if difference:
        for place in range(len(pair.changes)):
            yield build_finding("roles", *difference, place)


def _find_swap(pair: Pair, claimed: frozenset[int]) -> Difference | None:
    """Return the words that have changed places between the sentences, or None."""
    if any(len(side.tokens) > MAX_TOKENS for side in pair.sides):
        return None
    if not any(pair.unclaimed_changes(claimed)):
        return None
    difference = _find_swap_of_sentence(pair)
    if difference:
        return difference
    difference = relations.find_swapped_relation(pair)
    if difference or claimed:
        # Exchanged values may be among the claimed changes: one alarm is enough
        return difference
    return relations.find_crossed_values(pair)


def _find_swap_of_sentence(pair: Pair) -> Difference | None:
    """Return two words or phrases that have swapped places, if the sentences are otherwise alike; else None."""
    # In the passive the doer may come at the end of the sentence.
    expected_count = pair.expected.keys.count("by")
    actual_count = pair.actual.keys.count("by")
    if expected_count != actual_count:
        return None
    expected = [token for token in pair.expected.tokens if token.key not in ARTICLES]
    actual = [token for token in pair.actual.tokens if token.key not in ARTICLES]
    if _content_keys(pair.expected) != _content_keys(pair.actual):
        return _find_exchanged_words(expected, actual)
    keys = [token.key for token in expected]
    other_keys = [token.key for token in actual]
    head, tail = count_shared_ends(keys, other_keys)
    middle = slice(head, len(keys) - tail)
    other_middle = slice(head, len(other_keys) - tail)
    if not _have_swapped_ends(keys[middle], other_keys[other_middle]):
        return None
    texts = pair.span_texts(expected[middle], actual[other_middle])
    return ("the same words in other places", *texts)


def _content_keys(sentence: Sentence) -> list[str]:
    """Return the keys of a sentence without fillers, sorted: equal for sentences with the same words in any order."""
    return sorted(key for key in sentence.keys if key not in FILLERS)


def _find_exchanged_words(expected: Sequence[Token], actual: Sequence[Token]) -> Difference | None:
    """Return two words that are exchanged everywhere in the sentence; None if anything else differs."""
    if len(expected) != len(actual):
        return None
    pairs = zip(expected, actual, strict=True)
    differing = [(token, other) for token, other in pairs if token.key != other.key]
    if not differing:
        return None
    first, second = differing[0]
    swaps = {(token.key, other.key) for token, other in differing}
    if swaps == {(first.key, second.key), (second.key, first.key)}:
        return ("words in each other's place", first.text, second.text)
    return None


def _have_swapped_ends(keys: Sequence[str], other_keys: Sequence[str]) -> bool:
    """Return whether the first and the last words have swapped places around the same middle.

    The middle must not be symmetric ("tea and coffee") or a mere "is" or article: without a verb a clause has only
    moved.
    """
    size = len(keys)
    swapped = list(other_keys)
    for first in range(1, min(MAX_SWAPPED_WORDS, size - 1) + 1):
        for last in range(1, min(MAX_SWAPPED_WORDS, size - first) + 1):
            end = size - last
            middle = keys[first:end]
            exchanged = [*keys[end:], *middle, *keys[:first]]
            if swapped == exchanged:
                return not _is_symmetric(middle) and not COPULAS.issuperset(middle)
    return False


def _is_symmetric(keys: Sequence[str]) -> bool:
    """Return whether two things may swap places around these words without a change of meaning: "tea and coffee"."""
    return len(keys) <= MAX_SYMMETRIC_WORDS and not SYMMETRIC_WORDS.isdisjoint(keys)
