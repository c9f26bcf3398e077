"""Words that may stand for each other, from a list of common words in answers about anything."""

from __future__ import annotations

from functools import cache

from pytest_llmops.semantics.checks.lexicon.stems import stem_phrase
from pytest_llmops.semantics.word_lists import read_lines

_NO_GROUPS: frozenset[int] = frozenset()


@cache
def synonym_groups() -> dict[str, set[int]]:
    """Return the numbers of the groups that each word or phrase is in, by its stems."""
    groups: dict[str, set[int]] = {}
    for number, group in enumerate(";".join(read_lines("synonyms.txt")).split(";")):
        for entry in group.split():
            groups.setdefault(stem_phrase(entry), set()).add(number)
    return groups


def are_synonyms(word: str, other_word: str) -> bool:
    """Return whether a word may stand for another; both are stems, or the stems of a phrase.

    >>> are_synonyms("buy", "purchas"), are_synonyms("get in touch with", "contact"), are_synonyms("dog", "cat")
    (True, True, False)
    """
    groups = synonym_groups()
    return word == other_word or not groups.get(word, _NO_GROUPS).isdisjoint(
        groups.get(other_word, _NO_GROUPS)
    )
