from __future__ import annotations

from itertools import product

import pytest

from pytest_llmops.semantics.checks import compare
from pytest_llmops.semantics.checks.sentence import Sentence

VALUES = ("numbers", "units", "dates")


def fired(actual: str, expected: str) -> list[str]:
    return [alarm.check for alarm in compare(actual, expected, checks=VALUES).alarms]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("It takes 30 days.", "It takes thirty days."),
        ("It takes 48 hours.", "It takes two days."),
        ("It takes 90 minutes.", "It takes an hour and a half."),
        ("It takes 1 h 30 min.", "It takes 90 minutes."),
        ("It takes a month.", "It takes 30 days."),
        ("It takes 3-5 days.", "It takes three to five days."),
        ("It takes between 3 and 5 days.", "It takes 3 to 5 days."),
        ("One in five agrees.", "20 % agree."),
        ("A third agrees.", "33 percent agree."),
        ("Half of them agree.", "50% of them agree."),
        ("Two thirds agree.", "67 per cent agree."),
        ("We have 1.5k users.", "We have 1,500 users."),
        ("We have 1.500.000 users.", "We have 1.5 million users."),
        ("We have 1 234,56 points.", "We have 1,234.56 points."),
        ("It costs 1'234.50 francs.", "It costs CHF 1234.5."),
        ("It costs $20.", "It costs twenty dollars."),
        ("It costs €1,500,000.", "It costs 1.5 million euros."),
        ("It costs $2.4bn.", "It costs 2.4 billion US dollars."),
        ("It is 5 miles away.", "It is 8 km away."),
        ("It weighs 500 g.", "It weighs 0.5 kg."),
        ("It has 2 GB.", "It has 2000 MB."),
        ("It boils at 100 °C.", "It boils at 212 °F."),
        ("It has two hundred and fifty thousand rows.", "It has 250,000 rows."),
        ("It is on the 3rd floor.", "It is on the third floor."),
        ("It runs twice.", "It runs two times."),
        ("It starts at 9:30.", "It starts at half past nine."),
        ("It starts at 9.30 pm.", "It starts at 21:30."),
        ("It starts at noon.", "It starts at 12:00."),
        ("It starts at a quarter to ten.", "It starts at 9:45."),
        ("It is due on 2025-03-03.", "It is due on 3 March 2025."),
        ("It is due on March 3rd, 2025.", "It is due on 3 March."),
        ("It is due on 03/04/2025.", "It is due on 4 March 2025."),
        ("It is due on 03/04/2025.", "It is due on 3 April 2025."),
        ("It is due on the third of April.", "It is due on April 3."),
        ("It is closed on Mon.", "It is closed on Mondays."),
        ("It was in 2019.", "It was in May 2019."),
        ("About 3.7 million live there.", "3,650,000 live there."),
        ("It takes ３０ days.", "It takes 30 days."),
        ("الاسترداد خلال ٣٠ يوما", "الاسترداد خلال 30 يوما"),
        ("Es kostet 1.234,50 Euro.", "Es kostet 1234,5 €."),
        ("Die Frist beträgt 14 Tage.", "Die Frist beträgt zwei Wochen: 14 Tage."),
        ("2025年3月3日开始", "2025-03-03 开始"),
    ],
)
def test_one_value_in_two_forms_is_no_alarm(first: str, second: str) -> None:
    assert fired(first, second) == []
    assert fired(second, first) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("expected", "actual", "check"),
    [
        ("It takes 30 days.", "It takes 60 days.", "numbers"),
        ("It takes thirty days.", "It takes forty days.", "numbers"),
        ("Your money is back after 30 days.", "After 60 days you will have what you paid.", "numbers"),
        ("It takes 30 days.", "It takes 30 hours.", "units"),
        ("It takes 48 hours.", "It takes three days.", "numbers"),
        ("It takes 5 business days.", "It takes 5 days.", "units"),
        ("It costs $20.", "It costs €20.", "numbers"),
        ("It costs $20.", "It costs $200.", "numbers"),
        ("20 % agree.", "One in four agrees.", "numbers"),
        ("It is 5 km away.", "It is 5 miles away.", "units"),
        ("It weighs 5 kg.", "It weighs 5 lb.", "units"),
        ("It rose by two percentage points.", "It rose by two percent.", "units"),
        ("It has 300 KB.", "It has 300 MB.", "units"),
        ("It is 20 °C.", "It is 20 °F.", "units"),
        ("It is on the third floor.", "It is on the fourth floor.", "numbers"),
        ("It starts at 9:30.", "It starts at 9:00.", "dates"),
        ("It starts at 9 am.", "It starts at 9 pm.", "dates"),
        ("It is due on 3 March 2025.", "It is due on 3 May 2025.", "dates"),
        ("It is due on 3 March 2025.", "It is due on 2024-03-03.", "dates"),
        ("It is due on 3/10/1987.", "It is due on 10/3/1987.", "dates"),
        ("It is closed on Mondays.", "It is closed on Sundays.", "dates"),
        ("It was built in 1987.", "It was built in 1978.", "dates"),
        ("From 9 am to 5 pm it is open.", "From 9 am to 6 pm it is open.", "dates"),
        ("Die Frist beträgt 14 Tage.", "Die Frist beträgt 30 Tage.", "numbers"),
        ("Le délai est de 14 jours.", "Le délai est de 14 mois.", "units"),
        ("El precio es de 1.234,50 euros.", "El precio es de 1.324,50 euros.", "numbers"),
        ("Срок возврата 30 дней.", "Срок возврата 60 дней.", "numbers"),
        ("退款需要30天。", "退款需要60天。", "numbers"),
        ("返金は３０日です", "返金は90日です", "numbers"),
    ],
)
def test_another_value_is_an_alarm_of_its_check(expected: str, actual: str, check: str) -> None:
    alarms = compare(actual, expected, checks=VALUES).alarms
    assert [alarm.check for alarm in alarms] == [check]
    assert f'the reference says "{alarms[0].expected}", the answer "{alarms[0].actual}"' in alarms[0].message
    assert compare(actual, expected, checks=set(VALUES) - {check}).alarms == ()


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("It takes 30 days.", "It takes 30 days. Parcels to Malta take 45 days."),
        ("It takes 30 days.", "It usually takes a while."),
        ("It takes a while.", "It takes 30 days."),
        ("The fee is 5 euros.", "The fee is 5 euros, and 7 of 10 guests pay it within 2 days."),
        ("Opened in 1889 in Vienna.", "Vienna has had two of them."),
        ("GPT-4 answers in 3 s.", "It takes 3 s with GPT-4."),
    ],
)
def test_more_or_fewer_values_are_no_alarm(expected: str, actual: str) -> None:
    assert fired(actual, expected) == []


