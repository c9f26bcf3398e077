"""Read the dates, weekdays and times of a sentence."""

import re
from dataclasses import replace

from pytest_llmops.semantics.checks.quantities.facts import (
    DateParts,
    Fact,
    Reading,
    build_fact,
    collect_facts,
    has_no_noun_after,
    is_preceded_by,
)
from pytest_llmops.semantics.checks.quantities.ratios import is_ratio_or_score
from pytest_llmops.semantics.word_lists.reader import english_words, read_lines

MONTHS = {
    name: number for number, line in enumerate(read_lines("months.txt"), start=1) for name in line.split()
}
WEEKDAYS = {name: number for number, line in enumerate(read_lines("weekdays.txt")) for name in line.split()}
# The names in other languages that are months in small letters, too
_SMALL_MONTHS = frozenset({"enero", "febrero", "janvier", "février"})
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
# "Half past nine", "a quarter to ten", "twenty past nine" (whose number words are digits here); "ten to nine" is rather a range
_SPOKEN_CLOCK = re.compile(
    r"(?i)\b(?P<part>half|quarter|(?P<minutes>[1-5]?\d)(?:\sminutes?)?)\s(?P<side>past|after|to)\s(?P<hour>1[0-2]|[1-9]|one)(?![\w:/%€$-]|[.,]\d)"
    r"(?:\so'clock\b)?(?P<day_half>\s?(?:a\.?m\b\.?|p\.?m\b\.?))?"
)
# A sentence without any of these has no date and no time
MAYBE_DATE = re.compile(
    rf"(?i)\d|\b(?:{_MONTH}|(?:{'|'.join(sorted(WEEKDAYS, key=len, reverse=True))})s?|o'clock|half past one|quarter (?:past|to|after) one)\b"
    r"|[一二三四五六日天]"
)
MAX_MONTH = 12
MAX_DAY = 31
HALF_DAY_HOURS = 12
MINUTES_A_DAY = 24 * 60
CURRENT_CENTURY = 2000  # of a year in two digits


def read_dates(text: str, taken: list[tuple[int, int]]) -> list[Fact]:
    """Return the dates, weekdays and times of a sentence, in order of the readers.

    Args:
        text: The sentence.
        taken: The spans that other facts have, which are left out; the spans of the new facts are added.
    """
    readers = [(_ISO, _read_iso_date), (_SLASHED, _read_slashed_date)]
    has_month = _MONTH_ALONE.search(text) is not None
    if has_month:
        readers += [(pattern, _read_named_date) for pattern in (_DAY_FIRST, _MONTH_FIRST, _MONTH_YEAR)]
    readers += [(_SPOKEN_CLOCK, _read_spoken_time), (_CLOCK, _read_clock_time), (_WEEKDAY, _read_weekday)]
    if has_month:
        readers.append((_MONTH_ALONE, _read_month_name))
    return collect_facts(text, readers, taken)


def _date_fact(match: re.Match[str], *dates: DateParts) -> Fact:
    """Return the fact of a date that may be any of these dates, without a full stop at its end."""
    fact = build_fact(match, *(Reading("date", date) for date in dates))
    return replace(fact, text=fact.text.strip(" ."))


def _may_be_date(day: int | None, month: int | None) -> bool:
    """Return whether there is such a day and month; None, a part that is not stated, is always possible."""
    if month is not None and not 1 <= month <= MAX_MONTH:
        return False
    return day is None or 1 <= day <= MAX_DAY


def _read_iso_date(match: re.Match[str]) -> Fact | None:
    year = _first_number(match, "year", "y")
    month = _first_number(match, "month", "m", "m2")
    day = _first_number(match, "day", "d", "d2")
    if _may_be_date(day, month):
        return _date_fact(match, (year, month, day))
    return None


def _first_number(match: re.Match[str], *names: str) -> int | None:
    """Return the number in the first of these groups that has matched; None if none has."""
    for name in names:
        if match[name]:
            return int(match[name])
    return None


def _read_slashed_date(match: re.Match[str]) -> Fact | None:
    """Read "3/4/2025", in which the day or the month may come first, and "3.4.2025", in which it is the day."""
    first = int(match["a"])
    second = int(match["b"])
    year = int(match["year"])
    if len(match["year"]) == len("25"):
        year += CURRENT_CENTURY
    orders = [(first, second)]
    if match[2] != ".":
        orders.append((second, first))
    dates = [(year, month, day) for day, month in orders if _may_be_date(day, month)]
    if dates:
        return _date_fact(match, *dates)
    return None


