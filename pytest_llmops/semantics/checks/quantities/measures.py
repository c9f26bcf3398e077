"""Read the numbers, amounts of money, percentages and measures of a sentence."""

import re
from collections.abc import Sequence
from dataclasses import replace

from pytest_llmops.semantics.checks.quantities import dates, numerals
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
    r"(?i)\b(?:(?P<top>an?|one|[1-4])[ -])?(?P<part>half|halves|thirds?|quarters?|fourth|fifths?|sixth|eighths?|tenths?)\b"
    r"(?P<of>\s(?:of\s)?(?:an?|the)\s)?"
)
_SHARE = re.compile(
    rf"(?i)\b(?P<one>{numerals.NUMBER_WORDS}|\d{{1,3}})\s(?P<how>in|out\sof|of|in\severy|of\severy)\s(?P<all>{numerals.NUMBER_WORDS}|\d{{1,4}})\b(?!\s?%|[.,]\d)"
)
_ORDINAL = re.compile(rf"(?i)\b(?:[2-9]0-)?(?:{'|'.join(numerals.ORDINALS)})\b")
_INDEFINITE = re.compile(r"(?i)\b(?:an?|one full|a full|a whole)\s(?P<unit>[a-z]+)\b")
_TIMES_WORD = re.compile(r"(?i)\b(once|twice|thrice)\b")
_ABOUT = re.compile(
    r"(?i)(?:\b(?:about|around|roughly|approximately|approx\.?|nearly|almost|some|circa|ca\.?|an estimated|just (?:under|over)|close to)"
    r"\s|~\s?)[$€£]?\Z"
)
_JOINED = re.compile(r",?\s(?:and\s)?")
_AFTER_AT = re.compile(r"(?i)\bat\s\Z")
_IN_YEAR = re.compile(r"(?i)\b(?:in|since|from|until|till|by|before|after|during|year)\s\Z")
ABOUT_CHARS = 20
MAX_WRITTEN_SHARE = 100  # "3 in 10" is a share, "3 in 2025" is not
# 1950 may be a year by itself, 1889 only behind "in"
FIRST_CERTAIN_YEAR, LAST_CERTAIN_YEAR, OLDEST_YEAR = 1900, 2099, 1000


def read_measures(text: str, taken: list[tuple[int, int]]) -> list[Fact]:
    """Return the measures of a sentence, in order, outside the places that are taken, and take theirs."""
    facts = []
    for fact in sorted(collect_facts(text, READERS, taken), key=lambda fact: fact.start):
        about = _ABOUT.search(text, max(0, fact.start - ABOUT_CHARS), fact.start)
        facts.append(replace(fact, rough=True) if about else fact)
    return _merge_compound_measures(text, facts)


def _read_share(match: re.Match[str]) -> Fact | None:
    # Read "one in five" and "3 out of 10".
    top, whole = numerals.parse_number(match["one"]), numerals.parse_number(match["all"])
    is_large = whole > MAX_WRITTEN_SHARE and match["one"].isdigit() and match["how"].lower() in {"in", "of"}
    unit = UNIT.match(match.string, match.end())
    is_measure = unit and (lookup_unit(unit["unit"]) or unit["unit"][0].isupper())
    if not 0 < top < whole or is_large or is_measure:
        return None
    return build_fact(match, Reading("percent", top / whole, "share"))


def _read_fraction(match: re.Match[str]) -> Fact | None:
    # Read "two thirds" and "half an hour".
    text, part, of = match.string, match["part"].lower(), match["of"]
    top = (match["top"] or "").lower()
    if not top and part not in {"half", "quarter"}:
        return None
    share = (1.0 if top in {"", "a", "an"} else numerals.parse_number(top)) / numerals.FRACTION_PARTS[part]
    unit = UNIT.match(text, match.end()) if not of or of.strip() else None
    known = lookup_unit(unit["unit"]) if unit and len(unit["unit"]) > 1 else []
    if unit and known and (of is not None or part == "half"):
        return build_fact(match, *(meaning.to_reading(share) for meaning in known), end=unit.end(), raw=share)
    # "Quarter past nine" is a time.
    if text[match.end() :][:7].strip().lower().startswith(("past", "to ")):
        return None
    return build_fact(match, Reading("percent", share, "share"), end=match.end("part"), weak=not top)


