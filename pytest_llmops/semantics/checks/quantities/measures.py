"""Reading numbers, money, percentages and measures out of a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from pytest_llmops.semantics.checks.quantities import dates, numerals, units
from pytest_llmops.semantics.checks.quantities import numerals as forms
from pytest_llmops.semantics.checks.quantities.facts import BARE_NUMBER, Fact, Reading

_CURRENCY_PREFIX = "|".join(map(re.escape, units.PREFIX_CURRENCIES))
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
    r"(?i)\b(?:(?P<top>an?|one|two|three|four|1|2|3)[ -])?(?P<part>half|halves|thirds?|quarters?|fourth|fifths?|sixth|eighths?|tenths?)\b"
    r"(?P<of>\s(?:of\s)?(?:an?|the)\s)?"
)
_SHARE = re.compile(
    rf"(?i)\b(?P<one>{numerals.NUMBER_WORDS}|\d{{1,3}})\s(?P<how>in|out\sof|of|in\severy|of\severy)\s(?P<all>{numerals.NUMBER_WORDS}|\d{{1,4}})\b(?!\s?%|[.,]\d)"
)
_SLASH = re.compile(r"(?<![\w/.,])(?P<one>\d{1,2})/(?P<all>\d{1,3})(?![\w/])")
_ORDINAL = re.compile(rf"(?i)\b(?:(?:{'|'.join(numerals.TENS)})-)?(?:{'|'.join(numerals.ORDINALS)})\b")
_INDEFINITE = re.compile(r"(?i)\b(?:an?|one full|a full|a whole)\s(?P<unit>[a-z]+)\b")
_TIMES_WORD = re.compile(r"(?i)\b(once|twice|thrice)\b")
_ABOUT = re.compile(
    r"(?i)(?:\b(?:about|around|roughly|approximately|approx\.?|nearly|almost|some|circa|ca\.?|an estimated|just (?:under|over)|close to)"
    r"\s|~\s?)[$€£]?\Z"
)
_RANGE = re.compile(r"\s?(?:-|to|or|bis|à|a|до)\s?")
_JOINED = re.compile(r",?\s(?:and\s)?")
TO_CELSIUS = {"C": (1.0, 0.0), "F": (5 / 9, -160 / 9), "?": (1.0, 0.0), "K": (1.0, -273.15)}
ABOUT_CHARS = 20
MAX_WRITTEN_SHARE = 100
"""Of how many "3 in 10" is a share; "3 in 2025" is none."""
CERTAIN_YEARS, OLDEST_YEAR = (1900, 2100), 1000
_AFTER_AT = re.compile(r"(?i)\bat\s\Z")
_IN_YEAR = re.compile(r"(?i)\b(?:in|since|from|until|till|by|before|after|during|year)\s\Z")


def read_measures(text: str, taken: list[tuple[int, int]]) -> list[Fact]:
    """Return the measures of a sentence, in order, outside the places that are taken already."""
    facts: list[Fact] = []
    for reader in (
        *forms.SPECIAL_READERS,
        _read_shares,
        _read_slashed_fractions,
        _read_fractions,
        _read_numbers,
        _read_times,
        _read_ordinals,
        _read_indefinite_units,
    ):
        for fact in reader(text):
            if all(fact.end <= start or end <= fact.start for start, end in taken):
                facts.append(_mark_rough(text, fact))
                taken.append((fact.start, fact.end))
    facts.sort(key=lambda one: one.start)
    return _share_range_units(text, _merge_compound_measures(text, facts))


def _build_fact(
    text: str, start: int, end: int, *readings: Reading, raw: float | None = None, weak: bool = False
) -> Fact:
    return Fact(text[start:end].strip(), start, end, readings, raw=raw, weak=weak)


def _mark_rough(text: str, fact: Fact) -> Fact:
    about = _ABOUT.search(text, max(0, fact.start - ABOUT_CHARS), fact.start)
    return replace(fact, rough=True) if about else fact


def _parse_number(text: str) -> float:
    return float(text) if text.isdigit() else numerals.parse_number_words(text.lower())


def _read_shares(text: str) -> Iterator[Fact]:
    for match in _SHARE.finditer(text):
        top, whole = _parse_number(match["one"]), _parse_number(match["all"])
        if not 0 < top < whole or (
            match["one"].isdigit() and match["how"].lower() in {"in", "of"} and whole > MAX_WRITTEN_SHARE
        ):
            continue
        unit = units.UNIT.match(text, match.end())
        if unit and (units.lookup_unit(unit["unit"], glued=False) or unit["unit"][0].isupper()):
            continue
        yield _build_fact(text, *match.span(), Reading("percent", top / whole, "share"))


def _read_slashed_fractions(text: str) -> Iterator[Fact]:
    for match in _SLASH.finditer(text):
        top, whole = float(match["one"]), float(match["all"])
        if whole:
            yield _build_fact(
                text,
                *match.span(),
                Reading("percent", top / whole, "share"),
                Reading("pair", top * 1000 + whole),
            )


def _read_fractions(text: str) -> Iterator[Fact]:
    for match in _FRACTION.finditer(text):
        part = match["part"].lower()
        top = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "1": 1, "2": 2, "3": 3}.get(
            (match["top"] or "").lower()
        )
        if top is None and part not in {"half", "quarter"}:
            continue
        share = (top or 1) / numerals.FRACTION_PARTS[part]
        unit = units.UNIT.match(text, match.end()) if not match["of"] or match["of"].strip() else None
        known = [] if unit is None or not _glue(unit) else units.lookup_unit(unit["unit"], glued=False)
        if known and (match["of"] is not None or part == "half"):
            yield _build_fact(
                text,
                match.start(),
                unit.end() if unit else match.end(),
                *_convert_to_base([share], known),
                raw=share,
            )
        elif text[match.end() :][:7].strip().lower().startswith(("past", "to ")):
            continue
        else:
            yield _build_fact(
                text, match.start(), match.end("part"), Reading("percent", share, "share"), weak=top is None
            )


def _glue(unit: re.Match[str]) -> bool:
    return len(unit["unit"]) > 1


def _read_numbers(text: str) -> Iterator[Fact]:
    for match in _NUMBER.finditer(text):
        end = match.end()
        values = (
            list(numerals.read_digits(match["digits"]))
            if match["digits"]
            else [numerals.parse_number_words(match["words"].lower())]
        )
        if not values:
            continue
        if match["ordinal"]:
            yield _build_fact(text, *match.span(), Reading("ordinal", values[0]), raw=values[0])
            continue
        if match["sign"]:
            values = [-value for value in values]
        extra: list[Reading] = []
        magnitude = _MAGNITUDE.match(text, end)
        if magnitude and not (magnitude["word"] and match["words"]):
            scale = numerals.MAGNITUDES[magnitude["glued"] or _lower_ascii(magnitude["word"])]
            if magnitude["glued"] in {"M", "B", "K"} and not match["before"]:
                extra = [Reading(BARE_NUMBER, value * scale) for value in values]
            else:
                values, end = [value * scale for value in values], magnitude.end()
        yield _build_measure(text, match, end, values, extra)


def _lower_ascii(word: str) -> str:
    return word.lower() if word.isascii() else word


def _build_measure(
    text: str, match: re.Match[str], end: int, values: list[float], extra: list[Reading]
) -> Fact:
    before = (match["before"] or "").strip()
    if before:
        dim = units.UNITS[before][0][0]
        return _build_fact(
            text, match.start(), end, *(Reading(dim, value, dim) for value in values), raw=values[0]
        )
    unit = units.UNIT.match(text, end)
    start = match.start() if not match["before"] else match.start("digits")
    if unit:
        name = units.normalize_unit(unit["unit"])
        if _is_no_unit(text, match, unit, name):
            name = ""
        unit_readings = _unit_readings(values, name, glued=not unit["gap"])
        first = re.split(r"[ /]", name)[0]
        if unit_readings is None and first != name:
            unit_readings = _unit_readings(values, first, glued=not unit["gap"])
            unit_end = unit.start("unit") + len(first)
        else:
            unit_end = unit.end()
        if unit_readings:
            return _build_fact(text, start, unit_end, *unit_readings, *extra, raw=values[0])
        if extra:
            return _build_fact(text, start, unit.end(), *extra, raw=values[0])
    weak = (match["words"] or "").lower() == "one" or (values[0] == 0 and bool(match["words"]))
    readings = [Reading(BARE_NUMBER, value) for value in values]
    if len(values) == 1 and (match["digits"] or "").isdigit() and _is_year(text, match.start(), values[0]):
        readings.append(Reading("date", (int(values[0]), None, None)))
    elif _is_hour(text, match, end, values[0]):
        readings += dates.hour_readings(int(values[0]))
    elif 0 < values[0] < 1:
        readings.append(Reading("percent", values[0], "share"))
    return _build_fact(text, start, end, *readings, raw=values[0], weak=weak)


def _is_no_unit(text: str, match: re.Match[str], unit: re.Match[str], name: str) -> bool:
    """Is a letter behind a number something else: "A" of "3 A levels", "K" of "300K users"?"""
    if name not in units.UNITS_BEFORE_NO_NOUN:
        return False
    if not unit["gap"]:
        return name == "K"
    return bool(match["words"]) or not units.has_no_noun_after(text, unit.end())


def _is_year(text: str, start: int, value: float) -> bool:
    # 1889 on its own may be a number of anything, "in 1889" is a year.
    sure = CERTAIN_YEARS[0] <= value < CERTAIN_YEARS[1]
    return sure or (
        OLDEST_YEAR <= value < CERTAIN_YEARS[0]
        and _IN_YEAR.search(text, max(0, start - ABOUT_CHARS), start) is not None
    )


def _is_hour(text: str, match: re.Match[str], end: int, value: float) -> bool:
    return (
        (match["digits"] or "").isdigit()
        and 1 <= value <= dates.HALF_DAY_HOURS
        and _AFTER_AT.search(text, max(0, match.start() - ABOUT_CHARS), match.start()) is not None
        and units.has_no_noun_after(text, end)
    )


def _unit_readings(values: list[float], name: str, *, glued: bool) -> list[Reading] | None:
    scale = units.temperature_scale(name)
    if scale:
        factor, offset = TO_CELSIUS[scale]
        return [Reading("temperature", value * factor + offset, scale) for value in values]
    return _convert_to_base(values, units.lookup_unit(name, glued=glued)) or None


def _convert_to_base(values: list[float], known: list[tuple[str, float, str]]) -> list[Reading]:
    return [Reading(dim, value * factor, name) for dim, factor, name in known for value in values]


def _read_times(text: str) -> Iterator[Fact]:
    for match in _TIMES_WORD.finditer(text):
        count = {"once": 1.0, "twice": 2.0, "thrice": 3.0}[match[1].lower()]
        yield _build_fact(
            text, *match.span(), Reading("times", count, "times 1.0"), raw=count, weak=count == 1
        )


def _read_ordinals(text: str) -> Iterator[Fact]:
    for match in _ORDINAL.finditer(text):
        tens, _, last = match[0].lower().rpartition("-")
        count = float(numerals.ORDINALS[last] + numerals.TENS.get(tens, 0))
        # "first" and "second" order what is said as often as they count.
        yield _build_fact(text, *match.span(), Reading("ordinal", count), raw=count, weak=count <= 2)  # noqa: PLR2004


def _read_indefinite_units(text: str) -> Iterator[Fact]:
    for match in _INDEFINITE.finditer(text):
        known = units.lookup_unit(match["unit"].lower(), glued=False) if len(match["unit"]) > 2 else []  # noqa: PLR2004
        known = [unit for unit in known if unit[0] in {"time", "length", "mass", "volume"}]
        if known:
            yield _build_fact(text, *match.span(), *_convert_to_base([1.0], known), raw=1.0, weak=True)


def _share_range_units(text: str, facts: list[Fact]) -> list[Fact]:
    """Give "3 to 5 days" two durations, and "$5-10" two prices."""
    shared = list(facts)
    for place in range(len(shared) - 2, -1, -1):
        first, second = shared[place], shared[place + 1]
        between = text[first.end : second.start]
        joined = _RANGE.fullmatch(between) or (
            between == " and " and "between" in text[: first.start].lower()[-12:]
        )
        if joined:
            shared[place], shared[place + 1] = _lend_unit(first, second), _lend_unit(second, first)
    return shared


def _lend_unit(bare: Fact, full: Fact) -> Fact:
    if BARE_NUMBER not in bare.dims or BARE_NUMBER in full.dims or bare.raw is None or not full.raw:
        return bare
    readings = tuple(
        Reading(reading.dim, bare.raw * (reading.value / full.raw), reading.unit)
        for reading in full.readings
        if isinstance(reading.value, float) and reading.dim not in {"ordinal", "temperature", "clock"}
    )
    return replace(bare, readings=readings or bare.readings)


def _merge_compound_measures(text: str, facts: list[Fact]) -> list[Fact]:
    """Make "1 hour 30 minutes" one duration."""
    merged: list[Fact] = []
    for fact in facts:
        last = merged[-1] if merged else None
        if last and _JOINED.fullmatch(text[last.end : fact.start]) and (total := _sum_readings(last, fact)):
            merged[-1] = replace(
                last, text=text[last.start : fact.end], end=fact.end, readings=(total,), raw=None, weak=False
            )
        else:
            merged.append(fact)
    return merged


def _sum_readings(fact: Fact, next_fact: Fact) -> Reading | None:
    for reading in fact.readings:
        for next_reading in next_fact.readings:
            if not isinstance(reading.value, float) or not isinstance(next_reading.value, float):
                continue
            if reading.dim == next_reading.dim == "time":
                size = reading.value / (fact.raw or reading.value or 1.0)
                if reading.unit != next_reading.unit and next_reading.value < size:
                    return Reading("time", reading.value + next_reading.value, next_reading.unit)
            # Ten dollars and fifty cents.
            if (
                reading.dim.startswith("money ")
                and next_reading.dim == "money small" != reading.dim
                and next_reading.value < 1
            ):
                return Reading(reading.dim, reading.value + next_reading.value, reading.unit)
    return None
