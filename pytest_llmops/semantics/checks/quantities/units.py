"""Units of measures: what they measure, and how many base units they are."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from pytest_llmops.semantics.checks.quantities.facts import Reading
from pytest_llmops.semantics.word_lists import english_words, read_lines


class Unit(NamedTuple):
    """A meaning of the name of a unit.

    Attributes:
        dim: What it measures, as in `Reading`.
        factor: How many base units it is.
        name: The same for all spellings.
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
UNITS: dict[str, list[Unit]] = {}
"""The meanings of a unit; case matters where both spellings exist (Mb, MB)."""
for _line in read_lines("units.txt"):
    _dim, _number, *_names = _line.split()
    _factor, _dim = float(_number), _dim.replace("_", " ")
    for _name in _names:
        _unit = Unit(_dim, _factor, ROUGH_NAMES.get(_factor, f"{_dim} {_factor}"))
        UNITS.setdefault(_name.replace("-", " "), []).append(_unit)

GLUED_ONLY = frozenset({"d", "y", "mo", "c", "p", "x", "t", "B", "an", "mes", "dag"})
"""Too short to be a unit with a blank in front: "5 a day", "7 x"."""
UNITS_BEFORE_NO_NOUN = frozenset({"s", "A", "K"})
"""Units behind a blank, too, unless a noun follows: "3 A", but "3 A levels"."""
MAX_CASED_LETTERS = 2
"""Case matters in units up to this length."""
PREFIX_CURRENCIES = (
    "US$", "A$", "C$", "$", "€", "£", "¥", "₹", "₽", "USD", "EUR", "GBP", "CHF", "JPY", "CAD", "AUD", "INR", "CNY",
)  # fmt: skip
"""Currencies that are written in front of the number, too."""
UNIT = re.compile(
    r"(?P<gap>[ -]?|)(?P<unit>(?:calendar |full |whole |more )?(?:"
    r"(?i:business|working|square|cubic|percentage|per|por|pour|US|canadian|australian|kilowatt|megawatt|degrees?|"
    r"kilomet(?:re|er)s per|miles per|met(?:re|er)s per)[ -][A-Za-z]+|°\s?[CF]?|US\$"
    r"|(?:km|m|[kKMG][Bb]|[kMG]bit|[mμ]?g|[nmμ]?mol)/(?:h|s|d?[lL]|m[lL])(?![^\W_])"
    r"|[A-Za-zμ]{1,2}[²³23](?!\d)|[%‰$€£¥₹₽¢×天日元]|[^\W\d_]+))"
)
"""A unit behind a number, or any other word."""
_WORD = re.compile(r"\s?([^\W\d_]+)")
_NON_NOUNS = english_words("non_nouns")


def has_no_noun_after(text: str, end: int) -> bool:
    """Return whether no noun follows at a place of a text, so that a unit or an hour ends there.

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
    """Return the meanings of a unit, none for other words; ``glued``: no blank stands in front of it.

    >>> lookup_unit("hours")
    [Unit(dim='time', factor=3600.0, name='time 3600.0')]
    """
    if not glued and name in GLUED_ONLY:
        return []
    return UNITS.get(name) or (UNITS.get(name.lower(), []) if len(name) > MAX_CASED_LETTERS else [])


_TEMPERATURE_SCALES = {
    "°c": "C", "°celsius": "C", "celsius": "C", "°f": "F", "°fahrenheit": "F", "fahrenheit": "F", "°": "?", "kelvin": "K", "kelvins": "K",
}  # fmt: skip
_TO_CELSIUS = {"C": (1.0, 0.0), "F": (5 / 9, -160 / 9), "?": (1.0, 0.0), "K": (1.0, -273.15)}


def unit_readings(values: Sequence[float], name: str, *, glued: bool) -> list[Reading]:
    """Return the readings of numbers with a unit, temperatures in degrees Celsius; none without a unit of that name.

    >>> unit_readings([2.0], "hours", glued=False), unit_readings([300.0], "K", glued=True)
    ([Reading(dim='time', value=7200.0, unit='time 3600.0')], [Reading(dim='temperature', value=26.850000000000023, unit='K')])
    """
    bare = name.lower().replace("degrees", "°").replace("degree", "°").replace(" ", "")
    scale = "K" if name == "K" else _TEMPERATURE_SCALES.get(bare)
    if scale:
        factor, offset = _TO_CELSIUS[scale]
        return [Reading("temperature", value * factor + offset, scale) for value in values]
    return [unit.to_reading(value) for unit in lookup_unit(name, glued=glued) for value in values]
