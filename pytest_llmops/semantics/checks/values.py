"""The checks of numbers, units and dates: a value in the place of another value."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from pytest_llmops.semantics.checks.alignment import Finding, Pair, Text, build_finding
from pytest_llmops.semantics.checks.quantities.facts import (
    BARE_NUMBER,
    Fact,
    are_comparable,
    are_same_value,
    lookup_unit,
)
from pytest_llmops.semantics.checks.quantities.ratios import RATIO_DIMENSION, are_reversed, join_terms
from pytest_llmops.semantics.checks.sentence import Sentence, Token, find_opposites
from pytest_llmops.semantics.word_lists.reader import english_words

MOMENTS = frozenset({"date", "weekday", "clock"})
DIFFERENCES = {"numbers": "another number", "units": "another unit", "dates": "another date or time"}
FREQUENCY_WORDS = english_words("frequency_words")
MIN_UNIT_LETTERS = 2
MAX_UNIT_TOKENS = 3
MAX_FACTS = 40  # values of a sentence that are compared
MIN_SIMILARITY = 0.6  # token similarity from which a value in the place of another value is an edit


def find_unit_differences(pair: Pair, claimed: frozenset[int]) -> Iterator[Finding]:
    """Yield values with another unit ("5 days", "5 weeks"), and units without a number ("per day", "per week")."""
    yield from find_unlike_values(pair, claimed, check="units")
    if not pair.is_edit:
        return
    for place, change in pair.unclaimed_changes(claimed):
        if not change.expected or not change.actual or len(change.tokens) > MAX_UNIT_TOKENS:
            continue
        expected = change.expected[-1]
        actual = change.actual[-1]
        is_same_kind = not _unit_dims(expected).isdisjoint(_unit_dims(actual))
        is_counted = any(token.fact and not token.fact.weak for token in (expected, actual))
        if is_same_kind and not is_counted:
            yield build_finding("units", DIFFERENCES["units"], expected.text, actual.text, place)


def _unit_dims(token: Token) -> frozenset[str]:
    """Return the dimension of a unit without a number: ``time`` for "week" and "weekly"; nothing for another word."""
    if token.text.lower() in FREQUENCY_WORDS:
        return frozenset({"time"})
    # "A minute" is a single token.
    name = token.text.rpartition(" ")[2]
    if len(name) <= MIN_UNIT_LETTERS:
        return frozenset()
    return frozenset(unit.dim.split()[0] for unit in lookup_unit(name))


def find_unlike_values(pair: Pair, claimed: frozenset[int], *, check: str) -> Iterator[Finding]:  # noqa: ARG001 -- all checks have the same arguments
    """Yield the pairs of different values that a check is responsible for: "numbers", "units" or "dates".

    Dates are compared in the parts that both state: "3 March" and "March 3rd, 2025" do not differ, nor do "thirty days", "30 days" and "720 h".
    """
    differences = [*_find_replaced_values(pair), *_find_missing_values(pair)]
    findings: dict[tuple[str, str], Finding] = {}
    for expected, actual, place in differences:
        texts = (expected.text, actual.text)
        if are_reversed(expected, actual) and _are_seen_from_both_sides(pair):
            continue
        if _responsible_check(expected, actual) != check or texts in findings:
            continue
        findings[texts] = build_finding(check, DIFFERENCES[check], *texts, place)
        exchanged = findings.get((actual.text, expected.text))
        if exchanged is not None:
            # "10 and 20" for "20 and 10" is one difference: the same alarm claims this change too
            findings[texts] = exchanged._replace(change=place)
        yield findings[texts]


def _are_seen_from_both_sides(pair: Pair) -> bool:
    """Return whether one sentence describes a match from the side of the winner, and the other from the loser's."""
    if find_opposites(pair.expected.keys, pair.actual.keys):
        return True
    counts = [side.keys.count("by") + side.keys.count("lose") for side in pair.sides]
    return counts[0] != counts[1]


def _responsible_check(expected: Fact, actual: Fact) -> str:
    """Return the check that reports two different values, so that only one of the three checks does."""
    dims = expected.dims | actual.dims
    # "3/4" and "2/3" may be dates, but are rather fractions.
    may_be_shares = "percent" in expected.dims & actual.dims
    if dims & MOMENTS and not may_be_shares:
        return "dates"
    is_same_numeral = expected.raw is not None and expected.raw == actual.raw
    if is_same_numeral and not all(dim.startswith("money") for dim in dims):
        return "units"
    return "numbers"


def _find_replaced_values(pair: Pair) -> Iterator[tuple[Fact, Fact, int | None]]:
    """Yield values that are replaced by another value within a change, as (expected, actual, number of the change)."""
    if pair.token_similarity < MIN_SIMILARITY and not pair.is_edit:
        return
    for place, change in enumerate(pair.changes):
        if change.is_long:
            continue
        facts = [token.fact for token in change.expected if token.fact]
        other_facts = [token.fact for token in change.actual if token.fact]
        if any(RATIO_DIMENSION in fact.dims for fact in (*facts, *other_facts)):
            facts = join_terms(pair.expected.text, facts)
            other_facts = join_terms(pair.actual.text, other_facts)
        missing = _facts_without_match(facts, other_facts)
        extra = _facts_without_match(other_facts, facts)
        for expected, actual in zip_longest(missing, extra):
            if expected and actual and (pair.is_edit or _is_contradiction(expected, actual)):
                yield expected, actual, place


def _facts_without_match(facts: Sequence[Fact], others: Sequence[Fact]) -> list[Fact]:
    """Return the facts whose value is in none of the others."""
    rest = []
    for fact in facts:
        if not any(are_same_value(fact, other) for other in others):
            rest.append(fact)
    return rest


def _is_contradiction(expected: Fact, actual: Fact) -> bool:
    """Return whether two different values contradict each other.

    Values of the same kind do, unless both are weak; and so do a value with a unit and a bare number ("30 seconds",
    "60"), if neither is weak or a date.
    """
    if are_comparable(expected, actual):
        return not (expected.weak and actual.weak)
    if expected.weak or actual.weak or (expected.dims | actual.dims) & MOMENTS:
        return False
    if expected.raw is None or actual.raw is None:
        return False
    return (BARE_NUMBER in expected.dims) != (BARE_NUMBER in actual.dims)


def _find_missing_values(pair: Pair) -> Iterator[tuple[Fact, Fact, int | None]]:
    """Yield values that the whole answer lacks, with a value of the same kind that the whole reference lacks.

    The third item is None: these values come from no change.
    """
    if not pair.expected.facts or not pair.actual.facts:
        return
    missing = _list_values_not_in(pair.expected, pair.answer)
    extra = _list_values_not_in(pair.actual, pair.reference)
    for expected in missing:
        actual = next((fact for fact in extra if are_comparable(expected, fact)), None)
        if actual is not None:
            extra.remove(actual)
            yield expected, actual, None


def _list_values_not_in(sentence: Sentence, text: Text) -> list[Fact]:
    """Return the values of a sentence that a text states nowhere."""
    facts = sentence.facts[:MAX_FACTS]
    return [fact for fact in facts if not fact.weak and not text.has_value(fact)]
