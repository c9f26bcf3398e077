"""Facts: values that two texts may state in different forms ("two days", "48 h"), and the units they are measured in."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, TypeAlias

from pytest_llmops.semantics.word_lists.reader import english_words, read_lines

DateParts: TypeAlias = "tuple[int | None, int | None, int | None]"

# Relative, in the same unit: the rounding of a float, and less than a digit of a code
EXACT_TOLERANCE = 1e-15
TEMPERATURE_TOLERANCE = 1e-9  # absolute, in degrees: 32 °F are 0 °C but for a rounding
CONVERSION_TOLERANCE = 0.03  # relative, in another unit: 5 miles are 8 km, and nobody writes 8.047
ROUGH_TOLERANCE = 0.1  # relative, for a month in days or weeks, and for "about 30"
BARE_NUMBER = "number"
SMALL_MONEY = "money small"  # cents and the like
# Dimensions whose units convert without a remainder
EXACT_DIMENSIONS = frozenset({"time", "data", "clock", "working time"})
ROUGH_UNITS = frozenset({"month", "year"})


class Reading(NamedTuple):
    """One possible meaning of a fact: "1.234" has two, 1234 and 1.234.

    Attributes:
        dim: The measured dimension: ``number``, ``percent``, ``time``, ``length``, ``money USD``, ``date`` ...
        value: In the base unit of the dimension; a date as (year, month, day) with None for a part that is not
            stated.
        unit: The unit it is written in.
    """

    dim: str
    value: float | DateParts
    unit: str = ""

    @property
    def amount(self) -> float:
        """The value as a number, to sort by; 0.0 for dates and long codes, whose values are tuples."""
        if isinstance(self.value, tuple):
            return 0.0
        return self.value

    @property
    def is_large_money(self) -> bool:
        """Whether it is an amount in a currency like dollars, and not in its hundredths like cents."""
        return self.dim.startswith("money ") and self.dim != SMALL_MONEY

    def agrees_with(self, other: Reading, *, rough: bool) -> bool:
        """Return whether both are the same value, within the tolerance of their units.

        Dates are the same if the parts that both state are; "2025" and "3 March" have no such part and differ.

        Args:
            other: The other reading.
            rough: Whether one of the values is approximate, which widens the tolerance.
        """
        if self.dim != other.dim:
            return False
        if isinstance(self.value, tuple) or isinstance(other.value, tuple):
            shared = self._shared_parts(other)
            return bool(shared) and all(part == other_part for part, other_part in shared)
        tolerance = self._conversion_tolerance(other)
        if rough:
            tolerance = max(tolerance, ROUGH_TOLERANCE)
        larger = max(abs(self.value), abs(other.value))
        margin = tolerance * larger
        if self.dim == "temperature":
            margin += TEMPERATURE_TOLERANCE
        return abs(self.value - other.value) <= margin

    def _conversion_tolerance(self, other: Reading) -> float:
        """Return by which share two values of a dimension may differ, as their units may be converted and rounded."""
        if self.unit == other.unit:
            return EXACT_TOLERANCE
        if self.dim == "time" and not ROUGH_UNITS.isdisjoint({self.unit, other.unit}):
            return ROUGH_TOLERANCE
        # Hours and days, grams and kilograms convert exactly; miles and kilometres do not.
        if self.dim in EXACT_DIMENSIONS or self.dim.startswith("money"):
            return EXACT_TOLERANCE
        return CONVERSION_TOLERANCE

    def is_comparable_with(self, other: Reading) -> bool:
        """Return whether both measure the same thing, so that different values contradict each other."""
        if self.dim.startswith("money") and other.dim.startswith("money"):
            return True
        if self.dim != other.dim:
            return False
        if isinstance(self.value, tuple) and isinstance(other.value, tuple):
            return bool(self._shared_parts(other))
        return True

    def _shared_parts(self, other: Reading) -> list[tuple[int, int]]:
        """Return the parts that both dates state, as pairs: year with year, month with month, day with day."""
        if not isinstance(self.value, tuple) or not isinstance(other.value, tuple):
            return []
        shared = []
        for part, other_part in zip(self.value, other.value, strict=True):
            if part is not None and other_part is not None:
                shared.append((part, other_part))
        return shared


@dataclass(frozen=True, slots=True)
class Fact:
    """A place of a text that states a value.

    Attributes:
        text: As written.
        start: Place in the sentence.
        end: Place behind it.
        readings: All that it may mean, at least one: "1.234" is a thousand and more, or a bit more than 1.
        raw: The number without its unit; None where there is none.
        weak: It can confirm a value, but it never contradicts one: "a day", "one".
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
        """Whether it is a date like 3/4/2025, in which the day or the month may come first."""
        if len(self.readings) <= 1:
            return False
        return all(reading.dim == "date" for reading in self.readings)

    def sum_with(self, smaller: Fact) -> Reading | None:
        """Return the sum of "1 hour" and "30 minutes", or of "2 dollars" and "50 cents"; None if they do not add up.

        Args:
            smaller: The measure that follows; less than one unit of this fact.
        """
        for reading, part in product(self.readings, smaller.readings):
            if not isinstance(reading.value, float) or not isinstance(part.value, float):
                continue
            total = reading.value + part.value
            if reading.dim == part.dim == "time" and reading.unit != part.unit:
                # One hour in seconds; without a number (or with 0) the value itself is the unit.
                larger_unit = reading.value / (self.raw or reading.value or 1.0)
                if part.value < larger_unit:
                    return part._replace(value=total)
            elif reading.is_large_money and part.dim == SMALL_MONEY and part.value < 1:
                return reading._replace(value=total)
        return None


