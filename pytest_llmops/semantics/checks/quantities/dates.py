"""Reading dates, weekdays and times of day out of a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pytest_llmops.semantics.checks.quantities import numerals
from pytest_llmops.semantics.checks.quantities.facts import DateParts, Fact, Reading
from pytest_llmops.semantics.word_lists import read_lines

MONTHS = {
    name: number for number, line in enumerate(read_lines("months.txt"), start=1) for name in line.split()
}
WEEKDAYS = {name: number for number, line in enumerate(read_lines("weekdays.txt")) for name in line.split()}
_AMBIGUOUS_NAMES = frozenset(
    [
        "mon",
        "sat",
        "sun",
        "wed",
        "mar",
        "may",
        "march",
        "mars",
        "august",
        "dec",
        "nov",
        "oct",
        "jan",
        "apr",
        "mai",
        "tue",
        "fri",
    ]
)
"""Also words or shortened names: as a weekday or a month of their own only with a capital letter."""
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
_ORDINAL_MONTH = re.compile(
    rf"(?i)\b(?:the\s)?(?P<day>{'|'.join(numerals.ORDINALS)}|twenty-(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth)|thirtieth|thirty-first)"
    rf"\s(?:of\s)?(?P<name>{_MONTH})\b(?:,?\s{_YEAR}\b)?"
)
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
_HOURS = "|".join(f"{word}" for word in list(numerals.SMALL_NUMBERS)[1:13])
_SPOKEN = re.compile(
    rf"(?i)\b(?:(?P<part>half|(?:a\s)?quarter|five|ten|twenty|twenty-five)\s(?P<side>past)|(?P<part2>(?:a\s)?quarter|(?:five|ten|twenty|twenty-five|\d{{1,2}})\sminutes?)\s(?P<side2>past|to|before|after))\s(?P<hour>{_HOURS}|noon|midnight|1[0-2]|[1-9])\b(?!\s(?:minutes|hours|days|weeks|months|years|percent|%))"
    rf"|\b(?P<full>{_HOURS})\s(?:o'clock|(?P<half>a\.?m\b\.?|p\.?m\b\.?))|\b(?P<name>noon|midday|midnight)\b"
)
MAYBE_DATE = re.compile(
    rf"(?i)\d|\b(?:{_MONTH}|(?:{'|'.join(sorted(WEEKDAYS, key=len, reverse=True))})s?|noon|midday|midnight|past|o'clock|quarter)\b"
    rf"|\b(?:{_HOURS})\s[ap]\.?m|[一二三四五六日天]"
)
"""Without any of these a sentence has no date and no time, and need not be read for them."""
MAX_MONTH, MAX_DAY = 12, 31
HALF_DAY_HOURS, MINUTES_A_DAY = 12, 24 * 60


def read_dates(text: str, taken: list[tuple[int, int]]) -> list[Fact]:
    """Return the dates, weekdays and times of a sentence, outside the places that are taken already."""
    facts: list[Fact] = []
    has_month = _MONTH_ALONE.search(text) is not None
    for reader in (
        _read_iso_dates,
        _read_slashed_dates,
        _read_named_dates,
        _read_spoken_times,
        _read_clock_times,
        _read_weekdays,
        _read_month_names,
    ):
        if reader in (_read_named_dates, _read_month_names) and not has_month:
            continue
        for fact in reader(text):
            if all(fact.end <= start or end <= fact.start for start, end in taken):
                facts.append(fact)
                taken.append((fact.start, fact.end))
    return facts


def _date_fact(text: str, span: tuple[int, int], *dates: DateParts) -> Fact:
    start, end = span
    return Fact(text[start:end].strip(" ."), start, end, tuple(Reading("date", date) for date in dates))


def _optional_int(text: str | None) -> int | None:
    return int(text) if text else None


def _read_iso_dates(text: str) -> Iterator[Fact]:
    for match in _ISO.finditer(text):
        month, day = (
            _optional_int(match["month"] or match["m"] or match["m2"]),
            _optional_int(match["day"] or match["d"] or match["d2"]),
        )
        if (month is None or 1 <= month <= MAX_MONTH) and (day is None or 1 <= day <= MAX_DAY):
            yield _date_fact(text, match.span(), (_optional_int(match["year"] or match["y"]), month, day))


def _read_slashed_dates(text: str) -> Iterator[Fact]:
    for match in _SLASHED.finditer(text):
        first, second, year = int(match["a"]), int(match["b"]), int(match["year"])
        year += 2000 if len(match["year"]) == len("25") else 0
        orders = [(first, second)] if match[2] == "." else [(first, second), (second, first)]
        dates: list[DateParts] = [
            (year, month, day) for day, month in orders if 1 <= month <= MAX_MONTH and 1 <= day <= MAX_DAY
        ]
        if dates:
            yield _date_fact(text, match.span(), *dates)


def _read_named_dates(text: str) -> Iterator[Fact]:
    for pattern in (_DAY_FIRST, _MONTH_FIRST, _ORDINAL_MONTH, _MONTH_YEAR):
        for match in pattern.finditer(text):
            groups = match.groupdict()
            if (
                match["name"] in {"may", "march", "mars", "mar", "dec"}
                and not groups.get("day", "").isdigit()
            ):
                continue
            yield _date_fact(
                text,
                match.span(),
                (
                    _optional_int(groups.get("year")),
                    MONTHS[match["name"].lower()],
                    _parse_day(groups.get("day")),
                ),
            )


def _parse_day(text: str | None) -> int | None:
    if not text or text.isdigit():
        return _optional_int(text)
    tens, _, last = text.lower().rpartition("-")
    return 30 if last == "thirtieth" else numerals.ORDINALS[last] + numerals.TENS.get(tens, 0)


def _read_month_names(text: str) -> Iterator[Fact]:
    for match in _MONTH_ALONE.finditer(text):
        name = match["name"]
        if name.lower() in _AMBIGUOUS_NAMES | {"mai", "mars", "juin"} or len(name) <= len("sept"):
            if not name[0].isupper() or not _MONTH_CONTEXT.search(
                text, max(0, match.start() - 10), match.start()
            ):
                continue
        elif not (name[0].isupper() or name.lower() in {"enero", "febrero", "janvier", "février"}):
            continue
        yield _date_fact(text, match.span(), (None, MONTHS[name.lower()], None))


def _read_weekdays(text: str) -> Iterator[Fact]:
    for match in _WEEKDAY.finditer(text):
        if match["cjk"]:
            day = "一二三四五六日".find(match["cjk"][-1].replace("天", "日"))
        elif match["name"].lower() in _AMBIGUOUS_NAMES and (
            match.start() == 0 or not match["name"][0].isupper()
        ):
            continue
        else:
            day = WEEKDAYS[match["name"].lower()]
        yield Fact(match[0], *match.span(), (Reading("weekday", float(day)),))


def _clock_fact(text: str, span: tuple[int, int], hour: int, minute: int, half: str) -> Fact:
    minutes = hour % 24 * 60 + minute
    half = half.replace(".", "").strip().lower()
    if half.startswith(("a", "p")):
        minutes = (hour % HALF_DAY_HOURS + (HALF_DAY_HOURS if half[0] == "p" else 0)) * 60 + minute
        candidates = [minutes]
    else:
        # Half past nine and 9:30 are in the morning or in the evening; 09:30 and 21:30 are not in doubt.
        unambiguous = hour > HALF_DAY_HOURS or hour == 0 or text[span[0]] == "0"
        candidates = [minutes] if unambiguous else [minutes, (minutes + 12 * 60) % MINUTES_A_DAY]
    return Fact(
        text[span[0] : span[1]].strip(),
        *span,
        tuple(Reading("clock", float(minute_of_day)) for minute_of_day in candidates),
    )


def hour_readings(hour: int) -> list[Reading]:
    """Return the times of day that a bare hour may be, in the morning and in the evening."""
    return [
        Reading("clock", float(minutes % MINUTES_A_DAY))
        for minutes in (hour * 60, (hour + HALF_DAY_HOURS) * 60)
    ]


def _read_clock_times(text: str) -> Iterator[Fact]:
    for match in _CLOCK.finditer(text):
        hour = match["hour"] or match["hour2"] or match["hour3"] or match["hour4"]
        dotted = match["hour"] and text[match.end("hour")] == "."
        if dotted and not match["half"]:
            continue  # 9.30 may be a price
        half = match["half"] or match["half2"] or ""
        yield _clock_fact(
            text, match.span(), int(hour), int(match["minute"] or 0), "" if "clock" in half.lower() else half
        )


def _read_spoken_times(text: str) -> Iterator[Fact]:
    for match in _SPOKEN.finditer(text):
        if match["name"]:
            hour = 0 if match["name"].lower() == "midnight" else 12
            yield Fact(match[0], *match.span(), (Reading("clock", float(hour * 60)),))
            continue
        if match["full"]:
            yield _clock_fact(
                text, match.span(), numerals.SMALL_NUMBERS[match["full"].lower()], 0, match["half"] or ""
            )
            continue
        minute, side = (
            _parse_minutes((match["part"] or match["part2"]).lower().split()[0]),
            (match["side"] or match["side2"]).lower(),
        )
        word = match["hour"].lower()
        hour = {"noon": 12, "midnight": 24}.get(word) or (
            int(word) if word.isdigit() else numerals.SMALL_NUMBERS[word]
        )
        if side in {"to", "before"}:
            hour, minute = hour - 1, 60 - minute
        yield _clock_fact(text, match.span(), hour or 12, minute, "")


def _parse_minutes(part: str) -> int:
    if part.isdigit():
        return int(part) % 60
    return {"half": 30, "five": 5, "ten": 10, "twenty": 20, "twenty-five": 25}.get(part, 15)
