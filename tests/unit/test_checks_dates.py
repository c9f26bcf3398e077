"""What dates, number words and digits are read as."""

from __future__ import annotations

import pytest

from pytest_llmops.semantics.checks.quantities.dates import read_dates
from pytest_llmops.semantics.checks.quantities.numerals import read_digits, replace_number_words


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("on 2025-03-04", [("2025-03-04", [("date", (2025, 3, 4))])]),
        ("on 2025-13-04", []),
        ("on 2025-03-32", []),
        ("3/4/25", [("3/4/25", [("date", (2025, 4, 3)), ("date", (2025, 3, 4))])]),
        ("13/4/2025", [("13/4/2025", [("date", (2025, 4, 13))])]),
        ("4/13/2025", [("4/13/2025", [("date", (2025, 4, 13))])]),
        ("3.4.2025", [("3.4.2025", [("date", (2025, 4, 3))])]),
        ("13.14.2025", []),
        ("3 March 2025", [("3 March 2025", [("date", (2025, 3, 3))])]),
        ("March 3rd", [("March 3rd", [("date", (None, 3, 3))])]),
        ("March 2025", [("March 2025", [("date", (2025, 3, None))])]),
        ("may 2025 items", []),
        ("May 2025", [("May 2025", [("date", (2025, 5, None))])]),
        ("in May", [("May", [("date", (None, 5, None))])]),
        ("since Mar", [("Mar", [("date", (None, 3, None))])]),
        ("we may", []),
        ("january sales", []),
        ("on Monday", [("Monday", [("weekday", 0.0)])]),
        ("星期一", [("星期一", [("weekday", 0.0)])]),
        ("星期天", [("星期天", [("weekday", 6.0)])]),
        ("周日", [("周日", [("weekday", 6.0)])]),
        ("星期六", [("星期六", [("weekday", 5.0)])]),
        ("Sun shines", []),
        ("on Sun", [("Sun", [("weekday", 6.0)])]),
        ("at 3:30 pm", [("3:30 pm", [("clock", 930.0)])]),
        ("25:00", []),
        ("at 14:05", [("14:05", [("clock", 845.0)])]),
        ("half past three", []),
        ("quarter to nine", []),
        ("2025年3月4日", [("2025年3月4日", [("date", (2025, 3, 4))])]),
        ("2025年13月4日", []),
        (
            "12/31/1999 and 1/2/2000",
            [
                ("12/31/1999", [("date", (1999, 12, 31))]),
                ("1/2/2000", [("date", (2000, 2, 1)), ("date", (2000, 1, 2))]),
            ],
        ),
        ("noon", []),
        ("at 3 pm", [("3 pm", [("clock", 900.0)])]),
        ("at 13 pm", []),
        ("at 12 am", [("12 am", [("clock", 0.0)])]),
    ],
)
def test_each_date_has_its_readings(text: str, facts: list[tuple[str, list[tuple[str, object]]]]) -> None:
    found = read_dates(text, [])
    assert [
        (fact.text, [(reading.dim, reading.value) for reading in fact.readings]) for fact in found
    ] == facts
    assert [text[fact.start :].startswith(fact.text) for fact in found] == [True] * len(facts)


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("two hundred and five", "205"),
        ("two thousand three hundred", "2300"),
        ("twenty five", "25"),
        ("five, six", "5, 6"),
        ("two thousand and five hundred and six", "2506"),
        ("thirty-five days and two", "35 days and 2"),
        ("three four", "3 4"),
        ("a hundred", "a hundred"),
        ("two million three hundred thousand", "2 million 300 thousand"),
        ("no words", "no words"),
    ],
)
def test_number_words_become_digits(text: str, digits: str) -> None:
    assert replace_number_words(text) == digits


@pytest.mark.parametrize(
    ("digits", "values"),
    [
        ("1,234.5", (1234.5,)),
        ("1.234,5", (1234.5,)),
        ("1,23.4", ()),
        ("1,234", (1234.0, 1.234)),
        ("1.234", (1234.0, 1.234)),
        ("1,234.5.6", ()),
        ("12,34.5", ()),
        ("1,234,567.8", (1234567.8,)),
        ("12", (12.0,)),
        ("1.5", (1.5,)),
        ("1,5", (1.5,)),
    ],
)
def test_points_and_commas_separate_groups_or_decimals(digits: str, values: tuple[float, ...]) -> None:
    assert read_digits(digits) == values
