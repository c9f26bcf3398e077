"""Facts with a value: what two texts state that can be compared in spite of another spelling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

Parts: TypeAlias = "tuple[int | None, int | None, int | None]"

EXACT = 1e-15
"""Of a value in one unit: what a float may be off by, and no digit of a code."""
NEAR_ZERO = 1e-9
"""Between degrees, that are no difference: 32 °F are 0 °C but for a rounding."""
CONVERTED = 0.03
"""Of a value in another unit: 5 miles are 8 km, and nobody says 8.047."""
ROUGH = 0.1
"""Of a month in days or weeks, and of a value that is said to be about so much."""
BARE = "number"
EXACTLY = frozenset({"time", "data", "clock", "working time"})
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
    value: float | Parts
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
        return frozenset(one.dim for one in self.readings)

    @property
    def doubtful(self) -> bool:
        """Is it a date like 3/4/2025, of which nobody knows the order?"""
        return len(self.readings) > 1 and all(one.dim == "date" for one in self.readings)


def same(one: Fact, other: Fact) -> bool:
    """Can both mean the same value? A bare numeral agrees with the same numeral that has a unit."""
    if one.doubtful and other.doubtful:
        # Day and month in either order, but surely the same order in both.
        return one.readings[0] == other.readings[0]
    rough = one.rough or other.rough
    if any(_agree(a, b, rough=rough) for a in one.readings for b in other.readings):
        return True
    bare = BARE in one.dims or BARE in other.dims
    return bare and one.raw is not None and other.raw is not None and one.raw == other.raw


def _agree(a: Reading, b: Reading, *, rough: bool) -> bool:
    if a.dim != b.dim:
        return False
    if isinstance(a.value, tuple) or isinstance(b.value, tuple):
        return isinstance(a.value, tuple) and isinstance(b.value, tuple) and _dates_agree(a.value, b.value)
    slack = EXACT
    if a.unit != b.unit:
        slack = ROUGH if ROUGH_UNITS & {a.unit, b.unit} and a.dim == "time" else _converted(a)
    slack = max(slack, ROUGH if rough else 0)
    zero = NEAR_ZERO if a.dim == "temperature" else 0.0
    return abs(a.value - b.value) <= slack * max(abs(a.value), abs(b.value)) + zero


def _converted(a: Reading) -> float:
    # Hours and days, grams and kilograms convert exactly; miles and kilometres do not.
    return EXACT if a.dim in EXACTLY or a.dim.startswith("money") else CONVERTED


def _dates_agree(a: Parts, b: Parts) -> bool:
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    return bool(pairs) and all(x == y for x, y in pairs)


def comparable(one: Fact, other: Fact) -> bool:
    """Do both state a value of the same kind, so that unlike values contradict each other?"""
    if ("date" in one.dims) != ("date" in other.dims) and BARE in one.dims & other.dims:
        return False  # a year, and a number of something
    if any(_comparable(a, b) for a in one.readings for b in other.readings):
        return True
    return one.raw is not None and one.raw == other.raw and BARE not in one.dims | other.dims


def _comparable(a: Reading, b: Reading) -> bool:
    if a.dim.startswith("money") and b.dim.startswith("money"):
        return True
    if a.dim != b.dim:
        return False
    if isinstance(a.value, tuple) and isinstance(b.value, tuple):
        return any(x is not None and y is not None for x, y in zip(a.value, b.value, strict=True))
    return True
