"""Read the numbers, amounts of money, percentages, measures and dates of a sentence."""

import re
from collections.abc import Sequence
from dataclasses import replace

from pytest_llmops.semantics.checks.quantities import numerals
from pytest_llmops.semantics.checks.quantities.facts import (
    BARE_NUMBER,
    PREFIX_CURRENCIES,
    UNIT,
    UNITS,
    UNITS_BEFORE_NO_NOUN,
    DateParts,
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
from pytest_llmops.semantics.word_lists import english_words, read_lines

MONTHS = {
    name: number for number, line in enumerate(read_lines("months.txt"), start=1) for name in line.split()
}
WEEKDAYS = {name: number for number, line in enumerate(read_lines("weekdays.txt")) for name in line.split()}
# Also words or short first names: a weekday or a month without a day only with a capital letter
_AMBIGUOUS_NAMES = english_words("ambiguous_date_names")
_MONTH = "|".join(sorted(map(re.escape, MONTHS), key=len, reverse=True))
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th|º|er|\.)?"
_YEAR = r"(?P<year>\d{4})"
_ISO = re.compile(
    r"(?<![\d-])(?P<year>\d{4})[-/](?P<month>\d{1,2})[-/](?P<day>\d{1,2})(?!\d)|(?<!\d)(?P<y>\d{4})年(?:(?P<m>\d{1,2})月)?(?:(?P<d>\d{1,2})日)?|(?<!\d)(?P<m2>\d{1,2})月(?P<d2>\d{1,2})日"
)
_SLASHED = re.compile(r"(?<![\d/.,])(?P<a>\d{1,2})([/.-])(?P<b>\d{1,2})\2(?P<year>\d{4}|\d{2})(?![\d/.,]*\d)")
_DAY_FIRST = re.compile(
    rf"(?i)(?<![\w.,/]){_DAY}\s?(?:of\s|de\s)?(?P<name>{_MONTH})\b\.?(?:(?:,|\sde)?\s(?:of\s)?{_YEAR}\b)?"
)
_MONTH_FIRST = re.compile(
    rf"(?i)\b(?P<name>{_MONTH})\b\.?\s(?:the\s)?{_DAY}\b(?!\s?(?:%|[.,:]\d|am\b|pm\b))(?:,?\s{_YEAR}\b)?"
)
_MONTH_YEAR = re.compile(rf"(?i)\b(?P<name>{_MONTH})\b\.?,?\s(?:of\s|de\s)?{_YEAR}\b")
_MONTH_ALONE = re.compile(rf"\b(?P<name>(?i:{_MONTH}))\b")
_MONTH_CONTEXT = re.compile(
    r"(?i)\b(?:in|of|by|until|till|since|from|to|through|during|early|late|mid|last|next|this|before|after|every|each|and|im|en|и)[\s-]\Z"
)
_WEEKDAY = re.compile(
    rf"\b(?P<name>(?i:{'|'.join(sorted(WEEKDAYS, key=len, reverse=True))}))s?\b|(?P<cjk>(?:星期|周|週)[一二三四五六日天])"
)
_CLOCK = re.compile(
    r"(?i)(?<![\d:.,/])(?P<hour>[01]?\d|2[0-4])(?:(?:[:.h]|uhr\s?)(?P<minute>[0-5]\d)(?::[0-5]\d)?)(?P<half>\s?(?:a\.?m\b\.?|p\.?m\b\.?|noon\b))?(?![\d:]|[.,]\d|\s?(?:%|euros?|€|km|kg))"
    r"|(?<![\d:.,/])(?P<hour2>1[0-2]|0?\d)\s?(?P<half2>a\.?m\b\.?|p\.?m\b\.?|o'clock)"
    r"|(?<=à\s)(?P<hour4>[01]?\d|2[0-4])\s?h\b|(?<![\d:.,/])(?P<hour3>[01]?\d|2[0-4])\s?(?:uhr\b|heures?\b|點|点|時)"
)
# A sentence without any of these has no date and no time
MAYBE_DATE = re.compile(
    rf"(?i)\d|\b(?:{_MONTH}|(?:{'|'.join(sorted(WEEKDAYS, key=len, reverse=True))})s?|o'clock)\b"
    r"|[一二三四五六日天]"
)
MAX_MONTH, MAX_DAY = 12, 31
HALF_DAY_HOURS, MINUTES_A_DAY = 12, 24 * 60


def read_dates(text: str, taken: list[tuple[int, int]]) -> list[Fact]:
    """Return the dates, weekdays and times of a sentence outside the places that are taken, and take theirs."""
    named = (_DAY_FIRST, _MONTH_FIRST, _MONTH_YEAR)
    has_month = _MONTH_ALONE.search(text) is not None
    return collect_facts(
        text,
        [
            (_ISO, _read_iso_date),
            (_SLASHED, _read_slashed_date),
            *((pattern, _read_named_date) for pattern in named if has_month),
            (_CLOCK, _read_clock_time),
            (_WEEKDAY, _read_weekday),
            *((pattern, _read_month_name) for pattern in (_MONTH_ALONE,) if has_month),
        ],
        taken,
    )


