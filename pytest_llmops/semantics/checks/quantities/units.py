"""Units: what they measure, and how many base units they are."""

from __future__ import annotations

import re
import unicodedata

_UNIT_TABLE = """
time 1e-9 ns nanosecond nanoseconds
time 1e-6 μs microsecond microseconds
time 1e-3 ms millisecond milliseconds
time 1 s sec secs second seconds sekunden segundos secondes
time 60 min mins minute minutes minuten minutos
time 3600 h hr hrs hour hours stunde stunden hora horas heure heures
time 86400 d day days tag tage tagen día días jour jours giorno giorni dag dagen 天 日 день дня дней
time 604800 wk wks week weeks woche wochen semana semanas semaine semaines
time 1209600 fortnight fortnights
time 2629746 month months mo mos monat monate monaten mes meses mois mese mesi
time 31556952 y yr yrs year years jahr jahre jahren año años an ans anno anni
time 315569520 decade decades
time 3155695200 century centuries
working_time 1 business-day business-days working-day working-days workday workdays werktag werktage
working_time 5 business-week working-week
length 1e-9 nm nanometre nanometres nanometer nanometers
length 1e-6 μm micron microns micrometre micrometres micrometer micrometers
length 1e-3 mm millimetre millimetres millimeter millimeters
length 1e-2 cm centimetre centimetres centimeter centimeters
length 1 m metre metres meter meters
length 1000 km kilometre kilometres kilometer kilometers
length 0.0254 inch inches
length 0.3048 ft foot feet
length 0.9144 yd yard yards
length 1609.344 mi mile miles
mass 1e-9 μg mcg microgram micrograms
mass 1e-6 mg milligram milligrams
mass 1e-3 g gram grams gramme grammes gramm
mass 1 kg kilo kilos kilogram kilograms kilogramm
mass 1000 t tonne tonnes ton tons
mass 0.45359237 lb lbs pound pounds
mass 0.028349523 oz ounce ounces
volume 1e-6 μl μL microlitre microlitres microliter microliters
volume 1e-3 ml mL cm3 cc millilitre millilitres milliliter milliliters
volume 1e-1 dl dL
volume 1e3 m3 cubic-metre cubic-metres cubic-meter cubic-meters
volume 1e-2 cl cL centilitre centilitres
volume 1 l L litre litres liter liters
volume 3.785411784 gallon gallons
volume 0.473176 pint pints
volume 0.236588 cup cups
volume 0.0147868 tbsp tablespoon tablespoons
volume 0.00492892 tsp teaspoon teaspoons
area 1 m2 sqm square-metre square-metres square-meter square-meters
area 1e6 km2 square-kilometre square-kilometres square-kilometer square-kilometers
area 1e4 ha hectare hectares
area 4046.8564 acre acres
area 0.09290304 sqft square-foot square-feet
data 1 byte bytes B
data 1e3 kB KB kilobyte kilobytes
data 1024 kB KB KiB kilobyte kilobytes kibibyte kibibytes
data 1e6 MB megabyte megabytes
data 1048576 MB MiB megabyte megabytes mebibyte mebibytes
data 1e9 GB gig gigs gigabyte gigabytes
data 1073741824 GB GiB gig gigs gigabyte gigabytes gibibyte gibibytes
data 1e12 TB terabyte terabytes
data 1099511627776 TB TiB terabyte terabytes tebibyte tebibytes
data_rate 1e3 kB/s KB/s
data_rate 1e6 MB/s MBps
data_rate 1e9 GB/s GBps
bits 1e3 kbit kbps kbit/s kilobit kilobits
bits 1e6 Mb Mbit Mbps Mb/s Mbit/s megabit megabits
bits 1e9 Gb Gbit Gbps Gb/s Gbit/s gigabit gigabits
substance 1e-9 nmol/L nmol/l
substance 1e-6 μmol/L μmol/l
substance 1e-3 mmol/L mmol/l mM
substance 1 mol/L mol/l
concentration 1e-6 μg/L μg/l
concentration 1e-3 mg/L mg/l μg/mL μg/ml
concentration 1e-2 mg/dL mg/dl
concentration 1 g/L g/l mg/mL mg/ml
power 1e-3 mW milliwatt milliwatts
power 1 W watt watts
power 1e3 kW kilowatt kilowatts
power 1e6 MW megawatt megawatts
power 1e9 GW gigawatt gigawatts
energy 1 Wh
energy 1e3 kWh kilowatt-hour kilowatt-hours
energy 1e6 MWh megawatt-hour megawatt-hours
energy_food 1 kcal calorie calories
voltage 1e-6 μV
voltage 1e-3 mV millivolt millivolts
voltage 1 V volt volts
voltage 1e3 kV
current 1e-6 μA microamp microamps
current 1e-3 mA milliamp milliamps
current 1 A amp amps ampere amperes
frequency 1 Hz hertz
frequency 1e3 kHz kilohertz
frequency 1e6 MHz megahertz
frequency 1e9 GHz gigahertz
pressure 1 bar bars
pressure 0.0689476 psi
speed 1 km/h kph kmh kilometres-per-hour kilometers-per-hour
speed 1.609344 mph miles-per-hour
speed 3.6 m/s metres-per-second meters-per-second
percentage_points 0.01 percentage-points percentage-point
percent 0.001 ‰ per-mille
percent 0.01 % percent per-cent pct prozent procent por-ciento pour-cent процентов
times 1 times x ×
pixels 1 px pixel pixels
money_USD 1 $ US$ USD dollar dollars US-dollar US-dollars
money_EUR 1 € EUR euro euros
money_GBP 1 £ GBP pound pounds quid
money_JPY 1 ¥ JPY yen
money_CHF 1 CHF franc francs franken
money_CAD 1 CAD C$ Canadian-dollars
money_AUD 1 AUD A$ Australian-dollars
money_INR 1 ₹ INR rupee rupees
money_RUB 1 ₽ RUB ruble rubles рублей
money_CNY 1 CNY RMB yuan 元
money_SEK 1 SEK krona kronor
money_PLN 1 PLN zł złoty zloty
money_small 0.01 cent cents c ¢ pence penny p
"""

UNITS: dict[str, list[tuple[str, float, str]]] = {}
"""Unit -> the (dimension, factor, name) it may be; case matters where both spellings exist (Mb, MB)."""
ROUGH_NAMES = {2629746.0: "month", 31556952.0: "year"}
for _line in _UNIT_TABLE.strip().splitlines():
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
_NON_NOUNS = frozenset(
    [
        "a",
        "and",
        "or",
        "but",
        "to",
        "in",
        "on",
        "at",
        "for",
        "of",
        "from",
        "with",
        "per",
        "is",
        "are",
        "was",
        "were",
        "be",
        "than",
        "by",
        "as",
        "before",
        "after",
        "until",
        "when",
        "while",
        "if",
        "each",
        "every",
        "via",
        "over",
        "under",
        "within",
        "during",
        "without",
        "only",
    ]
)


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
