"""Reading numbers, money, percentages and measures out of a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from pytest_llmops.semantics.checks.quantities import dates, numerals, units
from pytest_llmops.semantics.checks.quantities import numerals as forms
from pytest_llmops.semantics.checks.quantities.facts import BARE, Fact, Reading

_BEFORE = "|".join(map(re.escape, units.BEFORE))
_NUMBER = re.compile(
    rf"(?P<before>(?<![A-Za-z])(?:{_BEFORE})\s?)?"
    rf"(?P<sign>(?<![\w.)])-(?=\d)|\b[Mm]inus\s)?(?:(?<![A-Za-z\u00c0-\u024f\d_.])(?<![A-Za-z]-)(?P<digits>{numerals.DIGITS})(?P<ordinal>(?:st|nd|rd|th)\b)?"
    rf"|(?<!\b[Nn]o )\b(?P<words>(?i:{numerals.WORDS}))\b)"
)
_MAGNITUDE = re.compile(
    r"(?P<glued>[kKMB]|bn|mn)(?![\w])|\s?(?P<word>(?i:hundred|thousand|millions?|billions?|trillion|dozen|lakh|crore|bn|mn|mio|mrd|tsd"
    r"|millionen|milliarden|millones|milioni|milliards)\b|[万萬億亿千百]|тыс|млн|млрд)\.?"
)
_FRACTION = re.compile(
    r"(?i)\b(?:(?P<top>an?|one|two|three|four|1|2|3)[ -])?(?P<part>half|halves|thirds?|quarters?|fourth|fifths?|sixth|eighths?|tenths?)\b"
    r"(?P<of>\s(?:of\s)?(?:an?|the)\s)?"
)
_ONE_IN = re.compile(
    rf"(?i)\b(?P<one>{numerals.WORDS}|\d{{1,3}})\s(?P<how>in|out\sof|of|in\severy|of\severy)\s(?P<all>{numerals.WORDS}|\d{{1,4}})\b(?!\s?%|[.,]\d)"
)
_SLASH = re.compile(r"(?<![\w/.,])(?P<one>\d{1,2})/(?P<all>\d{1,3})(?![\w/])")
_ORDINAL = re.compile(rf"(?i)\b(?:(?:{'|'.join(numerals.TENS)})-)?(?:{'|'.join(numerals.ORDINALS)})\b")
_INDEFINITE = re.compile(r"(?i)\b(?:an?|one full|a full|a whole)\s(?P<unit>[a-z]+)\b")
_TIMES = re.compile(r"(?i)\b(once|twice|thrice)\b")
_ABOUT = re.compile(
    r"(?i)(?:\b(?:about|around|roughly|approximately|approx\.?|nearly|almost|some|circa|ca\.?|an estimated|just (?:under|over)|close to)"
    r"\s|~\s?)[$€£]?\Z"
)
_RANGE = re.compile(r"\s?(?:-|to|or|bis|à|a|до)\s?")
_JOINED = re.compile(r",?\s(?:and\s)?")
CELSIUS = {"C": (1.0, 0.0), "F": (5 / 9, -160 / 9), "?": (1.0, 0.0), "K": (1.0, -273.15)}
ABOUT_CHARS = 20
YEARS, OLDEST = (1900, 2100), 1000
_AT = re.compile(r"(?i)\bat\s\Z")
_IN_YEAR = re.compile(r"(?i)\b(?:in|since|from|until|till|by|before|after|during|year)\s\Z")


def read(text: str, taken: list[tuple[int, int]]) -> list[Fact]:
    """Return the measures of a sentence, in order, outside the places that are taken already."""
    found: list[Fact] = []
    for reader in (*forms.READERS, _shares, _slashes, _fractions, _numbers, _times, _ordinals, _indefinite):
        for fact in reader(text):
            if all(fact.end <= start or end <= fact.start for start, end in taken):
                found.append(_rough(text, fact))
                taken.append((fact.start, fact.end))
    found.sort(key=lambda one: one.start)
    return _ranges(text, _summed(text, found))


def _fact(
    text: str, start: int, end: int, *readings: Reading, raw: float | None = None, weak: bool = False
) -> Fact:
    return Fact(text[start:end].strip(), start, end, readings, raw=raw, weak=weak)


def _rough(text: str, fact: Fact) -> Fact:
    about = _ABOUT.search(text, max(0, fact.start - ABOUT_CHARS), fact.start)
    return replace(fact, rough=True) if about else fact


def _value(shown: str) -> float:
    return float(shown) if shown.isdigit() else numerals.spoken(shown.lower())


def _shares(text: str) -> Iterator[Fact]:
    for one in _ONE_IN.finditer(text):
        top, all_ = _value(one["one"]), _value(one["all"])
        if not 0 < top < all_ or (one["one"].isdigit() and one["how"].lower() in {"in", "of"} and all_ > 100):  # noqa: PLR2004
            continue
        unit = units.UNIT.match(text, one.end())
        if unit and (units.lookup(unit["unit"], glued=False) or unit["unit"][0].isupper()):
            continue
        yield _fact(text, *one.span(), Reading("percent", top / all_, "share"))


def _slashes(text: str) -> Iterator[Fact]:
    for one in _SLASH.finditer(text):
        top, all_ = float(one["one"]), float(one["all"])
        if all_:
            yield _fact(
                text, *one.span(), Reading("percent", top / all_, "share"), Reading("pair", top * 1000 + all_)
            )


def _fractions(text: str) -> Iterator[Fact]:
    for one in _FRACTION.finditer(text):
        part = one["part"].lower()
        top = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "1": 1, "2": 2, "3": 3}.get(
            (one["top"] or "").lower()
        )
        if top is None and part not in {"half", "quarter"}:
            continue
        share = (top or 1) / numerals.PARTS[part]
        unit = units.UNIT.match(text, one.end()) if not one["of"] or one["of"].strip() else None
        known = [] if unit is None or not _glue(unit) else units.lookup(unit["unit"], glued=False)
        if known and (one["of"] is not None or part == "half"):
            yield _fact(
                text, one.start(), unit.end() if unit else one.end(), *_readings([share], known), raw=share
            )
        elif text[one.end() :][:7].strip().lower().startswith(("past", "to ")):
            continue
        else:
            yield _fact(
                text, one.start(), one.end("part"), Reading("percent", share, "share"), weak=top is None
            )


def _glue(unit: re.Match[str]) -> bool:
    return len(unit["unit"]) > 1


def _numbers(text: str) -> Iterator[Fact]:
    for one in _NUMBER.finditer(text):
        end = one.end()
        values = (
            list(numerals.readings(one["digits"]))
            if one["digits"]
            else [numerals.spoken(one["words"].lower())]
        )
        if not values:
            continue
        if one["ordinal"]:
            yield _fact(text, *one.span(), Reading("ordinal", values[0]), raw=values[0])
            continue
        if one["sign"]:
            values = [-value for value in values]
        extra: list[Reading] = []
        magnitude = _MAGNITUDE.match(text, end)
        if magnitude and not (magnitude["word"] and one["words"]):
            scale = numerals.MAGNITUDES[magnitude["glued"] or _lower(magnitude["word"])]
            if magnitude["glued"] in {"M", "B", "K"} and not one["before"]:
                extra = [Reading(BARE, value * scale) for value in values]
            else:
                values, end = [value * scale for value in values], magnitude.end()
        yield _measured(text, one, end, values, extra)


def _lower(word: str) -> str:
    return word.lower() if word.isascii() else word


def _measured(text: str, one: re.Match[str], end: int, values: list[float], extra: list[Reading]) -> Fact:
    before = (one["before"] or "").strip()
    if before:
        dim = units.UNITS[before][0][0]
        return _fact(text, one.start(), end, *(Reading(dim, value, dim) for value in values), raw=values[0])
    unit = units.UNIT.match(text, end)
    start = one.start() if not one["before"] else one.start("digits")
    if unit:
        name = units.named(unit["unit"])
        if _is_no_unit(text, one, unit, name):
            name = ""
        found = _unit_readings(values, name, glued=not unit["gap"])
        first = re.split(r"[ /]", name)[0]
        if found is None and first != name:
            found = _unit_readings(values, first, glued=not unit["gap"])
            unit_end = unit.start("unit") + len(first)
        else:
            unit_end = unit.end()
        if found:
            return _fact(text, start, unit_end, *found, *extra, raw=values[0])
        if extra:
            return _fact(text, start, unit.end(), *extra, raw=values[0])
    weak = (one["words"] or "").lower() == "one" or (values[0] == 0 and bool(one["words"]))
    readings = [Reading(BARE, value) for value in values]
    if len(values) == 1 and (one["digits"] or "").isdigit() and _is_year(text, one.start(), values[0]):
        readings.append(Reading("date", (int(values[0]), None, None)))
    elif _is_hour(text, one, end, values[0]):
        readings += dates.hours(int(values[0]))
    elif 0 < values[0] < 1:
        readings.append(Reading("percent", values[0], "share"))
    return _fact(text, start, end, *readings, raw=values[0], weak=weak)


def _is_no_unit(text: str, one: re.Match[str], unit: re.Match[str], name: str) -> bool:
    """Is a letter behind a number something else: "A" of "3 A levels", "K" of "300K users"?"""
    if name not in units.BEFORE_NO_NOUN:
        return False
    if not unit["gap"]:
        return name == "K"
    return bool(one["words"]) or not units.no_noun(text, unit.end())


def _is_year(text: str, start: int, value: float) -> bool:
    # 1889 on its own may be a number of anything, "in 1889" is a year.
    sure = YEARS[0] <= value < YEARS[1]
    return sure or (
        OLDEST <= value < YEARS[0] and _IN_YEAR.search(text, max(0, start - ABOUT_CHARS), start) is not None
    )


def _is_hour(text: str, one: re.Match[str], end: int, value: float) -> bool:
    return (
        (one["digits"] or "").isdigit()
        and 1 <= value <= dates.HOURS
        and _AT.search(text, max(0, one.start() - ABOUT_CHARS), one.start()) is not None
        and units.no_noun(text, end)
    )


def _unit_readings(values: list[float], name: str, *, glued: bool) -> list[Reading] | None:
    scale = units.temperature(name)
    if scale:
        factor, offset = CELSIUS[scale]
        return [Reading("temperature", value * factor + offset, scale) for value in values]
    return _readings(values, units.lookup(name, glued=glued)) or None


def _readings(values: list[float], known: list[tuple[str, float, str]]) -> list[Reading]:
    return [Reading(dim, value * factor, name) for dim, factor, name in known for value in values]


def _times(text: str) -> Iterator[Fact]:
    for one in _TIMES.finditer(text):
        count = {"once": 1.0, "twice": 2.0, "thrice": 3.0}[one[1].lower()]
        yield _fact(text, *one.span(), Reading("times", count, "times 1.0"), raw=count, weak=count == 1)


def _ordinals(text: str) -> Iterator[Fact]:
    for one in _ORDINAL.finditer(text):
        tens, _, last = one[0].lower().rpartition("-")
        count = float(numerals.ORDINALS[last] + numerals.TENS.get(tens, 0))
        # "first" and "second" order what is said as often as they count.
        yield _fact(text, *one.span(), Reading("ordinal", count), raw=count, weak=count <= 2)  # noqa: PLR2004


def _indefinite(text: str) -> Iterator[Fact]:
    for one in _INDEFINITE.finditer(text):
        known = units.lookup(one["unit"].lower(), glued=False) if len(one["unit"]) > 2 else []  # noqa: PLR2004
        known = [unit for unit in known if unit[0] in {"time", "length", "mass", "volume"}]
        if known:
            yield _fact(text, *one.span(), *_readings([1.0], known), raw=1.0, weak=True)


def _ranges(text: str, facts: list[Fact]) -> list[Fact]:
    """Give "3 to 5 days" two durations, and "$5-10" two prices."""
    found = list(facts)
    for place in range(len(found) - 2, -1, -1):
        one, other = found[place], found[place + 1]
        between = text[one.end : other.start]
        joined = _RANGE.fullmatch(between) or (
            between == " and " and "between" in text[: one.start].lower()[-12:]
        )
        if joined:
            found[place], found[place + 1] = _lent(one, other), _lent(other, one)
    return found


def _lent(bare: Fact, full: Fact) -> Fact:
    if BARE not in bare.dims or BARE in full.dims or bare.raw is None or not full.raw:
        return bare
    readings = tuple(
        Reading(one.dim, bare.raw * (one.value / full.raw), one.unit)
        for one in full.readings
        if isinstance(one.value, float) and one.dim not in {"ordinal", "temperature", "clock"}
    )
    return replace(bare, readings=readings or bare.readings)


def _summed(text: str, facts: list[Fact]) -> list[Fact]:
    """Make "1 hour 30 minutes" one duration."""
    found: list[Fact] = []
    for fact in facts:
        last = found[-1] if found else None
        if last and _JOINED.fullmatch(text[last.end : fact.start]) and (total := _total(last, fact)):
            found[-1] = replace(
                last, text=text[last.start : fact.end], end=fact.end, readings=(total,), raw=None, weak=False
            )
        else:
            found.append(fact)
    return found


def _total(one: Fact, other: Fact) -> Reading | None:
    for a in one.readings:
        for b in other.readings:
            if not isinstance(a.value, float) or not isinstance(b.value, float):
                continue
            if a.dim == b.dim == "time":
                size = a.value / (one.raw or a.value or 1.0)
                if a.unit != b.unit and b.value < size:
                    return Reading("time", a.value + b.value, b.unit)
            # Ten dollars and fifty cents.
            if a.dim.startswith("money ") and b.dim == "money small" != a.dim and b.value < 1:
                return Reading(a.dim, a.value + b.value, a.unit)
    return None