def _date_fact(match: re.Match[str], *dates: DateParts) -> Fact:
    fact = build_fact(match, *(Reading("date", date) for date in dates))
    return replace(fact, text=fact.text.strip(" ."))


def _is_day_of_month(day: int | None, month: int | None) -> bool:
    return (month is None or 1 <= month <= MAX_MONTH) and (day is None or 1 <= day <= MAX_DAY)


def _read_iso_date(match: re.Match[str]) -> Fact | None:
    names = (("year", "y"), ("month", "m", "m2"), ("day", "d", "d2"))
    texts = (next(filter(None, map(match.group, group)), None) for group in names)
    year, month, day = (int(text) if text else None for text in texts)
    if _is_day_of_month(day, month):
        return _date_fact(match, (year, month, day))
    return None


def _read_slashed_date(match: re.Match[str]) -> Fact | None:
    first = int(match["a"])
    second = int(match["b"])
    year = int(match["year"])
    if len(match["year"]) == len("25"):
        year += 2000
    if match[2] == ".":
        orders = [(first, second)]
    else:
        orders = [(first, second), (second, first)]
    dates = [(year, month, day) for day, month in orders if _is_day_of_month(day, month)]
    if dates:
        return _date_fact(match, *dates)
    return None


def _read_named_date(match: re.Match[str]) -> Fact | None:
    groups = match.groupdict()
    day = groups.get("day")
    year = groups.get("year")
    if match["name"] in {"may", "march", "mars", "mar", "dec"} and not (day or "").isdigit():
        return None
    return _date_fact(
        match, (int(year) if year else None, MONTHS[match["name"].lower()], int(day) if day else None)
    )


def _read_month_name(match: re.Match[str]) -> Fact | None:
    name = match["name"]
    if name.lower() in _AMBIGUOUS_NAMES or name.lower() == "juin" or len(name) <= len("sept"):
        is_month = name[0].isupper() and is_preceded_by(match, _MONTH_CONTEXT)
    else:
        is_month = name[0].isupper() or name.lower() in {"enero", "febrero", "janvier", "février"}
    if is_month:
        return _date_fact(match, (None, MONTHS[name.lower()], None))
    return None


def _read_weekday(match: re.Match[str]) -> Fact | None:
    name = match["name"]
    if match["cjk"]:
        day = "一二三四五六日".find(match["cjk"][-1].replace("天", "日"))
    elif name.lower() in _AMBIGUOUS_NAMES and (match.start() == 0 or not name[0].isupper()):
        return None
    else:
        day = WEEKDAYS[name.lower()]
    return build_fact(match, Reading("weekday", float(day)))


def clock_readings(hour: int, minute: int = 0) -> list[Reading]:
    """Return the times of day that an hour of twelve may be, in the morning and in the evening.

    >>> [reading.value for reading in clock_readings(9, 30)]
    [570.0, 1290.0]
    """
    minutes = hour * 60 + minute
    return [Reading("clock", float(minutes % MINUTES_A_DAY)) for minutes in (minutes, minutes + 12 * 60)]


def _clock_fact(match: re.Match[str], hour: int, minute: int, half: str) -> Fact:
    half = half.strip().lower()
    if half.startswith(("a", "p")):
        readings = clock_readings(hour % HALF_DAY_HOURS, minute)
        return build_fact(match, readings[1] if half.startswith("p") else readings[0])
    # Half past nine and 9:30 are in the morning or in the evening; 09:30 and 21:30 are not in doubt.
    is_certain = hour > HALF_DAY_HOURS or hour == 0 or match[0].startswith("0")
    return build_fact(match, *clock_readings(hour, minute)[: 1 if is_certain else 2])


def _read_clock_time(match: re.Match[str]) -> Fact | None:
    hour = match["hour"] or match["hour2"] or match["hour3"] or match["hour4"]
    if match["hour"] and match.string[match.end("hour")] == "." and not match["half"]:
        return None  # 9.30 may be a price
    return _clock_fact(match, int(hour), int(match["minute"] or 0), match["half"] or match["half2"] or "")


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
    """Read "one in five" and "3 out of 10"."""
    top = numerals.parse_number(match["one"])
    whole = numerals.parse_number(match["all"])
    is_large = whole > MAX_WRITTEN_SHARE and match["one"].isdigit() and match["how"].lower() in {"in", "of"}
    unit = UNIT.match(match.string, match.end())
    is_measure = unit and (lookup_unit(unit["unit"]) or unit["unit"][0].isupper())
    if not 0 < top < whole or is_large or is_measure:
        return None
    return build_fact(match, Reading("percent", top / whole, "share"))


