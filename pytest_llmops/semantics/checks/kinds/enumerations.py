"""Enumerations: "Visa, Mastercard and PayPal" are the same cards in another order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_llmops.semantics.checks.alignment import MAX_TOKENS, Pair
from pytest_llmops.semantics.checks.sentence import Sentence, Token

JOINING = frozenset({"and", "or", "&"})
ORDERED = frozenset(
    [
        "respective",
        "order",
        "first",
        "then",
        "next",
        "finally",
        "sequence",
        "rank",
        "follow",
        "before",
        "after",
        "step",
        "priority",
    ]
)
"""Words beside which the order of an enumeration counts."""
MAX_ITEM = 3
"""Tokens of an item at either end, where nothing says how long it is."""


@dataclass(frozen=True)
class _List:
    items: tuple[tuple[str, ...], ...]
    start: int
    end: int


def in_order(pair: Pair) -> Pair:
    """Return a pair in which enumerations of the answer have the order of the reference."""
    if any(
        JOINING.isdisjoint(side.keys) or ORDERED & set(side.keys) for side in (pair.expected, pair.actual)
    ):
        return pair
    others: dict[frozenset[tuple[str, ...]], _List] = {}
    for one in _lists(pair.actual):
        others.setdefault(frozenset(one.items), one)
    same = [
        (one, others[frozenset(one.items)]) for one in _lists(pair.expected) if frozenset(one.items) in others
    ]
    moved = [two for two in same if two[0].items != two[1].items]
    if not moved:
        return pair
    one, other = max(moved, key=lambda two: two[0].end - two[0].start)
    text = pair.actual.text
    made = text[: other.start] + pair.expected.text[one.start : one.end] + text[other.end :]
    return replace(pair, actual=Sentence(made))


def _lists(sentence: Sentence) -> Iterator[_List]:
    """All that may be enumerations: how far the first and the last item reach is not known."""
    parts, last = _parts(sentence)
    for end in last:
        for start in range(end - 1, -1, -1):
            between = parts[start + 1 : end]
            if any(not 1 <= len(part) <= MAX_ITEM for part in between):
                break
            for size in range(1, min(MAX_ITEM, len(parts[start])) + 1):
                for final in range(1, min(MAX_ITEM, len(parts[end])) + 1):
                    items = [parts[start][-size:], *between, parts[end][:final]]
                    keys = tuple(tuple(token.key for token in item) for item in items)
                    if len(set(keys)) == len(keys):
                        yield _List(keys, items[0][0].start, items[-1][-1].end)


def _parts(sentence: Sentence) -> tuple[list[Sequence[Token]], list[int]]:
    """The tokens between commas and joining words, and which of these parts follow a joining word."""
    parts: list[list[Token]] = [[]]
    last = []
    end = 0
    for token in sentence.tokens[:MAX_TOKENS]:
        if "," in sentence.text[end : token.start] and parts[-1]:
            parts.append([])
        end = token.end
        if token.key in JOINING:
            if parts[-1]:
                parts.append([])
            last.append(len(parts) - 1)
            continue
        parts[-1].append(token)
    return [*parts], [at for at in dict.fromkeys(last) if at and parts[at]]
