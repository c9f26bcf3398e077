"""Quantities in another form: "48 hours" is what "two days" are."""

from __future__ import annotations

from functools import lru_cache

from pytest_llmops.grounding.words import content
from pytest_llmops.guards.facts import Fact, same
from pytest_llmops.guards.tokens import Sentence

MAX_FACTS = 40
"""Quantities of a text that are compared."""


def equal(claim: str, text: str) -> frozenset[str]:
    """Return the stems of a claim's quantities that a text has in another form, as the guards compare them.

    >>> sorted(equal("It takes 48 hours.", "It takes two days."))
    ['48', 'hour']
    """
    there = _facts(text)
    return frozenset(
        stem
        for mine in _facts(claim)
        if any(_in_another_form(mine, other) for other in there)
        for stem in content(mine.text)
    )


def _in_another_form(mine: Fact, other: Fact) -> bool:
    # What has the same numeral is found by its words: a unit that was left out is none in another form.
    if mine.raw is None or other.raw is None or mine.raw == other.raw:
        return False
    return same(mine, other) and (mine.rough or not other.rough)


@lru_cache(maxsize=4_000)
def _facts(text: str) -> tuple[Fact, ...]:
    return Sentence(text).facts[:MAX_FACTS]
