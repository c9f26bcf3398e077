"""Facts with a value: what two texts state that can be compared in spite of another spelling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

DateParts: TypeAlias = "tuple[int | None, int | None, int | None]"

EXACT_TOLERANCE = 1e-15
"""Of a value in one unit: what a float may be off by, and no digit of a code."""
TEMPERATURE_TOLERANCE = 1e-9
"""Between degrees, that are no difference: 32 °F are 0 °C but for a rounding."""
CONVERSION_TOLERANCE = 0.03
"""Of a value in another unit: 5 miles are 8 km, and nobody says 8.047."""
ROUGH_TOLERANCE = 0.1
"""Of a month in days or weeks, and of a value that is said to be about so much."""
BARE_NUMBER = "number"
EXACT_DIMENSIONS = frozenset({"time", "data", "clock", "working time"})
"""Dimensions whose units convert without a remainder."""
ROUGH_UNITS = frozenset({"month", "year"})


class Reading(NamedTuple):
    """One way to read a fact.

    Attributes:
        dim: What is measured: ``number``, ``percent``, ``time``, ``length``, ``money USD``, ``date`` ...
        value: In the base unit of the dimension; a date as (year, month, day) with None for what is not said.
        unit: The unit it is written in.
    """

    dim: str
    value: float | DateParts
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A place of a text that states a value.

    Attributes:
        text: As written.
        start: Place in the sentence.
        end: Place behind it.
        readings: All that it may mean: "1.234" is a thousand and more, or one and a bit.
        raw: Its numeral alone, without the unit; None where there is none.
        weak: It can confirm a value but never contradicts one: "a day", "one".
        rough: "about 30".
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
        """What it may measure."""
        return frozenset(reading.dim for reading in self.readings)

    @property
    def doubtful(self) -> bool:
        """Is it a date like 3/4/2025, of which nobody knows the order?"""
        return len(self.readings) > 1 and all(reading.dim == "date" for reading in self.readings)


def are_same_value(fact: Fact, other_fact: Fact) -> bool:
    """Can both mean the same value? A bare numeral agrees with the same numeral that has a unit."""
    if fact.doubtful and other_fact.doubtful:
        # Day and month in either order, but surely the same order in both.
        return fact.readings[0] == other_fact.readings[0]
    rough = fact.rough or other_fact.rough
    if any(
        _readings_agree(reading, other_reading, rough=rough)
        for reading in fact.readings
        for other_reading in other_fact.readings
    ):
        return True
    bare = BARE_NUMBER in fact.dims or BARE_NUMBER in other_fact.dims
    return bare and fact.raw is not None and other_fact.raw is not None and fact.raw == other_fact.raw


def _readings_agree(reading: Reading, other: Reading, *, rough: bool) -> bool:
    if reading.dim != other.dim:
        return False
    if isinstance(reading.value, tuple) or isinstance(other.value, tuple):
        return (
            isinstance(reading.value, tuple)
            and isinstance(other.value, tuple)
            and _dates_agree(reading.value, other.value)
        )
    tolerance = EXACT_TOLERANCE
    if reading.unit != other.unit:
        tolerance = (
            ROUGH_TOLERANCE
            if ROUGH_UNITS & {reading.unit, other.unit} and reading.dim == "time"
            else _conversion_tolerance(reading)
        )
    tolerance = max(tolerance, ROUGH_TOLERANCE if rough else 0)
    absolute_tolerance = TEMPERATURE_TOLERANCE if reading.dim == "temperature" else 0.0
    return (
        abs(reading.value - other.value)
        <= tolerance * max(abs(reading.value), abs(other.value)) + absolute_tolerance
    )


def _conversion_tolerance(reading: Reading) -> float:
    # Hours and days, grams and kilograms convert exactly; miles and kilometres do not.
    return (
        EXACT_TOLERANCE
        if reading.dim in EXACT_DIMENSIONS or reading.dim.startswith("money")
        else CONVERSION_TOLERANCE
    )


def _dates_agree(parts: DateParts, other_parts: DateParts) -> bool:
    pairs = [(x, y) for x, y in zip(parts, other_parts, strict=True) if x is not None and y is not None]
    return bool(pairs) and all(x == y for x, y in pairs)


def are_comparable(fact: Fact, other_fact: Fact) -> bool:
    """Do both state a value of the same kind, so that unlike values contradict each other?"""
    if ("date" in fact.dims) != ("date" in other_fact.dims) and BARE_NUMBER in fact.dims & other_fact.dims:
        return False  # a year, and a number of something
    if any(
        _readings_comparable(reading, other_reading)
        for reading in fact.readings
        for other_reading in other_fact.readings
    ):
        return True
    return (
        fact.raw is not None and fact.raw == other_fact.raw and BARE_NUMBER not in fact.dims | other_fact.dims
    )


def _readings_comparable(reading: Reading, other: Reading) -> bool:
    if reading.dim.startswith("money") and other.dim.startswith("money"):
        return True
    if reading.dim != other.dim:
        return False
    if isinstance(reading.value, tuple) and isinstance(other.value, tuple):
        return any(x is not None and y is not None for x, y in zip(reading.value, other.value, strict=True))
    return True
