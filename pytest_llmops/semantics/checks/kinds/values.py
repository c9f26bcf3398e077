"""Facts with a value that differ between two sentences: what the checks of numbers, units and dates have in common.

Dates, weekdays and times of day: 3 March is not 3 May.

Numbers, percentages, ordinals and prices: 30 days are not 60 days.

Units: 30 days are not 30 hours, 5 km are not 5 miles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest

from pytest_llmops.semantics.checks.alarms import Found, alarm
from pytest_llmops.semantics.checks.alignment import MAX_CHANGE, Pair
from pytest_llmops.semantics.checks.quantities.facts import BARE, Fact, comparable, same

MOMENTS = frozenset({"date", "weekday", "clock", "decade"})
WHAT = {"numbers": "another number", "units": "another unit", "dates": "another date or time"}
_TWO = re.compile(r"(?<![\w.,:/-])(\d{1,4})(?:\s?[-:]\s?|\sto\s)(\d{1,4})(?![\w:/-]|[.,]\d)")
"""A score, a ratio or a range."""
MAX_FACTS = 40
"""Values of one sentence that are compared."""
LOOSE = 0.6
"""Share of tokens in order, from where on a value in the place of another one is an edit."""


def differing(pair: Pair, check: str) -> Iterator[Found]:
    """Yield the unlike values that belong to one check."""
    told: set[tuple[str, str]] = set()
    if check == "numbers":
        yield from _turned(pair)
    for expected, actual, place in (*_in_place(pair), *_elsewhere(pair)):
        shown = (expected.text, actual.text)
        if _whose(expected, actual) == check and shown not in told:
            told.add(shown)
            yield Found(alarm(check, WHAT[check], *shown), place)


def _whose(one: Fact, other: Fact) -> str:
    if (one.dims | other.dims) & MOMENTS:
        return "dates"
    money = all(dim.startswith("money") for dim in one.dims | other.dims)
    return "units" if one.raw is not None and one.raw == other.raw and not money else "numbers"


def _in_place(pair: Pair) -> Iterator[tuple[Fact, Fact, int | None]]:
    """A value that stands where another one stood."""
    if pair.alike < LOOSE and not pair.minimal:
        return
    for place, change in enumerate(pair.changes):
        if max(len(change.expected), len(change.actual)) > MAX_CHANGE:
            continue
        wanted = [token.fact for token in change.expected if token.fact]
        said = [token.fact for token in change.actual if token.fact]
        missing = [one for one in wanted if not any(same(one, other) for other in said)]
        extra = [one for one in said if not any(same(one, other) for other in wanted)]
        for one, other in zip_longest(missing, extra):
            if one and other and _firm(one, other, pair):
                yield one, other, place


def _firm(one: Fact, other: Fact, pair: Pair) -> bool:
    if comparable(one, other) or pair.minimal or _measured_and_bare(one, other):
        return not (one.weak and other.weak) or pair.minimal
    return False


def _turned(pair: Pair) -> Iterator[Found]:
    """Two numbers of a score or a ratio, the other way round; "won 3-1" and "lost 1-3" are the same."""
    if (pair.alike < LOOSE and not pair.minimal) or pair.flips:
        return
    wanted, said = (
        {(one[1], one[2]): one[0] for one in _TWO.finditer(side.text)}
        for side in (pair.expected, pair.actual)
    )
    for two, shown in wanted.items():
        other = two[::-1]
        if two not in said and other in said and other not in wanted:
            yield Found(alarm("numbers", "the same numbers the other way round", shown, said[other]))


def _measured_and_bare(one: Fact, other: Fact) -> bool:
    """Is one of them so many seconds, and the other another number of nothing that is known?"""
    firm = not one.weak and not other.weak and not (one.dims | other.dims) & MOMENTS
    return firm and (BARE in one.dims) != (BARE in other.dims) and None not in {one.raw, other.raw}


def _elsewhere(pair: Pair) -> Iterator[tuple[Fact, Fact, int | None]]:
    """A value that the whole answer does not give, while the sentence gives another one of its kind."""
    if not (pair.expected.facts and pair.actual.facts):
        return
    missing = [one for one in pair.expected.facts[:MAX_FACTS] if not one.weak and not pair.answer.states(one)]
    extra = missing and [
        one for one in pair.actual.facts[:MAX_FACTS] if not one.weak and not pair.reference.states(one)
    ]
    for one in missing:
        other = next((fact for fact in extra if comparable(one, fact)), None)
        if other is not None:
            extra.remove(other)
            yield one, other, None


def find_dates(pair: Pair, claimed: frozenset[int]) -> Iterator[Found]:  # noqa: ARG001 -- all checks are called alike
    """Yield moments that differ in what both of them say: "3 March" and "March 3rd, 2025" do not."""
    yield from differing(pair, "dates")


def find_numbers(pair: Pair, claimed: frozenset[int]) -> Iterator[Found]:  # noqa: ARG001 -- all checks are called alike
    """Yield values with another number, whatever their spelling: "thirty days", "30 days", "720 h" are one."""
    yield from differing(pair, "numbers")


def find_units(pair: Pair, claimed: frozenset[int]) -> Iterator[Found]:  # noqa: ARG001 -- all checks are called alike
    """Yield values with the same numeral and another unit."""
    yield from differing(pair, "units")
