"""Read the numbers, amounts of money, percentages and measures of a sentence."""

import re
from collections.abc import Sequence
from dataclasses import replace

from pytest_llmops.semantics.checks.quantities import numerals
from pytest_llmops.semantics.checks.quantities.dates import (
    HALF_DAY_HOURS,
    clock_readings,
    slashed_day_readings,
)
from pytest_llmops.semantics.checks.quantities.facts import (
    BARE_NUMBER,
    PREFIX_CURRENCIES,
    UNIT,
    UNITS,
    UNITS_BEFORE_NO_NOUN,
    Fact,
    Reading,
    build_fact,
    collect_facts,
    has_no_noun_after,
    is_preceded_by,
    lookup_unit,
    normalize_unit,
    unit_readings,
)
from pytest_llmops.semantics.checks.quantities.ratios import RATIO, read_ratio

_CURRENCY_PREFIX = "|".join(map(re.escape, PREFIX_CURRENCIES))
_NUMBER = re.compile(
    rf"(?P<before>(?<![A-Za-z])(?:{_CURRENCY_PREFIX})\s?)?"
    rf"(?P<sign>(?<![\w.)])-(?=\d)|\b[Mm]inus\s)?(?:(?<![A-Za-z\u00c0-\u024f\d_.])(?<![A-Za-z]-)(?P<digits>{numerals.NUMBER_DIGITS})(?P<ordinal>(?:st|nd|rd|th)\b)?"
    rf"|(?<!\b[Nn]o )\b(?P<words>(?i:{numerals.NUMBER_WORDS}))\b)"
)
_MAGNITUDE = re.compile(
    r"(?P<glued>[kKMB]|bn|mn)(?![\w])|\s?(?P<word>(?i:hundred|thousand|millions?|billions?|trillion|dozen|lakh|crore|bn|mn|mio|mrd|tsd"
    r"|millionen|milliarden|millones|milioni|milliards)\b|[万萬億亿千百]|тыс|млн|млрд)\.?"
)
_FRACTION = re.compile(
    r"(?i)(?:\b(?:(?P<top>an?|one|[1-9])[ -])?(?P<part>half|halves|thirds?|quarters?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?)\b"
    r"|(?<![\w.,/:%-])(?P<over>\d{1,2})/(?P<under>\d{1,2})(?![\w/:]|[.,-]\d))"
    r"(?P<of>\s(?:of\s)?(?:an?|the)\s)?"
)
_SHARE = re.compile(
    rf"(?i)\b(?P<one>{numerals.NUMBER_WORDS}|\d{{1,3}})\s(?P<how>in|out\sof|of|in\severy|of\severy)\s(?P<all>{numerals.NUMBER_WORDS}|\d{{1,4}})\b(?!\s?%|[.,]\d)"
)
_ORDINAL = re.compile(rf"(?i)\b(?:[2-9]0-)?(?:{'|'.join(numerals.ORDINALS)})\b")
_INDEFINITE = re.compile(r"(?i)\b(?:an?|one full|a full|a whole)\s(?P<unit>[a-z]+)\b")
_TIMES = {"once": 1.0, "twice": 2.0, "thrice": 3.0}
_TIMES_WORD = re.compile(r"(?i)\b(once|twice|thrice)\b")
_ABOUT = re.compile(
    r"(?i)(?:\b(?:about|around|roughly|approximately|approx\.?|nearly|almost|some|circa|ca\.?|an estimated|just (?:under|over)|close to)"
    r"\s|~\s?)[$€£]?\Z"
)
_JOINED = re.compile(r",?\s(?:and\s)?")
_AFTER_PER = re.compile(r"(?i)\b(?:per|each|every)\s\Z")
_AFTER_AT = re.compile(r"(?i)\bat\s\Z")
_IN_YEAR = re.compile(r"(?i)\b(?:in|since|from|until|till|by|before|after|during|year)\s\Z")
ABOUT_CHARS = 20
MAX_WRITTEN_SHARE = 100  # "3 in 10" is a share, "3 in 2025" is not
# 1950 may be a year by itself, 1889 only behind "in"
FIRST_CERTAIN_YEAR = 1900
LAST_CERTAIN_YEAR = 2099
OLDEST_YEAR = 1000
MAX_UNDER = 20  # "2/32" is a price of a bond
COUNTABLE_DIMENSIONS = frozenset({"time", "length", "mass", "volume"})  # "an hour", but not "a degree"
MIN_UNIT_LETTERS = 3  # of a unit behind "a"


def read_measures(text: str, taken: list[tuple[int, int]]) -> list[Fact]:
    """Return the numbers, money, percentages and measures of a sentence, in its order.

    Args:
        text: The sentence.
        taken: The spans that other facts have, which are left out; the spans of the new facts are added.
    """
    facts = collect_facts(text, READERS, taken)
    facts.sort(key=lambda fact: fact.start)
    for number, fact in enumerate(facts):
        if _ABOUT.search(text, max(0, fact.start - ABOUT_CHARS), fact.start):
            facts[number] = replace(fact, rough=True)
    return _merge_compound_measures(text, facts)