def test_a_number_in_another_sentence_is_not_missing() -> None:
    expected = "Returns take 30 days and cost 5 euros."
    assert fired("Returns take 30 days. The price is 5 euros; above 2 kg it is 9 euros.", expected) == []


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("2.3.1", []),
        ("GPT-4", []),
        ("1.234", [("number", 1234.0), ("number", 1.234)]),
        ("5m", [("length", 5.0)]),
        ("minus 5 degrees", [("temperature", -5.0)]),
        ("half an hour", [("time", 1800.0)]),
        ("5 of 10 people", [("percent", 0.5)]),
        ("5 pounds", [("mass", 5 * 0.45359237), ("money GBP", 5.0)]),
        ("1.5k users", [("number", 1500.0)]),
        ("5K users", [("number", 5000.0)]),
        ("2M users", [("number", 2e6)]),
        ("$2M", [("money USD", 2e6)]),
        ("2.5 thousand", [("number", 2500.0)]),
        ("two dozen", [("number", 24.0)]),
        ("three hundred and five", [("number", 305.0)]),
        ("two million", [("number", 2e6)]),
        (".5 kg", [("mass", 0.5)]),
        ("1.234,5 kg", [("mass", 1234.5)]),
        ("1,23,456 kg", [("mass", 123_456.0)]),
        ("100 °C", [("temperature", 100.0)]),
        ("0:30", [("clock", 30.0)]),
        ("24:00", [("clock", 0.0)]),
        ("09:30", [("clock", 570.0)]),
        ("9:30", [("clock", 570.0), ("clock", 1290.0)]),
        ("12:30", [("clock", 750.0), ("clock", 30.0)]),
        ("13:30", [("clock", 810.0)]),
        ("12 am", [("clock", 0.0)]),
        ("7 o'clock", [("clock", 420.0), ("clock", 1140.0)]),
        ("à 9 h", [("clock", 540.0), ("clock", 1260.0)]),
        ("9 Uhr", [("clock", 540.0), ("clock", 1260.0)]),
        ("at 5", [("number", 5.0), ("clock", 300.0), ("clock", 1020.0)]),
        ("at 12", [("number", 12.0), ("clock", 720.0), ("clock", 0.0)]),
        ("at 13", [("number", 13.0)]),
        ("you may march on", []),
        ("sat in the sun", []),
    ],
)
def test_what_a_text_states(text: str, readings: list[tuple[str, float]]) -> None:
    assert [
        (reading.dim, reading.value) for fact in Sentence(text).facts for reading in fact.readings
    ] == readings