def _read_number(match: re.Match[str]) -> Fact | None:
    # Read a number with its currency or unit, if it has any.
    values = (
        numerals.read_digits(match["digits"]) if match["digits"] else (numerals.parse_number(match["words"]),)
    )
    if not values:
        return None
    if match["ordinal"]:
        return build_fact(match, Reading("ordinal", values[0]), raw=values[0])
    sign, end = -1 if match["sign"] else 1, match.end()
    values = tuple(sign * value for value in values)
    extra: list[Reading] = []
    magnitude = _MAGNITUDE.match(match.string, end)
    if magnitude and not (magnitude["word"] and match["words"]):
        scale = numerals.MAGNITUDES[magnitude["glued"] or magnitude["word"].lower()]
        if magnitude["glued"] in {"M", "B", "K"} and not match["before"]:
            # "5M" may be five million, or five metres.
            extra = [Reading(BARE_NUMBER, value * scale) for value in values]
        else:
            values, end = tuple(value * scale for value in values), magnitude.end()
    if match["before"]:
        currency = UNITS[match["before"].strip()][0].dim
        return build_fact(
            match, *(Reading(currency, value, currency) for value in values), end=end, raw=values[0]
        )
    return _read_unit_after_number(match, end, values, extra) or _bare_number_fact(match, end, values)


def _read_unit_after_number(
    match: re.Match[str], end: int, values: Sequence[float], extra: Sequence[Reading]
) -> Fact | None:
    unit = UNIT.match(match.string, end)
    if unit is None:
        return None
    name, is_glued = normalize_unit(unit["unit"]), not unit["gap"]
    if name in UNITS_BEFORE_NO_NOUN:
        # The "K" of "300K users", and the "A" of "3 A levels", are no units.
        is_noun = not is_glued and (match["words"] or not has_no_noun_after(match.string, unit.end()))
        name = "" if is_noun or (is_glued and name == "K") else name
    first = re.split(r"[ /]", name)[0]
    for candidate, unit_end in ((name, unit.end()), (first, unit.start("unit") + len(first))):
        readings = unit_readings(values, candidate, glued=is_glued)
        if readings:
            return build_fact(match, *readings, *extra, end=unit_end, raw=values[0])
    return build_fact(match, *extra, end=unit.end(), raw=values[0]) if extra else None


def _bare_number_fact(match: re.Match[str], end: int, values: Sequence[float]) -> Fact:
    # Return the fact of a number without a unit, which may be a year, an hour or a share.
    value, words = values[0], (match["words"] or "").lower()
    is_integer = (match["digits"] or "").isdigit()
    is_year = FIRST_CERTAIN_YEAR <= value <= LAST_CERTAIN_YEAR or (
        OLDEST_YEAR <= value < FIRST_CERTAIN_YEAR and is_preceded_by(match, _IN_YEAR)
    )
    readings = [Reading(BARE_NUMBER, number) for number in values]
    if is_integer and len(values) == 1 and is_year:
        readings.append(Reading("date", (int(value), None, None)))
    elif (
        is_integer
        and 1 <= value <= dates.HALF_DAY_HOURS
        and is_preceded_by(match, _AFTER_AT)
        and has_no_noun_after(match.string, end)
    ):
        readings += dates.clock_readings(int(value))
    elif 0 < value < 1:
        readings.append(Reading("percent", value, "share"))
    return build_fact(match, *readings, end=end, raw=value, weak=words in {"one", "zero"})


def _read_times_word(match: re.Match[str]) -> Fact:
    count = {"once": 1.0, "twice": 2.0, "thrice": 3.0}[match[1].lower()]
    return build_fact(match, Reading("times", count, "times 1.0"), raw=count, weak=count == 1)


def _read_ordinal(match: re.Match[str]) -> Fact:
    count = float(numerals.parse_ordinal(match[0]))
    # "first" and "second" order what is said as often as they count.
    return build_fact(match, Reading("ordinal", count), raw=count, weak=count <= 2)  # noqa: PLR2004


def _read_indefinite_unit(match: re.Match[str]) -> Fact | None:
    # Read "an hour" and "a full day".
    name = match["unit"].lower()
    known = lookup_unit(name) if len(name) > 2 else []  # noqa: PLR2004
    readings = [unit.to_reading(1.0) for unit in known if unit.dim in {"time", "length", "mass", "volume"}]
    return build_fact(match, *readings, raw=1.0, weak=True) if readings else None


# Patterns of measures, and what reads their matches, in order of precedence
READERS = (
    (numerals.MIXED_NUMBER, numerals.read_mixed_number),
    (numerals.LONG_CODE, numerals.read_long_code),
    (_SHARE, _read_share),
    (_FRACTION, _read_fraction),
    (_NUMBER, _read_number),
    (_TIMES_WORD, _read_times_word),
    (_ORDINAL, _read_ordinal),
    (_INDEFINITE, _read_indefinite_unit),
)


def _merge_compound_measures(text: str, facts: list[Fact]) -> list[Fact]:
    # Make "1 hour 30 minutes" a single duration.
    merged: list[Fact] = []
    for fact in facts:
        last = merged[-1] if merged else None
        if last and _JOINED.fullmatch(text[last.end : fact.start]) and (total := last.sum_with(fact)):
            merged[-1] = replace(
                last, text=text[last.start : fact.end], end=fact.end, readings=(total,), raw=None, weak=False
            )
        else:
            merged.append(fact)
    return merged
