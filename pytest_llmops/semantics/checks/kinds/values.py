"""Facts with a value that differ between two sentences: what the checks of numbers, units and dates have in common.

Dates, weekdays and times of day: 3 March is not 3 May.

Numbers, percentages, ordinals and prices: 30 days are not 60 days.

Units: 30 days are not 30 hours, 5 km are not 5 miles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest

from pytest_llmops.semantics.checks.alarms import Finding, build_alarm
from pytest_llmops.semantics.checks.alignment import MAX_CHANGE_TOKENS, Pair
from pytest_llmops.semantics.checks.quantities.facts import BARE_NUMBER, Fact, are_comparable, are_same_value

MOMENTS = frozenset({"date", "weekday", "clock", "decade"})
DIFFERENCES = {"numbers": "another number", "units": "another unit", "dates": "another date or time"}
_NUMBER_PAIR = re.compile(r"(?<![\w.,:/-])(\d{1,4})(?:\s?[-:]\s?|\sto\s)(\d{1,4})(?![\w:/-]|[.,]\d)")
"""A score, a ratio or a range."""
MAX_FACTS = 40
"""Values of one sentence that are compared."""
MIN_SIMILARITY = 0.6
"""Share of tokens in order, from where on a value in the place of another one is an edit."""


def find_unlike_values(pair: Pair, check: str) -> Iterator[Finding]:
    """Yield the unlike values that belong to one check."""
    reported: set[tuple[str, str]] = set()
    if check == "numbers":
        yield from _find_reversed_numbers(pair)
    for expected, actual, place in (*_find_replaced_values(pair), *_find_missing_values(pair)):
        texts = (expected.text, actual.text)
        if _responsible_check(expected, actual) == check and texts not in reported:
            reported.add(texts)
            yield Finding(build_alarm(check, DIFFERENCES[check], *texts), place)


def _responsible_check(expected: Fact, actual: Fact) -> str:
    if (expected.dims | actual.dims) & MOMENTS:
        return "dates"
    money = all(dim.startswith("money") for dim in expected.dims | actual.dims)
    return "units" if expected.raw is not None and expected.raw == actual.raw and not money else "numbers"


def _find_replaced_values(pair: Pair) -> Iterator[tuple[Fact, Fact, int | None]]:
    """A value that stands where another one stood."""
    if pair.token_similarity < MIN_SIMILARITY and not pair.is_edit:
        return
    for place, change in enumerate(pair.changes):
        if max(len(change.expected), len(change.actual)) > MAX_CHANGE_TOKENS:
            continue
        expected_facts = [token.fact for token in change.expected if token.fact]
        actual_facts = [token.fact for token in change.actual if token.fact]
        missing = [
            expected
            for expected in expected_facts
            if not any(are_same_value(expected, actual) for actual in actual_facts)
        ]
        extra = [
            expected
            for expected in actual_facts
            if not any(are_same_value(expected, actual) for actual in expected_facts)
        ]
        for expected, actual in zip_longest(missing, extra):
            if expected and actual and _is_contradiction(expected, actual, pair):
                yield expected, actual, place


def _is_contradiction(expected: Fact, actual: Fact, pair: Pair) -> bool:
    if are_comparable(expected, actual) or pair.is_edit or _is_measure_against_number(expected, actual):
        return not (expected.weak and actual.weak) or pair.is_edit
    return False


def _find_reversed_numbers(pair: Pair) -> Iterator[Finding]:
    """Two numbers of a score or a ratio, the other way round; "won 3-1" and "lost 1-3" are the same."""
    if (pair.token_similarity < MIN_SIMILARITY and not pair.is_edit) or pair.flips:
        return
    expected, actual = (
        {(match[1], match[2]): match[0] for match in _NUMBER_PAIR.finditer(side.text)}
        for side in (pair.expected, pair.actual)
    )
    for numbers, text in expected.items():
        reversed_numbers = numbers[::-1]
        if numbers not in actual and reversed_numbers in actual and reversed_numbers not in expected:
            yield Finding(
                build_alarm("numbers", "the same numbers the other way round", text, actual[reversed_numbers])
            )


def _is_measure_against_number(expected: Fact, actual: Fact) -> bool:
    """Is one of them so many seconds, and the other another number of nothing that is known?"""
    firm = not expected.weak and not actual.weak and not (expected.dims | actual.dims) & MOMENTS
    return (
        firm
        and (BARE_NUMBER in expected.dims) != (BARE_NUMBER in actual.dims)
        and None not in {expected.raw, actual.raw}
    )


def _find_missing_values(pair: Pair) -> Iterator[tuple[Fact, Fact, int | None]]:
    """A value that the whole answer does not give, while the sentence gives another one of its kind."""
    if not (pair.expected.facts and pair.actual.facts):
        return
    missing = [
        expected
        for expected in pair.expected.facts[:MAX_FACTS]
        if not expected.weak and not pair.answer.states(expected)
    ]
    extra = missing and [
        expected
        for expected in pair.actual.facts[:MAX_FACTS]
        if not expected.weak and not pair.reference.states(expected)
    ]
    for expected in missing:
        actual = next((fact for fact in extra if are_comparable(expected, fact)), None)
        if actual is not None:
            extra.remove(actual)
            yield expected, actual, None


def find_dates(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:  # noqa: ARG001 -- all checks are called alike
    """Yield moments that differ in what both of them say: "3 March" and "March 3rd, 2025" do not."""
    yield from find_unlike_values(pair, "dates")


def find_numbers(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:  # noqa: ARG001 -- all checks are called alike
    """Yield values with another number, whatever their spelling: "thirty days", "30 days", "720 h" are one."""
    yield from find_unlike_values(pair, "numbers")


def find_units(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:  # noqa: ARG001 -- all checks are called alike
    """Yield values with the same numeral and another unit."""
    yield from find_unlike_values(pair, "units")
