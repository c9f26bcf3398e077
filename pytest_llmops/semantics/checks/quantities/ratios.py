"""Read ratios and scores: "3:1", "a ratio of 3 to 1", "a 3-1 win"."""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import cast

from pytest_llmops.semantics.checks.quantities.facts import (
    BARE_NUMBER,
    DateParts,
    Fact,
    Reading,
    build_fact,
    is_preceded_by,
)

# "3:1" in any text, and "3 to 1" and "3-1" where the words around say that it is a ratio. What may be a time of day
# is read before, and does not come here.
RATIO = re.compile(
    r"(?<![\w:.,/-])(?P<first>\d{1,4}(?:\.\d{1,3})?|one)(?P<mark>\s:\s|:|\sto\s|-to-|-)(?P<second>\d{1,4}(?:\.\d{1,3})?|one)(?![\w:/]|[-.,]\d)"
)
_RATIO_BEFORE = re.compile(r"(?i)\b(?:ratios?|odds|proportions?)\b[^\d.;:?!]{0,25}:?\s?\Z")
_SCORE_BEFORE = re.compile(
    r"(?i)\b(?:scored?|won|wins?|beat|lost|lose|drew|lead|led)\b[^\d.;:?!]{0,25}:?\s?\Z"
)
_RATIO_AFTER = re.compile(r"(?i)[\s-](?:ratio|odds|proportion|scale|mix|mixture|format|display|aspect)\b")
_SCORE_AFTER = re.compile(r"(?i)[\s-](?:score|win|victory|defeat|loss|lead|draw|home win)\b")
CONTEXT_CHARS = 40
RATIO_DIMENSION = "ratio"
TERM_MARKS = frozenset(
    {" to ", "-to-", "-"}
)  # between the numbers of a ratio that is not written with a colon


def is_ratio_or_score(match: re.Match[str]) -> bool:
    """Return whether the words around two numbers with a colon show that they are not a time: "a ratio of 16:10"."""
    if _has_ratio_word(match) or is_preceded_by(match, _SCORE_BEFORE, CONTEXT_CHARS):
        return True
    return _SCORE_AFTER.match(match.string, match.end()) is not None


def _has_ratio_word(match: re.Match[str]) -> bool:
    """Return whether a word like "ratio" is near two numbers."""
    if is_preceded_by(match, _RATIO_BEFORE, CONTEXT_CHARS):
        return True
    return _RATIO_AFTER.match(match.string, match.end()) is not None


def read_ratio(match: re.Match[str]) -> Fact | None:
    """Return the fact of a ratio in lowest terms, 6:2 as 3:1; None for "3 to 1" and "3-1" without a word like "ratio"."""
    if match["mark"].strip() != ":" and not _has_ratio_word(match):
        return None
    return build_fact(match, ratio_reading(_parse_term(match["first"]), _parse_term(match["second"])))


def _parse_term(text: str) -> Fraction:
    if text == "one":
        return Fraction(1)
    return Fraction(text)


def ratio_reading(first: Fraction, second: Fraction) -> Reading:
    """Return the reading of a ratio in lowest terms; one with a zero is a score, and keeps its numbers.

    Its value is a tuple, so that 3:1 and 1:3 differ.

    >>> ratio_reading(Fraction(6), Fraction(2)).value, ratio_reading(Fraction(2), Fraction(0)).value
    ((3, 1, None), (2, 0, None))
    """
    if first and second:
        lowest = first / second
        return Reading(RATIO_DIMENSION, (lowest.numerator, lowest.denominator, None))
    return Reading(RATIO_DIMENSION, (int(first), int(second), None))


def join_terms(text: str, facts: Sequence[Fact]) -> list[Fact]:
    """Return the facts with each "3 to 1" and "3-1" as a ratio: for a sentence that is compared with one of a ratio.

    Args:
        text: The sentence of the facts.
        facts: Some of its facts, in order.
    """
    joined: list[Fact] = []
    for fact in facts:
        last = joined[-1] if joined else None
        if last is None or text[last.end : fact.start] not in TERM_MARKS:
            joined.append(fact)
            continue
        terms = [term.raw for term in (last, fact) if term.raw is not None and BARE_NUMBER in term.dims]
        if len(terms) < 2:  # noqa: PLR2004 -- a ratio has two terms
            joined.append(fact)
            continue
        reading = ratio_reading(*(Fraction(str(term)) for term in terms))
        joined[-1] = Fact(text[last.start : fact.end], last.start, fact.end, (reading,))
    return joined


def are_reversed(fact: Fact, other: Fact) -> bool:
    """Return whether two ratios have the same numbers in the other order, as 3:1 and 1:3."""
    if RATIO_DIMENSION not in fact.dims or RATIO_DIMENSION not in other.dims:
        return False
    first, second, _ = cast("DateParts", fact.readings[0].value)
    return other.readings[0].value == (second, first, None)
