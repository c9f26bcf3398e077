"""Words that mean the opposite: a word list, and prefixes that negate."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import product

from pytest_llmops.semantics.checks.lexicon.stems import stem_phrase
from pytest_llmops.semantics.word_lists import english_words, read_lines

PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non-", "non", "mis", "de")
UNPREFIXED_WORDS = english_words("unprefixed_words")
MIN_ROOT_LETTERS = 3
_NO_OPPOSITES: frozenset[str] = frozenset()


@cache
def opposite_table() -> dict[str, set[str]]:
    """Return the opposites of each word or phrase, by stems."""
    table: dict[str, set[str]] = {}
    for line in read_lines("opposites.txt"):
        left, right = (map(stem_phrase, side.split()) for side in line.split(" | "))
        for word, opposite in product(left, right):
            table.setdefault(word, set()).add(opposite)
            table.setdefault(opposite, set()).add(word)
    return table


def are_opposites(word: str, other_word: str) -> bool:
    """Return whether a word is the opposite of another in whose place it stands; both are stems.

    >>> are_opposites("befor", "after"), are_opposites("availabl", "unavailabl"), are_opposites("open", "clos")
    (True, True, True)
    """
    word, other_word = _strip_auxiliaries(word), _strip_auxiliaries(other_word)
    return (
        other_word in opposite_table().get(word, _NO_OPPOSITES)
        or is_negated_form(word, other_word)
        or is_negated_form(other_word, word)
    )


def find_opposites(keys: Iterable[str], other_keys: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs of a key and another key that are opposites.

    >>> find_opposites(["price", "rise"], ["cost", "fall"])
    [('rise', 'fall')]
    """
    others = {_strip_auxiliaries(other): other for other in other_keys}
    opposites = []
    for key in dict.fromkeys(keys):
        bare = _strip_auxiliaries(key)
        # A lookup for each prefix: two long sentences have too many pairs of words.
        forms = {prefix + bare for prefix in PREFIXES} | {bare.removeprefix(prefix) for prefix in PREFIXES}
        partners = (opposite_table().get(bare, _NO_OPPOSITES) | forms) & others.keys()
        opposites += [(key, others[partner]) for partner in sorted(partners) if are_opposites(bare, partner)]
    return opposites


def _strip_auxiliaries(key: str) -> str:
    return key.removeprefix("be ").removesuffix(" to")


def is_negated_form(word: str, root: str) -> bool:
    """Return whether a word is a root with a prefix that negates it, or with "-less" for "-ful".

    >>> is_negated_form("unsaf", "saf"), is_negated_form("indoor", "door"), is_negated_form("harmless", "harmful")
    (True, False, True)
    """
    if len(root) < MIN_ROOT_LETTERS or word in UNPREFIXED_WORDS:
        return False
    if word.endswith("less") and word.removesuffix("less") in {root, root.removesuffix("ful")}:
        return True
    return any(word == prefix + root for prefix in PREFIXES)