def are_same_value(fact: Fact, other: Fact) -> bool:
    """Return whether both facts can mean the same value; "30" may mean "30 days"."""
    if fact.is_ambiguous_date and other.is_ambiguous_date:
        # Nobody knows the order of day and month, but both texts surely use the same.
        return fact.readings[0] == other.readings[0]
    rough = fact.rough or other.rough
    for reading, other_reading in product(fact.readings, other.readings):
        if reading.agrees_with(other_reading, rough=rough):
            return True
    return _have_same_numeral(fact, other) and BARE_NUMBER in fact.dims | other.dims


def are_comparable(fact: Fact, other: Fact) -> bool:
    """Return whether both facts state a value of the same kind, so that different values contradict each other.

    The same number with different units counts as well: "5 days", "5 kg".
    """
    is_one_a_date = ("date" in fact.dims) != ("date" in other.dims)
    if is_one_a_date and BARE_NUMBER in fact.dims & other.dims:
        return False  # a year, and a number of something
    for reading, other_reading in product(fact.readings, other.readings):
        if reading.is_comparable_with(other_reading):
            return True
    return _have_same_numeral(fact, other) and BARE_NUMBER not in fact.dims | other.dims


def _have_same_numeral(fact: Fact, other: Fact) -> bool:
    return fact.raw is not None and fact.raw == other.raw


def build_fact(
    match: re.Match[str],
    *readings: Reading,
    start: int | None = None,
    end: int | None = None,
    raw: float | None = None,
    weak: bool = False,
) -> Fact:
    """Return a fact with the text of a match.

    Args:
        match: A match in the sentence.
        readings: The readings, at least one.
        start: Start of the fact in the sentence, if it differs from the start of the match.
        end: End of the fact, which may be beyond the match: a unit behind a number.
        raw: As in `Fact`.
        weak: As in `Fact`.
    """
    if start is None:
        start = match.start()
    if end is None:
        end = match.end()
    text = match.string[start:end].strip()
    return Fact(text, start, end, readings, raw=raw, weak=weak)


def collect_facts(
    text: str,
    readers: Iterable[tuple[re.Pattern[str], Callable[[re.Match[str]], Fact | None]]],
    taken: list[tuple[int, int]],
) -> list[Fact]:
    """Return the facts that readers find, reader by reader; a later reader does not get text that an earlier one has read.

    Args:
        text: The sentence.
        readers: Patterns, each with a function that turns a match into a fact, or None if it is none.
        taken: The spans that facts have already, which are left out; the spans of the new facts are added.
    """
    facts: list[Fact] = []
    for pattern, read_match in readers:
        for match in pattern.finditer(text):
            fact = read_match(match)
            if fact is None:
                continue
            if any(fact.start < end and start < fact.end for start, end in taken):
                continue
            facts.append(fact)
            taken.append((fact.start, fact.end))
    return facts


def is_preceded_by(match: re.Match[str], context: re.Pattern[str], chars: int = 40) -> bool:
    """Return whether the text in front of a match ends with a pattern."""
    end = match.start()
    start = max(0, end - chars)
    return context.search(match.string, start, end) is not None


class Unit(NamedTuple):
    """A meaning of the name of a unit.

    Attributes:
        dim: The measured dimension, as in `Reading`.
        factor: How many base units it is.
        name: A name of its own, the same for all spellings ("h", "hours").
    """

    dim: str
    factor: float
    name: str

    def to_reading(self, value: float) -> Reading:
        """Return the reading of a number of units.

        >>> Unit("time", 60.0, "minute").to_reading(2.0)
        Reading(dim='time', value=120.0, unit='minute')
        """
        return Reading(self.dim, value * self.factor, self.name)


ROUGH_NAMES = {2629746.0: "month", 31556952.0: "year"}


