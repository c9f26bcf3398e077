"""Roles in other words, fractions, times in words, ratios, identifiers and yes-or-no questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_llmops.semantics.checks import compare
from pytest_llmops.semantics.checks.sentence import Sentence

EDITS = Path(__file__).parents[2] / "benchmarks" / "data" / "edits_of_places.jsonl"
MIN_ROLES = 15


def alarms(expected: str, actual: str, question: str = "") -> set[str]:
    return {alarm.check for alarm in compare(actual, expected, question=question).alarms}


@pytest.mark.slow
def test_the_development_set_of_places() -> None:
    """Written together with the checks, so that it shows what they are for, and not how good they are."""
    rows = [json.loads(line) for line in EDITS.read_text(encoding="utf-8").splitlines()]
    caught = [row for row in rows if alarms(row["text"], row["edit"])]
    assert [row["id"] for row in rows if alarms(row["text"], row["paraphrase"])] == []
    assert sum(row["kind"] == "role" for row in caught) >= MIN_ROLES
    assert [row["id"] for row in rows if row["kind"] != "role" and row not in caught] == []


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("Anna reports to Ben.", "At the moment, Ben reports to Anna."),
        ("Fly from Oslo to Rome.", "There is a flight from Rome to Oslo."),
        ("Anna manages Ben.", "Anna is managed by Ben."),
        ("The invoice service is called by the order service.", "The invoice service calls the order service."),
        ("Members pay 20 euros, students 10 euros.", "It is 20 euros for students and 10 euros for members."),
    ],
)  # fmt: skip
def test_roles_in_other_words(expected: str, actual: str) -> None:
    assert alarms(expected, actual) == {"roles"}
    assert alarms(actual, expected) == {"roles"}


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("The order service calls the invoice service.", "The invoice service is called by the order service."),
        ("Anna met Ben.", "Yesterday, Ben met Anna in Rome."),
        ("Anna calls Ben and Ben calls Anna.", "Ben calls Anna, and Anna calls Ben, both daily."),
        ("It holds apples, pears, plums.", "It holds plums, pears, apples and more."),
        ("The capital of France is Paris.", "Paris is the capital of France, and its largest city."),
        ("Members pay 20 euros, students 10 euros.", "It is 10 euros for students and 20 euros for members."),
        ("The price rose from 10 euros in May to 12 euros in June.", "In June it was 12 euros, in May 10 euros."),
    ],
)  # fmt: skip
def test_the_same_roles(expected: str, actual: str) -> None:
    assert alarms(expected, actual) == set()
    assert alarms(actual, expected) == set()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("half past nine", {("clock", 570.0), ("clock", 1290.0)}),
        ("quarter past four pm", {("clock", 975.0)}),
        ("a quarter to one", {("clock", 765.0), ("clock", 45.0)}),
        ("ten past nine", {("clock", 550.0), ("clock", 1270.0)}),
        ("half past nine runners", {("number", 9.0)}),
        ("a ratio of 16:10", {("ratio", (8, 5, None))}),
        ("a ratio of three to one", {("ratio", (3, 1, None))}),
        ("a win of 3:0", {("ratio", (3, 0, None))}),
        ("0:0", {("ratio", (0, 0, None))}),
        ("at 16:10", {("clock", 970.0)}),
        ("3/4", {("percent", 0.75), ("date", (None, 3, 4)), ("date", (None, 4, 3))}),
        ("3/4/2025", {("date", (2025, 3, 4)), ("date", (2025, 4, 3))}),
        ("three fourths", {("percent", 0.75)}),
        ("1/0", {("number", 1.0), ("number", 0.0)}),
        ("24/7", {("number", 24.0), ("number", 7.0)}),
        ("2.3.1", set()),
        ("Step 1: 5 lines", {("number", 1.0), ("number", 5.0)}),
        ("5 to 7", {("number", 5.0), ("number", 7.0)}),
    ],
)
def test_values(text: str, expected: set[tuple[str, object]]) -> None:
    facts = Sentence(f"It is {text}.").facts
    readings = {(reading.dim, reading.value) for fact in facts for reading in fact.readings}
    assert readings == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("expected", "actual", "check"),
    [
        ("Fill it to 3/4.", "Fill it to 75 %.", ""),
        ("Fill it to 3/4.", "Fill it to three quarters.", ""),
        ("Fill it to 3/4.", "Fill it to 0.75.", ""),
        ("Fill it to 3/4.", "Fill it to 2/3.", "numbers"),
        ("Fill 3/4 of it.", "Fill two thirds of it.", "numbers"),
        ("Due on 3/4.", "Due on 3 April.", ""),
        ("Due on 3/4.", "Due on 5 April.", "dates"),
        ("Take a 1/2-inch drill.", "Take a half inch drill.", ""),
        ("It opens at 9:30.", "It opens at half past nine.", ""),
        ("It opens at 9:30.", "It opens at half past eight.", "dates"),
        ("It opens at 9:30 am.", "It opens at half past nine pm.", "dates"),
        ("Mix sand and cement 3:1.", "Mix sand and cement 3 to 1.", ""),
        ("Mix sand and cement 3:1.", "Mix sand and cement 6:2.", ""),
        ("Mix sand and cement 3:1.", "Mix sand and cement 1 to 3.", "numbers"),
        ("Mix sand and cement 3:1.", "Mix sand and cement 1:3.", "numbers"),
        ("The odds are 3 to 1.", "The odds are 1 to 3.", "numbers"),
        ("Chelsea beat Arsenal 3:1.", "Arsenal lost 1:3 to Chelsea.", ""),
        ("It allows 10 requests per second.", "It allows 10 requests per minute.", "units"),
        ("Rates rose 5 basis points.", "Rates rose 5 percentage points.", "units"),
        ("It has 64 GB of RAM.", "It comes with 64 GB of storage.", "things"),
        ("It has 64 GB RAM.", "The RAM is 64 GB in size.", ""),
        ("It has 64 GB of RAM.", "It has 64 GB of available space.", ""),
        ("It has 64 GB of main memory.", "It comes with a 64 GB hard drive.", "things"),
        ("It is 5 GB of uploads a day.", "Each day it is 5 GB of downloads.", "things"),
        ("It has 64 GB of RAM.", "It has 64 GB of memory.", ""),
        ("It has 64 GB of storage.", "It has 64 GB of disk space.", ""),
        ("It has 64 GB of storage.", "It takes a 64 GB memory card.", ""),
        ("It holds 10 litres of petrol.", "It takes 10 litres of fuel.", ""),
        ("Bring 20 kg of luggage.", "Bring 20 kg of baggage.", ""),
        ("It is 500 ml of cola.", "It is 500 ml of soda.", ""),
        ("You get 100 GB of mobile data.", "100 GB of traffic are included.", ""),
        ("Use 200 g of flour and 100 g of sugar.", "Use 100 g of sugar and 200 g of flour.", ""),
        ("It takes two weeks of work.", "It takes two weeks of patience.", ""),
    ],
)
def test_values_that_are_the_same_and_that_are_not(expected: str, actual: str, check: str) -> None:
    assert alarms(expected, actual) == {check} - {""}
    assert alarms(actual, expected) == {check} - {""}


@pytest.mark.parametrize(
    ("expected", "actual", "is_other"),
    [
        ("Write to help@example.com.", "Please mail support@example.com.", True),
        ("Write to help@example.com.", "Please mail Help@Example.com today.", False),
        ("See https://example.com/a.", "It is at http://www.example.com/a/", False),
        ("See https://example.com/a.", "It is at https://example.com/b", True),
        ("Edit /etc/hosts as root.", "As root, change /etc/fstab.", True),
        ("Edit /etc/hosts as root.", "As root, change /etc/hosts, not /etc/fstab.", False),
        ("Run `git reset --soft HEAD~1`.", "Use `git reset --hard HEAD~1`.", True),
        ("Run `git reset --soft HEAD~1`.", "Use `git reset --soft HEAD^`.", False),
        ("Set `timeout` to 5.", "Set `retries` to 5.", True),
        ("Set `timeout` to 5.", "The timeout is 5, see `config`.", False),
        ("Call json.loads for it.", "It takes json.dumps to do so.", True),
        ("Call json.loads() for it.", "json.loads does it.", False),
        ("Call open() first.", "First call close().", True),
        ("Sie erreichen uns unter hilfe@example.de.", "Schreiben Sie an info@example.de.", True),
        ("Use U.S. or e.g. U.K. spelling.", "Use i.e. Oxford spelling.", False),
        ("It costs 3 euros and/or 4 euros.", "It costs 3 euros or 4 euros.", False),
        ("See https://example.com/a.", "Nothing is online.", False),
    ],
)
def test_identifiers(expected: str, actual: str, is_other: bool) -> None:
    assert ("identifiers" in alarms(expected, actual)) is is_other
    assert ("identifiers" in alarms(actual, expected)) is is_other


@pytest.mark.parametrize(
    ("question", "expected", "actual", "is_contrary"),
    [
        ("Can I bring a dog?", "You can bring a dog.", "No, only guide dogs.", True),
        ("I'm off to Rome. Does the hotel allow pets?", "Yes, for a fee.", "The hotel doesn't allow pets.", True),
        ("Is the pool open on Sundays?", "On Sundays the pool is closed.", "Yes, of course.", False),
        ("Does the hotel allow pets?", "Yes, for a fee.", "The hotel allows pets for a fee.", False),
        ("Does the hotel allow pets?", "Yes, for a fee.", "It is a myth that the hotel does not allow pets.", False),
        ("Does the hotel allow pets or not?", "Yes, for a fee.", "The hotel doesn't allow pets.", False),
        ("Doesn't the hotel allow pets?", "Yes, for a fee.", "The hotel doesn't allow pets.", False),
        ("Are all rooms heated?", "Yes, they are.", "The rooms are not heated.", False),
        ("Which pets does the hotel allow?", "Yes, dogs.", "The hotel doesn't allow pets.", False),
        ("", "Yes, for a fee.", "The hotel doesn't allow pets.", False),
        ("?", "Yes, for a fee.", "", False),
    ],
)  # fmt: skip
def test_yes_or_no(question: str, expected: str, actual: str, is_contrary: bool) -> None:
    assert ("polarity" in alarms(expected, actual, question)) is is_contrary
    assert ("polarity" in alarms(actual, expected, question)) is is_contrary


@pytest.mark.parametrize(
    "opening",
    [
        "No worries,", "No worries!", "No problem,", "No doubt,", "No question,", "Not at all a problem,", "Yes and no,",
        "Yeah, no,", "Sure,",
    ],
)  # fmt: skip
def test_an_idiom_is_no_negation(opening: str) -> None:
    assert alarms("Dogs are welcome.", f"{opening} dogs are welcome.", "Are dogs welcome?") == set()


def test_an_idiom_does_not_hide_a_negation() -> None:
    assert alarms("Dogs are not welcome here.", "No worries, dogs are welcome here.", "Are dogs welcome?")


def test_a_negation_of_something_beside_the_question_is_no_contrary_answer() -> None:
    assert "polarity" not in alarms(
        "Dogs are welcome.", "Dogs are welcome, with no fee.", "Are dogs welcome?"
    )


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("It is 10 % for students and 20 % for members.", "It is 20 % for students and 10 % for members."),
        ("It is 10 % for students and 20 % for members now.", "It is 20 % for students and 10 % for members today."),
        ("It opens at 9:00 and closes at 17:00.", "It opens at 17:00 and closes at 9:00."),
    ],
)  # fmt: skip
def test_exchanged_values_are_one_alarm(expected: str, actual: str) -> None:
    assert len(compare(actual, expected).alarms) == 1


def test_yes_against_no_is_reported_once() -> None:
    assert alarms("Yes, it is.", "No, it is not so.", "Is the pool heated?") == {"antonyms"}


def test_a_question_in_another_language_is_reported_as_not_compared() -> None:
    comparison = compare(
        "Die Hunde sind hier nicht erlaubt.", "Die Hunde sind hier erlaubt.", question="Sind Hunde erlaubt?"
    )
    assert "polarity" in comparison.without[0]
    assert "polarity" not in compare("Die Hunde sind hier nicht erlaubt.", "Hunde sind erlaubt.").without[0]


def test_a_question_is_a_text() -> None:
    with pytest.raises(TypeError, match="expected question as a text, got NoneType"):
        compare("a", "b", question=None)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "x", "1/0 0:0 99:99 3/4/2025 1.2.3 3:1", "שלום 3:1 مرحبا 3/4", "退款 3:1 refund 3/4 возврат", "½⅓¾",
        "`a" * 50_000, "a@" * 50_000, "/a" * 50_000, "a." * 50_000, "--a" * 33_000, "1:" * 10_000 + "x", "to a " * 5_000,
        "a by b is a by " * 1_000, "3 to 1 " * 2_000, "half past " * 2_000, "if (a) { b(); } " * 2_000,
    ],
)  # fmt: skip
def test_odd_and_long_texts_are_compared(text: str) -> None:
    compare(text, f"Anna pays Ben 3:1. {text[:-1]}", question=text)
