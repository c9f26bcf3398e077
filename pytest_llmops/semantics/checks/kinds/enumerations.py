"""Enumerations: "Visa, Mastercard and PayPal" are the same cards in another order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_llmops.semantics.checks.alignment import MAX_TOKENS, Pair
from pytest_llmops.semantics.checks.sentence import Sentence, Token
from pytest_llmops.semantics.word_lists import english_words

JOINING_WORDS = frozenset({"and", "or", "&"})
ORDER_WORDS = english_words("order_words")
"""Words beside which the order of an enumeration counts."""
MAX_ITEM_TOKENS = 3
"""Tokens of an item at either end, where nothing says how long it is."""


@dataclass(frozen=True)
class _Enumeration:
    items: tuple[tuple[str, ...], ...]
    start: int
    end: int


def align_enumerations(pair: Pair) -> Pair:
    """Return a pair in which an enumeration of the answer has the order of the reference."""
    if any(JOINING_WORDS.isdisjoint(side.keys) or ORDER_WORDS & set(side.keys) for side in pair.sides):
        return pair
    others: dict[frozenset[tuple[str, ...]], _Enumeration] = {}
    for enumeration in _find_enumerations(pair.actual):
        others.setdefault(frozenset(enumeration.items), enumeration)
    moved = [
        enumeration
        for enumeration in _find_enumerations(pair.expected)
        if (other := others.get(frozenset(enumeration.items))) and other.items != enumeration.items
    ]
    if not moved:
        return pair
    longest = max(moved, key=lambda enumeration: enumeration.end - enumeration.start)
    other, text = others[frozenset(longest.items)], pair.actual.text
    reordered = pair.expected.text[longest.start : longest.end]
    return replace(pair, actual=Sentence(text[: other.start] + reordered + text[other.end :]))


def _find_enumerations(sentence: Sentence) -> Iterator[_Enumeration]:
    """Yield all that may be enumerations: how many words the first and the last item have is not known."""
    parts, joined = _split_at_commas(sentence)
    for end in joined:
        for start in range(end - 1, -1, -1):
            between = parts[start + 1 : end]
            if any(not 1 <= len(part) <= MAX_ITEM_TOKENS for part in between):
                break
            for first_size in range(1, min(MAX_ITEM_TOKENS, len(parts[start])) + 1):
                for last_size in range(1, min(MAX_ITEM_TOKENS, len(parts[end])) + 1):
                    items = [parts[start][-first_size:], *between, parts[end][:last_size]]
                    keys = tuple(tuple(token.key for token in item) for item in items)
                    if len(set(keys)) == len(keys):
                        yield _Enumeration(keys, items[0][0].start, items[-1][-1].end)


def _split_at_commas(sentence: Sentence) -> tuple[list[Sequence[Token]], list[int]]:
    """Return the tokens between commas and joining words, and the numbers of the parts that follow a joining word."""
    parts: list[list[Token]] = [[]]
    joined = []
    end = 0
    for token in sentence.tokens[:MAX_TOKENS]:
        if "," in sentence.text[end : token.start] and parts[-1]:
            parts.append([])
        end = token.end
        if token.key in JOINING_WORDS:
            if parts[-1]:
                parts.append([])
            joined.append(len(parts) - 1)
            continue
        parts[-1].append(token)
    return [*parts], [number for number in dict.fromkeys(joined) if number and parts[number]]
