"""Values that differ: the checks of numbers, units and dates.

Numbers, percentages, ordinals and prices: 30 days are not 60 days. Units: 30 days are not 30 hours, and 5 km are not
5 miles. Dates, weekdays and times of day: 3 March is not 3 May.
"""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from pytest_llmops.semantics.checks.alignment import Pair
from pytest_llmops.semantics.checks.kinds import Finding, build_finding
from pytest_llmops.semantics.checks.quantities.facts import (
    BARE_NUMBER,
    Fact,
    are_comparable,
    are_same_value,
    lookup_unit,
)
from pytest_llmops.semantics.checks.sentence import Token

MOMENTS = frozenset({"date", "weekday", "clock"})
DIFFERENCES = {"numbers": "another number", "units": "another unit", "dates": "another date or time"}
FREQUENCY_WORDS = frozenset(
    ["hourly", "daily", "night", "nightly", "weekly", "monthly", "quarterly", "yearly", "annually", "annual"]
)
MIN_UNIT_LETTERS, MAX_UNIT_TOKENS = 2, 3
MAX_FACTS = 40  # values of a sentence that are compared
MIN_SIMILARITY = 0.6  # token similarity from which a value in the place of another value is an edit


def find_unit_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield values with the same numeral and another unit, and units by themselves in each other's place."""
    yield from find_unlike_values(pair, claimed, check="units")
    if pair.is_edit:
        for place, change in pair.unclaimed_changes(claimed):
            if change.expected and change.actual and len(change.tokens) <= MAX_UNIT_TOKENS:
                expected, actual = change.expected[-1], change.actual[-1]
                dims, other_dims = map(_unit_dims, (expected, actual))
                if dims & other_dims and not (expected.fact or actual.fact):
                    yield build_finding("units", DIFFERENCES["units"], expected.text, actual.text, place)


def _unit_dims(token: Token) -> frozenset[str]:
    # Return what a unit without a number measures, as of "per week" and "weekly"; nothing for another word.
    if token.text.lower() in FREQUENCY_WORDS:
        return frozenset({"time"})
    known = lookup_unit(token.text) if len(token.text) > MIN_UNIT_LETTERS else []
    return frozenset(unit.dim.split()[0] for unit in known)


def find_unlike_values(pair: Pair, claimed: frozenset[int], *, check: str) -> Iterator[Finding]:  # noqa: ARG001 -- all checks have the same arguments
    """Yield values that differ in what both state and belong to a check: "numbers", "units", "dates".

    "3 March" and "March 3rd, 2025" do not differ, nor do "thirty days", "30 days" and "720 h".
    """
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
    # Yield values in the place of other values.
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
    # Return whether two unlike values contradict each other, as "30 seconds" and a bare "60" do.
    if are_comparable(expected, actual):
        return not (expected.weak and actual.weak)
    return (
        not (expected.weak or actual.weak or (expected.dims | actual.dims) & MOMENTS)
        and (BARE_NUMBER in expected.dims) != (BARE_NUMBER in actual.dims)
        and None not in {expected.raw, actual.raw}
    )


def _find_missing_values(pair: Pair) -> Iterator[tuple[Fact, Fact, int | None]]:
    # Yield values that the whole answer does not state, while its sentence states another value of the kind.
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
