"""Roles: the same words in another order, "the buyer pays the seller" and "the seller pays the buyer"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pytest_llmops.semantics.checks.alarms import Finding, build_alarm, quote_text, span_text
from pytest_llmops.semantics.checks.alignment import FILLERS, MAX_TOKENS, Pair
from pytest_llmops.semantics.checks.sentence import FUNCTION_WORDS, Sentence, Token
from pytest_llmops.semantics.word_lists import english_words

SYMMETRIC_WORDS = english_words("symmetric_words")
"""Between two things, that may then change places."""
COPULAS = frozenset({"be", "become", "mean", "the", "a", "an"})
ARTICLES = frozenset({"the", "a", "an"})
MIN_MOVE = 2
"""Words over which an "only" moves to something else."""
MAX_SWAPPED_WORDS = 6
"""Words of one side of a swap."""


def find_role_swaps(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield words that have changed places with each other, and ways that lead back."""
    yield from (
        _find_swapped_phrases(pair, claimed)
        or _find_changed_voice(pair)
        or _find_moved_only(pair)
        or _find_reversed_routes(pair)
    )


def _find_moved_only(pair: Pair) -> list[Finding]:
    """Has an "only" moved to something else? In front of a value or the next word over it says the same."""
    expected, actual = pair.expected.keys, pair.actual.keys
    if expected.count("only") != 1 or actual.count("only") != 1 or len(expected) != len(actual):
        return []
    expected_place, actual_place = expected.index("only"), actual.index("only")
    values = any(
        token.fact
        for side, place in ((pair.expected, expected_place), (pair.actual, actual_place))
        for token in side.tokens[place + 1 : place + 2]
    )
    if (
        abs(expected_place - actual_place) < MIN_MOVE
        or values
        or expected[:expected_place] + expected[expected_place + 1 :]
        != actual[:actual_place] + actual[actual_place + 1 :]
    ):
        return []
    texts = (
        span_text(pair.expected, pair.expected.tokens[expected_place : expected_place + MIN_MOVE]),
        span_text(pair.actual, pair.actual.tokens[actual_place : actual_place + MIN_MOVE]),
    )
    return [
        Finding(build_alarm("roles", "the same words in other places", *texts), place)
        for place in range(len(pair.changes))
    ]


def _find_changed_voice(pair: Pair) -> list[Finding]:
    """Do both name the same in the same order, and only one of them in the passive? Then who does what has changed."""
    expected, actual = (_content_keys(side.tokens) for side in (pair.expected, pair.actual))
    expected_keys, actual_keys = pair.expected.keys, pair.actual.keys
    if (
        expected != actual
        or (expected_keys.count("by") - actual_keys.count("by"))
        * (expected_keys.count("be") - actual_keys.count("be"))
        != 1
    ):
        return []
    texts = (span_text(pair.expected, pair.expected.tokens), span_text(pair.actual, pair.actual.tokens))
    return [
        Finding(build_alarm("roles", "active and passive with the same order", *texts), place)
        for place in range(len(pair.changes))
    ]


def _find_swapped_phrases(pair: Pair, claimed: frozenset[int]) -> list[Finding]:
    if (
        _differ_in_passive(pair)
        or pair.has_crossed_opposites
        or len(pair.expected.tokens) > MAX_TOKENS
        or len(pair.actual.tokens) > MAX_TOKENS
    ):
        return []
    expected, actual = (
        [token for token in side.tokens if token.key not in ARTICLES] for side in (pair.expected, pair.actual)
    )
    if Counter(_content_keys(expected)) != Counter(_content_keys(actual)):
        return _find_exchanged_words(pair, expected, actual)
    head = _shared_prefix_length(expected, actual)
    tail = _shared_prefix_length(expected[head:][::-1], actual[head:][::-1])
    expected_middle, actual_middle = expected[head : len(expected) - tail], actual[head : len(actual) - tail]
    if (
        not expected_middle
        or not actual_middle
        or not _have_swapped_ends(
            [token.key for token in expected_middle], [token.key for token in actual_middle]
        )
    ):
        return []
    texts = (span_text(pair.expected, expected_middle), span_text(pair.actual, actual_middle))
    places = [place for place in range(len(pair.changes)) if place not in claimed]
    return [
        Finding(build_alarm("roles", "the same words in other places", *texts), place) for place in places
    ]


def _find_exchanged_words(pair: Pair, expected: Sequence[Token], actual: Sequence[Token]) -> list[Finding]:
    """Two words that stand for each other, each where the other stood, however often they come."""
    differing = [(a, b) for a, b in zip(expected, actual, strict=False) if a.key != b.key]
    if len(expected) != len(actual) or not differing:
        return []
    a, b = differing[0]
    if {(one.key, other.key) for one, other in differing} != {(a.key, b.key), (b.key, a.key)}:
        return []
    swap_alarm = build_alarm("roles", "words in each other's place", a.text, b.text)
    return [Finding(swap_alarm, place) for place in range(len(pair.changes))]


def _content_keys(tokens: Sequence[Token]) -> list[str]:
    return [token.key for token in tokens if token.key not in FILLERS]


def _shared_prefix_length(tokens: Sequence[Token], other_tokens: Sequence[Token]) -> int:
    return next(
        (length for length, (a, b) in enumerate(zip(tokens, other_tokens, strict=False)) if a.key != b.key),
        min(len(tokens), len(other_tokens)),
    )


def _have_swapped_ends(keys: Sequence[str], other_keys: Sequence[str]) -> bool:
    """Have the two ends changed places over a middle that says something? Else a clause has only moved."""
    for first in range(1, min(MAX_SWAPPED_WORDS, len(keys) - 1) + 1):
        if other_keys[len(other_keys) - first :] != keys[:first]:
            continue
        for last in range(1, min(MAX_SWAPPED_WORDS, len(keys) - first) + 1):
            if (
                other_keys[:last] == keys[len(keys) - last :]
                and keys[first : len(keys) - last] == other_keys[last : len(other_keys) - first]
            ):
                middle = keys[first : len(keys) - last]
                return any(key not in SYMMETRIC_WORDS and key not in COPULAS for key in middle) and not (
                    SYMMETRIC_WORDS & set(middle)
                )
    return False


def _differ_in_passive(pair: Pair) -> bool:
    """Has one sentence got a "by" more than the other? Then who does it may stand at its end."""
    return pair.expected.keys.count("by") != pair.actual.keys.count("by")


def _find_reversed_routes(pair: Pair) -> Iterator[Finding]:
    """From A to B, and from B to A."""
    routes = [_find_routes(sentence) for sentence in (pair.expected, pair.actual)]
    for start, end in routes[0]:
        if (end, start) in routes[1] and start != end:
            yield Finding(
                build_alarm(
                    "roles",
                    f"the way between {quote_text(start)} and {quote_text(end)} leads back",
                    f"from {start} to {end}",
                    f"from {end} to {start}",
                )
            )
            return


def _find_routes(sentence: Sentence) -> list[tuple[str, str]]:
    keys = sentence.keys
    routes = []
    for at, key in enumerate(keys):
        if key == "from" and "to" in keys[at + 2 : at + 6]:
            to = keys.index("to", at + 2)
            start = [word for word in keys[at + 1 : to] if word not in FUNCTION_WORDS]
            end = [word for word in keys[to + 1 : to + 4] if word not in FUNCTION_WORDS]
            if start and end:
                routes.append((start[0], end[0]))
    return routes
