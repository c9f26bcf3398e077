"""Facts with a value, which two texts may state in different spellings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple, TypeAlias

DateParts: TypeAlias = "tuple[int | None, int | None, int | None]"

EXACT_TOLERANCE = 1e-15
"""Relative, in the same unit: the rounding of a float, and less than a digit of a code."""
TEMPERATURE_TOLERANCE = 1e-9
"""Absolute, in degrees: 32 °F are 0 °C but for a rounding."""
CONVERSION_TOLERANCE = 0.03
"""Relative, in another unit: 5 miles are 8 km, and nobody says 8.047."""
ROUGH_TOLERANCE = 0.1
"""Relative, for a month in days or weeks, and for "about 30"."""
BARE_NUMBER = "number"
EXACT_DIMENSIONS = frozenset({"time", "data", "clock", "working time"})
"""Dimensions whose units convert without a remainder."""
ROUGH_UNITS = frozenset({"month", "year"})


class Reading(NamedTuple):
    """A way to read a fact.

    Attributes:
        dim: What is measured: ``number``, ``percent``, ``time``, ``length``, ``money USD``, ``date`` ...
        value: In the base unit of the dimension; a date as (year, month, day) with None for what is not said.
        unit: The unit it is written in.
    """

    dim: str
    value: float | DateParts
    unit: str = ""

    @property
    def amount(self) -> float:
        """The value as a number to sort by, 0 for a date."""
        return 0.0 if isinstance(self.value, tuple) else self.value

    def agrees_with(self, other: Reading, *, rough: bool) -> bool:
        """Return whether both are the same value, within the tolerance of their units."""
        if self.dim != other.dim:
            return False
        if isinstance(self.value, tuple) or isinstance(other.value, tuple):
            shared = self._shared_parts(other)
            return bool(shared) and all(part == other_part for part, other_part in shared)
        tolerance = ROUGH_TOLERANCE if rough else EXACT_TOLERANCE
        if self.unit != other.unit:
            # Hours and days, grams and kilograms convert exactly; miles and kilometres do not.
            is_exact = self.dim in EXACT_DIMENSIONS or self.dim.startswith("money")
            is_rough = self.dim == "time" and not ROUGH_UNITS.isdisjoint({self.unit, other.unit})
            converted = EXACT_TOLERANCE if is_exact else CONVERSION_TOLERANCE
            tolerance = max(tolerance, ROUGH_TOLERANCE if is_rough else converted)
        absolute = TEMPERATURE_TOLERANCE if self.dim == "temperature" else 0.0
        return abs(self.value - other.value) <= tolerance * max(abs(self.value), abs(other.value)) + absolute

    def is_comparable_with(self, other: Reading) -> bool:
        """Return whether both measure the same, so that unlike values contradict each other."""
        if self.dim.startswith("money") and other.dim.startswith("money"):
            return True
        are_tuples = isinstance(self.value, tuple) and isinstance(other.value, tuple)
        return self.dim == other.dim and (not are_tuples or bool(self._shared_parts(other)))

    def _shared_parts(self, other: Reading) -> list[tuple[int, int]]:
        """Return the parts of two dates that both state."""
        if not isinstance(self.value, tuple) or not isinstance(other.value, tuple):
            return []
        pairs = zip(self.value, other.value, strict=True)
        return [
            (part, other_part) for part, other_part in pairs if part is not None and other_part is not None
        ]


@dataclass(frozen=True, slots=True)
class Fact:
    """A place of a text that states a value.

    Attributes:
        text: As written.
        start: Place in the sentence.
        end: Place behind it.
        readings: All that it may mean: "1.234" is a thousand and more, or a bit more than 1.
        raw: The numeral without its unit; None where there is none.
        weak: It can confirm a value but never contradicts a value: "a day", "one".
        rough: The value is approximate, as in "about 30".
    """

    text: str
    start: int
    end: int
    readings: tuple[Reading, ...]
    raw: float | None = None
    weak: bool = False
    rough: bool = False

    @property
    def dims(self) -> frozenset[str]:
        """The dimensions that it may measure."""
        return frozenset(reading.dim for reading in self.readings)

    @property
    def is_ambiguous_date(self) -> bool:
        """Whether it is a date like 3/4/2025, of which nobody knows the order."""
        return len(self.readings) > 1 and all(reading.dim == "date" for reading in self.readings)

    def is_other_form_of(self, other: Fact) -> bool:
        """Return whether the same value is written with another numeral; it may only be rough if this fact is."""
        if self.raw is None or other.raw is None or self.raw == other.raw:
            return False
        return are_same_value(self, other) and (self.rough or not other.rough)

    def borrow_unit(self, other: Fact) -> Fact:
        """Return a bare number with the unit of another fact, as the 3 of "3 to 5 days" has; else the fact itself."""
        if BARE_NUMBER not in self.dims or BARE_NUMBER in other.dims or self.raw is None or not other.raw:
            return self
        readings = tuple(
            reading._replace(value=self.raw * (reading.value / other.raw))
            for reading in other.readings
            if isinstance(reading.value, float) and reading.dim not in {"ordinal", "temperature", "clock"}
        )
        return replace(self, readings=readings or self.readings)

    def sum_with(self, smaller: Fact) -> Reading | None:
        """Return the sum with a smaller measure behind it, as of hours and minutes, or dollars and cents."""
        for reading, part in product(self.readings, smaller.readings):
            if not isinstance(reading.value, float) or not isinstance(part.value, float):
                continue
            if reading.dim == part.dim == "time" and reading.unit != part.unit:
                if part.value < reading.value / (self.raw or reading.value or 1.0):
                    return part._replace(value=reading.value + part.value)
            elif (
                reading.dim.startswith("money ")
                and part.dim == "money small" != reading.dim
                and part.value < 1
            ):
                return reading._replace(value=reading.value + part.value)
        return None


def are_same_value(fact: Fact, other: Fact) -> bool:
    """Return whether both facts can mean the same value; a bare numeral is the same numeral with a unit."""
    if fact.is_ambiguous_date and other.is_ambiguous_date:
        # Day and month in either order, but surely the same order in both.
        return fact.readings[0] == other.readings[0]
    rough = fact.rough or other.rough
    if any(a.agrees_with(b, rough=rough) for a, b in product(fact.readings, other.readings)):
        return True
    return fact.raw is not None and fact.raw == other.raw and BARE_NUMBER in fact.dims | other.dims


def are_comparable(fact: Fact, other: Fact) -> bool:
    """Return whether both facts state a value of the same kind, so that unlike values contradict each other."""
    if ("date" in fact.dims) != ("date" in other.dims) and BARE_NUMBER in fact.dims & other.dims:
        return False  # a year, and a number of something
    if any(a.is_comparable_with(b) for a, b in product(fact.readings, other.readings)):
        return True
    return fact.raw is not None and fact.raw == other.raw and BARE_NUMBER not in fact.dims | other.dims


def build_fact(
    match: re.Match[str],
    *readings: Reading,
    start: int | None = None,
    end: int | None = None,
    raw: float | None = None,
    weak: bool = False,
) -> Fact:
    """Return the fact of a match, or of a part of its text that may reach beyond the match."""
    start = match.start() if start is None else start
    end = match.end() if end is None else end
    return Fact(match.string[start:end].strip(), start, end, readings, raw=raw, weak=weak)


def collect_facts(
    text: str,
    readers: Iterable[tuple[re.Pattern[str], Callable[[re.Match[str]], Fact | None]]],
    taken: list[tuple[int, int]],
) -> list[Fact]:
    """Return the facts that readers find outside the places taken by earlier readers, and take their places."""
    facts: list[Fact] = []
    for pattern, read_match in readers:
        for match in pattern.finditer(text):
            fact = read_match(match)
            if fact and all(fact.end <= start or end <= fact.start for start, end in taken):
                facts.append(fact)
                taken.append((fact.start, fact.end))
    return facts


def is_preceded_by(match: re.Match[str], context: re.Pattern[str], chars: int = 40) -> bool:
    """Return whether the text in front of a match ends with a pattern."""
    return context.search(match.string, max(0, match.start() - chars), match.start()) is not None