def _read_share(match: re.Match[str]) -> Fact | None:
    """Read "one in five" and "3 out of 10"."""
    top = numerals.parse_number(match["one"])
    whole = numerals.parse_number(match["all"])
    if not 0 < top < whole:
        return None
    preposition = match["how"].lower()
    may_be_year = match["one"].isdigit() and preposition in {"in", "of"}
    if whole > MAX_WRITTEN_SHARE and may_be_year:
        return None
    unit = UNIT.match(match.string, match.end())
    if unit:
        name = unit["unit"]
        if lookup_unit(name) or name[0].isupper():
            return None
    return build_fact(match, Reading("percent", top / whole, "share"))


def _read_fraction(match: re.Match[str]) -> Fact | None:
    """Read "two thirds" and "2/3" as a share, and "half an hour", "a quarter of a mile" and "3/4 cup" as measures."""
    share = _share_of_fraction(match)
    if share is None:
        return None
    part = (match["part"] or "").lower()
    of = match["of"]
    unit = None
    if not of or of.strip():
        unit = UNIT.match(match.string, match.end())
    may_measure = of is not None or part in {"half", ""}
    if unit and len(unit["unit"]) > 1 and may_measure:
        readings = [meaning.to_reading(share) for meaning in lookup_unit(unit["unit"])]
        if readings:
            return build_fact(match, *readings, end=unit.end(), raw=share)
    # "Quarter past nine" is a time, and no share.
    end = match.end()
    following = match.string[end : end + 7].strip().lower()
    if following.startswith(("past", "to ")):
        return None
    reading = Reading("percent", share, "share")
    if not part:
        dates = slashed_day_readings(int(match["over"]), int(match["under"]))
        return build_fact(match, reading, *dates, end=match.end("under"))
    return build_fact(match, reading, end=match.end("part"), weak=not match["top"])


def _share_of_fraction(match: re.Match[str]) -> float | None:
    """Return the number that a match of `_FRACTION` means; None if it is none: "third" without a count, "24/7"."""
    if match["part"]:
        part = match["part"].lower()
        top = (match["top"] or "").lower()
        if not top and part not in {"half", "quarter"}:
            return None
        if top in {"", "a", "an"}:
            return 1 / numerals.FRACTION_PARTS[part]
        return numerals.parse_number(top) / numerals.FRACTION_PARTS[part]
    over = int(match["over"])
    under = int(match["under"])
    if 0 < over < under <= MAX_UNDER:
        return over / under
    return None


def _read_number(match: re.Match[str]) -> Fact | None:
    """Read a number with its magnitude ("5 million"), and its currency or unit if it has one; also "3rd"."""
    if match["digits"]:
        values = numerals.read_digits(match["digits"])
    else:
        values = (numerals.parse_number(match["words"]),)
    if not values:
        return None
    if match["ordinal"]:
        return build_fact(match, Reading("ordinal", values[0]), raw=values[0])
    if match["sign"]:
        values = tuple(-value for value in values)
    end = match.end()
    # Readings with the magnitude, where the letter may also be a unit
    scaled: list[Reading] = []
    magnitude = _MAGNITUDE.match(match.string, end)
    if magnitude and not (magnitude["word"] and match["words"]):
        scale = _read_magnitude(magnitude)
        if magnitude["glued"] in {"M", "B", "K"} and not match["before"]:
            # "5M" may be five million, or five metres.
            scaled = [Reading(BARE_NUMBER, value * scale) for value in values]
        else:
            values = tuple(value * scale for value in values)
            end = magnitude.end()
    if match["before"]:
        currency = UNITS[match["before"].strip()][0].dim
        readings = [Reading(currency, value, currency) for value in values]
        return build_fact(match, *readings, end=end, raw=values[0])
    return _read_unit_after_number(match, end, values, scaled) or _bare_number_fact(match, end, values)


def _read_magnitude(match: re.Match[str]) -> float:
    if match["glued"]:
        return numerals.MAGNITUDES[match["glued"]]
    return numerals.MAGNITUDES[match["word"].lower()]


