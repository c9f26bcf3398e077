"""Numbers with a form of their own: telephone numbers, decades, "two and a half", and codes too long for a float."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pytest_llmops.guards import numerals, scales
from pytest_llmops.guards.facts import BARE, Fact, Reading

_PHONE = re.compile(
    r"(?<![\w.,/-])(?P<plus>\+)?(?:\(\d{1,5}\)|\d{1,5})(?:[ -]?\(\d{1,4}\))?(?:[ .-]\d{2,5}){1,5}(?![\w/-]|[.,]\d)"
)
_CALLED = re.compile(
    r"(?i)\b(?:call|dial|phone|ring|tel|telephone|fax|hotline|text|whatsapp)\b[^.!?\d]{0,20}\Z"
)
MIN_PHONE, MAX_PHONE, MIN_GROUPS, CONTEXT = 7, 15, 3, 40
MAX_COUNTRY = 3
_DECADE = re.compile(
    r"(?i)\b(?:the|early|late|mid)[ -](?:early |late |mid-?)?\'?(?P<year>(?:1[5-9]|20)?\d0)\'?s\b"
)
_NINETIES = re.compile(
    r"(?i)\b(?:the|early|late|mid)[ -](?P<tens>twenties|thirties|forties|fifties|sixties|seventies|eighties|nineties)\b"
)
CENTURIES, FULL_YEAR = (1900, 2000), 4
_MIXED = re.compile(
    rf"(?i)\b(?P<whole>{numerals.WORDS}|\d{{1,6}})\s(?:and\s(?:an?|one)\s(?P<part>half|quarter)|(?P<top>[123])/(?P<low>[234]))\b"
)
_LONG = re.compile(r"(?<![\w.,-])\d{15,}(?!\w|[.,-]\d)")
KEPT = 1_000
"""Digits of either end of a code that are compared, beside its length."""


def phones(text: str) -> Iterator[Fact]:
    """Yield telephone numbers, whatever stands between their groups."""
    for one in _PHONE.finditer(text):
        digits = re.sub(r"\D", "", one[0])
        groups = len(re.findall(r"\d+", one[0]))
        called = _CALLED.search(text, max(0, one.start() - CONTEXT), one.start())
        marked = one["plus"] or "(" in one[0] or (groups >= MIN_GROUPS and "-" in one[0])
        if not MIN_PHONE <= len(digits) <= MAX_PHONE or not (called or marked):
            continue
        # A country's code may be left out.
        numbers = [digits] + [digits[n:] for n in range(1, MAX_COUNTRY + 1) if one["plus"]]
        readings = tuple(Reading("phone", float(number)) for number in numbers)
        yield Fact(one[0], *one.span(), readings, raw=float(digits))


def decades(text: str) -> Iterator[Fact]:
    """Yield decades: "the 90s", "the nineties" and "the 1990s"; "the 30s timeout" may be seconds too."""
    for one in _DECADE.finditer(text):
        year = int(one["year"])
        if len(one["year"]) == FULL_YEAR:
            yield _decade(one, "year", [year])
        else:
            seconds = Reading("time", float(year), "time 1.0")
            yield _decade(one, "year", [century + year for century in CENTURIES], seconds)
    for one in _NINETIES.finditer(text):
        tens = numerals.TENS[one["tens"].lower().removesuffix("ies") + "y"]
        yield _decade(one, "tens", [century + tens for century in CENTURIES])


def _decade(one: re.Match[str], group: str, years: list[int], *more: Reading) -> Fact:
    start, end = one.start(group), one.end()
    shown = one.string[start:end]
    return Fact(shown, start, end, (*(Reading("decade", float(year)) for year in years), *more))


def mixed(text: str) -> Iterator[Fact]:
    """Yield "two and a half kilos" and "2 1/2 kilos"."""
    for one in _MIXED.finditer(text):
        shown = one["whole"].lower()
        part = int(one["top"]) / int(one["low"]) if one["top"] else 1 / numerals.PARTS[one["part"].lower()]
        value = (float(shown) if shown.isdigit() else numerals.spoken(shown)) + part
        unit = scales.UNIT.match(text, one.end())
        known = scales.lookup(scales.named(unit["unit"]), glued=False) if unit else []
        end = unit.end() if unit and known else one.end()
        readings = [Reading(dim, value * factor, name) for dim, factor, name in known]
        yield Fact(
            text[one.start() : end], one.start(), end, tuple(readings) or (Reading(BARE, value),), raw=value
        )


def codes(text: str) -> Iterator[Fact]:
    """Yield digits that a float would round, to be compared one by one."""
    for one in _LONG.finditer(text):
        digits = one[0].lstrip("0") or "0"
        value = (int(digits[:KEPT]), len(digits), int(digits[-KEPT:]))
        yield Fact(one[0], *one.span(), (Reading(BARE, value),))


READERS = (phones, decades, mixed, codes)
