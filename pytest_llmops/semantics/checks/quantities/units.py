"""Units: what they measure, and how many base units they are."""

from __future__ import annotations

import re
import unicodedata

from pytest_llmops.semantics.word_lists import english_words, read_lines

UNITS: dict[str, list[tuple[str, float, str]]] = {}
"""Unit -> the (dimension, factor, name) it may be; case matters where both spellings exist (Mb, MB)."""
ROUGH_NAMES = {2629746.0: "month", 31556952.0: "year"}
for _line in read_lines("units.txt"):
    _dimension, _factor_text, *_names = _line.split()
    _factor = float(_factor_text)
    _dimension = _dimension.replace("_", " ")
    for _name in _names:
        UNITS.setdefault(_name.replace("-", " "), []).append(
            (_dimension, _factor, ROUGH_NAMES.get(_factor, f"{_dimension} {_factor}"))
        )

GLUED_ONLY = frozenset({"d", "y", "mo", "c", "p", "x", "t", "B", "an", "mes", "dag"})
"""Too short to be a unit with a blank in front: "5 a day", "7 x"."""
UNITS_BEFORE_NO_NOUN = frozenset({"s", "A", "K"})
"""Units behind a blank, too, unless a noun follows: "3 A", but "3 A levels"."""
MAX_CASED_LETTERS = 2
"""Units up to this length are told apart by case."""
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
    """Does no noun follow at a place of a text, so that what stands there is a unit, or an hour?

    >>> has_no_noun_after("It draws 3 A.", 12), has_no_noun_after("She has 3 A levels.", 11)
    (True, False)
    """
    following = _WORD.match(text, end)
    return following is None or following[1].lower() in _NON_NOUNS


def normalize_unit(unit: str) -> str:
    """Return a unit as it is looked up: without what says nothing, superscripts as digits.

    >>> normalize_unit("full square-metres"), normalize_unit("m³")
    ('square metres', 'm3')
    """
    name = " ".join(unit.split())
    for word in ("calendar ", "full ", "whole ", "more "):
        name = name.removeprefix(word)
    return unicodedata.normalize("NFKC", name.replace("-", " "))


def lookup_unit(name: str, *, glued: bool) -> list[tuple[str, float, str]]:
    """Return what a unit may be: (dimension, factor, name); nothing for a word that is none.

    >>> lookup_unit("hours", glued=False)
    [('time', 3600.0, 'time 3600.0')]
    """
    if not glued and name in GLUED_ONLY:
        return []
    return UNITS.get(name) or (UNITS.get(name.lower(), []) if len(name) > MAX_CASED_LETTERS else [])


_TEMPERATURE_SCALES = {
    "°c": "C", "°celsius": "C", "celsius": "C", "°f": "F", "°fahrenheit": "F", "fahrenheit": "F", "°": "?", "kelvin": "K", "kelvins": "K",
}  # fmt: skip


def temperature_scale(name: str) -> str:
    """Return the scale that a unit of temperature names, or nothing.

    >>> temperature_scale("°C"), temperature_scale("degrees fahrenheit"), temperature_scale("days")
    ('C', 'F', '')
    """
    if name == "K":
        return "K"
    bare = name.lower().replace("degrees", "°").replace("degree", "°").replace(" ", "")
    return _TEMPERATURE_SCALES.get(bare, "")
