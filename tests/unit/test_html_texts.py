from __future__ import annotations

import pytest

from pytest_llmops.reports.html_views import MAX_CHARS, MIN_SHARED, Texts, escape_invisible, visible_text


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
    ],
)
def test_nothing_hides_in_a_visible_text(text: str, expected: str) -> None:
    assert escape_invisible(text) == expected


def test_a_long_text_is_cut_and_says_by_how_much() -> None:
    text = visible_text("x" * (MAX_CHARS + 7))
    assert (len(text.body), text.cut) == (MAX_CHARS, 7)
    assert visible_text("x" * MAX_CHARS).cut == 0


def test_a_long_text_is_stored_once() -> None:
    texts = Texts()
    first, second, other = (
        texts.put("x" * MIN_SHARED),
        texts.put("x" * MIN_SHARED),
        texts.put("y" * MIN_SHARED),
    )
    assert (first.first, second.first, other.first) == (True, False, True)
    assert second.text is first.text
    assert first.text.shared
    assert not other.text.shared
    assert first.text.id != other.text.id


def test_a_short_text_is_repeated() -> None:
    texts = Texts()
    assert all(texts.put("short").first for _ in range(3))