def _read_units() -> dict[str, list[Unit]]:
    """Return the meanings of each unit by its names, from ``units.txt``: dimension, base units, names."""
    units: dict[str, list[Unit]] = {}
    for line in read_lines("units.txt"):
        dim, number, *names = line.split()
        dim = dim.replace("_", " ")
        factor = float(number)
        unit_name = ROUGH_NAMES.get(factor, f"{dim} {factor}")
        unit = Unit(dim, factor, unit_name)
        for name in names:
            units.setdefault(name.replace("-", " "), []).append(unit)
    return units


UNITS = _read_units()  # case matters where both spellings exist (Mb, MB)

# Too short to be a unit with a blank in front: "5 a day", "7 x"
GLUED_ONLY = frozenset({"d", "y", "mo", "c", "p", "x", "t", "B", "an", "mes", "dag"})
# Units also behind a blank, unless a noun follows: "3 A", but not "3 A levels"
UNITS_BEFORE_NO_NOUN = frozenset({"s", "A", "K"})
MAX_CASED_LETTERS = 2  # case matters in units up to this length
# Currencies that are written in front of the number, too
PREFIX_CURRENCIES = (
    "US$", "A$", "C$", "$", "€", "£", "¥", "₹", "₽", "USD", "EUR", "GBP", "CHF", "JPY", "CAD", "AUD", "INR", "CNY",
)  # fmt: skip
# What may be a unit behind a number; it also matches any other word, and `lookup_unit` decides
UNIT = re.compile(
    r"(?P<gap>[ -]?|)(?P<unit>(?:calendar |full |whole |more )?(?:"
    r"(?i:business|working|basis|nautical|light|square|cubic|percentage|per|por|pour|US|canadian|australian|kilowatt|megawatt|degrees?|"
    r"kilomet(?:re|er)s per|miles per|met(?:re|er)s per)[ -][A-Za-z]+|°\s?[CF]?|US\$"
    r"|(?:km|m|[kKMG][Bb]|[kMG]bit|[mμ]?g|[nmμ]?mol)/(?:h|s|d?[lL]|m[lL])(?![^\W_])"
    r"|[A-Za-zμ]{1,2}[²³23](?!\d)|[%‰$€£¥₹₽¢×天日元]|[^\W\d_]+))"
)
_WORD = re.compile(r"\s?([^\W\d_]+)")
_NON_NOUNS = english_words("non_nouns")


def has_no_noun_after(text: str, end: int) -> bool:
    """Return whether what follows at a position is not a noun, so that a unit or an hour ends there.

    >>> has_no_noun_after("It draws 3 A.", 12), has_no_noun_after("She has 3 A levels.", 11)
    (True, False)
    """
    following = _WORD.match(text, end)
    return following is None or following[1].lower() in _NON_NOUNS


def normalize_unit(unit: str) -> str:
    """Return the name to look a unit up by: without "full" and "whole", superscripts as digits.

    >>> normalize_unit("full square-metres"), normalize_unit("m³")
    ('square metres', 'm3')
    """
    name = " ".join(unit.split())
    for word in ("calendar ", "full ", "whole ", "more "):
        name = name.removeprefix(word)
    return unicodedata.normalize("NFKC", name.replace("-", " "))


def lookup_unit(name: str, *, glued: bool = False) -> list[Unit]:
    """Return the meanings of a unit, none for other words; ``glued``: there is no blank in front of it.

    >>> lookup_unit("hours")
    [Unit(dim='time', factor=3600.0, name='time 3600.0')]
    """
    if not glued and name in GLUED_ONLY:
        return []
    if name in UNITS:
        return UNITS[name]
    if len(name) > MAX_CASED_LETTERS:
        return UNITS.get(name.lower(), [])
    return []


_TEMPERATURE_SCALES = {
    "°c": "C", "°celsius": "C", "celsius": "C", "°f": "F", "°fahrenheit": "F", "fahrenheit": "F", "°": "?", "kelvin": "K", "kelvins": "K",
}  # fmt: skip
_TO_CELSIUS = {"C": (1.0, 0.0), "F": (5 / 9, -160 / 9), "?": (1.0, 0.0), "K": (1.0, -273.15)}


def unit_readings(values: Sequence[float], name: str, *, glued: bool) -> list[Reading]:
    """Return the readings of numbers with a unit; none if no unit has that name. Temperatures are in Celsius.

    >>> unit_readings([2.0], "hours", glued=False), unit_readings([300.0], "K", glued=True)
    ([Reading(dim='time', value=7200.0, unit='time 3600.0')], [Reading(dim='temperature', value=26.850000000000023, unit='K')])
    """
    bare = name.lower().replace("degrees", "°").replace("degree", "°").replace(" ", "")
    scale = _TEMPERATURE_SCALES.get(bare, "")
    if name == "K":
        scale = "K"
    if scale:
        factor, offset = _TO_CELSIUS[scale]
        return [Reading("temperature", value * factor + offset, scale) for value in values]
    return [unit.to_reading(value) for unit in lookup_unit(name, glued=glued) for value in values]
