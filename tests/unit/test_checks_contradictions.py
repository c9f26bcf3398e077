"""Which two values contradict each other, and which check reports them, on pairs of sentences."""

from __future__ import annotations

import pytest

from pytest_llmops.semantics.checks import compare
from pytest_llmops.semantics.checks.quantities.facts import Fact
from pytest_llmops.semantics.checks.sentence import Sentence
from pytest_llmops.semantics.checks.values import _is_contradiction, _responsible_check


def read_fact(text: str) -> Fact:
    (fact,) = Sentence(text, "en").facts
    return fact


@pytest.mark.parametrize(
    ("first", "second", "contradict"),
    [
        ("30 seconds", "60 seconds", True),
        ("30 seconds", "60", True),  # a bare number may be of the unit
        ("60", "30 seconds", True),
        ("30 seconds", "5 km", False),
        ("30", "60", True),
        ("one", "first", False),
        ("30 seconds", "one", False),
        ("one", "30 seconds", False),
        ("30", "a minute", False),
        ("60 seconds", "a minute", True),  # one of them is weak
        ("a minute", "an hour", False),
        ("30 seconds", "in 2020", False),
        ("on 3 March", "60", False),
        ("60", "on 3 March", False),
        ("60", "half", False),
    ],
)
def test_values_of_one_kind_contradict_each_other_unless_they_are_weak(
    first: str, second: str, *, contradict: bool
) -> None:
    assert _is_contradiction(read_fact(first), read_fact(second)) is contradict
    assert _is_contradiction(read_fact(second), read_fact(first)) is contradict


@pytest.mark.parametrize(
    ("first", "second", "check"),
    [
        ("30 days", "60 days", "numbers"),
        ("30 days", "30 hours", "units"),
        ("$20", "€20", "numbers"),
        ("3/4", "2/3", "numbers"),
        ("on 3 March", "on 4 March", "dates"),
        ("on 3 March", "30 days", "dates"),
        ("at 9 am", "at 9 pm", "dates"),
    ],
)
def test_one_check_reports_two_values(first: str, second: str, check: str) -> None:
    assert _responsible_check(read_fact(first), read_fact(second)) == check
    assert _responsible_check(read_fact(second), read_fact(first)) == check


@pytest.mark.parametrize(
    ("expected", "actual", "found"),
    [
        (
            "Pay once per day, please, at the desk.",
            "Pay once per week, please, at the desk.",
            [("day", "week")],
        ),
        (
            "We check the tank daily at the pump.",
            "We check the tank weekly at the pump.",
            [("daily", "weekly")],
        ),
        ("We check it in 5 m at the pump now.", "We check it in 5 km at the pump now.", [("5 m", "5 km")]),
        ("Pay once per day, please, at the desk.", "Pay once per mile, please, at the desk.", []),
    ],
)
def test_a_unit_in_the_place_of_another_is_found_with_and_without_a_number(
    expected: str, actual: str, found: list[tuple[str, str]]
) -> None:
    alarms = compare(actual, expected, checks={"units"}).alarms
    assert [(alarm.expected, alarm.actual) for alarm in alarms] == found


def test_two_numbers_that_changed_places_are_one_alarm() -> None:
    alarms = compare(
        "It takes 20 and then 10 steps.", "It takes 10 and then 20 steps.", checks={"numbers"}
    ).alarms
    assert len(alarms) == 1


@pytest.mark.parametrize(
    "actual", ["Nothing is due.", "It is due, in whatever number.", "It costs nothing, and it is due."]
)
def test_a_text_without_a_value_contradicts_none(actual: str) -> None:
    assert compare(actual, "It is due in 30 days.", checks={"numbers", "units", "dates"}).alarms == ()
    assert compare("It is due in 30 days.", actual, checks={"numbers", "units", "dates"}).alarms == ()
