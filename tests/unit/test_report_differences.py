"""How reports show two answers: marked word by word where most words stay, else as two texts with the difference in view."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.reports.differences import MAX_WORDS, cut_answers, cut_at_word, diff_answers

TEXTS = st.text(alphabet="ab c.\nä,", max_size=60)


@given(TEXTS, TEXTS)
def test_pieces_make_up_both_texts(before: str, after: str) -> None:
    edits = diff_answers(before, after)
    if edits is None:
        return
    old = "".join(text for kind, text in edits if kind != "new")
    new = "".join(text for kind, text in edits if kind != "old")
    assert old.split() == before.split() or "".join(old.split()) == "".join(before.split())
    assert "".join(new.split()) == "".join(after.split())


@given(TEXTS, TEXTS, st.integers(min_value=8, max_value=80))
def test_cut_texts_fit_and_show_the_first_difference(before: str, after: str, limit: int) -> None:
    old, new = cut_answers(before, after, limit)
    assert max(len(old), len(new)) <= limit
    assert "\n" not in old + new
    longest_word = max((len(word) for word in (before + " " + after).split()), default=0)
    if limit >= 6 * longest_word + 8:
        assert (old == new) == (before.split() == after.split())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("The answer is 150 euros.", "I'm sorry for the confusion, but I cannot say."),
        ("", "something"),
        ("word " * (MAX_WORDS + 1), "word " * MAX_WORDS + "other"),
        ("a" * 100_000, "b" * 100_000),
    ],
)
def test_unlike_empty_and_long_texts_are_shown_as_two(before: str, after: str) -> None:
    assert diff_answers(before, after) is None


def test_a_lone_unchanged_word_belongs_to_the_change() -> None:
    edits = diff_answers(
        "Gas cartridges are not sent by air, as the carrier does not take them at all today.",
        "Gas cartridges travel not home by air, as the carrier does not take them at all today.",
    )
    assert edits is not None
    assert [kind for kind, _ in edits] == ["same", "old", "new", "same"]


def test_json_is_compared_by_lines() -> None:
    before = json.dumps({"price": 12, "currency": "EUR", "item": "tent"}, indent=1)
    after = json.dumps({"price": 15, "currency": "EUR", "item": "tent"}, indent=1)
    edits = diff_answers(before, after)
    assert edits is not None
    assert [(kind, text.strip()) for kind, text in edits if kind != "same"] == [
        ("old", '"price": 12,'),
        ("new", '"price": 15,'),
    ]


def test_a_text_is_cut_at_the_end_of_a_word() -> None:
    assert cut_at_word("Take all the time you need", 16) == "Take all the …"
    assert cut_at_word("short", 16) == "short"


def test_right_to_left_and_scripts_without_blanks_are_cut_too() -> None:
    before, after = cut_answers("答" * 500 + "甲", "答" * 500 + "乙", 60)
    assert max(len(before), len(after)) <= 60
    assert "甲" in before
    assert "乙" in after
    arabic = "يمكن إرجاع الخيمة خلال 45 يوما من التسليم"
    old, new = cut_answers(arabic, arabic.replace("45", "54"), 300)
    assert "45" in old
    assert "54" in new