def _read_unit_after_number(
    match: re.Match[str], end: int, values: Sequence[float], extra: Sequence[Reading]
) -> Fact | None:
    """Return the fact of a number and the unit behind it; None if neither a unit nor an extra reading follows.

    Args:
        match: A match of `_NUMBER`.
        end: The end of the number and its magnitude.
        values: The possible values of the number.
        extra: Readings without a unit, in which the letter behind the number is a magnitude ("5M").
    """
    unit = UNIT.match(match.string, end)
    if unit is None:
        return None
    name = normalize_unit(unit["unit"])
    is_glued = not unit["gap"]
    if name in UNITS_BEFORE_NO_NOUN and not _is_unit_letter(match, unit, name):
        name = ""
    first_word = re.split(r"[ /]", name)[0]
    # The whole name ("square metres"), else its first word, each with its end
    ends = {name: unit.end()}
    ends.setdefault(first_word, unit.start("unit") + len(first_word))
    for candidate, unit_end in ends.items():
        readings = unit_readings(values, candidate, glued=is_glued)
        if readings:
            return build_fact(match, *readings, *extra, end=unit_end, raw=values[0])
    if extra:
        return build_fact(match, *extra, end=unit.end(), raw=values[0])
    return None


def _is_unit_letter(match: re.Match[str], unit: re.Match[str], letter: str) -> bool:
    """Return whether a letter behind a number is a unit: not the "K" of "300K users", nor the "A" of "3 A levels"."""
    if not unit["gap"]:
        return letter != "K"
    return not match["words"] and has_no_noun_after(match.string, unit.end())


def _bare_number_fact(match: re.Match[str], end: int, values: Sequence[float]) -> Fact:
    """Return the fact of a number without a unit; it may also be a year, an hour or a share."""
    value = values[0]
    words = (match["words"] or "").lower()
    is_integer = (match["digits"] or "").isdigit()
    readings = [Reading(BARE_NUMBER, number) for number in values]
    if is_integer and len(values) == 1 and _may_be_year(match, value):
        readings.append(Reading("date", (int(value), None, None)))
    elif is_integer and _may_be_hour(match, end, value):
        readings += clock_readings(int(value))
    elif 0 < value < 1:
        readings.append(Reading("percent", value, "share"))
    return build_fact(match, *readings, end=end, raw=value, weak=words in {"one", "zero"})


def _may_be_year(match: re.Match[str], value: float) -> bool:
    """Return whether a number may be a year: from 1900 to 2099, or older behind a word like "in"."""
    if FIRST_CERTAIN_YEAR <= value <= LAST_CERTAIN_YEAR:
        return True
    return OLDEST_YEAR <= value < FIRST_CERTAIN_YEAR and is_preceded_by(match, _IN_YEAR)


def _may_be_hour(match: re.Match[str], end: int, value: float) -> bool:
    """Return whether a number is an hour, as in "at 5", but not in "at 5 shops"."""
    if not 1 <= value <= HALF_DAY_HOURS or not is_preceded_by(match, _AFTER_AT):
        return False
    return has_no_noun_after(match.string, end)


def _read_times_word(match: re.Match[str]) -> Fact:
    count = _TIMES[match[1].lower()]
    reading = Reading("times", count, "times 1.0")
    return build_fact(match, reading, raw=count, weak=count == 1)


def _read_ordinal(match: re.Match[str]) -> Fact | None:
    if match[0].lower() == "second" and is_preceded_by(match, _AFTER_PER):
        return None  # a unit
    count = float(numerals.parse_ordinal(match[0]))
    # "first" and "second" order statements as often as they count things.
    return build_fact(match, Reading("ordinal", count), raw=count, weak=count <= 2)  # noqa: PLR2004


def _read_indefinite_unit(match: re.Match[str]) -> Fact | None:
    """Read "an hour" and "a full day"."""
    name = match["unit"].lower()
    if len(name) < MIN_UNIT_LETTERS:
        return None
    units = [unit for unit in lookup_unit(name) if unit.dim in COUNTABLE_DIMENSIONS]
    if not units:
        return None
    readings = [unit.to_reading(1.0) for unit in units]
    return build_fact(match, *readings, raw=1.0, weak=True)


# Patterns of measures, and what reads their matches, in order of precedence
READERS = (
    (numerals.MIXED_NUMBER, numerals.read_mixed_number),
    (numerals.LONG_CODE, numerals.read_long_code),
    (RATIO, read_ratio),
    (_SHARE, _read_share),
    (_FRACTION, _read_fraction),
    (_NUMBER, _read_number),
    (_TIMES_WORD, _read_times_word),
    (_ORDINAL, _read_ordinal),
    (_INDEFINITE, _read_indefinite_unit),
)


def _merge_compound_measures(text: str, facts: list[Fact]) -> list[Fact]:
    """Return the facts with "1 hour 30 minutes" and "2 dollars and 50 cents" as a single fact; they are in order."""
    merged: list[Fact] = []
    for fact in facts:
        if not merged:
            merged.append(fact)
            continue
        last = merged[-1]
        total = None
        if _JOINED.fullmatch(text[last.end : fact.start]):
            total = last.sum_with(fact)
        if total is None:
            merged.append(fact)
            continue
        whole = text[last.start : fact.end]
        merged[-1] = Fact(whole, last.start, fact.end, (total,), rough=last.rough)
    return merged
