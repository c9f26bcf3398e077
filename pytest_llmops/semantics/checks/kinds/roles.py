"""Roles: the same words in another order, "the buyer pays the seller" and "the seller pays the buyer"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pytest_llmops.semantics.checks.alarms import Found, alarm, quoted, span
from pytest_llmops.semantics.checks.alignment import FILLERS, MAX_TOKENS, Pair
from pytest_llmops.semantics.checks.sentence import SMALL, Sentence, Token

EVEN = frozenset(
    {
        "and",
        "or",
        "nor",
        "with",
        "&",
        "between",
        "as well as",
        "equal",
        "plus",
        "versus",
        "meet",
        "marry",
        "resembl",
    }
)
"""Between two things, that may then change places."""
COPULAS = frozenset({"be", "become", "mean", "the", "a", "an"})
ARTICLES = frozenset({"the", "a", "an"})
FAR = 2
"""Words over which an "only" moves to something else."""
MAX_PART = 6
"""Words of one side of a swap."""


def find(pair: Pair, claimed: frozenset[int]) -> Iterator[Found]:
    """Yield words that have changed places with each other, and ways that lead back."""
    yield from _crossed(pair, claimed) or _voice(pair) or _moved(pair) or _turned_round(pair)


def _moved(pair: Pair) -> list[Found]:
    """Has an "only" moved to something else? In front of a value or the next word over it says the same."""
    one, other = pair.expected.keys, pair.actual.keys
    if one.count("only") != 1 or other.count("only") != 1 or len(one) != len(other):
        return []
    at, now = one.index("only"), other.index("only")
    values = any(
        token.fact
        for side, place in ((pair.expected, at), (pair.actual, now))
        for token in side.tokens[place + 1 : place + 2]
    )
    if abs(at - now) < FAR or values or one[:at] + one[at + 1 :] != other[:now] + other[now + 1 :]:
        return []
    texts = (
        span(pair.expected, pair.expected.tokens[at : at + FAR]),
        span(pair.actual, pair.actual.tokens[now : now + FAR]),
    )
    return [
        Found(alarm("roles", "the same words in other places", *texts), place)
        for place in range(len(pair.changes))
    ]


def _voice(pair: Pair) -> list[Found]:
    """Do both name the same in the same order, and only one of them in the passive? Then who does what has changed."""
    one, other = (_content(side.tokens) for side in (pair.expected, pair.actual))
    a, b = pair.expected.keys, pair.actual.keys
    if one != other or (a.count("by") - b.count("by")) * (a.count("be") - b.count("be")) != 1:
        return []
    texts = (span(pair.expected, pair.expected.tokens), span(pair.actual, pair.actual.tokens))
    return [
        Found(alarm("roles", "active and passive with the same order", *texts), at)
        for at in range(len(pair.changes))
    ]


def _crossed(pair: Pair, claimed: frozenset[int]) -> list[Found]:
    if (
        _passive(pair)
        or pair.turned_twice
        or len(pair.expected.tokens) > MAX_TOKENS
        or len(pair.actual.tokens) > MAX_TOKENS
    ):
        return []
    expected, actual = (
        [token for token in side.tokens if token.key not in ARTICLES] for side in (pair.expected, pair.actual)
    )
    if Counter(_content(expected)) != Counter(_content(actual)):
        return _exchanged(pair, expected, actual)
    head = _shared(expected, actual)
    tail = _shared(expected[head:][::-1], actual[head:][::-1])
    one, other = expected[head : len(expected) - tail], actual[head : len(actual) - tail]
    if not one or not other or not _swapped([token.key for token in one], [token.key for token in other]):
        return []
    texts = (span(pair.expected, one), span(pair.actual, other))
    places = [place for place in range(len(pair.changes)) if place not in claimed]
    return [Found(alarm("roles", "the same words in other places", *texts), place) for place in places]


def _exchanged(pair: Pair, expected: Sequence[Token], actual: Sequence[Token]) -> list[Found]:
    """Two words that stand for each other, each where the other stood, however often they come."""
    differ = [(a, b) for a, b in zip(expected, actual, strict=False) if a.key != b.key]
    if len(expected) != len(actual) or not differ:
        return []
    a, b = differ[0]
    if {(one.key, other.key) for one, other in differ} != {(a.key, b.key), (b.key, a.key)}:
        return []
    found = alarm("roles", "words in each other's place", a.text, b.text)
    return [Found(found, at) for at in range(len(pair.changes))]


def _content(tokens: Sequence[Token]) -> list[str]:
    return [token.key for token in tokens if token.key not in FILLERS]


def _shared(one: Sequence[Token], other: Sequence[Token]) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a.key != b.key),
        min(len(one), len(other)),
    )


def _swapped(one: Sequence[str], other: Sequence[str]) -> bool:
    """Have the two ends changed places over a middle that says something? Else a clause has only moved."""
    for first in range(1, min(MAX_PART, len(one) - 1) + 1):
        if other[len(other) - first :] != one[:first]:
            continue
        for last in range(1, min(MAX_PART, len(one) - first) + 1):
            if (
                other[:last] == one[len(one) - last :]
                and one[first : len(one) - last] == other[last : len(other) - first]
            ):
                middle = one[first : len(one) - last]
                return any(key not in EVEN and key not in COPULAS for key in middle) and not (
                    EVEN & set(middle)
                )
    return False


def _passive(pair: Pair) -> bool:
    """Has one sentence got a "by" more than the other? Then who does it may stand at its end."""
    return pair.expected.keys.count("by") != pair.actual.keys.count("by")


def _turned_round(pair: Pair) -> Iterator[Found]:
    """From A to B, and from B to A."""
    ways = [_ways(sentence) for sentence in (pair.expected, pair.actual)]
    for start, end in ways[0]:
        if (end, start) in ways[1] and start != end:
            yield Found(
                alarm(
                    "roles",
                    f"the way between {quoted(start)} and {quoted(end)} leads back",
                    f"from {start} to {end}",
                    f"from {end} to {start}",
                )
            )
            return


def _ways(sentence: Sentence) -> list[tuple[str, str]]:
    keys = sentence.keys
    found = []
    for at, key in enumerate(keys):
        if key == "from" and "to" in keys[at + 2 : at + 6]:
            to = keys.index("to", at + 2)
            start = [one for one in keys[at + 1 : to] if one not in SMALL]
            end = [one for one in keys[to + 1 : to + 4] if one not in SMALL]
            if start and end:
                found.append((start[0], end[0]))
    return found
