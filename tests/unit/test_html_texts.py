from __future__ import annotations

import pytest

from pytest_llmops.reports.html_views import MAX_CHARS, Texts, cut_text, escape_invisible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\r\n", "\\r\n"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\u202eb", "a\\u202eb"),
        ("a\ud800b", "a\\ud800b"),
        ("\U000e0041", "\\U000e0041"),
        ("\ufeffx\u200b", "\\ufeffx\\u200b"),
        ("\U0001f469\u200d\U0001f467", "\U0001f469\u200d\U0001f467"),
        ("نعم", "نعم"),
        ("a\U000e0152\U000e0153", "a\\U000e0152\\U000e0153"),
        ("\u2764\ufe0f\u200d\U0001f525", "\u2764\ufe0f\u200d\U0001f525"),
        ("x\u200c\u200d\u200c", "x\u200c\u200d\\u200c"),
    ],
)
def test_nothing_hides_in_a_visible_text(text: str, expected: str) -> None:
    assert escape_invisible(text) == expected


def test_a_long_text_is_cut_and_says_by_how_much() -> None:
    assert [len(cut_text("x" * (MAX_CHARS + 7))[0]), cut_text("x" * (MAX_CHARS + 7))[1]] == [MAX_CHARS, 7]
    assert cut_text("x" * MAX_CHARS)[1] == 0


def test_a_text_is_stored_once_and_texts_that_differ_after_the_cut_are_two() -> None:
    texts = Texts()
    long = "x" * MAX_CHARS
    assert [texts.put(text) for text in ("a", long + "b", "a", long + "c", "")] == [0, 1, 0, 2, 3]
    assert texts.stored == ["a", [long, 1], [long, 1], ""]