def _read_named_date(match: re.Match[str]) -> Fact | None:
    """Read "3 March 2025", "March 3rd" and "March 2025"."""
    # The patterns do not all have a day and a year.
    groups = match.groupdict()
    day = year = None
    if groups.get("day"):
        day = int(groups["day"])
    if groups.get("year"):
        year = int(groups["year"])
    # Without a day and a capital these are rather words: "may 2025 items".
    if day is None and match["name"] in {"may", "march", "mars", "mar", "dec"}:
        return None
    return _date_fact(match, (year, MONTHS[match["name"].lower()], day))


def _read_month_name(match: re.Match[str]) -> Fact | None:
    """Read a month without day and year; a short or ambiguous name only behind a word like "in" or "since"."""
    name = match["name"].lower()
    has_capital = match["name"][0].isupper()
    if name in _AMBIGUOUS_NAMES or name == "juin" or len(name) <= len("sept"):
        is_month = has_capital and is_preceded_by(match, _MONTH_CONTEXT)
    else:
        is_month = has_capital or name in _SMALL_MONTHS
    if is_month:
        return _date_fact(match, (None, MONTHS[name], None))
    return None


def _read_weekday(match: re.Match[str]) -> Fact | None:
    """Read a weekday; an ambiguous name ("sun") only with a capital that does not just begin the sentence."""
    if match["cjk"]:
        character = match["cjk"][-1].replace("天", "日")
        day = "一二三四五六日".find(character)
        return build_fact(match, Reading("weekday", float(day)))
    name = match["name"].lower()
    is_certain = match.start() > 0 and match["name"][0].isupper()
    if name in _AMBIGUOUS_NAMES and not is_certain:
        return None
    return build_fact(match, Reading("weekday", float(WEEKDAYS[name])))


def clock_readings(hour: int, minute: int = 0) -> list[Reading]:
    """Return the two times that "9:30" may be, in minutes since midnight: the given time, and twelve hours later.

    >>> [reading.value for reading in clock_readings(9, 30)]
    [570.0, 1290.0]
    """
    morning = hour * 60 + minute
    evening = morning + HALF_DAY_HOURS * 60
    return [Reading("clock", float(minutes % MINUTES_A_DAY)) for minutes in (morning, evening)]


def slashed_day_readings(first: int, second: int) -> list[Reading]:
    """Return the days of a year that "3/4" may be, in either order; none if the day does not exist.

    >>> [reading.value for reading in slashed_day_readings(3, 14)]
    [(None, 3, 14)]
    """
    orders = dict.fromkeys([(first, second), (second, first)])
    return [Reading("date", (None, month, day)) for month, day in orders if _may_be_date(day, month)]


def _half_day_reading(hour: int, minute: int, half: str) -> Reading:
    """Return the time of an hour with "am" or "pm"."""
    morning, evening = clock_readings(hour % HALF_DAY_HOURS, minute)
    if half.startswith("p"):
        return evening
    return morning


def _read_spoken_time(match: re.Match[str]) -> Fact | None:
    """Read "half past nine" and "a quarter to ten pm"."""
    part = match["part"].lower()
    side = match["side"].lower()
    if part == "half":
        minute = 30
    elif part == "quarter":
        minute = 15
    else:
        minute = int(match["minutes"])
    is_count = match["minutes"] is not None
    if is_count and "minute" not in part and side != "past":
        return None  # "5 to 7", "2 after 4"
    if part == "half" and side != "past":
        return None
    if not match["day_half"] and not has_no_noun_after(match.string, match.end()):
        return None  # "half past 9 runners"
    hour = 1
    if match["hour"].isdigit():
        hour = int(match["hour"])
    if side == "to":
        hour = (hour - 2) % HALF_DAY_HOURS + 1
        minute = 60 - minute
    if match["day_half"]:
        reading = _half_day_reading(hour, minute, match["day_half"].strip().lower())
        return build_fact(match, reading)
    return build_fact(match, *clock_readings(hour, minute))


def _read_clock_time(match: re.Match[str]) -> Fact | None:
    """Read "9:30", "9 am", "21 Uhr"."""
    # One for each alternative of the pattern: exactly one of them has matched.
    groups = ("hour", "hour2", "hour3", "hour4")
    hour = int(next(match[group] for group in groups if match[group]))
    has_point = bool(match["hour"]) and match.string[match.end("hour")] == "."
    if has_point and not match["half"]:
        return None  # 9.30 may be a price
    if match["hour"] and not match["half"] and is_ratio_or_score(match):
        return None
    minute = int(match["minute"] or 0)
    half = match["half"] or match["half2"] or ""
    half = half.strip().lower()
    if half.startswith(("a", "p")):
        return build_fact(match, _half_day_reading(hour, minute, half))
    # Half past nine and 9:30 are in the morning or in the evening; 09:30 and 21:30 are not in doubt.
    readings = clock_readings(hour, minute)
    if hour > HALF_DAY_HOURS or hour == 0 or match[0].startswith("0"):
        readings = readings[:1]
    return build_fact(match, *readings)