MAGNITUDES = {
    "hundred 百": 100,
    "dozen": 12,
    "thousand tsd Tsd. 千 тыс тыс.": 1000,
    "万 萬": 10_000,
    "lakh": 100_000,
    "million millions Millionen millones milioni mio Mio. mn млн": 10**6,
    "crore": 10**7,
    "億 亿": 10**8,
    "billion billions Milliarden milliards mrd bn млрд": 10**9,
    "trillion": 10**12,
}


@pytest.mark.parametrize(
    ("word", "size"), [(word, n) for words, n in MAGNITUDES.items() for word in words.split()]
)
def test_a_number_in_front_of_a_magnitude_is_so_much(word: str, size: int) -> None:
    assert [reading.value for reading in Sentence(f"It has 5 {word} users.").facts[0].readings] == [
        5.0 * size
    ]


@pytest.mark.parametrize(
    ("text", "value"), [("5k", 5e3), ("5K", 5e3), ("5M", 5e6), ("5B", 5e9), ("5bn", 5e9), ("5mn", 5e6)]
)
def test_a_number_with_a_letter_for_its_magnitude_may_be_so_much(text: str, value: float) -> None:
    assert value in [
        reading.value
        for reading in Sentence(f"It has {text} users.").facts[0].readings
        if reading.dim == "number"
    ]
    assert compare(f"It has {text} users.", f"It has {value:.0f} users.").alarms == ()


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("the 1999 report", True),
        ("1899 people", False),
        ("1900 people", True),
        ("2099 people", True),
        ("2100 people", False),
        ("the 1500 report", False),
        ("the 1850 report", False),
        ("it was in 999", False),
        ("it was in 1000", True),
        ("it was in 1499", True),
        ("it was in 1500", True),
        ("it was in 1899", True),
        ("it will be in 2099", True),
        ("it will be in 2100", False),
        ("in 1900.5", False),
        *(
            (f"{word} 1850", True)
            for word in ["in", "since", "from", "until", "till", "by", "before", "after", "during", "year"]
        ),
        *((f"{word} 1850", False) for word in ["of", "with", "about", "begin"]),
        ("within 1850", False),
        ("In 1850", True),
    ],
)
def test_a_number_alone_is_a_year_too_from_1900_to_2099_and_from_1000_behind_in(
    text: str, year: bool
) -> None:
    (fact,) = Sentence(text).facts
    dates = [reading.value for reading in fact.readings if reading.dim == "date"]
    assert dates == ([(fact.raw, None, None)] if year else [])
    assert "number" in fact.dims


def test_a_year_and_a_number_of_people_are_not_compared() -> None:
    assert fired("It opened for 1500 guests.", "It opened in 1500.") == []
    assert fired("In 1850 it opened.", "It opened in 1849.") == ["dates"]
    assert fired("It has 1850 rooms.", "It has 1849 rooms.") == ["numbers"]
    assert fired("It has 1950 rooms.", "It has 1949 rooms.")


def test_one_of_no_one_is_no_number() -> None:
    assert Sentence("No one came, and no one called.").facts == ()
    assert [fact.raw for fact in Sentence("Piano: one came.").facts] == [1.0]


def make_words(first: int, count: int) -> str:
    """Return words that no list has; each is different."""
    letters = product("bdfgklmnprst", "aeiou", "bdgkmnrt", "a")
    return " ".join("".join(word) for word in list(letters)[first : first + count])


def test_another_number_behind_a_long_clause_in_other_words_is_an_alarm() -> None:
    """The answer has the number of the reference too, so that nothing is missing in it."""
    begin, end = f"Parcels {make_words(0, 70)}", "come within {} days. Repairs take 30 days."
    expected = f"{begin} {make_words(100, 26)} {end.format(30)}"
    actual = f"{begin} {make_words(200, 26)} {end.format(60)}"
    (alarm,) = compare(actual, expected, checks=VALUES).alarms
    assert (alarm.check, alarm.expected, alarm.actual) == ("numbers", "30 days", "60 days")