def _read_fraction(match: re.Match[str]) -> Fact | None:
    """Read "two thirds" and "half an hour"."""
    text = match.string
    part = match["part"].lower()
    of = match["of"]
    top = (match["top"] or "").lower()
    if not top and part not in {"half", "quarter"}:
        return None
    share = (1.0 if top in {"", "a", "an"} else numerals.parse_number(top)) / numerals.FRACTION_PARTS[part]
    if not of or of.strip():
        unit = UNIT.match(text, match.end())
    else:
        unit = None
    if unit and len(unit["unit"]) > 1:
        known = lookup_unit(unit["unit"])
    else:
        known = []
    if unit and known and (of is not None or part == "half"):
        return build_fact(match, *(meaning.to_reading(share) for meaning in known), end=unit.end(), raw=share)
    # "Quarter past nine" is a time.
    if text[match.end() :][:7].strip().lower().startswith(("past", "to ")):
        return None
    return build_fact(match, Reading("percent", share, "share"), end=match.end("part"), weak=not top)


def _read_number(match: re.Match[str]) -> Fact | None:
    """Read a number with its currency or unit, if it has any."""
    if match["digits"]:
        values = numerals.read_digits(match["digits"])
    else:
        values = (numerals.parse_number(match["words"]),)
    if not values:
        return None
    if match["ordinal"]:
        return build_fact(match, Reading("ordinal", values[0]), raw=values[0])
    if match["sign"]:
        sign = -1
    else:
        sign = 1
    end = match.end()
    values = tuple(sign * value for value in values)
    extra: list[Reading] = []
    magnitude = _MAGNITUDE.match(match.string, end)
    if magnitude and not (magnitude["word"] and match["words"]):
        scale = numerals.MAGNITUDES[magnitude["glued"] or magnitude["word"].lower()]
        if magnitude["glued"] in {"M", "B", "K"} and not match["before"]:
            # "5M" may be five million, or five metres.
            extra = [Reading(BARE_NUMBER, value * scale) for value in values]
        else:
            values = tuple(value * scale for value in values)
            end = magnitude.end()
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
    name = normalize_unit(unit["unit"])
    is_glued = not unit["gap"]
    if name in UNITS_BEFORE_NO_NOUN:
        # The "K" of "300K users", and the "A" of "3 A levels", are no units.
        is_noun = not is_glued and (match["words"] or not has_no_noun_after(match.string, unit.end()))
        if is_noun or (is_glued and name == "K"):
            name = ""
    first = re.split(r"[ /]", name)[0]
    for candidate, unit_end in ((name, unit.end()), (first, unit.start("unit") + len(first))):
        readings = unit_readings(values, candidate, glued=is_glued)
        if readings:
            return build_fact(match, *readings, *extra, end=unit_end, raw=values[0])
    if extra:
        return build_fact(match, *extra, end=unit.end(), raw=values[0])
    return None


def _bare_number_fact(match: re.Match[str], end: int, values: Sequence[float]) -> Fact:
    """Return the fact of a number without a unit, which may be a year, an hour or a share."""
    value = values[0]
    words = (match["words"] or "").lower()
    is_integer = (match["digits"] or "").isdigit()
    is_year = FIRST_CERTAIN_YEAR <= value <= LAST_CERTAIN_YEAR or (
        OLDEST_YEAR <= value < FIRST_CERTAIN_YEAR and is_preceded_by(match, _IN_YEAR)
    )
    readings = [Reading(BARE_NUMBER, number) for number in values]
    if is_integer and len(values) == 1 and is_year:
        readings.append(Reading("date", (int(value), None, None)))
    elif (
        is_integer
        and 1 <= value <= HALF_DAY_HOURS
        and is_preceded_by(match, _AFTER_AT)
        and has_no_noun_after(match.string, end)
    ):
        readings += clock_readings(int(value))
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
    """Read "an hour" and "a full day"."""
    name = match["unit"].lower()
    if len(name) > 2:  # noqa: PLR2004
        known = lookup_unit(name)
    else:
        known = []
    readings = [unit.to_reading(1.0) for unit in known if unit.dim in {"time", "length", "mass", "volume"}]
    if readings:
        return build_fact(match, *readings, raw=1.0, weak=True)
    return None


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
    """Make "1 hour 30 minutes" a single duration."""
    merged: list[Fact] = []
    for fact in facts:
        if merged:
            last = merged[-1]
        else:
            last = None
        if last and _JOINED.fullmatch(text[last.end : fact.start]) and (total := last.sum_with(fact)):
            merged[-1] = replace(
                last, text=text[last.start : fact.end], end=fact.end, readings=(total,), raw=None, weak=False
            )
        else:
            merged.append(fact)
    return merged
