"""What holds for all texts and checks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.semantics.checks import CHECKS, compare, split_sentences
from pytest_llmops.semantics.checks.quantities.numerals import read_digits, replace_number_words

anything = st.text(st.characters(exclude_categories=()), max_size=80)
words = st.lists(
    st.sampled_from(
        [
            "the",
            "a",
            "buyer",
            "pays",
            "seller",
            "not",
            "never",
            "30",
            "thirty",
            "days",
            "hours",
            "$20",
            "20%",
            "on",
            "3",
            "March",
            "2025",
            "Monday",
            "9:30",
            "all",
            "some",
            "only",
            "must",
            "may",
            "at",
            "least",
            "most",
            "before",
            "after",
            "Anna",
            "Ben",
            ".",
            ",",
            "?",
            "\n",
            "-",
            "und",
            "nicht",
            "天",
            "before",
            "un-",
            "half",
            "an",
            "hour",
            "Yes,",
            "No,",
            "3-1",
            "1-3",
            "10 s",
            "300 K",
            "5 MiB",
            "1e6",
            "三十天",
            "the 90s",
            "555-123-4567",
            "US",
            "need",
            "have to",
            "open",
            "closed",
            "and",
            "if",
        ]
    ),
    max_size=20,
).map(" ".join)
texts = anything | words
some_checks = st.sets(st.sampled_from(CHECKS))
TEENS = dict(
    enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
        ]
    )
)
TEENS |= dict(enumerate(["sixteen", "seventeen", "eighteen", "nineteen"], start=16))
TENS = dict(
    enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2)
)


def spell_number(number: int) -> str:
    """A number as English says it; written apart from the code under test."""
    if number < 20:
        return TEENS[number]
    if number < 100:
        rest = number % 10
        return TENS[number // 10] + (f"-{TEENS[rest]}" if rest else "")
    for size, name in ((10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = number % size
            return f"{spell_number(number // size)} {name}" + (f" {spell_number(rest)}" if rest else "")
    raise AssertionError


@given(text=texts)
def test_a_text_says_what_it_says(text: str) -> None:
    assert compare(text, text).alarms == ()
    assert compare(f"{text} ", text).alarms == ()


@pytest.mark.slow
@given(actual=texts, expected=texts, names=some_checks)
def test_only_checks_that_are_on_speak_and_say_it_in_one_line(
    actual: str, expected: str, names: set[str]
) -> None:
    comparison = compare(actual, expected, checks=names)
    assert {alarm.check for alarm in comparison.alarms} <= names
    assert len(set(comparison.alarms)) == len(comparison.alarms)
    for alarm in comparison.alarms:
        assert alarm.message.isprintable()


@given(actual=texts, expected=texts)
def test_a_check_speaks_the_same_alone_or_not_at_all(actual: str, expected: str) -> None:
    together = compare(actual, expected)
    for check in {alarm.check for alarm in together.alarms}:
        mine = tuple(alarm for alarm in together.alarms if alarm.check == check)
        assert compare(actual, expected, checks=[check]).alarms == mine


@given(reference=words, before=words, after=words)
def test_what_an_answer_says_besides_the_reference_is_no_alarm(
    reference: str, before: str, after: str
) -> None:
    assert compare(f"{before}\n\n{reference}\n\n{after}", reference).alarms == ()


@given(text=texts)
def test_sentences_lose_nothing_but_blanks(text: str) -> None:
    sentences = split_sentences(text)
    assert "".join("".join(sentence.split()) for sentence in sentences) == "".join(text.split())
    assert all(sentence == " ".join(sentence.split()) and sentence for sentence in sentences)


@given(number=st.integers(2, 999), thousands=st.integers(2, 99))
def test_numbers_in_words_are_the_numbers(number: int, thousands: int) -> None:
    assert replace_number_words(f"{spell_number(number)} maps") == f"{number} maps"
    assert replace_number_words(f"{spell_number(1000 * thousands)} maps") == f"{thousands}000 maps"


@given(number=st.integers(0, 10**9 - 1))
def test_separators_of_thousands_do_not_count(number: int) -> None:
    assert read_digits(f"{number:,}")[0] == number
    assert read_digits(f"{number:_}".replace("_", " "))[0] == number


@given(
    expected=st.integers(2, 999),
    actual=st.integers(2, 999),
    form=st.sampled_from(["{}", "{:,}", "words", "full"]),
)
def test_equal_numbers_pass_and_others_do_not(expected: int, actual: int, form: str) -> None:
    written = spell_number(actual) if form == "words" else f"{actual:,}" if form == "{:,}" else str(actual)
    if form == "full":
        written = written.translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)})
    alarms = compare(f"The archive holds {written} maps.", f"The archive holds {expected} maps.").alarms
    assert [alarm.check for alarm in alarms] == ([] if expected == actual else [alarms[0].check])
    assert expected == actual or alarms[0].check in {"numbers", "dates"}


@pytest.mark.slow
@given(number=st.integers(2, 500))
def test_one_number_in_all_forms(number: int) -> None:
    reference = f"The archive holds {number} maps."
    for written in (
        spell_number(number),
        f"{number:,}",
        f"{number}.0",
        str(number).translate({48 + d: 0x0660 + d for d in range(10)}),
    ):
        assert compare(f"The archive holds {written} maps.", reference).alarms == ()
