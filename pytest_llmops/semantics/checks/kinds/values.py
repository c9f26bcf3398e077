"""Values that differ: the checks of numbers, units and dates.

Numbers, percentages, ordinals and prices: 30 days are not 60 days. Units: 30 days are not 30 hours, and 5 km are not
5 miles. Dates, weekdays and times of day: 3 March is not 3 May.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from pytest_llmops.semantics.checks.alarms import Finding, build_finding
from pytest_llmops.semantics.checks.alignment import Pair
from pytest_llmops.semantics.checks.quantities.facts import BARE_NUMBER, Fact, are_comparable, are_same_value

MOMENTS = frozenset({"date", "weekday", "clock", "decade"})
DIFFERENCES = {"numbers": "another number", "units": "another unit", "dates": "another date or time"}
_NUMBER_PAIR = re.compile(r"(?<![\w.,:/-])(\d{1,4})(?:\s?[-:]\s?|\sto\s)(\d{1,4})(?![\w:/-]|[.,]\d)")
"""A score, a ratio or a range."""
MAX_FACTS = 40
"""Values of a sentence that are compared."""
MIN_SIMILARITY = 0.6
"""Token similarity from which a value in the place of another value is an edit."""


def find_date_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:  # noqa: ARG001 -- all checks have the same arguments
    """Yield dates and times that differ in what both state: "3 March" and "March 3rd, 2025" do not."""
    yield from _find_unlike_values(pair, "dates")


def find_number_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:  # noqa: ARG001 -- all checks have the same arguments
    """Yield values with another number, whatever their spelling: "thirty days", "30 days", "720 h" are the same."""
    yield from _find_reversed_numbers(pair)
    yield from _find_unlike_values(pair, "numbers")


def find_unit_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:  # noqa: ARG001 -- all checks have the same arguments
    """Yield values with the same numeral and another unit."""
    yield from _find_unlike_values(pair, "units")


def _find_unlike_values(pair: Pair, check: str) -> Iterator[Finding]:
    """Yield the unlike values that belong to a check."""
    reported: set[tuple[str, str]] = set()
    for expected, actual, place in (*_find_replaced_values(pair), *_find_missing_values(pair)):
        dims = expected.dims | actual.dims
        is_unit = expected.raw is not None and expected.raw == actual.raw
        if dims & MOMENTS:
            responsible = "dates"
        elif is_unit and not all(dim.startswith("money") for dim in dims):
            responsible = "units"
        else:
            responsible = "numbers"
        texts = (expected.text, actual.text)
        if responsible == check and texts not in reported:
            reported.add(texts)
            yield build_finding(check, DIFFERENCES[check], *texts, place)


def _find_replaced_values(pair: Pair) -> Iterator[tuple[Fact, Fact, int | None]]:
    """Yield values in the place of other values."""
    if pair.token_similarity < MIN_SIMILARITY and not pair.is_edit:
        return
    for place, change in enumerate(pair.changes):
        if change.is_long:
            continue
        facts, other_facts = ([token.fact for token in side if token.fact] for side in change.sides)
        missing, extra = _without_same_value(facts, other_facts), _without_same_value(other_facts, facts)
        for expected, actual in zip_longest(missing, extra):
            if expected and actual and (pair.is_edit or _is_contradiction(expected, actual)):
                yield expected, actual, place


def _without_same_value(facts: Sequence[Fact], others: Sequence[Fact]) -> list[Fact]:
    return [fact for fact in facts if not any(are_same_value(fact, other) for other in others)]


def _is_contradiction(expected: Fact, actual: Fact) -> bool:
    """Return whether two unlike values contradict each other, as "30 seconds" and a bare "60" do."""
    if are_comparable(expected, actual):
        return not (expected.weak and actual.weak)
    return (
        not (expected.weak or actual.weak or (expected.dims | actual.dims) & MOMENTS)
        and (BARE_NUMBER in expected.dims) != (BARE_NUMBER in actual.dims)
        and None not in {expected.raw, actual.raw}
    )


def _find_reversed_numbers(pair: Pair) -> Iterator[Finding]:
    """Yield the two numbers of a score or a ratio the other way round; "won 3-1" and "lost 1-3" are the same."""
    if (pair.token_similarity < MIN_SIMILARITY and not pair.is_edit) or pair.opposites:
        return
    expected, actual = (
        {(match[1], match[2]): match[0] for match in _NUMBER_PAIR.finditer(side.text)} for side in pair.sides
    )
    for numbers, text in expected.items():
        swapped = numbers[::-1]
        if numbers not in actual and swapped in actual and swapped not in expected:
            yield build_finding("numbers", "the same numbers the other way round", text, actual[swapped])


def _find_missing_values(pair: Pair) -> Iterator[tuple[Fact, Fact, int | None]]:
    """Yield values that the whole answer does not state, while its sentence states another value of the kind."""
    if not (pair.expected.facts and pair.actual.facts):
        return
    missing, extra = (
        [fact for fact in side.facts[:MAX_FACTS] if not fact.weak and not text.has_value(fact)]
        for side, text in ((pair.expected, pair.answer), (pair.actual, pair.reference))
    )
    for expected in missing:
        actual = next((fact for fact in extra if are_comparable(expected, fact)), None)
        if actual is not None:
            extra.remove(actual)
            yield expected, actual, None
