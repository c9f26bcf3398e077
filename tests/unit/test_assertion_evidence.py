from __future__ import annotations

import re

import pytest
from support.messages import check_message

from pytest_llmops.assertions._evidence import (
    MAX_HINT_CHARS,
    MAX_LINE_CHARS,
    MAX_LISTED_TEXTS,
    describe_character,
    describe_places,
    exact_evidence,
    find_nearest_reference,
    format_answer,
    fuzzy_evidence,
    missing_text_evidence,
    quote_text,
    unmatched_pattern_evidence,
    unwanted_text_evidence,
)


def test_absent_says_what_is_there_instead() -> None:
    text = "You can return it within 60 days.\nUNOPENED  only"
    check_message(missing_text_evidence(text, ["30 days", "unopened", "UNOPENED only", "zzz"]))
    assert missing_text_evidence("UNOPENED", ["opened!"], ignore_case=True)[0] == ("missing", '"opened!"')


def test_absent_looks_for_some_only() -> None:
    pairs = missing_text_evidence("", [f"x{n}" for n in range(MAX_LISTED_TEXTS + 5)])
    assert pairs[-2:] == [("missing", "and 5 more texts"), ("answer", "(empty)")]


@pytest.mark.parametrize(
    ("text", "pattern", "full", "label"),
    [
        ("Yes", "yes", False, "hint"),
        ("a\nb", "a.b", False, "hint"),
        ("a\nb", "^b", False, "hint"),
        ("a\nb", "a.b", True, "hint"),
        ("no", "yes", False, ""),
        ("no", "(?ism)yes", False, ""),
        ("Yes sir", "Yes", True, "matches"),
    ],
)
def test_unmatched_says_what_would_have_done(text: str, pattern: str, full: bool, label: str) -> None:
    first, *pairs, last = unmatched_pattern_evidence(text, re.compile(pattern), full=full)
    assert (first, last) == (("pattern", pattern), ("answer", format_answer(text)))
    assert [name for name, _ in pairs] == ([label] if label else [])
    if pairs:
        check_message(pairs)


def test_unmatched_tries_no_flags_over_long_texts() -> None:
    assert [
        label for label, _ in unmatched_pattern_evidence("Y" * (MAX_HINT_CHARS + 1), re.compile("y"))
    ] == [
        "pattern",
        "answer",
    ]


def test_unmatched_prints_no_debug_output(capsys: pytest.CaptureFixture[str]) -> None:
    pattern = re.compile("yes", re.DEBUG)
    capsys.readouterr()
    assert ("hint", "matches with re.IGNORECASE") in unmatched_pattern_evidence("Yes", pattern)
    assert capsys.readouterr().out == ""


def test_unlike_compares_with_the_nearest_part_of_a_long_text() -> None:
    text = "Thank you for asking! You can return it within 60 days. Is there more I can help you with?"
    assert fuzzy_evidence(text, "return it within 30 days") == [
        ("nearest", '"return it within 60 days." at line 1, column 31, 0.96 alike'),
        ("diff", "return it within [-30-]{+60+} days{+.+}"),
        ("expected", '"return it within 30 days"'),
        ("answer", format_answer(text)),
    ]
    assert fuzzy_evidence("", "a") == [("expected", '"a"'), ("answer", "(empty)")]


@pytest.mark.parametrize(
    ("text", "expected", "hint"),
    [
        ("YES", "yes", "ignore_case=True"),
        ("a ", "a", 'whitespace="strip"'),
        ("a\u00a0b", "a b", 'whitespace="collapse"'),
        ("e\u0301", "\u00e9", 'unicode="NFC"'),
        ("\u2460", "1", 'unicode="NFKC"'),
        ("\uff39ES ", "yes", 'ignore_case=True, whitespace="collapse", unicode="NFKC"'),
        ("a\x00", "a", ""),
        ("a\ud800", "a\ud801", ""),
        ("a\u200b", "a", ""),
        ("e" + "\u0301" * 2_000, "\u00e9", ""),
    ],
)  # fmt: skip
def test_different_names_the_character_and_the_option(text: str, expected: str, hint: str) -> None:
    pairs = dict(exact_evidence(text, expected))
    check_message(pairs["differs at"])
    assert pairs.get("hint", "") == (f"equal with {hint}" if hint else "")
    assert pairs["expected"]
    assert pairs["answer"]


def test_different_shows_the_texts_from_the_difference_on() -> None:
    pairs = dict(exact_evidence("x" * 1_000 + "a", "x" * 1_000 + "b"))
    assert pairs["differs at"].startswith("line 1, column 1,001: ")
    assert pairs["expected"] == f'..."{"x" * 20}b"'
    assert pairs["answer"] == f'..."{"x" * 20}a"'
    assert exact_evidence("same", "same") == []


def test_quoted_and_answer_are_one_line() -> None:
    assert quote_text("a\n\x1b[31m") == '"a\\n\\x1b[31m"'
    assert format_answer("a" * (MAX_LINE_CHARS + 1)) == f'"{"a" * MAX_LINE_CHARS}... (+1 chars)"'
    check_message(describe_character("", 0))


def test_absent_says_that_a_text_is_part_of_a_word_or_written_otherwise() -> None:
    check_message(missing_text_evidence("in 130 days", ["30 days"], whole_words=True)[0])
    assert missing_text_evidence("cafe\u0301", ["caf\u00e9"])[0][1].endswith(' | there with unicode="NFC"')
    assert missing_text_evidence("\uff13\uff10", ["30"])[0][1].endswith(' | there with unicode="NFKC"')
    assert missing_text_evidence("\u00e9" + "\u0301" * 2_000, ["\u00ea"])[0][1] == '"\u00ea"'


def test_present_shows_some_text_around_and_an_end() -> None:
    text = "x" * 50 + "secret" + "y" * 50
    pairs = unwanted_text_evidence(text, "unwanted", [("secret", [(50, 56)], 1)])
    assert pairs[0] == (
        "unwanted",
        f'"secret" at line 1, column 51: "...{"x" * 20}>>>secret<<<{"y" * 20}..."',
    )
    many = unwanted_text_evidence("a", "unwanted", [("a", [(0, 1)], 1)] * (MAX_LISTED_TEXTS + 2))
    assert many[-2] == ("unwanted", "and 2 more texts")
    assert len(many) == MAX_LISTED_TEXTS + 2


def test_elsewhere_lists_some_places() -> None:
    places = [(at, at + 1) for at in range(5)]
    assert describe_places("aaaaa", "a", places, "too often").endswith(
        "column 1; at line 1, column 2; at line 1, column 3; ..."
    )


def test_the_nearest_reference_is_chosen_by_its_beginning() -> None:
    assert find_nearest_reference("a", ["b", "a"]) == 1
    assert find_nearest_reference("60 days", ["a month", "30 days"]) == 1
    assert find_nearest_reference("x" * 5_000, ["y" * 5_000, "x" * 4_000]) == 1
    assert find_nearest_reference("", ["b"]) == 0


@pytest.mark.parametrize(
    ("pattern", "named"),
    [(r"\breturn it within (\d+) days", True), (r"[a-z]{4}\s+\d", False), (r"zzzzzz", False)],
)
def test_unmatched_shows_what_is_nearest_to_the_plain_words_of_a_pattern(pattern: str, named: bool) -> None:
    pairs = dict(unmatched_pattern_evidence("You should return it within a month", re.compile(pattern)))
    assert ("nearest" in pairs) is named
    if named:
        check_message(pairs["nearest"])
